import csv
import dataclasses

import numpy as np
import pytest

from slr_jax import errors, figures, interpretation, landmarks, masks

POSE = landmarks.LAYOUTS['mediapipe_hands_pose']


def read(path, delimiter=','):
    with open(path, newline='') as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_the_published_thumb_is_on_the_right_hand(shared, tmp_path):
    path = shared / 'data' / 'published_masks' / 'wlasl100_class_query.csv'
    mask = masks.read_mask_csv(str(path))
    best = max(masks.point_table(mask), key=lambda row: row['weight'])
    assert (best['column'], best['point'], best['group']) == ('LHx4', 'right_hand_thumb_tip', 'right_hand')
    assert best['weight'] == pytest.approx(1.5426, abs=1e-4)
    assert mask.anatomical_weights[4] == best['weight']
    np.testing.assert_array_equal(mask.anatomical_weights[42:], mask.point_weights[42:])
    as_named = masks.read_mask_csv(str(path), 'signer')
    assert masks.point_table(as_named)[21 + 4]['point'] == 'left_hand_thumb_tip'
    masks.write_published(str(tmp_path / 'again.csv'), mask)
    given, again = (read(file, ';') for file in (path, tmp_path / 'again.csv'))
    assert given[0] == again[0]
    np.testing.assert_array_equal(np.array(given[1], float), np.array(again[1], float))


def test_one_hand_has_no_side(shared):
    mask = masks.read_mask_csv(str(shared / 'data' / 'published_masks' / 'ipnhand_class_query.csv'))
    best = min(masks.point_table(mask), key=lambda row: row['rank'])
    assert (best['column'], best['point'], best['group']) == ('x4', 'thumb_tip', 'hand')


def make_mask():
    weights = np.arange(150, dtype=float).reshape(75, 2)
    weights[3] = (500, 0)
    return masks.Mask('encoder_mask', weights, POSE, 'signer')


def test_tables():
    mask = make_mask()
    rows = masks.coordinate_table(mask)
    assert len(rows) == 150
    assert rows[7] == {
        'column': 'RHx3',
        'point': 'right_hand_thumb_ip',
        'group': 'right_hand',
        'axis': 'y',
        'weight': 0,
        'rank': 150,
    }
    assert rows[6]['rank'] == 1
    points = masks.point_table(mask, informative_points=[3])
    assert points[3] == {
        'column': 'RHx3',
        'point': 'right_hand_thumb_ip',
        'group': 'right_hand',
        'weight': 250,
        'rank': 1,
        'informative': 1,
    }
    assert sorted(row['rank'] for row in points) == list(range(1, 76))


def test_auroc():
    scores = np.array([3.0, 2.0, 2.0, 1.0])
    assert masks.auroc(scores, np.array([True, False, False, False])) == 1
    assert masks.auroc(scores, np.array([False, False, False, True])) == 0
    assert masks.auroc(scores, np.array([False, True, False, True])) == pytest.approx((0 + 0.5 + 0 + 0) / 4)
    assert np.isnan(masks.auroc(scores, np.zeros(4, bool)))


def test_all_files_are_written(tmp_path, capsys):
    interpretation.write_masks([make_mask()], str(tmp_path), 'run', informative_points=[3, 70])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        'points.csv',
        'coordinates.csv',
        'WEIGHTS_SRC_run.csv',
        'bars.png',
        'bars.svg',
        'figure.png',
        'figure.svg',
        'auroc.json',
    }
    assert 'right_hand_thumb_ip 250.000' in capsys.readouterr().out
    assert (tmp_path / 'figure.png').read_bytes()[:4] == b'\x89PNG'


@pytest.mark.parametrize('layout', landmarks.LAYOUTS.values(), ids=lambda layout: layout.name)
def test_figure_has_a_panel_for_each_group_and_a_number_for_each_point(layout):
    weights = np.linspace(0.5, 1.5, layout.num_points)
    figure = figures.draw_body_and_hands(weights, layout, 'title')
    assert len(figure.axes) == len(layout.groups)
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    expected = [f'{i}: {weights[point]:.2f}' for points in layout.groups.values() for i, point in enumerate(points)]
    assert sorted(texts) == sorted(expected)
    titles = [axis.get_title() for axis in figure.axes]
    if 'right_hand' in layout.groups:
        assert titles[0].startswith("signer's right hand")
        assert titles[-1].startswith("signer's left hand")


