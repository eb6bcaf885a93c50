"""Landmarks of clips: several of one video, past its end, in both modes, and beside those of others."""

import pytest

pytest.importorskip('cv2')
pytest.importorskip('mediapipe')

import cv2
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing.extraction import clip_extractor, landmarker, model_files, people, video, worker_pool
from tests import videos as videos_lib

TO_THE_END = clips_lib.TO_THE_END
HANDS = landmarker.Options(parts=('hands',))
TRACKED = landmarker.Options(parts=('hands',), running_mode='video')


def make_clip(name, start=1, end=TO_THE_END, file='69241.mp4', **fields):
    return clips_lib.Clip(name, file, 0, 'book', 'train', frame_start=start, frame_end=end, **fields)


@pytest.fixture(scope='module')
def videos(shared):
    return shared / 'videos'


@pytest.fixture(scope='module')
def models(shared):
    return model_files.read_models(str(shared / 'models'), HANDS.model_files)


@pytest.fixture
def extract(models):
    """A function: clips of a video -> name of each -> its landmarks."""
    made = {}

    def extract(clips, path, options=HANDS):
        if options not in made:
            made[options] = clip_extractor.Extractor(options, models)
        [group] = clip_extractor.group_by_video(clips)
        results = list(made[options].extract(group, str(path)))
        assert len(results) == len(clips)
        return {
            clip.video_id: result if isinstance(result, worker_pool.Failure) else result.landmarks
            for clip, result in zip(group, results, strict=True)
        }

    yield extract
    for each in made.values():
        each.close()


class FakeLandmarker:
    """Finds a right hand at the grey level of a frame's first pixel and its time; two more below a level."""

    made = ()
    several = 0

    def __init__(self, options, models, num_people=landmarker.MOST_PEOPLE):
        self.options, self.models, self.num_people, self.closed = options, models, num_people, 0
        FakeLandmarker.made += (self,)

    def find(self, frame, milliseconds):
        hand = 'right', 0.9, np.full((21, 3), (frame[0, 0, 0], milliseconds, self.num_people), np.float32)
        others = [hand, hand] if frame[0, 0, 0] < FakeLandmarker.several else []
        return landmarker.Found(8, 8, [], [hand, *others])

    def close(self):
        self.closed += 1


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(landmarker, 'Landmarker', FakeLandmarker)
    monkeypatch.setattr(FakeLandmarker, 'made', ())
    return FakeLandmarker


def levels(result):
    """The grey level of each frame."""
    return result.landmarks[:, 0, 0].tolist()


def write_folder(path, num_frames):
    path.mkdir()
    for number in range(1, num_frames + 1):
        cv2.imwrite(str(path / f'a_{number:06d}.png'), np.full((8, 8, 3), number, np.uint8))
    return path


# --- With MediaPipe


def test_clips_of_one_video_are_as_each_alone(extract, models, videos):
    path = videos / '69241.mp4'
    clips = [
        make_clip('first', 20, 23),
        make_clip('overlapping', 22, 25),
        make_clip('touching', 26, 27),
        make_clip('within', 23, 23),
        make_clip('same', 20, 23),
        make_clip('after a gap', 30, 30),
    ]
    together = extract(clips, path)
    assert list(together) == ['first', 'within', 'same', 'overlapping', 'touching', 'after a gap']
    alone = landmarker.Landmarker(HANDS, models)
    frames = {
        number: people.resolve_clip([alone.find(frame, 0)], '', 'signer').landmarks[0]
        for number, frame in video.read_frames(str(path), lambda n: n >= 20, 30)
    }
    alone.close()
    assert all(np.isfinite(points).any() for points in frames.values())
    for clip in clips:
        numbers = range(clip.frame_start, clip.frame_end + 1)
        np.testing.assert_array_equal(together[clip.video_id], np.stack([frames[number] for number in numbers]))
        if clip.video_id in ('overlapping', 'after a gap'):
            np.testing.assert_array_equal(extract([clip], path)[clip.video_id], together[clip.video_id])


def test_clips_past_the_end_fail_and_the_others_do_not(extract, videos):
    # It has 71 frames, though its header says 72.
    path = videos / '00338.mp4'
    clips = [
        make_clip('to the end', 69),
        make_clip('starts after', 72),
        make_clip('ends after', 71, 80),
        make_clip('is after', 75, 80),
        make_clip('last', 70, 71),
    ]
    found = extract(clips, path)
    assert list(found) == ['last', 'ends after', 'is after', 'to the end', 'starts after']
    assert found['ends after'].reason == 'the clip needs frames 71 to 80, the video has 71 frames'
    assert found['is after'].reason == 'the clip needs frames 75 to 80, the video has 71 frames'
    assert found['starts after'].reason == 'the clip needs frames 72 to the end, the video has 71 frames'
    assert found['to the end'].shape == (3, 75, 3)
    np.testing.assert_array_equal(found['last'], found['to the end'][1:])
    assert extract(clips[2:3], path) == {'ends after': found['ends after']}


