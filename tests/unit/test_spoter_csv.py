import ast

import numpy as np
import pandas as pd
import pytest

from preprocessing.formats import spoter_csv
from slr_jax import errors, landmarks

HAND = landmarks.LAYOUTS['mediapipe_hand']
VISION = landmarks.LAYOUTS['vision_api']


def write(path, cells, labels, layout=HAND, columns=None, **extra):
    """One row for each of `labels`; every cell is the text of `cells` for its row."""
    columns = columns or layout.columns
    table = pd.DataFrame({column: cells for column in columns} | {'labels': labels} | extra)
    table.to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize(
    'cell', ['[0.25, 0.5]', '[0.25,0.5]', '[0.25 0.5 ]', ' [0.25      ,\n 0.5       ]', '[2.5e-01\n 5e-1]']
)
def test_every_way_to_write_a_list(tmp_path, cell):
    clips, labels = spoter_csv.read_csv(write(tmp_path / 'a.csv', [cell], ['3']), HAND)
    np.testing.assert_array_equal(clips[0], np.broadcast_to([[[0.25]], [[0.5]]], (2, 21, 2)))
    assert labels.tolist() == [3]


@pytest.mark.parametrize('label', ['4', '4.0', '[4, 4]', '[4 4]', '[4]'])
def test_every_way_to_write_a_label(tmp_path, label):
    assert spoter_csv.read_csv(write(tmp_path / 'a.csv', ['[1, 2]'], [label]), HAND)[1].tolist() == [4]


def test_columns_by_name(tmp_path):
    columns = [column.replace('_left_', '_0_').replace('_right_', '_1_') for column in VISION.columns]
    columns = [column for column in reversed(columns) if not column.startswith('neck')]
    table = {column: [f'[{i}.5]'] for i, column in enumerate(columns)} | {'labels': ['1'], 'video_fps': ['25']}
    pd.DataFrame(table).to_csv(tmp_path / 'a.csv', index=False)
    (clip,), _ = spoter_csv.read_csv(str(tmp_path / 'a.csv'), VISION)
    assert np.isnan(clip[0, 1]).all()  # the neck
    assert clip[0, 12].tolist() == [columns.index('wrist_0_X') + 0.5, columns.index('wrist_0_Y') + 0.5]


def test_missing_points(tmp_path):
    table = {column: ['[-2, 0.1]'] for column in HAND.columns} | {'x3': ['[-2, -2]'], 'labels': ['0']}
    pd.DataFrame(table).to_csv(tmp_path / 'a.csv', index=False)
    dataset = spoter_csv.read_dataset({'train': str(tmp_path / 'a.csv')}, 'd', HAND)
    (clip,) = dataset.splits['train'].landmarks
    assert np.isnan(clip[0]).all()
    np.testing.assert_allclose(clip[1, 3, :2], [-2, 0.1], rtol=1e-6)  # only x is that number
    assert np.isnan(clip[..., 2]).all()
    other = spoter_csv.read_dataset({'train': str(tmp_path / 'a.csv')}, 'd', HAND, missing_value=7.0)
    assert not np.isnan(other.splits['train'].landmarks[0][..., :2]).any()


def test_origins_are_not_missing(tmp_path):
    table = {column: ['[0, 0.1, 0.3]'] for column in VISION.columns} | {'labels': ['0']}
    table |= {'wrist_left_X': ['[0, 0, 0]'], 'wrist_left_Y': ['[0, 0, 0]']}
    pd.DataFrame(table).to_csv(tmp_path / 'a.csv', index=False)
    dataset = spoter_csv.read_dataset({'train': str(tmp_path / 'a.csv')}, 'd', VISION)
    (clip,) = dataset.splits['train'].landmarks
    assert np.isnan(clip[0]).all()
    assert clip[1:, VISION.points.index('wrist_left'), :2].tolist() == [[0, 0], [0, 0]]


