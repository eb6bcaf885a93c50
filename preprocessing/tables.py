"""CSV files with a header: reading them, and errors that name the row and the column."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
import warnings

import pandas as pd

from slr_jax import errors

# The header is row 1.
FIRST_ROW = 2


def read_table(
    path: str,
    columns: Sequence[str],
    *,
    sep: str | None = ',',
    dtype: type | Mapping[str, type] = str,
    rename: Callable[[str], str] | None = None,
) -> pd.DataFrame:
    """Reads a CSV file that has at least one row.

    Args:
        path: the file.
        columns: the columns that must be there; others are kept.
        sep: separator; None takes `;` where the header has one, else `,`.
        dtype: of all columns or of some; where it is str, empty cells are '', else NaN.
        rename: applied to the names of the columns before they are checked.

    Raises:
        InputError: the file is not a CSV file, lacks a column or has no rows.
    """
    try:
        if sep is None:
            with open(path, encoding='utf-8') as file:
                sep = ';' if ';' in file.readline() else ','
        with warnings.catch_warnings():
            # pandas only warns of a first row that has more cells than the header.
            warnings.simplefilter('error', pd.errors.ParserWarning)
            table = pd.read_csv(
                path, sep=sep, dtype=dtype, keep_default_na=dtype is not str, encoding='utf-8', index_col=False
            )
    except pd.errors.EmptyDataError:
        raise errors.InputError(f'{path} is empty, expected a header with the columns {_shorten(columns)}') from None
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise errors.InputError(f'{path} is not a CSV file: {errors.one_line(error)}') from error
    if rename:
        table = table.rename(columns=rename)
    missing = [column for column in columns if column not in table]
    if missing:
        raise errors.InputError(
            f'{path} has no column {missing[0]!r}, expected {_shorten(columns)}; found {_shorten(list(table))}'
        )
    if table.empty:
        raise errors.InputError(f'{path} has no rows, only a header')
    return table


def _shorten(names: Sequence[str]) -> str:
    return ', '.join(names if len(names) <= 12 else [*names[:3], '…', names[-1]])


def row_error(path: str, index: int, column: str, found: Any, expected: str) -> errors.InputError:
    """The error for a cell that is not as expected, `index` rows below the first."""
    return errors.InputError(f'{path}, row {index + FIRST_ROW}, column {column}: found {found!r}, expected {expected}')
