"""MediaPipe's hand and pose landmarkers: a frame -> its bodies and hands, and which hand is which."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import hashlib
import importlib.metadata
import multiprocessing
import os
import sys
from typing import Any

import numpy as np

from preprocessing.extraction import model_files
import slr_jax
from slr_jax import errors
from slr_jax import landmarks as landmarks_lib

LAYOUT = landmarks_lib.LAYOUTS['mediapipe_hands_pose']
PARTS = ('hands', 'pose')
RUNNING_MODES = ('image', 'video')
BODY = list(LAYOUT.groups['body'])
HANDS = {name: list(LAYOUT.groups[f'{name}_hand']) for name in ('right', 'left')}
_POSE_WRISTS = {name: LAYOUT.points.index(f'pose_{name}_wrist') - BODY[0] for name in ('right', 'left')}
# Looking for more costs nothing where they are not there, except in video mode.
MOST_PEOPLE = 4

# Name (`right`, `left`), score and <float32>[21, 3].
Hand = tuple[str, float, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Options:
    """How landmarks are extracted; all of it is stored with them.

    Attributes:
        parts: of PARTS.
        running_mode: image, every frame by itself as published; video, each clip tracked from its first frame.
        handedness: of landmarks.HANDEDNESS; the published weights need `swapped`.
        pose: of model_files.POSE_MODELS.
        min_detection_confidence: least confidence to accept a detected hand or body, in [0, 1].
        min_presence_confidence: least confidence that a hand is where it was found; hardly used by the older API that
            the published landmarks come from.
        min_tracking_confidence: least confidence to follow a hand or body into the next frame, in video mode.
        input: videos or frames.
    """

    parts: tuple[str, ...] = PARTS
    running_mode: str = 'image'
    handedness: str = 'signer'
    pose: str = 'full'
    min_detection_confidence: float = 0.5
    min_presence_confidence: float = 0.1
    min_tracking_confidence: float = 0.5
    input: str = 'videos'

    @property
    def model_files(self) -> dict[str, str]:
        """Part -> name of its model file."""
        return {part: model_files.model_name(part, self.pose) for part in self.parts}

    def describe(self, models: Mapping[str, bytes]) -> dict[str, Any]:
        """All that decides the numbers, for extraction.json: the options, versions and models."""
        return dataclasses.asdict(self) | {
            'parts': list(self.parts),
            'layout': LAYOUT.name,
            'mediapipe': importlib.metadata.version('mediapipe'),
            'opencv': importlib.metadata.version('opencv-python'),
            'models_sha256': {
                self.model_files[part]: hashlib.sha256(model).hexdigest() for part, model in models.items()
            },
        }


def import_mediapipe() -> Any:
    """Imports MediaPipe; InputError that says what to install where it cannot be."""
    try:
        import mediapipe as mp
        from mediapipe.tasks.python import vision

        # The first image loads MediaPipe's library, which needs some of the system.
        _make_image(mp, np.zeros((1, 1, 3), np.uint8))
    except (ImportError, OSError) as error:
        raise errors.InputError(errors.missing_dependency(error) or f'MediaPipe cannot be used: {error}') from error
    return mp, vision


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Hides what MediaPipe and OpenCV log from native code."""
    sys.stderr.flush()
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


@dataclasses.dataclass(frozen=True)
class Found:
    """What MediaPipe finds in a frame, in its order.

    Attributes:
        width, height: of the frame, in pixels.
        bodies: <float32>[33, 3] each.
        hands: of all bodies.
    """

    width: int
    height: int
    bodies: list[np.ndarray]
    hands: list[Hand]

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height


