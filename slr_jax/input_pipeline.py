"""Clips in memory -> what the model is fed: features of each clip, and batches of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import ml_collections
import numpy as np

from slr_jax import dataset as dataset_lib
from slr_jax import errors, normalize
from slr_jax import landmarks as landmarks_lib

# The axes of a point that are fed.
COORDINATES = {'xy': 2, 'xyz': 3}
# Images have 0.5 in their middle; the models see coordinates relative to it.
_SHIFT = 0.5
_CLIPS_AT_ONCE = 128
# Clips are sorted by length within so many batches where they are bucketed.
_BATCHES_SORTED_TOGETHER = 8

Batch = dict[str, np.ndarray]


def input_width(config: ml_collections.ConfigDict, layout: landmarks_lib.Layout) -> int:
    """Numbers a frame that the model is fed."""
    return layout.num_points * COORDINATES[config.coordinates]


def prepare_features(
    clips: dataset_lib.Clips, layout: landmarks_lib.Layout, config: ml_collections.ConfigDict
) -> list[np.ndarray]:
    """Normalises clips, fills what is missing, and flattens each frame to `[x0, y0, x1, y1, …]` − 0.5.

    Args:
        clips: any clips of the layout.
        layout: of the landmarks.
        config: of which `normalize`, `coordinates` and `missing_value` are read.

    Returns:
        One <float32>[frames, dim] a clip.

    Raises:
        InputError: `coordinates` asks for z and a clip has none.
    """
    axes = COORDINATES[config.coordinates]
    landmarks = [clip[..., :axes] for clip in clips.landmarks]
    if axes == 3:
        for clip, video_id in zip(landmarks, clips.video_ids, strict=True):
            if np.isnan(clip[..., 2]).all():
                raise errors.InputError(f"coordinates is 'xyz', but clip {video_id} has no z; use 'xy'")
    if config.normalize != 'none':
        landmarks = _normalize(landmarks, layout, config.normalize)
    return [
        (np.where(np.isnan(clip), config.missing_value, clip) - _SHIFT).reshape(len(clip), -1).astype(np.float32)
        for clip in landmarks
    ]


def _normalize(landmarks: Sequence[np.ndarray], layout: landmarks_lib.Layout, method: str) -> list[np.ndarray]:
    order = np.argsort([len(clip) for clip in landmarks], kind='stable')
    normalized = [np.array([])] * len(landmarks)
    for start in range(0, len(order), _CLIPS_AT_ONCE):
        chosen = order[start : start + _CLIPS_AT_ONCE]
        padded, mask = pad([landmarks[i] for i in chosen], num_slots=_CLIPS_AT_ONCE, fill=np.nan)
        result = np.asarray(normalize.normalize_batch(method, jnp.asarray(padded), layout.name))
        for slot, i in enumerate(chosen):
            normalized[i] = result[slot, mask[slot]]
    return normalized


def padded_length(num_frames: int) -> int:
    """The length that clips are padded to: two lengths for each doubling, so that few shapes are compiled."""
    step = max(16, (1 << (int(num_frames) - 1).bit_length()) // 4)
    return -(-num_frames // step) * step


def pad(clips: Sequence[np.ndarray], num_slots: int, fill: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Puts clips side by side.

    Args:
        clips: each <float32>[frames, …].
        num_slots: places; those behind the clips stay empty.
        fill: what padding holds.

    Returns:
        <float32>[num_slots, time, …] and <bool>[num_slots, time], True for real frames.
    """
    length = padded_length(max(len(clip) for clip in clips))
    padded = np.full((num_slots, length, *clips[0].shape[1:]), fill, np.float32)
    mask = np.zeros((num_slots, length), bool)
    for slot, clip in enumerate(clips):
        padded[slot, : len(clip)] = clip
        mask[slot, : len(clip)] = True
    return padded, mask


def epoch_order(num_clips: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the clips in an epoch, drawn from the seed and the epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(num_clips)


def bucket_order(order: np.ndarray, lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Rearranges an order so that batches hold clips of like lengths and still come in a random order.

    Clips are sorted by length within every few batches' worth of the order; then whole batches are shuffled. The last,
    perhaps smaller batch stays the last.
    """
    window = batch_size * _BATCHES_SORTED_TOGETHER
    parts = [order[start : start + window] for start in range(0, len(order), window)]
    by_length = np.concatenate([part[np.argsort(lengths[part], kind='stable')] for part in parts])
    num_full = len(order) // batch_size
    full, rest = np.split(by_length, [num_full * batch_size])
    shuffled = np.random.default_rng([seed, epoch, 1]).permutation(num_full)
    return np.concatenate([full.reshape(num_full, batch_size)[shuffled].ravel(), rest])


def batches(
    features: Sequence[np.ndarray], labels: np.ndarray, order: np.ndarray, batch_size: int, num_devices: int
) -> Iterator[Batch]:
    """Divides clips into batches, and each batch over devices.

    Args:
        features: one <float32>[frames, dim] a clip.
        labels: <int32>[clips].
        order: the places of the clips, in the order wanted.
        batch_size: clips of all devices together; the last batch may have fewer.
        num_devices: devices to divide over; slots that no clip fills weigh 0.

    Yields:
        landmarks <float32>[devices, slots, time, dim], mask <bool>[devices, slots, time], labels
        <int32>[devices, slots] and weights <float32>[devices, slots], 1 for a clip and 0 for an empty slot.
    """
    slots = -(-batch_size // num_devices)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        landmarks, mask = pad([features[i] for i in chosen], slots * num_devices)
        batch = {
            'landmarks': landmarks,
            'mask': mask,
            'labels': _fill(labels[chosen], slots * num_devices),
            'weights': _fill(np.ones(len(chosen), np.float32), slots * num_devices),
        }
        yield {name: x.reshape(num_devices, slots, *x.shape[1:]) for name, x in batch.items()}


def _fill(values: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([values, np.zeros(size - len(values), values.dtype)])


def count_batches(num_clips: int, batch_size: int) -> int:
    """Batches an epoch."""
    return -(-num_clips // batch_size)


def training_clips(
    dataset: dataset_lib.Dataset, config: ml_collections.ConfigDict
) -> tuple[dataset_lib.Clips, dataset_lib.Clips | None]:
    """The clips to train on and to validate on, None for `config.validation = 'none'`.

    `validation_fraction` and `train_fraction` are stratified shares drawn from the seed.

    Raises:
        InputError: the dataset lacks a split, or nothing is left in one.
    """
    train, validation = dataset.split('train'), None
    if config.validation == 'from_file':
        if 'validation' not in dataset.splits:
            raise errors.InputError(
                f"dataset {dataset.description.name} has no validation split; config.validation = 'from_train' takes a "
                "share of the training clips, 'none' does without"
            )
        validation = dataset.split('validation')
    elif config.validation == 'from_train':
        kept, held_out = dataset_lib.stratified_split(train.labels, config.validation_fraction, config.seed)
        train, validation = train.take(kept), train.take(held_out)
    if config.train_fraction < 1:
        _, kept = dataset_lib.stratified_split(train.labels, config.train_fraction, config.seed)
        train = train.take(kept)
    for name, part in (('train', train), ('validation', validation)):
        if part is not None and not len(part):
            raise errors.InputError(f'no clip is left to {name} on: see config.validation_fraction and train_fraction')
    return train, validation


def describe(clips: dataset_lib.Clips | None) -> Any:
    """Clips and frames, for a message."""
    return 'none' if clips is None else f'{len(clips)} clips of {clips.num_frames} frames'
