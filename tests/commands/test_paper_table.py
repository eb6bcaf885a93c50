"""The table of a paper as a whole: its numbers against those of evaluate, interrupted and continued."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from experiments import recipes
from slr_jax import checkpoint, dataset, evaluation
from slr_jax import workdir as workdir_lib
from tests import in_process
from tests.conftest import ROOT, make_tiny_config

OPTIONS = '--models=class_query,spoter_no_pe --seeds=0,1'
# The command in a process of its own, with a recipe that trains in seconds.
CODE = (
    'import runpy; from experiments import recipes; from tests.commands import test_paper_table as small; '
    'recipes.OF_DATASETS["tiny"] = small.make_recipe(); '
    'runpy.run_module("experiments.paper_table", run_name="__main__", alter_sys=True)'
)
TABLES = ('models', 'runs', 'pairs')


def make_recipe(**fields):
    """A recipe that trains in seconds."""
    fields = {'optimizer': 'momentum', 'learning_rate': 0.02, 'batch_size': 16} | fields
    return functools.partial(make_tiny_config, '', **fields), {'num_epochs': 1}


@pytest.fixture
def make_table(tiny_dir, capfd, monkeypatch):
    """Runs the command in this process; returns what it reports."""

    def make_table(output_dir, options=OPTIONS, recipe=None, refused_with=()):
        monkeypatch.setitem(recipes.OF_DATASETS, 'tiny', recipe or make_recipe())
        reported = []
        monkeypatch.setattr('slr_jax.progress.report', reported.append)
        command = f'experiments.paper_table --datasets={tiny_dir} --output_dir={output_dir} {options}'
        status, stderr = in_process.run_here(in_process.argv(command), capfd, monkeypatch)
        if refused_with:
            in_process.check_refusal(status, stderr, refused_with)
        else:
            assert (status, stderr) == (0, '')
        return reported

    return make_table


def read(output_dir):
    return {name: pd.read_csv(output_dir / f'{name}.csv') for name in TABLES}


@pytest.mark.slow
def test_interrupted_it_goes_on_and_is_the_same(tiny_dir, make_table, tmp_path):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    words = [sys.executable, '-c', CODE, f'--datasets={tiny_dir}', f'--output_dir={parts}', *OPTIONS.split()]
    process = subprocess.Popen(words, cwd=ROOT, env=os.environ | {'PYTHONPATH': str(ROOT)}, stdout=subprocess.DEVNULL)
    # In the second model, when the first is done.
    begun = parts / 'runs' / 'tiny' / 'class_query' / 'seed_0' / 'metrics.csv'
    while not begun.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert begun.exists()
    assert not (parts / 'models.csv').exists()
    done = in_process.snapshot(parts / 'runs' / 'tiny' / 'spoter_no_pe')
    make_table(parts)
    assert in_process.snapshot(parts / 'runs' / 'tiny' / 'spoter_no_pe') == done
    make_table(whole)
    for name, table in read(whole).items():
        pd.testing.assert_frame_equal(read(parts)[name], table)
    assert (whole / 'paper_table.md').read_bytes() == (parts / 'paper_table.md').read_bytes()
    assert '>class_query − spoter_no_pe<' in (whole / 'paper_table.svg').read_text()


@pytest.mark.slow
def test_numbers_are_those_of_evaluate(tiny_dir, make_table, tmp_path):
    reported = make_table(tmp_path)
    tables = read(tmp_path)
    assert tables['models'].model.tolist() == ['spoter_no_pe', 'class_query']
    assert tables['runs'][['model', 'seed']].to_numpy().tolist() == [
        [model, seed] for model in ('spoter_no_pe', 'class_query') for seed in (0, 1)
    ]
    test = dataset.load_dataset(tiny_dir).split('test')
    for row in tables['models'].itertuples():
        workdir = tmp_path / 'runs' / 'tiny' / row.model
        (found,) = evaluation.evaluate(str(workdir))['settings']
        assert (row.accuracy, row.std) == pytest.approx((found['accuracy_mean'], found['accuracy_std']))
        assert [row.interval95_low, row.interval95_high] == pytest.approx(found['accuracy_interval95'])
        together = checkpoint.load_mean_of_runs(str(workdir)).probabilities(test.landmarks).argmax(axis=1)
        assert row.accuracy_together == pytest.approx((together == test.labels).mean())
        config, _ = workdir_lib.load_config(str(workdir / 'seed_0'))
        assert (config.model, config.num_heads, config.keep_published_checkpoints) == (row.model, 7, True)
    for row in tables['runs'].itertuples():
        workdir = tmp_path / 'runs' / 'tiny' / row.model / f'seed_{row.seed}'
        published = evaluation.evaluate(str(workdir), checkpoint='published')
        assert (row.published_accuracy, row.published_epoch) == (published['accuracy'], published['epoch'])
        best = published['selected_on_validation']
        assert (row.accuracy, row.epoch, row.clips) == (best['accuracy'], best['epoch'], 6)
        assert row.published_accuracy >= row.mean_over_checkpoints == pytest.approx(published['mean_over_checkpoints'])
        epochs = pd.read_csv(workdir / 'metrics.csv').set_index('epoch')
        assert row.validation_accuracy == pytest.approx(epochs.validation_accuracy[row.epoch], abs=1e-6)
    means = tables['models'].set_index('model').accuracy
    (difference,) = tables['pairs'].difference
    assert difference == pytest.approx(means['class_query'] - means['spoter_no_pe'])
    text = (tmp_path / 'paper_table.md').read_text()
    assert text in '\n'.join(reported)
    assert '`class_query` beside `spoter_no_pe`' in text

    # Answers that are there need no checkpoints; what differs is refused, and longer runs go on.
    before = in_process.snapshot(tmp_path / 'runs')
    make_table(tmp_path, '--models=class_query --seeds=0,2', refused_with=['class_query', 'config.seeds', '[0, 2]'])
    make_table(tmp_path, f'{OPTIONS} --quick', refused_with=['spoter_no_pe', 'config.num_epochs is 2', '1'])
    assert in_process.snapshot(tmp_path / 'runs') == before
    longer = make_recipe(num_epochs=3)
    make_table(tmp_path, '--models=class_query --seeds=0,1', longer)
    assert len(pd.read_csv(tmp_path / 'runs' / 'tiny' / 'class_query' / 'seed_1' / 'metrics.csv')) == 3
    for checkpoints in (tmp_path / 'runs').glob('*/*/*/checkpoints'):
        shutil.rmtree(checkpoints)
    make_table(tmp_path, '--models=class_query --seeds=0,1', longer)
    assert pd.read_csv(tmp_path / 'models.csv').seeds.tolist() == [2]
    # Of one model there are no pairs, and none of before are left.
    assert 'spoter_no_pe' not in (tmp_path / 'paper_table.md').read_text()
    assert not (tmp_path / 'pairs.csv').exists()


@pytest.mark.slow
def test_seeds_that_diverge_do_not_end_the_others(make_table, tmp_path):
    for _ in range(2):
        make_table(tmp_path, OPTIONS, make_recipe(learning_rate=1e30))
        table = pd.read_csv(tmp_path / 'models.csv')
        assert table.diverged.tolist() == ['seed 0, seed 1'] * 2
        assert table.accuracy.isna().all()
        assert table.clips.tolist() == [6, 6]
    assert not (tmp_path / 'runs.csv').exists()
