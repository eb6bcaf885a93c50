"""Landmark files of other programs, written here as those programs write them, become datasets."""

import json

from absl import flags
import numpy as np
import pandas as pd
import pytest

from preprocessing import formats
from preprocessing.formats import openpose
from slr_jax import dataset as dataset_lib
from slr_jax import errors
from slr_jax.landmarks import LAYOUTS

HANDS_POSE, TWO_HANDS, VISION = (
    LAYOUTS[name] for name in ('mediapipe_hands_pose', 'mediapipe_two_hands', 'vision_api')
)
RIGHT, LEFT, BODY = (list(HANDS_POSE.groups[group]) for group in ('right_hand', 'left_hand', 'body'))
SPLITS = ('train', 'val', 'test')
GLOSSES = ('book', 'thank you')


def read(source, **given):
    """The dataset that build_dataset reads with these flags."""
    values = flags.FlagValues()
    module = formats.FORMATS[source]
    before = set(flags.FLAGS)
    try:
        module.define_flags()
        for name in set(flags.FLAGS) - before:
            values[name] = flags.FLAGS[name]
    finally:
        flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
    flags.DEFINE_string('name', 'signs', 'Name.', flag_values=values)
    values(['test', *(f'--{name}={value}' for name, value in given.items())])
    return module.read(values)


def make_points(frames=4, seed=0):
    """A right hand that is never seen, a left hand that is not seen in the first frame, and a body."""
    points = np.random.default_rng(seed).uniform(0.1, 0.9, (frames, 75, 3)).astype(np.float32)
    points[:, RIGHT] = np.nan
    points[0, LEFT] = np.nan
    return points


def clips_of(dataset):
    """(split, gloss, signer) of each clip -> its landmarks."""
    names = dataset.description.label_names
    return {
        (split, names[label], signer, video_id): points
        for split, clips in dataset.splits.items()
        for points, label, signer, video_id in zip(
            clips.landmarks, clips.labels, clips.signers, clips.video_ids, strict=True
        )
    }


# --- MP_Data


def holistic_numbers(points, parts):
    """What np.save is given per frame: all numbers one after another, zeros where a part is not seen."""
    filled = np.nan_to_num(points.astype(np.float64))
    pose = np.concatenate([filled[:, BODY], np.full((len(points), 33, 1), 0.9)], axis=2).reshape(len(points), -1)
    face = np.full((len(points), 468 * 3), 0.5)
    left, right = (filled[:, hand].reshape(len(points), -1) for hand in (LEFT, RIGHT))
    return np.concatenate([{'pose': pose, 'face': face, 'left': left, 'right': right}[part] for part in parts], axis=1)


PARTS = {126: ['left', 'right'], 258: ['pose', 'left', 'right'], 1662: ['pose', 'face', 'left', 'right']}


def write_mp_data(directory, size, per_frame=True):
    expected = {}
    for label, gloss in enumerate(GLOSSES):
        for clip in range(10):
            points = make_points(frames=12, seed=10 * label + clip)
            expected[gloss, f'{gloss.replace(" ", "_")}_{clip}'] = points
            rows = holistic_numbers(points, PARTS[size])
            folder = directory / gloss
            if per_frame:
                (folder / str(clip)).mkdir(parents=True)
                for frame, row in enumerate(rows):
                    np.save(folder / str(clip) / f'{frame}.npy', row)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / f'{clip}.npy', rows)
    return expected


@pytest.mark.parametrize('per_frame', [True, False])
@pytest.mark.parametrize('size', PARTS)
def test_mp_data(tmp_path, capsys, size, per_frame):
    expected = write_mp_data(tmp_path / 'MP_Data', size, per_frame)
    dataset = read('mp_data', input=tmp_path / 'MP_Data')
    assert dataset.layout is (TWO_HANDS if size == 126 else HANDS_POSE)
    assert dataset.description.label_names == GLOSSES
    assert {split: len(clips) for split, clips in dataset.splits.items()} == {'train': 14, 'validation': 3, 'test': 3}
    found = {(gloss, video_id): points for (_, gloss, _, video_id), points in clips_of(dataset).items()}
    assert found.keys() == expected.keys()
    for key, points in expected.items():
        np.testing.assert_array_equal(found[key], points[:, :42] if size == 126 else points)
    assert 'validation drawn at random' in capsys.readouterr().out


