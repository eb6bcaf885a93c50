"""What kind of file a path is, for messages about a file that is not what was expected."""

import itertools
import os
import zipfile

from slr_jax import file_limits

# The first bytes of a file, the kind that they say, and what to do with it.
_MAGIC = (
    (b'\x93NUMPY', 'a NumPy array (.npy); folders of them are read with --source=mp_data'),
    (b'PAR1', 'a parquet file; those of asl-signs are read with --source=asl_signs'),
    (b'\x89HDF\r\n', 'an HDF5 file'),
    (b'MATLAB', 'a MATLAB file'),
    (b'\x89PNG', 'an image'),
    (b'\xff\xd8\xff', 'an image'),
    (b'GIF8', 'an image'),
    (b'%PDF', 'a PDF document'),
    (b'\x1f\x8b', 'a file packed with gzip; unpack it first'),
    (b'7z\xbc\xaf', 'a file packed with 7-Zip; unpack it first'),
    (b'Rar!', 'a file packed with RAR; unpack it first'),
    (b'\x1a\x45\xdf\xa3', 'a video'),
    (b'FLV\x01', 'a video'),
    (b'\x00\x00\x01\xba', 'a video'),
    (b'\x30\x26\xb2\x75', 'a video'),
    (b'SQLite', 'an SQLite database'),
    (b'\x80\x02', 'a Python pickle'),
    (b'\x80\x03', 'a Python pickle'),
    (b'\x80\x04', 'a Python pickle'),
    (b'\x80\x05', 'a Python pickle'),
)
# Files of a directory that are looked at.
_MOST_FILES = 100
# Versions 0.0, 0.1 and 0.2 of the format .pose, as float32.
_POSE_VERSIONS = (b'\x00\x00\x00\x00', b'\xcd\xcc\xcc\x3d', b'\xcd\xcc\x4c\x3e')
# What describe says of text, which may be anything.
TEXT = ('a CSV file', 'a text file')


def describe(path: str) -> str | None:
    """What a file is, such as `a video`, with the way to read it where there is one; None where it is not known."""
    if os.path.isdir(path):
        content = describe_content(path)
        return f'a directory, in which {content}' if content else 'an empty directory'
    special = file_limits.special_kind(path)
    if special:
        return special
    with open(path, 'rb') as file:
        head = file.read(512)
    if zipfile.is_zipfile(path):
        return _describe_zip(path)
    return _describe_head(path, head) if head else 'an empty file'


def describe_content(directory: str) -> str | None:
    """A file in a directory and its kind, if possible one that can be read; None where there is none."""
    found = None
    paths = (os.path.join(parent, name) for parent, _, names in os.walk(directory) for name in sorted(names))
    for path in itertools.islice(paths, _MOST_FILES):
        kind = describe(path)
        if kind and (not found or '--source=' in kind):
            found = f'{os.path.relpath(path, directory)} is {kind}'
        if kind and '--source=' in kind:
            break
    return found


def _describe_head(path: str, head: bytes) -> str | None:
    if head[:4] in _POSE_VERSIONS and path.endswith('.pose'):
        return 'a .pose file; folders of them are read with --source=pose'
    if head[4:8] in (b'ftyp', b'moov', b'mdat') or (head[:4] == b'RIFF' and head[8:12] == b'AVI '):
        return 'a video'
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return _describe_text(head)


def _describe_zip(path: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith('/')]
    # What damaged zips raise.
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return 'a damaged zip'
    if any(name.endswith('/data.pkl') for name in names):
        return 'a PyTorch file'
    if 'xl/workbook.xml' in names:
        return 'an Excel workbook; save it as CSV'
    if names and all(name.endswith('.npy') for name in names):
        return f'an .npz archive of {", ".join(name.removesuffix(".npy") for name in names[:8])}'
    shown = ', '.join(names[:2])
    return f'a zip of {len(names)} files, such as {shown}; unpack it first' if names else 'an empty zip'


def _describe_text(head: bytes) -> str | None:
    try:
        text = head.decode('utf-8-sig', errors='strict' if len(head) < 512 else 'ignore').lstrip()
    except UnicodeDecodeError:
        return None
    if not text or not all(character.isprintable() or character.isspace() for character in text):
        return None
    if text[0] in '{[':
        is_openpose = '"people"' in text
        return f'a JSON file{" of OpenPose; folders of them are read with --source=openpose" if is_openpose else ""}'
    first = text.splitlines()[0]
    return TEXT[0] if any(separator in first for separator in ',;\t|') else TEXT[1]
