"""How commands end: errors are tested in tests/refusals, SIGTERM here."""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time

from absl import flags
import pytest

from slr_jax import cli
from slr_jax.dataset import SPLITS
from tests import ROOT, in_process
from tests.unit.test_layering import COMMANDS as MAIN_MODULES

COMMANDS = {name for name in MAIN_MODULES if not name.endswith('__main__')}


def wait_for_it(number):
    os.kill(os.getpid(), number)


def import_an_extension(number):
    try:
        os.kill(os.getpid(), number)
    except BaseException:
        raise ImportError('it failed to import') from None


def swallow(number):
    """As a callback of a library does, from which no exception leads out."""
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), number)
    time.sleep(60)


@pytest.mark.parametrize('main', [wait_for_it, import_an_extension, swallow])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_commands_with_a_sentence(main, number, capfd, monkeypatch):
    monkeypatch.setattr('sys.argv', ['command'])
    monkeypatch.setattr('sys.orig_argv', ['/bin/python3', '-m', 'slr_jax.report', '--workdir=a b'])
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    with pytest.raises(SystemExit) as ended:
        cli.run_command(lambda: main(number), lambda: None)
    assert ended.value.code == 128 + number
    expected = f"ended by {number.name}; the same command starts again: python -m slr_jax.report '--workdir=a b'\n"
    assert capfd.readouterr().err == expected
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_is_removed_at_the_end_is_not_interrupted(capfd, monkeypatch):
    removed = []

    def main():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            time.sleep(1.5)
            removed.append(True)

    monkeypatch.setattr('sys.argv', ['command'])
    with pytest.raises(SystemExit):
        cli.run_command(main, lambda: None)
    assert removed


def test_a_second_sigint_ends_at_once():
    code = 'import os, signal, time; from slr_jax import stopping; kept = stopping.by_signals();'
    # What is compiled keeps handlers from running; a pause of a handler does so, too.
    code += (
        'kept.__enter__(); signal.signal(signal.SIGINT, lambda *_: time.sleep(60)); print(flush=True); time.sleep(60)'
    )
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, cwd=ROOT) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


@pytest.mark.parametrize('package', ['slr_jax', 'preprocessing', 'experiments'])
def test_a_package_lists_its_commands(package, capfd, monkeypatch):
    monkeypatch.setattr('sys.argv', [package])
    runpy.run_module(package, run_name='__main__')
    commands = [f'python -m {name}' for name in COMMANDS if name.rpartition('.')[0] == package]
    lines = capfd.readouterr().out.splitlines()
    assert [line.partition('  ')[0] for line in lines[:-2]] == sorted(commands)
    assert all(line.partition('  ')[2].strip() for line in lines[:-2])


def test_a_package_takes_no_argument(capfd, monkeypatch):
    status, sentence = in_process.run_here(['slr_jax', 'trian'], capfd, monkeypatch)
    in_process.check_refusal(status, sentence, ["'trian'", 'did you mean train?'])


@pytest.mark.parametrize('name', sorted(COMMANDS))
def test_help_is_no_error(name, capfd, monkeypatch):
    assert in_process.run_here([name, '--help'], capfd, monkeypatch) == (0, '')


@pytest.mark.parametrize('word', ['-h', '-help', '--help=true', '--helpshort', '--helpfull', '--helpxml'])
def test_other_words_for_help(word, capfd, monkeypatch):
    assert in_process.run_here(['preprocessing.synthetic', '--seed=x', word], capfd, monkeypatch) == (0, '')


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('def get_config(): pass', 'get_config() returns nothing'),
        ('def get_config(name): pass', "missing 1 required positional argument: 'name'"),
    ],
)
def test_a_config_without_a_config(text, words, tmp_path, capfd, monkeypatch):
    path = tmp_path / 'config.py'
    path.write_text(text)
    command = ['slr_jax.train', f'--config={path}', f'--workdir={tmp_path}/run']
    status, stderr = in_process.run_here(command, capfd, monkeypatch)
    assert status == 1 and f'--config={path} cannot be used' in stderr and words in stderr


@pytest.mark.parametrize('name', ['val', 'dev', 'Valid', 'validation'])
def test_other_names_of_validation(name, monkeypatch):
    values = flags.FlagValues()
    monkeypatch.setattr(flags, 'FLAGS', values)
    flags.DEFINE(cli._SplitParser(SPLITS), 'split', None, '', values, serializer=flags.ArgumentSerializer())
    values(['command', f'--split={name}'])
    assert values.split == 'validation'


def write_glosses(*names):
    def main():
        for name in names:
            print(f'gloss {name}')

    return main


def test_text_of_files_controls_no_terminal(capfd, monkeypatch):
    monkeypatch.setattr('sys.argv', ['command'])
    with pytest.raises(SystemExit):
        cli.run_command(
            write_glosses('\x1b]0;title\x07', 'a\u202eb\u2066', '\x9b2J', '\r', 'می\u200cخواهم', '가다'), lambda: None
        )
    shown = capfd.readouterr().out
    expected = [r'\x1b]0;title\x07', r'a\u202eb\u2066', r'\x9b2J', r'\r', 'می\u200cخواهم', '가다']
    assert shown.splitlines() == [f'gloss {text}' for text in expected]


@pytest.mark.parametrize(
    ('shell', 'status', 'error'),
    [
        ('{python} -m slr_jax | true; exit ${{PIPESTATUS[0]}}', (0, 141), ''),
        ('{python} -m slr_jax.report --help | head -1 > /dev/null; exit ${{PIPESTATUS[0]}}', (0, 141), ''),
        ('{python} -m slr_jax >&-', (0,), ''),
        ('{python} -W error -m slr_jax.report --workdir=nowhere', (1,), 'nowhere'),
        ('LC_ALL=C {python} -m slr_jax.report --workdir=$(printf "\\377")', (1,), r'\udcff'),
    ],
)
def test_where_the_output_goes(shell, status, error):
    command = shell.format(python=sys.executable)
    done = subprocess.run(['bash', '-c', command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in status, done.stderr
    assert error in done.stderr
    assert done.stderr.count('\n') == bool(error)
