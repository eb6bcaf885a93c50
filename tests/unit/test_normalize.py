import jax
import numpy as np
import pytest

from slr_jax import errors, landmarks, normalize
from tests.conftest import ROOT

VISION = landmarks.LAYOUTS['vision_api']
POSE = landmarks.LAYOUTS['mediapipe_hands_pose']
TWO_HANDS = landmarks.LAYOUTS['mediapipe_two_hands']


def assert_equals_the_reference(path, clip):
    """Against what SPOTER's own code makes of a clip in which missing points are 0."""
    with np.load(path) as golden:
        given, expected = golden[f'input_{clip}'].astype(np.float32), golden[f'output_{clip}']
    missing = (given == 0).all(axis=-1, keepdims=True)
    answer = normalize.spoter(np.where(missing, np.nan, given), VISION)
    np.testing.assert_allclose(np.nan_to_num(answer + 0.5), expected, atol=1e-6)


@pytest.mark.parametrize('clip', range(3))
def test_spoter_equals_the_reference(clip):
    """On synthetic clips, with neck, shoulders, hands or the first boxes missing."""
    assert_equals_the_reference(ROOT / 'tests' / 'data' / 'spoter_normalization.npz', clip)


@pytest.mark.parametrize('clip', range(6))
def test_spoter_equals_the_reference_on_recordings(shared, clip):
    assert_equals_the_reference(shared / 'golden' / 'spoter_normalisation.npz', clip)


def test_spoter_on_mediapipe_is_that_of_the_matching_points():
    rng = np.random.default_rng(0)
    pose = rng.uniform(0.2, 0.8, (4, 75, 3)).astype(np.float32)
    pose[1, :21] = np.nan
    pose[2, 53] = np.nan  # a shoulder, and so the neck: the last box is used
    vision = np.full((4, 54, 3), np.nan, np.float32)
    body = {'nose': 42, 'leftEye': 44, 'leftShoulder': 53, 'rightShoulder': 54, 'leftWrist': 57}
    for name, point in body.items():
        vision[:, VISION.points.index(name)] = pose[:, point]
    vision[:, VISION.points.index('neck')] = pose[:, [53, 54]].mean(axis=1)
    vision[:, 12:33] = pose[:, 21:42]  # left hand; the order of its points does not matter
    vision[:, 33:54] = pose[:, 0:21]
    of_pose, of_vision = normalize.spoter(pose, POSE), normalize.spoter(vision, VISION)
    for name, point in body.items():
        np.testing.assert_allclose(of_pose[:, point], of_vision[:, VISION.points.index(name)], atol=1e-6)
    np.testing.assert_allclose(of_pose[:, :42], np.roll(of_vision[:, 12:], 21, axis=1), atol=1e-6)
    np.testing.assert_array_equal(of_pose[..., 2], pose[..., 2] - 0.5)


def test_centered_equals_numpy():
    rng = np.random.default_rng(0)
    clip = rng.normal(0.4, 0.1, (6, 75, 2)).astype(np.float32)
    clip[2, :21] = np.nan
    centre = np.nanmean(clip, axis=(0, 1))
    spread = np.sqrt(np.nanmean((clip - centre) ** 2))
    expected = (clip - centre) / spread
    fingers = np.concatenate([clip[:, 1:21] - clip[:, :1], clip[:, 22:42] - clip[:, 21:22]], axis=1)
    fingers = fingers / np.sqrt(np.nanmean(fingers**2))
    expected[:, 1:21], expected[:, 22:42] = fingers[:, :20], fingers[:, 20:]
    np.testing.assert_allclose(normalize.centered(clip, POSE), expected, atol=1e-5)


def test_centered_forgets_place_and_size():
    clip = np.random.default_rng(0).uniform(0.3, 0.6, (5, 42, 2)).astype(np.float32)
    clip[:2, 21:] = np.nan
    moved = normalize.centered(1.7 * clip - 0.3, TWO_HANDS)
    np.testing.assert_allclose(moved, normalize.centered(clip, TWO_HANDS), atol=1e-4)


def two_hands(*wrists):
    """One frame for each pair of wrist x, None for a missing hand."""
    clip = np.full((len(wrists), 42, 2), np.nan, np.float32)
    for frame, pair in enumerate(wrists):
        for slot, x in enumerate(pair):
            if x is not None:
                clip[frame, slot * 21 : slot * 21 + 21] = x
    return clip


def test_hands_are_put_in_order_from_left_to_right():
    clip = two_hands((0.8, 0.2), (0.3, 0.7), (0.75, None), (None, 0.25), (None, None))
    expected = two_hands((0.2, 0.8), (0.3, 0.7), (None, 0.75), (0.25, None), (None, None))
    np.testing.assert_array_equal(normalize.order_hands(clip, TWO_HANDS), expected)
    lone = two_hands((None, 0.8), (0.3, None))
    np.testing.assert_array_equal(normalize.order_hands(lone, TWO_HANDS), two_hands((0.8, None), (0.3, None)))


@pytest.mark.parametrize('method', normalize.METHODS)
def test_padding_changes_nothing_and_gives_no_numbers(method):
    clip = np.random.default_rng(0).uniform(0.1, 0.9, (5, 54, 2)).astype(np.float32)
    clip[1, 12:33] = np.nan
    padded = np.pad(clip, ((0, 7), (0, 0), (0, 0)), constant_values=np.nan)
    answer = jax.jit(lambda x: normalize.normalize(method, x, VISION))(padded)
    np.testing.assert_allclose(answer[:5], normalize.normalize(method, clip, VISION), atol=1e-5)
    np.testing.assert_array_equal(np.isnan(answer), np.isnan(padded))


def test_unknown_method_is_refused():
    with pytest.raises(errors.InputError, match=r"normalize.*'zscore'.*none.*spoter"):
        normalize.normalize('zscore', np.zeros((1, 54, 2)), VISION)
