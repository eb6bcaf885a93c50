"""How many points a model needs: gates with several prices close some, and those that stay are trained alone.

    python -m experiments.sparse_masks --dataset=data/wlasl100_hands [--quick] [--output_dir=sparse_masks]

A small class_query is trained with a stochastic gate on each point (Yamada et al., ICML 2020) for several prices and
seeds, beside the same without gates. For each price, the points whose gates are open at test in half of the seeds or
more are then fed alone, without gates, and as a control as many random ones, others for each seed. All models are those
of the last epoch. Favoured is the price whose points alone are the fewest within one standard error of the best, by the
validation split; the test split has no say.

Writes runs.csv, sparse_masks.csv (means over seeds), sparse_masks.md, points.json (the points of each price, and the
command that trains them alone), and as PNG and SVG sparse_masks (accuracy against points) and kept_points (which stay
for the favored price). An interrupted command goes on when it is given again.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import os
import shlex
from typing import Any

from absl import flags
import jax
from matplotlib.figure import Figure
import ml_collections
import numpy as np

from experiments import comparison, markdown, recipes, results, seeded_runs
from slr_jax import cli, errors, figures, files, masks, progress, runtime
from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import features as features_lib
from slr_jax import metrics as metrics_lib
from slr_jax.inference import LoadedModel

# From most points to few; found, as the learning rate, on the training and validation clips of WLASL100's hands.
PRICES = (0.5, 0.8, 1.2, 2.0)
ALL, GATES, ALONE, RANDOM = 'all points', 'with gates', 'kept points alone', 'random points alone'
_COLORS = {ALL: '#777777', GATES: '#4c72b0', ALONE: '#c44e52', RANDOM: '#dd8452'}
_SPLITS = ('validation', 'test')

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Answers:
    """What the seeds of a model answer.

    Attributes:
        seeds: of the runs.
        correct: split -> <bool>[seeds, clips].
        opening: <float64>[seeds, points], how far the gates are open at test; of the points that are fed, 1.
    """

    seeds: Sequence[int]
    correct: Mapping[str, np.ndarray]
    opening: np.ndarray

    @property
    def num_points(self) -> np.ndarray:
        """<int>[seeds], the points that are seen."""
        return np.count_nonzero(self.opening, axis=1)

    @property
    def kept(self) -> np.ndarray:
        """<int>[kept], the points that half of the seeds or more see."""
        return np.flatnonzero((self.opening > 0).mean(axis=0) >= 0.5)


# Model and price -> its answers.
Found = Mapping[tuple[str, float | None], Answers]


class Experiment:
    """What is trained on one dataset.

    Args:
        dataset: TFDS directory, with validation and test clips.
        output_dir: gets the runs.
        num_seeds: of each model, from 0.
        config: of the models, but for dataset, seeds, gates and points.
    """

    def __init__(self, dataset: str, output_dir: str, num_seeds: int, config: ml_collections.ConfigDict) -> None:
        self._path, self._output_dir, self._seeds = dataset, output_dir, tuple(range(num_seeds))
        self._config = config_lib.resolve(config)
        self._dataset = dataset_lib.load_dataset(dataset)
        self.description = self._dataset.description
        self.layout = features_lib.Features.from_config(self._config, self.description.layout).fed_layout
        self.num_clips = {split: len(self._dataset.split(split)) for split in _SPLITS}

    def make_config(self, **fields: Any) -> ml_collections.ConfigDict:
        """The config of a model."""
        config = self._config.copy_and_resolve_references()
        config.update({'dataset': self._path, **fields})
        return config

    def train_all_points(self) -> Answers:
        """The model without gates."""
        return self._run('all_points', self.make_config(seeds=self._seeds))

    def train_with_gates(self, price: float) -> Answers:
        """The model with gates of a price."""
        return self._run(f'price_{price}', self.make_config(seeds=self._seeds, mask_gates='point', gate_price=price))

    def train_alone(self, points: np.ndarray, name: str) -> Answers:
        """The model that is fed these points only."""
        if len(points) == self.layout.num_points:
            return self.train_all_points()
        return self._run(name, self.make_config(seeds=self._seeds, points=self._fed(points)))

    def train_random(self, num_points: int) -> Answers:
        """The same with random points, others for each seed."""
        if num_points == self.layout.num_points:
            return self.train_all_points()
        runs = []
        for seed in self._seeds:
            rng = np.random.default_rng([seed, num_points])
            points = np.sort(rng.choice(self.layout.num_points, num_points, replace=False))
            config = self.make_config(seeds=(seed,), points=self._fed(points))
            runs.append(self._run(f'random_{num_points}_{seed}', config))
        correct = {split: np.concatenate([run.correct[split] for run in runs]) for split in _SPLITS}
        return Answers(self._seeds, correct, np.concatenate([run.opening for run in runs]))

    def names(self, points: np.ndarray) -> tuple[str, ...]:
        """The names of points."""
        return tuple(self.layout.points[point] for point in points)

    def _fed(self, points: np.ndarray) -> tuple[str]:
        """config.points, as it is given on a command line."""
        return (','.join(self.names(points)),)

    def command(self, points: np.ndarray) -> str:
        """The command that trains these points alone."""
        config, default = self.make_config(seeds=self._seeds, points=self._fed(points)), config_lib.default_config()
        words = ['python', '-m', 'slr_jax.train', '--config=configs/default.py', '--workdir=runs/kept_points']
        for field, value in config.items():
            if isinstance(value, ml_collections.ConfigDict) or value == default[field]:
                continue
            words.append(f'--config.{field}={",".join(map(str, value)) if isinstance(value, tuple) else value}')
        return shlex.join(words)

    def _run(self, name: str, config: ml_collections.ConfigDict) -> Answers:
        """Trains and tests, unless that is done already."""
        runs = seeded_runs.SeededRuns(config, os.path.join(self._output_dir, 'runs', name), self._dataset)
        opening = [runs.find(seed, 'opening', 'opening', self._opening) for seed in runs.seeds]
        return Answers(runs.seeds, {split: runs.correct(split) for split in _SPLITS}, np.array(opening))

    def _opening(self, loaded: LoadedModel) -> np.ndarray:
        (mask,) = masks.model_masks(loaded)
        is_fed = np.isin(self.layout.points, loaded.fed_layout.points).astype(float)
        return is_fed if mask.point_gates is None else mask.point_gates


# --- Tables


def make_runs(found: Found) -> list[Row]:
    """The rows of runs.csv: each seed of each model."""
    return [
        {
            **{'model': model, 'price': price, 'seed': seed, 'points': int(answers.num_points[i])},
            **{f'{split}_accuracy': float(answers.correct[split][i].mean()) for split in _SPLITS},
        }
        for (model, price), answers in found.items()
        for i, seed in enumerate(answers.seeds)
    ]


def summarize(found: Found) -> list[Row]:
    """The rows of sparse_masks.csv: means over the seeds, with standard deviations and 95 % intervals."""
    rows = []
    for (model, price), answers in found.items():
        spread = float(answers.num_points.std(ddof=1)) if len(answers.seeds) > 1 else 0.0
        row: Row = {'model': model, 'price': price, 'seeds': len(answers.seeds)}
        row |= {'points': float(answers.num_points.mean()), 'points_std': spread}
        for split in _SPLITS:
            correct = answers.correct[split]
            of_split = metrics_lib.aggregate_runs(correct.mean(axis=1).tolist(), correct.shape[1])
            low, high = of_split['accuracy_interval95']
            row |= {f'{split}_accuracy': of_split['accuracy_mean'], f'{split}_std': of_split['accuracy_std']}
            row |= {f'{split}_low': low, f'{split}_high': high, f'{split}_clips': of_split['clips']}
        rows.append(row)
    return rows


def choose(summary: Sequence[Row]) -> Row:
    """The row that the validation split favors: the fewest points within one standard error of the best accuracy.

    Chosen among the models that have no gates, with all points or with those that a price keeps: what one would use.
    The standard error is √(p(1 − p) / n) of the best, whose accuracy is p on n validation clips.
    """
    rows = [row for row in summary if row['model'] in (ALL, ALONE)]
    best = max(rows, key=lambda row: row['validation_accuracy'])
    p, clips = best['validation_accuracy'], best['validation_clips']
    least = p - math.sqrt(p * (1 - p) / clips)
    return min((row for row in rows if row['validation_accuracy'] >= least), key=lambda row: row['points'])


# --- The page

_RULE = (
    'all points, or those that a price keeps, trained without gates: the fewest points within one standard error, '
    '√(p(1 − p)/n) of n clips, of the best validation accuracy p'
)
_CAVEATS = """\
- s.d. is over seeds, which share clips; the 95 % interval is that of one mean, for other clips and other seeds (of one
  seed, for other clips). All models are those of their last epoch: no epoch is chosen.
