"""No draw depends on the batch: a clip draws by the seed, the step and its place in the order of the epoch."""

import jax
import numpy as np
import pytest

from slr_jax import augment, input_pipeline, memory, models, train_step
from slr_jax import config as config_lib
from slr_jax import features as features_lib
from slr_jax import landmarks as landmarks_lib
from tests.conftest import make_tiny_config

LAYOUT = 'mediapipe_hand'
POINTS = landmarks_lib.LAYOUTS[LAYOUT].num_points
LENGTHS = (9, 5, 14, 7)
STEPS = train_step.Steps(per_epoch=2, total=8)
CONV = {'model': 'conv_transformer', 'width': 6, 'conv_blocks': 1, 'kernel_size': 3}
# Each option that draws, with its model.
DRAWS = {
    'noise': {'noise_std': 0.3},
    'dropout': {'dropout_rate': 0.3},
    'dropout of a sequence query': {'model': 'sequence_query', 'dropout_rate': 0.3},
    'dropout of the input': {'model': 'baseline'},
    'dropout of spoter_pe': {'model': 'spoter_pe', 'dropout_rate': 0.3},
    'gates': {'mask_gates': 'point', 'coordinates': 'xyz'},
    'gates of coordinates': {'mask_gates': 'coordinate', 'gate_price': 0.1},
    'dropout of conv_transformer': CONV | {'dropout_rate': 0.3},
    'drop-path': CONV | {'drop_path_rate': 0.5},
    'late dropout': CONV | {'late_dropout_rate': 0.5, 'pooling': 'max_mean'},
    'augmentation': {'augment': dict.fromkeys(config_lib.AUGMENTATIONS, 0.7), 'normalize': 'centered'},
    'resampling': {'augment': dict.fromkeys(config_lib.AUGMENTATIONS, 0.7), 'num_frames': 6},
}
# What repeats a part of another.
LONG = ('dropout of spoter_pe', 'gates of coordinates', 'late dropout', 'resampling')


def make_clips():
    rng = np.random.default_rng(0)
    clips = [rng.uniform(0.2, 0.8, (frames, POINTS * 3)).astype(np.float32) for frames in LENGTHS]
    return clips, np.array([0, 1, 2, 0], np.int32)


def make_config(**fields):
    fields = {'dropout_rate': 0.0, 'noise_std': 0.0, 'learning_rate': 0.1, 'num_heads': 3} | fields
    augmentation = fields.pop('augment', {})
    config = make_tiny_config('d', **fields)
    config.augment.update(augmentation)
    return config


def make_step(config):
    """A step without its batch, and the parameters before it."""
    model = models.model_from_config(config, 3)
    optimizer = train_step.make_optimizer(config, train_step.all_hyperparameters(config, {}), STEPS)
    prepare = augment.make_preparation(config, LAYOUT)
    dim = POINTS * 3
    if prepare is not None:
        dim = features_lib.Features.from_config(config, LAYOUT).dim
    state = train_step.create_train_state(model, optimizer, dim, jax.random.key(0))
    return train_step.make_train_step(model, config, STEPS, prepare=prepare, divide_batch=False), state


def piece_of(rows, length, size):
    """The clips of these places, in this order of rows, with empty rows after them."""
    clips, labels = make_clips()
    rows = np.array(rows)
    piece = input_pipeline.make_piece(clips, labels, np.arange(4), size, 1, [length], places=rows)
    return jax.tree.map(lambda x: x[0], piece)


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[pytest.mark.slow, pytest.mark.long][: 1 + (name in LONG)]) for name in DRAWS]
)
def test_a_step_is_the_same_however_its_batch_is_put_together(name, monkeypatch):
    step, state = make_step(make_config(**DRAWS[name]))
    jitted = jax.jit(step)

    def params_after(*pieces, seed=1):
        return jitted(state, list(pieces), jax.random.key(seed), {})[0].params

    whole = params_after(piece_of([0, 1, 2, 3], 14, 4))
    # Other rows, more padding, empty rows; and pieces, one of which is computed in parts.
    monkeypatch.setattr(memory, '_MAX_PAIRS', 2 * 21**2)
    pieces = piece_of([0, 3], 10, 3), piece_of([2, 1], 16, 2)
    for params in (params_after(piece_of([3, 0, 2, 1], 21, 5)), params_after(*pieces)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole, params)
    # It does draw: with another key it is another step.
    other = params_after(piece_of([0, 1, 2, 3], 14, 4), seed=2)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(*map(jax.tree.leaves, (whole, other)), strict=True))


@pytest.mark.parametrize('field', config_lib.AUGMENTATIONS)
@pytest.mark.parametrize('num_frames', [None, 6])
def test_an_augmented_clip_is_the_same_alone_and_in_any_batch(field, num_frames):
    config = make_config(augment={field: 1.0}, num_frames=num_frames)
    prepare = jax.jit(augment.make_preparation(config, LAYOUT))

    def features_of(place, *batch):
        fed = prepare(jax.random.key(3), piece_of(*batch))
        (row,) = np.flatnonzero((fed['places'] == place) & (fed['weights'] == 1))
        return np.asarray(fed['landmarks'][row, fed['padding_mask'][row]])

    for place in (1, 2):
        alone = features_of(place, [place], LENGTHS[place], 1)
        np.testing.assert_allclose(features_of(place, [3, 2, 1, 0], 19, 6), alone, atol=2e-6)


def test_pieces_know_the_places_of_their_clips():
    clips, labels = make_clips()
    order = np.array([2, 3, 0, 1])
    for at in (None, 8):
        (batch,) = input_pipeline.batches(clips, labels, order, 4, 2, divide_at=at)
        for piece in batch:
            real = piece['weights'] == 1
            np.testing.assert_array_equal(piece['labels'][real], labels[order[piece['places'][real]]])
            lengths = piece['padding_mask'].sum(axis=-1)[real]
            np.testing.assert_array_equal(lengths, np.array(LENGTHS)[order[piece['places'][real]]])
