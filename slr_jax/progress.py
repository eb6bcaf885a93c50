"""How far long work is, printed line by line, as log files want it."""

import math
import time

_SECONDS_BETWEEN_LINES = 10.0


def report(message: str) -> None:
    """Prints a line of progress at once; everything that the libraries print goes through here."""
    print(message, flush=True)


class TrainingProgress:
    """Reports how far runs are, and how long they will still take.

    Args:
        steps_per_epoch: of each run.
        num_steps: of each run.
        steps_left: of all groups of runs together.
    """

    def __init__(self, steps_per_epoch: int, num_steps: int, steps_left: int) -> None:
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
        elif time.perf_counter() - self._last > _SECONDS_BETWEEN_LINES:
            self._report(prefix, epoch, f'step {step}/{self._num_steps}, train loss {loss:.4f}')

    def epoch_done(self, prefix: str, epoch: int, text: str) -> None:
        """Reports an epoch."""
        self._report(prefix, epoch, text)

    def _report(self, prefix: str, epoch: int, text: str) -> None:
        self._last = time.perf_counter()
        seconds = (self._last - self._start) / max(1, self._steps_done) * (self._steps_left - self._steps_done)
        left = time.strftime('%H:%M:%S', time.gmtime(seconds)) if seconds < 86400 else f'{seconds / 86400:.1f} days'
        report(f'{prefix}epoch {epoch}/{self._num_epochs} | {text} | {left} left')
