"""How commands end: errors are tested in tests/refusals, SIGTERM here."""

import os
import runpy
import signal

from absl import flags
import pytest

from slr_jax import cli
from slr_jax.dataset import SPLITS
from tests import in_process
from tests.unit.test_layering import COMMANDS as MAIN_MODULES

COMMANDS = {name for name in MAIN_MODULES if not name.endswith('__main__')}


def wait_for_it():
    os.kill(os.getpid(), signal.SIGTERM)


def import_an_extension():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        raise ImportError('it failed to import') from None


@pytest.mark.parametrize('main', [wait_for_it, import_an_extension])
def test_sigterm_is_status_143_and_a_sentence(main, capfd, monkeypatch):
    monkeypatch.setattr('sys.argv', ['command'])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        cli.run_command(main, lambda: None)
    assert ended.value.code == 143
    assert capfd.readouterr().err == 'ended by SIGTERM\n'
    assert signal.getsignal(signal.SIGTERM) is before


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
