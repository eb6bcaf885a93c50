"""SPOTER-format files that build_dataset refuses, and lists of label names."""

import pytest

BUILD = 'preprocessing.build_dataset --name=bad --data_dir={out} --source=spoter_csv'
CSV = BUILD + ' --layout=mediapipe_hand --train={w}/csv/'

CASES = {
    'no such file': (CSV + 'nowhere.csv', 'csv/nowhere.csv', 'No such file'),
    'directory': (BUILD + ' --layout=mediapipe_hand --test={w}/csv', '{w}/csv', 'Is a directory'),
    'empty file': (CSV + 'empty.csv', 'csv/empty.csv', 'empty', 'header', 'labels'),
    'noise': (CSV + 'noise.csv', 'csv/noise.csv', 'CSV', 'utf-8'),
    'cut in the middle': (CSV + 'cut.csv', 'csv/cut.csv', 'CSV', 'row 1'),
    'only a header': (CSV + 'header_only.csv', 'csv/header_only.csv', 'rows', 'header'),
    'misspelled column': (CSV + 'column.csv', 'csv/column.csv', "'x0'", 'mediapipe_hand'),
    'column twice': (CSV + 'column_twice.csv', 'csv/column_twice.csv', "'y0'", 'mediapipe_hand'),
    'no column of labels': (CSV + 'no_labels.csv', 'csv/no_labels.csv', "'labels'", 'x0', 'y0', 'x1'),
    'columns of another layout': (
        BUILD + ' --layout=vision_api --train={w}/csv/good.csv',
        *('csv/good.csv', "'nose_X'", 'vision_api'),
    ),
    'a cell too many': (CSV + 'cell_too_many.csv', 'csv/cell_too_many.csv', '43', 'line 3', '44'),
    # Labels
    'label is text': (CSV + 'label_text.csv', 'label_text.csv', 'row 3', 'labels', "'hello'", '0', '99999'),
    'label is NaN': (CSV + 'label_nan.csv', 'label_nan.csv', 'row 3', 'labels', "'nan'"),
    'label is not whole': (CSV + 'label_half.csv', 'label_half.csv', 'row 3', 'labels', "'0.5'"),
    'label changes within a clip': (CSV + 'label_changes.csv', 'label_changes.csv', 'row 3', 'labels', "'[0, 1]'"),
    'huge label': (CSV + 'label_huge.csv', 'label_huge.csv', 'row 3', 'labels', "'1e30'", '99999'),
    'labels with names start at 5': (
        CSV + 'labels_from_5.csv --label_names={w}/text/two.txt',
        *('labels_from_5.csv', '5', '0', '1', '--label_base'),
    ),
    'label below label_base': (CSV + 'good.csv --label_base=1', 'good.csv', 'row 2', 'labels', '0', '1'),
    'label beyond the names': (
        CSV + 'label_high.csv --label_names={w}/text/two.txt',
        *('label_high.csv', 'row 3', 'labels', '7', '0', '1'),
    ),
    'all labels beyond the names': (
        CSV + 'labels_from_5.csv --label_names={w}/text/two.txt --label_base=0',
        *('labels_from_5.csv', 'row 2', 'labels', '5', '0', '1'),
    ),
    'no names': (CSV + 'good.csv --label_names={w}/text/empty.txt', 'text/empty.txt', 'empty', 'gloss'),
    'names are noise': (CSV + 'good.csv --label_names={w}/text/noise.txt', 'text/noise.txt', 'UTF-8'),
    'no such file of names': (CSV + 'good.csv --label_names={w}/nowhere.txt', '{w}/nowhere.txt', 'No such file'),
    # Landmarks
    'lists of unequal length': (CSV + 'lengths.csv', 'lengths.csv', 'row 3', 'x2', '3', '2', 'x0'),
    'clip without frames': (CSV + 'no_frames.csv', 'no_frames.csv', 'row 3', 'x0', "'[]'"),
    'number instead of a list': (CSV + 'no_list.csv', 'no_list.csv', 'row 3', 'x2', "'0.25'", 'list'),
    'word in a list': (CSV + 'no_number.csv', 'no_number.csv', 'row 3', 'x2', "'[0.25, left]'"),
    'list of lists': (CSV + 'nested.csv', 'nested.csv', 'row 3', 'x2', "'[[0.25, 0.5]]'"),
    'infinite coordinate': (CSV + 'infinite.csv', 'bad', 'train', 'train_00001', 'infinite'),
    'only clips of missing values': (
        CSV + 'all_missing.csv',
        *('bad', '2', 'train_00000', 'nothing seen'),
    ),
    'pixels': (CSV + 'pixels.csv', 'bad', 'train_00001', '1 of 2', '640', '--frame_size'),
}


@pytest.mark.usefixtures('csvs')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


@pytest.mark.usefixtures('csvs')
@pytest.mark.parametrize('name', ['good', 'labels_from_5', 'missing', 'nan'])
def test_good_file_is_taken(accept, name):
    accept(CSV + f'{name}.csv')
