import base64
import dataclasses
import json
import re

import numpy as np
import pytest

from slr_jax import metrics, report_answers, report_figures, report_page
from tests.report_pages import Page, make_report

NASTY = (
    '<script>alert(1)</script>',
    '"><img src=x onerror="alert(2)">',
    "it's & 'that'",
    'א ב 수화 ñ 𝛼',
    'x' * 3000,
    '</script><!--',
    '$title ${script}',
)


def clips_of(page):
    return json.loads(re.search('<script type="application/json" id="clips">(.*?)</script>', page)[1])


def test_the_page_is_whole_and_asks_for_nothing():
    text = report_page.render(make_report(num_runs=3))
    page = Page(text)
    assert '://' not in text
    assert not [x for _, x in page.elements if {'src', 'srcset', 'poster', 'data'} & x.keys()]
    assert [x['href'] for x in page.all('a')] == ['#main', *(f'#{x["id"]}' for x in page.all('section'))]
    ids = [x['id'] for _, x in page.elements if 'id' in x]
    assert len(set(ids)) == len(ids)
    assert {x['aria-labelledby'] for x in page.all('section')} <= set(ids)
    policy = page.all('meta', **{'http-equiv': 'Content-Security-Policy'})[0]['content']
    assert policy.startswith("default-src 'none';")


def test_figures_and_tables_are_named():
    page = Page(report_page.render(make_report(num_runs=2)))
    assert all(x.get('aria-label') or x.get('aria-hidden') == 'true' for x in page.all('svg'))
    assert len(page.all('svg', role='img')) > 8
    assert len(page.all('caption')) == len(page.all('table'))
    assert all(x.get('scope') in ('row', 'col') for x in page.all('th'))
    assert all(x.get('aria-label') for x in page.all('input'))


def test_texts_are_escaped():
    report = make_report(NASTY, num_clips=28)
    clips = report.clips
    clips.video_ids[:] = [f'{name}{number}' for number, name in enumerate(NASTY * 4)]
    clips.signers[:] = list(NASTY) * 4
    text = report_page.render(report)
    page = Page(text)
    assert len(page.all('script')) == 2
    assert not page.all('img')
    assert not [x for _, x in page.elements if any(name.startswith('on') for name in x)]
    for name in NASTY:
        assert any(data == name for tag, data in page.texts if tag == 'bdi'), name
        assert page.all('bdi', title=name)
    clips_of(text)


def test_a_run_alone_has_no_comparison():
    assert Page(report_page.render(make_report())).all('section', id='runs') == []


def test_runs_are_compared_and_diverged_ones_named():
    report = make_report(num_runs=3, diverged={'seed_<9>': 'the loss of step 2 is nan'})
    page = Page(report_page.render(report))
    assert 'seed_<9> (the loss of step 2 is nan)' in page.text()
    ((_, aggregate),) = report.settings
    accuracies = [run.metrics['accuracy'] for run in report.runs]
    assert aggregate['accuracy_mean'] == pytest.approx(np.mean(accuracies))
    assert {aggregate['accuracy_mean'], aggregate['accuracy_std'], *aggregate['accuracy_interval95']} <= {*page.numbers}
    assert '95 % interval, of clips and seeds' in page.text()
    for run in report.runs:
        assert {run.metrics['accuracy'], *run.metrics['accuracy_wilson95']} <= {*page.numbers}
    assert 'seed_2, whose details follow, is the best by validation accuracy' in page.text()


def test_what_is_lacking_is_left_out_with_a_word():
    report = make_report(has_mask=False)
    report.best.config.model = 'spoter_pe'
    imported = report.best.__class__(**vars(report.best) | {'rows': [], 'environment': {}, 'dataset': {}})
    text = Page(report_page.render(make_report(best=imported, runs=[imported]))).text()
    assert 'spoter_pe has no learned mask' in text
    assert 'has no metrics.csv' in text


@pytest.mark.parametrize(('split', 'words'), [('train', 'were trained on'), ('validation', 'chose the checkpoint')])
def test_an_accuracy_that_is_too_high_is_called_so(split, words):
    assert words in report_page.render(make_report(split=split, is_training_data=True))
    assert words not in report_page.render(make_report(split=split))
    assert words not in report_page.render(make_report(is_training_data=True))


def test_signers_and_classes_of_the_test_are_named():
    report = make_report()
    assert 'in train, too' not in report_page.render(report)
    report.best.metrics.update({'signers_in_train': 1.0, 'glosses': 1})
    text = Page(report_page.render(report)).text()
    assert 'The signers of 100% of the test clips are in train, too' in text
    assert '--split_by=signer' in text
    assert 'The test clips are all of one class.' in text


def test_the_worst_mistakes_are_the_confident_ones():
    report = make_report(num_clips=40)
    probabilities = metrics.probabilities(report.best.logits)
    wrong = [(probabilities[i].max(), i) for i in range(40) if probabilities[i].argmax() != report.clips.labels[i]]
    expected, pairs = [], []
    for _, i in sorted(wrong, reverse=True):
        pairs.append((report.clips.labels[i], probabilities[i].argmax()))
        if pairs.count(pairs[-1]) <= 3:
            expected.append(i)
    expected = expected[:12]
    page = Page(report_page.render(report))
    assert len(page.all('article')) == len(expected) == 12
    descriptions = [x['aria-label'] for x in page.all('svg', **{'class': 'figure', 'role': 'img'})]
    assert [re.search(r'test_\d+', x)[0] for x in descriptions] == [report.clips.video_ids[i] for i in expected]


