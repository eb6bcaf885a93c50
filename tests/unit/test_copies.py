import numpy as np
import pytest

from preprocessing import synthetic
from slr_jax import copies, errors, input_pipeline, split_copies
from slr_jax import dataset as dataset_lib
from slr_jax import landmarks as landmarks_lib
from tests.conftest import make_tiny_config

LAYOUT = landmarks_lib.LAYOUTS['mediapipe_hands_pose']


@pytest.fixture(scope='module')
def clips():
    """Clips as a camera that takes 60 frames a second sees them: smooth, with hands that are lost now and then."""
    rng = np.random.default_rng(0)
    made = []
    for num_frames in (60, 64, 90, 121, 150):
        clip = np.full((num_frames, LAYOUT.num_points, 3), np.nan, np.float32)
        time = np.arange(num_frames)[:, None, None] / 60
        phase, rate = rng.uniform(0, 2 * np.pi, (2, 3, LAYOUT.num_points, 2)), rng.uniform(0.5, 1.5, (3, 1, 2))
        clip[..., :2] = rng.uniform(0.3, 0.7, (LAYOUT.num_points, 2)) + 0.03 * sum(
            np.sin(2 * np.pi * rate[k] * time + phase[0, k]) for k in range(3)
        )
        for hand in LAYOUT.hands:
            lost = rng.choice(num_frames, num_frames // 10, replace=False)
            clip[np.ix_(lost, list(hand))] = np.nan
        made.append(clip)
    return made


def swap_sides(clip):
    swapped = clip.copy()
    for a, b in LAYOUT.mirror_pairs:
        swapped[:, [a, b]] = clip[:, [b, a]]
    return swapped


def mirror(clip):
    return swap_sides(clip) * np.array([-1, 1, 1], np.float32) + np.array([1, 0, 0], np.float32)


@pytest.mark.parametrize(
    'part', [slice(None, None, 2), slice(None, None, 3), slice(20, None), slice(None, 40), slice(1, 70)], ids=str
)
def test_frames_of_another_clip_are_found(part):
    """Also where hands jump between frames, so that nothing can be resampled."""
    clips = [np.random.default_rng(seed).random((80, LAYOUT.num_points, 3), np.float32) for seed in range(4)]
    for clip in clips:
        clip[::7, list(LAYOUT.hands[0])] = np.nan
    assert copies.find([*clips, clips[2][part]], LAYOUT) == [copies.Pair(2, 4, copies.NEAR)]
    # A few frames in common are no copy.
    assert copies.find([*clips, np.concatenate([clips[0][:9], clips[1][:9], clips[3][40:70]])[:26]], LAYOUT) == []


def change(clip, kind):
    rng = np.random.default_rng(1)
    if kind == 'noise':
        return clip + rng.normal(0, 1e-4, clip.shape).astype(np.float32)
    if kind == 'moved':
        return clip * np.array([0.5, 0.7, 1], np.float32) + np.array([0.2, -0.1, 0], np.float32)
    if kind == 'two frames less':
        return clip[1:-1]
    if kind == 'empty frames around':
        return np.pad(clip, ((4, 7), (0, 0), (0, 0)), constant_values=np.nan)
    if kind == '50 frames a second':
        times = np.arange(0, len(clip) - 1, 60 / 50)
        low = times.astype(int)
        return clip[low] + (times - low)[:, None, None].astype(np.float32) * (clip[low + 1] - clip[low])
    return {
        'equal': clip.copy(),
        'mirrored': mirror(clip),
        'mirrored, sides as they were': clip * np.array([-1, 1, 1], np.float32) + np.array([1, 0, 0], np.float32),
        'sides swapped': swap_sides(clip),
        'half the frames': clip[::2],
        'a third of the frames': clip[1::3],
        'twice the frames': np.repeat(clip, 2, axis=0),
    }[kind]


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        ('equal', copies.EQUAL),
        ('noise', copies.NEAR),
        ('moved', copies.NEAR),
        ('two frames less', copies.NEAR),
        ('empty frames around', copies.NEAR),
        ('50 frames a second', copies.NEAR),
        ('half the frames', copies.NEAR),
        ('a third of the frames', copies.NEAR),
        ('twice the frames', copies.NEAR),
        ('sides swapped', copies.NEAR),
        ('mirrored', copies.MIRRORED),
        ('mirrored, sides as they were', copies.MIRRORED),
    ],
)
def test_copies_of_every_kind_are_found(clips, kind, expected):
    found = copies.find([*clips, *(change(clip, kind) for clip in clips)], LAYOUT)
    assert found == [copies.Pair(i, i + len(clips), expected) for i in range(len(clips))]


def test_synthetic_clips_of_one_class_are_no_copies():
    layout = landmarks_lib.LAYOUTS['mediapipe_two_hands']
    dataset = synthetic.make_dataset(
        'signs', layout, 4, {'train': 30, 'test': 10}, seed=0, informative_points=list(range(layout.num_points))
    )
    assert dataset.copies == []


