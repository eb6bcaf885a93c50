"""What commands leave where they are killed, the disk is full, folders vanish or files are damaged.

    python -m experiments.fault_injection --output_dir=faults [--videos=V --model_dir=M] [--only=kill,full/train]

The real commands run on a small dataset that this command makes, and their output is compared with that of a run that
nothing disturbed: files, metrics and parameters bit for bit, times excepted. Cases, each `FAULT/COMMAND`:

    kill       killed at random moments, half of them while something is written; trainings --kills times together
    terminate  the same with SIGTERM, a fifth as often
    interrupt  the same with SIGINT (Ctrl-C)
    full       on file systems of several sizes, each too small (needs root, which can mount one)
    read_only  on a file system that cannot be written to (likewise)
    vanish     the output, or the dataset, is moved away while the command runs
    damage     the newest checkpoint, or the dataset, is damaged
    twice      a second command on the output of the first

Writes faults.csv and faults.md. A finished case is kept in --output_dir, so that an interrupted command goes on when it
is given again; --only runs cases anew. Exits with status 1 where something failed.
"""

import dataclasses
import os
import signal
import time
from typing import Any
import zlib

from absl import flags
import jax
import numpy as np

from experiments import markdown, results
from experiments.faults import damages, folders, processes
from experiments.faults.commands import NUM_EPOCHS, World
from experiments.faults.outcome import Disturbance, LeftOut, Outcome
from slr_jax import cli, errors, files, progress

# Of the kills of trainings, and how many of every other command per 10 of those.
_SHARES = {'train': 0.5, 'train_seeds': 0.3, 'train_two_processes': 0.2}
_SHARE_OF_OTHERS = 0.1
_OF_TERMINATIONS = 0.2
_DAMAGED_FILES = 8


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of the table: its fault, and of which command."""

    fault: str
    command: str
    run: Disturbance

    @property
    def name(self) -> str:
        """As --only takes it."""
        return f'{self.fault}/{self.command}'


def make_cases(world: World) -> list[Case]:
    """All cases, in the order of the table."""
    names = list(world.commands)
    single = [name for name in names if name != 'train_two_processes']
    outputs = [name for name in single if name not in ('extract_landmarks', 'videos_to_dataset')]
    cases = [Case('kill', name, processes.kill(name, _SHARES.get(name, _SHARE_OF_OTHERS))) for name in names]
    for fault, number in (('terminate', signal.SIGTERM), ('interrupt', signal.SIGINT)):
        cases += [
            Case(fault, name, processes.kill(name, _OF_TERMINATIONS * _SHARES.get(name, _SHARE_OF_OTHERS), number))
            for name in names
        ]
    cases += [Case('full', name, folders.fill_disk(name)) for name in single]
    cases += [Case('read_only', name, folders.write_protect(name)) for name in outputs]
    cases += [Case('vanish', name, folders.move_output_away(name)) for name in outputs]
    cases.append(Case('vanish', 'dataset', folders.move_dataset_away))
    cases.append(Case('damage', 'train', damages.damage_checkpoint('train', _DAMAGED_FILES)))
    cases.append(Case('damage', 'train_seeds', damages.damage_checkpoint('train_seeds', 1)))
    cases.append(Case('damage', 'dataset', damages.damage_dataset))
    twice = ('train', 'train_seeds', 'build_dataset', 'extract_landmarks')
    cases += [Case('twice', name, processes.run_twice(name)) for name in twice if name in names]
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
    page = '\n'.join([texts[0], ''.join(texts[1:])])
    results.write(output_dir, 'faults', page, {'faults': table}, report=False)


def _define_flags() -> None:
    flags.DEFINE_string('output_dir', 'faults', 'Folder for the tables and the data.')
    flags.DEFINE_integer('kills', 100, 'Number of kills that hit a training.', lower_bound=1)
    flags.DEFINE_integer('num_epochs', NUM_EPOCHS, 'Number of epochs of a training.', lower_bound=2)
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
