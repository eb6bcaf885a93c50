"""Training: state, steps, and the loop over epochs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import copy
import ctypes
import dataclasses
import math
import os
import time
from typing import Any
import warnings

import flax.struct
import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files, input_pipeline, models, normalize, run_files
from slr_jax import metrics as metrics_lib
from slr_jax import runs as runs_lib

Array = jax.Array
Batch = Mapping[str, Any]

EVAL_BATCH_SIZE = 32
# Losses are fetched, and checked, so many steps late, so that the device need not wait for the host.
_FETCH_STEPS = 64
_PROGRESS_SECONDS = 10.0
_DEVICES = 'devices'


class TrainState(flax.struct.PyTreeNode):
    """What a step changes: the number of steps done, the parameters and the state of the optimizer."""

    step: Array
    params: Any
    opt_state: Any


def check_config(config: ml_collections.ConfigDict) -> None:
    """Raises InputError, naming the field, where a value is not legal, of any of the runs."""
    runs = runs_lib.list_runs(config)
    for run in runs:
        _check_run(runs_lib.config_of(config, run))
    if config.runs_at_once is not None and config.runs_at_once < 1:
        raise errors.InputError(f'config.runs_at_once is {config.runs_at_once}, expected at least 1')
    if config.early_stop_epochs and _runs_at_once(config, len(runs)) > 1:
        raise errors.InputError('config.early_stop_epochs is set, which needs config.runs_at_once = 1')


def _check_run(config: ml_collections.ConfigDict) -> None:
    choices = {
        'model': models.MODELS,
        'validation': ('from_file', 'from_train', 'none'),
        'normalize': normalize.METHODS,
        'coordinates': input_pipeline.COORDINATES,
        'dtype': ('float32', 'bfloat16'),
        'optimizer': ('sgd', 'momentum', 'adamw'),
        'schedule': ('constant', 'cosine'),
    }
    for field, allowed in choices.items():
        if config[field] not in allowed:
            raise errors.InputError(f'config.{field} is {config[field]!r}, expected one of {", ".join(allowed)}')
    ranges: dict[str, tuple[Callable[[Any], bool], str]] = {
        **dict.fromkeys(
            ('batch_size', 'num_epochs', 'num_heads', 'num_layers', 'mlp_dim'), (lambda x: x >= 1, 'at least 1')
        ),
        **dict.fromkeys(('num_steps', 'early_stop_epochs'), (lambda x: x is None or x >= 1, 'at least 1')),
        **dict.fromkeys(('dropout_rate', 'label_smoothing', 'momentum'), (lambda x: 0 <= x < 1, 'from 0 to below 1')),
        **dict.fromkeys(('noise_std', 'weight_decay', 'warmup_epochs'), (lambda x: x >= 0, 'at least 0')),
        'seed': (lambda x: 0 <= x < 2**32, 'from 0 to below 2**32'),
        'learning_rate': (lambda x: x > 0, 'above 0'),
        'grad_clip_norm': (lambda x: x is None or x > 0, 'above 0'),
        'validation_fraction': (lambda x: 0 < x < 1, 'between 0 and 1'),
        'train_fraction': (lambda x: 0 < x <= 1, 'above 0 and at most 1'),
    }
    for field, value in config.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise errors.InputError(f'config.{field} is {value}, expected a finite number')
    for field, (is_legal, expected) in ranges.items():
        if not is_legal(config[field]):
            raise errors.InputError(f'config.{field} is {config[field]}, expected {expected}')
    if not config.dataset:
        raise errors.InputError('config.dataset is not set, expected a TFDS directory')
    if config.early_stop_epochs and config.validation == 'none':
        raise errors.InputError("config.early_stop_epochs is set, which config.validation = 'none' cannot serve")


def learning_rate_schedule(
    config: ml_collections.ConfigDict, steps_per_epoch: int, num_steps: int, peak: float | Array | None = None
) -> Callable[[Any], Any]:
    """The learning rate as a function of the step; `peak` stands for that of the config."""
    peak = config.learning_rate if peak is None else peak
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    after = max(1, num_steps - warmup_steps)
    main = optax.cosine_decay_schedule(peak, after) if config.schedule == 'cosine' else optax.constant_schedule(peak)
    if not warmup_steps:
        return main
    # The first step of the warm-up learns already.
    warmup = optax.linear_schedule(peak / warmup_steps, peak, max(1, warmup_steps - 1))
    return optax.join_schedules([warmup, main], [warmup_steps])


def make_optimizer(
    config: ml_collections.ConfigDict,
    learning_rate: Callable[[Any], Any],
    weight_decay: float | Array | None = None,
) -> optax.GradientTransformation:
    """The optimizer that a config asks for; `weight_decay` stands for that of the config."""
    decays = weight_decay is not None or config.weight_decay
    weight_decay = config.weight_decay if weight_decay is None else weight_decay
    parts = [] if config.grad_clip_norm is None else [optax.clip_by_global_norm(config.grad_clip_norm)]
    if config.optimizer == 'adamw':
        parts.append(optax.adamw(learning_rate, weight_decay=weight_decay, mask=_is_matrix))
    else:
        if decays:
            parts.append(optax.add_decayed_weights(weight_decay, mask=_is_matrix))
        parts.append(optax.sgd(learning_rate, momentum=config.momentum if config.optimizer == 'momentum' else None))
    return optax.chain(*parts)


def _is_matrix(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key.endswith('kernel'), params)


def create_train_state(
    model: models.LandmarkTransformer, optimizer: optax.GradientTransformation, dim: int, key: Array
) -> TrainState:
    """Initialises parameters for an input of width `dim`, and the optimizer."""
    landmarks, mask = jnp.zeros((1, 1, dim)), jnp.ones((1, 1), bool)
    params = jax.jit(model.init)(key, landmarks, mask)['params']
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=jax.jit(optimizer.init)(params))


def make_train_step(
    model: models.LandmarkTransformer, optimizer: optax.GradientTransformation, config: ml_collections.ConfigDict
) -> Callable[[TrainState, Batch, Array], tuple[TrainState, dict[str, Array]]]:
    """Makes the step that is mapped over the local devices.

    It takes the state, a batch of input_pipeline.batches and a key, and returns the next state and the sums of the
    batch over all devices: loss, correct and clips. The loss and its gradient are means over the real clips of all
    devices, so that empty slots count nothing.
    """
    step = _step_function(model, optimizer, config)
    return jax.pmap(step, axis_name=_DEVICES, in_axes=(None, 0, None), out_axes=(None, None), donate_argnums=0)


def _step_function(
    model: models.LandmarkTransformer,
    optimizer: optax.GradientTransformation,
    config: ml_collections.ConfigDict,
    *,
    divided: bool = True,
) -> Callable[[TrainState, Batch, Array], tuple[TrainState, dict[str, Array]]]:
    """The step of one device; `divided` where the batch is divided over all devices."""
    # For one device the sum would still copy every gradient.
    several = divided and jax.device_count() > 1

    def sum_over_devices(tree: Any) -> Any:
        return jax.lax.psum(tree, _DEVICES) if several else tree

    def train_step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(key, state.step)
        if several:
            key = jax.random.fold_in(key, jax.lax.axis_index(_DEVICES))
        noise_key, dropout_key = jax.random.split(key)
        landmarks, labels, weights = batch['landmarks'], batch['labels'], batch['weights']
        if config.noise_std or config.noise_mean:
            landmarks = landmarks + config.noise_mean + config.noise_std * _noise(noise_key, landmarks)
        clips = sum_over_devices(weights.sum())

        def loss_fn(params: Any) -> tuple[Array, Array]:
            logits = model.apply(
                {'params': params}, landmarks, batch['mask'], deterministic=False, rngs={'dropout': dropout_key}
            )
            targets = optax.smooth_labels(jax.nn.one_hot(labels, model.num_classes), config.label_smoothing)
            return (optax.softmax_cross_entropy(logits, targets) * weights).sum() / clips, logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        loss, grads = sum_over_devices((loss, grads))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        state = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
        correct = ((logits.argmax(axis=-1) == labels) * weights).sum()
        sums = {'loss': loss * clips, 'correct': sum_over_devices(correct), 'clips': clips}
        return state, sums

    return train_step


def _noise(key: Array, landmarks: Array) -> Array:
    """Standard normal, the same for a frame however many frames are padded behind it."""
    batch, time_, dim = landmarks.shape
    return jax.random.normal(key, (time_, batch, dim), landmarks.dtype).swapaxes(0, 1)


def keep_freed_memory() -> None:
    """Makes glibc keep the memory that a step frees for the next one, in large pages.

    By default it gives large blocks back, and the kernel clears them again, page by page, at every step: on a CPU, a
    third of a step of one clip and a fifth of one of 32. To be called before jax starts its threads.
    """
    trim_threshold, mmap_max, arena_max = -1, -4, -8
    huge_pages, reserved, page = 14, 1 << 30, 4096
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        for option, value in ((arena_max, 1), (mmap_max, 0), (trim_threshold, 2**31 - 1)):
            libc.mallopt(option, value)
        # The range stays reserved when it is freed; it takes no memory before it is used.
        block = libc.malloc(ctypes.c_size_t(reserved))
        if block:
            start = -(-block // page) * page
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(reserved - page), huge_pages)
            libc.free(ctypes.c_void_p(block))


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX_COMPILATION_CACHE_DIR says where."""
    if not jax.config.jax_compilation_cache_dir:
        folder = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
        jax.config.update('jax_compilation_cache_dir', os.path.join(folder, 'slr_jax'))
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
    # Where the folder cannot be used, programs are compiled.
    warnings.filterwarnings('ignore', message='Error (reading|writing) persistent compilation cache')


