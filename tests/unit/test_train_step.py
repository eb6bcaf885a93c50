"""One step at a time, without runs: late dropout, and the average of the parameters."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slr_jax import models, train_step
from slr_jax.train_step import Steps
from tests.conftest import ROOT, make_tiny_config

DIM, CLASSES = 6, 3
STEPS = Steps(per_epoch=2, total=8)
FIELDS = {'dropout_rate': 0.0, 'noise_std': 0.0, 'learning_rate': 0.1, 'num_heads': 2}
CONV = {'model': 'conv_transformer', 'width': 8, 'conv_blocks': 1, 'kernel_size': 3}


def make(**fields):
    """A jitted step, the state before it and a batch."""
    config = make_tiny_config('d', **FIELDS | fields)
    model = models.model_from_config(config, CLASSES)
    optimizer = train_step.make_optimizer(config, train_step.all_hyperparameters(config, {}), STEPS)
    averages = config.ema is not None
    state = train_step.create_train_state(model, optimizer, DIM, jax.random.key(0), averages=averages)
    rng = np.random.default_rng(0)
    piece = {
        'landmarks': rng.normal(size=(4, 5, DIM)).astype(np.float32),
        'padding_mask': np.ones((4, 5), bool),
        'labels': np.array([0, 1, 2, 0], np.int32),
        'places': np.arange(4, dtype=np.uint32),
        'weights': np.ones(4, np.float32),
    }
    step = jax.jit(train_step.make_train_step(model, config, STEPS, divide_batch=False))

    def apply(state, cuts=(), empty_rows=0):
        padded = {name: np.pad(x, [(0, empty_rows), *[(0, 0)] * (x.ndim - 1)]) for name, x in piece.items()}
        return step(state, divide(padded, cuts), jax.random.key(1), {})

    return apply, state


def divide(piece, cuts):
    """The piece as pieces that end at these rows."""
    parts = {name: np.split(x, cuts) for name, x in piece.items()}
    return [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]


def test_step_of_two_pieces_is_that_of_the_batch():
    step, state = make()
    (whole, sums), (divided, other_sums) = step(state), step(state, cuts=[3])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole.params, divided.params)
    np.testing.assert_allclose(list(sums.values()), list(other_sums.values()), rtol=1e-5)
    assert np.abs(whole.params['class_query'] - state.params['class_query']).max() > 1e-3


@pytest.mark.slow
def test_late_dropout_is_off_before_its_epoch():
    (with_late, state), (without, _) = make(**CONV, late_dropout_rate=0.5, late_dropout_epoch=1.0), make(**CONV)
    for number in range(4):
        at_step = state.replace(step=jnp.int32(number))
        losses = [float(step(at_step)[1]['loss']) for step in (with_late, without)]
        assert (losses[0] == losses[1]) == (number < 2)


class MeanOfFrames(models.LandmarkTransformer):
    """A model of one's own that does not think of rows without frames."""

    def encode_clip(self, landmarks, padding_mask, deterministic):
        weights = padding_mask[..., None]
        return (landmarks * weights).sum(axis=1) / weights.sum(axis=1)


@pytest.fixture(params=['page', 'careless'])
def own_model(request, monkeypatch):
    monkeypatch.setattr(models, 'MODELS', dict(models.MODELS))
    own = MeanOfFrames
    if request.param == 'page':
        (code,) = re.findall(
            r'import flax.*?(?=\n\nmodels\.MODELS)', (ROOT / 'docs' / 'python.md').read_text(), re.DOTALL
        )
        names = {'__name__': 'python_page'}
        exec(compile(code, 'docs/python.md', 'exec'), names)
        own = names['MeanOfFrames']
    models.MODELS['mean_of_frames'] = own


def test_a_model_of_ones_own_learns_from_a_batch_with_empty_rows(own_model):
    step, state = make(model='mean_of_frames', dropout_rate=0.2)
    (whole, _), (padded, sums) = step(state), step(state, empty_rows=3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole.params, padded.params)
    assert np.isfinite(sums['loss'])


def test_late_dropout_of_a_model_that_has_none_is_ignored():
    step, state = make(late_dropout_rate=0.5)
    assert np.isfinite(step(state)[1]['loss'])


@pytest.mark.slow
@pytest.mark.parametrize('decay', [0.15, 0.9])
def test_the_average_equals_one_by_hand(decay):
    step, state = make(ema=decay)
    plain_step, plain = make()
    expected = jax.tree.map(lambda x: np.asarray(x, np.float64), state.params)
    jax.tree.map(np.testing.assert_array_equal, state.average, state.params)
    for share in (1 / 10, 2 / 11, 3 / 12):
        state, plain = step(state)[0], plain_step(plain)[0]
        d = min(decay, share)
        expected = jax.tree.map(lambda a, p, d=d: d * a + (1 - d) * np.asarray(p, np.float64), expected, state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.average, expected)
    # What is trained does not know of it.
    jax.tree.map(np.testing.assert_array_equal, state.params, plain.params)
    assert plain.average is None
    assert state.model_params is state.average
    assert plain.model_params is plain.params


def test_the_average_of_frozen_parameters_is_theirs_bit_for_bit():
    step, state = make(ema=0.9, freeze=('encoder', 'mask'))
    before = jax.tree.map(np.asarray, state.params)
    for _ in range(3):
        state, _ = step(state)
    for name in ('encoder', 'encoder_mask'):
        jax.tree.map(np.testing.assert_array_equal, state.average[name], before[name])
    assert (state.average['classifier']['kernel'] != before['classifier']['kernel']).any()
