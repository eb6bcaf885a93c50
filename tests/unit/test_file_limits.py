"""Small files that ask for much, and paths that are no files, are refused before anything is read."""

import io
import os
import socket
import time
import zipfile

import numpy as np
import pytest

from preprocessing.extraction import video
from preprocessing.formats import mp_data, npz
from slr_jax import config as config_lib
from slr_jax import errors, files
from tests.conftest import make_tiny_config


def header(shape, dtype='<f4'):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {'descr': dtype, 'fortran_order': False, 'shape': shape})
    return file.getvalue()


@pytest.mark.parametrize('compression', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_an_archive_that_unpacks_to_much_more(tmp_path, compression):
    path = tmp_path / 'a.npz'
    with zipfile.ZipFile(path, 'w', compression) as archive, archive.open('frames.npy', 'w') as member:
        member.write(header((2**20, 75, 3)))
        for _ in range(900):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(errors.InputError, match=r'a\.npz has (frames\.npy compressed|[\d,]+ bytes and declares)'):
        npz.read_archive(str(path), 'a')


def test_an_array_that_is_larger_than_its_file(tmp_path):
    (tmp_path / 'a.npy').write_bytes(header((2**30, 75, 3)) + bytes(900))
    with pytest.raises(errors.InputError, match=r'a\.npy.*more than its'):
        mp_data._read_array(str(tmp_path / 'a.npy'))


@pytest.mark.parametrize(
    'content',
    [
        b'ffconcat version 1.0\nfile b.mp4\n',
        b'#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nb.mp4\n#EXT-X-ENDLIST\n',
        b'v=0\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\na=rtpmap:96 H264/90000\n',
        b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    ],
)
def test_a_playlist_is_no_video(tmp_path, content):
    (tmp_path / 'a.mp4').write_bytes(content)
    with pytest.raises(video.VideoError, match=r'the file is (a playlist|not a video)'):
        next(video.read_frames(str(tmp_path / 'a.mp4'), bool, None))


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    os.chdir(path.parent)
    socket.socket(socket.AF_UNIX).bind(path.name)


def make_link_to_a_device(path):
    path.symlink_to('/dev/zero')


@pytest.mark.parametrize('make', [make_pipe, make_socket, make_link_to_a_device])
@pytest.mark.parametrize(
    'read',
    [
        lambda path: npz.read_archive(path, 'a'),
        files.read_json,
        files.read_bytes,
        lambda path: next(video.read_frames(path, bool, None)),
    ],
)
def test_what_is_no_file_is_not_read(tmp_path, monkeypatch, make, read):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / 'a.mp4')
    begun = time.monotonic()
    with pytest.raises((errors.InputError, video.VideoError), match=r'is a (named pipe|socket|device), expected a'):
        read(str(tmp_path / 'a.mp4'))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize('field', ['num_frames', 'mlp_dim', 'num_layers', 'num_heads', 'batch_size', 'width'])
def test_sizes_that_no_machine_has(field):
    config = make_tiny_config('data', **{field: 10_000_000})
    with pytest.raises(errors.InputError, match=rf'config\.{field} is 10000000, expected from 1 to'):
        config_lib.expand(config_lib.resolve(config))
