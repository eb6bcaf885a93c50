"""Finds clips that are copies of each other, by their landmarks. Imports neither jax nor TensorFlow.

Two clips are equal where x and y of all points are. They are near copies where half of the frames of one are frames of
the other, and where one, moved, scaled along each axis and resampled in time, perhaps mirrored or with its hands in the
other slots, differs from the other by less than a small part of its motion. Two performances of a sign differ by more,
even of one signer in one session.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
import functools
import hashlib
import itertools
from typing import NamedTuple

import numpy as np

from slr_jax import landmarks as landmarks_lib

EQUAL, NEAR, MIRRORED = '=', '≈', '≈ mirrored'
# Root mean square difference of near copies, as a fraction of that of the motion.
_MOST_DIFFERENCE = 0.025
# What a difference may be at most, times that, for ends that are moved by a step of one frame.
_HOPELESS = 8
# Clips with less are copies only where they are equal.
_LEAST_FRAMES, _LEAST_POINTS = 8, 5
# Of all points that are seen in one of two copies, those seen in both.
_LEAST_SHARED = 0.7
# Frames that clips are resampled to, and numbers that these are projected to.
_NUM_FRAMES, _NUM_NUMBERS = 16, 128
# What the projected clips may differ by before and after small changes of time and scale are taken out.
_LOOSE, _TIGHT = 0.7, 0.12
_BLOCK = 1024
_CHUNK = 8192
# Frames at which two clips are compared, and the smallest part of a frame by which their ends are moved.
_MOST_COMPARED, _LEAST_STEP = 16, 1 / 8


class Pair(NamedTuple):
    """Two clips that are copies, by their place in the sequence, and one of EQUAL, NEAR and MIRRORED."""

    first: int
    second: int
    kind: str


# A hash of clips -> their copies: several runs are tested, and several seeds trained, on the same clips.
_found: dict[bytes, list[Pair]] = {}


def find(clips: Sequence[np.ndarray], layout: landmarks_lib.Layout) -> list[Pair]:
    """Finds copies among clips.

    Of equal clips, each is paired with the first of them, and only that one is compared with others.

    Args:
        clips: <float32>[frames, points, 3] of each, NaN where missing; in each some point is seen.
        layout: of the landmarks.

    Returns:
        Pairs, the first before the second, sorted.
    """
    digests = [_digest(clip) for clip in clips]
    content = hashlib.sha256(b''.join([layout.name.encode(), *digests])).digest()
    if content not in _found:
        _found[content] = _find(clips, digests, layout)
    return list(_found[content])


def _find(clips: Sequence[np.ndarray], digests: Sequence[bytes], layout: landmarks_lib.Layout) -> list[Pair]:
    firsts: dict[bytes, int] = {}
    pairs, different = [], []
    for index, digest in enumerate(digests):
        first = firsts.setdefault(digest, index)
        if first == index:
            different.append(index)
        else:
            pairs.append(Pair(first, index, EQUAL))
    moving = [index for index in different if _is_comparable(clips[index])]
    taken = set(_sharing_frames(clips, moving))
    pairs.extend(Pair(first, second, NEAR) for first, second in taken)
    for first, second, swapped, mirrored in _candidates([clips[index] for index in moving], layout):
        a, b = moving[first], moving[second]
        if (a, b) not in taken and _difference(
            clips[a], _change(clips[b], layout, swapped, mirrored)
        ) < _MOST_DIFFERENCE:
            taken.add((a, b))
            pairs.append(Pair(a, b, MIRRORED if mirrored else NEAR))
    return sorted(pairs)


def group(pairs: Sequence[Pair], num_clips: int) -> np.ndarray:
    """<int64>[clips], for each clip the first of those that it is a copy of, over any number of pairs."""
    groups = np.arange(num_clips)
    for pair in pairs:
        a, b = sorted((groups[pair.first], groups[pair.second]))
        groups[groups == b] = a
    return groups


def _digest(clip: np.ndarray) -> bytes:
    xy = np.where(np.isnan(clip[..., :2]), np.float32(np.nan), clip[..., :2])
    return hashlib.sha256(np.ascontiguousarray(xy).tobytes() + str(xy.shape).encode()).digest()


def _sharing_frames(clips: Sequence[np.ndarray], indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pairs of which one has at least half of the frames of the other: at another rate, or cut elsewhere."""
    owners: dict[bytes, list[int]] = {}
    num_frames = {}
    for index in indices:
        xy = np.where(np.isnan(clips[index][..., :2]), np.float32(np.nan), clips[index][..., :2])
        has_points = (~np.isnan(xy[..., 0])).sum(axis=1) >= _LEAST_POINTS
        frames = {hashlib.blake2b(frame.tobytes(), digest_size=16).digest() for frame in xy[has_points]}
        num_frames[index] = len(frames)
        for frame in frames:
            owners.setdefault(frame, []).append(index)
    shared = Counter(pair for found in owners.values() for pair in itertools.combinations(found, 2))
    for (first, second), count in shared.items():
        if count >= max(_LEAST_FRAMES, min(num_frames[first], num_frames[second]) / 2):
            yield first, second


