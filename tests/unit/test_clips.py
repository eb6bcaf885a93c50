import csv
import dataclasses
import re

import numpy as np
import pytest

from preprocessing import clips as clips_lib
from slr_jax import errors

GOOD = {
    'video_id': 'a', 'file': 'hello/a.mp4', 'label': '0', 'gloss': 'hello', 'split': 'train', 'signer_id': 'anna',
    'frame_start': '1', 'frame_end': '-1', 'fps': '', 'bbox': '', 'source': '',
}  # fmt: skip
OTHER = GOOD | {'video_id': 'b', 'file': 'thanks/b.mp4', 'label': '1', 'gloss': 'thanks', 'split': 'test'}
CLIPS = [
    clips_lib.Clip('00335', '00335.mp4', 1, 'abdomen', 'train', '118', 3, 77, 25, '385 37 885 720', 'aslbrick'),
    clips_lib.Clip('1CM1_4_R_#229_000018_000055', 'a/1CM1_4_R_#229.avi', 0, 'G07', 'test', '1CM1_4', 18, 18, 29.97),
    clips_lib.Clip('ja, „nein“', 'b/ja, "nein".mp4', 2, 'ä; "b", c', 'validation', '', fps=30000 / 1001),
    clips_lib.Clip('NA', 'NA', 2, 'ä; "b", c', 'validation', 'null', bbox='-1.5 0 20 3.25'),
]


