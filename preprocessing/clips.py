"""The clips table: a CSV with one row a clip, whatever it was made from.

| column | |
|---|---|
| video_id | name of the clip, unique, also that of its landmark file |
| file | the video, relative to --videos; several clips may lie in one; without suffix, its folder of frames |
| label, gloss | class from 0, without gaps, and its name |
| split | train, validation or test |
| signer_id | who signs; may be empty |
| frame_start, frame_end | frames from 1, both in the clip; frame_end −1 is the end of the video |
| fps | frames a second, where known |
| bbox | `x0 y0 x1 y1` in pixels around the signer, where known; only kept |
| source | where the video comes from; may be empty |
"""

from collections.abc import Sequence
import dataclasses
import os
import warnings

import pandas as pd

from slr_jax import dataset as dataset_lib
from slr_jax import errors, files

_FIRST_ROW = 2
TO_THE_END = -1


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
        """Frames of the clip; None where only the video can tell."""
        return None if self.frame_end == TO_THE_END else self.frame_end - self.frame_start + 1


COLUMNS = tuple(field.name for field in dataclasses.fields(Clip))


def read_clips(path: str) -> list[Clip]:
    """Reads a clips table.

    Raises:
        InputError: the file is no CSV, lacks a column, has no rows, or a row is not as the table above says; a
            video_id occurs twice; labels have gaps; a label has two glosses or a gloss two labels.
    """
    try:
        with warnings.catch_warnings():
            # That the first row has more cells than the header is only warned of.
            warnings.simplefilter('error', pd.errors.ParserWarning)
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding='utf-8', index_col=False)
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise errors.InputError(f'{path} is no clips table: {errors.one_line(error)}') from error
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise errors.InputError(f'{path} has no column {missing[0]!r}, expected {", ".join(COLUMNS)}')
    rows = table[list(COLUMNS)].itertuples(index=False, name=None)
    clips = [_parse_row(f'{path}, row {number}', row) for number, row in enumerate(rows, _FIRST_ROW)]
    _check_clips(path, clips)
    return clips


def _parse_row(where: str, row: tuple[str, ...]) -> Clip:
    values = dict(zip(COLUMNS, row, strict=True))

    def number(column: str, kind: type, expected: str) -> int | float:
        try:
            return kind(values[column])
        except ValueError:
            raise errors.InputError(
                f'{where}, column {column}: found {values[column]!r}, expected {expected}'
            ) from None

    return Clip(
        **values
        | {
            'label': number('label', int, 'a whole number'),
            'frame_start': number('frame_start', int, 'a whole number'),
            'frame_end': number('frame_end', int, 'a whole number'),
            'fps': number('fps', float, 'a number or nothing') if values['fps'] else None,
        }
    )


def _check_clips(path: str, clips: Sequence[Clip]) -> None:
    if not clips:
        raise errors.InputError(f'{path} has no rows, expected one a clip')
    seen: dict[tuple[str, str | int], int] = {}
    for row, clip in enumerate(clips, _FIRST_ROW):
        problem = _problem(clip)
        for of, key, value in (
            ('video_id', clip.video_id, row),
            ('label', clip.label, clip.gloss),
            ('gloss', clip.gloss, clip.label),
        ):
            first = seen.setdefault((of, key), value)
            if first != value and not problem:
                other = f'stands in row {first} too' if of == 'video_id' else f'belongs to {first!r} and to {value!r}'
                problem = f'{of} {key!r} {other}'
        if problem:
            raise errors.InputError(f'{path}, row {row}: {problem}')
    labels = {clip.label for clip in clips}
    gap = next((label for label in range(max(labels)) if label not in labels), None)
    if gap is not None:
        raise errors.InputError(f'{path}: no clip has label {gap}, expected every label from 0 to {max(labels)}')


def _problem(clip: Clip) -> str | None:
    # A video_id and a file are parts of paths.
    outside = os.path.isabs(clip.file) or '..' in clip.file.split('/')
    problems = {
        f'video_id is {clip.video_id!r}, expected a name without / and without a dot first': not clip.video_id.strip()
        or '/' in clip.video_id
        or clip.video_id.startswith('.'),
        f'file is {clip.file!r}, expected a path below the directory of videos': not clip.file.strip() or outside,
        f'label is {clip.label}, expected 0 or more': clip.label < 0,
        'gloss is empty': not clip.gloss.strip(),
        f'split is {clip.split!r}, expected {", ".join(dataset_lib.SPLITS)}': clip.split not in dataset_lib.SPLITS,
        f'frame_start is {clip.frame_start}, expected 1 or more': clip.frame_start < 1,
        f'frame_end is {clip.frame_end}, expected {TO_THE_END} or at least {clip.frame_start}, which is frame_start': (
            clip.frame_end not in (TO_THE_END, max(clip.frame_start, clip.frame_end))
        ),
        f'fps is {clip.fps}, expected more than 0 and at most 1000': clip.fps is not None and not 0 < clip.fps <= 1000,
        f'bbox is {clip.bbox!r}, expected x0 y0 x1 y1': bool(clip.bbox) and not _is_box(clip.bbox),
    }
    return next((problem for problem, found in problems.items() if found), None)


def _is_box(text: str) -> bool:
    words = text.split()
    return len(words) == 4 and all(word.lstrip('-').replace('.', '', 1).isdigit() for word in words)


def write_clips(path: str, clips: Sequence[Clip]) -> None:
    """Writes a clips table, checked as `read_clips` checks it."""
    _check_clips(path, clips)
    files.make_directories(os.path.dirname(os.path.abspath(path)))
    files.write_csv(path, map(dataclasses.asdict, clips), COLUMNS)


def summary(path: str, clips: Sequence[Clip]) -> str:
    """Clips, glosses and signers of each split, a line each."""
    lines = [f'{path}: {len(clips)} clips of {len({clip.label for clip in clips})} glosses']
    for split in dataset_lib.SPLITS:
        part = [clip for clip in clips if clip.split == split]
        if part:
            signers = len({clip.signer_id for clip in part} - {''})
            lines.append(
                f'  {split}: {len(part)} clips, {len({clip.label for clip in part})} glosses, {signers} signers'
            )
    return '\n'.join(lines)
