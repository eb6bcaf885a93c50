"""The workdir of a run: what it was, its checkpoints, and the way back to a model.

config.json (the resolved config), dataset.json (what the dataset said of itself, with its fingerprint),
environment.json (versions and device), checkpoints/<step>, metrics.csv, curves.png and TensorBoard events.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import re
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from slr_jax import dataset as dataset_lib
from slr_jax import errors, files, input_pipeline, models
from slr_jax import landmarks as landmarks_lib
from slr_jax import runs as runs_lib

WINDOW_EPOCHS = 10
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'tensorflow-datasets', 'numpy', 'ml_collections')
# Where the data lies may change between two parts of a run, and how many runs train at once; what they are, may not.
_FREE_FIELDS = ('dataset', 'runs_at_once')

# What it takes to make a model and to feed it.
MODEL_FIELDS = (
    'model', 'num_heads', 'num_layers', 'mlp_dim', 'dropout_rate', 'dtype', 'normalize', 'coordinates', 'missing_value',
)  # fmt: skip

Metrics = Mapping[str, Any]


def rank(metrics: Metrics) -> tuple[float, float, float]:
    """Sorts checkpoints by how good they are: validation accuracy, then loss, then the earlier epoch.

    Without validation the latest is the best.
    """
    if metrics.get('validation_accuracy') is None:
        return (0.0, 0.0, metrics['epoch'])
    return (metrics['validation_accuracy'], -metrics['validation_loss'], -metrics['epoch'])


def published_steps(checkpoints: Mapping[int, Metrics]) -> set[int]:
    """The best by training and the best by validation accuracy of each window of 10 epochs; the earlier of equals.

    Args:
        checkpoints: step -> metrics.
    """
    windows: dict[tuple[int, str], int] = {}
    for step, metrics in sorted(checkpoints.items()):
        for name in ('train_accuracy', 'validation_accuracy'):
            window = ((metrics['epoch'] - 1) // WINDOW_EPOCHS, name)
            if metrics.get(name) is not None and (
                window not in windows or metrics[name] > checkpoints[windows[window]][name]
            ):
                windows[window] = step
    return set(windows.values())


@dataclasses.dataclass
class _Preservation(checkpoint_managers.PreservationPolicy):
    """Keeps the latest checkpoints, the best, and those that the published protocol keeps, where asked for."""

    published: bool
    num_latest: int

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        metrics = {info.step: info.metrics for info in checkpoints if info.metrics is not None}
        kept = set(sorted(info.step for info in checkpoints)[-self.num_latest :])
        if metrics:
            kept.add(max(metrics, key=lambda step: rank(metrics[step])))
        if self.published:
            kept |= published_steps(metrics)
        return [info.step in kept for info in checkpoints]


class Checkpoints:
    """The checkpoints of a workdir, by step."""

    def __init__(self, workdir: str, *, read_only: bool = True, published: bool = False, num_latest: int = 1) -> None:
        self._directory = os.path.abspath(os.path.join(workdir, 'checkpoints'))
        if read_only and not os.path.isdir(self._directory):
            raise errors.InputError(f'{workdir} has no checkpoints yet')
        options = ocp.CheckpointManagerOptions(
            best_fn=lambda metrics: metrics['epoch'],
            preservation_policy=_Preservation(published, num_latest),
            # Every process reads for itself, and the first alone writes.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=jax.process_index(), active_processes={jax.process_index()}
            ),
            enable_async_checkpointing=False,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            create=False,
        )
        if not read_only:
            os.makedirs(self._directory, exist_ok=True)
        try:
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        except ValueError as error:
            raise errors.InputError(f'{self._directory} is damaged: {errors.one_line(error)}') from error

    def metrics(self) -> dict[int, Metrics]:
        """Step -> metrics, of every whole checkpoint."""
        found = {}
        for step in sorted(self._manager.all_steps()):
            try:
                found[step] = self._manager.metrics(step)
            except ValueError as error:
                cause = errors.one_line(error)
                raise errors.InputError(f'{self._directory}/{step}/metrics is damaged: {cause}') from error
        return {step: metrics for step, metrics in found.items() if metrics is not None}

    def save(self, step: int, items: Mapping[str, Any], metrics: Metrics) -> None:
        """Saves trees of arrays by name; InputError where the disk is full or the like."""
        args = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        try:
            self._manager.save(step, args=ocp.args.Composite(**args), metrics=dict(metrics))
            self._manager.wait_until_finished()
        # tensorstore tells a full disk and the like as errors of its own.
        except (OSError, ValueError, RuntimeError) as error:
            for unfinished in pathlib.Path(self._directory).glob('*.orbax-checkpoint-tmp'):
                files.remove_tree_retrying(str(unfinished))
            raise errors.InputError(
                f'{self._directory}: checkpoint {step} cannot be written: {_cause_of(error)}'
            ) from error

    def delete_behind(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        for later in self._manager.all_steps():
            if later > step:
                self._manager.delete(later)

    def restore(self, step: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """Reads the named trees of a step; `like` has their structures, shapes and dtypes.

        Raises:
            InputError: the checkpoint is damaged, or of another model.
        """
        # On this machine's first device, whatever devices the run had.
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
        args = {name: ocp.args.StandardRestore(tree) for name, tree in like.items()}
        try:
            return dict(self._manager.restore(step, args=ocp.args.Composite(**args)))
        # orbax and tensorstore raise many kinds of errors for damaged files.
        except Exception as error:
            cause = errors.one_line(error)
            raise errors.InputError(f'{self._directory}/{step} is damaged or of another model: {cause}') from error


def _cause_of(error: Exception) -> str:
    """Why writing failed, which tensorstore tells in the midst of a long message."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else errors.one_line(error)


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model with parameters, and all that is needed to feed it.

    Attributes:
        model: the Flax module.
        params: its parameters.
        config: of the run.
        description: of the data that it was trained on.
        step: of the checkpoint.
        metrics: of the checkpoint: epoch, train_accuracy, validation_accuracy and so on.
        selected_by: how the checkpoint was chosen, in words.
    """

    model: models.LandmarkTransformer
    params: Any
    config: ml_collections.ConfigDict
    description: dataset_lib.Description
    step: int
    metrics: Metrics
    selected_by: str

    @property
    def layout(self) -> landmarks_lib.Layout:
        """The layout that the model takes."""
        return landmarks_lib.LAYOUTS[self.description.layout]


def make_model(config: ml_collections.ConfigDict, description: dataset_lib.Description) -> models.LandmarkTransformer:
    """The model that a config and a dataset ask for."""
    return models.create_model(
        config.model,
        num_classes=description.num_classes,
        num_heads=config.num_heads,
        num_layers=config.num_layers,
        mlp_dim=config.mlp_dim,
        dropout_rate=config.dropout_rate,
        dtype=jnp.dtype(config.dtype),
    )


def param_shapes(model: models.LandmarkTransformer, dim: int) -> Any:
    """The tree of shapes and dtypes of a model's parameters for an input of width `dim`."""
    landmarks = jax.ShapeDtypeStruct((1, 1, dim), jnp.float32)
    mask = jax.ShapeDtypeStruct((1, 1), bool)
    return jax.eval_shape(model.init, jax.random.key(0), landmarks, mask)['params']


