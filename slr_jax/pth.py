"""Reads files of `torch.save` and of safetensors without PyTorch and without running anything that a file contains."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import io
import math
import os
import pickle
import re
from typing import Any
import zipfile

import jax.numpy as jnp
import numpy as np
import safetensors

from slr_jax import errors, file_limits

# What a pickle makes needs up to some hundred bytes of memory per byte, and a class a kilobyte; those of checkpoints
# are of some 100 kB and name some 50 classes.
_MAX_PICKLE_BYTES = 4 * 2**20
_MAX_NAMES = 5000
_MAX_NAME_LENGTH = 300
_MAX_AXES = 32
_MAX_ARGUMENTS = 8

_DTYPES: dict[str, np.dtype] = {
    'FloatStorage': np.dtype('<f4'),
    'DoubleStorage': np.dtype('<f8'),
    'HalfStorage': np.dtype('<f2'),
    'BFloat16Storage': np.dtype(jnp.bfloat16),
    'LongStorage': np.dtype('<i8'),
    'IntStorage': np.dtype('<i4'),
    'ShortStorage': np.dtype('<i2'),
    'CharStorage': np.dtype('i1'),
    'ByteStorage': np.dtype('u1'),
    'UntypedStorage': np.dtype('u1'),
    'BoolStorage': np.dtype('?'),
}

# The first pickle of a file that PyTorch wrote before 1.6, and the second, the version of that format.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001

_OTHER_KINDS = {
    b'version https://git-lfs': 'a pointer of Git LFS, not the file itself (git lfs pull gets it)',
    b'<': 'a web page',
    b'\x89HDF': 'an HDF5 file',
    b'\x1f\x8b': 'a gzip archive',
}
_EXPECTED = 'expected a file of torch.save or of safetensors'


class Inert:
    """Stands for an object of any class that a pickle names: only its attributes and few arguments are kept."""

    __slots__ = ('__dict__', 'arguments')

    def __new__(cls, *_: Any, **__: Any) -> 'Inert':
        """Takes whatever arguments a class takes."""
        self = super().__new__(cls)
        self.arguments = ()
        return self

    def __init__(self, *arguments: Any, **_: Any) -> None:
        # A compiled module is made of the module. Not many, since a small pickle can repeat them.
        self.arguments = arguments if len(arguments) <= _MAX_ARGUMENTS else ()

    def __call__(self, *_: Any, **__: Any) -> 'Inert':
        """What a bound method returns is inert as well."""
        return self

    def __setstate__(self, state: Any) -> None:
        # With slots, the state is a pair. Not copied, since a small pickle can repeat a large state.
        state = state[0] if isinstance(state, tuple) and state else state
        if isinstance(state, dict):
            self.__dict__ = state

    def __setitem__(self, key: Any, value: Any) -> None:
        vars(self)[key] = value

    def append(self, item: Any) -> None:
        """The items of a list or set are of no use here."""

    extend = add = append


class _Dict(dict):
    """Takes no items where it is made: a small pickle could repeat many."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """The metadata of a state dict is of no use here."""


class _Tuple(tuple):
    """A tuple whose hash does not visit its items, which overflows the C stack where they are deeply nested."""

    __slots__ = ()

    def __hash__(self) -> int:
        return id(self)


@dataclasses.dataclass(frozen=True)
class _StorageType:
    """A storage class of PyTorch."""

    dtype: np.dtype


@dataclasses.dataclass
class _Storage:
    """The numbers that tensors share; read once the pickle is."""

    dtype: np.dtype
    size: int
    numbers: np.ndarray | None = None

    @property
    def num_bytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage, which may be of any size until `read` has checked it."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self) -> np.ndarray:
        """The numbers; ValueError where the storage does not have them."""
        flat = self.storage.numbers
        if flat is None or len(self.shape) != len(self.stride) or min((self.offset, *self.shape, *self.stride)) < 0:
            raise ValueError('a tensor has no valid storage, shape or stride')
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        if 0 not in self.shape and (last >= flat.size or math.prod(self.shape) > flat.size):
            raise ValueError(f'a tensor of shape {self.shape} reaches past its storage of {flat.size} numbers')
        strides = [step * flat.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides, writeable=False)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
    valid = isinstance(storage, _Storage) and max(len(shape), len(stride)) <= _MAX_AXES
    if not valid or not all(isinstance(number, int) for number in (offset, *shape, *stride)):
        raise pickle.UnpicklingError('a tensor has no valid storage, shape or stride')
    return Tensor(storage, offset, tuple(shape), tuple(stride))


# What a pickle may name and get.
_REAL: dict[str, Any] = {
    'torch._utils._rebuild_tensor': _rebuild_tensor,
    'torch._utils._rebuild_tensor_v2': _rebuild_tensor,
    'torch._utils._rebuild_parameter': lambda tensor, *_: tensor,
    'torch._utils._rebuild_parameter_with_state': lambda tensor, *_: tensor,
    'torch._tensor._rebuild_from_type_v2': lambda rebuild, _, arguments, __: rebuild(*arguments),
    'collections.OrderedDict': _Dict,
    'collections.defaultdict': _Dict,
    'torch.storage.UntypedStorage': _StorageType(np.dtype('u1')),
    **{f'torch.{name}': _StorageType(dtype) for name, dtype in _DTYPES.items()},
    **{f'torch.cuda.{name}': _StorageType(dtype) for name, dtype in _DTYPES.items()},
}


class _Unpickler(file_limits.Unpickler):
    """Unpickles a checkpoint: tensors, plain containers, and inert objects for all else; nothing is imported."""

    def __init__(self, file: io.BytesIO) -> None:
        # Text of Python 2 is bytes.
        super().__init__(file, encoding='utf-8', errors='replace')
        self.storages: dict[str, _Storage] = {}
        self._inert: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> Any:
        path = f'{module}.{name}'
        if path in _REAL:
            return _REAL[path]
        if path not in self._inert:
            if len(self._inert) == _MAX_NAMES:
                raise pickle.UnpicklingError('its pickle names more classes than that of any checkpoint')
            self._inert[path] = type(path, (Inert,), {})
        return self._inert[path]

    def persistent_load(self, pid: Any) -> Any:
        match pid:
            case ('storage', _StorageType(dtype), str() as key, _, int() as size, *view) if not any(view) and size >= 0:
                storage = self.storages.setdefault(key, _Storage(dtype, size))
                if (storage.dtype, storage.size) == (dtype, size):
                    return storage
            # Before PyTorch 1.6 a class came with its source.
            case ('module', kind, *_):
                return kind
        raise pickle.UnpicklingError('a tensor is stored outside of the storages of this file')

    def load_build(self) -> None:
        """Only what is inert may get a state."""
        if not isinstance(self.stack[-2], Inert | _Dict):  # type: ignore[attr-defined]
            raise pickle.UnpicklingError('an object that is not of a class has a state')
        super().load_build()  # type: ignore[misc]


def _then_make_tuple(load: Callable[[Any], None]) -> Callable[[Any], None]:
    def load_and_make(unpickler: Any) -> None:
        load(unpickler)
        unpickler.stack[-1] = _Tuple(unpickler.stack[-1])

    return load_and_make


_TUPLES = {code[0] for code in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)}
# The handlers of the opcodes.
_Unpickler.dispatch = {
    code: _then_make_tuple(load) if code in _TUPLES else load for code, load in file_limits.Unpickler.dispatch.items()
} | {pickle.BUILD[0]: _Unpickler.load_build}


@dataclasses.dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        kind: of the file, in words: `a PyTorch file`.
        what: the outermost object, in words: `a dict of epoch, state_dict`.
        tensors: name, as in a state dict, with the keys of the dicts and attributes around it -> tensor.
        objects: name -> object of a class, all but tensors and plain containers.
    """

    kind: str
    what: str
    tensors: Mapping[str, Tensor | np.ndarray]
    objects: Mapping[str, Inert]