def _is_comparable(clip: np.ndarray) -> bool:
    is_seen = ~np.isnan(clip[..., 0])
    return int(is_seen.any(axis=1).sum()) >= _LEAST_FRAMES and int(is_seen.any(axis=0).sum()) >= _LEAST_POINTS


def _other_side(layout: landmarks_lib.Layout) -> np.ndarray:
    """For each point that of the other side, or of the other slot."""
    points = np.arange(layout.num_points)
    pairs = layout.mirror_pairs
    if not pairs and len(layout.hands) == 2:
        pairs = tuple(zip(*layout.hands, strict=True))
    for a, b in pairs:
        points[a], points[b] = b, a
    return points


def _change(clip: np.ndarray, layout: landmarks_lib.Layout, swapped: bool, mirrored: bool) -> np.ndarray:
    xy = clip[..., :2]
    xy = xy[:, _other_side(layout)] if swapped else xy
    return xy * np.array([-1, 1], np.float32) if mirrored else xy


# --- Candidates, of all pairs


class _Prints(NamedTuple):
    """Clips as few numbers, whose distances are about the root mean square differences of the clips.

    Attributes:
        xy: swapped sides or not -> <float32>[clips, 2, numbers], of x and of y.
        motion: <float32>[clips], root mean square of what moves.
        bases: <float32>[clips, numbers, directions], orthonormal, in which they move where a clip is shifted or scaled
            or its ends are moved.
    """

    xy: dict[bool, np.ndarray]
    motion: np.ndarray
    bases: np.ndarray


def _candidates(clips: Sequence[np.ndarray], layout: landmarks_lib.Layout) -> Iterator[tuple[int, int, bool, bool]]:
    """Pairs that may be near copies: two indices, and whether the second is with sides swapped, and mirrored."""
    if len(clips) < 2:
        return
    parts = [_project(clips[start : start + _BLOCK], layout) for start in range(0, len(clips), _BLOCK)]
    motion = np.concatenate([part.motion for part in parts])
    bases = np.concatenate([part.bases for part in parts])
    xy = {swapped: np.concatenate([part.xy[swapped] for part in parts]) for swapped in parts[0].xy}
    own = xy[False].sum(axis=1)
    for swapped, mirrored in itertools.product(xy, (False, True)):
        others = xy[swapped][:, 1] + (-1 if mirrored else 1) * xy[swapped][:, 0]
        for start in range(0, len(clips), _BLOCK):
            block = slice(start, start + _BLOCK)
            squares = (own[block] ** 2).sum(axis=1)[:, None] + (others[start:] ** 2).sum(axis=1)
            squares -= 2 * own[block] @ others[start:].T
            bound = _LOOSE * np.minimum(motion[block, None], motion[start:])
            first, second = np.nonzero(np.triu(squares < bound**2, 1))
            for part in range(0, len(first), _CHUNK):
                a, b = first[part : part + _CHUNK] + start, second[part : part + _CHUNK] + start
                rest = others[b] - own[a]
                squares = (rest**2).sum(axis=1) - (np.einsum('nd,ndk->nk', rest, bases[a]) ** 2).sum(axis=1)
                is_near = squares < (_TIGHT * np.minimum(motion[a], motion[b])) ** 2
                for pair in zip(a[is_near].tolist(), b[is_near].tolist(), strict=True):
                    yield *pair, swapped, mirrored


