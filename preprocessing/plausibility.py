"""Looks at the numbers of a dataset before it is written, whatever it was read from.

Mends what flags say, leaves out clips in which nothing is seen, refuses pixels, and warns of what is legal but seldom
meant.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import re
from typing import Any

from absl import flags
import numpy as np

from slr_jax import dataset as dataset_lib
from slr_jax import errors, frame_sizes
from slr_jax import landmarks as landmarks_lib

# Points of the legs may be estimated outside of the image.
_LOWEST, _HIGHEST = -1.0, 2.0
# What other programs write as x and y of a missing point, and the flag that says so.
_STAND_INS = {0.0: '--zeros_are_missing', -1.0: '--missing_value=-1', -2.0: '--missing_value=-2'}
_SUSPICIOUS_FRACTION = 0.001
_NEARLY_ALL = 0.95
_MOST_NAMES = 20

FrameSize = tuple[int, int]


def define_flags() -> None:
    """Defines the flags that mend the numbers of every source."""
    flags.DEFINE_float(
        'missing_value',
        None,
        'Number that x and y of a missing point are in the source, beside NaN; default: none, for spoter_csv −2, or 0 '
        'for vision_api.',
    )
    flags.DEFINE_bool(
        'zeros_are_missing',
        False,
        'Whether points with x and y exactly 0 are missing, except those that the others are relative to.',
    )
    flags.DEFINE_string(
        'frame_size',
        None,
        'Width and height in pixels, such as 1920x1080, of the pictures of clips for which the source does not say it; '
        'coordinates in pixels are divided by it.',
    )


def check_with_flags(dataset: dataset_lib.Dataset, values: flags.FlagValues) -> dataset_lib.Dataset:
    """`check` as the flags say."""
    missing_values = [values.missing_value] if values.missing_value is not None else []
    return check(
        dataset,
        missing_values=missing_values + [0.0] * values.zeros_are_missing,
        frame_size=parse_frame_size(values.frame_size),
    )


def parse_frame_size(text: str | None) -> FrameSize | None:
    """`1920x1080` -> (1920, 1080)."""
    if text is None:
        return None
    found = re.fullmatch(r'\s*([1-9]\d*)\s*[xX×, ]\s*([1-9]\d*)\s*', text)
    if not found:
        raise errors.InputError(f'--frame_size is {text!r}, expected width and height in pixels, such as 1920x1080')
    return int(found[1]), int(found[2])


def check(
    dataset: dataset_lib.Dataset, *, missing_values: Sequence[float] = (), frame_size: FrameSize | None = None
) -> dataset_lib.Dataset:
    """Mends and checks the clips; prints a line for each thing that was mended, left out or looks wrong.

    Args:
        dataset: its arrays are changed in place, so that no second copy is in memory.
        missing_values: a point whose x and y are both one of these numbers is missing.
        frame_size: width and height of the pictures of clips whose own is not known. Coordinates in pixels are
            divided by it, others stay as they are.

    Raises:
        InputError: coordinates are pixels, or no clip is left, or none in the split train that had some.
    """
    name = dataset.description.name
    if not _count(dataset) or any(clip.shape[1:] != (dataset.layout.num_points, 3) for clip in _all_landmarks(dataset)):
        # Refused where the dataset is written.
        return dataset
    origins = find_origins(_all_landmarks(dataset), dataset.layout)
    changes: dict[str, Any] = {'missing_values': list(missing_values)} if missing_values else {}
    if origins:
        changes['origins'] = [dataset.layout.points[point] for point in origins]
    if frame_size and all(clips.frame_sizes.all() for clips in dataset.splits.values()):
        known = frame_sizes.describe(dataset.description.frame_sizes or {})
        print(f'warning: {name}: --frame_size is not used, as the source says the size of all pictures: {known}')
    elif frame_size:
        dataset = _with_frame_size(dataset, frame_size)
        changes['frame_size'] = list(frame_size)
    num_divided = 0
    for clips in dataset.splits.values():
        for clip, (width, height) in zip(clips.landmarks, clips.frame_sizes.tolist(), strict=True):
            mark_missing(clip, missing_values, dataset.layout, origins)
            num_divided += bool(width) and divide_pixels(clip, dataset.layout, (width, height))
    if frame_size or num_divided:
        print(f'{name}: {num_divided} of {_count(dataset)} clips were in pixels and are divided by their frame_size')
    _refuse_pixels(dataset, frame_size)
    dataset = _leave_out_unseen(dataset, changes)
    warnings = (
        *_describe_origins(dataset.layout, origins),
        *_find_stand_ins(dataset, origins),
        *_find_idle_groups(dataset),
        *_find_class_problems(dataset),
        *_find_shapes(dataset),
        *_find_shared_signers(dataset),
    )
    for warning in warnings:
        print(f'warning: {name}: {warning}')
    return dataset


def _all_landmarks(dataset: dataset_lib.Dataset) -> Iterable[np.ndarray]:
    return (clip for clips in dataset.splits.values() for clip in clips.landmarks)


def _count(dataset: dataset_lib.Dataset) -> int:
    return sum(map(len, dataset.splits.values()))


# --- Coordinates


def find_origins(clips: Iterable[np.ndarray], layout: landmarks_lib.Layout) -> list[int]:
    """Points that the others of their group are relative to, as a hand's to its wrist.

    Such a point is the only one of its group whose x and y are exactly 0 in nearly all frames (95 %) in which another
    point of the group is there.

    Args:
        clips: <float32>[frames, points, 3] of each.
        layout: of the clips.

    Returns:
        Their indices.
    """
    num_frames = dict.fromkeys(layout.groups, 0)
    num_zero = np.zeros(layout.num_points, int)
    for clip in clips:
        is_zero = _equals(clip, [0.0])
        for group, is_there in _find_groups(clip, list(_STAND_INS), layout).items():
            points = list(layout.groups[group])
            num_frames[group] += int(is_there.sum())
            num_zero[points] += is_zero[is_there][:, points].sum(axis=0)
    origins = []
    for group, members in layout.groups.items():
        found = [point for point in members if num_zero[point] >= max(1, _NEARLY_ALL * num_frames[group])]
        if len(found) == 1 and layout.points[found[0]] not in layout.optional_points:
            origins += found
    return origins


def mark_missing(
    clip: np.ndarray, missing_values: Sequence[float], layout: landmarks_lib.Layout, origins: Sequence[int] = ()
) -> None:
    """Makes points NaN, in place, whose x and y are both one of some numbers.

    A point of `origins` stays where another point of its group is there.
    """
    is_missing = _equals(clip, missing_values)
    if origins:
        groups = _find_groups(clip, missing_values, layout)
        for point in origins:
            is_missing[:, point] &= ~groups[layout.group_of_point[point]]
    clip[is_missing] = np.nan


def _equals(clip: np.ndarray, values: Sequence[float]) -> np.ndarray:
    """<bool>[frames, points], where x and y are both one of some numbers."""
    found = np.zeros(clip.shape[:2], bool)
    for value in values:
        found |= (clip[..., :2] == value).all(axis=-1)
    return found


def _find_groups(
    clip: np.ndarray, missing_values: Sequence[float], layout: landmarks_lib.Layout
) -> dict[str, np.ndarray]:
    """The frames, <bool>[frames], in which a point of each group is there, neither NaN nor one of some numbers."""
    is_there = ~np.isnan(clip[..., :2]).any(axis=-1) & ~_equals(clip, missing_values)
    return {group: is_there[:, list(points)].any(axis=1) for group, points in layout.groups.items()}


def divide_pixels(clip: np.ndarray, layout: landmarks_lib.Layout, frame_size: FrameSize) -> bool:
    """Divides x and y of each group of points that is in pixels, in place; whether there was one."""
    groups = _find_pixel_groups(clip, layout)
    with np.errstate(invalid='ignore'):
        for points in groups:
            clip[:, points, :2] /= np.array(frame_size, np.float32)
    return bool(groups)


def is_in_pixels(clip: np.ndarray, layout: landmarks_lib.Layout) -> bool:
    """Whether most points that are seen of a group lie outside of any image."""
    return bool(_find_pixel_groups(clip, layout))


def _find_pixel_groups(clip: np.ndarray, layout: landmarks_lib.Layout) -> list[list[int]]:
    """The groups of which most points that are seen lie outside of any image."""
    found = []
    for points in map(list, layout.groups.values()):
        xy = clip[:, points, :2]
        is_seen = ~np.isnan(xy).any(axis=-1) & ~_equals(xy, list(_STAND_INS))
        is_outside = ((xy < _LOWEST) | (xy > _HIGHEST)).any(axis=-1) & is_seen
        if 2 * is_outside.sum() > is_seen.sum():
            found.append(points)
    return found


def _with_frame_size(dataset: dataset_lib.Dataset, frame_size: FrameSize) -> dataset_lib.Dataset:
    """States the size of the pictures of clips whose own is not known."""
    splits = {
        split: dataclasses.replace(clips, frame_sizes=np.where(clips.frame_sizes > 0, clips.frame_sizes, frame_size))
        for split, clips in dataset.splits.items()
    }
    return dataset_lib.Dataset(dataset.description, splits)


def _find_shapes(dataset: dataset_lib.Dataset) -> Iterable[str]:
    sizes, num_clips = dataset.description.frame_sizes, _count(dataset)
    if not sizes:
        return
    num_unknown = num_clips - sum(sizes.values())
    if num_unknown:
        yield (
            f'the shape of the pictures of {num_unknown} of {num_clips} clips is unknown, that of others is '
            f'{frame_sizes.describe(sizes)}; build_dataset --frame_size states it'
        )
    elif frame_sizes.has_several_shapes(sizes):
        yield (
            f'pictures are of several shapes, by number of clips: {frame_sizes.describe(sizes)}; config.normalize '
            "'centered' and 'spoter' account for that, 'none' does not"
        )


def _refuse_pixels(dataset: dataset_lib.Dataset, frame_size: FrameSize | None) -> None:
    found = [
        (f'{video_id} of {split}', clip)
        for split, clips in dataset.splits.items()
        for video_id, clip in zip(clips.video_ids, clips.landmarks, strict=True)
        # Infinite numbers are refused where the dataset is written.
        if _find_pixel_groups(clip, dataset.layout) and not np.isinf(clip).any()
    ]
    if not found:
        return
    highest = [np.nanmax(clip[..., :2], axis=(0, 1)) for _, clip in found]
    x, y = np.max(highest, axis=0)
    mend = 'the width and height of the video, divides them'
    raise errors.InputError(
        f'{dataset.description.name}: {len(found)} of {_count(dataset)} clips, the first is {found[0][0]}, have '
        f'coordinates outside −1 to 2, as pixels are (x up to {x:g}, y up to {y:g}); '
        + (
            f'--frame_size=1920x1080, {mend}'
            if frame_size is None
            else f'--frame_size is {frame_size}, expected {mend}'
        )
    )


def _describe_origins(layout: landmarks_lib.Layout, origins: Sequence[int]) -> Iterable[str]:
    if origins:
        yield (
            f'x and y of {", ".join(layout.points[point] for point in origins)} are exactly 0 in nearly all frames in '
            'which the rest of the hand or body is there: coordinates are relative to it, which is not missing'
        )


def _find_stand_ins(dataset: dataset_lib.Dataset, origins: Sequence[int]) -> Iterable[str]:
    num_points = sum(clip[..., 0].size for clip in _all_landmarks(dataset))
    for value, flag in _STAND_INS.items():
        counts = sum(_equals(clip, [value]).sum(axis=0) for clip in _all_landmarks(dataset))
        count = int(np.delete(counts, origins if value == 0 else []).sum())
        if count > _SUSPICIOUS_FRACTION * num_points:
            yield (
                f'x and y of {count / num_points:.1%} of points are exactly {value:g}; if that means missing, build '
                f'again with {flag}'
            )


def _find_idle_groups(dataset: dataset_lib.Dataset) -> Iterable[str]:
    """Groups of points that are nearly always missing, or whose numbers never change."""
    clips = list(_all_landmarks(dataset))
    num_frames = sum(map(len, clips))
    missing = sum(np.isnan(clip[..., :2]).any(axis=-1).sum(axis=0) for clip in clips) / num_frames
    low, high = (f.reduce([f.reduce(clip[..., :2], axis=0) for clip in clips], axis=0) for f in (np.fmin, np.fmax))
    for group, points in dataset.layout.groups.items():
        share = missing[list(points)].mean()
        is_same = (low == high)[list(points)]
        if share >= _NEARLY_ALL:
            yield f'{group} is missing in {"all" if share == 1 else f"{share:.1%} of"} frames'
        elif len(clips) > 1 and is_same.mean() >= _NEARLY_ALL:
            yield f'{group} is the same in all frames of all clips: nothing can be learned from it'


# --- Clips without landmarks


def _leave_out_unseen(dataset: dataset_lib.Dataset, changes: dict[str, Any]) -> dataset_lib.Dataset:
    left_out = {}
    splits = {}
    for split, clips in dataset.splits.items():
        kept = []
        for index, clip in enumerate(clips.landmarks):
            if clip.size and np.isnan(clip[..., :2]).all():
                left_out[split, clips.video_ids[index]] = 'nothing seen in any frame'
            elif not len(clip):
                left_out[split, clips.video_ids[index]] = 'no frames'
            else:
                kept.append(index)
        if kept:
            splits[split] = clips if len(kept) == len(clips) else clips.take(kept)
    name = dataset.description.name
    if left_out:
        report_left_out(name, {video_id: reason for (_, video_id), reason in left_out.items()}, _count(dataset))
        changes['clips_left_out'] = dataset.description.source.get('clips_left_out', 0) + len(left_out)
    for split in dataset.splits.keys() - splits.keys():
        if split == 'train':
            raise errors.InputError(f'{name}: no clip of the split train can be used')
        print(f'warning: {name}: no clip of the split {split} is left')
    source = {**dataset.description.source, **changes}
    return dataset_lib.Dataset(dataclasses.replace(dataset.description, source=source), splits)


def report_left_out(where: str, reasons: dict[str, str], num_clips: int, *, require_all: bool = False) -> None:
    """Prints which clips are left out and why; InputError where none remains or all are required.

    Args:
        where: what the error names.
        reasons: video_id -> reason.
        num_clips: of the source.
        require_all: whether none may be left out.
    """
    if not reasons:
        return
    if require_all or len(reasons) == num_clips:
        first, reason = next(iter(reasons.items()))
        raise errors.InputError(
            f'{where}: {len(reasons)} of {num_clips} clips cannot be used, the first is {first}: {reason}'
        )
    print(f'{len(reasons)} of {num_clips} clips are left out:')
    for reason in dict.fromkeys(reasons.values()):
        print(f'  {reason}: {" ".join(video_id for video_id, why in reasons.items() if why == reason)}')


# --- Classes


def _find_class_problems(dataset: dataset_lib.Dataset) -> Iterable[str]:
    names = dataset.description.label_names
    classes = {split: set(clips.labels.tolist()) & set(range(len(names))) for split, clips in dataset.splits.items()}
    used = set().union(*classes.values())
    unused = set(range(len(names))) - used
    if unused:
        yield f'{len(unused)} of {len(names)} classes have no clip: {_list_names(names[i] for i in sorted(unused))}'
    if len(used) == 1:
        yield f'all clips are of one class, {names[used.pop()]}'
        return
    if 'train' not in classes:
        yield 'no clip is in the split train, so that the dataset can be tested on but not trained on'
        return
    untrained = sorted(used - classes['train'])
    if untrained:
        where = {i: ', '.join(split for split, found in classes.items() if i in found) for i in untrained}
        listed = _list_names(f'{names[i]} ({where[i]})' for i in untrained)
        yield f'{len(untrained)} classes have no clip in train, so that they cannot be learned: {listed}'
    tested = set().union(*(found for split, found in classes.items() if split != 'train'))
    untested = sorted(classes['train'] - tested)
    if tested and untested:
        listed = _list_names(names[i] for i in untested)
        yield f'{len(untested)} classes are in train alone, so that they are never tested: {listed}'


def _find_shared_signers(dataset: dataset_lib.Dataset) -> Iterable[str]:
    found = dataset_lib.describe_shared_signers({split: clips.signers for split, clips in dataset.splits.items()})
    return [found] if found else []


def _list_names(names: Iterable[str]) -> str:
    names = list(names)
    more = f' and {len(names) - _MOST_NAMES} more' if len(names) > _MOST_NAMES else ''
    return ', '.join(names[:_MOST_NAMES]) + more
