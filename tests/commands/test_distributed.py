"""Two processes of four devices each, against one process with one device."""

import os
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


def train_in_two_processes(dataset, workdir, **fields):
    with socket.socket() as free:
        free.bind(('localhost', 0))
        coordinator = f'localhost:{free.getsockname()[1]}'
    options = [f'--config.{name}={value}' for name, value in (FIELDS | {'dataset': dataset} | fields).items()]
    command = [sys.executable, '-m', 'slr_jax.train', '--config=configs/default.py', f'--workdir={workdir}', *options]
    environment = os.environ | {'XLA_FLAGS': '--xla_force_host_platform_device_count=4', 'JAX_PLATFORMS': 'cpu'}
    processes = [
        subprocess.Popen(
            [*command, f'--coordinator={coordinator}', '--num_processes=2', f'--process_id={number}'],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    printed = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert 'epoch' not in printed[1][0]  # the first alone tells
    return printed[0][0]


@pytest.mark.parametrize('seeds', [None, pytest.param((379, 5), marks=pytest.mark.long)])
def test_two_processes_and_one_give_the_same_losses(tiny_dir, tmp_path, seeds):
    workdir = tmp_path / 'two'
    fields = {} if seeds is None else {'seeds': ','.join(map(str, seeds))}
    assert '8 device(s)' in train_in_two_processes(tiny_dir, workdir, num_epochs=1, **fields)
    if seeds is None:  # the first part of a longer run, whose config differs in its epochs alone
        config_json = workdir / 'config.json'
        config_json.write_text(config_json.read_text().replace('"num_epochs": 1,', '"num_epochs": 2,'))
        assert 'going on after epoch 1' in train_in_two_processes(tiny_dir, workdir, num_epochs=2)
    for seed in seeds or (379,):
        of_run = workdir / f'seed_{seed}' if seeds else workdir
        alone = tmp_path / f'alone_{seed}'
        train_lib.train_and_evaluate(
            make_tiny_config(tiny_dir, **FIELDS | {'seed': seed, 'num_epochs': 1 if seeds else 2}), str(alone)
        )
        tables = [pd.read_csv(folder / 'metrics.csv') for folder in (of_run, alone)]
        for column in ('train_loss', 'validation_loss', 'train_accuracy', 'validation_accuracy'):
            np.testing.assert_allclose(*(table[column] for table in tables), atol=1e-5)
        params = [checkpoint.load_model(str(folder), 'latest').params for folder in (of_run, alone)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *params)
