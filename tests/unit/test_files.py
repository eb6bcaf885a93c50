"""One writer at a time, also where processes die."""

import os
import re
import signal
import socket
import subprocess
import sys

import pandas as pd
import pytest

from preprocessing.extraction import store
from slr_jax import errors, files, workdir
from tests import ROOT

HOLD = """
import sys, time
from slr_jax import files
with files.only_writer(sys.argv[1]):
    print('holds', flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('{"a": ', 'expected JSON'),
        ('{"a": ' + '[' * 100_000 + ']' * 100_000 + '}', 'nested too deeply'),
        ('{"a": "\\ud800"}', 'surrogates not allowed'),
        ('{"\\ud800": 1}', 'surrogates not allowed'),
        ('{"a": ' + '9' * 5000 + '}', 'integer string conversion'),
    ],
)
def test_json_that_nothing_can_be_made_of_is_refused(text, words, tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(errors.InputError, match=f'{path} is damaged, expected JSON.*{words}|{path}.*{words}'):
        files.read_json(str(path))
    (tmp_path / 'extraction.json').write_text(text)
    with pytest.raises(errors.InputError, match=f'{tmp_path}/extraction.json is damaged'):
        store.read_description(str(tmp_path))


def test_json_without_a_field_is_refused(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('{"b": 1}')
    assert files.read_json(str(path), fields=['b']) == {'b': 1}
    with pytest.raises(errors.InputError, match=f"{path} has no field 'c'"):
        files.read_json(str(path), fields=('b', 'c'))


def test_a_second_writer_is_refused_and_a_later_one_is_not(tmp_path):
    directory = tmp_path / 'new' / 'folder'
    with files.only_writer(str(directory)):
        (directory / 'file').write_text('x')
        owner = f'process {os.getpid()} on {socket.gethostname()}'
        refusal = pytest.raises(errors.InputError, match=f'{owner} writes to {directory}; wait')
        with refusal, files.only_writer(str(directory)):
            raise AssertionError
    with files.only_writer(str(directory)):
        pass
    assert os.listdir(directory) == ['file']


def test_a_writer_that_was_killed_lets_go(tmp_path):
    with subprocess.Popen([sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == 'holds\n'
        with pytest.raises(errors.InputError, match=f'process {process.pid} on'), files.only_writer(str(tmp_path)):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with files.only_writer(str(tmp_path)):
        pass
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('writes', ['replace_files_in(sys.argv[1])', "create_atomically(sys.argv[1] + '/file')"])
def test_what_a_killed_command_left_is_removed_by_the_next(tmp_path, writes):
    hold = HOLD.replace('only_writer(sys.argv[1])', writes)
    with subprocess.Popen([sys.executable, '-c', hold, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == 'holds\n'
        (left,) = os.listdir(tmp_path)
        assert files.is_temporary(left)
        with files.replace_files_in(str(tmp_path)):
            # What another process still writes to is let be.
            assert left in os.listdir(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert os.listdir(tmp_path) == [left]
    with files.replace_files_in(str(tmp_path)):
        assert left not in os.listdir(tmp_path)
    assert not os.listdir(tmp_path)


def test_a_signal_at_any_line_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(files.time, 'sleep', lambda _: None)
    lines = 0

    def interrupt(frame, event, _):
        nonlocal left
        if frame.f_code.co_filename != files.__file__:
            return None
        if event == 'line':
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return interrupt

    while True:
        left = lines
        sys.settrace(interrupt)
        try:
            with files.create_atomically(str(tmp_path / 'file')) as path:
                sys.settrace(None)
                open(path, 'w').close()
            break
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        assert not os.listdir(tmp_path), lines
        lines += 1
    assert lines > 20


def test_an_error_of_a_library_keeps_its_text(tmp_path):
    expected = pytest.raises(errors.InputError, match=f'{tmp_path}/out cannot be written: Not enough disk space')
    with expected, files.create_atomically(str(tmp_path / 'out')):
        raise OSError('Not enough disk space')
    assert not os.listdir(tmp_path)


def test_what_was_made_for_nothing_is_gone(tmp_path):
    with pytest.raises(ZeroDivisionError), files.only_writer(str(tmp_path / 'new' / 'folder')):
        raise ZeroDivisionError
    assert not os.listdir(tmp_path)


def test_a_file_is_refused(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(errors.InputError, match='file is a file'), files.only_writer(str(tmp_path / 'file')):
        pass


@pytest.mark.parametrize(
    ('name', 'suffixes'),
    [
        *[(name, ()) for name in ('runs/v1.2', 'data/2026.11.30', 'a.b/c', 'run', '.hidden', 'x.y.z', 'lr_0.001')],
        *[(name, ('.csv',)) for name in ('clips.csv', 'clips.CSV', 'clips', 'clips.v2', '2026.11.30')],
    ],
)
def test_names_with_other_dots_promise_nothing(name, suffixes):
    files.check_suffix(name, *suffixes)


@pytest.mark.parametrize(
    ('name', 'suffixes', 'words'),
    [
        ('x.onnx', (), 'x.onnx ends in .onnx, but a folder is written'),
        ('a/x.TFLite/', (), '.tflite'),
        ('x.tar.gz', (), '.gz'),
        ('clips.json', ('.csv',), 'a .csv file is written, expected a name that ends in .csv'),
        ('report.pdf', ('.html', '.htm'), '.html or .htm'),
    ],
)
def test_a_name_that_promises_another_format_is_refused(name, suffixes, words):
    with pytest.raises(errors.InputError, match=re.escape(words)):
        files.check_suffix(name, *suffixes)


RACES = """
import multiprocessing, os, sys
from slr_jax import errors, files

