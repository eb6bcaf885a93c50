import csv
import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest

from preprocessing import splits
from preprocessing.clips import Clip
from preprocessing.extraction import store as store_lib
from preprocessing.formats import extracted as extracted_lib
from preprocessing.formats import tfds_writer
from slr_jax import dataset as dataset_lib
from slr_jax import errors
from slr_jax.landmarks import LAYOUTS

HANDS_POSE, HAND, TWO_HANDS = (LAYOUTS[f'mediapipe_{name}'] for name in ('hands_pose', 'hand', 'two_hands'))
DESCRIPTION = {
    'parts': ['hands', 'pose'], 'running_mode': 'image', 'handedness': 'signer', 'pose': 'full',
    'min_detection_confidence': 0.5, 'input': 'videos', 'layout': 'mediapipe_hands_pose', 'mediapipe': '1.2.2',
    'models_sha256': {'hand_landmarker.task': 'ab', 'pose_landmarker_full.task': 'cd'},
}  # fmt: skip
PUBLISHED_COLUMNS = [
    f'{part}{axis}{i}' for part, count in (('RH', 21), ('LH', 21), ('P', 33)) for i in range(count) for axis in 'xyz'
]
CLIPS = [
    Clip('a', 'hello/a.mp4', 0, 'hello', 'train', 'anna'),
    Clip('b', 'thanks/b.mp4', 1, 'thanks', 'test', 'ben'),
    Clip('c', 'thanks/c.mp4', 1, 'thanks', 'train', '', 3, 6),
    Clip('d', 'hello/d.mp4', 0, 'hello', 'validation', 'anna'),
]


def make_points(frames, right=(), left=(), body=(), seed=0):
    """Points in the layout of an extraction, NaN outside of the frames in which each part is seen."""
    points = np.random.default_rng(seed).random((frames, 75, 3), np.float32)
    for part, seen in ((slice(0, 21), right), (slice(21, 42), left), (slice(42, 75), body)):
        points[[frame for frame in range(frames) if frame not in seen], part] = np.nan
    return points


POINTS = {
    'a': make_points(6, right=[1, 2], left=[2, 3, 4], body=[0, 1, 2, 3, 4], seed=1),
    'b': make_points(3, right=[0, 2], left=[1, 2], seed=2),
    'c': make_points(4, right=[3], body=[1], seed=3),
    'd': make_points(2, left=[0], body=[0, 1], seed=4),
}


def write_extraction(directory, clips, points, description=None):
    """What extract_landmarks leaves, written down without its code."""
    description = DESCRIPTION if description is None else description
    directory.mkdir()
    (directory / 'extraction.json').write_text(json.dumps({'format': 'slr_jax extraction 1', **description}))
    (directory / 'report.csv').write_text('video_id,status\n')
    fingerprint = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]
    for clip in clips:
        segment = {'video': clip.file, 'frame_start': clip.frame_start, 'frame_end': clip.frame_end}
        np.savez(directory / f'{clip.video_id}.npz', landmarks=points[clip.video_id], **segment, extraction=fingerprint)
    return str(directory)


@pytest.fixture
def extracted(tmp_path):
    return write_extraction(tmp_path / 'landmarks', CLIPS, POINTS)


def by_clip(dataset):
    return {
        video_id: points
        for clips in dataset.splits.values()
        for video_id, points in zip(clips.video_ids, clips.landmarks, strict=True)
    }


def check_landmarks(dataset, expected):
    found = by_clip(dataset)
    assert set(found) == set(expected)
    for video_id, points in expected.items():
        assert found[video_id].dtype == np.float32
        np.testing.assert_array_equal(found[video_id], points)


# --- What extract_landmarks writes


def test_hands_and_pose(extracted):
    dataset = extracted_lib.read_dataset(CLIPS, extracted, 'signs', HANDS_POSE)
    check_landmarks(dataset, POINTS)
    assert dataset.description == dataset_lib.Description(
        name='signs',
        layout='mediapipe_hands_pose',
        label_names=('hello', 'thanks'),
        handedness='signer',
        source={
            'kind': 'landmarks',
            **DESCRIPTION,
            'hand': 'most_seen',
            'drop_empty_frames': False,
            'clips_left_out': 0,
        },
    )
    columns = {
        split: (clips.video_ids, clips.labels.tolist(), clips.signers, clips.index.tolist())
        for split, clips in dataset.splits.items()
    }
    assert columns == {
        'train': (['a', 'c'], [0, 1], ['anna', ''], [0, 2]),
        'validation': (['d'], [0], ['anna'], [3]),
        'test': (['b'], [1], ['ben'], [1]),
    }


