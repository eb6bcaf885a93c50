"""Workdirs and inputs that prediction refuses."""

import pytest

PREDICT = 'slr_jax.predict --output={out} --workdir={w}/'
RUN = PREDICT + 'run --landmarks={w}/'

CASES = {
    'no workdir given': ('slr_jax.predict', '--workdir'),
    'no input given': (PREDICT + 'run', '--videos', '--landmarks', '--camera'),
    'no such workdir': (PREDICT + 'nowhere --landmarks={w}/data/tiny', '{w}/nowhere', 'config.json'),
    'no checkpoints': (PREDICT + 'no_checkpoints --landmarks={w}/data/tiny', '{w}/no_checkpoints', 'checkpoints'),
    'no glosses wanted': (RUN + 'data/tiny --k=0', 'k', '0'),
    'output exists': ('slr_jax.predict --workdir={w}/run --landmarks={w}/data/tiny --output={w}/a_file', '{w}/a_file'),
    'no such landmarks': (RUN + 'nowhere', '{w}/nowhere', 'extract_landmarks'),
    'landmarks of no kind': (RUN + 'a_file', '{w}/a_file', 'a text file', '.npz', '.pose', 'TFDS'),
    'another layout': (
        RUN + 'data/two_hands',
        *('data/two_hands', 'layout', 'mediapipe_two_hands', '{w}/run', 'mediapipe_hand'),
    ),
    'split that the dataset lacks': (RUN + 'data/only_train --split=test', 'only_train', "'test'", 'train'),
    'unknown split': (RUN + 'data/tiny --split=extra', '--split=extra', 'test'),
    'no such video': (PREDICT + 'run --videos={w}/nowhere.mp4', '{w}/nowhere.mp4', 'video'),
    'a pattern of nothing': (PREDICT + 'run --videos={w}/*.mp4', '{w}/*.mp4', 'nothing'),
    'a directory without videos': (PREDICT + 'run --videos={w}/text', '{w}/text', 'video'),
    'no models': (PREDICT + 'run --videos={w}/a_file --model_dir={w}/text', '{w}/text/hand_landmarker.task'),
}


@pytest.mark.usefixtures('workdirs')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)
