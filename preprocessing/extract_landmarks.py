"""Videos -> landmarks, one file per clip, with MediaPipe.

    python -m preprocessing.extract_landmarks --clips=clips.csv --videos=D --output=L --model_dir=M

Runs one worker process per core, or with --beam_runner an Apache Beam pipeline on many machines. Interrupted and
started again, it extracts only what is missing. L/report.csv has the result of every clip;
`preprocessing/extraction/store.py` describes the other files in L.
"""

import dataclasses
import os
from typing import Any

from absl import flags

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import model_files, video_files
from preprocessing.extraction import store as store_lib
from slr_jax import cli, errors, files
from slr_jax import landmarks as landmarks_lib


def _define_flags() -> None:
    flags.DEFINE_string('clips', None, 'Clips table.', required=True)
    video_files.define_flags()
    flags.adopt_module_key_flags(video_files)
    flags.DEFINE_string('output', None, 'Directory of landmarks; new, or one to continue.', required=True)
    flags.DEFINE_string('model_dir', None, "Directory of MediaPipe's model files.", required=True)
    flags.DEFINE_list('parts', ','.join(landmarker_lib.PARTS), 'What to extract, of hands and pose.')
    flags.DEFINE_enum(
        'running_mode',
        'image',
        list(landmarker_lib.RUNNING_MODES),
        'image: each frame by itself, as published; video: each clip tracked from its first frame, which is faster.',
    )
    flags.DEFINE_enum(
        'handedness',
        'signer',
        list(landmarks_lib.HANDEDNESS),
        "Whose hand is called right: the signer's own right hand (signer), or the left one, as the published weights "
        'need (swapped).',
    )
    flags.DEFINE_enum(
        'pose', 'full', list(model_files.POSE_MODELS), 'Pose model; the published landmarks are of heavy.'
    )
    for name, default, meaning in (
        ('min_detection_confidence', 0.5, 'to accept a detected hand or body'),
        ('min_presence_confidence', 0.1, 'that a hand is where it was found'),
        ('min_tracking_confidence', 0.5, 'to follow a hand or body into the next frame, in video mode'),
    ):
        flags.DEFINE_float(name, default, f'Least confidence, 0 to 1, {meaning}.', 0, 1)
    flags.DEFINE_integer(
        'num_workers', os.cpu_count(), 'Number of worker processes; default: one per core.', lower_bound=1
    )
    flags.DEFINE_float('time_limit', 600.0, 'Most seconds per clip.', lower_bound=0.1)
    flags.DEFINE_integer(
        'limit', None, 'Number of clips to take from the top of the table; default: all.', lower_bound=1
    )
    flags.DEFINE_enum(
        'beam_runner',
        None,
        ['DirectRunner', 'FlinkRunner', 'DataflowRunner'],
        'Runner of an Apache Beam pipeline; paths are then on any file system that Beam reads. It has options of its '
        'own instead of --num_workers and --time_limit.',
    )
    flags.DEFINE_string('beam_options', '', "Options of the Beam runner: '--direct_num_workers=4 …'.")
    flags.DEFINE_bool('require_all', False, 'Whether to stop where a video is missing, not to leave it out.')
    flags.DEFINE_integer(
        'tolerance',
        store_lib.DEFAULT_TOLERANCE,
        'Number of frames by which the end of a clip in the table may lie after the end of its video; such a clip has '
        'the frames that are there.',
        lower_bound=0,
    )


def main() -> None:
    """Extracts the clips of the table."""
    values = flags.FLAGS

    from preprocessing.extraction import run_local

    if values.beam_runner:
        from preprocessing.extraction import run_beam

    files.check_suffix(values.output)
    # Before anything is written; the workers need it.
    landmarker_lib.import_mediapipe()
    videos, kind = video_files.parse_flags(values)
    parts = tuple(part for part in landmarker_lib.PARTS if part in values.parts)
    if set(parts) != set(values.parts) or not parts:
        expected = ','.join(landmarker_lib.PARTS)
        raise errors.InputError(f'--parts={",".join(values.parts)}, expected some of {expected}')
    chosen = {field.name for field in dataclasses.fields(landmarker_lib.Options)} - {'parts', 'input'}
    settings: dict[str, Any] = {name: values[name].value for name in chosen}
    options = landmarker_lib.Options(parts, input=kind, **settings)
    clips = clips_lib.read_clips(values.clips)[: values.limit]
    given = (clips, videos, values.output, values.model_dir, options)
    if values.beam_runner:
        beam = (values.beam_runner, values.beam_options)
        rows = run_beam.extract(*given, *beam, require_all=values.require_all, tolerance=values.tolerance)
    else:
        rows = run_local.extract(
            *given,
            num_workers=values.num_workers,
            time_limit=values.time_limit,
            require_all=values.require_all,
            tolerance=values.tolerance,
        )
    print(store_lib.summary(rows))
    store_lib.require_done(rows, values.output)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
