"""Whether the points that rankings put first are those by which a model recognizes signs, on recordings.

    python -m experiments.mask_faithfulness --dataset=data/wlasl100_hands [--quick] [--output_dir=mask_faithfulness]

Points are removed in the order of a ranking, the most important first (deletion) or, which is the reversed ranking, the
least important first (insertion, backwards), or in random order. Two ways of removing:

- exchange: the track of a removed point is that of another clip, in a trained model, which is ranked itself. It was
  trained with points that are missing at random, so that it answers without them.
- retraining: models that are trained on the points that are left (remove- and keep-and-retrain; Hooker et al., 2019).
  The ranking is the mean rank over the seeds of models of all points. With --quick, of signed_mean and another ranking.

All accuracies are of validation clips, of the latest checkpoint, which is not selected on them; rankings look at
training clips. Writes runs.csv, faithfulness.csv, mask_faithfulness.md, and the curves as a picture. An interrupted
command goes on when it is given again.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import os
from typing import Any

from absl import flags
import jax
from matplotlib.figure import Figure
import numpy as np
import scipy.stats

from experiments import comparison, markdown, recipes, results, seeded_runs
from experiments.seeded_runs import SeededRuns
from slr_jax import attribution, cli, inference, progress, runtime, tracks
from slr_jax import dataset as dataset_lib
from slr_jax.inference import LoadedModel

_FRACTIONS, _QUICK_FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9), (0.5, 0.9)
# Draws of the clips that tracks are taken from.
_NUM_DRAWS = 4
_DROP_POINT = 0.5
# integrated_gradients takes minutes.
_QUICK_RANKINGS = ('signed_mean', 'absolute', 'scaled', 'permutation', 'gradient_times_input', 'attention_rollout')
# Of the bands around curves; differences have as many as comparison.paired_bootstrap has.
_BAND_DRAWS = 1000
_ORDERS = ('most_first', 'least_first')
_SIGNIFICANT = 0.05


@dataclasses.dataclass(frozen=True)
class Curve:
    """Accuracy while points are removed.

    Attributes:
        test: 'exchange' or 'retraining'.
        ranking: a key of attribution.RANKINGS.
        order: 'most_first' or 'least_first'; of random points 'random'.
        removed: fractions of the points, ascending.
        correct: <float64>[fractions, seeds, clips], from 0 to 1.
    """

    test: str
    ranking: str
    order: str
    removed: tuple[float, ...]
    correct: np.ndarray

    @property
    def area(self) -> np.ndarray:
        """<float64>[seeds, clips], the mean height between the first and the last fraction, by trapezoids."""
        return np.trapezoid(self.correct, self.removed, axis=0) / (self.removed[-1] - self.removed[0])


def num_removed(fraction: float, num_points: int) -> int:
    """That fraction of the points, rounded; none or all only for 0 and 1."""
    if fraction in (0, 1):
        return round(fraction * num_points)
    return min(max(round(fraction * num_points), 1), num_points - 1)


def removal_order(importance: np.ndarray, order: str) -> np.ndarray:
    """<int>[points], from <float>[points]; ties in the order of the points, mirrored where the least are first."""
    most_first = np.argsort(-importance, kind='stable')
    return most_first if order == 'most_first' else most_first[::-1]


# --- Exchange


def exchange_points(
    features: Sequence[np.ndarray], others: Sequence[np.ndarray], is_exchanged: np.ndarray
) -> list[np.ndarray]:
    """Clips <float32>[frames, dim] with some features, <bool>[dim], of other clips of as many frames."""
    return [np.where(is_exchanged, other, clip) for clip, other in zip(features, others, strict=True)]


def accuracy_without(
    loaded: LoadedModel, clips: dataset_lib.Clips, order: np.ndarray | None, removed: Sequence[float], seed: int
) -> np.ndarray:
    """How often each clip is recognized while more and more points have the track of another clip.

    In a draw all removed points are of the same other clip, as where a value is explained by its background
    (Lundberg & Lee, 2017); the other clips are the same for every order.

    Args:
        loaded: the model.
        clips: at least two.
        order: <int>[fed points], which is removed first; None where each draw has a random order.
        removed: fractions of the points.
        seed: of the draws.

    Returns:
        <float64>[fractions, clips], the mean over 4 draws.
    """
    aspects = loaded.description.aspects(clips.frame_sizes, len(clips))
    features = loaded.features.compute_for_model(loaded.config, clips.landmarks, clips.video_ids, aspects)
    points, num_points = attribution.point_of_feature(loaded, features[0].shape[1]), loaded.fed_layout.num_points
    rng, order_rng = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    step = inference.mapped_eval_step(loaded.model)
    correct = np.zeros((len(removed), len(clips)))
    for _ in range(_NUM_DRAWS):
        chosen = zip(features, tracks.other_clips(len(clips), rng), strict=True)
        others = [tracks.stretch(features[other], len(clip)) for clip, other in chosen]
        drawn = order_rng.permutation(num_points) if order is None else order
        for row, fraction in enumerate(removed):
            is_exchanged = np.isin(points, drawn[: num_removed(fraction, num_points)])
            exchanged = exchange_points(features, others, is_exchanged)
            correct[row] += inference.predict_logits(step, loaded.params, exchanged).argmax(axis=1) == clips.labels
    return correct / _NUM_DRAWS


def exchange_curves(runs: SeededRuns, clips: dataset_lib.Clips, rankings: Sequence[str]) -> list[Curve]:
    """The curves of models that were trained with missing points: of random order, and both orders of each ranking."""
    removed = (0.0, *_FRACTIONS, 1.0)

    def curve(ranking: str, order: str) -> Curve:
        found = []
        for seed in runs.seeds:
            points = None if ranking == 'random' else removal_order(runs.importance(seed, ranking), order)

            def answer(loaded: LoadedModel, seed: int = seed, points: np.ndarray | None = points) -> np.ndarray:
                return accuracy_without(loaded, clips, points, removed, seed)

            found.append(runs.find(seed, f'exchange_{ranking}_{order}', 'correct', answer))
        return Curve('exchange', ranking, order, removed, np.array(found).swapaxes(0, 1))

    curves = [curve('random', 'random')]
    for ranking in rankings:
        progress.report(f'--- exchange, {ranking}')
        curves += [curve(ranking, order) for order in _ORDERS]
    return curves


# --- Retraining


@dataclasses.dataclass(frozen=True)
class Retraining:
    """Trains models on some of the points.

    Attributes:
        dataset: that they train on.
        folder: for a workdir of each set of points.
        fields: of their config, with `dataset` and `seeds`.
        removed: fractions of the points.
    """

    dataset: dataset_lib.Dataset
    folder: str
    fields: Mapping[str, Any]
    removed: tuple[float, ...]

    def correct(self, points: Sequence[int] | np.ndarray, name: str = '', **fields: Any) -> np.ndarray:
        """<bool>[seeds, clips], of the models that are fed these points; equal sets are trained once."""
        names = tuple(self.dataset.layout.points[point] for point in sorted(points))
        digest = hashlib.sha256(','.join(names).encode()).hexdigest()[:12]
        config = recipes.small_class_query(**{**self.fields, **fields, 'points': names})
        workdir = os.path.join(self.folder, name or f'{len(names)}_points_{digest}')
        return SeededRuns(config, workdir, self.dataset).correct()

    def random_curve(self, all_points: np.ndarray) -> Curve:
        """Each seed has an order of its own; `all_points` is <bool>[seeds, clips]."""
        num_points, found = self.dataset.layout.num_points, [all_points]
        for fraction in self.removed:
            count, correct = num_removed(fraction, num_points), []
            for seed in self.fields['seeds']:
                kept = np.random.default_rng([seed, 2]).permutation(num_points)[count:]
                correct.append(self.correct(kept, f'random_{len(kept)}_points_{seed}', seeds=(seed,))[0])
            found.append(np.array(correct))
            jax.clear_caches()
        return Curve('retraining', 'random', 'random', (0.0, *self.removed), np.array(found, float))

    def curve(self, ranking: str, importance: np.ndarray, order: str, all_points: np.ndarray) -> Curve:
        """Of the order of importances <float64>[points]; `all_points` is <bool>[seeds, clips]."""
        points, found = removal_order(importance, order), [all_points]
        for fraction in self.removed:
            found.append(self.correct(points[num_removed(fraction, len(points)) :]))
        # A process may hold some 80 compiled programs of a CPU.
        jax.clear_caches()
        return Curve('retraining', ranking, order, (0.0, *self.removed), np.array(found, float))


def retraining_curves(retraining: Retraining, rankings: Sequence[str]) -> list[Curve]:
    """The curves of models of fewer points: of random ones, and both orders of each ranking."""
    config = recipes.small_class_query(**retraining.fields)
    runs = SeededRuns(config, os.path.join(retraining.folder, 'all_points'), retraining.dataset)
    all_points = runs.correct()
    importances = {ranking: mean_rank(runs.importances(ranking)) for ranking in rankings}
    curves = [retraining.random_curve(all_points)]
    for ranking in rankings:
        progress.report(f'--- retraining, {ranking}')
        curves += [retraining.curve(ranking, importances[ranking], order, all_points) for order in _ORDERS]
    return curves


def mean_rank(importances: np.ndarray) -> np.ndarray:
    """<float64>[points], more is more important, from <float64>[seeds, points]: the mean over seeds of the ranks."""
    return scipy.stats.rankdata(importances, axis=1).mean(axis=0)


# --- The tables


def summarize(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """A row for each test and ranking.

    Returns:
        Of each order the area by which it is better than random order, `most_first` where accuracy falls faster,
        `least_first` where slower; and the area between both curves: mean, 95 % interval over seeds and clips, and of
        the first two the p-value, corrected for the number of them in the test (Holm).
    """
    by_key = {(curve.test, curve.ranking, curve.order): curve for curve in curves}
    rows = []
    for test, ranking in dict.fromkeys((c.test, c.ranking) for c in curves if c.ranking != 'random'):
        random = by_key[test, 'random', 'random'].area
        most, least = (by_key[test, ranking, order].area for order in _ORDERS)
        row: dict[str, Any] = {'test': test, 'ranking': ranking}
        for name, area in (('most_first', random - most), ('least_first', least - random), ('between', least - most)):
            # A model and its random order have the seed in common, so that seeds are drawn together.
            found = comparison.paired_bootstrap(area, np.zeros((1, area.shape[1])))
            row |= {name: found.mean, f'{name}_low': found.low, f'{name}_high': found.high, f'{name}_p': found.p_value}
        rows.append({**row, 'seeds': len(random), 'clips': random.shape[1]})
    for test in dict.fromkeys(row['test'] for row in rows):
        cells = [(row, f'{order}_p') for row in rows if row['test'] == test for order in _ORDERS]
        corrected = comparison.holm([row[name] for row, name in cells])
        for (row, name), p_value in zip(cells, corrected, strict=True):
            row[name] = p_value
    return rows


def run_rows(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """A row for each point of each curve and seed."""
    return [
        {
            **{'test': curve.test, 'ranking': curve.ranking, 'order': curve.order, 'removed': fraction},
            **{'seed': seed, 'accuracy': float(correct.mean())},
        }
        for curve in curves
        for fraction, per_seed in zip(curve.removed, curve.correct, strict=True)
        for seed, correct in enumerate(per_seed)
    ]


# --- The page


_CAVEATS = f"""\
- Each way of removing misleads alone. Exchanged tracks make clips that no signer would make; the model has seen points
  missing ({_DROP_POINT:.0%} of them for a piece of each training clip), but not exchanged.
