"""How commands end: errors are tested in tests/refusals, SIGTERM here."""

import os
import signal

import pytest

from slr_jax import cli


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
