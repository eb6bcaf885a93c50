r"""Own recordings in folders -> a clips table.

    python -m preprocessing.clips_from_folder --videos=D --output=clips.csv

D/hello/anna_1.mp4, D/hello/ben/1.mp4, D/thanks/anna_1.mp4, …: the folder is the gloss. The signer is the folder below
it, or else the part of the file name before the first _. Folders of splits (train, val, test) or signers (signer01)
above are recognized; --layout says what is not sure. A folder of frames is as good as a video, and with --stills an
image is a clip of one frame.

    python -m preprocessing.clips_from_folder --videos=D --output=clips.csv \
        --pattern='(?P<gloss>\d+)_(?P<signer>\d+)_(?P<repetition>\d+)'

takes all from the paths: gloss, and where there are such groups signer and split.
"""

from collections.abc import Sequence
import os
import re

from absl import flags

from preprocessing import clips as clips_lib
from preprocessing import folders, splits
from preprocessing.extraction import video_files
from slr_jax import cli, errors

SIGNER = '^([^/_]+)[/_]'


def make_clips(
    directory: str,
    *,
    layout: str | None = None,
    pattern: str | None = None,
    signer: str = SIGNER,
    glosses: Sequence[str] | None = None,
    stills: bool | None = None,
) -> tuple[list[clips_lib.Clip], list[str]]:
    """Makes a clip of each video and each folder of frames below a directory.

    Args:
        directory: of the videos.
        layout: what the folders are, such as `split/class`; None recognizes it.
        pattern: regular expression with the group gloss and perhaps split, signer and repetition, searched in the
            paths; instead of a layout.
        signer: regular expression; its first group is the signer in the path below the folders of the layout.
        glosses: those to keep; None for all.
        stills: whether each image is a clip, rather than each folder of numbered images; None refuses what may be both.

    Returns:
        The clips, with split '' where the paths do not say it (see `splits.assign`), and lines that say what was
        understood and what was passed over.

    Raises:
        InputError: it is not sure which folders are the classes, or one of them holds no video.
    """
    roles, compiled = folders.parse_choice(layout, pattern)
    compiled_signer = _compile_signer(signer)
    found = folders.find(directory, stills=bool(stills))
    if stills is not None:
        found.stills = []
    frames = [path for path in found.videos if os.path.isdir(os.path.join(directory, path))]
    if found.stills and (not found.videos or 2 * len(set(frames) & set(found.stills)) > len(frames)):
        raise folders.are_stills(directory, found.stills)
    try:
        clips, roles = folders.make_clips(directory, found, roles, compiled, compiled_signer)
    except errors.InputError:
        # Without classes above them, folders of images may be the classes.
        if stills is None and frames == found.videos and frames and not roles and not compiled:
            raise folders.stills_or_frames(directory, frames) from None
        raise
    if stills is None:
        folders.check_no_class_is_a_clip(directory, clips)
        if (
            compiled
            and len(clips) == len({clip.gloss for clip in clips})
            and {clip.file for clip in clips} <= set(frames)
        ):
            raise folders.stills_or_frames(directory, frames)
    if 'class' in roles:
        _check_classes(directory, found, roles, clips, nostills=stills is False)
    name = f'{"/".join([*roles, *["<class>_<number>"] * ("class" not in roles)])} layout'
    if compiled:
        name = '--pattern'
    clips = clips_lib.number_labels(clips)
    lines = [f'{name}: {_count(clips)}', *_notes(clips, roles), *found.notes()]
    return clips_lib.keep_glosses(clips, glosses, directory), lines


def _compile_signer(signer: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(signer)
    except re.error:
        compiled = re.compile('')
    if not compiled.groups:
        raise errors.InputError(f'--signer={signer} is not a regular expression with a group')
    return compiled


def _check_classes(
    directory: str, found: folders.Found, roles: folders.Levels, clips: Sequence[clips_lib.Clip], *, nostills: bool
) -> None:
    level = roles.index('class')
    glosses = {clip.gloss for clip in clips}
    paths = [path.split('/') for path in sorted([*found.folders, *found.videos])]
    for path in paths:
        is_folder = len(path) > level + 1 or os.path.isdir(os.path.join(directory, *path))
        if len(path) > level and is_folder and clips_lib.tidy_gloss(path[level]) not in glosses:
            folder = '/'.join(path[: level + 1])
            if folder in found.stills:
                raise folders.are_stills(directory, [folder])
            if folder in found.videos and not nostills:
                raise folders.stills_or_frames(directory, [folder])
            raise video_files.no_video(os.path.join(directory, folder))


def _count(clips: Sequence[clips_lib.Clip]) -> str:
    glosses = list(dict.fromkeys(clip.gloss for clip in sorted(clips, key=lambda clip: clip.label)))
    counts = {
        'split': len({clip.split for clip in clips} - {''}),
        'signer': len({clip.signer_id for clip in clips} - {''}),
    }
    words = [f'{count} {name}{"s" * (count > 1)}' for name, count in counts.items() if count]
    return ', '.join([*words, f'{len(glosses)} gloss{"es" * (len(glosses) > 1)}: {folders.some(glosses)}'])


def _notes(clips: Sequence[clips_lib.Clip], roles: folders.Levels) -> list[str]:
    """A line where the names of the videos may be the classes, rather than the folders."""
    if len({clip.gloss for clip in clips}) == 1:
        return ["only one gloss was found: --pattern='(?P<gloss>…)' takes glosses from elsewhere in the paths"]
    names: dict[str, set[str]] = {}
    for clip in clips:
        names.setdefault(clip.gloss, set()).add(os.path.splitext(os.path.basename(clip.file))[0])
    first, *others = names.values()
    if roles != ('class',) or len(first) < 2 or any(other != first for other in others):
        return []
    if any(character.isdecimal() for name in first for character in name):
        return []
    return [
        f'every folder holds {folders.some(sorted(first))}: if those are the glosses, give '
        "--pattern='(?P<signer>[^/]+)/(?P<gloss>[^/.]+)'"
    ]


def define_flags() -> None:
    """Defines the flags that say how the folders are understood."""
    folders.define_flags()
    flags.DEFINE_string(
        'signer',
        SIGNER,
        'Regular expression whose first group is the signer in the path below the folders, where none is of signers.',
    )
    folders.define_stills_flag()
    clips_lib.define_glosses_flag()
    splits.define_flags()
    for module in (folders, clips_lib, splits):
        flags.adopt_module_key_flags(module)


def find(values: flags.FlagValues) -> tuple[list[clips_lib.Clip], list[str]]:
    """What `make_clips` returns of the videos below --videos, as the flags say."""
    return make_clips(
        values.videos,
        layout=values.layout,
        pattern=values.pattern,
        signer=values.signer,
        glosses=values.glosses,
        stills=values.stills,
    )


def read(values: flags.FlagValues) -> tuple[list[clips_lib.Clip], list[str]]:
    """The clips below --videos with their splits, and the lines of `make_clips`, as the flags say."""
    clips, lines = find(values)
    clips, line, _ = splits.assign_by_flags(clips, values, values.videos)
    return clips, [*lines, line]


def _define_flags() -> None:
    flags.DEFINE_string('videos', None, 'Directory of the videos.', required=True)
    flags.DEFINE_string('output', None, 'Clips table to write.', required=True)
    define_flags()


def main() -> None:
    """Writes the clips table."""
    clips, lines = read(flags.FLAGS)
    clips_lib.write_clips(flags.FLAGS.output, clips, flags.FLAGS.videos)
    print('\n'.join([*lines, clips_lib.summary(flags.FLAGS.output, clips), *clips_lib.note_signers(clips)]))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
