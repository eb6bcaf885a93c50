"""Trains a config with several seeds, tests each, and writes the table of results.

python -m experiments.seeds --config=configs/ksl13.py --seeds=0,1,2 --output_dir=runs/ksl13_seeds
"""

import os
import statistics
import time
from typing import Any

from absl import flags
from ml_collections import config_flags

from slr_jax import dataset as dataset_lib
from slr_jax import errors, files, train_lib
from slr_jax import evaluate as evaluate_lib
from slr_jax import metrics as metrics_lib


def train_and_test(config: Any, seed: int, workdir: str) -> dict[str, Any]:
    """Trains with one seed and tests the best checkpoint by validation accuracy; a row of the table."""
    config = config.copy_and_resolve_references()
    config.seed = seed
    start = time.perf_counter()
    best = train_lib.train_and_evaluate(config, workdir)
    minutes = (time.perf_counter() - start) / 60
    metrics = evaluate_lib.evaluate(workdir)
    low, high = metrics['accuracy_wilson95']
    return {
        'seed': seed,
        'validation_accuracy': best['validation_accuracy'],
        'test_accuracy': metrics['accuracy'],
        'wilson95_low': low,
        'wilson95_high': high,
        'clips': metrics['clips'],
        'minutes': round(minutes, 2),
    }


def summarize(rows: list[dict[str, Any]]) -> str:
    """Mean over seeds, their standard deviation, and the interval that so many test clips leave to the mean."""
    accuracies = [row['test_accuracy'] for row in rows]
    mean, clips = statistics.mean(accuracies), rows[0]['clips']
    low, high = metrics_lib.wilson_interval(mean * clips, clips)
    deviation = statistics.stdev(accuracies) if len(rows) > 1 else 0.0
    minutes = statistics.mean(row['minutes'] for row in rows)
    return (
        f'test accuracy {mean:.2%} over {len(rows)} seeds, standard deviation {deviation:.2%}, 95 % interval '
        f'{low:.2%} to {high:.2%} for {clips} clips, {minutes:.1f} minutes a seed'
    )


def _define_flags() -> None:
    config_flags.DEFINE_config_file('config', None, 'The config file.', lock_config=True)
    flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds, with commas between them.')
    flags.DEFINE_string('output_dir', None, 'Where the runs and results.csv are kept.', required=True)
    flags.mark_flag_as_required('config')


def main() -> None:
    """Trains and tests as the flags say."""
    output_dir = flags.FLAGS.output_dir
    if not flags.FLAGS.seeds or not all(seed.isdecimal() for seed in flags.FLAGS.seeds):
        raise errors.InputError(
            f'--seeds is {",".join(flags.FLAGS.seeds)}, expected whole numbers with commas between them'
        )
    train_lib.check_config(flags.FLAGS.config)
    dataset_lib.load_dataset(flags.FLAGS.config.dataset).split('test')
    rows = []
    for seed in map(int, flags.FLAGS.seeds):
        rows.append(train_and_test(flags.FLAGS.config, seed, os.path.join(output_dir, f'seed_{seed}')))
        files.write_csv(os.path.join(output_dir, 'results.csv'), rows)
    print(summarize(rows))


if __name__ == '__main__':
    errors.run(main, _define_flags)
