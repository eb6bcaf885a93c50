import numpy as np
import pytest

from preprocessing import synthetic
from slr_jax import errors, landmarks

HAND = landmarks.LAYOUTS['mediapipe_hand']
COUNTS = {'train': 20, 'validation': 0, 'test': 20}


@pytest.fixture(scope='module')
def dataset():
    return synthetic.make_dataset('s', HAND, 4, COUNTS, seed=3)


def resample(clips):
    """<float>[clips, points, 32], 16 frames around the clip's own mean."""
    features = []
    for clip in clips.landmarks:
        xy = clip[~np.isnan(clip[..., 0]).any(axis=1), :, :2]
        xy = xy[np.linspace(0, len(xy) - 1, 16).round().astype(int)]
        features.append((xy - xy.mean(axis=(0, 1))).transpose(1, 0, 2).reshape(HAND.num_points, -1))
    return np.array(features)


def test_only_the_known_points_tell_the_classes_apart(dataset):
    train, test = dataset.splits['train'], dataset.splits['test']
    known = list(dataset.description.informative_points)
    others = [point for point in range(HAND.num_points) if point not in known]
    x, y = resample(train), resample(test)

    def accuracy(points):
        means = np.array([x[train.labels == label][:, points].mean(axis=0) for label in range(4)])
        distance = ((y[:, None, points] - means) ** 2).sum(axis=(2, 3))
        return (distance.argmin(axis=1) == test.labels).mean()

    assert accuracy(known) > 0.9
    assert accuracy(others) < 0.45
    assert min(accuracy([point]) for point in known) > max(accuracy([point]) for point in others)


def test_all_points_move_as_much(dataset):
    paths = resample(dataset.splits['train'])
    motion = paths.reshape(*paths.shape[:2], 16, 2).var(axis=2).mean(axis=(0, 2))
    known = list(dataset.description.informative_points)
    others = [point for point in range(HAND.num_points) if point not in known]
    assert 0.8 < motion[known].mean() / motion[others].mean() < 1.25


def test_same_seed_same_data(dataset):
    assert synthetic.make_dataset('s', HAND, 4, COUNTS, seed=3).fingerprint() == dataset.fingerprint()
    assert synthetic.make_dataset('s', HAND, 4, COUNTS, seed=4).fingerprint() != dataset.fingerprint()


@pytest.mark.parametrize('layout', landmarks.LAYOUTS.values(), ids=lambda layout: layout.name)
def test_every_layout(layout):
    dataset = synthetic.make_dataset('s', layout, 2, {'train': 2, 'test': 1}, seed=0, informative_points=[1, 3])
    assert dataset.description.informative_points == (1, 3)
    assert sorted(dataset.splits['train'].labels) == [0, 0, 1, 1]
    clip = dataset.splits['test'].landmarks[0]
    assert clip.shape[1:] == (layout.num_points, 3)
    assert -0.5 < np.nanmin(clip[..., :2]) < np.nanmax(clip[..., :2]) < 1.5


def test_points_must_be_of_the_layout():
    with pytest.raises(errors.InputError, match=r'informative_points are \[21\], expected some of 0 to 20'):
        synthetic.make_dataset('s', HAND, 2, COUNTS, seed=0, informative_points=[21])
    with pytest.raises(errors.InputError, match='num_informative is 22, but layout mediapipe_hand has 21'):
        synthetic.make_dataset('s', HAND, 2, COUNTS, seed=0, num_informative=22)
