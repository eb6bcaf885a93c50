"""The command that extracts landmarks: bad videos, reruns, refusals, full disks, and being killed."""

import dataclasses
import functools
import json
import os
import pathlib
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

pytest.importorskip('cv2')
pytest.importorskip('mediapipe')

import cv2
import numpy as np
import pandas as pd

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker, model_files, run_local
from preprocessing.extraction import store as store_lib
from slr_jax import errors, files
from tests.conftest import ROOT

NO_VIDEO = 'the file is not a video, or has lost its end or its header (FFmpeg: moov atom not found)'


def make_clip(name, file, start=1, end=clips_lib.TO_THE_END):
    return clips_lib.Clip(name, file, 0, 'book', 'train', frame_start=start, frame_end=end)


# Sixteen clips of three frames each, which overlap.
WHOLE = [
    make_clip(f'{file}_{start}', f'{file}.mp4', start, start + 2)
    for file, starts in (('69241', range(16, 32, 2)), ('00339', range(20, 36, 2)))
    for start in starts
]


@pytest.fixture(scope='session')
def videos(shared, tmp_path_factory):
    """A directory of good videos and of those spoiled in one way each."""
    path = tmp_path_factory.mktemp('videos')
    for name in ('69241', '00339'):
        (path / f'{name}.mp4').symlink_to(shared / 'videos' / f'{name}.mp4')
    good = (shared / 'videos' / '00338.mp4').read_bytes()
    (path / 'empty.mp4').touch()
    (path / 'noise.mp4').write_bytes(np.random.default_rng(0).bytes(9000))
    (path / 'text.mp4').write_text('this is no video\n' * 100)
    (path / 'cut.mp4').write_bytes(good[: len(good) // 2])
    for name, num_frames in (('no_frame', 0), ('one_frame', 1)):
        writer = cv2.VideoWriter(str(path / f'{name}.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 25, (64, 48))
        for _ in range(num_frames):
            writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.release()
    return path


@pytest.fixture(scope='session')
def command(shared, videos, tmp_path_factory):
    """A function: clips, output and options -> the command line."""
    tables = tmp_path_factory.mktemp('tables')

    def command(clips, output, *options):
        table = tables / f'{len(list(tables.iterdir()))}.csv'
        clips_lib.write_clips(str(table), clips)
        given = {'clips': table, 'videos': videos, 'output': output, 'model_dir': shared / 'models', 'parts': 'hands'}
        given |= {'num_workers': 1} | dict(option.split('=') for option in options if '=' in option)
        flags = [f'--{name}={value}' for name, value in given.items() if value != 'none']
        flags += [f'--{option}' for option in options if '=' not in option]
        return [sys.executable, '-m', 'preprocessing.extract_landmarks', *flags]

    return command


@pytest.fixture(scope='session')
def whole(command, tmp_path_factory):
    """The directory of an unbroken run; not to be changed."""
    output = tmp_path_factory.mktemp('whole') / 'landmarks'
    printed = succeed(command(WHOLE, output))
    assert '16 clips: 0 done or missing, 16 to do\n' in printed
    return output


def call(argv, full_disk=None):
    limited = ['sh', '-c', f'ulimit -f {full_disk} && exec "$@"', 'sh'] if full_disk is not None else []
    environment = os.environ | {'PYTHONDONTWRITEBYTECODE': '1'}
    return subprocess.run(
        [*limited, *argv], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def succeed(argv):
    done = call(argv)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def refuse(argv, sentence, full_disk=None):
    done = call(argv, full_disk)
    assert done.stderr == f'error: {sentence}\n'
    assert done.returncode == 1
    return done.stdout


def snapshot(path):
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob('*') if each.is_file()}


def children(process):
    """Processes, as folders of /proc, whose parent it is."""
    found = []
    for path in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            parent = (path / 'stat').read_text().rsplit(')', 1)[1].split()[1]
        except OSError:
            continue
        if int(parent) == process.pid:
            found.append(path)
    return found


def runs(path):
    """Whether a process lives; those that ended may wait to be noticed."""
    try:
        return (path / 'stat').read_text().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except OSError:
        return False


def wait_until(holds, seconds):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


# --- Bad videos


def test_what_workers_are_started_with_fits_into_a_pipe():
    # Else a worker that is killed while it starts stops the run: see worker_pool.run_tasks.
    start = functools.partial(
        run_local.start_worker,
        landmarker.Options(),
        '/' + 'm' * 4000,
        '/' + 'v' * 4000,
        store_lib.LandmarkStore('/' + 'o' * 4000, 'abc'),
    )
    assert len(pickle.dumps(start)) < 20_000


def test_each_bad_video_is_reported_and_the_others_are_done(command, tmp_path):
    names = ('empty.mp4', 'noise.mp4', 'text.mp4', 'cut.mp4', 'no_frame.avi', 'one_frame.avi', 'missing.mp4')
    clips = [make_clip(f'clip {name}', name) for name in names]
    clips[3:3] = [make_clip('good', '69241.mp4', 20, 21), make_clip('too long', '69241.mp4', 74, 99)]
    clips.append(make_clip('good, too', '00339.mp4', 58))
    printed = succeed(command(clips, tmp_path / 'out', 'num_workers=2'))
    cut = 'the video is truncated: it ends after 27 frames (FFmpeg: Packet corrupt (stream = 0, dts = 2600).)'
    too_long = 'the clip needs frames 74 to 99, the video has 75 frames'
    expected = {
        'clip empty.mp4': ('failed', 'the file is empty'),
        'clip noise.mp4': ('failed', NO_VIDEO),
        'clip text.mp4': ('failed', NO_VIDEO),
        'good': ('done', ''),
        'too long': ('failed', too_long),
        'clip cut.mp4': ('failed', cut),
        'clip no_frame.avi': ('failed', 'the video has no frames'),
        'clip one_frame.avi': ('nothing seen', 'no body or hand was seen in any frame'),
        'clip missing.mp4': ('missing', 'there is no such file'),
        'good, too': ('done', ''),
    }
    report = pd.read_csv(tmp_path / 'out' / 'report.csv', keep_default_na=False, dtype=str)
    columns = [
        *('video_id', 'file', 'status', 'reason', 'frames'),
        *('right_hand', 'left_hand', 'body', 'hands_given_up', 'frame_size'),
    ]
    assert report.columns.tolist() == columns
    assert report['video_id'].tolist() == [clip.video_id for clip in clips]
    assert report['file'].tolist() == [clip.file for clip in clips]
    assert dict(zip(report['video_id'], zip(report['status'], report['reason'], strict=True), strict=True)) == expected
    assert report['frames'].astype(int).tolist() == [0, 0, 0, 2, 0, 0, 0, 1, 0, 3]
    failed = report[report['frames'] == '0']
    assert (failed[['right_hand', 'left_hand', 'body', 'hands_given_up']] == '').all(axis=None)
    done = report[report['frames'] != '0'].set_index('video_id')[['right_hand', 'left_hand', 'body']].astype(float)
    assert done.loc['clip one_frame.avi'].tolist() == [0, 0, 0]
    assert (done['body'] == 0).all()
    shares = {}
    for name, path in ((name, tmp_path / 'out' / f'{name}.npz') for name in done.index):
        landmarks = store_lib.read_file(str(path)).landmarks
        shares[name] = [np.isfinite(landmarks[:, 33 + 21 * hand, 0]).mean() for hand in (0, 1)]
        assert len(landmarks) == int(report.set_index('video_id')['frames'][name])
    assert sum(shares['good']) > 0
    lines = printed.splitlines()
    assert '10 clips: 1 done or missing, 9 to do' in lines
    for name, (status, reason) in expected.items():
        assert (f'failed: {name}: {reason}' in lines) == (status == 'failed')
    assert '2 clips done, 1 nothing seen, 6 failed, 1 missing' in lines
    assert f'  2 × {NO_VIDEO}' in lines
    assert f'  1 × {cut}' in lines
    assert '  1 × there is no such file' in lines
    assert any(line.startswith('6 frames, seen in: right hand ') and line.endswith('body 0.0%') for line in lines)
    assert lines[-1] == 'warning: of 10 clips, nothing seen in 1 (clip one_frame.avi); report.csv has each'


def test_clips_in_which_nothing_or_too_little_is_seen(command, tmp_path):
    # Before frame 19 of the video no hand is seen.
    clips = [make_clip('black', 'one_frame.avi'), make_clip('hand', '69241.mp4', 20, 22)]
    clips += [make_clip('no hand', '69241.mp4', 1, 3)]
    output = tmp_path / 'out'
    argv = command(clips, output, 'parts=hands,pose')
    expected = 'warning: of 3 clips, nothing seen in 1 (black), seldom seen in 1 (no hand); report.csv has each'
    assert succeed(argv).splitlines()[-1] == expected
    report = pd.read_csv(output / 'report.csv', keep_default_na=False)
    assert report['status'].tolist() == ['nothing seen', 'done', 'done']
    assert report['reason'].tolist() == [
        'no body or hand was seen in any frame',
        '',
        'seldom seen: right hand 0.0%, left hand 0.0%, body 100.0% of the frames',
    ]
    before = snapshot(output)
    printed = succeed(argv)
    assert '3 clips: 3 done or missing, 0 to do' in printed
    assert printed.splitlines()[-1] == expected
    assert snapshot(output) == before
    # Alone it is as good as failed, at once and again.
    for _ in range(2):
        sentence = (
            f'nothing was seen in the clips that could be extracted: 1 (black); {tmp_path}/alone/report.csv says why'
        )
        refuse(command(clips[:1], tmp_path / 'alone'), sentence)


def test_clips_that_end_a_few_frames_after_their_video(command, tmp_path):
    # The video has 75 frames.
    clips = [make_clip(f'to {end}', '69241.mp4', 73, end) for end in (75, 77, 85, 86)]
    output = tmp_path / 'out'
    printed = succeed(command(clips, output, 'parts=pose'))
    report = pd.read_csv(output / 'report.csv', keep_default_na=False)
    assert report['status'].tolist() == ['done', 'done', 'done', 'failed']
    assert report['frames'].tolist() == [3, 3, 3, 0]
    assert report['reason'].tolist() == [
        '',
        'the annotation ends at frame 77, the video at frame 75',
        'the annotation ends at frame 85, the video at frame 75',
        'the clip needs frames 73 to 86, the video has 75 frames',
    ]
    assert 'clips shorter than annotated, because the video ends first: 2, named in report.csv' in printed.splitlines()
    assert printed.count('failed: ') == 1
    before = snapshot(output)
    assert '4 clips: 3 done or missing, 1 to do' in succeed(command(clips, output, 'parts=pose'))
    assert snapshot(output) == before
    # What a larger tolerance kept is not taken for a smaller one, and what a smaller one refused is done with a larger.
    sentence = (
        f'{output}/to 85.npz has 3 of the 13 frames of the clips table, beyond --tolerance=9; remove the file or use '
        'another directory'
    )
    refuse(command(clips, output, 'parts=pose', 'tolerance=9'), sentence)
    assert snapshot(output) == before
    assert '4 clips done, 0 failed, 0 missing' in succeed(command(clips, output, 'parts=pose', 'tolerance=11'))
    printed = succeed(command(clips, tmp_path / 'strict', 'parts=pose', 'tolerance=0'))
    assert '1 clips done, 3 failed, 0 missing' in printed


def test_no_clip_at_all(command, tmp_path):
    output = tmp_path / 'out'
    clips = [make_clip('a', 'empty.mp4'), make_clip('b', 'missing.mp4')]
    printed = refuse(command(clips, output), f'no clip could be extracted; {output}/{store_lib.REPORT} says why')
    assert '0 clips done, 1 failed, 1 missing\n' in printed
    report = pd.read_csv(output / 'report.csv')
    assert report['reason'].tolist() == ['the file is empty', 'there is no such file']
    assert sorted(os.listdir(output)) == ['extraction.json', 'report.csv']


@pytest.fixture(scope='session')
def two_people(videos, shared):
    """A video of two signers side by side, frames 20 to 27 of their own videos."""
    writer = cv2.VideoWriter(str(videos / 'two.mp4'), cv2.VideoWriter.fourcc(*'mp4v'), 25, (1280, 720))
    sources = [cv2.VideoCapture(str(shared / 'videos' / f'{name}.mp4')) for name in ('69241', '30173')]
    for number in range(1, 28):
        pictures = [cv2.resize(source.read()[1], (1280, 720))[:, 320:960] for source in sources]
        if number >= 20:
            writer.write(np.hstack(pictures))
    writer.release()


@pytest.mark.usefixtures('two_people')
@pytest.mark.parametrize('mode', ['video'])
def test_of_two_people_hands_are_of_the_one_whose_body_is_taken(command, tmp_path, mode):
    boxes = {'left': '0 0 640 720', 'right': '640 0 1280 720', 'no box': ''}
    clips = [dataclasses.replace(make_clip(name, 'two.mp4'), bbox=box) for name, box in boxes.items()]
    argv = command(clips, tmp_path / 'out', f'running_mode={mode}', 'parts=hands,pose')
    printed = succeed(argv)
    places = [landmarker.LAYOUT.groups[group][0] for group in ('right_hand', 'left_hand', 'body')]
    report = pd.read_csv(tmp_path / 'out' / 'report.csv', index_col='video_id')
    for name in boxes:
        x = store_lib.read_file(str(tmp_path / 'out' / f'{name}.npz')).landmarks[:, places, 0]
        assert np.isfinite(x).any(axis=0).all()
        is_right = np.nanmedian(x) > 0.5
        assert ((x > 0.5) == is_right)[np.isfinite(x)].all()
        assert is_right == (name == 'right') or name == 'no box'
        assert report.loc[name, 'hands_given_up'] >= 8
    assert f'{report["hands_given_up"].sum()} hands of 3 clips are given up' in printed
    # What is counted is kept with the landmarks.
    before = snapshot(tmp_path / 'out')
    succeed(argv)
    assert snapshot(tmp_path / 'out') == before


# --- The same bytes, however it is run


def test_what_a_run_writes(whole, shared):
    names = ['extraction.json', 'report.csv', *(f'{clip.video_id}.npz' for clip in WHOLE)]
    assert sorted(os.listdir(whole)) == sorted(names)
    description, fingerprint = store_lib.read_description(str(whole))
    options = landmarker.Options(('hands',))
    assert description == options.describe(model_files.read_models(str(shared / 'models'), options.model_files))
    for clip in WHOLE:
        found = store_lib.read_file(str(whole / f'{clip.video_id}.npz'))
        assert (found.video, found.frame_start, found.frame_end) == (clip.file, clip.frame_start, clip.frame_end)
        assert found.extraction == fingerprint == store_lib.fingerprint(description)
        assert found.landmarks.shape == (3, 75, 3)
    # Clips that overlap agree where they do.
    first, second = (store_lib.read_file(str(whole / f'69241_{start}.npz')).landmarks for start in (22, 24))
    assert np.isfinite(first).any()
    np.testing.assert_array_equal(first[2], second[0])


def test_a_second_run_does_nothing(command, whole, tmp_path):
    shutil.copytree(whole, tmp_path / 'out')
    before = snapshot(whole)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').glob('*.npz')}
    assert len(times) == 16
    printed = succeed(command(WHOLE, tmp_path / 'out', 'num_workers=2'))
    assert printed.splitlines()[0] == '16 clips: 16 done or missing, 0 to do'
    assert '16 clips done, 0 failed, 0 missing\n' in printed
    assert snapshot(tmp_path / 'out') == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_only_what_is_missing_is_done_and_two_workers_write_the_same(command, whole, tmp_path):
    output = tmp_path / 'out'
    printed = succeed(command(WHOLE[:5] + WHOLE[6:], output, 'num_workers=2', 'limit=8'))
    assert printed.splitlines()[0] == '8 clips: 0 done or missing, 8 to do'
    times = {path: path.stat().st_mtime_ns for path in output.glob('*.npz')}
    assert len(times) == 8
    printed = succeed(command(WHOLE, output, 'num_workers=2'))
    assert printed.splitlines()[0] == '16 clips: 8 done or missing, 8 to do'
    assert snapshot(output) == snapshot(whole)
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.long
def test_killed_three_times_it_ends_with_the_same_bytes(command, whole, tmp_path):
    output = tmp_path / 'out'
    rng = np.random.default_rng(7)
    argv = command(WHOLE, output, 'num_workers=2')
    for _ in range(3):
        wanted = len(list(output.glob('*.npz'))) + int(rng.integers(0, 4))
        with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
            # A worker, and the tracker of the standard library.
            assert wait_until(lambda parent=parent: len(children(parent)) >= 2, 60)
            assert wait_until(lambda wanted=wanted: len(list(output.glob('*.npz'))) >= wanted, 60)
            time.sleep(rng.uniform(0, 0.1))
            workers = children(parent)
            parent.kill()
            parent.wait()
        assert parent.returncode == -signal.SIGKILL
        assert len(workers) >= 2
        assert wait_until(lambda workers=workers: not any(map(runs, workers)), 2)
        # What was written is whole.
        expected = snapshot(whole)
        assert all(path.read_bytes() == expected[path.name] for path in output.glob('*.npz'))
        assert not (output / 'report.csv').exists()
    assert len(list(output.glob('*.npz'))) < 16
    succeed(command(WHOLE, output, 'num_workers=2'))
    assert snapshot(output) == snapshot(whole)
    assert sorted(os.listdir(output)) == sorted(os.listdir(whole))


@pytest.fixture
def heeds_interrupts():
    """A process that was started in the background of a script ignores Ctrl-C, and so do those that it starts."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures('heeds_interrupts')
@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ended_it_leaves_no_processes_and_nothing_unfinished(command, whole, tmp_path, number, status):
    output = tmp_path / 'out'
    argv = command(WHOLE, output, 'num_workers=2')
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert wait_until(lambda: any(output.glob('*.npz')), 60)
        workers = children(parent)
        parent.send_signal(number)
        assert parent.wait(10) == status
        printed = parent.stderr.read().decode()
        assert printed.startswith(f'ended by {number.name}; the same command starts again: python -m ')
        assert printed.count('\n') == 1
    assert len(workers) >= 2
    assert wait_until(lambda: not any(map(runs, workers)), 2)
    assert {path.name for path in output.iterdir()} <= set(os.listdir(whole)) - {'report.csv'}


def test_from_folders_of_frames(command, videos, tmp_path):
    (tmp_path / 'videos').mkdir()
    (tmp_path / 'videos' / '00339.mp4').symlink_to(videos / '00339.mp4')
    frames = [f'--videos={tmp_path}/videos', f'--output_dir={tmp_path}/frames', '--num_workers=1']
    succeed([sys.executable, '-m', 'preprocessing.extract_frames', *frames])
    clips = [*WHOLE[8:11], make_clip('end', '00339.mp4', 59), make_clip('missing', '69241.mp4', 1, 2)]
    printed = succeed(command(clips, tmp_path / 'out', 'videos=none', f'frames={tmp_path}/frames'))
    assert '4 clips done, 0 failed, 1 missing\n' in printed
    assert pd.read_csv(tmp_path / 'out' / 'report.csv')['frames'].tolist() == [3, 3, 3, 2, 0]
    assert store_lib.read_description(str(tmp_path / 'out'))[0]['input'] == 'frames'
    first, second = (store_lib.read_file(f'{tmp_path}/out/00339_{start}.npz').landmarks for start in (20, 22))
    assert np.isfinite(first).any()
    np.testing.assert_array_equal(first[2], second[0])


def test_a_directory_of_slr_jax_0_1_0_is_continued(command, whole, tmp_path):
    output = tmp_path / 'out'
    shutil.copytree(whole, output)
    description = json.loads((output / 'extraction.json').read_text())
    description['hand_names'] = {'signer': 'anatomical'}[description.pop('handedness')]
    del description['format']
    fingerprint = store_lib.fingerprint(description)
    old = json.dumps({'format': 'slr_jax extraction 1', **description})
    (output / 'extraction.json').write_text(old)
    for clip in WHOLE:
        path = output / f'{clip.video_id}.npz'
        path.write_bytes(store_lib.encode(clip, store_lib.read_file(str(path)).landmarks, fingerprint))
    before = snapshot(output)
    for name in ('69241_16.npz', 'report.csv'):
        (output / name).unlink()
    printed = succeed(command(WHOLE, output))
    assert printed.splitlines()[0] == '16 clips: 15 done or missing, 1 to do'
    after = snapshot(output)
    assert {
        name: after[name] for name in before if name not in ('69241_16.npz', 'report.csv')
    }.items() <= before.items()
    new, old = (store_lib.decode('', files['69241_16.npz']) for files in (after, before))
    np.testing.assert_array_equal(new.landmarks, old.landmarks)
    assert (new.extraction, new.hands_given_up, old.hands_given_up) == (old.extraction, 0, None)
    # Nobody counted hands then.
    given_up = pd.read_csv(output / 'report.csv', keep_default_na=False, dtype=str)['hands_given_up']
    assert given_up.tolist() == ['0'] + [''] * 15
    refuse(
        command(WHOLE, output, 'handedness=swapped'),
        f"{output}/extraction.json says handedness = 'signer', this run has 'swapped'; use another --output for other "
        'options',
    )


# --- What is refused


def test_a_missing_video_where_all_are_required(command, videos, tmp_path):
    clips = [*WHOLE[:2], make_clip('a', 'missing.mp4'), make_clip('b', 'nowhere/b.mp4')]
    sentence = f'2 of 4 clips have no video in {videos}, the first is missing.mp4'
    refuse(command(clips, tmp_path / 'out', 'require_all'), sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('handedness=swapped', "handedness = 'signer', this run has 'swapped'"),
        ('running_mode=video', "running_mode = 'image', this run has 'video'"),
        ('parts=hands,pose', "parts = ['hands'], this run has ['hands', 'pose']"),
        ('min_detection_confidence=0.3', 'min_detection_confidence = 0.5, this run has 0.3'),
    ],
)
def test_other_options_in_the_same_directory(command, whole, option, words):
    before = snapshot(whole)
    sentence = f'{whole}/extraction.json says {words}; use another --output for other options'
    refuse(command(WHOLE, whole, option), sentence)
    assert snapshot(whole) == before


def test_another_segment_of_a_clip_that_is_done(command, whole):
    before = snapshot(whole)
    clips = [*WHOLE[:3], make_clip(WHOLE[3].video_id, '69241.mp4', 22, 25)]
    sentence = (
        f'{whole}/69241_22.npz holds frames 22 to 24 of 69241.mp4, but the clips table says 22 to 25 of '
        '69241.mp4; remove the file or use another directory'
    )
    refuse(command(clips, whole), sentence)
    assert snapshot(whole) == before


def test_a_file_of_another_extraction(command, whole, tmp_path):
    shutil.copytree(whole, tmp_path / 'out')
    path = tmp_path / 'out' / f'{WHOLE[0].video_id}.npz'
    path.write_bytes(store_lib.encode(WHOLE[0], np.zeros((3, 75, 3), np.float32), 'other'))
    sentence = f'{path} was extracted with other options than extraction.json beside it; remove it'
    refuse(command(WHOLE, tmp_path / 'out'), sentence)


def test_a_damaged_file_of_a_clip(command, whole, tmp_path):
    shutil.copytree(whole, tmp_path / 'out')
    path = tmp_path / 'out' / f'{WHOLE[2].video_id}.npz'
    path.write_bytes(path.read_bytes()[:-9])
    before = snapshot(tmp_path / 'out')
    refuse(command(WHOLE, tmp_path / 'out'), f'{path} is damaged or holds no extracted landmarks; remove it')
    assert snapshot(tmp_path / 'out') == before


def test_damage_anywhere_in_a_file_is_found_or_harmless():
    landmarks = np.random.default_rng(0).random((2, 75, 3), np.float32)
    content = store_lib.encode(WHOLE[0], landmarks, 'abc')
    num_found = 0
    for place in range(len(content)):
        spoiled = content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :]
        try:
            found = store_lib.decode('a.npz', spoiled)
        except errors.InputError as error:
            refusals = 'is damaged or holds no extracted landmarks; remove it$|has .* (compressed by|declares that)'
            assert re.match(rf'a\.npz ({refusals})', str(error)), error
            num_found += 1
        else:
            np.testing.assert_array_equal(found.landmarks, landmarks)
    # Some fields of a zip, as its times, are never read.
    assert num_found > 0.8 * len(content)


def test_two_runs_at_once(command, whole):
    before = snapshot(whole)
    with files.only_writer(str(whole)):
        owner = f'process {os.getpid()} on {socket.gethostname()}'
        refuse(command(WHOLE, whole), f'{owner} writes to {whole}; wait for it or stop it')
    assert snapshot(whole) == before


def test_a_directory_of_other_things(command, tmp_path):
    (tmp_path / 'holiday.jpg').write_bytes(b'sun')
    refuse(command(WHOLE, tmp_path), f"{tmp_path} holds 'holiday.jpg' and no extraction.json, expected a new directory")
    assert snapshot(tmp_path) == {'holiday.jpg': b'sun'}


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['parts=hands,face'], '--parts=hands,face, expected some of hands,pose'),
        (['parts='], '--parts=, expected some of hands,pose'),
        (['videos=none'], 'either --videos or --frames must be given'),
        (['frames=/tmp'], 'either --videos or --frames must be given'),
        (['videos=/nowhere'], '/nowhere is not a directory, expected one of videos'),
        (['videos=none', 'frames=/nowhere'], '/nowhere is not a directory, expected one of frames'),
        (
            ['model_dir=/nowhere'],
            '/nowhere/hand_landmarker.task is missing: '
            'python -m preprocessing.download_models --model_dir=/nowhere gets it',
        ),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '',
)
def test_options_that_cannot_be(command, tmp_path, options, sentence):
    refuse(command(WHOLE, tmp_path / 'out', *options), sentence)
    assert list(tmp_path.iterdir()) == []


# --- A full disk


@pytest.mark.parametrize(('blocks', 'written', 'left'), [(0, 'extraction.json', []), (8, 'a.npz', ['extraction.json'])])
def test_a_full_disk_leaves_nothing_half_written(command, tmp_path, blocks, written, left):
    output = tmp_path / 'out'
    clips = [make_clip('a', '69241.mp4', 11, 34)]
    refuse(command(clips, output), f'{output}/{written}: File too large', full_disk=blocks)
    assert sorted(path.name for path in output.glob('*')) == left


def test_a_disk_that_is_too_full_for_the_report(command, tmp_path):
    output = tmp_path / 'out'
    clips = [make_clip('a', '69241.mp4', 20, 20), *(make_clip(f'clip {i}', f'missing_{i}.mp4') for i in range(200))]
    refuse(command(clips, output), f'{output}/report.csv: File too large', full_disk=8)
    assert sorted(os.listdir(output)) == ['a.npz', 'extraction.json']
    printed = succeed(command(clips, output))
    assert printed.splitlines()[0] == '201 clips: 201 done or missing, 0 to do'
    assert len(pd.read_csv(output / 'report.csv')) == 201
