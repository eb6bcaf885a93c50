"""Frames of a video file, or of a folder of extracted frames; both are numbered from 1."""

from collections.abc import Callable, Iterator
import os

import cv2
import numpy as np

from preprocessing.extraction import video_files

# The header of a good video may count a few frames more than there are, as in some WLASL videos.
_MAX_MISSING_FRAMES = 2
_MAX_MISSING_FRACTION = 0.05
# OpenCV and FFmpeg would print what VideoError says.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class VideoError(Exception):
    """Why a video cannot be used, without its name."""


def read_frames(path: str, wanted: Callable[[int], bool], last: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """Reads a video once, forward; frames that are not wanted are skipped without converting them.

    Args:
        path: a video file or a folder of `<name>_%06d.jpg` (or .png, .bmp).
        wanted: frame number, from 1 -> whether it is wanted.
        last: the last frame that is wanted, None for the end of the video.

    Yields:
        Frame number and <uint8>[height, width, 3], RGB.

    Raises:
        VideoError: the file is empty or not a video, has no frames or, where `last` is None, fewer than its header
            says; the folder holds no frames, or one is missing or cannot be read.
    """
    reader = _read_folder(path, wanted, last) if os.path.isdir(path) else _read_file(path, wanted, last)
    for number, frame in reader:
        yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def frames_per_second(path: str) -> float | None:
    """What the header of a video says; None for a folder, or where it says nothing usable."""
    if os.path.isdir(path):
        return None
    fps = cv2.VideoCapture(path).get(cv2.CAP_PROP_FPS)
    return fps if 0 < fps <= 1000 else None


def _read_file(path: str, wanted: Callable[[int], bool], last: int | None) -> Iterator[tuple[int, np.ndarray]]:
    if os.path.getsize(path) == 0:
        raise VideoError('the file is empty')
    # A worker has one core: more threads only need memory.
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not video.isOpened():
        raise VideoError('the file is not a video, or has lost its end or its header')
    number = 0
    try:
        while number != last and video.grab():
            number += 1
            if wanted(number):
                grabbed, frame = video.retrieve()
                if not grabbed:
                    raise VideoError(f'frame {number} cannot be decoded')
                yield number, frame
        expected = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        video.release()
    if number == 0:
        raise VideoError('the video has no frames')
    if last is None and expected - number > max(_MAX_MISSING_FRAMES, _MAX_MISSING_FRACTION * expected):
        raise VideoError(f'the video is truncated or damaged: it has {number} of {expected} frames')


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
    for number in range(1, min(last or max(found), max(found)) + 1):
        if number not in found:
            raise VideoError(f'frame {number + first - 1} is missing in the folder')
        if wanted(number):
            frame = cv2.imread(os.path.join(path, found[number]))
            if frame is None:
                raise VideoError(f'{found[number]} is not an image')
            yield number, frame
