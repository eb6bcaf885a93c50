"""The shape of pictures: kept with clips, and accounted for in what models are fed and in augmentation."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from preprocessing import clips as clips_lib
from preprocessing import plausibility
from preprocessing.extraction import landmarker
from preprocessing.extraction import store as store_lib
from preprocessing.formats import extracted, npz, tfds_writer
from slr_jax import augment, errors, folds, frame_sizes, input_pipeline, normalize
from slr_jax import dataset as dataset_lib
from slr_jax.features import Features
from slr_jax.landmarks import LAYOUTS
from tests.conftest import make_tiny_config

WIDE, UPRIGHT = (1280, 720), (720, 1280)
ASPECTS = {size: np.float32(size[0] / size[1]) for size in (WIDE, UPRIGHT)}
DESCRIPTION = dataset_lib.Description('signs', 'mediapipe_hand', ('book', 'drink'))


def make_pixels(layout='mediapipe_hands_pose', frames=6, seed=0):
    """A person, as pixels of any picture: x, y and z of one unit, some points missing."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(100, 400, (frames, LAYOUTS[layout].num_points, 3))
    pixels[rng.random(pixels.shape[:2]) < 0.1] = np.nan
    return pixels


def show(pixels, size, scale=1.0, left=0.0, top=0.0):
    """Normalized image coordinates of a person who is shown scaled and moved in a picture of a size."""
    width, height = size
    moved = pixels * scale + [left, top, 0]
    return (moved / [width, height, width]).astype(np.float32)


def make_dataset(sizes=((640, 480), (0, 0), (640, 480), UPRIGHT), **fields):
    clips = [np.random.default_rng(i).random((4 + i, 21, 3), np.float32) for i in range(4)]
    splits = ['train', 'train', 'validation', 'test']
    return dataset_lib.Dataset.from_clips(DESCRIPTION, clips, [0, 1, 0, 1], splits, frame_sizes=sizes, **fields)


def sizes_of(dataset):
    return {split: clips.frame_sizes.tolist() for split, clips in dataset.splits.items()}


# --- Kept


SIZES = {'train': [[640, 480], [0, 0]], 'validation': [[640, 480]], 'test': [[720, 1280]]}


def test_a_dataset_counts_its_sizes():
    dataset = make_dataset()
    assert sizes_of(dataset) == SIZES
    assert dataset.description.frame_sizes == {'640x480': 2, '720x1280': 1}
    assert make_dataset(None).description.frame_sizes is None
    assert sizes_of(make_dataset(WIDE))['train'] == [[1280, 720]] * 2
    assert make_dataset(None).fingerprint() != dataset.fingerprint() != make_dataset(WIDE).fingerprint()


def test_sizes_go_with_their_clips():
    dataset = make_dataset()
    joined = dataset_lib.concatenate([dataset.splits['test'], dataset.splits['train']])
    assert joined.frame_sizes.tolist() == [[720, 1280], [640, 480], [0, 0]]
    assert joined.take([2, 0]).frame_sizes.tolist() == [[0, 0], [720, 1280]]
    kept = dataset_lib.keep_glosses(dataset, ['book'], 'signs')
    assert sizes_of(kept) == {'train': [[640, 480]], 'validation': [[640, 480]]}
    assert kept.description.frame_sizes == {'640x480': 2}
    clips, _ = folds.assign(dataset, make_tiny_config('', num_folds=2, folds_by='clip'))
    assert clips.frame_sizes.tolist() == [[640, 480], [0, 0], [640, 480]]


def test_a_tfds_directory_and_an_archive_keep_them(tmp_path):
    dataset = make_dataset()
    path = tfds_writer.write_dataset(dataset, str(tmp_path))
    loaded = dataset_lib.load_dataset(path)
    npz.write_archive(loaded, str(tmp_path / 'a.npz'))
    for found in (loaded, npz.read_archive(str(tmp_path / 'a.npz'), 'signs')):
        assert sizes_of(found) == SIZES
        assert found.fingerprint() == dataset.fingerprint()
        assert found.description.frame_sizes == dataset.description.frame_sizes


