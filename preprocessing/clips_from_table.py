"""A table of videos -> a clips table.

    python -m preprocessing.clips_from_table --table=signs.csv --videos=D --output=clips.csv

A CSV file with one row per clip: file, gloss or label, and where there are such columns split, signer, start and end
(first and last frame, or seconds where the names of the columns say so). Usual names of columns are recognized, flags
such as --file_column name others. A file is found below D with or without its suffix or folder, or by the id of its
address. Cells are separated by one of , ; | tab, or by blanks. WLASL's `nslt_*.json`, MS-ASL's files and other JSON
objects, in a list or one per line, are tables too, and spreadsheets where pandas can read them. Of several tables
(--table=train.csv,val.csv,test.csv) the names or --split say the splits.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import dataclasses
import functools
import math
import os
import re
from typing import Any

from absl import flags

from preprocessing import clips as clips_lib
from preprocessing import folders, splits, tables, video_tables
from slr_jax import cli, errors, files

_TRUE_FOR_TRAIN = {'true': 'train', '1': 'train', 'yes': 'train', 'false': 'test', '0': 'test', 'no': 'test'}


def make_clips(
    paths: Sequence[str], videos: str, options: video_tables.Options, glosses: Sequence[str] | None = None
) -> tuple[list[clips_lib.Clip], list[str]]:
    """Makes a clip of each row whose video is there.

    Args:
        paths: of the tables.
        videos: directory of the videos.
        options: how the tables are read.
        glosses: those to keep; None for all.

    Returns:
        The clips, with split '' where the tables do not say it (see `splits.assign`), and lines that say what was
        understood and what was passed over.

    Raises:
        InputError: a table is of another kind, a column or all videos are missing, or a cell is not as expected.
    """
    found = folders.find(videos, 'one of videos', stills=bool(options.stills))
    index = video_tables.Videos(found.videos)
    read = [video_tables.read_table(path, index, options) for path in paths]
    needed = () if all({'gloss', 'label'} & set(table.columns) for table in read) else ('gloss',)
    pattern = folders.compile_pattern(options.pattern, needed) if options.pattern else None
    names = _read_glosses(options.glosses_file) if options.glosses_file else None
    clips: list[clips_lib.Clip] = []
    lines = []
    for table, split in zip(read, _splits_of_tables(read, options.split), strict=True):
        rows = _make_rows(table, index, videos, options, pattern, names, split)
        clips += rows.clips
        lines += [_describe(table, split, options), *rows.notes]
    if options.stills is None:
        folders.check_no_class_is_a_clip(videos, clips)
    clips = _number(_name(clips))
    used = {clip.file for clip in clips}
    for path in found.videos:
        if path not in used:
            found.pass_over('not in a table', path)
    source = ', '.join(paths)
    return clips_lib.keep_glosses(clips, glosses, source), [*lines, *found.notes()]


# --- Reading


def _read_glosses(path: str) -> dict[int, str]:
    """Label -> gloss, of lines such as `0 book` or `0,book`, below a header or not; or of a gloss each, from 0."""
    lines = files.read_label_names(path)
    numbered = [re.match(r'(\d+)\s*[\s,;:]\s*([^,;\t]+)', line) for line in lines]
    if all(numbered[1:]) and (numbered[0] or len(numbered) > 1):
        return {int(found[1]): found[2].strip() for found in numbered if found}
    return dict(enumerate(lines))


def _splits_of_tables(read: Sequence[video_tables.Table], given: Sequence[str] | None) -> list[str | None]:
    """The split of each table; None where it has a column of it, or where splits are to be drawn."""
    if given is not None:
        parsed = [splits.parse(name) for name in given]
        if len(given) != len(read) or None in parsed:
            raise errors.InputError(
                f'--split={",".join(given)}, expected {splits.EXPECTED} for each of {len(read)} tables'
            )
        return parsed
    found: list[str | None] = []
    for table in read:
        words = re.split(r'[\W_]+', os.path.splitext(os.path.basename(table.path))[0])
        kinds = {splits.parse(word) for word in words} - {None}
        if len(read) == 1 or 'split' in table.columns:
            found.append(None)
        elif len(kinds) == 1:
            found.append(kinds.pop())
        else:
            raise errors.InputError(f'{table.path} says no split, expected --split with that of each table')
    return found


# --- Rows


@dataclasses.dataclass
class _Rows:
    clips: list[clips_lib.Clip]
    notes: list[str]


def _make_rows(
    table: video_tables.Table,
    videos: video_tables.Videos,
    directory: str,
    options: video_tables.Options,
    pattern: re.Pattern[str] | None,
    names: Mapping[int, str] | None,
    split: str | None,
) -> _Rows:
    clips = []
    passed_over: dict[str, list[str]] = {}
    taken: dict[tuple[str, int, int], tuple[int, str]] = {}
    columns = {role: table.column(role) for role in video_tables.COLUMNS}
    rows = table.cells.to_dict('records')
    shift = _shift(table, columns, options)
    for index, cell in enumerate(columns['file']):
        path = _find_video(table, index, options.name_video(cell, rows[index]), videos)
        if path is None:
            passed_over.setdefault(f'not in {directory}', []).append(cell)
            continue
        groups: Mapping[str, str] = (pattern and folders.match(pattern, path)) or {}
        label, gloss = _class(table, index, columns, names)
        gloss = clips_lib.tidy_gloss(gloss or groups.get('gloss', ''))
        if not gloss:
            passed_over.setdefault('without a gloss', []).append(table.names[index])
            continue
        cells = {role: columns[role][index] for role in ('start', 'end')}
        in_seconds = [role for role in cells if cells[role] and (options.fps or table.is_in_seconds(role))]
        rate = _rate(table, index, os.path.join(directory, path), rows[index], options) if in_seconds else None
        start, end = (
            _frame(table, index, role, text, rate if role in in_seconds else None, shift)
            for role, text in cells.items()
        )
        clip = clips_lib.Clip(
            video_id='',
            file=path,
            label=-1 if label is None else label,
            gloss=gloss,
            split=split or _split(table, index, columns['split'][index], groups),
            signer_id=_tidy(columns['signer'][index]) or groups.get('signer', ''),
            frame_start=1 if start is None else start,
            frame_end=clips_lib.TO_THE_END if end is None else end,
            fps=rate,
            bbox=_box(rows[index]),
        )
        first = taken.setdefault((path, clip.frame_start, clip.frame_end), (index, gloss))
        if first[1] != gloss:
            raise errors.InputError(
                f'{table.path}, {table.names[index]}: {path} is {gloss!r} here and {first[1]!r} in '
                f'{table.names[first[0]]}, expected one gloss'
            )
        if first[0] != index:
            passed_over.setdefault('repeated', []).append(table.names[index])
        else:
            clips.append(clip)
    if not clips:
        raise _no_row(table, directory, options, *next(iter(passed_over.items())))
    return _Rows(clips, [f'passed over, {reason}: {folders.count_and_name(x)}' for reason, x in passed_over.items()])


def _no_row(
    table: video_tables.Table, directory: str, options: video_tables.Options, reason: str, cells: Sequence[str]
) -> errors.InputError:
    advice = '; --file_format says how the videos are named' * (directory in reason)
    if advice and not options.stills:
        stills = video_tables.Videos(folders.find(directory, stills=True).videos)
        if any(cell and stills.find(cell) for cell in cells):
            advice = ' but as images: --stills makes each a clip of one frame'
    return errors.InputError(
        f'{table.path}: no row can be used, {len(cells)} are {reason} ({folders.some(cells)}){advice}'
    )


def _find_video(table: video_tables.Table, index: int, text: str, videos: video_tables.Videos) -> str | None:
    if not text.strip():
        raise table.error(index, 'file', text, 'a video')
    found = videos.find(text)
    if len(found) > 1:
        raise table.error(index, 'file', text, f'one video, not {len(found)}: {folders.some(found)}')
    return found[0] if found else None


def _class(
    table: video_tables.Table, index: int, columns: Mapping[str, Sequence[str]], names: Mapping[int, str] | None
) -> tuple[int | None, str]:
    """The number of a class, None where there is none, and its gloss."""
    role = 'label' if 'label' in table.columns else 'gloss'
    cell = columns[role][index]
    number = _whole_number(cell)
    if names is not None and cell:
        if number is None or number not in names:
            raise table.error(index, role, cell, f'one of the {len(names)} labels of --glosses_file')
        return number, names[number]
    return number if role == 'label' else None, _tidy(columns['gloss'][index] or columns['label'][index])


def _split(table: video_tables.Table, index: int, cell: str, groups: Mapping[str, str]) -> str:
    if 'split' not in table.columns:
        name = groups.get('split', '')
        split = splits.parse(name) if name else ''
        if split is None:
            raise errors.InputError(f'{table.path}, {table.names[index]}: split {name!r}, expected {splits.EXPECTED}')
        return split
    is_flag = video_tables.plain(table.columns['split']) in ('train', 'istrain')
    split = splits.parse(cell) or (_TRUE_FOR_TRAIN.get(_tidy(cell).lower()) if is_flag else None)
    if not split:
        raise table.error(index, 'split', cell, splits.EXPECTED)
    return split


def _shift(table: video_tables.Table, columns: Mapping[str, Sequence[str]], options: video_tables.Options) -> int:
    """What is added to frames so that they count from 1."""
    is_from_0 = options.first_frame == '0'
    if options.first_frame == 'auto' and not options.fps and not table.is_in_seconds('start'):
        is_from_0 = any(_whole_number(cell) == 0 for cell in columns['start'])
    return int(is_from_0)


def _rate(
    table: video_tables.Table, index: int, path: str, row: Mapping[str, str], options: video_tables.Options
) -> float:
    """Frames per second of a video, as --fps, its header or the column fps says."""
    in_row = next((cell for name, cell in row.items() if video_tables.plain(name) in ('fps', 'framerate')), '')
    try:
        return options.fps or _rate_of_video(path) or float(in_row.replace(',', '.'))
    except ValueError:
        raise errors.InputError(
            f'{table.path}, {table.names[index]}: start and end are seconds, and {path} does not say its frames per '
            'second, expected --fps or a column fps; --whole_videos ignores start and end'
        ) from None


@functools.cache
def _rate_of_video(path: str) -> float | None:
    try:
        from preprocessing.extraction import video
    # Tables are read without the extra for videos too.
    except ImportError:
        return None
    try:
        return video.frames_per_second(path)
    except OSError:
        return None


def _frame(table: video_tables.Table, index: int, role: str, cell: str, rate: float | None, shift: int) -> int | None:
    """The first or last frame, from 1, of seconds where there is a rate; None for the first or last of the video."""
    try:
        if not cell:
            return None
        if rate:
            parts = cell.replace(',', '.').split(':')
            # A fourth part is frames in one program and hundredths in another.
            if len(parts) > 3 or (len(parts) > 1 and '-' in cell):
                raise ValueError
            seconds = sum(float(part) * 60**power for power, part in enumerate(parts[::-1]))
            frame = math.floor(seconds * rate) + 1 if role == 'start' else math.ceil(seconds * rate)
            return frame if frame > 0 else None
        frame = tables.parse_whole_number(cell)
    except (ValueError, OverflowError):
        expected = 'seconds, or h:m:s' if rate else 'a whole number, the frame; with --fps seconds'
        raise table.error(index, role, cell, expected) from None
    return None if frame < 0 or (role == 'end' and frame == 0) else frame + shift


def _box(row: Mapping[str, str]) -> str:
    """The box around the signer where it is one of MS-ASL: top, left, bottom and right as fractions."""
    if not {'box', 'clean_text'} <= set(row):
        return ''
    numbers = re.findall(r'[\d.]+(?:e-?\d+)?', row['box'])
    if len(numbers) != 4:
        return ''
    top, left, bottom, right = (min(float(number), 1.0) for number in numbers)
    return f'{left:.4f} {top:.4f} {right:.4f} {bottom:.4f}'


def _whole_number(cell: str) -> int | None:
    try:
        return tables.parse_whole_number(cell)
    except ValueError:
        return None


def _tidy(cell: str) -> str:
    """`1.0`, as spreadsheets write it, is 1."""
    return cell.removesuffix('.0') if _whole_number(cell) is not None else cell


# --- All tables


def _name(clips: Sequence[clips_lib.Clip]) -> list[clips_lib.Clip]:
    """Names clips by their video, and by their frames where it has several."""
    counts = Counter(clip.file for clip in clips)

    def name(clip: clips_lib.Clip) -> str:
        end = 'end' if clip.frame_end == clips_lib.TO_THE_END else f'{clip.frame_end:06d}'
        frames = f'_{clip.frame_start:06d}_{end}' if counts[clip.file] > 1 else ''
        return f'{folders.clip_name(clip.file)}{frames}'

    return [dataclasses.replace(clip, video_id=name(clip)) for clip in clips]


def _number(clips: Sequence[clips_lib.Clip]) -> list[clips_lib.Clip]:
    """Labels without gaps: in the order of the tables' own where each gloss has one, else of the glosses."""
    pairs = {(clip.label, clip.gloss) for clip in clips}
    found = sorted({label for label, _ in pairs})
    if found[0] < 0 or not len(found) == len(pairs) == len({gloss for _, gloss in pairs}):
        return clips_lib.number_labels(clips)
    labels = {label: new for new, label in enumerate(found)}
    return [dataclasses.replace(clip, label=labels[clip.label]) for clip in clips]


