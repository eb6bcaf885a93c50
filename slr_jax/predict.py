"""Answers: the likeliest signs of videos, of landmarks, or of what a camera sees.

    python -m slr_jax.predict --workdir=W --videos=D [--output=answers.jsonl] [--output_video=answer.mp4]
    python -m slr_jax.predict --workdir=W --landmarks=L
    python -m slr_jax.predict --workdir=W --videos=D --window=2
    python -m slr_jax.predict --workdir=W --camera=0

Prints a table of the likeliest glosses of each clip with their probabilities; `--output` has the same as JSON lines.
Videos are extracted as the data of the model were. Of a workdir of several runs, one is given, or
`--mean_of_runs` answers with the mean of their probabilities. With `--window`, and of a camera, a window slides over
recordings of many signs, and what is printed and written are segments with start, end and gloss.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
import contextlib
import dataclasses
import os
import signal
from typing import TYPE_CHECKING, Any

from absl import flags
import numpy as np

from slr_jax import cli, errors, files, progress

if TYPE_CHECKING:
    from preprocessing.extraction import clip_extractor
    from preprocessing.formats import model_input
    from slr_jax import inference, live, prediction

# Seconds.
_CAMERA_WINDOW = 2.0
# Of the caption of a video.
_MOST_LINES = 5
_INPUTS = ('videos', 'landmarks', 'camera')


def _define_flags() -> None:
    flags.DEFINE_string('workdir', None, 'Workdir of a run, several runs, or imported checkpoints.', required=True)
    flags.DEFINE_string('checkpoint', 'best', 'Checkpoint: best (by validation accuracy), latest, or a step.')
    flags.DEFINE_bool(
        'mean_of_runs', False, 'Whether all runs of a workdir answer together, by the mean of their probabilities.'
    )
    flags.DEFINE_string('videos', None, 'Video, directory of videos, or pattern such as "recordings/*.mp4".')
    flags.DEFINE_string(
        'landmarks',
        None,
        'Landmarks instead of videos: directory of extract_landmarks or a file in it, landmark archive (.npz), .pose '
        'file or directory of such, or TFDS directory.',
    )
    cli.define_split_flag(None, 'Split of a dataset or archive; default: all of it.')
    flags.DEFINE_integer('k', 5, 'Number of glosses per clip.', lower_bound=1)
    flags.DEFINE_string('output', None, 'New file of JSON lines, one per clip or segment; default: none is written.')
    flags.DEFINE_string(
        'output_video', None, 'New .mp4 of the picture with landmarks and glosses, of one video; default: none.'
    )
    _define_extraction_flags()
    _define_live_flags()


def _define_extraction_flags() -> None:
    from preprocessing.extraction import landmarker, model_files

    flags.DEFINE_string('model_dir', 'models', "Directory of MediaPipe's model files.")
    flags.DEFINE_enum(
        'running_mode',
        None,
        list(landmarker.RUNNING_MODES),
        'Running mode of MediaPipe: image (each frame by itself) or video (tracked); default: that of the data.',
    )
    flags.DEFINE_enum(
        'pose', None, list(model_files.POSE_MODELS), "Pose model of MediaPipe; default: that of the model's data."
    )
    flags.DEFINE_integer(
        'num_workers', os.cpu_count(), 'Number of worker processes; default: one per core.', lower_bound=1
    )
    flags.DEFINE_float('time_limit', 600.0, 'Most seconds per video.', lower_bound=0.1)


def _define_live_flags() -> None:
    flags.DEFINE_string(
        'camera', None, 'Camera: its number, from 0, the address of a stream, or a video file that is shown as one.'
    )
    flags.DEFINE_float(
        'window',
        None,
        'Seconds that are answered at once, in recordings of many signs; default: each clip is one sign, and 2 for a '
        'camera.',
        lower_bound=0.001,
    )
    flags.DEFINE_float(
        'stride', None, 'Seconds from one window to the next; default: a quarter of the window.', lower_bound=0.001
    )
    flags.DEFINE_integer('smoothing', 3, 'Number of windows whose probabilities are averaged.', lower_bound=1)
    flags.DEFINE_float(
        'threshold', 0.5, 'Least averaged probability of a sign, 0 to 1, below which there is no sign.', 0, 1
    )
    flags.DEFINE_float(
        'fps', 30.0, 'Frames per second of recordings without times: landmarks, and folders of frames.', lower_bound=0.1
    )
    flags.DEFINE_bool('display', False, 'Whether to show what a camera sees, with landmarks and gloss, on the screen.')


def main() -> None:
    """Answers as the flags say."""
    values = flags.FLAGS
    given = [f'--{name}' for name in _INPUTS if values[name].value is not None]
    if len(given) != 1:
        expected = ' or '.join(f'--{name}' for name in _INPUTS)
        raise errors.InputError(f'found {" and ".join(given) or "no input"}, expected one of {expected}')
    _check_live_flags(values)
    if values.output:
        files.check_suffix(values.output, '.jsonl', '.ndjson')
    if values.output_video and not values.output_video.endswith('.mp4'):
        raise errors.InputError(f'--output_video={values.output_video}, expected a name that ends in .mp4')
    if values.output_video and values.landmarks is not None:
        raise errors.InputError('--output_video needs the pictures of --videos or --camera, not --landmarks')

    from preprocessing.formats import model_input
    from slr_jax import prediction, runtime

    if values.landmarks is None:
        from preprocessing.extraction import landmarker, run_local  # noqa: F401

        # Before the model is loaded; the workers need it.
        landmarker.import_mediapipe()
    runtime.use_compilation_cache()
    model = prediction.load(values.workdir, values.checkpoint, mean_of_runs=values.mean_of_runs)
    target = model_input.Target(values.workdir, model.description)
    failure = ''
    with contextlib.ExitStack() as stack:
        # Made before the work, so that a path that cannot be written is refused at once.
        output, output_video = (
            stack.enter_context(files.create_atomically(path)) if path else None
            for path in (values.output, values.output_video)
        )
        if values.camera is not None:
            failure = _predict_camera(values, model, target, output, output_video)
        elif values.window is not None:
            _predict_recordings(values, model, target, output, output_video)
        elif values.videos is not None:
            _predict_videos(values, model, target, output, output_video)
        else:
            clips = model_input.read(values.landmarks, target, values.split)
            _answer(values, model, clips, values.landmarks, output)
    if failure:
        raise errors.InputError(failure)


def _check_live_flags(values: flags.FlagValues) -> None:
    """Refuses flags of recordings that do not fit, and opens the window for --display."""
    if values.display and values.camera is None:
        raise errors.InputError('--display is for --camera')
    if values.camera is not None or values.window is not None:
        _sliding(values)
    else:
        unused = [f'--{name}' for name in ('stride', 'smoothing', 'threshold', 'fps') if values[name].present]
        if unused:
            raise errors.InputError(f'{unused[0]} is for recordings, which --window is given for')
    if values.display:
        from preprocessing.extraction import landmarker, screen

        # Before PyAV is imported.
        with landmarker.silence():
            screen.open_window()


@dataclasses.dataclass(frozen=True)
class _Recording:
    """A recording, or what a camera sees.

    Attributes:
        name: of it.
        frames: seconds, picture and landmarks of each.
        speed: at which it is answered.
        frame_size: width and height of the pictures, (0, 0) where unknown.
        draw: called with each frame, and what was answered last.
    """

    name: str
    frames: Iterable[tuple[float, Any, Any]]
    speed: progress.RecordingProgress
    frame_size: tuple[int, int]
    draw: Callable[[float, Any, Any, str], None] | None = None


def _predict_camera(
    values: flags.FlagValues,
    model: 'inference.Predictor',
    target: 'model_input.Target',
    output: str | None,
    output_video: str | None,
) -> str:
    """Answers what a camera sees until Ctrl-C or until it ends; returns why it failed, empty where it did not."""
    from preprocessing.extraction import camera as camera_lib
    from preprocessing.extraction import drawing, frame_stream
    from slr_jax import live

    camera = camera_lib.Camera(values.camera)
    live.warm_up(model, _sliding(values))
    with (
        _open_extractor(values, target) as extractor,
        camera,
        _first_interrupt(camera.stop),
        drawing.open_recording(output_video, extractor.handedness, camera.stop if values.display else None) as draw,
    ):
        progress.report('answers until Ctrl-C')
        frames = frame_stream.follow(camera.frames(), extractor)
        speed = progress.RecordingProgress(camera)
        recording = _Recording(f'camera {values.camera}', frames, speed, camera.frame_size, draw)
        _answer_recordings(values, model, target, output, [recording])
    return camera.failure


@contextlib.contextmanager
def _first_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls `stop`, the second ends the command."""

    def handle(*_: object) -> None:
        signal.signal(signal.SIGINT, previous)
        stop()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _predict_recordings(
    values: flags.FlagValues,
    model: 'inference.Predictor',
    target: 'model_input.Target',
    output: str | None,
    output_video: str | None,
) -> None:
    """Slides a window over each video, or over the landmarks of each clip."""
    if values.landmarks is not None:
        recordings = _landmark_recordings(values, target)
    else:
        recordings = _video_recordings(values, target, output_video)
    _answer_recordings(values, model, target, output, recordings)


