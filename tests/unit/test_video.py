"""Frames of videos and of folders, and the videos that cannot be used."""

from fractions import Fraction
import re
import struct

import pytest

pytest.importorskip('cv2')

import cv2
import numpy as np

from preprocessing.extraction import video, video_files
from tests import videos

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


def write_pictures(path, codec, num_frames=20, **options):
    pictures = [make_frame(number)[..., ::-1] for number in range(1, num_frames + 1)]
    return videos.write_video(path, pictures, codec, **options)


def check_means(frames, numbers):
    """Frames are known by the mean colors of their halves, which a lossy codec keeps."""
    assert [number for number, _ in frames] == list(numbers)
    for number, frame in frames:
        expected = make_frame(number)[..., ::-1]
        for half in (np.s_[:, :24], np.s_[:, 40:]):
            np.testing.assert_allclose(frame[half].mean(axis=(0, 1)), expected[half].mean(axis=(0, 1)), atol=3.9)


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
    """Reads a video that cannot be read; what FFmpeg says is in brackets after the reason."""
    with pytest.raises(video.VideoError) as error:
        read(path, **options)
    found, _, cause = str(error.value).partition(' (')
    assert found == reason
    assert cause.startswith('FFmpeg: ') == (reason == NO_VIDEO) or 'FFmpeg: ' in cause
    assert '\n' not in cause
    return cause


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


def test_a_title_in_another_encoding(tmp_path):
    write_video(tmp_path / 'video.mp4', 3)
    content = (tmp_path / 'video.mp4').read_bytes()
    assert content.count(b'Lavf') == 1
    (tmp_path / 'video.mp4').write_bytes(content.replace(b'Lavf', b'\xe9avf'))
    assert len(read(tmp_path / 'video.mp4')) == 3


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


