"""Makes a dataset of moving hands in which only a few points, the informative ones, differ between classes.

    python -m preprocessing.synthetic --data_dir=D

Every point of a clip follows one of `num_classes` paths of its own. The informative points follow the path of the
clip's class; every other point follows one drawn for it alone, clip by clip. So all points move alike, and no other
point, nor any group of them, says anything about the class. The informative points are stored in the dataset: they are
what a learned mask ought to find.
"""

from absl import flags
import numpy as np

from preprocessing.formats import tfds_writer
from slr_jax import cli, errors
from slr_jax import dataset as dataset_lib
from slr_jax import landmarks as landmarks_lib

_MIN_FRAMES, _MAX_FRAMES = 20, 32
_GROUP_WIDTH = {'body': 0.45}
_HAND_WIDTH = 0.12
_GROUP_CENTRE = {'right_hand': (0.3, 0.6), 'left_hand': (0.7, 0.6), 'hand_0': (0.3, 0.6), 'hand_1': (0.7, 0.6)}
_MISSING_SHARE = 0.05


def make_dataset(
    name: str,
    layout: landmarks_lib.Layout,
    num_classes: int,
    clips_per_class: dict[str, int],
    seed: int,
    informative_points: list[int] | None = None,
    num_informative: int = 5,
) -> dataset_lib.Dataset:
    """Makes a dataset.

    Args:
        name: of the dataset.
        layout: of the landmarks.
        num_classes: number of classes.
        clips_per_class: split -> clips of each class.
        seed: of everything drawn.
        informative_points: the points that tell the classes apart, or None to draw `num_informative` of them.
        num_informative: see informative_points.

    Raises:
        InputError: a point is not one of the layout, or there are too many.
    """
    rng = np.random.default_rng(seed)
    if informative_points is None:
        if num_informative > layout.num_points:
            raise errors.InputError(
                f'num_informative is {num_informative}, but layout {layout.name} has {layout.num_points}'
            )
        informative_points = rng.choice(layout.num_points, num_informative, replace=False).tolist()
    outside = [point for point in informative_points if not 0 <= point < layout.num_points]
    if outside or not informative_points:
        raise errors.InputError(
            f'informative_points are {informative_points}, expected some of 0 to {layout.num_points - 1}'
        )
    paths = _Paths(rng, num_classes, layout.num_points)
    splits, first = {}, 0
    for split, count in clips_per_class.items():
        if count:
            labels = rng.permutation(np.repeat(np.arange(num_classes, dtype=np.int32), count))
            splits[split] = dataset_lib.Clips(
                landmarks=[_make_clip(rng, layout, paths, informative_points, label) for label in labels],
                labels=labels,
                video_ids=[f'{split}_{i:05d}' for i in range(len(labels))],
                signers=[''] * len(labels),
                index=np.arange(len(labels)) + first,
            )
            first += len(labels)
    description = dataset_lib.Description(
        name,
        layout.name,
        [f'sign_{label}' for label in range(num_classes)],
        informative_points=sorted(informative_points),
        source={'kind': 'synthetic', 'seed': seed},
    )
    return dataset_lib.Dataset(description, splits)


class _Paths:
    """For every point and class, a closed path of two sine waves in x and y, all of the same mean square."""

    def __init__(self, rng: np.random.Generator, num_classes: int, num_points: int) -> None:
        self.num_classes = num_classes
        shape = (num_points, num_classes, 2, 2)  # point, class, wave, axis
        amplitude = rng.uniform(0.2, 1, shape)
        self._amplitude = amplitude / np.sqrt((amplitude**2).sum(axis=(2, 3), keepdims=True))
        self._phase = rng.uniform(0, 2 * np.pi, shape)
        self._offset = rng.normal(0, 1, (num_points, num_classes, 2))

    def positions(self, path_of_point: np.ndarray, time: np.ndarray) -> np.ndarray:
        """<int>[points], <float>[frames] in turns -> <float>[frames, points, 2], standard deviation about 1."""
        points = np.arange(len(path_of_point))
        amplitude, phase = self._amplitude[points, path_of_point], self._phase[points, path_of_point]
        turns = np.array([1.0, 2.0])[:, None]
        angle = 2 * np.pi * turns * time[:, None, None, None] + phase
        return (amplitude * np.sin(angle)).sum(axis=2) + 0.5 * self._offset[points, path_of_point]