def test_mp_data_relative_to_the_wrist(tmp_path):
    points = make_points(frames=12)
    points[:, LEFT] -= points[:, LEFT][:, :1].copy()
    (tmp_path / 'book').mkdir()
    np.save(tmp_path / 'book' / '0.npy', holistic_numbers(points, PARTS[126]))
    dataset = read('mp_data', input=tmp_path, folders='class', validation=0, test=0)
    np.testing.assert_array_equal(dataset.splits['train'].landmarks[0], points[:, :42])


def test_one_hand_of_mp_data(tmp_path):
    write_mp_data(tmp_path / 'MP_Data', 258)
    dataset = read('mp_data', input=tmp_path / 'MP_Data', layout='mediapipe_hand', hand='left')
    assert dataset.layout.name == 'mediapipe_hand'
    assert dataset.splits['test'].landmarks[0].shape == (12, 21, 3)


def test_empty_folders_of_mp_data_are_left_out(tmp_path, capsys):
    write_mp_data(tmp_path / 'MP_Data', 126)
    (tmp_path / 'MP_Data' / 'book' / '10').mkdir()
    read('mp_data', input=tmp_path / 'MP_Data')
    assert '1 of 21 clips are left out:\n  no landmarks: book_10\n' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('array', 'facts'),
    [
        (np.zeros(64), r'11\.npy is float32\[64\], expected .* 42, 63, 66, 84, 99, 126, 132, 150, 225, 258'),
        (np.zeros(258), r'11\.npy is float32\[258\], but .*0\.npy \[126\]'),
        (np.zeros((1, 126)), r'11\.npy is float32\[1, 126\], expected the frames of a clip'),
        (np.array(['a'] * 126), r'<U1\[126\]'),
        (np.array([None] * 126), 'not an array of numbers: it holds None'),
        (np.array({'pose': 1}), 'not an array of numbers: '),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, facts):
    write_mp_data(tmp_path / 'MP_Data', 126)
    np.save(tmp_path / 'MP_Data' / 'book' / '3' / '11.npy', array)
    with pytest.raises(errors.InputError, match=rf'MP_Data/book/3.*{facts}'):
        read('mp_data', input=tmp_path / 'MP_Data')


def test_an_array_of_a_frame_among_those_of_clips_is_refused(tmp_path):
    write_mp_data(tmp_path / 'MP_Data', 126, per_frame=False)
    path = sorted((tmp_path / 'MP_Data' / 'book').glob('*.npy'))[-1]
    np.save(path, np.zeros(126))
    with pytest.raises(errors.InputError, match=rf'{path} is float32\[126\], expected the frames of a clip'):
        read('mp_data', input=tmp_path / 'MP_Data')


FACE = np.full((7, 478, 3), 0.5, np.float32)


def hands_and_pose():
    """Six frames: both hands and the pose, the right hand not seen in the first; its last point is an exact zero."""
    points = make_points(frames=7)
    points[:, RIGHT] = make_points(frames=7, seed=1)[:, LEFT]
    points[3, RIGHT[0]] = 0
    return points


# The arrays of a clip, of parts in some order and with 2 to 4 numbers per point, and the parts that are read.
def arrays_of_shapes():
    points = hands_and_pose()
    pose, left, right = (np.nan_to_num(points[:, part]) for part in (BODY, LEFT, RIGHT))
    hands, holistic = [left, right], [pose, left, right]
    kaggle = {face: [FACE[:, :face], left, pose, right] for face in (468, 478)}
    named = {'21': [left], '33': [pose], '42': hands, '75': holistic, '543': kaggle[468], '553': kaggle[478]}
    for name, parts in named.items():
        joined = np.concatenate(parts, axis=1)
        visible = np.concatenate([joined, np.full_like(joined[..., :1], 0.9)], axis=2)
        for array in (joined[..., :2], joined, visible):
            yield f'{name}x{array.shape[2]}', array
            if array.shape[2] < 4 or name not in ('21', '42'):
                yield f'{name}x{array.shape[2]} in a row', array.reshape(7, -1)
    yield '2x21x3', np.stack(hands, axis=1)
    yield '2x21x2', np.stack(hands, axis=1)[..., :2]
    for face in ([], [FACE[:, :468]], [FACE]):
        rows = [np.concatenate([pose, np.full((7, 33, 1), 0.9)], axis=2), *face, *hands]
        flat = np.concatenate([part.reshape(7, -1) for part in rows], axis=1)
        yield f'75 of {flat.shape[1]} numbers', flat


