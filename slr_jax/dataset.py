"""A TFDS directory of landmark clips -> clips in memory. Imports neither jax nor TensorFlow."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import os
import re
from typing import Any
import unicodedata

import numpy as np

from slr_jax import copies as copies_lib
from slr_jax import errors, files
from slr_jax import frame_sizes as frame_sizes_lib
from slr_jax import landmarks as landmarks_lib

SPLITS = ('train', 'validation', 'test')
# Other names of the same.
SPLIT_NAMES = {
    'train': ('train', 'training'),
    'validation': ('validation', 'valid', 'val', 'dev', 'development'),
    'test': ('test', 'testing', 'eval', 'evaluation'),
}
# What is done about glosses of a dataset that a model does not know.
UNKNOWN_GLOSSES = ('refuse', 'leave_out')
FORMAT = 'slr_jax landmarks 2'
# How a dataset is made that is not there, by the beginning of its name.
_MADE_BY = (
    ('wlasl100', '; docs/published.md says how it is made'),
    ('ipn_hand', '; docs/published.md says how it is made'),
    ('synthetic', '; python -m preprocessing.synthetic makes it'),
    ('', '; preprocessing.videos_to_dataset makes one of videos, preprocessing.build_dataset of landmarks'),
)
_OLD_FORMAT = 'slr_jax landmarks 1'
# All that our features.json says of classes, types and encodings of features.
_FEATURES = (
    'float32',
    'int32',
    'int64',
    'none',
    'tensorflow_datasets.core.features.class_label_feature.ClassLabel',
    'tensorflow_datasets.core.features.features_dict.FeaturesDict',
    'tensorflow_datasets.core.features.tensor_feature.Tensor',
    'tensorflow_datasets.core.features.text_feature.Text',
)
# Names that format 1 and the extractions of slr_jax 0.1.0 have for the same.
_OLD_FIELDS = {'hand_names': 'handedness', 'known_points': 'informative_points'}
_OLD_HANDEDNESS = {'anatomical': 'signer', 'published': 'swapped'}


# Characters that are not seen, whatever is around them: of no width, and marks of the direction of text.
_UNSEEN = dict.fromkeys(map(ord, '\u00ad\u200b\u200e\u200f\u2060\ufeff'))
# Joiners, which are not seen at the ends of a word.
_JOINERS = '\u200c\u200d'


def tidy_gloss(text: str) -> str:
    """A gloss as all sources spell it: single blanks, none around it, composed characters, none that is not seen."""
    words = unicodedata.normalize('NFC', text.translate(_UNSEEN)).split()
    return ' '.join(filter(None, (word.strip(_JOINERS) for word in words)))


@dataclasses.dataclass(frozen=True)
class Clips:
    """Clips of one split.

    Attributes:
        landmarks: <float32>[frames, points, 3] of each clip: x to the right and y down in normalized image coordinates,
            z as MediaPipe gives it. NaN where a point is missing; z is NaN where the source has none.
        labels: <int32>[clips], from 0.
        video_ids: the name of each clip.
        signers: who is seen, '' where unknown.
        index: <int64>[clips], the place of each clip in the source.
        frame_sizes: <int32>[clips, 2], width and height of the pictures of each clip as they are shown, in square
            pixels; (0, 0) where unknown, as of all clips where it is not given.
    """

    landmarks: Sequence[np.ndarray]
    labels: np.ndarray
    video_ids: Sequence[str]
    signers: Sequence[str]
    index: np.ndarray
    frame_sizes: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        object.__setattr__(self, 'frame_sizes', frame_sizes_lib.of_clips(self.frame_sizes, len(self.labels)))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_frames(self) -> int:
        """Frames of all clips."""
        return sum(len(clip) for clip in self.landmarks)

    @property
    def missing_fraction(self) -> float:
        """Fraction of all points of all frames that are missing, in [0, 1]."""
        missing = sum(np.isnan(clip[..., 0]).sum() for clip in self.landmarks)
        return float(missing) / max(1, sum(clip[..., 0].size for clip in self.landmarks))

    def take(self, indices: Sequence[int] | np.ndarray) -> 'Clips':
        """The clips at these indices, in this order."""
        return Clips(
            landmarks=[self.landmarks[i] for i in indices],
            labels=self.labels[indices],
            video_ids=[self.video_ids[i] for i in indices],
            signers=[self.signers[i] for i in indices],
            index=self.index[indices],
            frame_sizes=self.frame_sizes[indices],
        )


def concatenate(parts: Sequence[Clips]) -> Clips:
    """The clips of all parts, at least one, one part after another."""
    return Clips(
        landmarks=[clip for part in parts for clip in part.landmarks],
        labels=np.concatenate([part.labels for part in parts]),
        video_ids=[name for part in parts for name in part.video_ids],
        signers=[signer for part in parts for signer in part.signers],
        index=np.concatenate([part.index for part in parts]),
        frame_sizes=np.concatenate([part.frame_sizes for part in parts]),
    )


@dataclasses.dataclass(frozen=True)
class Description:
    """What a dataset says about itself, and a workdir about the data that its model takes.

    Attributes:
        name: of the dataset.
        layout: a key of landmarks.LAYOUTS.
        label_names: the gloss of each class, as `tidy_gloss` spells it.
        handedness: one of landmarks.HANDEDNESS.
        informative_points: of synthetic data, the points that differ between classes, else None.
        source: how the landmarks were made: the kind of source, its options, MediaPipe's version where known.
        frame_sizes: '640x480' -> number of clips with pictures of that width and height, most first; None where no
            clip's is known. A Dataset sets it.
    """

    name: str
    layout: str
    label_names: Sequence[str]
    handedness: str = 'signer'
    informative_points: Sequence[int] | None = None
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    frame_sizes: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if self.layout not in landmarks_lib.LAYOUTS:
            expected = ', '.join(landmarks_lib.LAYOUTS)
            raise errors.InputError(f'{self.name}: layout is {self.layout!r}, expected one of {expected}')
        if self.handedness not in landmarks_lib.HANDEDNESS:
            expected = ' or '.join(landmarks_lib.HANDEDNESS)
            raise errors.InputError(f'{self.name}: handedness is {self.handedness!r}, expected {expected}')
        object.__setattr__(self, 'label_names', self._tidy_names())
        if self.informative_points is not None:
            object.__setattr__(self, 'informative_points', tuple(self.informative_points))
            points = range(landmarks_lib.LAYOUTS[self.layout].num_points)
            if not set(self.informative_points) <= set(points):
                raise errors.InputError(
                    f'{self.name}: informative_points are {self.informative_points}, expected some of {points}'
                )

    def _tidy_names(self) -> tuple[str, ...]:
        first: dict[str, tuple[int, str]] = {}
        for label, name in enumerate(self.label_names):
            other, other_name = first.setdefault(tidy_gloss(name), (label, name))
            if other_name != name:
                raise errors.InputError(
                    f'{self.name}: the names of classes {other} and {label}, {other_name!r} and {name!r}, differ only '
                    'in blanks, unseen characters or Unicode form, expected another gloss for each class'
                )
        return tuple(map(tidy_gloss, self.label_names))

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.label_names)

    def aspects(self, sizes: frame_sizes_lib.FrameSizes, num_clips: int) -> np.ndarray | None:
        """Width over height of clips that a model of this data is given; see frame_sizes.aspects."""
        return frame_sizes_lib.aspects(sizes, num_clips, self.frame_sizes)

    def to_json(self) -> dict[str, Any]:
        """As written into files; `Description(**json)` is the way back."""
        return dataclasses.asdict(self)


def input_differences(found: Description, expected: Description) -> dict[str, tuple[str, str]]:
    """Why a model takes no landmarks of other data: layout and handedness, each as found and as expected, that differ.

    Of a single hand, handedness says nothing.
    """
    fields = ['layout', *['handedness'] * (landmarks_lib.LAYOUTS[expected.layout].hand_groups != ('hand',))]
    pairs = {field: (getattr(found, field), getattr(expected, field)) for field in fields}
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}


def upgrade_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a description of slr_jax 0.1.0 as they are named now, and its glosses tidy; other fields stay."""
    upgraded = {_OLD_FIELDS.get(name, name): value for name, value in fields.items()}
    if 'hand_names' in fields:
        upgraded['handedness'] = _OLD_HANDEDNESS.get(str(fields['hand_names']), fields['hand_names'])
    if isinstance(fields.get('label_names'), list):
        upgraded['label_names'] = [tidy_gloss(str(name)) for name in fields['label_names']]
    return upgraded


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A description and its clips, by split; a split without clips is absent."""

    description: Description
    splits: Mapping[str, Clips]

    def __post_init__(self) -> None:
        counts = frame_sizes_lib.count(
            np.concatenate([np.zeros((0, 2), np.int32), *(x.frame_sizes for x in self.splits.values())])
        )
        object.__setattr__(self, 'description', dataclasses.replace(self.description, frame_sizes=counts))

    @classmethod
    def from_clips(
        cls,
        description: Description,
        landmarks: Sequence[np.ndarray],
        labels: Sequence[int] | np.ndarray,
        splits: Sequence[str] | np.ndarray,
        *,
        video_ids: Sequence[str] | None = None,
        signers: Sequence[str] | None = None,
        index: Sequence[int] | np.ndarray | None = None,
        frame_sizes: frame_sizes_lib.FrameSizes = None,
    ) -> 'Dataset':
        """Makes a dataset of clips in the order of the source, with one value per clip in each sequence.

        Args:
            description: of the dataset.
            landmarks: <float32>[frames, points, 3] of each clip.
            labels: from 0.
            splits: one of SPLITS for each clip.
            video_ids: None for `train_00000` and so on.
            signers: None where unknown.
            index: place of each clip in the source, None where all of its clips are given.
            frame_sizes: width and height of the pictures of each clip, or of all, see Clips; None where unknown.
        """
        splits, sizes = np.asarray(splits), frame_sizes_lib.of_clips(frame_sizes, len(landmarks))
        found = {}
        for split in SPLITS:
            chosen = np.flatnonzero(splits == split)
            if not len(chosen):
                continue
            rows = chosen.tolist()
            found[split] = Clips(
                landmarks=[landmarks[i] for i in rows],
                labels=np.asarray(labels, np.int32)[chosen],
                video_ids=[video_ids[i] for i in rows]
                if video_ids is not None
                else [f'{split}_{i:05d}' for i in range(len(chosen))],
                signers=[signers[i] for i in rows] if signers is not None else [''] * len(chosen),
                index=chosen if index is None else np.asarray(index)[chosen],
                frame_sizes=sizes[chosen],
            )
        return cls(description, found)

    @property
    def layout(self) -> landmarks_lib.Layout:
        """The layout of the landmarks."""
        return landmarks_lib.LAYOUTS[self.description.layout]

    def split(self, name: str) -> Clips:
        """The clips of one split, `val` and `dev` are validation; InputError where there is none of that name."""
        name = split_name(name)
        if name not in self.splits:
            raise errors.InputError(
                f'dataset {self.description.name} has no split {name!r}, expected one of {", ".join(self.splits)}'
            )
        return self.splits[name]

    @functools.cached_property
    def copies(self) -> list[copies_lib.Pair]:
        """Which clips are copies of each other, as `copies.find` returns them; of all splits, one after another."""
        return copies_lib.find([clip for clips in self.splits.values() for clip in clips.landmarks], self.layout)

    def fingerprint(self) -> str:
        """SHA-256 over all clips, labels and splits: equal for equal data, wherever it lies."""
        digest = hashlib.sha256()
        for name, clips in self.splits.items():
            digest.update(f'{name} {[len(clip) for clip in clips.landmarks]} {clips.labels.tolist()}'.encode())
            for clip in clips.landmarks:
                digest.update(np.ascontiguousarray(clip).tobytes())
            if clips.frame_sizes.any():
                digest.update(clips.frame_sizes.tobytes())
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """The content of dataset.json: what the dataset says of itself, its fingerprint, and clips per split."""
        return {
            'description': self.description.to_json(),
            'fingerprint': self.fingerprint(),
            'clips': {split: len(clips) for split, clips in self.splits.items()},
        }


def signers_in_train(train: Sequence[str], signers: Sequence[str]) -> float | None:
    """Fraction of clips, of those whose signer is known, whose signer is in the training clips, too.

    Args:
        train: the signer of each training clip, '' where unknown.
        signers: of each of the other clips.

    Returns:
        In [0, 1]; None where the signers of either are not known.
    """
    known = set(train) - {''}
    found = [signer in known for signer in signers if signer]
    return float(np.mean(found)) if known and found else None


def describe_shared_signers(signers: Mapping[str, Sequence[str]]) -> str | None:
    """As `describe_shares`, of the signer of each clip of each split, '' where unknown."""
    return describe_shares(
        {split: signers_in_train(signers.get('train', ()), found) for split, found in signers.items()}
    )


def describe_shares(shares: Mapping[str, float | None]) -> str | None:
    """A sentence about signers who are in train and in another split; None where there are none.

    Args:
        shares: split -> what `signers_in_train` returns.
    """
    parts = [f'{share:.0%} of the {split} clips' for split, share in shares.items() if share and split != 'train']
    if not parts:
        return None
    return (
        f'the signers of {" and ".join(parts)} are in train, too, and others may be understood less well; '
        'videos_to_dataset and clips_from_folder keep signers apart with --split_by=signer'
    )


def some(names: Sequence[str]) -> str:
    """Names for a message, the first dozen of many."""
    return ', '.join(names if len(names) <= 12 else [*names[:12], '…'])


def find_glosses(names: Mapping[int, str], glosses: Sequence[str], source: str) -> list[int]:
    """Labels of some glosses, in their order.

    Args:
        names: label -> gloss.
        glosses: those wanted, in any spelling of `tidy_gloss`.
        source: what has these labels, for the message.

    Raises:
        InputError: a gloss is unknown, or none is wanted.
    """
    wanted = {tidy_gloss(gloss) for gloss in glosses} - {''}
    unknown = sorted(wanted - set(names.values()))
    if unknown or not wanted:
        known = sorted(set(names.values()))
        raise errors.InputError(
            f'--glosses: {", ".join(unknown) or "no gloss"} is not in {source}, which has {len(known)} glosses: '
            f'{some(known)}'
        )
    return sorted(label for label, name in names.items() if name in wanted)


def keep_glosses(dataset: Dataset, glosses: Sequence[str] | None, source: str) -> Dataset:
    """Keeps the clips of some glosses, whose classes are numbered anew in the order they had; None keeps all.

    Raises:
        InputError: a gloss is unknown.
    """
    if glosses is None:
        return dataset
    names = dataset.description.label_names
    labels = find_glosses(dict(enumerate(names)), glosses, source)
    splits = {
        split: clips.take(np.flatnonzero(np.isin(clips.labels, labels))) for split, clips in dataset.splits.items()
    }
    splits = {
        split: dataclasses.replace(clips, labels=np.searchsorted(labels, clips.labels).astype(np.int32))
        for split, clips in splits.items()
        if len(clips)
    }
    description = dataclasses.replace(dataset.description, label_names=[names[label] for label in labels])
    return Dataset(description, splits)


def match_glosses(names: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """The classes of a model that have the glosses of a dataset.

    Args:
        names: the gloss of each class of the dataset.
        known: the gloss of each class of the model. Where they are but the numbers of the classes, as of a model that
            was imported without names, and the dataset has other glosses, the same number is the same class, provided
            that there are equally many.

    Returns:
        For each of `names` the class of the model, None where the model does not know it.
    """
    classes = {name: label for label, name in enumerate(known)}
    if has_numbers_only(known) and len(names) == len(known) and not set(names) <= set(known):
        return list(range(len(names)))
    return [classes.get(name) for name in names]


def has_numbers_only(names: Sequence[str]) -> bool:
    """Whether the glosses are but the numbers of their classes, from 0."""
    return list(names) == [str(label) for label in range(len(names))]


def split_name(name: str) -> str:
    """One of SPLITS for any of their names, such as `val`, `dev` or `Test`; any other name as it is."""
    return next((split for split, names in SPLIT_NAMES.items() if name.strip().lower() in names), name)


def similar_gloss(name: str, known: Sequence[str]) -> str | None:
    """The known gloss with the same letters and digits, whatever its case, blanks and signs; None if there is none."""
    return next((other for other in known if _letters(other) == _letters(name)), None)


def _letters(name: str) -> str:
    return ''.join(filter(str.isalnum, unicodedata.normalize('NFKC', name).casefold()))


def check_clips(clips: Clips, num_points: int, num_classes: int, where: str) -> None:
    """Checks what every dataset promises.

    Raises:
        InputError: a clip has no frames, no landmark at all, infinite numbers or another shape, or its label is out of
            range; the message begins with `where` and names the clip.
    """
    for clip, label, video_id in zip(clips.landmarks, clips.labels, clips.video_ids, strict=True):
        problem = find_problem(clip, num_points)
        if not problem and not 0 <= label < num_classes:
            problem = f'has label {label}, expected 0 to {num_classes - 1}'
        if problem:
            raise errors.InputError(f'{where}: clip {video_id} {problem}')


def find_problem(clip: np.ndarray, num_points: int) -> str | None:
    """Why an array is not a clip that a model could learn from or answer; None where it is one."""
    if clip.ndim != 3 or clip.shape[1:] != (num_points, 3):
        return f'has shape {clip.shape}, expected (frames, {num_points}, 3)'
    if not len(clip):
        return f'has no frames: its shape is {clip.shape}, expected (frames, {num_points}, 3) with at least one frame'
    if np.isnan(clip[..., :2]).all():
        return 'has no landmark in any frame (NaN everywhere)'
    return 'holds infinite coordinates' if np.isinf(clip).any() else None


def load_dataset(path: str) -> Dataset:
    """Reads a TFDS directory that `preprocessing` wrote.

    Args:
        path: the directory with dataset_info.json, or one above it that holds a single version.

    Raises:
        InputError: there is no such directory, it is of another kind, or damaged.
    """
    # Imported here: it takes half a second that a mistyped flag need not wait for.
    import tensorflow_datasets as tfds

    directory = _version_directory(path)
    try:
        _check_features(os.path.join(directory, 'features.json'))
        # Absolute, so that it is no address such as gs://.
        builder = tfds.builder_from_directory(os.path.abspath(directory))
        metadata = dict(builder.info.metadata or {})
        if metadata.pop('format', None) not in (FORMAT, _OLD_FORMAT):
            raise errors.InputError(f'{directory} is a TFDS dataset of another kind, expected landmarks of {FORMAT!r}')
        metadata = upgrade_fields(metadata)
        _check_names(directory, builder)
        label_names = builder.info.features['label'].names
        description = Description(
            name=builder.info.name,
            label_names=label_names,
            **{key: metadata[key] for key in ('layout', 'handedness', 'informative_points', 'source')},
        )
        sources = {split: builder.as_data_source(split) for split in SPLITS if split in builder.info.splits}
        splits = {split: _read_split(source) for split, source in sources.items()}
    except errors.InputError:
        raise
    # tfds and array_record raise many kinds of errors for damaged files.
    except Exception as error:
        raise errors.InputError(f'{directory} cannot be read as a TFDS dataset: {errors.one_line(error)}') from error
    dataset = Dataset(description, splits)
    for split, clips in splits.items():
        check_clips(clips, dataset.layout.num_points, description.num_classes, f'{directory}, {split}')
    return dataset


def _version_directory(path: str) -> str:
    if not os.path.isdir(path):
        name = os.path.basename(path.rstrip('/'))
        advice = next((text for start, text in _MADE_BY if path and name.startswith(start)), '')
        raise errors.InputError(f'{path or "dataset"} is not a directory, expected a TFDS dataset{advice}')
    candidates = [path, *(os.path.join(path, name) for name in sorted(os.listdir(path)))]
    found = [name for name in candidates if os.path.isfile(os.path.join(name, 'dataset_info.json'))]
    if len(found) != 1:
        what = 'no dataset_info.json' if not found else f'{len(found)} versions ({", ".join(found)})'
        raise errors.InputError(f'{path} holds {what}, expected one TFDS dataset')
    return found[0]


def _check_features(path: str) -> None:
    """Refuses features of other kinds than ours: TFDS imports the module of any class that the file names."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        for _, value in pairs:
            if isinstance(value, str) and value not in _FEATURES and not re.fullmatch(r'-?\d+', value):
                raise errors.InputError(f'{path} names {value!r}, expected landmarks of {FORMAT!r}')

    with open(path, encoding='utf-8') as file:
        json.load(file, object_pairs_hook=check)


