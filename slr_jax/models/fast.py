"""Dropout, attention, feed-forward and dense layers whose gradients are faster on a CPU; read layers.py first.

Each has a plain twin of one to three lines, which runs on other devices and within `plain()`.
"""

from collections.abc import Iterator
import contextlib
import functools
from typing import Any

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp

Array = jax.Array
# Name of values that layers save for the backward pass.
SAVED = 'saved'

# What gradients need: of attention what was attended to, and of each row of scores the largest and the sum.
_AttendSaved = tuple[tuple[Array, Array, Array, float | Array, Array | None], Array, Array, Array]
_FeedForwardInputs = tuple[Array, Array, Array, Array, Array, float | Array, Array | None]
_is_plain = False


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Within it, what is traced has plain layers, which take `jax.jvp` and gradients of any order."""
    global _is_plain  # noqa: PLW0603
    before, _is_plain = _is_plain, True
    try:
        yield
    finally:
        _is_plain = before


def _is_fast() -> bool:
    return jax.default_backend() == 'cpu' and not _is_plain


# --- Dropout, whose pattern is a hash of positions, instead of `nn.Dropout`
#
# Drawing a pattern from a key costs up to a fifth of a training step; the hash costs a few integer operations per
# value, and is computed again in the backward pass instead of being stored. A value's pattern depends on its position
# and on the place of its clip alone, so it is the same under `vmap` over seeds, next to more padded frames, in another
# row and on another device; cheap keys (`unsafe_rbg`) do not promise that.


def places_of(places: Array | None, num_rows: int) -> Array:
    """<uint32>[rows], the places of clips that draw; None for those of a batch in its order."""
    return jnp.arange(num_rows, dtype=jnp.uint32) if places is None else places


def row_keys(key: Array, places: Array) -> Array:
    """A key for each row, of its place; that of place 0 is `key` itself."""
    return jnp.where(places == 0, key, jax.vmap(jax.random.fold_in, (None, 0))(key, places))


def draw_bits(key: Array, places: Array, *shape: int) -> Array:
    """Random bits for dropout.

    Args:
        key: of the step and the module.
        places: <uint32>[rows], of the clips, see `places_of`.
        *shape: of what has a pattern of its own.

    Returns:
        <uint32>[*shape, rows, 2], in each row a hash of its place, and a word that all rows share.
    """
    bits = jax.random.bits(key, (*shape, 1, 2), jnp.uint32)
    hashed = _mix(bits[..., 0] ^ places, bits[..., 1])
    return jnp.stack([hashed, jnp.broadcast_to(bits[..., 1], hashed.shape)], axis=-1)


def dropout(x: Array, rate: float | Array, bits: Array | None) -> Array:
    """Zeroes a fraction of the values and divides the others by 1 - rate.

    Args:
        x: <float>[rows, …].
        rate: fraction of the values that are dropped, in [0, 1); may be a traced <float32>[].
        bits: <uint32>[rows, 2] of `draw_bits`; None for no dropout.

    Returns:
        <float>[rows, …].
    """
    if bits is None or (isinstance(rate, (int, float)) and not rate):
        return x
    if _is_fast():
        return _drop(x, jnp.float32(rate), bits)
    return x * _factors(x.shape, rate, bits).astype(x.dtype)


@jax.custom_vjp
def _drop(x: Array, rate: Array, bits: Array) -> Array:
    # With jnp.where, jax would keep an array of zeros for all layers.
    return x * _factors(x.shape, rate, bits).astype(x.dtype)


def _drop_forward(x: Array, rate: Array, bits: Array) -> tuple[Array, tuple[Array, Array]]:
    return _drop(x, rate, bits), (rate, bits)


def _drop_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, None, None]:
    return _drop(gradient, *saved), None, None


_drop.defvjp(_drop_forward, _drop_backward)


def _factors(shape: tuple[int, ...], rate: float | Array, bits: Array, *, merge_rows: bool = False) -> Array:
    """What dropout multiplies values with: 0 or 1 / (1 - rate).

    Args:
        shape: of the values.
        rate: see dropout.
        bits: <uint32>[rows, 2] of `draw_bits`.
        merge_rows: whether to make one axis of all but the last.

    Returns:
        <float32>[*shape], or <float32>[rows, last].
    """
    drop_rate = jnp.float32(rate)
    keep = _hash(shape, bits, merge_rows) >= (drop_rate * 2.0**32).astype(jnp.uint32)
    return keep * (1 / (1 - drop_rate))


# Under jit, so that it is traced once for all layers and passes.
@functools.partial(jax.jit, static_argnums=(0, 2))
def _hash(shape: tuple[int, ...], bits: Array, merge_rows: bool) -> Array:
    """<uint32>[*shape], or <uint32>[rows, last]: a hash of each position and of the bits of its row.

    Axis after axis, so that a position keeps its hash where another axis, as that of padded frames, is longer.
    """
    x, word = bits[:, 0], bits[0, 1]
    *middle_positions, last_positions = (jnp.arange(size, dtype=jnp.uint32) for size in shape[1:])
    for positions in middle_positions:
        x = _mix(x[..., None] ^ positions, word)
    x = x.reshape(-1) if merge_rows else x
    return _mix(x[..., None] ^ last_positions, word)


def _mix(x: Array, word: Array) -> Array:
    """The integer hash lowbias32 (Wellons, 2018), with a word added between its two multiplications."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15) ^ word) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


