"""Checkpoints: how they are kept, chosen, restored, and loaded as a model."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
import re
import shutil
from typing import Any

import jax
import ml_collections
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from slr_jax import dataset as dataset_lib
from slr_jax import errors, files, models
from slr_jax import features as features_lib
from slr_jax import workdir as workdir_lib
from slr_jax.inference import LoadedModel, MeanOfModels

WINDOW_EPOCHS = 10
# The latest may be damaged, or of one of two runs that train together when the machine dies.
_NUM_LATEST = 2

Metrics = Mapping[str, Any]


def selection_key(metrics: Metrics) -> tuple[float, float, float]:
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
    """Keeps the latest checkpoints, the best, and those that the published protocol keeps, where asked for.

    Those with damaged metrics stay, too: one of them may be the best.
    """

    published: bool

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        metrics = {info.step: info.metrics for info in checkpoints if info.metrics is not None}
        kept = set(sorted(info.step for info in checkpoints)[-_NUM_LATEST:])
        kept |= {info.step for info in checkpoints if info.metrics is None}
        if metrics:
            kept.add(max(metrics, key=lambda step: selection_key(metrics[step])))
        if self.published:
            kept |= published_steps(metrics)
        return [info.step in kept for info in checkpoints]


class _Manager(ocp.CheckpointManager):
    """One that can be made where the metrics of a checkpoint are damaged; it has none then."""

    def metrics(self, step: int) -> Any:
        try:
            return super().metrics(step)
        except (ValueError, OSError, RecursionError):
            return None


class Checkpoints:
    """The checkpoints of a workdir, by step.

    Args:
        workdir: of a run.
        read_only: False to save and delete.
        published: keep those that the published protocol keeps, too.
        folder: of the workdir.

    Raises:
        InputError: there is no such folder, or it is damaged.
    """

    def __init__(
        self, workdir: str, *, read_only: bool = True, published: bool = False, folder: str = 'checkpoints'
    ) -> None:
        self._directory = os.path.abspath(os.path.join(workdir, folder))
        self._deleted = os.path.join(self._directory, files.UNFINISHED)
        if read_only and not os.path.isdir(self._directory):
            raise errors.InputError(f'{workdir} has no checkpoints yet')
        options = ocp.CheckpointManagerOptions(
            best_fn=lambda metrics: metrics['epoch'],
            preservation_policy=_Preservation(published),
            # Every process reads for itself, and the first alone writes.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=jax.process_index(), active_processes={jax.process_index()}
            ),
            enable_async_checkpointing=False,
            cleanup_tmp_directories=not read_only,
            # Moved there at once and then removed, so that no checkpoint is ever half-deleted.
            todelete_subdir=None if read_only else files.UNFINISHED,
            read_only=read_only,
            create=False,
        )
        if not read_only:
            files.check_below(self._directory, workdir)
            os.makedirs(self._directory, exist_ok=True)
            self._remove_deleted()
        try:
            self._manager = _Manager(self._directory, options=options)
        except ValueError as error:
            raise errors.InputError(f'{self._directory} is damaged: {errors.one_line(error)}') from error

    def steps(self) -> list[int]:
        """The steps of all checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def metrics(self) -> dict[int, Metrics]:
        """Step -> metrics, of every checkpoint; InputError where those of one are damaged."""
        return {step: self.read_metrics(step) for step in self.steps()}

    def read_metrics(self, step: int) -> Metrics:
        """The metrics of a checkpoint; InputError where they are damaged or missing."""
        found = self._manager.metrics(step)
        if not _is_valid(found):
            path = os.path.join(self._directory, str(step), 'metrics')
            raise errors.InputError(f'{path} is missing or damaged, expected the metrics of an epoch')
        return found

    def save(self, step: int, items: Mapping[str, Any], metrics: Metrics) -> None:
        """Saves trees of arrays by name; InputError where the disk is full or the like."""
        args = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        try:
            self._manager.save(step, args=ocp.args.Composite(**args), metrics=dict(metrics))
            self._manager.wait_until_finished()
            self._remove_deleted()
        # TensorStore has errors of its own for a full disk and the like.
        except (OSError, ValueError, RuntimeError) as error:
            for unfinished in pathlib.Path(self._directory).glob('*.orbax-checkpoint-tmp'):
                files.remove_tree_retrying(str(unfinished))
            raise errors.InputError(
                f'{self._directory}: checkpoint {step} cannot be written: {_os_error_text(error)}'
            ) from error

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        for later in self._manager.all_steps():
            if later > step:
                self._manager.delete(later)
        self._remove_deleted()

    def _remove_deleted(self) -> None:
        shutil.rmtree(self._deleted, ignore_errors=True)

    def restore(self, step: int, target: Mapping[str, Any]) -> dict[str, Any]:
        """Reads the named trees of a step; `target` has their structures, shapes and dtypes.

        Raises:
            InputError: the checkpoint is damaged, or of another model.
        """
        # On this machine's first device, whatever devices the run had.
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), target)
        args = {name: ocp.args.StandardRestore(tree) for name, tree in target.items()}
        try:
            return dict(self._manager.restore(step, args=ocp.args.Composite(**args)))
        # orbax and tensorstore raise many kinds of errors for damaged files.
        except Exception as error:
            cause = errors.one_line(error)
            raise errors.InputError(f'{self._directory}/{step} is damaged or of another model: {cause}') from error