def _check_names(directory: str, builder: Any) -> None:
    """Refuses a dataset whose name leads to another folder, and records of another format or that lie elsewhere."""
    path = os.path.join(directory, 'dataset_info.json')
    files.check_name(builder.info.name, f'{path}: name')
    file_format = builder.info.file_format.value
    if file_format != 'array_record':
        raise errors.InputError(f"{path}: fileFormat is {file_format!r}, expected 'array_record'")
    for split in builder.info.splits.values():
        for record in split.filepaths:
            if record.parent != builder.data_path:
                raise errors.InputError(f'{path}: the records of {split.name} are {record}, expected files next to it')


def _read_split(source: Any) -> Clips:
    examples = list(source)
    return Clips(
        landmarks=[example['landmarks'] for example in examples],
        labels=np.array([example['label'] for example in examples], np.int32),
        video_ids=[example['video_id'].decode() for example in examples],
        signers=[example['signer'].decode() for example in examples],
        index=np.array([example['index'] for example in examples], np.int64),
        # Datasets of 0.2.0 have none.
        frame_sizes=np.array([example.get('frame_size', (0, 0)) for example in examples], np.int32).reshape(-1, 2),
    )


def stratified_split(labels: np.ndarray, fraction: float | np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides clips so that each class has its fraction on both sides.

    Args:
        labels: <int>[clips].
        fraction: size of the second part, in [0, 1]; it is that fraction of all clips, rounded, and has of each class
            the exact fraction, rounded up or down. Or one for each class that has clips.
        seed: of the draw.

    Returns:
        Two sorted <int64> arrays of indices, that together hold every clip once.
    """
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * fraction
    taken = np.floor(exact).astype(int)
    # What rounding down left over goes to the classes that lost most, ties in a drawn order.
    order = rng.permutation(len(classes))
    order = order[np.argsort(-(exact - taken)[order], kind='stable')]
    taken[order[: round(float(np.sum(exact))) - taken.sum()]] += 1
    drawn = [
        rng.permutation(np.flatnonzero(labels == label))[:count] for label, count in zip(classes, taken, strict=True)
    ]
    second = np.sort(np.concatenate(drawn)) if drawn else np.array([], np.int64)
    return np.setdiff1d(np.arange(len(labels)), second), second
