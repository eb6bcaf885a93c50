import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slr_jax.attention import attend, attention_weights
from slr_jax.dropout import dropout

RATE = 0.3
BITS = np.array([7, 9], np.uint32)
PADDING_MASK = np.arange(5) < np.array([5, 2, 0])[:, None]


def draw(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    shapes = (3, 4, 2, 6), (3, 5, 2, 6), (3, 5, 2, 6)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def plain(query, key, value, bits):
    """As the formula has it; its gradient is jax's own."""
    scores = jnp.einsum('bthd,bshd->bhts', query, key) / np.sqrt(6)
    weights = jax.nn.softmax(jnp.where(PADDING_MASK[:, None, None], scores, -1e30), axis=-1)
    return jnp.einsum('bhts,bshd->bthd', dropout(weights, RATE, bits), value)


def with_gradients(function, arrays):
    """What it returns, and the gradients of a sum in which the clip without frames has no part, as in a loss."""
    factors = np.random.default_rng(1).normal(size=(3, 4, 2, 6)) * [[[[1]]], [[[1]]], [[[0]]]]
    gradients = jax.grad(lambda *x: (function(*x) * factors).sum(), argnums=(0, 1, 2))(*arrays)
    return function(*arrays), *gradients


@pytest.mark.parametrize('bits', [None, BITS])
def test_attention_and_its_gradient_are_those_of_the_formula(bits):
    arrays = draw()
    found = with_gradients(lambda *x: attend(*x, PADDING_MASK, RATE, bits), arrays)
    expected = with_gradients(lambda *x: plain(*x, bits), arrays)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for gradient in found[2:]:
        assert not np.asarray(gradient)[~PADDING_MASK].any()


def test_bfloat16_is_near():
    found = with_gradients(lambda *x: attend(*x, PADDING_MASK, RATE, BITS).astype(jnp.float32), draw(jnp.bfloat16))
    expected = with_gradients(lambda *x: plain(*x, BITS), draw())
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_allclose(one.astype(np.float32), other, atol=0.05)


def test_large_scores_do_not_overflow():
    query, key, value = (100 * x for x in draw())
    found = with_gradients(lambda *x: attend(*x, PADDING_MASK, 0.0, None), (query, key, value))
    assert all(np.isfinite(x).all() for x in found)


def test_weights_add_up_to_one_over_real_frames():
    query, key, _ = draw()
    weights = np.asarray(attention_weights(query, key, PADDING_MASK))
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    assert not weights[1, ..., 2:].any()
    np.testing.assert_allclose(weights[2], 1 / 5)
