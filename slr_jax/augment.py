"""Augmentation of training clips: pure functions of landmarks, on the device, drawn anew for each clip and step.

All take <float32>[time, points, axes], axes x, y and perhaps z in normalized image coordinates, NaN where a point is
missing and in padded frames; missing points stay missing.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from slr_jax import config as config_lib
from slr_jax import features as features_lib
from slr_jax import frame_sizes, frames
from slr_jax import landmarks as landmarks_lib

Array = jax.Array
Layout = landmarks_lib.Layout

_MIDDLE = 0.5
# SPOTER's ranges: degrees of the body and of an arm's joint, shares of the width, and how often a joint turns.
_SPOTER_ROTATION, _SPOTER_JOINT = 13.0, 4.0
_SPOTER_TILT, _SPOTER_SQUEEZE = 0.1, 0.15
_SPOTER_JOINT_PROBABILITY = 0.3


# --- In space


def transform(landmarks: Array, matrix: Array, shift: Array) -> Array:
    """Maps x and y linearly about the middle of the clip's points, and moves them.

    Args:
        landmarks: of a clip.
        matrix: <float32>[2, 2].
        shift: <float32>[2], in standard deviations of the clip's points.
    """
    points = landmarks[..., :2]
    center = jnp.nan_to_num(jnp.nanmean(points, axis=(0, 1)))
    deviation = jnp.nan_to_num(jnp.sqrt(jnp.nanmean((points - center) ** 2)))
    return landmarks.at[..., :2].set((points - center) @ matrix.T + center + shift * deviation)


def affine_matrix(degrees: Array, scale: Array, aspect: Array, shear: Array) -> Array:
    """<float32>[2, 2] that shears x by y, stretches x by the square root of `aspect` and y as much less, scales, turns.

    With y down, positive degrees turn clockwise as the viewer sees it.
    """
    stretch = scale * jnp.stack([jnp.sqrt(aspect), 1 / jnp.sqrt(aspect)])
    return _rotation(degrees) * stretch @ jnp.array([[1.0, shear], [0.0, 1.0]])


def _rotation(degrees: Array) -> Array:
    sine, cosine = jnp.sin(jnp.deg2rad(degrees)), jnp.cos(jnp.deg2rad(degrees))
    return jnp.array([[cosine, -sine], [sine, cosine]])


def mirror(landmarks: Array, layout: Layout) -> Array:
    """The clip as in a mirror: x to the other side, and points of the right side in those of the left."""
    order = list(range(layout.num_points))
    for a, b in layout.mirror_pairs:
        order[a], order[b] = b, a
    mirrored = landmarks[:, jnp.array(order)]
    return mirrored.at[..., 0].set(2 * _MIDDLE - mirrored[..., 0])


def move_hands(landmarks: Array, shifts: Array, scales: Array, layout: Layout) -> Array:
    """Moves and scales each hand as a whole, the same in all frames: single points keep their place in the hand.

    Args:
        landmarks: of a clip.
        shifts: <float32>[hands, 2], in standard deviations of the hand's points about its wrist.
        scales: <float32>[hands], about the wrist.
        layout: of the landmarks.
    """
    for hand, shift, scale in zip(layout.hands, shifts, scales, strict=True):
        indices = jnp.array(hand)
        points = landmarks[:, indices, :2]
        # Where the wrist is missing, the middle of what is seen of the hand.
        anchor = jnp.where(jnp.isnan(points[:, :1]), jnp.nanmean(points, axis=1, keepdims=True), points[:, :1])
        size = jnp.nan_to_num(jnp.sqrt(jnp.nanmean((points - anchor) ** 2)))
        landmarks = landmarks.at[:, indices, :2].set((points - anchor) * scale + anchor + shift * size)
    return landmarks


# --- SPOTER's four (Boháček & Hrúz, WACVW 2022, section 3.3)


def rotate(landmarks: Array, degrees: Array, width: Array | float = 1.0) -> Array:
    """Turns all points about the middle of the image, whose height is 1."""
    points, middle = landmarks[..., :2], jnp.array([width / 2, 0.5])
    return landmarks.at[..., :2].set((points - middle) @ _rotation(degrees).T + middle)


def tilt(landmarks: Array, ratio: Array, is_left: Array, layout: Layout) -> Array:
    """Moves the left or right edge of the image inwards by a share of its size and shortens it, in perspective.

    Body points only.
    """
    near, far = jnp.where(is_left, ratio, 0.0), jnp.where(is_left, 0.0, ratio)
    corners = jnp.array([[near, near], [1 - far, far], [1 - far, 1 - far], [near, 1 - near]])
    return _map_body(landmarks, corners, layout)


def squeeze(landmarks: Array, left: Array, right: Array, layout: Layout) -> Array:
    """Moves the left and the right edge of the image inwards by shares of its width. Body points only."""
    zero, one = jnp.zeros_like(left), jnp.ones_like(left)
    corners = jnp.array([[left, zero], [one - right, zero], [one - right, one], [left, one]])
    return _map_body(landmarks, corners, layout)


def _map_body(landmarks: Array, corners: Array, layout: Layout) -> Array:
    """Maps body points by the perspective that takes the corners of the image, clockwise from the top left, there."""
    if 'body' not in layout.groups:
        return landmarks
    body = jnp.array(layout.groups['body'])
    a, b, c, d = corners
    # Heckbert (1989), Fundamentals of Texture Mapping, section 2.2.3.
    rest, right, bottom = a - b + c - d, b - c, d - c
    determinant = right[0] * bottom[1] - bottom[0] * right[1]
    g = (rest[0] * bottom[1] - bottom[0] * rest[1]) / determinant
    h = (right[0] * rest[1] - rest[0] * right[1]) / determinant
    x, y = landmarks[:, body, 0, None], landmarks[:, body, 1, None]
    mapped = (x * (b - a + g * b) + y * (d - a + h * d) + a) / (g * x + h * y + 1)
    return landmarks.at[:, body, :2].set(mapped)


def turn_arms(landmarks: Array, degrees: Array, layout: Layout) -> Array:
    """Turns the joints of the arms, each carrying those after it.

    Args:
        landmarks: of a clip.
        degrees: <float32>[arms, 4], of neck, shoulder, elbow and wrist.
        layout: of the landmarks.
    """
    for arm, arm_degrees in zip(layout.arms, degrees, strict=False):
        for number, angle in enumerate(arm_degrees[:-1]):
            joint = landmarks[:, jnp.array(arm[number]), :2].mean(axis=1, keepdims=True)
            moved = jnp.array([point for points in arm[number + 1 :] for point in points])
            turned = (landmarks[:, moved, :2] - joint) @ _rotation(angle).T + joint
            # Where the joint is missing, what it carries stays; SPOTER turns it about the corner of the image.
            turned = jnp.where(jnp.isnan(joint), landmarks[:, moved, :2], turned)
            landmarks = landmarks.at[:, moved, :2].set(turned)
    return landmarks


# --- In time


def warp(progress: Array, strength: Array, waves: Array) -> Array:
    """Maps progress through a clip, in [0, 1], to itself smoothly and without going back.

    Args:
        progress: <float32>[…], in [0, 1].
        strength: in (-1, 1); positive is faster at first.
        waves: number of half waves, from 1.
    """
    return progress + strength / (math.pi * waves) * jnp.sin(math.pi * waves * progress)


# --- All of it, drawn


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Draws what happens to a clip in a step.

    Attributes:
        layout: a key of landmarks.LAYOUTS.
        fields: of config.augment, see slr_jax/config.py.
        num_frames: that every clip is resampled to; None for none.
    """

    layout: str
    fields: ml_collections.FrozenConfigDict
    num_frames: int | None = None

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict, layout: str) -> 'Augmentation | None':
        """What a config asks for; None where every probability is 0."""
        fields = ml_collections.FrozenConfigDict(config.augment)
        return (
            cls(layout, fields, config.num_frames) if any(fields[name] for name in config_lib.AUGMENTATIONS) else None
        )

    def __call__(
        self, key: Array, landmarks: Array, num_frames: Array, aspect: Array | None = None
    ) -> tuple[Array, Array]:
        """Augments a clip.

        Args:
            key: of the clip and step.
            landmarks: <float32>[time, points, axes], NaN in padded frames.
            num_frames: <int32>[], of the clip, from 1 to time.
            aspect: <float32>[], width over height of the picture, in which angles and lengths are those of the picture;
                None to take coordinates as they are.

        Returns:
            <float32>[kept, points, axes], where `kept` is `time` or the field `num_frames`, and the number of frames
            before the padding.
        """
        names = config_lib.AUGMENTATIONS
        keys = dict(
            zip(names, jax.random.split(key, max(names.values()) + 1)[jnp.array([*names.values()])], strict=True)
        )
        layout = landmarks_lib.LAYOUTS[self.layout]
        landmarks, num_frames = self._change_time(keys, landmarks, num_frames)
        for name, change in _SPACE.items():
            if self.fields[name]:
                happens_key, key = jax.random.split(keys[name])
                happens = jax.random.bernoulli(happens_key, self.fields[name])
                landmarks = jnp.where(happens, change(key, landmarks, self.fields, layout, aspect), landmarks)
        dropped = landmarks
        for name, indices in _dropped_points(layout).items():
            if self.fields[name]:
                dropped = self._drop(keys[name], dropped, num_frames, name, indices)
        # A clip of which nothing is left would teach nothing.
        return jnp.where(jnp.isnan(dropped).all(), landmarks, dropped), num_frames

    def _change_time(self, keys: dict[str, Array], landmarks: Array, num_frames: Array) -> tuple[Array, Array]:
        """Takes a window of the clip, at a speed that may change within it; one resampling for both."""
        fields = self.fields
        if not (fields.crop or fields.warp or self.num_frames):
            return landmarks, num_frames
        last = (num_frames - 1).astype(jnp.float32)
        crop_key, start_key = jax.random.split(keys['crop'])
        share = _draw(crop_key, fields.crop, 1.0, fields.crop_least, 1.0)
        start = jax.random.uniform(start_key) * (1 - share) * last
        time = self.num_frames or len(landmarks)
        count = jnp.maximum(jnp.round(num_frames * share), 1).astype(jnp.int32)
        if self.num_frames:
            count = jnp.where(num_frames > 0, self.num_frames, 0)
        warp_key, waves_key = jax.random.split(keys['warp'])
        strength = _draw(warp_key, fields.warp, 0.0, -fields.warp_most, fields.warp_most)
        waves = jax.random.randint(waves_key, (), 1, 3)
        indices = jnp.arange(time)
        positions = start + warp(indices / jnp.maximum(count - 1, 1), strength, waves) * share * last
        return frames.resample(landmarks, jnp.where(indices < count, positions, jnp.nan)), count

    def _drop(
        self, key: Array, landmarks: Array, num_frames: Array, name: str, groups: Sequence[Sequence[int]]
    ) -> Array:
        """Makes a piece of some groups of points missing; each group with the probability of the field."""
        most = self.fields[f'{name}_most']

        def drop_group(key: Array) -> Array:
            happens_key, size_key, start_key = jax.random.split(key, 3)
            size = jax.random.uniform(size_key, minval=most / 2, maxval=most) * num_frames
            start = jax.random.uniform(start_key) * (num_frames - size)
            indices = jnp.arange(len(landmarks))
            in_piece = (indices >= start) & (indices < start + size)
            return in_piece & jax.random.bernoulli(happens_key, self.fields[name])

        dropped = jax.vmap(drop_group)(jax.random.split(key, len(groups)))
        is_in_group = np.array([np.isin(np.arange(landmarks.shape[1]), group) for group in groups])
        missing = (dropped[:, :, None] & is_in_group[:, None]).any(axis=0)
        return jnp.where(missing[..., None], jnp.nan, landmarks)


