"""A model with gates and prices: interrupted, beside another seed, interpreted, reported, exported."""

import json

import jax
import numpy as np
import pandas as pd
import pytest

from slr_jax import checkpoint, exporting, interpretation, report_page, torch_models, train_lib
from slr_jax.exported import load
from tests import workdirs
from tests.conftest import make_tiny_config
from tests.workdirs import params_of

FIELDS = {'mask_gates': 'point', 'gate_price': 2.0, 'mask_l1': 0.1, 'optimizer': 'momentum', 'noise_std': 0.01}
FIELDS |= {'learning_rate': 0.05, 'gate_rate': 100.0}


def train(dataset, workdir, **fields):
    train_lib.train_and_evaluate(make_tiny_config(dataset, **FIELDS | fields), str(workdir))
    return workdir


@pytest.fixture(scope='module')
def unbroken(tiny_dir, tmp_path_factory):
    return train(tiny_dir, tmp_path_factory.mktemp('unbroken') / 'w')


def test_an_interrupted_run_ends_with_the_same_bits(tiny_dir, unbroken, tmp_path, capsys):
    workdir = train(tiny_dir, tmp_path / 'w', num_epochs=1)
    train(tiny_dir, workdir)
    assert 'going on after epoch 1' in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, params_of(workdir), params_of(unbroken))
    locations = params_of(workdir)['gates']
    assert locations.min() < -0.5 < locations.max()
    # The validation loss is that of the tested gates, and no loss has a price.
    metrics = pd.read_csv(workdir / 'metrics.csv')
    assert metrics['train_loss'].max() < 5


def test_seeds_together_equal_each_alone(tiny_dir, unbroken, tmp_path):
    together = train(tiny_dir, tmp_path / 'w', seeds=(379, 1), runs_at_once=2)
    pairs = [params_of(unbroken), params_of(together / 'seed_379')]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max()), *pairs)
    interpretation.interpret(str(together), str(tmp_path / 'mask'), 'latest')
    each = [pd.read_csv(tmp_path / 'mask' / f'seed_{seed}' / 'points.csv') for seed in (379, 1)]
    for column in ('gate', 'weight'):
        mean = pd.read_csv(tmp_path / 'mask' / 'points.csv')[column]
        np.testing.assert_allclose(mean, np.mean([table[column] for table in each], axis=0))
    assert (each[0]['weight'][each[0]['gate'] == 0] == 0).all()


def test_interpreted_reported_exported_and_imported_again(unbroken, tiny_dataset, tmp_path, capsys):
    workdir, clips = str(unbroken), tiny_dataset.split('test').landmarks
    interpretation.interpret(workdir, str(tmp_path / 'mask'))
    table = pd.read_csv(tmp_path / 'mask' / 'points.csv')
    assert f'{(table["gate"] > 0).sum()} of 21 points have an open gate' in capsys.readouterr().out
    by_axis = pd.read_csv(tmp_path / 'mask' / 'coordinates.csv')['gate']
    np.testing.assert_array_equal(by_axis, np.repeat(table['gate'], 2))
    report_page.write_report(workdir, str(tmp_path / 'report.html'))
    assert 'points have an open gate' in (tmp_path / 'report.html').read_text()
    answers = checkpoint.load_model(workdir).probabilities(clips)
    exporting.export(workdir, str(tmp_path / 'export'))
    np.testing.assert_allclose(load(str(tmp_path / 'export')).probabilities(clips), answers, atol=1e-5)
    assert '| mask_gates | point |' in (tmp_path / 'export' / 'MODEL_CARD.md').read_text()
    torch_models.import_checkpoints([str(tmp_path / 'export' / 'params.safetensors')], str(tmp_path / 'again'))
    np.testing.assert_allclose(checkpoint.load_model(str(tmp_path / 'again')).probabilities(clips), answers, atol=1e-6)


def test_a_workdir_of_before_there_were_gates_loads(tmp_path):
    workdir = tmp_path / 'w'
    workdirs.write_workdir(workdir, workdirs.describe('mediapipe_hand'))
    fields = json.loads((workdir / 'config.json').read_text())
    for field in ('mask_gates', 'gate_std', 'gate_price', 'gate_rate', 'mask_l1'):
        del fields[field]
    (workdir / 'config.json').write_text(json.dumps(fields))
    loaded = checkpoint.load_model(str(workdir))
    assert loaded.model.mask_gates == loaded.config.mask_gates == 'none'
    assert 'gates' not in loaded.params