def make_eval_step(model: models.LandmarkTransformer) -> Callable[[Any, Batch], Array]:
    """Makes the step that is mapped over the devices: parameters and a batch -> logits of every slot."""
    return _map_eval(_eval_function(model))


def _eval_function(model: models.LandmarkTransformer) -> Callable[[Any, Batch], Array]:
    def eval_step(params: Any, batch: Batch) -> Array:
        return model.apply({'params': params}, batch['landmarks'], batch['mask'])

    return eval_step


def _map_eval(step: Callable[[Any, Batch], Array], *, spread: bool = False) -> Callable[[Any, Batch], Array]:
    if jax.process_count() == 1:
        return jax.pmap(step, axis_name=_DEVICES, in_axes=(0 if spread else None, 0))

    def gathered(params: Any, batch: Batch) -> Array:
        return jax.lax.all_gather(step(params, batch), _DEVICES)

    return jax.pmap(gathered, axis_name=_DEVICES, in_axes=(None, 0), out_axes=None)


def predict_logits(eval_step: Callable[[Any, Batch], Array], params: Any, features: list[np.ndarray]) -> np.ndarray:
    """Answers for every clip.

    Args:
        eval_step: of make_eval_step.
        params: of the model.
        features: of input_pipeline.prepare_features.

    Returns:
        <float32>[clips, classes], in the order of `features`.
    """
    return _predict(eval_step, params, [features])[0]


