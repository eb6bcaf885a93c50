"""Landmark layouts: the only place that knows what point 17 is.

A layout is one entry of LAYOUTS. To add one, give its points in the order of the data, the groups they belong to, their
CSV columns, the bones between them, the pairs that a mirror swaps, and where each point is drawn:

    _add(Layout(
        name='eyes',
        points=('right_eye', 'left_eye'),
        groups={'body': (0, 1)},
        hand_groups=(),
        columns=('Ex0', 'Ey0', 'Ex1', 'Ey1'),
        bones=((0, 1),),
        mirror_pairs=((0, 1),),
        figure=((-0.1, 0.2), (0.1, 0.2)),
    ))

Every dataset, figure, normalization and CSV file then reads it by its name.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

import numpy as np

from slr_jax import errors

# Whose hand the columns of the right hand hold: the signer's right hand, or the left one. The published extraction fed
# unmirrored video to MediaPipe's older API, which names hands as in a mirror.
HANDEDNESS = ('signer', 'swapped')


@dataclasses.dataclass(frozen=True)
class Layout:
    """The points of one frame.

    Attributes:
        name: as written in datasets and flags.
        points: name of each point, unique.
        groups: name of a group, such as body or right_hand -> the indices of its points. Every point is in one group.
        hand_groups: the groups that are hands, whose first point is the wrist: right_hand and left_hand; hand (side
            unknown); or hand_0 and hand_1 (slots in no order).
        columns: two names (x, y) per point in SPOTER-format CSVs.
        bones: pairs of points that a drawing joins.
        mirror_pairs: pairs of points that change places in a mirror.
        figure: where the drawn figure has each point; x to the right and y upwards as the viewer sees the signer, each
            group in a frame of its own, within [-1, 1].
        missing_value: what a missing coordinate is in published CSVs.
        column_aliases: text in column names -> the text that `columns` has for it.
        optional_points: points whose columns may be absent.
        labels_per_frame: the CSV has one label per frame, not per clip.
        body_box: points that SPOTER's body box is made from: nose, neck, left_eye, left_shoulder, right_shoulder -> one
            point, or several whose middle is meant.
        arms: of the left and the right arm the neck, shoulder, elbow and wrist: one point, or several whose middle is
            meant; none where there is no body.
    """

    name: str
    points: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]]
    hand_groups: tuple[str, ...]
    columns: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]
    mirror_pairs: tuple[tuple[int, int], ...]
    figure: tuple[tuple[float, float], ...]
    missing_value: float = -2.0
    column_aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    optional_points: tuple[str, ...] = ()
    labels_per_frame: bool = True
    body_box: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    arms: tuple[tuple[tuple[int, ...], ...], ...] = ()

    @property
    def num_points(self) -> int:
        """Points per frame."""
        return len(self.points)

    @property
    def hands(self) -> tuple[tuple[int, ...], ...]:
        """The points of each hand, wrist first."""
        return tuple(self.groups[group] for group in self.hand_groups)

    @property
    def fingers(self) -> tuple[tuple[int, ...], ...]:
        """The points of each finger of each hand, which follow the wrist in fours."""
        return tuple(hand[start : start + 4] for hand in self.hands for start in range(1, len(hand), 4))

    @property
    def has_unordered_hands(self) -> bool:
        """Whether hands come in slots that say nothing about right and left."""
        return 'hand_0' in self.hand_groups

    @property
    def point_columns(self) -> tuple[str, ...]:
        """One name per point, as in the published weights files: `RHx0`, `x0`, `nose_X`."""
        return self.columns[::2]

    @functools.cached_property
    def group_of_point(self) -> tuple[str, ...]:
        """The group of each point."""
        groups = {point: group for group, indices in self.groups.items() for point in indices}
        return tuple(groups[point] for point in range(self.num_points))


def anatomical_order(layout: Layout, handedness: str) -> tuple[int, ...]:
    """For each point of the data, the point of the layout that it is on the signer's body.

    Args:
        layout: of the data.
        handedness: one of HANDEDNESS; `swapped` columns hold the other hand than they say.
    """
    points = list(range(layout.num_points))
    if handedness == 'swapped':
        for a, b in layout.mirror_pairs:
            if layout.group_of_point[a] != layout.group_of_point[b]:
                points[a], points[b] = b, a
    return tuple(points)


def find_points(layout: Layout, names: Sequence[str]) -> tuple[int, ...]:
    """The points of these names and of the groups of these names, each once, in the order of the layout.

    Args:
        layout: of the data.
        names: of points or groups; several may be one string, with commas between them.

    Raises:
        InputError: there is none of a name, or there are no names.
    """
    found: set[int] = set()
    by_name = {point: (index,) for index, point in enumerate(layout.points)} | dict(layout.groups)
    for name in (part for text in names or [''] for part in str(text).split(',')):
        if name not in by_name:
            raise errors.InputError(
                f'config.points: {name!r} is not a point of layout {layout.name}, expected points such as '
                f'{layout.points[0]}, or groups, of {", ".join(layout.groups)}'
                f'{errors.did_you_mean(name, by_name)}'
            )
        found.update(by_name[name])
    return tuple(sorted(found))


def subset(layout: Layout, points: Sequence[int]) -> Layout:
    """The layout of some points, for tables and pictures: it has no hands, body box or arms."""
    index = {point: number for number, point in enumerate(points)}

    def keep(pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        return tuple((index[a], index[b]) for a, b in pairs if a in index and b in index)

    kept = {group: tuple(index[p] for p in members if p in index) for group, members in layout.groups.items()}
    return dataclasses.replace(
        layout,
        name=f'{layout.name}, {len(points)} of {layout.num_points} points',
        points=tuple(layout.points[point] for point in points),
        groups={group: members for group, members in kept.items() if members},
        columns=tuple(column for point in points for column in layout.columns[2 * point : 2 * point + 2]),
        bones=keep(layout.bones),
        mirror_pairs=keep(layout.mirror_pairs),
        figure=tuple(layout.figure[point] for point in points),
        **_NOTHING_ELSE,
    )


def with_shadows(layout: Layout) -> Layout:
    """The layout, and after its points another of each, in groups of their own; for tables and pictures."""
    shadows = {
        f'{_SHADOW}{group}': tuple(p + layout.num_points for p in points) for group, points in layout.groups.items()
    }
    return dataclasses.replace(
        layout,
        name=f'{layout.name}, with shadows',
        points=(*layout.points, *(f'{_SHADOW}{point}' for point in layout.points)),
        groups={**layout.groups, **shadows},
        columns=(*layout.columns, *(f'{_SHADOW}{column}' for column in layout.columns)),
        bones=layout.bones + _shift(layout.bones, layout.num_points),
        mirror_pairs=layout.mirror_pairs + _shift(layout.mirror_pairs, layout.num_points),
        figure=layout.figure * 2,
        **_NOTHING_ELSE,
    )


def without_shadows(layout: Layout) -> Layout:
    """The layout of the points of `with_shadows` that are not shadows; of other layouts, the layout."""
    points = [index for index, point in enumerate(layout.points) if not point.startswith(_SHADOW)]
    return layout if len(points) == layout.num_points else subset(layout, points)


# Begins the names of shadows and of their groups.
_SHADOW = 'shadow_'
# Of a layout that is for tables and pictures only.
_NOTHING_ELSE: dict[str, Any] = {'hand_groups': (), 'optional_points': (), 'body_box': {}, 'arms': ()}


def check_layout(layout: Layout) -> None:
    """Raises ValueError where the parts of a layout do not fit each other."""
    points = range(layout.num_points)
    pairs = [*layout.bones, *layout.mirror_pairs]
    grouped = sorted(point for indices in layout.groups.values() for point in indices)
    problems = {
        'points are not unique': len(set(layout.points)) != layout.num_points,
        'groups do not hold every point once': grouped != list(points),
        'hand_groups are not groups': not set(layout.hand_groups) <= set(layout.groups),
        'columns are not two per point': len(set(layout.columns)) != 2 * layout.num_points,
        'figure is not one position per point': np.shape(layout.figure) != (layout.num_points, 2),
        'a bone or mirror pair is not of two points': any(point not in points for pair in pairs for point in pair),
        'optional points are not points': not set(layout.optional_points) <= set(layout.points),
    }
    for problem, found in problems.items():
        if found:
            raise ValueError(f'layout {layout.name}: {problem}')


LAYOUTS: dict[str, Layout] = {}


def _add(layout: Layout) -> None:
    check_layout(layout)
    LAYOUTS[layout.name] = layout


def _shift(pairs: tuple[tuple[int, int], ...], start: int) -> tuple[tuple[int, int], ...]:
    return tuple((a + start, b + start) for a, b in pairs)


def _mirrored(figure: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    return tuple((-x, y) for x, y in figure)


def _indexed(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f'{prefix}{axis}{point}' for point in range(count) for axis in 'xy')


# --- The hand of MediaPipe

_HAND_POINTS = (
    'wrist thumb_cmc thumb_mcp thumb_ip thumb_tip '
    'index_finger_mcp index_finger_pip index_finger_dip index_finger_tip '
    'middle_finger_mcp middle_finger_pip middle_finger_dip middle_finger_tip '
    'ring_finger_mcp ring_finger_pip ring_finger_dip ring_finger_tip '
    'pinky_mcp pinky_pip pinky_dip pinky_tip'
).split()
_HAND_BONES = (
    (0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 6), (6, 7), (7, 8), (5, 9), (9, 10), (10, 11), (11, 12),
    (9, 13), (13, 14), (14, 15), (15, 16), (13, 17), (0, 17), (17, 18), (18, 19), (19, 20),
)  # fmt: skip
# The signer's right hand, its palm to the viewer: the thumb is on the viewer's right.
_RIGHT_HAND_FIGURE = (
    (0.10, -0.95), (0.42, -0.78), (0.66, -0.48), (0.82, -0.20), (0.96, 0.06),
    (0.36, -0.02), (0.43, 0.36), (0.47, 0.62), (0.50, 0.86),
    (0.08, 0.05), (0.10, 0.47), (0.11, 0.75), (0.12, 1.00),
    (-0.19, -0.01), (-0.22, 0.37), (-0.24, 0.63), (-0.26, 0.87),
    (-0.45, -0.15), (-0.54, 0.14), (-0.60, 0.36), (-0.66, 0.58),
)  # fmt: skip
_LEFT_HAND_FIGURE = _mirrored(_RIGHT_HAND_FIGURE)

_add(
    Layout(
        name='mediapipe_hand',
        points=tuple(_HAND_POINTS),
        groups={'hand': tuple(range(21))},
        hand_groups=('hand',),
        columns=_indexed('', 21),
        bones=_HAND_BONES,
        mirror_pairs=(),
        figure=_RIGHT_HAND_FIGURE,
    )
)

_add(
    Layout(
        name='mediapipe_two_hands',
        points=tuple(f'hand_{slot}_{point}' for slot in (0, 1) for point in _HAND_POINTS),
        groups={'hand_0': tuple(range(21)), 'hand_1': tuple(range(21, 42))},
        hand_groups=('hand_0', 'hand_1'),
        columns=_indexed('H0', 21) + _indexed('H1', 21),
        bones=_HAND_BONES + _shift(_HAND_BONES, 21),
        mirror_pairs=(),
        figure=_RIGHT_HAND_FIGURE + _LEFT_HAND_FIGURE,
    )
)

# --- Hands and pose of MediaPipe

_POSE_POINTS = (
    'nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear '
    'mouth_left mouth_right left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist '
    'left_pinky right_pinky left_index right_index left_thumb right_thumb left_hip right_hip left_knee right_knee '
    'left_ankle right_ankle left_heel right_heel left_foot_index right_foot_index'
).split()
_POSE_BONES = (
    (0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10), (11, 12), (11, 13), (13, 15), (12, 14),
    (14, 16), (15, 17), (15, 19), (15, 21), (17, 19), (16, 18), (16, 20), (16, 22), (18, 20), (11, 23), (12, 24),
    (23, 24), (23, 25), (24, 26), (25, 27), (26, 28), (27, 29), (29, 31), (27, 31), (28, 30), (30, 32), (28, 32),
)  # fmt: skip
_POSE_MIRROR_PAIRS = (
    (1, 4), (2, 5), (3, 6), (7, 8), (9, 10), *((point, point + 1) for point in range(11, 33, 2)),
)  # fmt: skip
# The left half as the viewer sees the signer, on the viewer's right; the head is large, its points are many.
_POSE_FIGURE_LEFT = {
    'nose': (0.0, 0.72), 'left_eye_inner': (0.14, 0.90), 'left_eye': (0.38, 1.02), 'left_eye_outer': (0.62, 0.90),
    'left_ear': (0.80, 0.70), 'mouth_left': (0.15, 0.52), 'left_shoulder': (0.40, 0.30), 'left_elbow': (0.60, 0.02),
    'left_wrist': (0.68, -0.26), 'left_pinky': (0.92, -0.42), 'left_index': (0.70, -0.54), 'left_thumb': (0.48, -0.42),
    'left_hip': (0.20, -0.20), 'left_knee': (0.23, -0.56), 'left_ankle': (0.24, -0.80), 'left_heel': (0.12, -0.94),
    'left_foot_index': (0.42, -0.98),
}  # fmt: skip


def _mirror_side(name: str) -> str:
    swap = {'left': 'right', 'right': 'left'}
    return '_'.join(swap.get(part, part) for part in name.split('_'))


def _pose_figure() -> tuple[tuple[float, float], ...]:
    figure = _POSE_FIGURE_LEFT | {_mirror_side(name): (-x, y) for name, (x, y) in _POSE_FIGURE_LEFT.items()}
    return tuple(figure[name] for name in _POSE_POINTS)


_add(
    Layout(
        name='mediapipe_hands_pose',
        points=(
            *(f'right_hand_{point}' for point in _HAND_POINTS),
            *(f'left_hand_{point}' for point in _HAND_POINTS),
            *(f'pose_{point}' for point in _POSE_POINTS),
        ),
        groups={
            'right_hand': tuple(range(21)),
            'left_hand': tuple(range(21, 42)),
            'body': tuple(range(42, 75)),
        },
        hand_groups=('right_hand', 'left_hand'),
        columns=_indexed('RH', 21) + _indexed('LH', 21) + _indexed('P', 33),
        bones=_HAND_BONES + _shift(_HAND_BONES, 21) + _shift(_POSE_BONES, 42),
        mirror_pairs=tuple((point, point + 21) for point in range(21)) + _shift(_POSE_MIRROR_PAIRS, 42),
        figure=_RIGHT_HAND_FIGURE + _LEFT_HAND_FIGURE + _pose_figure(),
        body_box={
            'nose': (42,),
            'neck': (53, 54),
            'left_eye': (44,),
            'left_shoulder': (53,),
            'right_shoulder': (54,),
        },
        # The fingers of the pose go with its wrists.
        arms=(
            ((53, 54), (53,), (55,), (57, 59, 61, 63)),
            ((53, 54), (54,), (56,), (58, 60, 62, 64)),
        ),
    )
)

# --- Apple's Vision API, the layout of SPOTER's data

_VISION_BODY = (
    'nose neck rightEye leftEye rightEar leftEar rightShoulder leftShoulder rightElbow leftElbow rightWrist leftWrist'
).split()
_VISION_HAND = (
    'wrist indexTip indexDIP indexPIP indexMCP middleTip middleDIP middlePIP middleMCP ringTip ringDIP ringPIP ringMCP '
    'littleTip littleDIP littlePIP littleMCP thumbTip thumbIP thumbMP thumbCMC'
).split()
# The point of MediaPipe's hand that each point of Vision's hand is.
_VISION_HAND_IN_MEDIAPIPE = (0, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 4, 3, 2, 1)
_VISION_BODY_BONES = ((0, 1), (0, 2), (0, 3), (2, 4), (3, 5), (1, 6), (1, 7), (6, 8), (8, 10), (7, 9), (9, 11))
_VISION_BODY_FIGURE = (
    (0.0, 0.66), (0.0, 0.34), (-0.24, 0.92), (0.24, 0.92), (-0.54, 0.74), (0.54, 0.74),
    (-0.44, 0.24), (0.44, 0.24), (-0.66, -0.24), (0.66, -0.24), (-0.72, -0.72), (0.72, -0.72),
)  # fmt: skip


def _vision_hand_bones(start: int) -> tuple[tuple[int, int], ...]:
    place = {mediapipe: vision for vision, mediapipe in enumerate(_VISION_HAND_IN_MEDIAPIPE)}
    return _shift(tuple((place[a], place[b]) for a, b in _HAND_BONES), start)


def _vision_columns() -> tuple[str, ...]:
    names = _VISION_BODY + [f'{point}_{side}' for side in ('left', 'right') for point in _VISION_HAND]
    return tuple(f'{name}_{axis}' for name in names for axis in 'XY')


_add(
    Layout(
        name='vision_api',
        points=(
            *_VISION_BODY,
            *(f'{point}_left' for point in _VISION_HAND),
            *(f'{point}_right' for point in _VISION_HAND),
        ),
        groups={
            'body': tuple(range(12)),
            'left_hand': tuple(range(12, 33)),
            'right_hand': tuple(range(33, 54)),
        },
        hand_groups=('left_hand', 'right_hand'),
        columns=_vision_columns(),
        bones=_VISION_BODY_BONES + _vision_hand_bones(12) + _vision_hand_bones(33),
        mirror_pairs=(
            (2, 3), (4, 5), (6, 7), (8, 9), (10, 11), *((point, point + 21) for point in range(12, 33)),
        ),
        figure=(
            *_VISION_BODY_FIGURE,
            *(_LEFT_HAND_FIGURE[point] for point in _VISION_HAND_IN_MEDIAPIPE),
            *(_RIGHT_HAND_FIGURE[point] for point in _VISION_HAND_IN_MEDIAPIPE),
        ),
        missing_value=0.0,
        column_aliases={'_0_': '_left_', '_1_': '_right_'},
        optional_points=('neck',),
        labels_per_frame=False,
        body_box={
            'nose': (0,),
            'neck': (1,),
            'left_eye': (3,),
            'left_shoulder': (7,),
            'right_shoulder': (6,),
        },
        arms=(((1,), (7,), (9,), (11,)), ((1,), (6,), (8,), (10,))),
    )
)  # fmt: skip