def make_preparation(
    config: ml_collections.ConfigDict, layout: str
) -> Callable[[Array, Mapping[str, Any]], Mapping[str, Any]] | None:
    """What makes augmented features of the landmarks of a piece of a batch; None without augmentation.

    It takes a key and a piece of input_pipeline.batches whose `landmarks` are <float32>[rows, time, points * 3], zero
    in padded frames, and which may have `aspect`, <float32>[rows], see Augmentation. Each clip has a key of its own, of
    its place in the batch.
    """
    augmentation = Augmentation.from_config(config, layout)
    if augmentation is None:
        return None
    features = features_lib.Features.from_config(config, layout)

    def prepare(key: Array, piece: Mapping[str, Any]) -> dict[str, Any]:
        padding_mask = piece['padding_mask']
        rows, time = padding_mask.shape
        landmarks = piece['landmarks'].reshape(rows, time, -1, 3)
        landmarks = jnp.where(padding_mask[..., None, None], landmarks, jnp.nan)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, piece['places'])
        aspect, encode = piece.get('aspect'), features.encode
        if aspect is not None:
            # Rows without a clip have 0.
            aspect = jnp.where(aspect > 0, aspect, 1.0)
        landmarks, counts = jax.vmap(augmentation)(keys, landmarks, padding_mask.sum(axis=1), aspect)
        counts = jnp.where(padding_mask.any(axis=1), counts, 0)
        if aspect is not None and features.uses_shape:
            landmarks, encode = jax.vmap(frame_sizes.to_square)(landmarks, aspect), features.of_square().encode
        fed, padding_mask = jax.vmap(encode)(landmarks, counts)
        return {**piece, 'landmarks': fed, 'padding_mask': padding_mask}

    return prepare


