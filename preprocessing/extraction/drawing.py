"""Draws landmarks on the frames of a clip."""

import os

import cv2
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import store as store_lib
from preprocessing.extraction import video, video_files
from slr_jax import errors, files
from slr_jax import landmarks as landmarks_lib

# RGB; right and left are the signer's own.
_COLORS = {'right_hand': (230, 60, 50), 'left_hand': (40, 110, 240), 'body': (60, 190, 90)}
_COLUMNS = 4
_TILE_HEIGHT = 360
_VIDEO_HEIGHT = 720
_DEFAULT_FPS = 25.0


def draw_frame(frame: np.ndarray, points: np.ndarray, handedness: str) -> np.ndarray:
    """Draws points and bones on a frame.

    Args:
        frame: <uint8>[height, width, 3], RGB.
        points: <float32>[75, 3], NaN where not seen.
        handedness: of landmarks.HANDEDNESS.

    Returns:
        A new frame of the same shape.
    """
    layout = landmarker_lib.LAYOUT
    order = landmarks_lib.anatomical_order(layout, handedness)
    height, width = frame.shape[:2]
    size = max(1, height // 360)
    drawn = frame.copy()
    positions = np.nan_to_num(points[:, :2] * (width, height), nan=-1.0).round().astype(int).tolist()
    seen = ~np.isnan(points[:, 0])
    colors = [_COLORS[layout.group_of_point[point]] for point in order]
    for a, b in layout.bones:
        if seen[a] and seen[b]:
            cv2.line(drawn, positions[a], positions[b], colors[a], size, cv2.LINE_AA)
    for point in np.flatnonzero(seen):
        cv2.circle(drawn, positions[point], size + 1, colors[point], -1, cv2.LINE_AA)
    return drawn


def _resize(frame: np.ndarray, height: int) -> np.ndarray:
    width = round(frame.shape[1] * height / frame.shape[0])
    # Video codecs need even widths.
    return cv2.resize(frame, (width + width % 2, height), interpolation=cv2.INTER_AREA)


def _write_sheet(path: str, frames: list[tuple[int, np.ndarray]]) -> None:
    tiles = []
    for number, frame in frames:
        tile = frame.copy()
        for color, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(tile, f'{number}', (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, color, thickness, cv2.LINE_AA)
        tiles.append(tile)
    tiles.extend(np.full_like(tiles[0], 255) for _ in range(-len(tiles) % _COLUMNS))
    sheet = np.vstack([np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)])
    if not cv2.imwrite(path, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise errors.InputError(f'{path} cannot be written')


def _write_video(path: str, frames: list[tuple[int, np.ndarray]], fps: float) -> None:
    height, width = frames[0][1].shape[:2]
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'mp4v'), fps, (width, height))
    for _, frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    if not os.path.isfile(path):
        raise errors.InputError(f'{path} cannot be written')


def draw_clip(
    landmarks_dir: str, video_id: str, videos: str, output: str, *, kind: str = 'videos', num_tiles: int = 12
) -> str:
    """Draws the landmarks of a clip on its frames.

    Args:
        landmarks_dir: directory of extract_landmarks.
        video_id: the clip.
        videos: directory of the videos, or of the folders of frames.
        output: a new .png or .mp4.
        kind: `videos` or `frames`, what `videos` holds.
        num_tiles: frames of a .png.

    Returns:
        A sentence on what was drawn.

    Raises:
        InputError: the landmarks or the video are missing, damaged or do not fit each other.
    """
    suffix = os.path.splitext(output)[1]
    if suffix not in ('.png', '.mp4'):
        raise errors.InputError(f'--output={output}, expected a name that ends in .png or .mp4')
    description, _ = store_lib.read_description(landmarks_dir)
    found = store_lib.read_file(os.path.join(landmarks_dir, f'{video_id}.npz'))
    clip = clips_lib.Clip(video_id, found.video, 0, '', '', frame_start=found.frame_start, frame_end=found.frame_end)
    path = video_files.video_path(clip, videos, kind)
    if not os.path.exists(path):
        raise errors.InputError(f'{path} is missing, expected the video of clip {video_id}')
    num_frames = len(found.landmarks)
    height, count = (_TILE_HEIGHT, min(num_frames, num_tiles)) if suffix == '.png' else (_VIDEO_HEIGHT, num_frames)
    wanted = {clip.frame_start + round(i) for i in np.linspace(0, num_frames - 1, count)}
    frames = []
    try:
        for number, frame in video.read_frames(path, wanted.__contains__, max(wanted)):
            points = found.landmarks[number - clip.frame_start]
            frames.append((number, draw_frame(_resize(frame, height), points, description['handedness'])))
        fps = video.frames_per_second(path) or _DEFAULT_FPS
    except video.VideoError as error:
        raise errors.InputError(f'{path}: {error}') from error
    if len(frames) != len(wanted):
        raise errors.InputError(f'{path} has fewer frames than the {num_frames} landmarks of clip {video_id}')
    with files.create_atomically(output) as temporary:
        if suffix == '.png':
            _write_sheet(temporary, frames)
        else:
            _write_video(temporary, frames, fps)
    return f'{output}: {len(frames)} of {num_frames} frames'
