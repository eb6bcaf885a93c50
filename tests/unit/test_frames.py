"""Frames of a clip against NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slr_jax import frames
from slr_jax import landmarks as landmarks_lib

HANDS_POSE = landmarks_lib.LAYOUTS['mediapipe_hands_pose']


def clip_with_hand_in(*seen, layout=HANDS_POSE, time=8):
    """<float32>[time, points, 3], whose values are the numbers of the frames; a body is always there."""
    clip = np.broadcast_to(np.arange(time, dtype=np.float32)[:, None, None], (time, layout.num_points, 3)).copy()
    for hand in layout.hands:
        clip[np.ix_([i for i in range(time) if i not in seen], hand)] = np.nan
    return clip


@pytest.mark.parametrize(
    ('method', 'kept'), [('none', range(8)), ('ends', [2, 3, 4, 5, 6]), ('all', [2, 4, 6])], ids=frames.TRIMMINGS
)
def test_trimming_keeps_the_frames_with_a_hand(method, kept):
    clip = clip_with_hand_in(2, 4, 6)
    trimmed, count = jax.jit(lambda clip: frames.trim(method, clip, 8, HANDS_POSE))(clip)
    assert count == len(kept)
    np.testing.assert_array_equal(trimmed[:count, 50, 0], kept)
    assert np.isnan(trimmed[count:]).all()


@pytest.mark.parametrize('method', ['ends', 'all'])
def test_a_clip_without_a_hand_stays(method):
    clip = clip_with_hand_in()
    clip[5:] = np.nan
    trimmed, count = frames.trim(method, jnp.asarray(clip), jnp.int32(5), HANDS_POSE)
    assert count == 5
    np.testing.assert_array_equal(trimmed, clip)


@pytest.mark.parametrize('most', [0, 1, 2, 5])
def test_gaps_are_filled_as_numpy_interpolates(most):
    rng = np.random.default_rng(0)
    clip = rng.normal(size=(40, 21, 2)).astype(np.float32)
    clip[rng.random(clip.shape[:2]) < 0.5] = np.nan
    filled = np.asarray(jax.jit(frames.fill_gaps, static_argnums=1)(clip, most))
    for point in range(21):
        seen = np.flatnonzero(~np.isnan(clip[:, point, 0]))
        expected = clip[:, point].copy()
        for before, after in itertools.pairwise(seen):
            if after - before - 1 <= most:
                inside = np.arange(before + 1, after)
                for axis in range(2):
                    expected[inside, axis] = np.interp(inside, [before, after], clip[[before, after], point, axis])
        np.testing.assert_allclose(filled[:, point], expected, atol=1e-6)


@pytest.mark.parametrize('count', [1, 5, 7, 13])
def test_even_resampling_is_linear(count):
    clip = np.random.default_rng(0).normal(size=(7, 21, 3)).astype(np.float32)
    padded = np.concatenate([clip, np.full((3, 21, 3), np.nan, np.float32)])
    found = np.asarray(frames.resample_evenly(jnp.asarray(padded), jnp.int32(7), count))
    positions = np.linspace(0, 6, count)
    for point, axis in np.ndindex(21, 3):
        expected = np.interp(positions, range(7), clip[:, point, axis])
        np.testing.assert_allclose(found[:, point, axis], expected, atol=1e-5)
    if count == 7:
        np.testing.assert_array_equal(found, clip)


def test_between_a_frame_with_a_point_and_one_without_the_nearer_decides():
    clip = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    clip[2, 1] = np.nan
    found = np.asarray(frames.resample(jnp.asarray(clip), jnp.array([0.0, 0.25, 1.75, 1.25, 4.0, np.nan])))
    np.testing.assert_allclose(found[:, 0, 0], [0, 0.25, 1.75, 1.25, 4, np.nan])
    np.testing.assert_allclose(found[:, 1, 0], [0, 0.25, np.nan, 1, 4, np.nan])
