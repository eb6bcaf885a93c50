"""Progress of long work, in lines for a terminal or a log file."""

import time

_SECONDS_BETWEEN_LINES = 5


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
            print(f'failed: {failure}', flush=True)
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LINES and self._done < self._total:
            return
        self._last = now
        seconds = max(now - self._start, 1e-9)
        left = round(seconds / self._done * (self._total - self._done))
        print(
            f'{self._done}/{self._total} {self._unit}, {self._frames / seconds:.1f} frames/s, {self._failed} failed, '
            f'{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left',
            flush=True,
        )
