"""How tests run a command within their own process, and check that it refuses."""

import itertools
import os
import re
import runpy
import shlex
import sys
import warnings

from absl import flags

# Imported first, so that its flags are not taken for those of a command.
from array_record.python import array_record_data_source  # noqa: F401

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
    for parent, folders, names in itertools.chain.from_iterable(map(os.walk, directories)):
        if '__pycache__' in folders:
            folders.remove('__pycache__')
        found |= {os.path.join(parent, folder): None for folder in folders}
        for path in (os.path.join(parent, name) for name in names):
            stat = os.stat(path)
            found[path] = (stat.st_size, stat.st_mtime_ns)
    return found


def check_refusal(status, stderr, words):
    """Checks for one sentence on stderr that has these words."""
    assert 'Traceback' not in stderr
    assert status == 1, stderr
    assert stderr.startswith('error: '), stderr
    assert stderr.count('\n') == 1, stderr
    assert stderr.endswith('\n')
    for word in words:
        assert word in stderr, f'{word!r} is not in: {stderr}'


def whole(fact):
    """The regular expression of a name, a number or a value as a whole: 2 is not found in 21, nor in 2.5."""
    start = r'(?<!\w)(?<!\d\.)' if re.match(r'\w', fact) else ''
    end = r'(?!\w|\.\w)' if re.search(r'\w$', fact) else ''
    return f'{start}{re.escape(fact)}{end}'
