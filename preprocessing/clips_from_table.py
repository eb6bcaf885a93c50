"""A table of videos -> a clips table.

    python -m preprocessing.clips_from_table --table=signs.csv --videos=D --output=clips.csv

A CSV file with one row per clip: file, gloss or label, and where there are such columns split, signer, start and end
(first and last frame). Usual names of columns are recognized, flags such as --file_column name others. A file is found
below D with or without its suffix or folder. WLASL's `nslt_*.json` and lists of JSON objects are tables too. Of several
tables (--table=train.csv,val.csv,test.csv) the names or --split say the splits.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
import os
import re
from typing import Any

from absl import flags
import pandas as pd

from preprocessing import clips as clips_lib
from preprocessing import folders, splits, tables
from preprocessing.extraction import video_files
from slr_jax import cli, errors, files

# What a column can be: usual names, the most certain first, without case, blanks and punctuation.
COLUMNS = {
    'file': (
        'file', 'filename', 'filepath', 'video', 'videofile', 'videoname', 'videopath', 'videoid', 'path', 'clip',
        'clipname', 'attachmentid', 'sample', 'samplename', 'sampleid', 'videofilename', 'name', 'id',
    ),
    'gloss': (
        'gloss', 'glossname', 'glosses', 'sign', 'signname', 'word', 'text', 'cleantext', 'labelname', 'classname',
        'english', 'phrase', 'translation',
    ),
    'label': (
        'label', 'labels', 'labelid', 'class', 'classid', 'classlabel', 'glossid', 'glossnumber', 'signid', 'target',
        'category', 'gesture', 'y',
    ),
    'split': ('split', 'subset', 'set', 'partition', 'train', 'istrain'),
    'signer': (
        'signer', 'signerid', 'user', 'userid', 'person', 'personid', 'participant', 'participantid', 'subject',
        'subjectid', 'speaker', 'actor',
    ),
    'start': ('start', 'framestart', 'startframe', 'begin', 'tstart', 'first', 'firstframe', 'starttime', 'from'),
    'end': ('end', 'frameend', 'endframe', 'stop', 'tend', 'last', 'lastframe', 'endtime', 'to'),
}  # fmt: skip
_TRUE_FOR_TRAIN = {'true': 'train', '1': 'train', 'yes': 'train', 'false': 'test', '0': 'test', 'no': 'test'}


@dataclasses.dataclass(frozen=True)
class Options:
    """How tables are read.

    Attributes:
        columns: role -> name of its column, '' for none; roles that are absent or None are recognized.
        split: of each table, instead of a column; None takes several tables' from their names.
        glosses_file: text file of the glosses, numbered or in the order of their labels.
        file_format: how a video is named: {} is the cell of the column file, {name} that of another column.
        pattern: regular expression whose groups gloss, signer and split, searched in the path of a video, are taken
            for columns that are absent.
        whole_videos: each video is one clip, whatever start and end say.
        first_frame: number of the first frame, 0 or 1; auto: 0 where a start is 0, else 1.
        fps: frames per second, where start and end are seconds.
        stills: whether each image is a clip, rather than each folder of numbered images; None refuses a folder that has
            the name of its class.
    """

    columns: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    split: Sequence[str] | None = None
    glosses_file: str | None = None
    file_format: str = '{}'
    pattern: str | None = None
    whole_videos: bool = False
    first_frame: str = 'auto'
    fps: float | None = None
    stills: bool | None = None


@dataclasses.dataclass(frozen=True)
class _Table:
    """Rows of text, how messages name them, and the column of each role that there is."""

    path: str
    cells: pd.DataFrame
    names: Sequence[str]
    columns: Mapping[str, str]

    def column(self, role: str) -> list[str]:
        """The cells of a role, '' where there is no such column."""
        return self.cells[self.columns[role]].tolist() if role in self.columns else [''] * len(self.cells)

    def error(self, index: int, role: str, found: str, expected: str) -> errors.InputError:
        return errors.InputError(
            f'{self.path}, {self.names[index]}, column {self.columns[role]}: found {found!r}, expected {expected}'
        )


class _Videos:
    """Finds the video that a table means."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = {}
        for path in paths:
            for name in {os.path.basename(path), _stem(os.path.basename(path))}:
                self._by_name.setdefault(name, []).append(path)

    def find(self, text: str) -> list[str]:
        """Paths with this name, whose folders are those of the text as far as both have some."""
        *parents, name = text.strip().replace('\\', '/').split('/')
        parents = [folder for folder in parents if folder not in ('', '.')]
        candidates = self._by_name.get(name) or self._by_name.get(_stem(name), [])
        above = {path: path.split('/')[:-1] for path in candidates}
        exact = [path for path in candidates if above[path] == parents]
        return exact or [
            path
            for path in candidates
            if all(a == b for a, b in zip(reversed(above[path]), reversed(parents), strict=False))
        ]


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in (*video_files.SUFFIXES, *video_files.IMAGE_SUFFIXES) else name


