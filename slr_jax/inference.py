"""A trained model, or several that answer together, and their answers; nothing here knows of training."""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
from typing import Any

import jax
import ml_collections
import numpy as np

from slr_jax import dataset as dataset_lib
from slr_jax import devices, errors, frame_sizes, input_pipeline, memory, metrics, models
from slr_jax import features as features_lib
from slr_jax import landmarks as landmarks_lib

Array = jax.Array
Piece = Mapping[str, Any]
EvalStep = Callable[[Any, Piece], Any]

EVAL_BATCH_SIZE = 32


def eval_function(model: models.LandmarkTransformer) -> EvalStep:
    """The step of one device: parameters and a batch -> <float32>[rows, classes] logits."""

    def eval_step(params: Any, batch: Piece) -> Any:
        return memory.map_rows(
            lambda rows: model.apply({'params': params}, rows['landmarks'], rows['padding_mask']), batch
        )

    return eval_step


def eval_batches(
    features: Sequence[np.ndarray], num_devices: int, local: range, *, divide: bool = True
) -> Iterator[tuple[np.ndarray, Piece]]:
    """Batches of up to EVAL_BATCH_SIZE clips of similar length, or of one where there is one, divided over devices.

    Args:
        features: <float32>[frames, dim] of each clip.
        num_devices: devices to divide over.
        local: those of this process, whose part is made.
        divide: whether clips that are much longer than the others of their batch get one of their own.

    Yields:
        The indices of the clips, and their piece as input_pipeline.make_piece gives it, without labels and weights.
    """
    labels, order = np.zeros(len(features), np.int32), input_pipeline.order_by_length(features)
    # What a camera sees is answered clip by clip, and empty rows would take as long as others.
    batch_size = 1 if len(order) == 1 else EVAL_BATCH_SIZE
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        parts = [(np.arange(len(chosen)), batch_size)]
        if divide:
            parts = input_pipeline.divide_batch(features, chosen, batch_size, num_devices)
        for places, size in parts:
            clips = chosen[places]
            piece = input_pipeline.make_piece(features, labels, clips, size, num_devices, devices=local)
            yield clips, {name: piece[name] for name in ('landmarks', 'padding_mask')}


