"""The five published models as Flax Linen modules, built from shared layers.

SPOTER (Boháček & Hrúz, WACVW 2022) and the models of Luna-Jiménez et al., ICMI 2023 (doi 10.1145/3577190.3614143)
that interpret it with a learned input mask. All are post-norm encoder-decoder transformers (Vaswani et al., 2017)
that work at the width of the flattened landmarks. Parameters of the layers of a stack are stacked along a first axis.

Letters in shapes: b batch, t target frames, s source frames, h heads, d width of a head.
"""

from collections.abc import Callable
import itertools
import math
from typing import Any

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp

from slr_jax import errors

Array = jax.Array
Initializer = Callable[..., Array]

# What a layer keeps for the backward pass.
_KEPT = 'kept'
# Places of a layer where values are dropped, at most.
_DROPOUTS = 6

_xavier_uniform = nn.initializers.xavier_uniform()
_unit_uniform = nn.initializers.uniform(scale=1.0)


def _uniform(fan_in: int) -> Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of torch.nn.Linear for matrices and biases."""
    bound = 1 / math.sqrt(fan_in)

    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def dropout(x: Array, rate: float | Array, words: Array | None) -> Array:
    """Dropout whose mask is a hash of each value's place and of two random words.

    Drawing a mask from a key costs as much as a fifth of a training step. Here it costs a few integer operations a
    value, and is made again in the backward pass instead of being kept.

    Args:
        x: <float>[…].
        rate: share of the values that are dropped, in [0, 1); may be a traced <float32>[].
        words: <uint32>[2], random; None for no dropout.

    Returns:
        <float>[…]; values are zeroed or divided by 1 - rate.
    """
    if words is None or (isinstance(rate, (int, float)) and not rate):
        return x
    return _drop(x, jnp.float32(rate), words)


@jax.custom_vjp
def _drop(x: Array, rate: Array, words: Array) -> Array:
    keep = _hash(x.shape, words) >= (rate * 2.0**32).astype(jnp.uint32)
    return jnp.where(keep, x * (1 / (1 - rate)).astype(x.dtype), jnp.zeros((), x.dtype))


def _drop_forward(x: Array, rate: Array, words: Array) -> tuple[Array, tuple[Array, Array]]:
    return _drop(x, rate, words), (rate, words)


def _drop_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, None, None]:
    return _drop(gradient, *saved), None, None


_drop.defvjp(_drop_forward, _drop_backward)


def _hash(shape: tuple[int, ...], words: Array) -> Array:
    """<uint32>[*shape], a hash of each place and of <uint32>[2].

    Axis after axis, so that a place keeps its hash where another axis, as that of padded frames, is longer.
    """
    x = words[0]
    for size in shape:
        x = _mix(x[..., None] ^ jnp.arange(size, dtype=jnp.uint32), words[1])
    return x


def _mix(x: Array, word: Array) -> Array:
    """The integer hash lowbias32 (Wellons, 2018), with a word added between its two multiplications."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15) ^ word) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


@jax.custom_vjp
def _matmul(x: Array, kernel: Array) -> Array:
    """<float>[…, in] @ <float>[in, out], for kernels with in » out.

    XLA's CPU product for the kernel's gradient is half as fast as for the transposed gradient.
    """
    return x @ kernel


def _matmul_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    rows = tuple(range(x.ndim - 1))
    transposed = jax.lax.dot_general(gradient, x, ((rows, rows), ((), ())))
    # Without the barrier XLA would turn the two back into the slow product.
    return gradient @ kernel.T, jax.lax.optimization_barrier(transposed).T


_matmul.defvjp(lambda x, kernel: (_matmul(x, kernel), (x, kernel)), _matmul_backward)


