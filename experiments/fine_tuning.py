"""Fine-tuning to few clips of few signs, beside training on them from scratch.

    python -m experiments.fine_tuning --dataset=data/ksl13 [--quick] [--output_dir=fine_tuning]

Every second gloss is a new sign, with 3 clips of the training split, drawn by the seed. A model of configs/ksl13.py is
pre-trained on the training split, with all signs or with the other signs only; then it is fine-tuned to the 3 clips, or
nothing is taken of it. All that are trained on the 3 clips have the same recipe and the same clips. The checkpoint is
the best by validation accuracy; the test split is used once. Writes fine_tuning.csv, runs.csv and fine_tuning.md. An
interrupted command continues when it is given again. The runs take 4 GB.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import Any

from absl import flags
import jax
import ml_collections
import numpy as np

from configs import ksl13
from experiments import markdown, results
from preprocessing.formats import tfds_writer
from slr_jax import cli, errors, evaluation, progress, runtime, train_lib
from slr_jax import dataset as dataset_lib
from slr_jax import metrics as metrics_lib

_CLIPS_PER_SIGN = 3
# Of configs/ksl13.py, but for so few clips.
_RECIPE = {'batch_size': 3, 'num_epochs': 40, 'warmup_epochs': 4.0}
_QUICK = {'num_epochs': 8, 'warmup_epochs': 1.0}
_QUICK_PRETRAINING = {'num_epochs': 2, 'warmup_epochs': 0.5}
# Name -> what it begins with, and fields of its config.
_METHODS: dict[str, tuple[str | None, dict[str, Any]]] = {
    'from scratch': (None, {}),
    'pre-trained on the other signs': ('others', {}),
    'the same, encoder and mask frozen': ('others', {'freeze': ('encoder', 'mask')}),
    'pre-trained on all signs': ('all', {}),
}
_NOT_TUNED = 'pre-trained on all signs, not fine-tuned'


def few_clips(dataset: dataset_lib.Dataset, glosses: Sequence[str], seed: int) -> dataset_lib.Dataset:
    """Some signs of a dataset, with few clips of each to train on, drawn by the seed; the other splits stay whole."""
    kept = dataset_lib.keep_glosses(dataset, glosses, f'dataset {dataset.description.name}')
    train, rng = kept.split('train'), np.random.default_rng(seed)
    drawn = [
        rng.choice(np.flatnonzero(train.labels == label), _CLIPS_PER_SIGN, replace=False)
        for label in range(len(glosses))
    ]
    return dataset_lib.Dataset(kept.description, {**kept.splits, 'train': train.take(np.sort(np.concatenate(drawn)))})


def write_datasets(path: str, data_dir: str, seeds: Sequence[int]) -> dict[str, str]:
    """Writes the datasets that are not there yet; returns their directories: all, others, and few_<seed>."""
    dataset = dataset_lib.load_dataset(path)
    names = dataset.description.label_names
    glosses, others = names[1::2], names[::2]
    counts = np.bincount(dataset.split('train').labels, minlength=len(names))
    if len(glosses) < 2 or counts.min() < _CLIPS_PER_SIGN:
        raise errors.InputError(
            f'{path} has {len(names)} signs with {counts.min()} training clips or more, expected 4 signs with '
            f'{_CLIPS_PER_SIGN}'
        )
    parts = {'others': dataset_lib.keep_glosses(dataset, others, path)}
    parts |= {f'few_{seed}': few_clips(dataset, glosses, seed) for seed in seeds}
    found = {'all': path}
    for name, part in parts.items():
        found[name] = os.path.join(data_dir, name)
        if not os.path.isdir(found[name]):
            description = dataclasses.replace(part.description, name=name)
            tfds_writer.write_dataset(dataset_lib.Dataset(description, part.splits), data_dir)
    return found


def _config(dataset: str, fields: Mapping[str, Any]) -> ml_collections.ConfigDict:
    config = ksl13.get_config()
    config.update({'dataset': dataset, **fields})
    return config


def compare(path: str, output_dir: str, seeds: Sequence[int], *, quick: bool) -> list[dict[str, Any]]:
    """Trains everything; returns a row for each method and seed."""
    datasets = write_datasets(path, os.path.join(output_dir, 'data'), seeds)
    sources = {}
    for name in ('all', 'others'):
        sources[name] = os.path.join(output_dir, 'runs', f'pre-trained_{name}')
        progress.report(f'--- pre-training, {name}')
        fields = {'seeds': tuple(seeds), **(_QUICK_PRETRAINING if quick else {})}
        train_lib.train_and_evaluate(_config(datasets[name], fields), sources[name])
    rows = []
    for method, (source, fields) in _METHODS.items():
        for seed in seeds:
            progress.report(f'--- {method}, seed {seed}')
            workdir = os.path.join(output_dir, 'runs', f'{method.replace(" ", "_").replace(",", "")}_{seed}')
            begin = {'init_from': os.path.join(sources[source], f'seed_{seed}')} if source else {}
            recipe = _RECIPE | (_QUICK if quick else {}) | fields | begin | {'seed': seed}
            best = train_lib.train_and_evaluate(_config(datasets[f'few_{seed}'], recipe), workdir)
            rows.append(_row(method, seed, evaluation.evaluate(workdir), best['validation_accuracy']))
        # A process may hold some 80 compiled programs of a CPU.
        jax.clear_caches()
    for seed in seeds:
        workdir, few = os.path.join(sources['all'], f'seed_{seed}'), datasets[f'few_{seed}']
        validation, test = (
            evaluation.evaluate(workdir, split, dataset=few, restrict=True) for split in ('validation', 'test')
        )
        rows.append(_row(_NOT_TUNED, seed, test, validation['accuracy']))
    return rows


def _row(method: str, seed: int, test: Mapping[str, Any], validation_accuracy: float) -> dict[str, Any]:
    row = {'method': method, 'seed': seed, 'validation_accuracy': validation_accuracy, 'epoch': test['epoch']}
    row |= {'test_accuracy': test['accuracy'], 'test_clips': test['clips']}
    progress.report(', '.join(f'{name} {value}' for name, value in row.items()))
    return row


def summarize(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each method: the mean over the seeds, its standard deviation and its interval, in percent."""
    summary = []
    for method in dict.fromkeys(row['method'] for row in rows):
        of_method = [row for row in rows if row['method'] == method]
        found = metrics_lib.aggregate_runs([row['test_accuracy'] for row in of_method], of_method[0]['test_clips'])
        low, high = found['accuracy_interval95']
        summary.append(
            {
                'method': method,
                'test accuracy': f'{found["accuracy_mean"]:.1%}',
                'standard deviation': f'{found["accuracy_std"]:.1%}',
                f'95 % interval of {found["interval"]}': f'{100 * low:.1f} to {100 * high:.1f}',
                'by seed': ', '.join(f'{100 * row["test_accuracy"]:.1f}' for row in of_method),
                'validation accuracy': f'{np.mean([row["validation_accuracy"] for row in of_method]):.1%}',
                'test clips': found['clips'],
            }
        )
    return summary


def _define_flags() -> None:
    flags.DEFINE_string('dataset', None, 'TFDS directory of KSL13, as configs/ksl13.py builds it.', required=True)
    flags.DEFINE_bool('quick', False, 'Whether to train two seeds for a few epochs only.')
    flags.DEFINE_string('output_dir', 'fine_tuning', 'Folder for the tables, datasets and runs.')


def main() -> None:
    """Compares as the flags say."""
    runtime.use_compilation_cache()
    values = flags.FLAGS
    rows = compare(values.dataset, values.output_dir, (0, 1) if values.quick else (0, 1, 2), quick=values.quick)
    summary = summarize(rows)
    tables = {'runs': rows, 'fine_tuning': summary}
    results.write(values.output_dir, 'fine_tuning', markdown.record_table(summary), tables)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
