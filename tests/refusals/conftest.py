"""Fixtures: families of inputs, each made where a test asks for it, and the check that a command refuses them."""

import os
import re
import subprocess
import sys

import pytest

from tests import in_process
from tests.conftest import ROOT
from tests.refusals import world as world_lib


@pytest.fixture(scope='session')
def world(tmp_path_factory):
    """The directory of all inputs, {w} in the commands; the families below fill it."""
    root = tmp_path_factory.mktemp('world')
    world_lib.make_base(root)
    return root


@pytest.fixture(scope='session')
def archives(world):
    world_lib.make_archives(world / 'npz')


@pytest.fixture(scope='session')
def csvs(world):
    world_lib.make_csvs(world / 'csv')


@pytest.fixture(scope='session')
def datasets(world):
    world_lib.make_datasets(world / 'data')


@pytest.fixture(scope='session')
def masks(world):
    world_lib.make_masks(world / 'mask')


@pytest.fixture(scope='session')
def torch_files(world):
    world_lib.make_torch_files(world / 'pth')


@pytest.fixture(scope='session')
def golden(world, shared):
    """A published checkpoint of 42 numbers per frame and 13 classes; it is not part of the project."""
    world_lib.make_golden(world / 'golden', shared / 'golden' / 'ownModelwquery_h42_c13.pth')


@pytest.fixture(scope='session')
def config_files(world):
    world_lib.make_config_files(world / 'config')


@pytest.fixture(scope='session')
def workdirs(world, datasets):
    world_lib.make_workdirs(world)


@pytest.fixture(scope='session')
def wlasl(world):
    world_lib.make_wlasl(world / 'wlasl')


@pytest.fixture(scope='session')
def ipn(world):
    world_lib.make_ipn(world / 'ipn')


@pytest.fixture(scope='session')
def videos(world):
    world_lib.make_videos(world / 'videos')


@pytest.fixture(scope='session')
def clips(world):
    world_lib.make_clips(world / 'clips')
    world_lib.make_extracted(world / 'extracted')
    world_lib.make_compact(world / 'compact')


@pytest.fixture
def refuse(world, tmp_path, capfd, monkeypatch):
    """Checks that a command ends with one sentence that has the facts, and leaves nothing.

    In commands {w} is the world, {out} a new path and {root} the checkout; in sentences too. A fact is a name, a
    number or a value, found as a whole: 2 is not found in 21.
    """

    def check(command, *facts, own_process=False):
        before = in_process.snapshot(world, tmp_path)
        argv = in_process.argv(command, w=world, out=tmp_path / 'out')
        status, stderr = _run(argv) if own_process else in_process.run_here(argv, capfd, monkeypatch)
        sentence = stderr.replace(str(tmp_path), '').replace(str(world), '{w}')
        in_process.check_refusal(status, sentence, facts)
        assert facts
        for fact in facts:
            assert re.search(in_process.whole(fact), sentence), f'{fact!r} is not in: {sentence}'
        assert in_process.snapshot(world, tmp_path) == before

    return check


@pytest.fixture
def accept(world, tmp_path, capfd, monkeypatch):
    """Checks that a command takes what it is given, so that the spoiled inputs have but one fault."""

    def check(command):
        argv = in_process.argv(command, w=world, out=tmp_path / 'out')
        assert in_process.run_here(argv, capfd, monkeypatch) == (0, '')
        assert list((tmp_path / 'out').iterdir())

    return check


def _run(argv):
    """Runs a command as a user does; returns exit status and stderr."""
    done = subprocess.run(
        [sys.executable, '-m', *argv],
        cwd=ROOT,
        env=os.environ | {'XLA_FLAGS': '--xla_backend_optimization_level=0'},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stderr
