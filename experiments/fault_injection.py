"""What commands leave where they are killed, the disk is full, folders vanish or files are damaged.

    python -m experiments.fault_injection --output_dir=faults [--videos=V --model_dir=M] [--only=kill,full/train]

The real commands run on a small dataset that this command makes, and their output is compared with that of a run that
nothing disturbed: files, metrics and parameters bit for bit, times excepted. Cases, each `FAULT/COMMAND`:

    kill       killed at random moments, half of them while something is written; trainings --kills times together
    terminate  the same with SIGTERM, a fifth as often
    full       on file systems of several sizes, each too small (needs root, which can mount one)
    read_only  on a file system that cannot be written to (likewise)
    vanish     the output, or the dataset, is moved away while the command runs
    damage     the newest checkpoint, or the dataset, is damaged
    twice      a second command on the output of the first

Writes faults.csv and faults.md. A finished case is kept in --output_dir, so that an interrupted command goes on when it
is given again; --only runs cases anew. Exits with status 1 where something failed.
"""

from collections import Counter
from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import Any
import zlib

from absl import flags
import jax
import numpy as np

from experiments import fault_commands, fault_outputs, markdown, results
from experiments.fault_commands import Command, Ended, Running, World, has_begun
from slr_jax import checkpoint as checkpoint_lib
from slr_jax import cli, errors, files, progress

# Of the kills of trainings, and how many of every other command per 10 of those.
_SHARES = {'train': 0.5, 'train_seeds': 0.3, 'train_two_processes': 0.2}
_SHARE_OF_OTHERS = 0.1
_KILLS_PER_OUTPUT = 5
# A kill before the command writes says little; one while it writes, most.
_MOMENTS = {
    signal.SIGKILL: {'start': 0.1, 'any': 0.4, 'write': 0.5},
    signal.SIGTERM: {'start': 0.4, 'any': 0.3, 'write': 0.3},
}
_HITS = ('while writing', 'between writes', 'saved', 'cleaned up')
# What the status of a command says that SIGTERM ended.
_TERMINATED = {errors.Terminated.SAVED: 'saved', 143: 'cleaned up', -signal.SIGTERM: 'before its start'}
_OF_TERMINATIONS = 0.2
_MAX_TRIES_PER_HIT = 4
# The other processes of a training may wait for the one that was killed.
_SURVIVOR_SECONDS = 150.0
_CHILD_SECONDS = 15.0
_SIZES = {'train': 6}
_OTHER_SIZES = 3
_LARGE = 2**30
# What TFDS says, where it looks before it writes.
_FULL = (os.strerror(errno.ENOSPC), 'Not enough disk space')
_VANISHED = {'train': 4}
_OTHER_VANISHED = 1
_DAMAGED_FILES = 8


@dataclasses.dataclass
class Outcome:
    """What was found in a case.

    Attributes:
        tried: how often.
        hit: how often the fault fell into what it is to disturb.
        where: how often it fell where.
        failures: what is wrong, each with what it needs to be seen again.
        left_out: why the case was not tried; '' where it was.
    """

    tried: int = 0
    where: Counter[str] = dataclasses.field(default_factory=Counter)
    hit: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    left_out: str = ''

    def add(self, where: str, problems: list[str], what: str, *, hit: bool = True) -> None:
        """Counts a try; `what` says how the problems, if any, are seen again."""
        self.tried += 1
        self.hit += hit
        self.where[where] += 1
        self.fail(problems, what)

    def fail(self, problems: list[str], what: str) -> None:
        """Notes problems."""
        self.failures += [f'{what}: {problem}' for problem in problems]


class LeftOut(Exception):
    """Why a case cannot be tried here."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of the table: its fault, and of which command."""

    fault: str
    command: str
    run: Callable[[World, np.random.Generator, int], Outcome]

    @property
    def name(self) -> str:
        """As --only takes it."""
        return f'{self.fault}/{self.command}'


