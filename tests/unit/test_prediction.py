"""Models that answer together, and how answers are written."""

import json
import re

import numpy as np
import pytest

from slr_jax import checkpoint, dataset, errors, inference, prediction, workdir
from tests import workdirs

HAND = workdirs.describe('mediapipe_hand')


def make_clips(num_points=21):
    """Clips of three lengths, with missing points."""
    rng = np.random.default_rng(0)
    clips = [rng.random((frames, num_points, 3), np.float32) for frames in (5, 30, 12)]
    clips[1][2:5] = np.nan
    return clips


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    return workdirs.write_runs(tmp_path_factory.mktemp('runs') / 'w', HAND, (1, 2, 3), diverged=[2])


def test_the_likeliest_of_each_clip():
    probabilities = np.array([[0.1, 0.7, 0.2], [0.4, 0.2, 0.4]])
    expected = [[('b', 0.7), ('c', 0.2)], [('a', 0.4), ('c', 0.4)]]
    assert inference.likeliest(probabilities, 'abc', 2) == expected
    assert len(inference.likeliest(probabilities, 'abc', 9)[0]) == 3


def test_runs_answer_with_the_mean_of_their_probabilities(runs, capsys):
    clips = make_clips()
    mean = checkpoint.load_mean_of_runs(runs)
    printed = capsys.readouterr().out
    assert 'seed_2' in printed
    assert 'loss is nan' in printed
    logits = [checkpoint.load_model(f'{runs}/seed_{seed}').logits(clips).astype(np.float64) for seed in (1, 3)]
    expected = sum(np.exp(each) / np.exp(each).sum(axis=1, keepdims=True) for each in logits) / 2
    assert np.abs(logits[0] - logits[1]).max() > 0.1
    np.testing.assert_allclose(mean.probabilities(clips), expected, rtol=1e-9)
    for answer, row in zip(mean.predict(clips, k=2), expected, strict=True):
        assert [gloss for gloss, _ in answer] == [HAND.label_names[i] for i in np.argsort(-row)[:2]]
    for alone, together in zip(map(mean.predict, clips), mean.predict(clips), strict=True):
        assert [gloss for gloss, _ in alone] == [gloss for gloss, _ in together]
        np.testing.assert_allclose([value for _, value in alone], [value for _, value in together], atol=1e-5)


def test_a_run_alone_is_its_own_mean(runs):
    one, mean = (load(f'{runs}/seed_1') for load in (checkpoint.load_model, checkpoint.load_mean_of_runs))
    np.testing.assert_array_equal(one.probabilities(make_clips()), mean.probabilities(make_clips()))


