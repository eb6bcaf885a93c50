"""What MediaPipe has of a picture is that picture, byte for byte, whatever its size and format."""

from fractions import Fraction

import pytest

pytest.importorskip('cv2')
pytest.importorskip('mediapipe')

import av
import cv2
import mediapipe as mp
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing.extraction import camera as camera_lib
from preprocessing.extraction import clip_extractor, video
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import store as store_lib
from tests import videos

WIDTHS = (*range(64, 201), 240, 360, 404, 426, 480, 540, 640, 720, 848, 854, 1080, 1920, 2160)
# Formats that hold RGB or grey values, and those that hold them but for rounding and smoothed colors.
EXACT = ('png rgb24', 'png rgba', 'png gray', 'ffv1 bgr0', 'ffv1 bgra', 'ffv1 gray')
ROUNDED = (
    *('ffv1 yuv420p', 'ffv1 yuv422p', 'ffv1 yuv444p', 'ffv1 yuva420p', 'ffv1 yuv420p10le', 'ffv1 yuv422p10le'),
    *('ffv1 yuv444p10le', 'ffv1 gray10le', 'ffv1 gray16le'),
)


@pytest.fixture
def handed(monkeypatch):
    """Hands pictures to MediaPipe, and returns what it then has of them."""
    found = []

    class Image(mp.Image):
        def __init__(self, **given):
            super().__init__(**given)
            found.append(self.numpy_view().copy())

    monkeypatch.setattr(mp, 'Image', Image)
    landmarker = landmarker_lib.Landmarker(landmarker_lib.Options(parts=()), {})

    def hand(pictures):
        found.clear()
        for picture in pictures:
            landmarker.find(picture, 0)
        return list(found)

    return hand


def read(path):
    return [frame for _, frame in video.read_frames(str(path), lambda number: True, None)]


