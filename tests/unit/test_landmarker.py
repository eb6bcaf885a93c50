"""Which hand is whose, and MediaPipe itself."""

import multiprocessing
import os

import pytest

pytest.importorskip('cv2')

import numpy as np

from experiments.fuzzing import sources
from preprocessing.extraction import landmarker, model_files, people, video
import slr_jax
from slr_jax import errors

# As MediaPipe counts the points of a body.
LEFT_WRIST, RIGHT_WRIST = 15, 16


def make_hand(x, y):
    """A hand whose wrist is there; its other points and its depth have no say."""
    hand = np.full((21, 3), 9.0, np.float32)
    hand[0, :2] = x, y
    return hand


def make_body(right, left):
    body = np.full((33, 3), 9.0, np.float32)
    body[RIGHT_WRIST, :2], body[LEFT_WRIST, :2] = right, left
    return body


def resolve(hands, body, aspect=1.0):
    """Name -> number of the hand that gets it."""
    points = [make_hand(*position) for _, _, position in hands]
    given = [(name, score, hand) for (name, score, _), hand in zip(hands, points, strict=True)]
    named = landmarker.resolve_handedness(given, body, aspect)
    return {name: next(i for i, hand in enumerate(points) if hand is found) for name, found in named.items()}


BODY = make_body((0.3, 0.5), (0.7, 0.5))
OTHER = {'right': 'left', 'left': 'right'}


@pytest.mark.parametrize('name', ['right', 'left'])
@pytest.mark.parametrize('body', [None, BODY])
def test_hands_of_different_names_keep_them(name, body):
    assert resolve([(name, 0.6, (0.1, 0.1))], body) == {name: 0}
    # Even where they lie at the other's wrist: signers cross their hands.
    crossed = [(name, 0.6, (0.3, 0.5)), (OTHER[name], 0.9, (0.7, 0.5))]
    assert resolve(crossed, body) == {name: 0, OTHER[name]: 1}
    assert resolve(crossed[::-1], body) == {name: 1, OTHER[name]: 0}


@pytest.mark.parametrize('scores', [(0.6, 0.9), (0.9, 0.6)])
def test_the_second_of_a_name_takes_the_free_one_at_the_other_wrist(scores):
    places = (0.32, 0.5), (0.68, 0.55)
    right = [('right', score, place) for score, place in zip(scores, places, strict=True)]
    assert resolve(right, BODY) == {'right': 0, 'left': 1}
    assert resolve(right[::-1], BODY) == {'right': 1, 'left': 0}
    left = [('left', score, place) for score, place in zip(scores, places, strict=True)]
    assert resolve(left, BODY) == {'right': 0, 'left': 1}
    assert resolve(left[::-1], BODY) == {'right': 1, 'left': 0}


@pytest.mark.parametrize('scores', [(0.6, 0.9), (0.9, 0.6)])
def test_a_hand_that_was_found_twice_is_dropped(scores):
    # Both nearer to the right wrist, 0.02 and 0.1 away from it.
    twice = [('right', score, place) for score, place in zip(scores, ((0.32, 0.5), (0.4, 0.5)), strict=True)]
    assert resolve(twice, BODY) == {'right': 0}
    assert resolve(twice[::-1], BODY) == {'right': 1}
    # As far from the one wrist as from the other.
    assert resolve([('right', 0.6, (0.32, 0.5)), ('right', 0.9, (0.5, 0.9))], BODY) == {'right': 0}


def test_two_hands_at_the_wrist_of_the_other_name():
    # Called right, but both at the left wrist, 0.3 and 0.4 away from the right one.
    assert resolve([('right', 0.9, (0.7, 0.5)), ('right', 0.6, (0.6, 0.5))], BODY) == {'right': 1, 'left': 0}


def test_of_two_hands_without_a_body_the_surer_one_stays():
    assert resolve([('right', 0.6, (0.3, 0.5)), ('right', 0.9, (0.7, 0.5))], None) == {'right': 1}
    assert resolve([('left', 0.9, (0.3, 0.5)), ('left', 0.6, (0.7, 0.5))], None) == {'left': 0}


def test_a_third_hand_counts_where_one_of_the_first_two_is_dropped():
    twice = [('right', 0.9, (0.32, 0.5)), ('right', 0.8, (0.4, 0.5))]
    for name in ('left', 'right'):
        assert resolve([*twice, (name, 0.6, (0.7, 0.5))], BODY) == {'right': 0, 'left': 2}
    assert resolve([twice[0], ('left', 0.6, (0.7, 0.5)), twice[1]], BODY) == {'right': 0, 'left': 1}


def test_distances_are_those_of_the_picture():
    # The second hand is 0.2 of the width beside the right wrist, and 0.25 of the height above the left one.
    body = make_body((0.3, 0.5), (0.5, 0.75))
    hands = [('right', 0.9, (0.3, 0.5)), ('right', 0.9, (0.5, 0.5))]
    assert resolve(hands, body, aspect=1.0) == {'right': 0}
    assert resolve(hands, body, aspect=1.2) == {'right': 0}
    assert resolve(hands, body, aspect=1.3) == {'right': 0, 'left': 1}
    # And 0.2 of the height below the right wrist, and 0.25 of the width beside the left one.
    body = make_body((0.5, 0.3), (0.75, 0.5))
    hands = [('right', 0.9, (0.5, 0.3)), ('right', 0.9, (0.5, 0.5))]
    assert resolve(hands, body, aspect=1.0) == {'right': 0}
    assert resolve(hands, body, aspect=0.7) == {'right': 0, 'left': 1}


