"""Draws the landmarks of a clip on its frames, so that a person sees whether extraction worked.

    python -m preprocessing.inspect --landmarks=L --video_id=V --videos=D --output=V.png

A .png is a contact sheet of frames spread over the clip, a .mp4 the whole clip. The signer's right hand is red, the
left one blue, the body green.
"""

import os

from absl import flags
import cv2
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import store as store_lib
from preprocessing.extraction import video
from slr_jax import cli, errors, files
from slr_jax import landmarks as landmarks_lib

# RGB, of the signer's own right and left.
_COLOURS = {'right_hand': (230, 60, 50), 'left_hand': (40, 110, 240), 'body': (60, 190, 90)}
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
    signers = landmarks_lib.anatomical_order(layout, handedness)
    height, width = frame.shape[:2]
    size = max(1, height // 360)
    drawn = frame.copy()
    places = np.nan_to_num(points[:, :2] * (width, height), nan=-1.0).round().astype(int)
    seen = ~np.isnan(points[:, 0])
    colours = [_COLOURS[layout.group_of_point[point]] for point in signers]
    for a, b in layout.bones:
        if seen[a] and seen[b]:
            cv2.line(drawn, places[a].tolist(), places[b].tolist(), colours[a], size, cv2.LINE_AA)
    for point in np.flatnonzero(seen):
        cv2.circle(drawn, places[point].tolist(), size + 1, colours[point], -1, cv2.LINE_AA)
    return drawn


def _resize(frame: np.ndarray, height: int) -> np.ndarray:
    width = round(frame.shape[1] * height / frame.shape[0])
    # Video codecs want even numbers.
    return cv2.resize(frame, (width + width % 2, height), interpolation=cv2.INTER_AREA)


def _write_sheet(path: str, frames: list[tuple[int, np.ndarray]]) -> None:
    tiles = []
    for number, frame in frames:
        tile = frame.copy()
        for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(tile, f'{number}', (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, thickness, cv2.LINE_AA)
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


def _define_flags() -> None:
    flags.DEFINE_string('landmarks', None, 'Directory of landmarks.', required=True)
    flags.DEFINE_string('video_id', None, 'The clip.', required=True)
    flags.DEFINE_string('videos', None, 'Directory of the videos.')
    flags.DEFINE_string('frames', None, 'Instead of --videos: directory with a folder of frames a video.')
    flags.DEFINE_string('output', None, 'A new .png or .mp4.', required=True)
    flags.DEFINE_integer('num_tiles', 12, 'Frames of a .png.', lower_bound=1)


def main() -> None:
    """Draws the clip that the flags name."""
    values = flags.FLAGS
    kind = os.path.splitext(values.output)[1]
    if kind not in ('.png', '.mp4'):
        raise errors.InputError(f'--output={values.output}, expected a name that ends in .png or .mp4')
    if bool(values.videos) == bool(values.frames):
        raise errors.InputError('either --videos or --frames must be given')
    description = store_lib.read_description(values.landmarks)
    found = store_lib.read_file(os.path.join(values.landmarks, f'{values.video_id}.npz'))
    clip = clips_lib.Clip(
        values.video_id, found.video, 0, '', '', frame_start=found.frame_start, frame_end=found.frame_end
    )
    path = store_lib.path_of(clip, values.videos or values.frames, 'frames' if values.frames else 'videos')
    if not os.path.exists(path):
        raise errors.InputError(f'{path} is missing, expected the video of clip {values.video_id}')
    num_frames = len(found.landmarks)
    height = _TILE_HEIGHT if kind == '.png' else _VIDEO_HEIGHT
    count = min(num_frames, values.num_tiles) if kind == '.png' else num_frames
    chosen = {clip.frame_start + round(i) for i in np.linspace(0, num_frames - 1, count)}
    try:
        frames = [
            (
                number,
                draw_frame(
                    _resize(frame, height), found.landmarks[number - clip.frame_start], description['handedness']
                ),
            )
            for number, frame in video.read_frames(path, chosen.__contains__, max(chosen))
        ]
        fps = video.frames_per_second(path) or _DEFAULT_FPS
    except video.VideoError as error:
        raise errors.InputError(f'{path}: {error}') from error
    if len(frames) != len(chosen):
        raise errors.InputError(f'{path} has fewer frames than the {num_frames} landmarks of clip {values.video_id}')
    with files.create_atomically(values.output) as aside:
        if kind == '.png':
            _write_sheet(aside, frames)
        else:
            _write_video(aside, frames, fps)
    print(f'{values.output}: {len(frames)} of {num_frames} frames')


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
