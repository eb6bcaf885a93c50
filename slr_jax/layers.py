"""Layers of the models: multi-head attention, transformer layers and their stacks, as `torch.nn.Transformer` has them.

Post-norm (Vaswani et al., 2017). Parameters of the layers of a stack are stacked along a first axis.
"""

from collections.abc import Callable
import itertools
import math
from typing import Any

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp

from slr_jax import attention, cpu_matmul
from slr_jax.attention import SAVED
from slr_jax.dropout import draw_bits, dropout

Array = jax.Array
Initializer = Callable[..., Array]

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
    out_kernel_init: Initializer
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array, memory: Array | None, padding_mask: Array, bits: Array | None) -> Array:
        """Attends from `x` to `memory`, or to itself where `memory` is None.

        Args:
            x: <float>[batch, target, dim].
            memory: <float>[batch, source, dim] or None.
            padding_mask: <bool>[batch, source], False for padded frames.
            bits: <uint32>[2] for dropout of the attention weights, None for none.

        Returns:
            <float>[batch, target, dim].
        """
        dim = x.shape[-1]
        kernel = self.param('in_proj_kernel', _xavier_uniform, (dim, 3 * dim), self.param_dtype)
        bias = self.param('in_proj_bias', nn.initializers.zeros, (3 * dim,), self.param_dtype)
        x, memory, kernel, bias = nn.dtypes.promote_dtype(x, memory, kernel, bias, dtype=self.dtype)
        if memory is None:
            query, key, value = jnp.split(cpu_matmul.matmul(x, kernel) + bias, 3, axis=-1)
        else:
            query = cpu_matmul.matmul(x, kernel[:, :dim]) + bias[:dim]
            key, value = jnp.split(cpu_matmul.matmul(memory, kernel[:, dim:]) + bias[dim:], 2, axis=-1)
        query, key, value = (self._split_heads(y) for y in (query, key, value))
        if self.is_mutable_collection('intermediates'):
            self.sow('intermediates', 'attention_weights', attention.attention_weights(query, key, padding_mask))
        attended = attention.attend(query, key, value, padding_mask, self.dropout_rate, bits).reshape(x.shape)
        out_proj = nn.Dense(
            dim,
            kernel_init=self.out_kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            dot_general=cpu_matmul.dot_general,
            name='out_proj',
        )
        return checkpoint_name(out_proj(attended), SAVED)

    def _split_heads(self, y: Array) -> Array:
        return checkpoint_name(y.reshape(*y.shape[:-1], self.num_heads, -1), SAVED)


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

        `padding_mask` is over the frames that are attended to; `bits` are <uint32>[_NUM_DROPOUT_SITES, 2] for dropout.
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
        def dense(name: str, features: int, fan_in: int) -> nn.Dense:
            return nn.Dense(
                features,
                kernel_init=self.kernel_init or torch_uniform(fan_in),
                bias_init=self.bias_init(fan_in),
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                dot_general=cpu_matmul.dot_general,
                name=name,
            )

        dim = x.shape[-1]
        hidden = nn.relu(dense('mlp_in', self.mlp_dim, dim)(x))
        hidden = dropout(hidden, self.dropout_rate, bits)
        mlp_out = dense('mlp_out', dim, self.mlp_dim)
        return checkpoint_name(mlp_out(hidden), SAVED)


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
        bits = None if deterministic else draw_bits(self, self.num_layers, _NUM_DROPOUT_SITES)
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
