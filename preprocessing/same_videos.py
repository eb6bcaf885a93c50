"""Clips of the same recording, before anything is extracted: videos of equal bytes, and names that say so."""

from collections.abc import Iterable, Sequence
import dataclasses
import hashlib
import os

from preprocessing import clips as clips_lib
from preprocessing.extraction import video_files
from slr_jax import errors, split_copies

_CHUNK_BYTES = 1 << 20

Groups = list[list[int]]


def find_equal(clips: Sequence[clips_lib.Clip], directory: str) -> Groups:
    """Finds clips whose videos have equal bytes, of which they are the same frames, more than half of the shorter.

    Args:
        clips: of the videos; those whose video is not there are passed over.
        directory: that their files are relative to.

    Returns:
        The indices of the clips of each group of two or more.
    """
    by_file: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        by_file.setdefault(clip.file, []).append(index)
    by_size: dict[tuple[int, ...], list[str]] = {}
    for file in by_file:
        sizes = tuple(os.path.getsize(path) for path in _paths(os.path.join(directory, file)))
        by_size.setdefault(sizes, []).append(file)
    by_content: dict[bytes | str, list[int]] = {}
    for sizes, same_size in by_size.items():
        for file in same_size:
            is_alone = len(same_size) == 1 or not sum(sizes)
            content = file if is_alone else _digest(os.path.join(directory, file))
            by_content.setdefault(content, []).extend(by_file[file])
    groups: Groups = []
    for members in by_content.values():
        first = len(groups)
        for index in members:
            same = next((x for x in groups[first:] if _are_same_frames(clips[x[0]], clips[index])), None)
            if same is None:
                groups.append([index])
            else:
                same.append(index)
    return [sorted(group) for group in groups if len(group) > 1]


def _paths(path: str) -> list[str]:
    """The file, or the files of a folder of frames; none where there is nothing."""
    if os.path.isdir(path):
        return [name.path for name in sorted(os.scandir(path), key=lambda entry: entry.name) if name.is_file()]
    return [path] if os.path.isfile(path) else []


def _digest(path: str) -> bytes:
    digest = hashlib.sha256()
    for name in _paths(path):
        with open(name, 'rb') as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.digest()


def _are_same_frames(a: clips_lib.Clip, b: clips_lib.Clip) -> bool:
    ends = [float('inf') if clip.frame_end == clips_lib.TO_THE_END else clip.frame_end for clip in (a, b)]
    if max(ends) == float('inf'):
        return a.frame_start == b.frame_start and ends[0] == ends[1]
    shorter = min(end - clip.frame_start + 1 for clip, end in zip((a, b), ends, strict=True))
    return 2 * (min(ends) - max(a.frame_start, b.frame_start) + 1) > shorter


def find_names(clips: Sequence[clips_lib.Clip]) -> Groups:
    """Finds clips whose names differ by a usual suffix of copies or augmentation, such as `1.mp4` and `1_flip.mp4`.

    Names of which a class has nothing else, as `a.mp4`, `a (1).mp4`, `a (2).mp4`, are numbered recordings.
    """
    groups: dict[tuple[str, str, int, int], list[int]] = {}
    recordings: dict[str, set[str]] = {}
    for index, clip in enumerate(clips):
        name = video_files.original_name(clip.file)
        groups.setdefault((clip.gloss, name, clip.frame_start, clip.frame_end), []).append(index)
        recordings.setdefault(clip.gloss, set()).add(name)
    return [
        group
        for (gloss, *_), group in groups.items()
        if len({clips[i].file for i in group}) > 1 and len(recordings[gloss]) > 1
    ]


def _find_split_names(clips: Sequence[clips_lib.Clip]) -> Groups:
    """As find_names, whatever the folders: of clips whose original is not in their own folder."""
    # A folder of frames has no suffix.
    stems = {name for clip in clips for name in (clip.file, os.path.splitext(clip.file)[0])}
    groups: dict[tuple[str, str, str], list[int]] = {}
    lonely = set()
    recordings: dict[str, set[str]] = {}
    for index, clip in enumerate(clips):
        name = video_files.original_name(clip.file)
        key = clip.gloss, clip.signer_id, os.path.basename(name)
        groups.setdefault(key, []).append(index)
        recordings.setdefault(clip.gloss, set()).add(key[2])
        if name not in stems:
            lonely.add(key)
    return [group for key, group in groups.items() if key in lonely and len(recordings[key[0]]) > 1]


def merge(groups: Iterable[Sequence[int]], num_clips: int) -> list[int]:
    """For each clip the first of those that any groups say are of one recording."""
    firsts = list(range(num_clips))

    def first_of(index: int) -> int:
        while firsts[index] != index:
            index = firsts[index]
        return index

    for group in groups:
        for index in group[1:]:
            a, b = sorted((first_of(group[0]), first_of(index)))
            firsts[b] = a
    return [first_of(index) for index in range(num_clips)]


def check(
    clips: Sequence[clips_lib.Clip], equal: Groups, directory: str, policy: str
) -> tuple[list[clips_lib.Clip], list[str]]:
    """Leaves out clips whose video equals one of another split, or what the policy says.

    Args:
        clips: all with their splits.
        equal: those of equal videos, see `find_equal`.
        directory: that their files are relative to, for messages.
        policy: one of split_copies.POLICIES.

    Returns:
        The clips that stay, and lines about equal videos.

    Raises:
        InputError: `policy` is 'refuse' and there are equal videos in several splits.
    """
    lines = []
    glosses = [group for group in equal if len({clips[i].gloss for i in group}) > 1]
    if glosses:
        named = errors.first_of([' = '.join(f'{clips[i].file} ({clips[i].gloss})' for i in group) for group in glosses])
        lines.append(f'warning: {len(glosses)} videos are there under several glosses: {named}')
    copies: dict[int, int] = {}
    for group in equal:
        kept = min(group, key=lambda i: split_copies.KEPT_IN.index(clips[i].split))
        copies |= {i: kept for i in group if clips[i].split != clips[kept].split}
    if copies:
        pairs = [f'{clips[i].file} ({clips[i].split}) = {clips[j].file} ({clips[j].split})' for i, j in copies.items()]
        what = f'{len(copies)} clips are of videos whose copies are in another split: {errors.first_of(pairs)}'
        if policy == 'refuse':
            raise errors.InputError(f'{directory}: {what}; expected none with --copies=refuse')
        if policy == 'leave_out':
            what += '; they are left out (--copies=warn keeps them)'
        lines.append(what if policy == 'leave_out' else f'warning: {what}')
    across = [
        group for group in _find_split_names(clips) if len({clips[i].split for i in group if i not in copies}) > 1
    ]
    if across:
        named = errors.first_of(
            [' and '.join(f'{clips[i].file} ({clips[i].split})' for i in group) for group in across]
        )
        lines.append(f'warning: names say that clips of several splits are of one recording: {named}')
    if policy == 'leave_out':
        clips = [clip for i, clip in enumerate(clips) if i not in copies]
    labels = {label: new for new, label in enumerate(sorted({clip.label for clip in clips}))}
    return [dataclasses.replace(clip, label=labels[clip.label]) for clip in clips], lines
