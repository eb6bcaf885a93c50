"""The table of a paper: every model on every dataset with several seeds, and what their differences are worth.

    python -m experiments.paper_table --datasets=data/ksl13,data/wlasl100_hands [--quick] [--output_dir=paper_table]

The recipe is that of the dataset (experiments/recipes.py), or else as published, and the same for all models. Each
accuracy is given twice: of the checkpoints that are the best by validation accuracy, and as published, the maximum over
checkpoints on the test split itself. Two models are compared by a bootstrap over clips and seeds, and by McNemar's
exact test of what their seeds answer together; p-values are corrected for the number of pairs of a dataset (Holm).

An interrupted command goes on when it is given again; checkpoints of finished models may be deleted. Writes models.csv,
runs.csv, pairs.csv, paper_table.md, paper_table.png and paper_table.svg after each dataset.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import json
import os
import pathlib
from typing import Any

from absl import flags
import jax
from matplotlib.figure import Figure
import ml_collections
import numpy as np

from experiments import comparison, markdown, recipes, results
from slr_jax import checkpoint as checkpoint_lib
from slr_jax import cli, errors, evaluation, files, models, progress, runtime, train_lib
from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import features as features_lib
from slr_jax import metrics as metrics_lib
from slr_jax import workdir as workdir_lib

# In the order of the table; of a pair, the later is compared with the earlier.
PUBLISHED_MODELS = ('spoter_pe', 'spoter_no_pe', 'baseline', 'class_query', 'sequence_query')
# The model with a mask, the one without, and how that differs.
_MASKS = (
    ('class_query', 'spoter_no_pe', 'which differs in the mask alone'),
    ('sequence_query', 'baseline', 'which has no masks, but positions and dropout on its input'),
)
_SIGNIFICANT = 0.05
_ACCURACY_COLUMNS = ('accuracy', 's.d.', '95 % interval')

# Name of a dataset -> layout, classes, test clips, and accuracy with half the width of its interval, in percent
# (docs/published.md).
_PAPER: dict[str, tuple[str, int, int, Mapping[str, tuple[float, float]]]] = {
    'wlasl100_vision_api': ('vision_api', 100, 258, {'spoter_pe': (46.90, 6.09)}),
    'wlasl100': (
        'mediapipe_hands_pose',
        100,
        258,
        {'spoter_pe': (60.08, 5.98), 'spoter_no_pe': (60.08, 5.98), 'class_query': (62.79, 5.90)},
    ),
    'ipn_hand': (
        'mediapipe_hand',
        13,
        1101,
        {'spoter_pe': (86.10, 2.04), 'spoter_no_pe': (86.65, 2.01), 'class_query': (86.56, 2.01)},
    ),
}

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A model on a dataset, all seeds.

    Attributes:
        data: what is trained and tested on.
        data_summary: its Dataset.summary.
        config: of all seeds.
        workdir: see slr_jax/workdir.py; answers.json in it has what the table is made of.
    """

    data: dataset_lib.Description
    data_summary: Mapping[str, Any]
    config: ml_collections.ConfigDict
    workdir: str

    @property
    def name(self) -> str:
        """Names it for a person."""
        return f'{self.data.name}, {self.config.model}'

    @property
    def identity(self) -> dict[str, Any]:
        """What its answers depend on, as JSON gives it back."""
        fields = {field: x for field, x in self.config.to_dict().items() if field not in ('dataset', 'runs_at_once')}
        return json.loads(json.dumps({'config': fields, 'fingerprint': self.data_summary['fingerprint']}))


