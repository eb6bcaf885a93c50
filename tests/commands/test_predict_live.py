"""The command that answers, over recordings and cameras."""

import dataclasses
import itertools
import json
import os
import signal
import time

import pytest

pytest.importorskip('cv2')
pytest.importorskip('av')
pytest.importorskip('mediapipe')

import cv2
import numpy as np

from preprocessing.extraction import camera as camera_lib
from preprocessing.extraction import landmarker, model_files
from preprocessing.formats import npz
from slr_jax import checkpoint, dataset, progress
from tests import videos as videos_lib
from tests import workdirs
from tests.in_process import check_refusal, run_here

FPS = 20
BODY = workdirs.describe('mediapipe_hands_pose')
RIGHT_HAND = slice(0, 21)


class FakeLandmarker:
    """Finds a right hand whose place is the brightness of the picture; none in black ones."""

    num_frames = 0
    interrupts = None

    def __init__(self, options, models, num_people=landmarker.MOST_PEOPLE):
        FakeLandmarker.num_frames = 0

    def find(self, frame, milliseconds):
        FakeLandmarker.num_frames += 1
        if self.num_frames == self.interrupts:
            os.kill(os.getpid(), signal.SIGINT)
        level = frame[4, 4].max()
        hand = make_hand(level)
        return landmarker.Found(64, 48, [], [('right', 0.9, hand)] if level > 20 else [])

    def close(self):
        pass


def make_hand(level):
    return np.random.default_rng(0).random((21, 3)).astype(np.float32) * np.float32(level / 255)


@pytest.fixture
def fake(monkeypatch):
    """Stands in for MediaPipe."""
    monkeypatch.setattr(landmarker, 'Landmarker', FakeLandmarker)
    monkeypatch.setattr(model_files, 'read_models', lambda model_dir, names: {part: b'm' for part in names})


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    return workdirs.write_workdir(tmp_path_factory.mktemp('live') / 'w', BODY, num_heads=10)


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    """Two seconds whose brightness rises, then one second of black."""
    pictures = [np.full((48, 64, 3), 60 + 2 * number, np.uint8) for number in range(2 * FPS)]
    pictures += [np.zeros((48, 64, 3), np.uint8)] * FPS
    return videos_lib.write_video(tmp_path_factory.mktemp('videos') / 'a.mp4', pictures, 'mpeg4', rate=FPS)


@pytest.fixture
def predict(tmp_path, workdir, capfd, monkeypatch):
    """A function: options -> status, stderr, and the JSON lines of the command, None where there are none."""
    outputs = (tmp_path / f'{number}.jsonl' for number in range(99))

    def predict(**options):
        output = next(outputs)
        given = {'workdir': workdir, 'output': output} | options
        words = [f'--{name}={value}' for name, value in given.items()]
        status, stderr = run_here(['slr_jax.predict', *words], capfd, monkeypatch)
        assert not [name for name in os.listdir(tmp_path) if 'unfinished' in name]
        lines = None
        if output.exists():
            lines = [json.loads(line) for line in output.read_text(encoding='utf-8').splitlines()]
        return status, stderr, lines

    return predict


def answered(result):
    status, stderr, lines = result
    assert (status, stderr) == (0, '')
    for before, after in itertools.pairwise(lines):
        if before['clip'] == after['clip']:
            assert before['end'] == after['start']
            assert before['gloss'] != after['gloss']
    return lines


def write_recording(path, landmarks):
    clips = dataset.Dataset.from_clips(BODY, landmarks, [0] * len(landmarks), ['test'] * len(landmarks))
    npz.write_archive(clips, str(path))
    return path


def test_a_recording_is_answered_in_segments(fake, predict, workdir, video):
    options = {'window': 1, 'stride': 0.5, 'smoothing': 1, 'threshold': 0}
    lines = answered(predict(videos=video, **options))
    assert {line['clip'] for line in lines} == {str(video)}
    assert lines[0]['start'] == 0
    assert lines[-1]['end'] == pytest.approx(3)
    # The windows that show a hand begin before second 2; with a threshold of 0 any answer is a sign.
    model = checkpoint.load_model(workdir)
    reader = cv2.VideoCapture(str(video))
    landmarks = np.full((2 * FPS, 75, 3), np.nan, np.float32)
    for points in landmarks:
        points[RIGHT_HAND] = make_hand(reader.read()[1][4, 4].max())
    for start in np.arange(0, 1.01, 0.5):
        [(gloss, probability), *_] = model.predict(landmarks[round(start * FPS) : round((start + 1) * FPS)])
        [line] = [line for line in lines if line['start'] <= start + 0.5 < line['end']]
        assert line['gloss'] == gloss
    # All the same, so that the last probability is one of those averaged.
    assert abs(lines[0]['probability'] - probability) < 0.2


