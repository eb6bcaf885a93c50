"""A run with the clips that it learns from and the files that it writes."""

from collections.abc import Iterator, Sequence
import copy
import dataclasses
from typing import Any

import ml_collections
import numpy as np

from slr_jax import augment, errors, input_pipeline, models
from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import features as features_lib
from slr_jax.run_log import RunLog

# Validation clips that are too few to select a checkpoint by.
_FEW_CLIPS = 10


class TrainingClips:
    """The clips that a run trains and validates on.

    Attributes:
        train_features: <float32>[frames, dim] of each clip; with augmentation its landmarks, [frames, points * 3],
            of which the step makes features.
        train_labels: <int32>[clips].
        aspects: <float32>[clips], width over height of the pictures; None without augmentation, or where unknown.
        class_weights: <float32>[classes], of the loss; None where all clips count the same.
        validation_features: as train_features; None without validation.
        validation_labels: as train_labels; None without validation.
        bucket_lengths: frames that batches are padded to, ascending.
        divide_at: see input_pipeline.bucket_lengths.
        dim: features per frame.
        description: in words.
    """

    def __init__(self, dataset: dataset_lib.Dataset, config: ml_collections.ConfigDict) -> None:
        self._config = config
        features = features_lib.Features.from_config(config, dataset.description.layout)
        self.dim = features.dim
        models.model_from_config(config, dataset.description.num_classes).check_num_heads(self.dim)
        train, validation = input_pipeline.training_clips(dataset, config, report=True)
        self.train_labels = train.labels
        self.class_weights: np.ndarray | None = None
        if config.class_weights == 'balanced':
            self.class_weights = input_pipeline.class_weights(train.labels, dataset.description.num_classes)
        self.validation_labels: Any = validation and validation.labels
        aspects = dataset.description.aspects(train.frame_sizes, len(train))
        self.train_features = features.compute_for_model(
            config, train.landmarks, train.video_ids, aspects, training=True
        )
        self.aspects: np.ndarray | None = None
        warnings = list(_find_problems(dataset.description.name, features, self.train_features, train, validation))
        if augment.Augmentation.from_config(config, dataset.description.layout):
            selected = features.select_frames_of_clips(train.landmarks)
            self.train_features = [clip.reshape(len(clip), -1) for clip in selected]
            self.aspects = aspects
        self.validation_features: Any = None
        if validation is not None:
            aspects = dataset.description.aspects(validation.frame_sizes, len(validation))
            self.validation_features = features.compute_for_model(
                config, validation.landmarks, validation.video_ids, aspects
            )
        lengths = np.array([len(clip) for clip in self.train_features])
        if features.num_frames is not None:
            # The step resamples them anyway: one length is compiled.
            lengths = np.full_like(lengths, lengths.max())
        batch_size = config.batch_size if config.bucket_by_length else 1
        self._buckets = input_pipeline.length_buckets(lengths, batch_size)
        self.bucket_lengths, self.divide_at = input_pipeline.bucket_lengths(lengths, self._buckets, batch_size)
        if _draws_clips(config):
            # A run draws the same noise alone and beside others, whose longest clips may be others.
            self.divide_at = None
        parts = f'train on {input_pipeline.describe(train)}, validate on {input_pipeline.describe(validation)}'
        self.description = '\n'.join([parts, *(f'warning: {warning}' for warning in warnings)])

    def with_config(self, config: ml_collections.ConfigDict) -> 'TrainingClips':
        """The same clips for a run that orders them by another seed."""
        other = copy.copy(self)
        other._config = config
        return other

    def epoch(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Features, labels and the order of an epoch."""
        config = self._config
        if config.bucket_by_length:
            order = input_pipeline.shuffle_buckets(self._buckets, config.batch_size, config.seed, epoch)
        else:
            order = input_pipeline.shuffle(len(self.train_features), config.seed, epoch)
        return self.train_features, self.train_labels, order


def _find_problems(
    dataset_name: str,
    features: features_lib.Features,
    train_features: Sequence[np.ndarray],
    train: dataset_lib.Clips,
    validation: dataset_lib.Clips | None,
) -> Iterator[str]:
    """What looks wrong in the clips; InputError where nothing can be learned from them."""
    idle = features.find_idle_groups(train_features)
    if idle:
        sentence = features.describe_idle(idle, train.landmarks, 'training')
        first = train_features[0][0]
        if train.num_frames > 1 and all((clip == first).all() for clip in train_features):
            raise errors.InputError(f'dataset {dataset_name}: nothing can be learned, as {sentence}')
        yield sentence
    if validation is not None and len(validation) < _FEW_CLIPS:
        clips = 'clip selects' if len(validation) == 1 else 'clips select'
        yield f'{len(validation)} validation {clips} the checkpoint, which is little more than chance'
    elif validation is not None and len(np.unique(validation.labels)) == 1:
        yield 'all validation clips, which select the checkpoint, are of one class'


def _draws_clips(config: ml_collections.ConfigDict) -> bool:
    """Whether runs of other seeds or folds have other clips."""
    is_subset = config.num_folds or config.validation == 'holdout' or config.train_fraction < 1
    return bool(is_subset or config.shadow_points)


def load_clips(dataset: dataset_lib.Dataset, runs: list[config_lib.Run]) -> list[TrainingClips]:
    """The clips of each run; runs that draw none of their own share them."""
    found = []
    made: dict[tuple[int | None, int | None], TrainingClips] = {}
    for config in (run.config for run in runs):
        key = config.fold, config.seed if _draws_clips(config) else None
        if key not in made:
            made[key] = TrainingClips(dataset, config)
        found.append(made[key].with_config(config))
    return found


@dataclasses.dataclass
class Trial:
    """A run that trains.

    Attributes:
        run: its name and config.
        clips: what it learns from.
        log: what it writes; knows whether the run diverged.
    """

    run: config_lib.Run
    clips: TrainingClips
    log: RunLog
