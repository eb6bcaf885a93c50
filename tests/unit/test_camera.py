"""A camera: the latest frame waits and late ones are dropped; and what is said where it fails."""

import time

import pytest

pytest.importorskip('cv2')
pytest.importorskip('av')

import cv2
import numpy as np

from preprocessing.extraction import camera as camera_lib
from slr_jax import errors
from tests import videos as videos_lib


class FakeCapture:
    """A camera of OpenCV: frames of a level that rises, one every 5 ms, until it has no more, or hangs."""

    num_frames = 50
    hangs = False

    def __init__(self, source):
        self.source, self.number, self.released = source, 0, False

    def isOpened(self):
        return self.source == 0

    def get(self, name):
        # PAL, as analog cameras send it.
        names = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN)
        return float(dict(zip(names, (720, 576, 16, 15), strict=True))[name])

    def read(self):
        time.sleep(0.005)
        self.number += 1
        if self.number > self.num_frames:
            if self.hangs:
                time.sleep(1)
            return False, None
        return True, np.full((4, 6, 3), (self.number, 0, 0), np.uint8)

    def release(self):
        self.released = True


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(cv2, 'VideoCapture', FakeCapture)
    return FakeCapture


def test_late_frames_are_dropped_and_the_latest_is_given(fake):
    with camera_lib.Camera('0') as camera:
        levels, seconds = [], []
        for second, frame in camera.frames():
            assert 0 <= camera.age(second) < 1
            # BGR has become RGB.
            levels.append(int(frame[0, 0, 2]))
            seconds.append(second)
            time.sleep(0.02)
    assert levels == sorted(set(levels))
    assert 1 < len(levels) < 40
    assert 0 <= seconds[0] < seconds[-1]
    assert seconds == sorted(seconds)
    assert (camera.grabbed, camera.dropped) == (50, 50 - len(levels))
    assert camera.failure == 'camera 0 has stopped after 50 frames'
    assert camera.frame_size == (768, 576)


def test_a_camera_that_is_stopped(fake):
    with camera_lib.Camera('0') as camera:
        for number, _ in enumerate(camera.frames()):
            if number == 3:
                camera.stop()
    assert number == 3
    assert camera.failure == ''


def test_a_camera_that_hangs(fake, monkeypatch):
    monkeypatch.setattr(camera_lib, '_MAX_SILENCE', 0.4)
    monkeypatch.setattr(FakeCapture, 'hangs', True)
    monkeypatch.setattr(FakeCapture, 'num_frames', 2)
    with camera_lib.Camera('0') as camera:
        assert 1 <= len(list(camera.frames())) <= 2
    assert camera.failure == 'camera 0 has delivered no frame for 0 seconds'


@pytest.mark.parametrize('hangs', [False, True])
def test_a_camera_without_frames_is_refused(fake, monkeypatch, hangs):
    monkeypatch.setattr(camera_lib, '_MAX_SILENCE', 0.4)
    monkeypatch.setattr(FakeCapture, 'hangs', hangs)
    monkeypatch.setattr(FakeCapture, 'num_frames', 0)
    with (
        camera_lib.Camera('0') as camera,
        pytest.raises(errors.InputError, match=r'^camera 0 has .* (0 frames|seconds)$'),
    ):
        next(camera.frames())


@pytest.mark.parametrize('source', ['1', '/dev/none', 'no.mp4', ''])
def test_no_camera(source):
    with pytest.raises(errors.InputError, match=f'camera {source} cannot be opened, expected'):
        camera_lib.Camera(source)


def test_a_video_file_is_shown_at_its_rate(tmp_path):
    pictures = [np.full((48, 64, 3), 5 * number, np.uint8) for number in range(20)]
    path = str(videos_lib.write_video(tmp_path / 'a.mp4', pictures, 'mpeg4', rate=40))
    with camera_lib.Camera(path) as camera:
        frames = list(camera.frames())
    assert camera.failure == ''
    assert camera.grabbed == 20
    assert len(frames) + camera.dropped == 20
    assert 0.4 < frames[-1][0] < 5
    (tmp_path / 'empty.mp4').touch()
    with pytest.raises(errors.InputError, match='cannot be opened'):
        camera_lib.Camera(str(tmp_path / 'empty.mp4'))
