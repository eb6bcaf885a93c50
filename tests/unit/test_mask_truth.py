import math

import numpy as np
import pytest
import scipy.stats

from experiments import mask_truth
from slr_jax import attribution, errors, files, metrics

PLANTED = np.array([True, False, True, False])


def test_scores_by_hand():
    # In order: planted, not, planted, not.
    found = mask_truth.score(np.array([4.0, 3.0, 2.0, -1.0]), PLANTED)
    assert found == pytest.approx(
        {
            'auroc': 3 / 4,
            'average_precision': (1 + 2 / 3) / 2,
            'precision_at_2': 1 / 2,
            'rank_accuracy': 1 / 2,
            'mass_accuracy': 6 / 9,
        }
    )
    assert set(mask_truth.score(np.array([2.0, 0.0, 1.0, -1.0]), PLANTED).values()) == {1.0}
    assert mask_truth.score(-np.ones(4), PLANTED)['mass_accuracy'] == 0


def test_chance_spreads_as_drawn_rankings_do():
    drawn = np.random.default_rng(0).random((4000, 21))
    aurocs = scipy.stats.mannwhitneyu(drawn[:, :10], drawn[:, 10:], axis=1).statistic / 110
    assert mask_truth.chance_deviation(21, 10, 1) == pytest.approx(aurocs.std(), rel=0.05)
    assert mask_truth.chance_deviation(21, 10, 4) == pytest.approx(mask_truth.chance_deviation(21, 10, 1) / 2)


@pytest.fixture(scope='module')
def tracks():
    """Task -> planted points (bool), labels, and motion <float>[clips, frames, points, 2] of the training clips."""
    found = {}
    for name in mask_truth.TASKS:
        dataset = mask_truth.make_dataset(name, 0)
        train = dataset.split('train')
        is_planted = np.isin(np.arange(21), dataset.description.informative_points)
        found[name] = is_planted, train.labels, np.array(train.landmarks)[..., :2]
    return found


def explained(values, labels):
    """<float>[points], the most of the variance of a number of a frame and axis that the label explains."""
    classes = np.unique(labels)
    means = np.array([values[labels == label].mean(axis=0) for label in classes])
    shares = np.array([(labels == label).mean() for label in classes])
    between = np.tensordot(shares, (means - values.mean(axis=0)) ** 2, 1)
    return (between / values.var(axis=0)).max(axis=(0, 2))


@pytest.mark.parametrize('name', ['present', 'redundant', 'variance', 'window'])
def test_planted_points_alone_say_the_class(tracks, name):
    is_planted, labels, motion = tracks[name]
    assert is_planted.sum() == 5
    found = explained(motion, labels)
    assert found[is_planted].min() > 2 * found[~is_planted].max()


def test_a_pair_says_the_class_together_only(tracks):
    is_planted, labels, motion = tracks['joint']
    assert is_planted.sum() == 2
    assert explained(motion, labels).max() < 0.1
    # Of each point two paths, told apart where they are farthest from each other; together they are the label.
    paths = []
    for point in np.flatnonzero(is_planted):
        spread = motion[:, :, point].reshape(len(labels), -1)
        values = spread[:, spread.std(axis=0).argmax()]
        paths.append(values > (values.min() + values.max()) / 2)
    agreement = ((paths[0] ^ paths[1]) == labels).mean()
    assert max(agreement, 1 - agreement) > 0.95


def test_copies_spread_and_windows(tracks):
    is_planted, _, motion = tracks['redundant']
    copies = motion[:, :, is_planted] - motion[:, :, is_planted].mean(axis=(0, 1))
    np.testing.assert_allclose(copies - copies[:, :, :1], 0, atol=0.1)
    is_planted, _, motion = tracks['variance']
    variance = motion.var(axis=(0, 1)).sum(axis=-1)
    assert variance[is_planted].mean() / variance[~is_planted].mean() == pytest.approx(0.01, rel=0.5)
    is_planted, labels, motion = tracks['window']
    always, labels_of_always, motion_of_always = tracks['present']
    assert explained(motion, labels)[is_planted].max() < explained(motion_of_always, labels_of_always)[always].min()


def test_shuffled_labels_say_nothing(tracks):
    is_planted, labels, motion = tracks['shuffled']
    assert is_planted.sum() == 10
    assert explained(motion, labels).max() < 0.1
    np.testing.assert_array_equal(np.bincount(labels, minlength=8) > 0, True)


def test_same_seed_same_data():
    first, again, other = (mask_truth.make_dataset('joint', seed).fingerprint() for seed in (0, 0, 1))
    assert first == again != other


def summary_of(aurocs):
    rows = [
        {
            'task': task,
            'seed': seed,
            'ranking': ranking,
            **dict.fromkeys(mask_truth._METRICS, auroc),
            'test_accuracy': 0.5 + 0.1 * seed,
        }
        for task, by_ranking in aurocs.items()
        for ranking, auroc in by_ranking.items()
        for seed in (0, 1)
    ]
    rows[0]['auroc'] -= 0.1
    return mask_truth.summarize(rows)


def test_the_page_says_what_fails():
    summary = summary_of(
        {
            'present': {'absolute': 1.0, 'random': 0.5},
            'joint': {'absolute': 0.7, 'random': 0.4},
            'shuffled': {'absolute': 0.61, 'random': 0.52},
        }
    )
    assert summary[0]['auroc'] == pytest.approx(0.95)
    assert summary[0]['auroc_std'] == pytest.approx(0.1 / math.sqrt(2))
    assert summary[0]['auroc_least'] == pytest.approx(0.9)
    lines = mask_truth.verdicts(summary)
    assert lines[0].startswith('present: the goal, 0.95 by the best ranking, holds; below it: random 0.500')
    assert 'joint: the goal, 0.95 by the best ranking, FAILS; below it: absolute 0.700, random 0.400' in lines[1]
    assert lines[2].startswith('absolute is the best on its worst of these tasks: 0.700')
    assert 'outside: absolute 0.610.' in lines[3]
    page = mask_truth.to_markdown(summary)
    assert '| absolute | 0.950 ± 0.071 | 0.700 ± 0.000 | 0.610 ± 0.000 |' in page
    low, high = metrics.mean_interval(0.55, 0.1 / math.sqrt(2), 2, 480)
    interval = f'95 % interval of clips and seeds {low:.1%} to {high:.1%}'
    assert f'test accuracy 55.0% ({interval}, 480 clips of all seeds)' in page
    assert len(mask_truth.draw(summary).axes[0].texts) == 6


def test_what_is_done_is_not_done_again(tmp_path, capsys):
    done = [
        {
            'task': 'present',
            'seed': 0,
            'ranking': name,
            **dict.fromkeys(mask_truth._METRICS, 0.5),
            'test_accuracy': 0.5,
        }
        for name in attribution.RANKINGS
    ]
    (tmp_path / 'runs' / 'present_0').mkdir(parents=True)
    files.write_json(str(tmp_path / 'runs' / 'present_0' / 'mask_truth.json'), {'rows': done})
    summary = mask_truth.compare(str(tmp_path), ['present'], 1)
    assert [row['ranking'] for row in summary] == list(attribution.RANKINGS)
    assert '---' not in capsys.readouterr().out.splitlines()[0]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {'runs', 'runs.csv', *(f'mask_truth.{kind}' for kind in ('csv', 'md', 'png', 'svg'))}


def test_unknown_task(tmp_path):
    with pytest.raises(errors.InputError, match=r'--tasks\b.*present,missing.*window'):
        mask_truth.compare(str(tmp_path), ['present', 'missing'], 1)