def test_where_no_hand_is_seen_there_is_no_sign(fake, predict, tmp_path):
    black = videos_lib.write_video(tmp_path / 'b.mp4', [np.zeros((48, 64, 3), np.uint8)] * FPS, 'mpeg4', rate=FPS)
    lines = answered(predict(videos=black, window=5, threshold=0.4))
    assert lines == [{'clip': str(black), 'start': 0, 'end': 1, 'gloss': None, 'probability': 0}]


def test_landmarks_of_a_recording(predict, workdir, tmp_path):
    rng = np.random.default_rng(0)
    landmarks = [rng.random((length, 75, 3), np.float32) for length in (100, 25)]
    path = write_recording(tmp_path / 'l.npz', landmarks)
    lines = answered(predict(landmarks=path, window=2, stride=1, smoothing=1, threshold=0, fps=25))
    by_clip = {clip: [line for line in lines if line['clip'] == clip] for clip in ('test_00000', 'test_00001')}
    assert [found[-1]['end'] for found in by_clip.values()] == [4, 1]
    model = checkpoint.load_model(workdir)
    # A recording that is shorter than the window is one.
    [short] = by_clip['test_00001']
    [(gloss, probability), *_] = model.predict(landmarks[1])
    assert (short['start'], short['gloss']) == (0, gloss)
    assert abs(short['probability'] - probability) < 1e-5


def test_the_shape_of_the_picture_counts(fake, predict, tmp_path):
    description = dataclasses.replace(BODY, frame_sizes={'640x480': 9})
    fields = {'num_heads': 10, 'normalize': 'centered', 'missing_value': 0.0}
    workdir = workdirs.write_workdir(tmp_path / 'w', description, **fields)
    model = checkpoint.load_model(workdir)
    pictures = [np.full((86, 50, 3), 60 + 2 * number, np.uint8) for number in range(FPS)]
    video = videos_lib.write_video(tmp_path / 'upright.mp4', pictures, 'mpeg4', rate=FPS, pixel_aspect=2)
    landmarks = np.full((FPS, 75, 3), np.nan, np.float32)
    reader = cv2.VideoCapture(str(video))
    for points in landmarks:
        points[RIGHT_HAND] = make_hand(reader.read()[1][4, 4].max())
    options = {'window': 5, 'threshold': 0}
    answers = {}
    for frame_size in ((100, 86), (0, 0)):
        clips = dataset.Dataset.from_clips(BODY, [landmarks], [0], ['test'], frame_sizes=frame_size)
        path = tmp_path / f'{frame_size[0]}.npz'
        npz.write_archive(clips, str(path))
        [line] = answered(predict(workdir=workdir, landmarks=path, **options))
        answers[frame_size] = dict(model.predict(landmarks, frame_size=frame_size))
        assert abs(answers[frame_size][line['gloss']] - line['probability']) < 1e-4
    assert np.abs(np.subtract(*(sorted(answer.values()) for answer in answers.values()))).max() > 1e-3
    [line] = answered(predict(workdir=workdir, videos=video, **options))
    assert abs(answers[100, 86][line['gloss']] - line['probability']) < 1e-4
    with camera_lib.Camera(str(video)) as camera:
        assert camera.frame_size == (100, 86)


def test_a_video_serves_as_camera(fake, predict, video):
    before = signal.getsignal(signal.SIGINT)
    start = time.monotonic()
    lines = answered(predict(camera=video, window=0.5, threshold=0))
    assert time.monotonic() - start > 3
    assert {line['clip'] for line in lines} == {f'camera {video}'}
    assert 2.7 < lines[-1]['end'] < 6
    assert signal.getsignal(signal.SIGINT) is before


class FakeCapture:
    """A camera that stops after some frames were looked at."""

    stops = True

    def __init__(self, source):
        self.number = 0

    def isOpened(self):
        return True

    def get(self, name):
        return {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0}.get(name, 0.0)

    def read(self):
        time.sleep(0.01)
        self.number += 1
        if self.stops and FakeLandmarker.num_frames >= 25:
            return False, None
        return True, np.full((48, 64, 3), 100, np.uint8)

    def release(self):
        pass