def _describe(table: video_tables.Table, split: str | None, options: video_tables.Options) -> str:
    words = [f'{role} = {name}' for role, name in table.columns.items()]
    if split:
        words.append(f'all in {split}')
    if {'start', 'end'} & set(table.columns):
        in_seconds = options.fps or table.is_in_seconds('start') or table.is_in_seconds('end')
        words.append(f'{"seconds" if in_seconds else "frames"}; --whole_videos ignores start and end')
    others = [name for name in map(str, table.cells) if name not in table.columns.values()]
    line = f'{table.path}: {len(table.cells)} rows; {", ".join(words)}'
    return f'{line}; other columns: {", ".join(others)}' if others else line


# --- The command


def _help(meaning: str) -> str:
    return (
        f'Column of the {meaning}: its name, or its number where the file has no header; empty: none; default: one of '
        'a usual name.'
    )


def define_flags() -> None:
    """Defines the flags that say how tables are read."""
    flags.DEFINE_string('file_column', None, _help('video'))
    flags.DEFINE_string('gloss_column', None, _help('gloss'))
    flags.DEFINE_string('label_column', None, _help('number of the class'))
    flags.DEFINE_string('split_column', None, _help('split, in a column train True or False'))
    flags.DEFINE_string('signer_column', None, _help('signer'))
    flags.DEFINE_string('start_column', None, _help('first frame of the clip'))
    flags.DEFINE_string('end_column', None, _help('last frame of the clip'))
    flags.DEFINE_list(
        'split', None, 'Split of each table, separated by commas; default: a column, or the names of several tables.'
    )
    flags.DEFINE_string(
        'glosses_file', None, 'Text file of the glosses, numbered (0 book) or in the order of their labels from 0.'
    )
    flags.DEFINE_string(
        'file_format',
        '{}',
        "How a video is named, such as '{}_color.mp4': {} is the cell of the file column, {name} that of column name.",
    )
    flags.DEFINE_string(
        'pattern',
        None,
        'Regular expression that is searched in the path of each video below --videos, whose named groups gloss, '
        'signer and split are taken where the table has no such column.',
    )
    flags.DEFINE_bool('whole_videos', False, 'Whether each video is one clip, cut already, whatever start and end say.')
    flags.DEFINE_enum(
        'first_frame',
        'auto',
        ['auto', '0', '1'],
        'Number of the first frame of a video in the columns start and end; auto: 0 where a start is 0, else 1.',
    )
    flags.DEFINE_float(
        'fps',
        None,
        'Frames per second of the videos, where start and end are seconds; default: frames, or where their columns are '
        'named as start_time seconds at the rate of each video.',
        0.1,
    )
    folders.define_stills_flag()
    clips_lib.define_glosses_flag()
    splits.define_flags()
    for module in (clips_lib, splits):
        flags.adopt_module_key_flags(module)


