"""Recipes compared by repeated cross-validation, each beside the first of its table.

    python -m experiments.cross_validation --dataset=data/wlasl100_hands [--quick] [--output_dir=cross_validation]

Every row of a table of experiments/recipes.py is trained on the same folds of the training and validation clips, which
are stratified, with all clips of a signer in one fold; each repeat draws other folds. The test split is never read. The
checkpoint of a fold is the latest, which is not selected on it. A difference to the first row is the mean over folds,
with the corrected resampled t-test, and Holm's correction for the number of rows.

An interrupted command goes on when it is given again. `--only` trains some rows, in several commands at once if need
be; one without it then writes the whole table. Checkpoints of finished trainings may be deleted. Writes runs.csv,
recipes.csv, recipes.md, recipes.png and recipes.svg.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import re
import time
from typing import Any

from absl import flags
import jax
from matplotlib.figure import Figure
import ml_collections
import numpy as np

from experiments import comparison, markdown, recipes, results
from slr_jax import cli, errors, folds, input_pipeline, models, progress, run_log, runtime, train_lib
from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import features as features_lib
from slr_jax import metrics as metrics_lib
from slr_jax import workdir as workdir_lib

_QUICK = {'num_folds': 2, 'num_epochs': 3, 'num_steps': None, 'warmup_epochs': 0.5}

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Training:
    """What is trained in one workdir: all folds of a repeat of a recipe.

    Attributes:
        recipe: its row in the table.
        repeat: from 0.
        config: of all folds.
        workdir: see slr_jax/workdir.py.
        clips: of each fold, how many are trained on and how many are held out.
        num_parameters: of the model.
    """

    recipe: str
    repeat: int
    config: ml_collections.ConfigDict
    workdir: str
    clips: Sequence[tuple[int, int]]
    num_parameters: int

    @property
    def name(self) -> str:
        """Names it for a person."""
        return f'{self.recipe}, repeat {self.repeat}'


# --- What is to be trained


def plan(
    table: str, dataset: dataset_lib.Dataset, output_dir: str, repeats: int, seed: int, fields: Mapping[str, Any]
) -> list[Training]:
    """The trainings of all rows of a table; those that are in `output_dir` already are checked to be these.

    Args:
        table: of recipes.TABLES.
        dataset: what is trained on.
        output_dir: see the module.
        repeats: of the cross-validation; repeat r has `fold_seed` r.
        seed: `config.seed` of the first repeat, which grows by 1 with each.
        fields: that the configs of all rows take.

    Raises:
        InputError: a row is not a legal recipe, does not fit the dataset, or was trained otherwise.
    """
    trainings: list[Training] = []
    summary = dataset.summary()
    for recipe in recipes.TABLES[table][1]:
        folder = os.path.join(output_dir, 'runs', re.sub(r'[^\w.+-]+', '_', recipe))
        for repeat in range(repeats):
            workdir = os.path.join(folder, f'repeat_{repeat}')
            own = {'fold': None, 'fold_seed': repeat, 'seed': seed + repeat}
            try:
                trainings.append(_plan_training(table, recipe, repeat, dataset, workdir, {**fields, **own}))
            except errors.InputError as error:
                raise errors.InputError(f'recipe {recipe!r}: {error}') from error
    for training in trainings:
        if workdir_lib.exists(training.workdir):
            workdir_lib.create_or_check(training.workdir, training.config, summary)
    return trainings


def _plan_training(
    table: str, recipe: str, repeat: int, dataset: dataset_lib.Dataset, workdir: str, fields: Mapping[str, Any]
) -> Training:
    config = recipes.make_config(table, recipe)
    config.update(fields)
    if config.early_stop_epochs is not None:
        raise errors.InputError(
            f'config.early_stop_epochs is {config.early_stop_epochs}, which selects the epoch on the held-out fold; '
            'expected None'
        )
    runs = config_lib.expand(config)
    if len(runs) != config.num_folds:
        raise errors.InputError(
            f'config.seeds and config.sweep ask for {len(runs)} runs, expected one of each of {config.num_folds} folds'
        )
    parts = [input_pipeline.training_clips(dataset, run.config) for run in runs]
    clips = [(len(trained), len(held_out or ())) for trained, held_out in parts]
    dim = features_lib.Features.from_config(config, dataset.description.layout).dim
    model = models.model_from_config(config, dataset.description.num_classes)
    model.check_num_heads(dim)
    num_parameters = models.count_parameters(models.param_shapes(model, dim))
    return Training(recipe, repeat, config, workdir, clips, num_parameters)


def choose(table: str, only: Sequence[str]) -> list[str]:
    """The rows of a table that are to be trained, all where `only` is empty; InputError where one is not there."""
    rows = list(recipes.TABLES[table][1])
    for name in only:
        if name not in rows:
            hint = errors.did_you_mean(name, rows)
            raise errors.InputError(
                f'--only has {name!r}, expected rows of the recipes {table!r}, of {", ".join(rows)}{hint}'
            )
    return [row for row in rows if row in only] or rows


# --- Training


def read_folds(training: Training) -> list[Row] | None:
    """The rows of runs.csv of a training; None where it is not done."""
    rows = []
    for run in workdir_lib.read_index(training.workdir):
        path = os.path.join(workdir_lib.run_path(training.workdir, run.name), 'metrics.csv')
        epochs = run_log.read_rows(path) if os.path.isfile(path) else []
        if not run.diverged and not (epochs and _is_last(epochs[-1], training.config)):
            return None
        num_train, num_clips = training.clips[run.fold or 0]
        rows.append(
            {
                'recipe': training.recipe,
                'repeat': training.repeat,
                'fold': run.fold,
                'training_clips': num_train,
                'clips': num_clips,
                'accuracy': None if run.diverged else epochs[-1]['validation_accuracy'],
                'epochs': len(epochs),
                'minutes': sum(num_train / epoch['clips_per_second'] for epoch in epochs) / 60,
                'diverged': run.diverged,
            }
        )
    return rows or None


def _is_last(epoch: Mapping[str, Any], config: ml_collections.ConfigDict) -> bool:
    return epoch['step'] >= config.num_steps if config.num_steps else epoch['epoch'] >= config.num_epochs


def _is_done(training: Training) -> bool:
    # Written last, when the checkpoints are.
    has_ended = os.path.isfile(os.path.join(training.workdir, 'best_epochs.csv'))
    return has_ended and read_folds(training) is not None


def train(trainings: Sequence[Training]) -> None:
    """Trains what is not done; a fold that diverges does not end the others."""
    left = [training for training in trainings if not _is_done(training)]
    progress.report(f'{len(trainings) - len(left)} of {len(trainings)} repeats of recipes are trained')
    start = time.perf_counter()
    for number, training in enumerate(left, start=1):
        progress.report(f'--- {training.name} ({number} of {len(left)}), {training.config.num_folds} folds')
        try:
            train_lib.train_and_evaluate(training.config, training.workdir)
        except errors.InputError:
            if read_folds(training) is None:
                raise
        for row in read_folds(training) or ():
            found = f'diverged: {row["diverged"]}' if row['diverged'] else f'accuracy {row["accuracy"]:.2%}'
            progress.report(f'{training.name}, fold {row["fold"]}: {found}, {row["minutes"]:.1f} minutes')
        minutes = (time.perf_counter() - start) / number * (len(left) - number) / 60
        progress.report(f'--- {minutes:.0f} minutes left')
        # A process may hold some 80 compiled programs of a CPU.
        jax.clear_caches()


# --- The table


def summarize(rows: Sequence[Row], num_parameters: Mapping[str, int]) -> list[Row]:
    """The rows of recipes.csv.

    Args:
        rows: of runs.csv, of whole recipes, the first of which is that with which the others are compared.
        num_parameters: of the model of each recipe.

    Returns:
        Of each recipe its accuracy, the mean over repeats, with its interval, and its difference to the first;
        None where a fold diverged. Minutes are those of the training steps of one fold, compilation included.
    """
    by_recipe: dict[str, list[Row]] = {}
    for row in rows:
        by_recipe.setdefault(row['recipe'], []).append(row)
    reference = next(iter(by_recipe.values()))
    summary = []
    for recipe, of_recipe in by_recipe.items():
        diverged = [f'fold {row["fold"]} of repeat {row["repeat"]}' for row in of_recipe if row['diverged']]
        summary.append(
            {
                'recipe': recipe,
                **_accuracy(of_recipe),
                **_difference(of_recipe, reference),
                'parameters': num_parameters[recipe],
                'epochs': max(row['epochs'] for row in of_recipe),
                'minutes': float(np.mean([row['minutes'] for row in of_recipe])),
                'diverged': ', '.join(diverged),
            }
        )
    tested = [row for row in summary if row['p_value'] is not None]
    for row, p_value in zip(tested, comparison.holm([row['p_value'] for row in tested]), strict=True):
        row['p_value_holm'] = p_value
    return summary


def _accuracy(rows: Sequence[Row]) -> Row:
    if any(row['diverged'] for row in rows):
        return dict.fromkeys(('clips', 'accuracy', 'interval95_low', 'interval95_high'))
    by_repeat: dict[int, list[Row]] = {}
    for row in rows:
        by_repeat.setdefault(row['repeat'], []).append(row)
    pooled: list[Any] = [
        metrics_lib.pool_folds([row['accuracy'] for row in of_repeat], [row['clips'] for row in of_repeat])
        for of_repeat in by_repeat.values()
    ]
    clips = pooled[0]['clips']
    found = metrics_lib.aggregate_runs([repeat['accuracy'] for repeat in pooled], clips)
    low, high = found['accuracy_interval95']
    return {'clips': clips, 'accuracy': found['accuracy_mean'], 'interval95_low': low, 'interval95_high': high}


def _difference(rows: Sequence[Row], reference: Sequence[Row]) -> Row:
    columns = ('difference', 'difference95_low', 'difference95_high', 'p_value', 'p_value_holm')
    if rows is reference or any(row['diverged'] for row in (*rows, *reference)):
        return dict.fromkeys(columns)
    differences = [row['accuracy'] - other['accuracy'] for row, other in zip(rows, reference, strict=True)]
    test_per_train = sum(row['clips'] for row in rows) / sum(row['training_clips'] for row in rows)
    found = comparison.corrected_resampled_t(differences, test_per_train)
    return dict(zip(columns, (found.mean, found.low, found.high, found.p_value, None), strict=True))


def to_markdown(summary: Sequence[Row]) -> str:
    """The table for a person, in percent and points."""
    header = ['recipe', 'accuracy', '95 % interval', 'difference', 'its 95 % interval', 'p', 'p (Holm)', 'parameters']
    lines = []
    for row in summary:
        cells = [row['recipe'], f'diverged: {row["diverged"]}', *[''] * 5]
        if row['accuracy'] is not None:
            cells[1:3] = f'{row["accuracy"]:.1%}', markdown.interval(row, 'interval95', '.1f')
        if row['difference'] is not None:
            cells[3:5] = f'{100 * row["difference"]:+.1f}', markdown.interval(row, 'difference95', '+.1f')
            p_values = row['p_value'], row['p_value_holm']
            cells[5:7] = map(markdown.p_value, p_values)
        lines.append([*cells, f'{row["parameters"]:,}', str(row['epochs']), f'{row["minutes"]:.1f}'])
    return markdown.table([*header, 'epochs', 'minutes per fold'], lines)


def draw(summary: Sequence[Row]) -> Figure:
    """The differences to the first row, each a dot on its 95 % interval."""
    rows = [row for row in summary if row['difference'] is not None]
    means, lows, highs = (
        np.array([100 * row[name] for row in rows]) for name in ('difference', 'difference95_low', 'difference95_high')
    )
    figure = Figure(figsize=(8, 1.1 + 0.32 * len(rows)), layout='constrained')
    ax = figure.subplots()
    ax.axvline(0, color='black', linewidth=0.8, linestyle=':')
    ax.errorbar(means, range(len(rows)), xerr=[means - lows, highs - means], fmt='o', color='#4c72b0', capsize=3)
    ax.set_yticks(range(len(rows)), [row['recipe'] for row in rows])
    ax.set(
        ylim=(len(rows) - 0.5, -0.5),
        xlabel=f'difference in accuracy to "{summary[0]["recipe"]}", in points, with 95 % interval',
    )
    return figure


def write_table(trainings: Sequence[Training], heading: str, output_dir: str) -> None:
    """Writes the tables and the figure of the recipes that are trained; without the first there are none."""
    found: dict[str, list[list[Row] | None]] = {}
    for training in trainings:
        found.setdefault(training.recipe, []).append(read_folds(training))
    trained = {recipe: repeats for recipe, repeats in found.items() if all(repeats)}
    for recipe in (name for name in found if name not in trained):
        progress.report(f'left out of the table, as it is not trained yet: {recipe}')
    if trainings[0].recipe not in trained:
        progress.report(f'no table yet: the others are compared with {trainings[0].recipe}')
        return
    rows = [row for repeats in trained.values() for repeat in repeats for row in repeat or ()]
    summary = summarize(rows, {training.recipe: training.num_parameters for training in trainings})
    pictures = {'recipes': draw(summary)} if any(row['difference'] is not None for row in summary) else {}
    page = f'{heading}\n\n{to_markdown(summary)}'
    results.write(output_dir, 'recipes', page, {'runs': rows, 'recipes': summary}, pictures)


# --- The command


def _define_flags() -> None:
    flags.DEFINE_string('dataset', None, 'TFDS directory, whose training and validation clips are used.', required=True)
    flags.DEFINE_enum('recipes', 'hands', sorted(recipes.TABLES), 'Table of experiments/recipes.py.')
    flags.DEFINE_list('only', '', 'Rows of the table that are trained, by name; default: all.')
    flags.DEFINE_integer('num_folds', 5, 'Number of folds.', lower_bound=2)
    flags.DEFINE_integer('repeats', 2, 'Number of times that all clips are divided into folds.', lower_bound=1)
    flags.DEFINE_enum('folds_by', 'signer', folds.BY, 'What is in one fold only.')
    flags.DEFINE_integer('seed', 0, 'config.seed of the first repeat; it grows by 1 with each.', lower_bound=0)
    flags.DEFINE_bool('quick', False, 'Whether to train 2 folds once for 3 epochs, which only shows that it runs.')
    flags.DEFINE_string('output_dir', 'cross_validation', 'Folder for the tables, the figure and the runs.')


def main() -> None:
    """Compares as the flags say."""
    values = flags.FLAGS
    comparison.import_statsmodels()
    runtime.use_compilation_cache()
    chosen = choose(values.recipes, values.only)
    fields = {'dataset': values.dataset, 'num_folds': values.num_folds, 'folds_by': values.folds_by}
    fields |= _QUICK if values.quick else {}
    dataset = dataset_lib.load_dataset(values.dataset)
    repeats = 1 if values.quick else values.repeats
    trainings = plan(values.recipes, dataset, values.output_dir, repeats, values.seed, fields)
    train([training for training in trainings if training.recipe in chosen])
    heading = (
        f'{fields["num_folds"]} folds by {values.folds_by} × {repeats} of {sum(trainings[0].clips[0])} clips of '
        f'{dataset.description.name}; differences to the first row, in points: mean over folds, corrected resampled '
        't-test (Nadeau and Bengio, 2003).'
    )
    write_table(trainings, heading, values.output_dir)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