def test_a_directory_of_slr_jax_0_1_0(tmp_path):
    old = {'hand_names': 'published', **DESCRIPTION}
    del old['handedness']
    path = write_extraction(tmp_path / 'landmarks', CLIPS, POINTS, old)
    dataset = extracted_lib.read_dataset(CLIPS, path, 'signs', HANDS_POSE)
    check_landmarks(dataset, POINTS)
    assert dataset.description.handedness == dataset.description.source['handedness'] == 'swapped'
    assert 'hand_names' not in dataset.description.source


def test_files_of_the_code_that_writes_them(tmp_path, extracted):
    with store_lib.open_store(str(tmp_path / 'written'), DESCRIPTION) as directory:
        for clip in CLIPS:
            directory.save(clip, POINTS[clip.video_id])
    written = extracted_lib.read_dataset(CLIPS, directory.path, 'signs', HANDS_POSE)
    by_hand = extracted_lib.read_dataset(CLIPS, extracted, 'signs', HANDS_POSE)
    assert written.description == by_hand.description
    assert written.fingerprint() == by_hand.fingerprint()


RIGHT, LEFT = slice(0, 21), slice(21, 42)
# Where the signer's own right and left hands are.
RIGHTS, LEFTS = {'signer': RIGHT, 'swapped': LEFT}, {'signer': LEFT, 'swapped': RIGHT}


@pytest.mark.parametrize('handedness', ['signer', 'swapped'])
@pytest.mark.parametrize(
    ('hand', 'takes'),
    [
        ('most_seen', {'a': LEFT, 'b': RIGHTS, 'c': RIGHT, 'd': LEFT}),
        ('right', {'a': RIGHTS, 'b': RIGHTS, 'c': RIGHTS, 'd': LEFT}),
        ('left', {'a': LEFTS, 'b': LEFTS, 'c': RIGHT, 'd': LEFTS}),
    ],
)
def test_one_hand(tmp_path, handedness, hand, takes):
    # In b both hands are seen in as many frames: then it is the signer's right. c and d have one of the two only.
    unseen = {'signer': {'right': 'd', 'left': 'c'}, 'swapped': {'right': 'c', 'left': 'd'}}
    left_out = unseen[handedness].get(hand)
    path = write_extraction(tmp_path / 'landmarks', CLIPS, POINTS, DESCRIPTION | {'handedness': handedness})
    dataset = extracted_lib.read_dataset(CLIPS, path, 'signs', HAND, hand=hand)
    expected = {}
    for video_id, which in takes.items():
        if video_id != left_out:
            expected[video_id] = POINTS[video_id][:, which[handedness] if isinstance(which, dict) else which]
    check_landmarks(dataset, expected)
    assert dataset.description.handedness == handedness
    assert dataset.description.source['hand'] == hand
    assert dataset.description.source['clips_left_out'] == (left_out is not None)


@pytest.mark.parametrize('handedness', ['signer', 'swapped'])
def test_two_hands(tmp_path, handedness):
    description = DESCRIPTION | {'handedness': handedness, 'parts': ['hands']}
    path = write_extraction(tmp_path / 'landmarks', CLIPS, POINTS, description)
    dataset = extracted_lib.read_dataset(CLIPS, path, 'signs', TWO_HANDS)
    check_landmarks(dataset, {video_id: points[:, :42] for video_id, points in POINTS.items()})