@contextlib.contextmanager
def _fresh_output(world: World, outcome: Outcome) -> Iterator[str]:
    """A path for the output of a command; what is there at the end is kept where the outcome got new failures."""
    num_failures = len(outcome.failures)
    with world.fresh_output() as output:
        yield output
        if len(outcome.failures) > num_failures:
            kept = world.path('failed', os.path.basename(os.path.dirname(output)))
            shutil.copytree(os.path.dirname(output), kept, symlinks=True)
            outcome.failures[-1] += f' (kept in {kept})'


# --- Killed


def kill(
    command: str, share: float, number: signal.Signals = signal.SIGKILL
) -> Callable[[World, np.random.Generator, int], Outcome]:
    """Kills a command until so many kills hit it while it wrote, and compares each output when it is finished.

    With SIGTERM, it has to save what is done or to clean up.
    """

    def run(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
        outcome, wanted = Outcome(), max(1, round(share * num_kills))
        while outcome.hit < wanted and outcome.tried < _MAX_TRIES_PER_HIT * wanted:
            with _fresh_output(world, outcome) as output:
                for _ in range(_KILLS_PER_OUTPUT):
                    where = _kill_once(world, world.commands[command], output, rng, outcome, number)
                    if where in ('ended before', 'all written') or outcome.hit == wanted:
                        break
                _finish(world, world.commands[command], output, outcome, f'after kill {outcome.tried}')
            progress.report(
                f'{number.name} of {command}: {outcome.hit} of {wanted} hit, {len(outcome.failures)} failures'
            )
        # SIGTERM hardly ever hits a quick command after its imports.
        if outcome.hit < wanted and number == signal.SIGKILL:
            outcome.failures.append(f'only {outcome.hit} of {wanted} kills hit the command')
        return outcome

    return run


def _kill_once(
    world: World,
    command: Command,
    output: str,
    rng: np.random.Generator,
    outcome: Outcome,
    number: signal.Signals,
) -> str:
    """Starts a command and kills it at a moment that is drawn; returns where it was."""
    expected = world.expected(command)
    moment = rng.choice(list(_MOMENTS[number]), p=list(_MOMENTS[number].values()))
    part, chosen = rng.random(), _choose_processes(command, rng)
    before = fault_outputs.paths_in(output)
    left = 1 - command.fraction_done(output, expected.output)
    if command.writes_briefly:
        operation = 1 + int(part * expected.file_operations)
        running = Running(command.disturbed_argvs(output, operation, number))
        what = f'kill {outcome.tried + 1}, before file operation {operation}'
        return _look(command, running, output, before, expected.output, outcome, what, number)
    running = Running(command.argvs(output))
    if moment == 'start':
        running.wait(part * expected.start_seconds)
    else:
        running.wait(np.inf, lambda: has_begun(running, output, before))
        running.wait(part * left * expected.write_seconds)
    if moment == 'write':
        running.wait(np.inf, lambda: bool(fault_outputs.temporary_in(output) - before))
    running.send(number, chosen)
    what = f'kill {outcome.tried + 1}, {moment}'
    return _look(command, running, output, before, expected.output, outcome, what, number)


def _choose_processes(command: Command, rng: np.random.Generator) -> list[int]:
    """Of two processes, one or both."""
    if command.name != 'train_two_processes':
        return [0]
    return [[0], [1], [0, 1]][rng.integers(3)]


def _look(
    command: Command,
    running: Running,
    output: str,
    before: set[str],
    expected: str,
    outcome: Outcome,
    what: str,
    number: signal.Signals,
) -> str:
    """Where a kill fell; notes half-written files, and processes that live on."""
    problems = []
    running.wait(_SURVIVOR_SECONDS)
    if not running.has_ended():
        problems.append(f'a process waits for the killed one for more than {_SURVIVOR_SECONDS:.0f} s')
    end = time.monotonic() + _CHILD_SECONDS
    while running.has_children() and time.monotonic() < end:
        time.sleep(0.05)
    if running.has_children():
        problems.append(f'processes that it started still run after {_CHILD_SECONDS:.0f} s')
    begun = has_begun(running, output, before)
    ended = running.end()
    is_refused = command.refuses_existing and not ended.refusal_problems(output, 'exists already')
    if not ended.status or is_refused:
        where = 'ended before'
    elif number == signal.SIGTERM:
        where = _TERMINATED.get(ended.status, 'other')
        if where == 'other' or (where != 'before its start' and 'ended by SIGTERM' not in ended.stderr):
            problems.append(f'expected status 75 or 143 and a sentence, found status {ended.status}: {ended.stderr!r}')
        problems += [f'{path} is left' for path in sorted(fault_outputs.temporary_in(output) - before)]
    elif not begun:
        where = 'before writing'
    elif fault_outputs.temporary_in(output) - before:
        where = 'while writing'
    elif command.fraction_done(output, expected) == 1:
        where = 'all written'
    else:
        where = 'between writes'
    problems += command.check_partial(output, expected)
    outcome.add(where, problems, what, hit=where in _HITS)
    return where


def _finish(world: World, command: Command, output: str, outcome: Outcome, what: str) -> None:
    """Runs a disturbed command to its end; its output must be that of an undisturbed one."""
    expected = world.expected(command).output
    was_done = command.fraction_done(output, expected) == 1
    ended = command.run(output)
    if command.refuses_existing and was_done:
        problems = ended.refusal_problems(output, 'exists already')
    else:
        problems = ended.success_problems()
    outcome.fail(problems or command.compare(output, expected), what)


# --- File systems


@contextlib.contextmanager
def _file_system(world: World) -> Iterator[str]:
    """A file system in memory, of which `_resize` sets the size; LeftOut where this process may not mount one."""
    path = world.path('mounted')
    os.makedirs(path, exist_ok=True)
    done = subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', path], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LeftOut(f'no file system can be mounted here: {" ".join(done.stderr.split())}')
    try:
        yield path
    finally:
        subprocess.run(['umount', '--lazy', path], check=True)


def _remount(path: str, options: str) -> None:
    subprocess.run(['mount', '-o', f'remount,{options}', path], check=True)


def _used(path: str) -> int:
    """Bytes that the files of a file system take."""
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _peak(command: Command, path: str) -> int:
    """The most bytes that an undisturbed run takes on a file system."""
    running, peak = Running(command.argvs(os.path.join(path, 'output'))), 0

    def look() -> bool:
        nonlocal peak
        peak = max(peak, _used(path))
        return False

    running.wait(np.inf, look)
    problems = running.end().success_problems()
    if problems:
        raise errors.InputError(f'{command.name} cannot be run undisturbed: {problems[0]}')
    return peak


def _clear(path: str) -> None:
    for entry in os.scandir(path):
        shutil.rmtree(entry.path)


def fill_disk(command: str) -> Callable[[World, np.random.Generator, int], Outcome]:
    """Runs a command on disks that are too small, and when there is space again to its end."""

    def run(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
        del rng, num_kills
        outcome, chosen, num_sizes = Outcome(), world.commands[command], _SIZES.get(command, _OTHER_SIZES)
        world.expected(chosen)
        with _file_system(world) as path:
            _remount(path, f'size={_LARGE}')
            peak = _peak(chosen, path)
            for number in range(num_sizes):
                _clear(path)
                # Size 0 would be no limit.
                size = max(4096, peak * number // num_sizes)
                _remount(path, f'size={size}')
                _run_out_of_space(world, chosen, path, size, outcome)
                progress.report(f'full/{command}: {size} of {peak} bytes, {len(outcome.failures)} failures')
        return outcome

    return run


def _run_out_of_space(world: World, command: Command, path: str, size: int, outcome: Outcome) -> None:
    output, what = os.path.join(path, 'output'), f'on a disk of {size} bytes'
    ended = command.run(output)
    expected = world.expected(command).output
    if not ended.status:
        outcome.add('enough space', command.compare(output, expected), what, hit=False)
        return
    problems = ended.refusal_problems(path)
    if not any(words in ended.stderr for words in _FULL):
        problems.append(f'the sentence does not say that the disk is full: {ended.stderr.strip()}')
    problems += fault_outputs.strays(output)
    problems += command.check_partial(output, expected)
    done = command.fraction_done(output, expected)
    outcome.add(f'{round(100 * done)} % written', problems, what)
    _remount(path, f'size={_LARGE}')
    _finish(world, command, output, outcome, f'{what}, then with space')


def write_protect(command: str) -> Callable[[World, np.random.Generator, int], Outcome]:
    """Runs a command whose output is on a file system that cannot be written to: a new one, and one that is there."""

    def run(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
        del rng, num_kills
        outcome, chosen = Outcome(), world.commands[command]
        expected = world.expected(chosen).output
        with _file_system(world) as path:
            output = os.path.join(path, 'output')
            for where in ('new output', 'output that is there'):
                if where == 'output that is there':
                    _remount(path, 'rw')
                    shutil.copytree(expected, output)
                _remount(path, 'ro')
                ended = chosen.run(output)
                problems = ended.refusal_problems(path, os.strerror(errno.EROFS))
                outcome.add(where, problems, where)
        return outcome

    return run


# --- Moved away


def move_output_away(command: str) -> Callable[[World, np.random.Generator, int], Outcome]:
    """Moves the output away while something is written to it, and back when the command has ended."""

    def run(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
        del num_kills
        outcome, chosen = Outcome(), world.commands[command]
        for _ in range(_VANISHED.get(command, _OTHER_VANISHED)):
            with _fresh_output(world, outcome) as output:
                _move_once(world, chosen, output, rng, outcome)
        return outcome

    return run


def _move_once(world: World, command: Command, output: str, rng: np.random.Generator, outcome: Outcome) -> None:
    expected = world.expected(command)
    part, moved = rng.random(), f'{output}_moved'
    if command.writes_briefly:
        operation = 1 + int(part * expected.file_operations)
        what = f'moved before file operation {operation}'
        running = Running(command.disturbed_argvs(output, operation))
    else:
        what = f'moved after {part * expected.write_seconds:.2f} s of writing'
        running = Running(command.argvs(output))
        _move_while_writing(running, output, moved, part * expected.write_seconds)
    ended = running.end()
    if not os.path.exists(moved):
        outcome.add('ended before', ended.success_problems(), what, hit=False)
        return
    problems = ended.refusal_problems(output)
    if os.path.exists(output):
        left = ', '.join(sorted(fault_outputs.paths_in(output)))
        problems.append(f'the output was made anew where it was: {left}')
        shutil.rmtree(output)
    outcome.add('while writing', problems, what)
    os.rename(moved, output)
    _finish(world, command, output, outcome, f'{what}, then moved back')


def _move_while_writing(running: Running, output: str, moved: str, seconds: float) -> None:
    running.wait(np.inf, lambda: has_begun(running, output, set()))
    running.wait(seconds)
    running.wait(np.inf, lambda: bool(fault_outputs.temporary_in(output)))
    # So that nothing is written while it is moved.
    running.send(signal.SIGSTOP)
    if not running.has_ended():
        os.rename(output, moved)
    running.send(signal.SIGCONT)


def move_dataset_away(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
    """Moves the dataset of a training away; the training ends as without, or with a sentence that names it."""
    del num_kills
    outcome, command = Outcome(), world.commands['train']
    expected = world.expected(command)
    for before_it_starts in (True, False, False):
        seconds = 0.0 if before_it_starts else expected.start_seconds + rng.random() * expected.write_seconds
        with _fresh_output(world, outcome) as output:
            dataset = shutil.copytree(world.dataset, f'{output}_dataset')
            running = Running([world.train_argv(output, dataset=dataset)])
            running.wait(seconds)
            os.rename(dataset, f'{dataset}_moved')
            ended = running.end()
            problems = ended.refusal_problems(dataset) if ended.status else []
            where = 'refused' if ended.status else 'trained to its end'
            if not ended.status:
                # The path of the dataset is in its config.
                problems = [x for x in command.compare(output, expected.output) if x != 'config.json differs']
            outcome.add(where, problems, f'moved after {seconds:.2f} s')
    return outcome


# --- Damaged


def _cut(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def _zero(path: str) -> None:
    size = os.path.getsize(path)
    with open(path, 'wb') as file:
        file.write(bytes(size))


_DAMAGES: dict[str, Callable[[str], None]] = {'cut': _cut, 'zeros': _zero, 'removed': os.remove}


def _files_in(directory: str) -> list[str]:
    """Paths of the files in a directory, from there, sorted."""
    return sorted(path for path in fault_outputs.paths_in(directory) if os.path.isfile(os.path.join(directory, path)))


def _draw_damages(directory: str, rng: np.random.Generator, count: int) -> list[tuple[str, list[str]]]:
    """Kinds of damage, each with the files that have it: all of a directory, or one."""
    paths = _files_in(directory)
    whole = [(kind, paths) for kind in _DAMAGES]
    single = [(str(rng.choice(list(_DAMAGES))), [str(rng.choice(paths))]) for _ in range(count)]
    return whole + single


def damage_checkpoint(command: str, count: int) -> Callable[[World, np.random.Generator, int], Outcome]:
    """Damages the newest checkpoint of a run, of several of the last; `evaluate` and training must name it or not care.

    Training then goes on from the one before it, and says so.
    """

    def run(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
        del num_kills
        outcome, chosen = Outcome(), world.commands[command]
        expected = world.expected(chosen).output
        workdir = fault_outputs.run_names(expected)[-1]
        steps = checkpoint_lib.Checkpoints(os.path.join(expected, workdir)).steps()
        newest = os.path.join(workdir, 'checkpoints', str(steps[-1]))
        with world.fresh_output() as output:
            wanted = _evaluate_latest(world, os.path.join(expected, workdir), output)
        outcome.fail(wanted.success_problems(), 'not damaged')
        for kind, paths in _draw_damages(os.path.join(expected, newest), rng, count):
            with _fresh_output(world, outcome) as output:
                shutil.copytree(expected, output)
                for path in paths:
                    _DAMAGES[kind](os.path.join(output, newest, path))
                what = f'{kind} of {newest}: {paths[0] if len(paths) == 1 else "all files"}'
                _try_damaged_checkpoint(world, chosen, output, newest, wanted, what, outcome)
            progress.report(f'damage/{command}: {what}, {len(outcome.failures)} failures')
        return outcome

    return run


def _try_damaged_checkpoint(
    world: World, command: Command, output: str, newest: str, wanted: Ended, what: str, outcome: Outcome
) -> None:
    expected = world.expected(command).output
    workdir = os.path.dirname(os.path.dirname(os.path.join(output, newest)))
    tested = _evaluate_latest(world, workdir, f'{output}_tested')
    problems = []
    if tested.status:
        problems += tested.refusal_problems(os.path.join(output, newest))
    elif tested.stdout != wanted.stdout:
        problems.append(f'evaluate says {tested.stdout!r}, expected {wanted.stdout!r}')
    trained = command.run(output)
    problems += trained.success_problems() or command.compare(output, expected)
    left_out = f'left out: {os.path.join(output, newest)}' in trained.stdout
    num_epochs = command.num_epochs - left_out
    if not trained.status and f'going on after epoch {num_epochs}\n' not in trained.stdout:
        problems.append(f'training does not say that it goes on after epoch {num_epochs}: {trained.stdout!r}')
    if tested.status and not left_out:
        problems.append('training does not name the checkpoint that evaluate refuses')
    outcome.add('from the one before' if left_out else 'no effect', problems, what, hit=left_out)


def _evaluate_latest(world: World, workdir: str, output: str) -> Ended:
    """What evaluate prints, without the path of its output."""
    ended = Running([world.evaluate_argv(output, workdir, '--checkpoint=latest')]).end()
    return dataclasses.replace(ended, stdout=ended.stdout.replace(output, 'output'))


def damage_dataset(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
    """Damages the dataset of a test: it is refused with one sentence that names it, or the answers are the same."""
    del rng, num_kills
    outcome, command = Outcome(), world.commands['evaluate']
    expected = world.expected(command).output
    damages = [(kind, [path]) for path in _files_in(world.dataset) for kind in _DAMAGES]
    for kind, paths in [*damages, ('removed', _files_in(world.dataset))]:
        with _fresh_output(world, outcome) as output:
            dataset = shutil.copytree(world.dataset, f'{output}_dataset')
            for path in paths:
                _DAMAGES[kind](os.path.join(dataset, path))
            ended = Running([world.evaluate_argv(output, world.trained, f'--dataset={dataset}')]).end()
            what = f'{kind}: {paths[0] if len(paths) == 1 else "all files"}'
            if ended.status:
                problems = ended.refusal_problems(dataset)
                if fault_outputs.paths_in(output):
                    problems.append('there is output')
            else:
                problems = command.compare(output, expected)
            outcome.add('refused' if ended.status else 'no effect', problems, what, hit=ended.status != 0)
    return outcome


# --- Twice


def run_twice(command: str) -> Callable[[World, np.random.Generator, int], Outcome]:
    """Starts a second command while the first, stopped for that time, has the lock of the output."""

    def run(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
        del rng, num_kills
        outcome, chosen = Outcome(), world.commands[command]
        expected = world.expected(chosen).output
        for _ in range(_MAX_TRIES_PER_HIT):
            with _fresh_output(world, outcome) as output:
                _start_second(chosen, output, expected, outcome)
            if outcome.hit:
                return outcome
        outcome.failures.append('the first command never had the lock when it was stopped')
        return outcome

    return run


def _start_second(command: Command, output: str, expected: str, outcome: Outcome) -> None:
    running = Running(command.argvs(output))
    running.wait(np.inf, lambda: has_begun(running, output, set()))
    running.send(signal.SIGSTOP)
    if not _holds_lock(output):
        running.send(signal.SIGCONT)
        outcome.add('ended before', running.end().success_problems(), 'alone', hit=False)
        return
    second = command.run(output)
    running.send(signal.SIGCONT)
    problems = second.refusal_problems(f'process {running.pid} on {socket.gethostname()}', output)
    problems += running.end().success_problems() or command.compare(output, expected)
    outcome.add('second refused', problems, 'the second while the first writes')


def _holds_lock(output: str) -> bool:
    return any(os.path.basename(path) == fault_outputs.LOCK for path in fault_outputs.paths_in(output))


# --- The table


def make_cases(world: World) -> list[Case]:
    """All cases, in the order of the table."""
    names = list(world.commands)
    single = [name for name in names if name != 'train_two_processes']
    outputs = [name for name in single if name not in ('extract_landmarks', 'videos_to_dataset')]
    cases = [Case('kill', name, kill(name, _SHARES.get(name, _SHARE_OF_OTHERS))) for name in names]
    cases += [
        Case('terminate', name, kill(name, _OF_TERMINATIONS * _SHARES.get(name, _SHARE_OF_OTHERS), signal.SIGTERM))
        for name in names
    ]
    cases += [Case('full', name, fill_disk(name)) for name in single]
    cases += [Case('read_only', name, write_protect(name)) for name in outputs]
    cases += [Case('vanish', name, move_output_away(name)) for name in outputs]
    cases.append(Case('vanish', 'dataset', move_dataset_away))
    cases.append(Case('damage', 'train', damage_checkpoint('train', _DAMAGED_FILES)))
    cases.append(Case('damage', 'train_seeds', damage_checkpoint('train_seeds', 1)))
    cases.append(Case('damage', 'dataset', damage_dataset))
    twice = ('train', 'train_seeds', 'build_dataset', 'extract_landmarks')
    cases += [Case('twice', name, run_twice(name)) for name in twice if name in names]
    return cases


def choose(cases: list[Case], only: list[str]) -> list[Case]:
    """The cases of these names, or of these faults; all where none is given."""
    known = {case.fault for case in cases} | {case.name for case in cases}
    for name in only:
        if name not in known:
            raise errors.InputError(f'--only: there is no case {name!r}, expected some of {", ".join(sorted(known))}')
    return [case for case in cases if not only or {case.name, case.fault} & set(only)]


def _describe(outcome: Outcome) -> str:
    if outcome.left_out:
        return 'left out'
    return 'failed' if outcome.failures else 'as expected'


def run_case(case: Case, world: World, seed: int, num_kills: int) -> dict[str, Any]:
    """Tries a case; returns its row of the table."""
    start = time.monotonic()
    rng = np.random.default_rng([seed, zlib.crc32(case.name.encode())])
    try:
        outcome = case.run(world, rng, num_kills)
    except LeftOut as error:
        outcome = Outcome(left_out=str(error))
    except errors.InputError as error:
        outcome = Outcome(failures=[str(error)])
    where = ', '.join(f'{name} {count}' for name, count in sorted(outcome.where.items()))
    return {
        'fault': case.fault,
        'command': case.command,
        'tried': outcome.tried,
        'hit': outcome.hit,
        'where': where,
        'outcome': _describe(outcome),
        'minutes': round((time.monotonic() - start) / 60, 2),
        'failures': outcome.failures,
        'left_out': outcome.left_out,
        'seed': seed,
        'kills': num_kills,
    }


_COLUMNS = ('fault', 'command', 'tried', 'hit', 'where', 'outcome', 'minutes')
_FIELDS = (*_COLUMNS, 'failures', 'left_out', 'seed', 'kills')


def write_tables(rows: list[dict[str, Any]], output_dir: str) -> None:
    """Writes faults.csv and faults.md."""
    table = [{column: row[column] for column in _COLUMNS} for row in rows]
    texts = [markdown.record_table(table)]
    for row in rows:
        name = f'{row["fault"]}/{row["command"]}'
        again = f'--only={name} --seed={row["seed"]} --kills={row["kills"]}'
        texts += [f'- {name}, left out: {row["left_out"]}\n'] if row['left_out'] else []
        texts += [f'- {name}, `{again}`: {failure}\n' for failure in row['failures']]
    results.write(output_dir, 'faults', '\n'.join([texts[0], ''.join(texts[1:])]), {'faults': table})


def _define_flags() -> None:
    flags.DEFINE_string('output_dir', 'faults', 'Folder for the tables and the data.')
    flags.DEFINE_integer('kills', 100, 'Number of kills that hit a training.', lower_bound=1)
    flags.DEFINE_integer('num_epochs', fault_commands.NUM_EPOCHS, 'Number of epochs of a training.', lower_bound=2)
    flags.DEFINE_integer('seed', 379, 'Seed for the dataset and everything that is drawn.', lower_bound=0)
    flags.DEFINE_list('only', [], 'Cases to run anew, such as kill or full/train; default: those that are not done.')
    flags.DEFINE_string(
        'videos', None, 'Folder of at least four videos of people, for extraction; default: without extraction.'
    )
    flags.DEFINE_string('model_dir', None, "Directory of MediaPipe's model files, with --videos.")


def main() -> None:
    """Tries the cases that the flags choose."""
    values = flags.FLAGS
    if bool(values.videos) != bool(values.model_dir):
        raise errors.InputError('--videos and --model_dir go together, expected both or none')
    # What is tested does not depend on the device, and the bits of a CPU are the same every time.
    jax.config.update('jax_platforms', 'cpu')
    os.environ.update(JAX_PLATFORMS='cpu', JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0')
    os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
    with files.only_writer(values.output_dir):
        run(values)


def run(values: flags.FlagValues) -> None:
    """See main; one command at a time."""
    data = os.path.join(values.output_dir, 'data')
    world = World(data, values.seed, values.num_epochs, values.videos, values.model_dir)
    cases = make_cases(world)
    chosen = choose(cases, values.only)
    rows = []
    for case in cases:
        path = os.path.join(data, f'{case.fault}_{case.command}.json')
        row = files.read_json(path, fields=_FIELDS) if os.path.exists(path) else None
        is_done = row is not None and (row['seed'], row['kills']) == (values.seed, values.kills)
        if case in chosen and (values.only or not is_done):
            row = run_case(case, world, values.seed, values.kills)
            files.write_json(path, row)
            progress.report(', '.join(f'{column} {row[column]}' for column in _COLUMNS))
        if row is not None:
            rows.append(row)
            write_tables(rows, values.output_dir)
    failed = sum(bool(row['failures']) for row in rows)
    if failed:
        raise errors.InputError(f'{failed} of {len(rows)} cases failed; {values.output_dir}/faults.md says which')
    print(f'written to {values.output_dir}')


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
