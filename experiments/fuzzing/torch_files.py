"""Writes files as torch.save does, without PyTorch."""

import collections
from collections.abc import Iterator, Mapping, Sequence
import contextlib
import functools
import io
import pickle
import sys
import types
from typing import IO, Any
import zipfile

import numpy as np


class _Named:
    """Pickled as a global of another module, by name alone."""


class _Module(_Named):
    """A class of modules."""


@functools.cache
def _named(path: str, base: type = _Named) -> Any:
    module, name = path.rsplit('.', 1)
    return type(name, (base,), {'__module__': module, '__qualname__': name})


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """Pretends that the modules of these classes are there, as the pickler asks for."""
    before = set(sys.modules)
    for kind in {*_Named.__subclasses__(), *_Module.__subclasses__()} - {_Module}:
        parts = kind.__module__.split('.')
        for i in range(len(parts)):
            sys.modules.setdefault('.'.join(parts[: i + 1]), types.ModuleType(parts[i]))
        setattr(sys.modules[kind.__module__], kind.__name__, kind)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


class _Pickler(pickle.Pickler):
    def __init__(self, file: IO[bytes], storages: list[np.ndarray], legacy: bool = False) -> None:
        super().__init__(file, protocol=2)
        self._storages, self._legacy = storages, legacy
        self._classes: set[type] = set()

    def persistent_id(self, thing: Any) -> Any:
        if isinstance(thing, _Storage):
            self._storages.append(thing.numbers)
            view = (None,) if self._legacy else ()
            return ('storage', _FLOAT, str(len(self._storages) - 1), 'cpu', thing.numbers.size, *view)
        if self._legacy and isinstance(thing, type) and issubclass(thing, _Module) and thing not in self._classes:
            self._classes.add(thing)
            return ('module', thing, 'model.py', 'class Model: ...')
        return None


class _Storage:
    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers = np.ascontiguousarray(numbers, '<f4')


class _Tensor:
    def __init__(self, numbers: np.ndarray) -> None:
        self._numbers = np.asarray(numbers, np.float32)

    def __reduce__(self) -> Any:
        shape = self._numbers.shape
        stride = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
        return _REBUILD, (_Storage(self._numbers), 0, shape, stride, False, collections.OrderedDict())


_FLOAT = _named('torch.FloatStorage')
_REBUILD = _named('torch._utils._rebuild_tensor_v2')
_REBUILD.__call__ = lambda *_: None


def save(path: Any, content: Any, prefix: str = 'archive') -> None:
    """Writes `content`, in which NumPy arrays are tensors."""
    storages: list[np.ndarray] = []
    data = io.BytesIO()
    with _importable():
        _Pickler(data, storages).dump(_as_tensors(content))
    save_pickle(path, data.getvalue(), storages, prefix)


def save_legacy(path: Any, content: Any, little_endian: bool = True) -> None:
    """As `save`, in the format of PyTorch before 1.6."""
    storages: list[np.ndarray] = []
    with open(path, 'wb') as file, _importable():
        for head in (0x1950A86A20F9469CFC6C, 1001, {'protocol_version': 1001, 'little_endian': little_endian}):
            pickle.dump(head, file, protocol=2)
        _Pickler(file, storages, legacy=True).dump(_as_tensors(content))
        pickle.dump([str(i) for i in range(len(storages))], file, protocol=2)
        for numbers in storages:
            file.write(numbers.size.to_bytes(8, 'little') + numbers.tobytes())