class MultiHeadAttention(nn.Module):
    """Attention with one packed, biased projection for queries, keys and values."""

    num_heads: int
    dropout_rate: float | Array
    out_kernel_init: Initializer
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array, memory: Array | None, mask: Array, words: Array | None) -> Array:
        """Attends from `x` to `memory`, or to itself where `memory` is None.

        Args:
            x: <float>[batch, target, dim].
            memory: <float>[batch, source, dim] or None.
            mask: <bool>[batch, source], False for padding.
            words: see dropout, here of the attention weights.

        Returns:
            <float>[batch, target, dim].
        """
        dim = x.shape[-1]
        kernel = self.param('in_proj_kernel', _xavier_uniform, (dim, 3 * dim), self.param_dtype)
        bias = self.param('in_proj_bias', nn.initializers.zeros, (3 * dim,), self.param_dtype)
        x, memory, kernel, bias = nn.dtypes.promote_dtype(x, memory, kernel, bias, dtype=self.dtype)
        if memory is None:
            query, key, value = jnp.split(x @ kernel + bias, 3, axis=-1)
        else:
            query = x @ kernel[:, :dim] + bias[:dim]
            key, value = jnp.split(memory @ kernel[:, dim:] + bias[dim:], 2, axis=-1)
        query, key, value = (self._split_heads(y) for y in (query, key, value))
        scores = jnp.einsum('bthd,bshd->bhts', query, key).astype(jnp.float32) / math.sqrt(dim // self.num_heads)
        # A finite number: a batch slot without any frame must not become NaN.
        scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
        weights = jax.nn.softmax(scores, axis=-1)
        self.sow('intermediates', 'attention_weights', weights)
        weights = dropout(weights.astype(value.dtype), self.dropout_rate, words)
        attended = jnp.einsum('bhts,bshd->bthd', weights, value).reshape(x.shape)
        out_proj = nn.Dense(
            dim,
            kernel_init=self.out_kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name='out_proj',
        )
        return checkpoint_name(out_proj(attended), _KEPT)

    def _split_heads(self, y: Array) -> Array:
        return checkpoint_name(y.reshape(*y.shape[:-1], self.num_heads, -1), _KEPT)


class TransformerLayer(nn.Module):
    """One encoder or decoder layer, post-norm.

    Attributes:
        kind: 'encoder'; 'decoder', with self-attention and attention to the encoded frames; or 'class_query', the
            decoder layer of SPOTER, in which `x + dropout(x)` stands where the self-attention was.
        kernel_init: initialiser of every matrix but the packed projection; None for U(±1/sqrt(fan_in)).
        bias_init: makes the initialiser of the feed-forward biases from their fan-in.
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
    def __call__(self, x: Array, memory: Array | None, mask: Array, words: Array | None) -> tuple[Array, None]:
        """Maps <float>[batch, target, dim] to the same shape.

        `mask` is over the frames that are attended to; `words` are <uint32>[_DROPOUTS, 2], see dropout.
        """
        draws = itertools.repeat(None) if words is None else iter(words)

        def add_and_norm(residual: Array, name: str) -> Array:
            residual = dropout(residual, self.dropout_rate, next(draws))
            return _layer_norm(name, self.dtype, self.param_dtype)(x + residual)

        if self.kind == 'class_query':
            x = add_and_norm(x, 'norm_self')
        else:
            x = add_and_norm(self._attention('self_attention', x)(x, None, mask, next(draws)), 'norm_self')
        if self.kind != 'encoder':
            attended = self._attention('cross_attention', x)(x, memory, mask, next(draws))
            x = add_and_norm(attended, 'norm_cross')
        x = add_and_norm(self._feed_forward(x, next(draws)), 'norm_mlp')
        return x, None

    def _attention(self, name: str, x: Array) -> MultiHeadAttention:
        return MultiHeadAttention(
            self.num_heads,
            self.dropout_rate,
            self.kernel_init or _uniform(x.shape[-1]),
            self.dtype,
            self.param_dtype,
            name=name,
        )

    def _feed_forward(self, x: Array, words: Array | None) -> Array:
        def dense(name: str, features: int, fan_in: int, **options: Any) -> nn.Dense:
            return nn.Dense(
                features,
                kernel_init=self.kernel_init or _uniform(fan_in),
                bias_init=self.bias_init(fan_in),
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
                **options,
            )

        dim = x.shape[-1]
        hidden = nn.relu(dense('mlp_in', self.mlp_dim, dim)(x))
        hidden = dropout(hidden, self.dropout_rate, words)
        mlp_out = dense('mlp_out', dim, self.mlp_dim, dot_general=lambda x, kernel, *_, **__: _matmul(x, kernel))
        return checkpoint_name(mlp_out(hidden), _KEPT)


class TransformerStack(nn.Module):
    """`num_layers` layers of one kind and a final LayerNorm.

    Initialised as `torch.nn.Transformer` leaves its layers: matrices Xavier-uniform, each layer its own; feed-forward
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
    def __call__(self, x: Array, memory: Array | None, mask: Array, deterministic: bool) -> Array:
        """Maps <float>[batch, target, dim] to the same shape."""
        # What is carried from layer to layer keeps its dtype.
        (x,) = nn.dtypes.promote_dtype(x, dtype=self.dtype)
        copies = self.kind == 'class_query'
        # To make the wide hidden layer and the attention weights again is no slower than to store them.
        layer = nn.remat(
            TransformerLayer,
            policy=jax.checkpoint_policies.save_only_these_names(_KEPT),
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
        words = None if deterministic else _draw_words(self, self.num_layers, _DROPOUTS)
        x, _ = layers(x, memory, mask, words)
        return _layer_norm('norm', self.dtype, self.param_dtype)(x)

    def _shared_bias_init(self) -> Callable[[int], Initializer]:
        if not self.is_initializing():
            return _uniform
        key = self.make_rng('params')

        def bias_init(fan_in: int) -> Initializer:
            init = _uniform(fan_in)
            return lambda _, *args: init(jax.random.fold_in(key, fan_in), *args)

        return bias_init


def _draw_words(module: nn.Module, *shape: int) -> Array:
    """<uint32>[*shape, 2], random words of the module's `dropout` key."""
    return jax.random.bits(module.make_rng('dropout'), (*shape, 2), jnp.uint32)


def _layer_norm(name: str, dtype: Any, param_dtype: Any) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, dtype=dtype, param_dtype=param_dtype, name=name)


class LandmarkTransformer(nn.Module):
    """What the five models share; a subclass says how frames enter and how they become one vector.

    Attributes:
        num_classes: number of logits.
        num_heads: attention heads; must divide the input width.
        num_layers: layers of the encoder, and of the decoder.
        mlp_dim: width of the feed-forward layers.
        dropout_rate: in [0, 1).
        dtype: of the computation, None to follow inputs and parameters.
        param_dtype: of the parameters.
    """

    num_classes: int
    num_heads: int
    num_layers: int = 6
    mlp_dim: int = 2048
    dropout_rate: float = 0.1
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, landmarks: Array, mask: Array, deterministic: bool = True) -> Array:
        """Classifies clips.

        The attention weights are sown: `model.apply(…, mutable='intermediates')` returns them beside the logits, as
        <float32>[layers, batch, heads, target, source] for each attention.

        Args:
            landmarks: <float32>[batch, time, dim], normalised image coordinates − 0.5, flattened per frame.
            mask: <bool>[batch, time], False for padded frames.
            deterministic: False turns dropout on, which takes a `dropout` key.

        Returns:
            <float32>[batch, classes], logits.

        Raises:
            InputError: the shapes do not fit each other, or the number of heads does not divide dim.
        """
        if landmarks.ndim != 3 or mask.shape != landmarks.shape[:2]:
            raise errors.InputError(
                f'landmarks of shape {landmarks.shape} and mask of shape {mask.shape}: expected [batch, time, dim] and '
                '[batch, time]'
            )
        check_num_heads(self.num_heads, landmarks.shape[-1])
        clip = self.clip_vector(landmarks, mask, deterministic)
        dim = clip.shape[-1]
        logits = nn.Dense(
            self.num_classes,
            kernel_init=_uniform(dim),
            bias_init=_uniform(dim),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name='classifier',
        )(clip)
        return logits.astype(jnp.float32)

    def clip_vector(self, landmarks: Array, mask: Array, deterministic: bool) -> Array:
        """Maps <float32>[batch, time, dim] to <float>[batch, dim]."""
        raise NotImplementedError

    def _stack(self, name: str, kind: str) -> TransformerStack:
        return TransformerStack(
            kind,
            self.num_layers,
            self.num_heads,
            self.mlp_dim,
            self.dropout_rate,
            self.dtype,
            self.param_dtype,
            name=name,
        )

    def _vector(self, name: str, init: Initializer, landmarks: Array) -> Array:
        """A learned <param_dtype>[dim], as the dtype of the computation."""
        vector = self.param(name, init, landmarks.shape[-1:], self.param_dtype)
        return vector if self.dtype is None else vector.astype(self.dtype)

    def _query_classes(self, frames: Array, mask: Array, deterministic: bool) -> Array:
        """SPOTER: one learned class query attends to the encoded frames."""
        memory = self._stack('encoder', 'encoder')(frames, None, mask, deterministic)
        query = self._vector('class_query', _unit_uniform, frames)
        query = jnp.broadcast_to(query, (frames.shape[0], 1, frames.shape[-1]))
        return self._stack('decoder', 'class_query')(query, memory, mask, deterministic)[:, 0]

    def _decode_frames(self, frames: Array, targets: Array, mask: Array, deterministic: bool) -> Array:
        """A standard decoder runs over `targets`; the mean over the real frames is the clip's vector."""
        memory = self._stack('encoder', 'encoder')(frames, None, mask, deterministic)
        # Frames attend to frames of the same clip on both sides, so that one mask serves the two attentions.
        decoded = self._stack('decoder', 'decoder')(targets, memory, mask, deterministic)
        weights = mask[:, :, None].astype(decoded.dtype)
        return (decoded * weights).sum(axis=1) / jnp.maximum(weights.sum(axis=1), 1)


