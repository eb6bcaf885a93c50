"""What the learned mask says, or another ranking of points: tables and pictures.

    python -m slr_jax.interpret --workdir=W --output_dir=O [--ranking=permutation]
    python -m slr_jax.interpret --mask_csv=WEIGHTS_SRC_wlasl100.csv --output_dir=O

Hands are named as the signer's own right and left, whatever the columns are called. A point's weight is the mean of
those of its coordinates, as published. A workdir of several runs gives a folder for each of them, and the mean of their
masks, with the standard deviation of each point over the runs.

Rankings: signed_mean (the published one), absolute (|w|), scaled (|w| × standard deviation of the coordinate),
permutation (rise of the loss where a point moves as in another clip), gradient_times_input, integrated_gradients,
attention_rollout and random. The first three need a model with a mask; all but signed_mean, absolute and random look at
clips.
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
    flags.DEFINE_string('ranking', 'signed_mean', 'Ranking of points (see above) of a workdir.')
    cli.define_split_flag('validation', 'Split of the dataset that a ranking looks at.')
    flags.DEFINE_string('dataset', None, 'TFDS directory that a ranking looks at; by default that of the run.')
    flags.DEFINE_string('output_dir', None, 'Folder for tables and pictures.', required=True)


def main() -> None:
    """Interprets as the flags say."""
    values = flags.FLAGS
    if bool(values.workdir) == bool(values.mask_csv):
        raise errors.InputError('give either --workdir or --mask_csv')
    if values.handedness and not values.mask_csv:
        raise errors.InputError('--handedness is for --mask_csv; a workdir has its own')
    for name in ('ranking', 'split', 'dataset'):
        if values.mask_csv and values[name].present:
            raise errors.InputError(f'--{name} is for --workdir; --mask_csv has weights only')

    from slr_jax import interpretation, runtime

    runtime.use_compilation_cache()
    if values.mask_csv:
        interpretation.interpret_csv(values.mask_csv, values.output_dir, values.handedness or 'swapped')
    else:
        interpretation.interpret(
            values.workdir, values.output_dir, values.checkpoint, values.ranking, values.split, values.dataset
        )


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
