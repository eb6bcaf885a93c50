"""Stochastic gates and the prices of masks: formulas by hand, in a model, and in a step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from slr_jax import checkpoint, errors, masks, memory, models, train_step
from slr_jax import config as config_lib
from slr_jax.models import gates, published
from tests import workdirs
from tests.conftest import make_tiny_config
from tests.unit import test_train_step as steps

NUM_POINTS, CLASSES = 3, 4
WITH_MASK = ('class_query', 'sequence_query', 'conv_transformer')


def make(name='class_query', num_blocks=1, axes=2, **fields):
    """A model with gates, and drawn parameters of which the gates are closed, half open and open."""
    width = {'width': 12} if name == 'conv_transformer' else {}
    model = models.create_model(
        name, num_classes=CLASSES, num_heads=1, num_layers=1, mlp_dim=8, **{'mask_gates': 'point'} | width | fields
    )
    shapes = models.param_shapes(model, NUM_POINTS * axes * num_blocks)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape).astype(x.dtype), shapes)
    if 'gates' in params:
        params['gates'] = np.resize(np.float32([-0.75, 0.0, 0.75]), params['gates'].shape)
    return model, params


def clips(num_features, num_clips=3, num_frames=5):
    return np.random.default_rng(2).normal(size=(num_clips, num_frames, num_features)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(0,))
def apply(model, params, batch):
    return model.apply({'params': params}, batch, np.ones(batch.shape[:2], bool))


@functools.partial(jax.jit, static_argnums=(0,))
def train_apply(model, params, batch, seed=0, padding_mask=None):
    padding_mask = np.ones(batch.shape[:2], bool) if padding_mask is None else padding_mask
    rngs = {'dropout': jax.random.key(seed)}
    return model.apply({'params': params}, batch, padding_mask, deterministic=False, rngs=rngs)


def test_opening_and_share_by_hand():
    locations, noise = np.float32([-2, -0.5, -0.25, 0.25, 3]), np.float32([1, 1, 0, -1, -1])
    np.testing.assert_allclose(gates.opening(locations), [0, 0, 0.25, 0.75, 1])
    np.testing.assert_allclose(gates.opening(locations, noise, 0.5), [0, 0.5, 0.25, 0.25, 1])
    expected = scipy.stats.norm.cdf((locations.astype(float) + 0.5) / 0.3).mean()
    assert float(gates.share_open(locations, 0.3)) == pytest.approx(expected, rel=1e-5)


def test_draws_are_normal_and_of_each_clip():
    # Of 0.5 ± 0.1, hardly a gate is clipped.
    opening = np.asarray(gates.draw(jnp.array([0.0, 0.1]), 0.1, jax.random.split(jax.random.key(0), 20_000)))
    np.testing.assert_allclose(opening.mean(axis=0), [0.5, 0.6], atol=0.004)
    np.testing.assert_allclose(opening.std(axis=0), 0.1, atol=0.002)
    assert abs(np.corrcoef(opening.T)[0, 1]) < 0.03
    # Shares that are open in training are those that the price counts.
    opening = np.asarray(gates.draw(jnp.array([-0.75]), 0.5, jax.random.split(jax.random.key(1), 20_000)))
    assert (opening > 0).mean() == pytest.approx(float(gates.share_open(np.float32([-0.75]), 0.5)), abs=0.01)


@pytest.mark.parametrize(
    ('name', 'num_blocks', 'fields'),
    [
        ('class_query', 1, {}),
        ('sequence_query', 1, {'coordinates': 'xyz', 'axes': 3}),
        ('conv_transformer', 3, {'differences': 1, 'presence': True}),
        ('class_query', 3, {'differences': 1, 'presence': True, 'mask_gates': 'coordinate'}),
    ],
)
def test_gates_multiply_points_with_all_that_belongs_to_them(name, num_blocks, fields):
    model, params = make(name, num_blocks, **fields)
    axes, is_per_point = fields.get('axes', 2), model.mask_gates == 'point'
    assert params['gates'].shape == (NUM_POINTS * (1 if is_per_point else axes),)
    opening = np.clip(params['gates'] + 0.5, 0, 1)
    opening = np.tile(np.repeat(opening, axes) if is_per_point else opening, num_blocks)
    batch = clips(NUM_POINTS * axes * num_blocks)
    plain = model.clone(mask_gates='none')
    without = {key: value for key, value in params.items() if key != 'gates'}
    np.testing.assert_allclose(apply(model, params, batch), apply(plain, without, batch * opening), atol=1e-6)


def test_a_closed_point_has_no_effect_in_test_nor_training_far_below():
    model, params = make()
    batch = clips(NUM_POINTS * 2)
    other = batch.copy()
    other[..., :2] = 1e3
    np.testing.assert_array_equal(apply(model, params, batch), apply(model, params, other))
    params['gates'][0] = -20
    np.testing.assert_array_equal(train_apply(model, params, batch), train_apply(model, params, other))
    params['gates'][0] = 0
    assert (apply(model, params, batch) != apply(model, params, other)).any()


def test_gates_are_drawn_per_clip_in_training_only():
    model, params = make(dropout_rate=0.0)
    batch = np.repeat(clips(NUM_POINTS * 2, 1), 3, axis=0)
    trained, again, other = (np.asarray(train_apply(model, params, batch, seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(trained, again)
    assert (trained != other).any()
    assert len(np.unique(trained, axis=0)) == 3
    tested = np.asarray(apply(model, params, batch))
    np.testing.assert_array_equal(tested, apply(model, params, batch))
    np.testing.assert_allclose(tested, tested[:1].repeat(3, axis=0), atol=1e-6)


def test_both_masks_have_the_same_draw(monkeypatch):
    model, params = make('sequence_query', dropout_rate=0.0)
    batch = clips(NUM_POINTS * 2, 1)
    plain = model.clone(mask_gates='none')
    without = {key: value for key, value in params.items() if key != 'gates'}
    drawn, opening = [], jnp.float32([[0.2, 0.7, 1.0]])
    monkeypatch.setattr(published, 'draw', lambda *args: drawn.append(args) or opening)
    answer = jax.jit(lambda batch: train_apply.__wrapped__(model, params, batch))(batch)
    assert len(drawn) == 1
    np.testing.assert_allclose(answer, apply(plain, without, batch * np.repeat(opening, 2, axis=1)[:, None]), atol=1e-5)


@pytest.mark.parametrize('name', WITH_MASK)
def test_padding_and_other_clips_change_no_draw(name):
    model, params = make(name, dropout_rate=0.0)
    batch = clips(NUM_POINTS * 2)
    padded = np.full((4, 9, NUM_POINTS * 2), 1e6, np.float32)
    padding_mask = np.zeros((4, 9), bool)
    padded[:3, :5], padding_mask[:3, :5] = batch, True
    found = train_apply(model, params, padded, 0, padding_mask)
    np.testing.assert_allclose(found[:3], train_apply(model, params, batch), atol=1e-5)
    assert np.isfinite(found).all()


def test_runs_together_draw_the_bits_of_each_alone():
    def draw(locations, key):
        return gates.draw(locations, 0.5, jax.random.split(key, 7))

    locations = np.linspace(-1, 1, 15, dtype=np.float32).reshape(3, 5)
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(draw))(locations, keys)
    for i in range(3):
        np.testing.assert_array_equal(together[i], jax.jit(draw)(locations[i], keys[i]))


def test_without_gates_the_parameters_are_as_ever():
    model, _ = make(mask_gates='none')
    assert set(models.param_shapes(model, 6)) == {'class_query', 'classifier', 'decoder', 'encoder', 'encoder_mask'}
    init = jax.jit(model.clone(mask_gates='point').init)
    params = init(jax.random.key(0), jnp.zeros((1, 1, 6)), jnp.ones((1, 1), bool))
    np.testing.assert_array_equal(params['params']['gates'], 0.5)


def test_the_price_by_hand():
    config = config_lib.default_config()
    config.update({'mask_l1': 0.3, 'gate_price': 2.0, 'gate_std': 0.4})
    _, params = make('sequence_query')
    weights = np.concatenate([params['encoder_mask'], params['decoder_mask']]).astype(float)
    locations = params['gates'].astype(float)
    expected = 0.3 * np.abs(weights).mean() + 2 * scipy.stats.norm.cdf((locations + 0.5) / 0.4).mean()
    assert float(train_step.mask_price(params, config)) == pytest.approx(expected, rel=1e-5)
    gradient = jax.grad(train_step.mask_price)(params, config)
    np.testing.assert_allclose(
        gradient['encoder_mask'], 0.3 * np.sign(params['encoder_mask']) / len(weights), rtol=1e-5
    )
    by_hand = 2 * scipy.stats.norm.pdf((locations + 0.5) / 0.4) / 0.4 / len(locations)
    np.testing.assert_allclose(gradient['gates'], by_hand, rtol=1e-5)
    assert not gradient['classifier']['kernel'].any()


@pytest.mark.slow
def test_a_step_pays_once_and_reports_the_loss_without(monkeypatch):
    """SGD with and without prices: the parameters differ by the gradient of the price, though rows are divided."""
    monkeypatch.setattr(memory, 'rows_at_once', lambda num_rows, num_frames: 2)
    fields = {'mask_gates': 'point', 'gate_rate': 3.0}
    (priced, state), (free, _) = steps.make(mask_l1=0.5, gate_price=2.0, **fields), steps.make(**fields)
    (after, sums), (without, sums_without) = priced(state), free(state)
    assert float(sums['loss']) == float(sums_without['loss'])
    config = make_tiny_config('d', mask_l1=0.5, gate_price=2.0, **fields)
    gradient = jax.grad(train_step.mask_price)(state.params, config)
    moved = jax.tree.map(lambda a, b: b - a, after.params, without.params)
    np.testing.assert_allclose(moved['encoder_mask'], 0.1 * gradient['encoder_mask'], rtol=1e-2)
    np.testing.assert_allclose(moved['gates'], 0.1 * 3 * gradient['gates'], rtol=1e-3)
    assert not np.asarray(moved['classifier']['kernel']).any()


def test_weight_decay_leaves_gates_and_freezing_the_mask_as_well():
    fields = {'mask_gates': 'point', 'optimizer': 'adamw', 'weight_decay': 0.5, 'gate_rate': 3.0}
    config = make_tiny_config('d', **fields)
    optimizer = train_step.make_optimizer(config, train_step.all_hyperparameters(config, {}), steps.STEPS)
    params = {'classifier': {'kernel': np.ones((2, 2))}, 'encoder_mask': np.ones(6), 'gates': np.ones(3)}
    for gradient, moved in ((0.0, [True, False, False]), (1.0, [True, True, True])):
        gradients = jax.tree.map(lambda x, gradient=gradient: np.full_like(x, gradient), params)
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        assert [bool(np.any(x)) for x in jax.tree.leaves(updates)] == moved
    # Adam's first step is as long as the learning rate.
    np.testing.assert_allclose(updates['gates'], 3 * updates['encoder_mask'][:3], rtol=1e-6)
    for name, kept in (('mask', [False, True, False]), ('gates', [False, False, True])):
        config.freeze = (name,)
        assert jax.tree.leaves(train_step.frozen_parameters(config, params)) == kept


@pytest.mark.parametrize('kind', ['point', 'coordinate'])
def test_the_mask_is_what_is_multiplied(kind, tmp_path):
    description = workdirs.describe('mediapipe_hand')
    loaded = checkpoint.load_model(
        workdirs.write_workdir(tmp_path / 'w', description, model='sequence_query', mask_gates=kind)
    )
    opening = np.clip(loaded.params['gates'] + np.float32(0.5), 0, 1)
    opening = np.repeat(opening, 2) if kind == 'point' else opening
    for mask, name in zip(masks.model_masks(loaded), ('encoder_mask', 'decoder_mask'), strict=True):
        np.testing.assert_allclose(mask.weights.ravel(), loaded.params[name] * opening, rtol=1e-6)
        rows, by_axis = masks.point_table(mask), masks.coordinate_table(mask)
        np.testing.assert_allclose([row['gate'] for row in rows], opening.reshape(21, 2).mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose([row['gate'] for row in by_axis], opening, rtol=1e-6)
        assert 0 < np.count_nonzero(mask.point_gates) < 21 or kind == 'coordinate'
    (encoder, _) = masks.model_masks(loaded)
    (mean,) = masks.mean_masks(
        [[encoder], [masks.Mask(encoder.name, encoder.weights * 0, encoder.layout, 'signer', encoder.gates * 0)]]
    )
    np.testing.assert_allclose(mean.gates, encoder.gates / 2)
    np.testing.assert_allclose(mean.weights, encoder.weights / 2)
    without = masks.Mask(encoder.name, encoder.weights, encoder.layout, 'signer')
    assert 'gate' not in masks.point_table(without)[0]
    assert 'gate' not in masks.coordinate_table(without)[0]
    with pytest.raises(errors.InputError, match='2 kinds'):
        masks.mean_masks([[encoder], [without]])
