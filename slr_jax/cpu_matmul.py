"""The product of dense layers, whose gradient XLA's CPU backend computes faster; elsewhere the plain product."""

from typing import Any

import jax

Array = jax.Array


def dot_general(x: Array, kernel: Array, *args: Any, **options: Any) -> Array:
    """`jax.lax.dot_general` for nn.Dense: <float>[…, in] and <float>[in, out]."""
    if jax.default_backend() != 'cpu':
        return jax.lax.dot_general(x, kernel, *args, **options)
    return matmul(x, kernel)


@jax.custom_vjp
def matmul(x: Array, kernel: Array) -> Array:
    """<float>[…, out], the product of <float>[…, in] and <float>[in, out]."""
    return x @ kernel


def kernel_gradient(x: Array, gradient: Array) -> Array:
    """<float>[in, out], of <float>[batch, time, in] and the gradient of the product, <float>[batch, time, out]."""
    # XLA's CPU backend is fast where the first factor, of which it makes a transposed copy, is the smaller one. Of
    # jax's own gradient it would copy the other.
    rows = tuple(range(x.ndim - 1))
    if x.shape[-1] <= gradient.shape[-1] or jax.default_backend() != 'cpu':
        return jax.lax.dot_general(x, gradient, ((rows, rows), ((), ())))
    # Without the barrier XLA would turn the two back into the slow product.
    transposed = jax.lax.dot_general(gradient, x, ((rows, rows), ((), ())))
    return jax.lax.optimization_barrier(transposed).T


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    return gradient @ kernel.T, kernel_gradient(x, gradient)


matmul.defvjp(lambda x, kernel: (matmul(x, kernel), (x, kernel)), _backward)
