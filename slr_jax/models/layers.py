"""Layers of the models: attention, transformer layers and their stacks, as `torch.nn.Transformer` has them.

Post-norm (Vaswani et al., 2017). Parameters of the layers of a stack are stacked along a first axis. Letters in shapes:
b batch, t target frames, s source frames, h heads, d width of a head, c width of a frame.
"""

from collections.abc import Callable, Sequence
import itertools
import math
from typing import Any

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp

from slr_jax.models.fast import (
    SAVED,
    attend,
    dense_product,
    dot_general,
    draw_bits,
    dropout,
    feed_forward,
    places_of,
    scores_of,
)

Array = jax.Array
Initializer = Callable[..., Array]

# What is added to the scores of padded frames. A finite number: a row of the batch without any frame must not become
# NaN.
_HIDDEN = -1e30
# Upper bound of dropout sites per layer.
_NUM_DROPOUT_SITES = 6

_xavier_uniform = nn.initializers.xavier_uniform()


def torch_uniform(fan_in: int) -> Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of torch.nn.Linear for matrices and biases."""
    bound = 1 / math.sqrt(fan_in)

    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


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
            dot_general=dot_general,
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
            weights = jax.nn.softmax(scores_of(query, key), axis=-1).transpose(axes)
            self.sow('intermediates', 'attention_weights', weights)


def _padded_width(head_dim: int) -> int:
    """A column for the padding, and up to a multiple of 8, for which a CPU computes the scores twice as fast."""
    return -(-(head_dim + 1) // 8) * 8


def _pad_heads(x: Array) -> Array:
    """[…, head_dim] -> […, _padded_width], with zeros."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, _padded_width(x.shape[-1]) - x.shape[-1])])


def _project(x: Array, kernel: Array, bias: Array) -> list[Array]:
    """<float>[b, t, h, d] for each of the n of <float>[c, n, h, d]."""
    packed = dense_product(x, kernel.reshape(x.shape[-1], -1)).reshape(*x.shape[:-1], *bias.shape)
    # Each bias is added after the split, as its gradient would else make another copy of the packed one.
    return [y.squeeze(-3) + b for y, b in zip(jnp.split(packed, len(bias), axis=-3), bias, strict=True)]


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


class TransformerLayer(nn.Module):
    """One encoder or decoder layer, post-norm.

    Attributes:
        kind: 'encoder'; 'decoder', with self-attention and attention to the encoded frames; or 'class_query', the
            decoder layer of SPOTER, which has `x + dropout(x)` instead of self-attention.
        kernel_init: initializer of every matrix but the packed projection; None for U(±1/sqrt(fan_in)).
        bias_init: makes the initializer of the feed-forward biases from their fan-in.
    """

    kind: str
    num_heads: int
    mlp_dim: int
    dropout_rate: float | Array
    kernel_init: Initializer | None
    bias_init: Callable[[int], Initializer]
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array, memory: Array | None, padding_mask: Array, bits: Array | None) -> tuple[Array, None]:
        """Maps <float>[batch, target, dim] to the same shape.

        `padding_mask` is over the frames that are attended to; `bits` are <uint32>[sites, batch, 2] for dropout.
        """
        site_bits = itertools.repeat(None) if bits is None else iter(bits)

        def add_and_norm(residual: Array, name: str) -> Array:
            residual = dropout(residual, self.dropout_rate, next(site_bits))
            return layer_norm(name, self.dtype, self.param_dtype)(x + residual)

        if self.kind == 'class_query':
            x = add_and_norm(x, 'norm_self')
        else:
            x = add_and_norm(self._attention('self_attention', x)(x, None, padding_mask, next(site_bits)), 'norm_self')
        if self.kind != 'encoder':
            attended = self._attention('cross_attention', x)(x, memory, padding_mask, next(site_bits))
            x = add_and_norm(attended, 'norm_cross')
        x = add_and_norm(self._feed_forward(x, next(site_bits)), 'norm_mlp')
        return x, None

    def _attention(self, name: str, x: Array) -> MultiHeadAttention:
        return MultiHeadAttention(
            self.num_heads,
            self.dropout_rate,
            self.kernel_init or torch_uniform(x.shape[-1]),
            self.dtype,
            self.param_dtype,
            name=name,
        )

    def _feed_forward(self, x: Array, bits: Array | None) -> Array:
        def params(name: str, fan_in: int, features: int) -> tuple[Array, Array]:
            kernel_init = self.kernel_init or torch_uniform(fan_in)
            return DenseParams(fan_in, features, kernel_init, self.bias_init(fan_in), self.param_dtype, name=name)()

        dim = x.shape[-1]
        layers = *params('mlp_in', dim, self.mlp_dim), *params('mlp_out', self.mlp_dim, dim)
        x, in_kernel, in_bias, out_kernel, out_bias = nn.dtypes.promote_dtype(x, *layers, dtype=self.dtype)
        mapped = feed_forward(x, in_kernel, in_bias, out_kernel, out_bias, self.dropout_rate, bits)
        return checkpoint_name(mapped, SAVED)


class TransformerStack(nn.Module):
    """`num_layers` layers of one kind and a final LayerNorm.

    Initialized as `torch.nn.Transformer` leaves its layers: matrices Xavier-uniform, each layer its own; feed-forward
    biases drawn once for all layers. The class-query decoder is made outside of it: all layers are copies of one.
    """

    kind: str
    num_layers: int
    num_heads: int
    mlp_dim: int
    dropout_rate: float | Array
    dtype: Any
    param_dtype: Any
    places: Array | None = None

    @nn.compact
    def __call__(self, x: Array, memory: Array | None, padding_mask: Array, deterministic: bool) -> Array:
        """Maps <float>[batch, target, dim] to the same shape."""
        # What is carried from layer to layer keeps its dtype.
        (x,) = nn.dtypes.promote_dtype(x, dtype=self.dtype)
        copies = self.kind == 'class_query'
        # Recomputing the wide hidden layer and the attention weights is no slower than storing them.
        layer = nn.remat(
            TransformerLayer,
            policy=jax.checkpoint_policies.save_only_these_names(SAVED),
            prevent_cse=False,
        )
        layers = nn.scan(
            layer,
            variable_axes={'params': 0, 'intermediates': 0},
            split_rngs={'params': not copies},
            in_axes=(nn.broadcast, nn.broadcast, 0),
            length=self.num_layers,
        )(
            self.kind,
            self.num_heads,
            self.mlp_dim,
            self.dropout_rate,
            None if copies else _xavier_uniform,
            self._shared_bias_init(),
            self.dtype,
            self.param_dtype,
            name='layers',
        )
        # One draw for all layers: each would add as much to the program as a layer's arithmetic.
        places = places_of(self.places, x.shape[0])
        bits = (
            None if deterministic else draw_bits(self.make_rng('dropout'), places, self.num_layers, _NUM_DROPOUT_SITES)
        )
        x, _ = layers(x, memory, padding_mask, bits)
        return layer_norm('norm', self.dtype, self.param_dtype)(x)

    def _shared_bias_init(self) -> Callable[[int], Initializer]:
        if not self.is_initializing():
            return torch_uniform
        key = self.make_rng('params')

        def bias_init(fan_in: int) -> Initializer:
            init = torch_uniform(fan_in)
            return lambda _, *args: init(jax.random.fold_in(key, fan_in), *args)

        return bias_init


def layer_norm(name: str, dtype: Any, param_dtype: Any) -> nn.LayerNorm:
    """LayerNorm with the epsilon of PyTorch."""
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, dtype=dtype, param_dtype=param_dtype, name=name)
