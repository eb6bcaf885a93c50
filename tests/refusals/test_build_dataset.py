"""What build_dataset refuses whatever it reads; files of its sources are in test_npz, test_spoter_csv, test_clips."""

import pytest

BUILD = 'preprocessing.build_dataset --name=bad --data_dir={out}'
NPZ = 'preprocessing.build_dataset --source=npz --input={w}/npz/good.npz'

CASES = {
    'unknown flag': (BUILD + ' --colour=red', 'flag --colour'),
    'unknown source': (BUILD + ' --source=xml', '--source=xml', 'npz', 'spoter_csv', 'landmarks'),
    'no name': ('preprocessing.build_dataset --source=npz --data_dir={out}', '--name'),
    'name not in lower case': (NPZ + ' --name=Bad-Name --data_dir={out}', 'name', "'Bad-Name'", 'lower-case', '_'),
    'argument without a flag': (NPZ + ' --name=bad --data_dir={out} surplus', "'surplus'", '--name=value'),
    'unknown glosses': (NPZ + ' --name=bad --data_dir={out} --glosses=sign_0,eat', '--glosses', 'eat', '3', 'sign_2'),
    'dataset exists': (NPZ + ' --name=bad --data_dir={w}/there', '{w}/there/bad/1.0.0', 'exists'),
    'npz without input': (BUILD + ' --source=npz', '--source=npz', '--input'),
    'spoter_csv without layout': (
        BUILD + ' --source=spoter_csv --train={w}/nowhere.csv',
        *('--source=spoter_csv', '--layout', '--train', '--validation', '--test'),
    ),
    'landmarks without clips': (
        BUILD + ' --source=landmarks --layout=mediapipe_hand --landmarks={w}/nowhere',
        *('--source=landmarks', '--clips', '--landmarks', '--layout'),
    ),
    'landmarks without landmarks': (
        BUILD + ' --source=landmarks --layout=mediapipe_hand --clips={w}/nowhere.csv',
        *('--source=landmarks', '--clips', '--landmarks', '--layout'),
    ),
    'landmarks without layout': (
        BUILD + ' --source=landmarks --clips={w}/nowhere.csv --landmarks={w}/nowhere',
        *('--source=landmarks', '--clips', '--landmarks', '--layout'),
    ),
    'unknown layout': (BUILD + ' --source=landmarks --layout=foot', '--layout=foot', 'mediapipe_hand', 'vision_api'),
    'unknown hand': (BUILD + ' --source=landmarks --hand=both', '--hand=both', 'most_seen', 'right', 'left'),
    'missing value not a number': (
        BUILD + ' --source=spoter_csv --missing_value=none',
        '--missing_value=none',
        'number',
    ),
}


@pytest.mark.usefixtures('archives')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


@pytest.mark.usefixtures('archives')
def test_some_glosses_are_taken(accept):
    accept(NPZ + ' --name=good --data_dir={out} --glosses=sign_0,sign_2')
