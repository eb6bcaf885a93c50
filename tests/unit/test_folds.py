import itertools

import numpy as np
import pytest

from configs import default
from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, folds, input_pipeline, metrics
from tests.conftest import make_tiny_config


def table_of(labels, drawn, num_folds):
    """<int>[folds, classes], clips."""
    return np.array([np.bincount(labels[drawn == fold], minlength=labels.max() + 1) for fold in range(num_folds)])


@pytest.mark.parametrize('seed', range(20))
def test_classes_and_folds_differ_by_at_most_one_clip(seed):
    rng = np.random.default_rng(seed)
    num_folds = int(rng.integers(2, 8))
    labels = rng.integers(0, 5, rng.integers(num_folds, 60))
    drawn = folds.draw(labels, [''] * len(labels), num_folds, seed)
    table = table_of(labels, drawn, num_folds)
    assert table.sum() == len(labels)
    assert (np.ptp(table, axis=0) <= 1).all()
    assert np.ptp(table.sum(axis=1)) <= 1
    np.testing.assert_array_equal(drawn, folds.draw(labels, [''] * len(labels), num_folds, seed))


@pytest.mark.parametrize('seed', range(20))
def test_a_signer_is_in_one_fold(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 80)
    signers = [['', 'a', 'b', 'c', 'd', 'e', 'f'][i] for i in rng.integers(0, 7, 80)]
    drawn = folds.draw(labels, signers, 4, seed)
    where = {}
    for signer, fold in zip(signers, drawn, strict=True):
        where.setdefault(signer, set()).add(fold)
    assert all(len(where[signer]) == 1 for signer in 'abcdef')
    assert set(drawn) == set(range(4))


def unevenness(table):
    """Sum of squares of what each fold has of each class, as a fraction of the class."""
    return ((table / table.sum(axis=0)) ** 2).sum()


def test_signers_are_spread_nearly_as_evenly_as_possible():
    """Against every way to put six signers into three folds."""
    ratios = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels, signers = rng.integers(0, 3, 40), rng.integers(0, 6, 40)
        ways = np.array(list(itertools.product(range(3), repeat=6)))
        best = min(unevenness(table_of(labels, way[signers], 3)) for way in ways)
        found = folds.draw(labels, [f's{i}' for i in signers], 3, seed)
        ratios.append(unevenness(table_of(labels, found, 3)) / best)
    assert np.mean(ratios) < 1.03
    assert max(ratios) < 1.15


def make_dataset(labels, signers, splits=None):
    clips = [np.full((1, 21, 3), number, np.float32) for number in range(len(labels))]
    description = dataset_lib.Description('d', 'mediapipe_hand', ['book', 'drink', 'eat'])
    splits = splits or ['train'] * len(labels)
    return dataset_lib.Dataset.from_clips(description, clips, labels, splits, signers=signers)


def test_each_clip_validates_once_and_test_clips_never():
    splits = ['train'] * 12 + ['validation'] * 6 + ['test'] * 3
    dataset = make_dataset([0, 1, 2] * 7, [''] * 21, splits)
    seen = []
    for fold in range(4):
        config = make_tiny_config('d', num_folds=4, fold=fold)
        train, validation = input_pipeline.training_clips(dataset, config)
        numbers = [[int(clip[0, 0, 0]) for clip in part.landmarks] for part in (train, validation)]
        assert sorted(numbers[0] + numbers[1]) == list(range(18))
        assert [number % 3 for number in numbers[1]] == validation.labels.tolist()
        seen += numbers[1]
        config.seed = 5
        assert input_pipeline.training_clips(dataset, config)[1].video_ids == validation.video_ids
    assert sorted(seen) == list(range(18))
    config.fold_seed = 1
    assert input_pipeline.training_clips(dataset, config)[1].video_ids != validation.video_ids


