"""Runs of conv_transformer with an average of their parameters: interrupted, together, and beginning with another."""

import jax
import numpy as np
import pandas as pd
import pytest

from slr_jax import checkpoint, evaluation, fine_tune, run_group, train_lib
from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax.train_step import TrainState
from tests.conftest import make_tiny_config
from tests.workdirs import assert_equal_bits, assert_equal_runs, params_of

FIELDS = {'model': 'conv_transformer', 'width': 14, 'conv_blocks': 1, 'kernel_size': 3, 'drop_path_rate': 0.2}
FIELDS |= {'late_dropout_rate': 0.5, 'late_dropout_epoch': 1.0, 'ema': 0.5, 'optimizer': 'momentum', 'num_epochs': 2}
FIELDS |= {'learning_rate': 0.05}


def train(dataset, workdir, **fields):
    train_lib.train_and_evaluate(make_tiny_config(dataset, **FIELDS | fields), str(workdir))
    return workdir


def trained_params_of(workdir, step):
    """What is trained, which is not the model."""
    return checkpoint.Checkpoints(str(workdir))._manager.restore(step)['training']['params']


def assert_close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max()), one, other)


@pytest.fixture(scope='module')
def unbroken(tiny_dir, tmp_path_factory):
    return train(tiny_dir, tmp_path_factory.mktemp('unbroken') / 'w')


def test_an_interrupted_run_ends_with_the_same_bits(tiny_dir, unbroken, tmp_path, capsys):
    workdir = train(tiny_dir, tmp_path / 'w', num_epochs=1)
    train(tiny_dir, workdir)
    assert 'going on after epoch 1' in capsys.readouterr().out
    assert_equal_runs(workdir, unbroken)
    assert_equal_bits(trained_params_of(workdir, 8), trained_params_of(unbroken, 8))


def test_the_average_validates_and_is_the_model(unbroken):
    loaded = checkpoint.load_model(str(unbroken), 'latest')
    metrics = evaluation.evaluate(str(unbroken), 'validation', checkpoint='latest')
    assert metrics['loss'] == pytest.approx(loaded.metrics['validation_loss'], abs=1e-5)
    trained = trained_params_of(unbroken, 8)
    assert (loaded.params['classifier']['kernel'] != trained['classifier']['kernel']).any()


def test_seeds_together_equal_each_alone(tiny_dir, unbroken, tmp_path):
    workdir = train(tiny_dir, tmp_path / 'w', seeds=(3, 379), runs_at_once=2)
    assert_close(params_of(unbroken), params_of(workdir / 'seed_379'))
    assert_close(trained_params_of(unbroken, 8), trained_params_of(workdir / 'seed_379', 8))
    tables = [pd.read_csv(folder / 'metrics.csv') for folder in (unbroken, workdir / 'seed_379')]
    np.testing.assert_allclose(*(table['validation_loss'] for table in tables), rtol=1e-5)


def test_a_run_begins_with_the_average_of_another(tiny_dir, unbroken, tmp_path):
    config = make_tiny_config(tiny_dir, **FIELDS | {'init_from': str(unbroken)})
    dataset = dataset_lib.load_dataset(tiny_dir)
    source = fine_tune.load_source(config, dataset.description)
    trials = train_lib.open_trials(config_lib.expand(config), config, dataset, str(tmp_path / 'w'), lambda: source)
    (group,) = train_lib.make_groups(trials, dataset, lambda: source)
    best = params_of(unbroken, 'best')
    for found in (group._state.params, group._state.average):
        assert_equal_bits(best, found)


def test_without_an_average_checkpoints_are_as_ever():
    state = TrainState(step=4, params={'a': 1}, opt_state=())
    assert run_group._checkpoint_items(state) == {'params': {'a': 1}, 'training': {'step': 4, 'opt_state': ()}}
    assert run_group._restored_state(run_group._checkpoint_items(state)) == state