ARRAYS = dict(arrays_of_shapes())


@pytest.mark.parametrize('per_frame', [True, False])
@pytest.mark.parametrize('name', ARRAYS)
def test_arrays_of_any_shape_that_says_what_they_are(tmp_path, capfd, name, per_frame):
    array = ARRAYS[name].astype(np.float64)
    for gloss in GLOSSES:
        (tmp_path / gloss / '1').mkdir(parents=True)
        if per_frame:
            for number, frame in enumerate(array):
                np.save(tmp_path / gloss / '1' / f'{number}.npy', frame)
        else:
            (tmp_path / gloss / '1').rmdir()
            np.save(tmp_path / gloss / '1.npy', array)
    layout = None if name.startswith('33') else {'21': 'mediapipe_hand', '42': 'mediapipe_two_hands'}.get(name[:2])
    dataset = read('mp_data', input=tmp_path, validation=0, test=0)
    assert dataset.layout.name == ('mediapipe_two_hands' if name.startswith('2x') else layout or HANDS_POSE.name)
    expected = hands_and_pose()
    if 'x2' in name.removeprefix('2x21'):
        expected[..., 2] = np.nan
    if name.startswith('33'):
        expected[:, LEFT + RIGHT] = np.nan
    expected = {'21': expected[:, LEFT], '42': expected[:, :42], '2x': expected[:, :42]}.get(name[:2], expected)
    for clip in dataset.splits['train'].landmarks:
        np.testing.assert_array_equal(clip, expected)
    said = capfd.readouterr().out
    assert said.count('is taken as') == 1
    assert ('--order says another order' in said) != (name[:2] in ('21', '33'))


def test_another_order_of_the_parts(tmp_path, capfd):
    points = hands_and_pose()
    for gloss in GLOSSES:
        (tmp_path / gloss).mkdir()
        np.save(tmp_path / gloss / '1.npy', points[:, RIGHT + LEFT + BODY])
    dataset = read('mp_data', input=tmp_path, validation=0, test=0, order='right_hand,left_hand,pose')
    np.testing.assert_array_equal(dataset.splits['train'].landmarks[0], points)
    assert 'right_hand of 21 (x, y, z), left_hand of 21 (x, y, z), pose of 33 (x, y, z)' in capfd.readouterr().out
    with pytest.raises(errors.InputError, match=r'--order=pose,face, but .*1\.npy is taken as pose of 33 .*left_hand'):
        read('mp_data', input=tmp_path, order='pose,face')


@pytest.mark.parametrize(
    ('shape', 'facts'),
    [
        ((5, 12, 75, 3), 'looks like 5 clips: save each as a file of its own'),
        ((5, 12, 1662), 'looks like 5 clips'),
        ((12, 80), r'float32\[12, 80\], expected .*21, 33, 42, 75, 543, 553 points'),
        ((12, 3, 75), r'float32\[12, 3, 75\], expected'),
        ((12, 75, 5), r'float32\[12, 75, 5\], expected'),
        ((), r'float32\[\], expected'),
    ],
)
@pytest.mark.parametrize('where', ['X.npy', 'book/1.npy', 'train/book/1.npy'])
def test_shapes_that_say_nothing_are_refused(tmp_path, shape, facts, where):
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    np.save(tmp_path / where, np.zeros(shape))
    with pytest.raises(errors.InputError, match=rf'{where} is .*{facts}'):
        read('mp_data', input=tmp_path, folders='split/class' if 'train' in where else 'class')


@pytest.mark.parametrize('shape', [(0, 126), (0, 2, 21, 3)])
def test_an_array_without_frames_is_left_out(tmp_path, capsys, shape):
    write_mp_data(tmp_path, 126, per_frame=False)
    np.save(tmp_path / 'book' / 'none.npy', np.zeros(shape))
    read('mp_data', input=tmp_path)
    assert '1 of 21 clips are left out:\n  nothing seen in any frame: book_none\n' in capsys.readouterr().out