def write(path, *rows, header=clips_lib.COLUMNS):
    with open(path, 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([header, *([row[column] for column in header] for row in rows)])
    return str(path)


def test_there_and_back(tmp_path):
    path = str(tmp_path / 'new' / 'below' / 'clips.csv')
    clips_lib.write_clips(path, CLIPS)
    assert clips_lib.read_clips(path) == CLIPS
    with open(path, newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        'video_id': '00335', 'file': '00335.mp4', 'label': '1', 'gloss': 'abdomen', 'split': 'train',
        'signer_id': '118', 'frame_start': '3', 'frame_end': '77', 'fps': '25', 'bbox': '385 37 885 720',
        'source': 'aslbrick',
    }  # fmt: skip
    assert [row['fps'] for row in rows[1:]] == ['29.97', str(30000 / 1001), '']
    assert [row['frame_end'] for row in rows[1:]] == ['18', '-1', '-1']
    assert [path.name for path in (tmp_path / 'new' / 'below').iterdir()] == ['clips.csv']


def test_number_of_frames():
    assert [clip.num_frames for clip in CLIPS] == [75, 1, None, None]


def test_columns_in_any_order_with_others_between(tmp_path):
    header = ('note', *reversed(clips_lib.COLUMNS))
    path = write(tmp_path / 'clips.csv', OTHER | {'note': 'x'}, GOOD | {'note': 'y'}, header=header)
    expected = [
        clips_lib.Clip('b', 'thanks/b.mp4', 1, 'thanks', 'test', 'anna'),
        clips_lib.Clip('a', 'hello/a.mp4', 0, 'hello', 'train', 'anna'),
    ]
    assert clips_lib.read_clips(path) == expected


def test_a_table_that_a_spreadsheet_saved(tmp_path):
    path = write(tmp_path / 'clips.csv', GOOD, OTHER)
    text = (tmp_path / 'clips.csv').read_text(encoding='utf-8')
    (tmp_path / 'saved.csv').write_bytes(b'\xef\xbb\xbf' + text.replace('\n', '\r\n').encode())
    assert clips_lib.read_clips(str(tmp_path / 'saved.csv')) == clips_lib.read_clips(path)


@pytest.mark.parametrize('column', clips_lib.COLUMNS)
def test_missing_column(tmp_path, column):
    header = [name for name in clips_lib.COLUMNS if name != column]
    path = write(tmp_path / 'clips.csv', GOOD, OTHER, header=header)
    with pytest.raises(errors.InputError, match=f"^{re.escape(path)} has no column '{column}', expected video_id, "):
        clips_lib.read_clips(path)


# What is wrong in the second row; the column, what is found there, and a part of what is expected.
BAD_CELLS = {
    'video_id empty': ({'video_id': ' '}, 'video_id', ' ', 'a name'),
    'video_id a path': ({'video_id': 'c/b'}, 'video_id', 'c/b', 'without /'),
    'video_id hidden': ({'video_id': '.b'}, 'video_id', '.b', 'dot'),
    'file empty': ({'file': ''}, 'file', '', 'directory of videos'),
    'file absolute': ({'file': '/b.mp4'}, 'file', '/b.mp4', 'directory of videos'),
    'file above': ({'file': '../b.mp4'}, 'file', '../b.mp4', 'directory of videos'),
    'file above, hidden': ({'file': 'c/../../b.mp4'}, 'file', 'c/../../b.mp4', 'directory of videos'),
    'label text': ({'label': 'one'}, 'label', 'one', 'whole number'),
    'label half': ({'label': '0.5'}, 'label', '0.5', 'whole number'),
    'label empty': ({'label': ''}, 'label', '', 'whole number'),
    'label negative': ({'label': '-1'}, 'label', -1, '0'),
    'gloss empty': ({'gloss': ' '}, 'gloss', ' ', 'name'),
    'split unknown': ({'split': 'vali'}, 'split', 'vali', 'train, validation, test'),
    'split empty': ({'split': ''}, 'split', '', 'train, validation, test'),
    'frame_start 0': ({'frame_start': '0'}, 'frame_start', 0, '1'),
    'frame_start text': ({'frame_start': '1st'}, 'frame_start', '1st', 'whole number'),
    'frame_end before': ({'frame_start': '9', 'frame_end': '8'}, 'frame_end', 8, '9'),
    'frame_end 0': ({'frame_end': '0'}, 'frame_end', 0, '-1'),
    'frame_end -2': ({'frame_end': '-2'}, 'frame_end', -2, '-1'),
    'frame_end empty': ({'frame_end': ''}, 'frame_end', '', 'whole number'),
    'fps 0': ({'fps': '0'}, 'fps', 0.0, '1000'),
    'fps negative': ({'fps': '-1'}, 'fps', -1.0, '1000'),
    'fps nan': ({'fps': 'nan'}, 'fps', float('nan'), '1000'),
    'fps infinite': ({'fps': 'inf'}, 'fps', float('inf'), '1000'),
    'fps text': ({'fps': 'fast'}, 'fps', 'fast', 'number'),
    'bbox of three': ({'bbox': '1 2 3'}, 'bbox', '1 2 3', 'x0 y0 x1 y1'),
    'bbox of five': ({'bbox': '1 2 3 4 5'}, 'bbox', '1 2 3 4 5', 'x0 y0 x1 y1'),
    'bbox text': ({'bbox': '1 2 3 x'}, 'bbox', '1 2 3 x', 'x0 y0 x1 y1'),
    'bbox a list': ({'bbox': '[1, 2, 3, 4]'}, 'bbox', '[1, 2, 3, 4]', 'x0 y0 x1 y1'),
}


@pytest.mark.parametrize(('change', 'column', 'found', 'expected'), BAD_CELLS.values(), ids=BAD_CELLS)
def test_bad_cell(tmp_path, change, column, found, expected):
    path = write(tmp_path / 'clips.csv', GOOD, OTHER | change)
    with pytest.raises(errors.InputError) as caught:
        clips_lib.read_clips(path)
    words = f'{path}, row 3, column {column}: found {found!r}, expected '
    assert str(caught.value).startswith(words)
    assert expected in str(caught.value).removeprefix(words)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'video_id': 'a'}, ['video_id', "'a'", 'row 2']),
        ({'label': '0'}, ['label 0', "'hello'", "'thanks'"]),
        ({'gloss': 'hello'}, ["gloss 'hello'", '0', '1']),
    ],
)
def test_bad_pair_of_rows(tmp_path, change, words):
    path = write(tmp_path / 'clips.csv', GOOD, OTHER | change)
    with pytest.raises(errors.InputError) as caught:
        clips_lib.read_clips(path)
    assert str(caught.value).startswith(f'{path}, row 3: ')
    assert all(word in str(caught.value).removeprefix(f'{path}, row 3: ') for word in words)


