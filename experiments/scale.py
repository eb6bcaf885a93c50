"""How time and memory grow with the number of clips and classes.

    python -m experiments.scale [--quick] [--only=extraction,dataset,classes] [--output_dir=scale]

On a machine that does nothing else. Writes a CSV file of each table, and scale.md with all of them.

extraction: 10,000 clips of made videos, ten of each, through workers, PyAV and the directory of landmarks as
`extract_landmarks` has them; only MediaPipe is replaced, by a function that takes no time. Memory as clips are done;
and, with nine tenths done, how long a run that was killed takes to its next clip.

dataset: 12,000 clips with 825,000 frames of 2,000 classes, through the commands build_dataset, train (one epoch of a
small transformer with the default input), evaluate and predict (of the test clips), each in a process of its own.
classes: the same with 300 and 1,000 classes as well, six clips of each. Beside time and memory is how they grew from
the first number of clips, divided by how the clips did: above 1 is more than in proportion.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import csv
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from typing import Any
from unittest import mock
import zipfile

from absl import flags
import numpy as np

from configs import default
from experiments import markdown
from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import model_files
from preprocessing.extraction import store as store_lib
from slr_jax import cli, errors, files
from slr_jax import landmarks as landmarks_lib

_PARTS = ('extraction', 'dataset', 'classes')
_CLIPS_PER_VIDEO, _FRAMES_PER_CLIP = 10, 4
_SECONDS_BETWEEN_LOOKS = 0.05
_CLIPS_PER_CLASS = {'train': 4, 'validation': 1, 'test': 1}
# Frames of a clip, 68.75 in the mean.
_FEWEST_FRAMES, _MOST_FRAMES = 38.0, 99.5
_LAYOUT = landmarks_lib.LAYOUTS['mediapipe_hands_pose']

Row = dict[str, Any]
_spawn = multiprocessing.get_context('spawn')


# --- Extraction


class _FakeLandmarker:
    """Finds one body and its right hand in every frame, in no time."""

    def __init__(self, options: landmarker_lib.Options, models: Mapping[str, bytes], num_people: int = 1) -> None:
        del options, models, num_people
        self._body = np.random.default_rng(0).random((33, 3), np.float32)
        self._hand = np.repeat(self._body[16:17], 21, axis=0)

    def find(self, frame: np.ndarray, milliseconds: int) -> landmarker_lib.Found:
        del milliseconds
        height, width = frame.shape[:2]
        return landmarker_lib.Found(width, height, [self._body], [('right', 1.0, self._hand)])

    def close(self) -> None:
        pass


def _start_worker(*args: Any) -> Any:
    """As run_local.start_worker, with the fake."""
    from preprocessing.extraction import run_local

    mock.patch.object(landmarker_lib, 'Landmarker', _FakeLandmarker).start()
    return run_local.start_worker(*args)


def _clips(num_clips: int) -> list[clips_lib.Clip]:
    clips = []
    for number in range(num_clips):
        video, place = divmod(number, _CLIPS_PER_VIDEO)
        start = place * _FRAMES_PER_CLIP + 1
        end = start + _FRAMES_PER_CLIP - 1
        clips.append(
            clips_lib.Clip(f'clip_{number:05d}', f'{video}.mp4', 0, 'sign', 'train', frame_start=start, frame_end=end)
        )
    return clips


def _make_videos(directory: str, num_videos: int) -> None:
    """Five small videos, the others links to them; and files that are taken for MediaPipe's models."""
    import av

    os.makedirs(os.path.join(directory, 'videos'))
    for number in range(num_videos):
        path = os.path.join(directory, 'videos', f'{number}.mp4')
        if number >= 5:
            os.link(os.path.join(directory, 'videos', f'{number % 5}.mp4'), path)
            continue
        with av.open(path, 'w') as output:
            stream = output.add_stream('mpeg4', rate=25)
            stream.width, stream.height = 64, 48
            for level in range(_CLIPS_PER_VIDEO * _FRAMES_PER_CLIP):
                picture = np.full((48, 64, 3), 5 * level + number, np.uint8)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
            output.mux(stream.encode(None))
    os.makedirs(os.path.join(directory, 'models'))
    for part, members in model_files.BUNDLE_MEMBERS.items():
        name = landmarker_lib.Options().model_files[part]
        with zipfile.ZipFile(os.path.join(directory, 'models', name), 'w') as bundle:
            for member in members:
                bundle.writestr(member, b'')


