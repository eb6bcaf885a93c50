"""The extraction as a Beam pipeline: the same files as the ordinary run, and errors in one sentence."""

import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

pytest.importorskip('cv2')
pytest.importorskip('mediapipe')
pytest.importorskip('apache_beam')

import pandas as pd

from preprocessing import clips as clips_lib
from slr_jax import files
from tests.conftest import ROOT

TWO_PROCESSES = '--direct_num_workers=2 --direct_running_mode=multi_processing'


def make_clip(name, file, start=1, end=clips_lib.TO_THE_END):
    return clips_lib.Clip(name, file, 0, 'book', 'train', frame_start=start, frame_end=end)


CLIPS = [
    make_clip('b', '69241.mp4', 22, 23),
    make_clip('missing', 'missing.mp4'),
    make_clip('a', '69241.mp4', 20, 22),
    make_clip('bad', 'text.mp4'),
    make_clip('c', '00339.mp4', 20, 22),
    make_clip('too long', '00339.mp4', 50, 99),
]


@pytest.fixture(scope='module')
def world(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp('world')
    (path / 'videos').mkdir()
    for name in ('69241', '00339'):
        (path / 'videos' / f'{name}.mp4').symlink_to(shared / 'videos' / f'{name}.mp4')
    (path / 'videos' / 'text.mp4').write_text('no video')
    clips_lib.write_clips(str(path / 'clips.csv'), CLIPS)
    return path


@pytest.fixture(scope='module')
def call(world, shared):
    """A function: output and options -> the command that has run."""

    def call(output, *options, full_disk=None):
        limited = ['sh', '-c', f'ulimit -f {full_disk} && exec "$@"', 'sh'] if full_disk is not None else []
        given = [f'--clips={world}/clips.csv', f'--videos={world}/videos', f'--model_dir={shared}/models']
        given += ['--parts=hands', '--num_workers=1', f'--output={output}', *options]
        return subprocess.run(
            [*limited, sys.executable, '-m', 'preprocessing.extract_landmarks', *given],
            cwd=ROOT,
            env=os.environ | {'PYTHONDONTWRITEBYTECODE': '1'},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return call


@pytest.fixture(scope='module')
def ordinary(call, world):
    """What the ordinary run writes and the summary that it prints; not to be changed."""
    done = call(world / 'ordinary')
    assert done.returncode == 0, done.stderr
    return world / 'ordinary', done.stdout[done.stdout.index('3 clips done') :]


def beam(*options):
    return '--beam_runner=DirectRunner', *options


def snapshot(path):
    return {str(each.relative_to(path)): each.is_file() and each.read_bytes() for each in path.rglob('*')}


def refuse(done, sentence):
    assert done.stderr == f'error: {sentence}\n'
    assert done.returncode == 1


def test_files_are_those_of_the_ordinary_run(call, ordinary, tmp_path):
    output = tmp_path / 'new' / 'landmarks'
    expected, summary = ordinary
    done = call(output, *beam(f'--beam_options={TWO_PROCESSES}'))
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert done.stdout == summary
    assert set(os.listdir(output)) == {'a.npz', 'b.npz', 'c.npz', 'extraction.json', 'report.csv'}
    assert snapshot(output) == snapshot(expected)
    report = pd.read_csv(output / 'report.csv', keep_default_na=False)
    assert report['video_id'].tolist() == [clip.video_id for clip in CLIPS]
    assert report['status'].tolist() == ['done', 'missing', 'done', 'failed', 'done', 'failed']
    assert report['reason'].tolist() == [
        '',
        'there is no such file',
        '',
        'the file is not a video, or has lost its end or its header (FFmpeg: moov atom not found)',
        '',
        'the clip needs frames 50 to 99, the video has 60 frames',
    ]


def test_it_continues_an_interrupted_run(call, ordinary, tmp_path):
    expected, summary = ordinary
    output = tmp_path / 'landmarks'
    shutil.copytree(expected, output)
    (output / 'b.npz').unlink()
    (output / 'report.csv').unlink()
    (output / '.unfinished').mkdir()
    (output / '.unfinished' / 'b.npz').write_bytes(b'half')
    times = {name: (output / name).stat().st_mtime_ns for name in ('a.npz', 'c.npz')}
    done = call(output, *beam())
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert done.stdout == summary
    assert snapshot(output) == snapshot(expected)
    assert {name: (output / name).stat().st_mtime_ns for name in times} == times


@pytest.mark.parametrize('options', [TWO_PROCESSES, ''], ids=['two processes', 'in memory'])
def test_an_error_of_a_worker_is_one_sentence(call, ordinary, tmp_path, options):
    output = tmp_path / 'landmarks'
    shutil.copytree(ordinary[0], output)
    (output / 'c.npz').write_bytes((output / 'c.npz').read_bytes()[:500])
    before = snapshot(output)
    done = call(output, *beam(f'--beam_options={options}'))
    refuse(done, f'{output}/c.npz is damaged or holds no extracted landmarks; remove it')
    assert snapshot(output) == before


def test_other_options_are_refused(call, ordinary):
    before = snapshot(ordinary[0])
    done = call(ordinary[0], *beam('--handedness=swapped'))
    words = "handedness = 'signer', this run has 'swapped'"
    refuse(done, f'{ordinary[0]}/extraction.json says {words}; use another --output for other options')
    assert snapshot(ordinary[0]) == before


@pytest.mark.parametrize(
    ('options', 'cause'),
    [
        ('--direct_num_workers=many', "argument --direct_num_workers: invalid int value: 'many'"),
        ('--direct_num_worker=2', '--direct_num_worker=2 is no option of DirectRunner'),
        ('two workers', 'two is no option of DirectRunner'),
    ],
)
def test_options_that_the_runner_does_not_take(call, tmp_path, options, cause):
    refuse(call(tmp_path / 'out', *beam(f'--beam_options={options}')), f'--beam_options={options}: {cause}')
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_another_process_writes_to(call, tmp_path):
    with files.only_writer(str(tmp_path / 'out')):
        done = call(tmp_path / 'out', *beam())
    owner = f'process {os.getpid()} on {socket.gethostname()}'
    refuse(done, f'{owner} writes to {tmp_path}/out; wait for it or stop it')
    assert list(tmp_path.iterdir()) == []


def test_a_missing_video_where_all_are_required(call, world, tmp_path):
    done = call(tmp_path / 'out', *beam('--require_all'))
    refuse(done, f'1 of 6 clips have no video in {world}/videos, the first is missing.mp4')
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence(call, tmp_path):
    done = call(tmp_path / 'out', *beam(), full_disk=2)
    # Which of the two videos comes first is the runner's choice.
    assert done.returncode == 1
    assert re.fullmatch(rf'error: {tmp_path}/out/[abc].npz: File too large\n', done.stderr)
    assert os.listdir(tmp_path / 'out') == ['extraction.json']