def _draw(key: Array, probability: float, usual: float, least: float, most: float) -> Array:
    """A number between `least` and `most` with a probability, else the usual one."""
    happens_key, key = jax.random.split(key)
    happens = jax.random.bernoulli(happens_key, probability)
    return jnp.where(happens, jax.random.uniform(key, minval=least, maxval=most), usual)


def _dropped_points(layout: Layout) -> dict[str, Sequence[Sequence[int]]]:
    """Name of a field -> the groups of points that are dropped together."""
    points = range(layout.num_points)
    groups = {'drop_frames': [points], 'drop_hand': layout.hands, 'drop_finger': layout.fingers}
    return groups | {'drop_point': [(point,) for point in points]}


def _in_square(change: Callable[[Array], Array], landmarks: Array, aspect: Array | None) -> Array:
    """Changes landmarks in square coordinates, where the shape of the picture is known."""
    if aspect is None:
        return change(landmarks)
    return frame_sizes.from_square(change(frame_sizes.to_square(landmarks, aspect)), aspect)


def _draw_mirror(key: Array, landmarks: Array, fields: Any, layout: Layout, aspect: Array | None) -> Array:
    del key, fields, aspect
    return mirror(landmarks, layout)


def _draw_affine(key: Array, landmarks: Array, fields: Any, layout: Layout, aspect: Array | None) -> Array:
    del layout
    *keys, shift_key = jax.random.split(key, 5)
    ranges = [fields.rotation, math.log(fields.scale), math.log(fields.aspect), fields.shear]
    degrees, scale, stretch, shear = (
        jax.random.uniform(key, minval=-most, maxval=most) for key, most in zip(keys, ranges, strict=True)
    )
    shift = fields.shift * jax.random.normal(shift_key, (2,))
    matrix = affine_matrix(degrees, jnp.exp(scale), jnp.exp(stretch), shear)
    return _in_square(lambda points: transform(points, matrix, shift), landmarks, aspect)


