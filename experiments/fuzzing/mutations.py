"""Damages bytes: anywhere, and where the structure of the file is, so that checksums and syntax stay right."""

import ast
import codecs
from collections.abc import Callable, Sequence
import copy
import csv
import io
import json
import pickle
import pickletools
from typing import Any
import warnings
import zipfile

import numpy as np

_OPCODES = [ord(opcode.code) for opcode in pickletools.opcodes]
# Opcodes after which a pickle declares a length.
_SIZED = [pickle.LONG_BINPUT, pickle.BINUNICODE, pickle.BINBYTES8, pickle.BYTEARRAY8, pickle.FRAME, pickle.LONG4]
# Bytes at either end of a file that are damaged as often as all others together.
_END = 4000
_LARGEST_JSON = 200_000
_DEEP, _LONG = 100_000, 1_000_000

_Rng = np.random.Generator


def mutate(rng: _Rng, data: bytes) -> bytes:
    """Bytes with one to eight faults; of zip, .npy, safetensors, JSON and text in most cases faults of these."""
    structured = next((change for has_kind, change in _STRUCTURED if has_kind(data)), None)
    if structured is not None and rng.random() < 0.7:
        return structured(rng, data)
    return _mutate_bytes(rng, data)


def _choose(rng: _Rng, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]


# --- Bytes


def _mutate_bytes(rng: _Rng, data: bytes) -> bytes:
    changed = bytearray(data)
    region = rng.integers(4)
    for _ in range(rng.integers(1, 9)):
        start = max(0, len(changed) - _END) if region == 0 else 0
        end = min(len(changed), _END) if region == 1 else len(changed)
        _choose(rng, _FAULTS)(rng, changed, int(rng.integers(start, max(start, end) + 1)))
    return bytes(changed)


def _flip_bit(rng: _Rng, data: bytearray, i: int) -> None:
    data[i : i + 1] = bytes([x ^ 1 << rng.integers(8) for x in data[i : i + 1]])


def _change_opcode(rng: _Rng, data: bytearray, i: int) -> None:
    data[i : i + 1] = bytes([_choose(rng, _OPCODES)])


def _declare_much(rng: _Rng, data: bytearray, i: int) -> None:
    number = _choose(rng, (2**31 - 1, 2**32 - 1, 2**16 - 1, int(rng.integers(2**40)), 0))
    size = _choose(rng, (2, 4, 8))
    start = _choose(rng, _SIZED) if rng.random() < 0.3 else b''
    encoded = start + (number % 256**size).to_bytes(size, _choose(rng, ('little', 'big')))
    data[i : i + len(encoded)] = encoded


def _change_digit(rng: _Rng, data: bytearray, i: int) -> None:
    digits = [j for j in range(i, min(i + 200, len(data))) if 48 <= data[j] < 58]
    if digits:
        data[_choose(rng, digits)] = 48 + rng.integers(10)


def _insert_digits(rng: _Rng, data: bytearray, i: int) -> None:
    digits = [j for j in range(i, min(i + 200, len(data))) if 48 <= data[j] < 58]
    if digits:
        j = _choose(rng, digits)
        data[j:j] = b'9' * int(rng.integers(1, 20))


def _cut(rng: _Rng, data: bytearray, i: int) -> None:
    if rng.random() < 0.3:
        del data[i:]


def _remove(rng: _Rng, data: bytearray, i: int) -> None:
    del data[i : i + int(rng.integers(1, 50))]


def _repeat(rng: _Rng, data: bytearray, i: int) -> None:
    data[i:i] = data[i : i + int(rng.integers(1, 50))] * int(rng.integers(1, 4))


def _insert_noise(rng: _Rng, data: bytearray, i: int) -> None:
    data[i:i] = rng.bytes(int(rng.integers(1, 20)))


def _insert_zeros(rng: _Rng, data: bytearray, i: int) -> None:
    data[i : i + int(rng.integers(0, 20))] = bytes(int(rng.integers(1, 20)))


_FAULTS: Sequence[Callable[[_Rng, bytearray, int], None]] = (
    *(_flip_bit, _flip_bit, _change_opcode, _change_opcode, _declare_much, _declare_much, _change_digit),
    *(_insert_digits, _cut, _remove, _repeat, _insert_noise, _insert_zeros),
)  # fmt: skip


# --- Zip: .npz, .pth, .task


