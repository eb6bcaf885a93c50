"""Fixtures: the shared recordings, and a tiny dataset and config that all tests use."""

import contextlib
import ctypes
import dataclasses
import os
import pathlib
import resource
import sys
import tempfile

# Most of the time of the tests is compilation. Programs are compiled once for all tests, those in processes of their
# own included, and without LLVM's optimizations, which halves it; JAX_DISABLE_MOST_OPTIMIZATIONS=0 tests with them.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', os.path.join(tempfile.gettempdir(), f'slr_jax_tests_{os.getuid()}'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')

import ml_collections
import numpy as np
import pytest

from configs import default
from preprocessing import synthetic
from preprocessing.formats import tfds_writer
from slr_jax import landmarks
from tests import ROOT

_NO_RECORDINGS = 'no recordings'
_LARGE_PROCESS = 2**30


@pytest.fixture(scope='session')
def shared():
    """The folder of real recordings and reference answers, which is not part of the project."""
    path = pathlib.Path(os.environ.get('SLR_JAX_SHARED', ROOT.parent / 'shared'))
    if not path.is_dir():
        pytest.skip(f'{_NO_RECORDINGS} at {path}: set SLR_JAX_SHARED')
    return path


def pytest_terminal_summary(terminalreporter):
    """Says how many tests were skipped because the recordings are not there."""
    skipped = [
        report
        for report in terminalreporter.stats.get('skipped', [])
        if isinstance(report.longrepr, tuple) and _NO_RECORDINGS in report.longrepr[2]
    ]
    if skipped:
        terminalreporter.write_line(
            f'{len(skipped)} tests skipped: {_NO_RECORDINGS}; set SLR_JAX_SHARED to their folder', yellow=True
        )


@pytest.fixture(autouse=True)
def _free_programs():
    """Compiled programs are freed after each test after which the process is large; they would fill gigabytes."""
    yield
    if 'jax' in sys.modules and _resident_bytes() > _LARGE_PROCESS:
        sys.modules['jax'].clear_caches()
        # Training asks malloc to keep what is freed.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes():
    """Of this process; where the system does not say, the most that it had."""
    if not os.path.exists('/proc/self/statm'):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.fixture(scope='session')
def tiny_dataset():
    """Three classes, one hand; few clips are shorter than the others, since the step is compiled for each length."""
    counts = {'train': 5, 'validation': 2, 'test': 2}
    dataset = synthetic.make_dataset('tiny', landmarks.LAYOUTS['mediapipe_hand'], 3, counts, seed=1)
    splits = {
        split: dataclasses.replace(
            clips,
            landmarks=[
                np.concatenate([clip, clip])[: 20 if number % 7 == 0 else 26]
                for number, clip in enumerate(clips.landmarks)
            ],
        )
        for split, clips in dataset.splits.items()
    }
    return dataclasses.replace(dataset, splits=splits)


@pytest.fixture(scope='session')
def tiny_dir(tiny_dataset, tmp_path_factory):
    """The TFDS directory of tiny_dataset."""
    return tfds_writer.write_dataset(tiny_dataset, str(tmp_path_factory.mktemp('data')))


def make_tiny_config(dataset: str, **fields) -> ml_collections.ConfigDict:
    """A config that trains in seconds."""
    config = default.get_config()
    config.update(
        {'dataset': dataset, 'num_heads': 7, 'num_layers': 1, 'mlp_dim': 8, 'batch_size': 4, 'num_epochs': 2} | fields
    )
    return config


def resident_bytes() -> int:
    """Memory that this process has now."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()
