"""Accuracy with its intervals, per class, and the confusion matrix, from logits."""

from collections.abc import Mapping, Sequence
import math
import statistics
from typing import Any

import numpy as np
import scipy.special

from slr_jax import dataset as dataset_lib

_Z95 = 1.959963984540054


def wilson_interval(correct: float, clips: float) -> tuple[float, float]:
    """The 95 % interval of a fraction (Wilson, 1927); (0, 1) without clips."""
    if not clips:
        return 0.0, 1.0
    fraction, z2 = correct / clips, _Z95**2
    center = (fraction + z2 / (2 * clips)) / (1 + z2 / clips)
    half = _Z95 / (1 + z2 / clips) * math.sqrt(fraction * (1 - fraction) / clips + z2 / (4 * clips**2))
    return max(0.0, center - half), min(1.0, center + half)


def mean_interval(mean: float, deviation: float, runs: int, clips: int) -> tuple[float, float]:
    """The 95 % interval of the mean accuracy of runs that differ in their seed: for other clips and other seeds.

    The clips leave p(1 − p)/n to the square of the standard error, the seeds s²/S, whose quantile is Student's:
    p ± √(z²·p(1 − p)/n + t²·s²/S). In the form of Wilson, of so many clips that those alone leave as much, it stays
    between 0 and 1. Clips that are hard for all runs, or for some, only make it cover more.

    Args:
        mean: p, over the runs.
        deviation: s, the sample standard deviation over the runs; where it is 0 the interval is that of Wilson.
        runs: S; of one the interval is that of Wilson.
        clips: n, of each run.
    """
    if runs == 1 or not deviation:
        return wilson_interval(mean * clips, clips)
    quantile = float(scipy.special.stdtrit(runs - 1, 0.975))
    variance = mean * (1 - mean) / clips + (quantile / _Z95 * deviation) ** 2 / runs
    clips_alone = mean * (1 - mean) / variance
    return wilson_interval(mean * clips_alone, clips_alone)


def normal_half_width(correct: int, clips: int) -> float:
    """Half the width of the paper's 95 % interval, 1.96·√(p(1−p)/n)."""
    fraction = correct / clips
    return 1.96 * math.sqrt(fraction * (1 - fraction) / clips)


def top_k(logits: np.ndarray, k: int = 5) -> np.ndarray:
    """<int>[clips, at most k], the classes with the highest logits, best first; ties go to the lower class."""
    return np.argsort(-logits, axis=-1, kind='stable')[:, :k]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """<float64>[clips, classes], the softmax of the logits."""
    return scipy.special.softmax(logits.astype(np.float64), axis=-1)


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """<int64>[classes, classes], clips by true class (row) and predicted class (column)."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def aggregate_runs(accuracies: Sequence[float], clips: int) -> dict[str, Any]:
    """The mean accuracy of runs that differ in their seed.

    With the sample standard deviation, 0 for one run, and its interval, see mean_interval; `interval` says of what.

    Args:
        accuracies: of the runs.
        clips: of each run.
    """
    mean = statistics.mean(accuracies)
    deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    return {
        'accuracy_mean': mean,
        'accuracy_std': deviation,
        'accuracy_interval95': list(mean_interval(mean, deviation, len(accuracies), clips)),
        'interval': 'clips and seeds' if len(accuracies) > 1 else 'clips alone (Wilson)',
        'runs': len(accuracies),
        'clips': clips,
    }


# Belongs to every accuracy over folds of checkpoints that are the best on their fold.
SELECTED_ON_FOLD = 'each checkpoint was selected on its fold itself, so that the accuracy is somewhat too high'


def pool_folds(accuracies: Sequence[float], clips: Sequence[int]) -> dict[str, int | float]:
    """The accuracy of a cross-validation: the clips of all folds, each of which counts once.

    Args:
        accuracies: of the model of each fold on it.
        clips: of each fold.

    Returns:
        folds, clips and correct in all, accuracy with its Wilson interval, and mean and sample standard deviation of
        the accuracies of the folds.
    """
    correct = sum(round(accuracy * count) for accuracy, count in zip(accuracies, clips, strict=True))
    total = sum(clips)
    low, high = wilson_interval(correct, total)
    return {
        'folds': len(clips),
        'clips': total,
        'correct': correct,
        'accuracy': correct / total,
        'wilson95_low': low,
        'wilson95_high': high,
        'fold_accuracy_mean': statistics.mean(accuracies),
        'fold_accuracy_std': statistics.stdev(accuracies),
    }


def compute_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The numbers of metrics.json.

    Args:
        logits: <float32>[clips, classes].
        labels: <int32>[clips].

    Returns:
        accuracy, its Wilson and normal intervals, top5 where there are more than five classes, mean per-class accuracy
        over the classes that have clips, cross-entropy loss, and clips.
    """
    best = top_k(logits)
    is_correct = best[:, 0] == labels
    correct, clips = int(is_correct.sum()), len(labels)
    half = normal_half_width(correct, clips)
    return {
        'accuracy': correct / clips,
        'accuracy_wilson95': list(wilson_interval(correct, clips)),
        'accuracy_normal95': [correct / clips - half, correct / clips + half],
        **({'top5': float((best == labels[:, None]).any(axis=1).mean())} if logits.shape[1] > best.shape[1] else {}),
        'mean_per_class_accuracy': float(np.mean([is_correct[labels == label].mean() for label in np.unique(labels)])),
        'loss': float(-scipy.special.log_softmax(logits.astype(np.float64), axis=-1)[np.arange(clips), labels].mean()),
        'clips': clips,
    }


def caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences about what the accuracy of a metrics.json does not say."""
    shared = dataset_lib.describe_shares({metrics['split']: metrics.get('signers_in_train')})
    found = [shared] if shared else []
    if metrics.get('glosses') == 1:
        found.append(f'the {metrics["split"]} clips are all of one class')
    return found
