"""Frames of a recording or a camera, one after the other -> the landmarks of one person, in bounded memory."""

from collections.abc import Iterable, Iterator
import contextlib

import numpy as np

from preprocessing.extraction import clip_extractor, people, video
from slr_jax import errors


def read_recording(path: str, fps: float = clip_extractor.DEFAULT_FPS) -> Iterator[tuple[float, np.ndarray]]:
    """Reads a video, or a folder of frames, from beginning to end.

    Args:
        path: of either.
        fps: frames per second where they have no times.

    Yields:
        Seconds since the first frame, which rise, and <uint8>[height, width, 3], RGB, C-contiguous.

    Raises:
        InputError: it has no frames, or is damaged.
    """
    first: float | None = None
    last = -1.0
    try:
        for number, shown, frame in video.read_timed_frames(path, lambda number: True, None):
            seconds = (number - 1) / fps if shown is None else shown
            first = seconds if first is None else first
            # Those of some videos do not rise.
            last = max(seconds - first, last + 0.001, 0.0)
            yield last, frame
    except video.VideoError as error:
        raise errors.InputError(f'{path}: {error}') from error


def frame_size(path: str) -> tuple[int, int]:
    """Width and height of the pictures of a video or folder, see video.frame_size; InputError where there are none."""
    try:
        return video.frame_size(path)
    except video.VideoError as error:
        raise errors.InputError(f'{path}: {error}') from error


def follow(
    frames: Iterable[tuple[float, np.ndarray]], extractor: clip_extractor.Extractor
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Finds the landmarks of one person, frame by frame.

    Args:
        frames: seconds, which rise, and <uint8>[height, width, 3], RGB, C-contiguous.
        extractor: with the options wanted; in video mode hands and body are tracked over all frames.

    Yields:
        Seconds, the frame, and its landmarks <float32>[75, 3], NaN where not seen.
    """
    follower = people.Follower(extractor.handedness)
    with contextlib.closing(extractor.open()) as finder:
        for seconds, frame in frames:
            yield seconds, frame, follower.resolve(finder.find(frame, seconds))