def _predict(
    eval_step: Callable[[Any, Batch], Array], params: Any, features: list[list[np.ndarray]], *, spread: bool = False
) -> np.ndarray:
    """<float32>[runs, clips, classes] of the features of each run; runs have as many clips each."""
    num_clips, orders = len(features[0]), [_by_length(of_run) for of_run in features]
    labels = np.zeros(num_clips, np.int32)
    batches = run_batches(
        [(of_run, labels, order) for of_run, order in zip(features, orders, strict=True)], EVAL_BATCH_SIZE, spread
    )
    logits = []
    for start, batch in zip(range(0, num_clips, EVAL_BATCH_SIZE), batches, strict=True):
        answers = np.asarray(eval_step(params, {name: batch[name] for name in ('landmarks', 'mask')}))
        if len(features) > 1 and not spread:
            answers = np.moveaxis(answers, 1, 0)
        answers = answers.reshape(len(features), -1, answers.shape[-1])
        logits.append(answers[:, : num_clips - start])
    sorted_logits = np.concatenate(logits, axis=1)
    result = np.empty_like(sorted_logits)
    for of_run, of_sorted, order in zip(result, sorted_logits, orders, strict=True):
        of_run[order] = of_sorted
    return result


def _by_length(features: Sequence[np.ndarray]) -> np.ndarray:
    return np.argsort([len(clip) for clip in features], kind='stable')