def check_params(path: str, model: models.LandmarkTransformer, params: Any, dim: int) -> None:
    """Raises InputError, naming the file and the parameter, unless `params` are those of the model."""
    expected = dict(jax.tree.leaves_with_path(param_shapes(model, dim)))
    found = dict(jax.tree.leaves_with_path(params))
    for name in [*expected, *found]:
        want, got = (tree[name].shape if name in tree else None for tree in (expected, found))
        if want != got:
            raise errors.InputError(f'{path}: parameter {jax.tree_util.keystr(name)} is {got}, expected {want}')


def load_config(workdir: str) -> tuple[ml_collections.ConfigDict, dataset_lib.Description]:
    """Reads what a workdir says of its run; InputError where it is no workdir, or that of several runs."""
    several = runs_lib.read_index(workdir)
    if several:
        raise errors.InputError(
            f'{workdir} holds {len(several)} runs, expected one of them, such as {several[0].workdir(workdir)}'
        )
    if not os.path.isfile(os.path.join(workdir, 'config.json')):
        raise errors.InputError(f'{workdir} is no workdir: it has no config.json')
    path = os.path.join(workdir, 'config.json')
    config = ml_collections.ConfigDict(files.read_json(path))
    missing = [field for field in MODEL_FIELDS if field not in config]
    if missing:
        raise errors.InputError(f'{path} has no field {missing[0]!r}, expected the config of a run')
    path = os.path.join(workdir, 'dataset.json')
    try:
        return config, dataset_lib.Description(**files.read_json(path)['description'])
    except (KeyError, TypeError) as error:
        raise errors.InputError(f'{path} does not describe a dataset: {errors.one_line(error)}') from error