def test_label_bases(tmp_path):
    from_one = write(tmp_path / 'one.csv', ['[1]'] * 3, ['1', '2', '3'])
    later = write(tmp_path / 'later.csv', ['[1]'] * 2, ['2', '3'])
    dataset = spoter_csv.read_dataset({'train': from_one, 'test': later}, 'd', HAND)
    assert dataset.splits['train'].labels.tolist() == [0, 1, 2]
    assert dataset.splits['test'].labels.tolist() == [1, 2]
    assert dataset.description.label_names == ('1', '2', '3')
    dataset = spoter_csv.read_dataset({'train': from_one}, 'd', HAND, label_base='0')
    assert dataset.splits['train'].labels.tolist() == [1, 2, 3]
    dataset = spoter_csv.read_dataset({'train': later}, 'd', HAND)
    assert dataset.splits['train'].labels.tolist() == [0, 1]
    assert dataset.description.label_names == ('2', '3')
    names = tmp_path / 'names.txt'
    names.write_text('book\ndrink\n')
    with pytest.raises(errors.InputError, match=r'one\.csv, row 4, column labels: found 3, expected 1 to 2'):
        spoter_csv.read_dataset({'train': from_one}, 'd', HAND, label_names=str(names))
    with pytest.raises(errors.InputError, match=r'later\.csv: the lowest label is 2, expected 0 or 1; --label_base'):
        spoter_csv.read_dataset({'train': later}, 'd', HAND, label_names=str(names))


def test_labels_with_gaps(tmp_path, capsys):
    path = write(tmp_path / 'a.csv', ['[1]'] * 4, ['5', '120', '7.0', '5'])
    dataset = spoter_csv.read_dataset({'train': path}, 'd', HAND)
    assert dataset.description.label_names == ('5', '7', '120')
    assert dataset.splits['train'].labels.tolist() == [0, 2, 1, 0]
    assert '3 numbers between 5 and 120' in capsys.readouterr().out
    assert spoter_csv.read_dataset({'train': path}, 'd', HAND, label_base='0').description.num_classes == 121


def test_labels_of_text(tmp_path):
    train = write(tmp_path / 'train.csv', ['[1]'] * 3, ['hello', 'thank\u00a0 you', "['book', 'book ']"])
    test = write(tmp_path / 'test.csv', ['[1]'], ['thank you'])
    dataset = spoter_csv.read_dataset({'train': train, 'test': test}, 'd', HAND)
    assert dataset.description.label_names == ('book', 'hello', 'thank you')
    assert dataset.splits['train'].labels.tolist() == [1, 2, 0]
    assert dataset.splits['test'].labels.tolist() == [2]
    names = tmp_path / 'names.txt'
    names.write_text('thank you\nhello\n', encoding='utf-8-sig')
    given = spoter_csv.read_dataset({'test': test}, 'd', HAND, label_names=str(names))
    assert (given.description.label_names, given.splits['test'].labels.tolist()) == (('thank you', 'hello'), [0])
    with pytest.raises(errors.InputError, match=r"train\.csv, row 4, column labels: found 'book', .*names\.txt"):
        spoter_csv.read_dataset({'train': train}, 'd', HAND, label_names=str(names))
    numbers = write(tmp_path / 'numbers.csv', ['[1]'], ['0'])
    with pytest.raises(errors.InputError, match=r'text in .*train\.csv but numbers in .*numbers\.csv'):
        spoter_csv.read_dataset({'train': train, 'test': numbers}, 'd', HAND)


@pytest.mark.parametrize('sep', [';', '\t'])
@pytest.mark.parametrize('name', ['label', 'Labels', ' labels'])
def test_as_spreadsheets_write_it(tmp_path, sep, name):
    table = pd.DataFrame({column: ['[1, 2]', ''] for column in HAND.columns} | {name: ['1.0', '']})
    table.to_csv(tmp_path / 'a.csv', sep=sep, index=False, encoding='utf-8-sig', lineterminator='\r\n')
    (clip,), labels = spoter_csv.read_csv(str(tmp_path / 'a.csv'), HAND)
    assert (clip.shape, labels.tolist()) == ((2, 21, 2), [1])