def run_batches(
    of_runs: Sequence[tuple[Sequence[np.ndarray], np.ndarray, np.ndarray]],
    batch_size: int,
    spread: bool,
    lengths: Sequence[int] = (),
) -> Iterator[Batch]:
    """Batches of features, labels and orders of runs, as this process feeds them to its devices."""
    first = jax.process_index() * jax.local_device_count()
    num_devices, devices = jax.device_count(), range(first, first + jax.local_device_count())
    if spread:
        num_devices, devices = 1, range(1)
    iterators = [input_pipeline.batches(*run, batch_size, num_devices, lengths, devices) for run in of_runs]
    return iterators[0] if len(iterators) == 1 else input_pipeline.stack_runs(iterators, spread=spread)


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str) -> dict[str, Any]:
    """Trains a model, or several with the same data, or goes on with what was stopped.

    Args:
        config: see configs/default.py.
        workdir: of the run; see checkpoint.py for what it holds. Several runs have a folder each in it.

    Returns:
        The metrics of the best epoch by validation accuracy; of several runs by name.

    Raises:
        InputError: the config, the dataset or the workdir is not what it should be, or a loss is not finite; of
            several runs when the others are done.
    """
    keep_freed_memory()
    check_config(config)
    dataset = dataset_lib.load_dataset(config.dataset)
    runs = runs_lib.list_runs(config)
    data = _data_of_runs(dataset, [runs_lib.config_of(config, run) for run in runs])
    if jax.process_index() == 0:
        checkpoint_lib.open_workdir(workdir, config, dataset)
        if runs[0].name:
            if not runs_lib.read_index(workdir):
                runs_lib.write_index(workdir, runs)
            for run, of_run in zip(runs, data, strict=True):
                checkpoint_lib.open_workdir(run.workdir(workdir), of_run.config, dataset)
    best, runs = _train_runs(config, workdir, dataset, runs, data)
    if not runs[0].name:
        return best['']
    _, stopped = runs_lib.split_stopped(runs)
    if jax.process_index() == 0:
        rows = [{'run': name, **row} for name, row in best.items()]
        files.write_csv(os.path.join(workdir, 'best_epochs.csv'), rows)
    if stopped:
        raise errors.InputError(f'{len(stopped)} of {len(runs)} runs stopped: {runs_lib.describe_stopped(stopped)}')
    return best


