"""The product of dense layers, whose gradient XLA's CPU backend computes faster; elsewhere the plain product."""

from typing import Any

import jax

Array = jax.Array


def dot_general(x: Array, kernel: Array, *args: Any, **options: Any) -> Array:
    """`jax.lax.dot_general` for nn.Dense: <float>[…, in] and <float>[in, out]."""
    if jax.default_backend() != 'cpu':
        return jax.lax.dot_general(x, kernel, *args, **options)
    return _matmul(x, kernel)


def matmul(x: Array, kernel: Array) -> Array:
    """<float>[…, out], the product of <float>[…, in] and <float>[in, out]."""
    return _matmul(x, kernel) if jax.default_backend() == 'cpu' else x @ kernel


@jax.custom_vjp
def _matmul(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _matmul_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    # XLA's CPU backend is fast where the first factor, of which it makes a transposed copy, is the smaller one. Of
    # jax's own gradient it would copy the other.
    x, kernel = saved
    rows = tuple(range(x.ndim - 1))
    if x.shape[-1] <= gradient.shape[-1]:
        kernel_gradient = jax.lax.dot_general(x, gradient, ((rows, rows), ((), ())))
    else:
        # Without the barrier XLA would turn the two back into the slow product.
        transposed = jax.lax.dot_general(gradient, x, ((rows, rows), ((), ())))
        kernel_gradient = jax.lax.optimization_barrier(transposed).T
    return gradient @ kernel.T, kernel_gradient


_matmul.defvjp(lambda x, kernel: (_matmul(x, kernel), (x, kernel)), _matmul_backward)
