"""How SIGINT (Ctrl-C) and SIGTERM end a command, and how its process ends."""

from collections.abc import Iterator
import contextlib
import os
import select
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

import slr_jax
from slr_jax import errors

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A library may swallow an exception that is raised in its callbacks.
_SECONDS_UNTIL_RAISED_AGAIN = 1.0
# After Ctrl-C, until a line says that it was received.
_SECONDS_OF_SILENCE = 2.0
# Two SIGINT that are nearer are of one Ctrl-C, which a parent process has passed on.
_SECONDS_BETWEEN_TWO = 0.3

# Signals that this process has received, the first first.
received: list[int] = []


def name() -> str:
    """The signal that ends the process; SIGTERM where jax caught it."""
    return signal.Signals(received[0]).name if received else 'SIGTERM'


@contextlib.contextmanager
def by_signals() -> Iterator[None]:
    """Within it, SIGINT and SIGTERM raise Terminated in the main thread; a second SIGINT ends the process at once."""

    def stop(number: int, _: FrameType | None) -> None:
        if number in _SIGNALS:
            received.append(number)
            signal.setitimer(signal.ITIMER_REAL, _SECONDS_UNTIL_RAISED_AGAIN, _SECONDS_UNTIL_RAISED_AGAIN)
        if not _is_unwinding():
            raise errors.Terminated

    received.clear()
    previous = {number: signal.signal(number, stop) for number in (*_SIGNALS, signal.SIGALRM)}
    try:
        with _ending_at_the_second():
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _is_unwinding() -> bool:
    error = sys.exception()
    while error is not None and not isinstance(error, errors.Terminated):
        error = error.__context__
    return error is not None


@contextlib.contextmanager
def _ending_at_the_second() -> Iterator[None]:
    """A thread counts SIGINT: handlers have to wait while the main thread compiles."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def watch() -> None:
        first, timeout = None, None
        while True:
            if not select.select([reader], [], [], timeout)[0]:
                print('stopping after what is computed; Ctrl-C again ends at once', file=sys.stderr, flush=True)
                timeout = None
                continue
            byte = os.read(reader, 1)
            if not byte:
                break
            if byte[0] == signal.SIGINT:
                now = time.monotonic()
                if first is not None and now - first > _SECONDS_BETWEEN_TWO:
                    os._exit(128 + signal.SIGINT)
                first, timeout = (now, _SECONDS_OF_SILENCE) if first is None else (first, timeout)
        os.close(reader)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        os.close(writer)


def end_process(status: int) -> NoReturn:
    """Ends a command without Python's own end, in which libraries print and their threads may crash.

    In another process, such as a test, raises SystemExit.
    """
    jax = sys.modules.get('jax')
    # The processes that train together end together.
    if slr_jax.IS_COMMAND and not (jax and jax.distributed.is_initialized()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)
