"""Extracted landmarks and a clips table -> a dataset.

Reads a directory of `extract_landmarks`, a directory of published `<video>_poses_landmarks.csv` (one row a frame, `,`
or `;` between the columns), and the published compact file of IPN Hand (one CSV of all videos: video, frame, x0, y0, …
of one hand).
"""

from collections.abc import Callable, Sequence
import functools
import os
from typing import Any

import numpy as np
import pandas as pd

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import store as store_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors
from slr_jax import landmarks as landmarks_lib

HANDS = ('most_seen', 'right', 'left')
LAYOUTS = ('mediapipe_hands_pose', 'mediapipe_hand', 'mediapipe_two_hands')
_PUBLISHED_SUFFIX = '_poses_landmarks.csv'
_MISSING = -2.0
_HAND_LAYOUT = landmarks_lib.LAYOUTS['mediapipe_hand']
_FIRST_ROW = 2
_MOST_FRAMES = 1_000_000

# The landmarks of a clip, None where there are none.
Load = Callable[[clips_lib.Clip], np.ndarray | None]


def read_dataset(
    clips: Sequence[clips_lib.Clip],
    path: str,
    name: str,
    layout: landmarks_lib.Layout,
    *,
    hand: str = 'most_seen',
    drop_empty_frames: bool = False,
    require_all: bool = False,
) -> dataset_lib.Dataset:
    """Reads the landmarks of clips; prints those that are left out, for having none.

    Args:
        clips: of the clips table.
        path: a directory of landmarks, or IPN Hand's compact file.
        name: of the dataset.
        layout: one of LAYOUTS.
        hand: one of HANDS, for layouts of one hand: that seen in most frames of the clip (right where both are), or
            always the signer's right or left.
        drop_empty_frames: leave out frames where nothing of the layout was seen, as published.
        require_all: a clip without landmarks is an error.

    Raises:
        InputError: `path` is of another kind or mixes kinds, does not have what the layout needs, a file is damaged or
            does not fit the table, or no clip has landmarks.
    """
    load, handedness, source = _open(path)
    right = 'left_hand' if handedness == 'swapped' else 'right_hand'
    select = _selection(path, layout, hand, right, source)
    landmarks, left_out = {}, {}
    for clip in clips:
        points = load(clip)
        if points is None:
            left_out[clip.video_id] = 'no landmarks'
            continue
        selected = select(points)
        seen = ~np.isnan(selected[..., 0]).all(axis=1)
        if not seen.any():
            left_out[clip.video_id] = 'nothing seen in any frame'
            continue
        landmarks[clip] = selected[seen] if drop_empty_frames else selected
    _tell_left_out(path, clips, left_out, require_all)
    splits = {split: [clip for clip in landmarks if clip.split == split] for split in dataset_lib.SPLITS}
    glosses = {clip.label: clip.gloss for clip in clips}
    place = {clip: index for index, clip in enumerate(clips)}
    description = dataset_lib.Description(
        name=name,
        layout=layout.name,
        label_names=[glosses[label] for label in range(len(glosses))],
        handedness=handedness,
        source=source | {'hand': hand, 'drop_empty_frames': drop_empty_frames, 'clips_left_out': len(left_out)},
    )
    return dataset_lib.Dataset(
        description,
        {
            split: dataset_lib.Clips(
                landmarks=[landmarks[clip] for clip in part],
                labels=np.array([clip.label for clip in part], np.int32),
                video_ids=[clip.video_id for clip in part],
                signers=[clip.signer_id for clip in part],
                index=np.array([place[clip] for clip in part]),
            )
            for split, part in splits.items()
            if part
        },
    )


def _tell_left_out(path: str, clips: Sequence[clips_lib.Clip], left_out: dict[str, str], require_all: bool) -> None:
    if not left_out:
        return
    first = next(iter(left_out))
    if require_all or len(left_out) == len(clips):
        raise errors.InputError(
            f'{path}: {len(left_out)} of {len(clips)} clips cannot be used, the first is {first}: {left_out[first]}'
        )
    print(f'{len(left_out)} of {len(clips)} clips are left out:')
    for reason in dict.fromkeys(left_out.values()):
        print(f'  {reason}: {" ".join(video_id for video_id, why in left_out.items() if why == reason)}')