def test_datasets_and_archives_without_them_are_read(tmp_path, monkeypatch):
    dataset = make_dataset(None)
    # As 0.2.0 wrote it.
    features = tfds_writer.tfds.features.FeaturesDict
    drop = lambda fields: features({name: value for name, value in fields.items() if name != 'frame_size'})  # noqa: E731
    generate = tfds_writer._LandmarkDataset._generate_examples

    def generate_old(self, clips):
        for key, example in generate(self, clips):
            yield key, {name: value for name, value in example.items() if name != 'frame_size'}

    monkeypatch.setattr(tfds_writer.tfds.features, 'FeaturesDict', drop)
    monkeypatch.setattr(tfds_writer._LandmarkDataset, '_generate_examples', generate_old)
    path = tfds_writer.write_dataset(dataset, str(tmp_path))
    monkeypatch.undo()
    assert 'frame_size' not in (pathlib.Path(path) / 'features.json').read_text()
    npz.write_archive(dataset, str(tmp_path / 'a.npz'))
    assert 'frame_size' not in np.load(tmp_path / 'a.npz')
    for found in (dataset_lib.load_dataset(path), npz.read_archive(str(tmp_path / 'a.npz'), 'signs')):
        assert sizes_of(found) == {'train': [[0, 0]] * 2, 'validation': [[0, 0]], 'test': [[0, 0]]}
        assert found.description.frame_sizes is None
        assert found.fingerprint() == dataset.fingerprint()


@pytest.mark.parametrize(
    'value', [[9, 16, 3], [[9, 16]] * 3, [[9, -16]] * 4, [[9.5, 16]] * 4, [['a', 'b']] * 4, [[np.nan, 1]] * 4]
)
def test_an_archive_with_other_sizes_is_refused(tmp_path, value):
    npz.write_archive(make_dataset(None), str(tmp_path / 'a.npz'))
    arrays = dict(np.load(tmp_path / 'a.npz'))
    np.savez(tmp_path / 'b.npz', **arrays, frame_size=np.array(value))
    with pytest.raises(errors.InputError, match=r'b\.npz: frame_size is .*expected width and height in pixels'):
        npz.read_archive(str(tmp_path / 'b.npz'), 'signs')


def test_one_pair_of_an_archive_is_that_of_all_clips(tmp_path):
    npz.write_archive(make_dataset(None), str(tmp_path / 'a.npz'))
    np.savez(tmp_path / 'b.npz', **dict(np.load(tmp_path / 'a.npz')), frame_size=[640.0, 480.0])
    assert npz.read_archive(str(tmp_path / 'b.npz'), 'signs').description.frame_sizes == {'640x480': 4}


def test_a_store_of_before_is_continued(tmp_path):
    clips = [clips_lib.Clip(name, f'{name}.mp4', i, name, 'train') for i, name in enumerate('ab')]
    points = np.random.default_rng(0).random((5, 75, 3), np.float32)
    options = landmarker.Options().describe({'hands': b'h', 'pose': b'p'})
    path = str(tmp_path / 'landmarks')
    with store_lib.open_store(path, options) as store:
        store.save(clips[0], points, 0)
    with store_lib.open_store(path, options) as store:
        store.save(clips[1], points, 0, UPRIGHT)
        assert [store.read_clip(clip).frame_size for clip in clips] == [None, UPRIGHT]
    dataset = extracted.read_dataset(clips, path, 'signs', LAYOUTS['mediapipe_hands_pose'])
    assert dataset.splits['train'].frame_sizes.tolist() == [[0, 0], list(UPRIGHT)]


