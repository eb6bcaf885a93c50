"""Folders of NumPy arrays of MediaPipe's landmarks: class/clip.npy for a clip, or class/clip/frame.npy for each frame.

What a frame holds is said by its shape: points with x, y and perhaps z and visibility ([points, 2 to 4], or
[2, 21, 2 to 4] of both hands), or the same numbers in one row, or the rows of MP_Data folders, in which the pose has
visibility and the rest has not. An array of a clip has such frames along its first axis. A part that is not seen is
zeros or NaN; the face is left out.
"""

from collections.abc import Sequence
import math
import os

from absl import flags
import numpy as np

from preprocessing import file_kinds
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import video_files
from preprocessing.formats import clip_folders, numpy_files
from slr_jax import dataset as dataset_lib
from slr_jax import errors, file_limits, progress
from slr_jax import landmarks as landmarks_lib

_HAND = landmarks_lib.LAYOUTS['mediapipe_hand']
_HANDS = ('left_hand', 'right_hand')
_HOLISTIC = ('face', 'left_hand', 'pose', 'right_hand')
_MP_DATA = ('pose', 'face', *_HANDS)
# Points per frame -> parts in the order of scripts for MediaPipe Holistic; that with the face is of its tables.
_PARTS = {21: ('hand',), 33: ('pose',), 42: _HANDS, 75: ('pose', *_HANDS), 543: _HOLISTIC, 553: _HOLISTIC}
_SIZES = {'hand': 21, 'left_hand': 21, 'right_hand': 21, 'pose': 33}
# Part, its points, and the numbers of each.
_Reading = tuple[tuple[str, int, int], ...]


def _reading(parts: Sequence[str], num_points: int, num_axes: int, pose_axes: int) -> _Reading:
    face = num_points - sum(_SIZES.get(part, 0) for part in parts)
    return tuple((part, _SIZES.get(part, face), pose_axes if part == 'pose' else num_axes) for part in parts)


_BY_POINTS = {(points, axes): _reading(_PARTS[points], points, axes, axes) for points in _PARTS for axes in (2, 3, 4)}
# One row of numbers; 84 are two hands with x and y, rather than one with visibility, which hands do not have.
_BY_NUMBERS = {
    points * axes: reading
    for (points, axes), reading in _BY_POINTS.items()
    if axes < 4 or any(part == 'pose' for part, *_ in reading)
} | {
    num_points * 3 + 33: _reading(parts, num_points, 3, 4)
    for num_points, parts in ((75, ('pose', *_HANDS)), (543, _MP_DATA), (553, _MP_DATA))
}
_EXPECTED = (
    f'per frame {", ".join(map(str, _PARTS))} points of 2 to 4 numbers, 2 hands of 21, or a row of '
    f'{", ".join(map(str, sorted(_BY_NUMBERS)))} numbers'
)


def define_flags() -> None:
    """Defines the flags of `build_dataset --source=mp_data`."""
    clip_folders.define_flags()
    flags.DEFINE_list(
        'order',
        None,
        'Order of the parts in the arrays, of pose, face, left_hand and right_hand; default: that which is printed.',
    )
    flags.adopt_module_key_flags(clip_folders)


def read(values: flags.FlagValues) -> dataset_lib.Dataset:
    """Reads the folder that the flags name."""
    reader = _Reader(values.order)
    return clip_folders.read(values, 'mp_data', '.npy files', find_items, reader.read_item)


def find_items(directory: str) -> list[str]:
    """Folders of one array per frame, empty ones too, and files of whole clips."""
    items, has_arrays, strays = [], False, []
    for parent, folders, names in video_files.walk(directory):
        arrays = sorted(name for name in names if name.endswith('.npy'))
        here = os.path.relpath(parent, directory)
        if arrays and _are_clips(parent, arrays, may_be_strays=here == '.'):
            items += [os.path.normpath(os.path.join(here, name.removesuffix('.npy'))) for name in arrays]
        elif here == '.':
            strays = arrays
            continue
        elif arrays or not folders:
            items.append(here)
        has_arrays |= bool(arrays)
    if strays and not has_arrays:
        path = os.path.join(directory, strays[0])
        raise _refusal(path, _read_array(path))
    if strays:
        progress.report(f'passed over, not arrays of clips: {", ".join(strays)}')
    return items if has_arrays else []


def _are_clips(directory: str, names: Sequence[str], *, may_be_strays: bool) -> bool:
    """Whether the arrays of a folder are clips, not frames, as the first says whose shape is not that of both."""
    for name in names:
        array = _read_array(os.path.join(directory, name))
        is_frame, is_clip = bool(_find_reading(array.shape)), bool(_find_reading(array.shape[1:]))
        if is_frame != is_clip:
            return is_clip
        if not is_frame and not may_be_strays:
            raise _refusal(os.path.join(directory, name), array)
    return False


