"""Videos and folders of frames below a directory, and what their paths say: gloss, split, signer."""

from collections import Counter
from collections.abc import Iterable, Sequence
import dataclasses
import os
import re
from typing import NamedTuple

from absl import flags as absl_flags

from preprocessing import clips as clips_lib
from preprocessing import splits
from preprocessing.extraction import video_files
from slr_jax import errors

# What a level of folders can be in a layout; names of * do not matter.
ROLES = ('class', 'signer', 'split', '*')
# What a pattern can name; a repetition is only a part of the name.
GROUPS = ('gloss', 'signer', 'split', 'repetition')
_SIGNER = re.compile(
    r'(?:signer|user|person|subject|participant|speaker|actor|performer|volunteer|informant|persona|sujeto|usuario)s?'
    r'(?:[\W_]*\d+|[\W_]+[a-z])|(?:sub|subj|[psu])[\W_]*\d+',
    re.IGNORECASE,
)
# A word and a number, which nothing but the gloss and the repetition can be.
_FLAT_NAME = re.compile(r'(?P<gloss>[^\W\d_]+)[\s_-]*\(?(?P<repetition>\d+)\)?')
# Numbers as in LSA64, 001_002_003, of which one is the gloss.
_NUMBERS = re.compile(r'\d+([_-]\d+)+')
_MAX_NAMED = 3

Levels = tuple[str, ...]


class Flags(NamedTuple):
    """Names of the flags that say where videos are, and what their folders are."""

    directory: str
    layout: str


VIDEO_FLAGS = Flags(directory='videos', layout='layout')


@dataclasses.dataclass
class Found:
    """What lies below a directory; all paths are relative to it.

    Attributes:
        videos: video files, and folders of frames, sorted.
        folders: other folders.
        stills: folders of images that are no frames: without numbers, or not numbered as those of a recording.
        passed_over: reason -> paths.
        flags: that messages name.
    """

    videos: list[str]
    folders: list[str] = dataclasses.field(default_factory=list)
    stills: list[str] = dataclasses.field(default_factory=list)
    passed_over: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    flags: Flags = VIDEO_FLAGS

    def pass_over(self, reason: str, path: str) -> None:
        """Notes a path that no clip is made of."""
        self.passed_over.setdefault(reason, []).append(path)

    def notes(self) -> list[str]:
        """One line per reason: how many, and the first names."""
        return [f'passed over, {reason}: {count_and_name(paths)}' for reason, paths in self.passed_over.items()]


def count_and_name(names: Iterable[str]) -> str:
    """`5 (a, b, c, …)`."""
    names = list(names)
    return f'{len(names)} ({some(names)})'


def some(names: Iterable[str]) -> str:
    """`a, b, c, …`."""
    names = list(names)
    return ', '.join(names if len(names) <= _MAX_NAMED else [*names[:_MAX_NAMED], '…'])


def find(directory: str, expected: str = 'one with a folder per class', *, stills: bool = False) -> Found:
    """Finds videos and folders of frames: those that hold numbered images, no video and no folder.

    Args:
        directory: where to look.
        expected: what it should be, for the message.
        stills: whether each image is a video of one frame, and no folder is one of frames.

    Raises:
        InputError: there is no such directory.
    """
    if not os.path.isdir(directory):
        raise errors.InputError(f'{directory} is not a directory, expected {expected}')
    found = Found([])
    for parent, folders, names in video_files.walk(directory):
        here = os.path.relpath(parent, directory)
        prefix = '' if here == '.' else f'{here}/'
        numbers = [video_files.frame_number(name) for name in names if video_files.is_image(name)]
        alone = numbers and not stills and not folders and not any(map(_is_video_name, names))
        is_video = prefix and alone and any(number is not None for number in numbers)
        if alone and not _are_frames(numbers):
            found.stills.append(here)
        if is_video:
            found.videos.append(here)
        elif prefix:
            found.folders.append(here)
        for name in names:
            reason = _reason_against(os.path.join(parent, name), stills)
            if not reason:
                found.videos.append(prefix + name)
            elif not (is_video and video_files.frame_number(name) is not None) and not name.startswith('.'):
                found.pass_over(reason, prefix + name)
            elif name.startswith('.') and _is_video_name(name):
                found.pass_over('hidden', prefix + name)
    found.videos.sort()
    for folder in sorted(found.folders):
        if not any(path.startswith(f'{folder}/') for path in (*found.videos, *found.folders)):
            found.pass_over('folders without videos', folder)
    return found


