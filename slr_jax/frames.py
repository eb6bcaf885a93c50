"""Which frames of a clip a model sees: cut, gaps filled, shortened, resampled; pure, usable under jit and vmap.

All take <float32>[time, points, axes] with NaN where a point is missing and in padded frames. A number of frames is
that before the padding.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from slr_jax import landmarks as landmarks_lib

Array = jax.Array


def _between(is_seen: Array) -> Array:
    """<bool>[time], the frames from the first to the last that is seen."""
    frames = jnp.arange(is_seen.shape[0])
    first = jnp.where(is_seen, frames, is_seen.shape[0]).min()
    return (frames >= first) & (frames <= jnp.where(is_seen, frames, -1).max())


# Name -> the frames that stay, <bool>[time], of those with a hand.
TRIMMINGS: dict[str, Callable[[Array], Array] | None] = {'none': None, 'ends': _between, 'all': lambda is_seen: is_seen}

# Name -> the index in its clip of the i-th frame that stays, from i and the numbers of frames and of those that stay.
SHORTENINGS: dict[str, Callable[[Any, Any, int], Any]] = {
    # In whole numbers, so that every program gives the same.
    'sample': lambda i, frames, kept: (2 * i * (frames - 1) + kept - 1) // max(2 * (kept - 1), 1),
    'cut': lambda i, frames, kept: i + (frames - kept) // 2,
}


def trim(method: str, landmarks: Array, num_frames: Array, layout: landmarks_lib.Layout) -> tuple[Array, Array]:
    """Takes frames without a hand out, as one of TRIMMINGS; a clip that has no hand at all stays.

    Returns:
        The same shape, and the number of frames that it has now.
    """
    keep = TRIMMINGS[method]
    if keep is None:
        return landmarks, num_frames
    points = [point for hand in layout.hands for point in hand] or range(layout.num_points)
    frames = jnp.arange(landmarks.shape[0])
    kept = keep(~jnp.isnan(landmarks[:, jnp.array(points), 0]).all(axis=1))
    kept = jnp.where(kept.any(), kept, frames < num_frames)
    count = kept.sum().astype(jnp.int32)
    moved = landmarks[jnp.argsort(~kept, stable=True)]
    return jnp.where((frames < count)[:, None, None], moved, jnp.nan), count


def fill_gaps(landmarks: Array, most: int) -> Array:
    """Fills gaps of at most `most` frames, each coordinate linearly between the frames before and after."""

    def last_seen(seen: Array, frame: tuple[Array, Array]) -> tuple[Array, Array]:
        index, is_present = frame
        seen = jnp.where(is_present, index, seen)
        return seen, seen

    present, time = ~jnp.isnan(landmarks), landmarks.shape[0]
    frames, never = jnp.arange(time), jnp.full(landmarks.shape[1:], -1)
    _, before = jax.lax.scan(last_seen, never, (frames, present))
    _, after = jax.lax.scan(last_seen, never, (frames, present), reverse=True)
    share = (frames[:, None, None] - before) / jnp.maximum(after - before, 1)
    start, end = (jnp.take_along_axis(landmarks, jnp.maximum(x, 0), axis=0) for x in (before, after))
    is_gap = ~present & (before >= 0) & (after >= 0) & (after - before - 1 <= most)
    return jnp.where(is_gap, start + share * (end - start), landmarks)


def shorten(method: str, landmarks: Array, num_frames: Array, most: int) -> tuple[Array, Array]:
    """Takes `most` frames of a longer clip, as one of SHORTENINGS.

    Returns:
        <float32>[kept, points, axes], where `kept` is `time` or, if less, `most`; and the number of frames.
    """
    kept = jnp.arange(landmarks.shape[0])[:most]
    indices = jnp.where(num_frames > most, SHORTENINGS[method](kept, num_frames, most), kept)
    return landmarks[indices], jnp.minimum(num_frames, most)


def resample(landmarks: Array, positions: Array) -> Array:
    """The clip at other frames.

    Args:
        landmarks: of a clip.
        positions: <float32>[frames], numbers of frames from 0 and between them; NaN for an empty frame.

    Returns:
        <float32>[frames, points, axes]: linear between two frames that have the point, else as in the nearer frame.
    """
    last = landmarks.shape[0] - 1
    before = jnp.clip(jnp.floor(jnp.nan_to_num(positions)), 0, last)
    share = (jnp.nan_to_num(positions) - before)[:, None, None]
    first = landmarks[before.astype(jnp.int32)]
    second = landmarks[jnp.minimum(before.astype(jnp.int32) + 1, last)]
    between = first + share * (second - first)
    frames = jnp.where(jnp.isnan(between), jnp.where(share < 0.5, first, second), between)
    return jnp.where(jnp.isnan(positions)[:, None, None], jnp.nan, frames)


def resample_evenly(landmarks: Array, num_frames: Array, count: int) -> Array:
    """<float32>[count, points, axes], the clip at `count` even distances from its first to its last frame."""
    return resample(landmarks, jnp.arange(count) * ((num_frames - 1).astype(jnp.float32) / max(count - 1, 1)))