@pytest.mark.parametrize('num_frames', [1, 4, 30])
def test_clips_that_hardly_move_are_copies_where_they_are_equal_only(num_frames):
    rng = np.random.default_rng(0)
    hand = rng.uniform(0.4, 0.6, (1, LAYOUT.num_points, 3))
    still = [(hand + rng.normal(0, 0.002, (num_frames, *hand.shape[1:]))).astype(np.float32) for _ in range(20)]
    assert copies.find([*still, still[3].copy()], LAYOUT) == [copies.Pair(3, 20, copies.EQUAL)]
    assert copies.find([np.broadcast_to(hand, (9, *hand.shape[1:])).astype(np.float32), still[0]], LAYOUT) == []


def test_clips_of_few_points_are_copies_where_they_are_equal_only():
    clips = [np.full((30, LAYOUT.num_points, 3), np.nan, np.float32) for _ in range(3)]
    for slope, clip in zip((0.01, 0.02, 0.01), clips, strict=True):
        clip[:, :2] = slope * np.arange(30)[:, None, None]
    assert copies.find(clips, LAYOUT) == [copies.Pair(0, 2, copies.EQUAL)]


def test_group_follows_copies_of_copies():
    pairs = [copies.Pair(0, 3, '='), copies.Pair(2, 4, '='), copies.Pair(3, 4, '=')]
    assert copies.group(pairs, 6).tolist() == [0, 1, 0, 0, 0, 5]


@pytest.fixture
def leaking(clips):
    """A dataset whose splits share recordings: b in train and test, c in test and validation, a under two glosses."""
    names = ['a', 'a again', 'b', 'b in test', 'c', 'c mirrored', 'd', 'e']
    landmarks = [clips[0], clips[0] + 0.1, clips[1], clips[1][::2], clips[2], mirror(clips[2]), clips[3], clips[4]]
    splits = ['train', 'train', 'train', 'test', 'test', 'validation', 'test', 'validation']
    description = dataset_lib.Description('signs', LAYOUT.name, ['x', 'y'])
    return dataset_lib.Dataset.from_clips(description, landmarks, [0, 1, 0, 0, 1, 1, 0, 1], splits, video_ids=names)


def test_copies_across_splits_are_named_and_left_out(leaking, capsys):
    kept = split_copies.check(leaking, 'leave_out')
    names = {split: list(clips.video_ids) for split, clips in kept.splits.items()}
    assert names == {'train': ['a', 'a again', 'b'], 'validation': ['e'], 'test': ['c', 'd']}
    assert kept.description.source['copies_left_out'] == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        'signs: 1 clips are copies of others of their own split, and stay: train a (x) ≈ train a again (y)'
    )
    assert lines[1] == (
        'signs: warning: 1 groups of copies have several glosses, so that labels contradict: train a (x) ≈ train a '
        'again (y)'
    )
    assert '1 of validation and 1 of test are copies of clips in another split: ' in lines[2]
    assert 'validation c mirrored (y) ≈ mirrored test c (y)' in lines[2]
    assert 'test b in test (x) ≈ train b (x)' in lines[2]
    assert len(split_copies.check(leaking, 'warn').split('test')) == 3
    assert 'warning: signs: 1 of validation and 1 of test' in capsys.readouterr().out
    with pytest.raises(errors.InputError, match=r'signs: 1 of validation .*expected none with --copies=refuse'):
        split_copies.check(leaking, 'refuse')


def test_validation_has_no_copies_of_training_clips(clips, capsys):
    landmarks = [clips[0], clips[1], clips[2], clips[0] + 0.1, clips[3]]
    splits = ['train'] * 3 + ['validation'] * 2
    description = dataset_lib.Description('signs', LAYOUT.name, ['x', 'y'])
    dataset = dataset_lib.Dataset.from_clips(description, landmarks, [0, 1, 0, 0, 1], splits)
    train, validation = input_pipeline.training_clips(dataset, make_tiny_config('d'), report=True)
    assert (len(train), validation.video_ids) == (3, ['validation_00001'])
    assert '1 of 2 validation clips are copies of training clips: validation_00000 ≈ train_00000' in (
        capsys.readouterr().out
    )
    _, validation = input_pipeline.training_clips(dataset, make_tiny_config('d', copies='warn'), report=True)
    assert len(validation) == 2
    assert 'warning: 1 of 2 validation clips' in capsys.readouterr().out
    with pytest.raises(
        errors.InputError, match=r"1 of 2 validation clips .*expected none with config.copies = 'refuse'"
    ):
        input_pipeline.training_clips(dataset, make_tiny_config('d', copies='refuse'))


@pytest.mark.parametrize('seed', range(4))
def test_a_holdout_has_no_copies_of_training_clips(clips, seed):
    landmarks = [*clips, clips[0] + 0.1, mirror(clips[1])]
    description = dataset_lib.Description('signs', LAYOUT.name, ['x'])
    dataset = dataset_lib.Dataset.from_clips(description, landmarks, [0] * 7, ['train'] * 7)
    config = make_tiny_config('d', validation='holdout', validation_fraction=0.4, seed=seed)
    train, validation = input_pipeline.training_clips(dataset, config)
    assert (len(train), len(validation)) == (6, 1)
    assert {'train_00000', 'train_00001', 'train_00005', 'train_00006'} <= set(train.video_ids)
