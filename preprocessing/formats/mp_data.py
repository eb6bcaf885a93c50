"""MP_Data folders: a folder per clip that holds a NumPy file of all numbers of MediaPipe Holistic per frame.

`class/clip/frame.npy`, with 126 numbers (left hand, right hand), 258 (pose with visibility, left hand, right hand), or
1,662 (pose, face of 468 points, left hand, right hand), or 1,692 (face of 478); a part that is not seen is zeros. An
array of a whole clip, `class/clip.npy`, has a row per frame.
"""

import os

from absl import flags
import numpy as np

from preprocessing import file_kinds
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.formats import clip_folders, numpy_files
from slr_jax import dataset as dataset_lib
from slr_jax import errors

_POSE, _HANDS = 33 * 4, 2 * 21 * 3
# Numbers per frame -> those of pose and face, which come before the hands.
_BEFORE_HANDS = {_HANDS: 0, _POSE + _HANDS: _POSE} | {
    _POSE + face * 3 + _HANDS: _POSE + face * 3 for face in (468, 478)
}


def define_flags() -> None:
    """Defines the flags of `build_dataset --source=mp_data`."""
    clip_folders.define_flags()
    flags.adopt_module_key_flags(clip_folders)


def read(values: flags.FlagValues) -> dataset_lib.Dataset:
    """Reads the folder that the flags name."""
    return clip_folders.read(values, 'mp_data', '.npy files', find_items, read_item)


def find_items(directory: str) -> list[str]:
    """Folders of one array per frame, empty ones too, and files of whole clips."""
    items, has_arrays = [], False
    for parent, folders, names in os.walk(directory, followlinks=True):
        folders[:] = [folder for folder in folders if not folder.startswith('.')]
        arrays = sorted(name for name in names if name.endswith('.npy'))
        has_arrays |= bool(arrays)
        here = os.path.relpath(parent, directory)
        if arrays and _read_array(os.path.join(parent, arrays[0])).ndim == 2:
            items += [os.path.normpath(os.path.join(here, name.removesuffix('.npy'))) for name in arrays]
        elif (arrays or not folders) and here != '.':
            items.append(here)
    return items if has_arrays else []


def read_item(path: str) -> clip_folders.Points | None:
    """Reads a clip; None where its folder is empty."""
    if os.path.isdir(path):
        names = [name for name in os.listdir(path) if name.endswith('.npy')]
        files = [os.path.join(path, name) for name in sorted(names, key=clip_folders.frame_order)]
        rows = [_check(file, _read_array(file), 1) for file in files]
        if not rows:
            return None
        if len({row.size for row in rows}) > 1:
            raise errors.InputError(f'{path}: {files[0]} has {rows[0].size} numbers, but not every frame has as many')
        return clip_folders.Points(landmarker_lib.LAYOUT, _to_points(np.stack(rows)))
    path = f'{path}.npy'
    return clip_folders.Points(landmarker_lib.LAYOUT, _to_points(_check(path, _read_array(path), 2)))


def _read_array(path: str) -> np.ndarray:
    try:
        with open(path, 'rb') as file:
            return numpy_files.read_array(file, as_float32=True)
    except OSError:
        raise
    # Damaged bytes raise many kinds of errors.
    except Exception as error:
        kind = file_kinds.describe(path) or errors.one_line(error)
        raise errors.InputError(f'{path} is damaged, or not an array of numbers: {kind}') from error


def _check(path: str, array: np.ndarray, num_axes: int) -> np.ndarray:
    """Refuses what is not the numbers of a frame, or of a row per frame."""
    if array.dtype != np.float32 or array.ndim != num_axes or array.shape[-1] not in _BEFORE_HANDS:
        expected = ', '.join(map(str, _BEFORE_HANDS))
        rows = 'one row' if num_axes == 1 else 'a row each'
        raise errors.InputError(
            f'{path} is {array.dtype}{list(array.shape)}, expected {expected} numbers per frame, {rows}'
        )
    return array


def _to_points(rows: np.ndarray) -> np.ndarray:
    points = np.full((len(rows), landmarker_lib.LAYOUT.num_points, 3), np.nan, np.float32)
    groups = {name: list(indices) for name, indices in landmarker_lib.LAYOUT.groups.items()}
    hands = rows[:, -_HANDS:].reshape(len(rows), 2, 21, 3)
    points[:, groups['left_hand']], points[:, groups['right_hand']] = hands[:, 0], hands[:, 1]
    if _BEFORE_HANDS[rows.shape[1]]:
        points[:, groups['body']] = rows[:, :_POSE].reshape(len(rows), 33, 4)[..., :3]
    for indices in groups.values():
        # A single point is at 0 where the others of its part are relative to it.
        is_unseen = (points[:, indices, :2] == 0).all(axis=(1, 2))
        points[np.ix_(is_unseen, indices)] = np.nan
    return points
