import numpy as np
import pytest
import scipy.stats

from experiments import cross_validation
from slr_jax import errors, files, metrics
from slr_jax import workdir as workdir_lib
from tests.conftest import make_tiny_config

# Recipe -> accuracies of the folds 0 and 1 of repeat 0, then of repeat 1. Fold 0 has 30 clips, fold 1 has 20.
ACCURACIES = {
    'today': (0.5, 0.4, 0.6, 0.5),
    'better': (0.7, 0.65, 0.8, 0.6),
    'other': (0.5, 0.6, 0.5, 0.7),
    'the same': (0.5, 0.4, 0.6, 0.5),
    'broken': (0.7, None, 0.7, 0.7),
}
NUM_PARAMETERS = {name: 1000 + number for number, name in enumerate(ACCURACIES)}


def make_rows(accuracies):
    return [
        {
            'recipe': recipe,
            'repeat': number // 2,
            'fold': number % 2,
            'training_clips': (20, 30)[number % 2],
            'clips': (30, 20)[number % 2],
            'accuracy': accuracy,
            'epochs': 4,
            'minutes': number,
            'diverged': '' if accuracy is not None else 'the loss of step 3 is nan',
        }
        for recipe, of_recipe in accuracies.items()
        for number, accuracy in enumerate(of_recipe)
    ]


@pytest.fixture(scope='module')
def table():
    summary = cross_validation.summarize(make_rows(ACCURACIES), NUM_PARAMETERS)
    assert [row['recipe'] for row in summary] == list(ACCURACIES)
    return {row['recipe']: row for row in summary}


def test_accuracy_is_the_mean_over_repeats_of_all_clips(table):
    """(15 + 8) / 50 and (18 + 10) / 50."""
    row = table['today']
    assert row['accuracy'] == pytest.approx(0.51)
    assert (row['interval95_low'], row['interval95_high']) == pytest.approx(
        metrics.mean_interval(0.51, 0.05 * 2**0.5, 2, 50)
    )
    assert (row['clips'], row['parameters'], row['epochs'], row['minutes']) == (50, 1000, 4, 1.5)
    assert row['difference'] is row['p_value'] is row['p_value_holm'] is None


@pytest.mark.parametrize('recipe', ['better', 'other'])
def test_differences_by_hand(table, recipe):
    row = table[recipe]
    differences = np.subtract(ACCURACIES[recipe], ACCURACIES['today'])
    # Of 4 folds, with as many clips held out as trained on.
    error = np.sqrt((1 / 4 + 1) * np.var(differences, ddof=1))
    assert row['difference'] == pytest.approx(differences.mean())
    interval = scipy.stats.t.interval(0.95, 3, differences.mean(), error)
    assert (row['difference95_low'], row['difference95_high']) == pytest.approx(interval)
    assert row['p_value'] == pytest.approx(2 * scipy.stats.t.sf(abs(differences.mean()) / error, 3))


def test_holm_counts_the_rows_that_are_compared(table):
    assert table['better']['p_value'] < table['other']['p_value'] < table['the same']['p_value'] == 1
    assert table['better']['p_value_holm'] == pytest.approx(3 * table['better']['p_value'])
    assert table['other']['p_value_holm'] == pytest.approx(min(1, 2 * table['other']['p_value']))


def test_a_recipe_that_diverged_has_no_numbers(table):
    row = table['broken']
    assert row['diverged'] == 'fold 1 of repeat 0'
    assert row['accuracy'] is row['difference'] is row['p_value_holm'] is None


def test_where_the_first_diverged_there_are_no_differences():
    rows = make_rows({'today': ACCURACIES['broken'], 'better': ACCURACIES['better']})
    first, other = cross_validation.summarize(rows, NUM_PARAMETERS)
    assert first['accuracy'] is other['difference'] is None
    assert other['accuracy'] == pytest.approx((34 + 36) / 100)


