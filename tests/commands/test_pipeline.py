"""The commands as a user gives them, one after another, on real files."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from tests.conftest import ROOT

SMALL = ['--config.num_layers=1', '--config.mlp_dim=16', '--config.num_epochs=1', '--config.batch_size=26']
VISION = ['--config.num_heads=9', '--config.missing_value=0.0', '--config.validation=from_train']
HANDS_POSE = ['--config.num_heads=10', '--config.normalize=spoter', '--config.model=sequence_query']


def run(module, *options):
    """Runs a command; returns what it printed."""
    done = subprocess.run(
        [sys.executable, '-W', 'error::DeprecationWarning:__main__', '-m', module, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ('layout', 'files', 'options', 'base', 'test_clips'),
    [
        pytest.param(
            *('vision_api', {'train': 'vision_api_train', 'test': 'vision_api_test'}, VISION, 1, 26),
            marks=pytest.mark.long,
        ),
        ('mediapipe_hands_pose', {'train': 'train', 'validation': 'val', 'test': 'test'}, HANDS_POSE, 0, 39),
    ],
)
def test_from_real_csv_files_to_pictures(shared, tmp_path, layout, files, options, base, test_clips):
    paths = [f'--{split}={shared}/data/spoter_csv/KSL13_{name}.csv' for split, name in files.items()]
    source = ['--source=spoter_csv', f'--layout={layout}', '--name=ksl', f'--data_dir={tmp_path}', *paths]
    printed = run('preprocessing.build_dataset', *source)
    assert '13 classes' in printed
    assert f'test: {test_clips} clips' in printed
    dataset = dataset_lib.load_dataset(str(tmp_path / 'ksl'))
    assert dataset.description.label_names == tuple(str(label) for label in range(base, base + 13))
    # The clips of these files stand in the order of their classes, as many of each.
    each = test_clips // 13
    np.testing.assert_array_equal(dataset.splits['test'].labels, np.repeat(np.arange(13), each))

    workdir = tmp_path / 'run'
    config = ['--config=configs/default.py', f'--config.dataset={tmp_path}/ksl', *SMALL, *options]
    assert 'epoch 1/1' in run('slr_jax.train', *config, f'--workdir={workdir}')
    printed = run('slr_jax.evaluate', f'--workdir={workdir}', f'--output_dir={tmp_path}/test')
    metrics = json.loads((tmp_path / 'test' / 'metrics.json').read_text())
    assert f'{metrics["parameters"]:,} parameters' in printed
    predictions = pd.read_csv(tmp_path / 'test' / 'predictions.csv')
    assert (predictions['label'] == predictions['predicted_1']).mean() == pytest.approx(metrics['accuracy'])
    places = predictions[[f'predicted_{place}' for place in range(1, 6)]]
    assert places.eq(predictions['label'], axis=0).any(axis=1).mean() == pytest.approx(metrics['top5'])
    confusion = pd.read_csv(tmp_path / 'test' / 'confusion.csv', index_col=0).to_numpy()
    assert confusion.sum() == metrics['clips'] == test_clips
    assert np.trace(confusion) / test_clips == pytest.approx(metrics['accuracy'])
    assert pd.read_csv(tmp_path / 'test' / 'per_class.csv')['clips'].tolist() == [each] * 13

    run('slr_jax.interpret', f'--workdir={workdir}', f'--output_dir={tmp_path}/mask')
    points = pd.read_csv(tmp_path / 'mask' / 'points.csv')
    assert len(points) == dataset.layout.num_points
    assert (tmp_path / 'mask' / 'decoder_figure.png').exists() == (layout == 'mediapipe_hands_pose')


def test_an_imported_checkpoint_is_a_workdir(shared, tmp_path):
    checkpoint = shared / 'golden' / 'ownModelwquery_h42_c13.pth'
    printed = run('slr_jax.import_torch', f'--checkpoint={checkpoint}', f'--workdir={tmp_path}/w')
    assert '2,179,483 parameters, 13 classes, 7 heads, layout mediapipe_hand' in printed
    counts = ['--num_classes=13', '--clips_per_class=0,0,2']
    run('preprocessing.synthetic', f'--data_dir={tmp_path}', *counts)
    options = [f'--dataset={tmp_path}/synthetic', f'--output_dir={tmp_path}/test']
    assert '26 clips' in run('slr_jax.evaluate', f'--workdir={tmp_path}/w', *options)
    run('slr_jax.interpret', f'--workdir={tmp_path}/w', f'--output_dir={tmp_path}/mask')
    assert len(pd.read_csv(tmp_path / 'mask' / 'coordinates.csv')) == 42


def test_export_and_build_again(tiny_dir, tmp_path):
    run('preprocessing.export_dataset', f'--dataset={tiny_dir}', '--format=npz', f'--output={tmp_path}/a.npz')
    options = ['--source=npz', f'--input={tmp_path}/a.npz', '--name=tiny', f'--data_dir={tmp_path}']
    run('preprocessing.build_dataset', *options)
    again = dataset_lib.load_dataset(str(tmp_path / 'tiny'))
    assert again.fingerprint() == dataset_lib.load_dataset(tiny_dir).fingerprint()
    run('preprocessing.export_dataset', f'--dataset={tiny_dir}', '--format=spoter_csv', f'--output={tmp_path}/csv')
    assert {path.name for path in (tmp_path / 'csv').iterdir()} == {'train.csv', 'validation.csv', 'test.csv'}


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('[!_]*.py')), ids=lambda path: path.stem)
def test_every_config_is_legal(path):
    config = importlib.import_module(f'configs.{path.stem}').get_config()
    config.dataset = config.dataset or 'data'
    config_lib.expand(config_lib.resolve(config))
