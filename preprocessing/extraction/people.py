"""One person of those in the picture: whose body is taken over a clip, and which hands are its own."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction.landmarker import Found
from slr_jax import landmarks as landmarks_lib

# Distances are in sizes of the body, which is about the width of its shoulders. A hand was at most 0.5 from its wrist
# in one-person videos, and at least 1.2 from another's.
_FARTHEST_HAND = 0.75
_FARTHEST_STEP = 1.0
# Two bodies nearer than this are one, found twice.
_SAME_BODY = 0.3
_TORSO_TO_SHOULDERS = 0.7
# Hands without a body may be this far outside the box around the signer, in widths and heights of it.
_BOX_MARGIN = 0.2
# Frames of a recording that decide who its person is: about five seconds.
_MEMORY = 150
# As MediaPipe counts the points of a body.
_UPPER_BODY = slice(0, 17)
_SHOULDERS, _HIPS, _WRISTS = [11, 12], [23, 24], [15, 16]

_Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class _Body:
    """A body in a frame: <float32>[33, 3], its overlap with the clip's box, and how large and central it is."""

    points: np.ndarray
    overlap: float
    prominence: float


# Frame -> the body there.
_Track = dict[int, _Body]


@dataclasses.dataclass(frozen=True)
class Extracted:
    """Landmarks of a clip.

    Attributes:
        landmarks: <float32>[frames, 75, 3], NaN where not seen.
        hands_given_up: number of hands, over all frames, that are of another person or too far from the body.
        frame_size: width and height of the pictures as they are shown, in square pixels; None where unknown.
    """

    landmarks: np.ndarray
    hands_given_up: int
    frame_size: tuple[int, int] | None = None


def resolve_clip(frames: Sequence[Found], bbox: str, handedness: str) -> Extracted:
    """Takes the landmarks of one person, the same in all frames.

    The person is the one in the box, or else the largest and most central over the clip. A hand is this person's if no
    other body's wrist is nearer, and it is near enough to one of the person's own.

    Args:
        frames: what was found in each frame.
        bbox: of the clip; empty where not known.
        handedness: of landmarks.HANDEDNESS.
    """
    frames = [dataclasses.replace(frame, bodies=_distinct(frame)) for frame in frames]
    tracks: list[_Track] = []
    for number, frame in enumerate(frames):
        _extend(tracks, number, frame, bbox)
    bodies, alone = _choose_bodies(tracks)
    crowded = any(len(frame.hands) > 2 for frame in frames)
    landmarks = np.full((len(frames), landmarker_lib.LAYOUT.num_points, 3), np.nan, np.float32)
    given_up = 0
    for number, frame in enumerate(frames):
        box = _relative_box(bbox, frame) if crowded and not bodies else None
        landmarks[number], lost = _resolve_frame(number, frame, bodies, alone, box)
        given_up += lost
    return Extracted(landmarks[:, _order(handedness)], given_up)


class Follower:
    """The landmarks of one person of a recording of any length, frame by frame.

    The person is chosen as `resolve_clip` does in a clip of the last frames, so that another can follow one who leaves.
    Where one person is seen at a time, the landmarks are those of `resolve_clip`.

    Args:
        handedness: of landmarks.HANDEDNESS.
    """

    def __init__(self, handedness: str) -> None:
        self._order = _order(handedness)
        self._number = 0
        self._tracks: list[_Track] = []

    def resolve(self, frame: Found) -> np.ndarray:
        """Returns <float32>[75, 3], NaN where not seen, of the next frame."""
        number = self._number
        self._number += 1
        frame = dataclasses.replace(frame, bodies=_distinct(frame))
        _extend(self._tracks, number, frame, '')
        for track in self._tracks:
            track.pop(number - _MEMORY, None)
        self._tracks = [track for track in self._tracks if track]
        bodies, alone = _choose_bodies(self._tracks)
        return _resolve_frame(number, frame, bodies, alone, None)[0][self._order]


def _resolve_frame(number: int, frame: Found, bodies: _Track, alone: bool, box: _Box | None) -> tuple[np.ndarray, int]:
    """Returns the landmarks of the person in a frame, MediaPipe's right hand first, and the number of others' hands."""
    points = np.full((landmarker_lib.LAYOUT.num_points, 3), np.nan, np.float32)
    body = bodies.get(number)
    if body is not None:
        points[landmarker_lib.BODY] = body.points
    elif not alone:
        # Among others, a body that is missing in this frame is where it was seen last, or will be.
        body = bodies[min(bodies, key=lambda other: abs(other - number))]
    wanted = None if body is None else body.points
    if wanted is not None:
        hands = [hand for hand in frame.hands if _is_own(hand[2], wanted, frame)]
    else:
        hands = [hand for hand in frame.hands if box is None or _is_inside(hand[2], box)][:2]
    for name, hand in landmarker_lib.resolve_handedness(hands, wanted, frame.aspect).items():
        points[landmarker_lib.HANDS[name]] = hand
    return points, len(frame.hands) - len(hands)


def _order(handedness: str) -> list[int]:
    return list(landmarks_lib.anatomical_order(landmarker_lib.LAYOUT, handedness))