def _draw_hands(key: Array, landmarks: Array, fields: Any, layout: Layout, aspect: Array | None) -> Array:
    shift_key, scale_key = jax.random.split(key)
    num_hands, most = len(layout.hands), math.log(fields.hand_scale)
    shifts = fields.hand_shift * jax.random.normal(shift_key, (num_hands, 2))
    scales = jnp.exp(jax.random.uniform(scale_key, (num_hands,), minval=-most, maxval=most))
    return _in_square(lambda points: move_hands(points, shifts, scales, layout), landmarks, aspect)


def _draw_spoter(key: Array, landmarks: Array, fields: Any, layout: Layout, aspect: Array | None) -> Array:
    """One of SPOTER's four, drawn evenly."""
    del fields
    which_key, side_key, key, joint_key = jax.random.split(key, 4)
    share, other = jax.random.uniform(key, (2,))
    degrees = jax.random.uniform(joint_key, (2, 4), minval=-_SPOTER_JOINT, maxval=_SPOTER_JOINT)
    turns = jax.random.bernoulli(side_key, _SPOTER_JOINT_PROBABILITY, (2, 4))
    width = 1.0 if aspect is None else aspect
    changed = [
        _in_square(lambda points: rotate(points, _SPOTER_ROTATION * (2 * share - 1), width), landmarks, aspect),
        tilt(landmarks, _SPOTER_TILT * share, other < 0.5, layout),
        squeeze(landmarks, _SPOTER_SQUEEZE * share, _SPOTER_SQUEEZE * other, layout),
        _in_square(lambda points: turn_arms(points, jnp.where(turns, degrees, 0.0), layout), landmarks, aspect),
    ]
    return jnp.stack(changed)[jax.random.randint(which_key, (), 0, len(changed))]


# Name of the field with the probability -> the change, in the order in which they happen.
_SPACE: dict[str, Callable[[Array, Array, Any, Layout, Array | None], Array]] = {
    'mirror': _draw_mirror,
    'spoter': _draw_spoter,
    'move_hands': _draw_hands,
    'affine': _draw_affine,
}
