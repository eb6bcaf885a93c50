"""Normalizations of the landmarks of one clip: pure functions, usable under jit and vmap.

All take <float32>[frames, points, axes] with NaN for missing points and padded frames, axes x, y and perhaps z, and
return the same shape in the numbers that a model is fed; missing points stay NaN.
"""

import jax
import jax.numpy as jnp

from slr_jax import errors
from slr_jax import landmarks as landmarks_lib

Array = jax.Array
# Corners, and whether a frame has them.
Box = tuple[Array, Array]

# The middle of an image in normalized coordinates, which the published models are fed as 0.
IMAGE_CENTER = 0.5


def normalize(method: str, landmarks: Array, layout: landmarks_lib.Layout, *, square: bool = False) -> Array:
    """Applies one of METHODS.

    Args:
        method: its name.
        landmarks: of a clip.
        layout: of the landmarks.
        square: whether they are in square coordinates, see frame_sizes; else in normalized image coordinates.

    Raises:
        InputError: there is no such method.
    """
    if method not in METHODS:
        raise errors.InputError(f'normalize is {method!r}, expected one of {", ".join(METHODS)}')
    if method == 'spoter':
        return spoter(landmarks, layout, square=square)
    return METHODS[method](landmarks, layout)


def none(landmarks: Array, layout: landmarks_lib.Layout) -> Array:
    """Coordinates relative to the middle of the image, as published by Luna-Jiménez et al."""
    del layout
    return jnp.asarray(landmarks) - IMAGE_CENTER


def spoter(landmarks: Array, layout: landmarks_lib.Layout, *, square: bool = False) -> Array:
    """SPOTER's normalization (Boháček & Hrúz, WACVW 2022, section 3.2), frame by frame, less 0.5.

    The body is placed in a box measured in heads (the distance of the shoulders, or of neck and nose), each hand in the
    square around it; z is not scaled. A layout without a body has its hands normalized only. As published, boxes end at
    the left and upper edge of the picture, but in square coordinates they do not, so that they are the same wherever in
    the picture the signer is.
    """
    landmarks = jnp.asarray(landmarks)
    # SPOTER's data has 0 where a point is missing, and its formulas read those zeros.
    points = jnp.nan_to_num(landmarks[..., :2])
    normalized = points
    if 'body' in layout.groups:
        start, end, has_box = _body_boxes(points, layout, is_cut=not square)
        size = jnp.stack([end[:, 0] - start[:, 0], start[:, 1] - end[:, 1]], axis=-1)
        corner = jnp.stack([start[:, 0], end[:, 1]], axis=-1)
        usable = has_box & (size != 0).all(axis=-1)
        normalized = _into_box(normalized, layout.groups['body'], corner, size, usable)
    for hand in layout.hands:
        corner, size, usable = _hand_boxes(points[:, jnp.array(hand)])
        normalized = _into_box(normalized, hand, corner, size, usable)
    normalized = jnp.where(jnp.isnan(landmarks[..., :2]), jnp.nan, normalized)
    return landmarks.at[..., :2].set(normalized) - IMAGE_CENTER


def _into_box(points: Array, group: tuple[int, ...], corner: Array, size: Array, usable: Array) -> Array:
    """Maps the present points of a group to (p − corner) / size; `corner` and `size` are [frames, 2]."""
    indices = jnp.array(group)
    inside = points[:, indices]
    moves = usable[:, None] & (inside[..., 0] != 0)
    scaled = (inside - corner[:, None]) / jnp.where(size == 0, 1, size)[:, None]
    return points.at[:, indices].set(jnp.where(moves[..., None], scaled, inside))


def _body_boxes(points: Array, layout: landmarks_lib.Layout, *, is_cut: bool) -> tuple[Array, Array, Array]:
    """Start and end <float32>[frames, 2] of the box of each frame, and <bool>[frames] whether there is one."""
    point = {name: _midpoint(points, parts) for name, parts in layout.body_box.items()}
    present = {name: xy[:, 0] != 0 for name, xy in point.items()}
    has_shoulders = present['left_shoulder'] & present['right_shoulder']
    has_neck = present['neck'] & present['nose']
    shoulders = jnp.linalg.norm(point['left_shoulder'] - point['right_shoulder'], axis=-1)
    head = jnp.where(has_shoulders, shoulders, jnp.linalg.norm(point['neck'] - point['nose'], axis=-1))
    start = jnp.stack([point['neck'][:, 0] - 3 * head, point['left_eye'][:, 1] + head], axis=-1)
    end = jnp.stack([point['neck'][:, 0] + 3 * head, start[:, 1] - 6 * head], axis=-1)
    boxes = jnp.concatenate([start, end], axis=-1)
    if is_cut:
        boxes = jnp.maximum(boxes, 0)

    def keep_last(carry: Box, frame: Box) -> tuple[Box, Box]:
        box, measured = frame
        carry = (jnp.where(measured, box, carry[0]), carry[1] | measured)
        return carry, carry

    first = (jnp.zeros(4, boxes.dtype), jnp.array(False))
    _, (boxes, has_box) = jax.lax.scan(keep_last, first, (boxes, has_shoulders | has_neck))
    return boxes[:, :2], boxes[:, 2:], has_box


