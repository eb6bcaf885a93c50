"""Augmentation against SPOTER's own answers, and against NumPy."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from slr_jax import augment
from slr_jax import config as config_lib
from slr_jax import landmarks as landmarks_lib

VISION, HANDS_POSE = landmarks_lib.LAYOUTS['vision_api'], landmarks_lib.LAYOUTS['mediapipe_hands_pose']


def random_clip(layout, frames=20, seed=0):
    """<float32>[frames, points, 3] with a tenth of the points missing."""
    rng = np.random.default_rng(seed)
    clip = rng.uniform(0.2, 0.8, (frames, layout.num_points, 3)).astype(np.float32)
    clip[rng.random(clip.shape[:2]) < 0.1] = np.nan
    return clip


def drawn(layout='mediapipe_hands_pose', **fields):
    config = config_lib.default_config()
    config.augment.update(fields)
    return augment.Augmentation.from_config(config, layout)


@pytest.mark.parametrize('k', [0, 1, 2])
def test_spoters_four_equal_its_own_code(shared, k):
    golden = np.load(shared / 'golden' / 'spoter_augmentation.npz')
    zeros = golden[f'input_{k}']
    present = (zeros != 0).all(axis=-1)
    # Where a joint is missing, the two differ.
    has_arms = present[:, [1, 6, 7, 8, 9]].all(axis=1, keepdims=True)
    assert has_arms.sum() >= 3
    clip = jnp.asarray(np.where(present[..., None], zeros, np.nan), jnp.float32)
    found = {
        'rotate': augment.rotate(clip, golden[f'rotate_degrees_{k}']),
        'tilt': augment.tilt(clip, golden[f'tilt_ratio_{k}'], golden[f'tilt_left_{k}'], VISION),
        'squeeze': augment.squeeze(clip, golden[f'squeeze_left_{k}'], golden[f'squeeze_right_{k}'], VISION),
        'arm': augment.turn_arms(clip, golden[f'arm_degrees_{k}'].reshape(2, 4), VISION),
    }
    for name, answer in found.items():
        compared = present & (has_arms if name == 'arm' else True)
        np.testing.assert_allclose(answer[compared], golden[f'{name}_{k}'][compared], atol=1e-6, err_msg=name)
        assert np.isnan(answer[~present]).all(), name


def test_affine_is_shear_then_stretch_then_scale_then_turn():
    matrix = augment.affine_matrix(90.0, 2.0, 4.0, 0.5)
    # (1, 1) is sheared to (1.5, 1), stretched to (3, 0.5), scaled to (6, 1), turned from x to y.
    np.testing.assert_allclose(matrix @ jnp.array([1.0, 1.0]), [-1, 6], atol=1e-5)


def test_transform_is_about_the_middle_and_shifts_by_the_size():
    clip = random_clip(HANDS_POSE)
    points = clip[..., :2].astype(np.float64)
    center = np.nanmean(points, axis=(0, 1))
    deviation = np.sqrt(np.nanmean((points - center) ** 2))
    matrix, shift = np.array([[1.1, 0.2], [-0.3, 0.9]]), np.array([0.5, -1.0])
    expected = (points - center) @ matrix.T + center + shift * deviation
    found = augment.transform(jnp.asarray(clip), jnp.asarray(matrix), jnp.asarray(shift))
    np.testing.assert_allclose(found[..., :2], expected, atol=1e-5)
    np.testing.assert_array_equal(found[..., 2], clip[..., 2])


@pytest.mark.parametrize('layout', landmarks_lib.LAYOUTS.values(), ids=lambda layout: layout.name)
def test_a_mirror_twice_is_the_clip(layout):
    clip = random_clip(layout)
    once = augment.mirror(jnp.asarray(clip), layout)
    np.testing.assert_allclose(augment.mirror(once, layout), clip, atol=1e-6)
    if layout is HANDS_POSE:
        np.testing.assert_allclose(once[:, :21, 0], 1 - clip[:, 21:42, 0], atol=1e-6)
        np.testing.assert_allclose(once[:, :21, 1:], clip[:, 21:42, 1:])


def test_hands_move_as_a_whole():
    clip = random_clip(HANDS_POSE)
    shifts, scales = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([1.5, 1.0])
    found = np.asarray(augment.move_hands(jnp.asarray(clip), shifts, scales, HANDS_POSE))
    np.testing.assert_allclose(found[:, 21:], clip[:, 21:], atol=1e-6)
    hand, moved = clip[:, :21, :2], found[:, :21, :2]
    has_wrist = ~np.isnan(hand[:, :1]).any(axis=(1, 2))
    fingers = hand - hand[:, :1]
    np.testing.assert_allclose((moved - moved[:, :1])[has_wrist], 1.5 * fingers[has_wrist], atol=1e-5)
    anchor = np.where(np.isnan(hand[:, :1]), np.nanmean(hand, axis=1, keepdims=True), hand[:, :1])
    size = np.sqrt(np.nanmean((hand - anchor) ** 2))
    np.testing.assert_allclose((moved - hand)[has_wrist, 0, 0], size, rtol=1e-4)


@pytest.mark.parametrize('waves', [1, 2])
def test_a_warp_goes_from_start_to_end_and_never_back(waves):
    warped = augment.warp(jnp.linspace(0, 1, 50), 0.9, waves)
    np.testing.assert_allclose(warped[jnp.array([0, -1])], [0, 1], atol=1e-6)
    assert (np.diff(warped) > 0).all()


def test_the_window_and_its_speed_are_within_their_ranges():
    clip = np.full((64, 75, 3), np.nan, np.float32)
    clip[:32] = np.arange(32, dtype=np.float32)[:, None, None]
    lengths, ends = [], []
    augmentation = drawn(crop=1.0, crop_least=0.5)
    keys = jax.random.split(jax.random.key(0), 40)
    together = jax.jit(jax.vmap(augmentation, (0, None, None)))(keys, clip, 32)
    for found, count in zip(*map(np.asarray, together), strict=True):
        values = found[:, 0, 0]
        assert np.isnan(values[int(count) :]).all()
        assert not np.isnan(values[: int(count)]).any()
        lengths.append(int(count))
        ends.append((values[0], values[int(count) - 1]))
    assert 16 <= min(lengths) < 20
    assert 28 < max(lengths) <= 32
    starts, stops = np.array(ends).T
    assert (stops - starts >= 0.5 * 31 - 1e-3).all()
    assert (starts >= 0).all()
    assert (stops <= 31).all()
    assert starts.std() > 1


def test_a_window_is_resampled_to_the_number_of_frames():
    config = config_lib.default_config()
    config.num_frames = 16
    config.augment.update({'crop': 1.0, 'crop_least': 0.5})
    clip = np.full((64, 75, 3), np.nan, np.float32)
    clip[:32] = np.arange(32, dtype=np.float32)[:, None, None]
    keys = jax.random.split(jax.random.key(0), 20)
    augmentation = augment.Augmentation.from_config(config, 'mediapipe_hands_pose')
    found, counts = jax.jit(jax.vmap(augmentation, (0, None, None)))(keys, clip, 32)
    assert found.shape == (20, 16, 75, 3)
    np.testing.assert_array_equal(counts, 16)
    steps = np.diff(found[:, :, 0, 0], axis=1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(15, axis=1), atol=1e-4)
    assert ((steps >= 0.5 * 31 / 15 - 1e-4) & (steps <= 31 / 15 + 1e-4)).all()
    assert steps.std() > 0.1


@pytest.mark.parametrize(
    ('field', 'points'),
    [
        ('drop_frames', range(75)),
        ('drop_hand', range(42)),
        ('drop_finger', [i for i in range(42) if i % 21]),
        ('drop_point', range(75)),
    ],
)
def test_dropped_parts_are_missing_in_one_piece(field, points):
    clip = np.ones((40, 75, 3), np.float32)
    clip[30:] = np.nan
    augmentation = drawn(**{field: 1.0, f'{field}_most': 0.5})
    found, count = jax.jit(augmentation)(jax.random.key(1), clip, 30)
    missing = np.isnan(np.asarray(found[:30]))
    assert count == 30
    assert not missing[:, [i for i in range(75) if i not in points]].any()
    for point in points:
        dropped = missing[:, point, 0]
        assert 7 <= dropped.sum() <= 16
        assert abs(np.diff(dropped.astype(int))).sum() <= 2


@pytest.mark.parametrize(('field', 'size'), [('drop_finger', 4), ('drop_point', 1)])
def test_parts_are_dropped_by_formula(field, size):
    augmentation = drawn('mediapipe_hand', **{field: 0.4, f'{field}_most': 0.8})
    found, _ = jax.jit(augmentation)(jax.random.key(5), jnp.ones((30, 21, 3)), 26)
    key = jax.random.split(jax.random.key(5), 11)[config_lib.AUGMENTATIONS[field]]
    groups = [range(i, i + size) for i in range(size != 1, 21, size)]
    expected = np.zeros((30, 21), bool)
    for group, group_key in zip(groups, jax.random.split(key, len(groups)), strict=True):
        happens_key, size_key, start_key = jax.random.split(group_key, 3)
        length = (0.4 + 0.4 * float(jax.random.uniform(size_key))) * 26
        start = float(jax.random.uniform(start_key)) * (26 - length)
        frames = [t for t in range(30) if start <= t < start + length]
        if jax.random.uniform(happens_key) < 0.4:
            expected[np.ix_(frames, list(group))] = True
    np.testing.assert_array_equal(np.isnan(found[..., 0]), expected)
    assert 0 < expected.any(axis=0).mean() < 1


def test_something_is_always_left():
    augmentation = drawn('mediapipe_hand', drop_hand=1.0, drop_hand_most=1.0)
    keys = jax.random.split(jax.random.key(0), 5)
    found, _ = jax.jit(jax.vmap(augmentation, (0, None, None)))(keys, jnp.ones((9, 21, 3)), 9)
    assert not np.isnan(found).all(axis=(1, 2, 3)).any()


ALL = dict.fromkeys(config_lib.AUGMENTATIONS, 0.7)


@pytest.mark.parametrize(
    'layout',
    [
        'mediapipe_hands_pose',
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in landmarks_lib.LAYOUTS
            if name != 'mediapipe_hands_pose'
        ),
    ],
)
def test_every_layout_is_drawn_alike_alone_and_among_others(layout):
    clip = random_clip(landmarks_lib.LAYOUTS[layout], frames=24)
    clip[18:] = np.nan
    augmentation = drawn(layout, **ALL)
    keys = jax.random.split(jax.random.key(3), 4)
    together = jax.jit(jax.vmap(augmentation))(keys, jnp.stack([clip] * 4), jnp.full(4, 18))
    alone = jax.jit(augmentation)(keys[2], clip, 18)
    np.testing.assert_allclose(together[0][2], alone[0], atol=1e-5)
    assert together[1][2] == alone[1]
    assert not np.array_equal(together[0][0], together[0][1], equal_nan=True)


def test_no_probability_is_no_augmentation():
    assert drawn() is None
    config = ml_collections.ConfigDict(config_lib.default_config())
    config.augment.mirror = 0.5
    assert augment.Augmentation.from_config(config, 'mediapipe_hand') is not None
