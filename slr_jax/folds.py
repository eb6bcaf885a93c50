"""Cross-validation: the training and validation clips of a dataset, divided into folds that validate in turn."""

from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from slr_jax import dataset as dataset_lib
from slr_jax import errors

# Values of config.folds_by.
BY = ('signer', 'clip')


def draw(labels: np.ndarray, signers: Sequence[str], num_folds: int, seed: int) -> np.ndarray:
    """Divides clips into folds, so that a signer is in one fold only and classes are spread as evenly as that allows.

    Signers are drawn one after another, those with most clips first, each into the fold that has least of their
    classes, and of equals into the smallest. Without signers, folds differ by at most one clip, in every class and in
    all.

    Args:
        labels: <int>[clips].
        signers: of each clip; clips with '' are drawn one by one.
        num_folds: how many folds; none is empty where there are as many signers.
        seed: of the draw.

    Returns:
        <int64>[clips], the fold of each clip, from 0.
    """
    groups: dict[Any, list[int]] = {}
    for clip, signer in enumerate(signers):
        groups.setdefault(signer or clip, []).append(clip)
    members = list(groups.values())
    drawn = [members[i] for i in np.random.default_rng(seed).permutation(len(members))]
    drawn.sort(key=lambda clips: (-len(clips), labels[clips[0]]))
    _, labels, clips_per_class = np.unique(labels, return_inverse=True, return_counts=True)
    held = np.zeros((num_folds, len(clips_per_class)), np.int64)
    folds = np.zeros(len(labels), np.int64)
    for clips in drawn:
        classes, counts = np.unique(labels[clips], return_counts=True)
        overlap = held[:, classes] @ (counts / clips_per_class[classes] ** 2)
        fold = np.lexsort((held.sum(axis=1), overlap))[0]
        held[fold, classes] += counts
        folds[clips] = fold
    return folds


def assign(dataset: dataset_lib.Dataset, config: ml_collections.ConfigDict) -> tuple[dataset_lib.Clips, np.ndarray]:
    """The training and validation clips together, and the fold of each, drawn from `config.fold_seed`.

    Raises:
        InputError: there are fewer signers, or clips, than folds.
    """
    parts = [dataset.splits[split] for split in ('train', 'validation') if split in dataset.splits]
    clips = dataset_lib.concatenate(parts or [dataset.split('train')])
    signers = _signers(clips, config)
    known = set(signers) - {''}
    num_groups = len(known) + signers.count('')
    if num_groups < config.num_folds:
        found = f'{len(known)} signers' if known else f'{len(clips)} clips'
        hint = "; config.folds_by = 'clip' lets a signer be in several folds" if known else ''
        raise errors.InputError(
            f'config.num_folds is {config.num_folds}, but dataset {dataset.description.name} has {found} to train and '
            f'validate on, expected at most as many folds{hint}'
        )
    return clips, draw(clips.labels, signers, config.num_folds, config.fold_seed)


def _signers(clips: dataset_lib.Clips, config: ml_collections.ConfigDict) -> list[str]:
    return list(clips.signers) if config.folds_by == 'signer' else [''] * len(clips)


def split(
    dataset: dataset_lib.Dataset, config: ml_collections.ConfigDict
) -> tuple[dataset_lib.Clips, dataset_lib.Clips]:
    """The clips to train on, those of all other folds, and the clips of `config.fold`; see assign for errors."""
    clips, folds = assign(dataset, config)
    return clips.take(np.flatnonzero(folds != config.fold)), clips.take(np.flatnonzero(folds == config.fold))


def describe(dataset: dataset_lib.Dataset, config: ml_collections.ConfigDict) -> str:
    """The folds in words, with a line for the classes that could not be spread over all of them."""
    clips, folds = assign(dataset, config)
    signers = _signers(clips, config)
    num_signers, num_unknown = len(set(signers) - {''}), signers.count('')
    sizes = np.bincount(folds, minlength=config.num_folds)
    text = f'{config.num_folds} folds of {" to ".join(map(str, sorted({sizes.min(), sizes.max()})))} clips'
    if num_signers:
        text += f', each of {num_signers} signers in one fold'
        text += f'; {num_unknown} clips of unknown signers drawn one by one' if num_unknown else ''
    names = dataset.description.label_names
    table = np.zeros((config.num_folds, len(names)), np.int64)
    np.add.at(table, (folds, clips.labels), 1)
    total, num_with = table.sum(axis=0), (table > 0).sum(axis=0)
    few = (total > 0) & (total < config.num_folds)
    groups = {
        'fewer clips than folds': few,
        'not in every fold, as their signers are too few': ~few & (total > 0) & (num_with < config.num_folds),
        'in one fold only, so that none of their clips are trained on where it validates': num_with == 1,
    }
    lines = [
        f'{reason}: {dataset_lib.some([names[label] for label in np.flatnonzero(chosen).tolist()])}'
        for reason, chosen in groups.items()
        if chosen.any()
    ]
    return '\n'.join([text, *lines])