def _find_reading(shape: tuple[int, ...]) -> _Reading | None:
    """What a frame of a shape holds; None where that is not known."""
    if len(shape) == 1:
        return _BY_NUMBERS.get(shape[0])
    if len(shape) == 2 or shape[:-1] == (2, 21):
        return _BY_POINTS.get((math.prod(shape[:-1]), shape[-1]))
    return None


class _Reader:
    """Reads clips, and prints once how each kind of array is understood."""

    def __init__(self, order: Sequence[str] | None) -> None:
        self._order = order
        self._printed: set[_Reading] = set()

    def read_item(self, path: str) -> clip_folders.Points | None:
        """Reads a clip; None where its folder is empty."""
        if not os.path.isdir(path):
            return self._to_points(f'{path}.npy', _read_array(f'{path}.npy'))
        names = [name for name in os.listdir(path) if name.endswith('.npy')]
        paths = [os.path.join(path, name) for name in sorted(names, key=clip_folders.frame_order)]
        if not paths:
            return None
        frames = [_read_array(path) for path in paths]
        for frame, name in zip(frames, paths, strict=True):
            if frame.dtype != np.float32 or not _find_reading(frame.shape):
                raise _refusal(name, frame)
            if frame.shape != frames[0].shape:
                raise errors.InputError(
                    f'{name} is {frame.dtype}{list(frame.shape)}, but {paths[0]} {list(frames[0].shape)}, expected '
                    'frames of one shape'
                )
        return self._to_points(paths[0], np.stack(frames))

    def _to_points(self, path: str, clip: np.ndarray) -> clip_folders.Points:
        """Takes [frames, ...] apart."""
        found = _find_reading(clip.shape[1:])
        if clip.dtype != np.float32 or not found:
            raise _refusal(path, clip)
        reading = self._in_order(path, found)
        if reading not in self._printed:
            self._printed.add(reading)
            other = '; --order says another order' if len(reading) > 1 else ''
            progress.report(f'{path} is taken as {_describe(reading)}{other}')
        layout = _HAND if reading[0][0] == 'hand' else landmarker_lib.LAYOUT
        points = np.full((len(clip), layout.num_points, 3), np.nan, np.float32)
        rows, first = clip.reshape(len(clip), math.prod(clip.shape[1:])), 0
        for part, num_points, num_axes in reading:
            numbers = rows[:, first : first + num_points * num_axes].reshape(len(rows), num_points, num_axes)
            first += num_points * num_axes
            if part != 'face':
                seen = (numbers[..., :2] != 0).any(axis=(1, 2), keepdims=True)
                indices = layout.groups['body' if part == 'pose' else part]
                points[:, indices, : min(num_axes, 3)] = np.where(seen, numbers[..., :3], np.nan)
        return clip_folders.Points(layout, points)

    def _in_order(self, path: str, reading: _Reading) -> _Reading:
        if not self._order:
            return reading
        by_name = {part[0]: part for part in reading}
        if sorted(self._order) != sorted(by_name):
            raise errors.InputError(
                f'--order={",".join(self._order)}, but {path} is taken as {_describe(reading)}, expected these parts'
            )
        return tuple(by_name[part] for part in self._order)


def _describe(reading: _Reading) -> str:
    axes = ('x', 'y', 'z', 'visibility')
    return ', '.join(f'{part} of {points} ({", ".join(axes[:count])})' for part, points, count in reading)


def _refusal(path: str, array: np.ndarray) -> errors.InputError:
    is_many = bool(_find_reading(array.shape[2:]))
    many = f'; it looks like {len(array)} clips: save each as a file of its own, class/clip.npy' if is_many else ''
    return errors.InputError(
        f'{path} is {array.dtype}{list(array.shape)}, expected the frames of a clip, class/clip.npy, or one '
        f'frame, class/clip/frame.npy: {_EXPECTED}{many}'
    )


def _read_array(path: str) -> np.ndarray:
    file_limits.check_regular(path)
    try:
        with open(path, 'rb') as file:
            return numpy_files.read_array(file, os.path.getsize(path), as_float32=True)
    except OSError:
        raise
    # Damaged bytes raise many kinds of errors.
    except Exception as error:
        kind = file_kinds.describe(path)
        if not kind or 'NumPy' in kind:
            kind = errors.one_line(error)
        raise errors.InputError(f'{path} is damaged, or not an array of numbers: {kind}') from error
