"""Reads damaged files of one kind in a process of its own, which may hang, die or grow."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import faulthandler
import multiprocessing
from multiprocessing import connection
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib

import numpy as np

from experiments.fuzzing import mutations
from slr_jax import errors

# Undamaged sources are written and read first, with all imports.
_SECONDS_TO_START = 300.0
_LONGEST_SENTENCE, _LONGEST_DETAIL = 2000, 4000
# What a hostile pickle among the sources would make, if anything in a file were run.
CANARY = 'canary'
# Of the datasets, which refusals name instead of a file.
NAME = 'tiny'
# Folders of the undamaged files, and of those of which one is damaged.
ORIGINALS, DAMAGED = 'sources', 'damaged'
# A process that waits is ended after so many times the limit by the clock: on a busy machine all take longer.
_PATIENCE = 6
_PAGE, _TICKS = resource.getpagesize(), os.sysconf('SC_CLK_TCK')


@dataclasses.dataclass(frozen=True)
class Source:
    """A valid file, or directory of which one file is damaged at a time.

    Attributes:
        path: below the folder of the kind's sources.
        read: reads it as the project's commands do.
        suffixes: of the files of a directory that are damaged; '' for all.
        is_refused: whether the undamaged file is refused as well: it holds a pickle that must not be run.
    """

    path: str
    read: Callable[[str], object]
    suffixes: tuple[str, ...] = ('',)
    is_refused: bool = False


@dataclasses.dataclass(frozen=True)
class Kind:
    """Files that are made and read alike.

    Attributes:
        name: of the kind.
        write: writes the sources to an empty folder.
        sources: damaged in turn.
        count: default number of damaged files.
    """

    name: str
    write: Callable[[str], None]
    sources: Sequence[Source]
    count: int = 1000


@dataclasses.dataclass(frozen=True)
class Limits:
    """What reading a file may take: seconds of the CPU, and bytes beyond what the process had before."""

    seconds: float
    memory: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a damaged file.

    Attributes:
        index: of the damaged file.
        file: what was damaged, below the sources.
        failure: traceback, sentence, executed, memory, hang or died; '' where the file was read or refused.
        message: of the refusal or failure, '' where the file was read.
        seconds: of the CPU that reading took.
        megabytes: by which the process grew meanwhile.
    """

    index: int
    file: str
    failure: str = ''
    message: str = ''
    seconds: float = 0.0
    megabytes: float = 0.0


def run(kind: Kind, folder: str, seed: int, indices: range, limits: Limits) -> Iterator[Outcome]:
    """Reads damaged files in another process, which is started again where it hangs, dies or grows too much.

    Args:
        kind: of the files.
        folder: empty; gets ORIGINALS, DAMAGED and stderr.txt.
        seed: with the name of the kind and the index it decides what is damaged.
        indices: of the damaged files.
        limits: of each file.

    Yields:
        An outcome for each index; while it is looked at, DAMAGED still holds the file.

    Raises:
        InputError: an undamaged file cannot be read.
    """
    reader = _Reader(kind, folder, seed)
    try:
        for index in indices:
            outcome = reader.read(index, limits)
            yield outcome
    finally:
        reader.close()


class _Reader:
    """The other process, started where there is none."""

    def __init__(self, kind: Kind, folder: str, seed: int) -> None:
        self._kind, self._folder, self._arguments = kind, folder, (kind, folder, seed)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: connection.Connection

    def read(self, index: int, limits: Limits) -> Outcome:
        if self._process is None:
            self._start()
        self._pipe.send(index)
        outcome = self._wait(index, limits)
        if outcome.megabytes > limits.memory / 1e6 and not outcome.failure:
            message = f'the process grew by {outcome.megabytes:.0f} MB'
            outcome = dataclasses.replace(outcome, failure='memory', message=message)
        return outcome

    def _start(self) -> None:
        context = multiprocessing.get_context('spawn')
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, *self._arguments), daemon=False)
        self._process.start()
        theirs.close()
        problem = 'nothing is reported'
        if self._pipe.poll(_SECONDS_TO_START):
            with contextlib.suppress(EOFError):
                problem = self._pipe.recv()
        if problem:
            self.close()
            raise errors.InputError(f'{self._kind.name}: undamaged files cannot be tried: {problem}')

    def _wait(self, index: int, limits: Limits) -> Outcome:
        assert self._process is not None
        pid = self._process.pid
        start, cpu_start, before = time.monotonic(), _cpu_seconds(pid), _resident(pid)
        failure, seconds = '', 0.0
        while not failure and not self._pipe.poll(0.02):
            seconds = _cpu_seconds(pid) - cpu_start
            if _resident(pid) - before > limits.memory:
                failure = 'memory'
            elif seconds > limits.seconds or time.monotonic() - start > _PATIENCE * limits.seconds:
                failure = 'hang'
        if not failure:
            with contextlib.suppress(EOFError, OSError):
                return self._pipe.recv()
            failure = 'died'
        self._abort()
        return Outcome(index, choose(self._kind, index).path, failure, self._last_words(), max(0.0, seconds))

    def _abort(self) -> None:
        """Ends the process; faulthandler writes where it was."""
        assert self._process is not None
        self._process.join(0.2)
        if self._process.is_alive():
            os.kill(self._process.pid or 0, signal.SIGABRT)
            self._process.join(2)
        self.close()

    def _last_words(self) -> str:
        with open(os.path.join(self._folder, 'stderr.txt'), encoding='utf-8', errors='replace') as file:
            return file.read()[-_LONGEST_DETAIL:]

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _resident(pid: int | None) -> int:
    """Bytes of memory that a process has, 0 where it has ended."""
    try:
        with open(f'/proc/{pid}/statm', encoding='ascii') as file:
            return int(file.read().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0


def _cpu_seconds(pid: int | None) -> float:
    """Seconds of the CPU that a process has used, 0 where it has ended."""
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as file:
            user, system = file.read().rpartition(')')[2].split()[11:13]
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0.0
    return (int(user) + int(system)) / _TICKS


# --- In the other process


def choose(kind: Kind, index: int) -> Source:
    """The source that is damaged."""
    return kind.sources[index % len(kind.sources)]


def draw(kind: Kind, seed: int, index: int) -> np.random.Generator:
    """What decides how a file is damaged."""
    return np.random.default_rng([seed, zlib.crc32(kind.name.encode()), index])


def _work(pipe: connection.Connection, kind: Kind, folder: str, seed: int) -> None:
    _redirect_output(os.path.join(folder, 'stderr.txt'))
    # What libraries leave there is gone at the end.
    tempfile.tempdir = folder
    try:
        problem = prepare(kind, folder)
    except Exception:
        problem = traceback.format_exc()
    pipe.send(problem)
    copy = Copy(folder)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(try_file(kind, copy, seed, pipe.recv()))


def _redirect_output(path: str) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644), 2)
    faulthandler.enable()


