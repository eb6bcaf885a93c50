"""Folders of .pose files, the format of the library pose-format, of MediaPipe Holistic or OpenPose."""

import os
from typing import Any

from absl import flags
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing import plausibility
from preprocessing.extraction import video_files
from preprocessing.formats import clip_folders, openpose
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files
from slr_jax import landmarks as landmarks_lib

_HANDS_POSE = landmarks_lib.LAYOUTS['mediapipe_hands_pose']
# The components of MediaPipe Holistic, and in what begins the names of their points in the layout.
_HOLISTIC = {'right_hand': 'RIGHT_HAND_LANDMARKS', 'left_hand': 'LEFT_HAND_LANDMARKS', 'body': 'POSE_LANDMARKS'}
_PREFIXES = {'right_hand': 'right_hand_', 'left_hand': 'left_hand_', 'body': 'pose_'}
_OPENPOSE = ('pose_keypoints_2d', 'hand_left_keypoints_2d', 'hand_right_keypoints_2d')
SUFFIX = '.pose'
# A power of two, so that dividing gives the same float32 again.
_EXPORT_SIZE = (1024, 1024)
# What is written where the size is not known, here and by pose-format.
_STAND_IN_SIZES = (_EXPORT_SIZE, (1000, 1000))


def define_flags() -> None:
    """Defines the flags of `build_dataset --source=pose`."""
    clip_folders.define_flags()
    flags.adopt_module_key_flags(clip_folders)


def read(values: flags.FlagValues) -> dataset_lib.Dataset:
    """Reads the folder that the flags name."""
    return clip_folders.read(values, 'pose', '.pose files', find_items, read_item)


def find_items(directory: str) -> list[str]:
    """The .pose files."""
    return [
        os.path.normpath(os.path.join(os.path.relpath(parent, directory), name.removesuffix(SUFFIX)))
        for parent, _, names in video_files.walk(directory)
        for name in names
        if name.endswith(SUFFIX) and not name.startswith('.')
    ]


def read_item(path: str) -> clip_folders.Points | None:
    """Reads a file; its pixels are divided by the size that it names, which is that of the pictures."""
    from pose_format import Pose

    path = f'{path}{SUFFIX}'
    content = files.read_bytes(path)
    if content is None:
        raise errors.InputError(f'{path} does not exist, expected a .pose file')
    try:
        pose = Pose.read(content)
        components = _read_components(pose)
        size = (pose.header.dimensions.width, pose.header.dimensions.height)
    except errors.InputError:
        raise
    # The library fails in many ways for damaged files.
    except Exception as error:
        raise errors.InputError(f'{path} is damaged, or not a .pose file') from error
    if not components or not len(next(iter(components.values()))[1]):
        return None
    layout, points = _arrange(path, components)
    if min(size) > 0:
        plausibility.divide_pixels(points, layout, size)
    is_known = min(size) > 0 and size not in _STAND_IN_SIZES
    return clip_folders.Points(layout, points, size if is_known else None)


def _read_components(pose: Any) -> dict[str, tuple[list[str], np.ndarray, np.ndarray]]:
    """Name -> the points, <float32>[frames, points, 3] with NaN where missing, and their confidence, of one person."""
    confidence = np.asarray(pose.body.confidence)
    if not confidence.size:
        return {}
    person = confidence.sum(axis=(0, 2)).argmax()
    data = np.ma.filled(pose.body.data[:, person].astype(np.float32), np.nan)
    confidence = confidence[:, person]
    points = np.full((*confidence.shape, 3), np.nan, np.float32)
    points[..., : min(3, data.shape[-1])] = data[..., :3]
    points[confidence == 0] = np.nan
    found, start = {}, 0
    for component in pose.header.components:
        part = slice(start, start + len(component.points))
        found[component.name] = (component.points, points[:, part], confidence[:, part])
        start = part.stop
    return found


def _arrange(
    path: str, components: dict[str, tuple[list[str], np.ndarray, np.ndarray]]
) -> tuple[landmarks_lib.Layout, np.ndarray]:
    if set(components) & set(_OPENPOSE):
        parts = []
        for name in _OPENPOSE:
            _, points, confidence = components.get(name, ([], np.zeros((1, 0, 3)), np.zeros((1, 0))))
            parts.append(np.concatenate([points[..., :2], confidence[..., None]], axis=-1))
        return openpose.LAYOUT, openpose.arrange(*parts)
    names = _component_names(_HANDS_POSE)
    layouts = [layout for layout in landmarks_lib.LAYOUTS.values() if _fits(layout, components)]
    layout = _HANDS_POSE if set(components) & {name for name, _ in names.values()} else next(iter(layouts), None)
    if layout is None:
        raise errors.InputError(
            f'{path} has the components {", ".join(components)}, expected those of MediaPipe Holistic or OpenPose'
        )
    num_frames = len(next(iter(components.values()))[1])
    arranged = np.full((num_frames, layout.num_points, 3), np.nan, np.float32)
    for name, point_names in _component_names(layout).values():
        if name in components:
            found, points, _ = components[name]
            for point, target in point_names.items():
                if point in found:
                    arranged[:, target] = points[:, found.index(point)]
    return layout, arranged


