import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from slr_jax import metrics


def test_wilson_interval():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    table = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)]
    for correct, clips, low, high in table:
        assert metrics.wilson_interval(correct, clips) == pytest.approx((low, high), abs=5e-5)
    assert metrics.wilson_interval(0, 0) == (0, 1)


def test_interval_of_a_mean_by_hand():
    """Its ends are the accuracies p0 that are z standard errors away, which p0(1 − p0) of the clips makes larger."""
    accuracies, clips = [0.60, 0.66, 0.75], 300
    mean, deviation = np.mean(accuracies), np.std(accuracies, ddof=1)
    of_clips, of_seeds = mean * (1 - mean) / clips, deviation**2 / 3
    z, t = scipy.stats.norm.ppf(0.975), scipy.stats.t.ppf(0.975, 2)
    scale = (z**2 * of_clips + t**2 * of_seeds) / (mean * (1 - mean))

    def too_far(accuracy):
        return (mean - accuracy) ** 2 - scale * accuracy * (1 - accuracy)

    expected = [scipy.optimize.brentq(too_far, 0, mean), scipy.optimize.brentq(too_far, mean, 1)]
    found = metrics.aggregate_runs(accuracies, clips)
    assert found['accuracy_interval95'] == pytest.approx(expected)
    assert expected[1] - expected[0] == pytest.approx(2 * np.sqrt(scale * mean * (1 - mean)), rel=0.1)
    assert (found['interval'], found['accuracy_std']) == ('clips and seeds', pytest.approx(deviation))


def test_interval_of_runs_that_do_not_differ_is_that_of_wilson():
    wilson = scipy.stats.binomtest(30, 40).proportion_ci(method='wilson')
    for accuracies, kind in (([0.75], 'clips alone (Wilson)'), ([0.75] * 3, 'clips and seeds')):
        found = metrics.aggregate_runs(accuracies, 40)
        assert found['accuracy_interval95'] == pytest.approx([wilson.low, wilson.high])
        assert found['interval'] == kind
    assert metrics.aggregate_runs([1.0, 1.0], 40)['accuracy_interval95'][1] == 1
    low, high = metrics.aggregate_runs([0.0, 1.0], 40)['accuracy_interval95']
    assert 0 <= low < 0.05 and 0.95 < high <= 1


@pytest.mark.parametrize('deviation', [0, 0.04, 0.1])
@pytest.mark.parametrize(('runs', 'clips'), [(2, 300), (3, 100), (3, 650), (10, 300)])
def test_interval_of_a_mean_covers_what_other_clips_and_seeds_would_give(deviation, runs, clips):
    """Of 1,000 simulated experiments: clips differ in how hard they are, seeds by `deviation` and from clip to clip."""
    rng = np.random.default_rng(0)
    for accuracy in (0.42, 0.63, 0.88):
        threshold = scipy.stats.norm.ppf(accuracy)
        of_seeds = deviation / scipy.stats.norm.pdf(threshold)
        of_clips, of_both = np.sqrt((1 - of_seeds**2) * np.array([0.75, 0.25]))
        margins = of_seeds * rng.standard_normal((1000, runs, 1), np.float32)
        margins = margins + of_clips * rng.standard_normal((1000, 1, clips), np.float32)
        margins += of_both * rng.standard_normal((1000, runs, clips), np.float32)
        found = (margins > -threshold).mean(axis=2)
        intervals = [metrics.aggregate_runs(of_runs, clips)['accuracy_interval95'] for of_runs in found.tolist()]
        assert np.mean([low <= accuracy <= high for low, high in intervals]) >= 0.93
        if deviation == 0.1:
            intervals = [metrics.wilson_interval(mean * clips, clips) for mean in found.mean(axis=1)]
            assert np.mean([low <= accuracy <= high for low, high in intervals]) < 0.9


def test_normal_interval_is_that_of_the_paper():
    assert 100 * metrics.normal_half_width(162, 258) == pytest.approx(5.90, abs=0.005)
    assert 100 * metrics.normal_half_width(953, 1101) == pytest.approx(2.01, abs=0.005)


def test_summary_of_hand_made_logits():
    logits = np.array([[3, 0, 0], [0, 2, 1], [2, 1, 0], [0, 1, 5]], np.float32)
    summary = metrics.compute_metrics(logits, np.array([0, 1, 1, 2]))
    assert summary['accuracy'] == 0.75
    assert summary['mean_per_class_accuracy'] == pytest.approx((1 + 0.5 + 1) / 3)
    assert summary['clips'] == 4
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert summary['loss'] == pytest.approx(-np.log(shares[np.arange(4), [0, 1, 1, 2]]).mean())


@pytest.mark.parametrize('num_classes', [1, 2, 5, 6])
def test_top5_only_of_more_than_five_classes(num_classes):
    found = metrics.compute_metrics(np.zeros((3, num_classes), np.float32), np.zeros(3, np.int32))
    assert ('top5' in found) == (num_classes > 5)


def test_caveats():
    assert metrics.caveats({'split': 'test', 'glosses': 3, 'signers_in_train': 0.0}) == []
    assert metrics.caveats({'split': 'test'}) == []
    assert metrics.caveats({'split': 'train', 'glosses': 3, 'signers_in_train': 1.0}) == []
    signers, one_class = metrics.caveats({'split': 'test', 'glosses': 1, 'signers_in_train': 0.25})
    assert signers.startswith('the signers of 25% of the test clips are in train, too')
    assert '--split_by=signer' in signers
    assert one_class == 'the test clips are all of one class'


def test_top5_counts_the_fifth_and_not_the_sixth():
    logits = np.tile(np.arange(8, 0, -1, dtype=np.float32), (2, 1))
    assert metrics.compute_metrics(logits, np.array([4, 5]))['top5'] == 0.5


def test_confusion_matrix():
    matrix = metrics.confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [1, 0, 0]])