def test_tracking_begins_anew_with_each_clip(extract, videos):
    path = videos / '69241.mp4'
    before, clip, longer = make_clip('before', 20, 23), make_clip('clip', 24, 27), make_clip('longer', 20, 27)
    alone = extract([clip], path, TRACKED)['clip']
    assert np.isfinite(alone).any(axis=(1, 2)).all()
    together = extract([before, clip, longer], path, TRACKED)
    np.testing.assert_array_equal(together['clip'], alone)
    np.testing.assert_array_equal(together['before'], together['longer'][:4])
    # What was tracked from before is not the same.
    assert np.nanmax(np.abs(together['longer'][4:] - alone)) > 1e-4


def test_a_folder_of_frames_is_as_its_video(extract, videos, tmp_path):
    for number, frame in video.read_frames(str(videos / '69241.mp4'), lambda n: n > 20, 23):
        cv2.imwrite(str(tmp_path / f'f_{number - 20:06d}.png'), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    found = extract([make_clip('clip'), make_clip('last', 3, 3)], tmp_path)
    expected = extract([make_clip('clip', 21, 23)], videos / '69241.mp4')['clip']
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(found['clip'], expected)
    np.testing.assert_array_equal(found['last'], expected[2:])


def test_landmarks_are_near_those_of_the_older_api(extract, videos, shared):
    """The archive's points come from MediaPipe Hands, every frame of the same video; its two slots have no names."""
    with np.load(shared / 'data' / 'wlasl100_hands.npz') as archive:
        place = archive['video_id'].tolist().index('07069')
        start, end = archive['offsets'][place : place + 2]
        theirs = archive['frames'][start:end, :, :2].reshape(-1, 2, 21, 2)
    points = extract([make_clip('07069', file='07069.mp4')], videos / '07069.mp4')['07069']
    assert len(points) == len(theirs) == 30
    groups = landmarker.LAYOUT.groups
    ours = np.stack([points[:, list(groups[hand]), :2] for hand in ('right_hand', 'left_hand')], axis=1)
    seen = [~np.isnan(hands[:, :, 0, 0]).all(axis=1) for hands in (ours, theirs)]
    assert seen[0].sum() >= seen[1].sum() == 20
    differences = []
    for frame in np.flatnonzero(seen[0] & seen[1]):
        for hand in ours[frame][~np.isnan(ours[frame][:, 0, 0])]:
            each = np.abs(theirs[frame] - hand)
            differences.append(each[np.nanargmin(each.mean(axis=(1, 2)))])
    assert len(differences) >= 30
    assert np.median(differences) <= 0.01


# --- Without


def test_clips_of_a_video_that_end_first_come_first():
    clips = [
        make_clip('1', 5, 9, 'b.mp4'),
        make_clip('2', 1, TO_THE_END, 'a.mp4'),
        make_clip('3', 1, 9, 'b.mp4'),
        make_clip('4', 7, 8, 'b.mp4'),
        make_clip('5', 90, 99, 'a.mp4'),
        make_clip('6', 1, 2, 'sub/a.mp4'),
    ]
    groups = clip_extractor.group_by_video(clips)
    assert [[clip.video_id for clip in group] for group in groups] == [['4', '1', '3'], ['5', '2'], ['6']]
    assert clip_extractor.group_by_video([]) == []


def test_each_clip_holds_its_own_frames(fake, tmp_path):
    path = write_folder(tmp_path / 'a', 9)
    clips = (make_clip('a', 3, 4), make_clip('b', 4, 6), make_clip('c', 6, 6), make_clip('d', 2))
    found = list(clip_extractor.Extractor(HANDS, {}).extract(clips, str(path)))
    assert [levels(result) for result in found] == [[3, 4], [4, 5, 6], [6], [2, 3, 4, 5, 6, 7, 8, 9]]
    assert len(fake.made) == 1


@pytest.mark.parametrize(
    ('clip', 'times'),
    [
        (make_clip('a', 2, 5, fps=10.0), [0, 100, 200, 300]),
        (make_clip('a', 2, 5), [0, 33, 67, 100]),
        (make_clip('a', 1, 4, fps=1000.0), [0, 1, 2, 3]),
    ],
)
def test_times_of_a_folder_are_those_of_the_table(fake, tmp_path, clip, times):
    path = write_folder(tmp_path / 'a', 5)
    [found] = clip_extractor.Extractor(TRACKED, {}).extract((clip,), str(path))
    assert found.landmarks[:, 0, 1].tolist() == times


def test_times_of_a_video_are_its_own(fake, videos):
    clip = make_clip('a', 3, 6, fps=10.0)
    [found] = clip_extractor.Extractor(TRACKED, {}).extract((clip,), str(videos / '00335.mp4'))
    assert found.landmarks[:, 0, 1].tolist() == [0, 40, 80, 120]


def test_times_rise_as_those_of_the_frames_do(fake, tmp_path):
    times = [0, 40, 80, 200, 240, 1000]
    pictures = [np.full((48, 64, 3), 8 * number, np.uint8) for number in range(6)]
    videos_lib.write_video(tmp_path / 'a.webm', pictures, 'libvpx', rate=1000, times=times)
    clips = (make_clip('a', 3, 5), make_clip('b', 1))
    found = list(clip_extractor.Extractor(TRACKED, {}).extract(clips, str(tmp_path / 'a.webm')))
    assert [result.landmarks[:, 0, 1].tolist() for result in found] == [[0, 120, 160], times]


def test_a_clip_may_end_a_few_frames_after_its_video(fake, tmp_path):
    path = write_folder(tmp_path / 'a', 5)
    clips = (make_clip('a', 4, 7), make_clip('c', 6, 7), make_clip('b', 4, 8))
    found = list(clip_extractor.Extractor(HANDS, {}).extract(clips, str(path), tolerance=2))
    assert found[0].landmarks[:, 0, 0].tolist() == [4, 5]
    assert found[1].reason == 'the clip needs frames 6 to 7, the video has 5 frames'
    assert found[2].reason == 'the clip needs frames 4 to 8, the video has 5 frames'


def test_in_video_mode_each_clip_has_a_landmarker_that_is_freed(fake, tmp_path):
    path = write_folder(tmp_path / 'a', 5)
    clips = (make_clip('a', 1, 2), make_clip('b', 2, 3), make_clip('c', 4, 9), make_clip('d', 6, 9), make_clip('e', 3))
    tracked = clip_extractor.Extractor(TRACKED, {'hands': b'the model'})
    found = list(tracked.extract(clips, str(path)))
    assert [isinstance(result, worker_pool.Failure) for result in found] == [False, False, True, True, False]
    # Clip d never began. The first looks for several people.
    shared, *own = fake.made
    assert [(each.closed, each.models, each.num_people) for each in own] == [(1, {'hands': b'the model'}, 1)] * 4
    assert (shared.options.running_mode, shared.num_people) == ('image', landmarker.MOST_PEOPLE)
    results = tracked.extract(clips, str(path))
    next(results)
    results.close()
    assert [each.closed for each in fake.made] == [0] + [1] * 6
    tracked.close()
    assert [each.closed for each in fake.made] == [1] * 7


def test_in_video_mode_several_people_are_followed_once_they_are_seen(fake, monkeypatch, tmp_path):
    path = write_folder(tmp_path / 'a', 25)
    monkeypatch.setattr(fake, 'several', 255)
    [found] = clip_extractor.Extractor(TRACKED, {}).extract((make_clip('a'),), str(path))
    assert found.landmarks[:, 0, 2].tolist() == [landmarker.MOST_PEOPLE] * 25
    assert found.hands_given_up == 25
    assert [each.closed for each in fake.made] == [0, 1, 1]
    # It looks at the frames 1, 11 and 21; here they are alone from the second on.
    monkeypatch.setattr(fake, 'several', 2)
    [found] = clip_extractor.Extractor(TRACKED, {}).extract((make_clip('a', 2),), str(path))
    assert found.landmarks[:, 0, 2].tolist() == [1] * 24


def test_in_image_mode_all_share_a_landmarker(fake, tmp_path):
    path = write_folder(tmp_path / 'a', 5)
    shared = clip_extractor.Extractor(HANDS, {})
    for _ in range(2):
        assert len(list(shared.extract((make_clip('a', 1, 2), make_clip('b', 2, 3)), str(path)))) == 2
    assert [each.closed for each in fake.made] == [0]
    shared.close()
    assert [each.closed for each in fake.made] == [1]


def test_a_damaged_frame_fails_the_clips_that_are_not_done(fake, tmp_path):
    path = write_folder(tmp_path / 'a', 5)
    (path / 'a_000003.png').write_bytes(b'no image')
    clips = (make_clip('a', 1, 2), make_clip('b', 2, 3), make_clip('c', 4, 5), make_clip('d', 5))
    found = list(clip_extractor.Extractor(HANDS, {}).extract(clips, str(path)))
    assert levels(found[0]) == [1, 2]
    assert len(found[1:]) == 3
    assert all(failure.reason.startswith('a_000003.png is not an image') for failure in found[1:])


@pytest.mark.parametrize('options', [HANDS, TRACKED])
def test_a_failure_in_the_first_frame_keeps_its_cause(videos, models, monkeypatch, options):
    def find(self, frame, milliseconds):
        raise RuntimeError('the graph has stopped')

    monkeypatch.setattr(landmarker.Landmarker, 'find', find)
    made = clip_extractor.Extractor(options, models)
    with pytest.raises(RuntimeError, match='the graph has stopped'):
        list(made.extract((make_clip('v'),), str(videos / '69241.mp4')))
    made.close()
