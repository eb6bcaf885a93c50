"""Windows over recordings, their answers, smoothing, and segments; and that memory stays flat over an hour."""

import jax
import numpy as np
import pytest

from slr_jax import dataset, errors, features, inference, live, models
from tests.conftest import make_tiny_config, resident_bytes

POINTS = 21
DESCRIPTION = dataset.Description('tiny', 'mediapipe_hand', ['book', 'drink', 'go'])


class FakeModel:
    """Answers with the mean of x and what it lacks to 1: classes 0 and 1 are 0.2 and 0.8 where it is 0.8."""

    description = DESCRIPTION

    def __init__(self):
        self.batches = []

    def probabilities(self, clips):
        self.batches.append(len(clips))
        x = np.array([np.nanmean(clip[..., 0]) for clip in clips], np.float64)
        return np.stack([1 - x, x, 0 * x], axis=1)


def frames_at(times, x=None):
    """Frames whose points are all at (x, number of the frame, 0)."""
    for number, seconds in enumerate(times):
        points = np.zeros((POINTS, 3), np.float32)
        points[:] = (0.5 if x is None else x[number]), number, 0
        yield float(seconds), points


def spans(times, window, stride):
    """Start, end and the numbers of the frames of each window."""
    found = live.windows(frames_at(times), live.Sliding(window, stride))
    return [(round(w.start, 6), round(w.end, 6), w.landmarks[:, 0, 1].astype(int).tolist()) for w in found]


# --- Windows


def test_windows_of_a_steady_recording():
    # 3.3 seconds at 10 frames per second; the last window ends with the last frame.
    assert spans(np.arange(33) / 10, 2, 1) == [
        (0, 2, list(range(20))),
        (1, 3, list(range(10, 30))),
        (1.3, 3.3, list(range(13, 33))),
    ]
    # Where it ends with a whole window, this is the last.
    assert [span[:2] for span in spans(np.arange(30) / 10, 2, 1)] == [(0, 2), (1, 3)]


@pytest.mark.parametrize('fps', [15, 23.976, 25, 29.97, 30, 59.94])
def test_every_frame_is_in_a_window_at_any_rate(fps):
    times = np.arange(round(7.3 * fps)) / fps
    found = spans(times, 2, 0.5)
    assert sorted({number for *_, numbers in found for number in numbers}) == list(range(len(times)))
    for start, end, numbers in found[:-1]:
        assert numbers == np.flatnonzero((times >= start - 1e-6) & (times < end - 1e-6)).tolist()
        assert start == (found.index((start, end, numbers))) * 0.5


def test_a_recording_shorter_than_the_window_is_one():
    assert spans([0, 0.1, 0.2], 2, 0.5) == [(0, 0.3, [0, 1, 2])]
    assert spans([5.0], 2, 0.5) == [(5, 5, [0])]
    assert spans([], 2, 0.5) == []


def test_windows_are_by_time():
    # A camera that slows down, and a first frame that is not at 0.
    assert spans([1, 1.1, 1.2, 1.6, 1.9, 2.4, 2.9], 1, 0.5) == [
        (1, 2, [0, 1, 2, 3, 4]),
        (1.5, 2.5, [3, 4, 5]),
        (2.4, 3.4, [5, 6]),
    ]


def test_a_gap_is_one_empty_window():
    times = [0, 0.5, 1, 60, 60.5, 61]
    assert spans(times, 1, 0.5) == [
        (0, 1, [0, 1]),
        (0.5, 1.5, [1, 2]),
        (1, 2, [2]),
        (1.5, 60, []),
        (59.5, 60.5, [3]),
        (60, 61, [3, 4]),
        (60.5, 61.5, [4, 5]),
    ]


@pytest.mark.parametrize(('window', 'stride'), [(2, 3), (2, 0), (2, -1), (0.1, 0.5)])
def test_a_stride_above_the_window_is_refused(window, stride):
    with pytest.raises(errors.InputError, match=f'--stride={stride}.*--window={window}'):
        live.Sliding(window, stride)


# --- Answers


