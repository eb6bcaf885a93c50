"""Damages files of every kind that the project reads: each must be read, or refused in one sentence.

    python -m experiments.fuzz [--count=1000] [--kinds=torch,npz] [--seed=0] [--output_dir=fuzz]

Small valid files are made, and damaged in bytes and in structure. A file fails where reading it ends in a traceback or
in anything but one sentence, takes too long or too much memory, ends the process, or runs what is in it. Writes
fuzz.csv, fuzz.md, and where files failed failures.csv and the files; ends with status 1 then.
`--kinds=npz --seed=0 --first=123 --count=1` damages the same file again.
"""

from collections.abc import Sequence
import dataclasses
import os
import resource
import shutil
import sys
import tempfile
import time
from typing import Any

from absl import flags

from experiments import markdown
from experiments.fuzzing import kinds, sources, trial
from experiments.fuzzing.trial import Kind, Source
from preprocessing import clips_from_table, ipn_hand, video_tables, wlasl
from slr_jax import cli, errors, files, progress

_CSV, _PAGE, _FAILURES = 'fuzz.csv', 'fuzz.md', 'failures.csv'
_PROGRESS_SECONDS = 10.0
Row = dict[str, Any]


# --- Kinds that commands read, which no library may import


def read_video_table(path: str) -> None:
    """A table of videos."""
    videos = os.path.join(os.path.dirname(path), 'videos')
    clips, _ = clips_from_table.make_clips([path], videos, video_tables.Options())
    kinds.write_clips([dataclasses.replace(clip, split=clip.split or 'train') for clip in clips], path)


def read_ipn(path: str) -> None:
    """IPN Hand's annotations."""
    annotations, metadata = (os.path.join(path, name) for name in ('Annot_List.txt', 'metadata.csv'))
    kinds.write_clips(ipn_hand.read_clips(annotations, metadata), annotations)


def read_wlasl(path: str) -> None:
    """WLASL's annotations."""
    rows = wlasl.read_wlasl(path)
    for raw_videos in (False, True):
        kinds.write_clips([wlasl.make_clip(row, raw_videos) for row in rows], path)


_OF_COMMANDS = (
    Kind(
        'annotations',
        sources.write_annotations,
        (
            Source('signs.csv', read_video_table),
            Source('signs.json', read_video_table),
            Source('nslt.json', read_video_table),
            Source('ipn', read_ipn),
        ),
    ),
    Kind('wlasl', sources.write_wlasl, (Source('wlasl.json', read_wlasl),)),
)
KINDS = kinds.KINDS | {kind.name: kind for kind in _OF_COMMANDS}


# --- Trying them


def try_kind(kind: Kind, seed: int, indices: range, limits: trial.Limits, output_dir: str) -> tuple[Row, list[Row]]:
    """Reads damaged files of a kind.

    Args:
        kind: of the files.
        seed: of what is damaged.
        indices: of the damaged files.
        limits: of each file.
        output_dir: gets the files that fail.

    Returns:
        A row of the table, and a row for each failure.

    Raises:
        InputError: see trial.run.
    """
    read, longest, peak = 0, 0.0, 0.0
    failures: list[Row] = []
    last, used = time.monotonic(), _cpu_seconds()
    with tempfile.TemporaryDirectory() as scratch:
        for outcome in trial.run(kind, scratch, seed, indices, limits):
            read += not outcome.message
            longest, peak = max(longest, outcome.seconds), max(peak, outcome.megabytes)
            if outcome.failure:
                failures.append(_keep(kind, seed, outcome, scratch, output_dir))
            if time.monotonic() - last > _PROGRESS_SECONDS:
                last = time.monotonic()
                progress.report(f'{kind.name}: {outcome.index - indices.start + 1} of {len(indices)} files')
    row = {
        'kind': kind.name,
        'files': len(indices),
        'read': read,
        'refused': len(indices) - read - len(failures),
        'longest seconds': round(longest, 2),
        'peak MB': round(peak),
        'failures': len(failures),
        'CPU seconds': round(_cpu_seconds() - used, 1),
    }
    return row, failures


def _cpu_seconds() -> float:
    """Of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _keep(kind: Kind, seed: int, outcome: trial.Outcome, scratch: str, output_dir: str) -> Row:
    """Copies a file that failed, with those that are read with it."""
    kept = os.path.join(output_dir, 'failures', f'{kind.name}_{seed}_{outcome.index}')
    shutil.copytree(os.path.join(scratch, trial.DAMAGED), kept, dirs_exist_ok=True)
    row = {'kind': kind.name, 'seed': seed, 'folder': kept, **dataclasses.asdict(outcome)}
    files.write_json(os.path.join(kept, 'failure.json'), row)
    last_line = (outcome.message.strip().splitlines() or [''])[-1]
    progress.report(f'failed: {kind.name} {outcome.index}, {outcome.file}: {outcome.failure}, {last_line[:200]}')
    return row


def _write(output_dir: str, rows: Sequence[Row], failures: Sequence[Row]) -> None:
    with files.replace_files_in(output_dir) as scratch:
        files.write_csv(os.path.join(scratch, _CSV), rows)
        columns = ['kind', 'seed', 'folder', *(field.name for field in dataclasses.fields(trial.Outcome))]
        files.write_csv(os.path.join(scratch, _FAILURES), failures, columns)
        with files.atomic_write(os.path.join(scratch, _PAGE)) as file:
            file.write(markdown.record_table(rows))


def _define_flags() -> None:
    flags.DEFINE_integer(
        'count', None, 'Number of damaged files of each kind; default: 1000, fewer of kinds that are slow to read.', 1
    )
    flags.DEFINE_integer('seed', 0, 'Seed of what is damaged.', lower_bound=0)
    flags.DEFINE_integer('first', 0, 'Index of the first damaged file of each kind.', lower_bound=0)
    flags.DEFINE_list('kinds', ','.join(KINDS), 'Kinds of files, separated by commas; default: all.')
    flags.DEFINE_float(
        'time_limit', 10.0, 'Seconds of the CPU that reading a file may take, and six times as many by the clock.', 0.1
    )
    flags.DEFINE_float('memory_limit', 2.0, 'Gigabytes by which reading a file may raise the memory.', lower_bound=0.1)
    flags.DEFINE_string('output_dir', 'fuzz', 'Where fuzz.csv, fuzz.md, failures.csv and the files that failed go.')


def main() -> None:
    """Tries files as the flags say."""
    values = flags.FLAGS
    unknown = [name for name in values.kinds if name not in KINDS]
    if unknown:
        raise errors.InputError(f'--kinds has {unknown[0]!r}, expected some of {", ".join(KINDS)}')
    # A process that reads needs no accelerator.
    os.environ['JAX_PLATFORMS'] = 'cpu'
    limits = trial.Limits(values.time_limit, int(values.memory_limit * 1e9))
    rows, failures = [], []
    for kind in [KINDS[name] for name in values.kinds]:
        indices = range(values.first, values.first + (values.count or kind.count))
        row, failed = try_kind(kind, values.seed, indices, limits, values.output_dir)
        rows.append(row)
        failures += failed
        progress.report(', '.join(f'{name} {value}' for name, value in row.items()))
        _write(values.output_dir, rows, failures)
    print(f'written to {values.output_dir}')
    if failures:
        files_failed = f'{len(failures)} of {sum(row["files"] for row in rows)} damaged files failed'
        sys.exit(f'error: {files_failed}, see {os.path.join(values.output_dir, _FAILURES)}')


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
