"""Training: state, steps, and the loop over epochs."""

from collections.abc import Callable, Mapping
import contextlib
import ctypes
import math
import os
import time
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pandas as pd
import tensorboardX

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, figures, files, input_pipeline, models, normalize
from slr_jax import metrics as metrics_lib

Array = jax.Array
Batch = Mapping[str, Any]

EVAL_BATCH_SIZE = 32
# Losses are fetched, and checked, so many steps late, so that the device need not wait for the host.
_FETCH_STEPS = 64
_PROGRESS_SECONDS = 10.0
_CURVES_SECONDS = 30.0
_METRICS_COLUMNS = (
    'epoch',
    'step',
    'train_loss',
    'train_accuracy',
    'validation_loss',
    'validation_accuracy',
    'learning_rate',
    'clips_per_second',
)
_DEVICES = 'devices'


class TrainState(flax.struct.PyTreeNode):
    """What a step changes: the number of steps done, the parameters and the state of the optimizer."""

    step: Array
    params: Any
    opt_state: Any


def check_config(config: ml_collections.ConfigDict) -> None:
    """Raises InputError, naming the field, where a value is not legal."""
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
    config: ml_collections.ConfigDict, steps_per_epoch: int, num_steps: int
) -> Callable[[Any], Any]:
    """The learning rate as a function of the step."""
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    after = max(1, num_steps - warmup_steps)
    if config.schedule == 'cosine':
        main = optax.cosine_decay_schedule(config.learning_rate, after)
    else:
        main = optax.constant_schedule(config.learning_rate)
    if not warmup_steps:
        return main
    # The first step of the warm-up learns already.
    warmup = optax.linear_schedule(config.learning_rate / warmup_steps, config.learning_rate, max(1, warmup_steps - 1))
    return optax.join_schedules([warmup, main], [warmup_steps])


def make_optimizer(
    config: ml_collections.ConfigDict, learning_rate: Callable[[Any], Any]
) -> optax.GradientTransformation:
    """The optimizer that a config asks for."""
    parts = [] if config.grad_clip_norm is None else [optax.clip_by_global_norm(config.grad_clip_norm)]
    if config.optimizer == 'adamw':
        parts.append(optax.adamw(learning_rate, weight_decay=config.weight_decay, mask=_is_matrix))
    else:
        if config.weight_decay:
            parts.append(optax.add_decayed_weights(config.weight_decay, mask=_is_matrix))
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

    def train_step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.fold_in(key, state.step), jax.lax.axis_index(_DEVICES))
        noise_key, dropout_key = jax.random.split(key)
        landmarks, labels, weights = batch['landmarks'], batch['labels'], batch['weights']
        if config.noise_std or config.noise_mean:
            landmarks = landmarks + config.noise_mean + config.noise_std * _noise(noise_key, landmarks)
        clips = _sum_over_devices(weights.sum())

        def loss_fn(params: Any) -> tuple[Array, Array]:
            logits = model.apply(
                {'params': params}, landmarks, batch['mask'], deterministic=False, rngs={'dropout': dropout_key}
            )
            targets = optax.smooth_labels(jax.nn.one_hot(labels, model.num_classes), config.label_smoothing)
            return (optax.softmax_cross_entropy(logits, targets) * weights).sum() / clips, logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        loss, grads = _sum_over_devices((loss, grads))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        state = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
        correct = ((logits.argmax(axis=-1) == labels) * weights).sum()
        sums = {'loss': loss * clips, 'correct': _sum_over_devices(correct), 'clips': clips}
        return state, sums

    return jax.pmap(train_step, axis_name=_DEVICES, in_axes=(None, 0, None), out_axes=(None, None), donate_argnums=0)


def _noise(key: Array, landmarks: Array) -> Array:
    """Standard normal, the same for a frame however many frames are padded behind it."""
    batch, time_, dim = landmarks.shape
    return jax.random.normal(key, (time_, batch, dim), landmarks.dtype).swapaxes(0, 1)


