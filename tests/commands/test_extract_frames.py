"""The command that writes the frames of videos."""

import os
import subprocess
import sys

import pytest

pytest.importorskip('cv2')

import cv2
import numpy as np

from preprocessing.extraction import frame_files, video
from tests.conftest import ROOT

CUT = 'the video is truncated: it ends after 27 frames (FFmpeg: Packet corrupt (stream = 0, dts = 2600).)'


def write_video(path, num_frames):
    """Frame i is grey level 8 i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 25, (64, 48))
    for number in range(1, num_frames + 1):
        writer.write(np.full((48, 64, 3), 8 * number, np.uint8))
    writer.release()


@pytest.fixture
def videos(tmp_path):
    path = tmp_path / 'videos'
    write_video(path / 'a.avi', 3)
    write_video(path / 'b.c.avi', 1)
    write_video(path / 'book' / 'anna' / 'a.avi', 5)
    write_video(path / 'book' / 'ben 1.avi', 2)
    return path


COUNTS = {'a': 3, 'b.c': 1, 'book/anna/a': 5, 'book/ben 1': 2}


def call(videos, output, *options, full_disk=False):
    limited = ['sh', '-c', 'ulimit -f 0 && exec "$@"', 'sh'] if full_disk else []
    given = [f'--videos={videos}', f'--output_dir={output}', *options]
    if not any('num_workers' in option for option in options):
        given.append('--num_workers=1')
    return subprocess.run(
        [*limited, sys.executable, '-m', 'preprocessing.extract_frames', *given],
        cwd=ROOT,
        env=os.environ | {'PYTHONDONTWRITEBYTECODE': '1'},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def succeed(*words):
    done = call(*words)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


def refuse(sentence, *words, **options):
    done = call(*words, **options)
    assert done.stderr == f'error: {sentence}\n'
    assert done.returncode == 1


def paths(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob('*')}


def frame_paths(counts):
    files = {
        f'{folder}/{os.path.basename(folder)}_{number:06d}.jpg'
        for folder, count in counts.items()
        for number in range(1, count + 1)
    }
    folders = {os.path.dirname(path) for path in files} | {'book', 'book/anna'}
    return files | folders


@pytest.mark.parametrize('num_workers', [1, 2])
def test_every_video_has_a_folder_of_its_frames(videos, tmp_path, num_workers):
    output = tmp_path / 'new' / 'frames'
    printed = succeed(videos, output, f'--num_workers={num_workers}')
    assert printed[0] == '4 videos: 0 done, 4 to do'
    assert printed[-1].startswith('4/4 videos, ')
    assert '0 failed' in printed[-1]
    assert paths(output) == frame_paths(COUNTS)
    for folder, count in COUNTS.items():
        frames = list(video.read_frames(str(output / folder), lambda number: True, None))
        assert [number for number, _ in frames] == list(range(1, count + 1))
        for number, frame in frames:
            assert frame.shape == (48, 64, 3)
            assert np.abs(frame.astype(int) - 8 * number).max() <= 4


def test_existing_folders_are_left_alone(videos, tmp_path):
    output = tmp_path / 'frames'
    succeed(videos, output)
    first = output / 'a' / 'a_000001.jpg'
    first.write_bytes(b'mine')
    before = {path: path.stat().st_mtime_ns for path in output.rglob('*')}
    assert succeed(videos, output) == ['4 videos: 4 done, 0 to do']
    assert {path: path.stat().st_mtime_ns for path in output.rglob('*')} == before
    write_video(videos / 'z.avi', 2)
    assert succeed(videos, output)[0] == '5 videos: 4 done, 1 to do'
    assert first.read_bytes() == b'mine'
    assert paths(output) == frame_paths(COUNTS | {'z': 2})


def test_bad_videos_are_reported_and_the_others_are_done(videos, tmp_path, shared):
    good = (shared / 'videos' / '00338.mp4').read_bytes()
    (videos / 'cut.mp4').write_bytes(good[: len(good) // 2])
    (videos / 'empty.mp4').touch()
    (videos / 'book' / 'text.mp4').write_text('no video')
    (videos / 'notes.txt').write_text('no video, and not called one')
    (videos / '.hidden.avi').write_bytes(b'')
    printed = succeed(videos, tmp_path / 'frames', '--num_workers=2')
    assert printed[0] == '7 videos: 0 done, 7 to do'
    assert sorted(line for line in printed if line.startswith('failed: ')) == [
        'failed: book/text.mp4: the file is not a video, or has lost its end or its header '
        '(FFmpeg: moov atom not found)',
        f'failed: cut.mp4: {CUT}',
        'failed: empty.mp4: the file is empty',
    ]
    assert '3 failed' in printed[-1]
    assert paths(tmp_path / 'frames') == frame_paths(COUNTS)


def test_what_an_interrupted_run_left_is_removed(videos, tmp_path):
    left = tmp_path / 'frames' / '.unfinished' / 'a'
    left.mkdir(parents=True)
    (left / 'a_000007.jpg').write_bytes(b'half')
    succeed(videos, tmp_path / 'frames')
    assert paths(tmp_path / 'frames') == frame_paths(COUNTS)


def test_quality_decides_the_size(shared, tmp_path):
    (tmp_path / 'videos').mkdir()
    frames = list(video.read_frames(str(shared / 'videos' / '00339.mp4'), lambda number: True, 2))
    writer = cv2.VideoWriter(f'{tmp_path}/videos/a.avi', cv2.VideoWriter.fourcc(*'FFV1'), 25, (288, 192))
    for _, frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    sizes, errors = [], []
    for options in ([], ['--quality=2'], ['--quality=31']):
        output = tmp_path / f'frames{len(sizes)}'
        succeed(tmp_path / 'videos', output, *options)
        sizes.append((output / 'a' / 'a_000001.jpg').stat().st_size)
        _, again = next(iter(video.read_frames(str(output / 'a'), lambda number: True, None)))
        errors.append(np.abs(again.astype(int) - frames[0][1]).mean())
    assert sizes[0] == sizes[1] > 3 * sizes[2]
    assert errors[1] < 3 < errors[2]
    assert [frame_files.jpeg_quality(scale) for scale in (2, 31)] == [94, 7]


def test_what_is_refused(videos, tmp_path):
    output = tmp_path / 'frames'
    empty = tmp_path / 'empty'
    empty.mkdir()
    (empty / 'notes.txt').write_text('no video')
    done = call(empty, output)
    assert done.stderr.startswith(f'error: {empty} holds no video, expected .mp4, ')
    assert done.returncode == 1
    write_video(videos / 'a.mkv', 1)
    refuse(f'{videos} holds two videos named a, expected one per folder of frames', videos, output)
    assert not output.exists()
    done = call(videos, output, '--quality=1')
    assert done.returncode == 1
    assert '--quality' in done.stderr
    assert done.stderr.count('\n') == 1


def test_a_full_disk_leaves_nothing(videos, tmp_path):
    refuse(f'{tmp_path}/frames/a: frame 1 cannot be written', videos, tmp_path / 'frames', full_disk=True)
    assert paths(tmp_path / 'frames') == set()
