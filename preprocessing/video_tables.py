"""Reads tables of videos: rows of text, the column of each role, and which video a cell means."""

from collections.abc import Mapping, Sequence
import dataclasses
import html
import itertools
import os
import re
from typing import Any
import urllib.parse

import pandas as pd

from preprocessing import splits, tables
from preprocessing.extraction import video_files
from slr_jax import errors, files

# What a column can be: usual names, the most certain first, without case, blanks and punctuation.
COLUMNS = {
    'file': (
        'file', 'filename', 'filepath', 'video', 'videofile', 'videoname', 'videopath', 'videoid', 'path', 'clip',
        'clipname', 'attachmentid', 'sample', 'samplename', 'sampleid', 'videofilename', 'name', 'id', 'image',
        'imagename', 'imagepath', 'folder', 'url', 'videourl', 'link', 'youtubeid', 'ytid',
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
    'start': (
        'starttime', 'startseconds', 'startsec', 'starts', 'start', 'framestart', 'startframe', 'begin', 'tstart',
        'first', 'firstframe', 'from',
    ),
    'end': (
        'endtime', 'endseconds', 'endsec', 'ends', 'end', 'frameend', 'endframe', 'stop', 'tend', 'last',
        'lastframe', 'to',
    ),
}  # fmt: skip
_SECONDS = tuple(f'{role}{unit}' for role in ('start', 'end') for unit in ('time', 'seconds', 'sec', 's'))
_LINES = ('.jsonl', '.ndjson', '.jsonlines')
_ADDRESS = re.compile(r'\w+://|www\.|youtu\.be/|([\w-]+\.)*youtube(-nocookie)?\.com/')
# The id at the end of a name that youtube-dl or yt-dlp gave.
_DOWNLOAD = re.compile(r'.+(?:-([\w-]{11})|\[([\w-]{11})\])')


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

    def name_video(self, cell: str, row: Mapping[str, str]) -> str:
        """How the video of a row is named, by the cell of the column file and the others."""

        def fill(found: re.Match[str]) -> str:
            return format(row[found[1]] if found[1] else cell, found[2] or '')

        try:
            name = re.sub(r'\{([^{}:]*)(?::([^{}]*))?\}', fill, self.file_format)
            if {'{', '}'} & set(re.sub(r'\{[^{}]*\}', '', self.file_format)):
                raise ValueError
        except (KeyError, ValueError):
            raise errors.InputError(
                f'--file_format={self.file_format}, expected {{}} for the cell of the file column or {{name}} for a '
                f'column; found the columns {", ".join(row)}'
            ) from None
        return name


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text, how messages name them, and the column of each role that there is."""

    path: str
    cells: pd.DataFrame
    names: Sequence[str]
    columns: Mapping[str, str]

    def column(self, role: str) -> list[str]:
        """The cells of a role, '' where there is no such column."""
        return self.cells[self.columns[role]].tolist() if role in self.columns else [''] * len(self.cells)

    def is_in_seconds(self, role: str) -> bool:
        """Whether the column of start or end is named as one of seconds."""
        return plain(self.columns.get(role, '')) in _SECONDS

    def error(self, index: int, role: str, found: str, expected: str) -> errors.InputError:
        """The error for a cell."""
        return errors.InputError(
            f'{self.path}, {self.names[index]}, column {self.columns[role]}: found {found!r}, expected {expected}'
        )


class Videos:
    """Finds the video that a table means."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = {}
        for path in paths:
            name = os.path.basename(path)
            stem = _stem(name)
            downloaded = _DOWNLOAD.fullmatch(stem)
            for known in {name, stem, *(downloaded.groups() if downloaded else ())} - {None}:
                self._by_name.setdefault(known, []).append(path)

    def find(self, text: str) -> list[str]:
        """Paths with this name, whose folders are those of the text as far as both have some; or with an address' id.

        A cell may name the frames of a folder, as `folder/*.png`.
        """
        text = re.sub(r'/\*[^/]*$', '', text.strip().replace('\\', '/'))
        *parents, name = text.split('/')
        parents = [folder for folder in parents if folder not in ('', '.')]
        candidates = self._by_name.get(name) or self._by_name.get(_stem(name), [])
        above = {path: path.split('/')[:-1] for path in candidates}
        exact = [path for path in candidates if above[path] == parents]
        found = exact or [
            path
            for path in candidates
            if all(a == b for a, b in zip(reversed(above[path]), reversed(parents), strict=False))
        ]
        return found if found or not _ADDRESS.match(text) else self._find_address(text)

    def _find_address(self, text: str) -> list[str]:
        text = html.unescape(text)
        parts = urllib.parse.urlsplit(text if '://' in text else f'//{text}')
        [name, *_] = urllib.parse.parse_qs(parts.query).get('v') or [os.path.basename(parts.path.rstrip('/'))]
        name = urllib.parse.unquote(name)
        return self._by_name.get(name) or self._by_name.get(_stem(name), [])


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in (*video_files.SUFFIXES, *video_files.IMAGE_SUFFIXES) else name


def plain(name: str) -> str:
    """The name of a column without case, blanks and punctuation."""
    return re.sub(r'[\W_]', '', name).lower()


# --- Reading


def read_table(path: str, videos: Videos, options: Options) -> Table:
    """Reads a table; InputError where it is of another kind, or a column is missing."""
    if path.lower().endswith(('.json', *_LINES)):
        cells, first, unit = _read_json(path), 0, 'entry'
        return Table(path, cells, _names(unit, first, cells), _find_columns(path, cells, videos, options))
    cells, sep = _read_cells(path, videos, options)
    keyed = _split_keys(path, cells) if sep else None
    header = keyed is None and not _is_row(cells.iloc[0].str.strip().tolist(), videos, options)
    if keyed is not None:
        cells = keyed
    elif header:
        cells = tables.read_table(path, [], rename=str.strip, sep=sep)
    cells = cells.apply(lambda column: column.str.strip())
    given = {} if header or keyed is not None else _guess_columns(cells, videos, options)
    names = _names('row', tables.FIRST_ROW if header else 1, cells)
    return Table(path, cells, names, _find_columns(path, cells, videos, options, given))


def _names(unit: str, first: int, cells: pd.DataFrame) -> list[str]:
    return [f'{unit} {number}' for number in range(first, first + len(cells))]


def _read_cells(path: str, videos: Videos, options: Options) -> tuple[pd.DataFrame, str | None]:
    """All lines, and the separator where that is blanks: of lines without another that name no video as a whole."""
    cells = tables.read_table(path, [], header=False)
    lines = cells.iloc[:, 0].str.strip()
    first = lines.iloc[0].split()
    if cells.shape[1] > 1 or len(first) < 2 or any(_names_video(line, videos, options) for line in lines):
        return cells, None
    numbers = [name for name in options.columns.values() if name and name.isdecimal()]
    usual = {*itertools.chain(*COLUMNS.values()), *map(plain, filter(None, options.columns.values()))}
    is_table = numbers or all(':' in word for word in first) or any(plain(word) in usual for word in first)
    if not is_table and not any(_names_video(word, videos, options) for line in lines for word in line.split()):
        return cells, None
    return tables.read_table(path, [], header=False, sep=r'\s+'), r'\s+'


def _split_keys(path: str, cells: pd.DataFrame) -> pd.DataFrame | None:
    """`path:a label:0 color:sk:80:160` -> columns path, label, color, color2, color3; None for other cells."""
    pairs = [[cell.split(':') for cell in row if cell] for row in cells.fillna('').to_numpy().tolist()]
    if not all(len(pair) > 1 and pair[0].isidentifier() for row in pairs for pair in row):
        return None
    rows = [
        {
            f'{key}{number if number > 1 else ""}': value
            for key, *values in row
            for number, value in enumerate(values, 1)
        }
        for row in pairs
    ]
    tables.check_cells(path, len(rows), len(set(itertools.chain(*rows))))
    return pd.DataFrame(rows, dtype=str).fillna('')


def _is_row(header: Sequence[str], videos: Videos, options: Options) -> bool:
    """Whether the first line of a file is a row: columns are given by number, or it names a video."""
    given = [name for name in options.columns.values() if name]
    if given:
        are_names = not all(name.isdecimal() for name in header) or list(header) == list(map(str, range(len(header))))
        return all(name.isdecimal() for name in given) and not (set(given) <= set(header) and are_names)
    known = any(plain(name) in itertools.chain(COLUMNS['file'], COLUMNS['gloss']) for name in header)
    return not known and any(_names_video(name, videos, options) for name in header)


def _names_video(cell: str, videos: Videos, options: Options) -> bool:
    # A format that needs other columns cannot be tried here.
    return bool(videos.find(options.file_format.replace('{}', cell)))


def _guess_columns(cells: pd.DataFrame, videos: Videos, options: Options) -> dict[str, str]:
    """The columns of a file without header and of at most two columns: that with the videos, and the other."""
    if any(options.columns.values()):
        return {}
    file = next(name for name in cells if _names_video(cells[name].iloc[0], videos, options))
    others = [name for name in cells if name != file]
    return {'file': file} | ({'label': others[0]} if len(others) == 1 else {})


def _read_json(path: str) -> pd.DataFrame:
    content = _read_lines(path) if path.lower().endswith(_LINES) else _read_json_or_lines(path)
    if isinstance(content, dict):
        content = _entries(content)
    items = content if isinstance(content, list) else []
    if not items or not all(isinstance(item, dict) for item in items):
        raise errors.InputError(
            f'{path}: expected a JSON object with an entry per video, a list of objects or one for each split, or an '
            'object per line'
        )
    if 'instances' in items[0]:
        raise errors.InputError(f'{path} is an annotation of WLASL, which python -m preprocessing.wlasl reads')
    rows = [_json_row(path, number, item) for number, item in enumerate(items)]
    tables.check_cells(path, len(rows), len(set(itertools.chain(*rows))))
    return pd.DataFrame(rows, dtype=str).fillna('')


def _read_json_or_lines(path: str) -> Any:
    try:
        return files.read_json(path, kind=object)
    except errors.InputError as error:
        try:
            return _read_lines(path)
        except errors.InputError:
            raise error from None


def _read_lines(path: str) -> list[dict[str, Any]]:
    """The objects of a file with one in each line."""
    number, items = 0, []
    try:
        with open(path, encoding='utf-8-sig') as file:
            for number, line in enumerate(file, start=1):  # noqa: B007
                if line.strip():
                    items.append(files.parse_json(line))
                    if not isinstance(items[-1], dict):
                        raise ValueError('it is no object')
    except ValueError as error:
        raise errors.InputError(
            f'{path}, line {number} is damaged, expected a JSON object: {errors.one_line(error)}'
        ) from error
    return items


def _entries(content: Mapping[str, Any]) -> list[Any]:
    """The entries of an object: one for each key, or lists of them for each split, or under one key."""
    lists = {key: value for key, value in content.items() if isinstance(value, list)}
    if not lists:
        return [{'file': key} | (item if isinstance(item, dict) else {'gloss': item}) for key, item in content.items()]
    if len(lists) == 1 and not splits.parse(next(iter(lists))):
        return next(iter(lists.values()))
    if len(lists) < len(content) or not all(map(splits.parse, lists)):
        return []
    return [
        {'split': key} | (item if isinstance(item, dict) else {'file': item})
        for key, items in lists.items()
        for item in items
    ]


def _json_row(path: str, number: int, item: Mapping[str, Any]) -> dict[str, str]:
    row = {str(key): value for key, value in item.items() if key != 'action'}
    if 'action' in item:
        action = item['action']
        if not isinstance(action, list) or len(action) != 3:
            raise errors.InputError(f'{path}, entry {number}: action is {action!r}, expected [class, start, end]')
        row |= dict(zip(('label', 'start', 'end'), action, strict=True))
    return {key: '' if pd.api.types.is_scalar(value) and pd.isna(value) else str(value) for key, value in row.items()}


def _find_columns(
    path: str, cells: pd.DataFrame, videos: Videos, options: Options, given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Role -> column."""
    by_name = {plain(name): name for name in reversed([str(name) for name in cells])}
    columns = dict(given or {})
    for role, usual in COLUMNS.items():
        wanted = options.columns.get(role)
        if wanted:
            if plain(wanted) not in by_name:
                raise errors.InputError(
                    f'{path} has no column {wanted!r} (--{role}_column), found {", ".join(map(str, cells))}'
                )
            columns[role] = by_name[plain(wanted)]
        elif wanted is None and role not in columns:
            recognized = [by_name[name] for name in usual if name in by_name and by_name[name] not in columns.values()]
            if len(recognized) > 1 and role == 'file':
                # The first of those that name the most videos.
                hits = {name: sum(_names_video(cell, videos, options) for cell in cells[name]) for name in recognized}
                recognized = [max(recognized, key=hits.__getitem__)]
            if recognized:
                columns[role] = recognized[0]
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
