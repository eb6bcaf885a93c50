"""Answers: the likeliest signs of videos, of landmarks, or of what a camera sees.

    python -m slr_jax.predict --workdir=W --videos=D [--output=answers.jsonl] [--output_video=answer.mp4]
    python -m slr_jax.predict --workdir=W --landmarks=L

Prints a table of the likeliest glosses of each clip with their probabilities; `--output` has the same as JSON lines.
Videos are extracted as the data of the model were. Of a workdir of several runs, one is given, or
`--mean_of_runs` answers with the mean of their probabilities.
"""

import os
from typing import TYPE_CHECKING

from absl import flags

from slr_jax import cli, errors
from slr_jax import dataset as dataset_lib

if TYPE_CHECKING:
    from slr_jax import inference

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
    flags.DEFINE_string('camera', None, 'Camera: its number, or a video file in its stead.')
    flags.DEFINE_float('window', None, 'Seconds of a sliding window over long recordings; default: a clip is one sign.')


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
    """To be written: slr_jax.live over the frames of preprocessing.extraction.camera."""
    raise NotImplementedError


def _predict_recordings(values: flags.FlagValues, model: 'inference.Predictor') -> None:
    """To be written: slr_jax.live over the frames of each video, which preprocessing.extraction.frame_stream gives."""
    raise NotImplementedError


def _predict_clips(values: flags.FlagValues, model: 'inference.Predictor') -> None:
    """Each clip is one sign."""
    raise NotImplementedError


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
