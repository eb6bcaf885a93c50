"""Whether one model is better than another: tests of differences, and their correction where there are many."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np
import scipy.stats

from slr_jax import errors


@dataclasses.dataclass(frozen=True)
class Difference:
    """A mean difference.

    Attributes:
        mean: of the differences.
        low: lower end of its 95 % interval.
        high: upper end.
        p_value: two-sided, that there is none.
    """

    mean: float
    low: float
    high: float
    p_value: float


def corrected_resampled_t(differences: Sequence[float] | np.ndarray, test_per_train: float) -> Difference:
    """The corrected resampled t-test (Nadeau and Bengio, 2003, Machine Learning 52, section 3).

    The trainings of a cross-validation share most of their clips, so that its folds say less than as many independent
    ones: the variance of the mean of J differences is taken as (1/J + test_per_train) times theirs, and not 1/J.

    Args:
        differences: <float>[folds], of the accuracies of two models on the same fold, of all repeats.
        test_per_train: test clips of a fold per training clip, 1/4 of five folds; 0 for the ordinary t-test.

    Raises:
        InputError: there are fewer than 2 differences.
    """
    count = len(differences)
    if count < 2:
        raise errors.InputError(f'differences has {count} values, expected at least 2')
    mean = float(np.mean(differences))
    error = float(np.sqrt((1 / count + test_per_train) * np.var(differences, ddof=1)))
    if not error:
        return Difference(mean, mean, mean, float(not mean))
    low, high = scipy.stats.t.interval(0.95, count - 1, mean, error)
    return Difference(mean, float(low), float(high), float(2 * scipy.stats.t.sf(abs(mean) / error, count - 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected for their number (Holm, 1979, Scandinavian Journal of Statistics 6)."""
    return import_statsmodels().multipletests(p_values, method='holm')[1].tolist() if len(p_values) else []


def import_statsmodels() -> Any:
    """The module statsmodels.stats.multitest, which comes with an extra."""
    from statsmodels.stats import multitest

    return multitest
