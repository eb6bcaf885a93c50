"""Videos, or landmarks of any kind -> clips as a model takes them, made as its data were made.

Of 75 points of hands and pose, those of the model's layout are taken, as build_dataset does. Landmarks that came in
another layout, or name hands otherwise than those that the model was trained on, are refused.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import glob
import os
from typing import Any

import numpy as np

from preprocessing import clips as clips_lib
from preprocessing import file_kinds, folders, plausibility
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import model_files, people, video_files
from preprocessing.extraction import store as store_lib
from preprocessing.formats import clip_folders, npz, pose
from preprocessing.formats import extracted as extracted_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, progress
from slr_jax import landmarks as landmarks_lib

_KINDS = (
    'a directory of extract_landmarks or a file in it, a landmark archive (.npz), a .pose file or a directory of such, '
    'or a TFDS directory'
)
_NOTHING = np.zeros((0, landmarker_lib.LAYOUT.num_points, 3), np.float32)
_PUBLISHED = 'published checkpoint'
# What the options of an extraction are that the data of the model do not name; published landmarks are of heavy.
_DEFAULTS = {'running_mode': 'image', 'pose': 'full'}
_PUBLISHED_DEFAULTS = _DEFAULTS | {'pose': 'heavy'}


@dataclasses.dataclass(frozen=True)
class Target:
    """What landmarks are made into.

    Attributes:
        workdir: of the model, for messages.
        description: of the data that the model was trained on.
    """

    workdir: str
    description: dataset_lib.Description

    @property
    def layout(self) -> landmarks_lib.Layout:
        """The layout that the model takes."""
        return landmarks_lib.LAYOUTS[self.description.layout]

    def check(self, path: str, layout: landmarks_lib.Layout, handedness: str) -> None:
        """Refuses landmarks of another layout, or that name hands otherwise, than those that the model takes."""
        data = dataclasses.replace(self.description, layout=layout.name, handedness=handedness, informative_points=None)
        for field, (found, expected) in dataset_lib.input_differences(data, self.description).items():
            raise errors.InputError(f'{path}: {field} is {found}, but the model of {self.workdir} expects {expected}')

    def can_take(self, layout: landmarks_lib.Layout) -> bool:
        """Whether `take` makes the model's layout of another."""
        return layout is self.layout or (layout is landmarker_lib.LAYOUT and self.layout.name in extracted_lib.LAYOUTS)

    def take(self, points: np.ndarray) -> np.ndarray:
        """Takes the points of the model's layout from <float32>[frames, points, 3] of a layout that `can_take` takes.

        Frames where nothing of them is seen are left out where they were for the data of the model.
        """
        source = self.description.source
        if points.shape[1] != self.layout.num_points:
            points = self._select(points)
        if source.get('drop_empty_frames'):
            seen = ~np.isnan(points[..., 0]).all(axis=1)
            points = points[seen] if seen.any() else points
        return points

    @functools.cached_property
    def _select(self) -> extracted_lib.Select:
        hand = self.description.source.get('hand', 'most_seen')
        return extracted_lib.make_selector(self.layout, hand, self.description.handedness)

    def options(self, running_mode: str | None = None, pose_model: str | None = None) -> landmarker_lib.Options:
        """How to extract landmarks for the model: as those that it was trained on, where its data name their options.

        Args:
            running_mode: of landmarker.RUNNING_MODES, instead of that of the data.
            pose_model: of model_files.POSE_MODELS, instead of that of the data.

        Raises:
            InputError: its layout cannot be made of landmarks of MediaPipe.
        """
        if not self.can_take(landmarker_lib.LAYOUT):
            raise errors.InputError(
                f'the model of {self.workdir} takes layout {self.layout.name}, which cannot be extracted from videos, '
                f'expected {", ".join(extracted_lib.LAYOUTS)}'
            )
        source = self.description.source
        parts = landmarker_lib.PARTS if 'body' in self.layout.groups else ('hands',)
        defaults = _PUBLISHED_DEFAULTS if source.get('kind') == _PUBLISHED else _DEFAULTS
        fields = {field.name for field in dataclasses.fields(landmarker_lib.Options)} - {'input'}
        given = {'running_mode': running_mode, 'pose': pose_model}
        chosen: dict[str, Any] = (
            {'parts': parts, **defaults}
            | {name: value for name, value in source.items() if name in fields}
            | {name: value for name, value in given.items() if value is not None}
            | {'handedness': self.description.handedness}
        )
        if not isinstance(chosen['parts'], list | tuple):
            raise errors.InputError(f'{self.workdir} has data of parts {chosen["parts"]!r}, expected a list')
        return landmarker_lib.Options(**chosen | {'parts': tuple(chosen['parts'])})

    def compare(self, options: landmarker_lib.Options, model_dir: str) -> list[str]:
        """Says how an extraction with these options and model files differs from that of the model's data.

        Raises:
            InputError: a model file is missing or not whole.
        """
        source = self.description.source
        here = options.describe(model_files.read_models(model_dir, options.model_files))
        if 'running_mode' not in source:
            pose_model = f', pose {options.pose}' if 'pose' in options.parts else ''
            return [
                f'the data of {self.workdir} do not say how their landmarks were extracted; here they are with '
                f'running_mode {options.running_mode}{pose_model}'
            ]
        notes = [
            f'landmarks are extracted with {name} {here[name]}, those of the data of {self.workdir} with {source[name]}'
            for name in ('running_mode', 'pose', 'mediapipe')
            if name in source and source[name] != here[name]
        ]
        hashes = source.get('models_sha256', {})
        others = [name for name, found in here['models_sha256'].items() if hashes.get(name, found) != found]
        if others:
            notes.append(f'{", ".join(others)} in {model_dir} differ from the files that the data were extracted with')
        return notes


