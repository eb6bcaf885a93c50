"""One step at a time, without runs: late dropout."""

import jax
import jax.numpy as jnp
import numpy as np

from slr_jax import models, train_step
from slr_jax.train_step import Steps
from tests.conftest import make_tiny_config

DIM, CLASSES = 6, 3
STEPS = Steps(per_epoch=2, total=8)
FIELDS = {'dropout_rate': 0.0, 'noise_std': 0.0, 'learning_rate': 0.1, 'num_heads': 2}
CONV = {'model': 'conv_transformer', 'width': 8, 'conv_blocks': 1, 'kernel_size': 3}


def make(**fields):
    """A jitted step, the state before it and a batch."""
    config = make_tiny_config('d', **FIELDS | fields)
    model = models.model_from_config(config, CLASSES)
    optimizer = train_step.make_optimizer(config, train_step.all_hyperparameters(config, {}), STEPS)
    state = train_step.create_train_state(model, optimizer, DIM, jax.random.key(0))
    rng = np.random.default_rng(0)
    piece = {
        'landmarks': rng.normal(size=(4, 5, DIM)).astype(np.float32),
        'padding_mask': np.ones((4, 5), bool),
        'labels': np.array([0, 1, 2, 0], np.int32),
        'weights': np.ones(4, np.float32),
    }
    step = jax.jit(train_step.make_train_step(model, config, STEPS, divide_batch=False))
    return lambda state: step(state, [piece], jax.random.key(1), {}), state


def test_late_dropout_is_off_before_its_epoch():
    (with_late, state), (without, _) = make(**CONV, late_dropout_rate=0.5, late_dropout_epoch=1.0), make(**CONV)
    for number in range(4):
        at_step = state.replace(step=jnp.int32(number))
        losses = [float(step(at_step)[1]['loss']) for step in (with_late, without)]
        assert (losses[0] == losses[1]) == (number < 2)


def test_late_dropout_of_a_model_that_has_none_is_ignored():
    step, state = make(late_dropout_rate=0.5)
    assert np.isfinite(step(state)[1]['loss'])
