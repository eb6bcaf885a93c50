"""Trains a model, or several runs of it.

    python -m slr_jax.train --config=configs/synthetic.py --workdir=W [--config.field=value …]

Runs that were stopped go on when the same command is given again. All devices of the machine are used. On several
machines, give the command on each, with a workdir that all of them see and

    --distributed                                                       under Slurm, Open MPI or on a TPU slice
    --coordinator=HOST:PORT --num_processes=N --process_id=0 … N - 1    elsewhere
"""

import os
import sys

from absl import flags
from ml_collections import config_flags

from slr_jax import cli, errors


def _define_flags() -> None:
    config_flags.DEFINE_config_file('config', None, 'The config file.', lock_config=True)
    flags.DEFINE_string('workdir', None, 'Where the run or runs are kept.', required=True)
    flags.DEFINE_bool('distributed', False, 'One of several processes that train together.')
    flags.DEFINE_string('coordinator', None, 'HOST:PORT of the first process; by default from the environment.')
    flags.DEFINE_integer('num_processes', None, 'Of the training; by default from the environment.', lower_bound=1)
    flags.DEFINE_integer('process_id', None, 'Of this process; by default from the environment.', lower_bound=0)
    flags.mark_flag_as_required('config')


def _join_other_processes() -> None:
    import jax

    values = flags.FLAGS
    given = values.coordinator, values.num_processes, values.process_id
    if any(value is None for value in given) and any(value is not None for value in given):
        raise errors.InputError('--coordinator, --num_processes and --process_id go together, expected all or none')
    if not values.distributed and values.coordinator is None:
        return
    if values.coordinator and values.process_id >= values.num_processes:
        raise errors.InputError(
            f'--process_id is {values.process_id}, expected below --num_processes, {values.num_processes}'
        )
    try:
        # Where one process fails, the others need not wait for minutes.
        jax.distributed.initialize(*given, shutdown_timeout_seconds=30)
    except (ValueError, RuntimeError) as error:
        raise errors.InputError(f'the other processes cannot be joined: {errors.one_line(error)}') from error
    if jax.process_index():
        sys.stdout = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115


def main() -> None:
    """Trains as the flags say."""
    _join_other_processes()
    from slr_jax import train_lib

    train_lib.use_compilation_cache()
    train_lib.train_and_evaluate(flags.FLAGS.config, flags.FLAGS.workdir)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
