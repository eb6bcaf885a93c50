"""Worker processes that may die or hang without taking anything else along.

Each has a pipe of its own: the pools of the standard library share locks, which a killed worker keeps, and give up all
workers when one dies.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
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
# What a worker says, or its silence.
_READY, _RESULT, _FAILED, _STOPPED, _DIED, _LATE = 'ready', 'result', 'failed', 'stopped', 'died', 'late'


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why there is no result for an item."""

    reason: str


def run(
    tasks: Iterable[Sequence[Any]], start: Callable[[], Work], num_workers: int, time_limit: float
) -> Iterator[tuple[Any, Any]]:
    """Works on tasks in processes.

    An item whose worker dies is tried once more; one that takes too long is not. The rest of its task goes on in a new
    worker.

    Args:
        tasks: each a sequence of items, which are hashable; all can be pickled.
        start: called in each worker, gives what it does: a task -> its results, one an item, in their order. An
            InputError that either raises stops everything, another error only the item. Pickled it must be smaller
            than a pipe's buffer (64 kB): Python hangs on a larger one where the worker is killed before it has read it.
        num_workers: processes.
        time_limit: seconds an item.

    Yields:
        Item, and its result or a Failure, as they come.

    Raises:
        InputError: a worker raised it, or no worker can start.
    """
    waiting = deque(tuple(task) for task in tasks)
    context = multiprocessing.get_context('spawn')
    workers: list[_Worker] = []
    died_on: set[Any] = set()
    failed_starts = 0
    try:
        while waiting or any(worker.items for worker in workers):
            wanted = min(num_workers, len(waiting) + sum(bool(worker.items) for worker in workers))
            workers.extend(_Worker(context, start) for _ in range(wanted - len(workers)))
            for worker in workers:
                if waiting and worker.ready and not worker.items:
                    worker.give(waiting.popleft())
            for worker in _wait(workers, time_limit):
                event, content = worker.receive()
                if event == _STOPPED:
                    raise errors.InputError(content)
                if event == _READY:
                    failed_starts = 0
                    continue
                if event == _RESULT:
                    yield worker.items.popleft(), content
                    continue
                if event in (_DIED, _LATE):
                    workers.remove(worker)
                    worker.kill()
                    failed_starts += not worker.ready
                    if failed_starts > _STARTS_THAT_MAY_FAIL:
                        raise errors.InputError(f'no worker process can start: {content}')
                yield from _give_up(worker.items, Failure(content), died_on if event == _DIED else None)
                if worker.items:
                    waiting.appendleft(tuple(worker.items))
                    worker.items.clear()
    finally:
        for worker in workers:
            worker.kill()


def _give_up(items: deque[Any], failure: Failure, died_on: set[Any] | None) -> Iterator[tuple[Any, Failure]]:
    """Gives up the first item, unless its worker died, and for the first time."""
    if items and (died_on is None or items[0] in died_on):
        yield items.popleft(), failure
    elif items:
        died_on.add(items[0])


class _Worker:
    """A process, its pipe, and the items it still has to do."""

    def __init__(self, context: Any, start: Callable[[], Work]) -> None:
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, start), daemon=True)
        with _deaf_to_interrupts():
            self._process.start()
        theirs.close()
        self.ready = False
        self.items: deque[Any] = deque()
        self.since = time.monotonic()
        self.limit = _SECONDS_TO_START
        self.late = False

    def give(self, items: Sequence[Any]) -> None:
        self.items.extend(items)
        self.since = time.monotonic()
        # Where it has died, the end of the pipe says so at the next turn.
        with contextlib.suppress(OSError):
            self.pipe.send(tuple(items))

    def receive(self) -> tuple[str, Any]:
        if self.late:
            return _LATE, f'it took longer than {self.limit:g} s'
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(1)
            return _DIED, _cause_of_death(self._process.exitcode)
        self.since = time.monotonic()
        self.ready = True
        return message

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A process that starts here ignores Ctrl-C from its first moment: this one ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _wait(workers: Sequence[_Worker], time_limit: float) -> list[_Worker]:
    """Waits for workers that have something to say, or have said nothing for too long."""
    now = time.monotonic()
    due = {}
    for worker in workers:
        worker.limit = time_limit if worker.ready else max(time_limit, _SECONDS_TO_START)
        if worker.items or not worker.ready:
            due[worker] = worker.since + worker.limit
    spoken = connection.wait([worker.pipe for worker in workers], max(0.0, min(due.values()) - now))
    for worker, end in due.items():
        worker.late = worker.pipe not in spoken and time.monotonic() >= end
    return [worker for worker in workers if worker.pipe in spoken or worker.late]


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
        pipe.send((_READY, None))
        while True:
            try:
                for result in work(pipe.recv()):
                    pipe.send((_RESULT, result))
            except (EOFError, BrokenPipeError, errors.InputError):
                raise
            except Exception as error:
                pipe.send((_FAILED, errors.one_line(error)))
    except (EOFError, BrokenPipeError):
        pass
    except errors.InputError as error:
        pipe.send((_STOPPED, str(error)))
    except Exception as error:
        pipe.send((_STOPPED, f'a worker process cannot work: {errors.one_line(error)}'))


def _end_with_parent() -> None:
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
