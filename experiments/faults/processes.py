"""Kills commands, ends them with SIGTERM or SIGINT, and runs two on one output."""

import os
import signal
import socket
import time

import numpy as np

from experiments.faults import outputs
from experiments.faults.commands import Command, Running, World, has_begun
from experiments.faults.outcome import MAX_TRIES_PER_HIT, Disturbance, Outcome, finish, fresh_output
from slr_jax import progress

_KILLS_PER_OUTPUT = 5
# A kill before the command writes says little; one while it writes, most.
_MOMENTS = {
    signal.SIGKILL: {'start': 0.1, 'any': 0.4, 'write': 0.5},
    signal.SIGTERM: {'start': 0.4, 'any': 0.3, 'write': 0.3},
    signal.SIGINT: {'start': 0.4, 'any': 0.3, 'write': 0.3},
}
_HITS = ('while writing', 'between writes', 'saved', 'cleaned up')
# Of a signal that a command heeds: the statuses of one that has saved what is done, and that has not.
_STATUSES = {signal.SIGTERM: (75, 143), signal.SIGINT: (130, 130)}
# The other processes of a training wait for one that was killed: 100 s, or 300 s where it had not joined them yet.
_SURVIVOR_SECONDS = 330.0
_CHILD_SECONDS = 15.0


def kill(command: str, share: float, number: signal.Signals = signal.SIGKILL) -> Disturbance:
    """Kills a command until so many kills hit it while it wrote, and compares each output when it is finished.

    With SIGTERM or SIGINT, it has to save what is done or to clean up.
    """

    def run(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
        outcome, wanted = Outcome(), max(1, round(share * num_kills))
        while outcome.hit < wanted and outcome.tried < MAX_TRIES_PER_HIT * wanted:
            with fresh_output(world, outcome) as output:
                for _ in range(_KILLS_PER_OUTPUT):
                    where = _kill_once(world, world.commands[command], output, rng, outcome, number)
                    if where in ('ended before', 'all written') or outcome.hit == wanted:
                        break
                finish(world, world.commands[command], output, outcome, f'after kill {outcome.tried}')
            progress.report(
                f'{number.name} of {command}: {outcome.hit} of {wanted} hit, {len(outcome.failures)} failures'
            )
        # SIGTERM and SIGINT hardly ever hit a quick command after its imports.
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
    before = outputs.paths_in(output)
    if command.writes_briefly:
        operation = 1 + int(part * expected.file_operations)
        moment = f'before file operation {operation}'
        running = Running(command.disturbed_argvs(output, operation, number))
    else:
        left = 1 - command.fraction_done(output, expected.output)
        running = Running(command.argvs(output))
        if moment == 'start':
            running.wait(part * expected.start_seconds)
        else:
            running.wait(np.inf, lambda: has_begun(running, output, before))
            running.wait(part * left * expected.write_seconds)
        if moment == 'write':
            running.wait(np.inf, lambda: bool(outputs.temporary_in(output) - before))
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
    elif number in _STATUSES:
        has_saved = ' is saved; ' in ended.stderr
        where = 'saved' if has_saved else 'cleaned up' if 'ended by SIG' in ended.stderr else 'before its start'
        expected_status = -number if where == 'before its start' else _STATUSES[number][not has_saved]
        # Python's start lasts some hundredths of a second, in which SIGINT is a KeyboardInterrupt.
        if ended.status not in (expected_status, *(128 + number,) * (where == 'before its start')):
            problems.append(f'expected status {expected_status}, found {ended.status}: {ended.stderr!r}')
        problems += [f'{path} is left' for path in sorted(outputs.temporary_in(output) - before)]
    elif not begun:
        where = 'before writing'
    elif outputs.temporary_in(output) - before:
        where = 'while writing'
    elif command.fraction_done(output, expected) == 1:
        where = 'all written'
    else:
        where = 'between writes'
    problems += command.check_partial(output, expected)
    outcome.add(where, problems, what, hit=where in _HITS)
    return where


# --- Twice


def run_twice(command: str) -> Disturbance:
    """Starts a second command while the first, stopped for that time, has the lock of the output."""

    def run(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
        del rng, num_kills
        outcome, chosen = Outcome(), world.commands[command]
        expected = world.expected(chosen).output
        for _ in range(MAX_TRIES_PER_HIT):
            with fresh_output(world, outcome) as output:
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
    return any(os.path.basename(path) == outputs.LOCK for path in outputs.paths_in(output))
