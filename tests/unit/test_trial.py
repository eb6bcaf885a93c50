"""What looks wrong in the clips that a run learns from."""

import numpy as np
import pytest

from slr_jax import dataset as dataset_lib
from slr_jax import errors
from slr_jax.trial import TrainingClips
from tests.conftest import make_tiny_config


def make(change=None, labels=(0, 1, 0, 1), num_validation=12):
    """Clips of one hand; the first four train, the others validate."""
    labels = [*labels, *(i % 2 for i in range(num_validation))]
    clips = list(np.random.default_rng(0).uniform(0.1, 0.9, (len(labels), 5, 21, 3)).astype(np.float32))
    for clip in clips:
        if change:
            change(clip)
    splits = ['train'] * 4 + ['validation'] * num_validation
    return dataset_lib.Dataset.from_clips(
        dataset_lib.Description('signs', 'mediapipe_hand', 'ab'), clips, labels, splits
    )


def describe(dataset, **config):
    return TrainingClips(dataset, make_tiny_config('signs', validation='split', **config)).description


def test_nothing_is_said_of_good_clips():
    assert 'warning' not in describe(make())


def test_a_missing_wrist_is_refused_where_fingers_are_relative_to_it():
    dataset = make(lambda clip: clip[:, 0].fill(np.nan))
    cause = "signs: nothing can be learned, as .* of hand .* training clips: wrist is missing where the .*'centered'"
    for more in ({}, {'presence': True, 'differences': 1}, {'augment': {'rotation': 10.0}}):
        with pytest.raises(errors.InputError, match=cause):
            describe(dataset, normalize='centered', missing_value=0.0, **more)
    assert 'warning' not in describe(dataset, normalize='none')


def test_clips_that_never_change_are_refused():
    with pytest.raises(errors.InputError, match='signs: nothing can be learned, as nearly all features of hand are'):
        describe(make(lambda clip: clip.fill(0.25)), copies='warn')


def test_clips_that_are_nearly_always_missing_are_named():
    assert 'warning: nearly all features of hand are missing' in describe(make(lambda clip: clip[:, 1:].fill(np.nan)))


@pytest.mark.parametrize(
    ('num_validation', 'expected'), [(1, '1 validation clip selects'), (9, '9 validation clips select'), (10, '')]
)
def test_few_validation_clips(num_validation, expected):
    found = describe(make(num_validation=num_validation))
    assert expected in found
    assert ('warning' in found) == bool(expected)


def test_validation_of_one_class():
    dataset = make()
    one = dataset.splits['validation']
    one = one.take(np.repeat(np.flatnonzero(one.labels == 0), 2))
    dataset = dataset_lib.Dataset(dataset.description, {**dataset.splits, 'validation': one})
    assert 'all validation clips, which select the checkpoint, are of one class' in describe(dataset)
