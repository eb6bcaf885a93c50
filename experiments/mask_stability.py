"""Whether rankings of points are the same for every seed, follow the labels, and are more than chance, on recordings.

    python -m experiments.mask_stability --dataset=data/wlasl100_hands [--quick] [--output_dir=mask_stability]

- Seeds: how much the rankings of models agree that differ in their seed only.
- Labels: how much they agree with those of models whose training labels were shuffled (Adebayo et al., 2018).
- Shadows: which points have larger weights than tracks of other clips that are fed beside them (config.shadow_points).

Rankings look at training clips, of the latest checkpoint. Writes runs.csv (every importance), stability.csv,
shadows.csv, mask_stability.md and a picture. An interrupted command goes on when it is given again.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import itertools
import math
import os
from typing import Any

from absl import flags
import jax
from matplotlib.figure import Figure
import numpy as np
import scipy.stats

from experiments import comparison, markdown, recipes, results, seeded_runs
from experiments.seeded_runs import SeededRuns
from preprocessing.formats import tfds_writer
from slr_jax import cli, masks, runtime
from slr_jax import dataset as dataset_lib
from slr_jax import metrics as metrics_lib

_TOP = 10
# Whose weights are compared with those of shadows.
_OF_SHADOWS = 'absolute'
# A correlation up to which rankings are said to have nothing in common.
_NEAR_0 = 0.1


# --- Statistics


def kendalls_w(importances: np.ndarray) -> tuple[float, float]:
    """Kendall's coefficient of concordance (Kendall & Babington Smith, 1939), corrected for ties.

    Args:
        importances: <float>[seeds, points], at least 3 points.

    Returns:
        W, from 0 to 1 where all seeds rank alike, 1 / seeds by chance; and the p-value of chance (Friedman, 1937).
    """
    num_seeds, num_points = importances.shape
    found = scipy.stats.friedmanchisquare(*importances.T)
    return float(found.statistic / (num_seeds * (num_points - 1))), float(found.pvalue)


def kendalls_tau(one: np.ndarray, other: np.ndarray) -> float:
    """The rank correlation of two importances <float>[points] (Kendall, 1938), from -1 to 1, 0 by chance."""
    return float(scipy.stats.kendalltau(one, other).statistic)


def overlap_above_chance(one: np.ndarray, other: np.ndarray) -> float:
    """The share of the 10 most important points that two importances <float>[points] have in common, minus chance.

    Of n points, two random choices of k have k² / n in common on average. Ties stand in the order of the points.
    """
    count = min(_TOP, len(one))
    first, second = (set(np.argsort(-x, kind='stable')[:count].tolist()) for x in (one, other))
    return len(first & second) / count - count / len(one)


def between_seeds(
    function: Callable[[np.ndarray, np.ndarray], float], importances: np.ndarray
) -> tuple[float, float, float]:
    """The mean of a function over all pairs of seeds, and its 95 % interval by the jackknife (Tukey, 1958).

    Args:
        function: of two importances.
        importances: <float>[seeds, points], at least 3 seeds.
    """
    num_seeds = len(importances)
    pairs = {(a, b): function(importances[a], importances[b]) for a, b in itertools.combinations(range(num_seeds), 2)}
    mean = float(np.mean(list(pairs.values())))
    without = [np.mean([x for pair, x in pairs.items() if seed not in pair]) for seed in range(num_seeds)]
    error = math.sqrt((num_seeds - 1) * np.var(without))
    half = float(scipy.stats.t.ppf(0.975, num_seeds - 1)) * error
    return mean, mean - half, mean + half


def with_other_labels(importances: np.ndarray, of_true_labels: np.ndarray) -> comparison.Difference:
    """The mean tau of the models of other labels <float>[seeds, points] with those of the true labels, all pairs.

    The interval is of the seeds of the other labels.
    """
    taus = [[kendalls_tau(one, other) for other in of_true_labels] for one in importances]
    return comparison.corrected_resampled_t(np.mean(taus, axis=1), 0)


def summarize(ranking: str, labels: str, importances: np.ndarray, of_true_labels: np.ndarray) -> dict[str, Any]:
    """The row of stability.csv of a ranking and of 'true' or 'shuffled' labels; importances are [seeds, points]."""
    num_seeds, num_points = importances.shape
    w, w_p = kendalls_w(importances)
    row: dict[str, Any] = {'ranking': ranking, 'labels': labels, 'seeds': num_seeds, 'points': num_points}
    row |= {'kendall_w': w, 'kendall_w_chance': 1 / num_seeds, 'kendall_w_p': w_p}
    for name, function in (('tau', kendalls_tau), ('top10_above_chance', overlap_above_chance)):
        mean, low, high = between_seeds(function, importances)
        row |= {name: mean, f'{name}_low': low, f'{name}_high': high}
    row['top10_chance'] = min(_TOP, num_points) / num_points
    if labels == 'true':
        return row | {'tau_with_true': None, 'tau_with_true_low': None, 'tau_with_true_high': None}
    found = with_other_labels(importances, of_true_labels)
    return row | {'tau_with_true': found.mean, 'tau_with_true_low': found.low, 'tau_with_true_high': found.high}


def shadow_rows(dataset: dataset_lib.Dataset, importances: np.ndarray) -> list[dict[str, Any]]:
    """A row of shadows.csv for each point, from <float>[seeds, points and then their shadows]."""
    layout = dataset.layout
    means, deviations = importances.mean(axis=0), importances.std(axis=0, ddof=1)
    weights, shadows = np.split(means, 2)
    q_values = masks.shadow_test(weights, shadows)
    return [
        {
            **{'point': layout.points[point], 'group': layout.group_of_point[point]},
            **{'weight': weights[point], 'std': deviations[point]},
            **{'weight_of_shadow': shadows[point], 'std_of_shadow': deviations[layout.num_points + point]},
            **{'q_value': q_values[point], 'significant': int(q_values[point] <= masks.SIGNIFICANT)},
        }
        for point in range(layout.num_points)
    ]


# --- Shuffled labels


def shuffle_labels(dataset: dataset_lib.Dataset, name: str, seed: int = 0) -> dataset_lib.Dataset:
    """The dataset with another order of the labels of its training clips, so that each class has as many."""
    train = dataset.split('train')
    labels = np.random.default_rng(seed).permutation(train.labels)
    description = dataclasses.replace(
        dataset.description, name=name, source={'kind': 'shuffled_labels', 'dataset': dataset.description.name}
    )
    return dataset_lib.Dataset(description, {**dataset.splits, 'train': dataclasses.replace(train, labels=labels)})


def write_shuffled(dataset: dataset_lib.Dataset, data_dir: str) -> str:
    """Writes the dataset of shuffled labels unless it is there; returns its directory."""
    name = 'shuffled_labels'
    path = os.path.join(data_dir, name)
    if not os.path.isdir(path):
        tfds_writer.write_dataset(shuffle_labels(dataset, name), data_dir)
    return path


# --- The page


_CAVEATS = f"""\
- Agreement is not truth: models of all seeds can agree on points that do not matter, as those that move most.
- Models of all seeds have the same clips; on other clips the rankings would agree less.
- Where rankings stay alike with shuffled labels, what they have in common comes of the clips, not of what they mean.
  This is known of gradients (Adebayo et al., 2018), and the gradient of a mask's weight, too, is larger where a
  coordinate is farther from 0. The labels were shuffled once; the interval is of the seeds.