def _wait_for_all(what: str) -> None:
    """Waits for the other processes."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def _runs_at_once(config: ml_collections.ConfigDict, num_runs: int) -> int:
    if config.runs_at_once is not None:
        return min(config.runs_at_once, num_runs)
    one_cpu = jax.default_backend() == 'cpu' and jax.device_count() == 1
    return 1 if one_cpu or config.early_stop_epochs else num_runs


class _RunData:
    """The clips that one run trains and validates on."""

    def __init__(self, dataset: dataset_lib.Dataset, config: ml_collections.ConfigDict) -> None:
        self.config = config
        train, validation = input_pipeline.training_clips(dataset, config)
        models.check_num_heads(config.num_heads, input_pipeline.input_width(config, dataset.layout))
        self.train_labels, self.validation_labels = train.labels, validation and validation.labels
        self.train_features = input_pipeline.prepare_features(train, dataset.layout, config)
        self.validation_features = validation and input_pipeline.prepare_features(validation, dataset.layout, config)
        lengths = np.array([len(clip) for clip in self.train_features])
        self._buckets = input_pipeline.length_buckets(lengths, config.batch_size if config.bucket_by_length else 1)
        self.padded_lengths = [lengths[bucket].max() for bucket in self._buckets]
        self.description = (
            f'train on {input_pipeline.describe(train)}, validate on {input_pipeline.describe(validation)}'
        )

    def of(self, config: ml_collections.ConfigDict) -> '_RunData':
        """The same clips for a run that orders them by another seed."""
        other = copy.copy(self)
        other.config = config
        return other

    def epoch(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Features, labels and the order of an epoch."""
        config = self.config
        if config.bucket_by_length:
            order = input_pipeline.bucket_order(self._buckets, config.batch_size, config.seed, epoch)
        else:
            order = input_pipeline.epoch_order(len(self.train_features), config.seed, epoch)
        return self.train_features, self.train_labels, order


def _data_of_runs(dataset: dataset_lib.Dataset, configs: Sequence[ml_collections.ConfigDict]) -> list[_RunData]:
    first = _RunData(dataset, configs[0])
    draws = first.config.validation == 'from_train' or first.config.train_fraction < 1
    return [first, *(_RunData(dataset, config) if draws else first.of(config) for config in configs[1:])]


