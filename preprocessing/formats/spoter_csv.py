"""SPOTER-format CSV files: one row a clip, every cell a list of numbers over its frames."""

from collections.abc import Mapping
import csv
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from slr_jax import dataset as dataset_lib
from slr_jax import errors, files
from slr_jax import landmarks as landmarks_lib

# The header is row 1.
_FIRST_ROW = 2
# Larger labels are taken for mistakes.
_MOST_LABELS = 100_000


def read_csv(path: str, layout: landmarks_lib.Layout) -> tuple[list[np.ndarray], np.ndarray]:
    """Reads one file; other columns than those of the layout are passed over.

    Args:
        path: the file. Lists may be separated by commas or blanks and wrapped over lines, as numpy prints them; labels
            may be one number or a list of equal ones.
        layout: whose columns, or their aliases, the file has.

    Returns:
        One <float64>[frames, points, 2] a clip, NaN for the points of absent optional columns, and <int64>[clips]
        labels as in the file.

    Raises:
        InputError: the file is missing, empty, lacks a column, or a cell is not what it should be.
    """
    table = _read_table(path, layout)
    columns = [_find_column(path, table, layout, column) for column in layout.columns]
    present = [column for column in columns if column]
    labels = [_parse_label(path, row, cell) for row, cell in enumerate(table['labels'].tolist(), start=_FIRST_ROW)]
    numbers, lengths = _parse_lists(path, table[present])
    num_frames = lengths[:, 0]
    uneven = np.argwhere(lengths != num_frames[:, None])
    if uneven.size:
        i, j = uneven[0]
        raise errors.InputError(
            f'{path}, row {i + _FIRST_ROW}, column {present[j]}: {lengths[i, j]} frames, but {num_frames[i]} in column '
            f'{present[0]}'
        )
    clips = []
    for rows in np.split(numbers, np.cumsum(num_frames * len(present))[:-1]):
        clip = np.full((len(columns), len(rows) // len(present)), np.nan)
        clip[[bool(column) for column in columns]] = rows.reshape(len(present), -1)
        clips.append(clip.T.reshape(-1, layout.num_points, 2))
    return clips, np.array(labels, np.int64)


def _read_table(path: str, layout: landmarks_lib.Layout) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        raise errors.InputError(f'{path} is empty, expected a header of columns and labels') from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise errors.InputError(f'{path} is no SPOTER-format CSV: {error}') from error
    names = {}
    for column in table.columns:
        name = column.strip()
        for alias, canonical in layout.column_aliases.items():
            name = name.replace(alias, canonical)
        names[column] = name
    table = table.rename(columns=names)
    if 'labels' not in table:
        raise errors.InputError(f"{path} has no column 'labels', found {', '.join(table.columns[:4])}, …")
    if not len(table):
        raise errors.InputError(f'{path} holds no clips, only a header')
    return table


def _find_column(path: str, table: pd.DataFrame, layout: landmarks_lib.Layout, column: str) -> str | None:
    if column in table:
        return column
    point = layout.points[layout.columns.index(column) // 2]
    if point in layout.optional_points:
        return None
    raise errors.InputError(f'{path} has no column {column!r}, which layout {layout.name} needs')


def _parse_lists(path: str, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Returns <float64>[all numbers], row by row, and <int>[rows, columns], the numbers of each cell."""
    cells = pa.array(table.to_numpy().ravel(), pa.string())
    in_brackets = pc.match_substring_regex(cells, r'^\s*\[[^\[\]]*\]\s*$')
    words = pc.ascii_split_whitespace(pc.ascii_trim(pc.replace_substring(cells, ',', ' '), '[] \t\r\n'))
    try:
        if not pc.all(in_brackets).as_py():
            raise ValueError
        numbers = pc.cast(words.flatten(), pa.float64()).to_numpy()
    except ValueError:
        _refuse_first_bad_cell(path, table)
    return numbers, pc.list_value_length(words).to_numpy().reshape(table.shape)


def _refuse_first_bad_cell(path: str, table: pd.DataFrame) -> None:
    for row, cells in enumerate(table.to_numpy(), start=_FIRST_ROW):
        for column, cell in zip(table.columns, cells, strict=True):
            text = cell.strip()
            try:
                if not (text[:1] == '[' and text[-1:] == ']'):
                    raise ValueError
                if not [float(word) for word in text[1:-1].replace(',', ' ').split()]:
                    raise ValueError
            except ValueError:
                raise errors.InputError(
                    f'{path}, row {row}, column {column}: found {text[:30]!r}, expected a list of numbers'
                ) from None
    raise errors.InputError(f'{path} holds a cell that is no list of numbers')


def _parse_label(path: str, row: int, cell: str) -> int:
    words = cell.strip().removeprefix('[').removesuffix(']').replace(',', ' ').split()
    try:
        values = {float(word) for word in words}
    except ValueError:
        values = set()
    if len(values) != 1 or not next(iter(values)).is_integer() or not 0 <= next(iter(values)) < _MOST_LABELS:
        raise errors.InputError(
            f'{path}, row {row}, column labels: found {cell[:30]!r}, expected one whole number from 0 to below '
            f'{_MOST_LABELS}'
        )
    return int(values.pop())


def read_dataset(
    paths: Mapping[str, str],
    name: str,
    layout: landmarks_lib.Layout,
    *,
    label_base: str = 'auto',
    missing_value: float | None = None,
    label_names: str | None = None,
    handedness: str = 'signer',
) -> dataset_lib.Dataset:
    """Reads the files of a dataset.

    Args:
        paths: split -> file; at least one.
        name: of the dataset.
        layout: of all files.
        label_base: '0' or '1', the first label; 'auto' takes the lowest label of all files, which must be 0 or 1.
        missing_value: a point whose x and y are both this number is missing; None for the layout's own.
        label_names: a text file with one gloss a line; None names the classes by their labels in the file.
        handedness: one of landmarks.HANDEDNESS.

    Raises:
        InputError: see read_csv; or a label lies outside the classes.
    """
    if missing_value is None:
        missing_value = layout.missing_value
    contents = {split: read_csv(path, layout) for split, path in paths.items()}
    base = _label_base(label_base, paths, {split: labels for split, (_, labels) in contents.items()})
    highest = max(labels.max() for _, labels in contents.values())
    names = files.read_label_names(label_names) if label_names else [str(label) for label in range(base, highest + 1)]
    splits = {}
    for split, (clips, labels) in contents.items():
        outside = np.flatnonzero((labels < base) | (labels >= base + len(names)))
        if outside.size:
            raise errors.InputError(
                f'{paths[split]}, row {outside[0] + _FIRST_ROW}, column labels: found {labels[outside[0]]}, expected '
                f'{base} to {base + len(names) - 1}'
            )
        splits[split] = dataset_lib.Clips(
            landmarks=[_with_nan(clip, missing_value) for clip in clips],
            labels=(labels - base).astype(np.int32),
            video_ids=[f'{split}_{i:05d}' for i in range(len(clips))],
            signers=[''] * len(clips),
            index=np.arange(len(clips)) + sum(len(part) for part in splits.values()),
        )
    source = {'kind': 'spoter_csv', 'label_base': int(base), 'missing_value': missing_value}
    return dataset_lib.Dataset(
        dataset_lib.Description(name, layout.name, names, handedness=handedness, source=source), splits
    )


def _label_base(label_base: str, paths: Mapping[str, str], labels: Mapping[str, np.ndarray]) -> int:
    if label_base != 'auto':
        return int(label_base)
    lowest = {split: int(found.min()) for split, found in labels.items()}
    split = min(lowest, key=lowest.get)
    if lowest[split] not in (0, 1):
        raise errors.InputError(
            f'{paths[split]}: the lowest label is {lowest[split]}, expected 0 or 1; label_base says which is the first'
        )
    return lowest[split]


def _with_nan(clip: np.ndarray, missing_value: float) -> np.ndarray:
    """<float64>[frames, points, 2] -> <float32>[frames, points, 3] with NaN where missing and for z."""
    missing = (clip == missing_value).all(axis=-1) | np.isnan(clip).any(axis=-1)
    clip = np.where(missing[..., None], np.nan, clip)
    return np.concatenate([clip, np.full_like(clip[..., :1], np.nan)], axis=-1).astype(np.float32)


def write_dataset(dataset: dataset_lib.Dataset, path: str, missing_value: float | None = None) -> None:
    """Writes a directory with one CSV a split, numbers with the digits that give the same float32 again.

    Args:
        dataset: what to write; z is left out.
        path: the directory, which must be new.
        missing_value: what missing coordinates are written as; None for the layout's own.
    """
    layout = dataset.layout
    if missing_value is None:
        missing_value = layout.missing_value
    with files.create_atomically(path) as aside:
        os.mkdir(aside)
        for split, clips in dataset.splits.items():
            with open(os.path.join(aside, f'{split}.csv'), 'w', newline='', encoding='utf-8') as file:
                writer = csv.writer(file)
                writer.writerow([*layout.columns, 'labels'])
                for clip, label in zip(clips.landmarks, clips.labels, strict=True):
                    label_cell = _format_list([label] * len(clip)) if layout.labels_per_frame else label
                    flat = np.nan_to_num(clip[..., :2], nan=missing_value).reshape(len(clip), -1)
                    writer.writerow([*map(_format_list, flat.T), label_cell])


def _format_list(numbers: np.ndarray | list[int]) -> str:
    return f'[{", ".join(map(str, numbers))}]'
