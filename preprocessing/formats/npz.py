"""The ragged landmark archive, a plain .npz file: the exchange format.

frames <float32>[all frames, points, 3], offsets <int64>[clips + 1] (clip i is `frames[offsets[i]:offsets[i + 1]]`),
label, label_names, split, video_id, signer_id, layout; and where known handedness, informative_points, source, which
is JSON, and frame_size <int32>[clips, 2], width and height of the pictures of each clip as they are shown, in square
pixels, 0 where unknown. Other kinds of real numbers are converted, z may be absent, label may have names, and one pair
may be the frame_size of all clips.
"""

import itertools
import json
import os
from typing import Any
import zipfile

from absl import flags
import numpy as np

from preprocessing import file_kinds
from preprocessing import splits as splits_lib
from preprocessing.formats import numpy_files
from slr_jax import dataset as dataset_lib
from slr_jax import errors, file_limits, files, frame_sizes

_REQUIRED = ('frames', 'offsets', 'label', 'label_names', 'split', 'video_id', 'signer_id', 'layout')


def define_flags() -> None:
    """Defines the flags of `build_dataset --source=npz`."""
    flags.DEFINE_string('input', None, 'Landmark archive, an .npz file.')


def read(values: flags.FlagValues) -> dataset_lib.Dataset:
    """Reads the archive that the flags name."""
    if not values.input:
        raise errors.InputError('--source=npz needs --input')
    return read_archive(values.input, values.name)


def write(dataset: dataset_lib.Dataset, path: str, values: flags.FlagValues) -> None:
    """Writes a dataset as the flags of `export_dataset` say."""
    del values
    write_archive(dataset, path)


def read_archive(path: str, name: str) -> dataset_lib.Dataset:
    """Reads an archive.

    Args:
        path: the .npz file.
        name: of the dataset.

    Raises:
        InputError: the file is missing or damaged, or a field is missing or does not fit the others.
    """
    arrays = _read_arrays(path)
    _convert_fields(arrays)
    _check_fields(path, arrays)
    informative_points = arrays.get('informative_points')
    description = dataset_lib.Description(
        name=name,
        layout=str(arrays['layout']),
        label_names=[str(gloss) for gloss in arrays['label_names']],
        handedness=str(arrays.get('handedness', 'signer')),
        informative_points=None if informative_points is None else informative_points.tolist(),
        source=_read_source(path, arrays),
    )
    return dataset_lib.Dataset.from_clips(
        description,
        landmarks=[arrays['frames'][start:end] for start, end in itertools.pairwise(arrays['offsets'])],
        labels=arrays['label'],
        splits=arrays['split'],
        video_ids=[str(video_id) for video_id in arrays['video_id']],
        signers=[str(signer) for signer in arrays['signer_id']],
        frame_sizes=arrays.get('frame_size'),
    )


