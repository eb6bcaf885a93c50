"""Files of another kind are named for what they are."""

import pickle
import zipfile

import numpy as np
import pytest

from preprocessing import file_kinds

CONTENTS = {
    'a.mp4': (b'\x00\x00\x00\x20ftypisom', 'a video'),
    'a.webm': (b'\x1a\x45\xdf\xa3\x9f', 'a video'),
    'a.avi': (b'RIFF\x00\x00\x00\x00AVI LIST', 'a video'),
    'a.jpg': (b'\xff\xd8\xff\xe0\x00', 'an image'),
    'a.pose': (b'\xcd\xcc\x4c\x3e\x00\x04', '--source=pose'),
    'a.parquet': (b'PAR1\x15\x04', '--source=asl_signs'),
    'a.pkl': (pickle.dumps([1, 2]), 'a Python pickle'),
    'a.h5': (b'\x89HDF\r\n\x1a\n', 'an HDF5 file'),
    'a.json': (b'{"people": [{"pose_keypoints_2d": []}]}', '--source=openpose'),
    'b.json': (b'[{"gloss": "book"}]', 'a JSON file'),
    'a.csv': (b'\xef\xbb\xbffile;gloss\n', 'a CSV file'),
    'a.txt': (b'book\ndrink\n', 'a text file'),
    'empty': (b'', 'an empty file'),
}


@pytest.mark.parametrize('name', CONTENTS)
def test_files(tmp_path, name):
    content, expected = CONTENTS[name]
    (tmp_path / name).write_bytes(content)
    assert expected in file_kinds.describe(str(tmp_path / name))


def test_noise(tmp_path):
    (tmp_path / 'noise').write_bytes(np.random.default_rng(0).bytes(900))
    assert file_kinds.describe(str(tmp_path / 'noise')) is None


@pytest.mark.parametrize(
    ('members', 'expected'),
    [
        (['x.npy', 'y.npy'], 'an .npz archive of x, y'),
        (['archive/data.pkl', 'archive/data/0'], 'a PyTorch file'),
        (['xl/workbook.xml'], 'an Excel workbook'),
        (['a/1.mp4', 'a/2.mp4', 'b/1.mp4'], 'a zip of 3 files, such as a/1.mp4, a/2.mp4'),
        ([], 'an empty zip'),
    ],
)
def test_zips(tmp_path, members, expected):
    with zipfile.ZipFile(tmp_path / 'a', 'w') as archive:
        for member in members:
            archive.writestr(member, b'')
    assert expected in file_kinds.describe(str(tmp_path / 'a'))


def test_directories(tmp_path):
    assert file_kinds.describe(str(tmp_path)) == 'an empty directory'
    (tmp_path / 'a.txt').write_text('notes')
    assert file_kinds.describe(str(tmp_path)) == 'a directory, in which a.txt is a text file'
    (tmp_path / 'book' / '0').mkdir(parents=True)
    np.save(tmp_path / 'book' / '0' / '0.npy', np.zeros(126))
    assert 'book/0/0.npy is a NumPy array' in file_kinds.describe(str(tmp_path))
