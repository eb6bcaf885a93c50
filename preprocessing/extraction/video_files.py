"""Where videos are: finding them, and the flags that say where they are. Needs no OpenCV."""

from collections.abc import Iterator
import os
import re

from absl import flags

from preprocessing import clips as clips_lib
from slr_jax import errors

SUFFIXES = (
    '.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.3gp', '.3g2', '.asf', '.dv', '.f4v',
    '.flv', '.gif', '.m1v', '.m2t', '.m2ts', '.m2v', '.mts', '.mxf', '.ogv', '.qt', '.ts', '.vob', '.y4m',
)  # fmt: skip
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
# What programs that copy or augment videos put after a name, and before it.
_COPY = re.compile(
    r'(?:[\s_.-]+(?:(?:h|v|hor|vert|horizontal|vertical|gaussian|random)?[_-]?'
    r'(?:flip(?:ped)?(?:[_-]?(?:lr|ud|h|v|horizontal(?:ly)?|vertical(?:ly)?))?|mirror(?:ed)?|bright(?:er|ness)?|dark(?:er)?|'
    r'contrast|rot(?:ate[ds]?|ation)?|crop(?:ped)?|nois[ey]|blur(?:red)?|zoom(?:ed)?|scaled?|shift(?:ed)?|slow(?:er)?|'
    r'fast(?:er)?|speed|aug(?:mented|mentation)?|dup(?:licate)?|copy|copie|kopie|copia)'
    r'(?:[\s_-]?(?:[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:x|deg|%)?|\(\d+\)))?)|'
    r'\s*\((?:\d+|(?:[^()]+ )?(?:copy|copie|kopie|copia))\)){1,4}$',
    re.IGNORECASE,
)
_COPY_OF = re.compile(
    r'(?:(?:copy of|copie de|kopie von|copia de)\s+|(?:[hv]?flip(?:ped)?|mirror(?:ed)?|aug(?:mented)?)\d*[\s_-]+)(?=.)',
    re.IGNORECASE,
)


def original_name(path: str) -> str:
    """A path without suffix and what copying and augmenting add to names: `a/1` of `a/1_flip.mp4`, `a/1 - Copy.mp4`."""
    stem, suffix = os.path.splitext(path)
    stem = stem if suffix.lower() in (*SUFFIXES, *IMAGE_SUFFIXES) else path
    folder, name = os.path.split(stem)
    name = _COPY.sub('', name) or name
    of_copy = _COPY_OF.match(name)
    return os.path.join(folder, name[of_copy.end() :] if of_copy else name)


def walk(directory: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, sorted, without hidden folders but with linked ones.

    Links to folders that are found anyway, loops among them, are not followed: they are among the names of files.
    """
    followed: set[str] = set()
    for parent, folders, names in os.walk(directory, onerror=_raise, followlinks=True):
        visible = sorted(folder for folder in folders if not folder.startswith('.') and folder != '__MACOSX')
        known = [folder for folder in visible if _is_known_link(directory, parent, folder, followed)]
        folders[:] = [folder for folder in visible if folder not in known]
        yield parent, folders, sorted([*names, *known])


def _raise(error: OSError) -> None:
    raise error


def _is_known_link(directory: str, parent: str, name: str, followed: set[str]) -> bool:
    """Whether a folder is a link into `directory`, to a folder that it is itself below, or to one that was followed."""
    path = os.path.join(parent, name)
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    above = [parent]
    while len(above[-1]) > len(directory):
        above.append(os.path.dirname(above[-1]))
    if target in followed or _is_below(target, os.path.realpath(directory)):
        return True
    followed.add(target)
    return any(_is_below(os.path.realpath(folder), target) for folder in above)


def _is_below(path: str, directory: str) -> bool:
    return os.path.commonpath([path, directory]) == directory


def is_image(name: str) -> bool:
    """Whether a file is an image that is read, by its name."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.')


def frame_number(name: str) -> int | None:
    """The number of an image in a folder of frames; None for other files."""
    found = re.search(r'(\d+)\.\w+$', name)
    return int(found[1]) if found and is_image(name) else None


def find_videos(directory: str) -> list[str]:
    """Paths of the video files below a directory, relative to it, sorted.

    Raises:
        InputError: there are none.
    """
    videos = sorted(
        os.path.relpath(os.path.join(parent, name), directory)
        for parent, _, names in walk(directory)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith('.')
    )
    if not videos:
        raise no_video(directory)
    return videos


def no_video(directory: str) -> errors.InputError:
    """The error for a directory without videos."""
    return errors.InputError(f'{directory} holds no video, expected {", ".join(SUFFIXES)}')


def video_path(clip: clips_lib.Clip, directory: str, kind: str) -> str:
    """A clip's video, or where `kind` is `frames` its folder of frames."""
    name, suffix = os.path.splitext(clip.file)
    return os.path.join(directory, name if kind == 'frames' and suffix.lower() in SUFFIXES else clip.file)


def define_flags() -> None:
    """Defines --videos and --frames, of which a command takes one."""
    flags.DEFINE_string('videos', None, 'Directory of the videos that the clips table names.')
    flags.DEFINE_string('frames', None, 'Directory with one folder of frames per video, instead of --videos.')


def parse_flags(values: flags.FlagValues) -> tuple[str, str]:
    """The directory that was given, and what it holds: `videos` or `frames`."""
    if bool(values.videos) == bool(values.frames):
        raise errors.InputError('either --videos or --frames must be given')
    return (values.videos, 'videos') if values.videos else (values.frames, 'frames')
