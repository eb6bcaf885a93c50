"""The comparison of recipes as a whole: its numbers against those of evaluate, interrupted, and in parts."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from experiments import recipes
from preprocessing.formats import tfds_writer
from slr_jax import evaluation
from slr_jax import workdir as workdir_lib
from tests import in_process
from tests.conftest import ROOT, make_tiny_config

TABLE = (
    lambda: make_tiny_config('', optimizer='momentum', learning_rate=0.02, batch_size=16),
    {'today': {}, 'small steps': {'learning_rate': 0.001}},
)
# The command in a process of its own, with recipes that train in seconds.
CODE = (
    'import runpy; from experiments import recipes; from tests.commands import test_cross_validation as small; '
    'recipes.TABLES["hands"] = small.TABLE; '
    'runpy.run_module("experiments.cross_validation", run_name="__main__", alter_sys=True)'
)


@pytest.fixture(scope='module')
def signed_dir(tiny_dataset, tmp_path_factory):
    """The TFDS directory of tiny_dataset, with four signers and clips of one length."""
    splits = {
        split: dataclasses.replace(
            clips,
            signers=[f'signer_{number % 4}' for number in range(len(clips))],
            landmarks=[clip[:20] for clip in clips.landmarks],
        )
        for split, clips in tiny_dataset.splits.items()
    }
    return tfds_writer.write_dataset(
        dataclasses.replace(tiny_dataset, splits=splits), str(tmp_path_factory.mktemp('d'))
    )


@pytest.fixture
def compare(signed_dir, capfd, monkeypatch):
    """Runs the command in this process, with rows of TABLE or others; returns what it reports."""

    def compare(output_dir, options='', rows=TABLE[1], refused_with=()):
        monkeypatch.setitem(recipes.TABLES, 'hands', (TABLE[0], rows))
        reported = []
        monkeypatch.setattr('slr_jax.progress.report', reported.append)
        command = f'experiments.cross_validation --dataset={signed_dir} --output_dir={output_dir} --num_folds=2'
        status, stderr = in_process.run_here(in_process.argv(f'{command} {options}'), capfd, monkeypatch)
        if refused_with:
            in_process.check_refusal(status, stderr, refused_with)
        else:
            assert (status, stderr) == (0, '')
        return reported

    return compare


def start(dataset, output_dir, *options):
    """Starts the command in a process of its own."""
    words = [sys.executable, '-c', CODE, f'--dataset={dataset}', f'--output_dir={output_dir}', '--num_folds=2']
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    return subprocess.Popen([*words, *options], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def read(output_dir, name):
    return pd.read_csv(output_dir / f'{name}.csv').drop(columns='minutes')


def test_interrupted_and_in_parts_it_is_the_same(signed_dir, compare, tmp_path):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    process = start(signed_dir, parts, '--repeats=1', '--only=small steps')
    begun = parts / 'runs' / 'small_steps' / 'repeat_0' / 'fold_0,seed_0' / 'metrics.csv'
    for _ in range(3000):
        if begun.exists():
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert begun.exists()
    assert not (parts / 'runs.csv').exists()
    both = [start(signed_dir, parts, '--repeats=1', f'--only={name}') for name in TABLE[1]]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    before = in_process.snapshot(parts / 'runs')
    assert '2 of 2 repeats of recipes are trained' in compare(parts, '--repeats=1')
    assert in_process.snapshot(parts / 'runs') == before
    compare(whole, '--repeats=1')
    for name in ('runs', 'recipes'):
        pd.testing.assert_frame_equal(read(parts, name), read(whole, name))
    assert '>small steps<' in (whole / 'recipes.svg').read_text()
    heading = (whole / 'recipes.md').read_text().partition('\n')[0]
    assert heading.startswith('2 folds by signer × 1 of 21 clips of tiny; ')


def test_numbers_are_those_of_the_latest_checkpoint_on_its_fold(compare, tmp_path):
    compare(tmp_path, '--only=today')
    runs, table = read(tmp_path, 'runs'), read(tmp_path, 'recipes')
    assert runs[['repeat', 'fold']].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    minutes = pd.read_csv(tmp_path / 'runs.csv').minutes
    for row in runs.itertuples():
        workdir = tmp_path / 'runs' / 'today' / f'repeat_{row.repeat}' / f'fold_{row.fold},seed_{row.repeat}'
        found = evaluation.evaluate(str(workdir), 'validation', 'latest')
        assert (found['accuracy'], found['clips'], found['fold']) == (row.accuracy, row.clips, row.fold)
        assert (row.clips + row.training_clips, row.epochs, found['epoch']) == (21, 2, 2)
        assert found['parameters'] == table.parameters[0]
        config, _ = workdir_lib.load_config(str(workdir))
        assert (config.num_folds, config.fold_seed, config.folds_by) == (2, row.repeat, 'signer')
        epochs = pd.read_csv(workdir / 'metrics.csv')
        assert minutes[row.Index] == pytest.approx((row.training_clips / epochs.clips_per_second).sum() / 60)


def test_rows_that_are_not_trained_are_left_out(compare, tmp_path):
    reported = compare(tmp_path, '--repeats=1 --only="small steps"')
    assert reported[-2:] == [
        'left out of the table, as it is not trained yet: today',
        'no table yet: the others are compared with today',
    ]
    assert not list(tmp_path.glob('*.csv'))
    reported = compare(tmp_path, '--repeats=1 --only=today', {'today': {}, 'new': {'noise_std': 0.0}})
    assert 'left out of the table, as it is not trained yet: new' in reported
    table = read(tmp_path, 'recipes')
    assert table.recipe.tolist() == ['today']
    assert table.difference.isna().all()
    assert not (tmp_path / 'recipes.png').exists()
    # What was trained with other fields or another seed is not taken for this.
    before = in_process.snapshot(tmp_path)
    workdir = str(tmp_path / 'runs' / 'today')
    compare(tmp_path, '--repeats=1', {'today': {'weight_decay': 0.1}}, [workdir, 'config.weight_decay is 0.0', '0.1'])
    compare(tmp_path, '--repeats=1 --seed=3', refused_with=[workdir, 'config.seed is 0', '3'])
    compare(tmp_path, '--repeats=1 --num_folds=3', refused_with=[workdir, 'config.num_folds is 2', '3'])
    assert in_process.snapshot(tmp_path) == before


def test_a_recipe_that_diverges_is_a_row(compare, tmp_path):
    rows = {'today': {}, 'huge steps': {'learning_rate': 1e30}}
    for _ in range(2):
        compare(tmp_path, '--repeats=1', rows)
        table = read(tmp_path, 'recipes').set_index('recipe')
        assert table.diverged['huge steps'] == 'fold 0 of repeat 0, fold 1 of repeat 0'
        assert table.loc['huge steps', ['accuracy', 'difference', 'p_value']].isna().all()
        assert not np.isnan(table.accuracy['today'])
        assert read(tmp_path, 'runs').diverged.str.contains('learning_rate').tolist() == [False, False, True, True]


def test_what_does_not_fit_the_dataset(compare, tmp_path):
    refused_with = ['config.num_folds is 5', '4 signers', "config.folds_by = 'clip'"]
    compare(tmp_path / 'out', '--num_folds=5', refused_with=refused_with)
    assert not list(tmp_path.iterdir())
