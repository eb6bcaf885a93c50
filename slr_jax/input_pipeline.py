"""Features in memory -> batches: order from a seed, length buckets, padding masks."""

import bisect
from collections.abc import Callable, Iterator, Sequence
import itertools
import math
from typing import Any

import ml_collections
import numpy as np

from slr_jax import dataset as dataset_lib
from slr_jax import errors, folds, memory, progress, split_copies

# Lengths that training clips are padded to, at most: each is compiled.
_NUM_BUCKETS = 8

Piece = dict[str, np.ndarray]
Batch = list[Piece]


def padded_length(num_frames: int, lengths: Sequence[int] = ()) -> int:
    """The length that clips of up to `num_frames` are padded to.

    Rounds up to the next of the ascending `lengths`; beyond the last, to two lengths per power of two, to limit
    compilations.
    """
    index = bisect.bisect_left(lengths, num_frames)
    if index < len(lengths):
        return int(lengths[index])
    step = max(16, (1 << (int(num_frames) - 1).bit_length()) // 4)
    return math.ceil(num_frames / step) * step


def pad_batch(
    clips: Sequence[np.ndarray], batch_size: int, length: int | None = None, fill: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Stacks clips, padded to one length.

    Args:
        clips: at least one, each <float32>[frames, …].
        batch_size: rows of the batch; those after the clips stay empty.
        length: frames of the batch; None for the padded length of the longest clip.
        fill: value of the padding.

    Returns:
        <float32>[batch, time, …] and the padding mask <bool>[batch, time], True for real frames.
    """
    length = padded_length(max(len(clip) for clip in clips)) if length is None else length
    padded = np.full((batch_size, length, *clips[0].shape[1:]), fill, np.float32)
    padding_mask = np.zeros((batch_size, length), bool)
    for row, clip in enumerate(clips):
        padded[row, : len(clip)] = clip
        padding_mask[row, : len(clip)] = True
    return padded, padding_mask


def shuffle(num_clips: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the clips in an epoch, drawn from the seed and the epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(num_clips)


def order_by_length(clips: Sequence[np.ndarray]) -> np.ndarray:
    """The indices of clips from short to long, so that batches in this order have little padding."""
    return np.argsort([len(clip) for clip in clips], kind='stable')


def map_clips(
    function: Callable[[np.ndarray, np.ndarray], Any], clips: Sequence[np.ndarray], batch_size: int, max_frames: int
) -> list[np.ndarray]:
    """Applies a function of batches, padded with NaN, to clips.

    Args:
        function: of <float32>[batch, time, …] and <int32>[batch], frames of each clip before its padding; returns as
            many padded clips and their padding mask <bool>[batch, time].
        clips: <float32>[frames, …] of each.
        batch_size: clips per batch.
        max_frames: padded frames per batch; batches of long clips have fewer clips, at least one.

    Returns:
        [frames, …] of each clip.
    """
    results: list[Any] = [None] * len(clips)
    order = order_by_length(clips)
    while len(order):
        length = padded_length(len(clips[order[:batch_size][-1]]))
        size = min(batch_size, max(1, max_frames // length))
        chosen, order = order[:size], order[size:]
        padded, padding_mask = pad_batch([clips[i] for i in chosen], size, fill=np.nan)
        result, is_real = map(np.asarray, function(padded, padding_mask.sum(axis=1, dtype=np.int32)))
        for row, i in enumerate(chosen):
            results[i] = result[row, is_real[row]]
    return results


def length_buckets(lengths: np.ndarray, batch_size: int, num_buckets: int = _NUM_BUCKETS) -> list[np.ndarray]:
    """Divides clips into buckets of like lengths, so that the fewest frames are padded.

    Every bucket but the first, which has the shortest clips, is made of whole batches. Found by dynamic programming
    over the sorted clips: padding all clips of a bucket to its longest costs its clips times that length.

    Args:
        lengths: <int>[clips], frames.
        batch_size: clips per batch.
        num_buckets: upper bound of their number.

    Returns:
        The indices of the clips of each bucket, from short to long.
    """
    order = np.argsort(lengths, kind='stable')
    ends = np.arange(len(order) % batch_size or batch_size, len(order) + 1, batch_size)
    if not len(ends):
        return [order]
    # Matrices are [start, end], in batches; the first, perhaps smaller batch takes all rows of a batch.
    longest = lengths[order[ends - 1]]
    num_buckets = min(num_buckets, len(ends))
    cuts = np.array([0, *_possible_cuts(longest, num_buckets)])
    num_batches = cuts[None, :] - cuts[:, None]
    longest = np.concatenate([[0], longest[cuts[1:] - 1]])
    cost = np.where(cuts > 0, np.inf, 0.0)
    starts = []
    for _ in range(num_buckets):
        candidates = np.where(num_batches > 0, cost[:, None] + num_batches * longest[None, :], np.inf)
        starts.append(candidates.argmin(axis=0))
        cost = candidates.min(axis=0)
    chosen, end = [], len(cuts) - 1
    for start in reversed(starts):
        chosen.append(cuts[end])
        end = start[end]
    return np.split(order, ends[np.array(chosen[:0:-1], int) - 1])


def _possible_cuts(longest: np.ndarray, num_buckets: int) -> np.ndarray:
    """After how many batches a bucket may end: after all of one length, as the matrices would be too large else.

    Where there are fewer lengths than buckets, batches of one length are divided, from its first on.

    Args:
        longest: <int>[batches], ascending.
        num_buckets: to divide them into.
    """
    is_end = np.append(longest[1:] != longest[:-1], True)
    first = np.searchsorted(longest, longest)
    to_divide = num_buckets - is_end.sum()
    return np.flatnonzero(is_end | (np.arange(len(longest)) - first < to_divide)) + 1


def bucket_lengths(lengths: np.ndarray, buckets: Sequence[np.ndarray], batch_size: int) -> tuple[list[int], int | None]:
    """The lengths that the clips of buckets are padded to.

    Args:
        lengths: <int>[clips], frames.
        buckets: of length_buckets.
        batch_size: clips per batch.

    Returns:
        The lengths, ascending, and the one of them at which to divide the batch of the longest clips. That is where it
        pads least, if they are one batch, always the same, and it saves a fifth of the batch's frames; else None.
    """
    found = [int(lengths[bucket].max()) for bucket in buckets]
    ascending = np.sort(lengths[buckets[-1]])
    if len(ascending) != batch_size or batch_size == 1:
        return found, None
    num_short = np.arange(1, batch_size)
    cost = num_short * ascending[:-1] + (batch_size - num_short) * ascending[-1]
    if cost.min() > 0.8 * batch_size * ascending[-1]:
        return found, None
    divide_at = int(ascending[cost.argmin()])
    return [*found[:-1], divide_at, found[-1]], divide_at


def shuffle_buckets(buckets: Sequence[np.ndarray], batch_size: int, seed: int, epoch: int) -> np.ndarray:
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


def divide_outliers(lengths: np.ndarray, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides a batch into clips of usual length and few long ones, where that at least halves its attention.

    Args:
        lengths: <int>[clips], frames of the clips of a batch.
        num_rows: of a batch.

    Returns:
        The indices of both. Batches that fit in memory at once are not divided: all clips are usual.
    """
    longest, ascending = int(lengths.max()), np.argsort(lengths, kind='stable')
    if memory.rows_at_once(num_rows, longest) == num_rows:
        return np.arange(len(lengths)), ascending[:0]
    usual_lengths = np.concatenate([[0], lengths[ascending]])
    num_rows_of_long = np.array([_num_long_rows(n) for n in range(len(lengths) + 1)])
    cost = num_rows * usual_lengths[::-1] ** 2 + num_rows_of_long * longest**2
    best = int(cost.argmin())
    if not best or cost[best] > cost[0] / 2:
        return np.arange(len(lengths)), ascending[:0]
    return np.sort(ascending[:-best]), np.sort(ascending[-best:])


def _num_long_rows(num_clips: int) -> int:
    """Rows for so many long clips: a power of two, to limit compilations."""
    return 1 << (num_clips - 1).bit_length() if num_clips else 0


def divide_batch(
    features: Sequence[np.ndarray], chosen: np.ndarray, batch_size: int, num_devices: int, divide_at: int | None = None
) -> list[tuple[np.ndarray, int]]:
    """The clips, as places in `chosen`, and the rows of each piece of a batch; see bucket_lengths and divide_outliers.

    Args:
        features: <float32>[frames, dim] of each clip.
        chosen: indices of the clips of the batch.
        batch_size: rows of the batch, of all devices together.
        num_devices: devices to divide over.
        divide_at: frames of the longest clip of the first piece where some have more; None for outliers alone.

    Returns:
        One piece, or two.
    """
    lengths = np.array([len(features[i]) for i in chosen])
    if divide_at is not None and lengths.min() <= divide_at < lengths.max():
        is_short = lengths <= divide_at
        return [(places, len(places)) for places in (np.flatnonzero(is_short), np.flatnonzero(~is_short))]
    usual, long = divide_outliers(lengths, math.ceil(batch_size / num_devices))
    return [(places, size) for places, size in ((usual, batch_size), (long, _num_long_rows(len(long)))) if len(places)]


def batches(
    features: Sequence[np.ndarray],
    labels: np.ndarray,
    order: np.ndarray,
    batch_size: int,
    num_devices: int,
    bucket_lengths: Sequence[int] = (),
    devices: range | None = None,
    divide_at: int | None = None,
    aspects: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Divides clips into batches, each of one piece, or of two where few clips are much longer than the others.

    Args:
        features: <float32>[frames, dim] of each clip.
        labels: <int32>[clips].
        order: indices of the clips, in the order wanted.
        batch_size: clips per batch, of all devices together; the last batch may have fewer.
        num_devices: devices to divide over.
        bucket_lengths: lengths to pad to, see padded_length.
        devices: those of this process, whose part is made; None for all.
        divide_at: see divide_batch.
        aspects: <float32>[clips], width over height of their pictures; None for none in the pieces.

    Yields:
        The pieces of a batch, see make_piece.
    """
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield [
            make_piece(features, labels, chosen, size, num_devices, bucket_lengths, devices, aspects, places)
            for places, size in divide_batch(features, chosen, batch_size, num_devices, divide_at)
        ]


def make_piece(
    features: Sequence[np.ndarray],
    labels: np.ndarray,
    chosen: np.ndarray,
    size: int,
    num_devices: int,
    bucket_lengths: Sequence[int] = (),
    devices: range | None = None,
    aspects: np.ndarray | None = None,
    places: np.ndarray | None = None,
) -> Piece:
    """A batch, or the part of it at `places`, of `chosen` clips in `size` rows divided over devices; see `batches`.

    Returns:
        landmarks <float32>[devices, rows, time, dim], padding_mask <bool>[devices, rows, time], labels
        <int32>[devices, rows], places <uint32>[devices, rows] in the batch, which random draws depend on, and weights
        <float32>[devices, rows], 1 for a clip and 0 for an empty row; with `aspects` also aspect
        <float32>[devices, rows], 0 for an empty row.
    """
    rows = math.ceil(size / num_devices)
    devices = range(num_devices) if devices is None else devices
    places = np.arange(len(chosen)) if places is None else places
    length = padded_length(max(len(features[i]) for i in chosen[places]), bucket_lengths)
    places = places[devices.start * rows : devices.stop * rows]
    chosen = chosen[places]
    local_size = len(devices) * rows
    # Without clips for its devices, the last batch of a process is empty.
    clips = [features[i] for i in chosen] or [features[0][:0]]
    landmarks, padding_mask = pad_batch(clips, local_size, length)
    piece = {
        'landmarks': landmarks,
        'padding_mask': padding_mask,
        'labels': _pad_zeros(labels[chosen], local_size),
        'places': _pad_zeros(places.astype(np.uint32), local_size),
        'weights': _pad_zeros(np.ones(len(chosen), np.float32), local_size),
    }
    if aspects is not None:
        piece['aspect'] = _pad_zeros(aspects[chosen], local_size)
    return {name: x.reshape(len(devices), rows, *x.shape[1:]) for name, x in piece.items()}


def stack_runs(run_batches: Sequence[Iterator[Batch]]) -> Iterator[Batch]:
    """Puts the batches of several runs together, each piece [devices, rows, …], padded to the largest.

    Yields:
        Pieces of [devices, runs, rows, …].
    """
    for batches_per_run in zip(*run_batches, strict=True):
        yield [_stack(pieces) for pieces in itertools.zip_longest(*batches_per_run)]


def _stack(pieces: Sequence[Piece | None]) -> Piece:
    present = [piece for piece in pieces if piece is not None]
    empty = {name: np.zeros_like(x) for name, x in present[0].items()}
    sizes = [max(sizes) for sizes in zip(*(piece['padding_mask'].shape for piece in present), strict=True)]
    return {
        name: np.stack([_pad_to((empty if piece is None else piece)[name], sizes) for piece in pieces], axis=1)
        for name in empty
    }


def _pad_to(x: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Pads the first axes with zeros."""
    return np.pad(x, [(0, size - old) for size, old in zip(sizes, x.shape, strict=False)] + [(0, 0)] * (x.ndim - 3))


def _pad_zeros(values: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([values, np.zeros(size - len(values), values.dtype)])


def steps_per_epoch(num_clips: int, batch_size: int) -> int:
    """Batches per epoch."""
    return math.ceil(num_clips / batch_size)


def training_clips(
    dataset: dataset_lib.Dataset, config: ml_collections.ConfigDict, *, report: bool = False
) -> tuple[dataset_lib.Clips, dataset_lib.Clips | None]:
    """The clips to train on and to validate on, None for `config.validation = 'none'`.

    Validation clips that are copies of training clips are left out, or what `config.copies` says, and with `report`
    named.

    With `num_folds`, both are of training and validation split together. `validation_fraction` and `train_fraction` are
    stratified fractions drawn from the seed.

    Raises:
        InputError: the dataset lacks a split, nothing is left in one, or `config.copies` refuses copies.
    """
    train, validation = (folds.split if config.num_folds else _by_splits)(dataset, config)
    if validation is not None:
        # Before a part of the training clips is drawn, so that every seed has the same validation clips.
        validation, line = split_copies.without_copies(validation, train, dataset.layout, config.copies)
        if line and report:
            progress.report(line)
    if config.train_fraction < 1:
        _, kept = dataset_lib.stratified_split(train.labels, config.train_fraction, config.seed)
        train = train.take(kept)
    for name, part in (('training', train), ('validation', validation)):
        if part is not None and not len(part):
            raise errors.InputError(f'no clip is left for {name}: see config.validation_fraction and train_fraction')
    return train, validation


def _by_splits(
    dataset: dataset_lib.Dataset, config: ml_collections.ConfigDict
) -> tuple[dataset_lib.Clips, dataset_lib.Clips | None]:
    train = dataset.split('train')
    if config.validation == 'split':
        if 'validation' not in dataset.splits:
            raise errors.InputError(
                f"dataset {dataset.description.name} has no validation split; config.validation = 'holdout' takes a "
                "fraction of the training clips, 'none' does without"
            )
        return train, dataset.split('validation')
    if config.validation == 'holdout':
        # Clips that have copies are trained on, so that every seed holds out equally many.
        copied = split_copies.have_copies(train, dataset.layout) if config.copies == 'leave_out' else []
        single = np.setdiff1d(np.arange(len(train)), copied)
        _, held_out = dataset_lib.stratified_split(train.labels[single], config.validation_fraction, config.seed)
        return train.take(np.setdiff1d(np.arange(len(train)), single[held_out])), train.take(single[held_out])
    return train, None


def class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """<float32>[classes], weights of clips that make each class count as much; their mean over the clips is 1.

    n / (k·n_c) for n clips, n_c of class c, and k classes that have clips; 0 for a class without.

    Args:
        labels: <int32>[clips].
        num_classes: of the dataset.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return np.where(counts > 0, len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0).astype(np.float32)


def describe(clips: dataset_lib.Clips | None) -> str:
    """Clips and frames, for a message."""
    return 'none' if clips is None else f'{len(clips)} clips of {clips.num_frames} frames'