@pytest.mark.parametrize(
    ('layout', 'hand', 'frames'),
    [
        (HANDS_POSE, 'most_seen', {'a': [0, 1, 2, 3, 4], 'b': [0, 1, 2], 'c': [1, 3], 'd': [0, 1]}),
        (TWO_HANDS, 'most_seen', {'a': [1, 2, 3, 4], 'b': [0, 1, 2], 'c': [3], 'd': [0]}),
        (HAND, 'most_seen', {'a': [2, 3, 4], 'b': [0, 2], 'c': [3], 'd': [0]}),
        (HAND, 'right', {'a': [1, 2], 'b': [0, 2], 'c': [3]}),
        (HAND, 'left', {'a': [2, 3, 4], 'b': [1, 2], 'd': [0]}),
    ],
)
def test_empty_frames_are_dropped(extracted, layout, hand, frames):
    whole = by_clip(extracted_lib.read_dataset(CLIPS, extracted, 'signs', layout, hand=hand))
    dataset = extracted_lib.read_dataset(CLIPS, extracted, 'signs', layout, hand=hand, drop_empty_frames=True)
    assert dataset.description.source['drop_empty_frames'] is True
    check_landmarks(dataset, {video_id: whole[video_id][kept] for video_id, kept in frames.items()})


def test_clips_without_landmarks_are_left_out_and_listed(tmp_path, capsys):
    points = POINTS | {'c': make_points(4, body=[1, 2])}
    path = write_extraction(tmp_path / 'landmarks', [clip for clip in CLIPS if clip.video_id != 'b'], points)
    dataset = extracted_lib.read_dataset(CLIPS, path, 'signs', TWO_HANDS)
    printed = capsys.readouterr().out
    assert printed.startswith('2 of 4 clips are left out:\n  no landmarks: b\n  nothing seen in any frame: c\n')
    assert 'thanks (test), thanks (train) lost all clips' in printed
    check_landmarks(dataset, {video_id: POINTS[video_id][:, :42] for video_id in 'ad'})
    assert list(dataset.splits) == ['train', 'validation']
    assert dataset.splits['validation'].index.tolist() == [3]
    assert dataset.description.label_names == ('hello', 'thanks')
    assert dataset.description.source['clips_left_out'] == 2
    with pytest.raises(errors.InputError) as caught:
        extracted_lib.read_dataset(CLIPS, path, 'signs', TWO_HANDS, require_all=True)
    assert str(caught.value) == f'{path}: 2 of 4 clips cannot be used, the first is b: no landmarks'
    assert not capsys.readouterr().out


def test_nothing_is_printed_where_all_clips_are_there(extracted, capsys):
    extracted_lib.read_dataset(CLIPS, extracted, 'signs', HANDS_POSE, require_all=True)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(('layout', 'hand'), [(HANDS_POSE, 'most_seen'), (HAND, 'left')])
def test_through_a_tfds_directory(tmp_path, extracted, layout, hand):
    dataset = extracted_lib.read_dataset(CLIPS, extracted, 'signs', layout, hand=hand)
    tfds_writer.write_dataset(dataset, str(tmp_path / 'data'))
    back = dataset_lib.load_dataset(str(tmp_path / 'data' / 'signs'))
    assert back.description == dataset.description
    for key, value in DESCRIPTION.items():
        assert back.description.source[key] == value
    assert back.description.source['clips_left_out'] == (layout is HAND)
    assert back.fingerprint() == dataset.fingerprint()
    for split, clips in dataset.splits.items():
        assert back.splits[split].video_ids == clips.video_ids
        assert back.splits[split].signers == clips.signers
        assert back.splits[split].index.tolist() == clips.index.tolist()


# --- Published files, one a video


def published_rows(points, frames=None):
    """The rows of a file: −2 for what is missing, then what the published code appends."""
    cells = [['-2.0' if np.isnan(x) else str(float(x)) for x in frame.ravel()] for frame in points]
    frames = frames or [f'{number:06d}' for number in range(1, 1 + len(points))]
    return [
        [*row, 'v', 'anna', frame, f'frames/v_{frame}.jpg', 'hello'] for row, frame in zip(cells, frames, strict=True)
    ]