@dataclasses.dataclass
class Clips:
    """Clips in the layout of a model.

    Attributes:
        names: of each.
        landmarks: <float32>[frames, points, 3] of each.
        glosses: the true gloss of each, None where it is not known.
        frame_sizes: width and height of the pictures of each, (0, 0) where unknown.
        left_out: name -> reason, of those that have no landmarks.
    """

    names: list[str] = dataclasses.field(default_factory=list)
    landmarks: list[np.ndarray] = dataclasses.field(default_factory=list)
    glosses: list[str | None] = dataclasses.field(default_factory=list)
    frame_sizes: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(
        self,
        name: str,
        points: np.ndarray,
        layout: landmarks_lib.Layout,
        gloss: str | None = None,
        frame_size: tuple[int, int] | None = None,
    ) -> None:
        """Adds a clip, or leaves it out where nothing is seen in it."""
        if not len(points):
            self.left_out[name] = 'no frames'
        elif np.isnan(points[..., :2]).all():
            self.left_out[name] = 'nothing seen in any frame'
        elif np.isinf(points).any():
            self.left_out[name] = 'infinite coordinates'
        elif plausibility.is_in_pixels(points, layout):
            self.left_out[name] = 'coordinates are pixels, expected fractions of width and height'
        else:
            self.names.append(name)
            self.landmarks.append(points)
            self.glosses.append(gloss)
            self.frame_sizes.append(frame_size or (0, 0))

    def report(self, path: str, layout: landmarks_lib.Layout | None = None) -> None:
        """Prints which clips are left out, and those of which too little is seen; InputError where none is left."""
        num_clips = len(self.names) + len(self.left_out)
        if not num_clips:
            raise errors.InputError(f'{path} holds no clip')
        if num_clips == 1 and self.left_out:
            [(name, reason)] = self.left_out.items()
            raise errors.InputError(f'{path}: {reason}' if name == path else f'{path}: clip {name}: {reason}')
        plausibility.report_left_out(path, self.left_out, num_clips)
        if layout is None:
            return
        without, seldom = [], []
        for name, points in zip(self.names, self.landmarks, strict=True):
            seen = ~np.isnan(points[..., 0])
            hands = [float(seen[:, list(hand)].any(axis=1).mean()) for hand in layout.hands]
            body = float(seen[:, list(layout.groups['body'])].any(axis=1).mean()) if 'body' in layout.groups else None
            if not any(hands):
                without.append(name)
            elif store_lib.is_seldom_seen(hands, body):
                seldom.append(name)
        if without:
            progress.report(f'warning: no hand is seen in any frame of {folders.count_and_name(without)}')
        if seldom:
            progress.report(f'warning: body and hands are seen in few frames of {folders.count_and_name(seldom)}')