def make_picture(height, width, grey=False):
    """Noise on colors that change slowly, so that formats with few colors keep it."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng([height, width]).integers(0, 120, (height, width))
    picture = noise[..., None] + np.stack([60 * x // width, 60 * y // height, 60 - 60 * x // width], axis=-1)
    return np.repeat(picture[..., :1], 3, axis=-1).astype(np.uint8) if grey else picture.astype(np.uint8)


def check(found, expected, tolerance=0):
    assert [picture.shape for picture in found] == [picture.shape for picture in expected]
    for picture, other in zip(found, expected, strict=True):
        assert picture.dtype == np.uint8
        assert np.abs(picture.astype(int) - other).max() <= tolerance


@pytest.mark.parametrize('kind', EXACT + ROUNDED)
def test_every_width_in_every_format(tmp_path, handed, kind):
    codec, pixels = kind.split()
    for width in WIDTHS:
        # Odd and even heights of odd and even widths.
        picture = make_picture(9 + width // 2 % 2, width, 'gray' in pixels)
        path = videos.write_video(tmp_path / f'{width}.nut', [picture], codec, pixels=pixels, codec_options={})
        check(handed(read(path)), [picture], 0 if kind in EXACT else 8)


# As they are recorded: 9:16, 480p, 240p, 3:4, an odd width and height.
@pytest.mark.parametrize('size', [(1920, 1080), (480, 854), (960, 540), (240, 426), (720, 404), (640, 360), (333, 251)])
@pytest.mark.parametrize('rotation', [0, 90])
def test_recordings_of_usual_sizes(tmp_path, handed, size, rotation):
    picture = make_picture(*size)
    path = videos.write_video(tmp_path / 'a.mov', [picture], 'png', pixels='rgb24', codec_options={}, rotation=rotation)
    check(handed(read(path)), [np.rot90(picture, rotation // 90)])


@pytest.mark.parametrize('mirrored', [False, True])
@pytest.mark.parametrize('rotation', [0, 90, 180, 270])
def test_turned_pictures(tmp_path, handed, rotation, mirrored):
    turned = {'rotation': rotation, 'mirrored': mirrored}
    for width in range(64, 201, 7):
        picture = make_picture(11, width)
        path = videos.write_video(tmp_path / 'a.mov', [picture], 'png', pixels='rgb24', codec_options={}, **turned)
        shown = np.rot90(picture, rotation // 90)
        check(handed(read(path)), [shown[:, ::-1] if mirrored else shown])


def test_lossy_recordings_are_those_of_opencv(tmp_path, handed):
    for number, (codec, pixels, size) in enumerate(
        [
            ('libx264', 'yuv420p', (480, 854)),
            ('libx264', 'yuv422p', (426, 240)),
            ('libx264', 'yuv444p', (255, 203)),
            ('libvpx-vp9', 'yuva420p', (96, 100)),
            ('mpeg4', 'yuv420p', (64, 180)),
            ('gif', 'rgb8', (65, 99)),
            ('mjpeg', 'yuvj422p', (66, 122)),
        ]
    ):
        suffix = {'gif': 'gif', 'libvpx-vp9': 'webm'}.get(codec, 'mkv')
        path = videos.write_video(tmp_path / f'{number}.{suffix}', [make_picture(*size)], codec, pixels=pixels)
        grabbed, picture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).read()
        assert grabbed
        check(handed(read(path)), [picture[..., ::-1]])


def test_a_size_that_changes_within_a_recording(tmp_path, handed):
    pictures = [make_picture(*size) for size in ((48, 64), (48, 65), (33, 44), (96, 128), (48, 64), (64, 48))]
    with av.open(str(tmp_path / 'a.mov'), 'w') as output:
        stream = output.add_stream('png', rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, 'rgb24'
        for number, picture in enumerate(pictures):
            codec = av.CodecContext.create('png', 'w')
            codec.height, codec.width = picture.shape[:2]
            codec.pix_fmt, codec.time_base = 'rgb24', Fraction(1, 25)
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            frame.pts = number
            for packet in (*codec.encode(frame), *codec.encode(None)):
                packet.stream = stream
                output.mux(packet)
    wanted = set(range(1, 6)).__contains__
    check(handed([frame for _, frame in video.read_frames(str(tmp_path / 'a.mov'), wanted, None)]), pictures[:5])
    with pytest.raises(video.VideoError, match=r'frame 6 is 48x64, the first frame 64x48: the shape .* changes'):
        read(tmp_path / 'a.mov')


@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.jpg'])
def test_folders_of_frames(tmp_path, handed, suffix):
    pictures = [make_picture(17, width) for width in range(64, 201)]
    for number, picture in enumerate(pictures):
        (tmp_path / str(number)).mkdir()
        path = tmp_path / str(number) / f'a_0{suffix}'
        cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    found = [frame for number in range(len(pictures)) for frame in read(tmp_path / str(number))]
    check(handed(found), pictures, 8 if suffix == '.jpg' else 0)


@pytest.mark.parametrize('kind', ['grey', 'grey 16 bit', 'color 16 bit', 'alpha', 'alpha 16 bit'])
def test_folders_of_other_images(tmp_path, handed, kind):
    pictures = [make_picture(13, width, grey='grey' in kind) for width in (64, 65, 100, 180)]
    found = []
    for number, picture in enumerate(pictures):
        image = picture[..., 0] if 'grey' in kind else picture[..., ::-1]
        if 'alpha' in kind:
            image = np.concatenate([image, make_picture(*image.shape[:2])[..., :1]], axis=-1)
        image = image.astype(np.uint16) * 257 if '16 bit' in kind else image
        (tmp_path / str(number)).mkdir()
        cv2.imwrite(str(tmp_path / str(number) / 'a_0.png'), image)
        found += read(tmp_path / str(number))
    check(handed(found), pictures)


@pytest.mark.parametrize('kind', ['color', 'alpha', 'grey', 'part of a larger one'])
def test_pictures_of_a_camera(monkeypatch, handed, kind):
    picture = make_picture(31, 101, grey=kind == 'grey')
    given = {
        'color': picture[..., ::-1].copy(),
        'alpha': cv2.cvtColor(picture, cv2.COLOR_RGB2BGRA),
        'grey': picture[..., 0].copy(),
        'part of a larger one': np.pad(picture[..., ::-1], ((0, 0), (0, 11), (0, 0)))[:, :101],
    }[kind]

    class Capture:
        def __init__(self, source):
            self.pictures = iter([(True, given), (False, None)])

        def isOpened(self):
            return True

        def read(self):
            return next(self.pictures)

        def get(self, name):
            return 0.0

        def release(self):
            pass

    monkeypatch.setattr(cv2, 'VideoCapture', Capture)
    with camera_lib.Camera('0') as camera:
        check(handed(frame for _, frame in camera.frames()), [picture])


@pytest.mark.parametrize(
    ('picture', 'reason'),
    [
        (np.zeros((48, 80, 3), np.uint8)[:, :64], r'has strides \(240, 3, 1\), expected its bytes in one piece'),
        (np.zeros((48, 64, 3), np.uint8)[:, ::-1], 'has strides'),
        (np.zeros((48, 64, 3), np.uint8)[::2], 'has strides'),
        (np.zeros((3, 48, 64), np.uint8).transpose(1, 2, 0), 'has strides'),
        (np.zeros((48, 64, 4), np.uint8), r'is uint8 \[48, 64, 4\], expected uint8 \[height, width, 3\]'),
        (np.zeros((48, 64, 1), np.uint8), r'is uint8 \[48, 64, 1\]'),
        (np.zeros((48, 64), np.uint8), r'is uint8 \[48, 64\]'),
        (np.zeros((1, 48, 64, 3), np.uint8), r'is uint8 \[1, 48, 64, 3\]'),
        (np.zeros((0, 64, 3), np.uint8), r'is uint8 \[0, 64, 3\]'),
        (np.zeros((48, 64, 3), np.uint16), r'is uint16 \[48, 64, 3\]'),
        (np.zeros((48, 64, 3), np.float32), r'is float32 \[48, 64, 3\]'),
    ],
)
def test_another_kind_of_picture_never_reaches_mediapipe(handed, picture, reason):
    with pytest.raises(ValueError, match=f'^the picture {reason}'):
        handed([picture])


def test_another_kind_of_picture_costs_its_clip(tmp_path, monkeypatch):
    padded = np.zeros((48, 80, 3), np.uint8)[:, :64]
    monkeypatch.setattr(video, 'read_timed_frames', lambda path, **given: iter([(1, 0.0, padded)]))
    monkeypatch.setattr(video, 'frame_size', lambda path: (64, 48))
    clips = [clips_lib.Clip(name, 'a.mp4', 0, 'book', 'train') for name in ('a', 'b')]
    extractor = clip_extractor.Extractor(landmarker_lib.Options(parts=()), {})
    with store_lib.open_store(str(tmp_path / 'landmarks'), {'handedness': 'signer'}) as store:
        rows = list(clip_extractor.extract_video(clips, store, extractor, lambda: 'a.mp4'))
        assert [(row['status'], row['reason']) for row in rows] == [
            ('failed', 'the picture has strides (240, 3, 1), expected its bytes in one piece')
        ] * 2
        assert store.read_clip(clips[0]) is None