def in_order(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Joins the answers to batches, <float32>[rows, classes] with the indices of their clips, in the order of clips."""
    logits = np.concatenate([answers[: len(clips)] for clips, answers in parts])
    return logits[np.argsort(np.concatenate([clips for clips, _ in parts]))]


def predict_logits(eval_step: EvalStep, params: Any, features: Sequence[np.ndarray]) -> np.ndarray:
    """The answers to clips.

    Args:
        eval_step: `eval_function`, mapped by devices.map_eval_step.
        params: of the model.
        features: <float32>[frames, dim] of each clip.

    Returns:
        <float32>[clips, classes], in the order of `features`.
    """
    parts = []
    for clips, batch in eval_batches(features, jax.device_count(), devices.local_devices()):
        answers = np.asarray(eval_step(params, batch))
        parts.append((clips, answers.reshape(-1, answers.shape[-1])))
    return in_order(parts)


class Predictor(abc.ABC):
    """What answers clips: a model, or several together.

    Attributes:
        description: of the data that it was trained on.
    """

    description: dataset_lib.Description

    @property
    def layout(self) -> landmarks_lib.Layout:
        """The layout that it takes."""
        return landmarks_lib.LAYOUTS[self.description.layout]

    def probabilities(
        self,
        landmarks: np.ndarray | Sequence[np.ndarray],
        names: Sequence[str] | None = None,
        frame_size: frame_sizes.FrameSizes = None,
    ) -> np.ndarray:
        """The probability of every class.

        Args:
            landmarks: of each clip, see `predict`.
            names: of the clips, for messages; None for their numbers from 0.
            frame_size: of the pictures, see `predict`.

        Returns:
            <float64>[clips, classes]; each row adds up to 1.

        Raises:
            InputError: see `predict`.
        """
        return self._answer(self._checked(landmarks, names), names, frame_size)

    @abc.abstractmethod
    def _answer(
        self, clips: Sequence[np.ndarray], names: Sequence[str] | None, frame_size: frame_sizes.FrameSizes
    ) -> np.ndarray:
        """As `probabilities`, of clips that are checked."""

    @abc.abstractmethod
    def compare_shapes(self, frame_size: frame_sizes.FrameSizes, num_clips: int) -> str:
        """What is to be said of the shape of the pictures of clips, empty for nothing; see frame_sizes.compare."""

    def predict(
        self,
        landmarks: np.ndarray | Sequence[np.ndarray],
        k: int = 5,
        names: Sequence[str] | None = None,
        frame_size: frame_sizes.FrameSizes = None,
    ) -> list[list[tuple[str, float]]] | list[tuple[str, float]]:
        """The likeliest glosses of one clip, or of each of several.

        Args:
            landmarks: <float32>[frames, points, 3] in the layout of the model, normalized image coordinates (x to the
                right, y down, z as MediaPipe gives it or NaN), NaN where a point is missing; or a sequence of these.
            k: how many glosses.
            names: of several clips, for messages; None for their numbers from 0.
            frame_size: width and height in pixels of the pictures as they are shown, one pair for all clips or one for
                each; (0, 0) or None where unknown, which is taken to be that of most clips of the training data. It
                counts where that of the training data is known, and the model's `normalize` is not 'none'.

        Returns:
            Pairs of gloss and probability, likeliest first; of several clips, such a list for each.

        Raises:
            InputError: a clip is not of numbers, has another shape or no frames, nothing is seen in it, it holds
                infinite coordinates or pixels, or it cannot fit in memory; or frame_size is no such pairs.
        """
        answers = likeliest(self.probabilities(landmarks, names, frame_size), self.description.label_names, k)
        return answers[0] if getattr(landmarks, 'ndim', None) == 3 else answers

    def _checked(self, clips: Any, names: Sequence[str] | None) -> list[np.ndarray]:
        """The clips as <float32>; InputError where one is none, or is in pixels."""
        num_points = self.layout.num_points
        if getattr(clips, 'ndim', None) == 3:
            clips = [clips]
        if isinstance(clips, (str, bytes, dict)) or getattr(clips, 'ndim', 4) != 4 or not hasattr(clips, '__iter__'):
            found = f'shape {clips.shape}' if hasattr(clips, 'shape') else type(clips).__name__
            raise errors.InputError(
                f'the landmarks are of {found}, expected a clip (frames, {num_points}, 3), or a list of such clips'
            )
        checked = []
        for number, clip in enumerate(clips):
            name = names[number] if names is not None else str(number)
            try:
                array = np.asarray(clip)
                if array.dtype.kind in 'cSUMm':
                    raise TypeError(f'its dtype is {array.dtype}')
                array = array.astype(np.float32)
            except (TypeError, ValueError) as error:
                raise errors.InputError(
                    f'clip {name} is not an array of real numbers: {errors.one_line(error)}'
                ) from None
            if problem := dataset_lib.find_problem(array, num_points):
                raise errors.InputError(f'clip {name} {problem}')
            xy = array[..., :2]
            if 2 * ((xy < -1) | (xy > 2)).sum() > (~np.isnan(xy)).sum():
                raise errors.InputError(
                    f'clip {name} has most coordinates outside -1 to 2, as pixels are (up to {np.nanmax(xy):g}), '
                    'expected fractions of width and height'
                )
            checked.append(array)
        return checked


def likeliest(probabilities: np.ndarray, label_names: Sequence[str], k: int = 5) -> list[list[tuple[str, float]]]:
    """The k likeliest glosses of each clip with their probabilities, from <float64>[clips, classes]."""
    return [
        [(label_names[label], float(row[label])) for label in best]
        for row, best in zip(probabilities, metrics.top_k(probabilities, k), strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class LoadedModel(Predictor):
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
    def features(self) -> features_lib.Features:
        """What the model is fed."""
        return features_lib.Features.from_config(self.config, self.description.layout)

    @property
    def fed_layout(self) -> landmarks_lib.Layout:
        """The layout of the points that the model is fed; see config.points and config.shadow_points."""
        return self.features.fed_layout

    @property
    def is_square(self) -> bool:
        """Whether the model is fed square coordinates, see frame_sizes."""
        return self.features.uses_shape and self.description.frame_sizes is not None

    def compare_shapes(self, frame_size: frame_sizes.FrameSizes, num_clips: int) -> str:
        """See Predictor."""
        trained_on = self.description.frame_sizes
        return frame_sizes.compare(frame_size, num_clips, trained_on, uses_shape=self.features.uses_shape)

    def logits(
        self,
        landmarks: np.ndarray | Sequence[np.ndarray],
        names: Sequence[str] | None = None,
        frame_size: frame_sizes.FrameSizes = None,
    ) -> np.ndarray:
        """<float32>[clips, classes], the answers to clips; see `predict` for the arguments and errors."""
        return self._logits(self._checked(landmarks, names), names, frame_size)

    def _logits(
        self, clips: Sequence[np.ndarray], names: Sequence[str] | None, frame_size: frame_sizes.FrameSizes
    ) -> np.ndarray:
        if not clips:
            return np.zeros((0, self.description.num_classes), np.float32)
        aspects = self.description.aspects(frame_size, len(clips))
        features = self.features.compute_for_model(self.config, clips, names, aspects)
        return predict_logits(mapped_eval_step(self.model), self.params, features)

    def _answer(
        self, clips: Sequence[np.ndarray], names: Sequence[str] | None, frame_size: frame_sizes.FrameSizes
    ) -> np.ndarray:
        return metrics.probabilities(self._logits(clips, names, frame_size))


@dataclasses.dataclass(frozen=True)
class MeanOfModels(Predictor):
    """Models of the same classes and input that answer together: with the mean of their probabilities.

    Attributes:
        models: at least one.
    """

    models: Sequence[LoadedModel]

    @property
    def description(self) -> dataset_lib.Description:  # type: ignore[override]
        """Of the data that they were trained on."""
        return self.models[0].description

    def compare_shapes(self, frame_size: frame_sizes.FrameSizes, num_clips: int) -> str:
        """See Predictor."""
        return self.models[0].compare_shapes(frame_size, num_clips)

    def _answer(
        self, clips: Sequence[np.ndarray], names: Sequence[str] | None, frame_size: frame_sizes.FrameSizes
    ) -> np.ndarray:
        return np.mean([model._answer(clips, names, frame_size) for model in self.models], axis=0)


@functools.lru_cache(maxsize=4)
def mapped_eval_step(model: models.LandmarkTransformer) -> EvalStep:
    """The eval step of a model, mapped over the devices; one for equal models, so that it compiles once."""
    return devices.map_eval_step(eval_function(model))
