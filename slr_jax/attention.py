"""Multi-head attention to frames; for its gradient no value per pair of frames is kept.

The gradient computes the weights again, of which it has the largest score and the sum; and a product of them and the
values is divided by the sum instead of each weight (Dao et al., FlashAttention, 2022, section 3.1, without its blocks).
On a CPU, that and wider heads (see `_padded_width`) take 0.6 of the time of jax's own gradient for clips of 96 to 192
frames.

Letters in shapes: b batch, t target frames, s source frames, h heads, d width of a head, c width of a frame.
"""

from collections.abc import Callable, Sequence
import math
from typing import Any

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp

from slr_jax import cpu_matmul
from slr_jax.dropout import dropout

Array = jax.Array
# What the gradient needs: what was attended to, and of each row of scores the largest and the sum.
_Saved = tuple[tuple[Array, Array, Array, float | Array, Array | None], Array, Array, Array]

# Name of values that layers save for the backward pass.
SAVED = 'saved'

# What is added to the scores of padded frames. A finite number: a row of the batch without any frame must not become
# NaN.
_HIDDEN = -1e30


class MultiHeadAttention(nn.Module):
    """Attention with one packed, biased projection for queries, keys and values."""

    num_heads: int
    dropout_rate: float | Array
    out_kernel_init: Callable[..., Array]
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array, memory: Array | None, padding_mask: Array, bits: Array | None) -> Array:
        """Attends from `x` to `memory`, or to itself where `memory` is None.

        Args:
            x: <float>[batch, target, dim].
            memory: <float>[batch, source, dim] or None.
            padding_mask: <bool>[batch, source], False for padded frames.
            bits: <uint32>[batch, 2] for dropout of the attention weights, None for none.

        Returns:
            <float>[batch, target, dim].
        """
        dim = x.shape[-1]
        kernel = self.param('in_proj_kernel', nn.initializers.xavier_uniform(), (dim, 3 * dim), self.param_dtype)
        bias = self.param('in_proj_bias', nn.initializers.zeros, (3 * dim,), self.param_dtype)
        x, memory, kernel, bias = nn.dtypes.promote_dtype(x, memory, kernel, bias, dtype=self.dtype)
        kernel, bias = (y.reshape(*y.shape[:-1], 3, self.num_heads, -1) for y in (kernel, bias))
        hidden = jnp.where(padding_mask, 0, _HIDDEN).astype(x.dtype)
        if memory is not None and x.shape[1] == 1:
            attended = self._attend_from_one(x[:, 0], memory, hidden, kernel, bias, bits)[:, None]
        else:
            attended = self._attend(x, x if memory is None else memory, hidden, kernel, bias, bits)
        out_proj = nn.Dense(
            dim,
            kernel_init=self.out_kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            dot_general=cpu_matmul.dot_general,
            name='out_proj',
        )
        return checkpoint_name(out_proj(attended.reshape(x.shape)), SAVED)

    def _attend(self, x: Array, memory: Array, hidden: Array, kernel: Array, bias: Array, bits: Array | None) -> Array:
        """<float>[b, t, h, d] from <float>[b, t, c], <float>[b, s, c], <float>[b, s], <float>[c, 3, h, d] and so on."""
        head_dim = kernel.shape[-1]
        scale = jnp.array([1 / math.sqrt(head_dim), 1, 1], kernel.dtype)[:, None, None]
        # The kernel is made wider, and not what it makes, which is larger.
        kernel, bias = (_pad_heads(y * scale) for y in (kernel, bias))
        first_spare = jnp.arange(kernel.shape[-1]) == head_dim
        bias = bias.at[0].add(first_spare.astype(bias.dtype))
        if memory is x:
            query, key, value = _project(x, kernel, bias)
        else:
            (query,), (key, value) = _project(x, kernel[:, :1], bias[:1]), _project(memory, kernel[:, 1:], bias[1:])
        key += jnp.where(first_spare, hidden[:, :, None, None], 0)
        query, key, value = (checkpoint_name(y, SAVED) for y in (query, key, value))
        self._sow_weights(query, key)
        return attend(query, key, value, self.dropout_rate, bits)[..., :head_dim]

    def _attend_from_one(
        self, x: Array, memory: Array, hidden: Array, kernel: Array, bias: Array, bits: Array | None
    ) -> Array:
        """As _attend, from one frame <float>[b, c]: <float>[b, h, d].

        The frame's query is projected back, so that frames are attended to as they are, and their mean is projected:
        with one target that takes a fraction of the operations that projecting all frames takes. The bias of the keys
        adds the same to all scores of a row, and so nothing to the weights.
        """
        query = jnp.einsum('bc,chd->bhd', x, kernel[:, 0]) + bias[0]
        query = jnp.einsum('bhd,chd->bhc', query / math.sqrt(query.shape[-1]), kernel[:, 1])
        # A last column: in the scores the padding, in the mean the sum of the weights, which multiplies the bias.
        query, key, value = (
            jnp.concatenate([y, jnp.broadcast_to(column, (*y.shape[:-1], 1))], axis=-1)
            for y, column in ((query, 1), (memory, hidden[..., None]), (memory, 1))
        )
        # Heads are what frames are elsewhere: all of them attend to the same keys.
        query, key, value = checkpoint_name(query, SAVED)[:, :, None], key[:, :, None], value[:, :, None]
        self._sow_weights(query, key, axes=(0, 2, 1, 3))
        mean = attend(query, key, value, self.dropout_rate, bits)[:, :, 0]
        return jnp.einsum('bhc,chd->bhd', mean[..., :-1], kernel[:, 2]) + mean[..., -1:] * bias[2]

    def _sow_weights(self, query: Array, key: Array, axes: Sequence[int] = range(4)) -> None:
        """Gives the weights to who asks for them, as <float32>[batch, heads, target, source]."""
        if self.is_mutable_collection('intermediates'):
            weights = jax.nn.softmax(_scores(query, key), axis=-1).transpose(axes)
            self.sow('intermediates', 'attention_weights', weights)


