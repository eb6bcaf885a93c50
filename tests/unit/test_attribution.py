"""Rankings of points, beside NumPy: by hand for a linear model, and frame by frame for attention."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from slr_jax import attribution, errors, inference, interpretation, models
from slr_jax import features as features_lib
from tests import workdirs
from tests.conftest import make_tiny_config

NUM_POINTS, DIM, CLASSES = 21, 42, 3
SILENT = 5  # A point that the linear model does not read.


class Linear(nn.Module):
    """The mean of the real frames × a mask, then a matrix."""

    @nn.compact
    def __call__(self, landmarks, padding_mask):
        mask = self.param(models.ENCODER_MASK, nn.initializers.ones, landmarks.shape[-1:])
        weights = padding_mask[..., None]
        mean = (landmarks * mask * weights).sum(axis=1) / jnp.maximum(weights.sum(axis=1), 1)
        return nn.Dense(CLASSES, name='classifier')(mean)


@pytest.fixture(scope='module')
def clips(tiny_dataset):
    return tiny_dataset.split('validation')


def load(module, params, description, **fields):
    return inference.LoadedModel(module, params, make_tiny_config('', **fields), description, 1, {}, 'its step')


def draw(model, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4, DIM)), jnp.ones((1, 4), bool))['params']
    return jax.tree.map(lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), shapes)


@pytest.fixture(scope='module')
def linear(tiny_dataset):
    params = draw(Linear())
    params['classifier']['kernel'][[2 * SILENT, 2 * SILENT + 1]] = 0
    return load(Linear(), params, tiny_dataset.description)


@pytest.fixture(scope='module')
def frames(linear, clips):
    """What the model is fed, <float64>[frames, points, 2] of each clip."""
    fed = features_lib.Features('mediapipe_hand').compute(clips.landmarks)
    return [clip.reshape(len(clip), NUM_POINTS, 2).astype(np.float64) for clip in fed]


def coefficients(linear, clips):
    """<float64>[clips, points, 2], by which the mean frame makes the logit of the true class."""
    kernel = linear.params['classifier']['kernel'][:, clips.labels].T
    return (kernel * linear.params['encoder_mask']).reshape(-1, NUM_POINTS, 2)


def test_rankings_of_the_mask(linear, clips, frames):
    weights = linear.params['encoder_mask'].reshape(NUM_POINTS, 2)
    np.testing.assert_array_equal(attribution.signed_mean(linear), weights)
    np.testing.assert_array_equal(attribution.absolute(linear), np.abs(weights))
    deviation = np.concatenate(frames).std(axis=0)
    np.testing.assert_allclose(attribution.scaled(linear, clips), np.abs(weights) * deviation, rtol=1e-5)


def test_gradients_of_a_linear_model(linear, clips, frames):
    means = np.array([clip.mean(axis=0) for clip in frames])
    slopes = coefficients(linear, clips)
    expected = np.abs(slopes * means).mean(axis=0)
    np.testing.assert_allclose(attribution.gradient_times_input(linear, clips), expected, rtol=1e-4, atol=1e-7)
    moved = slopes * (means - np.concatenate(frames).mean(axis=0))
    np.testing.assert_allclose(attribution.integrated_gradients_per_clip(linear, clips), moved, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        attribution.integrated_gradients(linear, clips), np.abs(moved).mean(axis=0), rtol=1e-4, atol=1e-6
    )


def test_permutation_is_the_rise_of_the_loss(linear, clips, frames):
    def losses(clip_frames):
        means = np.array([clip.mean(axis=0).ravel() for clip in clip_frames])
        logits = (means * linear.params['encoder_mask']) @ linear.params['classifier']['kernel']
        logits += linear.params['classifier']['bias']
        return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(clips)), clips.labels]

    rng, expected = np.random.default_rng(7), np.zeros(NUM_POINTS)
    for _ in range(4):
        order = list(rng.permutation(len(clips)))
        for point in range(NUM_POINTS):
            exchanged = []
            for i, clip in enumerate(frames):
                other = frames[order[order.index(i) - 1]]
                exchanged.append(clip.copy())
                for t in range(len(clip)):
                    exchanged[-1][t, point] = other[round(t * (len(other) - 1) / (len(clip) - 1)), point]
            expected[point] += (losses(exchanged) - losses(frames)).mean() / 4
    found = attribution.permutation(linear, clips, 7)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[SILENT] == 0
    assert np.count_nonzero(found) == NUM_POINTS - 1


def test_permutation_needs_another_clip(linear, clips):
    with pytest.raises(errors.InputError, match='found 1 clips, expected at least 2'):
        attribution.permutation(linear, clips.take([0]), 0)


def real(name, description, **fields):
    model = models.create_model(name, num_classes=CLASSES, num_heads=7, num_layers=2, mlp_dim=8)
    return load(model, draw(model), description, model=name, **fields)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['class_query', 'sequence_query'])
def test_integrated_gradients_add_up_to_the_difference_of_logits(tiny_dataset, clips, name):
    loaded = real(name, tiny_dataset.description)
    fed = loaded.features.compute(clips.landmarks)
    mean = np.concatenate(fed).mean(axis=0)

    @jax.jit
    def logits(clip):
        return loaded.model.apply({'params': loaded.params}, clip[None], jnp.ones((1, len(clip)), bool))[0]

    found = attribution.integrated_gradients_per_clip(loaded, clips).sum(axis=(1, 2))
    expected = [
        (logits(clip) - logits(np.broadcast_to(mean, clip.shape)))[label]
        for clip, label in zip(fed, clips.labels, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())


def layers_of_attention(loaded, clip):
    """Stack -> kind -> <float>[layers, target, source], mean over heads, of a clip alone."""
    padding_mask = np.ones((1, len(clip)), bool)
    _, sown = loaded.model.apply({'params': loaded.params}, clip[None], padding_mask, mutable='intermediates')
    return {
        stack: {kind: np.array(x['attention_weights'][0][:, 0].mean(axis=1)) for kind, x in layers['layers'].items()}
        for stack, layers in sown['intermediates'].items()
    }


@pytest.mark.parametrize('name', ['class_query', 'sequence_query'])
def test_attention_rollout(tiny_dataset, clips, name):
    loaded, expected = real(name, tiny_dataset.description), 0
    for clip in loaded.features.compute(clips.landmarks):
        attention, eye = layers_of_attention(loaded, clip), np.eye(len(clip))
        encoder, decoder = attention['encoder']['self_attention'], attention['decoder']
        encoded = (eye + encoder[1]) / 2 @ (eye + encoder[0]) / 2
        if name == 'class_query':
            first, second = (layer @ encoded for layer in decoder['cross_attention'])
            weights = first[0] / 4 + second[0] / 2
        else:
            state = eye
            for own, cross in zip(decoder['self_attention'], decoder['cross_attention'], strict=True):
                state = (state + own @ state) / 2
                state = (state + cross @ encoded) / 2
            weights = state.mean(axis=0)
        expected += (weights / weights.sum()) @ np.abs(clip) / len(clips)
    found = attribution.attention_rollout(loaded, clips)
    np.testing.assert_allclose(found, expected.reshape(NUM_POINTS, 2), rtol=1e-4)


def test_rollout_needs_attention(linear, clips):
    with pytest.raises(errors.InputError, match=r'Linear\b.*attention'):
        attribution.attention_rollout(linear, clips)


def test_blocks_of_features_count_together(linear):
    blocks = np.arange(2 * DIM, dtype=np.float64)
    expected = (blocks[:DIM] + blocks[DIM:]).reshape(NUM_POINTS, 2)
    np.testing.assert_array_equal(attribution._by_point(linear, blocks), expected)
    of_points = attribution._features_of_points(linear, 2 * DIM)
    assert not of_points[0].any()
    assert np.flatnonzero(of_points[1 + 3]).tolist() == [6, 7, 48, 49]


@pytest.mark.parametrize('name', ['permutation', 'integrated_gradients'])
def test_same_seed_same_ranking_however_much_is_computed_at_once(monkeypatch, tiny_dataset, clips, name):
    monkeypatch.setattr(attribution, '_NUM_NODES', 4)
    loaded = real('class_query', tiny_dataset.description)
    first = attribution.RANKINGS[name](loaded, clips, 3)
    assert first.shape in {(NUM_POINTS, 2), (NUM_POINTS,)}
    assert first.dtype == np.float64
    monkeypatch.setattr('slr_jax.memory._MAX_PAIRS', 2 * 32**2)
    attribution._map_rows.clear_cache()
    second = attribution.RANKINGS[name](loaded, clips, 3)
    attribution._map_rows.clear_cache()
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)


def test_a_model_without_mask(tiny_dataset, clips):
    loaded = real('spoter_no_pe', tiny_dataset.description)
    for name in ('signed_mean', 'absolute', 'scaled'):
        with pytest.raises(errors.InputError, match=r'spoter_no_pe\b.*mask'):
            attribution.RANKINGS[name](loaded, clips, 0)
    assert attribution.RANKINGS['permutation'](loaded, clips, 0).shape == (NUM_POINTS,)


def test_unknown_ranking():
    with pytest.raises(errors.InputError, match=r"'lime'.*signed_mean.*random"):
        attribution.find_ranking('lime')


def test_both_masks_count(tiny_dataset):
    loaded = real('sequence_query', tiny_dataset.description)
    both = [loaded.params[name].reshape(NUM_POINTS, 2) for name in (models.ENCODER_MASK, models.DECODER_MASK)]
    np.testing.assert_allclose(attribution.absolute(loaded), (np.abs(both[0]) + np.abs(both[1])) / 2)


@pytest.mark.slow
def test_interpret_writes_a_ranking_of_several_runs(tiny_dataset, tiny_dir, tmp_path):
    description = dataclasses.replace(tiny_dataset.description, informative_points=(1, 2))
    workdir = workdirs.write_runs(tmp_path / 'w', description, (0, 1), dataset=tiny_dir, model='spoter_no_pe')
    interpretation.interpret(workdir, str(tmp_path / 'out'), ranking='permutation')
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    pictures = {f'{name}.{kind}' for name in ('bars', 'figure') for kind in ('png', 'svg')}
    assert names == {'points.csv', 'runs.csv', 'auroc.json', 'seed_0', 'seed_1', *pictures}
    each = [pd.read_csv(tmp_path / 'out' / f'seed_{seed}' / 'points.csv')['weight'] for seed in (0, 1)]
    np.testing.assert_allclose(pd.read_csv(tmp_path / 'out' / 'points.csv')['weight'], np.mean(each, axis=0))
    out = tmp_path / 'coordinates'
    interpretation.interpret(f'{workdir}/seed_0', str(out), ranking='gradient_times_input', split='train')
    assert len(pd.read_csv(out / 'coordinates.csv')) == DIM