# --- Videos


def find_videos(path: str) -> tuple[str, list[str]]:
    """Finds the videos that a path or pattern means.

    Args:
        path: a video, a folder of frames, a directory of these, or a pattern of glob.

    Returns:
        A directory ('' where a file or pattern is given) and the paths of videos and folders of frames below it.

    Raises:
        InputError: there is none.
    """
    if os.path.isfile(path):
        return '', [path]
    if os.path.isdir(path):
        found = folders.find(path)
        if not found.videos and any(video_files.frame_number(name) is not None for name in os.listdir(path)):
            return '', [path]
        if found.passed_over:
            progress.report('\n'.join(found.notes()))
        if not found.videos and found.stills:
            pattern = errors.quote(os.path.join(path, '*'))
            raise errors.InputError(f'{path} holds stills; --videos={pattern} takes each as a clip of one frame')
        if not found.videos:
            raise video_files.no_video(path)
        return path, found.videos
    matches = sorted(glob.glob(path, recursive=True))
    if not matches:
        what = 'matches nothing' if glob.has_magic(path) else 'does not exist'
        raise errors.InputError(f'{path} {what}, expected a video, a directory of videos or a pattern')
    return '', matches


def extract_videos(
    directory: str,
    videos: Sequence[str],
    model_dir: str,
    options: landmarker_lib.Options,
    *,
    num_workers: int = 1,
    time_limit: float = 600.0,
) -> tuple[dict[str, people.Extracted], dict[str, str]]:
    """Extracts whole videos.

    Args:
        directory: of the videos; '' where they are whole paths.
        videos: paths of videos or of folders of frames.
        model_dir: directory of MediaPipe's model files.
        options: how to extract.
        num_workers: processes.
        time_limit: seconds per video.

    Returns:
        Of each video its landmarks in the layout mediapipe_hands_pose; and of those that cannot be extracted, the
        reason.

    Raises:
        InputError: models are missing, or no worker can start.
    """
    from preprocessing.extraction import run_local, worker_pool

    clips = [clips_lib.Clip(video, video, 0, '', '') for video in videos]
    results = dict(run_local.extract_in_memory(clips, directory, model_dir, options, num_workers, time_limit))
    extracted, failed = {}, {}
    for clip in clips:
        result = results[clip]
        if isinstance(result, worker_pool.Failure):
            failed[clip.video_id] = result.reason
        else:
            extracted[clip.video_id] = result
    return extracted, failed


def clips_of_videos(target: Target, extracted: Mapping[str, people.Extracted], failed: Mapping[str, str]) -> Clips:
    """What `extract_videos` gives, as the model takes it."""
    clips = Clips(left_out=dict(failed))
    for name, found in extracted.items():
        clips.add(name, target.take(found.landmarks), target.layout, frame_size=found.frame_size)
    return clips


# --- Landmarks


