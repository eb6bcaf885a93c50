"""One training step: state, optimizer, loss and update, of one device."""

from collections.abc import Callable, Mapping, Sequence
import fnmatch
import functools
import math
import operator
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax

from slr_jax import devices, errors, memory, models
from slr_jax.models import gates
from slr_jax.models.fast import row_keys

Array = jax.Array
Piece = Mapping[str, Any]
Preparation = Callable[[Array, Piece], Piece]
Batch = Sequence[Piece]
Schedule = Callable[[Any], Any]
# Learning rate, dropout rate and weight decay: those that runs of one program differ in are <float32>[], traced; the
# others are constants of the program.
Hyperparameters = Mapping[str, float | Array]
TrainStep = Callable[['TrainState', Batch, Array, Mapping[str, Array]], tuple['TrainState', dict[str, Array]]]


class TrainState(flax.struct.PyTreeNode):
    """What a step changes: the number of steps done, the parameters, the state of the optimizer.

    With `config.ema`, also the average of the parameters, which is the model.
    """

    step: Array
    params: Any
    opt_state: Any
    average: Any = None

    @property
    def model_params(self) -> Any:
        """The parameters that the model is tested and used with: the average, where there is one."""
        return self.params if self.average is None else self.average

    def begin_with(self, params: Any) -> 'TrainState':
        """The state before the first step, with other parameters."""
        return self.replace(params=params, average=None if self.average is None else params)


class Steps(NamedTuple):
    """Steps of a run: per epoch, and in all."""

    per_epoch: int
    total: int


def all_hyperparameters(config: ml_collections.ConfigDict, swept: Mapping[str, Array]) -> Hyperparameters:
    """The hyperparameters of a run: the swept ones, and the others from the config."""
    return {name: config[name] for name in config.sweep} | dict(swept)


SCHEDULES = {
    'constant': lambda peak, num_steps: optax.constant_schedule(peak),
    'cosine': optax.cosine_decay_schedule,
}


def learning_rate_schedule(
    config: ml_collections.ConfigDict, hyperparameters: Hyperparameters, steps: Steps
) -> Schedule:
    """The learning rate as a function of the step."""
    peak = hyperparameters['learning_rate']
    warmup_steps = round(config.warmup_epochs * steps.per_epoch)
    main = SCHEDULES[config.schedule](peak, max(1, steps.total - warmup_steps))
    if not warmup_steps:
        return main
    # Start above zero, so that the first step has an effect.
    warmup = optax.linear_schedule(peak / warmup_steps, peak, max(1, warmup_steps - 1))
    return optax.join_schedules([warmup, main], [warmup_steps])


# Both learned masks by one name.
_FREEZE_ALIASES = {'mask': '*_mask'}


def _decay_mask(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key.endswith('kernel'), params)


def _gates_mask(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == models.GATES, params)


def _added_decay(weight_decay: float | Array) -> list[optax.GradientTransformation]:
    if isinstance(weight_decay, float) and not weight_decay:
        return []
    return [optax.add_decayed_weights(weight_decay, mask=_decay_mask)]


# Name -> the transformations of an optimizer, from config, learning rate and weight decay.
OPTIMIZERS: dict[str, Callable[..., list[optax.GradientTransformation]]] = {
    'sgd': lambda config, rate, decay: [*_added_decay(decay), optax.sgd(rate)],
    'momentum': lambda config, rate, decay: [*_added_decay(decay), optax.sgd(rate, momentum=config.momentum)],
    'adamw': lambda config, rate, decay: [optax.adamw(rate, weight_decay=decay, mask=_decay_mask)],
}


def make_optimizer(
    config: ml_collections.ConfigDict, hyperparameters: Hyperparameters, steps: Steps
) -> optax.GradientTransformation:
    """The optimizer that a config asks for; frozen parameters have no state of it, nor a part in the clipped norm."""
    clipping = [] if config.grad_clip_norm is None else [optax.clip_by_global_norm(config.grad_clip_norm)]
    rate = learning_rate_schedule(config, hyperparameters, steps)
    transformations = OPTIMIZERS[config.optimizer](config, rate, hyperparameters['weight_decay'])
    if config.mask_gates != 'none':
        transformations.append(optax.masked(optax.scale(config.gate_rate), _gates_mask))
    optimizer = optax.chain(*clipping, *transformations)
    if not config.freeze:
        return optimizer
    return optax.masked(optimizer, lambda params: jax.tree.map(operator.not_, frozen_parameters(config, params)))


