"""CSV files as spreadsheets and people write them."""

import codecs
import zipfile

import pandas as pd
import pytest

from preprocessing import tables
from slr_jax import errors


def read(path, content, **options):
    path.write_bytes(content)
    return tables.read_table(str(path), [], **options).to_dict('list')


@pytest.mark.parametrize('sep', [',', ';', '\t'])
@pytest.mark.parametrize(
    'encode',
    [
        lambda text: text.encode(),
        lambda text: codecs.BOM_UTF8 + text.replace('\n', '\r\n').encode(),
        lambda text: text.encode('utf-16'),
    ],
    ids=['utf-8', 'mark and carriage returns', 'utf-16'],
)
def test_separators_and_encodings(tmp_path, sep, encode):
    lines = ['file', '"gloss, the; word"', 'x'], ['ä.mp4', '"a, b; c"', '1'], ['b.mp4', 'NA', '']
    text = '\n'.join(sep.join(line) for line in lines)
    expected = {'file': ['ä.mp4', 'b.mp4'], 'gloss, the; word': ['a, b; c', 'NA'], 'x': ['1', '']}
    assert read(tmp_path / 'table.csv', encode(text)) == expected


def test_one_column(tmp_path):
    assert read(tmp_path / 'table.csv', b'file\na.mp4\n') == {'file': ['a.mp4']}


def test_no_header(tmp_path):
    expected = {'1': ['signer0_sample1', 'signer1_sample2'], '2': ['41', '104']}
    assert read(tmp_path / 'table.csv', b'signer0_sample1,41\nsigner1_sample2,104', header=False) == expected


def test_more_cells_than_columns(tmp_path):
    with pytest.raises(errors.InputError, match='is not a CSV file'):
        read(tmp_path / 'table.csv', b'file;gloss\na;b;c\n')


def test_empty_rows_at_the_end_and_blanks_around_names(tmp_path):
    assert read(tmp_path / 'table.csv', b'file ; x\na;1\n;\nb;2\n;\n;\n') == {
        'file': ['a', '', 'b'],
        'x': ['1', '', '2'],
    }


def test_synonyms(tmp_path):
    path = tmp_path / 'table.csv'
    assert read(path, b'Label,x\n1,2\n', synonyms={'label': 'labels'}) == {'labels': ['1'], 'x': ['2']}
    assert read(path, b'Label,labels\n1,2\n', synonyms={'label': 'labels'}) == {'Label': ['1'], 'labels': ['2']}


def test_other_kinds_of_files_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / 'book.csv', 'w') as book:
        book.writestr('xl/workbook.xml', '<workbook/>')
    with pytest.raises(errors.InputError, match=r'book\.csv is not a CSV file: an Excel workbook; save it as CSV'):
        tables.read_table(str(tmp_path / 'book.csv'), ['file'])
    (tmp_path / 'latin.csv').write_bytes('file,gloss\na,Über\n'.encode('cp1252'))
    with pytest.raises(errors.InputError, match=r'latin\.csv is not a CSV file: it is not UTF-8 .* CSV UTF-8'):
        tables.read_table(str(tmp_path / 'latin.csv'), ['file'])


def write_book(path):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('sheet.xml', '<c r="B2"/>')
    return str(path)


def test_a_spreadsheet_that_cannot_be_read(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ImportError('no openpyxl')

    monkeypatch.setattr(pd, 'read_excel', fail)
    path = write_book(tmp_path / 'book.xlsx')
    with pytest.raises(errors.InputError, match=r'book\.xlsx is a spreadsheet; save it as CSV UTF-8.*no openpyxl'):
        tables.read_table(path, ['file'])


@pytest.mark.parametrize('suffix', ['.XLS', '.ods'])
def test_spreadsheets_of_other_programs_are_refused(tmp_path, suffix):
    path = tmp_path / f'book{suffix}'
    path.touch()
    with pytest.raises(errors.InputError, match=rf'book\{suffix} is a spreadsheet; save it as CSV UTF-8'):
        tables.read_table(str(path), ['file'])


def test_a_spreadsheet_whose_last_cell_is_far_away_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / 'book.xlsx', 'w') as archive:
        archive.writestr('sheet.xml', '<c r="ZZ1048576"/>')
    with pytest.raises(errors.InputError, match=r'book\.xlsx has [\d,]+ bytes and declares that it holds'):
        tables.read_table(str(tmp_path / 'book.xlsx'), ['file'])


def test_a_spreadsheet(tmp_path, monkeypatch):
    path, sheets = write_book(tmp_path / 'book.xlsx'), {'A': pd.DataFrame({' file ': ['a', 'b'], 'x': ['1', '']})}
    monkeypatch.setattr(pd, 'read_excel', lambda *_, **given: sheets | {'B': pd.DataFrame()})
    assert tables.read_table(path, ['file']).to_dict('list') == {'file': ['a', 'b'], 'x': ['1', '']}
    with pytest.raises(errors.InputError, match=r"book\.xlsx has no column 'gloss', expected gloss; found file, x"):
        tables.read_table(path, ['gloss'])
    sheets['C'] = sheets['A']
    with pytest.raises(errors.InputError, match=r'book\.xlsx has 2 sheets with rows, A, C; save the one'):
        tables.read_table(path, ['file'])


def test_a_damaged_spreadsheet(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise zipfile.BadZipFile('no zip')

    monkeypatch.setattr(pd, 'read_excel', fail)
    with pytest.raises(errors.InputError, match=r'book\.xlsx is not a spreadsheet that can be read: no zip'):
        tables.read_table(write_book(tmp_path / 'book.xlsx'), ['file'])
