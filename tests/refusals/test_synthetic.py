"""Flags of the synthetic dataset that are refused."""

import pytest

SYNTHETIC = 'preprocessing.synthetic --data_dir={out}'

CASES = {
    'no data_dir': ('preprocessing.synthetic', '--data_dir'),
    'one class': (SYNTHETIC + ' --num_classes=1', '--num_classes=1', '2'),
    'negative seed': (SYNTHETIC + ' --seed=-1', '--seed=-1', 'integer'),
    'seed is text': (SYNTHETIC + ' --seed=lucky', '--seed=lucky', 'whole number'),
    'unknown layout': (SYNTHETIC + ' --layout=foot', '--layout=foot', 'mediapipe_hand', 'vision_api'),
    'name begins with a digit': (SYNTHETIC + ' --name=9lives', 'name', "'9lives'", 'lower-case'),
    'no clips': (SYNTHETIC + ' --clips_per_class=0,0,0', 'synthetic', 'clips'),
    'two numbers of clips': (SYNTHETIC + ' --clips_per_class=1,2', '--clips_per_class', '2', 'train,validation,test'),
    'number of clips is text': (SYNTHETIC + ' --clips_per_class=1,2,many', '--clips_per_class', '1,2,many', 'whole'),
    'informative point outside the layout': (
        SYNTHETIC + ' --informative_points=0,21',
        *('informative_points', '[0, 21]', '20'),
    ),
    'informative point by name': (SYNTHETIC + ' --informative_points=wrist', '--informative_points', 'wrist', 'whole'),
    'more informative points than points': (
        SYNTHETIC + ' --num_informative=22',
        *('num_informative', '22', 'mediapipe_hand', '21'),
    ),
    'data_dir is a file': (
        'preprocessing.synthetic --data_dir={w}/a_file --num_classes=2 --clips_per_class=1,1,1',
        *('{w}/a_file', 'File exists'),
    ),
}


@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)