def read(path: str, target: Target, split: str | None = None, *, whole: bool = False) -> Clips:
    """Reads landmarks of any kind.

    Args:
        path: see _KINDS.
        target: what they are made into.
        split: of a dataset or archive; None for all of it.
        whole: whether all points and frames are kept, so that `target.take` can be used on parts of a clip.

    Raises:
        InputError: `path` is of another kind, its landmarks do not fit the model, or a file is damaged.
    """
    if not os.path.exists(path):
        raise errors.InputError(f'{path} does not exist, expected {_KINDS}')
    dataset = _open_dataset(path, target)
    if dataset is not None:
        target.check(path, dataset.layout, dataset.description.handedness)
        return _clips_of_dataset(dataset, split)
    if split is not None:
        raise errors.InputError(f'--split={split} is for a dataset or an archive, {path} is of another kind')
    clips = Clips()
    for name, handedness, found in _read_clips(path, target):
        where = path if name == path else f'{path}: clip {name}'
        layout, points, frame_size = found
        target.check(where, target.layout if target.can_take(layout) else layout, handedness)
        if not whole:
            layout, points = target.layout, target.take(points)
        clips.add(name, points, layout, frame_size=frame_size)
    return clips


def _open_dataset(path: str, target: Target) -> dataset_lib.Dataset | None:
    """The dataset or archive at a path; None where it is of another kind."""
    if os.path.isdir(path):
        folders_of_versions = ('', *os.listdir(path))
        has_info = (os.path.isfile(os.path.join(path, name, 'dataset_info.json')) for name in folders_of_versions)
        return dataset_lib.load_dataset(path) if any(has_info) else None
    if not path.endswith('.npz') or _is_extracted(os.path.dirname(path)):
        return None
    dataset = npz.read_archive(path, path)
    source, layout = target.description.source, dataset.layout
    origins = [layout.points.index(point) for point in source.get('origins', ()) if point in layout.points]
    for clips in dataset.splits.values():
        for points in clips.landmarks:
            plausibility.mark_missing(points, source.get('missing_values', ()), layout, origins)
    return dataset


def _clips_of_dataset(dataset: dataset_lib.Dataset, split: str | None) -> Clips:
    clips = Clips()
    for name in [split] if split else dataset.splits:
        part = dataset.split(name)
        columns = (part.video_ids, part.landmarks, part.labels, part.frame_sizes.tolist())
        for video_id, points, label, frame_size in zip(*columns, strict=True):
            clips.add(video_id, points, dataset.layout, dataset.description.label_names[label], tuple(frame_size))
    return clips


def _is_extracted(directory: str) -> bool:
    return os.path.isfile(os.path.join(directory, store_lib.DESCRIPTION))


def _read_clips(path: str, target: Target) -> Iterator[tuple[str, str, clip_folders.Points]]:
    """Name, handedness and landmarks of each clip of an extraction, or of .pose files."""
    is_directory = os.path.isdir(path)
    directory = path if is_directory else os.path.dirname(path)
    if _is_extracted(directory) and (is_directory or path.endswith('.npz')):
        names = os.listdir(path) if is_directory else [os.path.basename(path)]
        yield from _read_extracted(directory, names, target)
    elif path.endswith('.pose') and os.path.isfile(path):
        yield _read_pose(path, path)
    else:
        names = sorted(pose.find_items(path)) if is_directory else []
        if not names:
            raise errors.InputError(f'{path} is {file_kinds.describe(path) or "of another kind"}, expected {_KINDS}')
        for name in names:
            yield _read_pose(name, os.path.join(path, name))


def _read_extracted(
    directory: str, names: Sequence[str], target: Target
) -> Iterator[tuple[str, str, clip_folders.Points]]:
    store, description = extracted_lib.open_store(directory)
    if target.can_take(landmarker_lib.LAYOUT):
        extracted_lib.check_layout(directory, target.layout, description)
    for name in sorted(name.removesuffix('.npz') for name in names if name.endswith('.npz')):
        found = store.read_named(name)
        if found is not None:
            points = clip_folders.Points(landmarker_lib.LAYOUT, found.landmarks, found.frame_size)
            yield name, description['handedness'], points


def _read_pose(name: str, path: str) -> tuple[str, str, clip_folders.Points]:
    found = pose.read_item(path.removesuffix(pose.SUFFIX))
    return name, 'signer', found or clip_folders.Points(landmarker_lib.LAYOUT, _NOTHING)
