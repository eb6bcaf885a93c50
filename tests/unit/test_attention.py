import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slr_jax.models.fast import attend, dropout
from slr_jax.models.layers import MultiHeadAttention

RATE = 0.3
BITS = np.array([[7, 9], [2, 9], [5, 9]], np.uint32)
PADDING_MASK = np.arange(5) < np.array([5, 2, 0])[:, None]
DIM, HEADS = 12, 2


def draw(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    shapes = (3, 4, 2, 6), (3, 5, 2, 6), (3, 5, 2, 6)
    query, key, value = (rng.normal(size=shape) for shape in shapes)
    return [jnp.asarray(x, dtype) for x in (query / np.sqrt(6), key, value)]


def plain(query, key, value, bits):
    """As the formula has it; its gradient is jax's own."""
    weights = jax.nn.softmax(jnp.einsum('bthd,bshd->bhts', query, key), axis=-1)
    return jnp.einsum('bhts,bshd->bthd', dropout(weights, RATE, bits), value)


def with_gradients(function, arrays):
    """What it returns, and the gradients of a sum without the last clip: one without frames has no part in a loss."""
    shape = jax.eval_shape(function, *arrays).shape
    factors = np.random.default_rng(1).normal(size=shape)
    factors[-1] = 0
    gradients = jax.grad(lambda *x: (function(*x) * factors).sum(), argnums=range(len(arrays)))(*arrays)
    return function(*arrays), *gradients


@pytest.mark.parametrize('bits', [None, BITS])
def test_attention_and_its_gradient_are_those_of_the_formula(bits):
    arrays = draw()
    found = with_gradients(lambda *x: attend(*x, RATE, bits), arrays)
    expected = with_gradients(lambda *x: plain(*x, bits), arrays)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_near():
    found = with_gradients(lambda *x: attend(*x, RATE, BITS).astype(jnp.float32), draw(jnp.bfloat16))
    expected = with_gradients(lambda *x: plain(*x, BITS), draw())
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_allclose(one.astype(np.float32), other, atol=0.05)


def test_large_scores_do_not_overflow():
    query, key, value = (100 * x for x in draw())
    found = with_gradients(lambda *x: attend(*x, 0.0, None), (query, key, value))
    assert all(np.isfinite(x).all() for x in found)


def make_layer(num_targets):
    """Frames, memory and parameters, all drawn."""
    rng = np.random.default_rng(2)
    x, memory = (jnp.asarray(rng.normal(size=(3, n, DIM)), jnp.float32) for n in (num_targets, 5))
    layer = MultiHeadAttention(HEADS, RATE, jax.nn.initializers.lecun_normal(), jnp.float32, jnp.float32)
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), x, memory, PADDING_MASK, None)['params'])
    return layer, x, memory, jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)


def plain_layer(x, memory, params):
    """As torch.nn.MultiheadAttention has it, with nothing dropped."""
    packed = jnp.split(params['in_proj_kernel'], 3, axis=1), jnp.split(params['in_proj_bias'], 3)
    query, key, value = (
        (y @ kernel + bias).reshape(*y.shape[:2], HEADS, -1)
        for y, kernel, bias in zip((x, memory, memory), *packed, strict=True)
    )
    scores = jnp.einsum('bthd,bshd->bhts', query, key) / np.sqrt(DIM / HEADS)
    weights = jax.nn.softmax(jnp.where(PADDING_MASK[:, None, None], scores, -1e9), axis=-1)
    attended = jnp.einsum('bhts,bshd->bthd', weights, value).reshape(x.shape)
    return attended @ params['out_proj']['kernel'] + params['out_proj']['bias'], weights


@pytest.mark.parametrize('num_targets', [1, 4])
def test_layer_and_its_gradient_are_those_of_the_formula(num_targets):
    layer, x, memory, params = make_layer(num_targets)
    leaves, structure = jax.tree.flatten(params)

    def apply(x, memory, *leaves):
        return layer.apply({'params': jax.tree.unflatten(structure, leaves)}, x, memory, PADDING_MASK, None)

    found = with_gradients(apply, (x, memory, *leaves))
    expected = with_gradients(
        lambda x, memory, *leaves: plain_layer(x, memory, jax.tree.unflatten(structure, leaves))[0],
        (x, memory, *leaves),
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert not np.asarray(found[2])[~PADDING_MASK].any()


@pytest.mark.parametrize('num_targets', [1, 4])
def test_weights_are_those_of_the_formula(num_targets):
    layer, x, memory, params = make_layer(num_targets)
    _, kept = layer.apply({'params': params}, x, memory, PADDING_MASK, None, mutable='intermediates')
    (weights,) = kept['intermediates']['attention_weights']
    np.testing.assert_allclose(weights, plain_layer(x, memory, params)[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(weights[2], 1 / 5)


def test_frame_attends_to_others_the_same_alone_and_beside_more():
    layer, x, memory, params = make_layer(4)
    together = layer.apply({'params': params}, x, memory, PADDING_MASK, None)
    alone = [layer.apply({'params': params}, x[:, i : i + 1], memory, PADDING_MASK, None) for i in range(4)]
    np.testing.assert_allclose(np.concatenate(alone, axis=1), together, rtol=1e-4, atol=1e-5)


def test_dropped_weights_of_one_frame_drop_the_bias_too():
    layer, x, memory, params = make_layer(1)
    dropped = layer.clone(dropout_rate=0.999).apply({'params': params}, x, memory, PADDING_MASK, BITS)
    np.testing.assert_allclose(dropped[0, 0], params['out_proj']['bias'], rtol=1e-5)
