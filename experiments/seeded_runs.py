"""Small models with a mask, of several seeds in one workdir, and what is found out about each, written beside it."""

from collections.abc import Callable, Sequence
import os
from typing import Any

import ml_collections
import numpy as np

from slr_jax import attribution, checkpoint, errors, files, progress, train_lib
from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import metrics as metrics_lib
from slr_jax import workdir as workdir_lib
from slr_jax.inference import LoadedModel

# Training clips that rankings look at, so that they know nothing of the clips that are tested.
RANKING_CLIPS = 200


class SeededRuns:
    """The runs of a config, which train when the first of them is asked for.

    Args:
        config: with `seeds`.
        workdir: of all of them; it is checked to hold these, if any.
        dataset: that they train on.

    Raises:
        InputError: the workdir holds other runs.
    """

    def __init__(self, config: ml_collections.ConfigDict, workdir: str, dataset: dataset_lib.Dataset) -> None:
        self._config, self._workdir, self._dataset = config_lib.resolve(config), workdir, dataset
        self._loaded: dict[int, LoadedModel] = {}
        if workdir_lib.exists(workdir):
            workdir_lib.create_or_check(workdir, self._config, dataset.summary())

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the runs."""
        return tuple(self._config.seeds)

    def load(self, seed: int) -> LoadedModel:
        """The latest checkpoint of a run, which is not selected on any clips; trains all runs if need be."""
        # Written last.
        if not os.path.isfile(os.path.join(self._workdir, 'best_epochs.csv')):
            progress.report(f'--- {self._workdir}')
            train_lib.train_and_evaluate(self._config, self._workdir)
        if seed not in self._loaded:
            self._loaded[seed] = checkpoint.load_model(self._path(seed), 'latest')
        return self._loaded[seed]

    def find(self, seed: int, name: str, field: str, function: Callable[[LoadedModel], np.ndarray]) -> list[Any]:
        """What a function finds out about the model of a seed; read from `name`.json where that was written before."""
        path = os.path.join(self._path(seed), f'{name}.json')
        if not os.path.isfile(path):
            files.write_json(path, {field: function(self.load(seed)).tolist()})
        return files.read_json(path, fields=[field])[field]

    def correct(self, split: str = 'validation') -> np.ndarray:
        """<bool>[seeds, clips of the split], what the models answer rightly."""
        clips = self._dataset.split(split)

        def answer(loaded: LoadedModel) -> np.ndarray:
            logits = loaded.logits(clips.landmarks, frame_size=clips.frame_sizes)
            return (metrics_lib.top_k(logits, 1)[:, 0] == clips.labels).astype(int)

        return np.array([self.find(seed, f'correct_{split}', 'correct', answer) for seed in self.seeds], bool)

    def importance(self, seed: int, ranking: str) -> np.ndarray:
        """<float64>[fed points], of some training clips; more is more important."""

        def rank(loaded: LoadedModel) -> np.ndarray:
            train = self._dataset.split('train')
            chosen = np.random.default_rng(seed).permutation(len(train))[:RANKING_CLIPS]
            importance = attribution.find_ranking(ranking)(loaded, train.take(np.sort(chosen)), seed)
            return importance.reshape(loaded.fed_layout.num_points, -1).mean(axis=1)

        return np.array(self.find(seed, f'importance_{ranking}', 'importance', rank))

    def importances(self, ranking: str) -> np.ndarray:
        """<float64>[seeds, fed points], see `importance`."""
        return np.array([self.importance(seed, ranking) for seed in self.seeds])

    def _path(self, seed: int) -> str:
        return workdir_lib.run_path(self._workdir, f'seed_{seed}')


def load_dataset(path: str) -> dataset_lib.Dataset:
    """A dataset with training and validation clips, at least two of each; InputError where it has not."""
    dataset = dataset_lib.load_dataset(path)
    for split in ('train', 'validation'):
        if len(dataset.split(split)) < 2:
            raise errors.InputError(f'{path} has {len(dataset.split(split))} {split} clips, expected at least 2')
    return dataset


def check_rankings(flag: str, names: Sequence[str]) -> list[str]:
    """Names of rankings of a flag, each once; InputError where there is no such ranking, or it is the random one."""
    known = [name for name in attribution.RANKINGS if name != 'random']
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise errors.InputError(f'--{flag} is {",".join(names)!r}, expected some of {", ".join(known)}')
    return list(dict.fromkeys(names))
