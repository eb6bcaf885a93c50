"""Copies of clips in the splits of a dataset: named, and left out where a model would be tested on what it has seen."""

from collections.abc import Iterable
import dataclasses

from slr_jax import copies, errors, progress
from slr_jax import dataset as dataset_lib
from slr_jax import landmarks as landmarks_lib

# What is done about clips of one split that are copies of clips in another.
POLICIES = ('leave_out', 'warn', 'refuse')
# Of the splits that have a copy of a clip, the first of these keeps it.
KEPT_IN = ('train', 'test', 'validation')


def check(dataset: dataset_lib.Dataset, policy: str, option: str = '--copies=') -> dataset_lib.Dataset:
    """Compares all clips of a dataset, reports those that are copies, and leaves out those that are in another split.

    Of copies in several splits those in train are kept, or else those in test.

    Args:
        dataset: its clips are as check_clips asks.
        policy: one of POLICIES; with 'warn' all clips stay.
        option: what messages name.

    Returns:
        The dataset without the copies; a split of which nothing is left is absent.

    Raises:
        InputError: a clip is no legal one, or `policy` is 'refuse' and there are copies in several splits.
    """
    name = dataset.description.name
    for split, clips in dataset.splits.items():
        dataset_lib.check_clips(clips, dataset.layout.num_points, dataset.description.num_classes, f'{name}, {split}')
    found = _Found(dataset)
    for line in found.other_lines():
        progress.report(f'{name}: {line}')
    if not found.left_out:
        return dataset
    what = f'{name}: {found.describe_left_out()}'
    if policy == 'refuse':
        raise errors.InputError(f'{what}; expected none with {option}refuse')
    if policy == 'warn':
        progress.report(f'warning: {what}; {option}leave_out leaves them out')
        return dataset
    progress.report(f'{what}; they are left out of the dataset ({option}warn keeps them)')
    splits = {}
    for split, clips in dataset.splits.items():
        kept = [i for i in range(len(clips)) if (split, i) not in found.left_out]
        if kept:
            splits[split] = clips.take(kept)
        else:
            progress.report(f'warning: {name}: no clip of the split {split} is left')
    source = {**dataset.description.source, 'copies_left_out': len(found.left_out)}
    return dataset_lib.Dataset(dataclasses.replace(dataset.description, source=source), splits)


def find_copies(
    clips: dataset_lib.Clips, others: dataset_lib.Clips, layout: landmarks_lib.Layout
) -> dict[int, tuple[int, str]]:
    """Finds the clips that are copies of some others.

    Args:
        clips: those looked for.
        others: among which.
        layout: of both.

    Returns:
        Index of the clip -> index of the other, and their names for a message.
    """
    pairs = copies.find([*others.landmarks, *clips.landmarks], layout)
    groups = copies.group(pairs, len(others) + len(clips))[len(others) :].tolist()
    kinds = {(pair.first, pair.second): pair.kind for pair in pairs}
    return {
        i: (
            other,
            f'{clips.video_ids[i]} {kinds.get((other, len(others) + i), copies.NEAR)} {others.video_ids[other]}',
        )
        for i, other in enumerate(groups)
        if other < len(others)
    }


def have_copies(clips: dataset_lib.Clips, layout: landmarks_lib.Layout) -> list[int]:
    """The clips that are copies of others among them, by index."""
    pairs = copies.find(clips.landmarks, layout)
    return sorted({clip for pair in pairs for clip in pair[:2]})


def without_copies(
    clips: dataset_lib.Clips, train: dataset_lib.Clips, layout: landmarks_lib.Layout, policy: str
) -> tuple[dataset_lib.Clips, str]:
    """The validation clips that count, and a line about those that are copies of training clips, '' without any.

    Raises:
        InputError: `policy` is 'refuse' and there are some, or nothing else is left.
    """
    found = find_copies(clips, train, layout)
    if not found:
        return clips, ''
    what = (
        f'{len(found)} of {len(clips)} validation clips are copies of training clips: '
        f'{errors.first_of([names for _, names in found.values()])}'
    )
    if policy == 'refuse' or (policy == 'leave_out' and len(found) == len(clips)):
        raise errors.InputError(
            f"{what}; expected {'others' if policy == 'leave_out' else 'none'} with config.copies = '{policy}'"
        )
    if policy == 'warn':
        return clips, f'warning: {what}, and count'
    kept = [i for i in range(len(clips)) if i not in found]
    return clips.take(kept), f"{what}; they do not count (config.copies = 'warn' counts them)"


class _Found:
    """The copies of a dataset.

    Attributes:
        left_out: (split, index) of each clip that is a copy of one in another split, which is kept -> that one.
    """

    def __init__(self, dataset: dataset_lib.Dataset) -> None:
        self._dataset = dataset
        self._clips = [(split, i) for split, clips in dataset.splits.items() for i in range(len(clips))]
        self._kinds = {(pair.first, pair.second): pair.kind for pair in dataset.copies}
        groups = copies.group(dataset.copies, len(self._clips))
        members: dict[int, list[int]] = {}
        for clip in sorted({clip for pair in self._kinds for clip in pair}):
            members.setdefault(int(groups[clip]), []).append(clip)
        self._groups = list(members.values())
        self.left_out: dict[tuple[str, int], int] = {}
        for group in self._groups:
            kept_in = min((self._clips[clip][0] for clip in group), key=KEPT_IN.index)
            kept = [clip for clip in group if self._clips[clip][0] == kept_in]
            for clip in group:
                if clip not in kept:
                    direct = [other for other in kept if (min(clip, other), max(clip, other)) in self._kinds]
                    self.left_out[self._clips[clip]] = (direct or kept)[0]

    def describe_left_out(self) -> str:
        """How many clips are copies of others in another split, and some of them."""
        counts = {split: sum(clip_split == split for clip_split, _ in self.left_out) for split in self._dataset.splits}
        where = ' and '.join(f'{count} of {split}' for split, count in counts.items() if count)
        numbers = {clip: number for number, clip in enumerate(self._clips)}
        pairs = [self._describe(numbers[clip], kept) for clip, kept in self.left_out.items()]
        return f'{where} are copies of clips in another split: {errors.first_of(pairs)}'

    def other_lines(self) -> Iterable[str]:
        """A line about copies within a split, and one about copies of several glosses."""
        within = [
            (group[0], clip)
            for group in self._groups
            for clip in group[1:]
            if len({self._clips[member][0] for member in group}) == 1
        ]
        if within:
            pairs = errors.first_of([self._describe(*pair) for pair in within])
            yield f'{len(within)} clips are copies of others of their own split, and stay: {pairs}'
        labels = [(group, [self._label(clip) for clip in group]) for group in self._groups]
        several = [(group, found) for group, found in labels if len(set(found)) > 1]
        if several:
            pairs = errors.first_of(
                [
                    self._describe(group[0], group[next(i for i, x in enumerate(found) if x != found[0])])
                    for group, found in several
                ]
            )
            yield f'warning: {len(several)} groups of copies have several glosses, so that labels contradict: {pairs}'

    def _label(self, clip: int) -> int:
        split, index = self._clips[clip]
        return int(self._dataset.splits[split].labels[index])

    def _name(self, clip: int) -> str:
        split, index = self._clips[clip]
        gloss = self._dataset.description.label_names[self._label(clip)]
        return f'{split} {self._dataset.splits[split].video_ids[index]} ({gloss})'

    def _describe(self, clip: int, other: int) -> str:
        first, second = sorted((clip, other))
        return f'{self._name(clip)} {self._kinds.get((first, second), copies.NEAR)} {self._name(other)}'
