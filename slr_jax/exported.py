"""Loads an exported model, whose answers need jax and numpy only (and flatbuffers, with which jax.export reads files).

    from slr_jax import exported

    exported.load('F').predict(landmarks)

`python -m slr_jax.export` copies this file into each export as load.py, for where slr_jax is not installed. So it
imports nothing of slr_jax.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
import os
from typing import Any

import jax
from jax import export as jax_export
import numpy as np

FORMAT = 'slr_jax export 1'
PROGRAM, DESCRIPTION = 'model.jax_export', 'model.json'

# Clips that are computed at once, and pairs of frames that attention looks at, to limit memory.
_BATCH_SIZE, _MAX_PAIRS = 32, 2**23
_MAX_CAUSE = 240


class ExportError(ValueError):
    """One sentence that names the file or the clip, what was found and what was expected."""


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """A model that was read from an export.

    Attributes:
        description: the content of model.json: glosses, layout, versions, accuracy and so on.
        call: <float32>[batch, time, points, 3] landmarks, NaN where missing, and <int32>[batch] frames of each clip
            before its padding -> <float32>[batch, classes], probabilities; compiled for each batch and time. If
            model.json has a frame_size, x and z are to be multiplied by width / height of the picture.
    """

    description: Mapping[str, Any]
    call: Any

    @property
    def glosses(self) -> list[str]:
        """The gloss of each class."""
        return self.description['glosses']

    def predict(
        self, landmarks: np.ndarray | Sequence[np.ndarray], k: int = 5, frame_size: Any = None
    ) -> list[list[tuple[str, float]]] | list[tuple[str, float]]:
        """The likeliest glosses of one clip, or of each of several.

        Args:
            landmarks: <float32>[frames, points, 3] in the layout of the model, normalized image coordinates (x to the
                right, y down, z as MediaPipe gives it or NaN), NaN where a point is missing; or a sequence of these.
            k: how many glosses.
            frame_size: width and height in pixels of the pictures as they are shown, one pair for all clips or one for
                each; (0, 0) or None where unknown, which is taken to be the frame_size of model.json. If that is null,
                coordinates are taken as they are.

        Returns:
            Pairs of gloss and probability, likeliest first; of several clips, such a list for each.

        Raises:
            ExportError: a clip is not of numbers, has another shape or no frames, nothing is seen in it, or it holds
                infinite coordinates or pixels; or frame_size is no such pairs.
        """
        answers = [
            [(self.glosses[label], float(row[label])) for label in np.argsort(-row, kind='stable')[:k]]
            for row in self.probabilities(landmarks, frame_size)
        ]
        return answers[0] if getattr(landmarks, 'ndim', None) == 3 else answers

    def probabilities(self, landmarks: np.ndarray | Sequence[np.ndarray], frame_size: Any = None) -> np.ndarray:
        """<float32>[clips, classes], the answers to several clips; see `predict`."""
        given: Any = [landmarks] if getattr(landmarks, 'ndim', None) == 3 else landmarks
        if isinstance(given, (str, bytes, dict)) or getattr(given, 'ndim', 4) != 4 or not hasattr(given, '__iter__'):
            found = f'shape {given.shape}' if hasattr(given, 'shape') else type(given).__name__
            points = len(self.description['layout']['points'])
            raise ExportError(
                f'the landmarks are of {found}, expected a clip (frames, {points}, 3), or a list of such clips'
            )
        clips = self._to_square([self._checked(clip, number) for number, clip in enumerate(given)], frame_size)
        answers = np.zeros((len(clips), len(self.glosses)), np.float32)
        order = np.argsort([len(clip) for clip in clips], kind='stable')
        while len(order):
            length = _padded_length(len(clips[order[:_BATCH_SIZE][-1]]))
            chosen = order[: min(_BATCH_SIZE, max(1, _MAX_PAIRS // length**2))]
            order = order[len(chosen) :]
            # Lengths are rounded up and rows are a power of two, to limit compilations.
            rows = 1 << (len(chosen) - 1).bit_length()
            padded = np.full((rows, length, *clips[chosen[0]].shape[1:]), np.nan, np.float32)
            num_frames = np.zeros(rows, np.int32)
            for row, i in enumerate(chosen):
                padded[row, : len(clips[i])], num_frames[row] = clips[i], len(clips[i])
            answers[chosen] = np.asarray(self.call(padded, num_frames))[: len(chosen)]
        return answers

    def _to_square(self, clips: list[np.ndarray], frame_size: Any) -> list[np.ndarray]:
        """Multiplies x and z by width / height of the picture, where the model wants that."""
        try:
            sizes = np.asarray((0, 0) if frame_size is None else frame_size, np.float64)
            if sizes.shape not in ((2,), (len(clips), 2)) or not ((sizes >= 0) & (sizes % 1 == 0)).all():
                raise ValueError
        except (TypeError, ValueError):
            raise ExportError(
                f'frame_size is {str(frame_size)[:80]}, expected width and height in pixels (0 and 0 where unknown), '
                f'one pair or one for each of {len(clips)} clips'
            ) from None
        # Exports of before have none.
        usual = self.description.get('frame_size')
        if usual is None:
            return clips
        sizes = np.broadcast_to(sizes, (len(clips), 2))
        sizes = np.where((sizes > 0).all(axis=1, keepdims=True), sizes, usual)
        aspects = (sizes[:, 0] / sizes[:, 1]).astype(np.float32)
        return [clip * np.array([aspect, 1, aspect], np.float32) for clip, aspect in zip(clips, aspects, strict=True)]

    def _checked(self, clip: Any, number: int) -> np.ndarray:
        points = len(self.description['layout']['points'])
        try:
            clip = np.asarray(clip)
            if clip.dtype.kind in 'cSUMm':
                raise TypeError(f'its dtype is {clip.dtype}')
            clip = clip.astype(np.float32)
        except (TypeError, ValueError) as error:
            raise ExportError(f'clip {number} is not an array of numbers: {_one_line(error)}') from None
        if clip.ndim != 3 or clip.shape[1:] != (points, 3) or not len(clip):
            raise ExportError(
                f'clip {number} has shape {clip.shape}, expected (frames, {points}, 3) with at least one frame'
            )
        xy = clip[..., :2]
        problem = None
        if np.isnan(xy).all():
            problem = 'has no landmark in any frame (NaN everywhere)'
        elif np.isinf(clip).any():
            problem = 'holds infinite coordinates'
        elif 2 * ((xy < -1) | (xy > 2)).sum() > (~np.isnan(xy)).sum():
            problem = 'has most coordinates outside -1 to 2, as pixels are, expected fractions of width and height'
        if problem:
            raise ExportError(f'clip {number} {problem}')
        if self.description['layout']['axes'] == 'xyz' and np.isnan(clip[..., 2]).all():
            raise ExportError(f'clip {number} has no z, which this model needs')
        return clip


def _padded_length(num_frames: int) -> int:
    """Rounds up to a multiple of 16, and from 64 on to two lengths per power of two."""
    step = max(16, (1 << (num_frames - 1).bit_length()) // 4)
    return -(-num_frames // step) * step


def load(folder: str) -> ExportedModel:
    """Loads an export, which should come from where you trust programs: it is one.

    Args:
        folder: what `python -m slr_jax.export` wrote.

    Raises:
        ExportError: it is not an export, or is damaged; or this version of jax cannot read it, and then how to mend it.
    """
    description = _read_description(folder)
    path = os.path.join(folder, PROGRAM)
    try:
        return ExportedModel(description, _read_program(path, description))
    except (KeyError, TypeError) as error:
        cause = _one_line(error)
        raise ExportError(f'{os.path.join(folder, DESCRIPTION)} is damaged: it does not say {cause}') from error


def _read_description(folder: str) -> Mapping[str, Any]:
    path = os.path.join(folder, DESCRIPTION)
    _check_regular(path)
    try:
        with open(path, encoding='utf-8') as file:
            description = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        raise ExportError(f'{folder} is not an export: it has no {DESCRIPTION}') from None
    # Of JSON that is nested too deeply Python says the latter.
    except (ValueError, RecursionError) as error:
        raise ExportError(f'{path} is damaged, expected JSON: {_one_line(error)}') from None
    found = description.get('format') if isinstance(description, dict) else None
    if found != FORMAT:
        raise ExportError(
            f'{path} has format {found!r}, expected {FORMAT!r}: it is not that of an export, or of another slr_jax'
        )
    return description


def _check_regular(path: str) -> None:
    """Refuses a pipe, a socket or a device, reading which might never end."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ExportError(f'{path} is not a file')


