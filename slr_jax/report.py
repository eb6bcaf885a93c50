"""Writes one web page about a run, or all runs of a workdir, that needs no network.

    python -m slr_jax.report --workdir=W [--split=test] [--output=W/report.html]

What was trained on what, accuracy with its interval, curves, confusions, every class, the worst mistakes with their
clips drawn, and the learned mask. Of several runs: a comparison, and details of the best by validation accuracy.
"""

from absl import flags

from slr_jax import cli, files
from slr_jax import dataset as dataset_lib


def _define_flags() -> None:
    flags.DEFINE_string('workdir', None, 'Workdir of a run, several runs, or imported checkpoints.', required=True)
    cli.define_split_flag('test', 'Split of the dataset to test on.')
    flags.DEFINE_string('checkpoint', 'best', 'Checkpoint: best (by validation accuracy), latest, or a step.')
    flags.DEFINE_string('dataset', None, 'TFDS directory to test on; by default that of the run.')
    flags.DEFINE_enum(
        'unknown_glosses',
        'refuse',
        list(dataset_lib.UNKNOWN_GLOSSES),
        'What is done about glosses of the dataset that the model does not know: refuse, or leave their clips out.',
    )
    flags.DEFINE_string('output', None, 'HTML file to write or replace; by default W/report.html.')


def main() -> None:
    """Reports as the flags say."""
    values = flags.FLAGS
    if values.output:
        files.check_suffix(values.output, '.html', '.htm')

    from slr_jax import report_page, runtime

    runtime.use_compilation_cache()
    report_page.write_report(
        values.workdir,
        values.output,
        values.split,
        values.checkpoint,
        values.dataset,
        unknown_glosses=values.unknown_glosses,
    )


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
