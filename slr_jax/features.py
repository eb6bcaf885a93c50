"""Landmarks -> what a model is fed: the one definition that training, testing, prediction and export share."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from slr_jax import errors, input_pipeline, memory, normalize
from slr_jax import landmarks as landmarks_lib

Array = jax.Array

# Axes of a point that are fed.
COORDINATES = {'xy': 2, 'xyz': 3}
# Clips, and frames with their padding, that are computed at once, to limit memory.
_CLIPS_PER_CALL, _FRAMES_PER_CALL = 128, 128 * 1024

# Name -> the index in its clip of the i-th frame that stays, from i and the numbers of frames and of those that stay.
# In whole numbers, so that NumPy and XLA give the same.
SHORTENINGS: dict[str, Callable[[Any, Any, int], Any]] = {
    'sample': lambda i, frames, kept: (2 * i * (frames - 1) + kept - 1) // max(2 * (kept - 1), 1),
    'cut': lambda i, frames, kept: i + (frames - kept) // 2,
}


@dataclasses.dataclass(frozen=True)
class Features:
    """Maps landmarks to features; a pure function of one clip, usable under jit and vmap.

    Attributes:
        layout: a key of landmarks.LAYOUTS.
        normalize: a key of normalize.METHODS.
        coordinates: a key of COORDINATES.
        missing_value: what a missing coordinate is fed as; None for the published value of the layout.
        max_frames: that stay of a clip, at most; None for all.
        shorten: a key of SHORTENINGS.
    """

    layout: str
    normalize: str = 'none'
    coordinates: str = 'xy'
    missing_value: float | None = None
    max_frames: int | None = None
    shorten: str = 'sample'

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict, layout: str) -> 'Features':
        """The features that a config asks for."""
        fields = [field.name for field in dataclasses.fields(cls) if field.name != 'layout']
        return cls(layout, **{name: config[name] for name in fields})

    @property
    def dim(self) -> int:
        """Features per frame."""
        return landmarks_lib.LAYOUTS[self.layout].num_points * COORDINATES[self.coordinates]

    @property
    def fed_for_missing(self) -> float:
        """What a missing coordinate is fed as."""
        if self.missing_value is not None:
            return self.missing_value
        return landmarks_lib.LAYOUTS[self.layout].missing_value - normalize.IMAGE_CENTER

    def __call__(self, landmarks: Array) -> Array:
        """Normalizes a clip, fills missing coordinates and flattens each frame to `[x0, y0, x1, y1, …]`.

        Args:
            landmarks: <float32>[time, points, 3], normalized image coordinates, NaN where missing.

        Returns:
            <float32>[time, dim].
        """
        layout = landmarks_lib.LAYOUTS[self.layout]
        normalized = normalize.normalize(self.normalize, landmarks[..., : COORDINATES[self.coordinates]], layout)
        missing = jnp.float32(self.fed_for_missing)
        return jnp.where(jnp.isnan(normalized), missing, normalized).reshape(landmarks.shape[0], self.dim)

    def kept_frames(self, num_frames: int) -> np.ndarray:
        """<int>[frames], the indices of the frames of a clip that the model sees."""
        if self.max_frames is None or num_frames <= self.max_frames:
            return np.arange(num_frames)
        return SHORTENINGS[self.shorten](np.arange(self.max_frames), num_frames, self.max_frames)

    def of_padded(self, landmarks: Array, num_frames: Array) -> tuple[Array, Array]:
        """The features of a padded clip, shortened to `max_frames`; for jit, also where `time` is symbolic.

        Args:
            landmarks: <float32>[time, points, 3]; what is in the padding does not count.
            num_frames: <int32>[], frames before the padding, at most `time`.

        Returns:
            <float32>[kept, dim] and the padding mask <bool>[kept], where `kept` is `time` or, if less, `max_frames`.
        """
        kept = jnp.arange(landmarks.shape[0])[: self.max_frames]
        padding_mask, indices = kept < num_frames, kept
        if self.max_frames is not None:
            shortened = SHORTENINGS[self.shorten](kept, num_frames, self.max_frames)
            indices = jnp.where(num_frames > self.max_frames, shortened, kept)
        return self(jnp.where(padding_mask[:, None, None], landmarks[indices], jnp.nan)), padding_mask

    def compute(self, landmarks: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[np.ndarray]:
        """The features of many clips, shortened to `max_frames`.

        Args:
            landmarks: <float32>[frames, points, 3] of each clip.
            names: of the clips, for messages; None for their numbers from 0.

        Returns:
            <float32>[frames, dim] of each clip.

        Raises:
            InputError: a clip has another shape or no frames, or has no z where `coordinates` asks for it.
        """
        for number, clip in enumerate(landmarks):
            self._check(clip, names[number] if names is not None else str(number))
        shortened = [clip[self.kept_frames(len(clip))] for clip in landmarks]
        compute = functools.partial(_compute_batch, self)
        return input_pipeline.map_clips(compute, shortened, _CLIPS_PER_CALL, _FRAMES_PER_CALL)

    def compute_for_model(
        self,
        config: ml_collections.ConfigDict,
        landmarks: Sequence[np.ndarray],
        names: Sequence[str] | None = None,
        *,
        training: bool = False,
    ) -> list[np.ndarray]:
        """As `compute`, for the model of a config; InputError where the longest clip does not fit in memory, too."""
        computed = self.compute(landmarks, names)
        memory.check_fits(config, names, computed, training=training)
        return computed

    def _check(self, clip: np.ndarray, name: str) -> None:
        num_points = landmarks_lib.LAYOUTS[self.layout].num_points
        if clip.ndim != 3 or clip.shape[1:] != (num_points, 3) or not len(clip):
            raise errors.InputError(
                f'clip {name} has shape {clip.shape}, expected (frames, {num_points}, 3) with at least one frame'
            )
        if COORDINATES[self.coordinates] == 3 and np.isnan(clip[..., 2]).all():
            raise errors.InputError(f"coordinates is 'xyz', but clip {name} has no z; use 'xy'")


@functools.partial(jax.jit, static_argnums=0)
def _compute_batch(features: Features, landmarks: Array) -> Array:
    """<float32>[clips, time, points, 3], padded with NaN -> <float32>[clips, time, dim]."""
    return jax.vmap(features)(landmarks)
