"""Frames of a video file, or of a folder of extracted frames; both are numbered from 1.

PyAV, which brings FFmpeg, decodes videos; OpenCV reads images. The frames of a video are those that decoding gives,
whatever its header says of their number and times.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
import contextlib
import logging
import os
import re

import av
import av.container
import av.sidedata.sidedata
import av.video.reformatter
import cv2
import numpy as np

from preprocessing import extraction
from preprocessing.extraction import video_files
from slr_jax import file_limits, frame_sizes

# A damaged video may lose a few frames, as in some WLASL videos.
_MAX_LOST_FRAMES = 2
_MAX_LOST_FRACTION = 0.05
# Where a file ends within what is read, FFmpeg logs this and raises no error.
_CUT = re.compile('File ended prematurely|partial file|Packet corrupt|LZW decode failed')
_NO_VIDEO = 'the file is not a video, or has lost its end or its header'
# What SUFFIXES are of. A playlist would name other files, and a pattern of images many.
_CONTAINERS = (
    'mov,mp4,m4a,3gp,3g2,mj2 matroska,webm avi mpeg mpegts mpegvideo asf flv live_flv kux gif dv mxf ogg yuv4mpegpipe '
    'm4v h264 hevc av1 obu ivf vc1 mjpeg nut apng wtv jpeg_pipe png_pipe bmp_pipe webp_pipe tiff_pipe'
).replace(' ', ',')
_OPTIONS = {
    'format_whitelist': _CONTAINERS,
    'protocol_whitelist': 'file',
    'max_pixels': str(extraction.MAX_PIXELS),
}
# Frames are of a person, which takes bytes: pixels per byte of the file, and pixels that any file may have.
_MOST_PIXELS_PER_BYTE, _FEWEST_PIXELS = 10_000, 2**30
# BT.2020 and the two kinds of P3, by their numbers in H.273.
_WIDE_GAMUTS = (9, 11, 12)
_BT709 = 1
# Bytes.
_SLACK = 64
_UNKNOWN = 2**31 - 2**16
# FFmpeg and OpenCV would print what VideoError says.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
av.logging.set_level(av.logging.WARNING)
av.logging.set_skip_repeated(False)
logging.getLogger('libav').setLevel(logging.CRITICAL + 1)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# Level, source and text of what FFmpeg logged.
_Log = Sequence[tuple[int, str, str]]


class VideoError(Exception):
    """Why a video cannot be used, without its name."""


def read_frames(path: str, wanted: Callable[[int], bool], last: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """Reads a video once, forward; frames that are not wanted are skipped without converting them.

    Args:
        path: a video file, a folder of `<name>_%06d.jpg` (or .png, .bmp), or an image, which is one frame.
        wanted: frame number, from 1 -> whether it is wanted.
        last: the last frame that is wanted, None for the end of the video.

    Yields:
        Frame number and <uint8>[height, width, 3], RGB, C-contiguous.

    Raises:
        VideoError: the file is empty or not a video, has no frames, or is truncated or damaged before `last`; the
            folder holds no frames, or one is missing, of another size or cannot be read; the shape of the pictures
            changes within the video.
    """
    for number, _, frame in read_timed_frames(path, wanted, last):
        yield number, frame


def read_timed_frames(
    path: str, wanted: Callable[[int], bool], last: int | None
) -> Iterator[tuple[int, float | None, np.ndarray]]:
    """As `read_frames`, with the second at which each frame is shown after its number; None where that is not known."""
    if os.path.isdir(path):
        for number, frame in _read_folder(path, wanted, last):
            yield number, None, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        return
    if video_files.is_image(os.path.basename(path)):
        if wanted(1):
            yield 1, None, cv2.cvtColor(_read_image(*os.path.split(path)), cv2.COLOR_BGR2RGB)
        return
    # Its tables are made for the first frame only.
    reformatter = av.video.reformatter.VideoReformatter()
    width = height = 0
    for number, decoded in enumerate(_decode(path), start=1):
        width, height = width or decoded.width, height or decoded.height
        if wanted(number):
            _check_shape(number, decoded, width, height)
            yield number, decoded.time, _to_rgb(decoded, reformatter)
        if number == last:
            break


def frames_per_second(path: str) -> float | None:
    """What the header of a video says; None for a folder, or where it says nothing usable."""
    if os.path.isdir(path) or video_files.is_image(os.path.basename(path)):
        return None
    try:
        with _open(path) as (_, stream, _):
            fps = float(stream.average_rate or 0)
    except VideoError:
        return None
    return fps if 0 < fps <= 1000 else None


def frame_size(path: str) -> tuple[int, int]:
    """Width and height of the first frame of a video, folder or image as it is shown: turned, and in square pixels.

    Raises:
        VideoError: there is none.
    """
    if os.path.isdir(path):
        _, picture = next(_read_folder(path, lambda number: True, 1))
        return picture.shape[1], picture.shape[0]
    if video_files.is_image(os.path.basename(path)):
        # What images say of the size of their pixels is that of a print.
        picture = _read_image(*os.path.split(path))
        return picture.shape[1], picture.shape[0]
    with _open(path) as (_, stream, _):
        pixel_aspect = float(stream.sample_aspect_ratio or 1)
    with contextlib.closing(_decode(path)) as frames:
        frame = next(frames)
    width, height = round(frame.width * pixel_aspect), frame.height
    return (height, width) if frame.rotation % 180 == 90 else (width, height)


def _check_file(path: str) -> None:
    special = file_limits.special_kind(path)
    if special:
        raise VideoError(f'it is {special}, expected a file')
    if os.path.getsize(path) == 0:
        raise VideoError('the file is empty')


@contextlib.contextmanager
def _open(path: str) -> Iterator[tuple[av.container.InputContainer, av.VideoStream, _Log]]:
    """Opens a video and finds its stream of pictures; gives also what FFmpeg logged, which reads ahead."""
    _check_file(path)
    with av.logging.Capture() as log:
        try:
            # FFmpeg takes what is before a colon for a protocol.
            container = av.open(f'file:{path}', metadata_errors='replace', options=_OPTIONS)
        except av.FFmpegError as error:
            if any('not on whitelist' in text for _, _, text in log):
                raise VideoError('the file is a playlist or of another kind, expected one video') from error
            raise VideoError(f'{_NO_VIDEO} ({_message(error)})') from error
    with container:
        stream = container.streams.best('video')
        if not isinstance(stream, av.VideoStream) or stream.disposition & av.stream.Disposition.attached_pic:
            raise VideoError(f'{_NO_VIDEO} (FFmpeg: no video stream)')
        if stream.codec_context is None:
            reason = next((text for _, _, text in log if 'codec parameters' in text), 'no decoder')
            raise VideoError(f'the video cannot be decoded (FFmpeg: {reason.splitlines()[0]})')
        # A worker has one core: more threads only need memory.
        stream.thread_count = 1
        stream.codec_context.options = {'max_pixels': _OPTIONS['max_pixels']}
        yield container, stream, log


def _decode(path: str) -> Generator[av.VideoFrame]:
    """All frames of a video, in the order in which they are shown."""
    with _open(path) as (container, stream, log):
        packets = container.demux(stream)
        num_frames, started, errors, lost, pixels = 0, False, [], 0, 0
        size = os.path.getsize(path)
        most = max(_FEWEST_PIXELS, _MOST_PIXELS_PER_BYTE * size)
        cut = _find_cut(log, container.format.name)
        packet: av.Packet | None
        while True:
            frames: Sequence[av.VideoFrame] = ()
            with av.logging.Capture() as lines:
                try:
                    packet = next(packets, None)
                # After the last packet, where a stream appears that the header does not name.
                except IndexError:
                    packet = None
                except av.FFmpegError as error:
                    packet, cut = None, _message(error)
                if packet:
                    # A recording may begin between two key frames.
                    started = started or packet.is_keyframe
                    try:
                        frames = packet.decode()
                    except av.FFmpegError as error:
                        errors.append(_message(error))
                        lost += started
            num_frames += len(frames)
            pixels += sum(frame.width * frame.height for frame in frames)
            if pixels > most:
                raise VideoError(f'the file of {size:,} bytes has more than {most:,} pixels, expected at most so many')
            yield from frames
            cut = cut or _find_cut(lines, container.format.name)
            if packet is None:
                break
        cut = cut or _find_missing_end(path, stream)
        codec = stream.codec_context.name
    if cut:
        raise VideoError(f'the video is truncated: it ends after {num_frames} frames ({cut})')
    if num_frames == 0:
        raise VideoError(f'the video has no frames{f" that can be decoded ({codec}; {errors[0]})" if errors else ""}')
    total = num_frames + lost
    if lost > max(_MAX_LOST_FRAMES, _MAX_LOST_FRACTION * total):
        raise VideoError(f'the video is damaged: {lost} of {total} frames cannot be decoded ({codec}; {errors[-1]})')


def _message(error: av.FFmpegError) -> str:
    return f'FFmpeg: {str(error.log[-1] if error.log else error.strerror).strip()}'


def _find_cut(log: _Log, container_format: str) -> str:
    """The message that says that the file ended too early, empty where there is none."""
    # A transport stream has corrupt packets wherever its reception was disturbed.
    if container_format == 'mpegts':
        return ''
    return next((f'FFmpeg: {text.strip()}' for _, _, text in log if _CUT.search(text)), '')


def _find_missing_end(path: str, stream: av.VideoStream) -> str:
    """What shows that a file, read to its end without a message, is shorter than it was; empty where nothing does."""
    size = os.path.getsize(path)
    if any(entry.pos + entry.size > size for entry in stream.index_entries):
        return 'its index has frames past the end of the file'
    with open(path, 'rb') as file:
        head = file.read(24)
        whole = 0
        if head[:3] == b'GIF':
            file.seek(-min(size, _SLACK), os.SEEK_END)
            return '' if file.read().rstrip(b'\0\r\n').endswith(b';') else 'it has no GIF trailer'
        if head[:4] == b'RIFF':
            whole = 8 + int.from_bytes(head[4:8], 'little')
        # ASF, as in .wmv: a header, and an object with the packets.
        elif head[:4] == b'\x30\x26\xb2\x75':
            header = int.from_bytes(head[16:24], 'little')
            file.seek(header + 16)
            whole = header + int.from_bytes(file.read(8), 'little')
    # A recording that was streamed or not closed has 0 or the largest number there; some count a few bytes too many.
    if size + _SLACK < whole < _UNKNOWN:
        return f'it has {size} of {whole} bytes'
    return ''


def _check_shape(number: int, frame: av.VideoFrame, width: int, height: int) -> None:
    """Refuses a frame of another shape than the first, as a call from a phone that is turned has them."""
    if not frame_sizes.is_same_shape((frame.width, frame.height), (width, height)):
        raise VideoError(
            f'frame {number} is {frame.width}x{frame.height}, the first frame {width}x{height}: the shape of the '
            'pictures changes within the video, expected one'
        )


def _to_rgb(frame: av.VideoFrame, reformatter: av.video.reformatter.VideoReformatter) -> np.ndarray:
    """Converts a frame, and turns it as the recorder says that it is to be shown; C-contiguous."""
    # All as OpenCV does it, so that the landmarks are the same.
    wide = {'dst_color_trc': _BT709, 'dst_color_primaries': _BT709} if frame.color_primaries in _WIDE_GAMUTS else {}
    picture = reformatter.reformat(frame, format='rgb24', interpolation='BICUBIC', threads=1, **wide).to_ndarray()
    matrix = frame.side_data.get('DISPLAYMATRIX')
    if not isinstance(matrix, av.sidedata.sidedata.SideData):
        # FFmpeg pads rows, and PyAV gives a view without the padding.
        return np.ascontiguousarray(picture)
    # Where a step to the right, and a step down, of what was recorded go.
    right_x, right_y, _, down_x, down_y = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(right_x) < abs(right_y):
        picture, right_x, down_y = picture.transpose(1, 0, 2), down_x, right_y
    return np.ascontiguousarray(picture[:: -1 if down_y < 0 else 1, :: -1 if right_x < 0 else 1])


def _read_folder(path: str, wanted: Callable[[int], bool], last: int | None) -> Iterator[tuple[int, np.ndarray]]:
    numbered = [(number, name) for name in os.listdir(path) if (number := video_files.frame_number(name)) is not None]
    if not numbered:
        raise VideoError('the folder has no frames named <name>_<number>.jpg')
    # Frames that are numbered from 0 are counted from 1 all the same.
    first = min(1, *(number for number, _ in numbered))
    found: dict[int, str] = {}
    for number, name in sorted(numbered):
        other = found.setdefault(number - first + 1, name)
        if other != name:
            raise VideoError(f'{other} and {name} are both frame {number}')
    shape = None
    for number in range(1, min(last or max(found), max(found)) + 1):
        if number not in found:
            raise VideoError(f'frame {number + first - 1} is missing in the folder')
        if wanted(number):
            image = _read_image(path, found[number])
            shape = shape or image.shape
            if image.shape != shape:
                raise VideoError(
                    f'{found[number]} is {image.shape[1]}x{image.shape[0]}, images before it {shape[1]}x{shape[0]}: '
                    'these are stills, not frames of one recording'
                )
            yield number, image


def _read_image(path: str, name: str) -> np.ndarray:
    special = file_limits.special_kind(os.path.join(path, name))
    if special:
        raise VideoError(f'{name} is {special}, expected an image')
    try:
        image = cv2.imread(os.path.join(path, name))
    # One that says it is larger than OpenCV reads.
    except cv2.error:
        image = None
    if image is None:
        raise VideoError(f'{name} is not an image (or has more than {extraction.MAX_PIXELS:,} pixels)')
    return image
