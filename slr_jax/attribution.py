"""How important each point is to a model: by its mask, its gradients, its attention, or by what it answers without it.

A ranking is a function of a model, clips and a seed, which returns the importance of every coordinate,
<float64>[points, axes], or of every point, <float64>[points]; more is more important. Importances of one ranking can be
compared with each other, and with those of another ranking in their order only.

Where the features of a frame are several blocks, as differences beside coordinates, a coordinate has what its blocks
have together.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slr_jax import dataset as dataset_lib
from slr_jax import errors, inference, memory, tracks
from slr_jax import features as features_lib
from slr_jax import masks as masks_lib
from slr_jax.inference import LoadedModel
from slr_jax.models import LandmarkTransformer

Array = jax.Array
Clips = dataset_lib.Clips
Rows = Mapping[str, Any]
# Of a model, its parameters, a batch (landmarks <float32>[rows, time, dim], padding_mask <bool>[rows, time], labels
# <int32>[rows]) and what else it needs; returns <float32>[rows, …].
BatchFunction = Callable[[LandmarkTransformer, Any, Rows, Any], Array]

# Nodes of the integral, and clips that a point's track is taken of.
_NUM_NODES, _NUM_PERMUTATIONS = 128, 4


def signed_mean(loaded: LoadedModel, clips: Clips | None = None, seed: int = 0) -> np.ndarray:
    """The learned weights (Luna-Jiménez et al., 2023), of several masks their mean; the weight of a point is its mean.

    Returns:
        <float64>[points, axes].

    Raises:
        InputError: the model has no mask.
    """
    del clips, seed
    return np.mean([mask.fed_weights for mask in masks_lib.model_masks(loaded)], axis=0)


def absolute(loaded: LoadedModel, clips: Clips | None = None, seed: int = 0) -> np.ndarray:
    """|w|: as `signed_mean`, but a negative weight counts as much as a positive one."""
    del clips, seed
    return np.mean([np.abs(mask.fed_weights) for mask in masks_lib.model_masks(loaded)], axis=0)


def scaled(loaded: LoadedModel, clips: Clips, seed: int = 0) -> np.ndarray:
    """|w| × standard deviation of the coordinate over all frames, which is that of the masked coordinate."""
    weights, features = absolute(loaded, None, seed), _features(loaded, clips)
    mean, num_frames = _mean_frame(features), sum(map(len, features))
    variance = sum(((clip - mean) ** 2).sum(axis=0) for clip in features) / num_frames
    return weights * _by_point(loaded, np.sqrt(variance))


def permutation(loaded: LoadedModel, clips: Clips, seed: int = 0) -> np.ndarray:
    """How much the loss rises where a point moves as in another clip (Breiman, 2001; Fisher et al., 2019).

    The track of all of a point's features is taken of a clip that the seed draws, stretched to as many frames. The
    loss is −log of the probability of the true class: the probability itself is 1, whatever happens, where a model is
    certain.

    Returns:
        <float64>[points], the mean over clips and 4 draws; 0 for a point that says nothing.

    Raises:
        InputError: there are fewer than two clips.
    """
    features, rng = _features(loaded, clips), np.random.default_rng(seed)
    is_exchanged = _features_of_points(loaded, features[0].shape[1])
    rises = []
    for _ in range(_NUM_PERMUTATIONS):
        others = tracks.other_clips(len(clips), rng)
        paired = [
            np.concatenate([clip, tracks.stretch(features[other], len(clip))], axis=1)
            for clip, other in zip(features, others, strict=True)
        ]
        rises.append(_map_batches(_loss_rises, loaded, paired, clips.labels, is_exchanged).mean(axis=0))
    return np.array(rises).mean(axis=0, dtype=np.float64)


def gradient_times_input(loaded: LoadedModel, clips: Clips, seed: int = 0) -> np.ndarray:
    """Gradient of the logit of the true class × feature (Shrikumar et al., 2016).

    Summed over the frames of a clip; then the mean of the absolute values over the clips.

    Returns:
        <float64>[points, axes].
    """
    del seed
    per_clip = _map_batches(_gradient_times_input, loaded, _features(loaded, clips), clips.labels)
    return np.abs(_by_point(loaded, per_clip)).mean(axis=0)


def integrated_gradients(loaded: LoadedModel, clips: Clips, seed: int = 0) -> np.ndarray:
    """The mean of the absolute values of `integrated_gradients_per_clip` over the clips, <float64>[points, axes]."""
    del seed
    return np.abs(integrated_gradients_per_clip(loaded, clips)).mean(axis=0)


def integrated_gradients_per_clip(loaded: LoadedModel, clips: Clips) -> np.ndarray:
    """What each coordinate adds to the logit of the true class (Sundararajan et al., 2017).

    Along the straight line from a clip whose every frame is the mean frame of all clips; by Gauss and Legendre with 128
    nodes.

    Returns:
        <float64>[clips, points, axes], summed over frames. Those of a clip add up to its logit minus that of the mean
        frame, as closely as the integral is found.
    """
    features = _features(loaded, clips)
    baseline = _mean_frame(features).astype(np.float32)
    return _by_point(loaded, _map_batches(_integrated_gradients, loaded, features, clips.labels, baseline))


def attention_rollout(loaded: LoadedModel, clips: Clips, seed: int = 0) -> np.ndarray:
    """Attention to each frame, through all layers (Abnar & Zuidema, 2020), × |feature|.

    Attention chooses frames, not points; what makes points differ here is how far from 0 they are in the frames that
    are attended to.

    Returns:
        <float64>[points, axes], summed over frames; the mean over the clips.

    Raises:
        InputError: the model has layers that are not attention.
    """
    del seed
    per_clip = _map_batches(_attended_features, loaded, _features(loaded, clips), clips.labels)
    return _by_point(loaded, per_clip).mean(axis=0)


def random(loaded: LoadedModel, clips: Clips | None = None, seed: int = 0) -> np.ndarray:
    """Numbers from 0 to 1, <float64>[points]: what chance finds."""
    del clips
    return np.random.default_rng(seed).random(loaded.fed_layout.num_points)


Ranking = Callable[[LoadedModel, Any, int], np.ndarray]

RANKINGS: dict[str, Ranking] = {
    function.__name__: function
    for function in (
        signed_mean,
        absolute,
        scaled,
        permutation,
        gradient_times_input,
        integrated_gradients,
        attention_rollout,
        random,
    )
}
# The ranking that is published; and those for which clips may be None.
PUBLISHED = 'signed_mean'
WITHOUT_CLIPS = ('signed_mean', 'absolute', 'random')


def find_ranking(name: str) -> Ranking:
    """The function of a ranking; InputError where there is none of that name."""
    if name not in RANKINGS:
        raise errors.InputError(f'ranking is {name!r}, expected one of {", ".join(RANKINGS)}')
    return RANKINGS[name]


# --- Clips and features


def point_of_feature(loaded: LoadedModel, dim: int) -> np.ndarray:
    """<int>[dim], for each feature of a frame the fed point that it is of."""
    return np.arange(dim) // _num_axes(loaded) % loaded.fed_layout.num_points


def _features(loaded: LoadedModel, clips: Clips) -> list[np.ndarray]:
    """<float32>[frames, dim] of each clip; InputError where a clip does not fit in memory with its gradients."""
    return loaded.features.compute_for_model(
        loaded.config,
        clips.landmarks,
        clips.video_ids,
        loaded.description.aspects(clips.frame_sizes, len(clips)),
        training=True,
    )


def _num_axes(loaded: LoadedModel) -> int:
    return features_lib.COORDINATES[loaded.config.coordinates]


def _by_point(loaded: LoadedModel, values: np.ndarray) -> np.ndarray:
    """<float>[…, dim] -> <float64>[…, points, axes], summed over the blocks of features."""
    shape = (*values.shape[:-1], -1, loaded.fed_layout.num_points, _num_axes(loaded))
    return values.reshape(shape).sum(axis=-3, dtype=np.float64)


def _features_of_points(loaded: LoadedModel, dim: int) -> np.ndarray:
    """<bool>[points + 1, dim], the features of no point, and of each."""
    return point_of_feature(loaded, dim) == np.arange(-1, loaded.fed_layout.num_points)[:, None]


def _mean_frame(features: Sequence[np.ndarray]) -> np.ndarray:
    """<float64>[dim]."""
    return sum(clip.sum(axis=0, dtype=np.float64) for clip in features) / sum(map(len, features))


def _map_batches(
    function: BatchFunction,
    loaded: LoadedModel,
    features: Sequence[np.ndarray],
    labels: np.ndarray,
    options: Any = None,
) -> np.ndarray:
    """Applies a function of batches to clips, on one device; returns <float32>[clips, …] in their order."""
    parts = []
    for chosen, piece in inference.eval_batches(features, 1, range(1)):
        batch = {name: x[0] for name, x in piece.items()}
        batch['labels'] = np.zeros(len(batch['padding_mask']), np.int32)
        batch['labels'][: len(chosen)] = labels[chosen]
        parts.append((chosen, np.asarray(_map_rows(function, loaded.model, loaded.params, batch, options))))
    return inference.in_order(parts)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _map_rows(function: BatchFunction, model: LandmarkTransformer, params: Any, batch: Rows, options: Any) -> Array:
    return memory.map_rows(lambda rows: function(model, params, rows, options), batch)


# --- Functions of a batch


def _of_true_class(answers: Array, batch: Rows) -> Array:
    """<float32>[rows, classes] -> <float32>[rows]."""
    return jnp.take_along_axis(answers, batch['labels'][:, None], axis=1)[:, 0]


def _gradient(model: LandmarkTransformer, params: Any, batch: Rows, landmarks: Array) -> Array:
    """<float32>[rows, time, dim], of the logit of the true class."""

    def sum_of_logits(landmarks: Array) -> Array:
        logits: Any = model.apply({'params': params}, landmarks, batch['padding_mask'])
        return _of_true_class(logits, batch).sum()

    # Rows do not know of each other.
    return jax.grad(sum_of_logits)(landmarks)


def _gradient_times_input(model: LandmarkTransformer, params: Any, batch: Rows, _: None) -> Array:
    landmarks = batch['landmarks']
    return (_gradient(model, params, batch, landmarks) * landmarks).sum(axis=1)


def _integrated_gradients(model: LandmarkTransformer, params: Any, batch: Rows, baseline: Array) -> Array:
    nodes, weights = np.polynomial.legendre.leggauss(_NUM_NODES)
    difference = batch['landmarks'] - baseline

    def add(total: Array, node_and_weight: tuple[Array, Array]) -> tuple[Array, None]:
        node, weight = node_and_weight
        return total + weight * _gradient(model, params, batch, baseline + node * difference), None

    # From [-1, 1] to [0, 1].
    steps = jnp.float32((nodes + 1) / 2), jnp.float32(weights / 2)
    mean_gradient, _ = jax.lax.scan(add, jnp.zeros_like(difference), steps)
    return (mean_gradient * difference).sum(axis=1)


def _loss_rises(model: LandmarkTransformer, params: Any, batch: Rows, is_exchanged: Array) -> Array:
    """<float32>[rows, points]; the landmarks of the batch are those of a clip and, beside them, of another.

    `is_exchanged` is <bool>[points + 1, dim]. Its first row has none, so that the loss with which the others are
    compared is of the same program, and what changes nothing is exactly 0.
    """
    own, other = jnp.split(batch['landmarks'], 2, axis=-1)

    def loss(is_other: Array) -> Array:
        logits: Any = model.apply({'params': params}, jnp.where(is_other, other, own), batch['padding_mask'])
        return -_of_true_class(jax.nn.log_softmax(logits), batch)

    losses = jax.lax.map(loss, is_exchanged)
    return (losses[1:] - losses[0]).T


def _attended_features(model: LandmarkTransformer, params: Any, batch: Rows, _: None) -> Array:
    weights = _rollout(model, params, batch)
    return (weights[:, :, None] * jnp.abs(batch['landmarks'])).sum(axis=1)


def _rollout(model: LandmarkTransformer, params: Any, batch: Rows) -> Array:
    """<float32>[rows, time], how much of what the classifier reads comes from each frame; adds up to 1.

    Each layer hands on its input and what it attends to, half of each. What a class query was before it attended to
    frames does not count.
    """
    padding_mask = batch['padding_mask']
    _, sown = model.apply({'params': params}, batch['landmarks'], padding_mask, mutable='intermediates')
    encoder, decoder = (_attention(sown.get('intermediates', {}), name) for name in ('encoder', 'decoder'))
    if 'self_attention' not in encoder or 'cross_attention' not in decoder:
        raise errors.InputError(
            f'the model is {type(model).__name__}, whose layers are not all attention, as attention_rollout expects'
        )
    eye = jnp.eye(padding_mask.shape[1])
    memory_weights = jnp.broadcast_to(eye, (len(padding_mask), *eye.shape))
    for attended in encoder['self_attention']:
        memory_weights = (memory_weights + attended @ memory_weights) / 2
    is_query = 'self_attention' not in decoder
    weights = jnp.zeros_like(memory_weights[:, :1]) if is_query else jnp.broadcast_to(eye, memory_weights.shape)
    for layer, attended in enumerate(decoder['cross_attention']):
        if not is_query:
            weights = (weights + decoder['self_attention'][layer] @ weights) / 2
        weights = (weights + attended @ memory_weights) / 2
    if not is_query:
        weights = weights * padding_mask[:, :, None]
    weights = weights.sum(axis=1)
    return weights / jnp.maximum(weights.sum(axis=1, keepdims=True), jnp.finfo(weights.dtype).tiny)


def _attention(sown: Mapping[str, Any], stack: str) -> dict[str, Array]:
    """Kind of attention -> <float32>[layers, rows, target, source], the mean over heads; empty for other stacks."""
    layers = sown.get(stack, {}).get('layers', {})
    found = {kind: layers[kind]['attention_weights'][0] for kind in layers if 'attention_weights' in layers[kind]}
    return {kind: weights.mean(axis=2) for kind, weights in found.items()}