def _fits(layout: landmarks_lib.Layout, components: dict[str, Any]) -> bool:
    return all(
        name in components and set(points) <= set(components[name][0])
        for name, points in _component_names(layout).values()
    )


def _component_names(layout: landmarks_lib.Layout) -> dict[str, tuple[str, dict[str, int]]]:
    """Group -> the name of its component, and name of each point -> its index in the layout."""
    names = {}
    for group, points in layout.groups.items():
        if layout is _HANDS_POSE:
            prefix = _PREFIXES[group]
            names[group] = _HOLISTIC[group], {layout.points[i].removeprefix(prefix).upper(): i for i in points}
        else:
            names[group] = group, {layout.points[i]: i for i in points}
    return names


def write(dataset: dataset_lib.Dataset, path: str, values: flags.FlagValues) -> None:
    """Writes a dataset as the flags of `export_dataset` say."""
    write_dataset(dataset, path, plausibility.parse_frame_size(values.frame_size) or _EXPORT_SIZE)


def write_dataset(dataset: dataset_lib.Dataset, path: str, frame_size: plausibility.FrameSize = _EXPORT_SIZE) -> None:
    """Writes a directory of a file per clip, split/gloss/video_id.pose, and their clips table, clips.csv.

    Args:
        dataset: what to write.
        path: the directory, which must be new.
        frame_size: width and height that coordinates are multiplied by, of clips whose own is not known.
    """
    has_z = not all(np.isnan(clip[..., 2]).all() for clips in dataset.splits.values() for clip in clips.landmarks)
    axes = 'XYZC' if has_z else 'XYC'
    rows = []
    with files.create_atomically(path) as temporary:
        for split, clips in dataset.splits.items():
            columns = (
                clips.landmarks,
                clips.labels.tolist(),
                clips.video_ids,
                clips.signers,
                clips.frame_sizes.tolist(),
            )
            for landmarks, label, video_id, signer, own_size in zip(*columns, strict=True):
                size = tuple(own_size) if own_size[0] else frame_size
                header = _make_header(dataset.layout, size, axes)
                gloss = dataset.description.label_names[label]
                file = f'{split}/{_file_name(gloss)}/{_file_name(video_id)}{SUFFIX}'
                rows.append(clips_lib.Clip(video_id, file, label, gloss, split, signer))
                files.make_directories(os.path.join(temporary, os.path.dirname(file)))
                with open(os.path.join(temporary, file), 'xb') as out:
                    _make_pose(header, dataset.layout, landmarks, size).write(out)
        clips_lib.write_clips(os.path.join(temporary, 'clips.csv'), rows)


def _file_name(text: str) -> str:
    return text.replace('/', '_').lstrip('.') or '_'


def _make_header(layout: landmarks_lib.Layout, frame_size: plausibility.FrameSize, axes: str) -> Any:
    from pose_format import pose_header

    components = []
    for name, points in _component_names(layout).values():
        place = {target: i for i, target in enumerate(points.values())}
        limbs = [(place[a], place[b]) for a, b in layout.bones if a in place and b in place]
        components.append(pose_header.PoseHeaderComponent(name, list(points), limbs, [(255, 0, 0)], axes))
    return pose_header.PoseHeader(pose_header.VERSION, pose_header.PoseHeaderDimensions(*frame_size), components)


def _make_pose(
    header: Any, layout: landmarks_lib.Layout, landmarks: np.ndarray, frame_size: plausibility.FrameSize
) -> Any:
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose import Pose

    order = [target for _, points in _component_names(layout).values() for target in points.values()]
    data = (landmarks[:, order] * np.array([*frame_size, 1], np.float32))[..., : header.num_dims()]
    confidence = (~np.isnan(data)[..., :2].any(axis=-1)).astype(np.float32)
    # The frame rate is not known; 25 is what players expect.
    return Pose(header, NumPyPoseBody(25.0, np.nan_to_num(data)[:, None], confidence[:, None]))
