"""Reads files of `torch.save` without PyTorch and without running anything that a file contains."""

from collections.abc import Callable
import dataclasses
import io
import math
import pickle
from typing import Any
import zipfile

import numpy as np

from slr_jax import errors

_MAX_PICKLE_BYTES = 64 * 2**20

_DTYPES: dict[str, np.dtype] = {
    'FloatStorage': np.dtype('<f4'),
    'DoubleStorage': np.dtype('<f8'),
    'HalfStorage': np.dtype('<f2'),
    'LongStorage': np.dtype('<i8'),
    'IntStorage': np.dtype('<i4'),
    'BoolStorage': np.dtype('?'),
}

# Everything that a checkpoint may name. Each name is answered by an inert class or by a function of this file; nothing
# is imported.
MODEL_CLASSES = {
    'src.models.spoter_model_original.SPOTER': 'spoter_pe',
    'src.models.spoter_model_original.SPOTERnoPE': 'spoter_no_pe',
    'src.models.ExplainabTransformer.ExplainabTransformerwQuery': 'class_query',
    'src.models.ExplainabTransformer.ExplainabTransformerwSequence': 'sequence_query',
    'src.models.BaselineTransformerClassification.BaselineTransformerClassification': 'baseline',
}
_INERT_CLASSES = {
    *MODEL_CLASSES,
    'src.models.spoter_model_original.SPOTERTransformerDecoderLayer',
    'src.models.BaselineTransformerClassification.PositionalEncoding',
    'torch.nn.functional.relu',
    'torch.nn.modules.activation.MultiheadAttention',
    'torch.nn.modules.container.ModuleList',
    'torch.nn.modules.dropout.Dropout',
    'torch.nn.modules.linear.Linear',
    'torch.nn.modules.linear.NonDynamicallyQuantizableLinear',
    'torch.nn.modules.normalization.LayerNorm',
    'torch.nn.modules.transformer.Transformer',
    'torch.nn.modules.transformer.TransformerDecoder',
    'torch.nn.modules.transformer.TransformerDecoderLayer',
    'torch.nn.modules.transformer.TransformerEncoder',
    'torch.nn.modules.transformer.TransformerEncoderLayer',
}


class Module:
    """Stands for an object of a PyTorch class: only its attributes are kept."""

    _modules: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f'the state of a module is a {type(state).__name__}, expected a dict')
        self.__dict__.update(state)


@dataclasses.dataclass
class _Storage:
    """The raw numbers of a tensor, still in the archive."""

    dtype: np.dtype
    key: str
    size: int


class _Unpickler(pickle.Unpickler):
    """Unpickles a checkpoint; any name that a checkpoint does not need is refused."""

    def __init__(self, data: bytes, read_storage: Callable[[_Storage], np.ndarray]) -> None:
        super().__init__(io.BytesIO(data))
        self._read_storage = read_storage
        self._storage_types = {type(name, (), {}): dtype for name, dtype in _DTYPES.items()}
        self._names = self._allowed_names()

    def find_class(self, module: str, name: str) -> Any:
        path = f'{module}.{name}'
        if path not in self._names:
            raise pickle.UnpicklingError(f'the pickle names {path}, which is not allowed')
        return self._names[path]

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ('storage', type() as kind, str() as key, _, int() as size) if kind in self._storage_types:
                return _Storage(self._storage_types[kind], key, size)
        raise pickle.UnpicklingError('a tensor is stored outside of the storages of this archive')

    def _allowed_names(self) -> dict[str, Any]:
        # Made anew for every file, so that no file can leave anything in them.
        names: dict[str, Any] = {path: type(path, (Module,), {}) for path in _INERT_CLASSES}
        names |= {f'torch.{kind.__name__}': kind for kind in self._storage_types}
        names['torch._utils._rebuild_tensor_v2'] = self._rebuild_tensor
        names['torch._utils._rebuild_parameter'] = lambda tensor, requires_grad, hooks: tensor
        names['collections.OrderedDict'] = type('OrderedDict', (dict,), {})
        # Protocol 2, which PyTorch writes, names the builtins of Python 2.
        names['__builtin__.set'] = names['builtins.set'] = type('set', (set,), {})
        return names

    def _rebuild_tensor(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> np.ndarray:
        if not isinstance(storage, _Storage) or len(shape) != len(stride) or min((offset, *shape, *stride)) < 0:
            raise pickle.UnpicklingError('a tensor has no valid storage, shape or stride')
        flat = self._read_storage(storage)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if 0 not in shape and (last >= flat.size or math.prod(shape) > flat.size):
            raise pickle.UnpicklingError(f'a tensor of shape {shape} reaches past its storage of {flat.size} numbers')
        strides = [step * flat.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(flat[offset:], shape, strides, writeable=False).copy()


def read_pth(path: str) -> Any:
    """Reads a file of `torch.save` (zip format); tensors come as NumPy arrays, modules as inert objects.

    Raises:
        InputError: the file is missing, damaged, of another kind, or names what a checkpoint does not need.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data_names = [name for name in archive.namelist() if name.count('/') == 1 and name.endswith('/data.pkl')]
            if len(data_names) != 1:
                raise errors.InputError(f'{path} is a zip file without data.pkl, expected a file of torch.save')
            return _unpickle(archive, data_names[0])
    except zipfile.BadZipFile as error:
        raise errors.InputError(f'{path} is damaged or not a checkpoint in the zip format of torch.save') from error
    except (errors.InputError, OSError):
        raise
    # Damaged or hostile bytes make the unpickler fail in any way there is; none of them is a bug of this program.
    except Exception as error:
        raise errors.InputError(f'{path} is refused: {str(error)[:200] or type(error).__name__}') from error


def _unpickle(archive: zipfile.ZipFile, data_name: str) -> Any:
    folder = data_name.removesuffix('data.pkl')
    names = set(archive.namelist())
    if f'{folder}byteorder' in names and archive.read(f'{folder}byteorder') != b'little':
        raise pickle.UnpicklingError('its numbers are not little-endian')

    def read_storage(storage: _Storage) -> np.ndarray:
        info = archive.getinfo(f'{folder}data/{storage.key}')
        if info.file_size != storage.size * storage.dtype.itemsize:
            raise pickle.UnpicklingError(
                f'storage {storage.key} holds {info.file_size} bytes, expected {storage.size} × {storage.dtype}'
            )
        if info.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError(f'storage {storage.key} is compressed, which torch.save never does')
        return np.frombuffer(archive.read(info), storage.dtype)

    if archive.getinfo(data_name).file_size > _MAX_PICKLE_BYTES:
        raise pickle.UnpicklingError('its data.pkl is larger than that of any checkpoint')
    return _Unpickler(archive.read(data_name), read_storage).load()


def module_tensors(module: Module, prefix: str = '') -> list[tuple[str, np.ndarray]]:
    """Names, as in a state dict, and tensors of a module and its children."""
    tensors = []
    for kind in ('_parameters', '_buffers'):
        tensors += [(prefix + key, x) for key, x in getattr(module, kind, {}).items() if x is not None]
    for key, child in getattr(module, '_modules', {}).items():
        if child is not None:
            tensors += module_tensors(child, f'{prefix}{key}.')
    return tensors


def find_num_heads(module: Module) -> int | None:
    """The attention heads that the first layer of a published model names."""
    attention = module._modules['transformer']._modules['encoder']._modules['layers']._modules['0']
    return getattr(attention._modules['self_attn'], 'num_heads', None)
