import numpy as np
import pytest
import scipy.stats

from experiments import comparison
from slr_jax import errors


@pytest.mark.parametrize('seed', range(5))
def test_without_shared_clips_it_is_the_ordinary_t_test(seed):
    differences = np.random.default_rng(seed).normal(0.02, 0.03, 4 + seed)
    expected = scipy.stats.ttest_1samp(differences, 0)
    found = comparison.corrected_resampled_t(differences, 0)
    assert found.mean == pytest.approx(differences.mean())
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_by_hand():
    """Mean 0.02, variance 0.0001, J = 3, 1/4 test clips per training clip; 4.302653 is t of 2 degrees at 0.975."""
    found = comparison.corrected_resampled_t([0.01, 0.02, 0.03], 0.25)
    error = (7 / 12 * 0.0001) ** 0.5
    t = 0.02 / error
    assert (found.low, found.high) == pytest.approx((0.02 - 4.302653 * error, 0.02 + 4.302653 * error))
    assert found.p_value == pytest.approx(1 - t / (t * t + 2) ** 0.5)


def test_more_shared_clips_say_less():
    found = [comparison.corrected_resampled_t([-0.05, -0.01, -0.03, -0.02], ratio) for ratio in (0, 0.25, 1)]
    assert found[0].p_value < found[1].p_value < found[2].p_value < 1
    assert found[0].high < found[1].high < found[2].high
    assert {round(one.mean, 9) for one in found} == {-0.0275}


@pytest.mark.parametrize(('value', 'p_value'), [(0.0, 1.0), (0.25, 0.0)])
def test_all_folds_differ_alike(value, p_value):
    found = comparison.corrected_resampled_t([value] * 4, 0.25)
    assert found == comparison.Difference(value, value, value, p_value)


@pytest.mark.parametrize('differences', [[], [0.1]])
def test_too_few_differences(differences):
    with pytest.raises(errors.InputError, match=rf'differences has {len(differences)} values\b.*\b2\b'):
        comparison.corrected_resampled_t(differences, 0.25)


def test_holm_by_hand():
    """The smallest times 4, the next times 3 …, none below the one before, none above 1."""
    assert comparison.holm([0.02, 0.01, 0.9, 0.03]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert comparison.holm([0.5, 0.6]) == [1.0, 1.0]
    assert comparison.holm([0.03]) == [0.03]
    assert comparison.holm([]) == []


def draw_correct(seeds, clips, accuracy, seed):
    return np.random.default_rng(seed).random((seeds, clips)) < accuracy


def test_of_one_seed_it_is_the_paired_bootstrap_over_clips():
    correct, other = draw_correct(1, 200, 0.6, seed=0), draw_correct(1, 200, 0.5, seed=1)
    differences = correct[0].astype(float) - other[0]
    expected = scipy.stats.bootstrap(
        (differences,), np.mean, method='percentile', n_resamples=10_000, rng=np.random.default_rng(2)
    )
    found = comparison.paired_bootstrap(correct, other)
    assert found.mean == pytest.approx(differences.mean())
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval), abs=0.01)
    tail = np.mean(expected.bootstrap_distribution <= 0)
    assert found.p_value == pytest.approx(2 * tail, abs=0.02)
    assert found == comparison.paired_bootstrap(correct, other)


def test_a_seed_counts_for_all_clips():
    """One of two seeds is always right, the other never: the mean of two drawn seeds is 0, 1/2 or 1."""
    correct, other = np.array([[True] * 50, [False] * 50]), np.ones((3, 50), bool)
    found = comparison.paired_bootstrap(correct, other)
    assert (found.mean, found.low, found.high) == (-0.5, -1, 0)
    assert found.p_value == pytest.approx(2 / 4, abs=0.03)


def test_more_seeds_and_clips_that_agree_say_more():
    widths = []
    for seeds, clips in [(1, 100), (4, 100), (4, 1600)]:
        found = comparison.paired_bootstrap(
            draw_correct(seeds, clips, 0.7, 0), draw_correct(seeds, clips, 0.7, 1), 2000
        )
        widths.append(found.high - found.low)
    assert widths[0] > 1.2 * widths[1] > 3 * widths[2]


@pytest.mark.parametrize(('right', 'p_value'), [(True, 1.0), (False, 2 / 10_001)])
def test_models_that_answer_alike_or_never(right, p_value):
    found = comparison.paired_bootstrap(np.ones((2, 9), bool), np.full((3, 9), right))
    difference = float(not right)
    assert found == comparison.Difference(difference, difference, difference, pytest.approx(p_value))


@pytest.mark.parametrize('shapes', [((2, 3), (2, 4)), ((3,), (3,)), ((0, 3), (2, 3)), ((2, 0), (2, 0))])
def test_what_cannot_be_compared_by_seeds(shapes):
    one, two = (np.zeros(shape, bool) for shape in shapes)
    with pytest.raises(errors.InputError) as error:
        comparison.paired_bootstrap(one, two)
    assert f'{shapes[0]} and {shapes[1]}, expected [seeds, clips]' in str(error.value)


def test_mcnemar_by_hand():
    """Of 11 clips that one model alone has right, 2 are the first's: 2 · (1 + 11 + 55) of 2^11 outcomes."""
    correct = np.array([True] * 2 + [False] * 9 + [True] * 5 + [False] * 3)
    other = np.array([False] * 2 + [True] * 9 + [True] * 5 + [False] * 3)
    found = comparison.exact_mcnemar(correct, other)
    assert found == comparison.McNemar(2, 9, pytest.approx(134 / 2048))
    assert comparison.exact_mcnemar(other, correct) == comparison.McNemar(9, 2, pytest.approx(134 / 2048))
    assert comparison.exact_mcnemar(other, other) == comparison.McNemar(0, 0, 1.0)


@pytest.mark.parametrize('seed', range(3))
def test_mcnemar_is_a_binomial_test(seed):
    correct, other = draw_correct(2, 60 + seed, 0.6, seed)
    found = comparison.exact_mcnemar(correct, other)
    alone = found.only_first + found.only_second
    assert alone == np.count_nonzero(correct != other)
    assert found.p_value == pytest.approx(scipy.stats.binomtest(found.only_first, alone).pvalue)


@pytest.mark.parametrize('shapes', [((3,), (4,)), ((2, 3), (2, 3))])
def test_what_cannot_be_compared_by_clips(shapes):
    one, two = (np.zeros(shape, bool) for shape in shapes)
    with pytest.raises(errors.InputError) as error:
        comparison.exact_mcnemar(one, two)
    assert f'{shapes[0]} and {shapes[1]}, expected [clips]' in str(error.value)
