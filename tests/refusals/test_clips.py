"""Clips tables, and landmarks of their clips, that build_dataset refuses."""

import pytest

BUILD = 'preprocessing.build_dataset --source=landmarks --name=bad --data_dir={out} --layout=mediapipe_hand '
CLIPS = BUILD + '--landmarks={w}/extracted/good --clips={w}/clips/'
LANDMARKS = BUILD + '--clips={w}/clips/good.csv --landmarks={w}/'

CASES = {
    'no such table': (CLIPS + 'nowhere.csv', 'clips/nowhere.csv', 'No such file'),
    'table is a directory': (CLIPS, '{w}/clips/', 'Is a directory'),
    'empty table': (CLIPS + 'empty.csv', 'clips/empty.csv', 'columns'),
    'table is noise': (CLIPS + 'noise.csv', 'clips/noise.csv', 'utf-8'),
    'table without clips': (CLIPS + 'header.csv', 'clips/header.csv', 'rows'),
    'table without video_id': (CLIPS + 'column.csv', 'clips/column.csv', "'video_id'", 'video_id', 'file', 'source'),
    'gloss with a comma': (CLIPS + 'surplus.csv', 'clips/surplus.csv', 'header'),
    'video_id twice': (CLIPS + 'twice.csv', 'clips/twice.csv', 'row 3', 'video_id', "'a'", 'row 2'),
    'label is text': (CLIPS + 'label.csv', 'clips/label.csv', 'row 3', 'label', "'x'", 'whole number'),
    'label without clips': (CLIPS + 'gap.csv', 'clips/gap.csv', 'label 1', '0', '2'),
    'unknown split': (
        CLIPS + 'split.csv',
        'clips/split.csv',
        'row 3',
        'split',
        "'extra'",
        'train',
        'validation',
        'test',
    ),
    'file outside the videos': (CLIPS + 'outside.csv', 'clips/outside.csv', 'row 3', 'file', "'../b.mp4'"),
    'clips of other videos': (CLIPS + 'others.csv', 'extracted/good', '2 of 2', 'x'),
    'clips of other segments': (CLIPS + 'segment.csv', 'extracted/good/a.npz', '1 to the end', '2', '3', 'a.mp4'),
    # Landmarks
    'no such landmarks': (LANDMARKS + 'nowhere', '{w}/nowhere', 'directory'),
    'directory of another kind': (LANDMARKS + 'other_directory', '{w}/other_directory', 'extraction.json'),
    'landmarks of another format': (
        LANDMARKS + 'extracted/other_format',
        *('extracted/other_format/extraction.json', "'slr_jax extraction 2'"),
    ),
    'two kinds of landmarks': (
        LANDMARKS + 'extracted/mixed',
        *('extracted/mixed', 'a_poses_landmarks.csv', 'extraction.json'),
    ),
    'damaged landmarks': (LANDMARKS + 'extracted/damaged', 'extracted/damaged/b.npz'),
    'nothing seen': (LANDMARKS + 'extracted/unseen', 'extracted/unseen', '2 of 2', 'a', 'nothing'),
    'infinite coordinate': (LANDMARKS + 'extracted/infinite', 'bad', 'train', 'a', 'infinite'),
    'landmarks without pose': (
        LANDMARKS + 'extracted/good --layout=mediapipe_hands_pose',
        *('extracted/good', 'pose', 'mediapipe_hands_pose'),
    ),
    'layout of other landmarks': (
        LANDMARKS + 'extracted/good --layout=vision_api',
        *('vision_api', 'mediapipe_hands_pose', 'mediapipe_hand', 'mediapipe_two_hands'),
    ),
    'name not in lower case': (LANDMARKS + 'extracted/good --name=Big', 'name', "'Big'", 'lower-case'),
    'published file without a column': (
        LANDMARKS + 'extracted/published',
        *('extracted/published/a_poses_landmarks.csv', "'RHy0'", 'RHx0', 'frame'),
    ),
    # One file of all clips
    'one hand for a layout of the body': (
        LANDMARKS + 'compact/good.csv --layout=mediapipe_hands_pose',
        *('compact/good.csv', 'one hand', '--layout=mediapipe_hand'),
    ),
    'compact file is a text': (LANDMARKS + 'a_file', '{w}/a_file', "'video'", 'y20'),
    'compact file is noise': (LANDMARKS + 'clips/noise.csv', 'clips/noise.csv', 'utf-8'),
    'compact file is empty': (LANDMARKS + 'clips/empty.csv', 'clips/empty.csv', 'columns'),
    'compact file without frames': (LANDMARKS + 'compact/header.csv', 'compact/header.csv', 'rows'),
    'compact file without a column': (LANDMARKS + 'compact/column.csv', 'compact/column.csv', "'x7'", 'y20'),
    'coordinate is text': (LANDMARKS + 'compact/text.csv', 'compact/text.csv', 'row 5', 'x0', "'left'", 'number'),
    'frame 0': (LANDMARKS + 'compact/frame.csv', 'compact/frame.csv', 'row 5', 'frame', '0', '1', '1000000'),
    'frame twice': (LANDMARKS + 'compact/twice.csv', 'compact/twice.csv', 'row 6', 'frame 2'),
}


@pytest.mark.usefixtures('clips')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


@pytest.mark.usefixtures('clips')
@pytest.mark.parametrize('command', [CLIPS + 'good.csv --require_all', LANDMARKS + 'compact/good.csv'])
def test_good_files_are_taken(accept, command):
    accept(command)