def test_arrays_above_the_classes_are_named(tmp_path, capfd):
    write_mp_data(tmp_path, 126, per_frame=False)
    np.save(tmp_path / 'labels.npy', np.zeros(20))
    read('mp_data', input=tmp_path)
    assert 'passed over, not arrays of clips: labels.npy' in capfd.readouterr().out


# --- asl-signs


def write_asl_signs(directory, num_clips=8):
    rows, expected = [], {}
    for clip in range(num_clips):
        points = make_points(seed=clip)
        participant, sequence, sign = f'{clip % 4}0', 1000 + clip, GLOSSES[clip % 2]
        path = f'train_landmark_files/{participant}/{sequence}.parquet'
        rows.append({'path': path, 'participant_id': participant, 'sequence_id': sequence, 'sign': sign})
        expected[sign, participant, str(sequence)] = points
        face = np.full((len(points), 468, 3), 0.5, np.float32)
        parts = {'face': face, 'left_hand': points[:, LEFT], 'pose': points[:, BODY], 'right_hand': points[:, RIGHT]}
        table = [
            {'frame': 20 + frame, 'row_id': f'{20 + frame}-{kind}-{i}', 'type': kind, 'landmark_index': i}
            | dict(zip('xyz', part[frame, i], strict=True))
            for frame in range(len(points))
            for kind, part in parts.items()
            for i in range(part.shape[1])
        ]
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        types = {'frame': 'int16', 'landmark_index': 'int16', 'x': 'float64', 'y': 'float64', 'z': 'float64'}
        pd.DataFrame(table).astype(types).to_parquet(directory / path)
    pd.DataFrame(rows).to_csv(directory / 'train.csv', index=False)
    return expected


def test_asl_signs(tmp_path, capsys):
    expected = write_asl_signs(tmp_path)
    (tmp_path / 'train_landmark_files' / '30' / '1003.parquet').unlink()
    del expected['thank you', '30', '1003']
    dataset = read('asl_signs', input=tmp_path, split_by='signer')
    assert dataset.layout is HANDS_POSE
    found = {key[1:]: points for key, points in clips_of(dataset).items()}
    assert found.keys() == expected.keys()
    for key, points in expected.items():
        np.testing.assert_array_equal(found[key], points)
    signers = [set(clips.signers) for clips in dataset.splits.values()]
    assert sum(map(len, signers)) == len(set().union(*signers)) == 4
    assert 'no landmarks: 1003' in capsys.readouterr().out


def test_damaged_asl_signs(tmp_path):
    with pytest.raises(errors.InputError, match=r'has no train\.csv'):
        read('asl_signs', input=tmp_path)
    write_asl_signs(tmp_path)
    path = tmp_path / 'train_landmark_files' / '00' / '1000.parquet'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(errors.InputError, match=r'1000\.parquet is damaged'):
        read('asl_signs', input=tmp_path)


# --- OpenPose


def write_openpose(directory, num_points, frames=3, size=(640, 480), seed=0):
    """A person with one hand, and beside it another one that is hardly seen; the last frame is empty."""
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True)
    people = []
    for frame in range(frames):
        pose, hand = rng.uniform(0.2, 0.8, (num_points, 3)), rng.uniform(0.2, 0.8, (21, 3))
        pose[:, :2] *= size
        hand[:, :2] *= size
        pose[3] = 0
        person = {
            'person_id': [-1],
            'pose_keypoints_2d': pose.ravel().tolist(),
            'face_keypoints_2d': [],
            'hand_left_keypoints_2d': hand.ravel().tolist(),
            'hand_right_keypoints_2d': [0.0] * 63,
        }
        other = person | {'pose_keypoints_2d': (pose * [1, 1, 0.01]).ravel().tolist(), 'hand_left_keypoints_2d': []}
        content = {'version': 1.3, 'people': [other, person] if frame < frames - 1 else []}
        (directory / f'image_{frame + 1:05d}_keypoints.json').write_text(json.dumps(content))
        people.append((pose, hand))
    return people