- In retraining, models find other points that say the same: what is dispensable need not be unimportant to the first
  model, and less information can even score better (arXiv 2304.13836).
- Removing many points at once cancels signed effects (arXiv 2506.05035), and what perturbation says often contradicts
  planted truth (arXiv 2506.11790; experiments.mask_truth).
- A ranking is only believed where both orders agree: what removing the most important first destroys, keeping them
  must save. Neighbouring points move alike, so a ranking that spreads over a hand keeps more than one that does not.
- Intervals are of seeds and validation clips of one dataset; a few seeds make them somewhat too short. p-values are
  corrected for the rankings and orders of a test (Holm). Choosing the best ranking on this table makes it look better
  than it is.
- While all weights of a mask are positive, signed_mean and absolute are the same ranking.
"""
_WORDS = {
    'exchange': 'Removed points have the track of another clip',
    'retraining': 'Models are trained anew on the points that are left',
}


def verdicts(summary: Sequence[Mapping[str, Any]]) -> list[str]:
    """Whether each ranking beats random in both orders, a sentence each."""
    return [f'{row["test"]}, {row["ranking"]}: {_verdict(row)}.' for row in summary]


def _verdict(row: Mapping[str, Any]) -> str:
    found = {
        order: np.sign(row[order]) if row[f'{order}_p'] < _SIGNIFICANT and row[order] else 0.0 for order in _ORDERS
    }
    effects = ' and '.join(
        f'{_points(row, order)} where the {order.split("_")[0]} important are removed first' for order in _ORDERS
    )
    if all(sign > 0 for sign in found.values()):
        return f'beats random in both orders, by {effects}'
    better = [order for order, sign in found.items() if sign > 0]
    worse = [order for order, sign in found.items() if sign < 0]
    text = 'does not beat random in either order'
    if better:
        text = f'beats random only where the {better[0].split("_")[0]} important are removed first; the orders disagree'
    if worse:
        text += f', and is worse than random in {"both" if len(worse) == 2 else "the other" if better else "one"}'
    return f'{text}: better by {effects}'


def _points(row: Mapping[str, Any], name: str) -> str:
    return f'{100 * row[name]:+.1f} points (95 % interval {markdown.interval(row, name, "+.1f")})'


def to_markdown(curves: Sequence[Curve], summary: Sequence[Mapping[str, Any]], heading: str) -> str:
    """The page: verdicts, areas, accuracies along the curves, caveats."""
    parts = ['# Are the points that rankings put first those that matter?\n', f'{heading}\n']
    lines = verdicts(summary)
    for test, words in _WORDS.items():
        of_test = [curve for curve in curves if curve.test == test]
        rows = [row for row in summary if row['test'] == test]
        if not of_test:
            continue
        columns = ['ranking', 'most important first', 'p', 'least important first', 'p', 'between the two']
        areas = [
            [
                row['ranking'],
                *(cell for order in _ORDERS for cell in (_cell(row, order), markdown.p_value(row[f'{order}_p']))),
                _cell(row, 'between'),
            ]
            for row in rows
        ]
        accuracies = [
            [curve.ranking, curve.order.replace('_', ' '), *(f'{x:.1%}' for x in curve.correct.mean(axis=(1, 2)))]
            for curve in of_test
        ]
        removed = [f'{fraction:.0%}' for fraction in of_test[0].removed]
        parts += [
            f'## {words}\n',
            'Area by which an order is better than random order, in points of accuracy, with 95 % interval:\n',
            markdown.table(columns, areas),
            *(f'- {line}' for line in lines if line.startswith(f'{test},')),
            '\nValidation accuracy by the share of the points that is removed:\n',
            markdown.table(['ranking', 'order', *removed], accuracies),
        ]
    return '\n'.join([*parts, _CAVEATS])


def _cell(row: Mapping[str, Any], name: str) -> str:
    return f'{100 * row[name]:+.1f} ({markdown.interval(row, name, "+.1f")})'


def draw(curves: Sequence[Curve]) -> Figure:
    """Accuracy by the share of removed points, a panel for each test and ranking, with 95 % bands."""
    tests = list(dict.fromkeys(curve.test for curve in curves))
    rankings = list(dict.fromkeys(curve.ranking for curve in curves if curve.ranking != 'random'))
    bands = {(curve.test, curve.ranking, curve.order): _band(curve) for curve in curves}
    figure = Figure(figsize=(1 + 2.5 * len(rankings), 0.6 + 2.6 * len(tests)), layout='constrained')
    axes = figure.subplots(len(tests), len(rankings), sharex=True, sharey='row', squeeze=False)
    styles = {'most_first': '#c44e52', 'least_first': '#4c72b0', 'random': '#777777'}
    for (row, test), (column, ranking) in ((x, y) for x in enumerate(tests) for y in enumerate(rankings)):
        ax = axes[row, column]
        if (test, ranking, 'most_first') not in bands:
            ax.axis('off')
            continue
        for order, color in styles.items():
            removed, mean, low, high = bands[test, 'random' if order == 'random' else ranking, order]
            ax.plot(removed, mean, color=color, marker='.', label=order.replace('_', ' '))
            ax.fill_between(removed, low, high, color=color, alpha=0.2, linewidth=0)
        ax.set(title=f'{test}\n{ranking.replace("_", " ")}', ylim=(0, None))
        if column == 0:
            ax.set_ylabel('validation accuracy')
        ax.set_xlabel('share of points removed')
        ax.tick_params(labelbottom=True)
    axes[0, 0].legend(fontsize=8)
    return figure


def _band(curve: Curve) -> tuple[tuple[float, ...], list[float], list[float], list[float]]:
    found = [
        comparison.paired_bootstrap(correct, np.zeros((1, correct.shape[1])), _BAND_DRAWS) for correct in curve.correct
    ]
    return curve.removed, [x.mean for x in found], [x.low for x in found], [x.high for x in found]


# --- The command


def compare(
    path: str,
    output_dir: str,
    rankings: Sequence[str],
    retrained: Sequence[str],
    num_seeds: int,
    removed: Sequence[float] = _FRACTIONS,
    **fields: Any,
) -> list[dict[str, Any]]:
    """Trains and ranks; writes tables, page and picture.

    Args:
        path: of the dataset.
        output_dir: for all of it.
        rankings: keys of attribution.RANKINGS, of the exchange.
        retrained: of the retraining.
        num_seeds: seeds are 0, 1, ….
        removed: fractions of the points that retraining removes.
        fields: of the config, beside those of recipes.small_class_query.

    Returns:
        The rows of faithfulness.csv.
    """
    dataset = seeded_runs.load_dataset(path)
    fields = {**fields, 'dataset': path, 'seeds': tuple(range(num_seeds))}
    runs = os.path.join(output_dir, 'runs')
    occluded = recipes.small_class_query(**fields, augment={'drop_point': _DROP_POINT})
    curves = exchange_curves(
        SeededRuns(occluded, os.path.join(runs, 'points_dropped'), dataset), dataset.split('validation'), rankings
    )
    jax.clear_caches()
    curves += retraining_curves(Retraining(dataset, runs, fields, tuple(removed)), retrained)
    summary = summarize(curves)
    num_clips = len(dataset.split('validation'))
    heading = (
        f'{dataset.description.name}, {dataset.layout.num_points} points, {num_seeds} seeds, {num_clips} validation '
        f'clips; of retraining the rankings {", ".join(retrained)}.'
    )
    page = to_markdown(curves, summary, heading)
    tables = {'runs': run_rows(curves), 'faithfulness': summary}
    results.write(output_dir, 'mask_faithfulness', page, tables, {'mask_faithfulness': draw(curves)})
    return summary


def _define_flags() -> None:
    flags.DEFINE_string('dataset', None, 'TFDS directory with training and validation clips.', required=True)
    flags.DEFINE_list('rankings', None, 'Rankings of points; default: all, with --quick without integrated_gradients.')
    flags.DEFINE_string('retrain', 'absolute', 'Ranking that --quick retrains for, beside signed_mean.')
    flags.DEFINE_integer('num_seeds', 5, 'Number of seeds.', lower_bound=2)
    flags.DEFINE_bool('quick', False, 'Whether to train fewer epochs, and to retrain for 2 rankings and 2 shares only.')
    flags.DEFINE_string('output_dir', 'mask_faithfulness', 'Folder for the tables, the picture and the runs.')


def main() -> None:
    """Compares as the flags say."""
    values = flags.FLAGS
    comparison.import_statsmodels()
    runtime.use_compilation_cache()
    default = _QUICK_RANKINGS if values.quick else [name for name in attribution.RANKINGS if name != 'random']
    rankings = seeded_runs.check_rankings('rankings', default if values.rankings is None else values.rankings)
    retrained = seeded_runs.check_rankings('retrain', [values.retrain])
    if values.quick:
        retrained = list(dict.fromkeys([attribution.PUBLISHED, *retrained]))
        options: dict[str, Any] = {'removed': _QUICK_FRACTIONS, **recipes.SMALL_AND_QUICK}
    else:
        retrained, options = rankings, {}
    compare(values.dataset, values.output_dir, rankings, retrained, values.num_seeds, **options)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
