"""The models as Flax Linen modules: the five published ones, and one of convolutions and attention.

SPOTER (Boháček & Hrúz, WACVW 2022) and the models of Luna-Jiménez et al., ICMI 2023 (doi 10.1145/3577190.3614143)
that interpret it with a learned input mask. These are encoder-decoder transformers that work at the width of the
flattened landmarks; of them `baseline` alone sees the order of frames. `conv_transformer` sees it, too.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from slr_jax import errors
from slr_jax import features as features_lib
from slr_jax.models.fast import draw_bits, dropout, places_of, row_keys
from slr_jax.models.gates import INITIAL_LOCATION, draw, opening
from slr_jax.models.layers import Initializer, TransformerStack, torch_uniform

Array = jax.Array

# Names among the parameters: of the learned masks, and of the gates, which all masks of a model share.
ENCODER_MASK, DECODER_MASK = 'encoder_mask', 'decoder_mask'
GATES = 'gates'

_unit_uniform = nn.initializers.uniform(scale=1.0)


class LandmarkTransformer(nn.Module):
    """What the models share; a subclass defines how frames enter and how they become one vector.

    Attributes:
        num_classes: number of logits.
        num_heads: attention heads; must divide the input width.
        num_layers: layers of the encoder, and of the decoder.
        mlp_dim: width of the feed-forward layers.
        dropout_rate: in [0, 1).
        differences: see features.Features; the mask weighs them as their coordinates.
        presence: likewise.
        dtype: of the computation, None to follow inputs and parameters.
        param_dtype: of the parameters.
        places: <uint32>[batch], of the clips in the batch as it was drawn, before it was divided: what dropout and
            gates draw depends on them, and not on the rows; None for the rows. Set by the step of training.
    """

    num_classes: int
    num_heads: int
    num_layers: int = 6
    mlp_dim: int = 2048
    dropout_rate: float = 0.1
    differences: int = 0
    presence: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32
    places: Array | None = None

    @nn.compact
    def __call__(self, landmarks: Array, padding_mask: Array, deterministic: bool = True) -> Array:
        """Classifies clips.

        The attention weights are sown: `model.apply(…, mutable='intermediates')` returns them beside the logits, as
        <float32>[layers, batch, heads, target, source] for each attention.

        Args:
            landmarks: <float32>[batch, time, dim], as features.Features makes them.
            padding_mask: <bool>[batch, time], False for padded frames.
            deterministic: False turns dropout on, which takes a `dropout` key.

        Returns:
            <float32>[batch, classes], logits.

        Raises:
            InputError: the shapes do not fit each other, or the number of heads does not divide the width.
        """
        if landmarks.ndim != 3 or padding_mask.shape != landmarks.shape[:2]:
            raise errors.InputError(
                f'landmarks of shape {landmarks.shape} and padding_mask of shape {padding_mask.shape}: expected '
                '[batch, time, dim] and [batch, time]'
            )
        self.check_num_heads(landmarks.shape[-1])
        clip = self.encode_clip(landmarks, padding_mask, deterministic)
        dim = clip.shape[-1]
        logits = nn.Dense(
            self.num_classes,
            kernel_init=torch_uniform(dim),
            bias_init=torch_uniform(dim),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name='classifier',
        )(clip)
        return logits.astype(jnp.float32)

    def encode_clip(self, landmarks: Array, padding_mask: Array, deterministic: bool) -> Array:
        """Maps <float32>[batch, time, dim] to <float>[batch, dim]."""
        raise NotImplementedError

    def check_num_heads(self, dim: int) -> None:
        """Raises InputError unless the heads can share what they attend with, for an input of width `dim`."""
        check_num_heads(self.num_heads, dim)

    def _stack(self, name: str, kind: str, num_layers: int | None = None) -> TransformerStack:
        return TransformerStack(
            kind,
            num_layers or self.num_layers,
            self.num_heads,
            self.mlp_dim,
            self.dropout_rate,
            self.dtype,
            self.param_dtype,
            self.places,
            name=name,
        )

    def dropout(self, x: Array, rate: float | Array, deterministic: bool) -> Array:
        """Dropout of <float>[batch, …] that for each clip is the same in any batch, which nn.Dropout is not."""
        places = places_of(self.places, x.shape[0])
        return dropout(x, rate, None if deterministic else draw_bits(self.make_rng('dropout'), places))

    def _learned_vector(self, name: str, init: Initializer, landmarks: Array) -> Array:
        """A learned <param_dtype>[dim], as the dtype of the computation."""
        vector = self.param(name, init, landmarks.shape[-1:], self.param_dtype)
        return vector if self.dtype is None else vector.astype(self.dtype)

    def _class_query_decoder(self, frames: Array, padding_mask: Array, deterministic: bool) -> Array:
        """SPOTER: one learned class query attends to the encoded frames."""
        memory = self._stack('encoder', 'encoder')(frames, None, padding_mask, deterministic)
        return self._decode_class_query(self._stack('decoder', 'class_query'), memory, padding_mask, deterministic)

    def _decode_class_query(
        self, decoder: TransformerStack, memory: Array, padding_mask: Array, deterministic: bool
    ) -> Array:
        query = self._learned_vector('class_query', _unit_uniform, memory)
        query = jnp.broadcast_to(query, (memory.shape[0], 1, memory.shape[-1]))
        return decoder(query, memory, padding_mask, deterministic)[:, 0]

    def _sequence_decoder(self, frames: Array, targets: Array, padding_mask: Array, deterministic: bool) -> Array:
        """A standard decoder runs over `targets`; the mean over the real frames is the clip's vector."""
        memory = self._stack('encoder', 'encoder')(frames, None, padding_mask, deterministic)
        # Frames attend to frames of the same clip on both sides, so that one padding mask serves both attentions.
        decoded = self._stack('decoder', 'decoder')(targets, memory, padding_mask, deterministic)
        weights = padding_mask[:, :, None].astype(decoded.dtype)
        return (decoded * weights).sum(axis=1) / jnp.maximum(weights.sum(axis=1), 1)


