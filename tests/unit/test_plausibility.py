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
    assert printed == ''
    for part in checked.splits.values():
        assert part.missing_fraction == pytest.approx(21 / 75)
        assert all(np.isnan(clip[:, :21]).all() for clip in part.landmarks)
    assert checked.description.source['missing_values'] == [value]


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
    assert '2 of 4 clips were in pixels and are divided by (1920, 1080)' in printed
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