def write_published(directory, video, rows, separator=',', columns=PUBLISHED_COLUMNS):
    directory.mkdir(exist_ok=True)
    with open(directory / f'{video}_poses_landmarks.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows([[*columns, 'video', 'user', 'frame', 'path', 'label'], *rows])
    return str(directory)


@pytest.mark.parametrize('separator', [',', ';'])
def test_published_files(tmp_path, separator):
    clips = [clip for clip in CLIPS if clip.video_id != 'c']
    for clip in clips:
        write_published(tmp_path / 'csv', clip.video_id, published_rows(POINTS[clip.video_id]), separator)
    dataset = extracted_lib.read_dataset(clips, str(tmp_path / 'csv'), 'signs', HANDS_POSE)
    # The rows end with the last frame; nothing was seen in the last one of a, which has its row.
    check_landmarks(dataset, {clip.video_id: POINTS[clip.video_id] for clip in clips})
    assert dataset.description.handedness == 'swapped'
    assert dataset.description.source == {
        'kind': 'published_csv',
        'layout': 'mediapipe_hands_pose',
        'hand': 'most_seen',
        'drop_empty_frames': False,
        'clips_left_out': 0,
    }
    right = extracted_lib.read_dataset(clips, str(tmp_path / 'csv'), 'signs', HAND, hand='right')
    check_landmarks(right, {clip.video_id: POINTS[clip.video_id][:, 21:42] for clip in clips})


def test_only_both_coordinates_at_minus_two_are_missing(tmp_path):
    points = make_points(1, right=[0], left=[0], body=[0])
    points[0, 5] = [-2, 0.5, 0]
    points[0, 6] = [0.5, -2, -2]
    rows = published_rows(points)
    rows[0][3 * 7 : 3 * 7 + 3] = ['-2', '-2', '0.25']
    path = write_published(tmp_path / 'csv', 'a', rows)
    (found,) = extracted_lib.read_dataset(CLIPS[:1], path, 'signs', HANDS_POSE).splits['train'].landmarks
    points[0, 7] = np.nan
    np.testing.assert_array_equal(found, points)


@pytest.mark.parametrize('separator', [',', ';'])
def test_clips_cut_from_one_video(tmp_path, separator):
    points = make_points(9, right=range(9), left=[1, 2, 8], body=range(9), seed=5)
    order = [6, 0, 8, 1, 5, 2, 7, 3]  # without the frame of number 5
    numbers = ['000007', '000001', '000009', '000002', '000006', '000003', '000008', '000004']
    path = write_published(tmp_path / 'csv', 'talk', published_rows(points[order], numbers), separator)
    write_published(tmp_path / 'csv', 'own', published_rows(POINTS['a']), separator)
    points[4] = np.nan
    cut = {'whole': (1, -1), 'first': (1, 1), 'middle': (4, 6), 'rest': (8, -1), 'last': (9, 9)}
    clips = [
        Clip(name, 'day 1/talk.mp4', label, f'gloss {label}', 'train', '', *ends)
        for label, (name, ends) in enumerate(cut.items())
    ]
    clips.append(Clip('own', 'day 1/talk.mp4', 5, 'own', 'train', '', 2, 3))
    dataset = extracted_lib.read_dataset(clips, path, 'signs', HANDS_POSE)
    expected = {'whole': points, 'first': points[:1], 'middle': points[3:6], 'rest': points[7:], 'last': points[8:]}
    check_landmarks(dataset, expected | {'own': POINTS['a']})


# --- The published compact file


def write_compact(path, videos, axes='xyz', separator=','):
    columns = [f'{axis}{i}' for i in range(21) for axis in axes]
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(['video', 'frame', 'label', *columns])
        for video, points in videos.items():
            for number, frame in enumerate(points[..., : len(axes)], 1):
                cells = ['-2' if np.isnan(x) else str(float(x)) for x in frame.ravel()]
                writer.writerow([video, number, 'G01', *cells])
    return str(path)


@pytest.mark.parametrize('separator', [',', ';'])
@pytest.mark.parametrize('axes', ['xyz', 'xy'])
def test_compact_file(tmp_path, axes, separator):
    videos = {
        '1CM1_4_R_#229': make_points(8, right=[0, 1, 2, 3, 4, 6, 7], seed=1)[:, :21],
        '007': make_points(3, right=[0, 1, 2], seed=2)[:, :21],
    }
    path = write_compact(tmp_path / 'ipn.csv', videos, axes, separator)
    clips = [
        Clip('1CM1_4_R_#229_000002_000006', '1CM1_4_R_#229.avi', 0, 'B0A', 'train', '1CM1_4', 2, 6),
        Clip('1CM1_4_R_#229_000008_000008', '1CM1_4_R_#229.avi', 1, 'B0B', 'test', '1CM1_4', 8, 8),
        Clip('007_000001_000003', '007.avi', 1, 'B0B', 'test', '007', 1, 3),
        Clip('1CM1_4_R_#229_000006_000006', '1CM1_4_R_#229.avi', 1, 'B0B', 'test', '1CM1_4', 6, 6),
    ]
    dataset = extracted_lib.read_dataset(clips, path, 'ipn', HAND)
    if axes == 'xy':
        for points in videos.values():
            points[..., 2] = np.nan
    first = videos['1CM1_4_R_#229']
    check_landmarks(
        dataset,
        {clips[0].video_id: first[1:6], clips[1].video_id: first[7:8], clips[2].video_id: videos['007']},
    )
    assert dataset.description.handedness == 'swapped'
    assert dataset.description.source == {
        'kind': 'ipn_hand_compact',
        'layout': 'mediapipe_hand',
        'hand': 'most_seen',
        'drop_empty_frames': False,
        'clips_left_out': 1,
    }
    dropped = extracted_lib.read_dataset(clips[:1], path, 'ipn', HAND, drop_empty_frames=True)
    np.testing.assert_array_equal(dropped.splits['train'].landmarks[0], first[1:5])


def test_names_that_are_numbers_and_frames_from_the_third(tmp_path):
    points = make_points(4, right=[2, 3], seed=1)
    cells = [','.join(str(float(x)) for x in frame[:21, :2].ravel()) for frame in points[2:]]
    header = ','.join(['video', 'frame', *(f'{axis}{i}' for i in range(21) for axis in 'xy')])
    (tmp_path / 'compact.csv').write_text(f'{header}\n007,3,{cells[0]}\n007,4,{cells[1]}\n')
    points[..., 2] = np.nan
    clips = [Clip('x', '007.avi', 0, 'B0A', 'train'), Clip('y', '007.avi', 0, 'B0A', 'train', '', 2, 3)]
    dataset = extracted_lib.read_dataset(clips, str(tmp_path / 'compact.csv'), 'ipn', HAND)
    check_landmarks(dataset, {'x': points[:, :21], 'y': points[1:3, :21]})


# --- What is refused


def check_refused(clips, path, layout, words, **options):
    with pytest.raises(errors.InputError) as caught:
        extracted_lib.read_dataset(clips, path, 'signs', layout, **options)
    assert re.match(words, str(caught.value))


def test_directory_of_two_kinds(tmp_path, extracted):
    write_published(tmp_path / 'landmarks', 'v', published_rows(POINTS['a']))
    words = f'{re.escape(extracted)} mixes v_poses_landmarks.csv with extraction.json, expected one kind$'
    check_refused(CLIPS, extracted, HANDS_POSE, words)


def without(name):
    def change(fields):
        del fields[name]

    return change


BAD_FILES = {
    'empty': lambda good: b'',
    'cut': lambda good: good[: len(good) // 2],
    'flipped': lambda good: good[:1000] + bytes(200) + good[1200:],
    'no zip': lambda good: b'landmarks',
    'an array': lambda good: b'\x93NUMPY' + good.split(b'\x93NUMPY')[1],
}


@pytest.mark.parametrize('spoil', BAD_FILES.values(), ids=BAD_FILES)
def test_damaged_file(tmp_path, extracted, spoil):
    path = tmp_path / 'landmarks' / 'c.npz'
    path.write_bytes(spoil(path.read_bytes()))
    words = f'{re.escape(str(path))} is damaged or holds no extracted landmarks; remove it$'
    check_refused(CLIPS, extracted, HANDS_POSE, words)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (without('landmarks'), 'is damaged or holds no extracted landmarks'),
        (without('extraction'), 'is damaged or holds no extracted landmarks'),
        (lambda fields: fields.update(landmarks=POINTS['c'][:, :42]), 'is damaged or holds no extracted landmarks'),
        (lambda fields: fields.update(landmarks=POINTS['c'].astype(float)), 'is damaged or holds no extracted'),
        (lambda fields: fields.update(video=[1, 2]), 'is damaged or holds no extracted landmarks'),
        (lambda fields: fields.update(extraction='0' * 16), r'was extracted with other options than extraction\.json'),
        (lambda fields: fields.update(frame_start=2), 'holds frames 2 to 6 of thanks/c.mp4, .* 3 to 6'),
        (lambda fields: fields.update(frame_end=-1), 'holds frames 3 to the end of thanks/c.mp4, .* 3 to 6'),
        (lambda fields: fields.update(video='c.mp4'), 'holds frames 3 to 6 of c.mp4, .* of thank'),
    ],
)  # fmt: skip
def test_file_of_something_else(tmp_path, extracted, change, words):
    path = tmp_path / 'landmarks' / 'c.npz'
    with np.load(path) as content:
        fields = dict(content)
    change(fields)
    np.savez(path, **fields)
    check_refused(CLIPS, extracted, HANDS_POSE, f'{re.escape(str(path))} {words}')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (None, ' has no extraction.json, expected a directory of extract_landmarks'),
        ('{}', "/extraction.json is of another kind, expected format 'slr_jax extraction 2'"),
        (json.dumps(DESCRIPTION | {'format': 'slr_jax extraction 3'}), '/extraction.json is of another kind'),
        ('{"format": "slr_jax', '/extraction.json is damaged, expected JSON'),
        ('[1]', '/extraction.json is of another kind'),
        (
            json.dumps({'format': 'slr_jax extraction 2', 'parts': 3}),
            '/extraction.json says parts = 3, expected some',
        ),
        (json.dumps({'format': 'slr_jax extraction 1'}), "/extraction.json has no 'layout'"),
        (json.dumps({'format': 'slr_jax extraction 1', 'layout': 'x'}), "/extraction.json has no 'handedness'"),
    ],
)
def test_bad_description(tmp_path, extracted, content, words):
    path = tmp_path / 'landmarks' / 'extraction.json'
    path.unlink()
    if content is not None:
        path.write_text(content)
    check_refused(CLIPS, extracted, HANDS_POSE, re.escape(extracted + words))