@pytest.mark.parametrize(
    ('cell', 'words'),
    [
        ('0.5', "row 3, column x0: found '0.5', expected a list"),
        ('[]', r"found '\[\]'"),
        ('[0.5, oops]', 'oops'),
        ('[0.5, 0.1', 'expected a list of numbers'),
        ('[0.5 ... 0.1]', r'\.\.\.'),
        ('', "found ''"),
    ],
)
def test_bad_cells(tmp_path, cell, words):
    path = write(tmp_path / 'a.csv', ['[1, 2]', cell], ['0', '0'])
    with pytest.raises(errors.InputError, match=words) as caught:
        spoter_csv.read_csv(path, HAND)
    assert path in str(caught.value)


@pytest.mark.parametrize('label', ['x', '1.5', '[1, 2]', '', '[]'])
def test_bad_labels(tmp_path, label):
    path = write(tmp_path / 'a.csv', ['[1, 2]', '[1, 2]'], ['0', label])
    with pytest.raises(errors.InputError, match=r'row 3, column labels: .* expected one whole number'):
        spoter_csv.read_csv(path, HAND)


def test_bad_tables(tmp_path):
    path = write(tmp_path / 'a.csv', ['[1]'], ['0'], columns=HAND.columns[:-1])
    with pytest.raises(errors.InputError, match="no column 'y20', which layout mediapipe_hand needs"):
        spoter_csv.read_csv(path, HAND)
    (tmp_path / 'empty.csv').write_text('')
    with pytest.raises(errors.InputError, match=r'empty\.csv is empty'):
        spoter_csv.read_csv(str(tmp_path / 'empty.csv'), HAND)
    path = write(tmp_path / 'b.csv', [], [])
    with pytest.raises(errors.InputError, match=r'b\.csv has no rows'):
        spoter_csv.read_csv(path, HAND)
    table = {column: ['[1, 2]'] for column in HAND.columns} | {'y5': ['[1]'], 'labels': ['0']}
    pd.DataFrame(table).to_csv(tmp_path / 'c.csv', index=False)
    with pytest.raises(errors.InputError, match=r"row 2, column y5: found '1 frames', expected 2, .* column x0"):
        spoter_csv.read_csv(str(tmp_path / 'c.csv'), HAND)


@pytest.mark.parametrize(
    ('file', 'layout', 'clips'),
    [('KSL13_val', 'mediapipe_hands_pose', 39), ('KSL13_vision_api_test', 'vision_api', 26)],
)
def test_real_files_equal_literal_eval(shared, file, layout, clips):
    path, layout = shared / 'data' / 'spoter_csv' / f'{file}.csv', landmarks.LAYOUTS[layout]
    found, _ = spoter_csv.read_csv(str(path), layout)
    table = pd.read_csv(path)
    assert len(found) == len(table) == clips
    for row in (0, clips - 1):
        for i, column in enumerate(layout.columns):
            point = found[row][:, i // 2, i % 2]
            if column in table:
                np.testing.assert_array_equal(point, ast.literal_eval(table[column][row]))
            else:
                assert column.startswith('neck')
                assert np.isnan(point).all()


def test_both_kinds_of_real_labels_are_the_same_classes(shared):
    folder = shared / 'data' / 'spoter_csv'
    pose = {
        'train': folder / 'KSL13_train.csv',
        'validation': folder / 'KSL13_val.csv',
        'test': folder / 'KSL13_test.csv',
    }
    vision = {'train': folder / 'KSL13_vision_api_train.csv', 'test': folder / 'KSL13_vision_api_test.csv'}
    for paths, layout, base, per_class in ((pose, 'mediapipe_hands_pose', 0, 8), (vision, 'vision_api', 1, 4)):
        dataset = spoter_csv.read_dataset(
            {split: str(path) for split, path in paths.items()}, 'd', landmarks.LAYOUTS[layout]
        )
        assert dataset.description.source['label_base'] == base
        assert np.bincount(dataset.splits['train'].labels).tolist() == [per_class] * 13