def _landmark_recordings(values: flags.FlagValues, target: 'model_input.Target') -> Iterator[_Recording]:
    from preprocessing.formats import model_input

    clips = model_input.read(values.landmarks, target, values.split, whole=True)
    clips.report(values.landmarks)
    for name, landmarks, frame_size in zip(clips.names, clips.landmarks, clips.frame_sizes, strict=True):
        frames = ((number / values.fps, None, points) for number, points in enumerate(landmarks))
        yield _Recording(name, frames, progress.RecordingProgress(), frame_size)


def _video_recordings(
    values: flags.FlagValues, target: 'model_input.Target', output_video: str | None
) -> Iterator[_Recording]:
    from preprocessing.extraction import drawing, frame_stream

    directory, names = _find_videos(values)
    with _open_extractor(values, target) as extractor:
        for name in names:
            path = os.path.join(directory, name)
            frame_size = frame_stream.frame_size(path)
            pictures = frame_stream.read_recording(path, values.fps)
            frames = frame_stream.follow(pictures, extractor)
            with drawing.open_recording(output_video, extractor.handedness) as draw:
                yield _Recording(name, frames, progress.RecordingProgress(), frame_size, draw)


def _find_videos(values: flags.FlagValues) -> tuple[str, list[str]]:
    """A directory, and the names of the videos there."""
    from preprocessing.formats import model_input

    directory, names = model_input.find_videos(values.videos)
    if values.output_video and len(names) > 1:
        raise errors.InputError(f'--output_video is for one video, but {values.videos} is {len(names)} videos')
    return directory, names