class Program:
    """The compiled steps of a number of runs that differ in keys and swept numbers only.

    With several devices, either each device has some of the runs, or the batches of all runs are divided over them.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        description: dataset_lib.Description,
        steps: tuple[int, int],
        num_runs: int,
    ) -> None:
        self.num_runs = num_runs
        self.spread = num_runs > 1 and jax.process_count() == 1 and _divides(jax.device_count(), num_runs)
        self._config, self._steps = config, steps
        self._model = checkpoint_lib.make_model(config, description)

        def one_run(state: TrainState, batch: Batch, key: Array, numbers: Mapping[str, Array]) -> Any:
            model = self._model
            if 'dropout_rate' in numbers:
                model = model.clone(dropout_rate=numbers['dropout_rate'])
            step = _step_function(model, self._optimizer(numbers), config, divided=not self.spread)
            return step(state, batch, key)

        step, eval_step = one_run, _eval_function(self._model)
        if num_runs > 1:
            step, eval_step = jax.vmap(step), jax.vmap(eval_step)
        state_axis = 0 if self.spread else None
        axes = jax.sharding.PartitionSpec(_DEVICES) if self.spread else jax.sharding.PartitionSpec()
        self._state_sharding = jax.sharding.NamedSharding(jax.sharding.Mesh(jax.devices(), (_DEVICES,)), axes)
        self.train_step = jax.pmap(
            step,
            axis_name=_DEVICES,
            in_axes=(state_axis, 0, state_axis, state_axis),
            out_axes=(state_axis, state_axis),
            # Of several processes, pmap would delete the state that it returned.
            donate_argnums=0,
        )
        self.eval_step = _map_eval(eval_step, spread=self.spread)

    def learning_rate(self, numbers: Mapping[str, Any]) -> Callable[[Any], Any]:
        """The learning rate of a run as a function of the step."""
        return learning_rate_schedule(self._config, *self._steps, numbers.get('learning_rate'))

    def _optimizer(self, numbers: Mapping[str, Any]) -> optax.GradientTransformation:
        return make_optimizer(self._config, self.learning_rate(numbers), numbers.get('weight_decay'))

    def initial_state(self, dim: int, seed: int, numbers: Mapping[str, float]) -> TrainState:
        """The state of one run before its first step."""
        return create_train_state(self._model, self._optimizer(numbers), dim, _keys(seed)[0])

    def join(self, trees: Sequence[Any]) -> Any:
        """Puts what each run has together, as the steps take it."""
        if self.num_runs == 1:
            return trees[0]
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *trees)
        return jax.tree.map(input_pipeline.spread_runs, stacked) if self.spread else stacked

    def join_states(self, states: Sequence[Any]) -> Any:
        """As join, and where the steps put states: for a state from elsewhere they would be compiled once more."""
        # From the host, as several processes cannot send what one of them has on its devices.
        return jax.device_put(jax.device_get(self.join(states)), self._state_sharding)

    def separate(self, tree: Any) -> list[Any]:
        """What each run has, on the host."""
        tree = jax.device_get(tree)
        if self.num_runs == 1:
            return [tree]
        if self.spread:
            tree = jax.tree.map(lambda x: x.reshape(self.num_runs, *x.shape[2:]), tree)
        return [jax.tree.map(lambda x, i=i: np.asarray(x[i]), tree) for i in range(self.num_runs)]


def _divides(divisor: int, number: int) -> bool:
    return divisor > 1 and number % divisor == 0


def _keys(seed: int) -> tuple[Array, Array]:
    """The keys of the initialisation and of the steps."""
    return tuple(jax.random.split(jax.random.key(seed)))


class _Group:
    """Runs that train in one program, step by step together; of the config, only what they share is read.

    Attributes:
        epochs_done: of every run of the group.
        steps_done: likewise.
    """

    def __init__(
        self,
        program: Program,
        config: ml_collections.ConfigDict,
        runs: Sequence[runs_lib.Run],
        data: Sequence[_RunData],
        of_runs: Sequence[run_files.RunFiles],
        dim: int,
    ) -> None:
        self._program, self._data, self.files = program, data, of_runs
        self._batch_size = config.batch_size
        numbers = [{name: np.float32(value) for name, value in run.settings.items()} for run in runs]
        states = [program.initial_state(dim, run.seed, of_run) for run, of_run in zip(runs, numbers, strict=True)]
        self.num_parameters = models.count_parameters(states[0].params)
        self._learning_rates = [program.learning_rate(of_run) for of_run in numbers]
        self._state = program.join_states(self._restore(states))
        self.steps_done = int(np.ravel(self._state.step)[0])
        self._step_keys = program.join([_keys(run.seed)[1] for run in runs])
        self._numbers = program.join(numbers)

    def _restore(self, states: Sequence[TrainState]) -> list[TrainState]:
        """The states of the latest checkpoint that all runs have."""
        self.epochs_done = 0
        steps = set.intersection(*(of_run.steps for of_run in self.files))
        if not steps:
            return list(states)
        restored = []
        for of_run, state in zip(self.files, states, strict=True):
            found = of_run.go_on_from(max(steps), _items(state))
            restored.append(TrainState(params=found['params'], **found['training']))
        self.epochs_done = len(self.files[0].rows)
        print(f'{self.files[0].prefix}going on after epoch {self.epochs_done}', flush=True)
        return restored

    def is_done(self, num_steps: int) -> bool:
        """Whether all steps are done, all runs were stopped, or the only run of the group stops early."""
        return self.steps_done >= num_steps or not self._going_on() or self.files[0].stops_early()

    def _going_on(self) -> list[int]:
        """The places of the runs that were not stopped."""
        return [i for i, of_run in enumerate(self.files) if not of_run.stopped_by]

    def run_epoch(self, num_steps: int, progress: '_Progress') -> None:
        """Trains an epoch, validates, and keeps both."""
        epoch, start = self.epochs_done + 1, time.perf_counter()
        sums = self._train(epoch, num_steps, progress)
        seconds = time.perf_counter() - start
        validated = self._validate()
        states = self._program.separate(self._state)
        for i in self._going_on():
            row = {
                'epoch': epoch,
                'step': self.steps_done,
                'train_loss': sums[i]['loss'] / sums[i]['clips'],
                'train_accuracy': sums[i]['correct'] / sums[i]['clips'],
                'learning_rate': float(self._learning_rates[i](self.steps_done - 1)),
                'clips_per_second': sums[i]['clips'] / seconds,
                **validated[i],
            }
            self.files[i].record(row, _items(states[i]))
            progress.epoch_done(self.files[i].prefix, row)
        self.epochs_done = epoch

    def _train(self, epoch: int, num_steps: int, progress: '_Progress') -> list[dict[str, float]]:
        of_runs = [of_run.epoch(epoch) for of_run in self._data]
        batches = run_batches(of_runs, self._batch_size, self._program.spread, self._data[0].padded_lengths)
        totals, pending = [dict.fromkeys(('loss', 'correct', 'clips'), 0.0) for _ in of_runs], []
        for batch in batches:
            if self.steps_done == num_steps or not self._going_on():
                break
            self._state, sums = self._program.train_step(self._state, batch, self._step_keys, self._numbers)
            self.steps_done += 1
            pending.append(sums)
            if len(pending) == _FETCH_STEPS or progress.is_first_step:
                self._add(totals, pending)
                self._tell(progress, len(pending), epoch, totals)
                pending = []
        self._add(totals, pending)
        self._tell(progress, len(pending), epoch, totals)
        return totals

    def _tell(self, progress: '_Progress', num_steps: int, epoch: int, totals: Sequence[dict[str, float]]) -> None:
        """Tells of the last steps, as of the first run that was not stopped."""
        for i in self._going_on()[:1]:
            progress.steps_done(num_steps, self.files[i].prefix, epoch, self.steps_done, totals[i])

    def _add(self, totals: Sequence[dict[str, float]], pending: Sequence[dict[str, Array]]) -> None:
        """Adds the sums of the last steps; a loss that is not finite stops its run."""
        first = self.steps_done - len(pending) + 1
        for step, of_step in enumerate(jax.device_get(pending), start=first):
            sums = {name: np.ravel(values) for name, values in of_step.items()}
            for i in self._going_on():
                if not np.isfinite(sums['loss'][i]):
                    self.files[i].stop(
                        f'the loss of step {step} is {sums["loss"][i] / sums["clips"][i]}, expected a finite number; a '
                        'lower config.learning_rate or config.grad_clip_norm, in a new workdir, may help'
                    )
                for name, values in sums.items():
                    totals[i][name] += float(values[i])

    def _validate(self) -> dict[int, dict[str, float]]:
        """Of the runs that were not stopped, by their place."""
        if self._data[0].validation_features is None:
            return {i: {} for i in self._going_on()}
        features = [of_run.validation_features for of_run in self._data]
        logits = _predict(self._program.eval_step, self._state.params, features, spread=self._program.spread)
        summaries = {i: metrics_lib.summarize(logits[i], self._data[i].validation_labels) for i in self._going_on()}
        return {i: {'validation_loss': x['loss'], 'validation_accuracy': x['accuracy']} for i, x in summaries.items()}


def _items(state: TrainState) -> dict[str, Any]:
    """What a checkpoint has of a state."""
    return {'params': state.params, 'training': {'step': state.step, 'opt_state': state.opt_state}}


def _train_runs(
    config: ml_collections.ConfigDict,
    workdir: str,
    dataset: dataset_lib.Dataset,
    runs: Sequence[runs_lib.Run],
    data: Sequence[_RunData],
) -> tuple[dict[str, dict[str, Any]], list[runs_lib.Run]]:
    """Trains runs to the end.

    Returns:
        The metrics of each run's best epoch, but of those that were stopped; and the runs, which tell these.
    """
    steps_per_epoch = input_pipeline.count_batches(len(data[0].train_labels), config.batch_size)
    num_steps = config.num_steps or config.num_epochs * steps_per_epoch
    dim = input_pipeline.input_width(config, dataset.layout)
    at_once = _runs_at_once(config, len(runs))
    is_first = jax.process_index() == 0
    if not is_first:
        _wait_for_all('workdir')
    of_runs = [
        run_files.RunFiles(run.name, run.workdir(workdir), of_run.config, writes=is_first, together=at_once > 1)
        for run, of_run in zip(runs, data, strict=True)
    ]
    if is_first:
        _wait_for_all('workdir')
    # Read now, when the first process has written it.
    runs = runs_lib.read_index(workdir) or list(runs)
    for of_run, run in zip(of_runs, runs, strict=True):
        of_run.stopped_by = run.stopped_by
    going_on = [i for i, run in enumerate(runs) if not run.stopped_by]
    programs, groups = {}, []
    for start in range(0, len(going_on), at_once):
        places = going_on[start : start + at_once]
        num_runs = len(places)
        if num_runs not in programs:
            programs[num_runs] = Program(config, dataset.description, (steps_per_epoch, num_steps), num_runs)
        parts = ([of_all[i] for i in places] for of_all in (runs, data, of_runs))
        groups.append(_Group(programs[num_runs], config, *parts, dim))
    if not groups:
        return {}, runs
    _wait_for_all('restored')
    print(
        f'{config.model}: {groups[0].num_parameters:,} parameters, input width {dim}, '
        f'{dataset.description.num_classes} classes, {jax.device_count()} device(s)\n{data[0].description}',
        flush=True,
    )
    if len(runs) > 1:
        print(f'{len(runs)} runs, {at_once} at once', flush=True)
    steps_left = sum(num_steps - group.steps_done for group in groups)
    progress = _Progress(-(-num_steps // steps_per_epoch), num_steps, steps_left)
    try:
        while unfinished := [group for group in groups if not group.is_done(num_steps)]:
            min(unfinished, key=lambda group: group.epochs_done).run_epoch(num_steps, progress)
            before = runs
            runs = [dataclasses.replace(run, stopped_by=x.stopped_by) for run, x in zip(runs, of_runs, strict=True)]
            if is_first and runs != before:
                runs_lib.write_index(workdir, runs)
        return {of_run.name: of_run.finish() for of_run in of_runs if not of_run.stopped_by}, runs
    finally:
        for of_run in of_runs:
            of_run.close()


class _Progress:
    """Says how far the runs are, and how long they will still take.

    Args:
        num_epochs: of each run.
        num_steps: of each run.
        steps_left: of all groups of runs together.
    """

    def __init__(self, num_epochs: int, num_steps: int, steps_left: int) -> None:
        self._num_epochs, self._num_steps, self._steps_left = num_epochs, num_steps, steps_left
        self._steps_done = 0
        self._start = self._last = time.perf_counter()

    @property
    def is_first_step(self) -> bool:
        """Whether no step is done yet, so that the next compiles."""
        return not self._steps_done

    def steps_done(self, count: int, prefix: str, epoch: int, step: int, total: Mapping[str, float]) -> None:
        """Counts steps; prints a line after the first, and if the last line is some seconds old."""
        is_first, loss = self.is_first_step, total['loss'] / total['clips']
        self._steps_done += count
        if is_first:
            print(f'{prefix}first step done, train loss {loss:.4f}', flush=True)
        elif time.perf_counter() - self._last > _PROGRESS_SECONDS:
            self._print(prefix, epoch, f'step {step}/{self._num_steps}, train loss {loss:.4f}')

    def epoch_done(self, prefix: str, row: Mapping[str, Any]) -> None:
        """Prints the line of an epoch."""
        self._print(prefix, row['epoch'], f'{run_files.describe(row)} | {row["clips_per_second"]:.1f} clips/s')

    def _print(self, prefix: str, epoch: int, text: str) -> None:
        self._last = time.perf_counter()
        seconds = (self._last - self._start) / max(1, self._steps_done) * (self._steps_left - self._steps_done)
        left = time.strftime('%H:%M:%S', time.gmtime(seconds)) if seconds < 86400 else f'{seconds / 86400:.1f} days'
        print(f'{prefix}epoch {epoch}/{self._num_epochs} | {text} | {left} left', flush=True)