def test_the_report_names_several_shapes():
    clip = clips_lib.Clip('a', 'a.mp4', 0, 'book', 'train')
    points = np.zeros((5, 75, 3), np.float32)
    rows = [store_lib.done_row(clip, points, 0, size) for size in (WIDE, UPRIGHT, WIDE, (854, 480))]
    assert rows[1]['frame_size'] == '720x1280'
    last = store_lib.summary(rows).splitlines()[-1]
    assert last == 'pictures of several shapes, by number of clips: 1280x720 (2), 720x1280 (1), 854x480 (1)'
    assert 'shapes' not in store_lib.summary([rows[0], rows[3]])


def test_frame_size_states_those_that_are_unknown(capsys):
    points = np.random.default_rng(0).uniform(0.1, 0.9, (4, 5, 21, 3)).astype(np.float32)
    clips = list(points)
    clips[2] = clips[2] * np.array([640, 480, 1], np.float32)
    sizes = [UPRIGHT, (0, 0), (640, 480), (0, 0)]
    labels, splits = [0, 1, 0, 1], ['train', 'train', 'test', 'test']
    dataset = dataset_lib.Dataset.from_clips(DESCRIPTION, clips, labels, splits, frame_sizes=sizes)
    checked = plausibility.check(dataset, frame_size=WIDE)
    assert sizes_of(checked) == {'train': [[720, 1280], [1280, 720]], 'test': [[640, 480], [1280, 720]]}
    # Pixels are divided by the size of their own picture.
    np.testing.assert_allclose(checked.splits['test'].landmarks[0], points[2], rtol=1e-6)
    printed = capsys.readouterr().out
    assert '1 of 4 clips were in pixels' in printed
    assert 'of several shapes, by number of clips: 1280x720 (2), 720x1280 (1), 640x480 (1)' in printed


def test_a_frame_size_that_nothing_needs_is_said_and_not_noted(capsys):
    checked = plausibility.check(make_dataset([(640, 480)] * 4), frame_size=WIDE)
    assert '--frame_size is not used, as the source says the size of all pictures: 640x480 (4)' in (
        capsys.readouterr().out
    )
    assert 'frame_size' not in checked.description.source


def test_shapes_that_are_known_of_some_clips_alone_are_named(capsys):
    plausibility.check(make_dataset())
    assert 'shape of the pictures of 1 of 4 clips is unknown, that of others is 640x480 (2)' in capsys.readouterr().out
    plausibility.check(make_dataset([(1920, 1080), (854, 480), (640, 360), (1280, 720)]))
    plausibility.check(make_dataset(None))
    assert 'shape' not in capsys.readouterr().out


# --- What models are fed


FED = [(method, layout) for method in normalize.METHODS if method != 'none' for layout in LAYOUTS]


@pytest.mark.parametrize(('method', 'layout'), FED)
def test_a_person_is_the_same_in_pictures_of_any_shape(method, layout):
    pixels = make_pixels(layout)
    clips = [show(pixels, WIDE), show(pixels, UPRIGHT, 0.5625, 0, 437.5), show(pixels, UPRIGHT, 1.3, -90, 20)]
    aspects = np.array([ASPECTS[size] for size in (WIDE, UPRIGHT, UPRIGHT)])
    features = Features(layout, method, coordinates='xyz' if method == 'centered' else 'xy', missing_value=0.0)
    found = features.compute(clips, aspects=aspects)
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5)
    distorted = features.compute(clips)
    assert np.abs(distorted[1] - distorted[0]).max() > 0.1
    # As in a picture that is square.
    square = features.compute([show(pixels, (720, 720))], aspects=np.ones(1, np.float32))
    np.testing.assert_allclose(square[0], found[0], atol=1e-5)


def test_without_a_normalization_the_shape_does_not_count():
    clips = [show(make_pixels(), UPRIGHT)]
    features = Features('mediapipe_hands_pose')
    np.testing.assert_array_equal(features.compute(clips, aspects=[0.5625])[0], features.compute(clips)[0])