def test_gap_in_labels(tmp_path):
    path = write(tmp_path / 'clips.csv', GOOD, OTHER | {'label': '3'})
    with pytest.raises(errors.InputError, match=f'^{re.escape(path)}: no clip has label 1, expected .* from 0 to 3$'):
        clips_lib.read_clips(path)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', ' is empty, expected .* video_id, '),
        (np.random.default_rng(0).bytes(3000), ' is not a CSV file: .*codec'),
        (','.join(clips_lib.COLUMNS).encode(), ' has no rows'),
        (':'.join(clips_lib.COLUMNS).encode(), " has no column 'video_id', expected video_id, file, "),
        (','.join([*clips_lib.COLUMNS, '\na,a.mp4,0']).encode(), ", row 2, column frame_start: found ''"),
    ],
    ids=['empty', 'noise', 'header only', 'colons', 'cut'],
)
def test_bad_file(tmp_path, content, words):
    path = tmp_path / 'clips.csv'
    path.write_bytes(content)
    with pytest.raises(errors.InputError, match=f'^{re.escape(str(path))}{words}'):
        clips_lib.read_clips(str(path))


@pytest.mark.parametrize('row', [0, 1])
def test_more_cells_than_columns(tmp_path, row):
    path = write(tmp_path / 'clips.csv', GOOD, OTHER)
    lines = (tmp_path / 'clips.csv').read_text(encoding='utf-8').splitlines()
    lines[1 + row] += ',surplus'
    (tmp_path / 'clips.csv').write_text('\n'.join(lines), encoding='utf-8')
    with pytest.raises(errors.InputError, match=f'^{re.escape(path)} is not a CSV file: '):
        clips_lib.read_clips(path)


def test_bad_clips_are_not_written(tmp_path):
    path = tmp_path / 'new' / 'clips.csv'
    with pytest.raises(errors.InputError, match=r"clips\.csv: 00335\.mp4, frames 3 to 77: duplicate video_id '00335'"):
        clips_lib.write_clips(str(path), [CLIPS[0], CLIPS[0]])
    with pytest.raises(errors.InputError, match=r'clips\.csv has no rows'):
        clips_lib.write_clips(str(path), [])
    assert not path.parent.exists()


def test_summary():
    assert clips_lib.summary('clips.csv', CLIPS) == (
        'clips.csv: 4 clips of 3 glosses\n'
        '  train: 1 clips, 1 glosses, 1 signers\n'
        '  validation: 2 clips, 1 glosses, 1 signers\n'
        '  test: 1 clips, 1 glosses, 1 signers'
    )


def test_glosses_of_other_spelling():
    assert clips_lib.tidy_gloss(' thank\n you ') == 'thank you'
    assert clips_lib.tidy_gloss('cafe\u0301') == 'caf\u00e9'
    clips = [dataclasses.replace(CLIPS[0], gloss=gloss) for gloss in ('Book', 'book', 'eat', '\uff45\uff41\uff54')]
    summary = clips_lib.summary('clips.csv', clips)
    assert 'capitals or width only are different classes: Book, book, eat, \uff45\uff41\uff54' in summary


def test_glosses_of_a_table_that_differ_in_what_is_not_seen(tmp_path):
    first, second = GOOD | {'gloss': 'caf\u00e9'}, GOOD | {'video_id': 'b', 'gloss': ' cafe\u0301 '}
    clips = clips_lib.read_clips(write(tmp_path / 'clips.csv', first, second))
    assert [clip.gloss for clip in clips] == ['caf\u00e9', 'caf\u00e9']
    with pytest.raises(errors.InputError, match="row 3: gloss 'caf\u00e9' has two labels, 0 and 1"):
        clips_lib.read_clips(write(tmp_path / 'clips.csv', first, second | {'label': '1'}))


def test_whole_numbers_with_a_decimal(tmp_path):
    path = write(tmp_path / 'clips.csv', GOOD | {'label': '0.0', 'frame_start': '3.0', 'frame_end': '-1.0'})
    [clip] = clips_lib.read_clips(path)
    assert (clip.label, clip.frame_start, clip.frame_end) == (0, 3, -1)


def test_labels_are_numbered_by_gloss():
    def number(*glosses):
        clips = [clips_lib.Clip(str(i), 'a.mp4', 0, gloss, 'train') for i, gloss in enumerate(glosses)]
        return [clip.label for clip in clips_lib.number_labels(clips)]

    assert number('b', 'a', 'b') == [1, 0, 1]
    assert number('10', '9', '010') == [2, 0, 1]
