"""Trains a model, or several runs of it.

    python -m slr_jax.train --config=configs/synthetic.py --workdir=W [--config.field=value …]

An interrupted run is resumed when the same command is given again; after SIGTERM and Ctrl-C, which save what is done
and exit with status 75 and 130, within the epoch. One with a constant learning rate is made longer by more epochs. All
devices of the machine are used. On several machines, give the command on each, with a workdir that all of them see and

    --distributed                                                       under Slurm, Open MPI or on a TPU slice
    --coordinator=HOST:PORT --num_processes=N --process_id=0 … N - 1    elsewhere
"""

from absl import flags
from ml_collections import config_flags

from slr_jax import cli, errors, files


def _define_flags() -> None:
    config_flags.DEFINE_config_file('config', None, 'Config file, such as configs/ksl13.py.', lock_config=True)
    flags.DEFINE_string('workdir', None, 'Folder of the run or runs: new, or of the same config.', required=True)
    flags.DEFINE_bool(
        'distributed', False, 'Join other processes (Slurm, Open MPI, TPU slice), found from the environment.'
    )
    flags.DEFINE_string('coordinator', None, 'HOST:PORT of the first process, where --distributed cannot find it.')
    flags.DEFINE_integer('num_processes', None, 'Number of processes, with --coordinator.', lower_bound=1)
    flags.DEFINE_integer('process_id', None, 'Number of this process from 0, with --coordinator.', lower_bound=0)
    flags.mark_flag_as_required('config')


def main() -> None:
    """Trains as the flags say."""
    values = flags.FLAGS
    process = values.coordinator, values.num_processes, values.process_id
    if any(value is None for value in process) and any(value is not None for value in process):
        raise errors.InputError('--coordinator, --num_processes and --process_id go together, expected all or none')

    files.check_suffix(values.workdir)

    from slr_jax import runtime, train_lib

    if values.distributed or values.coordinator is not None:
        runtime.join_processes(*process)
    runtime.use_compilation_cache()
    train_lib.train_and_evaluate(values.config, values.workdir)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
