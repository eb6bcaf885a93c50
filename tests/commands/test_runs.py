"""Several runs in one workdir, together and one after another, against each run alone."""

import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest

from slr_jax import checkpoint, errors, evaluation, interpretation, landmarks, masks, metrics, train_lib
from slr_jax import dataset as dataset_lib
from slr_jax import workdir as workdir_lib
from tests.conftest import ROOT, make_tiny_config
from tests.workdirs import assert_equal_bits, params_of

# Not adamw: it makes whole steps of gradients that are nothing but rounding, such as those of the keys' biases.
SETTINGS = {'optimizer': 'momentum', 'noise_std': 0.01, 'dropout_rate': 0.2, 'num_steps': 5, 'schedule': 'cosine'}
SETTINGS |= {'learning_rate': 0.05}
SEEDS = (3, 1, 7, 4)


def train(dataset, workdir, **fields):
    config = make_tiny_config(dataset, **SETTINGS | fields)
    train_lib.train_and_evaluate(config, str(workdir))
    return workdir


def assert_equal_params(one, other, rtol):
    """Up to a share of the largest value of each array."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(a).max()), one, other)


@pytest.fixture(scope='module')
def alone(tiny_dir, tmp_path_factory):
    """A workdir for each of two seeds, trained alone."""
    root = tmp_path_factory.mktemp('alone')
    return {seed: train(tiny_dir, root / str(seed), seed=seed) for seed in (3, 4)}


@pytest.fixture(scope='module')
def together(tiny_dir, tmp_path_factory):
    return train(tiny_dir, tmp_path_factory.mktemp('together') / 'w', seeds=SEEDS, runs_at_once=4)


def test_seeds_together_equal_each_alone(alone, together):
    for seed in alone:
        assert_equal_params(params_of(alone[seed]), params_of(together / f'seed_{seed}'), 1e-5)
        tables = [pd.read_csv(folder / 'metrics.csv') for folder in (alone[seed], together / f'seed_{seed}')]
        for column in ('train_loss', 'validation_loss', 'learning_rate'):
            np.testing.assert_allclose(*(table[column] for table in tables), rtol=1e-5)
        configs = [
            json.loads((folder / 'config.json').read_text()) for folder in (alone[seed], together / f'seed_{seed}')
        ]
        assert configs[0] == configs[1] | {'runs_at_once': None}
    first, second = (params_of(together / f'seed_{seed}')['class_query'] for seed in SEEDS[:2])
    assert (first != second).all()


def test_seeds_one_after_another_equal_each_alone_bit_for_bit(tiny_dir, alone, tmp_path):
    workdir = train(tiny_dir, tmp_path / 'w', seeds=(3, 4))
    assert [run.seed for run in workdir_lib.read_index(str(workdir))] == [3, 4]
    for seed in (3, 4):
        assert_equal_bits(params_of(workdir / f'seed_{seed}'), params_of(alone[seed]))
    assert pd.read_csv(workdir / 'best_epochs.csv')['run'].tolist() == ['seed_3', 'seed_4']


@pytest.mark.long
def test_each_seed_draws_its_own_validation_split(tiny_dir, tmp_path):
    fields = {'validation': 'holdout', 'bucket_by_length': True}
    workdir = train(tiny_dir, tmp_path / 'w', seeds=(1, 2), runs_at_once=2, **fields)
    one = train(tiny_dir, tmp_path / 'one', seed=2, **fields)
    assert_equal_params(params_of(one), params_of(workdir / 'seed_2'), 1e-5)


@pytest.mark.parametrize('optimizer', ['momentum', pytest.param('adamw', marks=pytest.mark.long)])
def test_a_sweep_equals_each_alone(tiny_dir, tmp_path, optimizer):
    sweep = {'learning_rate': (0.05, 0.002), 'dropout_rate': (0.0, 0.3), 'weight_decay': (0.1,)}
    fields = {'optimizer': optimizer, 'seed': 5, 'num_layers': 2, 'warmup_epochs': 0.5}
    workdir = train(tiny_dir, tmp_path / 'w', sweep=sweep, runs_at_once=4, **fields)
    assert len(workdir_lib.read_index(str(workdir))) == 4
    swept = {'dropout_rate': 0.3, 'learning_rate': 0.05, 'weight_decay': 0.1}
    name = ','.join([*(f'{field}={value}' for field, value in swept.items()), 'seed_5'])
    one = train(tiny_dir, tmp_path / name, **fields | swept)
    if optimizer == 'momentum':
        assert_equal_params(params_of(one), params_of(workdir / name), 1e-5)
    tables = [pd.read_csv(folder / 'metrics.csv') for folder in (one, workdir / name)]
    # AdamW makes rounding of small gradients larger.
    rtol = 1e-4 if optimizer == 'momentum' else 2e-4
    for column in ('train_loss', 'validation_loss', 'learning_rate'):
        np.testing.assert_allclose(*(table[column] for table in tables), rtol=rtol)


@pytest.mark.long
def test_runs_together_resume_from_their_last_common_checkpoint(tiny_dir, together, tmp_path):
    workdir = tmp_path / 'w'
    shutil.copytree(together, workdir)
    # As if the machine had died between the first and the second of the last checkpoints.
    for seed in SEEDS[1:]:
        shutil.rmtree(workdir / f'seed_{seed}' / 'checkpoints' / '5')
    train(tiny_dir, workdir, seeds=SEEDS, runs_at_once=4)
    for seed in SEEDS:
        assert_equal_bits(params_of(workdir / f'seed_{seed}'), params_of(together / f'seed_{seed}'))
        assert pd.read_csv(workdir / f'seed_{seed}' / 'metrics.csv')['epoch'].tolist() == [1, 2]
    assert {path.name for path in (workdir / 'seed_3' / 'checkpoints').iterdir()} == {'4', '5'}


def test_a_run_that_diverges_stops_alone(tiny_dir, tmp_path, capsys):
    sweep = {'learning_rate': (1e38, 0.05, 0.002)}
    message = r'\b1 of 3\b.*diverged.*learning_rate=1e\+38,seed_379.*\bloss\b.* [23]\b.*\b(nan|inf)\b'
    workdir = tmp_path / 'w'
    with pytest.raises(errors.InputError, match=message):
        train(tiny_dir, workdir, sweep=sweep, runs_at_once=3)
    assert pd.read_csv(workdir / 'best_epochs.csv')['run'].tolist() == [
        f'learning_rate={x},seed_379' for x in (0.05, 0.002)
    ]
    one = train(tiny_dir, tmp_path / 'one', learning_rate=0.05)
    assert_equal_params(params_of(one), params_of(workdir / 'learning_rate=0.05,seed_379'), 1e-5)
    # The same command again leaves what is done as it is.
    before = (workdir / 'learning_rate=0.05,seed_379' / 'metrics.csv').read_text()
    with pytest.raises(errors.InputError, match=message):
        train(tiny_dir, workdir, sweep=sweep, runs_at_once=3)
    assert (workdir / 'learning_rate=0.05,seed_379' / 'metrics.csv').read_text() == before
    capsys.readouterr()
    summary = evaluation.evaluate(str(workdir))
    assert 'left out: 1 of 3 runs diverged: learning_rate=1e+38,seed_379 | the loss' in capsys.readouterr().out
    assert list(summary['stopped']) == ['learning_rate=1e+38,seed_379']
    assert [setting['learning_rate'] for setting in summary['settings']] == [0.05, 0.002]
    interpretation.interpret(str(workdir), str(tmp_path / 'mask'))
    assert not (tmp_path / 'mask' / 'learning_rate=1e+38,seed_379').exists()


@pytest.mark.long
def test_all_runs_diverge(tiny_dir, tmp_path):
    for _ in range(2):
        with pytest.raises(errors.InputError, match=r'\b2 runs\b.*diverged.*\bseed_1\b.*\bloss\b'):
            train(tiny_dir, tmp_path / 'w', seeds=(1, 2), learning_rate=1e38, runs_at_once=1)
    with pytest.raises(errors.InputError, match=r'\b2 runs\b.*diverged'):
        evaluation.evaluate(str(tmp_path / 'w'))


def test_evaluation_of_all_runs(together, tmp_path):
    summary = evaluation.evaluate(str(together), output_dir=str(tmp_path / 'out'))
    accuracies = [evaluation.evaluate(str(together / f'seed_{seed}'))['accuracy'] for seed in SEEDS]
    assert summary == json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    (setting,) = summary['settings']
    assert setting['accuracy_mean'] == pytest.approx(np.mean(accuracies))
    assert setting['accuracy_std'] == pytest.approx(np.std(accuracies, ddof=1))
    interval = metrics.mean_interval(np.mean(accuracies), np.std(accuracies, ddof=1), 4, 6)
    assert setting['accuracy_interval95'] == pytest.approx(interval)
    assert setting['interval'] == 'clips and seeds'
    assert (setting['runs'], setting['clips']) == (4, 6)
    table = pd.read_csv(tmp_path / 'out' / 'runs.csv')
    assert table['seed'].tolist() == list(SEEDS)
    assert table['accuracy'].tolist() == pytest.approx(accuracies)
    assert (tmp_path / 'out' / 'seed_7' / 'confusion.png').is_file()


def test_mask_of_all_runs(together, tmp_path):
    interpretation.interpret(str(together), str(tmp_path))
    masks = [params_of(together / f'seed_{seed}', 'best')['encoder_mask'].reshape(21, 2).mean(axis=1) for seed in SEEDS]
    table = pd.read_csv(tmp_path / 'runs.csv')
    np.testing.assert_allclose(table['mean'], np.mean(masks, axis=0), rtol=1e-6)
    np.testing.assert_allclose(table['std'], np.std(masks, axis=0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(table['seed_7'], masks[2], rtol=1e-6)
    np.testing.assert_allclose(pd.read_csv(tmp_path / 'points.csv')['weight'], table['mean'])
    assert (tmp_path / 'seed_3' / 'figure.png').is_file()
    assert (tmp_path / 'figure.svg').is_file()


def test_masks_of_different_kinds_have_no_mean():
    hand, two = (
        masks.Mask('encoder_mask', np.ones((layout.num_points, 2)), layout, 'signer')
        for layout in (landmarks.LAYOUTS['mediapipe_hand'], landmarks.LAYOUTS['mediapipe_two_hands'])
    )
    with pytest.raises(errors.InputError, match=r'\bmasks\b.*\b2\b'):
        masks.mean_masks([[hand], [two]])
    assert masks.mean_masks([[hand], [hand]])[0].weights.shape == (21, 2)


def test_one_of_several_runs_must_be_named(together):
    with pytest.raises(errors.InputError, match=r'/w\b.*\b4 runs\b.*/w/seed_3\b'):
        checkpoint.load_model(str(together))


@pytest.mark.long
def test_commands_take_a_workdir_of_several_runs(together, tmp_path):
    def run(module, *options):
        command = [sys.executable, '-m', module, f'--workdir={together}', *options]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert 'over 4 runs, standard deviation' in run('slr_jax.evaluate', f'--output_dir={tmp_path}/test')
    run('slr_jax.interpret', f'--output_dir={tmp_path}/mask')
    assert (tmp_path / 'mask' / 'runs.csv').is_file()


@pytest.mark.long
def test_seeds_spread_over_devices_equal_each_alone(tiny_dir, alone, tmp_path):
    fields = SETTINGS | {'seeds': SEEDS, 'runs_at_once': 4}
    code = (
        'import jax; from tests.conftest import make_tiny_config; from slr_jax import train_lib;'
        'assert jax.local_device_count() == 2;'
        f'train_lib.train_and_evaluate(make_tiny_config({tiny_dir!r}, **{fields!r}), {str(tmp_path / "w")!r})'
    )
    environment = {'XLA_FLAGS': '--xla_force_host_platform_device_count=2', 'JAX_PLATFORMS': 'cpu'}
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, env=os.environ | environment, check=True, capture_output=True, text=True
    )
    assert '4 runs, 4 at once' in done.stdout
    for seed in alone:
        assert_equal_params(params_of(alone[seed]), params_of(tmp_path / 'w' / f'seed_{seed}'), 1e-5)


def test_seeds_stop_early_each_by_itself(tiny_dir, tmp_path, capsys):
    fields = {'seeds': (1, 2), 'learning_rate': 1e-12, 'num_steps': None, 'num_epochs': 9, 'early_stop_epochs': 2}
    workdir = train(tiny_dir, tmp_path / 'w', **fields)
    epochs = [len(pd.read_csv(workdir / f'seed_{seed}' / 'metrics.csv')) for seed in (1, 2)]
    assert epochs == [3, 3]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith(' left')]
    assert lines[-1].endswith(' 00:00:00 left')


FOLDS = {'num_folds': 2, 'num_steps': 2, 'class_weights': 'balanced', 'train_fraction': 0.6}


@pytest.fixture(scope='module')
def folds(tiny_dir, tmp_path_factory):
    """Two folds of two seeds, whose training clips are drawn by seed, so that their class weights differ."""
    return train(tiny_dir, tmp_path_factory.mktemp('folds') / 'w', seeds=(1, 2), runs_at_once=2, **FOLDS)


def test_all_folds_are_runs_of_one_workdir(folds):
    entries = workdir_lib.read_index(str(folds))
    assert [(entry.name, entry.fold, entry.seed) for entry in entries] == [
        (f'fold_{fold},seed_{seed}', fold, seed) for fold in (0, 1) for seed in (1, 2)
    ]


@pytest.mark.long
def test_a_fold_among_all_equals_it_alone(tiny_dir, folds, tmp_path):
    one = train(tiny_dir, tmp_path / 'one', seed=2, fold=1, **FOLDS)
    assert_equal_params(params_of(one), params_of(folds / 'fold_1,seed_2'), 1e-5)
    tables = [pd.read_csv(folder / 'metrics.csv') for folder in (one, folds / 'fold_1,seed_2')]
    for column in ('train_loss', 'validation_loss'):
        np.testing.assert_allclose(*(table[column] for table in tables), rtol=1e-5)


def test_the_accuracy_over_folds_counts_each_clip_once(folds, tiny_dataset, tmp_path, capsys):
    summary = evaluation.evaluate(str(folds), 'validation', output_dir=str(tmp_path))
    assert 'selected on its fold itself' in capsys.readouterr().out
    everyone = [name for split in ('train', 'validation') for name in tiny_dataset.splits[split].video_ids]
    accuracies, table = [], pd.read_csv(folds / 'cross_validation.csv').set_index('seed')
    for seed in (1, 2):
        predictions = pd.concat(
            [pd.read_csv(tmp_path / f'fold_{fold},seed_{seed}' / 'predictions.csv') for fold in (0, 1)]
        )
        assert sorted(predictions['video_id']) == sorted(everyone)
        correct = (predictions['label'] == predictions['predicted_1']).sum()
        accuracies.append(correct / len(everyone))
        assert (table['correct'][seed], table['clips'][seed]) == (correct, len(everyone))
    (setting,) = summary['settings']
    assert setting['accuracy_mean'] == pytest.approx(np.mean(accuracies))
    assert (setting['runs'], setting['folds'], setting['clips']) == (2, 2, len(everyone))
    interval = metrics.mean_interval(np.mean(accuracies), np.std(accuracies, ddof=1), 2, len(everyone))
    assert setting['accuracy_interval95'] == pytest.approx(interval)
    assert pd.read_csv(tmp_path / 'runs.csv')['fold'].tolist() == [0, 0, 1, 1]


def test_a_run_on_a_fold_is_tested_on_its_clips_wherever_they_lie(folds, tiny_dir, tmp_path):
    run, moved = str(folds / 'fold_0,seed_1'), shutil.copytree(tiny_dir, tmp_path / 'data')
    evaluators = [evaluation.Evaluator(run, split, str(moved)) for split in dataset_lib.SPLITS]
    assert [len(evaluator.clips) for evaluator in evaluators] == [10, 11, 6]
    assert not set(evaluators[0].clips.video_ids) & set(evaluators[1].clips.video_ids)


def test_folds_of_which_one_diverged_have_no_accuracy(folds, tmp_path, capsys):
    workdir = shutil.copytree(folds, tmp_path / 'w')
    for seed in (1, 2):
        workdir_lib.mark_diverged(str(workdir), f'fold_0,seed_{seed}', 'the loss is inf')
    assert evaluation.evaluate(str(workdir), 'validation')['settings'] == []
    assert 'no accuracy over all folds' in capsys.readouterr().out