class Landmarker:
    """The landmarkers of a clip, or in image mode of any number of clips."""

    def __init__(self, options: Options, models: Mapping[str, bytes], num_people: int = MOST_PEOPLE) -> None:
        # When a landmarker is closed, MediaPipe would send figures about its use to Google; this is a proxy that is not
        # there. In a host process, its environment is its own.
        if slr_jax.IS_COMMAND or multiprocessing.parent_process():
            os.environ['https_proxy'] = 'http://127.0.0.1:9'
            for exceptions in ('no_proxy', 'NO_PROXY'):
                os.environ.pop(exceptions, None)
        self._mp, vision = import_mediapipe()
        base_options = self._mp.tasks.BaseOptions
        self._tracks_hands = options.running_mode == 'video'
        # Of several bodies that it follows MediaPipe loses some.
        self._tracks_pose = self._tracks_hands and num_people == 1
        modes = {False: vision.RunningMode.IMAGE, True: vision.RunningMode.VIDEO}
        self._hands = self._pose = None
        if 'hands' in options.parts:
            hands = vision.HandLandmarkerOptions(
                base_options=base_options(model_asset_buffer=models['hands']),
                running_mode=modes[self._tracks_hands],
                num_hands=2 * num_people,
                min_hand_detection_confidence=options.min_detection_confidence,
                min_hand_presence_confidence=options.min_presence_confidence,
                min_tracking_confidence=options.min_tracking_confidence,
            )
            self._hands = _create(vision.HandLandmarker, hands, options.model_files['hands'])
        if 'pose' in options.parts:
            pose = vision.PoseLandmarkerOptions(
                base_options=base_options(model_asset_buffer=models['pose']),
                running_mode=modes[self._tracks_pose],
                num_poses=num_people,
                min_pose_detection_confidence=options.min_detection_confidence,
                min_tracking_confidence=options.min_tracking_confidence,
            )
            self._pose = _create(vision.PoseLandmarker, pose, options.model_files['pose'])

    def find(self, frame: np.ndarray, milliseconds: int) -> Found:
        """Finds the bodies and hands in a frame.

        Args:
            frame: <uint8>[height, width, 3], RGB, C-contiguous.
            milliseconds: since the first frame of the clip, rising; video mode only.

        Returns:
            Points whose x and y are in [0, 1] of width and height, z as MediaPipe gives it.

        Raises:
            ValueError: see `run`.
        """
        poses, found = self.run(frame, milliseconds)
        hands = zip(found.handedness, found.hand_landmarks, strict=True) if found else ()
        return Found(
            width=frame.shape[1],
            height=frame.shape[0],
            bodies=[_points(body) for body in poses.pose_landmarks] if poses else [],
            hands=[(name[0].category_name.lower(), name[0].score, _points(hand)) for name, hand in hands],
        )

    def run(self, frame: np.ndarray, milliseconds: int) -> tuple[Any, Any]:
        """Returns what MediaPipe finds of body and hands, None for a part that is not extracted; see find.

        Raises:
            ValueError: the frame is of another kind, which MediaPipe would read as another picture.
        """
        image = _make_image(self._mp, frame)
        poses = _detect(self._pose, self._tracks_pose, image, milliseconds)
        return poses, _detect(self._hands, self._tracks_hands, image, milliseconds)

    def close(self) -> None:
        """Frees the landmarkers."""
        for landmarker in (self._hands, self._pose):
            if landmarker is not None:
                landmarker.close()


def _create(kind: Any, options: Any, model_file: str) -> Any:
    try:
        return kind.create_from_options(options)
    # MediaPipe raises many kinds of errors for networks that it cannot use.
    except Exception as error:
        cause = errors.one_line(error)
        raise errors.InputError(f'{model_file} cannot be used by MediaPipe: {cause}; get it again') from error


def _make_image(mp: Any, frame: np.ndarray) -> Any:
    """The one way to MediaPipe, which reads bytes one after the other, whatever the strides, type and channels."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise ValueError(f'the picture is {frame.dtype} {list(frame.shape)}, expected uint8 [height, width, 3]')
    if not frame.flags.c_contiguous:
        raise ValueError(f'the picture has strides {frame.strides}, expected its bytes in one piece')
    return mp.Image(image_format=mp.ImageFormat.SRGB, data=frame)


def _detect(landmarker: Any, tracks: bool, image: Any, milliseconds: int) -> Any:
    if landmarker is None:
        return None
    return landmarker.detect_for_video(image, milliseconds) if tracks else landmarker.detect(image)


def _points(landmarks: Any) -> np.ndarray:
    return np.array([(point.x, point.y, point.z) for point in landmarks], np.float32)


def resolve_handedness(hands: Sequence[Hand], body: np.ndarray | None, aspect: float) -> dict[str, np.ndarray]:
    """Returns at most one hand per name.

    Of two hands with the same name the one nearer to the body's wrist of that name keeps it. The other takes the free
    name if it is nearer to that wrist, and is dropped if not: then both are the same hand, seen twice.

    Args:
        hands: of one person; those after the first two count only where one of these is dropped.
        body: <float32>[33, 3]; None where not seen: then the hand with the higher score is kept.
        aspect: width over height of the frame.
    """
    kept = list(hands[:1])
    for hand in hands[1:]:
        if len(kept) < 2:
            kept = _resolve_two(kept[0], hand, body, aspect)
    return {name: points for name, _, points in kept}


def _resolve_two(first: Hand, second: Hand, body: np.ndarray | None, aspect: float) -> list[Hand]:
    name = first[0]
    if name != second[0]:
        return [first, second]
    if body is None:
        return [max(first, second, key=lambda hand: hand[1])]

    def distance(hand: Hand, wrist: str) -> float:
        dx, dy, _ = hand[2][0] - body[_POSE_WRISTS[wrist]]
        return float(np.hypot(dx * aspect, dy))

    free = 'left' if name == 'right' else 'right'
    near, far = sorted((first, second), key=lambda hand: distance(hand, name))
    return [near, (free, *far[1:])] if distance(far, free) < distance(far, name) else [near]
