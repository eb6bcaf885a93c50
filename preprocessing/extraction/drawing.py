"""Draws landmarks, and what a model answers, on the frames of a clip."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import functools
import os

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import screen, video, video_files
from preprocessing.extraction import store as store_lib
from slr_jax import errors, files
from slr_jax import landmarks as landmarks_lib

# RGB; right and left are the signer's own.
_COLORS = {'right_hand': (230, 60, 50), 'left_hand': (40, 110, 240), 'body': (60, 190, 90)}
_COLUMNS = 4
_TILE_HEIGHT = 360
_VIDEO_HEIGHT = 720
# Of the height of a frame.
_TEXT_HEIGHT = 1 / 22
_DEFAULT_FPS = 25.0

DrawShown = Callable[[float, np.ndarray, np.ndarray, str], None]


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


def draw_caption(frame: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """Adds a band of text above a frame, in any alphabet of the font DejaVu.

    Args:
        frame: <uint8>[height, width, 3], RGB.
        lines: from the top.

    Returns:
        A new, higher frame.
    """
    size = max(8, round(len(frame) * _TEXT_HEIGHT))
    margin = size // 2
    # Video codecs need even heights.
    band = Image.new('RGB', (frame.shape[1], 2 * (margin + round(0.65 * size * len(lines)))))
    ImageDraw.Draw(band).multiline_text(
        (margin, margin), '\n'.join(lines), fill='white', font=_font(size), spacing=0.1 * size
    )
    return np.vstack([np.array(band), frame])


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'), size)


def resize(frame: np.ndarray, height: int = _VIDEO_HEIGHT) -> np.ndarray:
    """Scales a frame, <uint8>[height, width, 3], to a height, by default that of the videos that are written."""
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


@contextlib.contextmanager
def open_video(path: str, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives a function that adds a frame to a .mp4, so that its length takes no memory.

    Args:
        path: a new file.
        fps: frames per second.

    Yields:
        A function of <uint8>[height, width, 3], RGB; all frames are of one size.

    Raises:
        InputError: the file cannot be written, or there were no frames.
    """
    writer: cv2.VideoWriter | None = None

    def write(frame: np.ndarray) -> None:
        nonlocal writer
        if writer is None:
            writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'mp4v'), fps, (frame.shape[1], frame.shape[0]))
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    try:
        yield write
    finally:
        if writer is not None:
            writer.release()
    if not os.path.isfile(path):
        raise errors.InputError(f'{path} cannot be written')


def write_video(path: str, frames: Iterable[np.ndarray], fps: float) -> None:
    """Writes frames <uint8>[height, width, 3], RGB, as a .mp4; see open_video."""
    with open_video(path, fps) as write:
        for frame in frames:
            write(frame)


@contextlib.contextmanager
def open_recording(
    path: str | None, handedness: str, stop: Callable[[], None] | None = None
) -> Iterator[DrawShown | None]:
    """Gives a function that draws the frames of a recording, or of a camera, one after the other.

    Args:
        path: a new .mp4; None for none.
        handedness: of landmarks.HANDEDNESS.
        stop: called when Esc or q is pressed in the window of screen.open_window; None where there is none.

    Yields:
        A function of the second of a frame, the frame, its landmarks <float32>[75, 3], and a line of text; None where
        nothing is drawn. In the file a frame is repeated, or left out, so that it is shown at its second.
    """
    if path is None and stop is None:
        yield None
        return
    num_written = 0

    def draw(seconds: float, frame: np.ndarray, points: np.ndarray, text: str) -> None:
        nonlocal num_written
        drawn = draw_caption(draw_frame(resize(frame), points, handedness), [text])
        if write is not None:
            due = max(0, round(seconds * _DEFAULT_FPS) + 1 - num_written)
            num_written += due
            for _ in range(due):
                write(drawn)
        if stop is not None and screen.show(drawn):
            stop()

    with contextlib.ExitStack() as stack:
        write = stack.enter_context(open_video(path, _DEFAULT_FPS)) if path else None
        yield draw


def draw_video(path: str, landmarks: np.ndarray, handedness: str, lines: Sequence[str], output: str) -> None:
    """Draws landmarks and a caption on all frames of a video, which is read once more.

    Args:
        path: a video or a folder of frames.
        landmarks: <float32>[frames, 75, 3], NaN where not seen.
        handedness: of landmarks.HANDEDNESS.
        lines: of the caption.
        output: a new .mp4.

    Raises:
        InputError: the video cannot be read, or the output not written.
    """

    def draw() -> Iterator[np.ndarray]:
        for number, frame in video.read_frames(path, lambda number: True, len(landmarks)):
            yield draw_caption(draw_frame(resize(frame), landmarks[number - 1], handedness), lines)

    try:
        write_video(output, draw(), video.frames_per_second(path) or _DEFAULT_FPS)
    except video.VideoError as error:
        raise errors.InputError(f'{path}: {error}') from error


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
            frames.append((number, draw_frame(resize(frame, height), points, description['handedness'])))
        fps = video.frames_per_second(path) or _DEFAULT_FPS
    except video.VideoError as error:
        raise errors.InputError(f'{path}: {error}') from error
    if len(frames) != len(wanted):
        raise errors.InputError(f'{path} has fewer frames than the {num_frames} landmarks of clip {video_id}')
    with files.create_atomically(output) as temporary:
        if suffix == '.png':
            _write_sheet(temporary, frames)
        else:
            write_video(temporary, (frame for _, frame in frames), fps)
    return f'{output}: {len(frames)} of {num_frames} frames'
