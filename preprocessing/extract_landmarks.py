"""Videos -> landmarks, one file a clip, with MediaPipe.

    python -m preprocessing.extract_landmarks --clips=clips.csv --videos=D --output=L --model_dir=M

Runs a worker process a core, or with --beam_runner an Apache Beam pipeline on many machines. Stopped at any point and
started again, it does only what is missing. At the end L/report.csv tells of every clip. `preprocessing/extraction.py`
says what L holds.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import functools
import os
import types

from absl import flags
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing.extraction import clip_extractor, worker_pool
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import store as store_lib
from slr_jax import cli, errors
from slr_jax import landmarks as landmarks_lib
from slr_jax.progress import Progress


def start_worker(options: landmarker_lib.Options, model_dir: str, directory: str) -> worker_pool.Work:
    """What a worker process does: clips of one video -> their landmarks."""
    extractor = clip_extractor.Extractor(options, landmarker_lib.read_models(model_dir, options))

    def work(clips: Sequence[clips_lib.Clip]) -> Iterator[np.ndarray | worker_pool.Failure]:
        return extractor.extract(clips, store_lib.path_of(clips[0], directory, options.input))

    return work


def extract(
    clips: Sequence[clips_lib.Clip],
    videos: str,
    output: str,
    model_dir: str,
    options: landmarker_lib.Options,
    *,
    num_workers: int = 1,
    time_limit: float = 600.0,
    require_all: bool = False,
) -> list[store_lib.Row]:
    """Extracts the clips that `output` lacks, and writes its report.

    Args:
        clips: of the clips table.
        videos: directory of the videos, or of the folders of frames.
        output: directory of landmarks, new or begun with the same options.
        model_dir: directory of MediaPipe's model files.
        options: how to extract.
        num_workers: processes.
        time_limit: seconds a clip.
        require_all: a missing video is an error, before anything is extracted.

    Returns:
        The rows of the report, in the order of `clips`.

    Raises:
        InputError: models are missing, or videos where all are required, or `output` is of another kind.
    """
    if not os.path.isdir(videos):
        raise errors.InputError(f'{videos} is no directory, expected one of {options.input}')
    models = landmarker_lib.read_models(model_dir, options)
    missing = [clip for clip in clips if not os.path.exists(store_lib.path_of(clip, videos, options.input))]
    if require_all:
        store_lib.check_none_missing(clips, missing, videos)
    with store_lib.Directory.open(output, options.describe(models)) as directory:
        rows = {clip: store_lib.missing_row(clip) for clip in missing}
        for clip in clips:
            landmarks = None if clip in rows else directory.load(clip)
            if landmarks is not None:
                rows[clip] = store_lib.done_row(clip, landmarks)
        to_do = [clip for clip in clips if clip not in rows]
        print(f'{len(clips)} clips: {len(clips) - len(to_do)} done or missing, {len(to_do)} to do', flush=True)
        progress = Progress('clips', len(to_do))
        start = functools.partial(start_worker, options, model_dir, videos)
        for clip, result in worker_pool.run(clip_extractor.by_video(to_do), start, num_workers, time_limit):
            if isinstance(result, worker_pool.Failure):
                rows[clip] = store_lib.failed_row(clip, result.reason)
                progress.add(0, f'{clip.video_id}: {result.reason}')
            else:
                directory.save(clip, result)
                rows[clip] = store_lib.done_row(clip, result)
                progress.add(len(result))
        report = [rows[clip] for clip in clips]
        directory.save_report(report)
    return report


def _define_flags() -> None:
    flags.DEFINE_string('clips', None, 'The clips table.', required=True)
    flags.DEFINE_string('videos', None, 'Directory of the videos that the table names.')
    flags.DEFINE_string('frames', None, 'Instead of --videos: directory with a folder of frames a video.')
    flags.DEFINE_string('output', None, 'Directory of landmarks; new, or one to go on with.', required=True)
    flags.DEFINE_string('model_dir', None, "Directory of MediaPipe's model files.", required=True)
    flags.DEFINE_list('parts', ','.join(landmarker_lib.PARTS), f'What to find, of {",".join(landmarker_lib.PARTS)}.')
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
        "Names of the hands: the signer's own right and left (signer), or the two swapped, as the published weights "
        'need (swapped).',
    )
    flags.DEFINE_enum('pose', 'full', list(landmarker_lib.POSE_MODELS), 'Which pose model; heavy is the published one.')
    flags.DEFINE_float('min_detection_confidence', 0.5, 'Of finding a hand or body.', 0, 1)
    flags.DEFINE_float('min_presence_confidence', 0.1, 'Of a hand being where it was found.', 0, 1)
    flags.DEFINE_float('min_tracking_confidence', 0.5, 'Of following it into the next frame, in video mode.', 0, 1)
    flags.DEFINE_integer('num_workers', os.cpu_count(), 'Worker processes; by default one a core.', lower_bound=1)
    flags.DEFINE_float('time_limit', 600.0, 'Seconds a clip may take.', lower_bound=0.1)
    flags.DEFINE_integer('limit', None, 'Take only the first clips of the table.', lower_bound=1)
    flags.DEFINE_enum(
        'beam_runner',
        None,
        ['DirectRunner', 'FlinkRunner', 'DataflowRunner'],
        'Run as an Apache Beam pipeline; paths are then on any file system that Beam reads. Instead of --num_workers '
        'and --time_limit the runner has options of its own.',
    )
    flags.DEFINE_string('beam_options', '', "The runner's options: '--direct_num_workers=4 …'.")
    flags.DEFINE_bool('require_all', False, 'Stop where a video is missing, instead of going on without it.')


def main() -> None:
    """Extracts the clips of the table."""
    values = flags.FLAGS
    if bool(values.videos) == bool(values.frames):
        raise errors.InputError('either --videos or --frames must be given')
    parts = tuple(part for part in landmarker_lib.PARTS if part in values.parts)
    if set(parts) != set(values.parts) or not parts:
        given = ','.join(values.parts)
        raise errors.InputError(f'--parts={given}, expected some of {",".join(landmarker_lib.PARTS)}')
    chosen = {field.name for field in dataclasses.fields(landmarker_lib.Options)} - {'parts', 'input'}
    options = landmarker_lib.Options(
        parts, input='frames' if values.frames else 'videos', **{name: values[name].value for name in chosen}
    )
    clips = clips_lib.read_clips(values.clips)[: values.limit]
    paths = (values.videos or values.frames, values.output, values.model_dir)
    if values.beam_runner:
        rows = _import_run_beam().extract(
            clips, *paths, options, values.beam_runner, values.beam_options, require_all=values.require_all
        )
    else:
        rows = extract(
            clips,
            *paths,
            options,
            num_workers=values.num_workers,
            time_limit=values.time_limit,
            require_all=values.require_all,
        )
    print(store_lib.summary(rows))
    if not any(row['status'] == 'done' for row in rows):
        raise errors.InputError(f'no clip could be extracted; {values.output}/{store_lib.REPORT} says why')


def _import_run_beam() -> types.ModuleType:
    try:
        from preprocessing.extraction import run_beam
    except ModuleNotFoundError as error:
        raise errors.InputError(f"{error}: pip install 'slr_jax[beam]' brings it") from error
    return run_beam


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