@dataclasses.dataclass(frozen=True)
class Answers:
    """What the seeds of a model answer to the test clips.

    Attributes:
        experiment: which model on what.
        labels: <int>[clips].
        runs: a row of runs.csv for each seed that did not diverge.
        probabilities: <float64>[seeds, clips, classes], of the checkpoints that are the best by validation accuracy.
        parameters: of the model; None where all seeds diverged.
        diverged: seeds that diverged.
    """

    experiment: Experiment
    labels: np.ndarray
    runs: Sequence[Row]
    probabilities: np.ndarray
    parameters: int | None
    diverged: Sequence[int]

    @property
    def correct(self) -> np.ndarray:
        """<bool>[seeds, clips]."""
        return self.probabilities.argmax(axis=-1) == self.labels

    @property
    def correct_together(self) -> np.ndarray:
        """<bool>[clips], of the mean of the probabilities over the seeds."""
        return self.probabilities.mean(axis=0).argmax(axis=-1) == self.labels


@dataclasses.dataclass(frozen=True)
class Section:
    """What is said of one dataset.

    Attributes:
        answers: of each model.
        pairs: rows of pairs.csv.
    """

    answers: Sequence[Answers]
    pairs: Sequence[Row]


# --- What is to be trained


def make_config(
    dataset: dataset_lib.Dataset, path: str, model: str, seeds: Sequence[int], *, quick: bool
) -> ml_collections.ConfigDict:
    """The config of a model on a dataset: the recipe of that name, with the most heads up to 10, as in the paper.

    Raises:
        InputError: a seed is not legal.
    """
    get_config, quick_fields = recipes.OF_DATASETS.get(dataset.description.name, recipes.AS_PUBLISHED)
    config = config_lib.resolve(get_config())
    config.update({'dataset': path, 'model': model, 'seeds': tuple(seeds), 'keep_published_checkpoints': True})
    config.update(quick_fields if quick else {})
    config.validation = 'split' if 'validation' in dataset.splits else 'holdout'
    dim = features_lib.Features.from_config(config, dataset.description.layout).dim
    config.num_heads = max(heads for heads in range(1, 11) if not dim % heads)
    config_lib.expand(config)
    return config


def plan(
    paths: Sequence[str], names: Sequence[str], seeds: Sequence[int], output_dir: str, *, quick: bool
) -> list[list[Experiment]]:
    """What is trained on each dataset; what is in `output_dir` already is checked to be this.

    Args:
        paths: TFDS directories.
        names: of models, see choose_models.
        seeds: of each model.
        output_dir: see the module.
        quick: whether the quick recipe is meant.

    Raises:
        InputError: there is no dataset, one has no test clips, two have the same name, or a workdir holds another run.
    """
    if not paths:
        raise errors.InputError('--datasets is empty, expected TFDS directories')
    planned: dict[str, list[Experiment]] = {}
    for path in paths:
        dataset = dataset_lib.load_dataset(path)
        dataset.split('test')
        name, summary = dataset.description.name, dataset.summary()
        if name in planned:
            other = planned[name][0].config.dataset
            raise errors.InputError(f'--datasets has {other} and {path}, both named {name!r}; expected different names')
        planned[name] = [
            Experiment(
                dataset.description,
                summary,
                make_config(dataset, path, model, seeds, quick=quick),
                os.path.join(output_dir, 'runs', name, model),
            )
            for model in names
        ]
    for experiment in itertools.chain(*planned.values()):
        if workdir_lib.exists(experiment.workdir):
            workdir_lib.create_or_check(experiment.workdir, experiment.config, experiment.data_summary)
    return list(planned.values())


def choose_models(names: Sequence[str]) -> list[str]:
    """The models in the order of the table, each once; InputError where there is none, or one is unknown."""
    known = [*PUBLISHED_MODELS, *(name for name in models.MODELS if name not in PUBLISHED_MODELS)]
    for name in names or ['']:
        if name not in known:
            hint = errors.did_you_mean(name, known)
            raise errors.InputError(f'--models has {name!r}, expected some of {", ".join(known)}{hint}')
    return [name for name in known if name in names]


def parse_seeds(words: Sequence[str]) -> tuple[int, ...]:
    """The seeds of a flag; InputError where one is not a whole number."""
    for word in words or ['']:
        if not word.isdecimal():
            raise errors.InputError(f'--seeds has {word!r}, expected whole numbers with commas between them')
    return tuple(map(int, words))


