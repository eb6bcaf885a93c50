"""What an input may be, declare and unpack to.

An input is a regular file, or a folder of such: no pipe, socket or device. What a file declares or unpacks to is at
most a hundred times its size, or 256 MiB where that is more, and fits in memory: landmarks take a half of their size
when they are compressed, those of which most are missing a hundredth.
"""

import os
import pickle
import resource
import stat
from typing import Any, ClassVar
import zipfile

from slr_jax import errors

_RATIO, _FLOOR = 100, 2**28
_KINDS = (
    (stat.S_ISFIFO, 'a named pipe'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)


def special_kind(path: str) -> str | None:
    """`a named pipe`, `a socket` or `a device`, reading which might never end; None for all else."""
    try:
        mode = os.stat(path).st_mode
    # Whoever opens it says why that is not possible.
    except (OSError, ValueError):
        return None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), None)


def check_regular(path: str, *, whole: bool = True) -> None:
    """Checks a path before it is opened.

    Args:
        path: of the file; one that does not exist is left to who opens it.
        whole: whether all of it is in memory at once.

    Raises:
        InputError: it is a pipe, a socket or a device, or needs more memory than there is.
    """
    kind = special_kind(path)
    if kind:
        raise errors.InputError(f'{path} is {kind}, expected a file')
    if whole and os.path.isfile(path) and os.path.getsize(path) > memory_bytes():
        raise errors.InputError(
            f'{path} has {os.path.getsize(path):,} bytes, expected at most {memory_bytes():,}, the memory there is'
        )


def check_regular_below(directory: str) -> None:
    """As `check_regular`, of all files below a directory."""
    for parent, _, names in os.walk(directory):
        for name in names:
            check_regular(os.path.join(parent, name), whole=False)


def check_unpacked(path: str, num_bytes: int, size: int | None = None) -> None:
    """Checks what a file declares that it holds, before memory is asked for.

    Args:
        path: of the file, for the message.
        num_bytes: that it declares.
        size: of the file in bytes; None for that of `path`.

    Raises:
        InputError: they are more than such a file may hold.
    """
    size = os.path.getsize(path) if size is None else size
    most = min(max(_RATIO * size, _FLOOR), memory_bytes())
    if num_bytes > most:
        raise errors.InputError(
            f'{path} has {size:,} bytes and declares that it holds {num_bytes:,}, expected at most {most:,}'
        )


def check_zip(path: str, archive: zipfile.ZipFile, size: int | None = None) -> None:
    """Checks what the members of a zip file declare; see `check_unpacked`.

    Raises:
        InputError: they declare too much, or are compressed in a way that Python unpacks beyond what they declare.
    """
    members = archive.infolist()
    for info in members:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise errors.InputError(
                f'{path} has {info.filename} compressed by method {info.compress_type}, expected deflate or none'
            )
    check_unpacked(path, sum(info.file_size for info in members), size)


def memory_bytes() -> int:
    """Memory of this machine, as far as this process may use it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    installed = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return installed if limit == resource.RLIM_INFINITY else min(limit, installed)


class Unpickler(pickle._Unpickler):
    """Unpickles in Python: the memo and BYTEARRAY8 of the unpickler in C allocate what a file declares."""

    dispatch: ClassVar[dict[int, Any]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }
