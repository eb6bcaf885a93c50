"""Models that are fed some points, or shadows beside them: training, masks, prediction, export."""

import csv

import numpy as np
import pytest

from slr_jax import attribution, checkpoint, errors, evaluation, exporting, interpretation, masks, train_lib
from slr_jax.exported import load
from tests.conftest import make_tiny_config


def _read(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def test_some_points(tiny_dir, tiny_dataset, tmp_path):
    workdir = str(tmp_path / 'run')
    train_lib.train_and_evaluate(
        make_tiny_config(tiny_dir, points=('wrist,thumb_tip', 'pinky_tip'), num_heads=2), workdir
    )
    loaded, clips = checkpoint.load_model(workdir), tiny_dataset.split('test')
    assert loaded.params['encoder_mask'].shape == (6,)
    interpretation.interpret(workdir, str(tmp_path / 'mask'))
    assert [row['point'] for row in _read(tmp_path / 'mask' / 'points.csv')] == ['wrist', 'thumb_tip', 'pinky_tip']
    for rank in attribution.RANKINGS.values():
        assert len(rank(loaded, clips, 0)) == 3
    answers = loaded.probabilities(clips.landmarks)
    others = [clip.copy() for clip in clips.landmarks]
    for clip in others:
        clip[:, [point for point in range(21) if point not in (0, 4, 20)]] = 0.7
    np.testing.assert_array_equal(loaded.probabilities(others), answers)
    exporting.export(workdir, str(tmp_path / 'export'))
    np.testing.assert_allclose(load(str(tmp_path / 'export')).probabilities(clips.landmarks), answers, atol=1e-5)


def test_shadows(tiny_dir, tmp_path):
    workdir = str(tmp_path / 'run')
    config = make_tiny_config(tiny_dir, shadow_points=True, seeds=(0, 1))
    train_lib.train_and_evaluate(config, workdir)
    run = f'{workdir}/seed_1'
    loaded = checkpoint.load_model(run)
    assert loaded.params['encoder_mask'].shape == (84,)
    assert evaluation.evaluate(run, 'test', 'best')['clips'] == 6
    interpretation.interpret(workdir, str(tmp_path / 'mask'))
    points = _read(tmp_path / 'mask' / 'points.csv')
    shadows = _read(tmp_path / 'mask' / 'shadows.csv')
    assert [row['point'] for row in points] == [row['point'] for row in shadows]
    weights = np.array([checkpoint.load_model(f'{workdir}/seed_{seed}').params['encoder_mask'] for seed in (0, 1)])
    means = weights.mean(axis=0).reshape(42, 2).mean(axis=1)
    np.testing.assert_allclose([float(row['weight']) for row in (*points, *shadows)], means, rtol=1e-6)
    q_values = masks.shadow_test(*np.abs(weights).mean(axis=0).reshape(2, 21, 2).mean(axis=2))
    np.testing.assert_allclose([float(row['q_value']) for row in points], q_values)
    assert 'shadow' not in (tmp_path / 'mask' / 'bars.svg').read_text()
    with pytest.raises(errors.InputError, match=r'config\.shadow_points.*cannot be exported'):
        exporting.export(run, str(tmp_path / 'export'))
    alone = str(tmp_path / 'alone')
    config.update({'seeds': None, 'seed': 1})
    train_lib.train_and_evaluate(config, alone)
    np.testing.assert_array_equal(checkpoint.load_model(alone).params['encoder_mask'], loaded.params['encoder_mask'])