def read(path: str) -> Content:
    """Reads a file of `torch.save`, of any version, or of safetensors.

    Raises:
        InputError: the file is damaged or of another kind.
        OSError: it is missing or cannot be opened.
    """
    file_limits.check_regular(path)
    with open(path, 'rb') as file:
        start = file.read(32)
        size = os.fstat(file.fileno()).st_size
        file.seek(0)
        try:
            # First, since such a file may begin with any bytes: the length of its header.
            if start[8:9] == b'{' and int.from_bytes(start[:8], 'little') <= size:
                return _describe('a safetensors file', _read_safetensors(path))
            if start.startswith(b'PK\x03\x04'):
                return _describe('a PyTorch file', _read_zip(file, size))
            if start.startswith(b'\x80'):
                return _describe('a PyTorch file of before 1.6', _read_legacy(file.read()))
        except errors.InputError as error:
            raise errors.InputError(f'{path} {str(error).lstrip()}') from error
        except zipfile.BadZipFile as error:
            raise errors.InputError(f'{path} is damaged ({error}), {_EXPECTED}') from error
        # Damaged or hostile bytes make libraries fail in any way there is; none of them is a bug of this program.
        except Exception as error:
            cause = 'the pickle in it ends too early' if isinstance(error, EOFError) else errors.one_line(error)
            raise errors.InputError(f'{path} is damaged, or no checkpoint: {cause}') from error
    kind = next((kind for magic, kind in _OTHER_KINDS.items() if start.lstrip().startswith(magic)), None)
    if not start:
        kind = 'empty'
    raise errors.InputError(f'{path} is {kind or "neither a PyTorch file nor a safetensors file"}, {_EXPECTED}')