def frozen_parameters(config: ml_collections.ConfigDict, params: Any) -> Any:
    """The tree of <bool> that says which parameters `config.freeze` keeps as they are.

    Args:
        config: of the run.
        params: of the model, or their shapes.

    Raises:
        InputError: a name is not of a parameter of the model, or none is left to train.
    """
    names = models.parameter_names(params)
    frozen = set()
    # On the command line, names with commas between them are one string.
    for pattern in (part for text in config.freeze or () for part in str(text).split(',')):
        matched = {name for name in names if _is_named(name, pattern)}
        if not matched:
            tops = list(dict.fromkeys(name.split('.')[0] for name in names))
            known = [*tops, *(alias for alias in _FREEZE_ALIASES if any(_is_named(name, alias) for name in names))]
            below = max(names, key=lambda name: name.count('.'))
            hint = errors.did_you_mean(pattern, [*names, *tops])
            raise errors.InputError(
                f'config.freeze: {pattern!r} is not a parameter of {config.model}, expected some of '
                f'{", ".join(known)}, a name below these such as {below}, or a pattern such as *.bias{hint}'
            )
        frozen |= matched
    if frozen == set(names):
        raise errors.InputError(f'config.freeze is {tuple(config.freeze)}, which leaves no parameter to train')
    return jax.tree.unflatten(jax.tree.structure(params), [name in frozen for name in names])


def count_frozen(config: ml_collections.ConfigDict, params: Any) -> int:
    """Number of values that `config.freeze` keeps."""
    if not config.freeze:
        return 0
    frozen = frozen_parameters(config, params)
    return sum(x.size for x, keep in zip(jax.tree.leaves(params), jax.tree.leaves(frozen), strict=True) if keep)


def _is_named(name: str, pattern: str) -> bool:
    pattern = _FREEZE_ALIASES.get(pattern, pattern)
    return any(fnmatch.fnmatchcase(name, form) for form in (pattern, f'{pattern}.*'))


def create_train_state(
    model: models.LandmarkTransformer,
    optimizer: optax.GradientTransformation,
    dim: int,
    key: Array,
    *,
    averages: bool = False,
) -> TrainState:
    """Initializes parameters for an input of width `dim`, the optimizer and, where there is one, the average."""
    landmarks, padding_mask = jnp.zeros((1, 1, dim)), jnp.ones((1, 1), bool)
    params = jax.jit(model.init)(key, landmarks, padding_mask)['params']
    # A copy, as a step overwrites both.
    average = jax.tree.map(jnp.copy, params) if averages else None
    return TrainState(jnp.zeros((), jnp.int32), params, jax.jit(optimizer.init)(params), average)


def make_train_step(
    model: models.LandmarkTransformer,
    config: ml_collections.ConfigDict,
    steps: Steps,
    *,
    prepare: Preparation | None = None,
    divide_batch: bool = True,
) -> TrainStep:
    """Makes the step of one device and one run.

    It takes the state, a batch of input_pipeline.batches, a key and the swept hyperparameters, and returns the next
    state and the sums over the batch: loss, correct and clips. The loss and its gradient are means over the real clips
    of all devices, so that empty rows count nothing; the gradient is that of loss plus `mask_price`. With
    `class_weights`, <float32>[classes], beside the swept hyperparameters, the loss of each clip is multiplied by the
    weight of its class; the mean is still over clips.

    Args:
        model: to train; its dropout rate is that of the hyperparameters, its late dropout begins as the config says.
        config: of the run.
        steps: of the run.
        prepare: makes what is fed of a key and a piece, see augment.make_preparation; None where batches hold features.
        divide_batch: whether each device has a part of the batch, and not a batch of its own.
    """
    # For one device the sum would still copy every gradient.
    is_divided = divide_batch and jax.device_count() > 1

    def sum_over_devices(tree: Any) -> Any:
        return jax.lax.psum(tree, devices.AXIS) if is_divided else tree

    def train_step(
        state: TrainState, batch: Batch, key: Array, swept: Mapping[str, Array]
    ) -> tuple[TrainState, dict[str, Array]]:
        hyperparameters, class_weights = all_hyperparameters(config, swept), swept.get('class_weights')
        trained_model = model.clone(
            dropout_rate=hyperparameters['dropout_rate'], **_late_dropout(model, config, steps, state.step)
        )
        optimizer = make_optimizer(config, hyperparameters, steps)
        key = jax.random.fold_in(key, state.step)
        noise_key, dropout_key = jax.random.split(key)
        clips = sum_over_devices(sum(piece['weights'].sum() for piece in batch))

        def loss_fn(params: Any, rows: Piece) -> tuple[Array, Array]:
            # Clips have a first frame; with one, an empty row is finite in any model, and its weight of 0 counts.
            padding_mask = rows['padding_mask'].at[:, 0].set(True)
            inputs, rngs = (rows['landmarks'], padding_mask), {'dropout': dropout_key}
            placed = trained_model.clone(places=rows['places']) if hasattr(trained_model, 'places') else trained_model
            logits: Any = placed.apply({'params': params}, *inputs, deterministic=False, rngs=rngs)
            labels, weights = rows['labels'], rows['weights']
            loss_weights = weights if class_weights is None else weights * class_weights[labels]
            targets = optax.smooth_labels(jax.nn.one_hot(labels, model.num_classes), config.label_smoothing)
            correct = ((logits.argmax(axis=-1) == labels) * weights).sum()
            return (optax.softmax_cross_entropy(logits, targets) * loss_weights).sum() / clips, correct

        gradient = functools.partial(jax.value_and_grad(loss_fn, has_aux=True), state.params)
        sums = []
        for piece in batch:
            # Keys 0 and 1 are those of noise and dropout.
            fed = piece if prepare is None else prepare(jax.random.fold_in(key, 2), piece)
            noisy = {**fed, 'landmarks': _add_noise(config, noise_key, fed)}
            sums.append(_sum_over_rows(gradient, noisy))
        (loss, correct), grads = sum_over_devices(jax.tree.map(lambda *x: sum(x), *sums))
        if config.mask_l1 or config.gate_price:
            grads = jax.tree.map(jnp.add, grads, jax.grad(mask_price)(state.params, config))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = _apply_updates(config, state.params, updates)
        average = _update_average(config, state, params)
        state = TrainState(state.step + 1, params, opt_state, average)
        return state, {'loss': loss * clips, 'correct': correct, 'clips': clips}

    return train_step


