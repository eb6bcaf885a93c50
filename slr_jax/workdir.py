"""The workdir of a run, or of several: what was trained on what, by which versions.

config.json (the format of the workdir and the resolved config), dataset.json (what the dataset said of itself, with its
fingerprint), environment.json (versions, devices, cores), init.json (where it began with another run: which, and what
was taken of it), checkpoints/<step>, unfinished_epoch/<step> (where SIGTERM ended an epoch), metrics.csv, curves and
TensorBoard events.
A workdir of several runs has runs.json, which lists them and which of them diverged, and a folder for each run that is
a workdir like that of a run alone.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import importlib.metadata
import os
import platform
from typing import Any

import jax
import ml_collections

import slr_jax
from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files, progress, runtime

# Of slr_jax 0.1.0, config.json has no format.
FORMAT = 1
_INDEX, _INIT, _ENVIRONMENT = 'runs.json', 'init.json', 'environment.json'
# Of environment.json: by what those differed in which the run was continued.
_CONTINUED = 'continued_with'
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'tensorflow-datasets', 'numpy', 'ml_collections')
# Where the data lies may change when a run is resumed, and how many runs train at once; what they are, may not.
_FIELDS_THAT_MAY_CHANGE = ('config.dataset', 'config.runs_at_once')
# Fields by which a run is made longer: what it has done so far would be the same with more.
_PATIENCE = 'early_stop_epochs'
_LENGTHS = ('num_epochs', 'num_steps', _PATIENCE)


# --- Several runs


@dataclasses.dataclass(frozen=True)
class RunEntry:
    """One of the runs of a workdir of several.

    Attributes:
        name: of its folder.
        swept: its values of the swept fields.
        seed: None where it is not known.
        diverged: why the run could not go on; '' where it could.
        fold: that it validates on; None without cross-validation.
    """

    name: str
    swept: Mapping[str, float]
    seed: int | None = None
    diverged: str = ''
    fold: int | None = None

    @property
    def swept_name(self) -> str:
        """Names the swept values; '' where there are none."""
        return ','.join(f'{field}={value}' for field, value in self.swept.items())


def run_path(workdir: str, name: str) -> str:
    """The workdir of one run; of the only run, whose name is '', that of all.

    Raises:
        InputError: it is a link that leads out of the workdir.
    """
    path = os.path.join(workdir, name) if name else workdir
    files.check_below(path, workdir)
    return path


def write_index(workdir: str, entries: Sequence[RunEntry]) -> None:
    """Writes runs.json."""
    runs = [
        {'name': x.name, 'settings': dict(x.swept), 'seed': x.seed, 'stopped_by': x.diverged, 'fold': x.fold}
        for x in entries
    ]
    files.write_json(os.path.join(workdir, _INDEX), {'runs': runs})


def read_index(workdir: str) -> list[RunEntry]:
    """The runs of a workdir of several; none where it is that of one run, or not a workdir."""
    path = os.path.join(workdir, _INDEX)
    if not os.path.isfile(path):
        return []
    try:
        runs = files.read_json(path)['runs']
        entries = [RunEntry(x['name'], x['settings'], x['seed'], x['stopped_by'], x.get('fold')) for x in runs]
        names = [('name', entry.name) for entry in entries]
        names += [('settings', entry.swept_name) for entry in entries if entry.swept]
    except (KeyError, TypeError, AttributeError) as error:
        raise errors.InputError(f'{path} does not list runs: {errors.one_line(error)}') from error
    for field, name in names:
        files.check_name(name, f'{path}: {field}')
    return entries


def mark_diverged(workdir: str, name: str, reason: str) -> None:
    """Notes in runs.json why a run cannot go on."""
    entries = read_index(workdir)
    write_index(workdir, [dataclasses.replace(x, diverged=reason) if x.name == name else x for x in entries])


def leave_out_diverged(entries: Sequence[RunEntry]) -> tuple[list[RunEntry], dict[str, str]]:
    """The runs that can be used, and by name why the others, which are reported, cannot; InputError if none can."""
    diverged = {entry.name: entry.diverged for entry in entries if entry.diverged}
    if diverged:
        description = describe_diverged(diverged, len(entries))
        if len(diverged) == len(entries):
            raise errors.InputError(description)
        progress.report(f'left out: {description}')
    return [entry for entry in entries if not entry.diverged], diverged


def describe_diverged(diverged: Mapping[str, str], num_runs: int) -> str:
    """Names the runs that diverged, of so many, with the reasons."""
    count = f'{len(diverged)} of {num_runs}' if len(diverged) < num_runs else f'all {num_runs}'
    reasons = '; '.join(f'{name} | {reason}' for name, reason in diverged.items())
    return f'{count} runs diverged: {reasons}'


def group_by_swept(entries: Sequence[RunEntry]) -> dict[str, list[RunEntry]]:
    """The runs of each combination of swept values, which differ in their seed and fold."""
    groups: dict[str, list[RunEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.swept_name, []).append(entry)
    return groups


# --- One run


def load_config(workdir: str) -> tuple[ml_collections.ConfigDict, dataset_lib.Description]:
    """Reads the config of a run, and the description of the data that it was trained on.

    Raises:
        InputError: it is not a workdir, that of several runs, or one of a newer slr_jax.
    """
    entries = read_index(workdir)
    if entries:
        raise errors.InputError(
            f'{workdir} holds {len(entries)} runs, expected one of them, such as {_some_run(workdir)}'
        )
    config = _read_config(workdir)
    path = os.path.join(workdir, 'dataset.json')
    try:
        fields = dataset_lib.upgrade_fields(files.read_json(path)['description'])
        return config, dataset_lib.Description(**fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise errors.InputError(f'{path} does not describe a dataset: {errors.one_line(error)}') from error


def fingerprint(workdir: str) -> str | None:
    """The fingerprint of the dataset of a run, see Dataset.fingerprint; None where it is not known."""
    return files.read_json(os.path.join(workdir, 'dataset.json')).get('fingerprint')


def _read_config(workdir: str) -> ml_collections.ConfigDict:
    path = os.path.join(workdir, 'config.json')
    if not os.path.isfile(path):
        raise errors.InputError(f'{workdir} is not a workdir: it has no config.json')
    fields = files.read_json(path)
    saved_format = fields.pop('format', None)
    if saved_format not in (None, FORMAT):
        raise errors.InputError(
            f'{path} has format {saved_format!r}, expected {FORMAT}: it is of another slr_jax version'
        )
    if 'model' not in fields:
        raise errors.InputError(f"{path} has no field 'model', expected the config of a run")
    try:
        return config_lib.from_json(fields, is_old=saved_format is None)
    except (errors.InputError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise errors.InputError(f'{path} is not the config of a run: {errors.one_line(error)}') from error


def create_or_check_all(
    workdir: str,
    config: ml_collections.ConfigDict,
    runs: Sequence[config_lib.Run],
    dataset_json: Mapping[str, Any],
    init_json: Mapping[str, Any] | None = None,
) -> None:
    """Creates the workdirs of the runs of a config, or checks that they hold these very runs; see create_or_check."""
    configs = {workdir: config}
    if not runs[0].is_only:
        configs |= {run_path(workdir, run.name): run.config for run in runs}
    # All are checked before the first is changed.
    for path, run_config in configs.items():
        if exists(path):
            _check(path, run_config, dataset_json, init_json)
    for path, run_config in configs.items():
        create_or_check(path, run_config, dataset_json, init_json)
        if path == workdir and len(configs) > 1 and not read_index(workdir):
            entries = [RunEntry(run.name, run.swept, run.config.seed, fold=run.config.fold) for run in runs]
            write_index(workdir, entries)


def exists(workdir: str) -> bool:
    """Whether a directory is a workdir."""
    return os.path.isfile(os.path.join(workdir, 'config.json'))


def create_or_check(
    workdir: str,
    config: ml_collections.ConfigDict,
    dataset_json: Mapping[str, Any],
    init_json: Mapping[str, Any] | None = None,
) -> None:
    """Creates the workdir of a run, or checks that it holds this very run, which may have been made longer.

    Args:
        workdir: of the run.
        config: of the run.
        dataset_json: dataset.Dataset.summary.
        init_json: fine_tune.Source.summary; None where the run begins with no other, or goes on.

    Raises:
        InputError: it holds another run, the fields that differ named; or it is a directory of another kind.
    """
    if os.path.exists(workdir) and not os.path.isdir(workdir):
        raise errors.InputError(f'{workdir} is a file, expected a directory for the run')
    if exists(workdir):
        longer = _check(workdir, config, dataset_json, init_json)
        if longer:
            path = os.path.join(workdir, 'config.json')
            files.write_json(path, {**files.read_json(path), **{field: config[field] for field in longer}})
        return
    os.makedirs(workdir, exist_ok=True)
    unexpected = {name for name in os.listdir(workdir) if not files.is_temporary(name)}
    unexpected -= {'dataset.json', _ENVIRONMENT, _INIT}
    if unexpected:
        raise errors.InputError(
            f'{workdir} is a directory of another kind: it has {min(unexpected)} but no config.json'
        )
    if init_json is not None:
        files.write_json(os.path.join(workdir, _INIT), init_json)
    write_description(workdir, config, dataset_json)


def _check(
    workdir: str,
    config: ml_collections.ConfigDict,
    dataset_json: Mapping[str, Any],
    init_json: Mapping[str, Any] | None,
) -> list[str]:
    """Checks that a workdir holds this very run; returns the fields of the config by which it is longer now."""
    saved_config = _read_config(workdir)
    saved_dataset = files.read_json(os.path.join(workdir, 'dataset.json'))
    if isinstance(saved_dataset.get('description'), dict):
        saved_dataset['description'] = dataset_lib.upgrade_fields(saved_dataset['description'])
    longer = [field for field in _LENGTHS if _is_longer(field, saved_config[field], config[field])]
    hint = ''
    if saved_config.schedule != 'constant' and longer not in ([], [_PATIENCE]):
        longer = [field for field in longer if field == _PATIENCE]
        hint = (
            f'; the {saved_config.schedule} schedule was made for that number, so the run cannot be made longer: begin '
            f'a new workdir with config.init_from={errors.quote(_some_run(workdir))}'
        )
    saved = {'config': saved_config.to_dict(), 'dataset': saved_dataset}
    current = {'config': config.to_dict(), 'dataset': dataset_json}
    for field in longer:
        saved['config'][field] = current['config'][field]
    different = _differences(saved, current)
    if different:
        raise errors.InputError(
            f'{workdir} holds another run: {"; ".join(different)}{hint or _new_run(workdir, different)}'
        )
    if init_json is not None:
        check_init(workdir, init_json)
    return longer


def _new_run(workdir: str, different: Sequence[str]) -> str:
    run = errors.quote(_some_run(workdir))
    return f'; for a new run give another --workdir, with --config.init_from={run} it begins with these parameters'


def _is_longer(field: str, saved: int | None, current: int | None) -> bool:
    if saved is None or current is None:
        return field == _PATIENCE and saved is not None
    return current > saved


def _some_run(workdir: str) -> str:
    """The workdir of a run, of several the first."""
    entries = read_index(workdir)
    return run_path(workdir, entries[0].name) if entries else workdir


def check_init(workdir: str, init_json: Mapping[str, Any]) -> None:
    """Raises InputError unless the run began, by its init.json, with the parameters that would be taken now."""
    path = os.path.join(workdir, _INIT)
    different = _differences(files.read_json(path), init_json) if os.path.isfile(path) else [f'there is no {_INIT}']
    if different:
        raise errors.InputError(
            f'{workdir} began with other parameters than config.init_from has now: {"; ".join(different)}'
        )


def write_description(workdir: str, config: ml_collections.ConfigDict, dataset_json: Mapping[str, Any]) -> None:
    """Writes environment.json, dataset.json and, last, config.json, which makes the directory a workdir."""
    files.write_json(os.path.join(workdir, _ENVIRONMENT), environment())
    files.write_json(os.path.join(workdir, 'dataset.json'), dataset_json)
    files.write_json(os.path.join(workdir, 'config.json'), {'format': FORMAT, **config.to_dict()})


def _differences(saved: Any, current: Any, name: str = '') -> list[str]:
    if isinstance(saved, dict) and isinstance(current, dict):
        prefix = f'{name}.' if name else ''
        fields = [f'{prefix}{field}' for field in {**saved, **current}]
        return [
            text
            for field in fields
            if field not in _FIELDS_THAT_MAY_CHANGE
            for text in _differences(saved.get(field.split('.')[-1]), current.get(field.split('.')[-1]), field)
        ]
    saved, current = (list(x) if isinstance(x, tuple) else x for x in (saved, current))
    return [] if saved == current else [f'{name} is {_short(saved)} there and {_short(current)} here']


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}…'


def environment() -> dict[str, Any]:
    """Versions of slr_jax and its libraries, and of this machine what decides the last bits of a training."""
    return {
        'slr_jax': slr_jax.__version__,
        'python': platform.python_version(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
        'processes': jax.process_count(),
        'devices': [device.device_kind for device in jax.local_devices()],
        'cores': runtime.cores(),
        'cpu': runtime.cpu_model(),
        'xla_flags': os.environ.get('XLA_FLAGS') or None,
        'platform': platform.platform(),
    }


def compare_environments(workdir: str, names: Sequence[str]) -> None:
    """Reports in one line by what the environment differs from that in which runs began, and keeps it there.

    The bits of a run are those of one environment. Fields that an older version did not keep are not compared, nor is
    `platform`, which names the kernel.

    Args:
        workdir: of all runs.
        names: of the runs that continue.
    """
    current = environment()
    found: list[str] = []
    for name in names:
        path = os.path.join(run_path(workdir, name), _ENVIRONMENT)
        try:
            saved = files.read_json(path)
        except (errors.InputError, OSError) as error:
            progress.report(f'{path} cannot be read, so the environment is not compared: {errors.one_line(error)}')
            continue
        fields = [field for field in current if field in saved and field != 'platform']
        different = {field: current[field] for field in fields if saved[field] != current[field]}
        if different:
            found += _differences({field: saved[field] for field in different}, different)
            others = saved.get(_CONTINUED, [])
            if different not in others:
                files.write_json(path, {**saved, _CONTINUED: [*others, different]})
    if found:
        texts = '; '.join(dict.fromkeys(found))
        progress.report(f'{workdir} began in another environment, and may end with other bits than in one: {texts}')