def prepare(kind: Kind, folder: str) -> str:
    """Writes and reads the undamaged files; returns what is wrong, '' for nothing."""
    originals = os.path.join(folder, ORIGINALS)
    if not os.path.isdir(originals):
        os.mkdir(originals)
        kind.write(originals)
    for source in kind.sources:
        refusal = ''
        try:
            source.read(os.path.join(originals, source.path))
        except errors.InputError as error:
            refusal = f'refused: {error}'
        if bool(refusal) != source.is_refused:
            return f'{source.path}: {refusal or "read, expected a refusal"}'
    return 'a pickle was run' if os.path.exists(os.path.join(originals, CANARY)) else ''


class Copy:
    """A copy of the sources, of which one file at a time is damaged."""

    def __init__(self, folder: str) -> None:
        self.originals, self.path = os.path.join(folder, ORIGINALS), os.path.join(folder, DAMAGED)
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(self.originals, self.path)
        self._damaged = ''

    def damage(self, rng: np.random.Generator, source: Source) -> str:
        """Damages a file of a source, the others are whole again; returns its path below the sources."""
        if self._damaged:
            shutil.copyfile(os.path.join(self.originals, self._damaged), os.path.join(self.path, self._damaged))
        names = _files_of(os.path.join(self.originals, source.path), source.suffixes)
        self._damaged = os.path.normpath(os.path.join(source.path, names[rng.integers(len(names))]))
        with open(os.path.join(self.originals, self._damaged), 'rb') as file:
            data = mutations.mutate(rng, file.read())
        with open(os.path.join(self.path, self._damaged), 'wb') as file:
            file.write(data)
        return self._damaged


def _files_of(path: str, suffixes: tuple[str, ...]) -> list[str]:
    """Names of the files below a directory, '' for a file."""
    if os.path.isfile(path):
        return ['']
    return sorted(
        os.path.relpath(os.path.join(parent, name), path)
        for parent, _, names in os.walk(path)
        for name in names
        if name.endswith(suffixes)
    )


def try_file(kind: Kind, copy: Copy, seed: int, index: int) -> Outcome:
    """Damages a file and reads it, in this process."""
    source = choose(kind, index)
    damaged = copy.damage(draw(kind, seed, index), source)
    failure = message = ''
    before, start = _reset_peak(), time.process_time()
    try:
        source.read(os.path.join(copy.path, source.path))
    except errors.InputError as error:
        message = str(error)
        if problem := find_problem(message, damaged):
            failure, message = 'sentence', f'{problem}: {message[:_LONGEST_SENTENCE]!r}'
    except BaseException:
        failure, message = 'traceback', traceback.format_exc()[-_LONGEST_DETAIL:]
    seconds, grown = time.process_time() - start, max(0, peak_bytes() - before)
    canary = os.path.join(copy.originals, CANARY)
    if os.path.exists(canary):
        os.rmdir(canary)
        failure, message = 'executed', 'a pickle was run'
    if sys.modules.pop(mutations.MODULE, None):
        failure, message = 'executed', 'a module that the file names was imported'
    return Outcome(index, damaged, failure, message, seconds, grown / 1e6)


def find_problem(sentence: str, damaged: str) -> str:
    """Why a text is not one sentence for a user about a damaged file; '' where it is."""
    if not sentence.isprintable():
        return 'not one printable line'
    if not 0 < len(sentence) <= _LONGEST_SENTENCE:
        return f'{len(sentence)} characters'
    is_named = os.sep in sentence or os.path.basename(damaged) in sentence or sentence.startswith(NAME)
    return '' if is_named else 'no file or dataset is named'


def _reset_peak() -> int:
    """Forgets the peak of the memory of this process; returns the bytes that it has now."""
    # Not every system lets a process do so; the peak is then that of all files so far.
    with contextlib.suppress(OSError), open('/proc/self/clear_refs', 'w', encoding='ascii') as file:
        file.write('5')
    return _resident(os.getpid())


def peak_bytes() -> int:
    """The most bytes that this process has had, since `try_file` began where the system lets a process forget it."""
    # Not ru_maxrss, in which the process that started this one has a part.
    with open('/proc/self/status', encoding='utf-8') as file:
        line = next(line for line in file if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024
