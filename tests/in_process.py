"""How tests run a command within their own process, and check that it refuses."""

import itertools
import runpy
import shlex
import sys
import warnings

from absl import flags

from tests.conftest import ROOT


def argv(command, **places):
    """The words of a command in which {name} stands for a path."""
    return shlex.split(command.format(root=ROOT, **places))


def run_here(words, capfd, monkeypatch):
    """Runs a command in this process, which takes milliseconds; returns exit status and stderr."""
    before = set(flags.FLAGS)
    monkeypatch.setattr(sys, 'argv', words)
    # Else a config file would find there what the last one defined.
    sys.modules.pop('config_config', None)
    capfd.readouterr()
    status = 0
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='.*found in sys.modules', category=RuntimeWarning)
            warnings.filterwarnings('ignore', message='.*load_module', category=DeprecationWarning)
            runpy.run_module(words[0], run_name='__main__', alter_sys=True)
    except SystemExit as stop:
        status = stop.code or 0
    finally:
        flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
        flags.FLAGS.unparse_flags()
    return status, capfd.readouterr().err


def snapshot(*directories):
    """Every path below the directories, with size and time for files."""
    found = {}
    for path in itertools.chain.from_iterable(directory.rglob('*') for directory in directories):
        if '__pycache__' not in path.parts:
            found[str(path)] = None if path.is_dir() else (path.stat().st_size, path.stat().st_mtime_ns)
    return found


def check_refusal(status, stderr, words):
    """Checks for one sentence on stderr that has these words."""
    assert 'Traceback' not in stderr
    assert status == 1, stderr
    assert stderr.startswith('error: '), stderr
    assert stderr.count('\n') == 1, stderr
    assert stderr.endswith('\n')
    for word in words:
        assert word in stderr