@contextlib.contextmanager
def _open_extractor(values: flags.FlagValues, target: 'model_input.Target') -> Iterator['clip_extractor.Extractor']:
    """MediaPipe, with the options of the model's data."""
    from preprocessing.extraction import clip_extractor, landmarker, model_files

    options = target.options(values.running_mode, values.pose)
    for note in target.compare(options, values.model_dir):
        progress.report(f'warning: {note}')
    models = model_files.read_models(values.model_dir, options.model_files)
    with landmarker.silence(), contextlib.closing(clip_extractor.Extractor(options, models)) as extractor:
        yield extractor


def _sliding(values: flags.FlagValues) -> 'live.Sliding':
    from slr_jax import live

    window = values.window or _CAMERA_WINDOW
    return live.Sliding(window, values.stride or window / 4, values.smoothing, values.threshold)


def _answer_recordings(
    values: flags.FlagValues,
    model: 'inference.Predictor',
    target: 'model_input.Target',
    output: str | None,
    recordings: Iterable[_Recording],
) -> None:
    """Answers recordings, prints their segments, and writes them as JSON lines."""
    from slr_jax import prediction

    def lines() -> Iterator[dict[str, Any]]:
        noted = False
        for recording in recordings:
            note = model.compare_shapes(recording.frame_size, 1)
            if note and not noted:
                progress.report(f'warning: {recording.name}: {note}')
                noted = True
            for segment in _answer_recording(values, model, target, recording):
                yield {'clip': recording.name} | segment.to_json()

    if output:
        prediction.write_json_lines(output, lines())
    else:
        deque(lines(), maxlen=0)