def test_what_cannot_be_in_every_fold_is_named():
    labels = [0] * 6 + [1] * 6 + [2] * 2
    signers = ['a', 'b', 'c', 'a', 'b', 'c', *['a'] * 6, 'b', '']
    config = make_tiny_config('d', num_folds=3)
    lines = folds.describe(make_dataset(labels, signers), config).splitlines()
    assert lines == [
        '3 folds of 3 to 8 clips, each of 3 signers in one fold; 1 clips of unknown signers drawn one by one',
        'fewer clips than folds: eat',
        'not in every fold, as their signers are too few: drink',
        'in one fold only, so that none of their clips are trained on where it validates: drink',
    ]
    config.folds_by = 'clip'
    lines = folds.describe(make_dataset(labels, signers), config).splitlines()
    assert lines == ['3 folds of 4 to 5 clips', 'fewer clips than folds: eat']


def test_more_folds_than_signers_or_clips():
    dataset = make_dataset([0, 1, 0, 1], ['a', 'b', 'a', 'b'])
    config = make_tiny_config('d', num_folds=3, fold=0)
    with pytest.raises(errors.InputError, match=r"num_folds is 3\b.*\bd has 2 signers\b.*folds_by = 'clip'"):
        folds.split(dataset, config)
    config.folds_by = 'clip'
    assert [len(part) for part in folds.split(dataset, config)] == [2, 2]
    config.num_folds = 5
    with pytest.raises(errors.InputError, match=r'num_folds is 5\b.*\bd has 4 clips\b'):
        folds.split(dataset, config)


def expand(**fields):
    config = default.get_config()
    config.update({'dataset': 'd'} | fields)
    return config_lib.expand(config)


def test_runs_of_all_folds():
    runs = expand(num_folds=2, seeds=(3, 4), sweep={'learning_rate': (0.1,)})
    assert [run.name for run in runs] == [
        f'learning_rate=0.1,fold_{fold},seed_{seed}' for fold in (0, 1) for seed in (3, 4)
    ]
    assert [(run.config.fold, run.config.seed) for run in runs] == [(0, 3), (0, 4), (1, 3), (1, 4)]
    assert [run.name for run in expand(num_folds=2)] == ['fold_0,seed_379', 'fold_1,seed_379']
    assert [run.name for run in expand(num_folds=2, fold=1)] == ['']
    assert [run.name for run in expand(num_folds=2, fold=1, seeds=(3, 4))] == ['seed_3', 'seed_4']


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'num_folds': 1}, r'config\.num_folds is 1\b.*\b2\b'),
        ({'num_folds': -3}, r'config\.num_folds is -3\b.*\b2\b'),
        ({'num_folds': 10**9}, r'config\.num_folds is 1000000000\b.*\b1000\b'),
        ({'fold': 0}, r'config\.fold is 0\b.*config\.num_folds'),
        ({'num_folds': 3, 'fold': 3}, r'config\.fold is 3\b.*\b0 to 2\b.*\b3 folds'),
        ({'num_folds': 3, 'validation': 'none'}, r"config\.validation is 'none'.*config\.num_folds"),
        ({'num_folds': 3, 'folds_by': 'class'}, r"config\.folds_by is 'class'.*\bsigner\b.*\bclip\b"),
        ({'class_weights': 'sqrt'}, r"config\.class_weights is 'sqrt'.*\bnone\b.*\bbalanced\b"),
    ],
)
def test_configs_that_are_refused(fields, message):
    with pytest.raises(errors.InputError, match=message):
        expand(**fields)


def test_pooled_accuracy_counts_every_clip_once():
    pooled = metrics.pool_folds([1 / 3, 0.5, 1.0], [3, 4, 1])
    assert (pooled['correct'], pooled['clips'], pooled['folds'], pooled['accuracy']) == (4, 8, 3, 0.5)
    assert (pooled['wilson95_low'], pooled['wilson95_high']) == metrics.wilson_interval(4, 8)
    assert pooled['fold_accuracy_mean'] == pytest.approx(11 / 18)
    assert pooled['fold_accuracy_std'] == pytest.approx(np.std([1 / 3, 0.5, 1], ddof=1))


def test_class_weights():
    labels = np.array([0, 0, 0, 2], np.int32)
    weights = input_pipeline.class_weights(labels, 4)
    np.testing.assert_allclose(weights, [4 / 6, 0, 2, 0], rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, 50).astype(np.int32)
    weights = input_pipeline.class_weights(labels, 12)
    sums = np.bincount(labels, weights[labels], minlength=12)
    np.testing.assert_allclose(sums[sums > 0], 50 / np.count_nonzero(sums), rtol=1e-6)