def _midpoint(points: Array, parts: tuple[int, ...]) -> Array:
    """<float32>[frames, 2], the midpoint of some points, 0 where one of them is missing."""
    chosen = points[:, jnp.array(parts)]
    present = (chosen[..., :1] != 0).all(axis=1)
    return jnp.where(present, chosen.mean(axis=1), 0)


def _hand_boxes(hand: Array) -> tuple[Array, Array, Array]:
    """<float32>[frames, 21, 2] -> corner and size [frames, 2] of the widened square of each frame, and if it exists."""
    present = hand != 0
    low = jnp.where(present, hand, jnp.inf).min(axis=1)
    high = jnp.where(present, hand, -jnp.inf).max(axis=1)
    extent = high - low
    longer = extent.max(axis=-1, keepdims=True)
    margin = 0.1 * longer + (longer - extent) / 2
    size = extent + 2 * margin
    usable = present.any(axis=1).all(axis=-1) & (size != 0).all(axis=-1)
    return (
        jnp.where(usable[:, None], low - margin, 0),
        jnp.where(usable[:, None], size, 1),
        usable,
    )


def centered(landmarks: Array, layout: landmarks_lib.Layout) -> Array:
    """Takes the position and the size of the signer out of a clip.

    Wrists and body: relative to the clip's mean of all present points, divided by their standard deviation. Fingers:
    relative to their wrist in the same frame, divided by the root mean square of all fingers of the clip. Two unordered
    hand slots are first put in order from left to right.
    """
    landmarks = jnp.asarray(landmarks)
    if layout.has_unordered_hands:
        landmarks = order_hands(landmarks, layout)
    fingers = jnp.array([point for hand in layout.hands for point in hand[1:]], int)
    wrists = jnp.array([hand[0] for hand in layout.hands for _ in hand[1:]], int)
    relative = landmarks[:, fingers] - landmarks[:, wrists]
    center = jnp.nan_to_num(jnp.nanmean(landmarks, axis=(0, 1)))
    centered = (landmarks - center) / _root_mean_square(landmarks[..., :2] - center[:2])
    return centered.at[:, fingers].set(relative / _root_mean_square(relative[..., :2]))


def _root_mean_square(values: Array) -> Array:
    present = ~jnp.isnan(values)
    mean = (jnp.where(present, values, 0) ** 2).sum() / jnp.maximum(present.sum(), 1)
    return jnp.where(mean > 0, jnp.sqrt(mean), 1)


def order_hands(landmarks: Array, layout: landmarks_lib.Layout) -> Array:
    """Puts two hand slots in order from left to right, frame by frame.

    A hand that is alone in its frame goes where hands of the clip's two-handed frames are nearer: to the left slot if
    its wrist is nearer to the mean left wrist, and to the left slot in a clip without such frames.
    """
    landmarks = jnp.asarray(landmarks)
    first, second = (jnp.array(hand) for hand in layout.hands)
    x = jnp.stack([landmarks[:, first[0], 0], landmarks[:, second[0], 0]], axis=-1)
    present = ~jnp.isnan(x)
    both = present.all(axis=-1)
    left = jnp.nanmean(jnp.where(both, x.min(axis=-1), jnp.nan))
    right = jnp.nanmean(jnp.where(both, x.max(axis=-1), jnp.nan))
    alone = jnp.nansum(x, axis=-1)
    belongs_right = both.any() & (jnp.abs(alone - right) < jnp.abs(alone - left))
    swap = jnp.where(both, x[:, 0] > x[:, 1], belongs_right == present[:, 0]) & present.any(axis=-1)
    swapped = landmarks.at[:, first].set(landmarks[:, second]).at[:, second].set(landmarks[:, first])
    return jnp.where(swap[:, None, None], swapped, landmarks)


METHODS = {'none': none, 'spoter': spoter, 'centered': centered}