def write(path):
    with files.only_writer(path):
        pass

def create(path):
    with files.create_atomically(path) as temporary:
        os.mkdir(temporary)
        open(os.path.join(temporary, 'x'), 'w').close()

def replace(path):
    with files.replace_files_in(path) as directory:
        open(os.path.join(directory, 'x'), 'w').close()

def race(function, root, barrier, results):
    for number in range(100):
        barrier.wait()
        try:
            function(os.path.join(root, function.__name__, str(number), 'a', 'b'))
            results.put('done')
        except errors.InputError:
            results.put('refused')
        except BaseException as error:
            results.put(repr(error))

context = multiprocessing.get_context('fork')
for function in (write, create, replace):
    barrier, results = context.Barrier(4), context.SimpleQueue()
    arguments = function, sys.argv[1], barrier, results
    processes = [context.Process(target=race, args=arguments, daemon=True) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get() for _ in range(400)]
    assert set(found) <= {'done', 'refused'}, set(found)
    assert found.count('done') >= 100
    assert function is not create or found.count('done') == 100
"""


def test_processes_that_race_for_a_directory_write_it_or_are_refused(tmp_path):
    subprocess.run([sys.executable, '-c', RACES, tmp_path], cwd=ROOT, check=True)


def test_text_that_a_spreadsheet_would_run(tmp_path):
    path = str(tmp_path / 'a.csv')
    row = {'gloss': '=1+1', 'other': '@SUM(A1)', 'sign': '-', 'low': -0.5, 'text': '-0.5', '+1 h': 'a=b'}
    files.write_csv(path, [row])
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert found.loc[0].tolist() == ["'=1+1", "'@SUM(A1)", "'-", '-0.5', '-0.5', 'a=b']
    assert found.columns[-1] == "'+1 h"
    files.write_csv(path, [row], is_data=True)
    assert pd.read_csv(path, dtype=str).loc[0].tolist() == ['=1+1', '@SUM(A1)', '-', '-0.5', '-0.5', 'a=b']


@pytest.mark.parametrize('text', ['\n=1', '\0=1', '＝1', '＠a'])
def test_other_beginnings_that_a_spreadsheet_would_run(tmp_path, text):
    files.write_csv(str(tmp_path / 'a.csv'), [{'gloss': text}])
    assert f"'{text}" in (tmp_path / 'a.csv').read_bytes().decode()


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w' / files._LOCK).symlink_to('../mine')
    with pytest.raises(errors.InputError, match='is a link, expected the lock'), files.only_writer(str(tmp_path / 'w')):
        raise AssertionError
    assert (tmp_path / 'mine').read_text() == 'mine'


def test_links_lead_no_writing_elsewhere(tmp_path):
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w' / f'a.json{files.UNFINISHED}').symlink_to('../mine')
    files.write_json(str(tmp_path / 'w' / 'a.json'), {})
    assert (tmp_path / 'mine').read_text() == 'mine'
    (tmp_path / 'w' / 'run').symlink_to('..')
    with pytest.raises(errors.InputError, match=r'w/run is a link to .*, expected a place in'):
        workdir.run_path(str(tmp_path / 'w'), 'run')
    (tmp_path / 'link').symlink_to('w')
    assert workdir.run_path(str(tmp_path / 'link'), 'seed_0') == str(tmp_path / 'link' / 'seed_0')