def _read_program(path: str, description: Mapping[str, Any]) -> Any:
    _check_regular(path)
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except FileNotFoundError:
        raise ExportError(f'{path} is missing: the export is incomplete') from None
    if hashlib.sha256(data).hexdigest() != description['sha256'][PROGRAM]:
        raise ExportError(f'{path} is damaged: its SHA-256 is not the one in {DESCRIPTION}')
    convention, written_by = description['calling_convention']['version'], description['versions']['jax']
    mend = f'install jax {written_by}, or export the model again with {description["export_again"]}'
    lowest = jax_export.minimum_supported_calling_convention_version
    highest = jax_export.maximum_supported_calling_convention_version
    if not lowest <= convention <= highest:
        raise ExportError(
            f'{path} has calling convention {convention} of jax.export, but jax {jax.__version__} reads {lowest} to '
            f'{highest}: {mend}'
        )
    points = len(description['layout']['points'])
    try:
        call = jax.jit(jax_export.deserialize(bytearray(data)).call)
        # Also reads the program itself, and checks that it is for this machine's platform.
        call.lower(jax.ShapeDtypeStruct((1, 16, points, 3), np.float32), jax.ShapeDtypeStruct((1,), np.int32))
    except ImportError as error:
        raise ExportError(f'{path} cannot be read: {_one_line(error)}') from error
    # Versions of jax that cannot read a file raise many kinds of errors.
    except Exception as error:
        raise ExportError(
            f'{path}, written by jax {written_by}, cannot be read by jax {jax.__version__} ({_one_line(error)}): {mend}'
        ) from error
    return call


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())[:_MAX_CAUSE] or type(error).__name__
