"""Layers of the models: transformer layers and their stacks, as `torch.nn.Transformer` has them.

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

from slr_jax.attention import SAVED, MultiHeadAttention
from slr_jax.dropout import draw_bits, dropout, places_of
from slr_jax.feed_forward import DenseParams, feed_forward

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
        kernels_and_biases = *params('mlp_in', dim, self.mlp_dim), *params('mlp_out', self.mlp_dim, dim)
        arrays = nn.dtypes.promote_dtype(x, *kernels_and_biases, dtype=self.dtype)
        return checkpoint_name(feed_forward(*arrays, self.dropout_rate, bits), SAVED)


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
