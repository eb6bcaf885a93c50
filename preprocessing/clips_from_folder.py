"""Own recordings, one folder a class -> a clips table.

    python -m preprocessing.clips_from_folder --videos=D --output=clips.csv

D/hello/anna_1.mp4, D/hello/ben/1.mp4, D/thanks/anna_1.mp4, …: the folder is the gloss. The signer is the folder below
it, or else the part of the file name before the first _.
"""

import dataclasses
import os
import re

from absl import flags
import numpy as np

from preprocessing import clips as clips_lib
from slr_jax import cli, errors
from slr_jax import dataset as dataset_lib

SUFFIXES = ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.3gp')


def find_clips(directory: str, signer: str) -> list[clips_lib.Clip]:
    """Finds the videos below the folders of a directory, all in the train split.

    Args:
        directory: with one folder a class.
        signer: regular expression; its first group is the signer in the path below the class folder.

    Raises:
        InputError: there are no such folders, or one holds no video.
    """
    if not os.path.isdir(directory):
        raise errors.InputError(f'{directory} is no directory, expected one with a folder a class')
    glosses = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir() and entry.name[0] != '.')
    if not glosses:
        raise errors.InputError(f'{directory} holds no folders, expected one a class')
    clips = []
    for label, gloss in enumerate(glosses):
        paths = videos_below(os.path.join(directory, gloss))
        if not paths:
            raise errors.InputError(f'{directory}/{gloss} holds no video, expected {", ".join(SUFFIXES)}')
        for path in paths:
            found = re.search(signer, path)
            clip = clips_lib.Clip(
                video_id=re.sub(r'[^\w#.-]+', '_', f'{gloss}_{os.path.splitext(path)[0]}'),
                file=f'{gloss}/{path}',
                label=label,
                gloss=gloss,
                split='train',
                signer_id=found[1] if found else '',
            )
            clips.append(clip)
    return clips


def videos_below(directory: str) -> list[str]:
    """Paths of the video files below a directory, relative to it, sorted."""
    return sorted(
        os.path.relpath(os.path.join(parent, name), directory)
        for parent, _, names in os.walk(directory)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith('.')
    )


def split_at_random(clips: list[clips_lib.Clip], shares: dict[str, float], seed: int) -> list[clips_lib.Clip]:
    """Splits so that each class has its share in each split.

    Args:
        clips: all.
        shares: validation and test -> share of all clips.
        seed: of the draw.
    """
    labels = np.array([clip.label for clip in clips])
    rest, test = dataset_lib.stratified_split(labels, shares['test'], seed)
    _, validation = dataset_lib.stratified_split(labels[rest], shares['validation'] / (1 - shares['test']), seed + 1)
    names = np.full(len(clips), 'train', object)
    names[test], names[rest[validation]] = 'test', 'validation'
    return [dataclasses.replace(clip, split=name) for clip, name in zip(clips, names, strict=True)]


def split_by_signer(clips: list[clips_lib.Clip], shares: dict[str, float], seed: int) -> list[clips_lib.Clip]:
    """Splits so that no signer is in two splits; the shares are of signers, at least one each.

    Raises:
        InputError: a clip has no signer, or there are too few.
    """
    unknown = next((clip.file for clip in clips if not clip.signer_id), None)
    if unknown:
        raise errors.InputError(f'{unknown}: --signer finds no signer in it, expected one')
    signers = sorted({clip.signer_id for clip in clips})
    counts = {split: max(1, round(len(signers) * share)) if share else 0 for split, share in shares.items()}
    if sum(counts.values()) >= len(signers):
        raise errors.InputError(f'there are {len(signers)} signers, expected more than {sum(counts.values())}')
    drawn = iter(np.random.default_rng(seed).permutation(signers).tolist())
    splits = {next(drawn): split for split, count in counts.items() for _ in range(count)}
    return [dataclasses.replace(clip, split=splits.get(clip.signer_id, 'train')) for clip in clips]


def _define_flags() -> None:
    flags.DEFINE_string('videos', None, 'Directory with one folder a class.', required=True)
    flags.DEFINE_string('output', None, 'The clips table to write.', required=True)
    flags.DEFINE_enum('split_by', 'random', ['random', 'signer'], 'Whether a signer may be in two splits.')
    flags.DEFINE_float('validation', 0.15, 'Share of the validation split.', 0, 1)
    flags.DEFINE_float('test', 0.15, 'Share of the test split.', 0, 1)
    flags.DEFINE_integer('seed', 0, 'Of the split.', lower_bound=0)
    flags.DEFINE_string(
        'signer',
        '^([^/_]+)[/_]',
        'Regular expression whose first group is the signer in the path below the class folder.',
    )


def main() -> None:
    """Writes the clips table."""
    shares = {'validation': flags.FLAGS.validation, 'test': flags.FLAGS.test}
    if not sum(shares.values()) < 1:  # NaN is not
        raise errors.InputError(f'--validation and --test are {sum(shares.values()):g} in all, expected less than 1')
    try:
        groups = re.compile(flags.FLAGS.signer).groups
    except re.error:
        groups = 0
    if not groups:
        raise errors.InputError(f'--signer={flags.FLAGS.signer} is no regular expression with a group')
    clips = find_clips(flags.FLAGS.videos, flags.FLAGS.signer)
    split = split_by_signer if flags.FLAGS.split_by == 'signer' else split_at_random
    clips = split(clips, shares, flags.FLAGS.seed)
    clips_lib.write_clips(flags.FLAGS.output, clips)
    print(clips_lib.summary(flags.FLAGS.output, clips))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