- A shadow moves as its point does in another clip, and is one of as many points. A point that beats it matters to the
  model, which need not mean that signs cannot be told without it. With n shadows no p-value is below 1 / (n + 1), so
  no point is significant unless about {masks.SIGNIFICANT:.0%} of them beat all shadows: where none is, some may matter
  all the same.
- W and tau of the mean over coordinates; intervals of pairs of seeds by the jackknife.
"""


def verdicts(summary: Sequence[Mapping[str, Any]], shadows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What holds and what fails, a sentence each."""
    lines = []
    for row in summary:
        if row['labels'] == 'true':
            # Schmidt (1997), Decision Sciences 28.
            degree = 'strong' if row['kendall_w'] >= 0.7 else 'moderate' if row['kendall_w'] >= 0.5 else 'weak'
            lines.append(
                f'{row["ranking"]}: the agreement of {row["seeds"]} seeds is {degree}, W {row["kendall_w"]:.2f} '
                f'({row["kendall_w_chance"]:.2f} by chance); two models have '
                f'{_TOP * (row["top10_above_chance"] + row["top10_chance"]):.1f} of the first {_TOP} points in common, '
                f'{_TOP * row["top10_chance"]:.1f} by chance.'
            )
            continue
        tau, low, high = (row[f'tau_with_true{end}'] for end in ('', '_low', '_high'))
        reason = ''
        if abs(tau) <= _NEAR_0:
            holds = 'holds'
        elif low <= 0 <= high:
            holds = 'is open, as there are few seeds'
        else:
            holds, reason = 'FAILS', ': a part of the order does not come of what the labels say'
        lines.append(
            f'{row["ranking"]}: the goal, a rank correlation within ± {_NEAR_0} with the models of shuffled labels, '
            f'{holds}: {tau:.2f} (95 % interval {low:.2f} to {high:.2f}){reason}.'
        )
    found = [row['point'] for row in sorted(shadows, key=lambda row: -row['weight']) if row['significant']]
    lines.append(
        f'shadows: {len(found)} of {len(shadows)} points beat theirs (q ≤ {masks.SIGNIFICANT}), by |w|'
        f'{": " if found else ""}{", ".join(found)}.'
    )
    return lines


