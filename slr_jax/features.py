"""Landmarks -> what a model is fed: the one definition that training, testing, prediction and export share."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from slr_jax import errors, frame_sizes, frames, input_pipeline, memory, normalize, tracks
from slr_jax import landmarks as landmarks_lib

Array = jax.Array

# Axes of a point that are fed.
COORDINATES = {'xy': 2, 'xyz': 3}
# Fraction of numbers that is nearly all of them.
_NEARLY_ALL = 0.95
# Clips, and frames with their padding, that are computed at once, to limit memory.
_CLIPS_PER_CALL, _FRAMES_PER_CALL = 128, 128 * 1024


def num_blocks(differences: int, presence: bool) -> int:
    """Parts of a frame's features, each as wide as its coordinates: these, their differences and their presence."""
    return 1 + differences + presence


@dataclasses.dataclass(frozen=True)
class Features:
    """Maps landmarks to features; a pure function of one clip, usable under jit and vmap.

    Attributes:
        layout: a key of landmarks.LAYOUTS.
        normalize: a key of normalize.METHODS.
        coordinates: a key of COORDINATES.
        missing_value: what a missing coordinate is fed as; None for the published value of the layout.
        trim: a key of frames.TRIMMINGS.
        interpolate_gaps: frames of the longest gap of a point that is filled.
        max_frames: that stay of a clip, at most; None for all.
        shorten: a key of frames.SHORTENINGS.
        num_frames: that every clip is resampled to; None for none.
        differences: to so many later frames, beside the coordinates.
        presence: whether it is fed which coordinates are there.
        points: indices of the points that are fed, ascending; None for all.
        shadow_seed: of the tracks of other clips that are fed beside the points; None for none.
        square: whether landmarks are in square coordinates, see frame_sizes; else in normalized image coordinates.
    """

    layout: str
    normalize: str = 'none'
    coordinates: str = 'xy'
    missing_value: float | None = None
    trim: str = 'none'
    interpolate_gaps: int = 0
    max_frames: int | None = None
    shorten: str = 'sample'
    num_frames: int | None = None
    differences: int = 0
    presence: bool = False
    points: tuple[int, ...] | None = None
    shadow_seed: int | None = None
    square: bool = False

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict, layout: str) -> 'Features':
        """The features that a config asks for; InputError where its points are not points of the layout."""
        special = ('layout', 'points', 'shadow_seed', 'square')
        fields = [field.name for field in dataclasses.fields(cls) if field.name not in special]
        points = config.points
        return cls(
            layout,
            **{name: config[name] for name in fields},
            points=None if points is None else landmarks_lib.find_points(landmarks_lib.LAYOUTS[layout], points),
            shadow_seed=config.seed if config.shadow_points else None,
        )

    @property
    def dim(self) -> int:
        """Features per frame."""
        return self.fed_layout.num_points * COORDINATES[self.coordinates] * num_blocks(self.differences, self.presence)

    @property
    def uses_shape(self) -> bool:
        """Whether landmarks are taken in square coordinates where the shape of the picture is known."""
        return self.normalize != 'none'

    def of_square(self) -> 'Features':
        """The same of landmarks in square coordinates."""
        return dataclasses.replace(self, square=True)

    @property
    def fed_layout(self) -> landmarks_lib.Layout:
        """Of the points that are fed, in their order; shadows after the others."""
        layout = landmarks_lib.LAYOUTS[self.layout]
        if self.points is not None:
            layout = landmarks_lib.subset(layout, self.points)
        return layout if self.shadow_seed is None else landmarks_lib.with_shadows(layout)

    @property
    def fed_for_missing(self) -> float:
        """What a missing coordinate is fed as."""
        if self.missing_value is not None:
            return self.missing_value
        return landmarks_lib.LAYOUTS[self.layout].missing_value - normalize.IMAGE_CENTER

    def __call__(self, landmarks: Array) -> Array:
        """Normalizes a clip, fills missing coordinates and flattens each frame to `[x0, y0, x1, y1, …]`.

        After the coordinates come, each as wide and in the same order, their differences to the frames 1, 2, … later,
        0 where one of the two is missing; and 1 where a coordinate is there and 0 where it is missing. Shadows are
        not among them, as they come from other clips; see `compute`.

        Args:
            landmarks: <float32>[time, points, 3], NaN where missing; see `square`.

        Returns:
            <float32>[time, dim].
        """
        layout = landmarks_lib.LAYOUTS[self.layout]
        coordinates = landmarks[..., : COORDINATES[self.coordinates]]
        normalized = normalize.normalize(self.normalize, coordinates, layout, square=self.square)
        if self.points is not None:
            normalized = normalized[:, jnp.array(self.points)]
        is_missing = jnp.isnan(normalized)
        blocks = [jnp.where(is_missing, jnp.float32(self.fed_for_missing), normalized)]
        for lag in range(1, self.differences + 1):
            later = jnp.concatenate(
                [normalized, jnp.full_like(normalized[:1], jnp.nan, shape=(lag, *normalized.shape[1:]))]
            )
            blocks.append(jnp.nan_to_num(later[lag:] - normalized))
        if self.presence:
            blocks.append((~is_missing).astype(jnp.float32))
        flat = [block.reshape(landmarks.shape[0], -1) for block in blocks]
        return flat[0] if len(flat) == 1 else jnp.concatenate(flat, axis=-1)

    def select_frames(self, landmarks: Array, num_frames: Array) -> tuple[Array, Array]:
        """Trims a padded clip, fills its gaps and shortens it; for jit, also where `time` is symbolic.

        Args:
            landmarks: <float32>[time, points, 3]; what is in the padding does not count.
            num_frames: <int32>[], frames before the padding, at most `time`.

        Returns:
            <float32>[kept, points, 3], NaN in padded frames, where `kept` is `time` or, if less, `max_frames`; and the
            number of frames before the padding.
        """
        layout = landmarks_lib.LAYOUTS[self.layout]
        landmarks = _blank_padding(landmarks, num_frames)
        # Between frames, a slot must hold the same hand.
        if self.normalize == 'centered' and layout.has_unordered_hands and (self.interpolate_gaps or self.num_frames):
            landmarks = normalize.order_hands(landmarks, layout)
        landmarks, num_frames = frames.trim(self.trim, landmarks, num_frames, layout)
        if self.interpolate_gaps:
            landmarks = frames.fill_gaps(landmarks, self.interpolate_gaps)
        if self.max_frames is not None:
            landmarks, num_frames = frames.shorten(self.shorten, landmarks, num_frames, self.max_frames)
        return landmarks, num_frames

    def encode(self, landmarks: Array, num_frames: Array) -> tuple[Array, Array]:
        """The features of a clip of `select_frames`, resampled to `num_frames`.

        Returns:
            <float32>[kept, dim] and the padding mask <bool>[kept], where `kept` is `time` or the field `num_frames`.
        """
        if self.num_frames is not None:
            resampled = frames.resample_evenly(landmarks, num_frames, self.num_frames)
            return self(resampled), jnp.broadcast_to(num_frames > 0, self.num_frames)
        return self(landmarks), jnp.arange(landmarks.shape[0]) < num_frames

    def compute_padded(self, landmarks: Array, num_frames: Array) -> tuple[Array, Array]:
        """The features and the padding mask of a padded clip: `select_frames` and `encode`."""
        return self.encode(*self.select_frames(landmarks, num_frames))

    def compute(
        self,
        landmarks: Sequence[np.ndarray],
        names: Sequence[str] | None = None,
        aspects: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """The features of many clips.

        Args:
            landmarks: <float32>[frames, points, 3] of each clip in normalized image coordinates.
            names: of the clips, for messages; None for their numbers from 0.
            aspects: <float32>[clips], width over height of their pictures, for which every normalization but `none`
                accounts; None to take coordinates as they are.

        Returns:
            <float32>[frames, dim] of each clip.

        Raises:
            InputError: a clip has another shape or no frames, or has no z where `coordinates` asks for it; or shadows
                are asked for, and there is no other clip.
        """
        for number, clip in enumerate(landmarks):
            self._check(clip, names[number] if names is not None else str(number))
        features = self
        if aspects is not None and self.uses_shape:
            features = self.of_square()
            landmarks = [frame_sizes.to_square(*pair) for pair in zip(landmarks, aspects, strict=True)]
        computed = _map(Features.compute_padded, features, landmarks)
        if self.shadow_seed is None or not computed:
            return computed
        return tracks.add_shadows(computed, num_blocks(self.differences, self.presence), self.shadow_seed)

    def select_frames_of_clips(self, landmarks: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`select_frames` of many clips, <float32>[frames, points, 3] each."""

        def select(features: 'Features', landmarks: Array, num_frames: Array) -> tuple[Array, Array]:
            selected, count = features.select_frames(landmarks, num_frames)
            return selected, jnp.arange(selected.shape[0]) < count

        return _map(select, self, landmarks)

    def compute_for_model(
        self,
        config: ml_collections.ConfigDict,
        landmarks: Sequence[np.ndarray],
        names: Sequence[str] | None = None,
        aspects: np.ndarray | None = None,
        *,
        training: bool = False,
    ) -> list[np.ndarray]:
        """As `compute`, for the model of a config; InputError where the longest clip does not fit in memory, too."""
        computed = self.compute(landmarks, names, aspects)
        memory.check_fits(config, names, computed, training=training)
        return computed

    def find_idle_groups(self, computed: Sequence[np.ndarray]) -> list[str]:
        """The groups of points of which a model learns nothing from some clips.

        Of at least 95 % of the coordinates of such a group, one number is fed in all frames, or what is fed for a
        missing one in at least 95 % of frames.

        Args:
            computed: <float32>[frames, dim] of each clip, at least one, as `compute` returns them.

        Returns:
            Their names.
        """
        axes, layout = COORDINATES[self.coordinates], self.fed_layout
        low, high = (f.reduce([f.reduce(clip, axis=0) for clip in computed]) for f in (np.minimum, np.maximum))
        missing = sum((clip == np.float32(self.fed_for_missing)).sum(axis=0) for clip in computed)
        is_idle = (low == high) | (missing >= _NEARLY_ALL * sum(map(len, computed)))
        is_idle = is_idle[: layout.num_points * axes].reshape(-1, axes)
        return [group for group, points in layout.groups.items() if is_idle[list(points)].mean() >= _NEARLY_ALL]

    def describe_idle(self, groups: Sequence[str], landmarks: Sequence[np.ndarray], split: str) -> str:
        """Why nothing is learned from groups of points of some clips, in one sentence.

        Args:
            groups: of find_idle_groups.
            landmarks: <float32>[frames, points, 3] of each clip.
            split: that the clips are of.
        """
        layout = landmarks_lib.LAYOUTS[self.layout]
        lacking = [
            layout.points[hand[0]]
            for group, hand in zip(layout.hand_groups, layout.hands, strict=True)
            if group in groups and self.normalize == 'centered' and _lacks_wrist(landmarks, hand)
        ]
        what = f'nearly all features of {", ".join(groups)} are missing or never change in the {split} clips'
        if not lacking:
            return what
        return (
            f"{what}: {', '.join(lacking)} is missing where the fingers are there, and config.normalize = 'centered' "
            'feeds fingers relative to it'
        )

    def _check(self, clip: np.ndarray, name: str) -> None:
        num_points = landmarks_lib.LAYOUTS[self.layout].num_points
        if clip.ndim != 3 or clip.shape[1:] != (num_points, 3) or not len(clip):
            raise errors.InputError(
                f'clip {name} has shape {clip.shape}, expected (frames, {num_points}, 3) with at least one frame'
            )
        if COORDINATES[self.coordinates] == 3 and np.isnan(clip[..., 2]).all():
            raise errors.InputError(f"coordinates is 'xyz', but clip {name} has no z; use 'xy'")


def _lacks_wrist(landmarks: Sequence[np.ndarray], hand: tuple[int, ...]) -> bool:
    """Whether the first point of a hand is missing in nearly all frames in which others of it are there."""
    is_there = np.concatenate([~np.isnan(clip[:, list(hand), 0]) for clip in landmarks])
    has_fingers = is_there[:, 1:].any(axis=1)
    return bool(has_fingers.any() and (~is_there[has_fingers, 0]).mean() >= _NEARLY_ALL)


def _blank_padding(landmarks: Array, num_frames: Array) -> Array:
    is_real = jnp.arange(landmarks.shape[0]) < num_frames
    return jnp.where(is_real[:, None, None], landmarks, jnp.nan)


def _map(
    function: Callable[['Features', Array, Array], tuple[Array, Array]],
    features: Features,
    landmarks: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """Applies a function of a padded clip, which returns one and its padding mask, to many clips."""
    batched = functools.partial(_map_batch, function, features)
    return input_pipeline.map_clips(batched, landmarks, _CLIPS_PER_CALL, _FRAMES_PER_CALL)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _map_batch(
    function: Callable[..., tuple[Array, Array]], features: Features, landmarks: Array, counts: Array
) -> Any:
    return jax.vmap(functools.partial(function, features))(landmarks, counts)
