"""Own recordings, one folder per class -> a clips table.

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
from preprocessing.extraction import video_files
from slr_jax import cli, errors
from slr_jax import dataset as dataset_lib


def find_clips(directory: str, signer: str) -> list[clips_lib.Clip]:
    """Finds the videos below the folders of a directory, all in the train split.

    Args:
        directory: with one folder per class.
        signer: regular expression; its first group is the signer in the path below the class folder.

    Raises:
        InputError: there are no such folders, or one holds no video.
    """
    if not os.path.isdir(directory):
        raise errors.InputError(f'{directory} is not a directory, expected one with a folder per class')
    glosses = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir() and entry.name[0] != '.')
    if not glosses:
        raise errors.InputError(f'{directory} holds no folders, expected one per class')
    clips = []
    for label, gloss in enumerate(glosses):
        for path in video_files.find_videos(os.path.join(directory, gloss)):
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


def split_at_random(clips: list[clips_lib.Clip], fractions: dict[str, float], seed: int) -> list[clips_lib.Clip]:
    """Splits so that each class has its fraction in each split.

    Args:
        clips: all.
        fractions: validation and test -> fraction of all clips.
        seed: of the random split.
    """
    labels = np.array([clip.label for clip in clips])
    rest, test = dataset_lib.stratified_split(labels, fractions['test'], seed)
    _, validation = dataset_lib.stratified_split(
        labels[rest], fractions['validation'] / (1 - fractions['test']), seed + 1
    )
    names = np.full(len(clips), 'train', object)
    names[test], names[rest[validation]] = 'test', 'validation'
    return [dataclasses.replace(clip, split=name) for clip, name in zip(clips, names, strict=True)]


def split_by_signer(clips: list[clips_lib.Clip], fractions: dict[str, float], seed: int) -> list[clips_lib.Clip]:
    """Splits so that no signer is in two splits; the fractions are of signers, at least one each.

    Raises:
        InputError: a clip has no signer, or there are too few.
    """
    unknown = next((clip.file for clip in clips if not clip.signer_id), None)
    if unknown:
        raise errors.InputError(f'{unknown}: --signer finds no signer in this path')
    signers = sorted({clip.signer_id for clip in clips})
    counts = {split: max(1, round(len(signers) * fraction)) if fraction else 0 for split, fraction in fractions.items()}
    if sum(counts.values()) >= len(signers):
        raise errors.InputError(
            f'--split_by=signer needs at least {sum(counts.values()) + 1} signers, found {len(signers)}'
        )
    drawn = iter(np.random.default_rng(seed).permutation(signers).tolist())
    splits = {next(drawn): split for split, count in counts.items() for _ in range(count)}
    return [dataclasses.replace(clip, split=splits.get(clip.signer_id, 'train')) for clip in clips]


def _define_flags() -> None:
    flags.DEFINE_string('videos', None, 'Directory with one folder of videos per class.', required=True)
    flags.DEFINE_string('output', None, 'Clips table to write.', required=True)
    flags.DEFINE_enum(
        'split_by',
        'random',
        ['random', 'signer'],
        'How clips are split: at random within each class (random), or so that no signer is in two splits (signer).',
    )
    flags.DEFINE_float('validation', 0.15, 'Fraction of the clips or signers in the validation split.', 0, 1)
    flags.DEFINE_float('test', 0.15, 'Fraction of the clips or signers in the test split.', 0, 1)
    flags.DEFINE_integer('seed', 0, 'Seed of the random split.', lower_bound=0)
    flags.DEFINE_string(
        'signer',
        '^([^/_]+)[/_]',
        'Regular expression whose first group is the signer in the path below the class folder.',
    )


def main() -> None:
    """Writes the clips table."""
    fractions = {'validation': flags.FLAGS.validation, 'test': flags.FLAGS.test}
    total = sum(fractions.values())
    if np.isnan(total) or total >= 1:
        raise errors.InputError(f'--validation and --test are {total:g} in all, expected less than 1')
    try:
        num_groups = re.compile(flags.FLAGS.signer).groups
    except re.error:
        num_groups = 0
    if not num_groups:
        raise errors.InputError(f'--signer={flags.FLAGS.signer} is not a regular expression with a group')
    clips = find_clips(flags.FLAGS.videos, flags.FLAGS.signer)
    split = split_by_signer if flags.FLAGS.split_by == 'signer' else split_at_random
    clips = split(clips, fractions, flags.FLAGS.seed)
    clips_lib.write_clips(flags.FLAGS.output, clips)
    print(clips_lib.summary(flags.FLAGS.output, clips))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
