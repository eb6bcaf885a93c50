"""Fills disks, write-protects them, and moves folders away while a command runs."""

from collections.abc import Iterator
import contextlib
import errno
import os
import shutil
import signal
import subprocess

import numpy as np

from experiments.faults import outputs
from experiments.faults.commands import Command, Running, World, has_begun
from experiments.faults.outcome import Disturbance, LeftOut, Outcome, finish, fresh_output
from slr_jax import progress

_SIZES = {'train': 6}
_OTHER_SIZES = 3
_LARGE = 2**30
# What TFDS says, where it looks before it writes.
_FULL = (os.strerror(errno.ENOSPC), 'Not enough disk space')
_VANISHED = {'train': 4}
_OTHER_VANISHED = 1


# --- File systems


@contextlib.contextmanager
def _file_system(world: World) -> Iterator[str]:
    """A file system in memory, of which `_remount` sets the size; LeftOut where this process may not mount one."""
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
    command.end_undisturbed(running)
    return peak


def _clear(path: str) -> None:
    for entry in os.scandir(path):
        shutil.rmtree(entry.path)


def fill_disk(command: str) -> Disturbance:
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
    problems += outputs.strays(output)
    problems += command.check_partial(output, expected)
    done = command.fraction_done(output, expected)
    outcome.add(f'{round(100 * done)} % written', problems, what)
    _remount(path, f'size={_LARGE}')
    finish(world, command, output, outcome, f'{what}, then with space')


def write_protect(command: str) -> Disturbance:
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


def move_output_away(command: str) -> Disturbance:
    """Moves the output away while something is written to it, and back when the command has ended."""

    def run(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
        del num_kills
        outcome, chosen = Outcome(), world.commands[command]
        for _ in range(_VANISHED.get(command, _OTHER_VANISHED)):
            with fresh_output(world, outcome) as output:
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
        left = ', '.join(sorted(outputs.paths_in(output)))
        problems.append(f'the output was made anew where it was: {left}')
        shutil.rmtree(output)
    outcome.add('while writing', problems, what)
    os.rename(moved, output)
    finish(world, command, output, outcome, f'{what}, then moved back')


def _move_while_writing(running: Running, output: str, moved: str, seconds: float) -> None:
    running.wait(np.inf, lambda: has_begun(running, output, set()))
    running.wait(seconds)
    running.wait(np.inf, lambda: bool(outputs.temporary_in(output)))
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
        with fresh_output(world, outcome) as output:
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