def answer(x, sliding, fps=10, model=None, **options):
    frames = frames_at(np.arange(len(x)) / fps, x)
    return list(live.answers(live.windows(frames, sliding), model or FakeModel(), sliding, **options))


@pytest.mark.slow
def test_the_window_sees_what_predict_is_given():
    config = make_tiny_config('none')
    model = models.model_from_config(config, 3)
    dim = features.Features.from_config(config, 'mediapipe_hand').dim
    params = model.init(jax.random.key(0), np.zeros((1, 1, dim)), np.ones((1, 1), bool))['params']
    loaded = inference.LoadedModel(model, params, config, DESCRIPTION, 0, {}, '')
    rng = np.random.default_rng(0)
    # At a rate that varies, so that windows differ in length; some frames show no hand.
    times = np.cumsum(rng.uniform(0.06, 0.2, 90))
    landmarks = rng.uniform(size=(90, POINTS, 3)).astype(np.float32)
    landmarks[rng.random(90) < 0.2] = np.nan
    sliding = live.Sliding(1, 0.5, smoothing=1)
    found = list(live.answers(live.windows(zip(times, landmarks, strict=True), sliding), loaded, sliding, batch_size=4))
    assert len({len(each.window.landmarks) for each in found}) > 2
    for each in found:
        clip = landmarks[(times >= each.window.start - 1e-6) & (times < each.window.end - 1e-6)]
        np.testing.assert_array_equal(each.window.landmarks, clip)
        expected = dict(loaded.predict(clip, k=3))
        np.testing.assert_allclose(each.own, [expected[name] for name in DESCRIPTION.label_names], atol=1e-5)


def test_answers_are_the_mean_of_the_last_windows():
    x = np.random.default_rng(0).random(80)
    alone = answer(x, live.Sliding(1, 0.5, smoothing=1))
    smooth = answer(x, live.Sliding(1, 0.5, smoothing=3))
    middles = [(each.window.start + each.window.end) / 2 for each in alone]
    assert len(smooth) == len(alone) + 2
    for number, each in enumerate(smooth):
        last = min(number, len(alone) - 1)
        before = range(max(0, number - 2), last + 1)
        np.testing.assert_allclose(each.probabilities, np.mean([alone[i].own for i in before], axis=0))
        assert each.time == pytest.approx(np.mean([middles[i] for i in before]))
        np.testing.assert_array_equal(each.own, alone[last].own)


def test_below_the_threshold_there_is_no_sign():
    x = [0.3] * 10 + [0.8] * 10
    found = [(each.gloss, round(each.probability, 6)) for each in answer(x, live.Sliding(1, 1, 1, threshold=0.75))]
    assert found == [(None, 0.7), ('drink', 0.8)]
    assert [each.gloss for each in answer(x, live.Sliding(1, 1, 1, threshold=0.65))] == ['book', 'drink']


def test_without_hands_there_is_no_sign_and_the_model_is_not_asked():
    model = FakeModel()
    found = answer([np.nan] * 40, live.Sliding(1, 1), model=model)
    assert [each.gloss for each in found] == [None] * 6
    assert [each.probability for each in found] == [0] * 6
    assert not model.batches
    # Windows without a hand count in the mean.
    x = [0.9] * 10 + [np.nan] * 10
    assert [each.probability for each in answer(x, live.Sliding(1, 1))] == pytest.approx([0.9, 0.45, 0])


def test_a_gap_ends_smoothing():
    sliding = live.Sliding(1, 0.5)
    windows = live.windows(frames_at([0, 0.5, 1, 60, 60.5, 61], [0.9] * 6), sliding)
    found = list(live.answers(windows, FakeModel(), sliding))
    assert [each.probability for each in found] == pytest.approx([0.9] * 5 + [0] + [0.9] * 5)


@pytest.mark.parametrize('batch_size', [1, 3, 100])
def test_batches_answer_as_one_by_one(batch_size):
    model, x = FakeModel(), np.random.default_rng(1).random(100)
    found = answer(x, live.Sliding(1, 0.5), model=model, batch_size=batch_size)
    assert [each.probability for each in found] == [each.probability for each in answer(x, live.Sliding(1, 0.5))]
    assert max(model.batches) == min(batch_size, len(found) - 2)