@pytest.mark.parametrize('end', ['Ctrl-C', 'stop'])
def test_what_a_camera_was_answered_is_kept(fake, predict, monkeypatch, end):
    monkeypatch.setattr(camera_lib.cv2, 'VideoCapture', FakeCapture)
    if end == 'Ctrl-C':
        monkeypatch.setattr(FakeCapture, 'stops', False)
        monkeypatch.setattr(FakeLandmarker, 'interrupts', 25)
    status, stderr, lines = predict(camera=0, window=0.1, threshold=0)
    assert {line['clip'] for line in lines} == {'camera 0'}
    assert lines[0]['start'] == 0
    assert lines[-1]['end'] > 0.2
    if end == 'Ctrl-C':
        assert (status, stderr) == (0, '')
    else:
        check_refusal(status, stderr, ['camera 0 has stopped after'])


def test_the_screen_shows_what_is_seen_until_q(fake, predict, monkeypatch):
    shown = []
    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.setattr(FakeCapture, 'stops', False)
    monkeypatch.setattr(camera_lib.cv2, 'VideoCapture', FakeCapture)
    monkeypatch.setattr(cv2, 'namedWindow', lambda name, kind: None)
    monkeypatch.setattr(cv2, 'imshow', lambda name, picture: shown.append(picture))
    monkeypatch.setattr(cv2, 'waitKey', lambda milliseconds: ord('q') if len(shown) == 5 else -1)
    answered(predict(camera=0, window=0.1, threshold=0, display=True))
    assert len(shown) == 5
    assert shown[0].shape[1:] == (960, 3)


def test_the_video_that_is_written_has_the_length_of_the_recording(fake, predict, video, tmp_path):
    answered(predict(videos=video, window=1, threshold=0, output_video=tmp_path / 'v.mp4'))
    reader = cv2.VideoCapture(str(tmp_path / 'v.mp4'))
    frames = []
    while (read := reader.read())[0]:
        frames.append(read[1])
    assert len(frames) / reader.get(cv2.CAP_PROP_FPS) == pytest.approx(3, abs=0.1)
    # There is text in the caption, and it changes.
    assert (frames[0][:60].min(axis=-1) > 200).any()
    assert np.abs(frames[0][:60].astype(int) - frames[-1][:60]).max() > 100


def test_refused(fake, predict, video, tmp_path, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    (tmp_path / 'empty.mp4').touch()
    black = write_recording(tmp_path / 'n.npz', [np.full((9, 75, 3), np.nan, np.float32)])
    for options, *facts in (
        ({'camera': 99}, 'camera 99', 'number'),
        ({'camera': tmp_path / 'none.mp4'}, 'none.mp4', 'cannot be opened'),
        ({'camera': tmp_path / 'empty.mp4'}, 'empty.mp4', 'cannot be opened'),
        ({'videos': tmp_path / 'empty.mp4', 'window': 2}, 'empty.mp4: the file is empty'),
        ({'videos': video, 'window': 2, 'stride': 3}, '--stride=3', '--window=2'),
        ({'camera': video, 'stride': 3}, '--stride=3', '--window=2'),
        ({'videos': video, 'window': 0}, 'window'),
        ({'videos': video, 'window': 2, 'threshold': 1.1}, 'threshold', '1.1'),
        ({'camera': video, 'display': True}, '--display', 'DISPLAY'),
        ({'videos': video, 'window': 2, 'display': True}, '--display', '--camera'),
        ({'videos': video, 'stride': 1}, '--stride', '--window'),
        ({'landmarks': black, 'window': 2}, 'nothing seen'),
    ):
        status, stderr, lines = predict(**options)
        check_refusal(status, stderr, facts)
        assert lines is None


def test_recordings_of_which_little_is_seen_are_named(predict, fake, video, tmp_path, monkeypatch):
    printed = []
    monkeypatch.setattr(progress, 'report', printed.append)
    answered(predict(videos=video, window=0.5))
    assert not any('body or hand' in line for line in printed)
    pictures = [np.full((48, 64, 3), 200 * (number < 4), np.uint8) for number in range(FPS)]
    dark = videos_lib.write_video(tmp_path / 'dark.mp4', pictures, 'mpeg4', rate=FPS)
    answered(predict(videos=dark, window=0.5))
    assert printed[-1] == f'warning: {dark}: a body or hand is seen in 4 of {FPS} frames'
