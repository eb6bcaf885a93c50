"""Files: output is written to a temporary path and moved into place, so that none is ever half-written."""

from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
import csv
import fcntl
import json
import os
import secrets
import shutil
import socket
import time
from typing import Any

from slr_jax import errors, file_limits

# Names of what is being written.
UNFINISHED = '.unfinished'
_PREFIX = f'{UNFINISHED}-'
_LOCK = f'{_PREFIX}lock'

# Suffixes that say what a file is; other dots are a part of a name, as in runs/v1.2.
_FORMATS = frozenset(
    f'.{name}'
    for name in (
        'tflite onnx ort pt pth ptl pte torchscript h5 hdf5 keras mlmodel mlpackage mlmodelc pb pbtxt safetensors ckpt '
        'jax_export mlir stablehlo engine trt plan mar gguf task npz npy mat pkl pickle joblib parquet feather arrow '
        'tfrecord array_record msgpack zip tar gz tgz bz2 xz 7z rar whl csv tsv xls xlsx ods json jsonl ndjson xml '
        'yaml yml toml txt md rst html htm pdf doc docx svg png jpg jpeg gif bmp webp tif tiff mp4 mov avi mkv webm '
        'm4v mpg mpeg wmv py ipynb js css pose bin sqlite db log'
    ).split()
)


def check_suffix(path: str, *suffixes: str, content: str = 'a folder') -> None:
    """Checks that the name of what is to be written does not promise another format.

    Args:
        path: of the file, or without `suffixes` of the folder.
        suffixes: that the file may have, such as .csv.
        content: what is written, where it is a folder.

    Raises:
        InputError: the name ends in the suffix of another format.
    """
    suffix = os.path.splitext(os.path.basename(os.path.abspath(path)))[1].lower()
    if suffix not in _FORMATS or suffix in suffixes or (not suffixes and os.path.exists(path)):
        return
    written = f'a {suffixes[0]} file' if suffixes else content
    expected = f'a name that ends in {" or ".join(suffixes)}' if suffixes else 'a name without that'
    raise errors.InputError(f'{path} ends in {suffix}, but {written} is written, expected {expected}')


def check_name(name: str, where: str) -> None:
    """Checks that what a file calls something can be the name of a file or folder, and leads to no other folder.

    Args:
        name: as it was read.
        where: it was read, such as `runs.json: name`.

    Raises:
        InputError: it is no text, is empty, begins with a dot, or has separators or characters that are not seen.
    """
    if (
        not isinstance(name, str)
        or not name
        or name.startswith('.')
        or not name.isprintable()
        or set(name) & set('/\\')
    ):
        raise errors.InputError(
            f'{where} is {name!r}, expected a name without separators and control characters, and no dot first'
        )


def check_below(path: str, folder: str) -> None:
    """Checks that a path in a folder, such as a workdir of somebody else, is there when links are followed.

    Raises:
        InputError: it is elsewhere.
    """
    found, top = os.path.realpath(path), os.path.realpath(folder)
    if found != top and not found.startswith(os.path.join(top, '')):
        raise errors.InputError(f'{path} is a link to {found}, expected a place in {folder}')


def is_temporary(name: str) -> bool:
    """Whether a crash of this module's functions may have left a file or folder of this name."""
    return name.startswith(_PREFIX) or name.endswith(UNFINISHED)


@contextlib.contextmanager
def create_atomically(path: str) -> Iterator[str]:
    """Gives a path to write a new file or directory to; it becomes `path` at the end, and is gone after an error.

    Raises:
        InputError: `path` exists already.
    """
    parent = os.path.dirname(os.path.abspath(path))
    if os.path.exists(path):
        _remove_abandoned(parent)
        raise errors.InputError(f'{path} exists already, expected a new path')
    with _scratch(parent, path) as scratch:
        temporary = os.path.join(scratch, os.path.basename(os.path.abspath(path)))
        try:
            yield temporary
        except errors.InputError as error:
            raise errors.InputError(str(error).replace(temporary, path)) from error
        try:
            if os.path.lexists(path):
                raise FileExistsError
            os.rename(temporary, path)
        except OSError as error:
            if os.path.lexists(path):
                message = f'{path} was made by another process in the meantime, expected a new path'
                raise errors.InputError(message) from error
            raise