@pytest.mark.parametrize(('num_points', 'right_eye'), [(25, 15), (18, 14)])
def test_openpose(tmp_path, num_points, right_eye):
    people = {}
    for index, split in enumerate(SPLITS):
        for gloss in GLOSSES:
            folder = tmp_path / 'poses' / split / gloss / f'{index:05d}'
            people[split, gloss] = write_openpose(folder, num_points, seed=index)
    dataset = read('openpose', input=tmp_path / 'poses')
    assert dataset.layout is VISION
    assert list(dataset.splits) == ['train', 'validation', 'test']
    clips = clips_of(dataset)
    points = clips['train', 'book', '', 'train_book_00000']
    (pose, hand), *_ = people['train', 'book']
    assert points.shape == (3, 54, 3)
    for name, x_y in {
        'nose': pose[0],
        'leftShoulder': pose[5],
        'rightEye': pose[right_eye],
        'leftEar': pose[right_eye + 3],
        'wrist_left': hand[0],
        'indexTip_left': hand[8],
        'thumbCMC_left': hand[1],
    }.items():
        np.testing.assert_allclose(points[0, VISION.points.index(name), :2], x_y[:2], rtol=1e-6)
    assert np.isnan(points[0, VISION.points.index('rightElbow')]).all()
    assert np.isnan(points[:, list(VISION.groups['right_hand'])]).all()
    assert np.isnan(points[-1]).all()
    assert np.isnan(points[..., 2]).all()


def test_openpose_of_a_clips_table(tmp_path):
    for name in ('00335', '00336'):
        write_openpose(tmp_path / 'poses' / name, 25)
    header = 'video_id,file,label,gloss,split,signer_id,frame_start,frame_end,fps,bbox,source'
    rows = (
        '00335,00335.mp4,0,book,train,7,1,-1,25,,',
        'other,00336.mp4,1,drink,test,,1,2,,,',
        'x,x.mp4,1,drink,test,,1,2,,,',
    )
    (tmp_path / 'clips.csv').write_text('\n'.join([header, *rows]))
    dataset = read('openpose', input=tmp_path / 'poses', clips=tmp_path / 'clips.csv')
    assert {key: len(points) for key, points in clips_of(dataset).items()} == {
        ('train', 'book', '7', '00335'): 3,
        ('test', 'drink', '', 'other'): 2,
    }


@pytest.mark.parametrize(
    ('content', 'facts'),
    [
        ('{"keypoints": []}', 'no list people'),
        ('[1, 2]', 'holds a list, expected a JSON object'),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', 'pose_keypoints_2d has 3 numbers, expected 75 or 54'),
        ('{"people": [{"hand_left_keypoints_2d": [1, 2]}]}', 'hand_left_keypoints_2d has 2 numbers, expected 63'),
        ('{"people": [{"hand_left_keypoints_2d": [[1], 2]}]}', 'hand_left_keypoints_2d has no list of numbers, exp'),
        ('{"people": [{"hand_left_keypoints_2d": {"x": 1}}]}', 'hand_left_keypoints_2d has no list of numbers, exp'),
        ('{"people": [{"hand_left_keypoints_2d": 5}]}', 'hand_left_keypoints_2d has 1 numbers, expected 63'),
        ('{"people"', 'damaged'),
    ],
)
def test_other_json_is_refused(tmp_path, content, facts):
    write_openpose(tmp_path / 'poses' / 'book' / '00335', 25)
    (tmp_path / 'poses' / 'book' / '00335' / 'image_00002_keypoints.json').write_text(content)
    with pytest.raises(errors.InputError, match=rf'image_00002_keypoints\.json.*{facts}'):
        read('openpose', input=tmp_path / 'poses')


# --- .pose


def write_pose(path, components, size, version_data, confidence):
    pose_header = pytest.importorskip('pose_format.pose_header')
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody

    made = [
        pose_header.PoseHeaderComponent(name, list(points), [(0, 1)], [(0, 0, 0)], axes)
        for name, points, axes in components
    ]
    header = pose_header.PoseHeader(0.2, pose_header.PoseHeaderDimensions(*size), made)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'wb') as file:
        Pose(header, NumPyPoseBody(25.0, version_data, confidence)).write(file)


def hand_names():
    return [name.removeprefix('right_hand_').upper() for name in HANDS_POSE.points[:21]]


