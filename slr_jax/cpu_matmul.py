"""A matrix product whose gradient XLA's CPU backend computes twice as fast; elsewhere the plain product."""

from typing import Any

import jax

Array = jax.Array


def dot_general(x: Array, kernel: Array, *args: Any, **options: Any) -> Array:
    """`jax.lax.dot_general` for nn.Dense: <float>[…, in] and <float>[in, out], with in much larger than out."""
    if jax.default_backend() != 'cpu':
        return jax.lax.dot_general(x, kernel, *args, **options)
    return _matmul(x, kernel)


@jax.custom_vjp
def _matmul(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _matmul_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    # XLA's CPU product for the kernel's gradient is half as fast as for the transposed gradient.
    x, kernel = saved
    rows = tuple(range(x.ndim - 1))
    transposed = jax.lax.dot_general(gradient, x, ((rows, rows), ((), ())))
    # Without the barrier XLA would turn the two back into the slow product.
    return gradient @ kernel.T, jax.lax.optimization_barrier(transposed).T


_matmul.defvjp(lambda x, kernel: (_matmul(x, kernel), (x, kernel)), _matmul_backward)
