"""Training: from a config to the best epoch of every run."""

from collections.abc import Callable
import contextlib
import functools
import os
from typing import Any

import jax
import ml_collections

from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import (
    devices,
    errors,
    files,
    fine_tune,
    folds,
    frame_sizes,
    input_pipeline,
    models,
    progress,
    runtime,
    train_step,
)
from slr_jax import features as features_lib
from slr_jax import metrics as metrics_lib
from slr_jax import workdir as workdir_lib
from slr_jax.run_group import RunGroup, RunGroupSteps
from slr_jax.run_log import RunLog
from slr_jax.train_step import Steps
from slr_jax.trial import Trial, load_clips


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str) -> dict[str, Any]:
    """Trains a model, or several on the same data; resumes what was interrupted.

    Args:
        config: see config.py.
        workdir: of the run; see workdir.py for what it holds. Several runs have a folder each in it.

    Returns:
        The metrics of the best epoch by validation accuracy; of several runs by name.

    Raises:
        InputError: the config, the dataset or the workdir is not what it should be, another process trains in it, or a
            loss is not finite; of several runs when the others are done.
        Terminated: SIGTERM ended it, or in a command SIGINT; what is done is saved.
    """
    runtime.tune_malloc()
    config = config_lib.resolve(config)
    runs = config_lib.expand(config)
    runtime.divide_cpu(config.cpu_devices)
    dataset = dataset_lib.load_dataset(runs[0].config.dataset)
    # Loaded where it is needed: a run with a checkpoint of its own goes on where that is gone.
    source = functools.cache(lambda: fine_tune.load_source(config, dataset.description)) if config.init_from else None
    with files.only_writer(workdir) if devices.is_first_process() else contextlib.nullcontext():
        trials = open_trials(runs, config, dataset, workdir, source)
        try:
            groups = make_groups(trials, dataset, source)
            if devices.is_first_process():
                workdir_lib.compare_environments(workdir, [name for group in groups for name in group.continued])
            reporter = progress.TrainingProgress(*max(map(_steps, trials)), lambda: sum(x.steps_left for x in groups))
            with runtime.noting_signals() as is_terminated:
                while unfinished := [group for group in groups if not group.is_done]:
                    group = min(unfinished, key=lambda group: group.epoch)
                    if not group.train_epoch(reporter, is_terminated):
                        raise errors.Terminated(f'step {group.steps_done}, in epoch {group.epoch + 1},')
            return finish(trials, workdir)
        finally:
            for trial in trials:
                trial.log.close()


def open_trials(
    runs: list[config_lib.Run],
    config: ml_collections.ConfigDict,
    dataset: dataset_lib.Dataset,
    workdir: str,
    source: Callable[[], fine_tune.Source] | None = None,
) -> list[Trial]:
    """Loads the clips of each run, and creates its workdir or checks that it holds this very run."""
    clips = load_clips(dataset, runs)
    if config.num_folds:
        progress.report(folds.describe(dataset, config))
    counts, num_clips = dataset.description.frame_sizes, sum(map(len, dataset.splits.values()))
    features = features_lib.Features.from_config(config, dataset.description.layout)
    note = frame_sizes.check_training(counts, num_clips, uses_shape=features.uses_shape)
    if note:
        progress.report(f'warning: dataset {dataset.description.name}: {note}')
    init = None
    if config.init_from or config.freeze:
        shapes = models.param_shapes(models.model_from_config(config, dataset.description.num_classes), clips[0].dim)
        train_step.frozen_parameters(config, shapes)
        paths = [workdir, *(workdir_lib.run_path(workdir, run.name) for run in runs)]
        is_new = not all(map(workdir_lib.exists, paths))
        init = source().summary(shapes) if source and is_new else None
    is_first = devices.is_first_process()
    with devices.first_process_first():
        if is_first:
            workdir_lib.create_or_check_all(workdir, config, runs, dataset.summary(), init)
        diverged = {entry.name: entry.diverged for entry in workdir_lib.read_index(workdir)}
        logs = [RunLog(run, workdir, is_writer=is_first, diverged=diverged.get(run.name, '')) for run in runs]
    if init is not None:
        progress.report(fine_tune.describe(init))
    return [Trial(*parts) for parts in zip(runs, clips, logs, strict=True)]


