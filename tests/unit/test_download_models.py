"""Getting the model files, from a tree of files instead of from the network."""

import http.server
import io
import threading
import zipfile

import pytest

from preprocessing import download_models
from preprocessing.extraction import landmarker, model_files
from slr_jax import errors

NAMES = landmarker.Options(pose='lite').model_files
HANDS, POSE = 'hand_landmarker.task', 'pose_landmarker_lite.task'


def make_bundle(part):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as bundle:
        for name in model_files.BUNDLE_MEMBERS[part]:
            bundle.writestr(name, f'the network {name} ' * 20)
    return buffer.getvalue()


GOOD = {HANDS: make_bundle('hands'), POSE: make_bundle('pose')}


@pytest.fixture
def published(tmp_path):
    """Where the files are published: a folder, and its address."""
    folders = {HANDS: 'hand_landmarker/hand_landmarker', POSE: 'pose_landmarker/pose_landmarker_lite'}
    found = {name: tmp_path / 'published' / folder / 'float16' / '1' / name for name, folder in folders.items()}
    for name, path in found.items():
        path.parent.mkdir(parents=True)
        path.write_bytes(GOOD[name])
    return found


@pytest.fixture
def address(tmp_path):
    return f'file://{tmp_path}/published'


@pytest.fixture
def model_dir(tmp_path):
    return tmp_path / 'new' / 'models'


def files_in(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('hand_landmarker.task', 'hand_landmarker/hand_landmarker/float16/1/hand_landmarker.task'),
        ('pose_landmarker_lite.task', 'pose_landmarker/pose_landmarker_lite/float16/1/pose_landmarker_lite.task'),
        ('pose_landmarker_full.task', 'pose_landmarker/pose_landmarker_full/float16/1/pose_landmarker_full.task'),
        ('pose_landmarker_heavy.task', 'pose_landmarker/pose_landmarker_heavy/float16/1/pose_landmarker_heavy.task'),
    ],
)
def test_addresses(name, path):
    assert download_models.model_url(name) == f'https://storage.googleapis.com/mediapipe-models/{path}'
    assert download_models.model_url(name, 'file:///m') == f'file:///m/{path}'


def test_both_files_are_downloaded_once(published, address, model_dir, capsys):
    download_models.download(str(model_dir), NAMES, address)
    assert files_in(model_dir) == GOOD
    assert capsys.readouterr().out.splitlines() == [
        f'{model_dir}/{name}: {len(content):,} bytes' for name, content in GOOD.items()
    ]
    times = [path.stat().st_mtime_ns for path in sorted(model_dir.iterdir())]
    for path in published.values():
        path.unlink()
    download_models.download(str(model_dir), NAMES, address)
    assert files_in(model_dir) == GOOD
    assert [path.stat().st_mtime_ns for path in sorted(model_dir.iterdir())] == times
    assert capsys.readouterr().out.splitlines() == [f'{model_dir}/{name}: exists, and is whole' for name in GOOD]
    models = model_files.read_models(str(model_dir), NAMES)
    assert models == {'hands': GOOD[HANDS], 'pose': GOOD[POSE]}


@pytest.mark.parametrize('content', [b'', GOOD[HANDS][:200], b'<!DOCTYPE html>\n<title>Not here</title>', GOOD[POSE]])
def test_what_is_not_a_whole_model_is_not_kept(published, address, model_dir, content):
    published[HANDS].write_bytes(content)
    url = download_models.model_url(HANDS, address)
    with pytest.raises(errors.InputError, match=rf'^{url} is not a whole model bundle.* get it again$'):
        download_models.download(str(model_dir), NAMES, address)
    assert not model_dir.exists()


def test_a_damaged_second_model_leaves_the_first(published, address, model_dir):
    published[POSE].write_bytes(GOOD[POSE][:-9])
    with pytest.raises(errors.InputError, match=f'{POSE} is not a whole model bundle'):
        download_models.download(str(model_dir), NAMES, address)
    assert files_in(model_dir) == {HANDS: GOOD[HANDS]}
    published[POSE].write_bytes(GOOD[POSE])
    download_models.download(str(model_dir), NAMES, address)
    assert files_in(model_dir) == GOOD


def test_a_damaged_file_that_exists_is_refused(published, address, model_dir):
    model_dir.mkdir(parents=True)
    (model_dir / HANDS).write_bytes(GOOD[HANDS][:200])
    with pytest.raises(errors.InputError, match=rf'^{model_dir}/{HANDS} is not a whole model bundle: it has 200 bytes'):
        download_models.download(str(model_dir), NAMES, address)
    assert files_in(model_dir) == {HANDS: GOOD[HANDS][:200]}


def test_a_file_that_cannot_be_reached(published, address, model_dir):
    published[HANDS].unlink()
    url = download_models.model_url(HANDS, address)
    with pytest.raises(errors.InputError) as error:
        download_models.download(str(model_dir), NAMES, address)
    words = str(error.value)
    assert words.startswith(f'{url} cannot be reached (')
    assert 'No such file or directory' in words
    assert words.endswith(f'): get it elsewhere and put it in {model_dir} as {HANDS}')
    assert not model_dir.exists()


def test_a_server_that_does_not_answer(model_dir):
    # Nothing listens at the port of discard.
    url = download_models.model_url(HANDS, 'http://127.0.0.1:9')
    with pytest.raises(errors.InputError) as error:
        download_models.download(str(model_dir), NAMES, 'http://127.0.0.1:9')
    words = str(error.value)
    assert words.startswith(f'{url} cannot be reached (')
    assert 'refused' in words
    assert words.endswith(f'): get it elsewhere and put it in {model_dir} as {HANDS}')
    assert not model_dir.exists()


class Cut(http.server.BaseHTTPRequestHandler):
    """Promises a file, sends half of it, and hangs up."""

    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', str(len(GOOD[HANDS])))
        self.end_headers()
        self.wfile.write(GOOD[HANDS][:300])

    def log_message(self, *_):
        pass


def test_a_connection_that_breaks(model_dir):
    with http.server.HTTPServer(('127.0.0.1', 0), Cut) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(errors.InputError) as error:
            download_models.download(str(model_dir), NAMES, f'http://127.0.0.1:{server.server_port}')
    words = str(error.value)
    assert ' cannot be reached (IncompleteRead(300 bytes read, ' in words
    assert words.endswith(f'): get it elsewhere and put it in {model_dir} as {HANDS}')
    assert not model_dir.exists()
