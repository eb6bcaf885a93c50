"""CSV files and spreadsheets with a header: reading them, and errors that name the row and the column."""

import codecs
from collections.abc import Callable, Mapping, Sequence
import functools
import os
import re
from typing import Any
import warnings
import zipfile

import numpy as np
import pandas as pd

from preprocessing import file_kinds
from slr_jax import errors, file_limits

# The header is row 1.
FIRST_ROW = 2
_SEPARATORS = ',;\t|'
_SHEETS, _OTHER_SHEETS = ('.xlsx', '.xlsm'), ('.xls', '.ods')
# That a cell needs, and columns that pandas reads quickly.
_BYTES_PER_CELL, _MOST_COLUMNS = 64, 10_000
_CHUNK_BYTES = 2**20
_PLACE = re.compile(rb"""\br=["']([A-Z]{0,3})(\d{0,7})["']""")
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
    file_limits.check_regular(path)
    if path.lower().endswith(_OTHER_SHEETS):
        raise errors.InputError(f'{path} is a spreadsheet; save it as CSV UTF-8')
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
        with zipfile.ZipFile(path) as archive:
            file_limits.check_zip(path, archive)
            for name in archive.namelist():
                places = _PLACE.findall(archive.read(name)) if name.endswith('.xml') else []
                columns = max((_column_number(letters) for letters, _ in places), default=0)
                check_cells(path, max((int(row or 0) for _, row in places), default=0), columns)
        sheets = pd.read_excel(
            path, sheet_name=None, header=0 if header else None, dtype=dtype, keep_default_na=dtype is not str
        )
    except ImportError as error:
        raise errors.InputError(
            f'{path} is a spreadsheet; save it as CSV UTF-8, as it cannot be read here: {errors.one_line(error)}'
        ) from error
    except (OSError, errors.InputError):
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
        encoding, found = _sniff(path, sep)
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


def _column_number(letters: bytes) -> int:
    """1 for A, 27 for AA."""
    return functools.reduce(lambda number, letter: 26 * number + letter - 64, letters, 0)


def check_cells(path: str, num_rows: int, num_columns: int) -> None:
    """Checks the size of a table before it is made, in which short rows are filled.

    Raises:
        InputError: it is too large for its file, or has too many columns.
    """
    if num_columns > _MOST_COLUMNS:
        raise errors.InputError(f'{path} has {num_columns:,} columns, expected at most {_MOST_COLUMNS:,}')
    file_limits.check_unpacked(path, _BYTES_PER_CELL * num_rows * num_columns)


def _count_rows(path: str, encoding: str, num_columns: int) -> int:
    with open(path, 'rb') as file:
        counts = [(chunk.count(b'\n'), chunk.count(b'\r')) for chunk in iter(lambda: file.read(_CHUNK_BYTES), b'')]
    num_lines = max(map(sum, zip(*counts, strict=True)), default=0) + 1
    if num_lines * num_columns * _BYTES_PER_CELL <= os.path.getsize(path):
        return num_lines
    # Cells in quotes may have lines of their own.
    with open(path, encoding=encoding) as file:
        return sum(part.count('\n') for part in file.read().split('"')[::2]) + 1


def _sniff(path: str, sep: str | None) -> tuple[str, str]:
    """The encoding of a file and its separator."""
    with open(path, 'rb') as file:
        start = file.read(4)
    encoding = 'utf-16' if start[:2] in _UTF16_MARKS and start[2:] not in _UTF16_MARKS else 'utf-8-sig'
    with open(path, encoding=encoding) as file:
        line = re.sub('"[^"]*"', '', file.readline())
    found = max(_SEPARATORS, key=line.count)
    num_columns = len(re.split(sep or re.escape(found), line))
    check_cells(path, _count_rows(path, encoding, num_columns), num_columns)
    return encoding, found


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