def _runs_per_program(config: ml_collections.ConfigDict, num_runs: int) -> int:
    if config.runs_at_once is not None:
        return min(config.runs_at_once, num_runs)
    return 1 if jax.default_backend() == 'cpu' or config.early_stop_epochs else num_runs


def make_groups(
    trials: list[Trial], dataset: dataset_lib.Dataset, source: Callable[[], fine_tune.Source] | None = None
) -> list[RunGroup]:
    """Groups the runs that did not diverge into programs, each with its latest state.

    The runs of one program are of one fold, so that they have equally many clips.
    """
    config, num_classes, dim = trials[0].run.config, dataset.description.num_classes, trials[0].clips.dim
    by_fold: dict[int | None, list[Trial]] = {}
    for trial in trials:
        by_fold.setdefault(trial.run.config.fold, []).append(trial)
    size = min(_runs_per_program(config, len(trials)), max(map(len, by_fold.values())))
    layout = dataset.description.layout
    compiled = functools.cache(lambda steps, num_runs: RunGroupSteps(config, num_classes, steps, num_runs, layout))
    groups = []
    for same_fold in by_fold.values():
        active = [trial for trial in same_fold if not trial.log.diverged]
        for start in range(0, len(active), size):
            chosen = active[start : start + size]
            groups.append(RunGroup(compiled(_steps(chosen[0]), len(chosen)), chosen, dim, source))
    devices.barrier('restored')
    if groups:
        frozen = f', {groups[0].num_frozen:,} of them frozen' if config.freeze else ''
        progress.report(
            f'{config.model}: {groups[0].num_parameters:,} parameters{frozen}, input width {dim}, {num_classes} '
            f'classes, {jax.device_count()} device(s)\n{trials[0].clips.description}'
        )
    if len(trials) > 1:
        progress.report(f'{len(trials)} runs, {size} at once')
    return groups


def _steps(trial: Trial) -> Steps:
    config = trial.run.config
    per_epoch = input_pipeline.steps_per_epoch(len(trial.clips.train_labels), config.batch_size)
    return Steps(per_epoch, config.num_steps or config.num_epochs * per_epoch)


def finish(trials: list[Trial], workdir: str) -> dict[str, Any]:
    """Closes the runs; of several, writes best_epochs.csv and raises InputError where some diverged.

    Of all folds, writes cross_validation.csv, too.
    """
    diverged = {trial.run.name: trial.log.diverged for trial in trials if trial.log.diverged}
    best = {trial.run.name: trial.log.finish() for trial in trials if not trial.log.diverged}
    if trials[0].run.is_only:
        return best['']
    if best and devices.is_first_process():
        rows = [{'run': name, **row} for name, row in best.items()]
        files.write_csv(os.path.join(workdir, 'best_epochs.csv'), rows)
        pooled = pool_folds([trial for trial in trials if trial.run.name in best], best)
        if pooled:
            files.write_csv(os.path.join(workdir, 'cross_validation.csv'), pooled)
    if diverged:
        raise errors.InputError(workdir_lib.describe_diverged(diverged, len(trials)))
    return best


def pool_folds(trials: list[Trial], best: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of cross_validation.csv, one per seed and combination of swept values whose folds are all there.

    Args:
        trials: runs that did not diverge.
        best: the metrics of the best epoch of each, by name.
    """
    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        groups.setdefault((*trial.run.swept.items(), ('seed', trial.run.config.seed)), []).append(trial)
    rows = []
    for setting, members in groups.items():
        if len(members) != members[0].run.config.num_folds:
            continue
        pooled = metrics_lib.pool_folds(
            [best[trial.run.name]['validation_accuracy'] for trial in members],
            [len(trial.clips.validation_labels) for trial in members],
        )
        rows.append({**dict(setting), **pooled})
        name = ','.join(f'{field}={value}' for field, value in setting)
        progress.report(
            f'{name} | cross-validation: accuracy {pooled["accuracy"]:.2%} (95 % interval '
            f'{pooled["wilson95_low"]:.2%} to {pooled["wilson95_high"]:.2%}), each of {pooled["clips"]} clips once in '
            f'{pooled["folds"]} folds; {metrics_lib.SELECTED_ON_FOLD}'
        )
    return rows