def extract(directory: str, num_clips: int, num_workers: int) -> None:
    """Extracts the clips of a directory that `measure_extraction` made, with the fake."""
    from preprocessing.extraction import run_local

    videos, output, models = (os.path.join(directory, name) for name in ('videos', 'landmarks', 'models'))
    options = landmarker_lib.Options()
    with mock.patch.object(run_local, 'start_worker', _start_worker):
        run_local.extract(_clips(num_clips), videos, output, models, options, num_workers=num_workers)


def _count(directory: str) -> int:
    """Clips that are done."""
    try:
        return sum(name.endswith('.npz') for name in os.listdir(os.path.join(directory, 'landmarks')))
    except FileNotFoundError:
        return 0


def _megabytes(pid: int) -> float:
    with open(f'/proc/{pid}/statm', encoding='ascii') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6


def _memory(pid: int) -> tuple[float, float]:
    """Megabytes of a process, and of its largest child."""
    with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as file:
        children = file.read().split()
    return _megabytes(pid), max((_megabytes(int(child)) for child in children), default=0.0)


class _Extraction:
    """A run of the extraction, looked at from outside."""

    def __init__(self, directory: str, num_clips: int, num_workers: int) -> None:
        self._directory, self._peak = directory, (0.0, 0.0)
        self._start = time.perf_counter()
        self._process = _spawn.Process(target=extract, args=(directory, num_clips, num_workers))
        self._process.start()

    def wait_for(self, num_clips: int) -> Row:
        """Waits until so many clips are done; clips, seconds since the start, and the peaks of memory so far."""
        while True:
            is_alive, done = self._process.is_alive(), _count(self._directory)
            # A process may end while it is looked at.
            with contextlib.suppress(OSError, IndexError):
                parent, worker = _memory(self._process.pid or 0)
                self._peak = max(self._peak[0], parent), max(self._peak[1], worker)
            if done >= num_clips:
                seconds = time.perf_counter() - self._start
                row = {'clips done': done, 'seconds': round(seconds, 2)}
                names = ('parent, MB', 'largest worker, MB')
                return row | {name: round(peak, 1) for name, peak in zip(names, self._peak, strict=True)}
            if not is_alive:
                raise errors.InputError(f'the extraction ended with {done} clips, expected {num_clips}')
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def kill(self) -> None:
        """Kills it, and lets its workers notice."""
        self._process.kill()
        self._process.join()
        time.sleep(1)

    def finish(self) -> None:
        """Waits for its end; InputError where it failed."""
        self._process.join()
        if self._process.exitcode:
            raise errors.InputError(f'the extraction ended with status {self._process.exitcode}')


def _check_report(directory: str, num_clips: int) -> None:
    with open(os.path.join(directory, 'landmarks', store_lib.REPORT), encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    done = {row['video_id'] for row in rows if row['status'] == 'done'}
    if len(rows) != num_clips or done != {clip.video_id for clip in _clips(num_clips)}:
        raise errors.InputError(
            f'{store_lib.REPORT} has {len(rows)} rows, {len(done)} clips done, expected {num_clips}'
        )


def _remove_after(directory: str, num_clips: int, num_done: int) -> None:
    """Removes the report, and the landmarks of all clips but the first."""
    for name in (store_lib.REPORT, *(f'{clip.video_id}.npz' for clip in _clips(num_clips)[num_done:])):
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(directory, 'landmarks', name))