# --- MediaPipe


@pytest.mark.parametrize('part', landmarker.PARTS)
def test_a_model_file_that_mediapipe_cannot_use_is_named(part, tmp_path):
    pytest.importorskip('mediapipe')
    sources.write_task(str(tmp_path))
    options = landmarker.Options(parts=(part,))
    models = model_files.read_models(str(tmp_path), options.model_files)
    with pytest.raises(errors.InputError, match=f'{options.model_files[part]} cannot be used by MediaPipe: .*Flatbuf'):
        landmarker.Landmarker(options, models)


# In frame 30 MediaPipe calls both hands right, and is surer of the one that is.
PLAIN, BOTH_RIGHT = 22, 30


@pytest.fixture(scope='module')
def frames(shared):
    pytest.importorskip('mediapipe')
    path = str(shared / 'videos' / '69241.mp4')
    return dict(video.read_frames(path, {PLAIN, BOTH_RIGHT}.__contains__, BOTH_RIGHT))


@pytest.fixture(scope='module')
def expected(shared, frames):
    """What MediaPipe itself finds: frame -> its names of the hands, and the points by group."""
    import mediapipe as mp
    from mediapipe.tasks.python import vision

    def base(name):
        return mp.tasks.BaseOptions(model_asset_path=str(shared / 'models' / name))

    def array(points):
        return np.array([[point.x, point.y, point.z] for point in points], np.float32)

    hands = vision.HandLandmarker.create_from_options(
        vision.HandLandmarkerOptions(base('hand_landmarker.task'), num_hands=2, min_hand_presence_confidence=0.1)
    )
    pose = vision.PoseLandmarker.create_from_options(vision.PoseLandmarkerOptions(base('pose_landmarker_full.task')))
    expected = {}
    for number, frame in frames.items():
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=frame)
        found = hands.detect(image)
        names = {category[0].category_name for category in found.handedness}
        # The signer faces the camera, so that the right hand is in the left of the picture.
        right, left = sorted(map(array, found.hand_landmarks), key=lambda hand: hand[0, 0])
        body = array(pose.detect(image).pose_landmarks[0])
        expected[number] = names, {'right_hand': right, 'left_hand': left, 'body': body}
    hands.close()
    pose.close()
    return expected


def check(shared, frame, expected, **fields):
    options = landmarker.Options(**fields)
    found = landmarker.Landmarker(options, model_files.read_models(str(shared / 'models'), options.model_files))
    once, again = (people.resolve_clip([found.find(frame, time)], '', options.handedness) for time in (0, 40))
    found.close()
    points = once.landmarks[0]
    np.testing.assert_array_equal(again.landmarks[0], points)
    assert once.hands_given_up == 0
    assert points.shape == (75, 3)
    assert points.dtype == np.float32
    for group in ('right_hand', 'left_hand', 'body'):
        places = list(landmarker.LAYOUT.groups[group])
        np.testing.assert_array_equal(points[places], expected.get(group, np.full((len(places), 3), np.nan)))


def test_what_mediapipe_calls_the_hands(expected):
    assert expected[PLAIN][0] == {'Right', 'Left'}
    assert expected[BOTH_RIGHT][0] == {'Right'}
    for _, points in expected.values():
        for hand, wrist, other in (('right_hand', RIGHT_WRIST, LEFT_WRIST), ('left_hand', LEFT_WRIST, RIGHT_WRIST)):
            away = np.linalg.norm(points[hand][0, :2] - points['body'][:, :2], axis=1)
            assert away[wrist] < 0.08 < away[other]


@pytest.mark.parametrize('number', [PLAIN, BOTH_RIGHT])
def test_points_are_those_of_mediapipe(shared, frames, expected, number):
    check(shared, frames[number], expected[number][1])


@pytest.mark.parametrize('number', [PLAIN, BOTH_RIGHT])
def test_swapped_handedness_swaps_the_hands(shared, frames, expected, number):
    points = expected[number][1]
    swapped = {'right_hand': points['left_hand'], 'left_hand': points['right_hand'], 'body': points['body']}
    check(shared, frames[number], swapped, handedness='swapped')


def test_a_part_alone(shared, frames, expected):
    points = expected[PLAIN][1]
    check(shared, frames[PLAIN], {'body': points['body']}, parts=('pose',))
    check(shared, frames[PLAIN], {name: points[name] for name in ('right_hand', 'left_hand')}, parts=('hands',))
    # Without the body nobody can tell whose the second right hand is.
    check(shared, frames[BOTH_RIGHT], {'right_hand': expected[BOTH_RIGHT][1]['right_hand']}, parts=('hands',))


def test_nothing_is_seen_in_an_empty_picture(shared, frames):
    check(shared, np.zeros_like(frames[PLAIN]), {})


@pytest.mark.parametrize('is_command', [True, False])
def test_figures_about_its_use_are_kept_by_commands_only(monkeypatch, is_command):
    theirs = {'https_proxy': 'http://proxy:1', 'no_proxy': '*', 'NO_PROXY': '.googleapis.com'}
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slr_jax, 'IS_COMMAND', is_command)
    monkeypatch.setattr(multiprocessing, 'parent_process', lambda: None)
    landmarker.Landmarker(landmarker.Options(parts=()), {})
    found = {name: os.environ[name] for name in theirs if name in os.environ}
    assert found == ({'https_proxy': 'http://127.0.0.1:9'} if is_command else theirs)
