"""The published landmark files: one `<video>_poses_landmarks.csv` per video, and IPN Hand's compact file of all videos.

Both have one row per frame, with `,` or `;` between the columns. The compact file has the columns video, frame and
those of one hand: x0, y0, ….
"""

from collections.abc import Sequence
import os

import numpy as np
import pandas as pd

from preprocessing import tables
from slr_jax import errors, file_limits
from slr_jax import landmarks as landmarks_lib

VIDEO_LAYOUT = landmarks_lib.LAYOUTS['mediapipe_hands_pose']
COMPACT_LAYOUT = landmarks_lib.LAYOUTS['mediapipe_hand']
_SUFFIX = '_poses_landmarks.csv'
_MAX_FRAMES = 1_000_000


def find_video_files(directory: str) -> list[str]:
    """Names of the per-video files in a directory."""
    return [name for name in sorted(os.listdir(directory)) if name.endswith(_SUFFIX)]


def read_video_file(directory: str, video: str) -> np.ndarray | None:
    """<float32>[frames, 75, 3] of the file of a video; None where there is none."""
    path = os.path.join(directory, f'{video}{_SUFFIX}')
    if not os.path.isfile(path):
        return None
    columns = _columns(VIDEO_LAYOUT)
    table = tables.read_table(path, [*columns, 'frame'], dtype={'video': str})
    points = _parse_numbers(path, table, columns).reshape(len(table), -1, 3)
    frames = _parse_frames(path, table, ['frame'])
    _check_frames(path, int(frames.max()), VIDEO_LAYOUT)
    return _scatter_frames(frames, points, VIDEO_LAYOUT)


def read_compact_file(path: str) -> dict[str, np.ndarray]:
    """Video -> <float32>[frames, 21, 3] of IPN Hand's compact file; z is NaN where the file has none."""
    required = ['video', 'frame', *COMPACT_LAYOUT.columns]
    table = tables.read_table(path, required, dtype={'video': str})
    columns = _columns(COMPACT_LAYOUT)
    table = table.reindex(columns=['video', 'frame', *columns])
    points = _parse_numbers(path, table, columns).reshape(len(table), -1, 3)
    frames = _parse_frames(path, table, ['video', 'frame'])
    rows_per_video = table.groupby('video').indices
    _check_frames(path, sum(int(frames[rows].max()) for rows in rows_per_video.values()), COMPACT_LAYOUT)
    return {
        str(video): _scatter_frames(frames[rows], points[rows], COMPACT_LAYOUT)
        for video, rows in rows_per_video.items()
    }


def _check_frames(path: str, num_frames: int, layout: landmarks_lib.Layout) -> None:
    """Frames without a row need memory, too."""
    file_limits.check_unpacked(path, 12 * layout.num_points * num_frames)


def _columns(layout: landmarks_lib.Layout) -> list[str]:
    """x, y and z of every point: RHx0, RHy0, RHz0, …."""
    pairs = zip(layout.columns[::2], layout.columns[1::2], strict=True)
    return [column for x, y in pairs for column in (x, y, x.replace('x', 'z'))]


def _parse_numbers(path: str, table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    cells = table[list(columns)]
    numbers = cells.apply(pd.to_numeric, errors='coerce')
    for row, column in np.argwhere((numbers.isna() & cells.notna()).to_numpy()).tolist():
        raise tables.row_error(path, row, columns[column], cells.iloc[row, column], 'a number')
    return numbers.to_numpy(np.float32)


def _parse_frames(path: str, table: pd.DataFrame, key: list[str]) -> np.ndarray:
    """<int>[rows], the frame of each row from 1; the columns of `key` together must be unique."""
    frames = _parse_numbers(path, table, ['frame'])[:, 0]
    invalid = ~((frames >= 1) & (frames <= _MAX_FRAMES) & (frames == np.floor(frames)))
    for row in np.flatnonzero(invalid).tolist():
        raise tables.row_error(
            path, row, 'frame', table['frame'].tolist()[row], f'a whole number from 1 to {_MAX_FRAMES}'
        )
    for row in np.flatnonzero(table.duplicated(key)).tolist():
        raise errors.InputError(f'{path}, row {row + tables.FIRST_ROW}: duplicate frame {frames[row]:g}')
    return frames.astype(int)


def _scatter_frames(frames: np.ndarray, points: np.ndarray, layout: landmarks_lib.Layout) -> np.ndarray:
    """Puts each row at its frame; frames without a row and missing points are NaN."""
    scattered = np.full((frames.max(), *points.shape[1:]), np.nan, np.float32)
    missing = (points[..., :2] == layout.missing_value).all(axis=-1, keepdims=True)
    scattered[frames - 1] = np.where(missing, np.nan, points)
    return scattered