def _padded_width(head_dim: int) -> int:
    """A column for the padding, and up to a multiple of 8, for which a CPU computes the scores twice as fast."""
    return -(-(head_dim + 1) // 8) * 8


def _pad_heads(x: Array) -> Array:
    """[…, head_dim] -> […, _padded_width], with zeros."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, _padded_width(x.shape[-1]) - x.shape[-1])])


def _project(x: Array, kernel: Array, bias: Array) -> list[Array]:
    """<float>[b, t, h, d] for each of the n of <float>[c, n, h, d]."""
    packed = cpu_matmul.matmul(x, kernel.reshape(x.shape[-1], -1)).reshape(*x.shape[:-1], *bias.shape)
    # Each bias is added after the split, as its gradient would else make another copy of the packed one.
    return [y.squeeze(-3) + b for y, b in zip(jnp.split(packed, len(bias), axis=-3), bias, strict=True)]


@jax.custom_vjp
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
    return _forward(query, key, value, dropout_rate, bits)[0]


def _scores(query: Array, key: Array) -> Array:
    """<float32>[batch, heads, target, source]."""
    return jnp.einsum('bthd,bshd->bhts', query, key).astype(jnp.float32)


def _forward(
    query: Array, key: Array, value: Array, dropout_rate: float | Array, bits: Array | None
) -> tuple[Array, _Saved]:
    scores = _scores(query, key)
    largest = scores.max(axis=-1, keepdims=True)
    weights = jnp.exp(scores - largest)
    total = weights.sum(axis=-1, keepdims=True)
    dropped = dropout(weights, dropout_rate, bits).astype(value.dtype)
    attended = (jnp.einsum('bhts,bshd->bhtd', dropped, value) / total).astype(value.dtype).swapaxes(1, 2)
    attended, largest, total = (checkpoint_name(x, SAVED) for x in (attended, largest, total))
    return attended, ((query, key, value, dropout_rate, bits), attended, largest, total)


def _backward(saved: _Saved, gradient: Array) -> tuple[Array, Array, Array, None, None]:
    (query, key, value, dropout_rate, bits), attended, largest, total = saved
    weights = jnp.exp(_scores(query, key) - largest) / total
    dropped = dropout(weights, dropout_rate, bits).astype(value.dtype)
    value_gradient = jnp.einsum('bhts,bthd->bshd', dropped, gradient)
    weights_gradient = dropout(jnp.einsum('bthd,bshd->bhts', gradient, value).astype(jnp.float32), dropout_rate, bits)
    mean = jnp.einsum('bthd,bthd->bht', gradient, attended)[..., None]
    scores_gradient = (weights * (weights_gradient - mean)).astype(query.dtype)
    query_gradient = jnp.einsum('bhts,bshd->bhtd', scores_gradient, key).swapaxes(1, 2)
    key_gradient = jnp.einsum('bhts,bthd->bshd', scores_gradient, query)
    return query_gradient, key_gradient, value_gradient, None, None


attend.defvjp(_forward, _backward)
