"""Whose body is taken of several people, and which hands are its own."""

import pytest

pytest.importorskip('cv2')

import numpy as np

from preprocessing.extraction import landmarker, people

WIDTH, HEIGHT = 1200, 600
ASPECT = WIDTH / HEIGHT
LAYOUT = landmarker.LAYOUT
# As MediaPipe counts the points of a body: shoulders, wrists, hips and the rest, in shoulder widths.
LEFT_WRIST, RIGHT_WRIST = 15, 16
PLACES = {
    11: (0.5, 0),
    12: (-0.5, 0),
    LEFT_WRIST: (0.6, 0.9),
    RIGHT_WRIST: (-0.6, 0.9),
    23: (0.3, 1.4),
    24: (-0.3, 1.4),
}


def make_body(x, y=0.4, size=0.2):
    """A body whose middle of the shoulders is there; size is their width in heights of the frame."""
    places = np.array([PLACES.get(point, (0, -0.3)) for point in range(33)])
    body = np.zeros((33, 3), np.float32)
    body[:, :2] = (x, y) + places * size * (1 / ASPECT, 1)
    return body


def make_hand(name, body, wrist=None, dx=0.0, dy=0.0, score=0.9):
    """A hand at a wrist of a body, or so many shoulder widths of 0.2 beside it."""
    x, y, _ = body[wrist or {'right': RIGHT_WRIST, 'left': LEFT_WRIST}[name]]
    hand = np.full((21, 3), 0.5, np.float32)
    hand[0, :2] = x + dx * 0.2 / ASPECT, y + dy * 0.2
    return name, score, hand


def resolve(frames, bbox='', handedness='signer'):
    """Clips of (bodies, hands) -> in each frame its x of the body's nose, and of the right and the left hand."""
    found = [landmarker.Found(WIDTH, HEIGHT, list(bodies), list(hands)) for bodies, hands in frames]
    extracted = people.resolve_clip(found, bbox, handedness)
    points = [LAYOUT.groups['body'][0], LAYOUT.groups['right_hand'][0], LAYOUT.groups['left_hand'][0]]
    return extracted.landmarks[:, points, 0].tolist(), extracted.hands_given_up


def check(found, expected, given_up):
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    assert found[1] == given_up


NAN = float('nan')
LEFT, RIGHT = make_body(0.25), make_body(0.75)
LEFT_BOX, RIGHT_BOX = '50 20 550 590', '650 20 1150 590'


def hands_of(body):
    return [make_hand('right', body), make_hand('left', body)]


def row(body, right=True, left=True):
    """What is expected of a body whose hands are at its wrists."""
    return [body[0, 0], body[RIGHT_WRIST, 0] if right else NAN, body[LEFT_WRIST, 0] if left else NAN]


@pytest.mark.parametrize(
    ('body', 'box'),
    [(LEFT, LEFT_BOX), (RIGHT, RIGHT_BOX), (LEFT, '0.04 0.03 0.46 0.98'), (RIGHT, '0.54 0.03 0.96 1.0')],
)
@pytest.mark.parametrize('order', [1, -1])
def test_body_and_hands_are_of_the_person_in_the_box(body, box, order):
    hands = [hands_of(RIGHT)[0], *hands_of(LEFT), hands_of(RIGHT)[1]][::order]
    check(resolve([([LEFT, RIGHT][::order], hands)] * 3, box), [row(body)] * 3, 6)
    # The other's hands do not take the place of those that are not seen.
    other = RIGHT if body is LEFT else LEFT
    check(resolve([([LEFT, RIGHT], [*hands_of(other), hands_of(body)[1]])], box), [row(body, right=False)], 2)
    check(resolve([([LEFT, RIGHT], hands_of(other))], box), [row(body, False, False)], 2)


@pytest.mark.parametrize('box', ['', '1300 0 1900 1000', '500 300 400 500'])
def test_without_a_box_of_this_picture_the_largest_and_most_central_is_taken(box):
    large, small, middle = make_body(0.2, size=0.3), make_body(0.8, size=0.2), make_body(0.5, size=0.25)
    for bodies, taken in (([large, small], large), ([small, large], large), ([small, large, middle], middle)):
        hands = [hand for body in bodies for hand in hands_of(body)]
        check(resolve([(bodies, hands)], box), [row(taken)], 2 * (len(bodies) - 1))


def test_the_same_person_is_taken_in_all_frames():
    # MediaPipe's order changes, one comes nearer, and both walk.
    frames, expected = [], []
    for number in range(20):
        mine, other = make_body(0.2 + 0.01 * number, size=0.25), make_body(0.8, size=0.2 + 0.01 * (number > 15))
        bodies = [mine, other] if number % 3 else [other, mine]
        frames.append((bodies, [*hands_of(other), *hands_of(mine)]))
        expected.append(row(mine))
    check(resolve(frames), expected, 40)


def test_a_frame_without_the_person_does_not_show_another():
    both = [LEFT, RIGHT], [*hands_of(LEFT), *hands_of(RIGHT)]
    # In the second frame only the other is found; hands near to where the person was are still the person's.
    frames = [both, ([RIGHT], [*hands_of(RIGHT), *hands_of(LEFT)]), ([], [*hands_of(RIGHT), *hands_of(LEFT)]), both]
    unseen = [NAN, *row(LEFT)[1:]]
    check(resolve(frames, LEFT_BOX), [row(LEFT), unseen, unseen, row(LEFT)], 8)


