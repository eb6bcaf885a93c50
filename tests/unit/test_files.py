"""One writer at a time, also where processes die."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from slr_jax import errors, files

HOLD = """
import sys, time
from slr_jax import files
with files.only_writer(sys.argv[1]):
    print('holds', flush=True)
    time.sleep(60)
"""


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


def test_what_was_made_for_nothing_is_gone(tmp_path):
    with pytest.raises(ZeroDivisionError), files.only_writer(str(tmp_path / 'new' / 'folder')):
        raise ZeroDivisionError
    assert not os.listdir(tmp_path)


def test_a_file_is_refused(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(errors.InputError, match='file is a file'), files.only_writer(str(tmp_path / 'file')):
        pass
