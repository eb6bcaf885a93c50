"""Readers that fail in every way, for tests of what is done about it; imported by each process that reads."""

import contextlib
import importlib
import json
import os
import pickle
import time

import numpy as np

from experiments.fuzzing import trial
from slr_jax import errors

WHOLE = b'whole\n'


def is_whole(path):
    with open(path, 'rb') as file:
        return file.read() == WHOLE


def read_any(path):
    is_whole(path)


def refuse(path):
    if not is_whole(path):
        raise errors.InputError(f'{path} is damaged')


def refuse_without_name(path):
    if not is_whole(path):
        raise errors.InputError('it is damaged')


def raise_other(path):
    if not is_whole(path):
        raise ValueError('damaged')


def wait(path):
    if not is_whole(path):
        time.sleep(60)


def spin(path):
    while not is_whole(path):
        pass


def die(path):
    if not is_whole(path):
        os.abort()


def grow(path):
    if not is_whole(path):
        np.ones(20_000_000)


def keep_growing(path):
    if not is_whole(path):
        kept = []
        while True:
            kept.append(np.ones(2_000_000))


READERS = (read_any, refuse, refuse_without_name, raise_other, die, grow, keep_growing)
HANGING = (wait, spin)


def write_whole(folder):
    for reader in READERS + HANGING:
        with open(os.path.join(folder, reader.__name__), 'wb') as file:
            file.write(WHOLE)


def write_pickle(folder):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (os.path.join(folder, trial.CANARY),)

    with open(os.path.join(folder, 'hostile'), 'wb') as file:
        pickle.dump(Hostile(), file)


def run_pickle(path):
    with open(path, 'rb') as file:
        pickle.load(file)


def run_pickle_and_refuse(path):
    run_pickle(path)
    raise errors.InputError(f'{path} is damaged')


def write_name(folder):
    with open(os.path.join(folder, 'names.json'), 'w') as file:
        json.dump({'class': 'collections.Counter', 'count': 1}, file)


def import_name(path):
    with open(path) as file, contextlib.suppress(Exception):
        importlib.import_module(json.load(file)['class'].rpartition('.')[0])
