"""Arrays of objects are read without running the pickle that they are stored as."""

import contextlib
import io
import os
import resource

import numpy as np
import pandas as pd
import pytest

from preprocessing.formats import npz, numpy_files
from slr_jax import dataset as dataset_lib
from slr_jax import errors
from tests.refusals.world import Hostile


def read(array, **options):
    file = io.BytesIO()
    np.save(file, array)
    file.seek(0)
    return numpy_files.read_array(file, **options)


@pytest.mark.parametrize(
    ('items', 'expected'),
    [
        (['yes', 'grüßen'], ['yes', 'grüßen']),
        (['anna', float('nan'), 3, np.str_('ben')], ['anna', '', '3', 'ben']),
        ([1, np.int64(-2), np.int32(3)], [1, -2, 3]),
        ([0.5, np.float32(0.25)], [0.5, 0.25]),
    ],
)
def test_objects(items, expected):
    found = read(np.array(items, object))
    assert found.tolist() == expected
    assert not found.dtype.hasobject
    assert read(pd.Series(items, dtype=object).to_numpy()).tolist() == expected


def test_one_object():
    assert str(read(np.array('mediapipe_hand', object))) == 'mediapipe_hand'


@pytest.mark.parametrize(
    'item', [None, [1, 2], {'a': 1}, b'bytes', np.zeros(3), np.datetime64('2026-01-01'), io.BytesIO]
)
def test_other_objects_are_refused(item):
    array = np.empty(2, object)
    array[:] = ['yes', item]
    with pytest.raises(Exception, match=r'it (holds|names)'):
        read(array)


@pytest.mark.parametrize('code', [0x110000, 0xFFFFFFFF, 0xD800, 0xDFFF])
@pytest.mark.parametrize('order', '<>')
def test_text_of_numbers_that_are_no_characters_is_refused(code, order):
    text = np.array(['yes', 'grüßen 👋'], f'{order}U8')
    assert read(text).tolist() == ['yes', 'grüßen 👋']
    codes = text.view(f'{order}u4')
    codes[2] = code
    with pytest.raises(ValueError, match='no characters'):
        read(text)


def test_objects_of_half_a_character_are_refused():
    with pytest.raises(ValueError, match='surrogates not allowed'):
        read(np.array(['yes', '\ud800'], object))


def test_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match='mkdir'):
        read(np.array([Hostile()], object))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('dtype', [np.float64, np.float16, np.int32, '>f8', '>f4'])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_numbers_become_float32(dtype, order):
    array = np.asarray(np.arange(60_000).reshape(10_000, 2, 3) % 999, dtype, order=order)
    found = read(array, as_float32=True)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.float32


def test_an_archive_of_other_types(tiny_dataset, tmp_path):
    npz.write_archive(tiny_dataset, str(tmp_path / 'a.npz'))
    with np.load(tmp_path / 'a.npz') as archive:
        arrays = dict(archive)
    arrays['frames'] = arrays['frames'].astype(np.float64)
    arrays['label'] = arrays['label'].astype(np.float64)
    for field in ('label_names', 'split', 'video_id', 'signer_id', 'layout'):
        arrays[field] = arrays[field].astype(object)
    np.savez(tmp_path / 'b.npz', **arrays)
    read_back = npz.read_archive(str(tmp_path / 'b.npz'), 'tiny')
    assert read_back.fingerprint() == tiny_dataset.fingerprint()
    assert read_back.description == tiny_dataset.description
    named = np.array([f'sign_{label:.0f}' for label in arrays['label']], object)
    np.savez(tmp_path / 'named.npz', **arrays | {'label': named})
    assert npz.read_archive(str(tmp_path / 'named.npz'), 'tiny').fingerprint() == tiny_dataset.fingerprint()
    np.savez(tmp_path / 'named.npz', **arrays | {'label': np.array([f' {name}\u00a0' for name in named.tolist()])})
    assert npz.read_archive(str(tmp_path / 'named.npz'), 'tiny').fingerprint() == tiny_dataset.fingerprint()
    np.savez(tmp_path / 'c.npz', **arrays | {'frames': arrays['frames'][..., :2]})
    flat = npz.read_archive(str(tmp_path / 'c.npz'), 'tiny')
    dataset_lib.check_clips(flat.splits['test'], 21, 3, 'flat')
    assert all(np.isnan(clip[..., 2]).all() for clip in flat.splits['test'].landmarks)


def test_an_archive_of_bytes_and_of_splits_in_other_words(tiny_dataset, tmp_path):
    npz.write_archive(tiny_dataset, str(tmp_path / 'a.npz'))
    with np.load(tmp_path / 'a.npz') as archive:
        arrays = dict(archive)
    arrays['split'] = np.array([{'train': 'Train', 'validation': 'dev'}.get(x, x) for x in arrays['split'].tolist()])
    arrays['offsets'] = arrays['offsets'].astype(float)
    for field in ('label_names', 'split', 'video_id', 'layout'):
        arrays[field] = arrays[field].astype('S')
    np.savez(tmp_path / 'b.npz', **arrays)
    read_back = npz.read_archive(str(tmp_path / 'b.npz'), 'tiny')
    assert read_back.fingerprint() == tiny_dataset.fingerprint()
    assert read_back.description == tiny_dataset.description
    np.savez(tmp_path / 'c.npz', **arrays | {'offsets': arrays['offsets'] + 0.5})
    with pytest.raises(errors.InputError, match=r'c\.npz: offsets do not rise from 0'):
        npz.read_archive(str(tmp_path / 'c.npz'), 'tiny')


@pytest.mark.parametrize('opcode', [b'r\xff\xff\xff\x7f', b'\x96' + (2**40).to_bytes(8, 'little')])
def test_memory_that_a_pickle_asks_for_is_not_taken(opcode):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {'descr': '|O', 'fortran_order': False, 'shape': (1,)})
    buffer.write(b'\x80\x04K\x01' + opcode + b'.')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(Exception):
        numpy_files.read_array(io.BytesIO(buffer.getvalue()))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
