"""How many points are needed, where the planted ones are known: from training to the command that trains them alone."""

import csv

import numpy as np
import pytest

from experiments import recipes, sparse_masks
from experiments.sparse_masks import ALL, ALONE, GATES, RANDOM
from preprocessing import synthetic
from preprocessing.formats import tfds_writer
from slr_jax import errors, files, landmarks, train_lib
from tests import in_process

LAYOUT = landmarks.LAYOUTS['mediapipe_hand']
TINY = {'num_layers': 1, 'mlp_dim': 16, 'num_frames': 8, 'batch_size': 12, 'num_epochs': 30, 'learning_rate': 0.002}
TINY |= {'warmup_epochs': 1.0, 'dropout_rate': 0.0, 'gate_rate': 10.0}


def make_experiment(dataset, output_dir, **fields):
    config = recipes.small_class_query()
    config.update(TINY | fields)
    return sparse_masks.Experiment(dataset, str(output_dir), 1, config)


@pytest.fixture(scope='module')
def planted(tmp_path_factory):
    """The dataset, its directory, an experiment that is done, and where it wrote."""
    root = tmp_path_factory.mktemp('planted')
    counts = {'train': 40, 'validation': 8, 'test': 8}
    dataset = synthetic.make_dataset('planted', LAYOUT, 3, counts, seed=1)
    path = tfds_writer.write_dataset(dataset, str(root / 'data'))
    experiment = make_experiment(path, root / 'out')
    found = sparse_masks.compare(experiment, [1.0])
    sparse_masks.write(experiment, found, str(root / 'out'))
    return dataset.description.informative_points, path, found, root / 'out'


def test_the_planted_points_are_kept_and_enough(planted):
    informative, _, found, _ = planted
    assert found[ALL, None].num_points.tolist() == [21]
    assert found[GATES, 1.0].kept.tolist() == list(informative)
    assert np.flatnonzero(found[ALONE, 1.0].opening[0]).tolist() == list(informative)
    assert found[RANDOM, 1.0].num_points.tolist() == [5]
    for model, price in ((ALL, None), (GATES, 1.0), (ALONE, 1.0)):
        assert found[model, price].correct['test'].mean() > 0.9


def test_everything_is_written(planted):
    informative, path, _, out = planted
    pictures = {f'{name}.{kind}' for name in ('sparse_masks', 'kept_points') for kind in ('png', 'svg')}
    assert {x.name for x in out.iterdir()} == {
        'runs', 'runs.csv', 'sparse_masks.csv', 'sparse_masks.md', 'points.json', *pictures
    }  # fmt: skip
    with open(out / 'runs.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['model'], row['price'], row['points']) for row in rows] == [
        (ALL, '', '21'), (GATES, '1.0', '5'), (ALONE, '1.0', '5'), (RANDOM, '1.0', '5')
    ]  # fmt: skip
    points = files.read_json(str(out / 'points.json'))
    assert points['chosen'] == '1'
    names = [LAYOUT.points[point] for point in informative]
    assert points['prices']['1']['points'] == names
    assert sum(points['prices']['1']['seeds'].values()) == 5
    page = (out / 'sparse_masks.md').read_text()
    assert page.startswith('# planted: how many of 21 points are needed')
    assert '**5 of 21 points**, those of price 1' in page
    assert '24 validation clips, 24 test clips' in page
    assert f'--config.dataset={path}' in points['prices']['1']['command']


def test_the_command_trains_the_kept_points_alone(planted, tmp_path, capfd, monkeypatch):
    """It is the run that was trained: its workdir is taken for it, and nothing is left to do."""
    *_, out = planted
    command = files.read_json(str(out / 'points.json'))['prices']['1']['command']
    words = in_process.argv(command.replace('runs/kept_points', str(out / 'runs' / 'kept_1.0')))
    assert words[:3] == ['python', '-m', 'slr_jax.train']
    before = in_process.snapshot(out)
    assert in_process.run_here(words[2:], capfd, monkeypatch)[0] == 0
    changed = {path for path, stat in in_process.snapshot(out).items() if before.get(path) != stat}
    assert not {path for path in changed if 'checkpoints' in path}


def test_what_is_done_is_not_done_again(planted, monkeypatch):
    _, path, found, out = planted
    monkeypatch.setattr(train_lib, 'train_and_evaluate', None)
    again = sparse_masks.compare(make_experiment(path, out), [1.0])
    assert sparse_masks.make_runs(again) == sparse_masks.make_runs(found)
    monkeypatch.undo()
    with pytest.raises(errors.InputError, match=r'all_points holds another run.*config\.mlp_dim is 16 there and 8'):
        sparse_masks.compare(make_experiment(path, out, mlp_dim=8), [1.0])


def test_as_many_points_as_there_are_need_no_training(planted, monkeypatch):
    _, path, found, out = planted
    monkeypatch.setattr(train_lib, 'train_and_evaluate', None)
    experiment = make_experiment(path, out)
    for answers in (experiment.train_alone(np.arange(21), 'kept_0.1'), experiment.train_random(21)):
        np.testing.assert_array_equal(answers.correct['test'], found[ALL, None].correct['test'])