def _make_clip(
    rng: np.random.Generator, layout: landmarks_lib.Layout, paths: _Paths, informative_points: list[int], label: int
) -> np.ndarray:
    num_frames = rng.integers(_MIN_FRAMES, _MAX_FRAMES + 1)
    path_of_point = rng.integers(0, paths.num_classes, layout.num_points)
    path_of_point[informative_points] = label
    time = np.linspace(0, 1, num_frames) * rng.uniform(0.9, 1.1) + rng.uniform(-0.05, 0.05)
    motion = paths.positions(path_of_point, time) + rng.normal(0, 0.1, (num_frames, layout.num_points, 2))
    clip = np.full((num_frames, layout.num_points, 3), np.nan, np.float32)
    for group, points in layout.groups.items():
        width = _GROUP_WIDTH.get(group, _HAND_WIDTH)
        place = np.array(layout.figure)[list(points)] * (width, -width) + _GROUP_CENTRE.get(group, (0.5, 0.5))
        drift = rng.normal(0, 0.02, 2) + np.outer(np.linspace(-1, 1, num_frames), rng.normal(0, 0.02, 2))
        clip[:, points, :2] = place + drift[:, None] + 0.04 * motion[:, points]
        clip[:, points, 2] = rng.normal(0, 0.01, (num_frames, len(points)))
        # A detector loses whole hands, never the only frame of a clip.
        lost = np.flatnonzero(rng.random(num_frames - 1) < _MISSING_SHARE) + 1
        clip[np.ix_(lost, points)] = np.nan
    return clip


def _whole_numbers(flag: str, values: list[str]) -> list[int]:
    if not all(value.strip().isdecimal() for value in values):
        raise errors.InputError(f'--{flag} is {",".join(values)}, expected whole numbers with commas between them')
    return [int(value) for value in values]


def _define_flags() -> None:
    flags.DEFINE_string('data_dir', None, 'Directory that datasets are written to.', required=True)
    flags.DEFINE_string('name', 'synthetic', 'Name of the dataset.')
    flags.DEFINE_enum('layout', 'mediapipe_hand', sorted(landmarks_lib.LAYOUTS), 'Landmark layout.')
    flags.DEFINE_integer('num_classes', 8, 'Number of classes.', lower_bound=2)
    flags.DEFINE_list('clips_per_class', ['60', '15', '30'], 'Clips a class: train,validation,test.')
    flags.DEFINE_list('informative_points', None, 'Points that tell the classes apart; drawn if not given.')
    flags.DEFINE_integer('num_informative', 5, 'How many points to draw.', lower_bound=1)
    flags.DEFINE_integer('seed', 379, 'Seed of everything.', lower_bound=0)


def main() -> None:
    """Makes the dataset that the flags describe."""
    counts = _whole_numbers('clips_per_class', flags.FLAGS.clips_per_class)
    if len(counts) != len(dataset_lib.SPLITS):
        raise errors.InputError(f'--clips_per_class has {len(counts)} numbers, expected train,validation,test')
    informative_points = flags.FLAGS.informative_points and _whole_numbers(
        'informative_points', flags.FLAGS.informative_points
    )
    dataset = make_dataset(
        flags.FLAGS.name,
        landmarks_lib.LAYOUTS[flags.FLAGS.layout],
        flags.FLAGS.num_classes,
        dict(zip(dataset_lib.SPLITS, counts, strict=True)),
        flags.FLAGS.seed,
        informative_points,
        flags.FLAGS.num_informative,
    )
    tfds_writer.write_dataset(dataset, flags.FLAGS.data_dir)
    points = ', '.join(dataset.layout.points[point] for point in dataset.description.informative_points)
    print(f'  points that tell the classes apart: {points}')


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
