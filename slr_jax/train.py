"""Trains a model.

    python -m slr_jax.train --config=configs/synthetic.py --workdir=W [--config.field=value …]

A run that was stopped goes on when the same command is given again.
"""

from absl import flags
from ml_collections import config_flags

from slr_jax import errors


def _define_flags() -> None:
    config_flags.DEFINE_config_file('config', None, 'The config file.', lock_config=True)
    flags.DEFINE_string('workdir', None, 'Where the run is kept.', required=True)
    flags.mark_flag_as_required('config')


def main() -> None:
    """Trains as the flags say."""
    from slr_jax import train_lib

    train_lib.train_and_evaluate(flags.FLAGS.config, flags.FLAGS.workdir)


if __name__ == '__main__':
    errors.run(main, _define_flags)