def to_markdown(
    summary: Sequence[Mapping[str, Any]],
    shadows: Sequence[Mapping[str, Any]],
    accuracies: Mapping[str, Mapping[str, Any]],
    name: str,
) -> str:
    """The page; accuracies are metrics.aggregate_runs of the models of 'true', 'shuffled' and 'shadows'."""
    header = ['ranking', 'labels', "Kendall's W", 'by chance', 'tau between seeds', 'first 10 above chance']
    cells = [
        [
            *(row['ranking'], row['labels'], f'{row["kendall_w"]:.3f}', f'{row["kendall_w_chance"]:.3f}'),
            *(_cell(row, column) for column in ('tau', 'top10_above_chance', 'tau_with_true')),
        ]
        for row in summary
    ]
    trained = []
    for labels, found in accuracies.items():
        low, high = found['accuracy_interval95']
        values = (f'{found["accuracy_mean"]:.1%}', f'{found["accuracy_std"]:.1%}', f'{low:.1%} to {high:.1%}')
        trained.append([labels, *values, found['interval'], found['runs'], found['clips']])
    points = [
        [
            *(row['point'], f'{row["weight"]:.3f} ± {row["std"]:.3f}'),
            *(f'{row["weight_of_shadow"]:.3f} ± {row["std_of_shadow"]:.3f}', f'{row["q_value"]:.3f}'),
        ]
        for row in sorted(shadows, key=lambda row: -row['weight'])[:_TOP]
    ]
    return '\n'.join(
        [
            f'# Are rankings of points stable, and more than chance? ({name})\n',
            *(f'- {line}' for line in verdicts(summary, shadows)),
            '\nAgreement, mean with 95 % interval:\n',
            markdown.table([*header, 'tau with true labels'], cells),
            f'The {_TOP} largest absolute weights beside their shadows, mean ± standard deviation over seeds:\n',
            markdown.table(['point', 'weight', 'weight of its shadow', 'q'], points),
            'Validation accuracy of the models, so that it is seen what they learned:\n',
            markdown.table(['models', 'mean', 'standard deviation', '95 % interval', 'of', 'seeds', 'clips'], trained),
            _CAVEATS,
        ]
    )


def _cell(row: Mapping[str, Any], name: str) -> str:
    return '' if row[name] is None else f'{row[name]:.3f} ({row[f"{name}_low"]:.3f} to {row[f"{name}_high"]:.3f})'


def draw(summary: Sequence[Mapping[str, Any]], shadows: Sequence[Mapping[str, Any]]) -> Figure:
    """Left the correlations of rankings, right the weights of points beside those of shadows."""
    rankings = list(dict.fromkeys(row['ranking'] for row in summary))
    figure = Figure(figsize=(11, 3.6), layout='constrained')
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    bars = (
        ('true', 'tau', 'between seeds', '#4c72b0'),
        ('shuffled', 'tau', 'between seeds, shuffled labels', '#999999'),
        ('shuffled', 'tau_with_true', 'shuffled with true labels', '#c44e52'),
    )
    for number, (labels, name, title, color) in enumerate(bars):
        rows = [row for row in summary if row['labels'] == labels]
        means, low, high = (np.array([row[f'{name}{end}'] for row in rows]) for end in ('', '_low', '_high'))
        places = np.arange(len(rows)) + 0.27 * (number - 1)
        left.bar(places, means, 0.25, yerr=(means - low, high - means), color=color, ecolor='#555555', label=title)
    left.axhline(0, color='black', linewidth=0.8)
    left.set_xticks(range(len(rankings)), [ranking.replace('_', ' ') for ranking in rankings])
    left.set(ylabel='rank correlation (tau)', title='95 % intervals; 0 is chance')
    left.legend(fontsize=7, loc='upper center', bbox_to_anchor=(0.5, -0.12))
    ordered = sorted(shadows, key=lambda row: -row['weight'])
    ranks = np.arange(len(ordered))
    null = sorted((row['weight_of_shadow'] for row in ordered), reverse=True)
    right.scatter(ranks, null, s=14, color='#999999', label='shadows, sorted')
    weights = np.array([row['weight'] for row in ordered])
    spread = {'fmt': 'o', 'markersize': 4, 'ecolor': '#9db4d6', 'color': '#4c72b0'}
    right.errorbar(ranks, weights, [row['std'] for row in ordered], **spread, label='points, ± standard deviation')
    ringed = np.flatnonzero([row['significant'] for row in ordered])
    right.scatter(
        ringed, weights[ringed], s=60, facecolors='none', edgecolors='black', label=f'q ≤ {masks.SIGNIFICANT}'
    )
    right.set_xticks(ranks, [row['point'] for row in ordered], rotation=90, fontsize=5 if len(ordered) > 30 else 7)
    right.set(ylabel='|w|, mean over seeds', title='weights of points and of their shadows')
    right.legend(fontsize=7)
    return figure


