"""Frames of a camera as it delivers them: the latest waits for whoever is ready, and those before it are dropped."""

from collections.abc import Iterator
import contextlib
import itertools
import os
import threading
import time
from typing import Self

import cv2
import numpy as np

from preprocessing.extraction import video
from slr_jax import errors

# Seconds.
_MAX_SILENCE = 5.0
_DEFAULT_FPS = 25.0


class Camera:
    """A camera, or what serves as one; a context manager.

    Args:
        source: number of a camera, from 0; address of a stream; or a video file, that is shown at its frame rate.

    Attributes:
        grabbed: number of frames that were delivered.
        dropped: number of those in whose place a later one was taken.
        failure: why the camera delivers no more, in a sentence; empty while it does, and where it was stopped.
        frame_size: width and height of its pictures in square pixels.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(self, source: str) -> None:
        self.grabbed = self.dropped = 0
        self.failure = ''
        self._source = source
        self._is_file = os.path.isfile(source)
        self._fps = video.frames_per_second(source) or _DEFAULT_FPS if self._is_file else None
        self._capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
        if not self._capture.isOpened():
            raise errors.InputError(
                f'camera {source} cannot be opened, expected the number of a camera, from 0, the address of a stream, '
                'or a video file'
            )
        self.frame_size = self._find_frame_size()
        self._changed = threading.Condition()
        self._latest: tuple[float, np.ndarray] | None = None
        self._first = 0.0
        self._ended = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._grab, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._thread.is_alive():
            # A camera that hangs is left to the end of the process.
            self._thread.join(_MAX_SILENCE)

    def stop(self) -> None:
        """Ends `frames`; may be called by a signal handler."""
        self._stopped.set()

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields the latest frame whenever one is asked for, until `stop`, the end of the video file, or a `failure`.

        Yields:
            The second at which it was grabbed, since the first one was, and <uint8>[height, width, 3], RGB,
            C-contiguous.

        Raises:
            InputError: there is no frame at all.
        """
        # Not before, so that nothing is dropped while other things start.
        self._thread.start()
        while (latest := self._wait()) is not None:
            grabbed, picture = latest
            colors = cv2.COLOR_GRAY2RGB if picture.ndim == 2 else cv2.COLOR_BGR2RGB
            yield grabbed - self._first, cv2.cvtColor(picture, colors)
        if self._stopped.is_set() or (self._is_file and self.grabbed):
            return
        if not self._ended:
            self.failure = f'camera {self._source} has delivered no frame for {_MAX_SILENCE:.0f} seconds'
        else:
            self.failure = f'camera {self._source} has stopped after {self.grabbed} frames'
        if not self.grabbed:
            raise errors.InputError(self.failure)

    def _find_frame_size(self) -> tuple[int, int]:
        if self._is_file:
            with contextlib.suppress(video.VideoError):
                return video.frame_size(self._source)
        names = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN)
        width, height, numerator, denominator = (max(0.0, self._capture.get(name)) for name in names)
        # Only streams say that their pixels are not square.
        return round(width * (numerator / denominator if numerator and denominator else 1)), round(height)

    def age(self, seconds: float) -> float:
        """How many seconds ago the frame of that second was grabbed."""
        return time.monotonic() - self._first - seconds

    def _wait(self) -> tuple[float, np.ndarray] | None:
        """Takes the latest frame, once there is one; None where none comes."""
        deadline = time.monotonic() + _MAX_SILENCE
        with self._changed:
            while self._latest is None and not self._ended and time.monotonic() < deadline:
                if self._stopped.is_set():
                    break
                # In short steps, since a signal handler does not end the wait.
                self._changed.wait(0.1)
            latest, self._latest = self._latest, None
        return None if self._stopped.is_set() else latest

    def _grab(self) -> None:
        start = time.monotonic()
        try:
            for number in itertools.count():
                if self._fps and self._stopped.wait(max(0.0, start + number / self._fps - time.monotonic())):
                    break
                found, picture = self._capture.read()
                if not found or self._stopped.is_set():
                    break
                now = time.monotonic()
                with self._changed:
                    self._first = self._first if self.grabbed else now
                    self.grabbed += 1
                    self.dropped += self._latest is not None
                    self._latest = now, picture
                    self._changed.notify()
        finally:
            self._capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify()