def test_the_mean_over_runs_has_its_spread_and_significance(tmp_path):
    runs = [
        [dataclasses.replace(make_mask(), weights=np.full((75, 2), weight) + np.array((0, shift)))]
        for weight, shift in ((1.0, 0.0), (2.0, 1.0), (3.0, 2.0))
    ]
    (mask,) = masks.mean_masks(runs)
    np.testing.assert_allclose(mask.weights, [[2.0, 3.0]] * 75)
    np.testing.assert_allclose(mask.deviations, 1.5)
    mask = dataclasses.replace(mask, q_values=np.where(np.arange(75) == 30, 0.1, 0.11), handedness='swapped')
    interpretation.write_masks([mask], str(tmp_path), 'runs')
    header, *rows = read(tmp_path / 'points.csv')
    assert header[-3:] == ['std', 'q_value', 'significant']
    assert [index for index, row in enumerate(rows) if row[-1] == '1'] == [30]
    svg = (tmp_path / 'figure.svg').read_text()
    assert svg.count('± 1.50') == 75
    assert 'ringed where it beats its shadows (q ≤ 0.1)' in svg


def test_shadow_test_by_hand():
    shadows = np.array([1.0, 0.5, 0.4, 0.3])
    # As important: 0, 1, 4 and 1 of 4 shadows; ties count for the shadow. p is 1/5, 2/5, 5/5, 2/5.
    found = masks.shadow_test(np.array([2.0, 1.0, 0.1, 0.9]), shadows)
    # Benjamini and Hochberg: p × 4 / rank, and none below that of a larger p.
    np.testing.assert_allclose(found, [2 / 5 * 4 / 3, 2 / 5 * 4 / 3, 1, 2 / 5 * 4 / 3])
    np.testing.assert_allclose(masks.shadow_test(np.array([2.0, 0.45]), shadows), [1 / 5 * 2, 3 / 5])


def test_negative_weights_beat_shadows_in_the_mean_of_each_run():
    points, two = [[1.0, -2.0], [1.0, 2.0]], landmarks.subset(POSE, (0, 1))
    runs = [
        [masks.Mask('encoder_mask', np.array(weights)[:, None], two, 'signer', shadows=np.full((2, 1), 1.5))]
        for weights in points
    ]
    (mask,) = masks.mean_masks(runs)
    np.testing.assert_array_equal(mask.weights[:, 0], [1, 0])
    np.testing.assert_allclose(mask.q_values, [1, 2 / 3])
    np.testing.assert_array_equal(mask.fed_weights[:, 0], [1, 0, 1.5, 1.5])


def test_one_run_has_no_spread():
    (mask,) = masks.mean_masks([[make_mask()]])
    assert mask.deviations is None
    assert 'std' not in masks.point_table(mask)[0]


@pytest.mark.parametrize(
    ('content', 'facts'),
    [
        ('', r'\b0\b'),
        ('x0;x1\n1;2\n', "2 .*'x0'"),
        (';'.join(f'x{i}' for i in range(21)) + '\n' + ';'.join(['1'] * 20) + '\n', 'row 2.*21'),
        (';'.join(f'x{i}' for i in range(21)) + '\n' + ';'.join(['a'] * 21) + '\n', "row 2.*'a'"),
        (';'.join(f'x{i}' for i in range(21)) + '\n' + ';'.join(['nan'] * 21) + '\n', 'row 2.*finite'),
    ],
)
def test_bad_weights_files(tmp_path, content, facts):
    (tmp_path / 'mask.csv').write_text(content)
    with pytest.raises(errors.InputError, match=rf'mask\.csv.*{facts}'):
        masks.read_mask_csv(str(tmp_path / 'mask.csv'))