def make_clips(
    paths: Sequence[str], videos: str, options: Options, glosses: Sequence[str] | None = None
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
    index = _Videos(found.videos)
    read = [_read_table(path, index, options) for path in paths]
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


def _read_table(path: str, videos: _Videos, options: Options) -> _Table:
    if path.lower().endswith('.json'):
        cells = _read_json(path)
        columns = _find_columns(path, cells, options)
        return _Table(path, cells, [f'entry {number}' for number in range(len(cells))], columns)
    cells = tables.read_table(path, [], header=False)
    header = not _is_row(cells.iloc[0].str.strip().tolist(), videos, options)
    if header:
        cells = tables.read_table(path, [], rename=str.strip)
    cells = cells.apply(lambda column: column.str.strip())
    first = tables.FIRST_ROW if header else 1
    names = [f'row {number}' for number in range(first, first + len(cells))]
    given = {} if header else _guess_columns(cells, videos, options)
    return _Table(path, cells, names, _find_columns(path, cells, options, given))


def _is_row(header: Sequence[str], videos: _Videos, options: Options) -> bool:
    """Whether the first line of a file is a row: columns are given by number, or it names a video."""
    given = [name for name in options.columns.values() if name]
    if given:
        return all(name.isdecimal() for name in given) and not set(given) <= set(header)
    known = any(_plain(name) in itertools.chain(COLUMNS['file'], COLUMNS['gloss']) for name in header)
    return not known and any(_names_video(name, videos, options) for name in header)


def _names_video(cell: str, videos: _Videos, options: Options) -> bool:
    # A format that needs other columns cannot be tried here.
    return bool(videos.find(options.file_format.replace('{}', cell)))


def _guess_columns(cells: pd.DataFrame, videos: _Videos, options: Options) -> dict[str, str]:
    """The columns of a file without header and of at most two columns: that with the videos, and the other."""
    if any(options.columns.values()):
        return {}
    file = next(name for name in cells if _names_video(cells[name].iloc[0], videos, options))
    others = [name for name in cells if name != file]
    return {'file': file} | ({'label': others[0]} if len(others) == 1 else {})


def _read_json(path: str) -> pd.DataFrame:
    content = files.read_json(path, kind=object)
    if isinstance(content, dict) and not any(isinstance(item, list) for item in content.values()):
        items = [{'file': key} | (item if isinstance(item, dict) else {'gloss': item}) for key, item in content.items()]
    else:
        items = content if isinstance(content, list) else []
    if not items or not all(isinstance(item, dict) for item in items):
        raise errors.InputError(f'{path}: expected a JSON object with an entry per video, or a list of objects')
    if 'instances' in items[0]:
        raise errors.InputError(f'{path} is an annotation of WLASL, which python -m preprocessing.wlasl reads')
    rows = [_json_row(path, number, item) for number, item in enumerate(items)]
    return pd.DataFrame(rows, dtype=str).fillna('')


def _json_row(path: str, number: int, item: Mapping[str, Any]) -> dict[str, str]:
    row = {str(key): value for key, value in item.items() if key != 'action'}
    if 'action' in item:
        action = item['action']
        if not isinstance(action, list) or len(action) != 3:
            raise errors.InputError(f'{path}, entry {number}: action is {action!r}, expected [class, start, end]')
        row |= dict(zip(('label', 'start', 'end'), action, strict=True))
    return {key: '' if pd.api.types.is_scalar(value) and pd.isna(value) else str(value) for key, value in row.items()}


def _plain(name: str) -> str:
    return re.sub(r'[\W_]', '', name).lower()


def _find_columns(
    path: str, cells: pd.DataFrame, options: Options, given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Role -> column."""
    by_name = {_plain(name): name for name in reversed([str(name) for name in cells])}
    columns = dict(given or {})
    for role, usual in COLUMNS.items():
        wanted = options.columns.get(role)
        if wanted:
            if _plain(wanted) not in by_name:
                raise errors.InputError(
                    f'{path} has no column {wanted!r} (--{role}_column), found {", ".join(map(str, cells))}'
                )
            columns[role] = by_name[_plain(wanted)]
        elif wanted is None and role not in columns:
            recognized = next((by_name[name] for name in usual if name in by_name), None)
            if recognized is not None and recognized not in columns.values():
                columns[role] = recognized
    for role, others in (('file', ()), ('gloss', ('label',))):
        if not {role, *others} & set(columns) and not (role == 'gloss' and options.pattern):
            flag = ' or '.join(f'--{name}_column' for name in (role, *others))
            raise errors.InputError(
                f'{path} has no column that is known to be the {role}, expected {flag} (a number where the file has no '
                f'header); found {", ".join(map(str, cells))}'
            )
    if options.whole_videos:
        columns = {role: name for role, name in columns.items() if role not in ('start', 'end')}
    return columns


def _read_glosses(path: str) -> dict[int, str]:
    """Label -> gloss, of lines such as `0 book` or `0,book`, below a header or not; or of a gloss each, from 0."""
    lines = files.read_label_names(path)
    numbered = [re.match(r'(\d+)\s*[\s,;:]\s*([^,;\t]+)', line) for line in lines]
    if all(numbered[1:]) and (numbered[0] or len(numbered) > 1):
        return {int(found[1]): found[2].strip() for found in numbered if found}
    return dict(enumerate(lines))


def _splits_of_tables(read: Sequence[_Table], given: Sequence[str] | None) -> list[str | None]:
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
    table: _Table,
    videos: _Videos,
    directory: str,
    options: Options,
    pattern: re.Pattern[str] | None,
    names: Mapping[int, str] | None,
    split: str | None,
) -> _Rows:
    clips = []
    passed_over: dict[str, list[str]] = {}
    taken: dict[tuple[str, int, int], tuple[int, str]] = {}
    columns = {role: table.column(role) for role in COLUMNS}
    starts = [_frame(table, index, 'start', cell, options) for index, cell in enumerate(columns['start'])]
    ends = [_frame(table, index, 'end', cell, options) for index, cell in enumerate(columns['end'])]
    is_from_0 = options.first_frame == '0' or (options.first_frame == 'auto' and 0 in starts)
    shift = 1 if is_from_0 and not options.fps else 0
    rows = table.cells.to_dict('records')
    for index, cell in enumerate(columns['file']):
        path = _find_video(table, index, _format(options.file_format, cell, rows[index]), videos)
        if path is None:
            passed_over.setdefault(f'not in {directory}', []).append(cell)
            continue
        groups: Mapping[str, str] = (pattern and folders.match(pattern, path)) or {}
        label, gloss = _class(table, index, columns, names)
        gloss = clips_lib.tidy_gloss(gloss or groups.get('gloss', ''))
        if not gloss:
            passed_over.setdefault('without a gloss', []).append(table.names[index])
            continue
        start, end = starts[index], ends[index]
        clip = clips_lib.Clip(
            video_id='',
            file=path,
            label=-1 if label is None else label,
            gloss=gloss,
            split=split or _split(table, index, columns['split'][index], groups),
            signer_id=_tidy(columns['signer'][index]) or groups.get('signer', ''),
            frame_start=1 if start is None or start < 0 else start + shift,
            frame_end=clips_lib.TO_THE_END if end is None or end <= 0 else end + shift,
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
        reason, cells = next(iter(passed_over.items()))
        advice = '; --file_format says how the videos are named' * (directory in reason)
        if advice and not options.stills:
            stills = _Videos(folders.find(directory, stills=True).videos)
            if any(cell and stills.find(cell) for cell in cells):
                advice = ' but as images: --stills makes each a clip of one frame'
        raise errors.InputError(
            f'{table.path}: no row can be used, {len(cells)} are {reason} ({folders.some(cells)}){advice}'
        )
    return _Rows(clips, [f'passed over, {reason}: {folders.count_and_name(x)}' for reason, x in passed_over.items()])


def _format(file_format: str, cell: str, row: Mapping[str, str]) -> str:
    try:
        return file_format.format(cell, **row)
    except (KeyError, IndexError, ValueError, AttributeError):
        raise errors.InputError(
            f'--file_format={file_format}, expected {{}} for the cell of the file column or {{name}} for a column; '
            f'found the columns {", ".join(row)}'
        ) from None


def _find_video(table: _Table, index: int, text: str, videos: _Videos) -> str | None:
    if not text.strip():
        raise table.error(index, 'file', text, 'a video')
    found = videos.find(text)
    if len(found) > 1:
        raise table.error(index, 'file', text, f'one video, not {len(found)}: {folders.some(found)}')
    return found[0] if found else None


def _class(
    table: _Table, index: int, columns: Mapping[str, Sequence[str]], names: Mapping[int, str] | None
) -> tuple[int | None, str]:
    """The number of a class, None where there is none, and its gloss."""
    role = 'label' if 'label' in table.columns else 'gloss'
    cell = columns[role][index]
    number = _whole_number(cell)
    if names is not None and cell:
        if number is None or number not in names:
            raise table.error(index, role, cell, f'one of the {len(names)} labels of --glosses_file')
        return number, names[number]
    return number if role == 'label' else None, columns['gloss'][index] or _tidy(columns['label'][index])


def _split(table: _Table, index: int, cell: str, groups: Mapping[str, str]) -> str:
    if 'split' not in table.columns:
        name = groups.get('split', '')
        split = splits.parse(name) if name else ''
        if split is None:
            raise errors.InputError(f'{table.path}, {table.names[index]}: split {name!r}, expected {splits.EXPECTED}')
        return split
    is_flag = _plain(table.columns['split']) in ('train', 'istrain')
    split = splits.parse(cell) or (_TRUE_FOR_TRAIN.get(_tidy(cell).lower()) if is_flag else None)
    if not split:
        raise table.error(index, 'split', cell, splits.EXPECTED)
    return split


def _frame(table: _Table, index: int, role: str, cell: str, options: Options) -> int | None:
    try:
        if not cell:
            return None
        if options.fps:
            frame = float(cell.replace(',', '.')) * options.fps
            return math.floor(frame) + 1 if role == 'start' else math.ceil(frame)
        return tables.parse_whole_number(cell)
    except (ValueError, OverflowError):
        expected = 'seconds' if options.fps else 'a whole number, the frame; with --fps seconds'
        raise table.error(index, role, cell, expected) from None


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


def _describe(table: _Table, split: str | None, options: Options) -> str:
    words = [f'{role} = {name}' for role, name in table.columns.items()]
    if split:
        words.append(f'all in {split}')
    if {'start', 'end'} & set(table.columns):
        words.append(f'{"seconds" if options.fps else "frames"}; --whole_videos ignores start and end')
    return f'{table.path}: {len(table.cells)} rows; {", ".join(words)}'


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
        'fps', None, 'Frames per second of the videos, where start and end are seconds; default: they are frames.', 0.1
    )
    folders.define_stills_flag()
    clips_lib.define_glosses_flag()
    splits.define_flags()
    for module in (clips_lib, splits):
        flags.adopt_module_key_flags(module)


def read(values: flags.FlagValues) -> tuple[list[clips_lib.Clip], list[str]]:
    """The clips of --table with their splits, and the lines of `make_clips`, as the flags say."""
    names = [field.name for field in dataclasses.fields(Options) if field.name != 'columns']
    settings: dict[str, Any] = {name: values[name].value for name in names}
    options = Options(columns={role: values[f'{role}_column'].value for role in COLUMNS}, **settings)
    clips, lines = make_clips(values.table, values.videos, options, values.glosses)
    clips, line = splits.assign_by_flags(clips, values)
    return clips, [*lines, line]


def _define_flags() -> None:
    flags.DEFINE_list(
        'table', None, 'Table of videos: a CSV or JSON file, or several with commas between.', required=True
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