def _read_zip(file: Any, size: int) -> Any:
    with zipfile.ZipFile(file) as archive:
        file_limits.check_zip('', archive, size)
        names = archive.namelist()
        data_names = [name for name in names if re.fullmatch(r'([^/]*/)?data\.pkl', name)]
        if len(data_names) != 1:
            raise errors.InputError(f'is a zip file of {_few(names)}, without data.pkl, {_EXPECTED}')
        [data_name] = data_names
        folder = data_name.removesuffix('data.pkl')
        if f'{folder}constants.pkl' in names:
            raise errors.InputError('is a TorchScript program, expected torch.save of a module or its state dict')
        if f'{folder}byteorder' in names and archive.read(f'{folder}byteorder') != b'little':
            raise errors.InputError('holds numbers that are not little-endian, which is not supported')
        info = archive.getinfo(data_name)
        if info.file_size > _MAX_PICKLE_BYTES:
            raise errors.InputError(
                f'has a data.pkl of more than {_MAX_PICKLE_BYTES} bytes, larger than of checkpoints'
            )
        _check_stored(info, 'data.pkl')
        unpickler = _Unpickler(io.BytesIO(archive.read(info)))
        content = unpickler.load()
        if sum(storage.num_bytes for storage in unpickler.storages.values()) > size:
            raise errors.InputError(f'is damaged: it declares more numbers than its {size} bytes hold')
        for key, storage in unpickler.storages.items():
            info = archive.getinfo(f'{folder}data/{key}')
            if info.file_size != storage.num_bytes:
                raise errors.InputError(
                    f'is damaged: storage {key} holds {info.file_size} bytes, expected {storage.num_bytes}'
                )
            _check_stored(info, f'storage {key}')
            storage.numbers = np.frombuffer(archive.read(info), storage.dtype)
        return content


def _check_stored(info: zipfile.ZipInfo, what: str) -> None:
    if info.compress_type != zipfile.ZIP_STORED:
        raise errors.InputError(f'was compressed: {what}, which torch.save never does')


def _read_legacy(data: bytes) -> Any:
    """Pickles in sequence (a magic number, a version, the system, the content, keys of storages), then the storages."""
    position = 0

    def load() -> tuple[Any, dict[str, _Storage]]:
        nonlocal position
        file = io.BytesIO(data[position : position + _MAX_PICKLE_BYTES])
        unpickler = _Unpickler(file)
        loaded = unpickler.load()
        position += file.tell()
        return loaded, unpickler.storages

    if load()[0] != _LEGACY_MAGIC:
        raise errors.InputError(f'is a pickle that torch.save did not write, {_EXPECTED}')
    if load()[0] != _LEGACY_VERSION or not load()[0]['little_endian']:
        raise errors.InputError('holds numbers that are not little-endian, or is of an unknown version')
    content, storages = load()
    for key in load()[0]:
        storage = storages[key]
        end = position + 8 + storage.num_bytes
        if int.from_bytes(data[position : position + 8], 'little') != storage.size or end > len(data):
            raise errors.InputError(f'is damaged: storage {key} does not hold {storage.num_bytes} bytes')
        storage.numbers = np.frombuffer(data, storage.dtype, storage.size, position + 8)
        position = end
    return content


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    with safetensors.safe_open(path, framework='np') as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _few(names: Iterable[str]) -> str:
    shown = [name if len(name) < 60 else f'{name[:60]}…' for name in names]
    return ', '.join(shown[:5]) + (' …' if len(shown) > 5 else '') if shown else 'nothing'


def _describe(kind: str, content: Any) -> Content:
    tensors: dict[str, Tensor | np.ndarray] = {}
    objects: dict[str, Inert] = {}
    # Each container once, since they may hold one another in circles.
    seen: set[int] = set()
    waiting = [('', content)]
    for name, thing in waiting:
        if isinstance(thing, Tensor | np.ndarray):
            tensors[name] = thing
        elif isinstance(thing, Inert | dict | list | tuple) and id(thing) not in seen and len(name) < _MAX_NAME_LENGTH:
            seen.add(id(thing))
            if isinstance(thing, Inert):
                objects[name] = thing
            waiting += ((f'{name}.{key}' if name else key, child) for key, child in _children(thing))
    what = f'an object of {_few([class_path(content)])}'
    if isinstance(content, dict):
        what = f'a dict of {_few(key for key in content if isinstance(key, str))}'
    return Content(kind, what, tensors, objects)


def _children(thing: Any) -> Iterable[tuple[str, Any]]:
    """Names and values of a dict, of the attributes of an object, or of the parts of a module."""
    if isinstance(thing, list | tuple):
        return ((str(i), item) for i, item in enumerate(thing))
    dicts = [thing]
    if isinstance(thing, Inert):
        parts = [vars(thing).get(kind) for kind in ('_parameters', '_buffers', '_modules')]
        dicts = (
            parts
            if isinstance(parts[-1], dict)
            else [vars(thing), dict(zip('01234567', thing.arguments, strict=False))]
        )
    items = (item for part in dicts if isinstance(part, dict) for item in part.items())
    return ((key, child) for key, child in items if isinstance(key, str) and len(key) < _MAX_NAME_LENGTH)


def class_path(thing: Any) -> str:
    """The class of an inert object, or an inert class, as the file names it."""
    return thing.__name__ if isinstance(thing, type) else type(thing).__name__