def test_the_table_in_percent_and_points(table):
    lines = cross_validation.to_markdown(list(table.values())).splitlines()
    assert len({line.count('|') for line in lines}) == 1
    assert lines[2].startswith('| today | 51.0% | 10.7 to 90.0 |  |')
    cells = lines[3].split(' | ')
    assert cells[1:4] == ['70.0%', '39.7 to 89.2', '+18.8']
    assert float(cells[5]) == pytest.approx(table['better']['p_value'], abs=1e-3)
    assert '| the same | 51.0% | 10.7 to 90.0 | +0.0 | +0.0 to +0.0 | 1.000 | 1.000 | 1,003 | 4 | 1.5 |' in lines
    assert lines[6].startswith('| broken | diverged: fold 1 of repeat 0 |')


def test_the_figure_has_a_dot_for_each_difference(table):
    (ax,) = cross_validation.draw(list(table.values())).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ['better', 'other', 'the same']
    dots = ax.containers[0].lines[0].get_xydata()
    np.testing.assert_allclose(dots, [[18.75, 0], [7.5, 1], [0, 2]], atol=1e-9)
    assert 'today' in ax.get_xlabel()


def make_training(path, accuracies, diverged='', **fields):
    """The workdir of two folds, each with these validation accuracies, one per epoch of 3 steps."""
    path.mkdir()
    workdir_lib.write_index(
        str(path),
        [workdir_lib.RunEntry('a', {}, 0, fold=0), workdir_lib.RunEntry('b', {}, 0, diverged, fold=1)],
    )
    numbers = {'train_loss': 1, 'train_accuracy': 0.5, 'learning_rate': 0.1, 'clips_per_second': 2}
    numbers['validation_loss'] = 1.0
    epochs = enumerate(accuracies, start=1)
    rows = [{'epoch': epoch, 'step': 3 * epoch, 'validation_accuracy': found} | numbers for epoch, found in epochs]
    for name in 'ab' if rows else '':
        (path / name).mkdir()
        files.write_csv(str(path / name / 'metrics.csv'), rows)
    config = make_tiny_config('d', num_folds=2, **fields)
    return cross_validation.Training('today', 1, config, str(path), [(20, 30), (30, 20)], 1000)


def test_the_last_epoch_counts_and_not_the_best(tmp_path):
    rows = cross_validation.read_folds(make_training(tmp_path / 'w', [0.2, 0.9, 0.4], num_epochs=3))
    assert [(row['fold'], row['clips'], row['accuracy'], row['epochs']) for row in rows] == [
        (0, 30, 0.4, 3),
        (1, 20, 0.4, 3),
    ]
    assert [row['minutes'] for row in rows] == [0.5, 0.75]


def test_a_fold_that_has_not_ended_is_not_done(tmp_path):
    assert cross_validation.read_folds(make_training(tmp_path / 'none', [], num_epochs=3)) is None
    assert cross_validation.read_folds(make_training(tmp_path / 'epochs', [0.2, 0.9], num_epochs=3)) is None
    assert cross_validation.read_folds(make_training(tmp_path / 'steps', [0.2, 0.9], num_steps=7)) is None
    assert cross_validation.read_folds(make_training(tmp_path / 'enough', [0.2, 0.9], num_steps=6))
    diverged = make_training(tmp_path / 'diverged', [0.2, 0.9], 'the loss of step 6 is nan', num_epochs=2)
    assert [row['accuracy'] for row in cross_validation.read_folds(diverged)] == [0.9, None]


def test_damaged_metrics_are_named(tmp_path):
    training = make_training(tmp_path / 'w', [0.2], num_epochs=1)
    path = tmp_path / 'w' / 'b' / 'metrics.csv'
    path.write_text('epoch,step\n1,3\n')
    with pytest.raises(errors.InputError, match=rf"{path} is damaged.*no column 'train_loss', expected rows of epoch"):
        cross_validation.read_folds(training)
