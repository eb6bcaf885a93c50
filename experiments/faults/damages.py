"""Damages checkpoints and datasets."""

from collections.abc import Callable
import dataclasses
import os
import shutil

import numpy as np

from experiments.faults import outputs
from experiments.faults.commands import Command, Ended, Running, World
from experiments.faults.outcome import Disturbance, Outcome, fresh_output
from slr_jax import checkpoint as checkpoint_lib
from slr_jax import progress


def _cut(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def _zero(path: str) -> None:
    size = os.path.getsize(path)
    with open(path, 'wb') as file:
        file.write(bytes(size))


_DAMAGES: dict[str, Callable[[str], None]] = {'cut': _cut, 'zeros': _zero, 'removed': os.remove}


def _files_in(directory: str) -> list[str]:
    """Paths of the files in a directory, from there, sorted."""
    return sorted(path for path in outputs.paths_in(directory) if os.path.isfile(os.path.join(directory, path)))


def _draw_damages(directory: str, rng: np.random.Generator, count: int) -> list[tuple[str, list[str]]]:
    """Kinds of damage, each with the files that have it: all of a directory, or one."""
    paths = _files_in(directory)
    whole = [(kind, paths) for kind in _DAMAGES]
    single = [(str(rng.choice(list(_DAMAGES))), [str(rng.choice(paths))]) for _ in range(count)]
    return whole + single


def damage_checkpoint(command: str, count: int) -> Disturbance:
    """Damages the newest checkpoint of a run, of several of the last; `evaluate` and training must name it or not care.

    Training then goes on from the one before it, and says so.
    """

    def run(world: World, rng: np.random.Generator, num_kills: int) -> Outcome:
        del num_kills
        outcome, chosen = Outcome(), world.commands[command]
        expected = world.expected(chosen).output
        workdir = outputs.run_names(expected)[-1]
        steps = checkpoint_lib.Checkpoints(os.path.join(expected, workdir)).steps()
        newest = os.path.join(workdir, 'checkpoints', str(steps[-1]))
        with world.fresh_output() as output:
            wanted = _evaluate_latest(world, os.path.join(expected, workdir), output)
        outcome.fail(wanted.success_problems(), 'not damaged')
        for kind, paths in _draw_damages(os.path.join(expected, newest), rng, count):
            with fresh_output(world, outcome) as output:
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
        with fresh_output(world, outcome) as output:
            dataset = shutil.copytree(world.dataset, f'{output}_dataset')
            for path in paths:
                _DAMAGES[kind](os.path.join(dataset, path))
            ended = Running([world.evaluate_argv(output, world.trained, f'--dataset={dataset}')]).end()
            what = f'{kind}: {paths[0] if len(paths) == 1 else "all files"}'
            if ended.status:
                problems = ended.refusal_problems(dataset)
                if outputs.paths_in(output):
                    problems.append('there is output')
            else:
                problems = command.compare(output, expected)
            outcome.add('refused' if ended.status else 'no effect', problems, what, hit=ended.status != 0)
    return outcome
