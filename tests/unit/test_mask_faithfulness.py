import dataclasses

import numpy as np
import pytest

from experiments import mask_faithfulness
from experiments.mask_faithfulness import Curve
from slr_jax import inference, models
from tests.conftest import make_tiny_config
from tests.unit import test_attribution


def test_orders_and_counts():
    importance = np.array([0.5, 2.0, -1.0, 2.0])
    assert mask_faithfulness.removal_order(importance, 'most_first').tolist() == [1, 3, 0, 2]
    assert mask_faithfulness.removal_order(importance, 'least_first').tolist() == [2, 0, 3, 1]
    counts = [mask_faithfulness.num_removed(x, 42) for x in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)]
    assert counts == [0, 4, 13, 21, 29, 38, 42]
    assert [mask_faithfulness.num_removed(x, 2) for x in (0.1, 0.9)] == [1, 1]


def test_the_mean_rank_over_seeds():
    importances = np.array([[10.0, 20.0, 30.0], [3.0, 1.0, 2.0]])
    np.testing.assert_array_equal(mask_faithfulness.mean_rank(importances), [(1 + 3) / 2, (2 + 1) / 2, (3 + 2) / 2])


@pytest.fixture(scope='module')
def linear(tiny_dataset):
    """A model that reads the mean frame, whose answers NumPy gives as well."""
    params, config = test_attribution.draw(test_attribution.Linear()), make_tiny_config('')
    loaded = inference.LoadedModel(
        test_attribution.Linear(), params, config, tiny_dataset.description, 1, {}, 'its step'
    )
    # Else it has one answer for all clips.
    params['classifier']['bias'] -= loaded.logits(tiny_dataset.split('train').landmarks).mean(axis=0)
    return loaded


def test_tracks_are_exchanged_as_in_numpy(linear, tiny_dataset):
    clips, order = tiny_dataset.split('train'), np.random.default_rng(3).permutation(21)
    removed = (0.0, 0.3, 1.0)
    found = mask_faithfulness.accuracy_without(linear, clips, order, removed, seed=5)
    features, rng = linear.features.compute(clips.landmarks), np.random.default_rng(5)
    expected = np.zeros((3, len(clips)))
    for _ in range(4):
        permuted = list(rng.permutation(len(clips)))
        for row, count in enumerate((0, 6, 21)):
            for i, clip in enumerate(features):
                other = features[permuted[permuted.index(i) - 1]]
                exchanged = clip.copy().reshape(len(clip), 21, 2)
                for t in range(len(clip)):
                    source = other[round(t * (len(other) - 1) / (len(clip) - 1))].reshape(21, 2)
                    exchanged[t, order[:count]] = source[order[:count]]
                mean = exchanged.reshape(len(clip), 42).mean(axis=0) * linear.params[models.ENCODER_MASK]
                kernel, bias = (linear.params['classifier'][name] for name in ('kernel', 'bias'))
                expected[row, i] += ((mean @ kernel + bias).argmax() == clips.labels[i]) / 4
    np.testing.assert_array_equal(found, expected)
    assert set(np.unique(found[0])) <= {0, 1}
    assert not np.array_equal(found[1], found[0])


def test_random_order_has_the_same_other_clips(linear, tiny_dataset):
    clips = tiny_dataset.split('train')
    order = mask_faithfulness.accuracy_without(linear, clips, np.arange(21), (0.0, 0.5, 1.0), seed=5)
    random = mask_faithfulness.accuracy_without(linear, clips, None, (0.0, 0.5, 1.0), seed=5)
    np.testing.assert_array_equal(random[[0, 2]], order[[0, 2]])
    assert not np.array_equal(random[1], order[1])


def curve(ranking, order, heights, test='exchange'):
    """Of 3 seeds and 40 clips, a share of which is right at each fraction."""
    correct = np.array([[np.arange(40) < round(40 * height)] * 3 for height in heights], float)
    return Curve(test, ranking, order, (0.0, 0.5, 1.0), correct)


def test_area_is_the_mean_height():
    found = curve('a', 'most_first', (1.0, 0.5, 0.0)).area
    assert found.shape == (3, 40)
    assert found.mean() == pytest.approx(0.5)
    shifted = dataclasses.replace(curve('a', 'most_first', (1.0, 0.25, 0.5)), removed=(0.1, 0.3, 0.9))
    assert shifted.area.mean() == pytest.approx((0.2 * 0.625 + 0.6 * 0.375) / 0.8)


@pytest.mark.slow
def test_verdicts():
    random = curve('random', 'random', (1.0, 0.5, 0.0))
    curves = [
        random,
        curve('good', 'most_first', (1.0, 0.1, 0.0)),
        curve('good', 'least_first', (1.0, 0.9, 0.0)),
        curve('half', 'most_first', (1.0, 0.1, 0.0)),
        curve('half', 'least_first', (1.0, 0.5, 0.0)),
        curve('nothing', 'most_first', (1.0, 0.5, 0.0)),
        curve('nothing', 'least_first', (1.0, 0.5, 0.0)),
        curve('wrong', 'most_first', (1.0, 0.9, 0.0)),
        curve('wrong', 'least_first', (1.0, 0.1, 0.0)),
    ]
    summary = mask_faithfulness.summarize(curves)
    assert summary[0]['most_first'] == pytest.approx(0.4 / 2)
    assert summary[0]['between'] == pytest.approx(0.8 / 2)
    assert summary[0]['most_first_low'] < 0.2 < summary[0]['most_first_high']
    lines = mask_faithfulness.verdicts(summary)
    assert lines[0].startswith('exchange, good: beats random in both orders, by +20.0 points (95 % interval +')
    assert 'half: beats random only where the most important are removed first; the orders disagree:' in lines[1]
    assert 'nothing: does not beat random in either order: better by +0.0' in lines[2]
    assert 'wrong: does not beat random in either order, and is worse than random in both: better by -20.0' in lines[3]
    page = mask_faithfulness.to_markdown(curves, summary, 'tiny')
    assert '| good | most first | 100.0% | 10.0% | 0.0% |' in page
    assert 'arXiv 2304.13836' in page
    assert len(mask_faithfulness.draw(curves).axes) == 4
    rows = mask_faithfulness.run_rows(curves)
    assert len(rows) == 9 * 3 * 3
    assert rows[3] == {
        **{'test': 'exchange', 'ranking': 'random', 'order': 'random', 'removed': 0.5, 'seed': 0, 'accuracy': 0.5}
    }