def _are_frames(numbers: Sequence[int | None]) -> bool:
    """Whether images may be the frames of a recording: most are numbered, no two alike, and few numbers are missing."""
    found = [number for number in numbers if number is not None]
    return len(set(found)) == len(found) > len(numbers) / 2 and max(found) - min(found) < 2 * len(found)


def _is_video_name(name: str) -> bool:
    return name.lower().endswith(video_files.SUFFIXES)


def _reason_against(path: str, stills: bool) -> str:
    name = os.path.basename(path)
    if os.path.isdir(path):
        return 'links to folders that are found anyway'
    if not os.path.exists(path):
        return 'broken links'
    is_video = _is_video_name(name) or (stills and video_files.is_image(name))
    return '' if is_video and not name.startswith('.') else 'not videos'


def clip_name(path: str) -> str:
    """The name of the clip of a whole video, from its path."""
    name, suffix = os.path.splitext(path)
    is_file = suffix.lower() in (*video_files.SUFFIXES, *video_files.IMAGE_SUFFIXES)
    return re.sub(r'[^\w#.-]+', '_', name if is_file else path)


# --- Stills


def define_stills_flag() -> None:
    """Defines --stills."""
    absl_flags.DEFINE_bool(
        'stills',
        None,
        'Whether each image is a clip of one frame (--stills), or each folder of numbered images a clip, whatever its '
        'images look like (--nostills); default: folders that may be of stills are refused.',
    )


def are_stills(directory: str, folders: Sequence[str]) -> errors.InputError:
    """The error for folders of images that are not the frames of a recording."""
    where = os.path.normpath(os.path.join(directory, folders[0]))
    names = [name for name in sorted(os.listdir(where)) if video_files.is_image(name)]
    first = f', the first of {len(folders)} such folders,' if len(folders) > 1 else ''
    return errors.InputError(
        f'{where}{first} holds stills ({some(names)}), not the numbered frames of a recording; --stills makes each '
        'image a clip of one frame'
    )


def stills_or_frames(directory: str, folders: Sequence[str]) -> errors.InputError:
    """The error for folders of numbered images, of which each may be a class or a clip."""
    return errors.InputError(
        f'{directory} holds {len(folders)} folder{"s" * (len(folders) > 1)} of numbered images ({some(folders)}), '
        'which may be classes of stills or clips of frames: --stills makes each image a clip of one frame, --nostills '
        'each folder one clip'
    )


def check_no_class_is_a_clip(directory: str, clips: Sequence[clips_lib.Clip]) -> None:
    """Raises InputError where clips are folders of images with the name of their class."""
    same = [clip.file for clip in clips if clips_lib.tidy_gloss(os.path.basename(clip.file)) == clip.gloss]
    same = [path for path in same if os.path.isdir(os.path.join(directory, path))]
    if same:
        raise stills_or_frames(directory, same)


# --- Patterns


