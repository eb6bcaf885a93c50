"""Landmarks of the clips of a clips table -> a dataset.

Reads a directory of `extract_landmarks`, and the published files of `mediapipe_csv`.
"""

from collections.abc import Callable, Sequence
import functools
import os
from typing import Any

from absl import flags
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing import file_kinds, plausibility, splits
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import store as store_lib
from preprocessing.formats import mediapipe_csv
from slr_jax import dataset as dataset_lib
from slr_jax import errors
from slr_jax import landmarks as landmarks_lib

HANDS = ('most_seen', 'right', 'left')
LAYOUTS = ('mediapipe_hands_pose', 'mediapipe_hand', 'mediapipe_two_hands')

# The landmarks of a clip, and width and height of its pictures where known; None where there are none.
ReadClip = Callable[[clips_lib.Clip], tuple[np.ndarray, tuple[int, int] | None] | None]
# The points of a layout, taken from all that were read.
Select = Callable[[np.ndarray], np.ndarray]


def define_flags() -> None:
    """Defines the flags of `build_dataset --source=landmarks`."""
    flags.DEFINE_string('clips', None, 'Clips table.')
    flags.DEFINE_string(
        'landmarks',
        None,
        'Directory of extract_landmarks or of published <video>_poses_landmarks.csv files, or the published compact '
        'file of IPN Hand.',
    )
    define_points_flags()


def define_points_flags() -> None:
    """Defines the flags of which points and frames of the landmarks of a clip are taken."""
    flags.DEFINE_enum(
        'layout',
        None,
        sorted(landmarks_lib.LAYOUTS),
        f'Layout of the dataset, where the source has hands and pose of MediaPipe one of {", ".join(LAYOUTS)}.',
    )
    flags.DEFINE_enum(
        'hand',
        'most_seen',
        list(HANDS),
        "Hand that a layout of one hand takes: the signer's right or left, or the one seen in most frames of the clip.",
    )
    flags.DEFINE_bool('drop_empty_frames', False, 'Whether to leave out frames where nothing was seen, as published.')
    flags.DEFINE_bool('require_all', False, 'Whether a clip without landmarks is an error, not left out.')
    flags.DEFINE_integer(
        'tolerance',
        store_lib.DEFAULT_TOLERANCE,
        'Number of frames by which the end of a clip in the table may lie after the last frame of published landmarks; '
        'such a clip has the frames that are there.',
        lower_bound=0,
    )


def read(values: flags.FlagValues) -> dataset_lib.Dataset:
    """Reads the landmarks that the flags name."""
    if not (values.clips and values.landmarks and values.layout):
        raise errors.InputError('--source=landmarks needs --clips, --landmarks and --layout')
    return read_dataset(
        clips_lib.read_clips(values.clips),
        values.landmarks,
        values.name,
        landmarks_lib.LAYOUTS[values.layout],
        hand=values.hand,
        drop_empty_frames=values.drop_empty_frames,
        require_all=values.require_all,
        tolerance=values.tolerance,
    )


def read_dataset(
    clips: Sequence[clips_lib.Clip],
    path: str,
    name: str,
    layout: landmarks_lib.Layout,
    *,
    hand: str = 'most_seen',
    drop_empty_frames: bool = False,
    require_all: bool = False,
    tolerance: int = store_lib.DEFAULT_TOLERANCE,
    redraw: splits.Redraw | None = None,
) -> dataset_lib.Dataset:
    """Reads the landmarks of clips; prints which clips are left out because they have none.

    Args:
        clips: of the clips table.
        path: a directory of landmarks, or IPN Hand's compact file.
        name: of the dataset.
        layout: one of LAYOUTS.
        hand: one of HANDS, for layouts of one hand: that seen in most frames of the clip (right where both are), or
            always the signer's right or left.
        drop_empty_frames: leave out frames where nothing of the layout was seen, as published.
        require_all: a clip without landmarks is an error.
        tolerance: frames that a clip may lack at the end of published landmarks.
        redraw: see `collect`.

    Raises:
        InputError: `path` is of another kind or mixes kinds, does not have what the layout needs, a file is damaged or
            does not fit the table, or no clip has landmarks.
    """
    read_clip, handedness, source = _open_reader(path, tolerance)
    check_layout(path, layout, source)
    if source['layout'] == mediapipe_csv.COMPACT_LAYOUT.name:
        select: Select = _take_all
    else:
        select = make_selector(layout, hand, handedness)
    return collect(
        clips,
        path,
        name,
        layout,
        read_clip,
        select,
        handedness=handedness,
        source=source | {'hand': hand, 'drop_empty_frames': drop_empty_frames},
        drop_empty_frames=drop_empty_frames,
        require_all=require_all,
        redraw=redraw,
    )