def _is_zip(data: bytes) -> bool:
    return data.startswith(b'PK\x03\x04')


def _mutate_zip(rng: _Rng, data: bytes) -> bytes:
    """Damages a member so that its checksum is right, mostly the first; or leaves out, repeats or renames one."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = [(info.filename, info.compress_type, source.read(info)) for info in source.infolist()]
    chosen = 0 if rng.random() < 0.5 else int(rng.integers(len(members)))
    name, compression, content = members[chosen]
    match rng.integers(12):
        case 0:
            del members[chosen]
        case 1:
            members.append((_choose(rng, members)[0], compression, content))
        case 2:
            members[chosen] = (_mutate_bytes(rng, name.encode()).decode('latin-1') or '?', compression, content)
        case 3:
            members[chosen] = (name, zipfile.ZIP_DEFLATED, content + bytes(64 * _LONG))
        case 4:
            members[chosen] = (name, compression, _choose(rng, members)[2])
        case _:
            members[chosen] = (name, compression, mutate(rng, content))
    with warnings.catch_warnings(action='ignore'), zipfile.ZipFile(output, 'w') as target:
        for name, compression, content in members:
            info = zipfile.ZipInfo(name.replace('\0', '?'))
            target.writestr(info, content, compression, 1)
    return output.getvalue()


# --- .npy: the header, which says the shape and the kind of numbers


def _is_npy(data: bytes) -> bool:
    return data.startswith(b'\x93NUMPY\x01\x00')


def _mutate_npy(rng: _Rng, data: bytes) -> bytes:
    end = 10 + int.from_bytes(data[8:10], 'little')
    header = ast.literal_eval(data[10:end].decode())
    shape = list(header['shape'])
    match rng.integers(5):
        case 0:
            header['descr'] = _choose(rng, _DTYPES)
        case 1:
            header['fortran_order'] = not header['fortran_order']
        case 2:
            del header[_choose(rng, list(header))]
        case 3:
            shape.insert(int(rng.integers(len(shape) + 1)), _choose(rng, _SIZES))
        case _ if shape:
            shape[rng.integers(len(shape))] = _choose(rng, _SIZES)
    if 'shape' in header:
        header['shape'] = tuple(shape)
    written = f'{header}\n'.encode()
    return data[:8] + len(written).to_bytes(2, 'little') + written + data[end:]


_DTYPES = ('<f8', '>f4', '<f2', '|O', '<U1000', '|S5', '<i8', '<u8', '|b1', '<M8[s]', '<c16', '|V10', '<U0', 'x')
_SIZES = (0, 1, 2, 10**6, 2**31, 2**40, 2**62, -1)


# --- Safetensors: the length of the header, the header as JSON, the numbers


def _is_safetensors(data: bytes) -> bool:
    return data[8:9] == b'{' and int.from_bytes(data[:8], 'little') < len(data)


def _mutate_safetensors(rng: _Rng, data: bytes) -> bytes:
    end = 8 + int.from_bytes(data[:8], 'little')
    header = _mutate_json(rng, data[8:end])
    return len(header).to_bytes(8, 'little') + header + data[end:]


# --- JSON


def _is_json(data: bytes) -> bool:
    if len(data) > _LARGEST_JSON or data.lstrip()[:1] not in (b'{', b'['):
        return False
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def _mutate_json(rng: _Rng, data: bytes) -> bytes:
    """Changes values, keys and types of one to four nodes."""
    root = [json.loads(data)]
    for _ in range(rng.integers(1, 5)):
        _change_node(rng, root)
    text = json.dumps(root[0])
    for placeholder, written in _WRITTEN.items():
        text = text.replace(f'"{placeholder}"', written)
    return _encode(rng, text)


def _change_node(rng: _Rng, root: list[Any]) -> None:
    containers: list[Any] = [root]
    for container in containers:
        items = container.values() if isinstance(container, dict) else container
        containers += [item for item in items if isinstance(item, dict | list) and item]
    # The outermost are few, and decide most.
    container = containers[min(rng.integers(len(containers), size=2))]
    keys = list(container) if isinstance(container, dict) else list(range(len(container)))
    if not keys:
        return
    key = _choose(rng, keys)
    match rng.integers(9):
        case 0 if container is not root:
            del container[key]
        case 1 if isinstance(container, dict):
            container[_choose(rng, _TEXTS)] = container.pop(key)
        case 2:
            container[key] = [container[key]]
        case 3 if isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        case 4:
            others = list(container.values()) if isinstance(container, dict) else container
            container[key] = copy.deepcopy(_choose(rng, others))
        case 5 if isinstance(container[key], str) and '.' in container[key]:
            # The name of a class, maybe.
            container[key] = f'{MODULE}.Any'
        case _:
            container[key] = copy.deepcopy(_choose(rng, _VALUES))


# Of Python's own, which nothing imports but where a file names it.
MODULE = 'this'
# What json.dumps would not write.
_WRITTEN = {
    '<deep>': '[' * _DEEP + ']' * _DEEP,
    '<digits>': '9' * 5000,
    '<1e999>': '1e999',
    '<long>': f'"{"x" * _LONG}"',
}
_TEXTS = ('', ' ', 'x', '\0', '\ud800', '../../x', '/', 'é' * 300, '\x1b[31m', '{}', '%s', 'nan', '-1', '\n', '👋')
_VALUES: Sequence[Any] = (
    *(None, True, False, 0, 1, -1, 0.5, 2**31, 2**63, 10**30, -(10**30), 1e300, float('nan'), float('inf')),
    *([], {}, [[]], {'x': 1}, [None], [1, 2], ['x', 1]),
    *_TEXTS,
    *_WRITTEN,
)  # fmt: skip


# --- Text: tables and lists


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return bool(text) and '\n' in text and all(x.isprintable() or x.isspace() for x in text[:1000])


def _mutate_text(rng: _Rng, data: bytes) -> bytes:
    """Changes cells, rows, columns and separators, one to four times."""
    text = data.decode()
    separator = max(',;\t', key=text.split('\n', 1)[0].count)
    rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    for _ in range(rng.integers(1, 5)):
        if rows:
            _change_table(rng, rows)
    separator = _choose(rng, ',;\t |') if rng.random() < 0.05 else separator
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator=_choose(rng, ('\n', '\n', '\r\n', '\r')))
    writer.writerows(rows)
    written = out.getvalue()
    if rng.random() < 0.1:
        # A quote that is not closed, or any other sign.
        i = int(rng.integers(len(written) + 1))
        written = written[:i] + _choose(rng, ('"', "'", '\0', '\r', '[', ']', '\\', '\x1b')) + written[i:]
    return _encode(rng, written)


def _change_table(rng: _Rng, rows: list[list[str]]) -> None:
    r = 0 if rng.random() < 0.2 else int(rng.integers(len(rows)))
    row = rows[r]
    c = int(rng.integers(len(row))) if row else 0
    match rng.integers(11):
        case 0:
            del row[c : c + 1]
        case 1:
            row.insert(c, _choose(rng, _CELLS))
        case 2:
            for other in rows:
                del other[c : c + 1]
        case 3:
            rows.insert(r, list(_choose(rng, rows)))
        case 4:
            del rows[r]
        case 5:
            rows.insert(r, [])
        case 6 if row:
            row[c] = _mutate_bytes(rng, row[c].encode()).decode('latin-1')
        case _ if row:
            row[c] = _choose(rng, _CELLS)


_CELLS = (
    *('', 'nan', 'NaN', 'inf', '-inf', '1e999', '-1', '0', '1', '0.5', '1.0', '999999', '9' * 18, '9' * 5000, '1e18'),
    *('true', 'None', '[]', '[nan]', '[1, 2', '[[1]]', '[1e999]', '1,5', '٣', '²', '0x10', '1_000', 'x' * _LONG),
    *(text for text in _TEXTS if text != '\ud800'),
)  # fmt: skip


def _encode(rng: _Rng, text: str) -> bytes:
    if rng.random() < 0.9:
        return text.encode(errors='surrogatepass')
    encoding = _choose(rng, ('utf-16', 'utf-16-le', 'utf-32', 'latin-1', 'cp1252', 'utf-8-sig', 'mark'))
    if encoding == 'mark':
        return codecs.BOM_UTF16_LE + text.encode(errors='replace')
    return text.encode(encoding, errors='replace')


_STRUCTURED: Sequence[tuple[Callable[[bytes], bool], Callable[[_Rng, bytes], bytes]]] = (
    (_is_zip, _mutate_zip),
    (_is_npy, _mutate_npy),
    (_is_safetensors, _mutate_safetensors),
    (_is_json, _mutate_json),
    (_is_text, _mutate_text),
)