@contextlib.contextmanager
def replace_files_in(directory: str) -> Iterator[str]:
    """Gives a directory to write files to; at the end they replace those of the same names in `directory`."""
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise errors.InputError(f'{directory} is a file, expected a directory to write to')
    with _scratch(directory, directory) as scratch:
        try:
            yield scratch
        except errors.InputError as error:
            raise errors.InputError(str(error).replace(scratch, directory)) from error
        for name in os.listdir(scratch):
            os.replace(os.path.join(scratch, name), os.path.join(directory, name))


@contextlib.contextmanager
def _scratch(parent: str, path: str) -> Iterator[str]:
    # A signal may come at any moment, so the name is known before the folder is made.
    scratch = os.path.join(parent, f'{_PREFIX}{secrets.token_hex(8)}')
    made: list[str] = []
    handle = None
    try:
        handle = _in_directory(parent, made, lambda: _make_locked(scratch))
        with naming(path):
            yield scratch
        made.clear()
        shutil.rmtree(scratch, ignore_errors=True)
    except BaseException:
        remove_tree_retrying(scratch)
        raise
    finally:
        if handle is not None:
            os.close(handle)
        _remove_empty(made)


def _in_directory(directory: str, made: list[str], make: Callable[[], int]) -> int:
    """Makes a directory where it is missing, and something in it; adds the new directories to `made`, from the top."""
    while True:
        made += make_directories(directory)
        # Another process, which had made the directory, may have removed it since.
        with contextlib.suppress(FileNotFoundError):
            return make()


def _remove_empty(directories: list[str]) -> None:
    for directory in reversed(directories):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def _make_locked(scratch: str) -> int:
    """Makes a new folder; returns a handle that locks it until the process closes it or dies."""
    _remove_abandoned(os.path.dirname(scratch))
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(scratch, 0o700)
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(scratch, os.O_RDONLY)
            # Another process may have taken it for abandoned, before it was locked.
            if _is_free(handle) is not False and os.path.exists(scratch):
                return handle
            os.close(handle)


def _is_free(handle: int) -> bool | None:
    """Locks a folder; False where another process has locked it, None where the file system cannot lock folders."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_abandoned(parent: str) -> None:
    """Removes what commands that were killed have left in a folder."""
    for entry in list(os.scandir(parent)):
        if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(OSError):
                handle = os.open(entry.path, os.O_RDONLY)
                if _is_free(handle):
                    shutil.rmtree(entry.path, ignore_errors=True)
                os.close(handle)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Names the path in errors of writing, such as a full disk, which name none."""
    try:
        yield
    except OSError as error:
        # One that a library made has a text only, which a file name would take the place of.
        if error.errno is None:
            raise errors.InputError(f'{path} cannot be written: {errors.one_line(error)}') from error
        error.filename = error.filename or path
        raise


def remove_tree_retrying(directory: str) -> None:
    """Removes a directory that a failed write left."""
    # After a failed write, threads of orbax may still add files for a moment.
    gone_since = 0
    for _ in range(50):
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(0.02)
        gone_since = 0 if os.path.exists(directory) else gone_since + 1
        if gone_since == 10:
            return


def make_directories(path: str) -> list[str]:
    """Makes a directory and those above it; returns the new ones, from the top."""
    path, made = os.path.abspath(path), []
    while not os.path.isdir(path):
        missing = path
        while not os.path.isdir(parent := os.path.dirname(missing)):
            missing = parent
        # Other processes make and remove them, too.
        try:
            os.mkdir(missing)
            made.append(missing)
        except FileNotFoundError:
            pass
        except FileExistsError:
            if os.path.lexists(missing) and not os.path.isdir(missing):
                raise
    return made


@contextlib.contextmanager
def unfinished_in(directory: str) -> Iterator[str]:
    """Gives the empty folder `.unfinished`, that several processes write to before they move files to `directory`.

    What an interrupted command has left there is removed at the start.
    """
    path = os.path.join(directory, UNFINISHED)
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def only_writer(directory: str) -> Iterator[None]:
    """Lets one process at a time write to a directory, which is made where it is missing; a process that dies lets go.

    Raises:
        InputError: another process writes to it, or it is a file.
    """
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise errors.InputError(f'{directory} is a file, expected a directory to write to')
    path = os.path.join(directory, _LOCK)
    made: list[str] = []
    handle = None
    try:
        handle = _in_directory(directory, made, lambda: _lock(path, directory))
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
            os.close(handle)
        _remove_empty(made)