def holistic_pose(path, points, size=(640, 480)):
    """As pose-format's load_holistic: pose, face, left hand, right hand and world, in pixels but for z."""
    body = [name.removeprefix('pose_').upper() for name in HANDS_POSE.points[42:]]
    components = [
        ('POSE_LANDMARKS', body, 'XYZC'), ('FACE_LANDMARKS', [str(i) for i in range(468)], 'XYZC'),
        ('LEFT_HAND_LANDMARKS', hand_names(), 'XYZC'), ('RIGHT_HAND_LANDMARKS', hand_names(), 'XYZC'),
        ('POSE_WORLD_LANDMARKS', body, 'XYZC'),
    ]  # fmt: skip
    frames = len(points)
    face, world = np.full((frames, 468, 3), 0.5), np.zeros((frames, 33, 3))
    data = np.concatenate([points[:, BODY], face, points[:, LEFT], points[:, RIGHT], world], axis=1) * [*size, 1]
    confidence = (~np.isnan(data[..., 0])).astype(np.float32)
    # Beside the signer somebody who is hardly seen.
    data = np.stack([np.full_like(data, 3), np.nan_to_num(data)], axis=1).astype(np.float32)
    confidence = np.stack([confidence * 0.1, confidence], axis=1)
    write_pose(path, components, size, data, confidence)


def test_pose_of_holistic(tmp_path):
    for index, split in enumerate(SPLITS):
        for gloss in GLOSSES:
            holistic_pose(tmp_path / 'poses' / split / gloss / f'anna_{index}.pose', make_points(seed=index))
    dataset = read('pose', input=tmp_path / 'poses')
    assert dataset.layout is HANDS_POSE
    clips = clips_of(dataset)
    for index, (split, folder) in enumerate(zip(dataset_lib.SPLITS, SPLITS, strict=True)):
        found = clips[split, 'book', 'anna', f'{folder}_book_anna_{index}']
        np.testing.assert_allclose(found, make_points(seed=index), rtol=1e-6)


def test_pose_of_openpose(tmp_path):
    pose_openpose = pytest.importorskip('pose_format.utils.openpose')
    for gloss in GLOSSES:
        folder = tmp_path / 'json' / gloss / '1'
        write_openpose(folder, 25)
        frames = [json.loads(path.read_text()) for path in sorted(folder.iterdir())]
        for frame in frames:
            frame['people'] = frame['people'][1:]
            for person in frame['people']:
                person['face_keypoints_2d'] = [0.0] * 210
        pose = pose_openpose.load_openpose(dict(enumerate(frames)), width=640, height=480)
        (tmp_path / 'poses' / gloss).mkdir(parents=True)
        with open(tmp_path / 'poses' / gloss / '1.pose', 'wb') as file:
            pose.write(file)
    found = read('pose', input=tmp_path / 'poses', validation=0, test=0).splits['train'].landmarks[0]
    expected = openpose.read_item(str(tmp_path / 'json' / 'book' / '1'))[1]
    np.testing.assert_allclose(found[..., :2], expected[..., :2] / [640, 480], rtol=1e-6)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('has_z', [True, False])
def test_pose_there_and_back(tmp_path, layout, has_z):
    pytest.importorskip('pose_format')
    from preprocessing import synthetic
    from preprocessing.formats import pose

    counts = {'train': 3, 'test': 1}
    dataset = synthetic.make_dataset('signs', LAYOUTS[layout], 3, counts, seed=1, num_informative=3)
    if not has_z:
        for clips in dataset.splits.values():
            for clip in clips.landmarks:
                clip[..., 2] = np.nan
    pose.write_dataset(dataset, str(tmp_path / 'poses'))
    back = read('pose', input=tmp_path / 'poses', clips=tmp_path / 'poses' / 'clips.csv')
    expected = {key: points for key, points in clips_of(dataset).items()}
    found = clips_of(back)
    assert back.layout is dataset.layout
    assert found.keys() == expected.keys()
    for key, points in expected.items():
        np.testing.assert_array_equal(found[key], points)