def shows_several(frame: Found) -> bool:
    """Whether more than one person is in the picture."""
    return len(_distinct(frame)) > 1 or len(frame.hands) > 2


def _choose_bodies(tracks: Sequence[_Track]) -> tuple[_Track, bool]:
    """Returns the body of one person by frame, and whether nobody else is seen."""

    def rank(track: _Track) -> tuple[float, float]:
        return sum(body.overlap for body in track.values()), sum(body.prominence for body in track.values())

    chosen: list[_Track] = []
    for track in sorted(tracks, key=rank, reverse=True):
        # After a cut the same person may be elsewhere; two who are there at the same time are two.
        if all(max(track) < min(other) or max(other) < min(track) for other in chosen):
            chosen.append(track)
    bodies = {number: body for track in chosen for number, body in track.items()}
    return bodies, len(chosen) == len(tracks)


def _extend(tracks: list[_Track], number: int, frame: Found, bbox: str) -> None:
    """Adds the bodies of a frame to the tracks that they follow, or as new tracks."""
    pairs = [
        (_distance(track[max(track)].points, body, frame.aspect, _SHOULDERS), old, new)
        for old, track in enumerate(tracks)
        for new, body in enumerate(frame.bodies)
    ]
    box = _relative_box(bbox, frame)
    free = {new: _make_body(body, frame, box) for new, body in enumerate(frame.bodies)}
    for distance, old, new in sorted(pairs):
        if distance <= _FARTHEST_STEP and new in free and number not in tracks[old]:
            tracks[old][number] = free.pop(new)
    tracks.extend({number: body} for body in free.values())


def _make_body(points: np.ndarray, frame: Found, box: _Box | None) -> _Body:
    center = points[_SHOULDERS, 0].mean()
    prominence = _size(points, frame.aspect) * max(0.0, 1 - abs(center - 0.5))
    return _Body(points, _overlap(points, box), prominence)


def _distinct(frame: Found) -> list[np.ndarray]:
    """The bodies of a frame without those that were found twice."""
    distinct: list[np.ndarray] = []
    for body in frame.bodies:
        if all(_distance(other, body, frame.aspect, _UPPER_BODY, each=True) > _SAME_BODY for other in distinct):
            distinct.append(body)
    return distinct


def _is_own(hand: np.ndarray, body: np.ndarray, frame: Found) -> bool:
    reach = _reach(hand, body, frame.aspect)
    return reach <= _FARTHEST_HAND and all(reach <= _reach(hand, other, frame.aspect) for other in frame.bodies)


def _reach(hand: np.ndarray, body: np.ndarray, aspect: float) -> float:
    """Distance of a hand from the nearer wrist of a body."""
    return float(_lengths(hand[0] - body[_WRISTS], aspect).min()) / _size(body, aspect)


def _distance(a: np.ndarray, b: np.ndarray, aspect: float, points: list[int] | slice, each: bool = False) -> float:
    """Distance of the middle of some points of two bodies, or the mean distance of each of them."""
    difference = b[points] - a[points]
    lengths = _lengths(difference, aspect) if each else _lengths(difference.mean(axis=0), aspect)
    return float(lengths.mean()) / max(_size(a, aspect), _size(b, aspect))


def _size(body: np.ndarray, aspect: float) -> float:
    """About the width of the shoulders, also where they are seen from the side, in heights of the frame."""
    shoulders = _lengths(body[_SHOULDERS[0]] - body[_SHOULDERS[1]], aspect)
    torso = _lengths(body[_SHOULDERS].mean(axis=0) - body[_HIPS].mean(axis=0), aspect)
    return max(float(shoulders), _TORSO_TO_SHOULDERS * float(torso), 1e-6)


def _lengths(differences: np.ndarray, aspect: float) -> np.ndarray:
    return np.hypot(differences[..., 0] * aspect, differences[..., 1])


def _relative_box(bbox: str, frame: Found) -> _Box | None:
    """The box in fractions of the frame; None where there is none, or it is of a picture of another size."""
    if not bbox:
        return None
    x0, y0, x1, y1 = map(float, bbox.split())
    width, height = (1, 1) if max(x1, y1) <= 1 else (frame.width, frame.height)
    box = x0 / width, y0 / height, x1 / width, y1 / height
    return box if x0 < x1 and y0 < y1 and max(box) <= 1 + _BOX_MARGIN else None


def _overlap(body: np.ndarray, box: _Box | None) -> float:
    """Intersection over union of the upper body and a box."""
    if box is None:
        return 0.0
    points = np.clip(body[_UPPER_BODY, :2], 0, 1)
    low, high = points.min(axis=0), points.max(axis=0)
    sides = np.minimum(high, box[2:]) - np.maximum(low, box[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    return common / max(float(np.prod(high - low)) + (box[2] - box[0]) * (box[3] - box[1]) - common, 1e-9)


def _is_inside(hand: np.ndarray, box: _Box) -> bool:
    low, high = np.array(box[:2]), np.array(box[2:])
    margin = _BOX_MARGIN * (high - low)
    return bool(((low - margin <= hand[0, :2]) & (hand[0, :2] <= high + margin)).all())
