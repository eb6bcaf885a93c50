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


@dataclasses.dataclass(frozen=True)
class McNemar:
    """What two models answer differently.

    Attributes:
        only_first: clips that only the first has right.
        only_second: clips that only the second has right.
        p_value: two-sided, that each is as often right alone.
    """

    only_first: int
    only_second: int
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


def paired_bootstrap(correct: np.ndarray, other: np.ndarray, num_draws: int = 10_000, seed: int = 0) -> Difference:
    """The difference in accuracy of two recipes, whose models were trained with several seeds and have the same clips.

    Each draw takes as many clips as there are with replacement, the same for both recipes, and of each recipe as many
    seeds: a seed counts for all clips of a draw (Owen, 2007, Annals of Applied Statistics 1). The interval is that of
    the percentiles; the p-value is twice the share of draws on the other side of 0, or at it. A few seeds say little
    of how much seeds differ, so that both are then too sure (of 3 seeds that differ by 4 points, the interval holds in
    88 % of simulated experiments on 650 clips); of one seed they do not count it at all.

    Args:
        correct: <bool>[seeds, clips], whether each model of the one recipe is right; or <float>, how far it is.
        other: <bool> or <float>[seeds of it, clips], of the other recipe.
        num_draws: number of draws.
        seed: of the draws.

    Raises:
        InputError: the clips differ in number, or there are none, or no seeds.
    """
    if correct.ndim != 2 or other.ndim != 2 or correct.shape[1] != other.shape[1] or not correct.size * other.size:
        raise errors.InputError(
            f'correct and other have shapes {correct.shape} and {other.shape}, expected [seeds, clips] of as many clips'
        )
    rng = np.random.default_rng(seed)
    num_clips = correct.shape[1]
    draws = np.empty(num_draws)
    for draw in range(num_draws):
        clips = np.bincount(rng.integers(num_clips, size=num_clips), minlength=num_clips)
        one, two = (x[rng.integers(len(x), size=len(x))].sum(axis=0) @ clips / len(x) for x in (correct, other))
        draws[draw] = (one - two) / num_clips
    low, high = np.quantile(draws, (0.025, 0.975))
    tail = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    return Difference(
        float(correct.mean() - other.mean()), float(low), float(high), min(1.0, 2 * (tail + 1) / (num_draws + 1))
    )


def exact_mcnemar(correct: np.ndarray, other: np.ndarray) -> McNemar:
    """McNemar's exact test of two fixed models on the same clips (McNemar, 1947, Psychometrika 12).

    Args:
        correct: <bool>[clips], whether the first model is right.
        other: <bool>[clips], likewise the second.

    Raises:
        InputError: the clips differ in number.
    """
    from statsmodels.stats import contingency_tables

    if correct.ndim != 1 or correct.shape != other.shape:
        raise errors.InputError(
            f'correct and other have shapes {correct.shape} and {other.shape}, expected [clips] of as many clips'
        )
    counts = [[int(np.sum((correct == one) & (other == two))) for two in (True, False)] for one in (True, False)]
    p_value = contingency_tables.mcnemar(counts, exact=True).pvalue
    return McNemar(counts[0][1], counts[1][0], float(p_value))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected for their number (Holm, 1979, Scandinavian Journal of Statistics 6)."""
    return import_statsmodels().multipletests(p_values, method='holm')[1].tolist() if len(p_values) else []


def import_statsmodels() -> Any:
    """The module statsmodels.stats.multitest, which comes with an extra."""
    from statsmodels.stats import multitest

    return multitest
