"""Kinds of landmark files, read into datasets and written from them.

To add one, write a module with `define_flags()` and `read(flags) -> Dataset`, for export also
`write(dataset, path, flags)`, and give it an entry in FORMATS.
"""

from preprocessing.formats import extracted, npz, spoter_csv

# What --source and --format take.
FORMATS = {'npz': npz, 'spoter_csv': spoter_csv, 'landmarks': extracted}