@pytest.mark.parametrize(
    ('other', 'facts'),
    [
        (workdirs.describe('mediapipe_two_hands'), 'layout is mediapipe_two_hands, expected mediapipe_hand'),
        (workdirs.describe('mediapipe_hand', ('book',)), 'num_classes is 1, expected 3'),
        (workdirs.describe('mediapipe_hand', ('book', 'no', 'go')), 'class 1 is no, expected drink'),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(monkeypatch, other, facts):
    entries = [workdir.RunEntry('a', {}), workdir.RunEntry('b', {})]
    descriptions = {'W/a': HAND, 'W/b': other}
    monkeypatch.setattr(workdir, 'read_index', lambda path: entries)
    monkeypatch.setattr(
        checkpoint,
        'load_model',
        lambda path, step: inference.LoadedModel(None, None, None, descriptions[path], 1, {}, ''),
    )
    with pytest.raises(errors.InputError, match=f'^W/b cannot answer together with W/a: {facts}$'):
        checkpoint.load_mean_of_runs('W')


def test_several_runs_are_refused_where_one_is_expected(runs):
    with pytest.raises(errors.InputError, match=r'holds 3 runs, expected one .*/seed_1, or --mean_of_runs'):
        prediction.load(runs)
    assert isinstance(prediction.load(f'{runs}/seed_1'), inference.LoadedModel)


class AnyModel(inference.Predictor):
    description = dataset.Description('tiny', 'mediapipe_hand', ['book', 'drink'])

    def compare_shapes(self, frame_size, num_clips):
        return ''

    def _answer(self, clips, names, frame_size):
        assert all(clip.dtype == np.float32 for clip in clips)
        return np.tile([0.25, 0.75], (len(clips), 1))


GOOD = np.full((5, 21, 3), 0.5, np.float32)
REFUSED = {
    'has shape (5, 20, 3), expected (frames, 21, 3)': GOOD[:, :20],
    'has shape (5, 21, 2), expected (frames, 21, 3)': GOOD[..., :2],
    'has shape (21, 3), expected (frames, 21, 3)': GOOD[0],
    'has no frames': GOOD[:0],
    'NaN everywhere': GOOD * np.nan,
    'infinite coordinates': np.where(np.arange(21)[:, None] == 3, np.inf, GOOD),
    'outside -1 to 2, as pixels are': GOOD * 640,
    'is not an array of real numbers': [[['a'] * 3] * 21] * 5,
    'real numbers: its dtype is <U3': GOOD.astype('U3'),
    'real numbers: its dtype is complex64': GOOD.astype(np.complex64),
    'array of real numbers': [GOOD, GOOD[:2]],
}


@pytest.mark.parametrize('expected', REFUSED)
def test_what_is_no_clip_is_refused_with_its_place(expected):
    model = AnyModel()
    for name, names in (('1', None), ('b', ['a', 'b'])):
        with pytest.raises(errors.InputError, match=f'^clip {name} .*{re.escape(expected)}'):
            model.predict([GOOD, REFUSED[expected]], names=names)
    if getattr(REFUSED[expected], 'ndim', None) == 3:
        with pytest.raises(errors.InputError, match=f'^clip 0 .*{re.escape(expected)}'):
            model.predict(REFUSED[expected])


NO_CLIPS = [GOOD[0], GOOD[0, 0], np.float32(1), 'clip.npy', 3, None, {'a': GOOD}]


@pytest.mark.parametrize('landmarks', NO_CLIPS)
def test_what_is_no_list_of_clips_is_refused(landmarks):
    with pytest.raises(errors.InputError, match=r'^the landmarks are of .*, expected a clip \(frames, 21, 3\)'):
        AnyModel().predict(landmarks)


@pytest.mark.parametrize('landmarks', [*([clip] for clip in REFUSED.values()), *NO_CLIPS])
def test_logits_and_probabilities_refuse_what_predict_refuses(landmarks):
    model = inference.LoadedModel(None, None, None, AnyModel.description, 1, {}, '')
    for answer in (model.logits, model.probabilities):
        with pytest.raises(errors.InputError, match=r'^clip 0 |^the landmarks are of '):
            answer(landmarks)
    assert model.logits([]).shape == model.probabilities([]).shape == (0, 2)


def test_numbers_of_any_type_are_answered():
    best = [('drink', 0.75), ('book', 0.25)]
    model = AnyModel()
    for clip in (GOOD.astype(np.float64), GOOD.astype(int), GOOD.astype(np.float16), GOOD.astype(object)):
        assert model.predict(clip) == best
    assert model.predict([GOOD.tolist()]) == [best]
    assert model.predict(np.stack([GOOD, GOOD])) == [best, best]
    assert model.predict([]) == []


def test_the_table_and_the_lines(tmp_path):
    answers = [
        prediction.Answer('a/1.mp4', [('ja', 0.98765), ('nein', 0.01)], 'ja'),
        prediction.Answer('b.mp4', [('nein', 0.5), ('später', 0.25)]),
    ]
    assert prediction.format_table(answers).splitlines() == [
        'clip     true gloss  1            2',
        'a/1.mp4  ja          ja 98.8 %    nein 1.0 %',
        'b.mp4                nein 50.0 %  später 25.0 %',
    ]
    assert prediction.format_table(answers[1:]).splitlines()[0].split() == ['clip', '1', '2']
    prediction.write_json_lines(str(tmp_path / 'a.jsonl'), [answer.to_json() for answer in answers])
    lines = (tmp_path / 'a.jsonl').read_text(encoding='utf-8').splitlines()
    assert 'später' in lines[1]
    first, second = map(json.loads, lines)
    assert first == {
        'clip': 'a/1.mp4',
        'answers': [{'gloss': 'ja', 'probability': 0.98765}, {'gloss': 'nein', 'probability': 0.01}],
        'true_gloss': 'ja',
    }
    assert 'true_gloss' not in second
