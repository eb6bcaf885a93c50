"""Worker processes of which one may die or hang without an effect on the others.

Each has its own pipe: the pools of the standard library share locks, which a killed worker keeps, and end all
workers when one dies.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
import enum
import multiprocessing
from multiprocessing import connection
import os
import signal
import threading
import time
from typing import Any

from slr_jax import errors

Work = Callable[[Sequence[Any]], Iterator[Any]]
_STARTS_THAT_MAY_FAIL = 5
# Importing MediaPipe takes seconds, more on a busy machine.
_SECONDS_TO_START = 120.0
# What a worker reports, and the two events that it cannot report.
_Event = enum.Enum('_Event', ['READY', 'RESULT', 'FAILED', 'STOP_ALL', 'DIED', 'TIMED_OUT'])


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why there is no result for an item."""

    reason: str


def run_tasks(
    tasks: Iterable[Sequence[Any]], start: Callable[[], Work], num_workers: int, time_limit: float
) -> Iterator[tuple[Any, Any]]:
    """Works on tasks in processes.

    An item whose worker dies is tried once more; one that takes too long is not. The rest of its task is done in a new
    worker.

    Args:
        tasks: each a sequence of items, which are hashable; all can be pickled.
        start: called in each worker, returns what it does: a task -> its results, one per item, in their order. An
            InputError that either raises stops everything, another error only the item. Pickled it must be smaller
            than a pipe's buffer (64 kB): Python hangs on a larger one where the worker is killed before it has read it.
        num_workers: processes.
        time_limit: seconds per item.

    Yields:
        Item, and its result or a Failure, as they come.

    Raises:
        InputError: a worker raised it, or no worker can start.
    """
    waiting = deque(tuple(task) for task in tasks)
    context = multiprocessing.get_context('spawn')
    workers: list[_Worker] = []
    crashed_once: set[Any] = set()
    failed_starts = 0
    try:
        while waiting or any(worker.items for worker in workers):
            wanted = min(num_workers, len(waiting) + sum(bool(worker.items) for worker in workers))
            workers.extend(_Worker(context, start) for _ in range(wanted - len(workers)))
            for worker in workers:
                if waiting and worker.ready and not worker.items:
                    worker.send(waiting.popleft())
            for worker in _wait(workers, time_limit):
                event, content = worker.receive()
                match event:
                    case _Event.STOP_ALL:
                        raise errors.InputError(content)
                    case _Event.READY:
                        failed_starts = 0
                    case _Event.RESULT:
                        yield worker.items.popleft(), content
                    case _Event.FAILED:
                        yield from _abandon_first(worker.items, Failure(content))
                        _requeue(worker, waiting)
                    case _Event.DIED | _Event.TIMED_OUT:
                        workers.remove(worker)
                        worker.kill()
                        failed_starts += not worker.ready
                        if failed_starts > _STARTS_THAT_MAY_FAIL:
                            raise errors.InputError(f'no worker process can start: {content}')
                        crashed = crashed_once if event is _Event.DIED else None
                        yield from _abandon_first(worker.items, Failure(content), crashed)
                        _requeue(worker, waiting)
    finally:
        for worker in workers:
            worker.kill()


def _abandon_first(
    items: deque[Any], failure: Failure, crashed_once: set[Any] | None = None
) -> Iterator[tuple[Any, Failure]]:
    """Gives up the first item, unless its worker died on it for the first time."""
    if not items:
        return
    if crashed_once is None or items[0] in crashed_once:
        yield items.popleft(), failure
    else:
        crashed_once.add(items[0])


def _requeue(worker: '_Worker', waiting: deque[tuple[Any, ...]]) -> None:
    """Makes the items that a worker still has the next task."""
    if worker.items:
        waiting.appendleft(tuple(worker.items))
        worker.items.clear()


class _Worker:
    """A process, its pipe, and the items it still has to do."""

    def __init__(self, context: Any, start: Callable[[], Work]) -> None:
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, start), daemon=True)
        with _ignoring_signals():
            self._process.start()
        theirs.close()
        self.ready = False
        self.items: deque[Any] = deque()
        self.busy_since = time.monotonic()
        self.limit = _SECONDS_TO_START
        self.timed_out = False

    def send(self, items: Sequence[Any]) -> None:
        self.items.extend(items)
        self.busy_since = time.monotonic()
        # Where it has died, the next `receive` reports that.
        with contextlib.suppress(OSError):
            self.pipe.send(tuple(items))

    def receive(self) -> tuple[_Event, Any]:
        if self.timed_out:
            return _Event.TIMED_OUT, f'it took longer than {self.limit:g} s'
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(1)
            return _Event.DIED, _cause_of_death(self._process.exitcode)
        self.busy_since = time.monotonic()
        self.ready = True
        return message

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


@contextlib.contextmanager
def _ignoring_signals() -> Iterator[None]:
    """Child processes started here ignore SIGINT and SIGTERM; the parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _wait(workers: Sequence[_Worker], time_limit: float) -> list[_Worker]:
    """Waits for workers that report something, or have reported nothing for too long."""
    now = time.monotonic()
    due = {}
    for worker in workers:
        worker.limit = time_limit if worker.ready else max(time_limit, _SECONDS_TO_START)
        if worker.items or not worker.ready:
            due[worker] = worker.busy_since + worker.limit
    reporting = connection.wait([worker.pipe for worker in workers], max(0.0, min(due.values()) - now))
    for worker, end in due.items():
        worker.timed_out = worker.pipe not in reporting and time.monotonic() >= end
    return [worker for worker in workers if worker.pipe in reporting or worker.timed_out]


def _cause_of_death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f'the worker process was ended by {signal.Signals(-exit_code).name}'
    return f'the worker process ended with status {exit_code}'


def _work(pipe: connection.Connection, start: Callable[[], Work]) -> None:
    # MediaPipe and OpenCV log from native code.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work = start()
        pipe.send((_Event.READY, None))
        while True:
            try:
                for result in work(pipe.recv()):
                    pipe.send((_Event.RESULT, result))
            except (EOFError, BrokenPipeError, errors.InputError):
                raise
            except Exception as error:
                pipe.send((_Event.FAILED, errors.one_line(error)))
    except (EOFError, BrokenPipeError):
        pass
    except errors.InputError as error:
        pipe.send((_Event.STOP_ALL, str(error)))
    except Exception as error:
        missing = errors.missing_dependency(error)
        pipe.send((_Event.STOP_ALL, missing or f'a worker process cannot work: {errors.one_line(error)}'))


def _end_with_parent() -> None:
    connection.wait([multiprocessing.parent_process().sentinel])  # type: ignore[union-attr]
    os._exit(1)
