"""CSV files and spreadsheets with a header: reading them, and errors that name the row and the column."""

import codecs
from collections.abc import Callable, Mapping, Sequence
import re
from typing import Any
import warnings

import numpy as np
import pandas as pd

from preprocessing import file_kinds
from slr_jax import errors

# The header is row 1.
FIRST_ROW = 2
_SEPARATORS = ',;\t|'
_SHEETS = ('.xlsx', '.xlsm', '.xls', '.ods')
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_table(
    path: str,
    columns: Sequence[str],
    *,
    dtype: type | Mapping[str, type] = str,
    rename: Callable[[str], str] | None = None,
    synonyms: Mapping[str, str] | None = None,
    header: bool = True,
    sep: str | None = None,
) -> pd.DataFrame:
    """Reads a CSV file that has at least one row, or a spreadsheet where what pandas needs for it is installed.

    The separator is the one of comma, semicolon, tab and | that the first line has most. A byte order mark is dropped.

    Args:
        path: the file.
        columns: the columns that must be there; others are kept.
        dtype: of all columns or of some; where it is str, empty cells are '', else NaN.
        rename: applied to the names of the columns before they are checked.
        synonyms: other names of columns, in lower case -> the name, taken where no column has it.
        header: whether the first line names the columns; if not, they are named '1', '2' and so on.
        sep: separator of the cells, instead of that of the first line.

    Raises:
        InputError: the file is not a CSV file, lacks a column or has no rows.
    """
    if path.lower().endswith(_SHEETS):
        table = _read_sheet(path, dtype, header)
    else:
        table = _read_csv(path, columns, dtype, header, sep)
    if not header:
        table.columns = pd.Index([str(number) for number in range(1, table.shape[1] + 1)])
    table = table.rename(columns=lambda column: str(column).strip())
    if rename:
        table = table.rename(columns=rename)
    for other, name in (synonyms or {}).items():
        if name not in table:
            table.columns = pd.Index([name if column.lower() == other else column for column in table.columns])
    missing = [column for column in columns if column not in table]
    if missing:
        raise errors.InputError(
            f'{path} has no column {missing[0]!r}, expected {_shorten(columns)}; found {_shorten(list(table))}'
        )
    # Spreadsheets write empty rows at the end.
    filled = np.flatnonzero((table.notna() & (table != '')).any(axis=1))
    if not len(filled):
        raise errors.InputError(f'{path} has no rows, only a header')
    return table.iloc[: filled[-1] + 1]


def _read_sheet(path: str, dtype: type | Mapping[str, type], header: bool) -> pd.DataFrame:
    try:
        sheets = pd.read_excel(
            path, sheet_name=None, header=0 if header else None, dtype=dtype, keep_default_na=dtype is not str
        )
    except ImportError as error:
        raise errors.InputError(
            f'{path} is a spreadsheet; save it as CSV UTF-8, as it cannot be read here: {errors.one_line(error)}'
        ) from error
    except OSError:
        raise
    # What is no spreadsheet, or damaged, raises many kinds of errors.
    except Exception as error:
        raise errors.InputError(f'{path} is not a spreadsheet that can be read: {errors.one_line(error)}') from error
    filled = {name: sheet for name, sheet in sheets.items() if not sheet.empty}
    if len(filled) > 1:
        raise errors.InputError(
            f'{path} has {len(filled)} sheets with rows, {_shorten(list(filled))}; save the one that counts as CSV'
        )
    return next(iter((filled or sheets).values()))


def _read_csv(
    path: str, columns: Sequence[str], dtype: type | Mapping[str, type], header: bool, sep: str | None
) -> pd.DataFrame:
    try:
        encoding, found = _sniff(path)
        with warnings.catch_warnings():
            # pandas only warns of a first row that has more cells than the header.
            warnings.simplefilter('error', pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                sep=sep or found,
                header=0 if header else None,
                dtype=dtype,
                keep_default_na=dtype is not str,
                encoding=encoding,
                index_col=False,
            )
    except pd.errors.EmptyDataError:
        wanted = f'a header with the columns {_shorten(columns)}' if columns else 'a table'
        raise errors.InputError(f'{path} is empty, expected {wanted}') from None
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = file_kinds.describe(path)
        if not reason or reason in file_kinds.TEXT:
            reason = errors.one_line(error)
            if isinstance(error, UnicodeDecodeError):
                reason = f'it is not UTF-8 or UTF-16 text, save it as CSV UTF-8 ({reason})'
        raise errors.InputError(f'{path} is not a CSV file: {reason}') from error


def _sniff(path: str) -> tuple[str, str]:
    """The encoding of a file and its separator."""
    with open(path, 'rb') as file:
        start = file.read(4)
    encoding = 'utf-16' if start[:2] in _UTF16_MARKS and start[2:] not in _UTF16_MARKS else 'utf-8-sig'
    with open(path, encoding=encoding) as file:
        line = re.sub('"[^"]*"', '', file.readline())
    return encoding, max(_SEPARATORS, key=line.count)


def _shorten(names: Sequence[str]) -> str:
    return ', '.join(names if len(names) <= 12 else [*names[:3], '…', names[-1]])


def parse_whole_number(text: str) -> int:
    """A whole number, also as spreadsheets write it: 1.0; ValueError for anything else."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


def row_error(path: str, index: int, column: str, found: Any, expected: str) -> errors.InputError:
    """The error for a cell that is not as expected, `index` rows below the first."""
    return errors.InputError(f'{path}, row {index + FIRST_ROW}, column {column}: found {found!r}, expected {expected}')
