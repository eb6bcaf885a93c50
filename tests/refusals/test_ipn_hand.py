"""Annotations of IPN Hand that are refused."""

import pytest

IPN = 'preprocessing.ipn_hand --output={out}/clips.csv --annotations={w}/ipn/'
META = ' --metadata={w}/ipn/meta.csv'

CASES = {
    'no flags': ('preprocessing.ipn_hand', '--annotations', '--metadata', '--output'),
    'no such annotations': (IPN + 'nowhere.txt' + META, 'ipn/nowhere.txt', 'No such file'),
    'no such metadata': (IPN + 'good.txt --metadata={w}/ipn/nowhere.csv', 'ipn/nowhere.csv', 'No such file'),
    'empty file': (IPN + 'empty.txt' + META, 'ipn/empty.txt', 'columns'),
    'noise': (IPN + 'noise.txt' + META, 'ipn/noise.txt', 'CSV', 'utf-8'),
    'only a header': (IPN + 'header.txt' + META, 'ipn/header.txt', 'rows'),
    'misspelled column': (IPN + 'column.txt' + META, 'ipn/column.txt', "'label'", 'video', 'label', 't_start', 't_end'),
    'unknown gesture': (IPN + 'gesture.txt' + META, 'ipn/gesture.txt', 'row 3', 'label', "'G12'", 'B0A', 'G11', 'D0X'),
    'video without metadata': (IPN + 'video.txt' + META, 'ipn/video.txt', 'row 3', 'ipn/meta.csv', "'A_9_R_#1'"),
    'frame is text': (IPN + 'frames.txt' + META, 'ipn/frames.txt', 'row 3', 't_start', "'x'"),
    'end before start': (IPN + 'backwards.txt' + META, 'ipn/backwards.txt', 'row 3', 't_start', 't_end', '9', "'5'"),
    'clip twice': (IPN + 'twice.txt' + META, 'ipn/twice.txt', 'A_1_R_#1.avi', '1', '9', "'A_1_R_#1_000001_000009'"),
    'gesture without clips': (IPN + 'gap.txt' + META, 'ipn/gap.txt', 'label 1', '0', '12'),
    'unknown set': (
        IPN + 'good.txt --metadata={w}/ipn/set.csv',
        *('ipn/set.csv', 'row 3', 'Set', "'dev'", 'train', 'test'),
    ),
    'no column of sets': (IPN + 'good.txt --metadata={w}/ipn/no_set.csv', 'ipn/no_set.csv', "'Set'", 'Video Name'),
    'all subjects validate': (
        IPN + 'good.txt --validation_subjects=2' + META,
        *('--validation_subjects=2', '2', '0', '1'),
    ),
    'negative number of subjects': (
        IPN + 'good.txt --validation_subjects=-1' + META,
        *('--validation_subjects=-1', '2', '0', '1'),
    ),
    'negative seed': (IPN + 'good.txt --seed=-1' + META, '--seed=-1', 'integer'),
    'unknown gloss': (IPN + 'good.txt --glosses=G99' + META, 'ipn/good.txt', '--glosses', 'G99'),
    'output below a file': (
        'preprocessing.ipn_hand --annotations={w}/ipn/good.txt --output={w}/a_file/clips.csv' + META,
        *('{w}/a_file', 'File exists'),
    ),
}


@pytest.mark.usefixtures('ipn')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


@pytest.mark.usefixtures('ipn')
def test_good_annotations_are_taken(accept):
    accept(IPN + 'good.txt --validation_subjects=1' + META)
