import dataclasses
import itertools

import numpy as np
import pytest
import scipy.stats

from experiments import comparison, mask_stability

UP = np.arange(12.0)
UP_OF_ALL = np.arange(21.0)


def test_kendalls_w_of_identical_and_of_opposite_rankings():
    w, p_value = mask_stability.kendalls_w(np.array([UP, UP + 3, UP**2]))
    assert w == pytest.approx(1)
    assert p_value < 0.01
    w, p_value = mask_stability.kendalls_w(np.array([UP, -UP]))
    assert w == pytest.approx(0)
    assert p_value == pytest.approx(1)


def test_kendalls_w_by_hand():
    # Ranks 1 2 3, 1 3 2 and 2 1 3 add up to 4, 6 and 8, about a mean of 6: S is 8, W is 12 · 8 / (3² (3³ − 3)).
    w, _ = mask_stability.kendalls_w(np.array([[0.1, 0.2, 0.3], [1, 3, 2], [20, 10, 30]]))
    assert w == pytest.approx(12 * 8 / (9 * 24))
    # With ties: 12 S / (m² (n³ − n) − m T), T the sum of t³ − t.
    importances = np.array([[1.0, 1.0, 2.0, 3.0], [4.0, 2.0, 1.0, 3.0]])
    ranks = np.array([[1.5, 1.5, 3, 4], [4, 2, 1, 3]])
    deviations = ((ranks.sum(axis=0) - 5) ** 2).sum()
    w, _ = mask_stability.kendalls_w(importances)
    assert w == pytest.approx(12 * deviations / (4 * 60 - 2 * 6))


def test_w_is_one_over_the_seeds_by_chance():
    rng = np.random.default_rng(0)
    found = [mask_stability.kendalls_w(rng.random((5, 21)))[0] for _ in range(400)]
    assert np.mean(found) == pytest.approx(1 / 5, abs=0.01)


def test_overlap_of_the_first_ten():
    first = np.arange(20.0)
    assert mask_stability.overlap_above_chance(first, first) == pytest.approx(1 - 0.5)
    assert mask_stability.overlap_above_chance(first, -first) == pytest.approx(0 - 0.5)
    # 7 of the first 10 in common.
    other = first.copy()
    other[[10, 11, 12]], other[[0, 1, 2]] = first[[0, 1, 2]], first[[10, 11, 12]]
    assert mask_stability.overlap_above_chance(first, other) == pytest.approx(0.7 - 0.5)
    assert mask_stability.overlap_above_chance(first[:6], first[:6]) == 0
    rng = np.random.default_rng(0)
    drawn = [mask_stability.overlap_above_chance(*rng.random((2, 42))) for _ in range(2000)]
    assert np.mean(drawn) == pytest.approx(0, abs=0.01)


def test_tau_counts_pairs():
    one, other = np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])
    assert mask_stability.kendalls_tau(one, other) == pytest.approx((5 - 1) / 6)


def test_the_mean_over_pairs_of_seeds_and_its_jackknife():
    importances = np.random.default_rng(1).random((4, 9))
    mean, low, high = mask_stability.between_seeds(mask_stability.kendalls_tau, importances)

    def statistic(chosen):
        pairs = itertools.combinations(chosen, 2)
        return np.mean([scipy.stats.kendalltau(importances[a], importances[b])[0] for a, b in pairs])

    without = np.array([statistic([i for i in range(4) if i != left_out]) for left_out in range(4)])
    error = np.sqrt(3 / 4 * ((without - without.mean()) ** 2).sum())
    assert mean == pytest.approx(statistic(range(4)))
    assert (low, high) == pytest.approx((mean - 3.182446 * error, mean + 3.182446 * error), rel=1e-5)


def test_agreement_with_other_labels():
    true = np.array([UP, UP])
    found = mask_stability.with_other_labels(np.array([UP, -UP, UP]), true)
    expected = comparison.corrected_resampled_t([1.0, -1.0, 1.0], 0)
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(expected))


def test_only_training_labels_are_shuffled(tiny_dataset):
    shuffled = mask_stability.shuffle_labels(tiny_dataset, 'other')
    for split in ('validation', 'test'):
        assert shuffled.split(split) is tiny_dataset.split(split)
    labels, before = shuffled.split('train').labels, tiny_dataset.split('train').labels
    assert sorted(labels) == sorted(before)
    assert not np.array_equal(labels, before)
    assert shuffled.split('train').landmarks is tiny_dataset.split('train').landmarks


def test_the_page_says_what_fails(tiny_dataset):
    rng = np.random.default_rng(0)
    true, alike = np.arange(21) + rng.normal(0, 0.5, (2, 6, 21))
    nothing, opposite = rng.random((6, 21)), np.stack([UP_OF_ALL, -UP_OF_ALL] * 3)
    opposite[:1] *= -1
    summary = [
        mask_stability.summarize(ranking, labels, importances, true)
        for ranking, shuffled in (('absolute', alike), ('scaled', nothing), ('permutation', opposite))
        for labels, importances in (('true', true), ('shuffled', shuffled))
    ]
    shadowed = np.concatenate([true, rng.uniform(0, 8, (6, 21))], axis=1)
    shadows = mask_stability.shadow_rows(tiny_dataset, shadowed)
    significant = [row['point'] for row in shadows if row['significant']]
    threshold = shadowed.mean(axis=0)[21:].max()
    assert significant == [
        tiny_dataset.layout.points[point] for point in range(21) if true.mean(axis=0)[point] > threshold
    ]
    lines = mask_stability.verdicts(summary, shadows)
    assert 'absolute: the agreement of 6 seeds is strong' in lines[0]
    assert '10 points in common, 4.8 by chance' in lines[0]
    assert 'FAILS: 0.9' in lines[1]
    assert 'scaled' in lines[3]
    assert 'holds' in lines[3]
    assert 'is open, as there are few seeds: -0.3' in lines[5]
    assert lines[6].startswith(f'shadows: {len(significant)} of 21 points beat theirs (q ≤ 0.1), by |w|: pinky_tip, ')
    accuracy = {
        'accuracy_mean': 0.5,
        'accuracy_std': 0.1,
        'accuracy_interval95': (0.3, 0.7),
        'interval': 'clips and seeds',
        'runs': 6,
        'clips': 20,
    }
    page = mask_stability.to_markdown(summary, shadows, {'true': accuracy}, 'tiny')
    assert '| true | 50.0% | 10.0% | 30.0% to 70.0% | clips and seeds | 6 | 20 |' in page
    assert 'Adebayo' in page
    assert len(mask_stability.draw(summary, shadows).axes) == 2
