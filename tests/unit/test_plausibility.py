"""What is looked at in the numbers of every dataset."""

import numpy as np
import pytest

from preprocessing import plausibility
from slr_jax import dataset as dataset_lib
from slr_jax import errors
from slr_jax.landmarks import LAYOUTS

HANDS_POSE = LAYOUTS['mediapipe_hands_pose']


def make(clips, labels=None, splits=None, names=('yes', 'no'), layout=HANDS_POSE):
    labels = [i % 2 for i in range(len(clips))] if labels is None else labels
    splits = ['train', 'train', 'test', 'test'][: len(clips)] if splits is None else splits
    description = dataset_lib.Description('signs', layout.name, names)
    return dataset_lib.Dataset.from_clips(description, clips, labels, splits)


def make_clips(count=4, frames=5):
    """Clips as MediaPipe gives them: the legs lie outside of the image."""
    points = np.random.default_rng(0).uniform(0.1, 0.9, (count, frames, 75, 3)).astype(np.float32)
    points[:, :, 42 + 23 :, 1] += 2
    return list(points)


def check(capsys, dataset, **options):
    checked = plausibility.check(dataset, **options)
    return checked, capsys.readouterr().out


def test_nothing_is_said_of_good_clips(capsys):
    dataset = make(make_clips())
    before = dataset.fingerprint()
    checked, printed = check(capsys, dataset)
    assert printed == ''
    assert checked.fingerprint() == before
    assert checked.description == dataset.description


@pytest.mark.parametrize(
    ('value', 'flag'), [(0, '--zeros_are_missing'), (-1, '--missing_value=-1'), (-2, '--missing_value=-2')]
)
def test_stand_ins_for_missing_points(capsys, value, flag):
    clips = make_clips()
    for clip in clips:
        clip[:, :21] = value
    checked, printed = check(capsys, make(clips))
    assert f'28.0% of points are exactly {value}; ' in printed
    assert flag in printed
    assert not np.isnan(checked.splits['train'].landmarks[0]).any()
    checked, printed = check(capsys, make(clips), missing_values=[value])
    assert printed == 'warning: signs: right_hand is missing in all frames\n'
    for part in checked.splits.values():
        assert part.missing_fraction == pytest.approx(21 / 75)
        assert all(np.isnan(clip[:, :21]).all() for clip in part.landmarks)
    assert checked.description.source['missing_values'] == [value]


@pytest.mark.parametrize('axes', [2, 3])
@pytest.mark.parametrize(
    ('origins', 'names'),
    [
        ([0, 21], 'right_hand_wrist, left_hand_wrist'),
        ([9], 'right_hand_middle_finger_mcp'),
        ([42], 'pose_nose'),
        ([42 + 23], 'pose_left_hip'),
    ],
)
def test_origins_are_not_missing(capsys, origins, names, axes):
    clips = make_clips()
    for clip in clips:
        clip[:, 42 + 23 :, 1] -= 1.5  # the hips are near the lower edge of the image
        for point in origins:
            group = list(HANDS_POSE.groups[HANDS_POSE.group_of_point[point]])
            clip[:, group, :axes] -= clip[:, point : point + 1, :axes].copy()
    before = [clip.copy() for clip in clips]
    for missing_values in ([], [0.0]):
        checked, printed = check(capsys, make(clips), missing_values=missing_values)
        assert f'x and y of {names} are exactly 0 in nearly all frames' in printed
        assert 'coordinates are relative to it, which is not missing' in printed
        assert '--zeros_are_missing' not in printed
        assert checked.description.source['origins'] == names.split(', ')
        np.testing.assert_array_equal([clip for part in checked.splits.values() for clip in part.landmarks], before)


@pytest.mark.parametrize('value', [0, -1])
def test_origins_and_hands_that_are_missing(capsys, value):
    clips = make_clips(frames=40)
    for clip in clips:
        clip[:, :21] -= clip[:, :1].copy()
        clip[10:20, :21] = value
        clip[:, 21:42] = value
        clip[20, 0] = 0.1  # not exactly 0 in 1 of 30 frames
    checked, printed = check(capsys, make(clips), missing_values=[value])
    assert 'right_hand_wrist' in printed
    for clip in checked.splits['train'].landmarks:
        assert np.isnan(clip[10:20, :21]).all()
        assert np.isnan(clip[:, 21:42]).all()
        assert not np.isnan(np.delete(clip[:, :21], range(10, 20), axis=0)).any()
    _, printed = check(capsys, make([np.nan_to_num(clip, nan=value) for clip in clips]))
    # The left hand, and the right one but for its origin in a fourth of the frames.
    share = (21 + 20 / 4) / 75 if value == 0 else (21 + 21 / 4) / 75
    assert f'x and y of {share:.1%} of points are exactly {value}' in printed


