"""Kinds of landmark files, read into datasets and written from them.

To add one, write a module with `define_flags()` and `read(flags) -> Dataset`, for export also
`write(dataset, path, flags)`, and give it an entry in FORMATS.
"""

from preprocessing.formats import asl_signs, extracted, mp_data, npz, openpose, pose, spoter_csv

# What --source and --format take.
FORMATS = {
    'npz': npz,
    'spoter_csv': spoter_csv,
    'landmarks': extracted,
    'pose': pose,
    'mp_data': mp_data,
    'asl_signs': asl_signs,
    'openpose': openpose,
}
