"""Training: from a config to the best epoch of every run."""

import functools
import os
from typing import Any

import jax
import ml_collections

from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import devices, errors, files, input_pipeline, progress, runtime
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
        InputError: the config, the dataset or the workdir is not what it should be, or a loss is not finite; of
            several runs when the others are done.
    """
    runtime.tune_malloc()
    config = config_lib.resolve(config)
    runs = config_lib.expand(config)
    dataset = dataset_lib.load_dataset(runs[0].config.dataset)
    trials = open_trials(runs, config, dataset, workdir)
    try:
        groups = make_groups(trials, dataset)
        reporter = progress.TrainingProgress(*_steps(trials[0]), sum(group.steps_left for group in groups))
        while unfinished := [group for group in groups if not group.is_done]:
            min(unfinished, key=lambda group: group.epoch).train_epoch(reporter)
        return finish(trials, workdir)
    finally:
        for trial in trials:
            trial.log.close()


def open_trials(
    runs: list[config_lib.Run], config: ml_collections.ConfigDict, dataset: dataset_lib.Dataset, workdir: str
) -> list[Trial]:
    """Loads the clips of each run, and creates its workdir or checks that it holds this very run."""
    clips = load_clips(dataset, runs)
    in_group = _runs_per_program(config, len(runs)) > 1
    is_first = devices.is_first_process()
    with devices.first_process_first():
        if is_first:
            workdir_lib.create_or_check_all(workdir, config, runs, dataset.summary())
        diverged = {entry.name: entry.diverged for entry in workdir_lib.read_index(workdir)}
        logs = [
            RunLog(run, workdir, is_writer=is_first, in_group=in_group, diverged=diverged.get(run.name, ''))
            for run in runs
        ]
    return [Trial(*parts) for parts in zip(runs, clips, logs, strict=True)]


def _runs_per_program(config: ml_collections.ConfigDict, num_runs: int) -> int:
    if config.runs_at_once is not None:
        return min(config.runs_at_once, num_runs)
    is_one_cpu = jax.default_backend() == 'cpu' and jax.device_count() == 1
    return 1 if is_one_cpu or config.early_stop_epochs else num_runs


def make_groups(trials: list[Trial], dataset: dataset_lib.Dataset) -> list[RunGroup]:
    """Groups the runs that did not diverge into programs, each with its latest state."""
    config, num_classes, layout = trials[0].run.config, dataset.description.num_classes, dataset.description.layout
    steps, dim = _steps(trials[0]), trials[0].clips.dim
    size = _runs_per_program(config, len(trials))
    active = [trial for trial in trials if not trial.log.diverged]
    compiled = functools.cache(lambda num_runs: RunGroupSteps(config, num_classes, steps, num_runs, layout))
    groups = []
    for start in range(0, len(active), size):
        chosen = active[start : start + size]
        groups.append(RunGroup(compiled(len(chosen)), chosen, dim))
    devices.barrier('restored')
    if groups:
        progress.report(
            f'{config.model}: {groups[0].num_parameters:,} parameters, input width {dim}, {num_classes} classes, '
            f'{jax.device_count()} device(s)\n{trials[0].clips.description}'
        )
    if len(trials) > 1:
        progress.report(f'{len(trials)} runs, {size} at once')
    return groups


def _steps(trial: Trial) -> Steps:
    config = trial.run.config
    per_epoch = input_pipeline.steps_per_epoch(len(trial.clips.train_labels), config.batch_size)
    return Steps(per_epoch, config.num_steps or config.num_epochs * per_epoch)


def finish(trials: list[Trial], workdir: str) -> dict[str, Any]:
    """Closes the runs; of several, writes best_epochs.csv and raises InputError where some diverged."""
    diverged = {trial.run.name: trial.log.diverged for trial in trials if trial.log.diverged}
    best = {trial.run.name: trial.log.finish() for trial in trials if not trial.log.diverged}
    if trials[0].run.is_only:
        return best['']
    if best and devices.is_first_process():
        rows = [{'run': name, **row} for name, row in best.items()]
        files.write_csv(os.path.join(workdir, 'best_epochs.csv'), rows)
    if diverged:
        raise errors.InputError(workdir_lib.describe_diverged(diverged, len(trials)))
    return best
