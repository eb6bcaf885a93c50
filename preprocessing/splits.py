"""Which split a clip is in: what folders and tables say, and what is drawn at random."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import itertools
import re
from typing import Any

from absl import flags
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing import same_videos
from slr_jax import dataset as dataset_lib
from slr_jax import errors, split_copies

_SPLITS = {name: split for split, names in dataset_lib.SPLIT_NAMES.items() for name in names}
EXPECTED = 'train, validation (val, dev) or test'
_DEFAULT_FRACTION = 0.15

# Clips -> these clips with other splits, and a line about them.
Redraw = Callable[[Sequence[clips_lib.Clip]], tuple[list[clips_lib.Clip], str]]


def parse(name: str) -> str | None:
    """The split that a name such as `Val`, `test_set` or `WLASL_train2` means; None for names of none or of several."""
    words = re.findall(r'[^\W\d_]+', name.lower())
    kinds = {_SPLITS.get(re.sub('(set|split|data|videos|clips)$', '', word)) for word in words} - {None}
    return kinds.pop() if len(kinds) == 1 else None


def define_flags() -> None:
    """Defines the flags of how clips are split."""
    flags.DEFINE_enum(
        'split_by',
        'random',
        ['random', 'signer'],
        'How clips are split: at random within each class (random), or so that no signer is in two splits (signer).',
    )
    default = f'default: {_DEFAULT_FRACTION}, or where splits are given'
    flags.DEFINE_float(
        'validation',
        None,
        f'Fraction of the clips or signers in the validation split; {default} without it, of those in train.',
        0,
        1,
    )
    flags.DEFINE_float('test', None, f'Fraction of the clips or signers in the test split; {default}, 0.', 0, 1)
    flags.DEFINE_integer('seed', 0, 'Seed of the random split.', lower_bound=0)
    define_copies_flag()


def define_copies_flag() -> None:
    """Defines --copies."""
    flags.DEFINE_enum(
        'copies',
        'leave_out',
        list(split_copies.POLICIES),
        'What is done about clips that are copies of clips in another split: leave_out those of validation and test, '
        'or of validation what is in test; warn, which keeps all; or refuse.',
    )


def assign_by_flags(
    clips: Sequence[clips_lib.Clip], values: flags.FlagValues, directory: str
) -> tuple[list[clips_lib.Clip], str, Redraw | None]:
    """As `assign`, with the flags of `define_flags`; then leaves out copies in other splits, as --copies says.

    Args:
        clips: see `assign`.
        values: of the flags.
        directory: that the files of the clips are relative to.

    Returns:
        What `assign` returns, and what draws splits of the clips that are left later; None where all are given.
    """
    redraw = None if all(clip.split for clip in clips) else functools.partial(_redraw, values, directory)
    equal, alike = same_videos.find_equal(clips, directory), same_videos.find_names(clips)
    recordings = same_videos.merge([*equal, *alike], len(clips))
    clips, line = assign(clips, values.split_by, values.validation, values.test, values.seed, recordings)
    lines = [line]
    alike = [group for group in alike if group not in equal]
    for groups, what in ((equal, 'equal videos'), (alike, 'names of copies, such as a_flip of a')):
        if groups and 'at random' in line:
            named = errors.first_of([f'{clips[group[0]].file} ({len(group)} clips)' for group in groups])
            lines.append(f'{what}, kept in one split: {named}')
    clips, others = same_videos.check(clips, equal, directory, values.copies)
    return clips, '\n'.join([*lines, *others]), redraw


def assign(
    clips: Sequence[clips_lib.Clip],
    split_by: str = 'random',
    validation: float | None = None,
    test: float | None = None,
    seed: int = 0,
    recordings: Sequence[int] | None = None,
) -> tuple[list[clips_lib.Clip], str]:
    """Draws the splits of clips that have none; where they have, draws only splits that are absent, from train.

    Args:
        clips: all of them with a split, or all with ''.
        split_by: random or signer.
        validation: fraction of the clips or signers. None: 0.15.
        test: fraction of the clips or signers. None: 0.15, or where splits are given 0.
        seed: of the draw.
        recordings: a number for each clip, the same for copies of one recording, which a draw at random keeps in one
            split. None: all are different.

    Returns:
        The clips, and a line that says where their splits come from.

    Raises:
        InputError: only some clips have a split, the fractions are too large, or there are too few signers.
    """
    given = {clip.split for clip in clips} - {''}
    without = next((clip.file for clip in clips if not clip.split), None)
    if given and without:
        raise errors.InputError(f'{without} has no split, but other videos have one')
    for split, fraction in (('validation', validation), ('test', test)):
        if fraction and split in given:
            raise errors.InputError(f'--{split} is a fraction to draw, but the clips have a {split} split already')
    fractions = {
        'validation': _DEFAULT_FRACTION if validation is None else validation,
        'test': (0.0 if given else _DEFAULT_FRACTION) if test is None else test,
    }
    total = sum(fractions.values())
    if np.isnan(total) or total >= 1:
        raise errors.InputError(f'--validation and --test are {total:g} in all, expected less than 1')
    in_pool = [clip.split in ('', 'train') for clip in clips]
    pool = list(itertools.compress(clips, in_pool))
    fractions = {split: fraction if pool and split not in given else 0.0 for split, fraction in fractions.items()}
    draw: Any = _draw_by_signer
    if split_by == 'random':
        groups = list(itertools.compress(recordings if recordings is not None else range(len(clips)), in_pool))
        draw = functools.partial(_draw_at_random, recordings=groups)
    drawn = iter(draw(pool, fractions, seed) if any(fractions.values()) else _all_in_train(pool))
    given_splits = [split for split in dataset_lib.SPLITS if split in given]
    lines = [f'{", ".join(given_splits)} as given'] if given else []
    how = 'by signer' if split_by == 'signer' else 'at random'
    for split, fraction in fractions.items():
        if fraction:
            lines.append(f'{split} drawn {how} ({fraction:g} of {"train" if given else "all"})')
    clips = [next(drawn) if clip.split in ('', 'train') else clip for clip in clips]
    line = f'splits: {", ".join(lines) or "all in train"}'
    is_unknown = not any(clip.signer_id for clip in clips)
    return clips, f'{line}; signers are unknown' if is_unknown and any(fractions.values()) else line


def _redraw(
    values: flags.FlagValues, directory: str, clips: Sequence[clips_lib.Clip]
) -> tuple[list[clips_lib.Clip], str]:
    clips = [dataclasses.replace(clip, split='') for clip in clips]
    groups = [*same_videos.find_equal(clips, directory), *same_videos.find_names(clips)]
    recordings = same_videos.merge(groups, len(clips))
    return assign(clips, values.split_by, values.validation, values.test, values.seed, recordings)


def _all_in_train(clips: Sequence[clips_lib.Clip]) -> list[clips_lib.Clip]:
    return [dataclasses.replace(clip, split='train') for clip in clips]


def _draw_at_random(
    clips: Sequence[clips_lib.Clip], fractions: Mapping[str, float], seed: int, recordings: Sequence[int]
) -> list[clips_lib.Clip]:
    """Splits so that each class has its fraction of recordings in each split."""
    _, first, recording = np.unique(recordings, return_index=True, return_inverse=True)
    labels = np.array([clip.label for clip in clips])[first]
    rest, test = dataset_lib.stratified_split(labels, fractions['test'], seed)
    classes, counts = np.unique(labels, return_counts=True)
    left, left_counts = np.unique(labels[rest], return_counts=True)
    # A fraction of all clips of a class, so that one that lost more to the test has no fewer in validation.
    of_rest = np.minimum(fractions['validation'] * counts[np.isin(classes, left)] / left_counts, 1)
    _, validation = dataset_lib.stratified_split(labels[rest], of_rest, seed + 1)
    names = np.full(len(labels), 'train', object)
    names[test], names[rest[validation]] = 'test', 'validation'
    return [dataclasses.replace(clip, split=name) for clip, name in zip(clips, names[recording], strict=True)]


def _draw_by_signer(clips: Sequence[clips_lib.Clip], fractions: Mapping[str, float], seed: int) -> list[clips_lib.Clip]:
    """Splits so that no signer is in two splits; the fractions are of signers, at least one each."""
    unknown = next((clip.file for clip in clips if not clip.signer_id), None)
    if unknown:
        raise errors.InputError(
            f'{unknown}: no signer is known, which --split_by=signer needs; --signer takes it from the path'
        )
    signers = sorted({clip.signer_id for clip in clips})
    counts = {split: max(1, round(len(signers) * fraction)) if fraction else 0 for split, fraction in fractions.items()}
    if sum(counts.values()) >= len(signers):
        raise errors.InputError(
            f'--split_by=signer needs at least {sum(counts.values()) + 1} signers, found {len(signers)}'
        )
    drawn = iter(np.random.default_rng(seed).permutation(signers).tolist())
    splits = {next(drawn): split for split, count in counts.items() for _ in range(count)}
    return [dataclasses.replace(clip, split=splits.get(clip.signer_id, 'train')) for clip in clips]
