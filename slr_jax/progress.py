"""How far long work is, printed line by line, as log files want it."""

from collections import deque
from collections.abc import Callable
import math
import statistics
import time
from typing import Protocol

_TRAINING_SECONDS, _CLIPS_SECONDS = 10.0, 5.0
# Answers whose latency is kept.
_LATENCIES = 10_000


def report(message: str) -> None:
    """Prints a line of progress at once; everything that the libraries print goes through here."""
    print(message, flush=True)


def _duration(seconds: float) -> str:
    return time.strftime('%H:%M:%S', time.gmtime(seconds)) if seconds < 86400 else f'{seconds / 86400:.1f} days'


class TrainingProgress:
    """Reports how far runs are, and how long they will still take.

    Args:
        steps_per_epoch: of each run.
        num_steps: of each run.
        steps_left: counts the steps that all runs together still take now; a run that stopped takes none.
    """

    def __init__(self, steps_per_epoch: int, num_steps: int, steps_left: Callable[[], int]) -> None:
        self._num_epochs = math.ceil(num_steps / steps_per_epoch)
        self._num_steps, self._steps_left = num_steps, steps_left
        self._steps_done = 0
        self._start = self._last = time.perf_counter()

    @property
    def is_first_step(self) -> bool:
        """Whether no step is done yet, so that the next compiles."""
        return not self._steps_done

    def steps_done(self, count: int, prefix: str, epoch: int, step: int, loss: float) -> None:
        """Counts steps; reports the first, and later ones if the last line is some seconds old."""
        is_first = self.is_first_step
        self._steps_done += count
        if is_first:
            report(f'{prefix}first step done, train loss {loss:.4f}')
        elif time.perf_counter() - self._last > _TRAINING_SECONDS:
            self._report(prefix, epoch, f'step {step}/{self._num_steps}, train loss {loss:.4f}')

    def epoch_done(self, prefix: str, epoch: int, text: str) -> None:
        """Reports an epoch."""
        self._report(prefix, epoch, text)

    def _report(self, prefix: str, epoch: int, text: str) -> None:
        self._last = time.perf_counter()
        seconds = (self._last - self._start) / max(1, self._steps_done) * self._steps_left()
        report(f'{prefix}epoch {epoch}/{self._num_epochs} | {text} | {_duration(seconds)} left')


class Progress:
    """Prints what is done, frames per second, failures and the time left, every few seconds."""

    def __init__(self, unit: str, total: int) -> None:
        self._unit, self._total = unit, total
        self._done = self._failed = self._frames = 0
        self._start = self._last = time.monotonic()

    def add(self, frames: int, failure: str = '') -> None:
        """Counts one more unit, with its frames or why it failed."""
        self._done += 1
        self._frames += frames
        self._failed += bool(failure)
        if failure:
            report(f'failed: {failure}')
        now = time.monotonic()
        if now - self._last < _CLIPS_SECONDS and self._done < self._total:
            return
        self._last = now
        seconds = max(now - self._start, 1e-9)
        left = _duration(seconds / self._done * (self._total - self._done))
        report(
            f'{self._done}/{self._total} {self._unit}, {self._frames / seconds:.1f} frames/s, {self._failed} failed, '
            f'{left} left'
        )


class LiveSource(Protocol):
    """A camera."""

    dropped: int

    def age(self, seconds: float) -> float:
        """How many seconds ago the frame of that second was grabbed."""


class RecordingProgress:
    """Reports how fast a recording is answered, or what a camera sees; every few seconds.

    Args:
        camera: whose latency and dropped frames are reported; None for a recording.
    """

    def __init__(self, camera: LiveSource | None = None) -> None:
        self._camera = camera
        self._frames, self._seconds = 0, 0.0
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._start = self._last = time.monotonic()

    def frame(self, seconds: float) -> None:
        """Counts a frame, which is so many seconds after the first."""
        now = time.monotonic()
        if not self._frames:
            self._start = self._last = now
        self._frames, self._seconds = self._frames + 1, seconds
        if now - self._last >= _CLIPS_SECONDS:
            self._last = now
            report(self.line())

    def answer(self) -> None:
        """Counts an answer to the frames so far."""
        if self._camera is not None:
            self._latencies.append(self._camera.age(self._seconds))

    def line(self) -> str:
        """How much is answered, and how fast; of a camera also the dropped frames, and the latency of answers."""
        elapsed = max(time.monotonic() - self._start, 1e-9)
        done = f'{_duration(self._seconds)} answered, {self._frames / elapsed:.1f} frames/s'
        if self._camera is None:
            return f'{done}, {self._seconds / elapsed:.1f} × real time'
        done = f'{done}, {self._camera.dropped} dropped'
        if len(self._latencies) < 2:
            return done
        milliseconds = [1000 * latency for latency in self._latencies]
        within = statistics.quantiles(milliseconds, n=20, method='inclusive')[-1]
        return f'{done}, latency {statistics.median(milliseconds):.0f} ms, 95 % within {within:.0f} ms'