def test_no_mistake():
    report = make_report()
    report.best.logits[:] = np.eye(3)[report.clips.labels]
    page = Page(report_page.render(report))
    assert page.text().count('No clip was mistaken.') == 2
    assert not page.all('article')


def test_landmarks_are_drawn_where_they_are():
    report = make_report(num_frames=150)
    for clip in report.clips.landmarks:
        clip[:, 3] = np.nan
        clip[:, 5] = (0.5, 40, 0)
    content = clips_of(report_page.render(report))
    worst = report_answers.worst(report)
    assert content['groups'][0]['points'] == list(range(21))
    for number, clip in zip(worst, content['clips'], strict=True):
        numbers = np.frombuffer(base64.b64decode(clip['points']), '<i2').reshape(-1, 21, 2)
        frames = np.array(clip['frames']) - 1
        assert (clip['length'], len(frames), frames[0], frames[-1]) == (150, len(numbers), 0, 149)
        assert (numbers[:, 3] == -32768).all()
        assert (numbers[:, 5, 1] == 32767).all()
        kept = [point for point in range(21) if point not in (3, 5)]
        drawn = report.clips.landmarks[number][frames][..., :2]
        np.testing.assert_allclose(numbers[:, kept] / 1e4, drawn[:, kept], atol=5.1e-5)
        left, top, width, height = np.array(clip['view']) / 1e4
        assert (drawn[:, kept, 0] > left).all() and (drawn[:, kept, 0] < left + width).all()
        assert top > 0.1 and top + height < 0.9


def test_swapped_hands_are_drawn_as_the_signer_has_them():
    report = make_report(layout='mediapipe_hands_pose')
    groups = report_answers.drawn_groups(report.best.description)
    assert [group['style'] for group in groups] == ['right', 'left', 'body']
    object.__setattr__(report.best.description, 'handedness', 'swapped')
    groups = report_answers.drawn_groups(report.best.description)
    assert [group['style'] for group in groups] == ['left', 'right', 'body']
    assert groups[0]['points'] == list(range(21))


@pytest.mark.parametrize('num_classes', [13, 120])
def test_confusions(num_classes):
    report = make_report([f'g{label}' for label in range(num_classes)], num_clips=3 * num_classes)
    text = report_page.render(report)
    page = Page(text)
    shown = min(num_classes, 100)
    start = next(i for i, (_, x) in enumerate(page.elements) if x.get('class', '').startswith('confusion'))
    end = next(i for i in range(start, len(page.elements)) if page.elements[i][0] == 'h3')
    cells = [x for tag, x in page.elements[start:end] if tag == 'td']
    assert len(cells) == shown**2 + 1
    assert ('100 of 120 classes' in text) == (num_classes == 120)
    if num_classes == 13:
        predicted = report.best.logits.argmax(axis=1)
        pairs = {*zip(report.clips.labels.tolist(), predicted.tolist(), strict=True)}
        assert len([x for x in cells if x.get('class') in ('hit', 'miss')]) == len(pairs)
    assert len(text) < 600_000


def test_a_chart_has_its_points_and_no_nan():
    rows = make_report().best.rows
    lines = [report_figures.Line('train', 'train', report_page.points_of(rows, 'train_loss'))]
    assert [x for x, _ in lines[0].points] == [1, 3, 4, 5]
    svg = report_figures.draw_lines(lines, 'loss')
    assert 'nan' not in svg
    (path,) = re.findall('class="line train" d="M([^"]+)"', svg)
    places = np.array([vertex.split(',') for vertex in path.split('L')], float)
    assert (np.diff(places[:, 0]) > 0).all()
    assert (np.diff(places[:, 1]) > 0).all()
    assert report_figures.draw_lines([report_figures.Line('one', 'train', [(1.0, 0.5)])], 'loss')


def test_points_that_beat_their_shadows_have_a_ring():
    report = make_report(num_runs=3)
    for number, run in enumerate(report.runs):
        shadows = np.full((21, 2), 0.1)
        weights = np.where(np.arange(21) < 4 + number, 2.0, 0.05)[:, None].repeat(2, axis=1)
        (mask,) = run.masks
        run.masks[:] = [
            dataclasses.replace(mask, weights=weights, shadows=shadows, q_values=np.where(weights[:, 0] > 1, 0.01, 1.0))
        ]
    page = Page(report_page.render(report))
    best = report.runs.index(report.best)
    assert len(page.all('circle', **{'class': 'ring'})) == 4 + best
    assert 4 + best in page.numbers
    assert sum(data == 'beats its shadows' for _, data in page.texts) == 2
    plain = Page(report_page.render(make_report(num_runs=3)))
    assert not plain.all('circle', **{'class': 'ring'})
    assert 'beats its shadows' not in {data for _, data in plain.texts}