@pytest.mark.parametrize(
    ('parts', 'layout', 'words'),
    [
        (['hands'], HANDS_POSE, 'was extracted without pose, which layout mediapipe_hands_pose needs'),
        (['pose'], HANDS_POSE, 'was extracted without hands, which layout mediapipe_hands_pose needs'),
        (['pose'], HAND, 'was extracted without hands, which layout mediapipe_hand needs'),
        (['pose'], TWO_HANDS, 'was extracted without hands, which layout mediapipe_two_hands needs'),
    ],
)
def test_part_that_was_not_extracted(tmp_path, parts, layout, words):
    path = write_extraction(tmp_path / 'landmarks', CLIPS, POINTS, DESCRIPTION | {'parts': parts})
    check_refused(CLIPS, path, layout, f'{re.escape(path)} {words}$')


def test_layout_of_other_landmarks(extracted):
    words = 'layout vision_api cannot be made of landmarks, expected mediapipe_hands_pose, mediapipe_hand, '
    check_refused(CLIPS, extracted, LAYOUTS['vision_api'], words)


def test_nothing_there(tmp_path):
    check_refused(CLIPS, f'{tmp_path}/nowhere', HAND, f'{tmp_path}/nowhere does not exist, expected a directory')


def test_no_clip_can_be_used(tmp_path):
    path = write_extraction(tmp_path / 'landmarks', [], {})
    words = f'{path}: 4 of 4 clips cannot be used, the first is a: no landmarks$'
    check_refused(CLIPS, path, HANDS_POSE, words)
    other = write_extraction(tmp_path / 'other', CLIPS[:1], {'a': make_points(5, body=[1])})
    words = f'{other}: 1 of 1 clips cannot be used, the first is a: nothing seen in any frame$'
    check_refused(CLIPS[:1], other, HAND, words)


