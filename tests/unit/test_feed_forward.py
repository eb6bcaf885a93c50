import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slr_jax.models.fast import dropout, feed_forward

BITS = np.array([[3, 5], [8, 5]], np.uint32)


def draw():
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 3, 4), (4, 16), (16,), (16, 4), (4,))]


def plain(x, in_kernel, in_bias, out_kernel, out_bias, rate, bits):
    """As the formula has it; its gradient is jax's own."""
    return dropout(nn.relu(x @ in_kernel + in_bias), rate, bits) @ out_kernel + out_bias


@pytest.mark.parametrize(('rate', 'bits'), [(0.4, BITS), (jnp.float32(0.4), BITS), (0.0, BITS), (0.4, None)])
def test_layer_and_its_gradient_are_those_of_the_formula(rate, bits):
    arrays = draw()
    found, expected = (
        jax.value_and_grad(lambda *x, f=f: (f(*x, rate, bits) ** 2).sum(), argnums=range(5))(*arrays)
        for f in (feed_forward, plain)
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for one, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_near():
    arrays = draw()
    halves = [x.astype(jnp.bfloat16) for x in arrays]
    found, expected = (
        jax.grad(lambda *x: feed_forward(*x, 0.4, BITS).astype(jnp.float32).sum(), argnums=range(5))(*inputs)
        for inputs in (halves, arrays)
    )
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_allclose(one.astype(np.float32), other, rtol=0.05, atol=0.3)