def save_pickle(path: Any, data: bytes, storages: Sequence[np.ndarray] = (), prefix: str = 'archive') -> None:
    """Writes the bytes of a pickle and the storages it refers to."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(f'{prefix}/data.pkl', data)
        archive.writestr(f'{prefix}/version', '3\n')
        for i, numbers in enumerate(storages):
            archive.writestr(f'{prefix}/data/{i}', numbers.tobytes())


def _as_tensors(content: Any) -> Any:
    if isinstance(content, np.ndarray):
        return _Tensor(content)
    if isinstance(content, dict):
        return type(content)((key, _as_tensors(value)) for key, value in content.items())
    if isinstance(content, list):
        return [_as_tensors(item) for item in content]
    return content


def module(path: str, state: Mapping[str, np.ndarray], num_heads: int, **attributes: Any) -> Any:
    """A pickled module of the class `path`, as nested as its names are, with the tensors of a state dict.

    Its encoder's layers have further `attributes`.
    """
    root = _module(path)
    for name, numbers in state.items():
        *folders, last = name.split('.')
        here = root
        for folder in folders:
            kind = 'activation.MultiheadAttention' if 'attn' in folder else 'linear.Linear'
            here = here._modules.setdefault(folder, _module(f'torch.nn.modules.{kind}'))
            if 'attn' in folder:
                here.num_heads = num_heads
            if folder.isdigit():
                here.__dict__.update(attributes)
        here._parameters[last] = _Tensor(numbers)
    return root


def wrap(path: str, name: str, inner: Any) -> Any:
    """A module of the class `path` that holds another: DataParallel and the like."""
    outer = _module(path)
    outer._modules[name] = inner
    return outer


def _module(path: str) -> Any:
    thing = _named(path, _Module)()
    thing.__dict__.update(training=False, _parameters=collections.OrderedDict(), _modules=collections.OrderedDict())
    return thing


def state_dict(name: str, params: Mapping[str, Any], old_mask_name: bool = False) -> dict[str, np.ndarray]:
    """Parameters of this project under the names of the published models."""
    params = {key: _to_numpy(value) for key, value in params.items()}
    state: dict[str, np.ndarray] = collections.OrderedDict()
    vectors: dict[str, tuple[str, tuple[int, ...] | None]] = {
        'position': ('pos', (1, 1, -1)),
        'row_embed': ('row_embed', None),
        'class_query': ('class_query', (1, -1)),
        'encoder_mask': ('pos' if old_mask_name else 'wEnc', (1, 1, -1)),
        'decoder_mask': ('wDec', (1, 1, -1)),
    }
    for ours, (theirs, shape) in vectors.items():
        if ours in params:
            state[theirs] = params[ours] if shape is None else params[ours].reshape(shape)
    for stack in ('encoder', 'decoder'):
        norms = ['norm_self', 'norm_mlp'] if stack == 'encoder' else ['norm_self', 'norm_cross', 'norm_mlp']
        layers = params[stack]['layers']
        for i in range(len(layers['mlp_in']['bias'])):
            prefix = f'transformer.{stack}.layers.{i}'
            for ours, theirs in (('self_attention', 'self_attn'), ('cross_attention', 'multihead_attn')):
                if ours in layers:
                    attention = layers[ours]
                    state[f'{prefix}.{theirs}.in_proj_weight'] = attention['in_proj_kernel'][i].T
                    state[f'{prefix}.{theirs}.in_proj_bias'] = attention['in_proj_bias'][i]
                    _put(state, f'{prefix}.{theirs}.out_proj', attention['out_proj'], i)
            _put(state, f'{prefix}.linear1', layers['mlp_in'], i)
            _put(state, f'{prefix}.linear2', layers['mlp_out'], i)
            for number, norm in enumerate(norms, start=1):
                _put(state, f'{prefix}.norm{number}', layers[norm], i)
        _put(state, f'transformer.{stack}.norm', params[stack]['norm'], None)
    _put(state, 'linear_class', params['classifier'], None)
    if name == 'baseline':
        state['pos_encoder.pe'] = np.zeros((5000, 1, 4), np.float32)
    return state


def _to_numpy(tree: Any) -> Any:
    return {key: _to_numpy(value) for key, value in tree.items()} if isinstance(tree, dict) else np.asarray(tree)


def _put(state: dict[str, np.ndarray], prefix: str, layer: Mapping[str, Any], i: int | None) -> None:
    for ours, theirs in (('kernel', 'weight'), ('scale', 'weight'), ('bias', 'bias')):
        if ours in layer:
            numbers = layer[ours] if i is None else layer[ours][i]
            state[f'{prefix}.{theirs}'] = numbers.T if ours == 'kernel' else numbers
