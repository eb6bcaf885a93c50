"""The clips table: a CSV file with one row per clip, whatever it was made from.

| column | |
|---|---|
| video_id | name of the clip, unique, also that of its landmark file |
| file | the video, relative to --videos; several clips may be in one; without suffix, its folder of frames |
| label, gloss | class from 0, without gaps, and its name |
| split | train, validation or test |
| signer_id | who signs; may be empty |
| frame_start, frame_end | first and last frame of the clip, counted from 1; frame_end −1 is the end of the video |
| fps | frames per second, where known |
| bbox | `x0 y0 x1 y1` around the signer, in pixels or fractions, where known: of several people, the one to extract |
| source | where the video comes from; may be empty |
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
import dataclasses
import os
from typing import Any
import unicodedata

from absl import flags

from preprocessing import tables
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files

TO_THE_END = -1

tidy_gloss = dataset_lib.tidy_gloss


@dataclasses.dataclass(frozen=True)
class Clip:
    """A row of the clips table; see the columns there."""

    video_id: str
    file: str
    label: int
    gloss: str
    split: str
    signer_id: str = ''
    frame_start: int = 1
    frame_end: int = TO_THE_END
    fps: float | None = None
    bbox: str = ''
    source: str = ''

    @property
    def num_frames(self) -> int | None:
        """Frames of the clip; None where only the video says how many."""
        return None if self.frame_end == TO_THE_END else self.frame_end - self.frame_start + 1

    @property
    def frame_range(self) -> str:
        """Its frames, for messages."""
        return frame_range(self.frame_start, self.frame_end)


def frame_range(start: int, end: int) -> str:
    """`3 to 9`, or `3 to the end`."""
    return f'{start} to {"the end" if end == TO_THE_END else end}'


COLUMNS = tuple(field.name for field in dataclasses.fields(Clip))


def read_clips(path: str) -> list[Clip]:
    """Reads a clips table.

    Raises:
        InputError: the file is not a CSV file, lacks a column, has no rows, or a row is not as the table above says; a
            video_id is not unique; labels have gaps; a label has two glosses or a gloss two labels.
    """
    table = tables.read_table(path, COLUMNS)
    rows = table[list(COLUMNS)].to_dict('records')
    clips = [_parse_row(path, index, row) for index, row in enumerate(rows)]
    _check_clips(path, clips, f'{path}, ', lambda index: f'row {index + tables.FIRST_ROW}')
    return clips


def _parse_row(path: str, index: int, row: dict[str, Any]) -> Clip:
    def number(column: str, kind: type, expected: str) -> int | float:
        try:
            return tables.parse_whole_number(row[column]) if kind is int else kind(row[column])
        except ValueError:
            raise tables.row_error(path, index, column, row[column], expected) from None

    whole = {column: number(column, int, 'a whole number') for column in ('label', 'frame_start', 'frame_end')}
    fps = number('fps', float, 'a number or nothing') if row['fps'] else None
    split, gloss = dataset_lib.split_name(row['split']), tidy_gloss(row['gloss']) or row['gloss']
    return Clip(**row | whole | {'fps': fps, 'split': split, 'gloss': gloss})


def _check_clips(path: str, clips: Sequence[Clip], prefix: str, name: Callable[[int], str]) -> None:
    """Checks the clips of a file; `prefix` and the name of an index say where a clip comes from."""
    if not clips:
        raise errors.InputError(f'{path} has no rows, expected one per clip')
    indices: dict[str, int] = {}
    glosses: dict[int, str] = {}
    labels: dict[str, int] = {}
    for index, clip in enumerate(clips):
        where = f'{prefix}{name(index)}'
        for column, expected in _find_problems(clip):
            raise errors.InputError(f'{where}, column {column}: found {getattr(clip, column)!r}, expected {expected}')
        first = indices.setdefault(clip.video_id, index)
        if first != index:
            raise errors.InputError(
                f'{where}: duplicate video_id {clip.video_id!r} (also {name(first)}), expected another'
            )
        gloss, label = glosses.setdefault(clip.label, clip.gloss), labels.setdefault(clip.gloss, clip.label)
        if gloss != clip.gloss:
            raise errors.InputError(f'{where}: label {clip.label} has two glosses, {gloss!r} and {clip.gloss!r}')
        if label != clip.label:
            raise errors.InputError(f'{where}: gloss {clip.gloss!r} has two labels, {label} and {clip.label}')
    gap = next((label for label in range(max(glosses)) if label not in glosses), None)
    if gap is not None:
        raise errors.InputError(f'{path}: no clip has label {gap}, expected every label from 0 to {max(glosses)}')


def _find_problems(clip: Clip) -> Iterator[tuple[str, str]]:
    """Columns whose value is not valid, and what is expected there."""
    # Both become parts of paths: refuse anything that could escape.
    if not clip.video_id.strip() or '/' in clip.video_id or clip.video_id.startswith('.'):
        yield 'video_id', 'a name without / that does not begin with a dot'
    if not clip.file.strip() or os.path.isabs(clip.file) or '..' in clip.file.split('/'):
        yield 'file', 'a path below the directory of videos'
    if clip.label < 0:
        yield 'label', '0 or more'
    if not clip.gloss.strip():
        yield 'gloss', 'a name'
    if clip.split not in dataset_lib.SPLITS:
        yield 'split', ', '.join(dataset_lib.SPLITS)
    if clip.frame_start < 1:
        yield 'frame_start', '1 or more'
    if clip.frame_end != TO_THE_END and clip.frame_end < clip.frame_start:
        yield 'frame_end', f'{TO_THE_END} or at least frame_start, which is {clip.frame_start}'
    if clip.fps is not None and not 0 < clip.fps <= 1000:
        yield 'fps', 'more than 0 and at most 1000'
    if clip.bbox and not _is_box(clip.bbox):
        yield 'bbox', 'x0 y0 x1 y1'


def _is_box(text: str) -> bool:
    numbers = text.split()
    return len(numbers) == 4 and all(number.lstrip('-').replace('.', '', 1).isdigit() for number in numbers)


def write_clips(path: str, clips: Sequence[Clip], source: str = '') -> None:
    """Writes a clips table, checked as `read_clips` checks it.

    Args:
        path: the table.
        clips: its rows.
        source: what the clips were made from, for messages.

    Raises:
        InputError: two clips have one name, or a clip is not as the table above says; the message names the videos.
    """
    files.check_suffix(path, '.csv')
    check_clips(clips, source or path)
    files.make_directories(os.path.dirname(os.path.abspath(path)))
    files.write_csv(path, map(dataclasses.asdict, clips), COLUMNS, is_data=True)


def check_clips(clips: Sequence[Clip], source: str) -> None:
    """Checks clips that were made from `source` as `read_clips` checks those of a table."""
    _check_clips(source, clips, f'{source}: ', lambda index: _describe(clips[index]))


def _describe(clip: Clip) -> str:
    """The video of a clip, and which part of it."""
    is_whole = (clip.frame_start, clip.frame_end) == (1, TO_THE_END)
    return clip.file if is_whole else f'{clip.file}, frames {clip.frame_range}'


def number_labels(clips: Sequence[Clip]) -> list[Clip]:
    """Numbers the classes by their glosses: in the order of numbers where all are numbers, else of the alphabet."""
    glosses = {clip.gloss for clip in clips}
    are_numbers = all(gloss.isdecimal() for gloss in glosses)
    order = sorted(glosses, key=lambda gloss: (int(gloss) if are_numbers else 0, gloss))
    labels = {gloss: label for label, gloss in enumerate(order)}
    return [dataclasses.replace(clip, label=labels[clip.gloss]) for clip in clips]


def define_glosses_flag() -> None:
    """Defines --glosses."""
    flags.DEFINE_list('glosses', None, 'Glosses to keep, separated by commas; default: all.')


def keep_glosses(clips: Sequence[Clip], glosses: Sequence[str] | None, source: str) -> list[Clip]:
    """Keeps the clips of some glosses, and numbers these classes anew in the order they had; None keeps all.

    Raises:
        InputError: a gloss is not one of `source`.
    """
    if glosses is None:
        return list(clips)
    names = {clip.label: clip.gloss for clip in clips}
    labels = {label: new for new, label in enumerate(dataset_lib.find_glosses(names, glosses, source))}
    return [dataclasses.replace(clip, label=labels[clip.label]) for clip in clips if clip.label in labels]


def note_signers(clips: Sequence[Clip]) -> list[str]:
    """A line about signers who are in train and in another split, where there are such."""
    signers = {split: [clip.signer_id for clip in clips if clip.split == split] for split in dataset_lib.SPLITS}
    found = dataset_lib.describe_shared_signers(signers)
    return [f'warning: {found}'] if found else []


def summary(path: str, clips: Sequence[Clip]) -> str:
    """Clips, glosses and signers of each split, one line per split."""
    glosses = sorted({clip.gloss for clip in clips})
    lines = [f'{path}: {len(clips)} clips of {len(glosses)} glosses']
    folded = {gloss: unicodedata.normalize('NFKC', gloss).casefold() for gloss in glosses}
    spellings = Counter(folded.values())
    alike = [gloss for gloss in glosses if spellings[folded[gloss]] > 1]
    if alike:
        lines.append(
            f'  warning: glosses that differ in capitals or width only are different classes: {dataset_lib.some(alike)}'
        )
    for split in dataset_lib.SPLITS:
        part = [clip for clip in clips if clip.split == split]
        if part:
            signers = len({clip.signer_id for clip in part} - {''})
            lines.append(
                f'  {split}: {len(part)} clips, {len({clip.label for clip in part})} glosses, {signers} signers'
            )
    return '\n'.join(lines)