def test_pose_files_keep_the_size_of_pictures(tmp_path):
    pose = pytest.importorskip('preprocessing.formats.pose')
    pytest.importorskip('pose_format')
    sizes = [(720, 1280), (0, 0), (854, 480)]
    clips = [make_points(seed=i) for i in range(3)]
    description = dataset_lib.Description('signs', HANDS_POSE.name, ['book'])
    dataset = dataset_lib.Dataset.from_clips(description, clips, [0] * 3, ['train'] * 3, frame_sizes=sizes)
    pose.write_dataset(dataset, str(tmp_path / 'poses'))
    back = read('pose', input=tmp_path / 'poses', clips=tmp_path / 'poses' / 'clips.csv').splits['train']
    assert back.frame_sizes.tolist() == [list(size) for size in sizes]
    for found, expected in zip(back.landmarks, clips, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(('size', 'expected'), [((640, 480), [640, 480]), ((1000, 1000), [0, 0])])
def test_pose_of_holistic_says_the_size(tmp_path, size, expected):
    holistic_pose(tmp_path / 'poses' / 'book' / 'a.pose', make_points(), size)
    dataset = read('pose', input=tmp_path / 'poses', validation=0, test=0)
    assert dataset.splits['train'].frame_sizes.tolist() == [expected]


def test_other_pose_files_are_refused(tmp_path):
    pytest.importorskip('pose_format')
    folder = tmp_path / 'poses' / 'book'
    holistic_pose(folder / 'a.pose', make_points())
    (folder / 'b.pose').write_bytes((folder / 'a.pose').read_bytes()[:9000])
    with pytest.raises(errors.InputError, match=r'b\.pose is damaged'):
        read('pose', input=tmp_path / 'poses')
    write_pose(
        folder / 'b.pose', [('paws', ['left', 'right'], 'XYC')], (9, 9), np.ones((2, 1, 2, 2)), np.ones((2, 1, 2))
    )
    with pytest.raises(errors.InputError, match=r'b\.pose has the components paws'):
        read('pose', input=tmp_path / 'poses')


def test_without_pose_format(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'pose_format', None)
    (tmp_path / 'hello').mkdir()
    (tmp_path / 'hello' / 'a.pose').write_bytes(b'')
    with pytest.raises(ModuleNotFoundError) as raised:
        read('pose', input=tmp_path)
    assert "pip install 'slr_jax[pose]'" in errors.missing_dependency(raised.value)


# --- All of them


@pytest.mark.parametrize('source', ['pose', 'mp_data', 'openpose'])
def test_folders_of_something_else(tmp_path, source):
    with pytest.raises(errors.InputError, match=f'--source={source} needs --input'):
        read(source)
    with pytest.raises(errors.InputError, match=r'nowhere does not exist, expected a directory'):
        read(source, input=tmp_path / 'nowhere')
    (tmp_path / 'videos').mkdir()
    (tmp_path / 'videos' / 'a.mp4').write_bytes(b'\x00\x00\x00\x18ftypmp42')
    with pytest.raises(errors.InputError, match=r'videos holds no .*; a\.mp4 is a video'):
        read(source, input=tmp_path / 'videos')
    with pytest.raises(errors.InputError, match=r'a\.mp4 is a video, expected a directory'):
        read(source, input=tmp_path / 'videos' / 'a.mp4')


def test_folders_that_say_nothing_of_classes(tmp_path):
    for person in ('signer1', 'signer2'):
        for gloss in GLOSSES:
            (tmp_path / person / gloss).mkdir(parents=True)
            np.save(tmp_path / person / gloss / '1.npy', holistic_numbers(make_points(), PARTS[258]))
    dataset = read('mp_data', input=tmp_path, validation=0, test=0)
    assert set(dataset.splits['train'].signers) == {'signer1', 'signer2'}
    assert dataset.description.label_names == GLOSSES
    dataset = read('mp_data', input=tmp_path, validation=0, test=0, folders='class/signer')
    assert dataset.description.label_names == ('signer1', 'signer2')
    dataset = read('mp_data', input=tmp_path, validation=0, test=0, pattern='(?P<signer>[^/]+)/(?P<gloss>[^/]+)/')
    assert dataset.description.label_names == GLOSSES
    with pytest.raises(errors.InputError, match='either --folders or --pattern'):
        read('mp_data', input=tmp_path, folders='class', pattern='x')