# --- Dense layers


def dot_general(x: Array, kernel: Array, *args: Any, **options: Any) -> Array:
    """`jax.lax.dot_general` for nn.Dense: <float>[…, in] and <float>[in, out]."""
    return _product(x, kernel) if _is_fast() else jax.lax.dot_general(x, kernel, *args, **options)


def dense_product(x: Array, kernel: Array) -> Array:
    """<float>[…, out], the product of <float>[…, in] and <float>[in, out]."""
    return _product(x, kernel) if _is_fast() else x @ kernel


@jax.custom_vjp
def _product(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _kernel_gradient(x: Array, gradient: Array) -> Array:
    """<float>[in, out], of <float>[batch, time, in] and the gradient of the product, <float>[batch, time, out]."""
    # XLA's CPU backend is fast where the first factor, of which it makes a transposed copy, is the smaller one. Of
    # jax's own gradient it would copy the other.
    rows = tuple(range(x.ndim - 1))
    if x.shape[-1] <= gradient.shape[-1]:
        return jax.lax.dot_general(x, gradient, ((rows, rows), ((), ())))
    # Without the barrier XLA would turn the two back into the slow product.
    transposed = jax.lax.dot_general(gradient, x, ((rows, rows), ((), ())))
    return jax.lax.optimization_barrier(transposed).T


def _product_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    return gradient @ kernel.T, _kernel_gradient(x, gradient)


_product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _product_backward)


# --- Attention


def attend(query: Array, key: Array, value: Array, dropout_rate: float | Array, bits: Array | None) -> Array:
    """The mean of the values by the attention weights, the softmax over the products of queries and keys.

    Args:
        query: <float>[batch, target, heads, dim].
        key: <float>[batch, source, heads, dim].
        value: <float>[batch, source, heads, dim].
        dropout_rate: fraction of the weights that are dropped, in [0, 1).
        bits: <uint32>[batch, 2] for dropout, None for none.

    Returns:
        <float>[batch, target, heads, dim].
    """
    if _is_fast():
        return _attend(query, key, value, dropout_rate, bits)
    weights = dropout(jax.nn.softmax(scores_of(query, key)), dropout_rate, bits).astype(value.dtype)
    return jnp.einsum('bhts,bshd->bthd', weights, value)


@jax.custom_vjp
def _attend(query: Array, key: Array, value: Array, dropout_rate: float | Array, bits: Array | None) -> Array:
    """Keeps no value per pair of frames for the gradient.

    The gradient computes the weights again, of which it has the largest score and the sum; and a product of them and
    the values is divided by the sum instead of each weight (Dao et al., FlashAttention, 2022, section 3.1, without its
    blocks).
    """
    return _attend_forward(query, key, value, dropout_rate, bits)[0]


