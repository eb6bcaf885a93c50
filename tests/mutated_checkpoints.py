"""Damages checkpoints in many ways: each must import or end in an InputError.

python -m tests.mutated_checkpoints --count=1000 [--seed=0]
"""

import argparse
from collections import Counter
import io
import pickle
import pickletools
import resource
import tempfile
import time
import zipfile

import jax
import numpy as np
import safetensors.numpy

from slr_jax import errors, models, torch_models
from tests import torch_files

_OPCODES = [ord(opcode.code) for opcode in pickletools.opcodes]


def make_sources(folder):
    """Small checkpoints of all kinds of file; their bytes."""
    model = models.create_model('class_query', num_classes=3, num_heads=2, num_layers=1, mlp_dim=8)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), models.param_shapes(model, 6))
    state = torch_files.state_dict('class_query', params)
    module = torch_files.module('any.Thing', state, num_heads=2)
    torch_files.save(f'{folder}/module', module)
    torch_files.save(f'{folder}/state_dict', {'epoch': 1, 'state_dict': state})
    torch_files.save_legacy(f'{folder}/legacy_module', module)
    torch_files.save_legacy(f'{folder}/legacy_state_dict', state)
    safetensors.numpy.save_file({name: np.ascontiguousarray(x) for name, x in state.items()}, f'{folder}/safetensors')
    names = ('module', 'state_dict', 'legacy_module', 'legacy_state_dict', 'safetensors')
    sources = []
    for name in names:
        with open(f'{folder}/{name}', 'rb') as file:
            sources.append(file.read())
    return sources


def mutate(rng, data):
    """Bytes with one to eight faults, in a half of the cases where the structure is."""
    if data.startswith(b'PK') and rng.random() < 0.7:
        return _mutate_member(rng, data)
    data = bytearray(data)
    end = len(data) if rng.random() < 0.5 else min(len(data), 8000)
    for _ in range(rng.integers(1, 9)):
        _FAULTS[rng.integers(len(_FAULTS))](rng, data, int(rng.integers(end + 1)))
    return bytes(data)


def _mutate_member(rng, data):
    """Damages the pickle in a zip file, or a storage, so that its checksum is right."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(output, 'w') as target:
        names = source.namelist()
        chosen = names[0] if rng.random() < 0.8 else names[rng.integers(len(names))]
        for name in names:
            content = bytearray(source.read(name))
            if name == chosen and content:
                for _ in range(rng.integers(1, 5)):
                    _FAULTS[rng.integers(len(_FAULTS))](rng, content, int(rng.integers(len(content) + 1)))
            target.writestr(name, bytes(content))
    return output.getvalue()


def _flip_bit(rng, data, i):
    data[i : i + 1] = bytes([x ^ 1 << rng.integers(8) for x in data[i : i + 1]])


def _change_opcode(rng, data, i):
    data[i : i + 1] = bytes([_OPCODES[rng.integers(len(_OPCODES))]])


def _declare_much(rng, data, i):
    opcode = [pickle.LONG_BINPUT, pickle.BINUNICODE, pickle.BINBYTES8, pickle.BYTEARRAY8, pickle.FRAME, pickle.LONG4]
    number = bytes([255, 255, 255, 127]) if rng.random() < 0.5 else (int(rng.integers(2**40))).to_bytes(8, 'little')
    start = opcode[rng.integers(len(opcode))] if rng.random() < 0.5 else b''
    data[i : i + len(start + number)] = start + number


def _change_digit(rng, data, i):
    digits = [j for j in range(i, min(i + 200, len(data))) if 48 <= data[j] < 58]
    if digits:
        data[digits[rng.integers(len(digits))]] = 48 + rng.integers(10)


def _cut(rng, data, i):
    if rng.random() < 0.3:
        del data[i:]


def _remove(rng, data, i):
    del data[i : i + int(rng.integers(1, 50))]


def _repeat(rng, data, i):
    data[i:i] = data[i : i + int(rng.integers(1, 50))] * int(rng.integers(1, 4))


def _noise(rng, data, i):
    data[i:i] = rng.bytes(int(rng.integers(1, 20)))


_FAULTS = [
    _flip_bit,
    _flip_bit,
    _change_opcode,
    _change_opcode,
    _declare_much,
    _change_digit,
    _cut,
    _remove,
    _repeat,
    _noise,
]


def try_files(sources, folder, count, seed):
    """Reads `count` mutated files; returns how many imported and how many were refused, and the longest seconds."""
    rng = np.random.default_rng(seed)
    outcomes, longest = Counter(), 0.0
    path = f'{folder}/mutated.pth'
    for i in range(count):
        data = mutate(rng, sources[i % len(sources)])
        with open(path, 'wb') as file:
            file.write(data)
        start = time.monotonic()
        try:
            torch_models.load_pth(path, 2 if i % 2 else None)
            outcomes['imported'] += 1
        except errors.InputError as error:
            assert '\n' not in str(error)
            assert path in str(error) or 'num_heads' in str(error)
            outcomes['refused'] += 1
        longest = max(longest, time.monotonic() - start)
    return outcomes, longest


def peak_memory():
    """The most bytes that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--count', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results, seconds = try_files(make_sources(scratch), scratch, flags.count, flags.seed)
    print(f'{dict(results)}, longest {seconds:.1f} s, peak memory {peak_memory() / 2**20:.0f} MiB')