# Rows of the position table that published SPOTER models carry and never read. Kept, so that parameter counts and
# imported checkpoints are the published ones.
_UNUSED_POSITION_ROWS = 50


class SpoterPE(LandmarkTransformer):
    """SPOTER as published: one learned vector is added to every frame."""

    def clip_vector(self, landmarks: Array, mask: Array, deterministic: bool) -> Array:
        """See LandmarkTransformer."""
        self.param('row_embed', _unit_uniform, (_UNUSED_POSITION_ROWS, landmarks.shape[-1]), self.param_dtype)
        frames = landmarks + self._vector('position', _unit_uniform, landmarks)
        return self._query_classes(frames, mask, deterministic)


class SpoterNoPE(LandmarkTransformer):
    """SPOTER without the added vector."""

    def clip_vector(self, landmarks: Array, mask: Array, deterministic: bool) -> Array:
        """See LandmarkTransformer."""
        return self._query_classes(landmarks, mask, deterministic)


class ClassQuery(LandmarkTransformer):
    """SiLT Query Class: a learned weight per coordinate is multiplied onto every frame."""

    def clip_vector(self, landmarks: Array, mask: Array, deterministic: bool) -> Array:
        """See LandmarkTransformer."""
        frames = landmarks * self._vector('encoder_mask', nn.initializers.ones, landmarks)
        return self._query_classes(frames, mask, deterministic)