GOOD_ROWS = published_rows(POINTS['a'])
FRAME = len(PUBLISHED_COLUMNS) + 2


def spoiled(row, column, cell):
    rows = [list(cells) for cells in GOOD_ROWS]
    rows[row][column] = cell
    return rows


BAD_PUBLISHED = {
    'no rows': ([], ' has no rows'),
    'text cell': (spoiled(3, 10, 'left'), ", row 5, column RHy3: found 'left', expected a number"),
    'frame text': (spoiled(3, FRAME, 'v_000004'), ", row 5, column frame: found 'v_000004', expected a number"),
    'frame 0': (spoiled(3, FRAME, '0'), ', row 5, column frame: found 0, expected .* 1 to 1000000'),
    'frame negative': (spoiled(0, FRAME, '-1'), ', row 2, column frame: found -1, expected .* 1 to 1000000'),
    'frame half': (spoiled(3, FRAME, '3.5'), r', row 5, column frame: found 3\.5, expected .* 1 to 1000000'),
    'frame absent': (spoiled(3, FRAME, ''), ', row 5, column frame: found nan, expected .* 1 to 1000000'),
    'frame infinite': (spoiled(3, FRAME, 'inf'), ', row 5, column frame: found inf, expected .* 1 to 1000000'),
    'frame far away': (
        spoiled(3, FRAME, '40000000'),
        r', row 5, column frame: found 40000000, expected .* 1 to 1000000',
    ),
    'frame twice': (spoiled(3, FRAME, '000003'), ', row 5: duplicate frame 3$'),
}