def collect(
    clips: Sequence[clips_lib.Clip],
    path: str,
    name: str,
    layout: landmarks_lib.Layout,
    read_clip: ReadClip,
    select: Select,
    *,
    handedness: str,
    source: dict[str, Any],
    drop_empty_frames: bool = False,
    require_all: bool = False,
    redraw: splits.Redraw | None = None,
) -> dataset_lib.Dataset:
    """Reads the landmarks of clips; prints which clips are left out because they have none.

    Args:
        clips: their splits, labels, glosses and signers.
        path: what is read, for messages.
        name: of the dataset.
        layout: of the dataset.
        read_clip: gives the landmarks of a clip and the size of its pictures.
        select: takes the points of the layout from them.
        handedness: one of landmarks.HANDEDNESS.
        source: how the landmarks were made, for the description of the dataset.
        drop_empty_frames: leave out frames where nothing of the layout was seen.
        require_all: a clip without landmarks is an error.
        redraw: draws the splits of the others where clips are left out; None where splits are given.
    """
    landmarks, indices, sizes, skipped = [], [], [], {}
    for index, clip in enumerate(clips):
        found = read_clip(clip)
        if found is None:
            skipped[clip.video_id] = 'no landmarks'
            continue
        points, size = found
        selected = select(points)
        seen = ~np.isnan(selected[..., 0]).all(axis=1)
        if not seen.any():
            skipped[clip.video_id] = 'nothing seen in any frame'
            continue
        landmarks.append(selected[seen] if drop_empty_frames else selected)
        indices.append(index)
        sizes.append(size or (0, 0))
    plausibility.report_left_out(path, skipped, len(clips), require_all=require_all)
    glosses = {clip.label: clip.gloss for clip in clips}
    description = dataset_lib.Description(
        name=name,
        layout=layout.name,
        label_names=[glosses[label] for label in range(len(glosses))],
        handedness=handedness,
        source=source | {'clips_left_out': len(skipped)},
    )
    kept = [clips[index] for index in indices]
    if skipped and redraw:
        kept, line = redraw(kept)
        print(f'without the clips that are left out: {line}')
    else:
        _report_lost_classes(clips, kept)
    return dataset_lib.Dataset.from_clips(
        description,
        landmarks,
        labels=[clip.label for clip in kept],
        splits=[clip.split for clip in kept],
        video_ids=[clip.video_id for clip in kept],
        signers=[clip.signer_id for clip in kept],
        index=indices,
        frame_sizes=sizes,
    )


def _report_lost_classes(clips: Sequence[clips_lib.Clip], kept: Sequence[clips_lib.Clip]) -> None:
    """Prints which classes have no clip of a split any more."""
    lost = {(clip.label, clip.split): clip.gloss for clip in clips}.items() - {
        (clip.label, clip.split): clip.gloss for clip in kept
    }.items()
    if lost:
        names = [f'{gloss} ({split})' for (_, split), gloss in sorted(lost)]
        print(
            f'warning: with the clips that are left out, {dataset_lib.some(names)} lost all clips; videos_to_dataset '
            'draws splits without such clips, clips_from_folder and clips_from_table do where their videos are moved '
            'away'
        )


def check_layout(path: str, layout: landmarks_lib.Layout, source: dict[str, Any]) -> None:
    """InputError where landmarks that were read cannot be made into a layout."""
    if layout.name not in LAYOUTS:
        raise errors.InputError(f'layout {layout.name} cannot be made of landmarks, expected {", ".join(LAYOUTS)}')
    found = source['layout']
    if found == mediapipe_csv.COMPACT_LAYOUT.name != layout.name:
        raise errors.InputError(f'{path} has landmarks of one hand, expected --layout={found}')
    needed = ('hands', 'pose') if layout is landmarker_lib.LAYOUT else ('hands',)
    lacking = [part for part in needed if part not in source.get('parts', needed)]
    if lacking:
        raise errors.InputError(f'{path} was extracted without {lacking[0]}, which layout {layout.name} needs')


def _take_all(points: np.ndarray) -> np.ndarray:
    return points


