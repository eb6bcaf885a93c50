"""SPOTER-format CSV files: one row per clip, every cell a list of numbers over its frames."""

from collections.abc import Iterator, Mapping, Sequence
import os
import re
from typing import Any

from absl import flags
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from preprocessing import plausibility, tables
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files
from slr_jax import landmarks as landmarks_lib

# Larger labels are taken for mistakes.
_MOST_LABELS = 100_000


def define_flags() -> None:
    """Defines the flags of `build_dataset --source=spoter_csv`."""
    for split in dataset_lib.SPLITS:
        flags.DEFINE_string(split, None, f'CSV file of the {split} split; at least one split must be given.')
    flags.DEFINE_enum(
        'layout',
        None,
        sorted(landmarks_lib.LAYOUTS),
        'Layout whose columns the files have.',
    )
    flags.DEFINE_enum(
        'label_base',
        'auto',
        ['auto', '0', '1'],
        'First label, where labels are numbers; auto makes a class of each number that occurs or, with --label_names, '
        'takes the lowest, 0 or 1.',
    )
    flags.DEFINE_string('label_names', None, 'Text file with one gloss per line; default: the labels are the names.')
    flags.DEFINE_enum(
        'handedness',
        'signer',
        list(landmarks_lib.HANDEDNESS),
        "Whose hand the columns of the right hand hold: the signer's right hand (signer) or, as in the published "
        'extraction, the left one (swapped).',
    )


def read(values: flags.FlagValues) -> dataset_lib.Dataset:
    """Reads the files that the flags name."""
    paths = {split: path for split in dataset_lib.SPLITS if (path := values[split].value)}
    if not paths or not values.layout:
        raise errors.InputError('--source=spoter_csv needs --layout and at least one of --train, --validation, --test')
    return read_dataset(
        paths,
        values.name,
        landmarks_lib.LAYOUTS[values.layout],
        label_base=values.label_base,
        missing_value=values.missing_value,
        label_names=values.label_names,
        handedness=values.handedness,
    )


def write(dataset: dataset_lib.Dataset, path: str, values: flags.FlagValues) -> None:
    """Writes a dataset as the flags of `export_dataset` say."""
    write_dataset(dataset, path, values.missing_value)