def measure_extraction(directory: str, num_clips: int, num_workers: int = 2) -> tuple[list[Row], list[Row]]:
    """Extracts clips in an empty directory; and after a kill, with nine tenths of them done, goes on.

    Returns:
        Rows of memory by clips done, ten of them; and of the seconds to the next clip, without and with clips done.

    Raises:
        InputError: a run failed, or its report lacks clips.
    """
    _make_videos(directory, -(-num_clips // _CLIPS_PER_VIDEO))
    run = _Extraction(directory, num_clips, num_workers)
    first = run.wait_for(1)
    rows = []
    for tenth in range(1, 11):
        rows.append(run.wait_for(num_clips * tenth // 10))
        _print(rows[-1])
    run.finish()
    _check_report(directory, num_clips)
    done = num_clips - num_clips // 10
    _remove_after(directory, num_clips, done)
    run = _Extraction(directory, num_clips, num_workers)
    run.wait_for(done + 1)
    run.kill()
    _remove_after(directory, num_clips, done)
    run = _Extraction(directory, num_clips, num_workers)
    next_one = run.wait_for(done + 1)
    run.finish()
    _check_report(directory, num_clips)
    starts = [
        {'clips done before': number, 'seconds to the next clip': row['seconds']}
        for number, row in ((0, first), (done, next_one))
    ]
    for row in starts:
        _print(row)
    return rows, starts


# --- Datasets


def _lengths(num_clips: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(np.linspace(_FEWEST_FRAMES, _MOST_FRAMES, num_clips).round().astype(int))


def make_archive(path: str, num_classes: int) -> None:
    """Writes a landmark archive of six clips of each class: a posture of the class, and noise.

    In every tenth frame no hand is seen. The same numbers each time.
    """
    rng = np.random.default_rng(num_classes)
    labels = np.repeat(np.arange(num_classes), sum(_CLIPS_PER_CLASS.values()))
    lengths = _lengths(len(labels), rng)
    frames = rng.standard_normal((lengths.sum(), _LAYOUT.num_points, 3), np.float32)
    frames *= 0.02
    frames += (
        rng.uniform(0.2, 0.8, (num_classes, _LAYOUT.num_points, 3)).astype(np.float32)[labels].repeat(lengths, axis=0)
    )
    frames[::10, [point for hand in _LAYOUT.hands for point in hand]] = np.nan
    np.savez(
        path,
        frames=frames,
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        label=labels,
        label_names=np.array([f'sign_{label:04d}' for label in range(num_classes)]),
        split=np.array([split for split, count in _CLIPS_PER_CLASS.items() for _ in range(count)] * num_classes),
        video_id=np.array([f'clip_{number:05d}' for number in range(len(labels))]),
        signer_id=np.arange(len(labels)) % 100,
        layout=np.array(_LAYOUT.name),
        allow_pickle=False,
    )


def _in_own_process(function: Callable[..., None], *args: Any) -> None:
    """Calls a function in a process of its own: the peak of a command counts what its parent had in memory, too."""
    process = _spawn.Process(target=function, args=args)
    process.start()
    process.join()
    if process.exitcode:
        raise errors.InputError(f'{function.__name__} ended with status {process.exitcode}')


def _commands(directory: str) -> dict[str, list[str]]:
    dataset, workdir = os.path.join(directory, 'data', 'scale'), os.path.join(directory, 'run')
    fields = {'dataset': dataset, 'num_epochs': 1, 'num_layers': 1, 'mlp_dim': 64, 'batch_size': 32}
    return {
        'build_dataset': [
            'preprocessing.build_dataset',
            '--source=npz',
            f'--input={directory}/archive.npz',
            '--name=scale',
            f'--data_dir={directory}/data',
        ],
        'train': [
            'slr_jax.train',
            f'--config={os.path.abspath(default.__file__)}',
            *(f'--config.{field}={value}' for field, value in fields.items()),
            f'--workdir={workdir}',
        ],
        'evaluate': ['slr_jax.evaluate', f'--workdir={workdir}'],
        'predict': ['slr_jax.predict', f'--workdir={workdir}', f'--landmarks={dataset}', '--split=test'],
    }


def _measure_command(command: Sequence[str], directory: str) -> Row:
    """Seconds and the peak of the memory of a command; InputError where it fails."""
    environment = os.environ | {'JAX_COMPILATION_CACHE_DIR': os.path.join(directory, 'cache')}
    start = time.perf_counter()
    with (
        open(os.path.join(directory, 'output.txt'), 'wb') as output,
        subprocess.Popen([sys.executable, '-m', *command], env=environment, stdout=output) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise errors.InputError(f'{command[0]} ended with status {process.returncode}')
    return {'seconds': round(time.perf_counter() - start, 1), 'peak memory, MB': round(usage.ru_maxrss / 1024)}


def measure_dataset(directory: str, num_classes: int) -> Iterator[Row]:
    """Makes an archive in an empty directory, and runs the commands on it; a row for each."""
    _in_own_process(make_archive, os.path.join(directory, 'archive.npz'), num_classes)
    num_clips = num_classes * sum(_CLIPS_PER_CLASS.values())
    num_frames = int(_lengths(num_clips, np.random.default_rng(num_classes)).sum())
    for name, command in _commands(directory).items():
        sizes = {'command': name, 'classes': num_classes, 'clips': num_clips, 'frames': num_frames}
        row = sizes | _measure_command(command, directory)
        _print(row)
        yield row


def add_growth(rows: Sequence[Row]) -> list[Row]:
    """Adds to each row how seconds and memory grew from the first of its command, divided by how the clips did."""
    first: dict[str, Row] = {}
    found = []
    for row in sorted(rows, key=lambda row: list(_commands('')).index(row['command'])):
        base = first.setdefault(row['command'], row)
        clips = row['clips'] / base['clips']
        growth = {
            f'{column}, growth / proportional': round(row[column] / base[column] / clips, 2)
            for column in ('seconds', 'peak memory, MB')
        }
        found.append(row | growth)
    return found


# --- The command


def _print(row: Row) -> None:
    print(', '.join(f'{column} {value}' for column, value in row.items()), flush=True)


def _write(output_dir: str, tables: Mapping[str, Sequence[Row]]) -> None:
    with files.replace_files_in(output_dir) as scratch:
        for name, rows in tables.items():
            files.write_csv(os.path.join(scratch, f'{name}.csv'), rows)
        with files.atomic_write(os.path.join(scratch, 'scale.md')) as file:
            file.write('\n'.join(f'{name}\n\n{markdown.record_table(rows)}' for name, rows in tables.items()))


def _define_flags() -> None:
    flags.DEFINE_bool('quick', False, 'Whether less is measured: 200 clips, and 30, 100 and 200 classes.')
    flags.DEFINE_list('only', ','.join(_PARTS), f'What is measured, of {", ".join(_PARTS)}.')
    flags.DEFINE_integer('num_workers', 2, 'Number of worker processes of the extraction.', lower_bound=1)
    flags.DEFINE_string('output_dir', 'scale', 'Where the CSV files and scale.md are written.')


def main() -> None:
    """Measures as the flags say."""
    values = flags.FLAGS
    unknown = sorted(set(values.only) - set(_PARTS))
    if unknown or not values.only:
        raise errors.InputError(f'--only is {",".join(values.only)!r}, expected some of {", ".join(_PARTS)}')
    tables: dict[str, list[Row]] = {}
    if 'extraction' in values.only:
        with tempfile.TemporaryDirectory() as scratch:
            num_clips = 200 if values.quick else 10_000
            tables['extraction'], tables['restart'] = measure_extraction(scratch, num_clips, values.num_workers)
        _write(values.output_dir, tables)
    sizes = (30, 100, 200) if values.quick else (300, 1000, 2000)
    rows: list[Row] = []
    for num_classes in sizes if 'classes' in values.only else sizes[-1:] * ('dataset' in values.only):
        with tempfile.TemporaryDirectory() as scratch:
            for row in measure_dataset(scratch, num_classes):
                rows.append(row)
                tables['dataset'] = add_growth(rows)
                _write(values.output_dir, tables)
    print(f'written to {values.output_dir}')


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
