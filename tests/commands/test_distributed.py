"""Two processes of four devices each, against one process with one device."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest

from slr_jax import checkpoint, train_lib
from tests.conftest import ROOT, make_tiny_config

FIELDS = {'num_heads': 7, 'num_layers': 1, 'mlp_dim': 8, 'batch_size': 6, 'learning_rate': 0.05}
FIELDS |= {'dropout_rate': 0.0, 'noise_std': 0.0}


# Of the ports that jax takes under Slurm.
FIRST_PORT, NUM_PORTS = 61440, 4096


def free_port():
    for port in range(FIRST_PORT + os.getpid() % NUM_PORTS, FIRST_PORT + NUM_PORTS):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(('localhost', port))
            return port
    raise AssertionError('no port is free')


def as_slurm_does(number):
    """Flags and environment of a process that srun starts."""
    job = {'JOB_ID': free_port() - FIRST_PORT, 'STEP_NODELIST': 'localhost', 'STEP_NUM_NODES': 1, 'NTASKS': 2}
    job |= {'PROCID': number, 'LOCALID': number}
    return ['--distributed'], {f'SLURM_{name}': str(value) for name, value in job.items()}


def by_flags(number):
    return [f'--coordinator=localhost:{free_port()}', '--num_processes=2', f'--process_id={number}'], {}


def start_two_processes(launch, dataset, workdir, **fields):
    options = [f'--config.{name}={value}' for name, value in (FIELDS | {'dataset': dataset} | fields).items()]
    command = [sys.executable, '-m', 'slr_jax.train', '--config=configs/default.py', f'--workdir={workdir}', *options]
    environment = os.environ | {'XLA_FLAGS': '--xla_force_host_platform_device_count=4', 'JAX_PLATFORMS': 'cpu'}
    launched = [launch(number) for number in range(2)]
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
    return [
        subprocess.Popen([*command, *options], cwd=ROOT, env=environment | variables, text=True, **pipes)
        for options, variables in launched
    ]


def finish(processes, status=0):
    """What the first prints; the other prints nothing."""
    printed = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [status] * 2, printed
    assert 'epoch' not in printed[1][0]
    return ''.join(printed[0])


def begin(dataset, workdir):
    """Begins a long run, which SIGTERM to the second process ends in an epoch; returns the number of that."""
    processes = start_two_processes(as_slurm_does, dataset, workdir, num_epochs=300)
    for line in processes[0].stdout:
        if line.startswith('epoch 1/300 | train'):
            break
    processes[1].send_signal(signal.SIGTERM)
    return int(re.search(r'ended by SIGTERM: step \d+, in epoch (\d+), is saved', finish(processes, 75))[1])


@pytest.mark.parametrize('seeds', [None, pytest.param((379, 5), marks=pytest.mark.long)])
def test_two_processes_and_one_give_the_same_losses(tiny_dir, tmp_path, seeds):
    workdir = tmp_path / 'two'
    fields = {} if seeds is None else {'seeds': ','.join(map(str, seeds))}
    num_epochs = 1
    if seeds is None:
        num_epochs = begin(tiny_dir, workdir)
        config_json = workdir / 'config.json'
        config_json.write_text(config_json.read_text().replace('"num_epochs": 300,', f'"num_epochs": {num_epochs},'))
    processes = start_two_processes(by_flags, tiny_dir, workdir, num_epochs=num_epochs, **fields)
    printed = finish(processes)
    assert '8 device(s)' in printed
    assert ('going on after step' in printed) == (seeds is None)
    for seed in seeds or (379,):
        of_run = workdir / f'seed_{seed}' if seeds else workdir
        alone = tmp_path / f'alone_{seed}'
        train_lib.train_and_evaluate(
            make_tiny_config(tiny_dir, **FIELDS | {'seed': seed, 'num_epochs': num_epochs}), str(alone)
        )
        tables = [pd.read_csv(folder / 'metrics.csv') for folder in (of_run, alone)]
        for column in ('train_loss', 'validation_loss', 'train_accuracy', 'validation_accuracy'):
            np.testing.assert_allclose(*(table[column] for table in tables), atol=1e-5)
        params = [checkpoint.load_model(str(folder), 'latest').params for folder in (of_run, alone)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *params)


@pytest.mark.parametrize('number', [0, 1])
def test_a_process_without_the_others_ends_in_a_sentence(number):
    join = f"runtime._JOIN_SECONDS = 2; runtime.join_processes('localhost:{free_port()}', 2, {number})"
    command = [sys.executable, '-c', f'from slr_jax import runtime; {join}']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == 'error: the other processes did not join within 2 s; were all of them started?\n'
