"""Writes the frames of videos as images; a folder is written whole or not at all."""

from collections.abc import Iterator, Sequence
import functools
import os
import shutil

import cv2

from preprocessing.extraction import video, video_files, worker_pool
from slr_jax import errors, files
from slr_jax.progress import Progress


def start_worker(videos: str, output_dir: str, quality: int) -> worker_pool.Work:
    """Returns what a worker process does: a list of videos -> the number of frames of each."""

    def work(names: Sequence[str]) -> Iterator[int | worker_pool.Failure]:
        for name in names:
            try:
                yield _write_frames(os.path.join(videos, name), output_dir, os.path.splitext(name)[0], quality)
            except video.VideoError as error:
                yield worker_pool.Failure(str(error))

    return work


def _write_frames(path: str, output_dir: str, name: str, quality: int) -> int:
    temporary, folder = os.path.join(output_dir, files.UNFINISHED, name), os.path.join(output_dir, name)
    shutil.rmtree(temporary, ignore_errors=True)
    os.makedirs(temporary)
    number = 0
    for number, frame in video.read_frames(path, lambda number: True, None):
        image = os.path.join(temporary, f'{os.path.basename(name)}_{number:06d}.jpg')
        options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality(quality)]
        if not cv2.imwrite(image, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options):
            raise errors.InputError(f'{folder}: frame {number} cannot be written')
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    os.rename(temporary, folder)
    return number


def jpeg_quality(scale: int) -> int:
    """JPEG quality (0 to 100) that is close to ffmpeg's -qscale:v (2 best, 31 worst)."""
    return 100 - 3 * scale


def extract(videos: str, output_dir: str, quality: int, num_workers: int, time_limit: float) -> None:
    """Writes the frames of every video below a directory.

    Raises:
        InputError: there are no videos, or the disk is full.
    """
    names = video_files.find_videos(videos)
    folders = [os.path.splitext(name)[0] for name in names]
    duplicate = next((folder for folder in folders if folders.count(folder) > 1), None)
    if duplicate:
        raise errors.InputError(f'{videos} holds two videos named {duplicate}, expected one per folder of frames')
    files.make_directories(output_dir)
    to_do = [name for name, folder in zip(names, folders, strict=True) if not os.path.isdir(f'{output_dir}/{folder}')]
    print(f'{len(names)} videos: {len(names) - len(to_do)} done, {len(to_do)} to do', flush=True)
    progress = Progress('videos', len(to_do))
    start = functools.partial(start_worker, videos, output_dir, quality)
    with files.unfinished_in(output_dir):
        for name, result in worker_pool.run_tasks([[name] for name in to_do], start, num_workers, time_limit):
            if isinstance(result, worker_pool.Failure):
                progress.add(0, f'{name}: {result.reason}')
            else:
                progress.add(result)
