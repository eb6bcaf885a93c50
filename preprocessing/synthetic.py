"""Makes a dataset of moving hands in which only a few points, the informative ones, differ between classes.

    python -m preprocessing.synthetic --data_dir=D

Every point has `num_classes` trajectories of its own. In a clip, the informative points follow the trajectory of the
clip's class; for every other point one is drawn. So all points move alike, and no other point, nor any group of them,
says anything about the class. The informative points are stored in the dataset: a learned mask should find them.
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
_GROUP_CENTER = {'right_hand': (0.3, 0.6), 'left_hand': (0.7, 0.6), 'hand_0': (0.3, 0.6), 'hand_1': (0.7, 0.6)}
_MISSING_FRACTION = 0.05


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
        informative_points: the points that differ between classes, or None to draw `num_informative` of them.
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
    trajectories = Trajectories(rng, num_classes, layout.num_points)
    labels: list[int] = []
    landmarks: list[np.ndarray] = []
    for count in clips_per_class.values():
        drawn = rng.permutation(np.repeat(np.arange(num_classes), count))
        landmarks.extend(_make_clip(rng, layout, trajectories, informative_points, label) for label in drawn)
        labels.extend(drawn)
    description = dataset_lib.Description(
        name,
        layout.name,
        [f'sign_{label}' for label in range(num_classes)],
        informative_points=sorted(informative_points),
        source={'kind': 'synthetic', 'seed': seed},
    )
    splits = [split for split, count in clips_per_class.items() for _ in range(num_classes * count)]
    return dataset_lib.Dataset.from_clips(description, landmarks, labels, splits)


class Trajectories:
    """For every point and class, a closed path of two sine waves in x and y, all of the same mean square."""

    def __init__(self, rng: np.random.Generator, num_classes: int, num_points: int) -> None:
        self.num_classes = num_classes
        shape = (num_points, num_classes, 2, 2)  # point, class, wave, axis
        amplitude = rng.uniform(0.2, 1, shape)
        self._amplitude = amplitude / np.sqrt((amplitude**2).sum(axis=(2, 3), keepdims=True))
        self._phase = rng.uniform(0, 2 * np.pi, shape)
        self._offset = rng.normal(0, 1, (num_points, num_classes, 2))

    def positions(self, trajectory: np.ndarray, time: np.ndarray) -> np.ndarray:
        """<int>[points], <float>[frames] in turns -> <float>[frames, points, 2], standard deviation about 1."""
        points = np.arange(len(trajectory))
        amplitude, phase = self._amplitude[points, trajectory], self._phase[points, trajectory]
        turns = np.array([1.0, 2.0])[:, None]
        angle = 2 * np.pi * turns * time[:, None, None, None] + phase
        return (amplitude * np.sin(angle)).sum(axis=2) + 0.5 * self._offset[points, trajectory]


def _make_clip(
    rng: np.random.Generator,
    layout: landmarks_lib.Layout,
    trajectories: Trajectories,
    informative_points: list[int],
    label: int,
) -> np.ndarray:
    num_frames = rng.integers(_MIN_FRAMES, _MAX_FRAMES + 1)
    trajectory = rng.integers(0, trajectories.num_classes, layout.num_points)
    trajectory[informative_points] = label
    time = np.linspace(0, 1, num_frames) * rng.uniform(0.9, 1.1) + rng.uniform(-0.05, 0.05)
    motion = trajectories.positions(trajectory, time) + rng.normal(0, 0.1, (num_frames, layout.num_points, 2))
    clip = np.full((num_frames, layout.num_points, 3), np.nan, np.float32)
    for group, points in layout.groups.items():
        width = _GROUP_WIDTH.get(group, _HAND_WIDTH)
        figure = np.array(layout.figure)[list(points)] * (width, -width) + _GROUP_CENTER.get(group, (0.5, 0.5))
        drift = rng.normal(0, 0.02, 2) + np.outer(np.linspace(-1, 1, num_frames), rng.normal(0, 0.02, 2))
        clip[:, points, :2] = figure + drift[:, None] + 0.04 * motion[:, points]
        clip[:, points, 2] = rng.normal(0, 0.01, (num_frames, len(points)))
        # A detector loses whole hands, never the only frame of a clip.
        lost = np.flatnonzero(rng.random(num_frames - 1) < _MISSING_FRACTION) + 1
        clip[np.ix_(lost, np.array(points))] = np.nan
    return clip


def _parse_numbers(flag: str, values: list[str]) -> list[int]:
    if not all(value.strip().isdecimal() for value in values):
        raise errors.InputError(f'--{flag} is {",".join(values)}, expected whole numbers with commas between them')
    return [int(value) for value in values]


def _define_flags() -> None:
    flags.DEFINE_string('data_dir', None, 'Directory that datasets are written to.', required=True)
    flags.DEFINE_string('name', 'synthetic', 'Name of the dataset.')
    flags.DEFINE_enum('layout', 'mediapipe_hand', sorted(landmarks_lib.LAYOUTS), 'Landmark layout of the dataset.')
    flags.DEFINE_integer('num_classes', 8, 'Number of classes.', lower_bound=2)
    flags.DEFINE_list('clips_per_class', ['60', '15', '30'], 'Clips per class in train,validation,test.')
    flags.DEFINE_list('informative_points', None, 'Indices of the points that differ between classes; default: drawn.')
    flags.DEFINE_integer('num_informative', 5, 'Number of informative points to draw.', lower_bound=1)
    flags.DEFINE_integer('seed', 379, 'Seed for everything that is drawn.', lower_bound=0)


def main() -> None:
    """Makes the dataset that the flags describe."""
    counts = _parse_numbers('clips_per_class', flags.FLAGS.clips_per_class)
    if len(counts) != len(dataset_lib.SPLITS):
        raise errors.InputError(f'--clips_per_class has {len(counts)} numbers, expected train,validation,test')
    informative_points = flags.FLAGS.informative_points
    if informative_points:
        informative_points = _parse_numbers('informative_points', informative_points)
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
    points = ', '.join(dataset.layout.points[point] for point in dataset.description.informative_points or ())
    print(f'  informative points: {points}')


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