def _project(clips: Sequence[np.ndarray], layout: landmarks_lib.Layout) -> _Prints:
    before, xy, after = np.stack([_sample(clip[..., :2]) for clip in clips], axis=1)
    is_seen = ~np.isnan(xy[..., :1])
    count = is_seen.sum(axis=(1, 2), keepdims=True)
    xy, speed = np.nan_to_num(xy), np.nan_to_num(after - before)
    xy = np.where(is_seen, xy - xy.sum(axis=(1, 2), keepdims=True) / count, 0).astype(np.float32)
    spread = np.sqrt((xy**2).sum(axis=(1, 2), keepdims=True) / count).astype(np.float32) + np.float32(1e-9)
    xy, speed = xy / spread, speed / spread
    motion = np.sqrt(((xy - xy.mean(axis=1, keepdims=True)) ** 2).mean(axis=(1, 2, 3)))
    num_values = 2 * _NUM_FRAMES * layout.num_points
    weights = _weights(num_values)

    def project(values: np.ndarray, axis: int) -> np.ndarray:
        return values.reshape(len(values), -1) @ weights[axis]

    swaps = {False: xy}
    if (_other_side(layout) != np.arange(layout.num_points)).any():
        swaps[True] = xy[:, :, _other_side(layout)]
    prints = {swap: np.stack([project(x[..., axis], axis) for axis in (0, 1)], axis=1) for swap, x in swaps.items()}
    late_speed = speed * np.linspace(-1, 1, _NUM_FRAMES, dtype=np.float32)[:, None, None]
    directions = [
        *(sum(project(x[..., axis], axis) for axis in (0, 1)) for x in (speed, late_speed)),
        *(project(is_seen[..., 0].astype(np.float32), axis) for axis in (0, 1)),
        *np.moveaxis(prints[False], 1, 0),
    ]
    return _Prints(prints, motion, np.linalg.qr(np.stack(directions, axis=2))[0])


def _sample(xy: np.ndarray) -> np.ndarray:
    """[3, frames, points, 2] at _NUM_FRAMES positions, half a frame before, there and after; NaN of points never seen.

    A point that is missing is where it was last, or else first.
    """
    start, end = _seen_part(xy)
    is_seen = ~np.isnan(xy[..., 0])
    last = np.maximum.accumulate(np.where(is_seen, np.arange(len(xy))[:, None], -1), axis=0)
    source = np.where(last < 0, is_seen.argmax(axis=0), last)
    filled = xy[source, np.arange(xy.shape[1])]
    return _at(filled, np.linspace(start, end, _NUM_FRAMES) + np.array([[-0.5], [0], [0.5]]))


