"""Landmarks of any kind as a model takes them: as its data were made, whatever they come from."""

import dataclasses

import numpy as np
import pytest

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker, people
from preprocessing.extraction import store as store_lib
from preprocessing.formats import extracted, model_input, npz, pose, tfds_writer
from slr_jax import errors
from slr_jax.landmarks import LAYOUTS
from tests import workdirs

OPTIONS = landmarker.Options(running_mode='video', pose='lite', min_presence_confidence=0.3, handedness='swapped')
MODELS = {'hands': b'h', 'pose': b'p'}


def make_points(seed, frames=6):
    """Hands that are seen in some frames, and a body that is in all but one, in which nothing is seen."""
    rng = np.random.default_rng(seed)
    points = rng.random((frames, 75, 3), np.float32)
    for group, fraction in (('right_hand', 0.4), ('left_hand', 0.6)):
        seen = rng.random(frames) < fraction
        seen[0] = True
        points[np.ix_(~seen, list(landmarker.LAYOUT.groups[group]))] = np.nan
    points[2] = np.nan
    return points


CLIPS = [clips_lib.Clip(f'c{i}', f'c{i}.mp4', i % 2, ('book', 'drink')[i % 2], 'train') for i in range(4)]
POINTS = {clip.video_id: make_points(seed) for seed, clip in enumerate(CLIPS)}


@pytest.fixture(scope='module')
def store(tmp_path_factory):
    """A directory of extract_landmarks."""
    path = str(tmp_path_factory.mktemp('extracted') / 'landmarks')
    with store_lib.open_store(path, OPTIONS.describe(MODELS)) as store:
        for clip in CLIPS:
            store.save(clip, POINTS[clip.video_id], 0)
        store.save_report([])
    return path


def make_target(layout, **fields):
    return model_input.Target('W', workdirs.describe(layout, ('book', 'drink'), **fields))


def of_videos(points, frame_size=None):
    """As `extract_videos` gives them."""
    return {name: people.Extracted(found, 0, frame_size) for name, found in points.items()}


def target_of(dataset):
    return model_input.Target('W', dataset.description)


def read_dataset(store, layout='mediapipe_hands_pose', **options):
    return extracted.read_dataset(CLIPS, store, 'signs', LAYOUTS[layout], **options)


def check_clips(clips, dataset, names=None, glosses=None):
    part = dataset.splits['train']
    assert clips.names == (names or list(part.video_ids))
    assert clips.glosses == (glosses or [None] * len(part))
    assert not clips.left_out
    for found, expected in zip(clips.landmarks, part.landmarks, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ('layout', 'options'),
    [
        ('mediapipe_hands_pose', {}),
        ('mediapipe_hands_pose', {'drop_empty_frames': True}),
        ('mediapipe_two_hands', {}),
        ('mediapipe_hand', {'hand': 'left', 'drop_empty_frames': True}),
        ('mediapipe_hand', {}),
    ],
)
def test_landmarks_of_mediapipe_become_what_build_dataset_makes_of_them(store, layout, options):
    dataset = read_dataset(store, layout, **options)
    target = target_of(dataset)
    check_clips(model_input.read(store, target), dataset)
    check_clips(model_input.clips_of_videos(target, of_videos(POINTS), {}), dataset)
    # Alone as among others.
    alone = model_input.read(f'{store}/c1.npz', target)
    assert alone.names == ['c1']
    np.testing.assert_array_equal(alone.landmarks[0], dataset.splits['train'].landmarks[1])


def test_datasets_and_archives_have_true_glosses(store, tmp_path):
    dataset = read_dataset(store)
    archive, directory = str(tmp_path / 'signs.npz'), tfds_writer.write_dataset(dataset, str(tmp_path))
    npz.write_archive(dataset, archive)
    for path in (archive, directory, str(tmp_path / 'signs')):
        for split in (None, 'train'):
            clips = model_input.read(path, target_of(dataset), split)
            check_clips(clips, dataset, glosses=['book', 'drink', 'book', 'drink'])
        with pytest.raises(errors.InputError, match="no split 'test', expected one of train"):
            model_input.read(path, target_of(dataset), 'test')