def test_one_person_stays_after_a_cut_and_where_no_body_is_found():
    frames = [([LEFT], hands_of(LEFT)), ([RIGHT], hands_of(RIGHT)), ([], hands_of(LEFT)), ([RIGHT], hands_of(RIGHT))]
    check(resolve(frames), [row(LEFT), row(RIGHT), [NAN, *row(LEFT)[1:]], row(RIGHT)], 0)


@pytest.mark.parametrize(('distance', 'kept'), [(0.5, True), (0.7, True), (0.8, False), (3.0, False)])
@pytest.mark.parametrize('size', [0.1, 0.2])
def test_a_hand_far_from_both_wrists_is_given_up(distance, kept, size):
    body = make_body(0.5, size=size)
    for dx, dy in ((distance, 0), (0, distance)):
        hand = make_hand('left', body, dx=dx * size / 0.2, dy=dy * size / 0.2)
        expected = [body[0, 0], NAN, hand[2][0, 0] if kept else NAN]
        check(resolve([([body], [hand])]), [expected], 0 if kept else 1)


def test_a_hand_is_of_the_body_with_the_nearest_wrist():
    # Their wrists are 0.8 shoulder widths apart: both could reach it.
    left, right = make_body(0.4), make_body(0.6)
    assert right[RIGHT_WRIST, 0] - left[LEFT_WRIST, 0] == pytest.approx(0.8 * 0.2 / ASPECT)
    for dx, is_left in ((0.3, True), (0.5, False)):
        hand = make_hand('left', left, dx=dx)
        x = hand[2][0, 0]
        check(
            resolve([([left, right], [hand])], '400 0 560 600'), [[left[0, 0], NAN, x if is_left else NAN]], not is_left
        )


def test_a_body_that_was_found_twice_is_one():
    twice = make_body(0.255)
    frame = [LEFT, twice], [make_hand('right', twice), make_hand('left', LEFT)]
    check(resolve([frame]), [[LEFT[0, 0], twice[RIGHT_WRIST, 0], LEFT[LEFT_WRIST, 0]]], 0)
    assert not people.shows_several(landmarker.Found(WIDTH, HEIGHT, [LEFT, twice], []))
    assert people.shows_several(landmarker.Found(WIDTH, HEIGHT, [LEFT, RIGHT], []))


def test_hands_without_a_body():
    mine, other = hands_of(LEFT), hands_of(RIGHT)
    alone = [NAN, *row(LEFT)[1:]]
    check(resolve([([], mine)]), [alone], 0)
    # The first two, as MediaPipe is surer of them; or those in the box.
    check(resolve([([], [*mine, *other])]), [alone], 2)
    check(resolve([([], [*other, *mine])], LEFT_BOX), [alone], 2)
    check(resolve([([], [*other, *mine]), ([], other)], LEFT_BOX), [alone, [NAN] * 3], 4)
    # Nothing says that there are others: the box may be of another picture.
    check(resolve([([], mine)], RIGHT_BOX), [alone], 0)


def follow(frames):
    """As `resolve` without a box, frame by frame."""
    follower = people.Follower('signer')
    points = [LAYOUT.groups['body'][0], LAYOUT.groups['right_hand'][0], LAYOUT.groups['left_hand'][0]]
    found = [follower.resolve(landmarker.Found(WIDTH, HEIGHT, list(bodies), list(hands))) for bodies, hands in frames]
    return np.stack(found)[:, points, 0].tolist()


def test_one_person_of_a_recording_is_followed_as_in_a_clip():
    rng = np.random.default_rng(0)
    frames, x = [], 0.5
    for number in range(400):
        # There is a cut, and neither body nor hands are found in all frames.
        x = 0.2 if number == 250 else x + rng.uniform(-0.01, 0.01)
        body = make_body(x)
        hands = [hand for hand in [*hands_of(body), make_hand('left', body, dx=3)] if rng.random() < 0.7]
        frames.append(([body] if rng.random() < 0.8 else [], hands))
    np.testing.assert_array_equal(follow(frames), resolve(frames)[0])


def test_of_several_in_a_recording_one_is_followed_until_he_leaves():
    mine, other = make_body(0.45, size=0.25), make_body(0.8)
    both = [other, mine], [*hands_of(other), *hands_of(mine)]
    missing, alone = ([other], both[1]), ([other], hands_of(other))
    frames = [both] * 50 + [missing] * 2 + [both] * 50 + [alone] * 200
    found = follow(frames)
    np.testing.assert_allclose(found[:50] + found[52:102], [row(mine)] * 100, rtol=1e-6)
    np.testing.assert_allclose(found[50:52], [[NAN, *row(mine)[1:]]] * 2, rtol=1e-6)
    assert np.isnan(found[110]).all()
    np.testing.assert_allclose(found[-1], row(other), rtol=1e-6)


def test_nothing_is_found():
    check(resolve([([], [])] * 2, LEFT_BOX), [[NAN] * 3] * 2, 0)


def test_swapped_handedness():
    body, right, left = row(LEFT)
    check(resolve([([LEFT], hands_of(LEFT))], handedness='swapped'), [[body, left, right]], 0)