- Test accuracies of other prices are shown to be seen, not to be chosen from. The validation accuracies chose the
  price, so that of the chosen one is somewhat too high.
- Neighboring points move together: which of two stays may be chance (`seeds` in points.json), and random points may
  do nearly as well. What is kept is enough for this recipe and these signs; a point that is closed is not useless.
- With fewer points a model has fewer parameters and is regularized more: fewer points can score better for that reason
  (arXiv 2304.13836). And class_query is as wide as its input, so that models of few points alone may be too narrow to
  learn, where with gates the width stays: compare points alone with as many random ones. A model with gates also trains
  with their noise, those with points alone do not.
- A price has a meaning for this recipe only: other losses, optimizers and lengths of training need other prices.
"""


def to_markdown(experiment: Experiment, found: Found, *, quick: bool) -> str:
    """The page: how many points stay for each price, and how good they are."""
    summary, num_points = summarize(found), experiment.layout.num_points
    header = ['model', 'price', 'points', 's.d.', 'validation accuracy', 's.d.', '95 % interval']
    header += ['test accuracy', 's.d.', '95 % interval']
    clips = ', '.join(f'{experiment.num_clips[split]:,} {split} clips' for split in _SPLITS)
    recipe = f'{experiment.make_config().num_epochs} epochs{", quick" if quick else ""}'
    return '\n'.join(
        [
            f'# {experiment.description.name}: how many of {num_points} points are needed\n',
            f'Small class_query, {recipe}, {summary[0]["seeds"]} seeds; {clips}.\n',
            markdown.table(header, map(_cells, summary)),
            f'{answer(experiment, found)}\n',
            _CAVEATS,
        ]
    )


def _cells(row: Row) -> list[str]:
    cells = [row['model'], '' if row['price'] is None else f'{row["price"]:g}']
    cells += [f'{row["points"]:.1f}', f'{row["points_std"]:.1f}']
    for split in _SPLITS:
        cells += [f'{row[f"{split}_accuracy"]:.1%}', f'{100 * row[f"{split}_std"]:.1f}']
        cells.append(markdown.interval(row, split, '.1f'))
    return cells


def answer(experiment: Experiment, found: Found) -> str:
    """How many points are enough, in words."""
    summary, num_points = summarize(found), experiment.layout.num_points
    chosen = choose(summary)
    price = chosen['price']
    if price is None:
        return f'**All {num_points} points**, by the rule: {_RULE}.'
    rows = {row['model']: row for row in summary if row['price'] in (price, None)}
    alone = found[ALONE, price].correct['test']
    lines = [
        f'**{chosen["points"]:.0f} of {num_points} points**, those of price {price:g}, by the rule: {_RULE}. Test '
        'accuracy:\n',
        *[f'- {model}: {_accuracy(rows[model])}' for model in (ALONE, RANDOM, GATES, ALL)],
        '',
    ]
    for model, key in ((ALL, (ALL, None)), (RANDOM, (RANDOM, price))):
        difference = comparison.paired_bootstrap(alone, found[key].correct['test'])
        lines.append(
            f'{ALONE.capitalize()} − {model}: {100 * difference.mean:+.1f} percentage points (95 % interval '
            f'{100 * difference.low:+.1f} to {100 * difference.high:+.1f}, bootstrap over clips and seeds).'
        )
    return '\n'.join(lines)


def _accuracy(row: Row) -> str:
    return (
        f'{row["test_accuracy"]:.1%} (s.d. {100 * row["test_std"]:.1f}, 95 % interval '
        f'{markdown.interval(row, "test", ".1f")}) with {row["points"]:.1f} points'
    )


def points_json(experiment: Experiment, found: Found) -> Row:
    """The content of points.json."""
    chosen, prices = choose(summarize(found)), {}
    for price, answers in ((price, x) for (model, price), x in found.items() if model == GATES):
        shares = (answers.opening > 0).sum(axis=0)
        prices[f'{price:g}'] = {
            'points': experiment.names(answers.kept),
            'seeds': dict(zip(experiment.layout.points, shares.tolist(), strict=True)),
            'command': experiment.command(answers.kept) if len(answers.kept) else None,
        }
    return {
        'dataset': experiment.description.name,
        'rule': _RULE,
        'chosen': None if chosen['price'] is None else f'{chosen["price"]:g}',
        'prices': prices,
    }


# --- Figures


def draw(summary: Sequence[Row]) -> Figure:
    """Accuracy against points, on both splits, with standard deviations over seeds."""
    figure = Figure(figsize=(11, 4.4), layout='constrained')
    axes, right = figure.subplots(1, 2, sharey=True), 1.05 * max(row['points'] for row in summary)
    for ax, split in zip(axes, _SPLITS, strict=True):
        for model, color in _COLORS.items():
            rows = sorted((row for row in summary if row['model'] == model), key=lambda row: row['points'])
            xs, ys, dxs, dys = (
                [scale * row[name] for row in rows]
                for scale, name in ((1, 'points'), (100, f'{split}_accuracy'), (1, 'points_std'), (100, f'{split}_std'))
            )
            marker = 's' if model == ALL else 'o'
            ax.errorbar(xs, ys, yerr=dys, xerr=dxs, color=color, marker=marker, capsize=2, linewidth=1, label=model)
            if model == ALL:
                ax.axhline(ys[0], color=color, linewidth=0.8, linestyle=':')
            if model == GATES:
                for x, y, row in zip(xs, ys, rows, strict=True):
                    label = f'price {row["price"]:g}'
                    ax.annotate(label, (x, y), (4, -11), textcoords='offset points', fontsize=8, color=color)
        ax.xaxis.get_major_locator().set_params(integer=True)
        clips, seeds = summary[0][f'{split}_clips'], summary[0]['seeds']
        ax.set(title=f'{split}, {clips:,} clips', xlabel=f'points, mean ± s.d. of {seeds} seeds', xlim=(0, right))
    axes[0].set_ylabel('accuracy in %, mean ± s.d.')
    axes[0].set_ylim(bottom=0)
    axes[1].legend(loc='lower right')
    return figure


def draw_kept(experiment: Experiment, found: Found) -> Figure:
    """Of each point, drawn on the signer, the share of the seeds that keep it, for the favored price.

    Where all points are favored, for the price whose points alone have the best validation accuracy.
    """
    summary = summarize(found)
    price, what = choose(summary)['price'], 'favored'
    if price is None:
        alone = [row for row in summary if row['model'] == ALONE]
        price = max(alone, key=lambda row: row['validation_accuracy'])['price'] if alone else None
        what = 'the best of those that keep some, all points are favored'
    answers = found[ALL, None] if price is None else found[GATES, price]
    shares = (answers.opening > 0).mean(axis=0)
    mask = masks.Mask('kept', shares[:, None], experiment.layout, experiment.description.handedness)
    title = 'all points'
    if price is not None:
        title = f'price {price:g}, {what}: as weights, the share of {len(answers.seeds)} seeds that keep a point'
    title = f'{experiment.description.name}, {title}'
    return figures.draw_body_and_hands(mask.anatomical_weights, mask.layout, title)


# --- The command


def compare(experiment: Experiment, prices: Sequence[float]) -> dict[tuple[str, float | None], Answers]:
    """Trains and tests everything; of a price that keeps no point, there are no points alone."""
    found: dict[tuple[str, float | None], Answers] = {(ALL, None): experiment.train_all_points()}
    for price in prices:
        found[GATES, price] = answers = experiment.train_with_gates(price)
        progress.report(f'price {price:g} keeps {answers.num_points.tolist()} points')
        if len(answers.kept):
            found[ALONE, price] = experiment.train_alone(answers.kept, f'kept_{price}')
            found[RANDOM, price] = experiment.train_random(len(answers.kept))
        # A process may hold some 80 compiled programs of a CPU.
        jax.clear_caches()
    return found


def write(experiment: Experiment, found: Found, output_dir: str, *, quick: bool = False) -> None:
    """Writes tables, page and pictures."""
    page = to_markdown(experiment, found, quick=quick)
    summary = summarize(found)
    pictures = {'sparse_masks': draw(summary), 'kept_points': draw_kept(experiment, found)}
    results.write(output_dir, 'sparse_masks', page, {'runs': make_runs(found), 'sparse_masks': summary}, pictures)
    files.write_json(os.path.join(output_dir, 'points.json'), points_json(experiment, found))


def parse_prices(words: Sequence[str]) -> list[float]:
    """The prices of a flag, in increasing order; InputError where one is no number above 0, or there twice."""
    try:
        prices = sorted(float(word) for word in words)
    except ValueError:
        prices = []
    if not prices or not all(0 < price < math.inf for price in prices) or len(set(prices)) < len(prices):
        raise errors.InputError(
            f'--prices is {",".join(words)}, expected numbers above 0, each once, with commas between them'
        )
    return prices


def _define_flags() -> None:
    flags.DEFINE_string('dataset', None, 'TFDS directory, with validation and test clips.', required=True)
    flags.DEFINE_list('prices', [f'{price:g}' for price in PRICES], 'Prices of gates, with commas between them.')
    flags.DEFINE_integer('num_seeds', None, 'Number of seeds; default: 5, with --quick 3.', lower_bound=1)
    flags.DEFINE_bool('quick', False, 'Whether to train 3 seeds for 20 epochs, instead of 5 for 60.')
    flags.DEFINE_string('output_dir', 'sparse_masks', 'Folder for the tables, pictures and runs.')


def main() -> None:
    """Compares as the flags say."""
    values = flags.FLAGS
    prices = parse_prices(values.prices)
    runtime.use_compilation_cache()
    config = recipes.small_class_query(gate_rate=5.0, **(recipes.SMALL_AND_QUICK if values.quick else {}))
    experiment = Experiment(values.dataset, values.output_dir, values.num_seeds or (3 if values.quick else 5), config)
    write(experiment, compare(experiment, prices), values.output_dir, quick=values.quick)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