def _lock(path: str, directory: str) -> int:
    """Creates and locks a file that says whose it is; returns its handle."""
    while True:
        if os.path.islink(path):
            raise errors.InputError(f'{path} is a link, expected the lock of {directory}; remove it')
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still_there(path, handle):
                # On a full disk, what is written next says so.
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, 0)
                    os.write(handle, f'process {os.getpid()} on {socket.gethostname()}'.encode())
                return handle
        except BlockingIOError:
            owner = os.read(handle, 1000).decode(errors='replace') or 'another process'
            os.close(handle)
            raise errors.InputError(f'{owner} writes to {directory}; wait for it or stop it') from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_still_there(path: str, handle: int) -> bool:
    """Whether a path is of this open file: who had locked it may have removed it since."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def read_bytes(path: str) -> bytes | None:
    """The content of a file, None where there is none."""
    file_limits.check_regular(path)
    try:
        with open(path, 'rb') as file:
            return file.read()
    except FileNotFoundError:
        return None


def write_json(path: str, content: Mapping[str, Any]) -> None:
    """Writes a JSON object, indented."""
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + '\n')


def parse_json(text: str | bytes) -> Any:
    """What JSON says; ValueError where it is none, is nested too deeply, or has text that no file can hold."""
    try:
        content = json.loads(text)
        # An escape may stand for half of a character.
        json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError('it is nested too deeply') from None
    return content


def read_json(path: str, kind: type[Any] = dict, fields: Iterable[str] = ()) -> Any:
    """Reads a JSON object that has some fields, or with `kind=list` a list; InputError where the file holds no such."""
    file_limits.check_regular(path)
    try:
        with open(path, encoding='utf-8-sig') as file:
            content = parse_json(file.read())
    except ValueError as error:
        raise errors.InputError(f'{path} is damaged, expected JSON: {errors.one_line(error)}') from error
    if not isinstance(content, kind):
        expected = 'JSON object' if kind is dict else 'JSON list'
        raise errors.InputError(f'{path} holds a {type(content).__name__}, expected a {expected}')
    require_fields(path, content, fields)
    return content


def require_fields(path: str, content: Any, fields: Iterable[str]) -> None:
    """Checks that what was read from a JSON file has some fields; InputError where it lacks one."""
    missing = [field for field in fields if field not in content]
    if missing:
        raise errors.InputError(f'{path} has no field {missing[0]!r}')


def read_label_names(path: str) -> list[str]:
    """Reads one gloss per line; InputError where the file is empty or not text."""
    file_limits.check_regular(path)
    try:
        with open(path, encoding='utf-8-sig') as file:
            names = [line.strip() for line in file.read().splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise errors.InputError(f'{path} is not UTF-8 text, expected one gloss per line') from None
    if not names:
        raise errors.InputError(f'{path} is empty, expected one gloss per line')
    return names


def write_csv(
    path: str,
    rows: Iterable[Mapping[str, Any]],
    columns: Iterable[str] | None = None,
    *,
    delimiter: str = ',',
    line_end: str = '\r\n',
    is_data: bool = False,
) -> None:
    """Writes rows of the same fields, or of `columns`, below a header.

    Unless `is_data`, which commands read again, text that a spreadsheet would take for a formula has a ' before it, as
    OWASP recommends (CSV injection).
    """
    if columns is None:
        rows = list(rows)
        columns = rows[0]
    columns = list(columns)
    if not is_data:
        rows = ({name: _no_formula(value) for name, value in row.items()} for row in rows)
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, columns, delimiter=delimiter, lineterminator=line_end)
        writer.writerow({name: name if is_data else _no_formula(name) for name in columns})
        writer.writerows(rows)


# As spreadsheets read the beginning of a cell, by OWASP; also in full width.
_FORMULAS = ('=', '+', '-', '@', '\t', '\r', '\n', '\0', '＝', '＋', '－', '＠')


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(_FORMULAS):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[Any]:
    """Opens a text file that replaces `path` at the end, and is gone after an error."""
    temporary = f'{path}{UNFINISHED}'
    try:
        # A link of that name might lead anywhere.
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        with naming(path), open(temporary, 'x', encoding='utf-8', newline='') as file:
            yield file
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