class SequenceQuery(LandmarkTransformer):
    """Two learned masks, one for the encoder and one for a decoder over all frames."""

    def clip_vector(self, landmarks: Array, mask: Array, deterministic: bool) -> Array:
        """See LandmarkTransformer."""
        frames = landmarks * self._vector('encoder_mask', nn.initializers.ones, landmarks)
        targets = landmarks * self._vector('decoder_mask', nn.initializers.ones, landmarks)
        return self._decode_frames(frames, targets, mask, deterministic)


class Baseline(LandmarkTransformer):
    """The plain transformer: sine and cosine positions, dropout of the input, a decoder over all frames."""

    input_dropout_rate: float = 0.5

    def clip_vector(self, landmarks: Array, mask: Array, deterministic: bool) -> Array:
        """See LandmarkTransformer."""
        frames = landmarks + sinusoidal_positions(*landmarks.shape[1:])
        frames = dropout(frames, self.input_dropout_rate, None if deterministic else _draw_words(self))
        return self._decode_frames(frames, frames, mask, deterministic)


def sinusoidal_positions(length: int, dim: int) -> Array:
    """<float32>[length, dim]: sines at even and cosines at odd places (Vaswani et al., 2017, section 3.5)."""
    frequency = jnp.exp(jnp.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angle = jnp.arange(length)[:, None] * frequency
    return jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1).reshape(length, -1)[:, :dim]


MODELS = {
    'spoter_pe': SpoterPE,
    'spoter_no_pe': SpoterNoPE,
    'class_query': ClassQuery,
    'sequence_query': SequenceQuery,
    'baseline': Baseline,
}


def check_num_heads(num_heads: int, dim: int) -> None:
    """Raises InputError unless `num_heads` divides the input width `dim`."""
    if num_heads < 1 or dim % num_heads:
        fitting = ', '.join(str(n) for n in range(1, 33) if dim % n == 0)
        raise errors.InputError(f'num_heads is {num_heads}, which does not divide the input width {dim}; try {fitting}')


def create_model(name: str, *, num_classes: int, num_heads: int, **sizes: Any) -> LandmarkTransformer:
    """Makes one of the five models.

    Args:
        name: a key of MODELS.
        num_classes: number of logits.
        num_heads: attention heads; must divide the input width.
        **sizes: further fields of LandmarkTransformer.

    Raises:
        InputError: there is no model of that name.
    """
    if name not in MODELS:
        raise errors.InputError(f'model is {name!r}, expected one of {", ".join(MODELS)}')
    return MODELS[name](num_classes=num_classes, num_heads=num_heads, **sizes)


def count_parameters(params: Any) -> int:
    """Number of values in a tree of parameters, or of their shapes."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(params))