def read(values: flags.FlagValues) -> tuple[list[clips_lib.Clip], list[str]]:
    """The clips of --table with their splits, and the lines of `make_clips`, as the flags say."""
    names = [field.name for field in dataclasses.fields(video_tables.Options) if field.name != 'columns']
    settings: dict[str, Any] = {name: values[name].value for name in names}
    options = video_tables.Options(
        columns={role: values[f'{role}_column'].value for role in video_tables.COLUMNS}, **settings
    )
    clips, lines = make_clips(values.table, values.videos, options, values.glosses)
    clips, line, _ = splits.assign_by_flags(clips, values, values.videos)
    return clips, [*lines, line]


def _define_flags() -> None:
    flags.DEFINE_list(
        'table',
        None,
        'Table of videos: a CSV or JSON file or a spreadsheet, or several with commas between.',
        required=True,
    )
    flags.DEFINE_string('videos', None, 'Directory of the videos.', required=True)
    flags.DEFINE_string('output', None, 'Clips table to write.', required=True)
    define_flags()


def main() -> None:
    """Writes the clips table."""
    clips, lines = read(flags.FLAGS)
    clips_lib.write_clips(flags.FLAGS.output, clips, ', '.join(flags.FLAGS.table))
    print('\n'.join([*lines, clips_lib.summary(flags.FLAGS.output, clips), *clips_lib.note_signers(clips)]))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
