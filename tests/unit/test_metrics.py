import numpy as np
import pytest

from slr_jax import metrics


def test_wilson_interval():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    table = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)]
    for correct, clips, low, high in table:
        assert metrics.wilson_interval(correct, clips) == pytest.approx((low, high), abs=5e-5)
    assert metrics.wilson_interval(0, 0) == (0, 1)


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
