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
