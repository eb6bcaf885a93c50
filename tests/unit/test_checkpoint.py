import json

import numpy as np
import pytest

from slr_jax import checkpoint, errors


def row(epoch, train, validation, loss=1.0):
    return {'epoch': epoch, 'train_accuracy': train, 'validation_accuracy': validation, 'validation_loss': loss}


def test_rank():
    rows = [row(1, 0, 0.5), row(2, 0, 0.6, 2.0), row(3, 0, 0.6, 1.5), row(4, 0, 0.6, 1.5)]
    assert max(rows, key=checkpoint.selection_key)['epoch'] == 3
    without = [row(1, 0.9, None), row(2, 0.8, None)]
    assert max(without, key=checkpoint.selection_key)['epoch'] == 2


def test_published_steps_are_the_best_of_each_ten_epochs():
    rows = {10 * epoch: row(epoch, 0.1, 0.1) for epoch in range(1, 21)}
    rows[30]['train_accuracy'] = rows[50]['train_accuracy'] = 0.9
    rows[100]['validation_accuracy'] = 0.8
    rows[110]['validation_accuracy'] = rows[180]['train_accuracy'] = 0.7
    assert checkpoint.published_steps(rows) == {30, 100, 110, 180}


@pytest.mark.parametrize('published', [False, True])
def test_latest_best_and_published_are_kept(tmp_path, published):
    checkpoints = checkpoint.Checkpoints(str(tmp_path), read_only=False, published=published)
    accuracies = [0.1, 0.5, 0.4, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.1, 0.4, 0.1]
    for epoch, accuracy in enumerate(accuracies, start=1):
        metrics = row(epoch, epoch / 100, accuracy)
        checkpoints.save(epoch, {'params': {'a': np.full(2, epoch)}}, metrics)
        kept = set(checkpoints.metrics())
        assert epoch in kept
        assert min(epoch, 2) in kept
    assert kept == ({2, 10, 12, 13} if published else {2, 12, 13})
    reopened = checkpoint.Checkpoints(str(tmp_path))
    assert reopened.metrics()[2]['validation_accuracy'] == 0.5
    like = {'params': {'a': np.zeros(2, int)}}
    assert reopened.restore(2, like)['params']['a'].tolist() == [2, 2]
    with pytest.raises(errors.InputError, match=r'checkpoints/2\b'):
        reopened.restore(2, {'params': {'b': np.zeros(3)}})


@pytest.mark.parametrize(
    'metrics',
    [
        1,
        [row(1, 0.5, 0.5)],
        {'validation_accuracy': 0.5},
        row('1', 0.5, 0.5),
        row(1, 0.5, 'high'),
        row(1, [0.5], 0.5),
        row(1, 0.5, 0.5, None),
        '[' * 100_000,
    ],
    ids=lambda metrics: str(metrics)[:30],
)
def test_damaged_metrics_are_refused(tmp_path, metrics):
    checkpoint.Checkpoints(str(tmp_path), read_only=False).save(1, {'params': {'a': np.zeros(1)}}, row(1, 0.5, 0.5))
    (tmp_path / 'checkpoints' / '1' / 'metrics' / 'metrics').write_text(
        metrics if isinstance(metrics, str) else json.dumps(metrics)
    )
    with pytest.raises(errors.InputError, match='1/metrics is missing or damaged, expected the metrics of an epoch'):
        checkpoint.Checkpoints(str(tmp_path)).metrics()