def read_csv(path: str, layout: landmarks_lib.Layout) -> tuple[list[np.ndarray], np.ndarray]:
    """Reads one file; columns that the layout does not have are ignored.

    Args:
        path: the file. Lists may be separated by commas or blanks and wrapped over lines, as numpy prints them; labels
            may be one number or a list of equal ones, or text; their column is `labels` or `label`.
        layout: whose columns, or their aliases, the file has.

    Returns:
        <float64>[frames, points, 2] of each clip, NaN for the points of absent optional columns, and <int64>[clips]
        labels as in the file, <str>[clips] where all of them are text.

    Raises:
        InputError: the file is missing, empty, lacks a column, or a cell is not what it should be.
    """
    table = tables.read_table(
        path,
        ['labels'],
        rename=lambda column: _rename(column, layout),
        synonyms={'labels': 'labels', 'label': 'labels'},
    )
    present = np.array([column in table for column in layout.columns])
    for column, is_present, point in zip(layout.columns, present, np.repeat(layout.points, 2), strict=True):
        if not is_present and point not in layout.optional_points:
            raise errors.InputError(f'{path} has no column {column!r}, which layout {layout.name} needs')
    labels = _parse_labels(path, table['labels'].tolist())
    table = table[[column for column in layout.columns if column in table]]
    numbers, lengths = _parse_lists(path, table)
    num_frames = lengths[:, 0]
    for index, column in np.argwhere(lengths != num_frames[:, None]):
        expected = f'{num_frames[index]}, as in column {table.columns[0]}'
        raise tables.row_error(path, index, table.columns[column], f'{lengths[index, column]} frames', expected)
    clips = []
    for rows in np.split(numbers, np.cumsum(num_frames * present.sum())[:-1]):
        clip = np.full((len(present), len(rows) // present.sum()), np.nan)
        clip[present] = rows.reshape(present.sum(), -1)
        clips.append(clip.T.reshape(-1, layout.num_points, 2))
    return clips, labels


def _rename(column: str, layout: landmarks_lib.Layout) -> str:
    name = column
    for alias, canonical in layout.column_aliases.items():
        name = name.replace(alias, canonical)
    return name


def _parse_lists(path: str, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Returns <float64>[all numbers], row by row, and <int>[rows, columns], the count of numbers in each cell."""
    cells = pa.array(table.to_numpy().ravel(), pa.string())
    in_brackets = pc.match_substring_regex(cells, r'^\s*\[[^\[\]]*\]\s*$')
    words = pc.ascii_split_whitespace(pc.ascii_trim(pc.replace_substring(cells, ',', ' '), '[] \t\r\n'))
    try:
        if not pc.all(in_brackets).as_py():
            raise ValueError
        numbers = pc.cast(words.flatten(), pa.float64()).to_numpy()
    except ValueError:
        raise _first_bad_cell(path, table) from None
    return numbers, pc.list_value_length(words).to_numpy().reshape(table.shape)


def _first_bad_cell(path: str, table: pd.DataFrame) -> errors.InputError:
    for index, cells in enumerate(table.to_numpy()):
        for column, cell in zip(table.columns, cells, strict=True):
            text = cell.strip()
            try:
                if not (text[:1] == '[' and text[-1:] == ']'):
                    raise ValueError
                if not [float(word) for word in text[1:-1].replace(',', ' ').split()]:
                    raise ValueError
            except ValueError:
                return tables.row_error(path, index, column, text[:30], 'a list of numbers')
    return errors.InputError(f'{path} holds a cell that is not a list of numbers')


def _parse_labels(path: str, cells: Sequence[str]) -> np.ndarray:
    texts = [_parse_text(cell) for cell in cells]
    if None not in texts:
        return np.array(texts)
    return np.array([_parse_label(path, index, cell) for index, cell in enumerate(cells)], np.int64)


def _parse_text(cell: str) -> str | None:
    """The text of a label, which may be a list of equal ones in quotes; None for numbers and all else."""
    cell = dataset_lib.tidy_gloss(cell)
    if cell.startswith('['):
        texts = {dataset_lib.tidy_gloss(text) for _, text in re.findall(r"""(['"])(.*?)\1""", cell)}
        return texts.pop() if len(texts) == 1 else None
    try:
        [float(word) for word in cell.replace(',', ' ').split()]
    except ValueError:
        return cell
    return None


def _parse_label(path: str, index: int, cell: str) -> int:
    words = cell.strip().removeprefix('[').removesuffix(']').replace(',', ' ').split()
    try:
        [value] = {float(word) for word in words}
    except ValueError:
        value = np.nan
    if not (value.is_integer() and 0 <= value < _MOST_LABELS):
        expected = f'one whole number from 0 to {_MOST_LABELS - 1}'
        raise tables.row_error(path, index, 'labels', cell[:30], expected)
    return int(value)


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
        label_base: '0' or '1', the first label; 'auto' makes a class of each label that occurs or, where there are
            names, takes the lowest label, which must be 0 or 1.
        missing_value: a point whose x and y are both this number is missing; None for the layout's own.
        label_names: a text file with one gloss per line; None names the classes by their labels in the file.
        handedness: one of landmarks.HANDEDNESS.

    Raises:
        InputError: see read_csv; or a label lies outside the classes.
    """
    if missing_value is None:
        missing_value = layout.missing_value
    contents = {split: read_csv(path, layout) for split, path in paths.items()}
    labels = {split: found for split, (_, found) in contents.items()}
    values, names = _find_classes(name, paths, labels, label_base, label_names)
    classes = {value: index for index, value in enumerate(values)}
    for split, found in labels.items():
        for index, value in enumerate(found.tolist()):
            if value not in classes:
                expected = (
                    f'one of the names in {label_names}' if found.dtype.kind == 'U' else f'{values[0]} to {values[-1]}'
                )
                raise tables.row_error(paths[split], index, 'labels', value, expected)
    landmarks = [_with_z(clip) for clips, _ in contents.values() for clip in clips]
    origins = plausibility.find_origins(landmarks, layout)
    for clip in landmarks:
        plausibility.mark_missing(clip, [missing_value], layout, origins)
    source = {'kind': 'spoter_csv', 'label_base': values[0], 'missing_value': missing_value}
    return dataset_lib.Dataset.from_clips(
        dataset_lib.Description(name, layout.name, names, handedness=handedness, source=source),
        landmarks=landmarks,
        labels=[classes[value] for found in labels.values() for value in found.tolist()],
        splits=[split for split, (clips, _) in contents.items() for _ in clips],
    )


def _find_classes(
    name: str, paths: Mapping[str, str], labels: Mapping[str, np.ndarray], label_base: str, label_names: str | None
) -> tuple[Sequence[Any], Sequence[str]]:
    """The value that each class has in the files, and its name."""
    given = list(map(dataset_lib.tidy_gloss, files.read_label_names(label_names))) if label_names else None
    texts = [split for split, values in labels.items() if values.dtype.kind == 'U']
    if texts:
        numbers = [split for split in labels if split not in texts]
        if numbers:
            raise errors.InputError(f'labels are text in {paths[texts[0]]} but numbers in {paths[numbers[0]]}')
        names = given or sorted({value for values in labels.values() for value in values.tolist()})
        return names, names
    found = np.unique(np.concatenate(list(labels.values()))).tolist()
    if label_base == 'auto' and given is None:
        if found[0] > 1 or found[-1] - found[0] >= len(found):
            print(
                f'{name}: the labels are {len(found)} numbers between {found[0]} and {found[-1]}; each is a class, '
                'others are not (with --label_base they are)'
            )
        return found, [str(value) for value in found]
    base = _label_base(label_base, paths, labels)
    names = given or [str(value) for value in range(base, found[-1] + 1)]
    return range(base, base + len(names)), names


def _label_base(label_base: str, paths: Mapping[str, str], labels: Mapping[str, np.ndarray]) -> int:
    if label_base != 'auto':
        return int(label_base)
    lowest = {split: int(found.min()) for split, found in labels.items()}
    split = min(lowest, key=lowest.__getitem__)
    if lowest[split] > 1:
        raise errors.InputError(
            f'{paths[split]}: the lowest label is {lowest[split]}, expected 0 or 1; --label_base says which number the '
            'first name has'
        )
    return lowest[split]


def _with_z(clip: np.ndarray) -> np.ndarray:
    """<float64>[frames, points, 2] -> <float32>[frames, points, 3] with NaN where a coordinate is, and for z."""
    clip = np.where(np.isnan(clip).any(axis=-1, keepdims=True), np.nan, clip)
    return np.concatenate([clip, np.full_like(clip[..., :1], np.nan)], axis=-1).astype(np.float32)


def write_dataset(dataset: dataset_lib.Dataset, path: str, missing_value: float | None = None) -> None:
    """Writes a directory with one CSV per split, numbers with the digits that give the same float32 again.

    Args:
        dataset: what to write; z is left out.
        path: the directory, which must be new.
        missing_value: what missing coordinates are written as; None for the layout's own.
    """
    layout = dataset.layout
    if missing_value is None:
        missing_value = layout.missing_value
    with files.create_atomically(path) as temporary:
        os.mkdir(temporary)
        for split, clips in dataset.splits.items():
            rows = _format_rows(clips, layout, missing_value)
            files.write_csv(os.path.join(temporary, f'{split}.csv'), rows, [*layout.columns, 'labels'], is_data=True)


def _format_rows(
    clips: dataset_lib.Clips, layout: landmarks_lib.Layout, missing_value: float
) -> Iterator[dict[str, Any]]:
    for clip, label in zip(clips.landmarks, clips.labels, strict=True):
        flat = np.nan_to_num(clip[..., :2], nan=missing_value).reshape(len(clip), -1)
        labels = _format_list([label] * len(clip)) if layout.labels_per_frame else label
        yield dict(zip(layout.columns, map(_format_list, flat.T), strict=True)) | {'labels': labels}


def _format_list(numbers: np.ndarray | list[int]) -> str:
    return f'[{", ".join(map(str, numbers))}]'