def test_unknown_sizes_are_taken_for_those_of_most_clips_that_were_trained_on():
    description = make_dataset(((640, 480), (0, 0), (640, 480), UPRIGHT)).description
    sizes = [(0, 0), WIDE, (640, 480)]
    np.testing.assert_allclose(description.aspects(sizes, 3), [4 / 3, 16 / 9, 4 / 3], rtol=1e-6)
    np.testing.assert_allclose(description.aspects(None, 2), [4 / 3, 4 / 3], rtol=1e-6)
    assert make_dataset(None).description.aspects(sizes, 3) is None


# --- Augmentation


def angles(points):
    """The direction of the line between every two points, of x and y in one unit."""
    difference = points[:, None] - points[None]
    return np.arctan2(difference[..., 1], difference[..., 0])


def turned_by(before, after):
    """The angle in degrees by which a picture was turned, and how far a turn about a point is from it, in pixels."""
    before, after = (x - x.mean(axis=0) for x in (before, after))
    cross = (before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]).sum()
    angle = np.arctan2(cross, (before * after).sum())
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.rad2deg(angle), np.abs(before @ rotation.T - after).max()


def augmentation_of(**fields):
    config = make_tiny_config('')
    config.augment.update(fields)
    return augment.Augmentation.from_config(config, 'mediapipe_hands_pose'), config


def pixels_of(landmarks, size):
    return np.asarray(landmarks)[..., :2].reshape(-1, 2) * np.array(size, np.float64)


@pytest.mark.parametrize('size', [WIDE, UPRIGHT, (720, 720)])
def test_a_turn_of_15_degrees_is_one_in_the_picture(monkeypatch, size):
    clip = jnp.asarray(show(np.nan_to_num(make_pixels(), nan=250), size))
    augmentation, _ = augmentation_of(affine=1.0, rotation=15.0, scale=1.0, aspect=1.0, shear=0.0, shift=0.0)
    highest = lambda key, shape=(), minval=0.0, maxval=1.0: jnp.full(shape, maxval)  # noqa: E731
    monkeypatch.setattr(augment.jax.random, 'uniform', highest)
    turned, _ = augmentation(jax.random.key(0), clip, jnp.int32(6), jnp.float32(size[0] / size[1]))
    before, after = pixels_of(clip, size), pixels_of(turned, size)
    angle, distance = turned_by(before, after)
    assert angle == pytest.approx(15, abs=1e-3)
    assert distance < 0.01
    is_long = np.linalg.norm(before[:, None] - before[None], axis=-1) > 20
    change = np.rad2deg(angles(after) - angles(before))[is_long]
    np.testing.assert_allclose((change + 180) % 360 - 180, 15, atol=0.2)
    distorted, _ = augmentation(jax.random.key(0), clip, jnp.int32(6))
    if size != (720, 720):
        assert turned_by(before, pixels_of(distorted, size))[1] > 5


def test_turns_of_spoter_are_about_the_middle_of_the_picture(monkeypatch):
    clip = jnp.asarray(show(np.nan_to_num(make_pixels(), nan=250), WIDE))
    # Of the four, only what turns all points.
    for name in ('tilt', 'squeeze', 'turn_arms'):
        monkeypatch.setattr(augment, name, lambda landmarks, *args: landmarks)
    augmentation, _ = augmentation_of(spoter=1.0)
    before = pixels_of(clip, WIDE)
    found = []
    for seed in range(12):
        turned, _ = augmentation(jax.random.key(seed), clip, jnp.int32(6), jnp.float32(16 / 9))
        after = pixels_of(turned, WIDE)
        angle, distance = turned_by(before, after)
        assert distance < 0.01
        found.append(angle)
        middle = np.array(WIDE) / 2
        np.testing.assert_allclose(
            np.linalg.norm(after - middle, axis=1), np.linalg.norm(before - middle, axis=1), atol=0.01
        )
    assert max(np.abs(found)) > 3


