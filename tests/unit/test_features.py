import jax
import numpy as np
import pytest

from slr_jax import dataset as dataset_lib
from slr_jax import errors, landmarks
from slr_jax.features import Features
from tests.conftest import make_tiny_config


def compute(clips, config):
    return Features.from_config(config, 'mediapipe_hand').compute(clips.landmarks, clips.video_ids)


def one_clip(*frames):
    landmarks = np.array(frames, np.float32).reshape(len(frames), 1, 3).repeat(21, axis=1)
    return dataset_lib.Clips([landmarks], np.array([0], np.int32), ['v'], [''], np.array([0]))


def test_features_are_shifted_flat_and_filled():
    clips = one_clip((0.7, 0.1, 3), (np.nan, np.nan, np.nan))
    (features,) = compute(clips, make_tiny_config('d'))
    np.testing.assert_allclose(features[0], np.tile([0.2, -0.4], 21), atol=1e-6)
    np.testing.assert_allclose(features[1], np.full(42, -2.5))
    config = make_tiny_config('d', coordinates='xyz', missing_value=0.0)
    (features,) = compute(clips, config)
    np.testing.assert_allclose(features[0], np.tile([0.2, -0.4, 2.5], 21), atol=1e-6)
    np.testing.assert_allclose(features[1], np.full(63, 0.0))


def test_landmarks_without_z_are_refused():
    clips = one_clip((0.7, 0.1, np.nan))
    with pytest.raises(errors.InputError, match=r"coordinates.*'xyz'.*\bv\b.*\bz\b"):
        compute(clips, make_tiny_config('d', coordinates='xyz'))


def test_normalized_features_do_not_depend_on_the_other_clips(tiny_dataset):
    clips = tiny_dataset.splits['train']
    config = make_tiny_config('d', normalize='centered')
    together = compute(clips, config)
    for i in (0, 7):
        (alone,) = compute(clips.take([i]), config)
        np.testing.assert_allclose(alone, together[i], atol=1e-5)


@pytest.mark.parametrize('normalize', ['none', 'spoter', 'centered'])
def test_one_clip_under_jit_is_fed_as_among_others(tiny_dataset, normalize):
    clip = tiny_dataset.splits['train'].landmarks[0]
    features = Features('mediapipe_hand', normalize)
    (expected,) = features.compute([clip])
    np.testing.assert_allclose(jax.jit(features)(clip), expected, atol=1e-5)


@pytest.mark.parametrize(
    ('max_frames', 'shorten', 'kept'),
    [
        (None, 'sample', range(10)),
        (10, 'sample', range(10)),
        (4, 'sample', [0, 3, 6, 9]),
        (7, 'sample', [0, 2, 3, 5, 6, 8, 9]),
        (4, 'cut', [3, 4, 5, 6]),
        (1, 'sample', [0]),
    ],
)
def test_long_clips_are_shortened(max_frames, shorten, kept):
    clip = np.arange(10, dtype=np.float32)[:, None, None].repeat(21, axis=1).repeat(3, axis=2)
    features = Features('mediapipe_hand', max_frames=max_frames, shorten=shorten)
    (frames,) = features.compute([clip])
    np.testing.assert_array_equal(frames[:, 0] + 0.5, kept)
    padded, padding_mask = features.compute_padded(np.concatenate([clip, clip[:3]]), np.int32(10))
    np.testing.assert_array_equal(padded[padding_mask, 0] + 0.5, kept)
    assert not padding_mask[len(kept) :].any()


def test_differences_and_presence_come_after_the_coordinates():
    clip = np.zeros((5, 21, 3), np.float32)
    clip[..., 0] = np.array([0, 1, 3, 6, 10])[:, None]
    clip[2, 4] = np.nan
    features = Features('mediapipe_hand', missing_value=9.0, differences=2, presence=True)
    assert features.dim == 4 * 42
    (found,) = features.compute([clip])
    coordinates, first, second, presence = found.reshape(5, 4, 21, 2).transpose(1, 0, 2, 3)
    np.testing.assert_allclose(coordinates[:, 0, 0] + 0.5, [0, 1, 3, 6, 10])
    np.testing.assert_allclose(first[:, 0, 0], [1, 2, 3, 4, 0])
    np.testing.assert_allclose(second[:, 0, 0], [3, 5, 7, 0, 0])
    np.testing.assert_allclose(coordinates[2, 4], 9.0)
    np.testing.assert_allclose(first[:, 4, 0], [1, 0, 0, 4, 0])
    np.testing.assert_allclose(second[:, 4, 0], [0, 5, 0, 0, 0])
    np.testing.assert_array_equal(presence[:, 4, 1], [1, 1, 0, 1, 1])
    assert (presence[:, :4] == 1).all()


SELECTED = {
    'trim': 'ends',
    'interpolate_gaps': 2,
    'num_frames': 6,
    'differences': 1,
    'presence': True,
    'normalize': 'centered',
    'missing_value': 0.0,
}


@pytest.mark.parametrize('fields', [SELECTED, SELECTED | {'num_frames': None, 'max_frames': 5}], ids=str)
def test_what_is_in_the_padding_does_not_count(fields):
    rng = np.random.default_rng(1)
    clips = [rng.uniform(0.2, 0.8, (frames, 42, 3)).astype(np.float32) for frames in (1, 9, 30)]
    for clip in clips:
        clip[rng.random(clip.shape[:2]) < 0.2] = np.nan
    clips[2][:4] = np.nan
    features = Features('mediapipe_two_hands', **fields)
    together = features.compute(clips)
    for clip, expected in zip(clips, together, strict=True):
        (alone,) = features.compute([clip])
        np.testing.assert_allclose(alone, expected, atol=1e-5)
        padded = np.concatenate([clip, np.full((3, 42, 3), 7.0, np.float32)])
        found, padding_mask = jax.jit(features.compute_padded)(padded, len(clip))
        np.testing.assert_allclose(found[padding_mask], expected, atol=1e-5)


