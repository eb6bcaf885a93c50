"""Workdirs, datasets and outputs that a report refuses."""

import pytest

REPORT = 'slr_jax.report --output={out} --workdir={w}/'

CASES = {
    'no workdir given': ('slr_jax.report', '--workdir'),
    'unknown split': (REPORT + 'run --split=extra', '--split=extra', 'train', 'validation', 'test'),
    'no such workdir': ('slr_jax.report --workdir={w}/nowhere', '{w}/nowhere', 'config.json'),
    'directory of another kind': (REPORT + 'other_directory', '{w}/other_directory', 'config.json'),
    'no checkpoints': (REPORT + 'no_checkpoints', '{w}/no_checkpoints', 'checkpoints'),
    'no such step': (REPORT + 'run --checkpoint=99', '{w}/run', "'99'", 'best', 'latest', '1'),
    'curves cut off': (REPORT + 'metrics_columns', 'metrics_columns/metrics.csv', 'train_loss'),
    'split that the dataset lacks': (REPORT + 'run --dataset={w}/data/only_train', 'only_train', "'test'", 'train'),
    'no such dataset': (REPORT + 'run --dataset={w}/data/nowhere', '{w}/data/nowhere', 'TFDS'),
    'another layout': (REPORT + 'run --dataset={w}/data/two_hands', 'layout', 'mediapipe_two_hands', 'mediapipe_hand'),
    'imported without a dataset': (REPORT + 'imported', '{w}/imported', 'dataset'),
    'output is a directory': ('slr_jax.report --workdir={w}/run --output={w}/data', '{w}/data', 'directory'),
    'output lies in a file': ('slr_jax.report --workdir={w}/run --output={w}/a_file/r.html', '{w}/a_file'),
}


@pytest.mark.usefixtures('workdirs')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


@pytest.mark.usefixtures('workdirs')
@pytest.mark.parametrize('workdir', ['imported', 'no_mask'])
def test_a_checkpoint_without_training_is_taken(accept, workdir):
    accept(f'slr_jax.report --workdir={{w}}/{workdir} --dataset={{w}}/data/tiny --output={{out}}/report.html')
