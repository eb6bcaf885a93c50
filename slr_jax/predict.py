"""Answers: the likeliest signs of videos, of landmarks, or of what a camera sees.

    python -m slr_jax.predict --workdir=W --videos=D [--output=answers.jsonl] [--output_video=answer.mp4]
    python -m slr_jax.predict --workdir=W --landmarks=L

Prints a table of the likeliest glosses of each clip with their probabilities; `--output` has the same as JSON lines.
Videos are extracted as the data of the model were. Of a workdir of several runs, one is given, or
`--mean_of_runs` answers with the mean of their probabilities.
"""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

from absl import flags

from slr_jax import cli, errors, files, progress
from slr_jax import dataset as dataset_lib

if TYPE_CHECKING:
    from preprocessing.extraction import clip_extractor
    from slr_jax import inference, live

# Seconds.
_CAMERA_WINDOW = 2.0
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
    flags.DEFINE_enum('split', None, list(dataset_lib.SPLITS), 'Split of a dataset or archive; default: all of it.')
    flags.DEFINE_integer('k', 5, 'Number of glosses per clip.', lower_bound=1)
    flags.DEFINE_string('output', None, 'New file of JSON lines, one per clip; default: none is written.')
    flags.DEFINE_string(
        'output_video', None, 'New .mp4 of the picture with landmarks and glosses, of one video; default: none.'
    )
    _define_extraction_flags()
    _define_live_flags()


