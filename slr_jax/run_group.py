"""Runs that train in one program, step by step together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import itertools
import time
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from slr_jax import (
    augment,
    devices,
    errors,
    fine_tune,
    inference,
    input_pipeline,
    models,
    progress,
    run_log,
    train_step,
)
from slr_jax import metrics as metrics_lib
from slr_jax.run_log import EpochMetrics
from slr_jax.train_step import Steps, TrainState
from slr_jax.trial import Trial

Array = jax.Array
Sums = dict[str, float]

# Losses are fetched, and checked, so many steps late, so that the device need not wait for the host.
_FETCH_STEPS = 64


class RunGroupSteps:
    """The compiled steps of a number of runs that differ in keys and swept hyperparameters only.

    With several devices, either each device has some of the runs, or the batches of all runs are divided over them.

    Args:
        config: of any of the runs.
        num_classes: of the dataset.
        steps: of each run.
        num_runs: of the group.
        layout: of the dataset; needed with augmentation only.

    Attributes:
        train_step: (state, batch, keys, swept hyperparameters) -> state and sums, as train_step.make_train_step has
            them; where there are several runs, with an axis of runs.
        unmapped_step: the same of one device, not compiled.
        shard_runs: whether each device has some of the runs.
        eval_step: (params, batch) -> logits, likewise.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, num_classes: int, steps: Steps, num_runs: int, layout: str = ''
    ) -> None:
        self.num_runs, self.steps = num_runs, steps
        num_devices = jax.device_count()
        self.shard_runs = num_runs > 1 and jax.process_count() == 1 and num_devices > 1 and num_runs % num_devices == 0
        self._config = config
        self._model = models.model_from_config(config, num_classes)
        step = train_step.make_train_step(
            self._model,
            config,
            steps,
            prepare=augment.make_preparation(config, layout),
            divide_batch=not self.shard_runs,
        )
        eval_step = inference.eval_function(self._model)
        if num_runs > 1:
            step, eval_step = jax.vmap(step), jax.vmap(eval_step)
        self.unmapped_step = step
        self.train_step = devices.map_train_step(step, shard_runs=self.shard_runs)
        self.eval_step = devices.map_eval_step(eval_step, shard_runs=self.shard_runs)

    def initial_state(self, dim: int, seed: int, swept: Mapping[str, Any]) -> TrainState:
        """The state of one run before its first step."""
        hyperparameters = train_step.all_hyperparameters(self._config, swept)
        optimizer = train_step.make_optimizer(self._config, hyperparameters, self.steps)
        averages = self._config.ema is not None
        return train_step.create_train_state(self._model, optimizer, dim, _keys(seed)[0], averages=averages)

    def learning_rate(self, step: int, swept: Mapping[str, Any]) -> float:
        """The learning rate of a run at a step."""
        hyperparameters = train_step.all_hyperparameters(self._config, swept)
        return float(train_step.learning_rate_schedule(self._config, hyperparameters, self.steps)(step))

    def batches(
        self,
        epochs: Sequence[tuple[Any, Any, Any]],
        lengths: Sequence[int] = (),
        divide_at: int | None = None,
        aspects: Sequence[np.ndarray | None] | None = None,
    ) -> Iterator[input_pipeline.Batch]:
        """The batches of an epoch, as the steps take them, from the features, labels and order of each run.

        Args:
            epochs: of each run.
            lengths: see input_pipeline.bucket_lengths.
            divide_at: likewise; of a CPU only, as accelerators are fastest with all rows at once.
            aspects: of the clips of each run, see input_pipeline.batches.
        """
        size, (num_devices, local) = self._config.batch_size, self._devices()
        divide_at = divide_at if jax.default_backend() == 'cpu' else None
        return self._merge(
            [
                input_pipeline.batches(*epoch, size, num_devices, lengths, local, divide_at, own_aspects)
                for epoch, own_aspects in zip(epochs, aspects or [None] * len(epochs), strict=True)
            ]
        )

    def predict_logits(self, params: Any, features: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """<float32>[runs, clips, classes] for the features of each run; runs have equally many clips."""
        if self.num_runs == 1:
            return inference.predict_logits(self.eval_step, params, features[0])[None]
        parts_per_run: list[list[Any]] = [[] for _ in features]
        batches_per_run = [inference.eval_batches(clips, *self._devices(), divide=False) for clips in features]
        for parts in zip(*batches_per_run, strict=True):
            (batch,) = self._merge([iter([[piece]]) for _, piece in parts])
            answers = np.asarray(self.eval_step(params, batch[0]))
            if not self.shard_runs:
                answers = np.moveaxis(answers, 1, 0)
            answers = answers.reshape(self.num_runs, -1, answers.shape[-1])
            for run_parts, (clips, _), run_answers in zip(parts_per_run, parts, answers, strict=True):
                run_parts.append((clips, run_answers))
        return np.stack([inference.in_order(run_parts) for run_parts in parts_per_run])

    def _devices(self) -> tuple[int, range]:
        """The devices that the batch of a run is divided over, and those of this process among them."""
        return (1, range(1)) if self.shard_runs else (jax.device_count(), devices.local_devices())

    def _merge(self, batches_per_run: Sequence[Iterator[Any]]) -> Iterator[Any]:
        if self.num_runs == 1:
            yield from batches_per_run[0]
            return
        for batch in input_pipeline.stack_runs(batches_per_run):
            yield jax.tree.map(lambda x: self._shard(x[0]), batch) if self.shard_runs else batch

    def _shard(self, x: Any) -> Any:
        """[runs, …] -> [local devices, runs / devices, …]."""
        return x.reshape(jax.local_device_count(), -1, *x.shape[1:])

    def stack(self, trees: Sequence[Any]) -> Any:
        """Stacks what each run has, as the steps take it."""
        if self.num_runs == 1:
            return trees[0]
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *trees)
        return jax.tree.map(self._shard, stacked) if self.shard_runs else stacked

    def stack_and_place(self, states: Sequence[Any]) -> Any:
        """Stacks states with the steps' own sharding, so that the step compiles once."""
        # From the host, as several processes cannot send what one of them has on its devices.
        stacked = jax.device_get(self.stack(states))
        return jax.device_put(stacked, devices.state_sharding(shard_runs=self.shard_runs))

    def unstack(self, tree: Any) -> list[Any]:
        """What each run has, on the host."""
        tree = jax.device_get(tree)
        if self.num_runs == 1:
            return [tree]
        if self.shard_runs:
            tree = jax.tree.map(lambda x: x.reshape(self.num_runs, *x.shape[2:]), tree)
        return [jax.tree.map(lambda x, i=i: np.asarray(x[i]), tree) for i in range(self.num_runs)]