def mask_price(params: Any, config: ml_collections.ConfigDict) -> Array:
    """<float32>[], what the masks and gates of a model cost beside its loss, once a step.

    `config.mask_l1` times the mean |w| over the weights of all its masks, plus `config.gate_price` times the mean
    probability that a gate is open (Yamada et al., 2020).
    """
    price = jnp.zeros(())
    if config.mask_l1:
        masks = [params[name] for name in (models.ENCODER_MASK, models.DECODER_MASK) if name in params]
        price += config.mask_l1 * jnp.abs(jnp.concatenate(masks)).mean()
    if config.gate_price:
        price += config.gate_price * gates.share_open(params[models.GATES], config.gate_std)
    return price


def _apply_updates(config: ml_collections.ConfigDict, params: Any, updates: Any) -> Any:
    """The parameters of the next step, of which those of `config.freeze` are these very ones."""
    updated = optax.apply_updates(params, updates)
    if not config.freeze:
        return updated
    frozen = frozen_parameters(config, params)
    return jax.tree.map(lambda is_frozen, old, new: old if is_frozen else new, frozen, params, updated)


def _update_average(config: ml_collections.ConfigDict, state: TrainState, params: Any) -> Any:
    """The average after a step that leads from `state` to `params`; None without `config.ema`."""
    if state.average is None:
        return None
    # At first a shorter average, as its beginning is not trained.
    decay = jnp.minimum(config.ema, (1 + state.step) / (10 + state.step))
    # So written, parameters that stay the same have an average of the same bits.
    return jax.tree.map(lambda average, new: average + (1 - decay) * (new - average), state.average, params)


def _late_dropout(
    model: models.LandmarkTransformer, config: ml_collections.ConfigDict, steps: Steps, step: Array
) -> dict[str, Any]:
    """The field of a model that has late dropout: its rate at a step."""
    if not getattr(model, 'late_dropout_rate', 0.0):
        return {}
    first = round(config.late_dropout_epoch * steps.per_epoch)
    return {'late_dropout_rate': jnp.where(step < first, 0.0, config.late_dropout_rate)}


def _sum_over_rows(function: Callable[[Piece], Any], piece: Piece) -> Any:
    """The sum of function(rows) over as many rows as fit in memory, which mostly are all."""
    num_rows, num_frames = piece['padding_mask'].shape
    size = memory.rows_at_once(num_rows, num_frames)
    if size == num_rows:
        return function(piece)
    num_parts = math.ceil(num_rows / size)
    empty_rows = num_parts * size - num_rows

    def divide(x: Array) -> Array:
        padded = jnp.pad(x, [(0, empty_rows), *[(0, 0)] * (x.ndim - 1)])
        return padded.reshape(num_parts, size, *x.shape[1:])

    parts = jax.tree.map(divide, piece)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, jax.tree.map(lambda x: x[0], parts)))
    return jax.lax.scan(lambda sums, part: (jax.tree.map(jnp.add, sums, function(part)), None), zeros, parts)[0]


def _add_noise(config: ml_collections.ConfigDict, key: Array, piece: Piece) -> Array:
    """Adds Gaussian noise, the same for a clip in whichever row it is and however many frames are padded after it."""
    landmarks = piece['landmarks']
    if not (config.noise_std or config.noise_mean):
        return landmarks
    keys = row_keys(key, piece['places'])
    noise = jax.vmap(lambda key: jax.random.normal(key, landmarks.shape[1:], landmarks.dtype))(keys)
    return landmarks + config.noise_mean + config.noise_std * noise