# --- Training and testing


def run(experiment: Experiment) -> Answers:
    """Trains and tests a model, unless its answers are there already; seeds that diverge do not end the others."""
    path = os.path.join(experiment.workdir, 'answers.json')
    found = files.read_json(path) if os.path.isfile(path) else {}
    if found.get('identity') != experiment.identity:
        _train(experiment)
        found = {'identity': experiment.identity, **_test(experiment)}
        files.write_json(path, found)
        # A process may hold some 80 compiled programs of a CPU.
        jax.clear_caches()
    files.require_fields(path, found, ('probabilities', 'labels', 'runs', 'parameters', 'diverged'))
    probabilities, labels = np.array(found['probabilities']), np.array(found['labels'])
    return Answers(experiment, labels, found['runs'], probabilities, found['parameters'], found['diverged'])


def _train(experiment: Experiment) -> None:
    try:
        train_lib.train_and_evaluate(experiment.config, experiment.workdir)
    except errors.InputError:
        entries = workdir_lib.read_index(experiment.workdir)
        if not entries or not all(entry.diverged or _is_trained(experiment, entry) for entry in entries):
            raise


def _is_trained(experiment: Experiment, entry: workdir_lib.RunEntry) -> bool:
    metrics = checkpoint_lib.Checkpoints(workdir_lib.run_path(experiment.workdir, entry.name)).metrics()
    return max((row['epoch'] for row in metrics.values()), default=0) >= experiment.config.num_epochs


def _test(experiment: Experiment) -> dict[str, Any]:
    path = experiment.config.dataset
    runs: list[Row] = []
    found: dict[str, Any] = {'labels': [], 'probabilities': [], 'parameters': None, 'runs': runs, 'diverged': []}
    for entry in workdir_lib.read_index(experiment.workdir):
        if entry.diverged:
            found['diverged'].append(entry.seed)
            continue
        workdir = workdir_lib.run_path(experiment.workdir, entry.name)
        published = evaluation.evaluate(workdir, 'test', 'published', path)
        evaluator, loaded = evaluation.Evaluator(workdir, 'test', path), checkpoint_lib.load_model(workdir)
        logits = evaluator.logits(loaded)
        metrics = evaluator.metrics(loaded, logits)
        found['labels'], found['parameters'] = evaluator.clips.labels.tolist(), metrics['parameters']
        found['probabilities'].append(metrics_lib.probabilities(logits).tolist())
        runs.append(
            {
                'dataset': experiment.data.name,
                'model': experiment.config.model,
                'seed': entry.seed,
                'epoch': metrics['epoch'],
                'validation_accuracy': loaded.metrics['validation_accuracy'],
                'accuracy': metrics['accuracy'],
                'published_epoch': published['epoch'],
                'published_accuracy': published['accuracy'],
                'mean_over_checkpoints': published['mean_over_checkpoints'],
                'clips': metrics['clips'],
            }
        )
    return found


# --- The tables


def summarize(answers: Answers) -> Row:
    """The row of models.csv; accuracies are None where all seeds diverged, and the paper's where it has none."""
    clips = answers.experiment.data_summary['clips']['test']
    row: Row = {'dataset': answers.experiment.data.name, 'model': answers.experiment.config.model}
    row |= {'parameters': answers.parameters, 'clips': clips, 'seeds': len(answers.runs)}
    for prefix in ('', 'published_'):
        names = [f'{prefix}{name}' for name in ('accuracy', 'std', 'interval95_low', 'interval95_high')]
        values: Sequence[float | None] = [None] * 4
        if answers.runs:
            found = metrics_lib.aggregate_runs([x[names[0]] for x in answers.runs], clips)
            values = [found['accuracy_mean'], found['accuracy_std'], *found['accuracy_interval95']]
        row |= dict(zip(names, values, strict=True))
    row['accuracy_together'] = float(answers.correct_together.mean()) if answers.runs else None
    columns = ('paper_accuracy', 'paper_half_width', 'paper_clips')
    row |= dict(zip(columns, _published_by_paper(answers.experiment), strict=True))
    return row | {'diverged': ', '.join(f'seed {seed}' for seed in answers.diverged)}


