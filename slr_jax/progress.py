"""How far long work is."""

import time

_SECONDS_BETWEEN_LINES = 5


class Progress:
    """Prints what is done, frames a second, failures and the time left, every few seconds."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._done = self._failed = self._frames = 0
        self._start = self._last = time.monotonic()

    def add(self, frames: int, failure: str = '') -> None:
        """Counts one more, and prints the failure that it is."""
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
            f'{self._done}/{self._total} {self._what}, {self._frames / seconds:.1f} frames/s, {self._failed} failed, '
            f'{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left',
            flush=True,
        )
