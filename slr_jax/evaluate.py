"""Tests a model: accuracy with its intervals, per class, predictions and the confusion matrix.

    python -m slr_jax.evaluate --workdir=W [--split=test] [--checkpoint=best|latest|STEP|published]

`--checkpoint=published` repeats the published protocol: every kept checkpoint is scored on the split, and the best
score is reported, labelled as selected on it, beside the score of the one selected on validation.

Classes of a dataset are those of the model with the same gloss, so a dataset of some of its signs can be tested on.
Answers are chosen among all signs of the model, or with `--restrict` among those of the dataset.

A workdir of several runs has each of them tested, and their mean and standard deviation given.
"""

from absl import flags

from slr_jax import cli
from slr_jax import dataset as dataset_lib


def _define_flags() -> None:
    flags.DEFINE_string('workdir', None, 'Workdir of a run, several runs, or imported checkpoints.', required=True)
    cli.define_split_flag('test', 'Split of the dataset to test on.')
    flags.DEFINE_string(
        'checkpoint', 'best', 'Checkpoint: best (by validation accuracy), latest, a step, or published (see above).'
    )
    flags.DEFINE_string('dataset', None, 'TFDS directory to test on; by default that of the run.')
    flags.DEFINE_enum(
        'unknown_glosses',
        'refuse',
        list(dataset_lib.UNKNOWN_GLOSSES),
        'What is done about glosses of the dataset that the model does not know: refuse, or leave their clips out.',
    )
    flags.DEFINE_bool(
        'restrict', False, "Whether answers are chosen among the dataset's glosses only, by default among the model's."
    )
    flags.DEFINE_string(
        'output_dir',
        None,
        'Folder for the results; by default W/evaluation/<split>_<checkpoint>, of another dataset '
        '<dataset>_<split>_<checkpoint>, with --restrict ending in _restricted.',
    )


def main() -> None:
    """Tests as the flags say."""
    import jax

    from slr_jax import evaluation, runtime

    runtime.use_compilation_cache()
    values = flags.FLAGS
    metrics = evaluation.evaluate(
        values.workdir,
        values.split,
        values.checkpoint,
        values.dataset,
        values.output_dir,
        unknown_glosses=values.unknown_glosses,
        restrict=values.restrict,
    )
    if 'settings' in metrics:
        return
    print(f'{metrics["parameters"]:,} parameters, on {jax.local_devices()[0].device_kind}')
    print(evaluation.describe(metrics))
    if 'selected_on_validation' in metrics:
        print(evaluation.describe(metrics['selected_on_validation']))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
