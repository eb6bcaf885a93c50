"""Training goes on from the checkpoint before a damaged one, and says so; other commands name the damaged one."""

import shutil

import numpy as np
import pytest

from slr_jax import checkpoint, errors, train_lib
from tests.conftest import make_tiny_config
from tests.workdirs import assert_equal_runs

STEPS = (4, 8, 12)
SEEDS = (3, 1)


def train(dataset, workdir, **fields):
    train_lib.train_and_evaluate(make_tiny_config(dataset, num_epochs=3, **fields), str(workdir))
    return workdir


@pytest.fixture(scope='module')
def run(tiny_dir, tmp_path_factory):
    return train(tiny_dir, tmp_path_factory.mktemp('run') / 'w')


@pytest.fixture(scope='module')
def together(tiny_dir, tmp_path_factory):
    return train(tiny_dir, tmp_path_factory.mktemp('together') / 'w', seeds=SEEDS, runs_at_once=2)


def cut(step):
    for path in [path for path in step.rglob('*') if path.is_file()]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(step):
    for path in [path for path in step.rglob('*') if path.is_file()]:
        path.write_bytes(bytes(path.stat().st_size))


def empty(step):
    shutil.rmtree(step)
    step.mkdir()


def lose_training(step):
    shutil.rmtree(step / 'training')


def lose_metrics(step):
    shutil.rmtree(step / 'metrics')


def assert_equal_runs_and_checkpoints(workdir, expected):
    assert_equal_runs(workdir, expected)
    steps = [sorted(path.name for path in (folder / 'checkpoints').iterdir()) for folder in (workdir, expected)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize(
    'damage', [cut, lose_training, *(pytest.param(x, marks=pytest.mark.long) for x in (zero, empty, lose_metrics))]
)
def test_the_one_before_is_taken(tiny_dir, run, tmp_path, capsys, damage):
    workdir = shutil.copytree(run, tmp_path / 'w')
    newest = workdir / 'checkpoints' / str(STEPS[-1])
    damage(newest)
    if damage is not lose_training:
        with pytest.raises(errors.InputError, match=rf'{newest}\b.* damaged'):
            checkpoint.load_model(str(workdir), 'latest')
    capsys.readouterr()
    train(tiny_dir, workdir)
    printed = capsys.readouterr().out
    assert f'left out: {newest}' in printed
    assert 'going on after epoch 2\n' in printed
    assert_equal_runs_and_checkpoints(workdir, run)


def test_all_runs_of_a_group_go_back(tiny_dir, together, tmp_path, capsys):
    workdir = shutil.copytree(together, tmp_path / 'w')
    newest = workdir / f'seed_{SEEDS[1]}' / 'checkpoints' / str(STEPS[-1])
    cut(newest)
    capsys.readouterr()
    train(tiny_dir, workdir, seeds=SEEDS, runs_at_once=2)
    printed = capsys.readouterr().out
    assert f'left out: {newest}' in printed
    assert 'going on after epoch 2\n' in printed
    for seed in SEEDS:
        assert_equal_runs_and_checkpoints(workdir / f'seed_{seed}', together / f'seed_{seed}')


def test_where_all_are_damaged_nothing_is_changed(tiny_dir, run, tmp_path):
    workdir = shutil.copytree(run, tmp_path / 'w')
    for step in (workdir / 'checkpoints').iterdir():
        lose_metrics(step)
    with pytest.raises(errors.InputError, match=rf'checkpoints/{STEPS[-1]}/metrics\b'):
        train(tiny_dir, workdir)
    assert sorted(int(path.name) for path in (workdir / 'checkpoints').iterdir()) == sorted(
        int(path.name) for path in (run / 'checkpoints').iterdir()
    )


def test_a_killed_deletion_leaves_no_checkpoint_in_part(run, tmp_path):
    workdir = shutil.copytree(run, tmp_path / 'w')
    folder = workdir / 'checkpoints'
    (folder / '.unfinished').mkdir()
    shutil.copytree(folder / str(STEPS[-1]) / 'metrics', folder / '.unfinished' / '1')
    found = checkpoint.Checkpoints(str(workdir)).steps()
    assert found == sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    checkpoint.Checkpoints(str(workdir), read_only=False).delete_after(STEPS[-2])
    assert max(checkpoint.Checkpoints(str(workdir)).steps()) == STEPS[-2]
    assert not (folder / '.unfinished').exists()


def test_a_checkpoint_with_damaged_metrics_is_kept(tmp_path):
    tree = {'params': {'a': np.zeros(2)}}
    metrics = {'epoch': 1, 'validation_accuracy': 0.5, 'validation_loss': 1.0}
    checkpoint.Checkpoints(str(tmp_path), read_only=False).save(1, tree, metrics)
    lose_metrics(tmp_path / 'checkpoints' / '1')
    checkpoints = checkpoint.Checkpoints(str(tmp_path), read_only=False)
    for step in (2, 3, 4):
        checkpoints.save(step, tree, metrics | {'epoch': step, 'validation_accuracy': 0.1 * step})
    assert checkpoint.Checkpoints(str(tmp_path)).steps() == [1, 3, 4]
