"""The runs that one config asks for: several seeds, and a grid of the numbers in `config.sweep`.

A workdir of several runs has runs.json, which names them with their settings and tells which were stopped, and each
run in a folder of its own, which is a workdir like that of a run alone.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import os
from typing import Any

import ml_collections

from slr_jax import errors, files

_INDEX = 'runs.json'


@dataclasses.dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: of its folder in the workdir; '' where the workdir is the run's own.
        settings: its values of the swept fields, and what else tells it from others but the seed.
        seed: of the run; None where it is not known.
        stopped_by: why the run cannot go on; '' where it can.
    """

    name: str
    settings: Mapping[str, Any]
    seed: int | None = None
    stopped_by: str = ''

    def workdir(self, workdir: str) -> str:
        """Where the run lies."""
        return os.path.join(workdir, self.name) if self.name else workdir

    @property
    def setting_name(self) -> str:
        """Names the settings; '' where there are none."""
        return ','.join(f'{field}={value}' for field, value in self.settings.items())


def list_runs(config: ml_collections.ConfigDict) -> list[Run]:
    """The runs of a config: every setting with every seed.

    Raises:
        InputError: seeds or swept values are not what they should be.
    """
    if config.seeds is not None and config.num_seeds != 1:
        raise errors.InputError('config.seeds and config.num_seeds are both set, expected one of them')
    if config.num_seeds < 1:
        raise errors.InputError(f'config.num_seeds is {config.num_seeds}, expected at least 1')
    seeds = config.seeds if config.seeds is not None else range(config.seed, config.seed + config.num_seeds)
    fields = {field: tuple(values) for field, values in config.sweep.items() if values is not None}
    for name, values in {'seeds': seeds, **{f'sweep.{field}': values for field, values in fields.items()}}.items():
        if not len(values) or len(set(values)) < len(values):
            raise errors.InputError(f'config.{name} is {tuple(values)}, expected at least one value and none twice')
    if not all(isinstance(seed, int) for seed in seeds):
        raise errors.InputError(f'config.seeds is {tuple(seeds)}, expected whole numbers')
    for field, values in fields.items():
        if not all(isinstance(value, (int, float)) for value in values):
            raise errors.InputError(f'config.sweep.{field} is {values}, expected numbers')
    if config.seeds is None and config.num_seeds == 1 and not fields:
        return [Run('', {}, config.seed)]
    runs = []
    for values in itertools.product(*fields.values()):
        settings = dict(zip(fields, map(float, values), strict=True))
        for seed in seeds:
            name = ','.join([*(f'{field}={value}' for field, value in settings.items()), f'seed_{seed}'])
            runs.append(Run(name, settings, seed))
    return runs


def config_of(config: ml_collections.ConfigDict, run: Run) -> ml_collections.ConfigDict:
    """The config with which a run would be trained alone."""
    config = config.copy_and_resolve_references()
    config.seed, config.num_seeds, config.seeds = run.seed, 1, None
    for field in config.sweep:
        config.sweep[field] = None
    config.update(run.settings)
    return config


def write_index(workdir: str, runs: Sequence[Run]) -> None:
    """Writes runs.json."""
    files.write_json(os.path.join(workdir, _INDEX), {'runs': [dataclasses.asdict(run) for run in runs]})


def read_index(workdir: str) -> list[Run]:
    """The runs of a workdir of several; none where it is that of one run, or no workdir."""
    path = os.path.join(workdir, _INDEX)
    if not os.path.isfile(path):
        return []
    try:
        return [Run(**run) for run in files.read_json(path)['runs']]
    except (KeyError, TypeError) as error:
        raise errors.InputError(f'{path} does not list runs: {errors.one_line(error)}') from error


def split_stopped(runs: Sequence[Run]) -> tuple[list[Run], dict[str, str]]:
    """The runs that can be used, and by name why the others cannot; InputError where none is left."""
    stopped = {run.name: run.stopped_by for run in runs if run.stopped_by}
    if runs and len(stopped) == len(runs):
        raise errors.InputError(f'all {len(runs)} runs were stopped: {describe_stopped(stopped)}')
    return [run for run in runs if not run.stopped_by], stopped


def read_usable(workdir: str) -> tuple[list[Run], dict[str, str]]:
    """As split_stopped, of the runs of a workdir; says which are left out."""
    usable, stopped = split_stopped(read_index(workdir))
    if stopped:
        print(f'left out, as stopped in training: {describe_stopped(stopped)}', flush=True)
    return usable, stopped


def describe_stopped(stopped: Mapping[str, str]) -> str:
    """Names the runs that were stopped, with the reasons."""
    return '; '.join(f'{name} | {reason}' for name, reason in stopped.items())


def by_setting(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each setting, which differ in their seed."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.setting_name, []).append(run)
    return found