def test_points_that_are_often_zero_are_no_origins(capsys):
    clips = make_clips(frames=40)
    for clip in clips:
        clip[3:, 0] = 0  # the wrist, missing in 37 of 40 frames
        clip[:, 42 + 25 :] = 0  # the legs
    checked, printed = check(capsys, make(clips), missing_values=[0.0])
    assert printed == ''
    assert np.isnan(checked.splits['train'].landmarks[0][3:, 0]).all()
    assert np.isnan(checked.splits['train'].landmarks[0][:, 42 + 25 :]).all()


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (lambda clip: clip[:, 21:42].fill(np.nan), 'left_hand is missing in all frames'),
        (lambda clip: clip[1:, 21:42].fill(np.nan), 'left_hand is missing in 97.5% of frames'),
        (lambda clip: clip[:, 42:].fill(0.25), 'body is the same in all frames of all clips'),
        (lambda clip: clip[..., 2].fill(0), ''),
        (lambda clip: clip[..., 2].fill(np.nan), ''),
        (lambda clip: clip[::2, 21:42].fill(np.nan), ''),
    ],
)
def test_groups_that_say_nothing(capsys, change, expected):
    clips = make_clips(frames=40)
    for clip in clips:
        change(clip)
    _, printed = check(capsys, make(clips))
    assert expected in printed
    assert bool(printed) == bool(expected)


def test_pixels(capsys):
    expected = make_clips()
    clips = [clip.copy() for clip in expected]
    clips[1][..., :2] *= (1920, 1080)
    clips[3][:, :42, :2] *= (1920, 1080)  # the hands alone
    clips[3][:3, :21] = 0
    expected[3][:3, :21] = 0
    with pytest.raises(errors.InputError, match=r'signs: 2 of 4 clips, the first is train_00001 .*--frame_size'):
        plausibility.check(make(clips))
    checked, printed = check(capsys, make(clips), frame_size=(1920, 1080))
    assert '2 of 4 clips were in pixels and are divided by their frame_size' in printed
    found = [*checked.splits['train'].landmarks, *checked.splits['test'].landmarks]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert checked.description.source['frame_size'] == [1920, 1080]


@pytest.mark.parametrize('text', ['1920', '0x1080', '1920x', 'wide', '1920x1080x3'])
def test_sizes_that_are_not_two_numbers(text):
    with pytest.raises(errors.InputError, match=r'--frame_size .*expected width and height'):
        plausibility.parse_frame_size(text)


@pytest.mark.parametrize('text', ['1920x1080', '1920×1080', '1920, 1080', '1920 X 1080'])
def test_sizes(text):
    assert plausibility.parse_frame_size(text) == (1920, 1080)


def test_clips_in_which_nothing_is_seen(capsys):
    clips = make_clips()
    clips[0][...] = np.nan
    clips[1] = clips[1][:0]
    dataset = make(clips, splits=['train', 'train', 'train', 'test'], labels=[0, 1, 0, 0])
    checked, printed = check(capsys, dataset)
    assert '2 of 4 clips are left out:\n  nothing seen in any frame: train_00000\n  no frames: train_00001\n' in printed
    assert checked.splits['train'].video_ids == ['train_00002']
    assert checked.splits['train'].index.tolist() == [2]
    assert checked.description.source['clips_left_out'] == 2
    assert '1 of 2 classes have no clip: no' in printed


def test_no_clip_left():
    with pytest.raises(errors.InputError, match='4 of 4 clips cannot be used, the first is train_00000: nothing seen'):
        plausibility.check(make([np.full_like(clip, np.nan) for clip in make_clips()]))
    clips = make_clips()
    clips[0][...] = clips[1][...] = 0
    with pytest.raises(errors.InputError, match='no clip of the split train'):
        plausibility.check(make(clips), missing_values=[0])


@pytest.mark.parametrize(
    ('labels', 'splits', 'facts'),
    [
        ([0, 1, 0, 2], 'train train test test', ['1 classes have no clip in train', 'c (test)']),
        ([0, 1, 2, 0], 'train train train train', []),
        ([0, 1, 2, 1], 'train train validation test', ['no clip in train', 'c (validation)', 'tested: a']),
        ([0, 2, 1, 0], 'train train train test', ['2 classes are in train alone', 'b, c']),
        ([1, 1, 1, 1], 'train train test test', ['2 of 3 classes have no clip: a, c', 'one class, b']),
        ([0, 1, 2, 0], 'test test test test', ['no clip is in the split train']),
    ],
)
def test_classes_of_the_splits(capsys, labels, splits, facts):
    _, printed = check(capsys, make(make_clips(), labels, splits.split(), names=('a', 'b', 'c')))
    for fact in facts:
        assert fact in printed
    assert bool(printed) == bool(facts)


def test_many_names_are_shortened(capsys):
    names = [f'sign_{label}' for label in range(121)]
    _, printed = check(capsys, make(make_clips(), [0, 120, 0, 120], names=names))
    assert '119 of 121 classes have no clip: sign_1, sign_2' in printed
    assert printed.rstrip().endswith('sign_20 and 99 more')