def _sum_over_devices(tree: Any) -> Any:
    # For one device the sum would still copy every gradient.
    return jax.lax.psum(tree, _DEVICES) if jax.device_count() > 1 else tree


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


def make_eval_step(model: models.LandmarkTransformer) -> Callable[[Any, Batch], Array]:
    """Makes the step that is mapped over the local devices: parameters and a batch -> logits of every slot."""

    def eval_step(params: Any, batch: Batch) -> Array:
        return model.apply({'params': params}, batch['landmarks'], batch['mask'])

    return jax.pmap(eval_step, axis_name=_DEVICES, in_axes=(None, 0))


def predict_logits(eval_step: Callable[[Any, Batch], Array], params: Any, features: list[np.ndarray]) -> np.ndarray:
    """Answers for every clip.

    Args:
        eval_step: of make_eval_step.
        params: of the model.
        features: of input_pipeline.prepare_features.

    Returns:
        <float32>[clips, classes], in the order of `features`.
    """
    order = np.argsort([len(clip) for clip in features], kind='stable')
    labels = np.zeros(len(features), np.int32)
    num_devices = jax.local_device_count()
    logits = []
    for batch in input_pipeline.batches(features, labels, order, EVAL_BATCH_SIZE, num_devices):
        answers = np.asarray(eval_step(params, {name: batch[name] for name in ('landmarks', 'mask')}))
        logits.append(answers.reshape(-1, answers.shape[-1])[batch['weights'].ravel() > 0])
    sorted_logits = np.concatenate(logits)
    result = np.empty_like(sorted_logits)
    result[order] = sorted_logits
    return result


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str) -> dict[str, Any]:
    """Trains a model, or goes on with a run that was stopped.

    Args:
        config: see configs/default.py.
        workdir: of the run; see checkpoint.py for what it holds.

    Returns:
        The metrics of the best epoch by validation accuracy.

    Raises:
        InputError: the config, the dataset or the workdir is not what it should be, or a loss is not finite.
    """
    check_config(config)
    keep_freed_memory()
    dataset = dataset_lib.load_dataset(config.dataset)
    trainer = _Trainer(config, workdir, dataset)
    checkpoint_lib.open_workdir(workdir, config, dataset)
    return trainer.run()