@pytest.mark.parametrize('normalization', ['none', 'centered', 'spoter'])
def test_the_step_makes_features_of_each_shape(normalization):
    layout, sizes = 'mediapipe_hands_pose', [WIDE, UPRIGHT, UPRIGHT]
    clips = [show(make_pixels(frames=frames, seed=frames), size) for frames, size in zip((6, 9, 4), sizes, strict=True)]
    aspects = np.array([ASPECTS[size] for size in sizes])
    config = make_tiny_config('', normalize=normalization, missing_value=0.0)
    config.augment.mirror = 1.0
    flat = [clip.reshape(len(clip), -1) for clip in clips]
    order = np.array([2, 0, 1])
    # One row stays empty.
    [[piece]] = input_pipeline.batches(flat, np.zeros(3, np.int32), order, 4, 1, aspects=aspects)
    assert piece['aspect'].tolist() == [[*aspects[order], 0]]
    fed = augment.make_preparation(config, layout)(jax.random.key(0), {name: x[0] for name, x in piece.items()})
    mirrored = [np.asarray(augment.mirror(jnp.asarray(clip), LAYOUTS[layout])) for clip in clips]
    expected = Features.from_config(config, layout).compute(mirrored, aspects=aspects)
    for row, i in enumerate(order):
        np.testing.assert_allclose(fed['landmarks'][row][fed['padding_mask'][row]], expected[i], atol=2e-5)
    assert not fed['padding_mask'][3].any()
    assert np.isfinite(fed['landmarks']).all()


def test_batches_of_runs_are_padded_with_unknown_shapes():
    clips = [np.zeros((3 + i, 6), np.float32) for i in range(3)]
    runs = [
        input_pipeline.batches(clips, np.zeros(3, np.int32), order, 2, 1, aspects=np.array([1, 2, 3], np.float32))
        for order in (np.array([0, 1, 2]), np.array([2, 1, 0]))
    ]
    batches = list(input_pipeline.stack_runs(runs))
    assert batches[0][0]['aspect'].tolist() == [[[1, 2], [3, 2]]]
    assert batches[1][0]['aspect'].tolist() == [[[3, 0], [1, 0]]]


# --- What is said


SAID = [
    (None, [(0, 0)], True, ''),
    (None, [WIDE], True, r'clips are of pictures of 1280x720 \(1\).*trained on is unknown'),
    ({'1280x720': 9}, [(0, 0), WIDE], True, '1 of 2 clips is unknown and taken to be that of 1280x720'),
    ({'1280x720': 9}, [UPRIGHT], True, ''),
    ({'1280x720': 9}, [(854, 480)], False, ''),
    (
        {'1280x720': 9, '640x480': 1},
        [WIDE, UPRIGHT],
        False,
        r'pictures of 720x1280 \(1\), but .* 1280x720 \(9\), 640x480',
    ),
]


@pytest.mark.parametrize(('trained_on', 'sizes', 'uses_shape', 'expected'), SAID)
def test_what_is_said_of_other_shapes(trained_on, sizes, uses_shape, expected):
    found = frame_sizes.compare(sizes, len(sizes), trained_on, uses_shape=uses_shape)
    assert bool(found) == bool(expected)
    assert not expected or re.search(expected, found)


def test_what_is_said_in_training():
    def said(counts, num_clips, uses_shape):
        return frame_sizes.check_training(counts, num_clips, uses_shape=uses_shape)

    assert '2 of 5 clips is unknown and taken to be that of 640x480' in said({'640x480': 3}, 5, True)
    assert "'none' does not account" in said({'640x480': 3, '480x640': 2}, 5, False)
    assert not said({'640x480': 3, '480x640': 2}, 5, True)
    assert not said({'640x480': 3, '1600x1200': 2}, 5, False)
    assert not said(None, 5, True)