def _selection(
    path: str, layout: landmarks_lib.Layout, hand: str, right: str, source: dict[str, Any]
) -> Callable[[np.ndarray], np.ndarray]:
    """What takes the points of a layout from those that were read."""
    if layout.name not in LAYOUTS:
        raise errors.InputError(f'layout {layout.name} cannot be made of landmarks, expected {", ".join(LAYOUTS)}')
    found = source['layout']
    if found == layout.name:
        needed = ('hands', 'pose') if layout is landmarker_lib.LAYOUT else ()
    elif found == _HAND_LAYOUT.name:
        raise errors.InputError(f'{path} has landmarks of one hand, expected --layout={found}')
    else:
        needed = ('hands',)
    lacking = [part for part in needed if part not in source.get('parts', needed)]
    if lacking:
        raise errors.InputError(f'{path} was extracted without {lacking[0]}, which layout {layout.name} needs')
    if found == layout.name:
        return lambda points: points
    groups = {group: list(points) for group, points in landmarker_lib.LAYOUT.groups.items()}
    if layout.has_unordered_hands:
        return lambda points: points[:, groups['right_hand'] + groups['left_hand']]
    left = 'right_hand' if right == 'left_hand' else 'left_hand'
    order = {'most_seen': (right, left), 'right': (right,), 'left': (left,)}[hand]

    def take_hand(points: np.ndarray) -> np.ndarray:
        hands = [points[:, groups[group]] for group in order]
        return max(hands, key=lambda points: (~np.isnan(points[:, 0, 0])).sum())

    return take_hand


# --- The kinds


def _open(path: str) -> tuple[Load, str, dict[str, Any]]:
    """What reads a clip, how its hands are named, and the source that the dataset tells."""
    if os.path.isfile(path):
        videos = _read_compact(path)
        load = functools.partial(_cut, path, videos.get)
        return load, 'swapped', {'kind': 'ipn_hand_compact', 'layout': _HAND_LAYOUT.name}
    if not os.path.isdir(path):
        raise errors.InputError(f'{path} does not exist, expected a directory of landmarks')
    published = [name for name in sorted(os.listdir(path)) if name.endswith(_PUBLISHED_SUFFIX)]
    extracted = os.path.isfile(os.path.join(path, store_lib.DESCRIPTION))
    if published and extracted:
        raise errors.InputError(f'{path} mixes {published[0]} with {store_lib.DESCRIPTION}, expected one kind')
    if published:
        read = functools.lru_cache(maxsize=4)(functools.partial(_read_published, path))
        load = functools.partial(_cut, path, read)
        return load, 'swapped', {'kind': 'published_csv', 'layout': landmarker_lib.LAYOUT.name}
    description = store_lib.read_description(path)
    lacking = [field for field in ('layout', 'handedness') if field not in description]
    if lacking:
        raise errors.InputError(f'{path}/{store_lib.DESCRIPTION} has no {lacking[0]!r}')
    load = functools.partial(store_lib.load_clip, path, extraction=store_lib.fingerprint(description))
    return load, description['handedness'], {'kind': 'landmarks', **description}


def _cut(path: str, read: Callable[[str], np.ndarray | None], clip: clips_lib.Clip) -> np.ndarray | None:
    """A clip of the landmarks of its own file or, from frame_start to frame_end, of its video's."""
    own = read(clip.video_id)
    if own is not None:
        return own
    video = os.path.splitext(os.path.basename(clip.file))[0]
    points = read(video)
    if points is None:
        return None
    end = len(points) if clip.frame_end == clips_lib.TO_THE_END else clip.frame_end
    if end > len(points) or clip.frame_start > end:
        raise errors.InputError(
            f'{path}: video {video} has landmarks of {len(points)} frames, clip {clip.video_id} lies at '
            f'{clip.frame_start} to {clip.frame_end}'
        )
    return points[clip.frame_start - 1 : end]


