"""Folders of OpenPose's JSON files, one per frame, as those that come with WLASL -> the layout vision_api.

`clip/…_keypoints.json` has people with pose_keypoints_2d of 25 or 18 points (x, y, confidence) and
hand_left_keypoints_2d, hand_right_keypoints_2d of 21, all in pixels; confidence 0 means missing. Of several people the
one of the highest confidence is taken, frame by frame.
"""

import os
from typing import Any

from absl import flags
import numpy as np

from preprocessing.extraction import video_files
from preprocessing.formats import clip_folders
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files
from slr_jax import landmarks as landmarks_lib

LAYOUT = landmarks_lib.LAYOUTS['vision_api']
# The points of OpenPose in its order, by their names in the layout; . has none there.
_BODY = (
    'nose neck rightShoulder rightElbow rightWrist leftShoulder leftElbow leftWrist {legs} rightEye leftEye rightEar '
    'leftEar'
)
_HAND = (
    'wrist thumbCMC thumbMP thumbIP thumbTip indexMCP indexPIP indexDIP indexTip middleMCP middlePIP middleDIP '
    'middleTip ringMCP ringPIP ringDIP ringTip littleMCP littlePIP littleDIP littleTip'
).split()
_BODIES = {25: _BODY.format(legs='. ' * 7).split() + ['.'] * 6, 18: _BODY.format(legs='. ' * 6).split()}


def define_flags() -> None:
    """Defines the flags of `build_dataset --source=openpose`."""
    clip_folders.define_flags()
    flags.adopt_module_key_flags(clip_folders)


def read(values: flags.FlagValues) -> dataset_lib.Dataset:
    """Reads the folder that the flags name."""
    return clip_folders.read(values, 'openpose', 'folders of JSON files', find_items, read_item)


def find_items(directory: str) -> list[str]:
    """Folders of one JSON file per frame."""
    found = (
        os.path.relpath(parent, directory)
        for parent, _, names in video_files.walk(directory)
        if any(name.endswith('.json') for name in names)
    )
    return [item for item in found if item != '.']


def read_item(path: str) -> clip_folders.Points | None:
    """Reads a clip."""
    names = sorted((name for name in os.listdir(path) if name.endswith('.json')), key=clip_folders.frame_order)
    frames = [_read_frame(os.path.join(path, name)) for name in names]
    return clip_folders.Points(LAYOUT, np.stack(frames)) if frames else None


def _read_frame(path: str) -> np.ndarray:
    people = files.read_json(path).get('people')
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise errors.InputError(f'{path} has no list people, expected the JSON of OpenPose')
    parts = [[_read_keypoints(path, person, part) for part in ('pose', 'hand_left', 'hand_right')] for person in people]
    if not parts:
        return np.full((LAYOUT.num_points, 3), np.nan, np.float32)
    return arrange(*max(parts, key=lambda person: sum(keypoints[:, 2].sum() for keypoints in person)))


def _read_keypoints(path: str, person: dict[str, Any], part: str) -> np.ndarray:
    """<float32>[points, 3]; no points where the part was not asked for."""
    name = next((name for name in (f'{part}_keypoints_2d', f'{part}_keypoints') if person.get(name)), None)
    numbers = person[name] if name else []
    counts = (25, 18) if part == 'pose' else (21,)
    try:
        keypoints = np.array(numbers, np.float32)
    except (ValueError, TypeError, OverflowError):
        keypoints = None
    if keypoints is None or keypoints.ndim != 1 or keypoints.size not in (0, *(3 * count for count in counts)):
        found = 'no list of numbers' if keypoints is None else f'{keypoints.size} numbers'
        expected = ' or '.join(str(count * 3) for count in counts)
        raise errors.InputError(f'{path}: {name} has {found}, expected {expected}')
    return keypoints.reshape(-1, 3)


def arrange(body: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Puts the parts of OpenPose into the layout.

    Args:
        body: <float32>[..., 25 or 18, 3], the confidence last.
        left: <float32>[..., 21, 3]; as the others it may have no points.
        right: as `left`.

    Returns:
        <float32>[..., 54, 3], NaN for z and where the confidence is 0.
    """
    points = np.full((*body.shape[:-2], LAYOUT.num_points, 3), np.nan, np.float32)
    hands = {f'_{side}': hand for side, hand in (('left', left), ('right', right))}
    named = [(body, _BODIES.get(body.shape[-2], ()))]
    named += [(hand, [name + side for name in _HAND]) for side, hand in hands.items() if hand.shape[-2]]
    for part, names in named:
        for index, name in enumerate(names):
            if name in LAYOUT.points:
                seen = part[..., index, 2:] > 0
                points[..., LAYOUT.points.index(name), :2] = np.where(seen, part[..., index, :2], np.nan)
    return points
