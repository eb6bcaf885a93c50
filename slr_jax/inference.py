"""A trained model and its answers; nothing here knows of training."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
from typing import Any

import jax
import ml_collections
import numpy as np

from slr_jax import dataset as dataset_lib
from slr_jax import devices, input_pipeline, metrics, models
from slr_jax import features as features_lib
from slr_jax import landmarks as landmarks_lib

Array = jax.Array
Batch = Mapping[str, Any]
EvalStep = Callable[[Any, Batch], Any]

EVAL_BATCH_SIZE = 32


def eval_function(model: models.LandmarkTransformer) -> EvalStep:
    """The step of one device: parameters and a batch -> <float32>[rows, classes] logits."""

    def eval_step(params: Any, batch: Batch) -> Any:
        return model.apply({'params': params}, batch['landmarks'], batch['padding_mask'])

    return eval_step


def eval_batches(features: Sequence[np.ndarray], order: np.ndarray, num_devices: int, local: range) -> Iterator[Batch]:
    """Batches of EVAL_BATCH_SIZE clips in an order, divided over devices; see input_pipeline.batches."""
    labels = np.zeros(len(features), np.int32)
    for batch in input_pipeline.batches(features, labels, order, EVAL_BATCH_SIZE, num_devices, devices=local):
        yield {name: batch[name] for name in ('landmarks', 'padding_mask')}


def in_order(logits: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    """Joins the answers to `eval_batches`, each <float32>[rows, classes], in the order of the clips."""
    joined = np.concatenate([batch[:EVAL_BATCH_SIZE] for batch in logits])[: len(order)]
    return joined[np.argsort(order)]


def predict_logits(eval_step: EvalStep, params: Any, features: Sequence[np.ndarray]) -> np.ndarray:
    """The answers to clips.

    Args:
        eval_step: `eval_function`, mapped by devices.map_eval_step.
        params: of the model.
        features: <float32>[frames, dim] of each clip.

    Returns:
        <float32>[clips, classes], in the order of `features`.
    """
    order, logits = input_pipeline.order_by_length(features), []
    for batch in eval_batches(features, order, jax.device_count(), devices.local_devices()):
        answers = np.asarray(eval_step(params, batch))
        logits.append(answers.reshape(-1, answers.shape[-1]))
    return in_order(logits, order)


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model with parameters, and all that is needed to feed it.

    Attributes:
        model: the Flax module.
        params: its parameters.
        config: of the run.
        description: of the data that it was trained on.
        step: of the checkpoint.
        metrics: of the checkpoint: epoch, train_accuracy, validation_accuracy and so on.
        selected_by: how the checkpoint was chosen, in words.
    """

    model: models.LandmarkTransformer
    params: Any
    config: ml_collections.ConfigDict
    description: dataset_lib.Description
    step: int
    metrics: Mapping[str, Any]
    selected_by: str

    @property
    def layout(self) -> landmarks_lib.Layout:
        """The layout that the model takes."""
        return landmarks_lib.LAYOUTS[self.description.layout]

    @property
    def features(self) -> features_lib.Features:
        """What the model is fed."""
        return features_lib.Features.from_config(self.config, self.description.layout)

    def logits(self, landmarks: Sequence[np.ndarray], names: Sequence[str] | None = None) -> np.ndarray:
        """<float32>[clips, classes], the answers to clips; see `predict` for the arguments."""
        return predict_logits(mapped_eval_step(self.model), self.params, self.features.compute(landmarks, names))

    def predict(
        self, landmarks: np.ndarray | Sequence[np.ndarray], k: int = 5
    ) -> list[list[tuple[str, float]]] | list[tuple[str, float]]:
        """The likeliest glosses of one clip, or of each of several.

        Args:
            landmarks: <float32>[frames, points, 3] in the layout of the model, normalized image coordinates (x to the
                right, y down, z as MediaPipe gives it or NaN), NaN where a point is missing; or a sequence of these.
            k: how many glosses.

        Returns:
            Pairs of gloss and probability, likeliest first; of several clips, such a list for each.

        Raises:
            InputError: a clip has another shape or no frames.
        """
        is_one = isinstance(landmarks, np.ndarray) and landmarks.ndim == 3
        clips: list[Any] = [landmarks] if is_one else list(landmarks)
        if not clips:
            return []
        logits = self.logits(clips)
        answers = [
            [(self.description.label_names[label], float(row[label])) for label in best]
            for row, best in zip(metrics.probabilities(logits), metrics.top_k(logits, k), strict=True)
        ]
        return answers[0] if is_one else answers


@functools.lru_cache(maxsize=4)
def mapped_eval_step(model: models.LandmarkTransformer) -> EvalStep:
    """The eval step of a model, mapped over the devices; one for equal models, so that it compiles once."""
    return devices.map_eval_step(eval_function(model))