def _read_published(directory: str, video: str) -> np.ndarray | None:
    """<float32>[frames, 75, 3] of a per-video file; None where there is none."""
    path = os.path.join(directory, f'{video}{_PUBLISHED_SUFFIX}')
    if not os.path.isfile(path):
        return None
    columns = [f'{prefix}{axis}{i}' for prefix, count in (('RH', 21), ('LH', 21), ('P', 33))
               for i in range(count) for axis in 'xyz']  # fmt: skip
    table = _read_table(path, [*columns, 'frame'])
    points = _numbers(path, table, columns).reshape(len(table), -1, 3)
    return _by_frame(_frames(path, table, ['frame']), points)


def _read_compact(path: str) -> dict[str, np.ndarray]:
    """Video -> <float32>[frames, 21, 3], of IPN Hand's compact file; z is NaN where the file has none."""
    flat = [f'{axis}{i}' for i in range(_HAND_LAYOUT.num_points) for axis in 'xy']
    depth = [f'z{i}' for i in range(_HAND_LAYOUT.num_points)]
    table = _read_table(path, ['video', 'frame', *flat])
    table = table.reindex(columns=[*table.columns, *(column for column in depth if column not in table)])
    columns = [f'{axis}{i}' for i in range(_HAND_LAYOUT.num_points) for axis in 'xyz']
    points = _numbers(path, table, columns).reshape(len(table), -1, 3)
    frames = _frames(path, table, ['video', 'frame'])
    return {str(video): _by_frame(frames[rows], points[rows]) for video, rows in table.groupby('video').indices.items()}


def _read_table(path: str, columns: Sequence[str]) -> pd.DataFrame:
    try:
        with open(path, encoding='utf-8') as file:
            separator = ';' if ';' in file.readline() else ','
        table = pd.read_csv(path, sep=separator, dtype={'video': str}, index_col=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise errors.InputError(f'{path} is no CSV: {errors.one_line(error)}') from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise errors.InputError(f'{path} has no column {missing[0]!r}, expected {columns[0]}, …, {columns[-1]}')
    if table.empty:
        raise errors.InputError(f'{path} has no rows, expected one a frame')
    return table


def _numbers(path: str, table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    numbers = table[list(columns)].apply(pd.to_numeric, errors='coerce')
    for row, column in np.argwhere((numbers.isna() & table[list(columns)].notna()).to_numpy()):
        cell = table[columns[column]].iloc[row]
        raise errors.InputError(f'{path}, row {row + _FIRST_ROW}, column {columns[column]}: {cell!r} is no number')
    return numbers.to_numpy(np.float32)


def _frames(path: str, table: pd.DataFrame, key: list[str]) -> np.ndarray:
    """<int>[rows], the frame of each row from 1; `key` are the columns that together occur once."""
    frames = _numbers(path, table, ['frame'])[:, 0]
    odd = np.flatnonzero(~((frames >= 1) & (frames <= _MOST_FRAMES) & (frames == np.floor(frames))))
    if odd.size:
        row = odd[0] + _FIRST_ROW
        raise errors.InputError(f'{path}, row {row}: frame is {frames[odd[0]]:g}, expected 1 to {_MOST_FRAMES}')
    twice = np.flatnonzero(table.duplicated(key))
    if twice.size:
        row = twice[0] + _FIRST_ROW
        raise errors.InputError(f'{path}, row {row}: frame {frames[twice[0]]:g} occurs twice, expected one row each')
    return frames.astype(int)


def _by_frame(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Puts rows at their frames; frames without a row and missing points are NaN."""
    whole = np.full((frames.max(), *points.shape[1:]), np.nan, np.float32)
    missing = (points[..., :2] == _MISSING).all(axis=-1, keepdims=True)
    whole[frames - 1] = np.where(missing, np.nan, points)
    return whole
