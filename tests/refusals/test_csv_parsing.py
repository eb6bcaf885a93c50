"""What the experiment on CSV parsing refuses."""

import pytest

PARSING = 'experiments.csv_parsing --layout=mediapipe_hand --csv={w}/csv/'

CASES = {
    'no such file': (PARSING + 'nowhere.csv', 'csv/nowhere.csv', 'No such file'),
    'empty file': (PARSING + 'empty.csv', 'csv/empty.csv', 'empty', 'header', 'labels'),
    'noise': (PARSING + 'noise.csv', 'csv/noise.csv', 'CSV', 'utf-8'),
    'misspelled column': (PARSING + 'column.csv', 'csv/column.csv', "'x0'", 'mediapipe_hand'),
    'lists of unequal length': (PARSING + 'lengths.csv', 'csv/lengths.csv', 'row 3', 'x2', '3', '2', 'x0'),
    'lists without commas': (PARSING + 'blanks.csv --repetitions=1', 'csv/blanks.csv', 'ast.literal_eval'),
    'no repetitions': (PARSING + 'good.csv --repetitions=0', '--repetitions=0', 'integer'),
    'unknown layout': (PARSING + 'good.csv --layout=foot', '--layout=foot', 'mediapipe_hand', 'vision_api'),
}


@pytest.mark.usefixtures('csvs')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)