@pytest.mark.parametrize(('share', 'found'), [(0.5, 27), (0.9, 57), (0.99, 68)])
def test_a_video_that_lost_its_end(tmp_path, shared, share, found):
    content = (shared / 'videos' / '00338.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(content[: int(share * len(content))])
    refuse(tmp_path / 'cut.mp4', f'the video is truncated: it ends after {found} frames')
    refuse(tmp_path / 'cut.mp4', f'the video is truncated: it ends after {found} frames', last=found + 1)
    # A clip from its beginning is whole.
    assert [number for number, _ in read(tmp_path / 'cut.mp4', last=20)] == list(range(1, 21))


@pytest.mark.parametrize('share', [0.5, 0.6, 0.8, 0.95])
@pytest.mark.parametrize(
    ('name', 'codec', 'options'),
    [
        ('a.mp4', 'libx264', {'options': {'movflags': 'faststart'}}),
        ('a.mp4', 'libx264', {'options': {'movflags': 'frag_keyframe+empty_moov'}, 'codec_options': {'g': '8'}}),
        ('a.mkv', 'libx264', {'sound': 1.0}),
        ('a.webm', 'libvpx', {'sound': 1.0}),
        ('a.webm', 'libvpx', {'options': {'live': '1'}}),
        ('a.avi', 'mpeg4', {'sound': 1.0}),
        ('a.wmv', 'wmv2', {}),
        ('a.gif', 'gif', {'pixels': 'rgb8'}),
    ],
)
def test_a_video_of_any_kind_that_lost_its_end(tmp_path, name, codec, options, share):
    content = write_pictures(tmp_path / name, codec, **options).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(video.VideoError, match=r'^the video is truncated: it ends after \d+ frames '):
        read(tmp_path / name)


@pytest.mark.parametrize(('num_frames', 'lost'), [(40, 1), (40, 20)])
def test_a_video_that_lost_its_end_between_two_frames(tmp_path, num_frames, lost):
    path = write_video(tmp_path / 'a.avi', num_frames, 'MJPG')
    content = path.read_bytes()
    starts = [match.start() for match in re.finditer(b'00dc', content[: content.index(b'idx1')])][-num_frames:]
    path.write_bytes(content[: starts[-lost]])
    with pytest.raises(video.VideoError, match=f'^the video is truncated: it ends after {num_frames - lost} frames '):
        read(path)


@pytest.mark.parametrize(
    ('name', 'length', 'lost', 'total'), [('00338', 20000, 24, 62), ('00338', 50, 0, 71), ('07069', 20000, 3, 30)]
)
def test_a_video_with_a_damaged_middle(tmp_path, shared, name, length, lost, total):
    content = bytearray((shared / 'videos' / f'{name}.mp4').read_bytes())
    start = len(content) // 3
    content[start : start + length] = np.random.default_rng(0).bytes(length)
    path = tmp_path / 'damaged.mp4'
    path.write_bytes(content)
    if lost:
        cause = refuse(path, f'the video is damaged: {lost} of {total} frames cannot be decoded')
        assert cause == 'h264; FFmpeg: Error splitting the input into NAL units.)'
    else:
        assert [number for number, _ in read(path)] == list(range(1, total + 1))


def test_a_video_of_zeros(tmp_path, shared):
    content = (shared / 'videos' / '00338.mp4').read_bytes()
    start = content.index(b'mdat') + 4
    (tmp_path / 'zeros.mp4').write_bytes(content[:start] + bytes(len(content) - start))
    cause = refuse(tmp_path / 'zeros.mp4', 'the video has no frames that can be decoded')
    assert cause == 'h264; FFmpeg: Error splitting the input into NAL units.)'


def test_an_unknown_codec_is_named(tmp_path):
    content = write_pictures(tmp_path / 'a.mp4', 'libx264').read_bytes()
    start = content.index(b'avc1', content.index(b'stsd'))
    (tmp_path / 'a.mp4').write_bytes(content[:start] + b'zyxw' + content[start + 4 :])
    cause = refuse(tmp_path / 'a.mp4', 'the video cannot be decoded')
    assert 'zyxw' in cause
    assert 'unknown codec' in cause


# --- Videos as people bring them


@pytest.mark.parametrize(
    ('name', 'codec', 'options'),
    [
        ('a.mp4', 'libx264', {}),
        ('a.mp4', 'libx264', {'options': {'movflags': 'frag_keyframe+empty_moov'}}),
        ('a.mov', 'libx265', {'pixels': 'yuv420p10le', 'codec_options': {'x265-params': 'log-level=none:crf=2'}}),
        ('a.mp4', 'libsvtav1', {'codec_options': {'crf': '5', 'preset': '12'}}),
        ('a.webm', 'libsvtav1', {'codec_options': {'crf': '5', 'preset': '12'}}),
        ('a.webm', 'libvpx', {'sound': 0.5}),
        ('a.webm', 'libvpx-vp9', {}),
        ('longer sound.mkv', 'libx264', {'sound': 3.0}),
        ('longer sound.mpg', 'mpeg2video', {'sound': 3.0}),
        ('longer sound.avi', 'mpeg4', {'sound': 3.0}),
        ('a.wmv', 'wmv2', {}),
        ('a.mts', 'libx264', {'container': 'mpegts', 'options': {'mpegts_m2ts_mode': '1'}, 'sound': 0.5}),
        ('a.ts', 'mpeg2video', {}),
        ('a.flv', 'flv', {}),
        ('a.gif', 'gif', {'pixels': 'rgb8'}),
        ('half: the rate.mkv', 'libx264', {'times': [40 * i + 40 * max(0, i - 9) for i in range(20)]}),
        ('pause.mkv', 'libx264', {'times': [40 * i + 3000 * (i > 9) for i in range(20)]}),
        ('webcam.webm', 'libvpx', {'times': [40 * i + 40 * (i // 5) for i in range(20)], 'sound': 2.0}),
    ],
)
def test_a_whole_video_has_the_frames_that_were_written(tmp_path, name, codec, options):
    path = write_pictures(tmp_path / name, codec, **options)
    check_means(read(path), range(1, 21))
    check_means(read(path, {3, 20}.__contains__), [3, 20])
    assert video_files.find_videos(str(tmp_path)) == [name]


class Stream:
    """A file that is only written forward, as a browser's recorder does it: no length, no index, no sizes."""

    def __init__(self, path):
        self.path = path
        path.touch()

    def write(self, content):
        with self.path.open('ab') as file:
            return file.write(content)


@pytest.mark.parametrize(
    ('container', 'codec'),
    [('webm', 'libvpx'), ('matroska', 'libx264'), ('avi', 'mpeg4'), ('asf', 'wmv2'), ('flv', 'flv')],
)
def test_a_recording_without_a_length(tmp_path, container, codec):
    write_pictures(Stream(tmp_path / 'a.webm'), codec, container=container)
    check_means(read(tmp_path / 'a.webm'), range(1, 21))


def test_a_header_that_promises_more_frames(tmp_path):
    path = write_video(tmp_path / 'a.avi', 20, 'MJPG')
    content = bytearray(path.read_bytes())
    for place in (content.index(b'avih') + 8 + 16, content.index(b'strh') + 8 + 32):
        assert int.from_bytes(content[place : place + 4], 'little') == 20
        content[place : place + 4] = (90).to_bytes(4, 'little')
    path.write_bytes(content)
    check(read(path), range(1, 21), 6)


def test_frames_before_the_start_of_an_edit_list_are_not_shown(tmp_path):
    # As phones trim: the file keeps all frames, its edit list begins at frame 9 and ends after 8 more.
    path = write_pictures(tmp_path / 'a.mp4', 'libx264', codec_options={'b': '8M', 'bf': '0'})
    content = bytearray(path.read_bytes())
    place = content.index(b'elst') + 12
    timescale = int.from_bytes(content[(start := content.index(b'mdhd')) + 16 : start + 20], 'big')
    content[place : place + 4] = (320).to_bytes(4, 'big')
    content[place + 4 : place + 8] = (8 * timescale // 25).to_bytes(4, 'big')
    path.write_bytes(content)
    frames = read(path)
    assert [number for number, _ in frames] == list(range(1, 9))
    check_means([(number + 8, frame) for number, frame in frames], range(9, 17))


def test_a_recording_that_begins_between_two_key_frames(tmp_path):
    path = write_pictures(tmp_path / 'a.ts', 'mpeg2video', codec_options={'b': '8M', 'g': '8', 'bf': '0'})
    content = path.read_bytes()
    path.write_bytes(content[len(content) // 188 // 5 * 188 :])
    frames = read(path)
    assert 10 <= len(frames) < 20
    check_means([(20 - len(frames) + number, frame) for number, frame in frames], range(21 - len(frames), 21))


@pytest.mark.parametrize('mirrored', [False, True])
@pytest.mark.parametrize('rotation', [0, 90, 180, 270])
def test_a_phone_was_turned(tmp_path, rotation, mirrored):
    path = write_pictures(tmp_path / 'a.mp4', 'libx264', rotation=rotation, mirrored=mirrored)
    picture = np.ascontiguousarray(make_frame(20)[..., ::-1])
    picture[:24] //= 2
    videos.write_video(path, [picture], 'libx264', rotation=rotation, mirrored=mirrored)
    shown = np.rot90(picture, rotation // 90)
    shown = shown[:, ::-1] if mirrored else shown
    [(_, frame)] = read(path)
    assert frame.shape == shown.shape
    assert frame.flags.c_contiguous
    assert np.abs(frame.astype(int) - shown).mean() < 8


@pytest.mark.parametrize('mirrored', [False, True])
@pytest.mark.parametrize('rotation', [0, 90, 180, 270])
@pytest.mark.parametrize('pixel_aspect', [1, Fraction(4, 3), Fraction(9, 16)])
def test_the_size_is_that_of_the_picture_as_it_is_shown(tmp_path, rotation, mirrored, pixel_aspect):
    picture = np.zeros((50, 86, 3), np.uint8)
    options = {'rotation': rotation, 'mirrored': mirrored, 'pixel_aspect': pixel_aspect}
    path = videos.write_video(tmp_path / 'a.mp4', [picture] * 3, 'libx264', **options)
    shown = (round(86 * pixel_aspect), 50)
    assert video.frame_size(str(path)) == (shown[::-1] if rotation in (90, 270) else shown)


def test_the_size_of_a_folder_is_that_of_its_first_frame(tmp_path):
    assert video.frame_size(str(write_folder(tmp_path / 'a', 2))) == (64, 48)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(video.VideoError, match='no frames named'):
        video.frame_size(str(tmp_path / 'empty'))


def test_times_are_those_of_the_frames(tmp_path):
    times = [0, 40, 80, 200, 240, 1000]
    path = write_pictures(tmp_path / 'a.webm', 'libvpx', num_frames=6, rate=1000, times=times)
    found = [seconds for _, seconds, _ in video.read_timed_frames(str(path), lambda number: True, None)]
    assert found == [time / 1000 for time in times]
    folder = write_folder(tmp_path / 'a', 2)
    assert [seconds for _, seconds, _ in video.read_timed_frames(str(folder), lambda number: True, None)] == [None] * 2


@pytest.mark.parametrize('name', ['00335', '00336', '00338', '00339', '07069', '30173', '69241', 'slp_pose_test_video'])
def test_frames_are_those_of_opencv(shared, name):
    path = str(shared / 'videos' / f'{name}.mp4')
    opened = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    for number, frame in video.read_frames(path, lambda number: True, None):
        grabbed, theirs = opened.read()
        assert grabbed, number
        np.testing.assert_array_equal(frame, theirs[..., ::-1])
    assert not opened.read()[0]


def test_a_damaged_video_says_nothing_but_its_error(tmp_path, shared, capfd):
    content = (shared / 'videos' / '00338.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(content[: len(content) // 2])
    (tmp_path / 'text.mp4').write_text('no video')
    for name, reason in (('cut', 'the video is truncated: it ends after 27 frames'), ('text', NO_VIDEO)):
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


@pytest.mark.parametrize('suffix', ['.jpg', '.PNG', '.bmp', '.webp', '.tif'])
def test_a_still_is_a_video_of_one_frame(tmp_path, suffix):
    path = write_folder(tmp_path / 'a', 1, suffix) / f'a_000001{suffix}'
    [(number, frame)] = read(path)
    assert number == 1
    np.testing.assert_array_equal(frame, cv2.imread(str(path))[..., ::-1])
    assert video.frames_per_second(str(path)) is None
    assert video.frame_size(str(path)) == (64, 48)
    path.write_bytes(b'no image')
    refuse(path, f'a_000001{suffix} is not an image')


def test_the_size_of_a_still_is_not_that_of_its_print(tmp_path):
    jpeg = cv2.imencode('.jpg', make_frame(1))[1].tobytes()
    header = b'JFIF\0\1\1'
    assert header in jpeg
    start = jpeg.index(header) + len(header)
    (tmp_path / 'a.jpg').write_bytes(jpeg[:start] + struct.pack('>BHH', 1, 72, 144) + jpeg[start + 5 :])
    assert video.frame_size(str(tmp_path / 'a.jpg')) == (64, 48)


def test_images_of_several_sizes_are_no_frames(tmp_path):
    path = write_folder(tmp_path / 'a', 3)
    cv2.imwrite(str(path / 'a_000003.jpg'), make_frame(3)[:-7, :-9])
    height, width = make_frame(3).shape[:2]
    before = f'{width}x{height}: these are stills, not frames of one recording'
    refuse(path, f'a_000003.jpg is {width - 9}x{height - 7}, images before it {before}')


# The header of a BMP file of 7 million by 48 pixels, which is more than OpenCV reads.
TOO_WIDE = struct.pack('<2sIHHIIiiHHIIiiII', b'BM', 54, 0, 0, 54, 40, 7_000_000, 48, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize('content', [b'', b'no image', TOO_WIDE], ids=['empty', 'text', 'too wide'])
def test_a_folder_with_a_frame_that_is_no_image(tmp_path, content):
    path = write_folder(tmp_path / 'a', 3)
    (path / 'a_000002.jpg').write_bytes(content)
    refuse(path, 'a_000002.jpg is not an image')
    check(read(path, {1, 3}.__contains__), [1, 3], 6)