def _keys(seed: int) -> tuple[Array, Array]:
    """The keys of the initialization and of the steps."""
    init_key, step_key = jax.random.split(jax.random.key(seed))
    return init_key, step_key


class RunGroup:
    """Runs that train together, with their state.

    Args:
        group_steps: compiled for as many runs.
        trials: the runs.
        dim: features per frame.
        source: loads what runs that have no checkpoint yet begin with; None where they begin as initialized.

    Attributes:
        epoch: done by every run of the group.
        steps_done: likewise.
        num_parameters: of each run.
        num_frozen: those of them that `config.freeze` keeps.
    """

    def __init__(
        self,
        group_steps: RunGroupSteps,
        trials: Sequence[Trial],
        dim: int,
        source: Callable[[], fine_tune.Source] | None = None,
    ) -> None:
        self._steps, self._trials = group_steps, trials
        self._swept = [{name: np.float32(value) for name, value in trial.run.swept.items()} for trial in trials]
        seeds = [trial.run.config.seed for trial in trials]
        states = [group_steps.initial_state(dim, seed, x) for seed, x in zip(seeds, self._swept, strict=True)]
        self.num_parameters = models.count_parameters(states[0].params)
        self.num_frozen = train_step.count_frozen(trials[0].run.config, states[0].params)
        unfinished = _restore_unfinished_epoch(trials, states)
        self.epoch, states, self._sums = unfinished or (*_restore(trials, states, source), _no_sums(len(trials)))
        rows = trials[0].log.rows
        self._steps_before_epoch = int(rows[-1]['step']) if rows else 0
        self._state = group_steps.stack_and_place(states)
        self.steps_done = int(np.ravel(self._state.step)[0])
        self._step_keys = group_steps.stack([_keys(seed)[1] for seed in seeds])
        self._step_arguments = group_steps.stack([_step_arguments(*x) for x in zip(trials, self._swept, strict=True)])

    @property
    def steps_left(self) -> int:
        """Steps that are not done; 0 where all runs diverged, or early stopping ended the only run of the group."""
        stopped = not self._active() or self._trials[0].log.stops_early()
        return 0 if stopped else max(0, self._steps.steps.total - self.steps_done)

    @property
    def is_done(self) -> bool:
        """Whether no step is left."""
        return not self.steps_left

    @property
    def continued(self) -> list[str]:
        """The names of the runs, where they continue from a checkpoint."""
        return [trial.run.name for trial in self._trials] if self.steps_done and self.steps_left else []

    def _active(self) -> list[int]:
        """The indices of the runs that did not diverge."""
        return [i for i, trial in enumerate(self._trials) if not trial.log.diverged]

    def train_epoch(self, reporter: progress.TrainingProgress, is_terminated: Callable[[], bool]) -> bool:
        """Trains an epoch, validates, and keeps both.

        Args:
            reporter: of all runs.
            is_terminated: says before each step whether to stop, and save the epoch until there.

        Returns:
            Whether the epoch came to its end.
        """
        epoch, start = self.epoch + 1, time.perf_counter()
        is_whole = self._train(epoch, reporter, is_terminated)
        sums, seconds = self._sums, time.perf_counter() - start
        for run_sums in sums:
            run_sums['seconds'] += seconds
        if not is_whole:
            self._save_unfinished_epoch()
            return False
        validation = self._validate()
        states = self._steps.unstack(self._state)
        for i in self._active():
            log = self._trials[i].log
            metrics = EpochMetrics(
                epoch=epoch,
                step=self.steps_done,
                train_loss=sums[i]['loss'] / sums[i]['clips'],
                train_accuracy=sums[i]['correct'] / sums[i]['clips'],
                learning_rate=self._steps.learning_rate(self.steps_done - 1, self._swept[i]),
                clips_per_second=sums[i]['clips'] / sums[i]['seconds'],
                **validation[i],
            )
            log.record(metrics, _checkpoint_items(states[i]))
            speed = f'{metrics.clips_per_second:.1f} clips/s'
            reporter.epoch_done(log.prefix, epoch, f'{run_log.describe(log.rows[-1])} | {speed}')
        self.epoch, self._sums = epoch, _no_sums(len(self._trials))
        self._steps_before_epoch = self.steps_done
        return True

    def _save_unfinished_epoch(self) -> None:
        states = self._steps.unstack(self._state)
        for i in self._active():
            self._trials[i].log.save_unfinished_epoch(self.steps_done, _checkpoint_items(states[i]), self._sums[i])

    def _train(self, epoch: int, reporter: progress.TrainingProgress, is_terminated: Callable[[], bool]) -> bool:
        """Adds the rest of an epoch to the sums; returns whether it came to its end."""
        epochs = [trial.clips.epoch(epoch) for trial in self._trials]
        clips = self._trials[0].clips
        aspects = [trial.clips.aspects for trial in self._trials]
        batches = self._steps.batches(epochs, clips.bucket_lengths, clips.divide_at, aspects)
        pending: list[dict[str, Array]] = []
        for batch in itertools.islice(batches, self.steps_done - self._steps_before_epoch, None):
            if self.steps_done >= self._steps.steps.total or not self._active():
                break
            if is_terminated():
                self._add(pending, epoch, reporter)
                return False
            self._state, sums = self._steps.train_step(self._state, batch, self._step_keys, self._step_arguments)
            self.steps_done += 1
            pending.append(sums)
            if len(pending) == _FETCH_STEPS or reporter.is_first_step:
                self._add(pending, epoch, reporter)
                pending = []
        self._add(pending, epoch, reporter)
        return True

    def _add(self, pending: Sequence[dict[str, Array]], epoch: int, reporter: progress.TrainingProgress) -> None:
        """Adds the sums of the last steps, and reports them with the loss of the first active run."""
        self._accumulate(pending)
        for i in self._active()[:1]:
            if pending:
                loss = self._sums[i]['loss'] / self._sums[i]['clips']
                reporter.steps_done(len(pending), self._trials[i].log.prefix, epoch, self.steps_done, loss)

    def _accumulate(self, pending: Sequence[dict[str, Array]]) -> None:
        """Adds the sums of the last steps; a run whose loss is not finite diverged."""
        first = self.steps_done - len(pending) + 1
        for step, step_sums in enumerate(jax.device_get(pending), start=first):
            sums = {name: np.ravel(values) for name, values in step_sums.items()}
            for i in self._active():
                if not np.isfinite(sums['loss'][i]):
                    self._trials[i].log.mark_diverged(
                        f'the loss of step {step} is {sums["loss"][i] / sums["clips"][i]}, expected a finite number; a '
                        'lower config.learning_rate or config.grad_clip_norm, in a new workdir, may help'
                    )
                for name, values in sums.items():
                    self._sums[i][name] += float(values[i])

    def _validate(self) -> dict[int, dict[str, float]]:
        """Validation loss and accuracy of the active runs, by their index."""
        if self._trials[0].clips.validation_features is None:
            return {i: {} for i in self._active()}
        features = [trial.clips.validation_features for trial in self._trials]
        logits = self._steps.predict_logits(self._state.model_params, features)
        found = {}
        for i in self._active():
            metrics = metrics_lib.compute_metrics(logits[i], self._trials[i].clips.validation_labels)
            found[i] = {'validation_loss': metrics['loss'], 'validation_accuracy': metrics['accuracy']}
        return found


