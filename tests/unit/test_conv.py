import jax
import jax.numpy as jnp
import numpy as np

from slr_jax.models import conv
from slr_jax.models.fast import draw_bits
from tests import numpy_models

DIM = 6


def make_block(**fields):
    """A convolution block and parameters away from the zeros and ones of the initialization."""
    block = conv.ConvBlock(5, fields.get('drop_path_rate', 0.0), jnp.float32, jnp.float32)
    shapes = jax.eval_shape(block.init, jax.random.key(0), jnp.zeros((1, 3, DIM)), jnp.ones((1, 3), bool), None)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: rng.normal(0.1, 0.5, x.shape).astype(x.dtype), shapes['params'])
    return block, params


def make_batch(*lengths, padding):
    """Clips in one batch with what stands in their padded frames; and its padding mask."""
    mask = np.arange(max(lengths) + 2) < np.array(lengths)[:, None]
    batch = np.random.default_rng(0).normal(size=(*mask.shape, DIM)).astype(np.float32)
    batch[~mask] = padding
    return batch, mask


def bits_of(seed, x, *shape):
    return draw_bits(jax.random.key(seed), np.arange(len(x), dtype=np.uint32), *shape)


def test_a_block_equals_numpy_clip_by_clip():
    block, params = make_block()
    lengths = (1, 4, 11)
    batch, mask = make_batch(*lengths, padding=1e6)
    answers = block.apply({'params': params}, batch, mask, None)
    as_numpy = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    for row, length in enumerate(lengths):
        expected = numpy_models.conv_block(batch[row, :length].astype(np.float64), as_numpy)
        np.testing.assert_allclose(answers[row, :length], expected, atol=1e-5)


def test_convolution_by_hand():
    x = jnp.array([1.0, 2.0, 4.0])[None, :, None] * jnp.array([1.0, 10.0])
    kernel = jnp.array([[1.0, 0.0], [0.5, 1.0], [0.0, 2.0]])
    # The first channel adds the frame before, the second twice the frame after.
    expected = [[0.5, 50.0], [2.0, 100.0], [4.0, 40.0]]
    np.testing.assert_allclose(conv.depthwise_convolution(x, kernel)[0], expected)


def test_mean_and_maximum_leave_padding_out():
    x = jnp.array([[[-1.0], [-3.0], [1e6]], [[5.0], [7.0], [9.0]]])
    mask = np.array([[True, True, False], [False, False, False]])
    np.testing.assert_array_equal(conv.mean_over_frames(x, mask), [[-2], [0]])
    np.testing.assert_array_equal(conv.max_over_frames(x, mask), [[-1], [0]])


def test_drop_path_drops_whole_clips_and_keeps_the_expectation():
    block, params = make_block(drop_path_rate=0.25)
    x = np.repeat(make_batch(4, padding=0)[0], 2000, axis=0)
    mask = np.ones(x.shape[:2], bool)
    update = block.apply({'params': params}, x[:1], mask[:1], None) - x[:1]
    changes = np.asarray(block.apply({'params': params}, x, mask, bits_of(3, x)) - x)
    is_dropped = ~changes.any(axis=(1, 2))
    assert abs(is_dropped.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000)
    kept = changes[~is_dropped]
    np.testing.assert_allclose(kept, np.broadcast_to(update / 0.75, kept.shape), atol=1e-4)
    other = np.asarray(block.apply({'params': params}, x, mask, bits_of(4, x)) - x)
    assert (~other.any(axis=(1, 2)) != is_dropped).any()


def test_each_dropout_of_a_stage_draws_by_itself():
    """Two blocks, and the four of the transformer layer."""
    stage = conv.ConvStage(2, 3, 0.5, 2, 8, 0.5, jnp.float32, jnp.float32)
    x, mask = make_batch(*[9] * 32, padding=0)
    bits = bits_of(0, x, 6)
    params = jax.jit(stage.init)(jax.random.key(1), x, mask, bits)
    answer = jax.jit(lambda bits: stage.apply(params, x, mask, bits)[0])
    changed = [bits ^ (np.arange(6)[:, None, None] == i) for i in range(6)]
    assert all((answer(other) != answer(bits)).any() for other in changed)
