"""Videos to a dataset in one command: what it makes, killed and continued, done already, and refused."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('cv2')
pytest.importorskip('mediapipe')

import cv2
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing import download_models, splits, videos_to_dataset
from preprocessing.extraction import landmarker, run_local
from preprocessing.extraction import store as store_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors
from tests import ROOT

SOURCES = {'book': '69241', 'hello': '00339'}
STARTS = (20, 24, 28)
NUM_FRAMES = 4


@pytest.fixture(scope='module')
def videos(shared, tmp_path_factory):
    """Two classes of three videos of four frames."""
    path = tmp_path_factory.mktemp('videos')
    for gloss, source in SOURCES.items():
        (path / gloss).mkdir()
        reader = cv2.VideoCapture(str(shared / 'videos' / f'{source}.mp4'))
        frames = [reader.read()[1] for _ in range(STARTS[-1] + NUM_FRAMES)]
        for start in STARTS:
            name = str(path / gloss / f'ann_{start}.mp4')
            writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*'mp4v'), 25, frames[0].shape[1::-1])
            for frame in frames[start : start + NUM_FRAMES]:
                writer.write(frame)
            writer.release()
    return path


@pytest.fixture(scope='module')
def command(videos, shared):
    def command(data_dir, *options):
        given = [f'--videos={videos}', '--name=signs', f'--data_dir={data_dir}', f'--model_dir={shared}/models']
        return [sys.executable, '-m', 'preprocessing.videos_to_dataset', *given, *options]

    return command


@pytest.fixture(scope='module')
def whole(command, tmp_path_factory):
    """The data directory of an unbroken run, and what it printed; not to be changed."""
    data_dir = tmp_path_factory.mktemp('whole') / 'data'
    return data_dir, succeed(command(data_dir))


def succeed(argv):
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def snapshot(path):
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob('*') if each.is_file()}


def test_what_it_makes(whole):
    data_dir, printed = whole
    assert sorted(os.listdir(data_dir)) == ['signs', 'signs_work']
    dataset = dataset_lib.load_dataset(str(data_dir / 'signs'))
    assert (dataset.description.label_names, dataset.layout) == (('book', 'hello'), landmarker.LAYOUT)
    assert dataset.description.source['running_mode'] == 'video'
    assert {split: len(clips) for split, clips in dataset.splits.items()} == {'train': 4, 'validation': 1, 'test': 1}
    work = data_dir / 'signs_work'
    assert sorted(os.listdir(work)) == ['clips.csv', 'landmarks']
    for clip in clips_lib.read_clips(str(work / 'clips.csv')):
        part = dataset.splits[clip.split]
        index = part.video_ids.index(clip.video_id)
        assert (part.labels[index], part.signers[index]) == (clip.label, 'ann')
        expected = store_lib.read_file(str(work / 'landmarks' / f'{clip.video_id}.npz')).landmarks
        assert len(expected) == NUM_FRAMES
        np.testing.assert_array_equal(part.landmarks[index], expected)
    steps = [line for line in printed.splitlines() if ' of 4: ' in line]
    assert [step[0] for step in steps] == ['1', '2', '3', '4']
    assert '6 clips done, 0 failed, 0 missing\n' in printed
    assert printed.splitlines()[-1].startswith('to train: ')


def test_the_same_command_again_changes_nothing_and_other_options_are_refused(command, whole, tmp_path):
    data_dir = tmp_path / 'data'
    shutil.copytree(whole[0], data_dir)
    before = snapshot(data_dir)
    assert f'{data_dir}/signs/1.0.0: exists, and is of these clips\n' in succeed(command(data_dir))
    assert snapshot(data_dir) == before
    argv = command(data_dir, '--dataset_layout=mediapipe_two_hands')
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    expected = f'{data_dir}/signs/1.0.0 is of other clips or options; remove it, or give another --name'
    assert (done.returncode, done.stderr) == (1, f'error: {expected}\n')
    assert snapshot(data_dir) == before


def test_killed_it_is_continued_by_the_same_command(command, whole, tmp_path):
    data_dir = tmp_path / 'data'
    landmarks = data_dir / 'signs_work' / 'landmarks'
    argv = command(data_dir, '--num_workers=1')
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            if landmarks.is_dir() and len(list(landmarks.glob('*.npz'))) >= 2:
                break
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (data_dir / 'signs').exists()
    done = {path: path.stat().st_mtime_ns for path in landmarks.glob('*.npz')}
    assert 2 <= len(done) < 6
    assert f'6 clips: {len(done)} done or missing, {6 - len(done)} to do\n' in succeed(argv)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    work, expected = (snapshot(path / 'signs_work') for path in (data_dir, whole[0]))
    assert work == expected
    found, dataset = (dataset_lib.load_dataset(str(path / 'signs')) for path in (data_dir, whole[0]))
    assert found.fingerprint() == dataset.fingerprint()


# --- Without recordings


@pytest.fixture
def convert(monkeypatch, tmp_path):
    """A function: clips -> a dataset, with models and landmarks that are made up; and the calls that it made."""
    options = landmarker.Options(running_mode='video')
    calls = []

    def download(model_dir, names):
        calls.append((model_dir, sorted(names)))

    def extract(clips, videos, output, model_dir, given, **workers):
        assert (videos, model_dir, given, workers) == ('V', 'M', options, {'num_workers': 2, 'time_limit': 9.0})
        rows = []
        with store_lib.open_store(output, {'handedness': 'signer', 'layout': landmarker.LAYOUT.name}) as store:
            for clip in clips:
                if clip.file == 'bad.mp4':
                    rows.append(store_lib.failed_row(clip, 'bad'))
                    continue
                points = np.full((3, 75, 3), np.nan if clip.file == 'black.mp4' else clip.label, np.float32)
                store.save(clip, points, 0)
                rows.append(store_lib.done_row(clip, points, 0))
            store.save_report(rows)
        calls.append([row['status'] for row in rows])
        return rows

    monkeypatch.setattr(download_models, 'download', download)
    monkeypatch.setattr(run_local, 'extract', extract)

    def convert(clips, name='signs', layout='mediapipe_two_hands', redraw=None):
        data_dir, work_dir = str(tmp_path / 'data'), str(tmp_path / 'work')
        given = {'options': options, 'layout': layout, 'num_workers': 2, 'time_limit': 9.0, 'redraw': redraw}
        return videos_to_dataset.convert(clips, 'V', name, data_dir, work_dir, 'M', **given)

    return convert, calls


def make_clips(*files):
    return [clips_lib.Clip(f'v{i}', file, i % 2, 'ab'[i % 2], 'train') for i, file in enumerate(files)]


def test_what_can_be_extracted_is_the_dataset(convert, capsys):
    convert, calls = convert
    path = convert(make_clips('a.mp4', 'b.mp4', 'bad.mp4'))
    assert calls == [('M', ['hands', 'pose']), ['done', 'done', 'failed']]
    dataset = dataset_lib.load_dataset(path)
    assert dataset.layout.name == 'mediapipe_two_hands'
    assert dataset.splits['train'].video_ids == ['v0', 'v1']
    printed = capsys.readouterr().out
    assert '1 of 3 clips are left out:\n  no landmarks: v2\n' in printed
    assert f'{path}: exists, and is of these clips\n' not in printed


def test_clips_in_which_nothing_is_seen_are_left_out_and_never_alone(convert, capsys, tmp_path):
    convert, calls = convert
    path = convert(make_clips('a.mp4', 'b.mp4', 'black.mp4'))
    assert calls[-1] == ['done', 'done', 'nothing seen']
    assert dataset_lib.load_dataset(path).splits['train'].video_ids == ['v0', 'v1']
    printed = capsys.readouterr().out
    assert 'warning: of 3 clips, nothing seen in 1 (v2); report.csv has each\n' in printed
    assert '1 of 3 clips are left out:\n  nothing seen in any frame: v2\n' in printed
    expected = (
        'nothing was seen in the clips that could be extracted: 2 .v0, v1.; .*/work/landmarks/report.csv says why'
    )
    with pytest.raises(errors.InputError, match=expected):
        convert(make_clips('black.mp4', 'black.mp4'), name='black')
    assert not (tmp_path / 'data' / 'black').exists()


def test_splits_are_drawn_among_the_clips_that_are_there(convert, tmp_path):
    convert, _ = convert
    undrawn = [clips_lib.Clip(f'v{i}', f'{i}.mp4', i % 2, 'ab'[i % 2], '', signer_id=f's{i}') for i in range(14)]
    drawn, _ = splits.assign(undrawn)
    lost = next(i for i, clip in enumerate(drawn) if clip.split == 'test')
    undrawn, drawn = (
        [dataclasses.replace(clip, file='bad.mp4') if i == lost else clip for i, clip in enumerate(clips)]
        for clips in (undrawn, drawn)
    )
    redraw = lambda clips: splits.assign([dataclasses.replace(clip, split='') for clip in clips])  # noqa: E731
    path = convert(drawn, redraw=redraw)
    dataset = dataset_lib.load_dataset(path)
    assert all(set(part.labels.tolist()) == {0, 1} for part in dataset.splits.values())
    table = {clip.video_id: clip.split for clip in clips_lib.read_clips(f'{tmp_path}/work/clips.csv')}
    assert len(table) == 14
    for split, part in dataset.splits.items():
        assert {table[video_id] for video_id in part.video_ids} == {split}
    assert convert(drawn, redraw=redraw) == path


def test_more_clips_need_another_name_or_the_dataset_removed(convert):
    convert, _ = convert
    path = convert(make_clips('a.mp4', 'b.mp4'))
    assert convert(make_clips('a.mp4', 'b.mp4')) == path
    more = make_clips('a.mp4', 'b.mp4', 'c.mp4')
    with pytest.raises(errors.InputError, match=r'signs/1\.0\.0 is of other clips or options'):
        convert(more)
    assert len(dataset_lib.load_dataset(convert(more, name='more')).splits['train']) == 3
    shutil.rmtree(path)
    assert convert(more) == path


def test_refusals_before_and_after_extraction(convert, tmp_path):
    convert, calls = convert
    with pytest.raises(errors.InputError, match="name is 'My signs'"):
        convert(make_clips('a.mp4', 'b.mp4'), name='My signs')
    assert not calls
    assert not os.listdir(tmp_path)
    with pytest.raises(errors.InputError, match=r'no clip could be extracted; .*/work/landmarks/report\.csv says why'):
        convert(make_clips('bad.mp4', 'bad.mp4'))
    assert not (tmp_path / 'data').exists()
