"""Tracks of points that are taken from other clips: they have the right marginal and say nothing of the clip."""

from collections.abc import Sequence

import numpy as np

from slr_jax import errors


def other_clips(num_clips: int, rng: np.random.Generator) -> np.ndarray:
    """Another clip for each clip, <int>[clips], each of them once.

    Raises:
        InputError: there are fewer than two clips.
    """
    if num_clips < 2:
        raise errors.InputError(
            f'tracks are to be taken from other clips, found {num_clips} clips, expected at least 2'
        )
    order = rng.permutation(num_clips)
    others = np.empty_like(order)
    others[order] = np.roll(order, 1)
    return others


def stretch(clip: np.ndarray, num_frames: int) -> np.ndarray:
    """The frames of a clip [frames, …] at even distances, so many of them."""
    return clip[np.linspace(0, len(clip) - 1, num_frames).round().astype(int)]


def add_shadows(features: Sequence[np.ndarray], num_blocks: int, seed: int) -> list[np.ndarray]:
    """Appends to each block of features that of another clip, stretched to as many frames (Kursa & Rudnicki, 2010).

    Args:
        features: <float32>[frames, dim] of each clip.
        num_blocks: that `dim` consists of.
        seed: of which clip goes with which.

    Returns:
        <float32>[frames, 2 * dim] of each clip.

    Raises:
        InputError: there are fewer than two clips.
    """
    others = other_clips(len(features), np.random.default_rng(seed))
    shadowed = []
    for clip, other in zip(features, others, strict=True):
        blocks = [x.reshape(len(clip), num_blocks, -1) for x in (clip, stretch(features[other], len(clip)))]
        shadowed.append(np.concatenate(blocks, axis=-1).reshape(len(clip), -1))
    return shadowed
