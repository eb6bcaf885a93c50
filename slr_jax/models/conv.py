"""Layers of conv_transformer: stages of convolutions over frames, each followed by attention.

After the 1st place of Kaggle's asl-signs (Hoyeol Sohn, 2023), but with LayerNorm for BatchNorm, and convolutions that
are not causal. Padded frames are zero before every convolution and left out of every mean, maximum and attention, so
that no clip depends on the others of its batch. Parameters of the stages are stacked along a first axis.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from slr_jax import errors
from slr_jax.models.fast import dot_general, draw_bits, dropout, places_of
from slr_jax.models.layers import MultiHeadAttention, layer_norm
from slr_jax.models.published import ENCODER_MASK, MaskedTransformer, check_num_heads

Array = jax.Array

# Width of a convolution block within, in widths of the stage.
_EXPANSION = 2
# Neighbouring channels that a channel's gate is computed of.
_GATE_SIZE = 5
# Of a transformer block: attention weights, what is attended to, the hidden layer and its output.
_NUM_DROPOUT_SITES = 4


def depthwise_convolution(x: Array, kernel: Array) -> Array:
    """Convolves each channel with a kernel of its own, over as many frames; beyond the ends is zero.

    Args:
        x: <float>[batch, time, channels].
        kernel: <float>[size, channels], its middle for the frame itself.

    Returns:
        <float>[batch, time, channels].
    """
    size, time = len(kernel), x.shape[1]
    padded = jnp.pad(x, [(0, 0), ((size - 1) // 2, size // 2), (0, 0)])
    # XLA's grouped convolution takes 15 times as long on a CPU, with its gradient 8 times.
    return sum(padded[:, i : i + time] * kernel[i] for i in range(size))  # type: ignore[return-value]


def zero_padding(x: Array, padding_mask: Array) -> Array:
    """Sets padded frames of <float>[batch, time, dim] to zero, whatever they hold."""
    return jnp.where(padding_mask[:, :, None], x, 0)


def mean_over_frames(x: Array, padding_mask: Array) -> Array:
    """<float>[batch, time, dim] -> <float>[batch, dim], the mean over the real frames; of none, zero."""
    total = zero_padding(x, padding_mask).sum(axis=1, dtype=jnp.float32)
    return (total / jnp.maximum(padding_mask.sum(axis=1), 1)[:, None]).astype(x.dtype)


def max_over_frames(x: Array, padding_mask: Array) -> Array:
    """<float>[batch, time, dim] -> <float>[batch, dim], the maximum over the real frames; of none, zero."""
    # By its index: the gradient of jnp.max looks for equal values, and XLA, which computes them again, may round them
    # otherwise and find none.
    index = jnp.where(padding_mask[:, :, None], x, jnp.finfo(x.dtype).min).argmax(axis=1)
    is_largest = padding_mask[:, :, None] & (index[:, None] == jnp.arange(x.shape[1])[:, None])
    return jnp.where(is_largest, x, 0).sum(axis=1)


class ConvBlock(nn.Module):
    """A convolution over frames within a wider layer, channels gated by their mean over the clip, and a residual.

    The gate is efficient channel attention (Wang et al., CVPR 2020).

    Attributes:
        kernel_size: frames, odd.
        drop_path_rate: fraction of the clips that skip the block in training, in [0, 1).
        dtype: of the computation, None to follow inputs and parameters.
        param_dtype: of the parameters.
    """

    kernel_size: int
    drop_path_rate: float
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array, padding_mask: Array, bits: Array | None) -> Array:
        """Maps <float>[batch, time, dim] to the same shape; `bits`, <uint32>[batch, 2], are for drop-path."""
        dim = x.shape[-1]
        hidden = layer_norm('norm_in', self.dtype, self.param_dtype)(x)
        hidden = nn.swish(_dense(self, 'expand', _EXPANSION * dim)(hidden))
        kernel = self._kernel('depthwise_kernel', self.kernel_size, _EXPANSION * dim)
        hidden = depthwise_convolution(zero_padding(hidden, padding_mask), kernel)
        hidden = layer_norm('norm', self.dtype, self.param_dtype)(hidden)
        channels = mean_over_frames(hidden, padding_mask)[:, :, None]
        gate = nn.sigmoid(depthwise_convolution(channels, self._kernel('gate_kernel', _GATE_SIZE, 1)))
        update = _dense(self, 'project', dim)(hidden * gate.swapaxes(1, 2))
        clips = dropout(jnp.ones((x.shape[0], 1, 1), x.dtype), self.drop_path_rate, bits)
        return x + update * clips

    def _kernel(self, name: str, size: int, channels: int) -> Array:
        kernel = self.param(name, nn.initializers.lecun_normal(), (size, channels), self.param_dtype)
        return kernel if self.dtype is None else kernel.astype(self.dtype)


class PreNormLayer(nn.Module):
    """Self-attention and a feed-forward layer with swish, a LayerNorm before each and a residual around it."""

    num_heads: int
    mlp_dim: int
    dropout_rate: float | Array
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array, padding_mask: Array, bits: Array | None) -> Array:
        """Maps <float>[batch, time, dim] to the same shape; `bits` are <uint32>[sites, batch, 2] for dropout."""
        of_weights, of_attended, of_hidden, of_output = [None] * _NUM_DROPOUT_SITES if bits is None else bits
        attention = MultiHeadAttention(
            self.num_heads,
            self.dropout_rate,
            nn.initializers.xavier_uniform(),
            self.dtype,
            self.param_dtype,
            name='self_attention',
        )
        normed = layer_norm('norm_self', self.dtype, self.param_dtype)(x)
        x = x + dropout(attention(normed, None, padding_mask, of_weights), self.dropout_rate, of_attended)
        normed = layer_norm('norm_mlp', self.dtype, self.param_dtype)(x)
        hidden = dropout(nn.swish(_dense(self, 'mlp_in', self.mlp_dim)(normed)), self.dropout_rate, of_hidden)
        return x + dropout(_dense(self, 'mlp_out', x.shape[-1])(hidden), self.dropout_rate, of_output)


def _dense(module: Any, name: str, features: int) -> nn.Dense:
    return nn.Dense(
        features,
        dtype=module.dtype,
        param_dtype=module.param_dtype,
        dot_general=dot_general,
        name=name,
    )


class ConvStage(nn.Module):
    """`conv_blocks` convolution blocks, then a transformer layer; the fields are those of ConvStack."""

    conv_blocks: int
    kernel_size: int
    drop_path_rate: float
    num_heads: int
    mlp_dim: int
    dropout_rate: float | Array
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array, padding_mask: Array, bits: Array | None) -> tuple[Array, None]:
        """Maps <float>[batch, time, dim] to the same shape; `bits`: <uint32>[sites, batch, 2], of blocks first."""
        for i in range(self.conv_blocks):
            block = ConvBlock(self.kernel_size, self.drop_path_rate, self.dtype, self.param_dtype, name=f'conv_{i}')
            x = block(x, padding_mask, None if bits is None else bits[i])
        layer = PreNormLayer(
            self.num_heads, self.mlp_dim, self.dropout_rate, self.dtype, self.param_dtype, name='transformer'
        )
        return layer(x, padding_mask, None if bits is None else bits[self.conv_blocks :]), None


class ConvStack(nn.Module):
    """A projection of the landmarks, `num_stages` stages and a final LayerNorm.

    Attributes:
        num_stages: at least 1.
        width: of the frames between the layers.
        conv_blocks: convolution blocks per stage.
        kernel_size: frames of a convolution, odd.
        drop_path_rate: see ConvBlock.
        num_heads: attention heads; must divide the width.
        mlp_dim: width of the feed-forward layers.
        dropout_rate: of the transformer layers, in [0, 1).
        dtype: of the computation, None to follow inputs and parameters.
        param_dtype: of the parameters.
        places: see models.LandmarkTransformer.
    """

    num_stages: int
    width: int
    conv_blocks: int
    kernel_size: int
    drop_path_rate: float
    num_heads: int
    mlp_dim: int
    dropout_rate: float | Array
    dtype: Any
    param_dtype: Any
    places: Array | None = None

    @nn.compact
    def __call__(self, landmarks: Array, padding_mask: Array, deterministic: bool) -> Array:
        """Maps <float>[batch, time, dim] to <float>[batch, time, width]."""
        x = _dense(self, 'project', self.width)(zero_padding(landmarks, padding_mask))
        x = layer_norm('norm_in', self.dtype, self.param_dtype)(x)
        # Recomputing a stage for its gradient is quicker than storing what is within.
        stages = nn.scan(
            nn.remat(ConvStage, prevent_cse=False),
            variable_axes={'params': 0, 'intermediates': 0},
            split_rngs={'params': True},
            in_axes=(nn.broadcast, 0),
            length=self.num_stages,
        )(
            self.conv_blocks,
            self.kernel_size,
            self.drop_path_rate,
            self.num_heads,
            self.mlp_dim,
            self.dropout_rate,
            self.dtype,
            self.param_dtype,
            name='stages',
        )
        # One draw for all stages, as in TransformerStack.
        sites = self.conv_blocks + _NUM_DROPOUT_SITES
        places = places_of(self.places, x.shape[0])
        bits = None if deterministic else draw_bits(self.make_rng('dropout'), places, self.num_stages, sites)
        x, _ = stages(x, padding_mask, bits)
        return layer_norm('norm', self.dtype, self.param_dtype)(x)


# How the frames of conv_transformer become one vector.
POOLINGS = ('class_query', 'max_mean')


class ConvTransformer(MaskedTransformer):
    """Stages of convolutions over frames, each followed by a transformer layer; a learned weight per coordinate before.

    `num_layers` counts the stages.

    Attributes:
        width: of the frames within the model; `num_heads` must divide it.
        conv_blocks: convolution blocks per stage.
        kernel_size: frames of a convolution, odd.
        pooling: 'class_query', one decoder layer of SPOTER's, or 'max_mean', maximum and mean over frames side by side.
        drop_path_rate: fraction of the clips that skip a convolution block in training, in [0, 1).
        late_dropout_rate: of what the classifier reads, in [0, 1).
    """

    width: int = 128
    conv_blocks: int = 3
    kernel_size: int = 9
    pooling: str = 'class_query'
    drop_path_rate: float = 0.0
    late_dropout_rate: float = 0.0

    def check_num_heads(self, dim: int) -> None:
        """See LandmarkTransformer."""
        check_num_heads(self.num_heads, self.width, 'width')

    def encode_clip(self, landmarks: Array, padding_mask: Array, deterministic: bool) -> Array:
        """See LandmarkTransformer."""
        frames = self._apply_mask(ENCODER_MASK, self._apply_gates(landmarks, deterministic))
        encoder = ConvStack(
            self.num_layers,
            self.width,
            self.conv_blocks,
            self.kernel_size,
            self.drop_path_rate,
            self.num_heads,
            self.mlp_dim,
            self.dropout_rate,
            self.dtype,
            self.param_dtype,
            self.places,
            name='encoder',
        )
        clip = self._pool(encoder(frames, padding_mask, deterministic), padding_mask, deterministic)
        return self.dropout(clip, self.late_dropout_rate, deterministic)

    def _pool(self, frames: Array, padding_mask: Array, deterministic: bool) -> Array:
        """<float>[batch, time, width] -> <float>[batch, width], or twice the width."""
        if self.pooling not in POOLINGS:
            raise errors.InputError(f'pooling is {self.pooling!r}, expected one of {", ".join(POOLINGS)}')
        if self.pooling == 'class_query':
            decoder = self._stack('decoder', 'class_query', num_layers=1)
            return self._decode_class_query(decoder, frames, padding_mask, deterministic)
        pooled = [pool(frames, padding_mask) for pool in (max_over_frames, mean_over_frames)]
        return jnp.concatenate(pooled, axis=-1)