@pytest.mark.parametrize(('layout', 'fed'), [('mediapipe_hand', -2.5), ('vision_api', -0.5)])
def test_missing_points_are_fed_as_published(layout, fed):
    points = {'mediapipe_hand': 21, 'vision_api': 54}[layout]
    (features,) = Features(layout).compute([np.full((2, points, 3), np.nan, np.float32)])
    np.testing.assert_array_equal(features, np.full((2, 2 * points), fed, np.float32))


def test_clips_of_another_shape_are_refused():
    for shape in ((5, 20, 3), (0, 21, 3), (5, 21, 2), (5, 21)):
        with pytest.raises(errors.InputError, match=r'\bv\b.*\(frames, 21, 3\)'):
            Features('mediapipe_hand').compute([np.zeros(shape, np.float32)], ['v'])


def test_some_points_are_fed_as_they_are_among_all():
    clip = np.random.default_rng(0).uniform(0.2, 0.8, (5, 75, 3)).astype(np.float32)
    fields = {'normalize': 'centered', 'differences': 1, 'presence': True}
    (among_all,) = Features('mediapipe_hands_pose', **fields).compute([clip])
    names = 'pose_nose', 'left_hand,right_hand_wrist'
    points = landmarks.find_points(landmarks.LAYOUTS['mediapipe_hands_pose'], names)
    assert points == (0, *range(21, 42), 42)
    features = Features('mediapipe_hands_pose', **fields, points=points)
    (found,) = features.compute([clip])
    assert features.fed_layout.points[0] == 'right_hand_wrist'
    assert features.fed_layout.points[-1] == 'pose_nose'
    expected = among_all.reshape(5, 3, 75, 2)[:, :, list(points)].reshape(5, -1)
    np.testing.assert_array_equal(found, expected)
    assert features.dim == expected.shape[1]


def test_a_shadow_is_the_track_of_another_clip(tiny_dataset):
    clips = tiny_dataset.split('validation').landmarks[:2]
    plain = Features('mediapipe_hand', differences=1).compute(clips)
    features = Features('mediapipe_hand', differences=1, shadow_seed=3)
    found = features.compute(clips)
    assert features.fed_layout.points[21:23] == ('shadow_wrist', 'shadow_thumb_cmc')
    for clip, own, other in zip(found, plain, plain[::-1], strict=True):
        blocks = clip.reshape(len(clip), 2, 2, 42)
        np.testing.assert_array_equal(blocks[:, :, 0], own.reshape(len(own), 2, 42))
        np.testing.assert_array_equal(blocks[0, :, 1], other[0].reshape(2, 42))
        np.testing.assert_array_equal(blocks[-1, :, 1], other[-1].reshape(2, 42))
    with pytest.raises(errors.InputError, match='expected at least 2'):
        features.compute(clips[:1])


@pytest.mark.parametrize(
    ('points', 'words'),
    [
        (('wrists',), ("'wrists'", 'mediapipe_hand', 'groups, of hand; did you mean wrist?')),
        ((), ("''",)),
        (('wrist', 3), ("'3'",)),
    ],
)
def test_points_that_a_layout_lacks_are_refused(points, words):
    config = make_tiny_config('')
    config.points = points
    with pytest.raises(errors.InputError) as refusal:
        Features.from_config(config, 'mediapipe_hand')
    assert all(word in str(refusal.value) for word in ('config.points', *words))


def make_hands_and_pose(num_clips=3, frames=40):
    return list(np.random.default_rng(0).uniform(0.1, 0.9, (num_clips, frames, 75, 3)).astype(np.float32))


@pytest.mark.parametrize('normalize', ['none', 'centered'])
@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (lambda clip: None, []),
        (lambda clip: clip[:, 21:42].fill(np.nan), ['left_hand']),
        (lambda clip: clip[1:, 21:42].fill(np.nan), ['left_hand']),
        (lambda clip: clip[4:, 21:42].fill(np.nan), []),
        (lambda clip: clip.fill(0.25), ['right_hand', 'left_hand', 'body']),
        (lambda clip: clip[..., 2].fill(np.nan), []),
    ],
)
def test_groups_that_are_missing_or_never_change(normalize, change, expected):
    clips = make_hands_and_pose()
    for clip in clips:
        change(clip)
    features = Features('mediapipe_hands_pose', normalize, missing_value=0.0, differences=1, presence=True)
    assert features.find_idle_groups(features.compute(clips)) == expected


def test_fingers_without_their_wrist():
    clips = make_hands_and_pose()
    for clip in clips:
        clip[:, 0] = np.nan
    features = Features('mediapipe_hands_pose')
    assert features.find_idle_groups(features.compute(clips)) == []
    features = Features('mediapipe_hands_pose', 'centered', missing_value=0.0)
    assert features.find_idle_groups(features.compute(clips)) == ['right_hand']
    assert features.describe_idle(['right_hand'], clips, 'training') == (
        'nearly all features of right_hand are missing or never change in the training clips: right_hand_wrist is '
        "missing where the fingers are there, and config.normalize = 'centered' feeds fingers relative to it"
    )