class _Trainer:
    """One run: what stays the same over its epochs."""

    def __init__(self, config: ml_collections.ConfigDict, workdir: str, dataset: dataset_lib.Dataset) -> None:
        self.config, self.workdir = config, workdir
        self.num_devices = jax.local_device_count()
        self.last_drawn = time.perf_counter()
        train, validation = input_pipeline.training_clips(dataset, config)
        dim = input_pipeline.input_width(config, dataset.layout)
        models.check_num_heads(config.num_heads, dim)
        self.train_features = input_pipeline.prepare_features(train, dataset.layout, config)
        self.train_labels = train.labels
        lengths = np.array([len(clip) for clip in self.train_features])
        self.buckets = input_pipeline.length_buckets(lengths, config.batch_size if config.bucket_by_length else 1)
        self.padded_lengths = [lengths[bucket].max() for bucket in self.buckets]
        self.validation_features = validation and input_pipeline.prepare_features(validation, dataset.layout, config)
        self.validation_labels = validation and validation.labels

        self.steps_per_epoch = input_pipeline.count_batches(len(train), config.batch_size)
        self.num_steps = config.num_steps or config.num_epochs * self.steps_per_epoch
        self.num_epochs = -(-self.num_steps // self.steps_per_epoch)
        self.learning_rate = learning_rate_schedule(config, self.steps_per_epoch, self.num_steps)

        self.model = checkpoint_lib.make_model(config, dataset.description)
        optimizer = make_optimizer(config, self.learning_rate)
        init_key, self.step_key = jax.random.split(jax.random.key(config.seed))
        self.state = create_train_state(self.model, optimizer, dim, init_key)
        self.train_step = make_train_step(self.model, optimizer, config)
        self.eval_step = make_eval_step(self.model)
        print(
            f'{config.model}: {models.count_parameters(self.state.params):,} parameters, input width {dim}, '
            f'{dataset.description.num_classes} classes, {self.num_devices} device(s)\n'
            f'train on {input_pipeline.describe(train)}, validate on {input_pipeline.describe(validation)}',
            flush=True,
        )

    def run(self) -> dict[str, Any]:
        """Trains to the end; returns the metrics of the best epoch."""
        checkpoints = checkpoint_lib.Checkpoints(
            self.workdir, read_only=False, published=self.config.keep_published_checkpoints
        )
        rows = self._resume(checkpoints)
        progress = _Progress(self.num_epochs, self.num_steps, int(self.state.step))
        with tensorboardX.SummaryWriter(
            os.path.join(self.workdir, 'tensorboard'), purge_step=int(self.state.step), write_to_disk=True
        ) as writer:
            while int(self.state.step) < self.num_steps and not self._stops_early(rows):
                row = self._run_epoch(len(rows) + 1, progress)
                rows.append(row)
                self._write(rows, writer)
                items = {'params': self.state.params, 'training': self._training_items()}
                checkpoints.save(row['step'], items, row)
        self._draw_curves(rows)
        best = max(rows, key=checkpoint_lib.rank)
        print(f'best epoch {best["epoch"]}: {_describe_row(best)}', flush=True)
        return best

    def _training_items(self) -> dict[str, Any]:
        return {'step': self.state.step, 'opt_state': self.state.opt_state}

    def _resume(self, checkpoints: checkpoint_lib.Checkpoints) -> list[dict[str, Any]]:
        """Restores the latest checkpoint; returns the rows of the epochs that it has seen."""
        metrics = checkpoints.metrics()
        if not metrics:
            return []
        latest = max(metrics)
        like = {'params': self.state.params, 'training': self._training_items()}
        restored = checkpoints.restore(latest, like)
        self.state = TrainState(params=restored['params'], **restored['training'])
        rows = _read_rows(os.path.join(self.workdir, 'metrics.csv'), metrics[latest]['epoch'])
        print(f'going on after epoch {len(rows)}', flush=True)
        return rows

    def _stops_early(self, rows: list[dict[str, Any]]) -> bool:
        patience = self.config.early_stop_epochs
        if not patience or not rows:
            return False
        best = max(rows, key=lambda row: (row['validation_accuracy'], -row['epoch']))
        return len(rows) - best['epoch'] >= patience

    def _run_epoch(self, epoch: int, progress: '_Progress') -> dict[str, Any]:
        start = time.perf_counter()
        sums = self._train_epoch(epoch, progress)
        seconds = time.perf_counter() - start
        step = int(self.state.step)
        row = dict.fromkeys(_METRICS_COLUMNS)
        row |= {
            'epoch': epoch,
            'step': step,
            'train_loss': sums['loss'] / sums['clips'],
            'train_accuracy': sums['correct'] / sums['clips'],
            'learning_rate': float(self.learning_rate(step - 1)),
            'clips_per_second': sums['clips'] / seconds,
        }
        if self.validation_features is not None:
            logits = predict_logits(self.eval_step, self.state.params, self.validation_features)
            summary = metrics_lib.summarize(logits, self.validation_labels)
            row |= {'validation_loss': summary['loss'], 'validation_accuracy': summary['accuracy']}
        progress.epoch_done(epoch, step, row)
        return row

    def _train_epoch(self, epoch: int, progress: '_Progress') -> dict[str, float]:
        config = self.config
        if config.bucket_by_length:
            order = input_pipeline.bucket_order(self.buckets, config.batch_size, config.seed, epoch)
        else:
            order = input_pipeline.epoch_order(len(self.train_features), config.seed, epoch)
        batches = input_pipeline.batches(
            self.train_features, self.train_labels, order, config.batch_size, self.num_devices, self.padded_lengths
        )
        first_step = int(self.state.step)
        total, pending = {'loss': 0.0, 'correct': 0.0, 'clips': 0.0}, []
        for step, batch in enumerate(batches, start=first_step):
            if step == self.num_steps:
                break
            self.state, sums = self.train_step(self.state, batch, self.step_key)
            pending.append(sums)
            if len(pending) == _FETCH_STEPS:
                _add_sums(total, pending, step + 1)
                pending = []
                progress.step_done(epoch, step + 1, total)
        _add_sums(total, pending, first_step + self._steps_of(epoch))
        return total

    def _steps_of(self, epoch: int) -> int:
        return min(self.steps_per_epoch, self.num_steps - (epoch - 1) * self.steps_per_epoch)

    def _write(self, rows: list[dict[str, Any]], writer: tensorboardX.SummaryWriter) -> None:
        files.write_csv(os.path.join(self.workdir, 'metrics.csv'), rows, _METRICS_COLUMNS)
        if time.perf_counter() - self.last_drawn > _CURVES_SECONDS:
            self._draw_curves(rows)
        for name, value in rows[-1].items():
            if value is not None and name not in ('epoch', 'step'):
                writer.add_scalar(name, value, rows[-1]['step'])
        writer.flush()

    def _draw_curves(self, rows: list[dict[str, Any]]) -> None:
        figures.save(figures.draw_curves(rows), os.path.join(self.workdir, 'curves'))
        self.last_drawn = time.perf_counter()


def _add_sums(total: dict[str, float], pending: list[dict[str, Array]], end_step: int) -> None:
    """Adds the sums of steps up to `end_step`; InputError at the first loss that is not finite."""
    for step, sums in enumerate(jax.device_get(pending), start=end_step - len(pending) + 1):
        if not np.isfinite(sums['loss']):
            raise errors.InputError(
                f'the loss of step {step} is {sums["loss"] / sums["clips"]}, expected a finite number; a lower '
                'config.learning_rate or config.grad_clip_norm, in a new workdir, may help'
            )
        for name, value in sums.items():
            total[name] += float(value)


def _read_rows(path: str, num_rows: int) -> list[dict[str, Any]]:
    """The first rows of metrics.csv; those behind belong to an epoch that will be run again."""
    try:
        table = pd.read_csv(path).head(num_rows).astype(object)
    except ValueError as error:
        raise errors.InputError(f'{path} is damaged: {errors.one_line(error)}') from error
    if tuple(table.columns) != _METRICS_COLUMNS or len(table) != num_rows:
        raise errors.InputError(f'{path} is damaged, expected {num_rows} rows of {", ".join(_METRICS_COLUMNS)}')
    return table.where(table.notna(), None).to_dict('records')


def _describe_row(row: Mapping[str, Any]) -> str:
    text = f'train loss {row["train_loss"]:.4f}, accuracy {row["train_accuracy"]:.3f}'
    if row['validation_accuracy'] is not None:
        text += f' | validation loss {row["validation_loss"]:.4f}, accuracy {row["validation_accuracy"]:.3f}'
    return text


class _Progress:
    """Says how far a run is, and how long it will still take."""

    def __init__(self, num_epochs: int, num_steps: int, first_step: int) -> None:
        self._num_epochs, self._num_steps, self._first_step = num_epochs, num_steps, first_step
        self._start = self._last = time.perf_counter()

    def step_done(self, epoch: int, step: int, total: Mapping[str, float]) -> None:
        """Prints a line if the last one is some seconds old."""
        if time.perf_counter() - self._last > _PROGRESS_SECONDS:
            self._print(epoch, step, f'step {step}/{self._num_steps}, train loss {total["loss"] / total["clips"]:.4f}')

    def epoch_done(self, epoch: int, step: int, row: Mapping[str, Any]) -> None:
        """Prints the line of an epoch."""
        self._print(epoch, step, f'{_describe_row(row)} | {row["clips_per_second"]:.1f} clips/s')

    def _print(self, epoch: int, step: int, text: str) -> None:
        self._last = time.perf_counter()
        seconds = (self._last - self._start) / max(1, step - self._first_step) * (self._num_steps - step)
        left = time.strftime('%H:%M:%S', time.gmtime(seconds)) if seconds < 86400 else f'{seconds / 86400:.1f} days'
        print(f'epoch {epoch}/{self._num_epochs} | {text} | {left} left', flush=True)
