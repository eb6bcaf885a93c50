"""The shape of the pictures that landmarks are of: its width and height are the units of x and y.

In square coordinates both have the unit of the height, so that angles and lengths are those of the picture. Sizes are
those of the picture as it is shown: turned, and with pixels that are square. Imports no jax.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from slr_jax import errors

# One pair of width and height for all clips, or a pair for each; None where unknown.
FrameSizes = Sequence[int] | Sequence[Sequence[int]] | np.ndarray | None

# Shapes that differ by less are one, such as 1920x1080 and 854x480.
_SAME_ASPECT = 1.02


def of_clips(given: FrameSizes, num_clips: int) -> np.ndarray:
    """<int32>[clips, 2], width and height of the pictures of each clip in pixels, (0, 0) where unknown.

    Raises:
        InputError: what is given are no pairs of whole numbers from 0, one or one for each clip.
    """
    try:
        pairs = np.asarray((0, 0) if given is None else given, np.float64)
        if pairs.shape not in ((2,), (num_clips, 2)) or not ((pairs >= 0) & (pairs < 2**31) & (pairs % 1 == 0)).all():
            raise ValueError
    except (ValueError, TypeError):
        raise errors.InputError(
            f'frame_size is {str(given)[:80]}, expected width and height in pixels (0 and 0 where unknown), one pair '
            f'or one for each of {num_clips} clips'
        ) from None
    pairs = np.broadcast_to(pairs, (num_clips, 2))
    return np.where((pairs > 0).all(axis=1, keepdims=True), pairs, 0).astype(np.int32)


def count(sizes: np.ndarray) -> dict[str, int] | None:
    """'640x480' -> number of clips of that size, most first; None where none is known."""
    known = [f'{width}x{height}' for width, height in sizes.tolist() if width]
    return dict(Counter(known).most_common()) or None


def aspects(sizes: FrameSizes, num_clips: int, trained_on: Mapping[str, int] | None) -> np.ndarray | None:
    """<float32>[clips], width over height of the pictures of clips.

    Args:
        sizes: of the clips.
        num_clips: how many.
        trained_on: sizes that the training data of a model have, see `count`; where the size of a clip is unknown, it
            is taken to be the most frequent of them.

    Returns:
        None where the sizes of the training data are unknown: then coordinates are taken as they are.
    """
    sizes = of_clips(sizes, num_clips)
    if not trained_on:
        return None
    sizes = np.where(sizes > 0, sizes, usual(trained_on))
    return (sizes[:, 0] / sizes[:, 1]).astype(np.float32)


def usual(counts: Mapping[str, int]) -> tuple[int, int]:
    """The most frequent of sizes, of which there is one at least; see `count`."""
    width, height = max(counts, key=counts.__getitem__).split('x')
    return int(width), int(height)


def to_square(landmarks: Any, aspect: Any) -> Any:
    """Coordinates in heights of the picture; z, which is in widths, too.

    Args:
        landmarks: <float32>[…, points, axes], axes x, y and perhaps z, of NumPy or JAX.
        aspect: width over height.
    """
    return landmarks * _scale(landmarks, aspect)


def from_square(landmarks: Any, aspect: Any) -> Any:
    """The reverse of `to_square`."""
    return landmarks / _scale(landmarks, aspect)


def _scale(landmarks: Any, aspect: Any) -> Any:
    is_y = (np.arange(landmarks.shape[-1]) == 1).astype(np.float32)
    return is_y + (1 - is_y) * aspect


# --- What is said of them


def describe(counts: Mapping[str, int]) -> str:
    """Sizes with their numbers of clips, in words."""
    return errors.first_of([f'{name} ({count})' for name, count in counts.items()], most=5)


def is_same_shape(size: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two pairs of width and height are of one shape."""
    one, two = size[0] * other[1], size[1] * other[0]
    return max(one, two) <= _SAME_ASPECT * min(one, two)


def has_several_shapes(counts: Mapping[str, int] | None) -> bool:
    """Whether sizes are of several shapes."""
    aspects = _aspects_of(counts or ())
    return bool(aspects) and max(aspects) > _SAME_ASPECT * min(aspects)


def _aspects_of(counts: Iterable[str]) -> list[float]:
    return [int(width) / int(height) for width, height in (name.split('x') for name in counts)]


def _describe_unknown(num_unknown: int, num_clips: int, counts: Mapping[str, int], others: str) -> str:
    width, height = usual(counts)
    return (
        f'the shape of the pictures of {num_unknown} of {num_clips} clips is unknown and taken to be that of '
        f'{width}x{height}, as of most {others}; build_dataset --frame_size states it'
    )


def check_training(counts: Mapping[str, int] | None, num_clips: int, *, uses_shape: bool) -> str:
    """What is to be said of the shapes of the clips that a model is trained on; empty for nothing.

    Args:
        counts: of their sizes, see `count`.
        num_clips: how many, of unknown sizes too.
        uses_shape: see `compare`.
    """
    if not counts:
        return ''
    num_unknown = num_clips - sum(counts.values())
    if num_unknown:
        return _describe_unknown(num_unknown, num_clips, counts, 'others')
    if has_several_shapes(counts) and not uses_shape:
        return (
            f"pictures are of several shapes ({describe(counts)}), for which config.normalize 'none' does not account; "
            "'centered' does"
        )
    return ''


def compare(sizes: FrameSizes, num_clips: int, trained_on: Mapping[str, int] | None, *, uses_shape: bool) -> str:
    """What is to be said where clips have not the shape of those that a model was trained on; empty where they have.

    Args:
        sizes: of the pictures of the clips.
        num_clips: how many.
        trained_on: sizes of the training data, see `count`; None where unknown.
        uses_shape: whether the model is fed square coordinates where the shape is known (its normalize is not 'none').
    """
    sizes = of_clips(sizes, num_clips)
    found = count(sizes) or {}
    if not trained_on:
        sentence = (
            f'the clips are of pictures of {describe(found)}, but the shape of those that the model was trained on is '
            'unknown; if it is another, a person is another person to the model (build_dataset --frame_size states it)'
        )
        return sentence if found else ''
    num_unknown = num_clips - sum(found.values())
    if num_unknown:
        return _describe_unknown(num_unknown, num_clips, trained_on, 'clips that the model was trained on')
    known = _aspects_of(trained_on)
    lowest, highest = min(known) / _SAME_ASPECT, max(known) * _SAME_ASPECT
    others = {name: number for name, number in found.items() if not lowest <= _aspects_of([name])[0] <= highest}
    if uses_shape or not others:
        return ''
    return (
        f'the clips are of pictures of {describe(others)}, but the model was trained on {describe(trained_on)}; with '
        "normalize 'none', a person in pictures of another shape is another person to it"
    )