def _published_by_paper(experiment: Experiment) -> tuple[float | None, float | None, int | None]:
    data = experiment.data
    layout, num_classes, clips, accuracies = _PAPER.get(data.name, ('', 0, 0, {}))
    if experiment.config.model not in accuracies or (data.layout, data.num_classes) != (layout, num_classes):
        return None, None, None
    accuracy, half_width = accuracies[experiment.config.model]
    return accuracy / 100, half_width / 100, clips


def compare(answers: Sequence[Answers]) -> list[Row]:
    """The rows of pairs.csv of one dataset: each later model beside each earlier one, p-values corrected together."""
    rows = []
    for other, one in itertools.combinations([of_model for of_model in answers if of_model.runs], 2):
        found = comparison.paired_bootstrap(one.correct, other.correct)
        mcnemar = comparison.exact_mcnemar(one.correct_together, other.correct_together)
        rows.append(
            {
                'dataset': one.experiment.data.name,
                'model': one.experiment.config.model,
                'compared_with': other.experiment.config.model,
                'difference': found.mean,
                'difference95_low': found.low,
                'difference95_high': found.high,
                'p_value': found.p_value,
                'p_value_holm': None,
                'only_model_correct': mcnemar.only_first,
                'only_other_correct': mcnemar.only_second,
                'mcnemar_p_value': mcnemar.p_value,
                'mcnemar_p_value_holm': None,
                'mcnemar_p_value_by_seed': ', '.join(_mcnemar_by_seed(one, other)),
            }
        )
    for column in ('p_value', 'mcnemar_p_value'):
        for row, corrected in zip(rows, comparison.holm([row[column] for row in rows]), strict=True):
            row[f'{column}_holm'] = corrected
    return rows


def _mcnemar_by_seed(one: Answers, other: Answers) -> list[str]:
    correct, others = (
        {run['seed']: of_seed for run, of_seed in zip(answers.runs, answers.correct, strict=True)}
        for answers in (one, other)
    )
    return [
        f'seed {seed}: {comparison.exact_mcnemar(correct[seed], others[seed]).p_value:.4g}'
        for seed in correct
        if seed in others
    ]


def describe_masks(pairs: Sequence[Row], num_seeds: int) -> list[str]:
    """What the masks bring on one dataset, a sentence for each pair that shows it."""
    sentences = []
    for masked, other, how in _MASKS:
        for row in pairs:
            if (row['model'], row['compared_with']) != (masked, other):
                continue
            is_more = row['p_value_holm'] < _SIGNIFICANT
            verdict = 'is more than noise' if is_more else 'may be noise'
            limit = ' Of one seed, this is no statement about the recipe.' if num_seeds == 1 else ''
            sentences.append(
                f'`{masked}` beside `{other}`, {how}: {100 * row["difference"]:+.1f} points (95 % interval '
                f'{markdown.interval(row, "difference95", "+.1f")}; p {markdown.p_value(row["p_value_holm"])} after '
                f'correction for {len(pairs)} {"pair" if len(pairs) == 1 else "pairs"}), which {verdict}.{limit}'
            )
    return sentences