def scores_of(query: Array, key: Array) -> Array:
    """<float32>[batch, heads, target, source]."""
    return jnp.einsum('bthd,bshd->bhts', query, key).astype(jnp.float32)


def _attend_forward(
    query: Array, key: Array, value: Array, dropout_rate: float | Array, bits: Array | None
) -> tuple[Array, _AttendSaved]:
    scores = scores_of(query, key)
    largest = scores.max(axis=-1, keepdims=True)
    weights = jnp.exp(scores - largest)
    total = weights.sum(axis=-1, keepdims=True)
    dropped = dropout(weights, dropout_rate, bits).astype(value.dtype)
    attended = (jnp.einsum('bhts,bshd->bhtd', dropped, value) / total).astype(value.dtype).swapaxes(1, 2)
    attended, largest, total = (checkpoint_name(x, SAVED) for x in (attended, largest, total))
    return attended, ((query, key, value, dropout_rate, bits), attended, largest, total)


def _attend_backward(saved: _AttendSaved, gradient: Array) -> tuple[Array, Array, Array, None, None]:
    (query, key, value, dropout_rate, bits), attended, largest, total = saved
    weights = jnp.exp(scores_of(query, key) - largest) / total
    dropped = dropout(weights, dropout_rate, bits).astype(value.dtype)
    value_gradient = jnp.einsum('bhts,bthd->bshd', dropped, gradient)
    weights_gradient = dropout(jnp.einsum('bthd,bshd->bhts', gradient, value).astype(jnp.float32), dropout_rate, bits)
    mean = jnp.einsum('bthd,bthd->bht', gradient, attended)[..., None]
    scores_gradient = (weights * (weights_gradient - mean)).astype(query.dtype)
    query_gradient = jnp.einsum('bhts,bshd->bhtd', scores_gradient, key).swapaxes(1, 2)
    key_gradient = jnp.einsum('bhts,bthd->bshd', scores_gradient, query)
    return query_gradient, key_gradient, value_gradient, None, None


_attend.defvjp(_attend_forward, _attend_backward)


# --- The feed-forward layer


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
    if _is_fast():
        return _feed_forward(x, in_kernel, in_bias, out_kernel, out_bias, dropout_rate, bits)
    return dropout(nn.relu(x @ in_kernel + in_bias), dropout_rate, bits) @ out_kernel + out_bias


@jax.custom_vjp
def _feed_forward(
    x: Array,
    in_kernel: Array,
    in_bias: Array,
    out_kernel: Array,
    out_bias: Array,
    dropout_rate: float | Array,
    bits: Array | None,
) -> Array:
    """Computes the wide hidden layer again for its gradient, but draws no dropout pattern again."""
    hidden = _hidden(x, in_kernel, in_bias, dropout_rate, bits)
    return (hidden @ out_kernel + out_bias).reshape(x.shape)


def _hidden(x: Array, kernel: Array, bias: Array, dropout_rate: float | Array, bits: Array | None) -> Array:
    """<float>[batch * time, hidden]: with one axis of rows, XLA overwrites the product, without a copy."""
    hidden = nn.relu(x.reshape(-1, x.shape[-1]) @ kernel + bias)
    if bits is None:
        return hidden
    shape = *x.shape[:-1], kernel.shape[-1]
    return hidden * _factors(shape, dropout_rate, bits, merge_rows=True).astype(hidden.dtype)


def _feed_forward_forward(*inputs: Any) -> tuple[Array, _FeedForwardInputs]:
    return _feed_forward(*inputs), inputs


def _feed_forward_backward(
    inputs: _FeedForwardInputs, gradient: Array
) -> tuple[Array, Array, Array, Array, Array, None, None]:
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
    out_kernel_gradient = _kernel_gradient(hidden, gradient)
    # The bias is the kernel of a last feature, which is 1: summing the wide gradient would be another pass over it.
    x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
    in_gradients = _kernel_gradient(x, hidden_gradient)
    out_bias_gradient = gradient.sum(tuple(range(gradient.ndim - 1)))
    return x_gradient, in_gradients[:-1], in_gradients[-1], out_kernel_gradient, out_bias_gradient, None, None


_feed_forward.defvjp(_feed_forward_forward, _feed_forward_backward)