def make_selector(layout: landmarks_lib.Layout, hand: str = 'most_seen', handedness: str = 'signer') -> Select:
    """Returns a function that takes the points of one of LAYOUTS from the 75 of hands and pose."""
    if layout is landmarker_lib.LAYOUT:
        return _take_all
    groups = landmarker_lib.LAYOUT.groups
    if layout.has_unordered_hands:
        return lambda points: points[:, [*groups['right_hand'], *groups['left_hand']]]
    order = np.array(landmarks_lib.anatomical_order(landmarker_lib.LAYOUT, handedness))
    signers = {side: order[list(groups[f'{side}_hand'])] for side in ('right', 'left')}
    candidates = list(signers.values()) if hand == 'most_seen' else [signers[hand]]

    def take_hand(points: np.ndarray) -> np.ndarray:
        hands = [points[:, candidate] for candidate in candidates]
        return max(hands, key=lambda points: (~np.isnan(points[:, 0, 0])).sum())

    return take_hand


def _open_reader(path: str, tolerance: int) -> tuple[ReadClip, str, dict[str, Any]]:
    """Returns what reads a clip, the handedness, and the source that the dataset is described with."""
    if os.path.isfile(path):
        videos = mediapipe_csv.read_compact_file(path)
        read_clip = _read_published(path, videos.get, tolerance)
        return read_clip, 'swapped', {'kind': 'ipn_hand_compact', 'layout': mediapipe_csv.COMPACT_LAYOUT.name}
    if not os.path.isdir(path):
        raise errors.InputError(f'{path} does not exist, expected a directory of landmarks')
    published = mediapipe_csv.find_video_files(path)
    if published and os.path.isfile(os.path.join(path, store_lib.DESCRIPTION)):
        raise errors.InputError(f'{path} mixes {published[0]} with {store_lib.DESCRIPTION}, expected one kind')
    if published:
        read_video = functools.lru_cache(maxsize=4)(functools.partial(mediapipe_csv.read_video_file, path))
        read_clip = _read_published(path, read_video, tolerance)
        return read_clip, 'swapped', {'kind': 'published_csv', 'layout': mediapipe_csv.VIDEO_LAYOUT.name}
    if not os.path.isfile(os.path.join(path, store_lib.DESCRIPTION)):
        raise errors.InputError(
            f'{path} has no {store_lib.DESCRIPTION}, expected a directory of extract_landmarks; it is '
            f'{file_kinds.describe(path)}'
        )
    store, description = open_store(path)

    def read_extracted(clip: clips_lib.Clip) -> tuple[np.ndarray, tuple[int, int] | None] | None:
        found = store.read_clip(clip)
        return None if found is None else (found.landmarks, found.frame_size)

    return read_extracted, description['handedness'], {'kind': 'landmarks', **description}


def _read_published(path: str, read_video: Callable[[str], np.ndarray | None], tolerance: int) -> ReadClip:
    """Published landmarks do not say the size of pictures."""

    def read(clip: clips_lib.Clip) -> tuple[np.ndarray, None] | None:
        points = slice_clip(path, read_video, clip, tolerance=tolerance)
        return None if points is None else (points, None)

    return read


def open_store(path: str) -> tuple[store_lib.LandmarkStore, dict[str, Any]]:
    """Opens a directory of extract_landmarks to read it, and gives what its extraction.json says."""
    description, fingerprint = store_lib.read_description(path)
    lacking = [field for field in ('layout', 'handedness') if field not in description]
    if lacking:
        raise errors.InputError(f'{path}/{store_lib.DESCRIPTION} has no {lacking[0]!r}')
    return store_lib.LandmarkStore(path, fingerprint), description


def slice_clip(
    path: str,
    read_video: Callable[[str], np.ndarray | None],
    clip: clips_lib.Clip,
    *,
    tolerance: int = store_lib.DEFAULT_TOLERANCE,
) -> np.ndarray | None:
    """The landmarks of a clip's own file, or its frames of those of its video; None where there are none."""
    own = read_video(clip.video_id)
    if own is not None:
        return own
    stem = os.path.splitext(clip.file)[0]
    for video in dict.fromkeys((stem, os.path.basename(stem))):
        points = read_video(video)
        if points is not None:
            break
    else:
        return None
    end = len(points) if clip.frame_end == clips_lib.TO_THE_END else clip.frame_end
    if end - len(points) > tolerance or clip.frame_start > min(end, len(points)):
        raise errors.InputError(
            f'{path}: video {video} has landmarks of {len(points)} frames, clip {clip.video_id} needs frames '
            f'{clip.frame_range}'
        )
    if end > len(points):
        print(f'{clip.video_id}: the annotation ends at frame {end}, the landmarks at frame {len(points)}')
    return points[clip.frame_start - 1 : end]