def _step_arguments(trial: Trial, swept: Mapping[str, Any]) -> dict[str, Any]:
    """The swept values, and class weights where there are some: runs may have drawn other training clips."""
    weights = trial.clips.class_weights
    return dict(swept) if weights is None else {**swept, 'class_weights': weights}


def _no_sums(num_runs: int) -> list[Sums]:
    return [dict.fromkeys(('loss', 'correct', 'clips', 'seconds'), 0.0) for _ in range(num_runs)]


def _restore(
    trials: Sequence[Trial], states: Sequence[TrainState], source: Callable[[], fine_tune.Source] | None
) -> tuple[int, list[TrainState]]:
    """The epochs done and the states of the latest checkpoint that all runs can restore.

    Where they have none in common, those of the beginning.

    Raises:
        InputError: all checkpoints that they have in common are damaged.
    """
    steps = _common_steps(trials)
    if not steps and source is None:
        return 0, list(states)
    if not steps and source is not None:
        for trial in trials:
            trial.log.check_init(source().summary(states[0].params))
        return 0, [state.begin_with(source().take(state.params)) for state in states]
    damage = []
    for step in sorted(steps, reverse=True):
        try:
            restored = _restore_step(step, trials, states)
        except errors.InputError as error:
            damage.append(error)
            progress.report(f'left out: {error}')
            continue
        for trial in trials:
            trial.log.forget_after(step)
        epoch = len(trials[0].log.rows)
        progress.report(f'{trials[0].log.prefix}going on after epoch {epoch}')
        return epoch, restored
    raise damage[0]


