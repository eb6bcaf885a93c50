"""How fast landmarks are extracted, compared with MediaPipe's own calls, and how it scales with workers.

    python -m experiments.extraction_speed --videos=D --model_dir=M [--output=speed.csv]

On an otherwise idle machine. Four measurements: seconds per frame of the per-clip function, which reads the video,
divided by those of MediaPipe's calls alone on frames in memory, in turn in this process; seconds to read a video
divided by those of OpenCV, on one core each; seconds of a run with one worker divided by those with --num_workers,
start included; and this process's memory over 100 clips. Speeds are also given in seconds of video per second.
"""

from collections import deque
from collections.abc import Callable, Sequence
import os
import statistics
import tempfile
import time

from absl import flags
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import model_files, video_files
from slr_jax import cli, files

_MEMORY_CLIPS = 100
_MEMORY_FRAMES = 10
_DEFAULT_FPS = 25.0


def _make_clips(names: Sequence[str], copies: int = 1, frame_end: int = clips_lib.TO_THE_END) -> list[clips_lib.Clip]:
    return [
        clips_lib.Clip(f'{os.path.basename(name)}_{copy}', name, 0, 'sign', 'train', frame_end=frame_end)
        for copy in range(copies)
        for name in names
    ]


def _measure_reading(path: str) -> float:
    """Seconds of this process to read a video, divided by OpenCV's; the least of five each, in turn."""
    import cv2

    from preprocessing.extraction import video

    def read_here() -> None:
        deque(video.read_frames(path, lambda number: True, None), maxlen=0)

    def read_with_opencv() -> None:
        opened = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        while (found := opened.read())[0]:
            cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB)

    seconds: dict[Callable[[], None], list[float]] = {read_here: [], read_with_opencv: []}
    for _ in range(5):
        for read, measured in seconds.items():
            start = time.process_time()
            read()
            measured.append(time.process_time() - start)
    return min(seconds[read_here]) / min(seconds[read_with_opencv])


def _measure_frames(videos: str, names: Sequence[str], options: landmarker_lib.Options, models: dict) -> list[dict]:
    from preprocessing.extraction import clip_extractor, video

    extractor = clip_extractor.Extractor(options, models)
    num_people = 1 if options.running_mode == 'video' else landmarker_lib.MOST_PEOPLE
    rows = []
    for clip in _make_clips(names):
        path = os.path.join(videos, clip.file)
        frames = [frame for _, frame in video.read_frames(path, lambda number: True, None)]
        landmarker = landmarker_lib.Landmarker(options, models, num_people)
        start = time.perf_counter()
        for number, frame in enumerate(frames):
            landmarker.run(frame, 40 * number)
        between = time.perf_counter()
        landmarker.close()
        list(extractor.extract((clip,), path))
        alone, ours = between - start, time.perf_counter() - between
        rows.append(
            {
                'video': clip.file,
                'frames': len(frames),
                'seconds': round(len(frames) / (video.frames_per_second(path) or _DEFAULT_FPS), 3),
                'mediapipe_ms': round(1000 * alone / len(frames), 2),
                'ours_ms': round(1000 * ours / len(frames), 2),
                'ratio': round(ours / alone, 3),
                'reading_ratio': round(_measure_reading(path), 2),
            }
        )
        print(rows[-1], flush=True)
    extractor.close()
    return rows


def _measure_workers(
    videos: str, names: Sequence[str], options: landmarker_lib.Options, num_workers: int
) -> dict[int, float]:
    """Seconds of a run with one worker, and with several."""
    from preprocessing.extraction import run_local

    clips = _make_clips(names, flags.FLAGS.copies)
    seconds = {}
    for count in (1, num_workers):
        with tempfile.TemporaryDirectory() as scratch:
            start = time.perf_counter()
            run_local.extract(
                [*clips], videos, os.path.join(scratch, 'landmarks'), flags.FLAGS.model_dir, options, num_workers=count
            )
            seconds[count] = time.perf_counter() - start
    return seconds


def _measure_memory(videos: str, name: str, options: landmarker_lib.Options, models: dict) -> list[float]:
    """Megabytes of this process after each of 100 clips of a few frames."""
    from preprocessing.extraction import clip_extractor

    extractor = clip_extractor.Extractor(options, models)
    megabytes = []
    for clip in _make_clips([name], _MEMORY_CLIPS, _MEMORY_FRAMES):
        list(extractor.extract((clip,), os.path.join(videos, name)))
        with open('/proc/self/statm', encoding='ascii') as file:
            megabytes.append(int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6)
    extractor.close()
    return megabytes


def _define_flags() -> None:
    flags.DEFINE_string('videos', None, 'Directory of videos.', required=True)
    flags.DEFINE_string('model_dir', None, "Directory of MediaPipe's model files.", required=True)
    flags.DEFINE_enum(
        'running_mode',
        'image',
        list(landmarker_lib.RUNNING_MODES),
        'How MediaPipe runs: image, each frame by itself; video, each clip tracked from its first frame.',
    )
    flags.DEFINE_list('parts', ','.join(landmarker_lib.PARTS), 'What to extract, of hands and pose.')
    flags.DEFINE_integer('num_workers', 2, 'Number of worker processes that is compared with one.', lower_bound=2)
    flags.DEFINE_integer(
        'copies', 3, 'Number of times that each video is extracted when workers are compared.', lower_bound=1
    )
    flags.DEFINE_string('output', None, 'CSV file for the first measurement; default: none is written.')


def main() -> None:
    """Measures and prints."""
    values = flags.FLAGS
    if values.output:
        files.check_suffix(values.output, '.csv')
    landmarker_lib.import_mediapipe()
    names = video_files.find_videos(values.videos)
    options = landmarker_lib.Options(parts=tuple(values.parts), running_mode=values.running_mode)
    models = model_files.read_models(values.model_dir, options.model_files)
    by_workers = _measure_workers(values.videos, names, options, values.num_workers)
    memory = _measure_memory(values.videos, names[0], options, models)
    rows = _measure_frames(values.videos, names, options, models)
    frames = sum(row['frames'] for row in rows)
    ours, alone = (sum(row[name] * row['frames'] for row in rows) / frames for name in ('ours_ms', 'mediapipe_ms'))
    ratios = [row['ratio'] for row in rows]
    print(f'{ours:.1f} ms per frame, MediaPipe alone {alone:.1f}: {ours / alone:.3f} ×', end=' ')
    print(f'(median of videos {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f})')
    reading = [row['reading_ratio'] for row in rows]
    print(f'reading against OpenCV: median {statistics.median(reading):.2f} ×, {min(reading)} to {max(reading)}')
    speedup = by_workers[1] / by_workers[values.num_workers]
    print(f'{values.num_workers} workers against 1: {speedup:.2f} × over {values.copies * frames} frames')
    per_frame = sum(row['seconds'] for row in rows) / frames
    print(f'seconds of video per second: {1000 * per_frame / ours:.2f}, MediaPipe alone', end=' ')
    print(f'{1000 * per_frame / alone:.2f}; start included', end=' ')
    whole = values.copies * frames * per_frame
    print(', '.join(f'{whole / seconds:.2f} with {count} workers' for count, seconds in by_workers.items()))
    after = (1, 10, _MEMORY_CLIPS // 2, _MEMORY_CLIPS)
    print('megabytes after clips:', ', '.join(f'{count}: {memory[count - 1]:.0f}' for count in after))
    print(f'rise over the last half: {np.polyfit(range(50), memory[-50:], 1)[0]:.3f} megabytes per clip')
    if values.output:
        files.write_csv(values.output, rows)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