# Rows of the position table that published SPOTER models carry and never read. Kept, so that parameter counts and
# imported checkpoints are the published ones.
UNUSED_POSITION_ROWS = 50


class SpoterPE(LandmarkTransformer):
    """SPOTER as published: one learned vector is added to every frame."""

    def encode_clip(self, landmarks: Array, padding_mask: Array, deterministic: bool) -> Array:
        """See LandmarkTransformer."""
        self.param('row_embed', _unit_uniform, (UNUSED_POSITION_ROWS, landmarks.shape[-1]), self.param_dtype)
        frames = landmarks + self._learned_vector('position', _unit_uniform, landmarks)
        return self._class_query_decoder(frames, padding_mask, deterministic)


class SpoterNoPE(LandmarkTransformer):
    """SPOTER without the added vector."""

    def encode_clip(self, landmarks: Array, padding_mask: Array, deterministic: bool) -> Array:
        """See LandmarkTransformer."""
        return self._class_query_decoder(landmarks, padding_mask, deterministic)


class MaskedTransformer(LandmarkTransformer):
    """What the models with a learned mask share, which may have gates beside it.

    Attributes:
        mask_gates: one of gates.KINDS; a point is kept or not, whichever mask of the model weighs it.
        gate_std: of the noise on the gates in training, above 0.
        coordinates: of each point, a key of features.COORDINATES.
    """

    mask_gates: str = 'none'
    gate_std: float = 0.5
    coordinates: str = 'xy'

    def _apply_mask(self, name: str, landmarks: Array) -> Array:
        """Multiplies a learned weight per coordinate onto it, its differences and its presence."""
        weights = self._learned_vector(name, nn.initializers.ones, landmarks[..., : self._num_coordinates(landmarks)])
        return landmarks * (weights if self._num_blocks == 1 else jnp.tile(weights, self._num_blocks))

    def _apply_gates(self, landmarks: Array, deterministic: bool) -> Array:
        """Multiplies gates onto coordinates, differences and presence; <float>[batch, time, dim] to the same shape."""
        if self.mask_gates == 'none':
            return landmarks
        axes = features_lib.COORDINATES[self.coordinates] if self.mask_gates == 'point' else 1
        initializer = nn.initializers.constant(INITIAL_LOCATION)
        shape = (self._num_coordinates(landmarks) // axes,)
        locations = self.param(GATES, initializer, shape, self.param_dtype)
        if deterministic:
            openings = opening(locations)[None]
        else:
            keys = row_keys(self.make_rng('dropout'), places_of(self.places, landmarks.shape[0]))
            openings = draw(locations, self.gate_std, keys)
        return landmarks * jnp.tile(jnp.repeat(openings, axes, axis=1), self._num_blocks)[:, None]

    @property
    def _num_blocks(self) -> int:
        return features_lib.num_blocks(self.differences, self.presence)

    def _num_coordinates(self, landmarks: Array) -> int:
        return landmarks.shape[-1] // self._num_blocks


class ClassQuery(MaskedTransformer):
    """SiLT Query Class: a learned weight per coordinate is multiplied onto every frame."""

    def encode_clip(self, landmarks: Array, padding_mask: Array, deterministic: bool) -> Array:
        """See LandmarkTransformer."""
        frames = self._apply_mask(ENCODER_MASK, self._apply_gates(landmarks, deterministic))
        return self._class_query_decoder(frames, padding_mask, deterministic)


class SequenceQuery(MaskedTransformer):
    """Two learned masks, one for the encoder and one for a decoder over all frames."""

    def encode_clip(self, landmarks: Array, padding_mask: Array, deterministic: bool) -> Array:
        """See LandmarkTransformer."""
        landmarks = self._apply_gates(landmarks, deterministic)
        frames = self._apply_mask(ENCODER_MASK, landmarks)
        targets = self._apply_mask(DECODER_MASK, landmarks)
        return self._sequence_decoder(frames, targets, padding_mask, deterministic)


class Baseline(LandmarkTransformer):
    """The plain transformer: sine and cosine positions, dropout of the input, a decoder over all frames."""

    input_dropout_rate: float = 0.5

    def encode_clip(self, landmarks: Array, padding_mask: Array, deterministic: bool) -> Array:
        """See LandmarkTransformer."""
        frames = landmarks + sinusoidal_positions(*landmarks.shape[1:])
        frames = self.dropout(frames, self.input_dropout_rate, deterministic)
        return self._sequence_decoder(frames, frames, padding_mask, deterministic)


def sinusoidal_positions(length: int, dim: int) -> Array:
    """<float32>[length, dim]: sines at even and cosines at odd positions (Vaswani et al., 2017, section 3.5)."""
    frequency = jnp.exp(jnp.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angle = jnp.arange(length)[:, None] * frequency
    return jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1).reshape(length, -1)[:, :dim]


def check_num_heads(num_heads: int, width: int, name: str = 'the input width') -> None:
    """Raises InputError unless `num_heads` divides a width, which has this name."""
    if num_heads < 1 or width % num_heads:
        fitting = ', '.join(str(n) for n in range(1, 33) if width % n == 0)
        raise errors.InputError(f'num_heads is {num_heads}, which does not divide {name} {width}; try {fitting}')
