"""The extraction in worker processes of this machine."""

from collections.abc import Iterator, Sequence
import functools
import os

from preprocessing import clips as clips_lib
from preprocessing.extraction import clip_extractor, model_files, people, video_files, worker_pool
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import store as store_lib
from slr_jax import errors
from slr_jax.progress import Progress


def start_worker(
    options: landmarker_lib.Options, model_dir: str, videos: str, store: store_lib.LandmarkStore
) -> worker_pool.Work:
    """Returns what a worker process does: clips of one video -> their rows of the report."""
    extractor = clip_extractor.Extractor(options, model_files.read_models(model_dir, options.model_files))

    def work(clips: Sequence[clips_lib.Clip]) -> Iterator[store_lib.Row]:
        path = video_files.video_path(clips[0], videos, options.input)
        return clip_extractor.extract_video(clips, store, extractor, lambda: path)

    return work


def start_worker_in_memory(options: landmarker_lib.Options, model_dir: str, videos: str) -> worker_pool.Work:
    """As `start_worker`, for clips -> their landmarks, or why there are none."""
    extractor = clip_extractor.Extractor(options, model_files.read_models(model_dir, options.model_files))
    return lambda clips: extractor.extract(clips, video_files.video_path(clips[0], videos, options.input))


def extract_in_memory(
    clips: Sequence[clips_lib.Clip],
    videos: str,
    model_dir: str,
    options: landmarker_lib.Options,
    num_workers: int = 1,
    time_limit: float = 600.0,
) -> Iterator[tuple[clips_lib.Clip, people.Extracted | worker_pool.Failure]]:
    """Extracts clips without writing them; reports how far it is.

    Args:
        clips: what to extract.
        videos: see `extract`, as for the other arguments; '' where clips have whole paths.
        model_dir: directory of MediaPipe's model files.
        options: how to extract.
        num_workers: processes.
        time_limit: seconds per clip.

    Yields:
        Each clip and its landmarks, or why there are none, as they come.

    Raises:
        InputError: models are missing, or no worker can start.
    """
    progress = Progress('clips', len(clips))
    start = functools.partial(start_worker_in_memory, options, model_dir, videos)
    for clip, result in worker_pool.run_tasks(clip_extractor.group_by_video(clips), start, num_workers, time_limit):
        failed = isinstance(result, worker_pool.Failure)
        progress.add(0 if failed else len(result.landmarks), f'{clip.video_id}: {result.reason}' if failed else '')
        yield clip, result


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
    tolerance: int = store_lib.DEFAULT_TOLERANCE,
) -> list[store_lib.Row]:
    """Extracts the clips that `output` lacks, and writes its report.

    Args:
        clips: of the clips table.
        videos: directory of the videos, or of the folders of frames.
        output: directory of landmarks, new or begun with the same options.
        model_dir: directory of MediaPipe's model files.
        options: how to extract.
        num_workers: processes.
        time_limit: seconds per clip.
        require_all: a missing video is an error, before anything is extracted.
        tolerance: frames that a clip may lack at the end of its video; it then has those that are there.

    Returns:
        The rows of the report, in the order of `clips`.

    Raises:
        InputError: models are missing, or videos where all are required, or `output` is of another kind.
    """
    if not os.path.isdir(videos):
        raise errors.InputError(f'{videos} is not a directory, expected one of {options.input}')
    models = model_files.read_models(model_dir, options.model_files)
    missing = [clip for clip in clips if not os.path.exists(video_files.video_path(clip, videos, options.input))]
    if require_all:
        store_lib.require_videos(clips, missing, videos)
    with store_lib.open_store(output, options.describe(models), tolerance) as store:
        rows = {clip: store_lib.missing_row(clip) for clip in missing}
        for clip in clips:
            found = None if clip in rows else store.read_clip(clip)
            if found is not None:
                rows[clip] = store_lib.done_row(clip, found.landmarks, found.hands_given_up, found.frame_size)
        to_do = [clip for clip in clips if clip not in rows]
        print(f'{len(clips)} clips: {len(clips) - len(to_do)} done or missing, {len(to_do)} to do', flush=True)
        progress = Progress('clips', len(to_do))
        start = functools.partial(start_worker, options, model_dir, videos, store)
        for clip, result in worker_pool.run_tasks(clip_extractor.group_by_video(to_do), start, num_workers, time_limit):
            failed = isinstance(result, worker_pool.Failure)
            row = rows[clip] = store_lib.failed_row(clip, result.reason) if failed else result
            progress.add(
                row['frames'], f'{clip.video_id}: {row["reason"]}' if row['status'] in ('failed', 'missing') else ''
            )
        report = [rows[clip] for clip in clips]
        store_lib.note_seldom_seen(report, options.parts)
        store.save_report(report)
    return report