@functools.lru_cache(maxsize=1)
def _weights(num_values: int) -> np.ndarray:
    """<float32>[2, values / 2, numbers], a random projection of x and of y."""
    shape = (2, num_values // 2, _NUM_NUMBERS)
    return np.random.default_rng(0).standard_normal(shape, np.float32) / np.sqrt(np.float32(_NUM_NUMBERS * num_values))


def _seen_part(clip: np.ndarray) -> tuple[int, int]:
    """The first and the last frame in which some point is seen."""
    seen = np.flatnonzero((~np.isnan(clip[..., 0])).any(axis=1))
    return int(seen[0]), int(seen[-1])


def _at(xy: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """[…, points, 2] at positions in frames, linear between two, that where one is missing, NaN outside of the clip."""
    low = np.clip(np.floor(positions), 0, len(xy) - 1).astype(int)
    high = np.minimum(low + 1, len(xy) - 1)
    weight = (positions - low).astype(np.float32)[..., None, None]
    before, after = xy[low], xy[high]
    found = before + weight * (after - before)
    found = np.where(np.isnan(found), np.where(np.isnan(before), after, before), found)
    is_outside = (positions < -0.5) | (positions > len(xy) - 0.5)
    return np.where(is_outside[..., None, None], np.float32(np.nan), found)


# --- One pair


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """What differs between two clips [frames, points, at least 2], as a fraction of the motion; inf: incomparable.

    The longer is moved and scaled along each axis and resampled to the frames of the shorter, with the beginning and
    the end that fit best. The difference is the median over frames, each of which counts as much as it moves: still
    ones, in which one signer always looks the same, do not.
    """
    if len(a) > len(b):
        a, b = b, a
    frames = np.unique(np.linspace(*_seen_part(a), _MOST_COMPARED).round().astype(int))
    reference = _Reference.of(a[..., :2], frames)
    start, end = _seen_part(b)
    first_step = step = 2.0 ** round(np.log2(max(1, (end - start) / (frames[-1] - frames[0]))))
    times = (frames - frames[0]) / (frames[-1] - frames[0])
    b = b[..., :2] - np.nanmean(b[..., :2], axis=(0, 1))
    best, shift = np.inf, np.zeros(2)
    size = 2
    while step >= _LEAST_STEP:
        around = step * np.arange(-size, size + 1)
        shifts = shift + np.stack(np.meshgrid(around, around), axis=-1).reshape(-1, 2)
        begin, stop = start + shifts[:, :1], end + shifts[:, 1:]
        found = _differences(reference, _at(b, begin + times * (stop - begin)))
        if found.min() < best:
            best, shift = float(found.min()), shifts[found.argmin()]
        if best > max(1, _HOPELESS * step / first_step) * _MOST_DIFFERENCE:
            break
        step, size = step / 2, 1
    return best


class _Reference(NamedTuple):
    """Some frames of a clip that others are compared with.

    Attributes:
        xy: <float32>[frames, points, 2], around 0, 0 where missing.
        is_seen: <bool>[frames, points].
        motion: <float32>[2], mean square of what moves, of x and of y.
        weights: <float32>[frames], how much moves.
    """

    xy: np.ndarray
    is_seen: np.ndarray
    motion: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, clip: np.ndarray, frames: np.ndarray) -> '_Reference':
        xy = clip[frames]
        is_seen = ~np.isnan(xy[..., 0])
        moves = _at(clip, frames + 0.5) - _at(clip, frames - 0.5)
        xy = np.where(is_seen[..., None], xy - np.nanmean(xy, axis=(0, 1)), 0)
        count = np.maximum(is_seen.sum(axis=0), 1)[:, None]
        motion = np.where(is_seen[..., None], xy - xy.sum(axis=0) / count, 0)
        weights = np.sqrt(np.where(is_seen[..., None], np.nan_to_num(moves), 0) ** 2).sum(axis=(1, 2))
        return cls(xy, is_seen, (motion**2).sum(axis=(0, 1)) / is_seen.sum(), weights + 1e-9)


def _differences(a: _Reference, others: np.ndarray) -> np.ndarray:
    """The fraction of `_difference` between some frames of a clip and each of [others, frames, points, 2]."""
    is_shared = a.is_seen & ~np.isnan(others[..., 0])
    seen = is_shared.astype(np.float32)
    y = np.where(is_shared[..., None], others, 0)
    # Of each frame and axis: sums of 1, x, y, x², xy and y².
    n = seen.sum(axis=2)[..., None].astype(np.float64)
    sx, sxx = (np.einsum('cfp,fpa->cfa', seen, values).astype(np.float64) for values in (a.xy, a.xy**2))
    sy = y.sum(axis=2).astype(np.float64)
    sxy = np.einsum('cfpa,fpa->cfa', y, a.xy).astype(np.float64)
    syy = np.einsum('cfpa,cfpa->cfa', y, y).astype(np.float64)
    count = np.maximum(n.sum(axis=1), 1)
    mean_x, mean_y = sx.sum(axis=1) / count, sy.sum(axis=1) / count
    spread_x, spread_xy, spread_y = (
        values.sum(axis=1) / count - product + 1e-12
        for values, product in ((sxx, mean_x**2), (sxy, mean_x * mean_y), (syy, mean_y**2))
    )
    slope = (spread_xy / spread_y)[:, None]
    shift = mean_x[:, None] - slope * mean_y[:, None]
    # Sum of (x - slope y - shift)² of each frame.
    squares = sxx - 2 * slope * sxy - 2 * shift * sx + slope**2 * syy + 2 * slope * shift * sy + n * shift**2
    squares = (squares / np.maximum(n, 1) / spread_x[:, None]).sum(axis=2)
    motion = (a.motion / spread_x).sum(axis=1)
    found = np.sqrt(np.maximum(_weighted_median(squares, a.weights * (n[..., 0] > 0)), 0) / (motion + 1e-12))
    shared, either = is_shared.sum(axis=(1, 2)), (a.is_seen | ~np.isnan(others[..., 0])).sum(axis=(1, 2))
    is_enough = (shared >= _LEAST_SHARED * either) & (slope[:, 0] > 0).all(axis=1)
    is_enough &= (is_shared.any(axis=2).sum(axis=1) >= _LEAST_FRAMES) & (
        is_shared.any(axis=1).sum(axis=1) >= _LEAST_POINTS
    )
    return np.where(is_enough, found, np.inf)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[rows] of [rows, values], the value that half of the weight does not exceed."""
    order = values.argsort(axis=1)
    total = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
    middle = (total >= 0.5 * total[:, -1:]).argmax(axis=1)
    return np.take_along_axis(values, np.take_along_axis(order, middle[:, None], axis=1), axis=1)[:, 0]
