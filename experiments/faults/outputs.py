"""Whether the output of a disturbed command is that of an undisturbed one, and whether anything is half-written."""

import os
import pathlib
from typing import Any

import jax
import numpy as np
import pandas as pd

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files
from slr_jax import workdir as workdir_lib

LOCK = f'{files.UNFINISHED}-lock'
# Of these, no two runs are alike.
_TIMES = ['clips_per_second']

# --- What is in a folder


def paths_in(directory: str) -> set[str]:
    """The paths of all files and folders in it, from there; none where it does not exist."""
    found = set()
    for parent, folders, names in os.walk(directory):
        found |= {os.path.relpath(os.path.join(parent, name), directory) for name in (*folders, *names)}
    return found


def is_temporary(path: str) -> bool:
    """Whether a path is of something that is being written, or was when the process died."""
    names = path.split(os.sep)
    return any(files.is_temporary(name) or 'orbax-checkpoint-tmp' in name for name in names)


def temporary_in(directory: str) -> set[str]:
    """The temporary paths in a folder, but for the lock."""
    return {path for path in paths_in(directory) if is_temporary(path) and os.path.basename(path) != LOCK}


def strays(directory: str) -> list[str]:
    """Says of each temporary path in a folder that it is left."""
    return [f'{path} is left' for path in sorted(paths_in(directory)) if is_temporary(path)]


def _contents(directory: str, paths: set[str]) -> dict[str, bytes]:
    """The files among some paths of a folder, whose own path in them is left out."""
    found = {path: files.read_bytes(os.path.join(directory, path)) for path in paths if not _is_folder(directory, path)}
    return {path: content.replace(directory.encode(), b'') for path, content in found.items() if content is not None}


def _is_folder(directory: str, path: str) -> bool:
    return os.path.isdir(os.path.join(directory, path))


def compare_files(found: str, expected: str, *, partial: bool = False) -> list[str]:
    """How the files of a folder differ from those expected; with `partial`, files may be missing or temporary."""
    paths, wanted = paths_in(found), paths_in(expected)
    if partial:
        paths = {path for path in paths if not is_temporary(path)}
    problems = [f'{path} is surplus' for path in sorted(paths - wanted)]
    problems += [f'{path} is missing' for path in sorted(wanted - paths) if not partial]
    common = paths & wanted
    datasets = {os.path.dirname(path) for path in common if os.path.basename(path) == 'dataset_info.json'}
    for path in sorted(datasets):
        problems += _compare_datasets(os.path.join(found, path), os.path.join(expected, path))
    # Of a record, the bytes depend on the order of a hash table.
    common = {path for path in common if '.array_record-' not in path}
    contents, wanted_contents = _contents(found, common), _contents(expected, common)
    return problems + [f'{path} differs' for path in sorted(contents) if contents[path] != wanted_contents.get(path)]


def _compare_datasets(found: str, expected: str) -> list[str]:
    try:
        one, other = (_describe_dataset(dataset_lib.load_dataset(path)) for path in (found, expected))
    except errors.InputError as error:
        return [str(error)]
    return [f'{found} has other clips'] if one != other else []


def _describe_dataset(dataset: dataset_lib.Dataset) -> list[Any]:
    names = [(split, clips.video_ids, clips.signers) for split, clips in dataset.splits.items()]
    return [dataset.fingerprint(), dataset.description.to_json(), names]


# --- Workdirs


def run_names(workdir: str) -> list[str]:
    """The workdirs of its runs, from there: '' where it is that of one."""
    return [entry.name for entry in workdir_lib.read_index(workdir)] or ['']


def _outside(workdir: str) -> set[str]:
    """The paths but for those inside checkpoints and of TensorBoard, whose names are drawn or times."""
    paths = {pathlib.PurePath(path) for path in paths_in(workdir)}
    return {
        str(path)
        for path in paths
        if not {'checkpoints', 'tensorboard'} & set(path.parts[:-1]) or path.parent.name == 'checkpoints'
    }


def read_rows(path: str) -> pd.DataFrame:
    """A table of a workdir, as text, without times."""
    table = pd.read_csv(path, dtype=str)
    return table.drop(columns=_TIMES)


def compare_workdirs(found: str, expected: str) -> list[str]:
    """How a workdir differs from the one expected: files, metrics, the parameters of every checkpoint; not in times."""
    problems = strays(found)
    paths, wanted = _outside(found), _outside(expected)
    problems += [f'{path} is surplus' for path in sorted(paths - wanted)]
    problems += [f'{path} is missing' for path in sorted(wanted - paths)]
    if problems:
        return problems
    others = {path for path in wanted if not path.endswith('.csv')}
    contents = [_contents(folder, others) for folder in (found, expected)]
    problems += [f'{path} differs' for path in sorted(contents[0]) if contents[0][path] != contents[1][path]]
    for path in sorted(path for path in wanted if path.endswith('.csv')):
        if not read_rows(os.path.join(found, path)).equals(read_rows(os.path.join(expected, path))):
            problems.append(f'{path} differs')
    for run in run_names(expected):
        problems += _compare_checkpoints(os.path.join(found, run), os.path.join(expected, run))
    return problems


def _compare_checkpoints(found: str, expected: str) -> list[str]:
    problems = []
    for step in checkpoint_lib.Checkpoints(expected).steps():
        models = [checkpoint_lib.load_model(workdir, step) for workdir in (found, expected)]
        metrics = [{key: x for key, x in model.metrics.items() if key not in _TIMES} for model in models]
        same = jax.tree.map(lambda a, b: np.array_equal(np.asarray(a), np.asarray(b)), *(x.params for x in models))
        if metrics[0] != metrics[1] or not all(jax.tree.leaves(same)):
            problems.append(f'checkpoint {step} of {found} differs')
    return problems


def check_partial_workdir(found: str, expected: str) -> list[str]:
    """What of a workdir whose training was killed is not as it was at some time in a run that was not."""
    problems = []
    for run in run_names(expected):
        workdir, whole = os.path.join(found, run), os.path.join(expected, run)
        path = os.path.join(workdir, 'metrics.csv')
        if os.path.exists(path):
            rows = read_rows(path)
            if not rows.equals(read_rows(os.path.join(whole, 'metrics.csv'))[: len(rows)]):
                problems.append(f'{path} differs in its {len(rows)} rows')
        if os.path.isdir(os.path.join(workdir, 'checkpoints')):
            for step in checkpoint_lib.Checkpoints(workdir).steps():
                try:
                    checkpoint_lib.load_model(workdir, step)
                except errors.InputError as error:
                    problems.append(str(error))
    return problems