def compile_pattern(pattern: str, needed: Sequence[str] = ('gloss',)) -> re.Pattern[str]:
    """Compiles --pattern; InputError where it is no regular expression, or lacks a group or has unknown ones."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise errors.InputError(f'--pattern={pattern} is not a regular expression: {error}') from None
    lacking = [group for group in needed if group not in compiled.groupindex]
    if lacking:
        raise errors.InputError(f'--pattern={pattern} has no group {lacking[0]!r}, expected (?P<{lacking[0]}>…)')
    unknown = [group for group in compiled.groupindex if group not in GROUPS]
    if unknown:
        raise errors.InputError(f'--pattern={pattern} has a group {unknown[0]!r}, expected some of {", ".join(GROUPS)}')
    return compiled


def match(pattern: re.Pattern[str], path: str) -> dict[str, str] | None:
    """The groups that a pattern finds in a path, None without a gloss where it has that group."""
    found = pattern.search(path)
    groups = {group: text or '' for group, text in found.groupdict().items()} if found else None
    return groups if groups and groups.get('gloss', path) else None


def clips_by_pattern(directory: str, found: Found, pattern: re.Pattern[str]) -> list[clips_lib.Clip]:
    """Makes clips of the videos whose path a pattern with the group gloss matches; the others are passed over.

    Raises:
        InputError: it matches none, or a split is unknown.
    """
    clips = []
    for path in found.videos:
        groups = match(pattern, path)
        if groups is None:
            found.pass_over('--pattern does not match', path)
        else:
            clips.append(_make_clip(path, groups['gloss'], groups.get('signer', ''), groups.get('split')))
    if not clips:
        raise errors.InputError(
            f'--pattern={pattern.pattern} matches none of the {len(found.videos)} videos of {directory}: '
            f'{some(found.videos)}'
        )
    return clips


def _make_clip(path: str, gloss: str, signer: str, split_name: str | None) -> clips_lib.Clip:
    split = '' if split_name is None else splits.parse(split_name)
    if split is None:
        raise errors.InputError(f'{path}: found split {split_name!r}, expected {splits.EXPECTED}')
    signer = video_files.original_name(signer)
    return clips_lib.Clip(
        clip_name(path), path, label=0, gloss=clips_lib.tidy_gloss(gloss), split=split, signer_id=signer
    )


# --- Layouts of folders


def define_flags(names: Flags = VIDEO_FLAGS, what: str = 'video') -> None:
    """Defines the flag of the layout, as it is called, and --pattern.

    Args:
        names: of the flags.
        what: lies in the folders.
    """
    absl_flags.DEFINE_string(
        names.layout,
        None,
        'What the folders are, from the top, of class, signer, split and * (any), such as split/class or signer/class; '
        'default: recognized.',
    )
    absl_flags.DEFINE_string(
        'pattern',
        None,
        f'Regular expression that is searched in the path of each {what} below --{names.directory}, with the named '
        f'group gloss and where the path says them split, signer and repetition; instead of --{names.layout}.',
    )


def parse_choice(
    layout: str | None, pattern: str | None, names: Flags = VIDEO_FLAGS
) -> tuple[Levels, re.Pattern[str] | None]:
    """Parses a layout or a pattern, () and None where they are not given; InputError where both are."""
    if layout and pattern:
        raise errors.InputError(f'either --{names.layout} or --pattern can be given, not both')
    return parse_layout(layout, names) if layout else (), compile_pattern(pattern) if pattern else None


def make_clips(
    directory: str, found: Found, roles: Levels, pattern: re.Pattern[str] | None, signer: re.Pattern[str]
) -> tuple[list[clips_lib.Clip], Levels]:
    """Makes clips by a pattern, or else by the roles of the folders, which are recognized where there are none.

    Args:
        directory: of the videos.
        found: what lies below it.
        roles: as parse_layout returns them; () where they are not given.
        pattern: as compile_pattern returns it.
        signer: see clips_by_layout.

    Returns:
        The clips, all with label 0, and the roles; () with a pattern.
    """
    if pattern:
        return clips_by_pattern(directory, found, pattern), ()
    roles = roles or recognize_layout(directory, found)
    if 'class' in roles:
        return clips_by_layout(found, roles, signer), roles
    return clips_by_flat_names(directory, found, roles), roles


def parse_layout(text: str, names: Flags = VIDEO_FLAGS) -> Levels:
    """`split/signer/class` -> its levels; InputError where it is not a layout."""
    roles = tuple(text.split('/'))
    named = [role for role in roles if role != '*']
    if not set(roles) <= set(ROLES) or 'class' not in roles or len(set(named)) < len(named):
        raise errors.InputError(
            f'--{names.layout}={text}, expected class and where there are such folders split, signer or * (any), from '
            'the top, such as split/class or signer/class'
        )
    return roles


def clips_by_layout(found: Found, roles: Levels, signer: re.Pattern[str]) -> list[clips_lib.Clip]:
    """Makes clips of the videos that are deep enough for their class; the others are passed over.

    Args:
        found: the videos.
        roles: of the folders, from the top.
        signer: its first group is the signer in the path below the folders, where the layout has no signer.
    """
    clips = []
    names = {os.path.splitext(os.path.basename(path))[0] for path in found.videos}
    for path in found.videos:
        *parents, name = path.split('/')
        named = dict(zip(roles, parents, strict=False))
        if 'class' not in named or ('split' in roles and 'split' not in named):
            found.pass_over('not in the folder of a class', path)
            continue
        # A copy with another name is of the same signer; anna_slow, where there is no anna, is of anna.
        original = video_files.original_name(name)
        name = original + os.path.splitext(name)[1] if original in names else name
        in_path = signer.search('/'.join([*parents[len(roles) :], name]))
        found_signer = named.get('signer', '') if 'signer' in roles else (in_path and in_path[1]) or ''
        clips.append(_make_clip(path, named['class'], found_signer, named.get('split')))
    return clips


def clips_by_flat_names(directory: str, found: Found, roles: Levels) -> list[clips_lib.Clip]:
    """Makes clips of videos without folders of classes, where all are named as hello_1.mp4.

    Raises:
        InputError: the names may mean other things.
    """
    clips = []
    for path in found.videos:
        *parents, name = path.split('/')
        matched = _FLAT_NAME.fullmatch(os.path.splitext(name)[0])
        if not matched:
            raise _no_classes(directory, found)
        clips.append(_make_clip(path, matched['gloss'], '', parents[0] if roles else None))
    glosses = Counter(clip.gloss for clip in clips)
    if len(glosses) < 2 or max(glosses.values()) < 2:
        raise _no_classes(directory, found)
    return clips


def _no_classes(directory: str, found: Found) -> errors.InputError:
    path = found.videos[0]
    top = path.split('/')[0]
    num_words = os.path.splitext(os.path.basename(path))[0].count('_') + 1
    groups = [f'(?P<{group}>[^_/]+)' for group in ('gloss', 'signer', 'repetition')[:num_words]]
    start = '(?P<split>[^/]+)/' if splits.parse(top) and '/' in path else ''
    where = os.path.join(directory, top) if '/' in path else directory
    return errors.InputError(
        f'{where} holds no folders, expected one per class; where the path says the gloss, --pattern takes it, such as '
        f"--pattern='{start}{'_'.join(groups)}' for {path}, and clips_from_table takes a table"
    )


def recognize_layout(directory: str, found: Found) -> Levels:
    """The roles of the folders of videos, from the top; without class where the names of the videos say it.

    Raises:
        InputError: it is not sure, or there are no folders; the message names the flag that mends it.
    """
    paths = [tuple(path.split('/')[:-1]) for path in found.videos]
    paths = [levels for levels in paths if levels]
    if any(len(levels) > 1 for levels in paths) and all(len(set(levels[:2])) == 1 for levels in paths if levels[1:]):
        # A folder in a folder of its name, as archives are unpacked.
        inner = dataclasses.replace(found, videos=[path.partition('/')[2] for path in found.videos if '/' in path])
        return ('*', *recognize_layout(directory, inner))
    if not paths:
        if not found.videos and found.folders:
            raise video_files.no_video(directory)
        if not found.videos or any(os.path.isdir(os.path.join(directory, path)) for path in found.videos):
            raise _only_frames(directory, found)
        return ()
    split_level = _find_split_level(directory, paths, found.flags)
    if split_level is not None:
        paths = [levels[:split_level] + levels[split_level + 1 :] for levels in paths if len(levels) > split_level]
    paths = [levels for levels in paths if levels]
    roles = _recognize_below_splits(directory, paths, found.flags)
    stems = [os.path.splitext(os.path.basename(path))[0] for path in found.videos]
    if len(set(paths)) == 1 and len(stems) > 1 and all(map(_NUMBERS.fullmatch, stems)):
        raise _no_classes(directory, found)
    return roles if split_level is None else (*roles[:split_level], 'split', *roles[split_level:])


def _only_frames(directory: str, found: Found) -> errors.InputError:
    if not found.videos:
        return errors.InputError(f'{directory} holds no folders, expected one per class')
    return errors.InputError(
        f'{directory} holds folders of frames ({some(found.videos)}) and no folders of classes, expected one per class '
        "above them; --pattern='(?P<gloss>…)' takes the gloss from their names, clips_from_table from a table"
    )


def _find_split_level(directory: str, paths: Sequence[Levels], flags: Flags) -> int | None:
    for level in range(max(map(len, paths))):
        names = {levels[level] for levels in paths if len(levels) > level}
        kinds = {name: splits.parse(name) for name in sorted(names)}
        if all(kinds.values()):
            return level
        if len(set(kinds.values()) - {None}) > 1:
            likely = [name for name, kind in kinds.items() if kind]
            others = [name for name, kind in kinds.items() if not kind]
            raise errors.InputError(
                f'{directory}: the folders {", ".join(likely)} look like splits, {some(others)} beside them not; '
                f'--{flags.layout}=class says that all are classes, '
                "--pattern='(?P<split>…)/(?P<gloss>…)' what else they are"
            )
    return None


def _recognize_below_splits(directory: str, paths: Sequence[Levels], flags: Flags) -> Levels:
    if not paths:
        return ()
    upper = sorted({levels[0] for levels in paths})
    below = {name: {levels[1] for levels in paths if levels[0] == name and len(levels) > 1} for name in upper}
    lower = sorted(set().union(*below.values()))
    looks = {name: bool(_SIGNER.fullmatch(name)) for name in (*upper, *lower)}
    likely = [name for name in upper if looks[name]]
    if not lower:
        if 2 * len(likely) > len(upper):
            raise errors.InputError(
                f'{directory}: the folders {some(likely)} look like signers, expected classes; '
                "--pattern='(?P<signer>[^/]+)/(?P<gloss>[^/_.]+)' takes the gloss from the names of the videos, "
                f'--{flags.layout}=class says that the folders are the classes'
            )
        return ('class',)
    if len(likely) == len(upper) and not all(looks[name] for name in lower):
        return ('signer', 'class')
    if not likely and all(looks[name] for name in lower):
        return ('class', 'signer')
    every_folder_has_videos = {levels[0] for levels in paths if len(levels) == 1} == set(upper)
    choose = f'--{flags.layout}=signer/class or --{flags.layout}=class/signer says which they are'
    if 2 * len(likely) > len(upper):
        raise errors.InputError(
            f'{directory}: the folders {some(likely)} look like signers, expected classes; {choose}'
        )
    if every_folder_has_videos:
        return ('class',)
    if len(upper) == 1:
        raise errors.InputError(
            f'{directory} holds one folder, {upper[0]}, and that holds {some(lower)}: '
            f'--{flags.directory}={os.path.join(directory, upper[0])} takes those as the classes, '
            f'--{flags.layout}=class/signer as signers'
        )
    repeated = [name for name in lower if sum(name in names for names in below.values()) > 1]
    if repeated:
        raise errors.InputError(
            f'{directory}: folders of the same names ({some(repeated)}) are below {some(upper)}, so that either may be '
            f'the classes; {choose}'
        )
    return ('class',)
