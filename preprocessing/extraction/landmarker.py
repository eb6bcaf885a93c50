"""MediaPipe's hand and pose landmarkers: a frame -> the points of `mediapipe_hands_pose`."""

from collections.abc import Mapping
import dataclasses
import hashlib
import importlib.metadata
from typing import Any

import numpy as np

from preprocessing.extraction import model_files
from slr_jax import errors
from slr_jax import landmarks as landmarks_lib

LAYOUT = landmarks_lib.LAYOUTS['mediapipe_hands_pose']
PARTS = ('hands', 'pose')
RUNNING_MODES = ('image', 'video')
_BODY = list(LAYOUT.groups['body'])
_HANDS = {name: list(LAYOUT.groups[f'{name}_hand']) for name in ('right', 'left')}
_POSE_WRISTS = {name: LAYOUT.points.index(f'pose_{name}_wrist') - _BODY[0] for name in ('right', 'left')}


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
        mp.Image(image_format=mp.ImageFormat.SRGB, data=np.zeros((1, 1, 3), np.uint8))
    except (ImportError, OSError) as error:
        raise errors.InputError(errors.missing_dependency(error) or f'MediaPipe cannot be used: {error}') from error
    return mp, vision


class Landmarker:
    """The landmarkers of a clip, or in image mode of any number of clips."""

    def __init__(self, options: Options, models: Mapping[str, bytes]) -> None:
        self._mp, vision = import_mediapipe()
        self._options = options
        self._order = list(landmarks_lib.anatomical_order(LAYOUT, options.handedness))
        base_options = self._mp.tasks.BaseOptions
        mode = vision.RunningMode[options.running_mode.upper()]
        self._hands = self._pose = None
        if 'hands' in options.parts:
            hands = vision.HandLandmarkerOptions(
                base_options=base_options(model_asset_buffer=models['hands']),
                running_mode=mode,
                num_hands=2,
                min_hand_detection_confidence=options.min_detection_confidence,
                min_hand_presence_confidence=options.min_presence_confidence,
                min_tracking_confidence=options.min_tracking_confidence,
            )
            self._hands = vision.HandLandmarker.create_from_options(hands)
        if 'pose' in options.parts:
            pose = vision.PoseLandmarkerOptions(
                base_options=base_options(model_asset_buffer=models['pose']),
                running_mode=mode,
                min_pose_detection_confidence=options.min_detection_confidence,
                min_tracking_confidence=options.min_tracking_confidence,
            )
            self._pose = vision.PoseLandmarker.create_from_options(pose)

    def detect(self, frame: np.ndarray, milliseconds: int) -> np.ndarray:
        """Finds the points of a frame.

        Args:
            frame: <uint8>[height, width, 3], RGB.
            milliseconds: since the first frame of the clip, rising; video mode only.

        Returns:
            <float32>[75, 3]: x and y in [0, 1] of width and height, z as MediaPipe gives it; NaN where not seen.
        """
        poses, found = self.run(frame, milliseconds)
        points = np.full((LAYOUT.num_points, 3), np.nan, np.float32)
        body = _points(poses.pose_landmarks[0]) if poses and poses.pose_landmarks else None
        if body is not None:
            points[_BODY] = body
        if found and found.hand_landmarks:
            hands = [
                (category[0].category_name.lower(), category[0].score, _points(hand))
                for category, hand in zip(found.handedness, found.hand_landmarks, strict=True)
            ]
            for name, hand in resolve_handedness(hands, body, frame.shape[1] / frame.shape[0]).items():
                points[_HANDS[name]] = hand
        return points[self._order]

    def run(self, frame: np.ndarray, milliseconds: int) -> tuple[Any, Any]:
        """Returns what MediaPipe finds of body and hands, None for a part that is not extracted; see detect."""
        image = self._mp.Image(image_format=self._mp.ImageFormat.SRGB, data=frame)
        return self._detect(self._pose, image, milliseconds), self._detect(self._hands, image, milliseconds)

    def _detect(self, landmarker: Any, image: Any, milliseconds: int) -> Any:
        if landmarker is None:
            return None
        if self._options.running_mode == 'image':
            return landmarker.detect(image)
        return landmarker.detect_for_video(image, milliseconds)

    def close(self) -> None:
        """Frees the landmarkers."""
        for landmarker in (self._hands, self._pose):
            if landmarker is not None:
                landmarker.close()


def _points(landmarks: Any) -> np.ndarray:
    return np.array([(point.x, point.y, point.z) for point in landmarks], np.float32)


def resolve_handedness(
    hands: list[tuple[str, float, np.ndarray]], body: np.ndarray | None, aspect: float
) -> dict[str, np.ndarray]:
    """Returns at most one hand per name.

    Of two hands with the same name the one nearer to the body's wrist of that name keeps it. The other takes the free
    name if it is nearer to that wrist, and is dropped if not: then both are the same hand, seen twice.

    Args:
        hands: name (`right`, `left`), score and <float32>[21, 3] of one or two hands.
        body: <float32>[33, 3]; None where not seen: then the hand with the higher score is kept.
        aspect: width over height of the frame.
    """
    if len({name for name, _, _ in hands}) == len(hands):
        return {name: points for name, _, points in hands}
    name = hands[0][0]
    if body is None:
        return {name: max(hands, key=lambda hand: hand[1])[2]}

    def distance(points: np.ndarray, wrist: str) -> float:
        dx, dy, _ = points[0] - body[_POSE_WRISTS[wrist]]
        return float(np.hypot(dx * aspect, dy))

    free = 'left' if name == 'right' else 'right'
    near, far = sorted((points for _, _, points in hands), key=lambda points: distance(points, name))
    return {name: near} | ({free: far} if distance(far, free) < distance(far, name) else {})