def test_what_meant_missing_in_the_data_of_the_model_does_in_an_archive(store, tmp_path):
    dataset = read_dataset(store)
    npz.write_archive(dataset, str(tmp_path / 'nan.npz'))
    for clip in dataset.splits['train'].landmarks:
        clip[np.isnan(clip)] = 0
    npz.write_archive(dataset, str(tmp_path / 'zeros.npz'))
    source = {'kind': 'npz', 'missing_values': [0.0]}
    target = make_target('mediapipe_hands_pose', source=source, handedness='swapped')
    found, expected = (model_input.read(str(tmp_path / f'{name}.npz'), target) for name in ('zeros', 'nan'))
    for one, other in zip(found.landmarks, expected.landmarks, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('layout', ['mediapipe_hands_pose', 'mediapipe_two_hands'])
def test_pose_files(store, tmp_path, layout):
    pytest.importorskip('pose_format')
    # Files of pose-format have the signer's own hands.
    dataset = read_dataset(store)
    description = dataclasses.replace(dataset.description, handedness='signer')
    dataset = dataclasses.replace(dataset, description=description)
    pose.write_dataset(dataset, str(tmp_path / 'poses'))
    target = make_target(layout)
    names = ['train/book/c0', 'train/book/c2', 'train/drink/c1', 'train/drink/c3']
    clips = model_input.read(str(tmp_path / 'poses'), target)
    assert clips.names == names
    for name, found in zip(names, clips.landmarks, strict=True):
        expected = extracted.make_selector(LAYOUTS[layout])(POINTS[name[-2:]])
        np.testing.assert_allclose(found, expected, atol=1e-6)
    path = str(tmp_path / 'poses' / f'{names[2]}.pose')
    alone = model_input.read(path, target)
    assert alone.names == [path]
    np.testing.assert_array_equal(alone.landmarks[0], clips.landmarks[2])


# --- How to extract


def test_videos_are_extracted_as_the_data_were(store):
    target = target_of(read_dataset(store, 'mediapipe_two_hands'))
    assert target.options() == OPTIONS
    assert target.options('image', 'heavy') == dataclasses.replace(OPTIONS, running_mode='image', pose='heavy')


@pytest.mark.parametrize(
    ('layout', 'source', 'expected'),
    [
        ('mediapipe_hands_pose', {}, {}),
        ('mediapipe_two_hands', {'kind': 'npz'}, {'parts': ('hands',)}),
        ('mediapipe_hands_pose', {'kind': 'published checkpoint'}, {'pose': 'heavy', 'handedness': 'swapped'}),
    ],
)
def test_data_that_do_not_say_how_they_were_extracted(layout, source, expected):
    target = make_target(layout, source=source, handedness=expected.get('handedness', 'signer'))
    assert target.options() == landmarker.Options(**expected)


def test_what_differs_from_the_data_is_named(store, monkeypatch):
    target = target_of(read_dataset(store))
    monkeypatch.setattr(model_input.model_files, 'read_models', lambda model_dir, names: MODELS)
    assert target.compare(target.options(), 'M') == []
    [mode] = target.compare(target.options('image'), 'M')
    assert 'running_mode image' in mode
    assert 'video' in mode
    monkeypatch.setattr(model_input.model_files, 'read_models', lambda model_dir, names: MODELS | {'pose': b'q'})
    [models] = target.compare(target.options(), 'M')
    assert models.startswith('pose_landmarker_lite.task in M ')
    [unknown] = make_target('mediapipe_hands_pose', source={'kind': 'npz'}).compare(landmarker.Options(), 'M')
    assert 'do not say' in unknown


# --- What is refused or left out


@pytest.mark.parametrize(
    ('target', 'facts'),
    [
        (make_target('mediapipe_hands_pose'), ('handedness is swapped', 'model of W', 'expects signer')),
        (make_target('vision_api'), ('layout is mediapipe_hands_pose', 'model of W', 'expects vision_api')),
    ],
)
def test_landmarks_that_do_not_fit_are_refused(store, tmp_path, target, facts):
    npz.write_archive(read_dataset(store), str(tmp_path / 'signs.npz'))
    for path in (store, f'{store}/c1.npz', str(tmp_path / 'signs.npz')):
        with pytest.raises(errors.InputError) as refusal:
            model_input.read(path, target)
        assert str(refusal.value).startswith(path)
        assert all(fact in str(refusal.value) for fact in facts)


def test_an_extraction_of_hands_has_no_pose(tmp_path):
    options = dataclasses.replace(OPTIONS, parts=('hands',))
    with store_lib.open_store(str(tmp_path), options.describe({'hands': b'h'})) as store:
        store.save(CLIPS[0], POINTS['c0'])
    target = make_target('mediapipe_hands_pose', handedness='swapped')
    with pytest.raises(errors.InputError, match=f'{tmp_path} was extracted without pose'):
        model_input.read(str(tmp_path), target)
    assert len(model_input.read(str(tmp_path), make_target('mediapipe_two_hands', handedness='swapped')).names) == 1


def test_a_layout_that_is_not_of_mediapipe_cannot_be_extracted():
    with pytest.raises(errors.InputError, match=r'model of W takes layout vision_api, which .* mediapipe_hands_pose'):
        make_target('vision_api').options()


def test_paths_of_another_kind_are_refused(tmp_path):
    target = make_target('mediapipe_hands_pose')
    (tmp_path / 'notes.txt').write_text('hello\n')
    (tmp_path / 'empty').mkdir()
    for name, fact in (('gone', 'does not exist'), ('notes.txt', 'a text file'), ('empty', 'an empty directory')):
        with pytest.raises(errors.InputError, match=f'{tmp_path}/{name} .*{fact}, expected a directory of extract'):
            model_input.read(str(tmp_path / name), target)
    with pytest.raises(errors.InputError, match=r'--split=test is for a dataset .*notes\.txt'):
        model_input.read(str(tmp_path / 'notes.txt'), target, 'test')


def test_clips_without_landmarks_are_left_out_and_those_without_hands_named(capsys):
    layout = landmarker.LAYOUT
    without_hands = POINTS['c0'].copy()
    without_hands[:, :42] = np.nan
    pixels = POINTS['c1'] * 640
    clips = model_input.clips_of_videos(
        make_target(layout.name),
        of_videos({'a': POINTS['c0'], 'b': without_hands, 'c': np.full((3, 75, 3), np.nan, np.float32), 'd': pixels}),
        {'e': 'the file is empty'},
    )
    assert clips.names == ['a', 'b']
    clips.report('videos', layout)
    printed = capsys.readouterr().out
    assert '3 of 5 clips are left out:\n  the file is empty: e\n  nothing seen in any frame: c\n' in printed
    assert 'warning: no hand is seen in any frame of 1 (b)\n' in printed
    assert 'few frames' not in printed


def test_clips_of_which_little_is_seen_are_named(capsys):
    layout = landmarker.LAYOUT
    clips = model_input.Clips()
    for name, frames_with_hands, frames_with_body in (('a', 2, 20), ('b', 1, 20), ('c', 9, 9), ('d', 10, 0)):
        points = np.full((20, 75, 3), 0.5, np.float32)
        points[frames_with_hands:, :42] = np.nan
        points[frames_with_body:, 42:] = np.nan
        clips.add(name, points, layout)
    clips.report('videos', layout)
    assert capsys.readouterr().out == 'warning: body and hands are seen in few frames of 2 (b, c)\n'


@pytest.mark.parametrize(
    ('left_out', 'expected'),
    [
        ({}, 'videos holds no clip'),
        ({'videos': 'the file is empty'}, 'videos: the file is empty'),
        ({'a': 'no frames'}, 'videos: clip a: no frames'),
        ({'a': 'no frames', 'b': 'bad'}, 'videos: 2 of 2 clips cannot be used, the first is a: no frames'),
    ],
)
def test_where_nothing_is_left_the_cause_is_named(left_out, expected):
    with pytest.raises(errors.InputError) as refusal:
        model_input.Clips(left_out=left_out).report('videos', landmarker.LAYOUT)
    assert str(refusal.value) == expected


# --- Finding videos


def test_videos_are_found(tmp_path, capsys):
    for name in ('b/2.mp4', 'a/1.MOV', 'a/notes.txt', 'frames/x_1.jpg', 'frames/x_2.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    root = str(tmp_path)
    assert model_input.find_videos(root) == (root, ['a/1.MOV', 'b/2.mp4', 'frames'])
    assert 'passed over, not videos: 1 (a/notes.txt)' in capsys.readouterr().out
    assert model_input.find_videos(f'{root}/frames') == ('', [f'{root}/frames'])
    assert model_input.find_videos(f'{root}/b/2.mp4') == ('', [f'{root}/b/2.mp4'])
    assert model_input.find_videos(f'{root}/*/[12].*') == ('', [f'{root}/a/1.MOV', f'{root}/b/2.mp4'])
    for path, fact in ((f'{root}/*.avi', 'matches nothing'), (f'{root}/c.mp4', 'does not exist')):
        with pytest.raises(errors.InputError, match=f'{fact}, expected a video'):
            model_input.find_videos(path)
    (tmp_path / 'stills').mkdir()
    for name in 'ab':
        (tmp_path / 'stills' / f'{name}.jpg').touch()
    with pytest.raises(errors.InputError, match=r'stills holds stills; --videos=.*/stills/'):
        model_input.find_videos(f'{root}/stills')
    found = model_input.find_videos(f'{root}/stills/*')
    assert found == ('', [f'{root}/stills/a.jpg', f'{root}/stills/b.jpg'])
    (tmp_path / 'none').mkdir()
    with pytest.raises(errors.InputError, match='none holds no video'):
        model_input.find_videos(f'{root}/none')
