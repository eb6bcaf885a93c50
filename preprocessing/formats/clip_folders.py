"""Folders of landmark files, or of folders with a file per frame -> a dataset.

Class, split and signer of each clip are what its path says (see preprocessing.folders), or what a clips table says.
"""

from collections.abc import Callable, Sequence
import functools
import os
import re
from typing import Any, NamedTuple

from absl import flags
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing import file_kinds, folders, splits
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.formats import extracted
from slr_jax import dataset as dataset_lib
from slr_jax import errors, progress
from slr_jax import landmarks as landmarks_lib

TWO_HANDS = landmarks_lib.LAYOUTS['mediapipe_two_hands']
# --layout is that of the landmarks.
_FLAGS = folders.Flags(directory='input', layout='folders')
_SIGNER = re.compile('^([^/_]+)[/_]')
# Clips that are looked at to find out whether a body is seen.
_NUM_SAMPLES = 20


class Points(NamedTuple):
    """What was read: its layout, <float32>[frames, points, 3], and width and height of the pictures where known."""

    layout: landmarks_lib.Layout
    landmarks: np.ndarray
    frame_size: tuple[int, int] | None = None


# Path of a clip -> its landmarks; None where it has no frames.
ReadItem = Callable[[str], Points | None]


def define_flags() -> None:
    """Defines the flags of every source that is a folder."""
    flags.DEFINE_string('input', None, 'Directory of the landmark files.')
    flags.DEFINE_string(
        'clips',
        None,
        'Clips table, whose column file, without suffix, is a path below --input, or whose video_id is a name there; '
        'default: class, split and signer are taken from the folders.',
    )
    folders.define_flags(_FLAGS, 'clip')
    splits.define_flags()
    extracted.define_points_flags()
    for module in (folders, splits, extracted):
        flags.adopt_module_key_flags(module)


def read(
    values: flags.FlagValues, kind: str, what: str, find_items: Callable[[str], list[str]], read_item: ReadItem
) -> dataset_lib.Dataset:
    """Reads the folder that the flags name.

    Args:
        values: the flags.
        kind: of the source, as --source has it.
        what: such a folder holds, for messages.
        find_items: gives the paths of the clips below a directory, relative to it and without suffix.
        read_item: reads the clip of such a path below the directory.
    """
    directory = check_directory(values, kind)
    items = sorted(find_items(directory))
    if not items:
        content = file_kinds.describe_content(directory)
        raise errors.InputError(f'{directory} holds no {what}' + (f'; {content}' if content else ''))
    read_below = functools.lru_cache(maxsize=4)(lambda item: read_item(os.path.join(directory, item)))
    if values.clips:
        clips = clips_lib.read_clips(values.clips)
        names = _name_items(items)
        read_clip: Callable[[clips_lib.Clip], Points | None] = functools.partial(
            _read_named, directory, names, read_below
        )
        redraw = None
    else:
        clips, redraw = _clips_of_folders(directory, items, values)
        read_clip = lambda clip: read_below(clip.file)  # noqa: E731
    return collect(values, kind, clips, read_clip, redraw)


def check_directory(values: flags.FlagValues, kind: str) -> str:
    """The directory that --input names."""
    if not values.input:
        raise errors.InputError(f'--source={kind} needs --input')
    if not os.path.isdir(values.input):
        found = f'is {file_kinds.describe(values.input)}' if os.path.exists(values.input) else 'does not exist'
        raise errors.InputError(f'{values.input} {found}, expected a directory')
    return values.input


def frame_order(name: str) -> tuple[int, str]:
    """What files of frames are sorted by: the last number in their names."""
    numbers = re.findall(r'\d+', os.path.splitext(name)[0])
    return int(numbers[-1]) if numbers else -1, name


def _name_items(items: Sequence[str]) -> dict[str, str]:
    """The name of each item, and its whole path -> the path; names that several have are left out."""
    names: dict[str, str | None] = {}
    for item in items:
        name = os.path.basename(item)
        names[name] = None if name in names else item
    return {name: item for name, item in names.items() if item is not None} | {item: item for item in items}


