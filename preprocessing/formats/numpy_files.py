"""Reads NumPy arrays; those of objects where they hold text and numbers, without running a pickle.

NumPy stores an array of objects, such as a column of a pandas table, as a pickle. The names in it are answered by inert
stand-ins; nothing is imported, and nothing that the file contains is called.
"""

import io
import math
import os
import pickle
import re
from typing import IO, Any

import numpy as np

from slr_jax import file_limits

_MAX_PICKLE_BYTES = 64 * 2**20
_MAX_TEXT_BYTES = 2**28
_CHUNK_ROWS = 2**12
_LAST_CHARACTER, _SURROGATES = 0x10FFFF, (0xD800, 0xDFFF)


class _Array:
    """Stands for numpy.ndarray: keeps the shape and the items."""

    def __init__(self, *_: Any) -> None:
        self.shape: tuple[int, ...] = ()
        self.items: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        _, self.shape, _, _, self.items = state


class _DType:
    """Stands for numpy.dtype: keeps its name."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass


class _Unpickler(file_limits.Unpickler):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        # Made anew for every array, so that no file can leave anything in them.
        array, dtype = type('ndarray', (_Array,), {}), type('dtype', (_DType,), {})
        self._names: dict[str, Any] = {'numpy.ndarray': array, 'numpy.dtype': dtype}
        for core in ('numpy.core', 'numpy._core'):
            self._names[f'{core}.multiarray._reconstruct'] = array
            self._names[f'{core}.multiarray.scalar'] = self._make_scalar

    def find_class(self, module: str, name: str) -> Any:
        if f'{module}.{name}' not in self._names:
            raise pickle.UnpicklingError(f'it names {module}.{name}')
        return self._names[f'{module}.{name}']

    def _make_scalar(self, dtype: _DType, content: bytes) -> Any:
        if not re.fullmatch(r'[biufU]\d{1,4}', dtype.name):
            raise pickle.UnpicklingError(f'it holds a {dtype.name}')
        return np.frombuffer(content, f'<{dtype.name}', 1)[0].item()


def read_array(file: IO[bytes], size: int | None = None, *, as_float32: bool = False) -> np.ndarray:
    """Reads an array in the .npy format from a file that can seek.

    Args:
        file: open for reading.
        size: of the file in bytes; None to look where it ends.
        as_float32: converts other kinds of real numbers while they are read, so that no second copy is in memory.

    Raises:
        Exception: of many kinds, for damaged files; ValueError or UnpicklingError for an array of other objects than
            text and numbers.
    """
    if size is None:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read_header(file)
    if dtype.hasobject:
        return _read_objects(file, shape)
    if math.prod(shape) * max(dtype.itemsize, 1) > size:
        raise ValueError(f'it declares {dtype}{list(shape)}, which are more than its {size:,} bytes')
    if as_float32 and dtype != np.float32 and dtype.kind in 'fiu' and not is_fortran and shape:
        return _read_as_float32(file, shape, dtype)
    file.seek(0)
    array = np.lib.format.read_array(file, allow_pickle=False)
    if dtype.kind == 'U' and array.size and dtype.itemsize:
        _check_text(array)
    return array.astype(np.float32, copy=False) if as_float32 and dtype.kind in 'fiu' else array


def _check_text(array: np.ndarray) -> None:
    """Refuses text of numbers that are no characters, which Python cannot make, or of halves of some."""
    codes = np.ascontiguousarray(array).reshape(-1).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    if (codes > _LAST_CHARACTER).any() or ((codes >= _SURROGATES[0]) & (codes <= _SURROGATES[1])).any():
        raise ValueError('it holds numbers that are no characters')


def _read_as_float32(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    array = np.empty(shape, np.float32)
    row_bytes = dtype.itemsize * math.prod(shape[1:])
    for start in range(0, len(array), _CHUNK_ROWS):
        rows = array[start : start + _CHUNK_ROWS]
        with np.errstate(over='ignore', invalid='ignore'):
            rows[...] = np.frombuffer(file.read(len(rows) * row_bytes), dtype).reshape(rows.shape)
    return array


def _read_objects(file: IO[bytes], shape: tuple[int, ...]) -> np.ndarray:
    if len(content := file.read(_MAX_PICKLE_BYTES + 1)) > _MAX_PICKLE_BYTES:
        raise ValueError('an array of objects is too large')
    array = _Unpickler(content).load()
    items = array.items
    if not isinstance(array, _Array) or array.shape != shape or len(items) != math.prod(shape):
        raise ValueError('it is not an array')
    for item in items:
        if isinstance(item, str):
            item.encode()
        elif not isinstance(item, int | float):
            raise ValueError(f'it holds {item!r}' if item is None else f'it holds a {type(item).__name__}')
    if any(isinstance(item, str) for item in items):
        # What pandas has for an empty cell is NaN.
        items = ['' if isinstance(item, float) and math.isnan(item) else str(item) for item in items]
        # NumPy gives each text the length of the longest.
        if 4 * len(items) * max(map(len, items)) > _MAX_TEXT_BYTES:
            raise ValueError('its texts are too long')
    return np.array(items).reshape(shape)