def _answer_recording(
    values: flags.FlagValues, model: 'inference.Predictor', target: 'model_input.Target', recording: _Recording
) -> Iterator['live.Segment']:
    """Gives and prints the segments of a recording; of a camera each sign is printed when it begins."""
    from slr_jax import live, prediction

    # A picture that is shown while it is answered has each answer as soon as it can be given.
    is_live = values.camera is not None or recording.draw is not None
    answered = 'no sign'
    num_frames = num_seen = 0

    def landmarks() -> Iterator['live.Frame']:
        nonlocal num_frames, num_seen
        for seconds, picture, points in recording.frames:
            recording.speed.frame(seconds)
            num_frames += 1
            num_seen += not np.isnan(points[..., 0]).all()
            if recording.draw:
                recording.draw(seconds, picture, points, answered)
            yield seconds, points

    def watch(answers: Iterable['live.Answer']) -> Iterator['live.Answer']:
        nonlocal answered
        previous = None
        for answer in answers:
            recording.speed.answer()
            answered = prediction.format_gloss(answer.gloss, answer.probability)
            if values.camera is not None and answer.gloss not in (None, previous):
                progress.report(f'{answer.time:.1f} s  {answered}')
            previous = answer.gloss
            yield answer

    sliding = _sliding(values)
    batch_size = 1 if is_live else live.BATCH_SIZE
    windows = live.windows(landmarks(), sliding)
    answers = live.answers(
        windows, model, sliding, batch_size=batch_size, prepare=target.take, frame_size=recording.frame_size
    )
    for segment in live.segments(watch(answers)):
        if values.camera is None:
            text = prediction.format_gloss(segment.gloss, segment.probability)
            progress.report(f'{recording.name}  {segment.start:.1f} to {segment.end:.1f} s  {text}')
        yield segment
    progress.report(f'{recording.name}: {recording.speed.line()}')
    if 2 * num_seen < num_frames:
        progress.report(f'warning: {recording.name}: a body or hand is seen in {num_seen} of {num_frames} frames')


def _predict_videos(
    values: flags.FlagValues,
    model: 'inference.Predictor',
    target: 'model_input.Target',
    output: str | None,
    output_video: str | None,
) -> None:
    """Answers videos of one sign each."""
    from preprocessing.formats import model_input

    directory, videos = _find_videos(values)
    options = target.options(values.running_mode, values.pose)
    for note in target.compare(options, values.model_dir):
        progress.report(f'warning: {note}')
    progress.report(f'videos to extract: {len(videos)}')
    extracted, failed = model_input.extract_videos(
        directory, videos, values.model_dir, options, num_workers=values.num_workers, time_limit=values.time_limit
    )
    clips = model_input.clips_of_videos(target, extracted, failed)
    [first, *_] = _answer(values, model, clips, values.videos, output)
    if output_video:
        from preprocessing.extraction import drawing
        from slr_jax import prediction

        lines = [
            f'{gloss} {prediction.format_percent(probability)}' for gloss, probability in first.likeliest[:_MOST_LINES]
        ]
        path = os.path.join(directory, first.clip)
        drawing.draw_video(path, extracted[first.clip].landmarks, options.handedness, lines, output_video)


def _answer(
    values: flags.FlagValues, model: 'inference.Predictor', clips: 'model_input.Clips', path: str, output: str | None
) -> 'list[prediction.Answer]':
    """Answers clips, prints the table, and writes the JSON lines."""
    from slr_jax import prediction

    clips.report(path, model.layout)
    note = model.compare_shapes(clips.frame_sizes, len(clips.names))
    if note:
        progress.report(f'warning: {path}: {note}')
    answers = prediction.answer(model, clips.names, clips.landmarks, clips.glosses, values.k, clips.frame_sizes)
    print(prediction.format_table(answers))
    if output:
        prediction.write_json_lines(output, (answer.to_json() for answer in answers))
    return answers


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