def _is_valid(metrics: Any) -> bool:
    """Whether checkpoints can be compared by their metrics."""
    if not isinstance(metrics, dict) or not isinstance(metrics.get('epoch'), int):
        return False
    names = ('train_accuracy', 'validation_accuracy', 'validation_loss')
    numbers = {name: metrics[name] for name in names if metrics.get(name) is not None}
    has_pair = ('validation_accuracy' in numbers) == ('validation_loss' in numbers)
    return has_pair and all(isinstance(number, int | float) for number in numbers.values())


def _os_error_text(error: Exception) -> str:
    """The OS error inside TensorStore's message."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else errors.one_line(error)


def load_model(workdir: str, checkpoint: str | int = 'best') -> LoadedModel:
    """Loads a model from a workdir.

    Args:
        workdir: of a run, or of an imported checkpoint.
        checkpoint: 'best' (by validation accuracy), 'latest', or a step.

    Raises:
        InputError: it is not a workdir, there is no such checkpoint, or it is damaged.
    """
    config, description = workdir_lib.load_config(workdir)
    checkpoints = Checkpoints(workdir)
    metrics = checkpoints.metrics()
    if not metrics:
        raise errors.InputError(f'{workdir} has no checkpoints yet')
    step, selected_by = _select(workdir, metrics, str(checkpoint))
    return restore_model(checkpoints, step, metrics[step], config, description, selected_by)


def load_mean_of_runs(workdir: str, checkpoint: str | int = 'best') -> MeanOfModels:
    """Loads the models of all runs of a workdir, which answer together; runs that diverged are left out and reported.

    Args:
        workdir: of several runs, or of one.
        checkpoint: of each; see load_model.

    Raises:
        InputError: see load_model; or all runs diverged, or they differ in layout, handedness or glosses.
    """
    runs, _ = workdir_lib.leave_out_diverged(workdir_lib.read_index(workdir))
    paths = [workdir_lib.run_path(workdir, run.name) for run in runs] or [workdir]
    loaded = [load_model(path, checkpoint) for path in paths]
    for path, model in zip(paths, loaded, strict=True):
        _check_alike(path, model.description, paths[0], loaded[0].description)
    return MeanOfModels(loaded)


def _check_alike(path: str, one: dataset_lib.Description, other_path: str, other: dataset_lib.Description) -> None:
    """Refuses models that take other landmarks, or have other classes, to answer together."""
    pairs: dict[str, Any] = {
        **dataset_lib.input_differences(one, other),
        'num_classes': (one.num_classes, other.num_classes),
    }
    glosses = zip(one.label_names, other.label_names, strict=False)
    for field, (found, expected) in {**pairs, **{f'class {i}': pair for i, pair in enumerate(glosses)}}.items():
        if found != expected:
            raise errors.InputError(
                f'{path} cannot answer together with {other_path}: {field} is {found}, expected {expected}'
            )


def restore_model(
    checkpoints: Checkpoints,
    step: int,
    metrics: Metrics,
    config: ml_collections.ConfigDict,
    description: dataset_lib.Description,
    selected_by: str,
) -> LoadedModel:
    """The model of one checkpoint; see load_model."""
    model = models.model_from_config(config, description.num_classes)
    dim = features_lib.Features.from_config(config, description.layout).dim
    params = checkpoints.restore(step, {'params': models.param_shapes(model, dim)})['params']
    return LoadedModel(model, params, config, description, step, metrics, selected_by)


def _select(workdir: str, metrics: Mapping[int, Metrics], checkpoint: str) -> tuple[int, str]:
    latest = max(metrics)
    if checkpoint == 'latest':
        return latest, 'the latest'
    if checkpoint == 'best':
        if metrics[latest].get('validation_accuracy') is None:
            return latest, 'the latest, as there was no validation'
        return max(metrics, key=lambda step: selection_key(metrics[step])), 'the best by validation accuracy'
    if not checkpoint.isdecimal() or int(checkpoint) not in metrics:
        steps = ', '.join(map(str, metrics))
        raise errors.InputError(f'{workdir} has no checkpoint {checkpoint!r}, expected best, latest or one of {steps}')
    return int(checkpoint), 'its step'
