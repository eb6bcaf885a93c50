"""Clips in memory -> what the model is fed: features of each clip, and batches of them."""

import bisect
from collections.abc import Iterator, Sequence
from typing import Any

import jax
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
# Lengths that training clips are padded to, at most: each is compiled.
_NUM_BUCKETS = 8

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


def padded_length(num_frames: int, lengths: Sequence[int] = ()) -> int:
    """The length that clips of up to `num_frames` are padded to.

    The next of the ascending `lengths`; behind them two lengths for each doubling, so that few shapes are compiled.
    """
    place = bisect.bisect_left(lengths, num_frames)
    if place < len(lengths):
        return int(lengths[place])
    step = max(16, (1 << (int(num_frames) - 1).bit_length()) // 4)
    return -(-num_frames // step) * step


def pad(clips: Sequence[np.ndarray], num_slots: int, fill: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Puts clips side by side.

    Args:
        clips: at least one, each <float32>[frames, …].
        num_slots: places; those behind the clips stay empty.
        fill: what padding holds.

    Returns:
        <float32>[num_slots, time, …] and <bool>[num_slots, time], True for real frames.
    """
    return pad_to(padded_length(max(len(clip) for clip in clips)), clips, num_slots, clips[0].shape[1:], fill)


def pad_to(
    length: int, clips: Sequence[np.ndarray], num_slots: int, shape: tuple[int, ...], fill: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """As pad, for any number of clips with frames of `shape`, to `length` frames."""
    padded = np.full((num_slots, length, *shape), fill, np.float32)
    mask = np.zeros((num_slots, length), bool)
    for slot, clip in enumerate(clips):
        padded[slot, : len(clip)] = clip
        mask[slot, : len(clip)] = True
    return padded, mask


def epoch_order(num_clips: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the clips in an epoch, drawn from the seed and the epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(num_clips)


def length_buckets(lengths: np.ndarray, batch_size: int, num_buckets: int = _NUM_BUCKETS) -> list[np.ndarray]:
    """Divides clips into buckets of like lengths, so that the fewest frames are padded.

    Every bucket but the first, which has the shortest clips, is made of whole batches. Found by dynamic programming
    over the sorted clips: padding all clips of a bucket to its longest costs its clips times that length.

    Args:
        lengths: <int>[clips], frames.
        batch_size: clips a batch.
        num_buckets: at most so many.

    Returns:
        The places of the clips of each bucket, from short to long.
    """
    order = np.argsort(lengths, kind='stable')
    ends = np.arange(len(order) % batch_size or batch_size, len(order) + 1, batch_size)
    if not len(ends):
        return [order]
    # The first, perhaps smaller batch takes all slots of a batch.
    batches_before = np.arange(len(ends) + 1)
    longest = np.concatenate([[0], lengths[order[ends - 1]]])
    cost = np.concatenate([[0.0], np.full(len(ends), np.inf)])
    starts = []
    for _ in range(min(num_buckets, len(ends))):
        candidates = cost[:, None] + (batches_before[None, :] - batches_before[:, None]) * longest[None, :]
        candidates[batches_before[:, None] >= batches_before[None, :]] = np.inf
        starts.append(candidates.argmin(axis=0))
        cost = candidates.min(axis=0)
    cuts, end = [], len(ends)
    for start in reversed(starts):
        cuts.append(end)
        end = start[end]
    return np.split(order, ends[np.array(cuts[:0:-1], int) - 1])


def bucket_order(buckets: Sequence[np.ndarray], batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """An order in which every batch is of one bucket, and batches of all buckets are mixed.

    Clips are drawn within their bucket from the seed and the epoch. Which bucket comes when is drawn from the epoch
    alone, so that runs with different seeds pad alike. The last, perhaps smaller batch has the shortest clips.
    """
    rng = np.random.default_rng([seed, epoch])
    drawn = [rng.permutation(bucket) for bucket in buckets]
    rest = len(drawn[0]) % batch_size
    drawn[0], last = drawn[0][rest:], drawn[0][:rest]
    parts = [part for bucket in drawn for part in bucket.reshape(-1, batch_size)]
    mixed = np.random.default_rng(epoch).permutation(len(parts))
    return np.concatenate([*(parts[i] for i in mixed), last])


def batches(
    features: Sequence[np.ndarray],
    labels: np.ndarray,
    order: np.ndarray,
    batch_size: int,
    num_devices: int,
    lengths: Sequence[int] = (),
    devices: range | None = None,
) -> Iterator[Batch]:
    """Divides clips into batches, and each batch over devices.

    Args:
        features: one <float32>[frames, dim] a clip.
        labels: <int32>[clips].
        order: the places of the clips, in the order wanted.
        batch_size: clips of all devices together; the last batch may have fewer.
        num_devices: devices to divide over; slots that no clip fills weigh 0.
        lengths: see padded_length.
        devices: those of this process, whose share is made; None for all.

    Yields:
        landmarks <float32>[devices, slots, time, dim], mask <bool>[devices, slots, time], labels
        <int32>[devices, slots] and weights <float32>[devices, slots], 1 for a clip and 0 for an empty slot.
    """
    slots = -(-batch_size // num_devices)
    devices = range(num_devices) if devices is None else devices
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        length = padded_length(max(len(features[i]) for i in chosen), lengths)
        chosen = chosen[devices.start * slots : devices.stop * slots]
        landmarks, mask = pad_to(length, [features[i] for i in chosen], len(devices) * slots, features[0].shape[1:])
        batch = {
            'landmarks': landmarks,
            'mask': mask,
            'labels': _fill(labels[chosen], len(devices) * slots),
            'weights': _fill(np.ones(len(chosen), np.float32), len(devices) * slots),
        }
        yield {name: x.reshape(len(devices), slots, *x.shape[1:]) for name, x in batch.items()}


def stack_runs(of_runs: Sequence[Iterator[Batch]], *, spread: bool) -> Iterator[Batch]:
    """Puts the batches of several runs together, each [devices, slots, …], padded to the longest.

    Yields:
        [devices, runs, slots, …]; with `spread`, for batches of one device each, the runs are divided over the local
        devices: [devices, runs / devices, slots, …].
    """
    for of_each in zip(*of_runs, strict=True):
        length = max(batch['mask'].shape[2] for batch in of_each)
        batch = {name: np.stack([_lengthen(name, x[name], length) for x in of_each], axis=1) for name in of_each[0]}
        yield {name: spread_runs(x[0]) for name, x in batch.items()} if spread else batch


def spread_runs(x: Any) -> Any:
    """[runs, …] -> [local devices, runs / devices, …]."""
    return x.reshape(jax.local_device_count(), -1, *x.shape[1:])


def _lengthen(name: str, x: np.ndarray, length: int) -> np.ndarray:
    if name not in ('landmarks', 'mask'):
        return x
    return np.pad(x, [(0, 0), (0, 0), (0, length - x.shape[2])] + [(0, 0)] * (x.ndim - 3))


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
