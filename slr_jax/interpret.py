"""What the learned mask says: tables and pictures.

    python -m slr_jax.interpret --workdir=W --output_dir=O
    python -m slr_jax.interpret --mask_csv=WEIGHTS_SRC_wlasl100.csv --output_dir=O

Hands are named as the signer's own right and left, whatever the columns are called. A point's weight is the mean of
those of its coordinates, as published. A workdir of several runs gives a folder for each of them, and the mean of their
masks, with the standard deviation of each point over the runs.
"""

from absl import flags

from slr_jax import cli, errors
from slr_jax import landmarks as landmarks_lib


def _define_flags() -> None:
    flags.DEFINE_string('workdir', None, 'Workdir of a run, of several runs, or of imported checkpoints.')
    flags.DEFINE_string('checkpoint', 'best', 'Checkpoint: best (by validation accuracy), latest, or a step.')
    flags.DEFINE_string('mask_csv', None, 'A published weights file, instead of a workdir.')
    flags.DEFINE_enum(
        'handedness',
        None,
        list(landmarks_lib.HANDEDNESS),
        "Whose hand the right hand's columns of --mask_csv hold: the signer's right hand (signer) or left hand, as in "
        'the published files (swapped, the default).',
    )
    flags.DEFINE_string('output_dir', None, 'Folder for tables and pictures.', required=True)


def main() -> None:
    """Interprets as the flags say."""
    values = flags.FLAGS
    if bool(values.workdir) == bool(values.mask_csv):
        raise errors.InputError('give either --workdir or --mask_csv')
    if values.handedness and not values.mask_csv:
        raise errors.InputError('--handedness is for --mask_csv; a workdir has its own')

    from slr_jax import interpretation

    if values.mask_csv:
        interpretation.interpret_csv(values.mask_csv, values.output_dir, values.handedness or 'swapped')
    else:
        interpretation.interpret(values.workdir, values.output_dir, values.checkpoint)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
