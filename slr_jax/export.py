"""A trained model -> a folder from which it answers anywhere, without slr_jax.

    python -m slr_jax.export --workdir=W --output=F [--checkpoint=best|latest|STEP]

F has the program (model.jax_export: landmarks in, probabilities out), what it needs to be used (model.json), a loader
that needs jax and numpy only (load.py), the parameters (params.safetensors) and a model card (MODEL_CARD.md).
"""

from absl import flags

from slr_jax import cli


def _define_flags() -> None:
    flags.DEFINE_string('workdir', None, 'Workdir of a run, or of an imported checkpoint.', required=True)
    flags.DEFINE_string('output', None, 'Folder for the export: new, or an earlier export.', required=True)
    flags.DEFINE_string('checkpoint', 'best', 'Checkpoint: best (by validation accuracy), latest, or a step.')


def main() -> None:
    """Exports as the flags say."""
    values = flags.FLAGS

    from slr_jax import exporting

    exporting.export(values.workdir, values.output, values.checkpoint)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
