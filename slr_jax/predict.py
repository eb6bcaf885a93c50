"""Answers: the likeliest signs of videos, of landmarks, or of what a camera sees.

    python -m slr_jax.predict --workdir=W --videos=D [--output=answers.jsonl] [--output_video=answer.mp4]
    python -m slr_jax.predict --workdir=W --landmarks=L

Prints a table of the likeliest glosses of each clip with their probabilities; `--output` has the same as JSON lines.
Videos are extracted as the data of the model were. Of a workdir of several runs, one is given, or
`--mean_of_runs` answers with the mean of their probabilities.
"""

import contextlib
import os
from typing import TYPE_CHECKING

from absl import flags

from slr_jax import cli, errors, files, progress
from slr_jax import dataset as dataset_lib

if TYPE_CHECKING:
    from preprocessing.formats import model_input
    from slr_jax import inference, prediction

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
    flags.DEFINE_enum('split', None, list(dataset_lib.SPLITS), 'Split of a dataset or archive; default: all of it.')
    flags.DEFINE_integer('k', 5, 'Number of glosses per clip.', lower_bound=1)
    flags.DEFINE_string('output', None, 'New file of JSON lines, one per clip; default: none is written.')
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
    flags.DEFINE_string('camera', None, 'Camera: its number, or a video file in its stead.')
    flags.DEFINE_float('window', None, 'Seconds of a sliding window over long recordings; default: a clip is one sign.')


def main() -> None:
    """Answers as the flags say."""
    values = flags.FLAGS
    given = [f'--{name}' for name in _INPUTS if values[name].value is not None]
    if len(given) != 1:
        expected = ' or '.join(f'--{name}' for name in _INPUTS)
        raise errors.InputError(f'found {" and ".join(given) or "no input"}, expected one of {expected}')
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
    with contextlib.ExitStack() as stack:
        # Made before the work, so that a path that cannot be written is refused at once.
        output, output_video = (
            stack.enter_context(files.create_atomically(path)) if path else None
            for path in (values.output, values.output_video)
        )
        if values.camera is not None:
            _predict_camera(values, model, target, output, output_video)
        elif values.window is not None:
            _predict_recordings(values, model, target, output, output_video)
        elif values.videos is not None:
            _predict_videos(values, model, target, output, output_video)
        else:
            clips = model_input.read(values.landmarks, target, values.split)
            _answer(values, model, clips, values.landmarks, output)


def _predict_camera(
    values: flags.FlagValues,
    model: 'inference.Predictor',
    target: 'model_input.Target',
    output: str | None,
    output_video: str | None,
) -> None:
    """To be written: slr_jax.live over the frames of preprocessing.extraction.camera."""
    raise NotImplementedError


def _predict_recordings(
    values: flags.FlagValues,
    model: 'inference.Predictor',
    target: 'model_input.Target',
    output: str | None,
    output_video: str | None,
) -> None:
    """To be written: slr_jax.live over the frames of each video, which preprocessing.extraction.frame_stream gives."""
    raise NotImplementedError


def _predict_videos(
    values: flags.FlagValues,
    model: 'inference.Predictor',
    target: 'model_input.Target',
    output: str | None,
    output_video: str | None,
) -> None:
    """Answers videos of one sign each."""
    from preprocessing.formats import model_input

    directory, videos = model_input.find_videos(values.videos)
    if output_video and len(videos) > 1:
        raise errors.InputError(f'--output_video is for one video, but {values.videos} is {len(videos)} videos')
    options = target.options(values.running_mode, values.pose)
    for note in target.compare(options, values.model_dir):
        progress.report(f'warning: {note}')
    progress.report(f'videos to extract: {len(videos)}')
    points, failed = model_input.extract_videos(
        directory, videos, values.model_dir, options, num_workers=values.num_workers, time_limit=values.time_limit
    )
    clips = model_input.clips_of_videos(target, points, failed)
    [first, *_] = _answer(values, model, clips, values.videos, output)
    if output_video:
        from preprocessing.extraction import drawing
        from slr_jax import prediction

        lines = [
            f'{gloss} {prediction.format_percent(probability)}' for gloss, probability in first.likeliest[:_MOST_LINES]
        ]
        path = os.path.join(directory, first.clip)
        drawing.draw_video(path, points[first.clip], options.handedness, lines, output_video)


def _answer(
    values: flags.FlagValues, model: 'inference.Predictor', clips: 'model_input.Clips', path: str, output: str | None
) -> 'list[prediction.Answer]':
    """Answers clips, prints the table, and writes the JSON lines."""
    from slr_jax import prediction

    clips.report(path, model.layout)
    answers = prediction.answer(model, clips.names, clips.landmarks, clips.glosses, values.k)
    print(prediction.format_table(answers))
    if output:
        prediction.write_json_lines(output, (answer.to_json() for answer in answers))
    return answers


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
