"""The parquet files of Kaggle's asl-signs: MediaPipe Holistic, of which the face is left out.

A folder with train.csv (path, participant_id, sequence_id, sign) and the files that it names, with a row per point of
each frame: frame, type, landmark_index, x, y, z.
"""

import functools
import os

from absl import flags
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from preprocessing import clips as clips_lib
from preprocessing import splits, tables
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.formats import clip_folders, extracted
from slr_jax import dataset as dataset_lib
from slr_jax import errors, file_limits

TABLE = 'train.csv'
_COLUMNS = ('frame', 'type', 'landmark_index', 'x', 'y', 'z')
# That reading a table needs.
_BYTES_PER_ROW = 128
# Types of points -> where they are in the layout.
_FIRST_POINTS = {
    kind: landmarker_lib.LAYOUT.groups[group][0]
    for kind, group in (('right_hand', 'right_hand'), ('left_hand', 'left_hand'), ('pose', 'body'))
}


def define_flags() -> None:
    """Defines the flags of `build_dataset --source=asl_signs`."""
    flags.DEFINE_string('input', None, f'Directory of {TABLE} and the files that it names.')
    splits.define_flags()
    extracted.define_points_flags()
    for module in (splits, extracted):
        flags.adopt_module_key_flags(module)


def read(values: flags.FlagValues) -> dataset_lib.Dataset:
    """Reads the folder that the flags name."""
    directory = clip_folders.check_directory(values, 'asl_signs')
    path = os.path.join(directory, TABLE)
    if not os.path.isfile(path):
        raise errors.InputError(
            f'{directory} has no {TABLE}, expected a table of path, participant_id, sequence_id, sign'
        )
    table = tables.read_table(path, ['path', 'participant_id', 'sequence_id', 'sign'])
    clips = [
        clips_lib.Clip(
            str(row.sequence_id), str(row.path), 0, clips_lib.tidy_gloss(str(row.sign)), '', str(row.participant_id)
        )
        for row in table.itertuples()
    ]
    clips, line, redraw = splits.assign_by_flags(clips_lib.number_labels(clips), values, directory)
    clips_lib.check_clips(clips, path)
    print(line)
    return clip_folders.collect(values, 'asl_signs', clips, functools.partial(_read_clip, directory), redraw)


def _read_clip(directory: str, clip: clips_lib.Clip) -> clip_folders.Points | None:
    path = os.path.join(directory, clip.file)
    if not os.path.isfile(path):
        return None
    return clip_folders.Points(landmarker_lib.LAYOUT, read_file(path))


def read_file(path: str) -> np.ndarray:
    """<float32>[frames, 75, 3] of a parquet file."""
    file_limits.check_regular(path)
    try:
        described = pq.read_metadata(path)
        unpacked = sum(described.row_group(i).total_byte_size for i in range(described.num_row_groups))
        file_limits.check_unpacked(path, max(unpacked, described.num_rows * _BYTES_PER_ROW))
        # Where a text is repeated, it is not unpacked.
        table = pq.read_table(path, columns=list(_COLUMNS), read_dictionary=['type'])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise errors.InputError(f'{path} is damaged, or not a parquet file of landmarks') from error
    missing = [column for column in _COLUMNS if column not in table.column_names]
    if missing:
        raise errors.InputError(f'{path} has no column {missing[0]!r}, expected {", ".join(_COLUMNS)}')
    frames, rows = np.unique(table['frame'].to_numpy(), return_inverse=True)
    found = table['type'].unify_dictionaries().combine_chunks()
    kinds = found.indices.to_numpy(zero_copy_only=False)
    names = found.dictionary.to_pylist()
    indices = table['landmark_index'].to_numpy()
    values = np.stack([table[axis].to_numpy() for axis in 'xyz'], axis=-1).astype(np.float32)
    file_limits.check_unpacked(path, 12 * landmarker_lib.LAYOUT.num_points * len(frames))
    points = np.full((len(frames), landmarker_lib.LAYOUT.num_points, 3), np.nan, np.float32)
    for kind, first in _FIRST_POINTS.items():
        is_kind = kinds == (names.index(kind) if kind in names else -1)
        count = 33 if kind == 'pose' else 21
        if (indices[is_kind] >= count).any() or (indices[is_kind] < 0).any():
            raise errors.InputError(f'{path}: {kind} has points beyond its {count}')
        points[rows[is_kind], first + indices[is_kind]] = values[is_kind]
    return points