def load_model(workdir: str, checkpoint: str | int = 'best') -> LoadedModel:
    """Loads a model from a workdir.

    Args:
        workdir: of a run, or of an imported checkpoint.
        checkpoint: 'best' (by validation accuracy), 'latest', or a step.

    Raises:
        InputError: it is no workdir, there is no such checkpoint, or it is damaged.
    """
    config, description = load_config(workdir)
    checkpoints = Checkpoints(workdir)
    metrics = checkpoints.metrics()
    if not metrics:
        raise errors.InputError(f'{workdir} has no checkpoints yet')
    step, selected_by = _select(workdir, metrics, str(checkpoint))
    model = make_model(config, description)
    shapes = param_shapes(model, input_pipeline.input_width(config, landmarks_lib.LAYOUTS[description.layout]))
    params = checkpoints.restore(step, {'params': shapes})['params']
    return LoadedModel(model, params, config, description, step, metrics[step], selected_by)


def _select(workdir: str, metrics: Mapping[int, Metrics], checkpoint: str) -> tuple[int, str]:
    latest = max(metrics)
    if checkpoint == 'latest':
        return latest, 'the latest'
    if checkpoint == 'best':
        if metrics[latest].get('validation_accuracy') is None:
            return latest, 'the latest, as there was no validation'
        return max(metrics, key=lambda step: rank(metrics[step])), 'the best by validation accuracy'
    if not checkpoint.isdecimal() or int(checkpoint) not in metrics:
        steps = ', '.join(map(str, metrics))
        raise errors.InputError(f'{workdir} has no checkpoint {checkpoint!r}, expected best, latest or one of {steps}')
    return int(checkpoint), 'its step'


def open_workdir(workdir: str, config: ml_collections.ConfigDict, dataset: dataset_lib.Dataset) -> None:
    """Makes the workdir of a run, or checks that it holds this very run.

    Raises:
        InputError: it holds another run, the fields that differ named; or it is a directory of another kind.
    """
    if os.path.exists(workdir) and not os.path.isdir(workdir):
        raise errors.InputError(f'{workdir} is a file, expected a directory for the run')
    dataset_json = {
        'description': dataset.description.to_json(),
        'fingerprint': dataset.fingerprint(),
        'clips': {split: len(clips) for split, clips in dataset.splits.items()},
    }
    config_path, dataset_path = (os.path.join(workdir, name) for name in ('config.json', 'dataset.json'))
    if os.path.isfile(config_path):
        there = {'config': files.read_json(config_path), 'dataset': files.read_json(dataset_path)}
        here = {'config': config.to_dict(), 'dataset': dataset_json}
        different = _differences(there, here)
        if different:
            raise errors.InputError(f'{workdir} holds another run: {"; ".join(different)}')
        return
    os.makedirs(workdir, exist_ok=True)
    strange = set(os.listdir(workdir)) - {'dataset.json', 'environment.json'}
    strange = {name for name in strange if not name.endswith('.unfinished')}
    if strange:
        raise errors.InputError(f'{workdir} is a directory of another kind: it has {min(strange)} but no config.json')
    files.write_json(os.path.join(workdir, 'environment.json'), environment())
    files.write_json(dataset_path, dataset_json)
    files.write_json(config_path, config.to_dict())


def _differences(there: Any, here: Any, name: str = '') -> list[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        fields = [field for field in {**there, **here} if f'{name}{field}' not in {f'config.{f}' for f in _FREE_FIELDS}]
        return [text for field in fields for text in _differences(there.get(field), here.get(field), f'{name}{field}.')]
    there, here = (list(x) if isinstance(x, tuple) else x for x in (there, here))
    return [] if there == here else [f'{name[:-1]} is {_short(there)} there and {_short(here)} here']


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}…'


def environment() -> dict[str, Any]:
    """Versions of the libraries and the devices of this machine."""
    return {
        'python': platform.python_version(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
        'devices': [device.device_kind for device in jax.local_devices()],
        'platform': platform.platform(),
    }


def save_imported(
    workdir: str, config: ml_collections.ConfigDict, description: dataset_lib.Description, params: Any
) -> None:
    """Writes a new workdir with one checkpoint, at step 0, that no run of this project made."""
    with files.create_atomically(workdir) as aside:
        os.mkdir(aside)
        Checkpoints(aside, read_only=False).save(0, {'params': params}, {'epoch': 0})
        files.write_json(os.path.join(aside, 'environment.json'), environment())
        files.write_json(os.path.join(aside, 'dataset.json'), {'description': description.to_json()})
        files.write_json(os.path.join(aside, 'config.json'), config.to_dict())
