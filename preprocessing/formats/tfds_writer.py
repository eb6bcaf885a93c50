"""Clips in memory -> a TFDS directory in the array_record format, without TensorFlow."""

from collections import Counter
from collections.abc import Iterator, Sequence
import contextlib
import io
import os
import re
from typing import Any

from absl import logging
import numpy as np
import tensorflow_datasets as tfds

from slr_jax import dataset as dataset_lib
from slr_jax import errors, files

VERSION = '1.0.0'


class _LandmarkDataset(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes one Dataset; the class name is not the dataset's, which the instance sets."""

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, dataset: dataset_lib.Dataset, data_dir: str) -> None:
        self._dataset = dataset
        self.name = dataset.description.name
        super().__init__(data_dir=data_dir, file_format='array_record')

    def _info(self) -> tfds.core.DatasetInfo:
        description = self._dataset.description
        layout = self._dataset.layout
        metadata = {
            'format': dataset_lib.FORMAT,
            'layout': layout.name,
            'point_names': list(layout.points),
            'coordinates': 'x to the right, y down, normalised by the image; z as MediaPipe gives it',
            'missing': 'NaN',
            'frame_size': 'width and height of the pictures, as they are shown, in square pixels; 0 where unknown',
            'handedness': description.handedness,
            'informative_points': None
            if description.informative_points is None
            else list(description.informative_points),
            'source': dict(description.source),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f'Landmarks of {description.num_classes} signs in the layout {layout.name}.',
            features=tfds.features.FeaturesDict(
                {
                    'landmarks': tfds.features.Tensor(shape=(None, layout.num_points, 3), dtype=np.float32),
                    'label': tfds.features.ClassLabel(names=list(description.label_names)),
                    'video_id': tfds.features.Text(),
                    'signer': tfds.features.Text(),
                    'index': np.int64,
                    'frame_size': tfds.features.Tensor(shape=(2,), dtype=np.int32),
                }
            ),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(metadata),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {split: self._generate_examples(clips) for split, clips in self._dataset.splits.items()}

    def _generate_examples(self, clips: dataset_lib.Clips) -> Iterator[tuple[int, dict[str, Any]]]:
        columns = {
            'landmarks': clips.landmarks,
            'label': clips.labels,
            'video_id': clips.video_ids,
            'signer': clips.signers,
            'index': clips.index,
            'frame_size': clips.frame_sizes,
        }
        for key, values in enumerate(zip(*columns.values(), strict=True)):
            yield key, dict(zip(columns, values, strict=True))


def check_name(name: str) -> None:
    """Raises InputError where a dataset cannot have that name."""
    if not re.fullmatch('[a-z][a-z0-9_]*', name):
        raise errors.InputError(f'name is {name!r}, expected lower-case letters, digits and _, a letter first')


def write_dataset(dataset: dataset_lib.Dataset, data_dir: str) -> str:
    """Writes `data_dir/<name>/1.0.0` and prints clips, classes, frames and the fraction of missing points per split.

    Returns:
        The directory, which `config.dataset` takes.

    Raises:
        InputError: the name or a label name is not valid, a clip is not (see dataset.check_clips), there are no clips,
            the directory exists, or another process writes to it.
    """
    name = dataset.description.name
    check_name(name)
    _check_label_names(name, dataset.description.label_names)
    if not any(len(clips) for clips in dataset.splits.values()):
        raise errors.InputError(f'{name}: the source holds no clips')
    for split, clips in dataset.splits.items():
        where = f'{name}, {split}'
        dataset_lib.check_clips(clips, dataset.layout.num_points, dataset.description.num_classes, where)
        if len(set(clips.video_ids)) != len(clips):
            duplicate = next(name for name, count in Counter(clips.video_ids).items() if count > 1)
            raise errors.InputError(f'{where}: duplicate video_id {duplicate}')
    path = os.path.join(data_dir, name, VERSION)
    with files.only_writer(os.path.dirname(path)), files.create_atomically(path) as temporary:
        try:
            data_dir = _write(dataset, os.path.dirname(temporary))
        except OSError:
            raise
        # array_record raises its own errors for a full disk and the like.
        except Exception as error:
            raise errors.InputError(f'{path} cannot be written: {error}') from error
        os.rename(data_dir, temporary)
    print(_summary(dataset, path))
    return path


def _write(dataset: dataset_lib.Dataset, data_dir: str) -> str:
    # TFDS prints of downloads, and of a directory that the dataset is moved away from.
    logging.set_verbosity(logging.WARNING)
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        builder = _LandmarkDataset(dataset, data_dir)
        builder.download_and_prepare()
    return builder.data_dir


def _check_label_names(name: str, label_names: Sequence[str]) -> None:
    first = {gloss: label for label, gloss in reversed(list(enumerate(label_names)))}
    for label, gloss in enumerate(label_names):
        if not gloss.strip() or gloss.splitlines() != [gloss]:
            raise errors.InputError(f'{name}: the name of class {label} is {gloss!r}, expected one line of text')
        if first[gloss] != label:
            raise errors.InputError(f'{name}: classes {first[gloss]} and {label} are both named {gloss!r}')


def _summary(dataset: dataset_lib.Dataset, path: str) -> str:
    lines = [f'{path}: layout {dataset.layout.name}, {dataset.description.num_classes} classes']
    for split, clips in dataset.splits.items():
        lines.append(
            f'  {split}: {len(clips)} clips, {len(np.unique(clips.labels))} classes, {clips.num_frames} frames, '
            f'{clips.missing_fraction:.1%} of points missing'
        )
    return '\n'.join(lines)
