"""How many points are needed: the tables, the choice and the pictures of fabricated answers."""

import math

import numpy as np
import pytest

from experiments import recipes, sparse_masks
from experiments.sparse_masks import ALL, ALONE, GATES, RANDOM, Answers
from preprocessing import synthetic
from preprocessing.formats import tfds_writer
from slr_jax import errors, landmarks, metrics

LAYOUT = landmarks.LAYOUTS['mediapipe_hand']


@pytest.fixture(scope='module')
def experiment(tiny_dir, tmp_path_factory):
    return sparse_masks.Experiment(tiny_dir, str(tmp_path_factory.mktemp('out')), 2, recipes.small_class_query())


def answers_of(num_points, num_correct, num_clips=100, shares=None):
    """Of two seeds with these numbers of points, and of right answers of 100 clips in both splits."""
    opening = [np.arange(21) < count for count in num_points]
    correct = np.array([np.arange(num_clips) < count for count in num_correct])
    return Answers((0, 1), dict.fromkeys(('validation', 'test'), correct), np.array(opening, float))


FOUND = {
    (ALL, None): answers_of((21, 21), (80, 80)),
    (GATES, 1.0): answers_of((11, 13), (70, 74)),
    (ALONE, 1.0): answers_of((13, 13), (78, 76)),
    (RANDOM, 1.0): answers_of((13, 13), (60, 64)),
    (GATES, 2.0): answers_of((1, 4), (50, 50)),
    (ALONE, 2.0): answers_of((4, 4), (75, 76)),
    (RANDOM, 2.0): answers_of((4, 4), (50, 50)),
}


def test_means_and_what_is_kept_by_hand():
    rows = {(row['model'], row['price']): row for row in sparse_masks.summarize(FOUND)}
    row = rows[GATES, 1.0]
    assert (row['points'], row['points_std']) == (12, pytest.approx(math.sqrt(2)))
    assert row['test_accuracy'] == pytest.approx(0.72)
    assert row['test_std'] == pytest.approx(0.04 / math.sqrt(2))
    assert (row['test_low'], row['test_high']) == pytest.approx(
        metrics.mean_interval(0.72, 0.04 / math.sqrt(2), 2, 100)
    )
    assert FOUND[GATES, 1.0].kept.tolist() == list(range(13))
    assert FOUND[GATES, 2.0].kept.tolist() == list(range(4))


def test_the_fewest_points_within_one_standard_error_are_favored():
    """The best is 80 % of 100 clips, and its standard error 4 %: 77 % is within it, and 75.5 % is not."""
    assert sparse_masks.choose(sparse_masks.summarize(FOUND))['price'] == 1.0
    nearer = FOUND | {(ALONE, 2.0): answers_of((4, 4), (76, 76))}
    assert sparse_masks.choose(sparse_masks.summarize(nearer))['price'] == 2.0
    # Models with gates and random points are none that one would use.
    worse = FOUND | {(ALONE, 1.0): answers_of((13, 13), (70, 70)), (RANDOM, 2.0): answers_of((4, 4), (99, 99))}
    assert sparse_masks.choose(sparse_masks.summarize(worse))['model'] == ALL


def test_the_page_gives_the_answer_and_its_interval(experiment):
    page = sparse_masks.to_markdown(experiment, FOUND, quick=True)
    assert '**13 of 21 points**, those of price 1' in page
    assert '| with gates | 1 | 12.0 | 1.4 | 72.0% | 2.8 |' in page
    assert 'Kept points alone − all points: -3.0 percentage points (95 % interval' in page
    assert 'Kept points alone − random points alone: +15.0 percentage points' in page
    assert '60 epochs, quick' in page
    only = {key: FOUND[key] for key in ((ALL, None), (GATES, 2.0))}
    assert '**All 21 points**' in sparse_masks.to_markdown(experiment, only, quick=False)
    assert sparse_masks.points_json(experiment, only)['chosen'] is None
    assert 'all points' in sparse_masks.draw_kept(experiment, only).get_suptitle()
    assert 'price 1, favored: as weights' in sparse_masks.draw_kept(experiment, FOUND).get_suptitle()
    worse = FOUND | {(ALONE, 1.0): answers_of((13, 13), (70, 70))}
    assert 'price 2, the best of those' in sparse_masks.draw_kept(experiment, worse).get_suptitle()
    nothing = {**only, (GATES, 2.0): answers_of((0, 0), (1, 1))}
    assert sparse_masks.points_json(experiment, nothing)['prices']['2']['command'] is None
    axes = sparse_masks.draw(sparse_masks.summarize(FOUND)).axes
    assert [text.get_text() for text in axes[0].texts] == ['price 2', 'price 1']


@pytest.mark.parametrize('words', [[], ['a'], ['0'], ['-1'], ['1', '1.0'], ['nan'], ['inf'], ['1', '']])
def test_bad_prices_are_refused(words):
    with pytest.raises(errors.InputError, match=rf'--prices is {",".join(words)}, expected numbers above 0'):
        sparse_masks.parse_prices(words)
    assert sparse_masks.parse_prices(['3', '0.5']) == [0.5, 3.0]


def test_a_dataset_without_validation_is_refused(tmp_path):
    dataset = synthetic.make_dataset('no_validation', LAYOUT, 2, {'train': 2, 'test': 2}, seed=1)
    path = tfds_writer.write_dataset(dataset, str(tmp_path))
    with pytest.raises(errors.InputError, match=r'no_validation.*validation'):
        sparse_masks.Experiment(path, str(tmp_path / 'out'), 2, recipes.small_class_query())
