"""The command that answers: the same as evaluate, alone and among others, from every kind of input."""

import dataclasses
import json
import os

import numpy as np
import pandas as pd
import pytest

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker
from preprocessing.extraction import store as store_lib
from preprocessing.formats import npz
from slr_jax import dataset as dataset_lib
from slr_jax import evaluation
from tests import workdirs
from tests.in_process import check_refusal, run_here

BODY = workdirs.describe('mediapipe_hands_pose')


@pytest.fixture
def predict(tmp_path, capfd, monkeypatch):
    """A function: options -> the JSON lines of the command; `refused` gives its error instead."""
    outputs = (tmp_path / f'{number}.jsonl' for number in range(99))

    def predict(workdir, *words, refused=False, **options):
        output = next(outputs)
        given = {'workdir': workdir, 'output': output} | options
        words = [*words, *(f'--{name}={value}' for name, value in given.items())]
        status, stderr = run_here(['slr_jax.predict', *words], capfd, monkeypatch)
        if refused:
            check_refusal(status, stderr, ())
            assert not output.exists()
            return stderr
        assert (status, stderr) == (0, '')
        return [json.loads(line) for line in output.read_text(encoding='utf-8').splitlines()]

    return predict


def check_equal(found, expected):
    """The same glosses with probabilities within 1e-5, whatever the names of the clips."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert [x['gloss'] for x in one['answers']] == [x['gloss'] for x in other['answers']]
        values = ([x['probability'] for x in each['answers']] for each in (one, other))
        np.testing.assert_allclose(*values, atol=1.5e-5)


# --- A dataset of one hand


@pytest.fixture(scope='module')
def hand(tiny_dir, tmp_path_factory):
    """A workdir of a model of the tiny dataset."""
    description = dataset_lib.load_dataset(tiny_dir).description
    return workdirs.write_workdir(tmp_path_factory.mktemp('hand') / 'w', description, dataset=tiny_dir)


def test_it_answers_as_evaluate_does(predict, hand, tiny_dir, tmp_path):
    evaluation.evaluate(hand, output_dir=str(tmp_path / 'evaluation'))
    expected = pd.read_csv(tmp_path / 'evaluation' / 'predictions.csv')
    found = predict(hand, landmarks=tiny_dir, split='test')
    assert [line['clip'] for line in found] == expected['video_id'].tolist()
    assert [line['true_gloss'] for line in found] == expected['gloss'].tolist()
    for rank in (1, 2, 3):
        answers = [line['answers'][rank - 1] for line in found]
        assert [answer['gloss'] for answer in answers] == expected[f'gloss_{rank}'].tolist()
        values = [answer['probability'] for answer in answers]
        np.testing.assert_allclose(values, expected[f'probability_{rank}'], atol=1e-5)
    everything = predict(hand, landmarks=tiny_dir)
    assert len(everything) == 27
    check_equal(everything[-len(found) :], found)


def test_a_clip_alone_is_answered_as_among_others(predict, hand, tiny_dataset, tmp_path):
    clips = tiny_dataset.splits['test'].take([0, 3, 5])
    tiny_dataset = dataclasses.replace(tiny_dataset, splits=tiny_dataset.splits | {'test': clips})
    together = []
    for index in range(len(clips)):
        dataset = dataclasses.replace(tiny_dataset, splits={'test': clips.take([index])})
        npz.write_archive(dataset, str(tmp_path / f'{index}.npz'))
        together += predict(hand, landmarks=tmp_path / f'{index}.npz', k=2)
    npz.write_archive(tiny_dataset, str(tmp_path / 'all.npz'))
    found = predict(hand, landmarks=tmp_path / 'all.npz', split='test', k=2)
    assert [line['clip'] for line in found] == [line['clip'] for line in together]
    assert all(len(line['answers']) == 2 for line in found)
    check_equal(found, together)


def test_several_runs_answer_together(predict, tiny_dataset, tiny_dir, tmp_path):
    workdir = workdirs.write_runs(tmp_path / 'w', tiny_dataset.description, (1, 2, 3), diverged=[2])
    stderr = predict(workdir, landmarks=tiny_dir, refused=True)
    assert f'{workdir}/seed_1' in stderr
    assert '--mean_of_runs' in stderr
    one, other = (predict(f'{workdir}/seed_{seed}', landmarks=tiny_dir, split='test') for seed in (1, 3))
    mean = predict(workdir, '--mean_of_runs', landmarks=tiny_dir, split='test')
    for lines in zip(mean, one, other, strict=True):
        found, *each = ({x['gloss']: x['probability'] for x in line['answers']} for line in lines)
        for gloss, probability in found.items():
            assert abs(probability - (each[0][gloss] + each[1][gloss]) / 2) < 1e-5


# --- Videos


HEIGHT, WIDTH, NUM_FRAMES = 48, 64, 12


def make_points(name, frames=NUM_FRAMES):
    points = np.random.default_rng(len(name)).random((frames, 75, 3), np.float32)
    points[1:3, :21] = np.nan
    return points


@pytest.fixture
def extraction(monkeypatch):
    """Stands in for MediaPipe: a random body per video, nothing in those called empty; has the calls that were made."""
    pytest.importorskip('cv2')
    pytest.importorskip('av')
    pytest.importorskip('mediapipe')
    from preprocessing.extraction import people, run_local, worker_pool
    from preprocessing.formats import model_input

    calls = []

    def extract(clips, videos, model_dir, options, num_workers, time_limit):
        calls.append((options, num_workers, time_limit))
        for clip in reversed(clips):
            name = os.path.basename(clip.file)
            points = make_points(name)
            if name.startswith('bad'):
                yield clip, worker_pool.Failure('the file is empty')
            else:
                points[:] = np.nan if name.startswith('nobody') else points
                yield clip, people.Extracted(points, 0)

    monkeypatch.setattr(run_local, 'extract_in_memory', extract)
    monkeypatch.setattr(model_input.model_files, 'read_models', lambda model_dir, names: {part: b'm' for part in names})
    return calls


@pytest.fixture
def videos(tmp_path):
    """Folder of grey videos of three kinds: good ones, one in which nobody is seen, one that cannot be read."""
    videos_lib = pytest.importorskip('tests.videos')
    path = tmp_path / 'videos'
    (path / 'book').mkdir(parents=True)
    pictures = [np.full((HEIGHT, WIDTH, 3), 128, np.uint8)] * NUM_FRAMES
    for name in ('book/a.mp4', 'book/longer.mp4', 'nobody.mp4', 'bad.mp4'):
        videos_lib.write_video(path / name, pictures, 'mpeg4')
    return path


@pytest.fixture(scope='module')
def body(tmp_path_factory):
    """A workdir of a model of hands and pose, whose data were extracted with options that are not the defaults."""
    options = landmarker.Options(running_mode='video', handedness='swapped', min_detection_confidence=0.4)
    source = {'kind': 'landmarks', **dataclasses.asdict(options), 'hand': 'most_seen', 'drop_empty_frames': False}
    description = dataclasses.replace(BODY, handedness='swapped', source=source)
    return workdirs.write_workdir(tmp_path_factory.mktemp('body') / 'w', description, num_heads=10), options


def test_videos_are_answered_as_their_landmarks_are(predict, extraction, videos, body, tmp_path):
    workdir, options = body
    found = predict(workdir, videos=videos, num_workers=3, time_limit=9)
    assert extraction == [(options, 3, 9.0)]
    assert [line['clip'] for line in found] == ['book/a.mp4', 'book/longer.mp4']
    with store_lib.open_store(str(tmp_path / 'landmarks'), options.describe({})) as store:
        for name in ('a', 'longer'):
            clip = clips_lib.Clip(name, f'{name}.mp4', 0, 'book', 'test')
            store.save(clip, make_points(clip.file), 0)
    check_equal(found, predict(workdir, landmarks=tmp_path / 'landmarks'))
    alone = predict(workdir, videos=videos / 'book' / 'a.mp4')
    assert alone[0]['clip'] == str(videos / 'book' / 'a.mp4')
    check_equal(alone, found[:1])
    check_equal(predict(workdir, videos=videos / 'book' / '*.mp4'), found)


def test_a_video_without_an_answer_is_refused(predict, extraction, videos, body):
    for name, fact in (('bad', 'the file is empty'), ('nobody', 'nothing seen in any frame')):
        assert predict(body[0], videos=videos / f'{name}.mp4', refused=True).endswith(f'{name}.mp4: {fact}\n')


def test_the_video_that_is_written_shows_landmarks_and_glosses(predict, extraction, videos, body, tmp_path):
    import cv2

    output = tmp_path / 'answer.mp4'
    predict(body[0], videos=videos / 'book' / 'a.mp4', output_video=output)
    reader = cv2.VideoCapture(str(output))
    frames = []
    while (read := reader.read())[0]:
        frames.append(read[1][..., ::-1].astype(int))
    assert len(frames) == NUM_FRAMES
    height, width, _ = frames[0].shape
    assert (width, height % 2) == (960, 0)
    band, picture = frames[0][: height - 720], frames[0][height - 720 :]
    # Three lines of light text above the picture, in which landmarks are colored.
    assert 100 < len(band) < 200
    assert (band < 30).mean() > 0.7
    assert ((band > 200).mean(axis=(1, 2)) > 0).mean() > 0.4
    assert (np.ptp(picture, axis=-1) > 60).mean() > 0.01
    # The other hand is not seen in frames 1 and 2.
    assert np.abs(frames[0] - frames[1]).max() > 100


def test_outputs_that_cannot_be_are_refused_before_the_work(predict, extraction, videos, body, tmp_path):
    cases = (
        ({'videos': videos, 'output_video': tmp_path / 'a.mp4'}, '4 videos'),
        ({'videos': videos, 'output_video': tmp_path / 'a.avi'}, '.mp4'),
        ({'landmarks': videos, 'output_video': tmp_path / 'a.mp4'}, '--videos'),
        ({'videos': videos, 'output_video': videos / 'bad.mp4'}, 'exists already'),
        ({'videos': videos, 'landmarks': videos}, '--videos and --landmarks'),
        ({}, 'no input'),
    )
    for options, fact in cases:
        assert fact in predict(body[0], refused=True, **options)
    assert not extraction


@pytest.mark.slow
def test_a_recording_is_answered_as_what_is_extracted_of_it(predict, shared, tmp_path):
    pytest.importorskip('mediapipe')
    cv2 = pytest.importorskip('cv2')
    from preprocessing.extraction import run_local

    (tmp_path / 'videos').mkdir()
    for name in ('69241', '00339'):
        reader = cv2.VideoCapture(str(shared / 'videos' / f'{name}.mp4'))
        frames = [reader.read()[1] for _ in range(29)][24:]
        path = str(tmp_path / 'videos' / f'{name}.mp4')
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'mp4v'), 25, frames[0].shape[1::-1])
        for frame in frames:
            writer.write(frame)
        writer.release()
    (tmp_path / 'videos' / 'empty.mp4').write_bytes(b'')
    options = landmarker.Options(running_mode='video', handedness='swapped')
    clips = [clips_lib.Clip(name, f'{name}.mp4', 0, 'book', 'test') for name in ('00339', '69241')]
    where = (str(tmp_path / 'videos'), str(tmp_path / 'landmarks'), str(shared / 'models'))
    run_local.extract(clips, *where, options, num_workers=2)
    source = {'kind': 'landmarks', **store_lib.read_description(where[1])[0]}
    description = dataclasses.replace(BODY, handedness='swapped', source=source)
    workdir = workdirs.write_workdir(tmp_path / 'w', description, num_heads=10)
    expected = predict(workdir, landmarks=where[1])
    found = predict(workdir, videos=where[0], model_dir=where[2], num_workers=2)
    assert len(found) == 2
    check_equal(found, expected)
    check_equal(predict(workdir, videos=f'{where[0]}/69241.mp4', model_dir=where[2]), expected[1:])
