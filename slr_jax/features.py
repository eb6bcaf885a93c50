"""Landmarks -> what a model is fed: the one definition that training, testing, prediction and export share."""

from collections.abc import Sequence
import dataclasses
import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from slr_jax import errors, input_pipeline, normalize
from slr_jax import landmarks as landmarks_lib

Array = jax.Array

# Axes of a point that are fed.
COORDINATES = {'xy': 2, 'xyz': 3}
_CLIPS_PER_CALL = 128


@dataclasses.dataclass(frozen=True)
class Features:
    """Maps landmarks to features; a pure function of one clip, usable under jit and vmap.

    Attributes:
        layout: a key of landmarks.LAYOUTS.
        normalize: a key of normalize.METHODS.
        coordinates: a key of COORDINATES.
        missing_value: what a missing coordinate is fed as; None for the published value of the layout.
    """

    layout: str
    normalize: str = 'none'
    coordinates: str = 'xy'
    missing_value: float | None = None

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict, layout: str) -> 'Features':
        """The features that a config asks for."""
        return cls(layout, config.normalize, config.coordinates, config.missing_value)

    @property
    def dim(self) -> int:
        """Features per frame."""
        return landmarks_lib.LAYOUTS[self.layout].num_points * COORDINATES[self.coordinates]

    def __call__(self, landmarks: Array) -> Array:
        """Normalizes a clip, fills missing coordinates and flattens each frame to `[x0, y0, x1, y1, …]`.

        Args:
            landmarks: <float32>[time, points, 3], normalized image coordinates, NaN where missing.

        Returns:
            <float32>[time, dim].
        """
        layout = landmarks_lib.LAYOUTS[self.layout]
        normalized = normalize.normalize(self.normalize, landmarks[..., : COORDINATES[self.coordinates]], layout)
        missing = self.missing_value
        if missing is None:
            missing = layout.missing_value - normalize.IMAGE_CENTER
        return jnp.where(jnp.isnan(normalized), jnp.float32(missing), normalized).reshape(len(landmarks), self.dim)

    def compute(self, landmarks: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[np.ndarray]:
        """The features of many clips, in groups of similar length.

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
        return input_pipeline.map_clips(functools.partial(_compute_batch, self), landmarks, _CLIPS_PER_CALL)

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