def test_windows_are_prepared_for_the_model():
    def prepare(landmarks):
        return landmarks[landmarks[:, 0, 1] % 2 == 0] * (10, 1, 1)

    found = answer([0.01, 0.5] * 5, live.Sliding(1, 1, 1), prepare=prepare)
    assert [each.probability for each in found] == pytest.approx([0.9])


# --- Segments


def test_equal_answers_become_a_segment():
    x = [0.1] * 20 + [0.9] * 30 + [np.nan] * 20 + [0.9] * 5
    found = live.segments(answer(x, live.Sliding(1, 1, smoothing=1)))
    # Middles of windows are 0.5, 1.5 and so on; the last ends with the recording, and begins at 6.5.
    assert [segment.to_json() for segment in found] == [
        {'start': 0, 'end': 2, 'gloss': 'book', 'probability': 0.9},
        {'start': 2, 'end': 5, 'gloss': 'drink', 'probability': 0.9},
        {'start': 5, 'end': 6.75, 'gloss': None, 'probability': 0},
        {'start': 6.75, 'end': 7.5, 'gloss': 'drink', 'probability': 0.9},
    ]
    assert list(live.segments([])) == []


@pytest.mark.parametrize('place', [0, 4.5, 9])
@pytest.mark.parametrize('window', [1, 2])
def test_a_sign_of_a_second_is_found_wherever_it_is(place, window):
    times = np.arange(100) / 10
    x = np.where((times >= place) & (times < place + 1), 0.95, np.nan)
    sliding = live.Sliding(window, window / 4, threshold=0.5)
    signs = [each for each in live.segments(answer(x, sliding)) if each.gloss]
    assert [each.gloss for each in signs] == ['drink']
    assert signs[0].start < place + 1
    assert signs[0].end > place


@pytest.mark.parametrize('seconds', [0.5, 2, 3, 3.5, 10])
@pytest.mark.parametrize('smoothing', [1, 3, 4])
def test_a_reversed_recording_has_the_reversed_segments(seconds, smoothing):
    x = np.random.default_rng(3).choice([0.1, 0.3, 0.8, np.nan], round(seconds * 2)).repeat(5)
    sliding = live.Sliding(2, 0.5, smoothing)
    forth, back = (list(live.segments(answer(y, sliding))) for y in (x, x[::-1]))
    turned = [(seconds - each.end, seconds - each.start, each.gloss, each.probability) for each in reversed(back)]
    assert len(forth) == len(turned)
    for each, other in zip(forth, turned, strict=True):
        assert (each.start, each.end, each.probability) == pytest.approx((other[0], other[1], other[3]), abs=1e-6)
        assert each.gloss == other[2]


def test_segments_come_as_soon_as_they_end():
    taken = []

    def count(frames):
        for frame in frames:
            taken.append(frame[0])
            yield frame

    sliding = live.Sliding(1, 1, smoothing=1)
    frames = count(frames_at(np.arange(1000) / 10, [0.1] * 100 + [0.9] * 900))
    found = live.segments(live.answers(live.windows(frames, sliding), FakeModel(), sliding, batch_size=1))
    assert next(found).to_json() == {'start': 0, 'end': pytest.approx(10), 'gloss': 'book', 'probability': 0.9}
    assert len(taken) < 120


def test_memory_is_flat_over_an_hour():
    used = []

    def hour():
        for number in range(108_000):
            if number in (9_000, 107_999):
                used.append(resident_bytes())
            yield number / 30, np.full((POINTS, 3), 0.8, np.float32)

    sliding = live.Sliding()
    [segment] = live.segments(live.answers(live.windows(hour(), sliding), FakeModel(), sliding))
    assert segment.to_json() == {'start': 0, 'end': 3600, 'gloss': 'drink', 'probability': 0.8}
    # All frames would be 27 MB.
    assert used[1] - used[0] < 8e6