@pytest.mark.parametrize('separator', [',', ';'])
@pytest.mark.parametrize(('rows', 'words'), BAD_PUBLISHED.values(), ids=BAD_PUBLISHED)
def test_bad_published_file(tmp_path, rows, words, separator):
    path = write_published(tmp_path / 'csv', 'a', rows, separator)
    check_refused(CLIPS[:1], path, HANDS_POSE, f'{re.escape(path)}/a_poses_landmarks.csv{words}')


@pytest.mark.parametrize(
    ('content', 'words'),
    [(b'', 'is empty'), (np.random.default_rng(0).bytes(3000), 'is not a CSV file: .*codec')],
    ids=['empty', 'noise'],
)
def test_published_file_that_is_not_a_csv_file(tmp_path, content, words):
    path = tmp_path / 'csv'
    path.mkdir()
    (path / 'a_poses_landmarks.csv').write_bytes(content)
    check_refused(CLIPS[:1], str(path), HAND, f'{re.escape(str(path))}/a_poses_landmarks.csv {words}')


@pytest.mark.parametrize('column', ['RHx0', 'LHz7', 'Py32', 'frame'])
def test_published_file_without_a_column(tmp_path, column):
    path = write_published(tmp_path / 'csv', 'a', GOOD_ROWS)
    file = tmp_path / 'csv' / 'a_poses_landmarks.csv'
    lines = file.read_text().split('\n')
    lines[0] = ','.join('other' if name.strip() == column else name for name in lines[0].split(','))
    file.write_text('\n'.join(lines))
    words = f"{re.escape(str(file))} has no column '{column}', expected RHx0, .*, frame; found "
    check_refused(CLIPS[:1], path, HANDS_POSE, words)


@pytest.fixture(params=['published', 'compact'])
def talk(request, tmp_path):
    """Published landmarks of six frames of a video, and the layout that is made of them."""
    if request.param == 'published':
        return write_published(tmp_path / 'csv', 'talk', GOOD_ROWS), HANDS_POSE
    return write_compact(tmp_path / 'ipn.csv', {'talk': make_points(6, right=range(6))[:, :21]}), HAND


def test_segment_a_few_frames_past_the_end(talk, capsys):
    path, layout = talk
    clip = dataclasses.replace(CLIPS[0], file='x/talk.mp4', frame_start=1, frame_end=9)
    dataset = extracted_lib.read_dataset([clip], path, 'signs', layout, tolerance=3)
    assert [len(landmarks) for landmarks in dataset.splits['train'].landmarks] == [6]
    assert capsys.readouterr().out == 'a: the annotation ends at frame 9, the landmarks at frame 6\n'
    words = f'{re.escape(path)}: video talk has landmarks of 6 frames, clip a needs frames 1 to 9$'
    check_refused([clip], path, layout, words, tolerance=2)


@pytest.mark.parametrize(('start', 'end'), [(1, 17), (7, 7), (7, -1)])
def test_segment_past_the_end(talk, start, end):
    path, layout = talk
    clip = dataclasses.replace(CLIPS[0], file='x/talk.mp4', frame_start=start, frame_end=end)
    last = 'the end' if end == -1 else end
    words = f'{re.escape(path)}: video talk has landmarks of 6 frames, clip a needs frames {start} to {last}$'
    check_refused([clip], path, layout, words)