def to_markdown(section: Section, *, quick: bool) -> str:
    """A dataset for a person, in percent and points."""
    experiment, pairs = section.answers[0].experiment, section.pairs
    config = experiment.config
    counts = ', '.join(f'{count:,} {split}' for split, count in experiment.data_summary['clips'].items())
    recipe = f'{config.num_epochs} epochs of {config.optimizer}, batch size {config.batch_size}'
    paragraphs = [
        f'## {experiment.data.name}',
        f'Clips: {counts}. Seeds {", ".join(map(str, config.seeds))}. {recipe}{", the quick recipe" * quick}. '
        'Accuracies are means over the seeds with their standard deviation (s.d.) and their 95 % interval, for other '
        'clips and other seeds (of one seed, for other clips). "As published" is the maximum over checkpoints on the '
        'test split itself, which is too high.',
        markdown.table(
            ['model', *_ACCURACY_COLUMNS, 'as published', *_ACCURACY_COLUMNS[1:], 'in the paper, one seed'],
            [_cells(summarize(answers)) for answers in section.answers],
        ).rstrip('\n'),
    ]
    if pairs:
        header = 'pair | difference | 95 % interval | p | p (Holm) | right alone | McNemar p | McNemar p (Holm)'
        paragraphs += [
            'Differences in points. Interval and p: bootstrap over clips and seeds. McNemar: of what the seeds answer '
            f'together, the mean of their probabilities. Holm: for {len(pairs)} pairs.',
            markdown.table(header.split(' | '), [_pair_cells(row) for row in pairs]).rstrip('\n'),
            *describe_masks(pairs, len(config.seeds)),
        ]
    return '\n\n'.join(paragraphs) + '\n'


def _cells(row: Row) -> list[str]:
    if row['accuracy'] is None:
        return [row['model'], f'diverged: {row["diverged"]}', *[''] * 6]
    cells = [row['model'] + (f' (diverged: {row["diverged"]})' if row['diverged'] else '')]
    for prefix in ('', 'published_'):
        cells += [f'{row[f"{prefix}accuracy"]:.1%}', f'{100 * row[f"{prefix}std"]:.1f}']
        cells.append(markdown.interval(row, f'{prefix}interval95', '.1f'))
    if row['paper_accuracy'] is None:
        return [*cells, '']
    paper = f'{100 * row["paper_accuracy"]:.1f} ± {100 * row["paper_half_width"]:.1f} %'
    return [*cells, f'{paper} of {row["paper_clips"]:,} clips']


def _pair_cells(row: Row) -> list[str]:
    return [
        f'{row["model"]} − {row["compared_with"]}',
        f'{100 * row["difference"]:+.1f}',
        markdown.interval(row, 'difference95', '+.1f'),
        markdown.p_value(row['p_value']),
        markdown.p_value(row['p_value_holm']),
        f'{row["only_model_correct"]} against {row["only_other_correct"]}',
        markdown.p_value(row['mcnemar_p_value']),
        markdown.p_value(row['mcnemar_p_value_holm']),
    ]


# --- The figure


def draw(sections: Sequence[Section]) -> Figure:
    """A row for each dataset: the accuracies of the models, and the differences of the pairs, with 95 % intervals."""
    num_lines = [max(len(section.answers), len(section.pairs)) for section in sections]
    figure = Figure(figsize=(12, 0.6 + sum(1.1 + 0.3 * lines for lines in num_lines)), layout='constrained')
    all_axes = figure.subplots(len(sections), 2, squeeze=False, height_ratios=[3 + lines for lines in num_lines])
    for (left, right), section in zip(all_axes, sections, strict=True):
        _draw_accuracies(left, section.answers)
        _draw_differences(right, section.pairs)
    handles: dict[str, Any] = {}
    for ax in all_axes[:, 0]:
        handles |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc='outside upper center', ncols=3, frameon=False)
    return figure


