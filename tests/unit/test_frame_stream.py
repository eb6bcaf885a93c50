"""Frames of recordings one after the other: the landmarks are those of a clip, and memory stays flat."""

from collections import deque

import pytest

pytest.importorskip('cv2')
pytest.importorskip('mediapipe')

import numpy as np

from preprocessing.extraction import clip_extractor, frame_stream, landmarker
from slr_jax import errors, live
from tests import videos as videos_lib
from tests.conftest import resident_bytes
from tests.unit.test_clip_extractor import HANDS, TRACKED, fake, make_clip, write_folder  # noqa: F401, a fixture


def follow(path, options, **arguments):
    """Seconds and landmarks of a recording."""
    extractor = clip_extractor.Extractor(options, {})
    found = list(frame_stream.follow(frame_stream.read_recording(str(path), **arguments), extractor))
    return [seconds for seconds, *_ in found], np.stack([points for *_, points in found])


@pytest.mark.parametrize('options', [HANDS, TRACKED])
def test_a_recording_has_the_landmarks_of_a_clip(fake, tmp_path, options):  # noqa: F811
    times = [0, 40, 80, 200, 240, 1000]
    pictures = [np.full((48, 64, 3), 8 * number, np.uint8) for number in range(6)]
    path = videos_lib.write_video(tmp_path / 'a.webm', pictures, 'libvpx', rate=1000, times=times)
    seconds, points = follow(path, options)
    assert seconds == pytest.approx([time / 1000 for time in times])
    [clip] = clip_extractor.Extractor(options, {}).extract((make_clip('a'),), str(path))
    np.testing.assert_array_equal(points, clip.landmarks)
    if options is TRACKED:
        assert points[:, 0, 1].tolist() == times


def test_the_landmarker_of_a_recording_is_freed(fake, tmp_path):  # noqa: F811
    write_folder(tmp_path / 'a', 3)
    follow(tmp_path / 'a', TRACKED)
    assert [each.closed for each in fake.made] == [0, 1]


def test_a_folder_of_frames_is_timed_by_the_rate(fake, tmp_path):  # noqa: F811
    write_folder(tmp_path / 'a', 4)
    assert follow(tmp_path / 'a', HANDS, fps=10)[0] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_times_rise(monkeypatch):
    frames = [(1, 5.0, 'a'), (2, 5.0, 'b'), (3, 4.0, 'c'), (4, 5.1, 'd')]
    monkeypatch.setattr(frame_stream.video, 'read_timed_frames', lambda *_: iter(frames))
    found = list(frame_stream.read_recording('v.mp4'))
    assert [frame for _, frame in found] == ['a', 'b', 'c', 'd']
    assert [seconds for seconds, _ in found] == pytest.approx([0, 0.001, 0.002, 0.1])


def test_an_empty_video_is_refused(tmp_path):
    (tmp_path / 'a.mp4').touch()
    with pytest.raises(errors.InputError, match=r'a\.mp4: the file is empty'):
        list(frame_stream.read_recording(str(tmp_path / 'a.mp4')))


@pytest.mark.slow
def test_memory_is_flat_over_an_hour_of_pictures(monkeypatch):
    hand = np.random.default_rng(0).random((21, 3)).astype(np.float32)
    picture = np.zeros((1080, 1920, 3), np.uint8)
    used = []

    class FakeLandmarker:
        def __init__(self, options, models, num_people=4):
            pass

        def find(self, frame, milliseconds):
            assert frame is picture
            return landmarker.Found(1920, 1080, [], [('right', 0.9, hand.copy())])

        def close(self):
            pass

    def hour():
        for number in range(108_000):
            if number in (9_000, 107_999):
                used.append(resident_bytes())
            yield number / 30, picture

    monkeypatch.setattr(landmarker, 'Landmarker', FakeLandmarker)
    followed = frame_stream.follow(hour(), clip_extractor.Extractor(TRACKED, {}))
    frames = ((seconds, points) for seconds, _, points in followed)
    [last] = deque(live.windows(frames, live.Sliding()), maxlen=1)
    assert last.end == pytest.approx(3600)
    # All landmarks would be 97 MB.
    assert used[1] - used[0] < 8e6