def _define_extraction_flags() -> None:
    flags.DEFINE_string('model_dir', 'models', "Directory of MediaPipe's model files.")
    flags.DEFINE_enum(
        'running_mode', None, ['image', 'video'], "Running mode of MediaPipe; default: that of the model's data."
    )
    flags.DEFINE_enum(
        'pose', None, ['lite', 'full', 'heavy'], "Pose model of MediaPipe; default: that of the model's data, or full."
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


def main() -> None:
    """Answers as the flags say."""
    values = flags.FLAGS
    given = [name for name in _INPUTS if values[name].value is not None]
    if len(given) != 1:
        found = ' and '.join(f'--{name}' for name in given) or 'none'
        raise errors.InputError(f'found {found}, expected one of {", ".join(f"--{name}" for name in _INPUTS)}')

    from slr_jax import prediction, runtime

    runtime.use_compilation_cache()
    model = prediction.load(values.workdir, values.checkpoint, mean_of_runs=values.mean_of_runs)
    if values.camera is not None:
        _predict_camera(values, model)
    elif values.window is not None:
        _predict_recordings(values, model)
    else:
        _predict_clips(values, model)


def _predict_camera(values: flags.FlagValues, model: 'inference.Predictor') -> None:
    """Answers what a camera sees until it ends or is interrupted, which keeps what was answered."""
    from preprocessing.extraction import camera as camera_lib
    from preprocessing.extraction import frame_stream
    from slr_jax import live

    recording = _Recording(values, model)
    extractor = recording.open_extractor()
    live.warm_up(model, recording.sliding)
    with _open_output(values) as write, camera_lib.Camera(values.camera) as camera, _stopped_by_interrupt(camera.stop):
        progress.report('answers until Ctrl-C')
        frames = frame_stream.follow(camera.frames(), extractor)
        recording.answer(f'camera {values.camera}', frames, write, progress.RecordingProgress(camera))
    if camera.failure:
        raise errors.InputError(camera.failure)


@contextlib.contextmanager
def _stopped_by_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls `stop`, the second ends the command."""

    def handle(*_: object) -> None:
        signal.signal(signal.SIGINT, previous)
        stop()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _predict_recordings(values: flags.FlagValues, model: 'inference.Predictor') -> None:
    """Slides a window over each video, or over the landmarks of each clip."""
    from preprocessing.extraction import frame_stream, video
    from preprocessing.formats import model_input

    recording = _Recording(values, model)
    with _open_output(values) as write:
        if values.landmarks is not None:
            clips = model_input.read(values.landmarks, recording.target, values.split)
            for name, landmarks in zip(clips.names, clips.landmarks, strict=True):
                frames = ((number / values.fps, None, points) for number, points in enumerate(landmarks))
                recording.answer(name, frames, write, progress.RecordingProgress())
            return
        directory, names = model_input.find_videos(values.videos)
        extractor = recording.open_extractor()
        for name in names:
            pictures = frame_stream.read_recording(os.path.join(directory, name), values.fps)
            try:
                frames = frame_stream.follow(pictures, extractor)
                recording.answer(name, frames, write, progress.RecordingProgress())
            except video.VideoError as error:
                raise errors.InputError(f'{os.path.join(directory, name)}: {error}') from error


@contextlib.contextmanager
def _open_output(values: flags.FlagValues) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Gives what writes a line to --output, which is moved into place at the end."""
    if not values.output:
        yield lambda line: None
        return
    with files.create_atomically(values.output) as path, open(path, 'w', encoding='utf-8') as file:

        def write(line: dict[str, Any]) -> None:
            file.write(json.dumps(line, ensure_ascii=False) + '\n')
            file.flush()

        yield write


class _Recording:
    """How recordings, and what a camera sees, are answered."""

    def __init__(self, values: flags.FlagValues, model: 'inference.Predictor') -> None:
        from preprocessing.formats import model_input
        from slr_jax import live

        window = values.window or _CAMERA_WINDOW
        stride = window / 4 if values.stride is None else values.stride
        self.sliding = live.Sliding(window, stride, values.smoothing, values.threshold)
        self.target = model_input.Target(values.workdir, model.description)
        self._values, self._model = values, model

    def open_extractor(self) -> 'clip_extractor.Extractor':
        """MediaPipe, with the options of the model's data."""
        from preprocessing.extraction import clip_extractor, model_files

        options = self.target.options(self._values.running_mode, self._values.pose)
        models = model_files.read_models(self._values.model_dir, options.model_files)
        for difference in self.target.differences(options, models):
            progress.report(f'warning: {difference}')
        return clip_extractor.Extractor(options, models)

    def answer(
        self,
        name: str,
        frames: Iterable[tuple[float, Any, Any]],
        write: Callable[[dict[str, Any]], None],
        shown: progress.RecordingProgress,
    ) -> None:
        """Answers one recording of frames, which are seconds, picture and landmarks; prints and writes its segments."""
        from slr_jax import live, prediction

        def landmarks() -> Iterator['live.Frame']:
            for seconds, _, points in frames:
                shown.frame(seconds)
                yield seconds, points

        def watch(answers: Iterable['live.Answer']) -> Iterator['live.Answer']:
            gloss = None
            for answer in answers:
                shown.answer()
                # Of a camera each sign is printed when it begins.
                if is_live and answer.gloss not in (None, gloss):
                    percent = prediction.format_percent(answer.probability)
                    progress.report(f'{answer.time:.1f} s  {answer.gloss} {percent}')
                gloss = answer.gloss
                yield answer

        is_live = self._values.camera is not None
        windows = live.windows(landmarks(), self.sliding)
        batch_size = 1 if is_live else live.BATCH_SIZE
        answers = live.answers(windows, self._model, self.sliding, batch_size=batch_size, prepare=self.target.take)
        for segment in live.segments(watch(answers)):
            write({'clip': name} | segment.to_json())
            if not is_live:
                percent = prediction.format_percent(segment.probability)
                gloss = 'no sign' if segment.gloss is None else f'{segment.gloss} {percent}'
                progress.report(f'{name}  {segment.start:.1f} to {segment.end:.1f} s  {gloss}')
        progress.report(f'{name}: {shown.line()}')


def _predict_clips(values: flags.FlagValues, model: 'inference.Predictor') -> None:
    """Each clip is one sign."""
    raise NotImplementedError


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
