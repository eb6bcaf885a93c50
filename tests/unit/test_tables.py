"""CSV files as spreadsheets and people write them."""

import codecs

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