def _restore_step(step: int, trials: Sequence[Trial], states: Sequence[TrainState]) -> list[TrainState]:
    """The states of a checkpoint of all runs; InputError where it is damaged for any process."""
    restored: list[TrainState] = []
    damage = None
    try:
        for trial, state in zip(trials, states, strict=True):
            restored.append(_restored_state(trial.log.restore(step, _checkpoint_items(state))))
    except errors.InputError as error:
        damage = error
    if not devices.in_every_process(damage is None):
        raise damage or errors.InputError(f'another process cannot read checkpoint {step}')
    return restored


def _common_steps(trials: Sequence[Trial]) -> set[int]:
    """The steps of the checkpoints that all runs have."""
    return set.intersection(*(trial.log.steps for trial in trials))


def _restore_unfinished_epoch(
    trials: Sequence[Trial], states: Sequence[TrainState]
) -> tuple[int, list[TrainState], list[Sums]] | None:
    """As _restore, within the epoch that SIGTERM ended after the latest checkpoint, and the sums of this epoch.

    None where it ended none, or where not all runs have it.
    """
    step = max(_common_steps(trials), default=None)
    found = [
        trial.log.read_unfinished_epoch(step, _checkpoint_items(state))
        for trial, state in zip(trials, states, strict=True)
    ]
    whole = [x for x in found if x is not None]
    steps = {int(items['training']['step']) for items, _ in whole}
    if not devices.in_every_process(len(whole) == len(trials) and len(steps) == 1):
        return None
    for trial in trials:
        trial.log.forget_after(step)
    epoch = len(trials[0].log.rows)
    progress.report(f'{trials[0].log.prefix}going on after step {min(steps)}, in epoch {epoch + 1}')
    return epoch, [_restored_state(items) for items, _ in whole], [sums for _, sums in whole]


def _checkpoint_items(state: TrainState) -> dict[str, Any]:
    """What a checkpoint has of a state: as `params` what is the model, which with an average is not what is trained."""
    training = {'step': state.step, 'opt_state': state.opt_state}
    if state.average is not None:
        training['params'] = state.params
    return {'params': state.model_params, 'training': training}


def _restored_state(items: Mapping[str, Any]) -> TrainState:
    """The state of what `_checkpoint_items` made of it."""
    params, training = items['params'], items['training']
    if 'params' in training:
        return TrainState(**training, average=params)
    return TrainState(**training, params=params)
