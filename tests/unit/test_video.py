"""Frames of videos and of folders, and the videos that cannot be used."""

import re

import pytest

pytest.importorskip('cv2')

import cv2
import numpy as np

from preprocessing.extraction import video

NO_VIDEO = 'the file is not a video, or has lost its end or its header'
NO_FRAMES = 'the video has no frames'


def make_frame(number):
    """Two colors that tell the frame: red rises by 8 a frame on the left, blue falls on the right."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :32, 2] = 8 * (number % 32)
    frame[:, 32:, 0] = 255 - 8 * (number % 32)
    return frame


def write_video(path, num_frames, codec='mp4v'):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
    for number in range(1, num_frames + 1):
        writer.write(make_frame(number))
    writer.release()
    return path


def write_folder(path, num_frames, suffix='.jpg'):
    path.mkdir()
    for number in range(1, num_frames + 1):
        cv2.imwrite(str(path / f'a_{number:06d}{suffix}'), make_frame(number))
    return path


def read(path, wanted=lambda number: True, last=None):
    return list(video.read_frames(str(path), wanted, last))


def check(frames, numbers, tolerance):
    assert [number for number, _ in frames] == list(numbers)
    for number, frame in frames:
        assert frame.shape == (48, 64, 3)
        assert frame.dtype == np.uint8
        # Away from the border between the two colors, which lossy codecs blur.
        expected = make_frame(number)[..., ::-1].astype(int)
        np.testing.assert_allclose(frame[:, :24], expected[:, :24], atol=tolerance)
        np.testing.assert_allclose(frame[:, 40:], expected[:, 40:], atol=tolerance)


def refuse(path, reason, **options):
    with pytest.raises(video.VideoError) as error:
        read(path, **options)
    assert str(error.value) == reason


@pytest.fixture(params=['a.mp4 mp4v', 'a.avi MJPG', 'a.mkv FFV1', '.jpg', '.png', '.bmp', '.JPEG'])
def frames_20(request, tmp_path):
    """The same 20 frames as a video or as a folder, and how exact they are."""
    name, *codec = request.param.split()
    exact = name in ('.png', '.bmp', 'a.mkv')
    path = write_video(tmp_path / name, 20, *codec) if codec else write_folder(tmp_path / 'a', 20, name)
    return path, 1 if exact else 6


def test_frames_are_numbered_from_1_and_are_rgb(frames_20):
    path, tolerance = frames_20
    check(read(path), range(1, 21), tolerance)


def test_only_wanted_frames_come(frames_20):
    path, tolerance = frames_20
    check(read(path, {3, 4, 17}.__contains__), [3, 4, 17], tolerance)
    assert read(path, {21}.__contains__) == []


def test_nothing_is_read_after_the_last_frame(frames_20):
    path, tolerance = frames_20
    asked = []
    check(read(path, lambda number: bool(asked.append(number)) or number > 2, 5), [3, 4, 5], tolerance)
    assert asked == [1, 2, 3, 4, 5]
    check(read(path, last=20), range(1, 21), tolerance)
    check(read(path, last=99), range(1, 21), tolerance)


def test_frames_per_second(tmp_path, shared):
    assert video.frames_per_second(str(write_video(tmp_path / 'a.mp4', 3))) == 25
    assert video.frames_per_second(str(shared / 'videos' / '00339.mp4')) == pytest.approx(29.97)
    assert video.frames_per_second(str(write_folder(tmp_path / 'a', 3))) is None
    (tmp_path / 'text.mp4').write_text('no video')
    assert video.frames_per_second(str(tmp_path / 'text.mp4')) is None


def test_a_video_of_one_frame(tmp_path):
    check(read(write_video(tmp_path / 'a.mp4', 1)), [1], 6)
    check(read(write_folder(tmp_path / 'a', 1)), [1], 6)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'the file is empty'),
        (b'this is no video\n' * 100, NO_VIDEO),
        (np.random.default_rng(0).bytes(5000), NO_VIDEO),
        (b'<!DOCTYPE html><html><body>404</body></html>', NO_VIDEO),
    ],
    ids=['empty', 'text', 'noise', 'html'],
)
@pytest.mark.parametrize('suffix', ['.mp4', '.avi', '.mkv'])
def test_a_file_that_is_no_video(tmp_path, content, reason, suffix):
    path = tmp_path / f'a{suffix}'
    path.write_bytes(content)
    refuse(path, reason)
    refuse(path, reason, last=3)


@pytest.mark.parametrize(('name', 'codec', 'reason'), [('a.mp4', 'mp4v', NO_VIDEO), ('a.avi', 'MJPG', NO_FRAMES)])
def test_a_video_without_frames(tmp_path, name, codec, reason):
    refuse(write_video(tmp_path / name, 0, codec), reason)


def test_a_video_that_lost_its_end_with_the_header(tmp_path):
    path = write_video(tmp_path / 'a.mp4', 20)
    content = path.read_bytes()
    assert content.index(b'moov') > len(content) / 3
    path.write_bytes(content[: content.index(b'moov') - 10])
    refuse(path, NO_VIDEO)


@pytest.mark.parametrize(('share', 'found'), [(0.5, 26), (0.9, 56)])
def test_a_video_that_lost_its_end(tmp_path, shared, share, found):
    content = (shared / 'videos' / '00338.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(content[: int(share * len(content))])
    refuse(tmp_path / 'cut.mp4', f'the video is truncated or damaged: it has {found} of 72 frames')
    # A clip from its beginning is whole.
    assert [number for number, _ in read(tmp_path / 'cut.mp4', last=20)] == list(range(1, 21))


@pytest.mark.parametrize(('promised', 'lost'), [(40, 2), (40, 3), (100, 5), (100, 6), (10, 2), (10, 3)])
def test_headers_may_promise_few_frames_more_than_there_are(tmp_path, promised, lost):
    path = write_video(tmp_path / 'a.avi', promised, 'MJPG')
    content = path.read_bytes()
    starts = [match.start() for match in re.finditer(b'00dc', content[: content.index(b'idx1')])][-promised:]
    path.write_bytes(content[: starts[-lost]])
    kept = promised - lost
    if lost <= max(2, promised / 20):
        assert [number for number, _ in read(path)] == list(range(1, kept + 1))
    else:
        refuse(path, f'the video is truncated or damaged: it has {kept} of {promised} frames')


@pytest.mark.parametrize(
    ('name', 'place', 'length', 'found', 'promised'),
    [('00338', 1 / 3, 20000, 15, 72), ('00338', 1 / 3, 50, 71, 72), ('07069', 1 / 3, 20000, 9, 30)],
)
def test_a_video_with_a_damaged_middle(tmp_path, shared, name, place, length, found, promised):
    content = bytearray((shared / 'videos' / f'{name}.mp4').read_bytes())
    start = int(place * len(content))
    content[start : start + length] = np.random.default_rng(0).bytes(length)
    path = tmp_path / 'damaged.mp4'
    path.write_bytes(content)
    if promised - found <= 2:
        assert [number for number, _ in read(path)] == list(range(1, found + 1))
    else:
        refuse(path, f'the video is truncated or damaged: it has {found} of {promised} frames')


def test_a_video_of_zeros(tmp_path, shared):
    content = (shared / 'videos' / '00338.mp4').read_bytes()
    start = content.index(b'mdat') + 4
    (tmp_path / 'zeros.mp4').write_bytes(content[:start] + bytes(len(content) - start))
    refuse(tmp_path / 'zeros.mp4', NO_FRAMES)


def test_a_damaged_video_says_nothing_but_its_error(tmp_path, shared, capfd):
    content = (shared / 'videos' / '00338.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(content[: len(content) // 2])
    (tmp_path / 'text.mp4').write_text('no video')
    for name, reason in (('cut', 'the video is truncated or damaged: it has 26 of 72 frames'), ('text', NO_VIDEO)):
        refuse(tmp_path / f'{name}.mp4', reason)
    assert capfd.readouterr() == ('', '')


def test_a_folder_without_frames(tmp_path):
    (tmp_path / 'a').mkdir()
    reason = 'the folder has no frames named <name>_<number>.jpg'
    refuse(tmp_path / 'a', reason)
    (tmp_path / 'a' / 'notes_000001.txt').write_text('no frame')
    cv2.imwrite(str(tmp_path / 'a' / 'cover.jpg'), make_frame(1))
    refuse(tmp_path / 'a', reason)


def test_other_files_in_a_folder_are_passed_over(tmp_path):
    path = write_folder(tmp_path / 'a', 3)
    (path / 'notes_000004.txt').write_text('no frame')
    cv2.imwrite(str(path / 'cover.jpg'), make_frame(9))
    check(read(path), [1, 2, 3], 6)


def test_numbers_of_a_folder_decide_not_their_digits(tmp_path):
    path = tmp_path / 'a'
    path.mkdir()
    for number in range(1, 12):
        cv2.imwrite(str(path / f'frame {number}.png'), make_frame(number))
    check(read(path), range(1, 12), 1)


@pytest.mark.parametrize('missing', [1, 3])
def test_a_folder_that_lacks_a_frame(tmp_path, missing):
    path = write_folder(tmp_path / 'a', 5)
    (path / f'a_{missing:06d}.jpg').unlink()
    refuse(path, f'frame {missing} is missing in the folder')
    refuse(path, f'frame {missing} is missing in the folder', wanted={5}.__contains__)


def test_a_folder_that_lacks_a_frame_after_the_last_wanted(tmp_path):
    path = write_folder(tmp_path / 'a', 5)
    (path / 'a_000003.jpg').unlink()
    check(read(path, last=2), [1, 2], 6)


def test_a_folder_that_numbers_from_0(tmp_path):
    path = write_folder(tmp_path / 'a', 3)
    for number in (1, 2, 3):
        (path / f'a_{number:06d}.jpg').rename(path / f'a_{number - 1}.jpg')
    check(read(path), [1, 2, 3], 6)
    check(read(path, {3}.__contains__, last=3), [3], 6)
    (path / 'a_1.jpg').unlink()
    refuse(path, 'frame 1 is missing in the folder')


def test_a_folder_with_two_images_of_one_number(tmp_path):
    path = write_folder(tmp_path / 'a', 3)
    (path / 'depth_000002.png').touch()
    refuse(path, 'a_000002.jpg and depth_000002.png are both frame 2')


@pytest.mark.parametrize('content', [b'', b'no image'])
def test_a_folder_with_a_frame_that_is_no_image(tmp_path, content):
    path = write_folder(tmp_path / 'a', 3)
    (path / 'a_000002.jpg').write_bytes(content)
    refuse(path, 'a_000002.jpg is not an image')
    check(read(path, {1, 3}.__contains__), [1, 3], 6)