def _read_source(path: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if 'source' not in arrays:
        return {'kind': 'npz'}
    try:
        return dict(files.parse_json(str(arrays['source'])))
    except (ValueError, TypeError):
        raise errors.InputError(f'{path}: source is not a JSON object') from None


def _read_arrays(path: str) -> dict[str, np.ndarray]:
    file_limits.check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            file_limits.check_zip(path, archive, os.path.getsize(path))
            members = {name.removesuffix('.npy'): name for name in archive.namelist() if name.endswith('.npy')}
            if not members:
                raise zipfile.BadZipFile
            fields = dataset_lib.upgrade_fields(members)
            missing = [field for field in _REQUIRED if field not in fields]
            if missing:
                raise errors.InputError(
                    f'{path} has no field {missing[0]!r}, expected {", ".join(_REQUIRED)}; found {", ".join(members)}'
                )
            arrays = {field: _read_array(path, archive, member) for field, member in members.items()}
        return dataset_lib.upgrade_fields(arrays)
    except (FileNotFoundError, PermissionError):
        raise
    # What damaged zips raise, and what a directory does.
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        kind = file_kinds.describe(path)
        raise errors.InputError(
            f'{path} is not an .npz archive of plain arrays: {kind}'
            if kind
            else f'{path} is damaged or not an .npz archive of plain arrays'
        ) from error


def _read_array(path: str, archive: zipfile.ZipFile, member: str) -> np.ndarray:
    try:
        with archive.open(member) as file:
            size = archive.getinfo(member).file_size
            return numpy_files.read_array(file, size, as_float32=member == 'frames.npy')
    # Damaged bytes raise many kinds of errors.
    except Exception as error:
        field = member.removesuffix('.npy')
        raise errors.InputError(
            f'{path}: {field} is not one of the expected plain arrays of numbers or text: {errors.one_line(error)}'
        ) from error


def _convert_fields(arrays: dict[str, np.ndarray]) -> None:
    for field, values in arrays.items():
        if values.dtype.kind == 'S':
            arrays[field] = np.char.decode(values, 'utf-8', 'replace')
        elif field in ('label', 'offsets') and values.dtype.kind == 'f' and (values == np.floor(values)).all():
            arrays[field] = values.astype(np.int64) if (np.abs(values) < 2**31).all() else values
    frames, label, split = (arrays[field] for field in ('frames', 'label', 'split'))
    if frames.ndim == 3 and frames.shape[2] == 2:
        arrays['frames'] = np.pad(frames, [(0, 0), (0, 0), (0, 1)], constant_values=np.nan)
    if label.dtype.kind == 'U':
        names = arrays['label_names'].ravel().tolist()
        classes = {dataset_lib.tidy_gloss(str(gloss)): index for index, gloss in enumerate(names)}
        glosses = list(map(dataset_lib.tidy_gloss, label.ravel().tolist()))
        if set(glosses) <= classes.keys():
            arrays['label'] = np.array([classes[gloss] for gloss in glosses]).reshape(label.shape)
    if split.dtype.kind == 'U':
        names = [splits_lib.parse(name) or name for name in split.ravel().tolist()]
        arrays['split'] = np.array(names).reshape(split.shape)


def _check_fields(path: str, arrays: dict[str, np.ndarray]) -> None:
    def require(condition: Any, sentence: str) -> None:
        if not condition:
            raise errors.InputError(f'{path}: {sentence}')

    frames, offsets = arrays['frames'], arrays['offsets']
    require(
        frames.dtype == np.float32 and frames.ndim == 3 and frames.shape[2] == 3,
        f'frames are {frames.dtype}{list(frames.shape)}, expected float32[frames, points, 3]',
    )
    require(
        offsets.ndim == 1
        and np.issubdtype(offsets.dtype, np.integer)
        and offsets.size > 1
        and offsets[0] == 0
        and offsets[-1] == len(frames)
        and (np.diff(offsets) >= 0).all(),
        f'offsets do not rise from 0 to {len(frames)}, the number of frames',
    )
    for field in ('label', 'split', 'video_id', 'signer_id'):
        shape = arrays[field].shape
        require(shape == (len(offsets) - 1,), f'{field} has shape {shape}, expected {len(offsets) - 1}, one per clip')
    label, num_classes = arrays['label'], arrays['label_names'].size
    require(arrays['label_names'].ndim == 1, 'label_names is not a list of names')
    require(np.issubdtype(label.dtype, np.integer), f'label is {label.dtype}, expected integers')
    for i in np.flatnonzero((label < 0) | (label >= num_classes)):
        require(False, f'clip {arrays["video_id"][i]} has label {label[i]}, expected 0 to {num_classes - 1}')
    informative_points = arrays.get('informative_points')
    require(
        informative_points is None
        or (informative_points.ndim == 1 and np.issubdtype(informative_points.dtype, np.integer)),
        'informative_points is not a list of points',
    )
    try:
        frame_sizes.of_clips(arrays.get('frame_size'), len(offsets) - 1)
    except errors.InputError as error:
        require(False, str(error))
    arrays['split'] = np.array([dataset_lib.split_name(name) for name in arrays['split'].tolist()], str)
    unknown = set(arrays['split'].tolist()) - set(dataset_lib.SPLITS)
    require(not unknown, f'split has {sorted(unknown)}, expected {", ".join(dataset_lib.SPLITS)}')


def write_archive(dataset: dataset_lib.Dataset, path: str) -> None:
    """Writes an archive, its clips in the order of the source; `path` must be new."""
    clips = [
        (index, split, *fields)
        for split, part in dataset.splits.items()
        for index, *fields in zip(
            part.index, part.landmarks, part.labels, part.video_ids, part.signers, part.frame_sizes, strict=True
        )
    ]
    clips.sort(key=lambda clip: clip[0])
    _, split, landmarks, labels, video_ids, signers, sizes = zip(*clips, strict=True)
    description = dataset.description
    points = description.informative_points
    optional = {} if points is None else {'informative_points': np.array(points)}
    if description.frame_sizes:
        optional['frame_size'] = np.array(sizes)
    with files.create_atomically(path) as temporary, open(temporary, 'wb') as file:
        np.savez_compressed(
            file,
            frames=np.concatenate(landmarks),
            offsets=np.cumsum([0, *map(len, landmarks)], dtype=np.int64),
            label=np.array(labels, np.int32),
            label_names=np.array(description.label_names),
            split=np.array(split),
            video_id=np.array(video_ids),
            signer_id=_integers_or_text(signers),
            layout=np.array(description.layout),
            handedness=np.array(description.handedness),
            source=np.array(json.dumps(dict(description.source))),
            allow_pickle=False,
            **optional,
        )


def _integers_or_text(values: tuple[str, ...]) -> np.ndarray:
    try:
        integers = np.array([int(value) for value in values], np.int32)
    except (ValueError, OverflowError):
        return np.array(values)
    return integers if tuple(map(str, integers)) == values else np.array(values)
