"""The feed-forward layer of a transformer, with a gradient that draws no dropout pattern again.

The wide hidden layer is computed again for the gradient, which on a CPU is as fast as storing it for all layers.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from slr_jax import cpu_matmul
from slr_jax.dropout import factors

Array = jax.Array
_Inputs = tuple[Array, Array, Array, Array, Array, float | Array, Array | None]


class DenseParams(nn.Module):
    """Kernel and bias of a dense layer, as nn.Dense names them."""

    fan_in: int
    features: int
    kernel_init: Callable[..., Array]
    bias_init: Callable[..., Array]
    param_dtype: Any

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        """<float>[fan_in, features] and <float>[features]."""
        kernel = self.param('kernel', self.kernel_init, (self.fan_in, self.features), self.param_dtype)
        return kernel, self.param('bias', self.bias_init, (self.features,), self.param_dtype)


@jax.custom_vjp
def feed_forward(
    x: Array,
    in_kernel: Array,
    in_bias: Array,
    out_kernel: Array,
    out_bias: Array,
    dropout_rate: float | Array,
    bits: Array | None,
) -> Array:
    """dropout(relu(x · in_kernel + in_bias)) · out_kernel + out_bias.

    Args:
        x: <float>[batch, time, dim].
        in_kernel: <float>[dim, hidden].
        in_bias: <float>[hidden].
        out_kernel: <float>[hidden, dim].
        out_bias: <float>[dim].
        dropout_rate: fraction of the hidden values that are dropped, in [0, 1).
        bits: <uint32>[batch, 2] for dropout, None for none.

    Returns:
        <float>[batch, time, dim].
    """
    hidden = _hidden(x, in_kernel, in_bias, dropout_rate, bits)
    return (hidden @ out_kernel + out_bias).reshape(x.shape)


def _hidden(x: Array, kernel: Array, bias: Array, dropout_rate: float | Array, bits: Array | None) -> Array:
    """<float>[batch * time, hidden]: with one axis of rows, XLA overwrites the product, without a copy."""
    hidden = nn.relu(x.reshape(-1, x.shape[-1]) @ kernel + bias)
    if bits is None:
        return hidden
    shape = *x.shape[:-1], kernel.shape[-1]
    return hidden * factors(shape, dropout_rate, bits, merge_rows=True).astype(hidden.dtype)


def _forward(*inputs: Any) -> tuple[Array, _Inputs]:
    return feed_forward(*inputs), inputs


def _backward(inputs: _Inputs, gradient: Array) -> tuple[Array, Array, Array, Array, Array, None, None]:
    x, in_kernel, in_bias, out_kernel, _, dropout_rate, bits = inputs
    # Without the barrier XLA would compute it twice.
    hidden = jax.lax.optimization_barrier(_hidden(x, in_kernel, in_bias, dropout_rate, bits))
    hidden_gradient = gradient.reshape(-1, gradient.shape[-1]) @ out_kernel.T
    # Where the hidden value is not zero, neither dropout nor relu made it so.
    scale = 1 if bits is None else 1 / (1 - dropout_rate)
    hidden_gradient = jnp.where(hidden > 0, hidden_gradient * scale, 0).astype(gradient.dtype)
    x_gradient = (hidden_gradient @ in_kernel.T).reshape(x.shape)
    # For kernels the rows are of two axes again: with one, XLA makes no transposed copy and takes half as long again.
    hidden, hidden_gradient = (y.reshape(*x.shape[:-1], -1) for y in (hidden, hidden_gradient))
    out_kernel_gradient = cpu_matmul.kernel_gradient(hidden, gradient)
    # The bias is the kernel of a last feature, which is 1: summing the wide gradient would be another pass over it.
    x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
    in_gradients = cpu_matmul.kernel_gradient(x, hidden_gradient)
    out_bias_gradient = gradient.sum(tuple(range(gradient.ndim - 1)))
    return x_gradient, in_gradients[:-1], in_gradients[-1], out_kernel_gradient, out_bias_gradient, None, None


feed_forward.defvjp(_forward, _backward)