def _read_named(directory: str, names: dict[str, str], read_below: ReadItem, clip: clips_lib.Clip) -> Points | None:
    read = []

    def read_video(name: str) -> np.ndarray | None:
        points = read_below(names[name]) if name in names else None
        if points is None:
            return None
        read.append(points)
        return points.landmarks

    found = extracted.slice_clip(directory, read_video, clip)
    return None if found is None else read[-1]._replace(landmarks=found)


def _clips_of_folders(
    directory: str, items: list[str], values: flags.FlagValues
) -> tuple[list[clips_lib.Clip], splits.Redraw | None]:
    roles, pattern = folders.parse_choice(values.folders, values.pattern, _FLAGS)
    found = folders.Found(items, flags=_FLAGS)
    clips, _ = folders.make_clips(directory, found, roles, pattern, _SIGNER)
    clips, line, redraw = splits.assign_by_flags(clips_lib.number_labels(clips), values, directory)
    clips_lib.check_clips(clips, directory)
    print('\n'.join([*found.notes(), line]))
    return clips, redraw


def collect(
    values: flags.FlagValues,
    kind: str,
    clips: Sequence[clips_lib.Clip],
    read_clip: Callable[[clips_lib.Clip], Points | None],
    redraw: splits.Redraw | None = None,
) -> dataset_lib.Dataset:
    """Reads the landmarks of clips into the layout that the flags say or the landmarks have."""
    base, layout = _choose_layout(values, clips, read_clip)
    select = extracted.make_selector(layout, values.hand) if base is landmarker_lib.LAYOUT else lambda points: points
    counter = progress.Progress('clips', len(clips))

    def read_points(clip: clips_lib.Clip) -> tuple[np.ndarray, tuple[int, int] | None] | None:
        found = read_clip(clip)
        counter.add(0 if found is None else len(found.landmarks))
        if found is not None and found.layout is not base:
            raise errors.InputError(
                f'{values.input}: clip {clip.video_id} has layout {found.layout.name}, expected {base.name} as the '
                'first'
            )
        return None if found is None else (found.landmarks, found.frame_size)

    source: dict[str, Any] = {'kind': kind, 'drop_empty_frames': values.drop_empty_frames}
    if layout.name == 'mediapipe_hand':
        source['hand'] = values.hand
    return extracted.collect(
        clips,
        values.input,
        values.name,
        layout,
        read_points,
        select,
        handedness='signer',
        source=source,
        drop_empty_frames=values.drop_empty_frames,
        require_all=values.require_all,
        redraw=redraw,
    )


def _choose_layout(
    values: flags.FlagValues,
    clips: Sequence[clips_lib.Clip],
    read_clip: Callable[[clips_lib.Clip], Points | None],
) -> tuple[landmarks_lib.Layout, landmarks_lib.Layout]:
    """The layout of what is read, and that of the dataset: of two hands where no body is seen in some clips."""
    samples = [points for clip in clips[:_NUM_SAMPLES] if (points := read_clip(clip)) is not None]
    if not samples:
        raise errors.InputError(f'{values.input}: no landmarks of the first clips are found, such as {clips[0].file}')
    base = samples[0].layout
    body = list(base.groups.get('body', ()))
    has_body = any(not np.isnan(sample.landmarks[:, body]).all() for sample in samples)
    is_mediapipe = base is landmarker_lib.LAYOUT
    default = TWO_HANDS if is_mediapipe and not has_body else base
    layout = landmarks_lib.LAYOUTS[values.layout] if values.layout else default
    makeable = [name for name in extracted.LAYOUTS if has_body or name != base.name] if is_mediapipe else [base.name]
    if layout.name not in makeable:
        raise errors.InputError(
            f'{values.input}: layout {layout.name} cannot be made of these landmarks, expected {", ".join(makeable)}'
        )
    return base, layout
