import dataclasses
import re

import numpy as np
import pytest

from slr_jax import figures, landmarks, normalize


@pytest.mark.parametrize(
    ('name', 'points', 'first', 'last'),
    [
        ('mediapipe_hands_pose', 75, ('RHx0', 'RHy0', 'RHx1'), 'Py32'),
        ('mediapipe_hand', 21, ('x0', 'y0', 'x1'), 'y20'),
        ('vision_api', 54, ('nose_X', 'nose_Y', 'neck_X'), 'thumbCMC_right_Y'),
        ('mediapipe_two_hands', 42, ('H0x0', 'H0y0', 'H0x1'), 'H1y20'),
    ],
)
def test_layouts(name, points, first, last):
    layout = landmarks.LAYOUTS[name]
    assert layout.num_points == points
    assert layout.columns[:3] == first
    assert layout.columns[-1] == last


def test_named_points():
    pose = landmarks.LAYOUTS['mediapipe_hands_pose']
    assert pose.points[4] == 'right_hand_thumb_tip'
    assert pose.points[21 + 8] == 'left_hand_index_finger_tip'
    assert pose.points[42 + 12] == 'pose_right_shoulder'
    assert (42 + 11, 42 + 12) in pose.mirror_pairs
    vision = landmarks.LAYOUTS['vision_api']
    assert vision.points[12 + 1] == 'indexTip_left'
    assert vision.groups['right_hand'] == tuple(range(33, 54))


@pytest.mark.parametrize('layout', landmarks.LAYOUTS.values(), ids=lambda layout: layout.name)
def test_mirror_pairs_have_mirrored_places_and_names(layout):
    for a, b in layout.mirror_pairs:
        assert layout.figure[a] == (-layout.figure[b][0], layout.figure[b][1])
        swapped = re.sub('left|right', lambda side: {'left': 'right', 'right': 'left'}[side[0]], layout.points[a])
        assert swapped == layout.points[b]


@pytest.mark.parametrize('layout', landmarks.LAYOUTS.values(), ids=lambda layout: layout.name)
def test_hands_begin_with_the_wrist(layout):
    for hand in layout.hands:
        assert 'wrist' in layout.points[hand[0]]
        assert len(hand) == 21


def test_published_columns_hold_the_other_hand():
    layout = landmarks.LAYOUTS['mediapipe_hands_pose']
    on_signer = landmarks.anatomical_order(layout, 'swapped')
    assert on_signer[4] == 21 + 4
    assert on_signer[21 + 4] == 4
    assert on_signer[42:] == tuple(range(42, 75))
    assert landmarks.anatomical_order(layout, 'signer') == tuple(range(75))


def test_a_layout_that_does_not_fit_is_refused():
    layout = landmarks.LAYOUTS['mediapipe_hand']
    with pytest.raises(ValueError, match='groups do not hold every point once'):
        landmarks.check_layout(dataclasses.replace(layout, groups={'hand': tuple(range(20))}))
    with pytest.raises(ValueError, match='columns are not two per point'):
        landmarks.check_layout(dataclasses.replace(layout, columns=layout.columns[:-1]))
    with pytest.raises(ValueError, match='hand_groups are not groups'):
        landmarks.check_layout(dataclasses.replace(layout, hand_groups=('left_hand',)))


def test_a_face_is_not_a_hand():
    hand = landmarks.LAYOUTS['mediapipe_hand']
    layout = dataclasses.replace(
        hand,
        points=(*hand.points, 'right_eye', 'left_eye'),
        groups=hand.groups | {'face': (21, 22)},
        columns=(*hand.columns, 'Fx0', 'Fy0', 'Fx1', 'Fy1'),
        figure=(*hand.figure, (-0.1, 0.2), (0.1, 0.2)),
    )
    landmarks.check_layout(layout)
    assert layout.hands == hand.hands
    clip = np.random.default_rng(0).uniform(0, 1, (5, 23, 3)).astype(np.float32)
    np.testing.assert_array_equal(normalize.spoter(clip, layout)[:, 21:], clip[:, 21:] - 0.5)
    drawn = figures.draw_body_and_hands(np.linspace(0, 1, 23), layout, 'a face')
    assert [ax.get_title() for ax in drawn.axes] == ['hand, mean 0.45', 'face, mean 0.98']


def test_a_subset_is_a_layout_of_its_own():
    layout = landmarks.LAYOUTS['mediapipe_hands_pose']
    points = (0, 4, 5, 21, 25, 53, 54)
    subset = landmarks.subset(layout, points)
    landmarks.check_layout(subset)
    assert subset.points == tuple(layout.points[point] for point in points)
    assert subset.group_of_point == ('right_hand',) * 3 + ('left_hand',) * 2 + ('body',) * 2
    assert subset.bones == ((0, 2), (5, 6))
    assert subset.mirror_pairs == ((0, 3), (1, 4), (5, 6))
    assert subset.point_columns == ('RHx0', 'RHx4', 'RHx5', 'LHx0', 'LHx4', 'Px11', 'Px12')


@pytest.mark.parametrize('layout', landmarks.LAYOUTS.values(), ids=lambda layout: layout.name)
def test_shadows_make_a_layout(layout):
    shadowed = landmarks.with_shadows(layout)
    landmarks.check_layout(shadowed)
    assert shadowed.num_points == 2 * layout.num_points
    again = landmarks.without_shadows(shadowed)
    assert (again.points, again.groups, again.columns) == (layout.points, layout.groups, layout.columns)
    assert landmarks.without_shadows(layout) is layout
    assert shadowed.group_of_point[-1] == f'shadow_{layout.group_of_point[-1]}'
