"""What an experiment writes: tables, a page and pictures, which replace those of an earlier run together."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from matplotlib import figure

from slr_jax import figures, files, progress


def write(
    output_dir: str,
    name: str,
    page: str,
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    pictures: Mapping[str, figure.Figure] | None = None,
    *,
    report: bool = True,
) -> None:
    """Writes `name`.md, a CSV file per table and a PNG and an SVG file per picture.

    Args:
        output_dir: new, or of the same experiment.
        name: of the page.
        page: Markdown, with a line end after its last line.
        tables: rows of the same fields, at least one, by the name of their file.
        pictures: by the name of their files.
        report: whether to print the page, too.

    Raises:
        InputError: `output_dir` is a file.
    """
    with files.replace_files_in(output_dir) as scratch:
        for table, rows in tables.items():
            files.write_csv(os.path.join(scratch, f'{table}.csv'), rows)
        for picture, drawn in (pictures or {}).items():
            figures.save(drawn, os.path.join(scratch, picture))
        with files.atomic_write(os.path.join(scratch, f'{name}.md')) as file:
            file.write(page)
    if report:
        progress.report(f'{page}written to {output_dir}')