def _draw_accuracies(ax: Any, answers_of_models: Sequence[Answers]) -> None:
    rows = [(y, summarize(answers), answers) for y, answers in enumerate(answers_of_models) if answers.runs]
    kinds = {
        'selected on validation': ('', 'interval95', '#4c72b0', 'o', -0.2),
        'as published: selected on test': ('published_', 'published_interval95', '#c44e52', 's', 0.0),
    }
    for label, (prefix, interval, color, marker, shift) in kinds.items():
        for y, row, answers in rows:
            name = f'{prefix}accuracy'
            ax.hlines(y + shift, 100 * row[f'{interval}_low'], 100 * row[f'{interval}_high'], color=color)
            ax.plot(100 * row[name], y + shift, marker, color=color, label=label)
            by_seed = [100 * run[name] for run in answers.runs]
            ax.plot(by_seed, [y + shift] * len(by_seed), '|', color=color, markersize=9)
    for y, row in ((y, row) for y, row, _ in rows if row['paper_accuracy'] is not None):
        low, high = (100 * (row['paper_accuracy'] + sign * row['paper_half_width']) for sign in (-1, 1))
        ax.hlines(y + 0.2, low, high, color='#777777')
        ax.plot(100 * row['paper_accuracy'], y + 0.2, 'D', color='#777777', label='in the paper: selected on test')
    names = [answers.experiment.config.model for answers in answers_of_models]
    ax.set_yticks(range(len(names)), names)
    clips = answers_of_models[0].experiment.data_summary['clips']['test']
    title = f'{answers_of_models[0].experiment.data.name}, {clips:,} test clips'
    ax.set(title=title, ylim=(len(names) - 0.5, -0.5), xlabel='test accuracy in %, marks for seeds')


def _draw_differences(ax: Any, pairs: Sequence[Row]) -> None:
    ax.axvline(0, color='black', linewidth=0.8, linestyle=':')
    for y, row in enumerate(pairs):
        color = '#55a868' if row['p_value_holm'] < _SIGNIFICANT else '#777777'
        ax.hlines(y, 100 * row['difference95_low'], 100 * row['difference95_high'], color=color)
        ax.plot(100 * row['difference'], y, 'o', color=color)
    ax.set_yticks(range(len(pairs)), [f'{row["model"]} − {row["compared_with"]}' for row in pairs])
    title = f'green: p below {_SIGNIFICANT} after Holm for {len(pairs)} pairs' if pairs else 'no pairs'
    ax.set(
        title=title,
        ylim=(max(1, len(pairs)) - 0.5, -0.5),
        xlabel='difference in points, 95 % interval over clips and seeds',
    )


# --- The command


def write(sections: Sequence[Section], output_dir: str, *, quick: bool) -> None:
    """Writes the tables and the figure of the datasets that are done."""
    answers = [answers for section in sections for answers in section.answers]
    tables = {
        'models': [summarize(of_model) for of_model in answers],
        'runs': [row for of_model in answers for row in of_model.runs],
        'pairs': [row for section in sections for row in section.pairs],
    }
    page = '\n'.join(to_markdown(section, quick=quick) for section in sections)
    found = {name: rows for name, rows in tables.items() if rows}
    results.write(output_dir, 'paper_table', page, found, {'paper_table': draw(sections)})
    # Of another choice of models.
    for name in (name for name, rows in tables.items() if not rows):
        pathlib.Path(output_dir, f'{name}.csv').unlink(missing_ok=True)


def _define_flags() -> None:
    flags.DEFINE_list('datasets', None, 'TFDS directories, with commas between them.', required=True)
    flags.DEFINE_list('models', list(PUBLISHED_MODELS), 'Models, with commas between them.')
    flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds of each model, with commas between them.')
    flags.DEFINE_bool('quick', False, 'Whether to train for a fraction of the epochs, narrower layers on fewer frames.')
    flags.DEFINE_string('output_dir', 'paper_table', 'Folder for the tables, the figure and the runs.')


def main() -> None:
    """Makes the table that the flags say."""
    values = flags.FLAGS
    comparison.import_statsmodels()
    runtime.use_compilation_cache()
    names, seeds = choose_models(values.models), parse_seeds(values.seeds)
    planned = plan(values.datasets, names, seeds, values.output_dir, quick=values.quick)
    todo, sections = sum(map(len, planned)), []
    for experiments in planned:
        answers: list[Answers] = []
        for experiment in experiments:
            progress.report(f'--- {experiment.name}, {todo} models on datasets to go')
            answers.append(run(experiment))
            todo -= 1
        sections.append(Section(answers, compare(answers)))
        write(sections, values.output_dir, quick=values.quick)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