# --- The command


def compare(path: str, output_dir: str, rankings: Sequence[str], num_seeds: int, **fields: Any) -> list[dict[str, Any]]:
    """Trains and ranks; writes tables, page and picture.

    Args:
        path: of the dataset.
        output_dir: for all of it.
        rankings: keys of attribution.RANKINGS.
        num_seeds: at least 3; seeds are 0, 1, ….
        fields: of the config, beside those of recipes.small_class_query.

    Returns:
        The rows of stability.csv.
    """
    dataset = seeded_runs.load_dataset(path)
    shuffled_path = write_shuffled(dataset, os.path.join(output_dir, 'data'))
    shuffled = dataset_lib.load_dataset(shuffled_path)
    fields = {**fields, 'seeds': tuple(range(num_seeds))}

    def make(name: str, trained_on: dataset_lib.Dataset, directory: str, **more: Any) -> SeededRuns:
        config = recipes.small_class_query(**{**fields, 'dataset': directory, **more})
        return SeededRuns(config, os.path.join(output_dir, 'runs', name), trained_on)

    runs = {
        'true': make('true', dataset, path),
        'shuffled': make('shuffled', shuffled, shuffled_path),
        'shadows': make('shadows', dataset, path, shadow_points=True),
    }
    found: dict[tuple[str, str], np.ndarray] = {}
    accuracies = {}
    for labels, of_labels in runs.items():
        for ranking in [_OF_SHADOWS] if labels == 'shadows' else rankings:
            found[labels, ranking] = of_labels.importances(ranking)
        correct = of_labels.correct()
        accuracies[labels] = metrics_lib.aggregate_runs(correct.mean(axis=1).tolist(), correct.shape[1])
        # A process may hold some 80 compiled programs of a CPU.
        jax.clear_caches()
    summary = [
        summarize(ranking, labels, found[labels, ranking], found['true', ranking])
        for ranking in rankings
        for labels in ('true', 'shuffled')
    ]
    shadows = shadow_rows(dataset, found['shadows', _OF_SHADOWS])
    page = to_markdown(summary, shadows, accuracies, dataset.description.name)
    tables = {'runs': _importance_rows(dataset, found), 'stability': summary, 'shadows': shadows}
    results.write(output_dir, 'mask_stability', page, tables, {'mask_stability': draw(summary, shadows)})
    return summary


def _importance_rows(dataset: dataset_lib.Dataset, found: Mapping[tuple[str, str], np.ndarray]) -> list[dict[str, Any]]:
    points = dataset.layout.points
    names = [*points, *(f'shadow_{point}' for point in points)]
    return [
        {'models': models, 'ranking': ranking, 'seed': seed, 'point': names[point], 'importance': value}
        for (models, ranking), importances in found.items()
        for seed, importance in enumerate(importances)
        for point, value in enumerate(importance)
    ]


def _define_flags() -> None:
    flags.DEFINE_string('dataset', None, 'TFDS directory with training and validation clips.', required=True)
    flags.DEFINE_list('rankings', ['signed_mean', 'absolute'], 'Rankings of points.')
    flags.DEFINE_integer('num_seeds', 10, 'Number of seeds.', lower_bound=3)
    flags.DEFINE_bool('quick', False, 'Whether to train fewer epochs.')
    flags.DEFINE_string('output_dir', 'mask_stability', 'Folder for the tables, the picture, datasets and runs.')


def main() -> None:
    """Compares as the flags say."""
    runtime.use_compilation_cache()
    values = flags.FLAGS
    rankings = seeded_runs.check_rankings('rankings', values.rankings)
    fields = recipes.SMALL_AND_QUICK if values.quick else {}
    compare(values.dataset, values.output_dir, rankings, values.num_seeds, **fields)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