def test_compact_file_has_one_hand(tmp_path):
    path = write_compact(tmp_path / 'ipn.csv', {'a': POINTS['a'][:, :21]})
    for layout in (HANDS_POSE, TWO_HANDS):
        words = f'{re.escape(path)} has landmarks of one hand, expected --layout=mediapipe_hand$'
        check_refused(CLIPS[:1], path, layout, words)


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (lambda text: '', 'is empty'),
        (lambda text: text.splitlines()[0], 'has no rows'),
        (lambda text: text.replace('video', 'clip', 1), "has no column 'video', expected video, frame, .*, y20"),
        (lambda text: text.replace('frame', 'time', 1), "has no column 'frame', expected video, frame, .*, y20"),
        (lambda text: text.replace(',y20', ',Y20', 1), "has no column 'y20', expected video, frame, .*, y20"),
        (lambda text: text.replace('a,2,', 'a,0,', 1), 'row 3, column frame: found 0, expected .* 1 to 1000000'),
        (lambda text: text.replace('a,2,', 'a,1,', 1), 'row 3: duplicate frame 1$'),
        (lambda text: text.replace('b,3,', 'b,2,', 1), 'row 10: duplicate frame 2$'),
        (lambda text: text.replace('a,2,', 'a,two,', 1), "row 3, column frame: found 'two', expected a number"),
        (lambda text: text.replace('b,1,', 'b,-1,', 1), 'row 8, column frame: found -1, expected .* 1 to 1000000'),
    ],
)
def test_bad_compact_file(tmp_path, spoil, words):
    path = write_compact(tmp_path / 'ipn.csv', {'a': POINTS['a'][:, 21:42], 'b': POINTS['b'][:, :21]})
    (tmp_path / 'ipn.csv').write_text(spoil((tmp_path / 'ipn.csv').read_text()))
    check_refused(CLIPS[:2], path, HAND, f'{re.escape(path)},? ?:? ?{words}')


def collect_without(unread, redraw):
    """A dataset of 4 glosses of 7 clips, of which some cannot be read, and their clips; splits are drawn."""
    undrawn = [Clip(f'v{i}', f'v{i}.mp4', i % 4, 'abcd'[i % 4], '') for i in range(28)]
    clips, _ = splits.assign(undrawn)
    unread = [clip.video_id for clip in clips if unread(clip)]
    dataset = extracted_lib.collect(
        clips, 'videos', 'signs', HAND,
        lambda clip: None if clip.video_id in unread else (np.ones((2, 21, 3), np.float32), None),
        lambda points: points,
        handedness='signer',
        source={},
        redraw=(lambda kept: splits.assign([dataclasses.replace(clip, split='') for clip in kept])) if redraw else None,
    )  # fmt: skip
    return dataset, clips


def test_splits_are_drawn_after_clips_have_dropped_out(capsys):
    def is_lost(clip):
        return clip.gloss == 'b' and clip.split == 'test'

    dataset, clips = collect_without(is_lost, redraw=True)
    assert 'without the clips that are left out: splits: validation drawn at random' in capsys.readouterr().out
    assert all(set(part.labels.tolist()) == set(range(4)) for part in dataset.splits.values())
    assert {split: len(part) for split, part in dataset.splits.items()}.keys() == {'train', 'validation', 'test'}
    kept = [index for index, clip in enumerate(clips) if not is_lost(clip)]
    assert sorted(np.concatenate([part.index for part in dataset.splits.values()])) == kept
    for part in dataset.splits.values():
        assert part.video_ids == [clips[index].video_id for index in part.index]
        assert part.labels.tolist() == [clips[index].label for index in part.index]
    again, _ = collect_without(is_lost, redraw=True)
    assert again.fingerprint() == dataset.fingerprint()


def test_classes_that_lost_their_clips_of_a_split_are_named(capsys):
    collect_without(lambda clip: clip.gloss in 'bd' and clip.split == 'test', redraw=False)
    assert 'with the clips that are left out, b (test), d (test) lost all clips; ' in capsys.readouterr().out


def test_nothing_is_drawn_again_where_no_clip_is_left_out(capsys):
    dataset, clips = collect_without(lambda clip: False, redraw=True)
    assert capsys.readouterr().out == ''
    for split, part in dataset.splits.items():
        assert part.video_ids == [clip.video_id for clip in clips if clip.split == split]
