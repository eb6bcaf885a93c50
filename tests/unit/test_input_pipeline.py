import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest

from slr_jax import errors, input_pipeline, memory
from tests.conftest import make_tiny_config


@pytest.mark.parametrize('num_devices', [1, 3])
def test_every_clip_counts_once(num_devices):
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(length, 4)).astype(np.float32) for length in (1, 5, 16, 17, 40, 33, 2)]
    labels = np.arange(7, dtype=np.int32)
    order = input_pipeline.shuffle(7, seed=1, epoch=2)
    seen = []
    for (batch,) in input_pipeline.batches(clips, labels, order, batch_size=4, num_devices=num_devices):
        assert batch['landmarks'].shape[:2] == (num_devices, -(-4 // num_devices))
        for device, slot in np.argwhere(batch['weights']):
            label = batch['labels'][device, slot]
            np.testing.assert_array_equal(
                batch['landmarks'][device, slot][batch['padding_mask'][device, slot]], clips[label]
            )
            seen.append(label)
        assert not batch['padding_mask'][batch['weights'] == 0].any()
    assert seen == list(order)
    assert sorted(seen) == list(range(7))


def test_order_is_drawn_from_seed_and_epoch():
    orders = [input_pipeline.shuffle(50, seed, epoch).tolist() for seed, epoch in ((1, 1), (1, 1), (1, 2), (2, 1))]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2] != orders[3] != orders[0]


def padded_frames(lengths, order, batch_size, padded_lengths):
    """Frames of all slots, empty ones of the last batch included."""
    longest = [lengths[order[start : start + batch_size]].max() for start in range(0, len(order), batch_size)]
    return batch_size * sum(input_pipeline.padded_length(length, padded_lengths) for length in longest)


@pytest.mark.parametrize(('num_clips', 'batch_size', 'num_buckets'), [(7, 1, 3), (11, 2, 3), (8, 4, 3), (3, 5, 2)])
def test_buckets_pad_as_little_as_possible(num_clips, batch_size, num_buckets):
    lengths = np.random.default_rng(num_clips).integers(5, 60, num_clips)
    found = input_pipeline.length_buckets(lengths, batch_size, num_buckets)
    assert sorted(np.concatenate(found)) == list(range(num_clips))
    ends = list(range(num_clips, 0, -batch_size))[::-1]
    ascending = np.sort(lengths)

    def cost(cuts):
        last, total = 0, 0
        for cut in (*cuts, len(ends)):
            total += (cut - last) * batch_size * ascending[ends[cut - 1] - 1]
            last = cut
        return total

    cheapest = min(
        cost(cuts) for count in range(num_buckets) for cuts in itertools.combinations(range(1, len(ends)), count)
    )
    assert sum(-(-len(bucket) // batch_size) * batch_size * lengths[bucket].max() for bucket in found) == cheapest


def divide_by_every_cut(lengths, batch_size, num_buckets):
    """Clips of each bucket where a bucket may end after any batch; of equal costs the one that begins first."""
    ascending = np.sort(lengths).tolist()
    ends = list(range(len(lengths), 0, -batch_size))[::-1]
    found = {0: (0, [])}
    for _ in range(min(num_buckets, len(ends))):
        longer = {}
        for end in range(1, len(ends) + 1):
            longest = ascending[ends[end - 1] - 1]
            options = [(cost + (end - start) * longest, start) for start, (cost, _) in found.items() if start < end]
            if options:
                cost, start = min(options)
                longer[end] = cost, [*found[start][1], end]
        found = longer
    cuts = [0, *(ends[end - 1] for end in found[len(ends)][1])]
    return np.diff(cuts).tolist()


def test_buckets_end_where_every_cut_would_give_the_same():
    rng = np.random.default_rng(0)
    for most in (1, 2, 5, 12, 40) * 12:
        lengths = rng.integers(1, most + 1, rng.integers(1, 40))
        batch_size, num_buckets = rng.integers(1, 4), rng.integers(1, 10)
        found = input_pipeline.length_buckets(lengths, batch_size, num_buckets)
        assert list(map(len, found)) == divide_by_every_cut(lengths, batch_size, num_buckets)


def test_buckets_of_many_clips_need_little_memory():
    lengths = np.random.default_rng(0).integers(20, 300, 50_000)
    tracemalloc.start()
    found = input_pipeline.length_buckets(lengths, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, found)) == 50_000
    assert peak < 30e6


def test_bucket_order_mixes_clips_and_buckets():
    lengths = np.random.default_rng(0).integers(10, 200, 331)
    buckets = input_pipeline.length_buckets(lengths, 16)
    bucket_of = np.empty(331, int)
    for number, bucket in enumerate(buckets):
        bucket_of[bucket] = number
    orders = {key: input_pipeline.shuffle_buckets(buckets, 16, *key) for key in ((1, 1), (1, 2), (2, 1))}
    for order in orders.values():
        assert sorted(order) == list(range(331))
        assert all(len(set(bucket_of[order[start : start + 16]])) == 1 for start in range(0, 331, 16))
    of_batches = {key: bucket_of[order[::16]] for key, order in orders.items()}
    assert (of_batches[1, 1] == of_batches[2, 1]).all()
    assert (of_batches[1, 1] != of_batches[1, 2]).any()
    assert (np.diff(of_batches[1, 1]) != 0).sum() > 7  # sorted batches would change bucket 7 times
    assert (orders[1, 1] != orders[2, 1]).any()
    np.testing.assert_array_equal(orders[1, 1], input_pipeline.shuffle_buckets(buckets, 16, 1, 1))


def test_real_clips_are_padded_by_at_most_15_percent(shared):
    archive = np.load(shared / 'data' / 'wlasl100_hands.npz')
    lengths = np.diff(archive['offsets'])[archive['split'] == 'train']
    for batch_size in (1, 8, 32):
        buckets = input_pipeline.length_buckets(lengths, batch_size)
        order = input_pipeline.shuffle_buckets(buckets, batch_size, 0, 1)
        padded_lengths = [lengths[bucket].max() for bucket in buckets]
        assert padded_frames(lengths, order, batch_size, padded_lengths) <= 1.15 * lengths.sum()


def divided_batches(lengths, batch_size):
    """The frames of the clips of each piece of each batch of an epoch, and where the longest batch is divided."""
    features = [np.full((n, 2), n, np.float32) for n in lengths]
    buckets = input_pipeline.length_buckets(lengths, batch_size, num_buckets=3)
    padded_lengths, divide_at = input_pipeline.bucket_lengths(lengths, buckets, batch_size)
    order = input_pipeline.shuffle_buckets(buckets, batch_size, 0, 1)
    labels = np.zeros(len(lengths), np.int32)
    epoch = input_pipeline.batches(features, labels, order, batch_size, 2, padded_lengths, divide_at=divide_at)
    return list(epoch), divide_at


def test_longest_batch_is_divided_where_that_saves_a_fifth():
    lengths = np.array([10] * 8 + [20] * 8 + [50, 52, 54, 54, 55, 60, 90, 100])
    epoch, divide_at = divided_batches(lengths, 8)
    assert divide_at == 60  # 6 * 60 + 2 * 100 frames, the least, of 8 * 100
    shapes = sorted([piece['landmarks'].shape for piece in batch] for batch in epoch)
    assert shapes == [[(2, 3, 60, 2), (2, 1, 100, 2)], [(2, 4, 10, 2)], [(2, 4, 20, 2)]]
    (divided,) = (batch for batch in epoch if len(batch) == 2)
    assert sorted(divided[0]['padding_mask'].sum(axis=2).ravel()) == [50, 52, 54, 54, 55, 60]
    assert sorted(divided[1]['padding_mask'].sum(axis=2).ravel()) == [90, 100]
    assert all(piece['weights'].all() for piece in divided)


@pytest.mark.parametrize(
    'longest',
    [[84] * 7 + [100], [50] * 4 + [100] * 12, [100] * 8],
    ids=['saves less than a fifth', 'several batches', 'one length'],
)
def test_longest_batch_is_not_divided_else(longest):
    epoch, divide_at = divided_batches(np.array([10] * 8 + longest), 8)
    assert divide_at is None
    assert all(len(batch) == 1 for batch in epoch)


def test_padded_lengths():
    lengths = np.arange(1, 1000)
    padded = np.array([input_pipeline.padded_length(length) for length in lengths])
    assert (padded >= lengths).all()
    assert (padded[lengths > 32] <= 1.5 * lengths[lengths > 32]).all()
    assert sorted(set(padded[lengths <= 256])) == [16, 32, 48, 64, 96, 128, 192, 256]
    assert [input_pipeline.padded_length(length, [5, 70]) for length in (1, 5, 6, 70, 71)] == [5, 5, 70, 70, 96]


def test_holdout_and_train_fraction(tiny_dataset):
    no_validation = dataclasses.replace(tiny_dataset, splits={'train': tiny_dataset.splits['train']})
    with pytest.raises(errors.InputError, match=r'\btiny\b.*validation'):
        input_pipeline.training_clips(no_validation, make_tiny_config('d'))
    config = make_tiny_config('d', validation='holdout', train_fraction=0.5)
    train, validation = input_pipeline.training_clips(no_validation, config)
    assert np.bincount(validation.labels).tolist() == [1, 1, 1]
    assert len(train) == 6
    assert np.bincount(train.labels).tolist() == [2, 2, 2]
    assert not set(train.video_ids) & set(validation.video_ids)
    again, _ = input_pipeline.training_clips(no_validation, config)
    assert again.video_ids == train.video_ids
    train, validation = input_pipeline.training_clips(no_validation, make_tiny_config('d', validation='none'))
    assert validation is None
    assert len(train) == 15


@pytest.mark.parametrize(
    ('lengths', 'long'),
    [
        # One piece where everything fits at once, where all clips are long, and where a division would gain little.
        ([30, 40, 50, 60], []),
        ([900, 910, 920, 930], []),
        ([900, 500, 450, 480], []),
        ([30, 900, 40, 50], [1]),
        ([900, 30, 40, 800], []),
    ],
)
def test_outliers_of_a_batch(monkeypatch, lengths, long):
    monkeypatch.setattr(memory, '_MAX_PAIRS', 4 * 100**2)
    usual, found = input_pipeline.divide_outliers(np.array(lengths), num_rows=4)
    assert found.tolist() == long
    assert sorted([*usual, *found]) == [0, 1, 2, 3]


def test_a_long_clip_gets_a_piece_of_its_own(monkeypatch):
    monkeypatch.setattr(memory, '_MAX_PAIRS', 4 * 100**2)
    clips = [np.full((length, 2), length, np.float32) for length in (30, 900, 40, 20)]
    labels = np.arange(4, dtype=np.int32)
    first = list(input_pipeline.batches(clips, labels, np.arange(4), batch_size=4, num_devices=1))
    ((usual, long),) = first
    assert usual['landmarks'].shape == (1, 4, 48, 2)
    assert usual['weights'].tolist() == [[1, 1, 1, 0]]
    assert usual['labels'].tolist() == [[0, 2, 3, 0]]
    assert long['landmarks'].shape == (1, 1, 1024, 2)
    assert long['labels'].tolist() == [[1]]
    # A run without a long clip in this batch has an empty row there.
    second = list(input_pipeline.batches(clips, labels, np.array([0, 2, 3]), batch_size=4, num_devices=1))
    ((both_usual, both_long),) = input_pipeline.stack_runs([iter(first), iter(second)])
    assert both_usual['landmarks'].shape == (1, 2, 4, 48, 2)
    assert both_long['weights'].tolist() == [[[1], [0]]]
    np.testing.assert_array_equal(both_long['landmarks'][:, 0], long['landmarks'])
    # The last batch of an epoch, with the long clip alone, has no empty rows.
    ((alone,),) = input_pipeline.batches(clips, labels, np.array([1]), batch_size=4, num_devices=1)
    assert alone['landmarks'].shape == (1, 1, 1024, 2)


def test_clips_are_mapped_in_bounded_batches():
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(length, 3)).astype(np.float32) for length in (5, 90, 17, 3, 16, 1)]
    shapes = []

    def double(batch, counts):
        shapes.append(batch.shape)
        return 2 * batch, np.arange(batch.shape[1]) < counts[:, None]

    results = input_pipeline.map_clips(double, clips, batch_size=4, max_frames=64)
    for clip, result in zip(clips, results, strict=True):
        np.testing.assert_array_equal(result, 2 * clip)
    assert shapes == [(4, 16, 3), (1, 32, 3), (1, 96, 3)]
