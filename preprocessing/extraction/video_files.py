"""Where videos are: finding them, and the flags that say where they are. Needs no OpenCV."""

import os

from absl import flags

from preprocessing import clips as clips_lib
from slr_jax import errors

SUFFIXES = (
    *('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.asf', '.3gp', '.3g2'),
    *('.mts', '.m2ts', '.ts', '.vob', '.flv', '.ogv', '.gif'),
)


def find_videos(directory: str) -> list[str]:
    """Paths of the video files below a directory, relative to it, sorted.

    Raises:
        InputError: there are none.
    """
    videos = sorted(
        os.path.relpath(os.path.join(parent, name), directory)
        for parent, _, names in os.walk(directory)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith('.')
    )
    if not videos:
        raise errors.InputError(f'{directory} holds no video, expected {", ".join(SUFFIXES)}')
    return videos


def video_path(clip: clips_lib.Clip, directory: str, kind: str) -> str:
    """A clip's video, or where `kind` is `frames` its folder of frames."""
    return os.path.join(directory, os.path.splitext(clip.file)[0] if kind == 'frames' else clip.file)


def define_flags() -> None:
    """Defines --videos and --frames, of which a command takes one."""
    flags.DEFINE_string('videos', None, 'Directory of the videos that the clips table names.')
    flags.DEFINE_string('frames', None, 'Directory with one folder of frames per video, instead of --videos.')


def parse_flags(values: flags.FlagValues) -> tuple[str, str]:
    """The directory that was given, and what it holds: `videos` or `frames`."""
    if bool(values.videos) == bool(values.frames):
        raise errors.InputError('either --videos or --frames must be given')
    return (values.videos, 'videos') if values.videos else (values.frames, 'frames')
