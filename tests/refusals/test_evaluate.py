"""Workdirs, checkpoints and datasets that evaluation refuses."""

import pytest

EVALUATE = 'slr_jax.evaluate --output_dir={out} --workdir={w}/'

CASES = {
    'no workdir given': ('slr_jax.evaluate', '--workdir'),
    'unknown split': (EVALUATE + 'run --split=extra', '--split=extra', 'train', 'validation', 'test'),
    'output is a file': ('slr_jax.evaluate --workdir={w}/run --output_dir={w}/a_file', '{w}/a_file', 'directory'),
    # Workdirs
    'no such workdir': (EVALUATE + 'nowhere', '{w}/nowhere', 'config.json'),
    'workdir is a file': (EVALUATE + 'a_file', '{w}/a_file', 'config.json'),
    'directory of another kind': (EVALUATE + 'other_directory', '{w}/other_directory', 'config.json'),
    'config cut in the middle': (EVALUATE + 'config_cut', 'config_cut/config.json', 'JSON', 'line'),
    'config is a list': (EVALUATE + 'config_list', 'config_list/config.json', 'list', 'JSON object'),
    'config lacks fields': (EVALUATE + 'config_fields', 'config_fields/config.json', "'model'"),
    'dataset cut in the middle': (EVALUATE + 'dataset_cut', 'dataset_cut/dataset.json', 'JSON', 'line'),
    'dataset lacks fields': (EVALUATE + 'dataset_fields', 'dataset_fields/dataset.json', 'layout', 'label_names'),
    # Checkpoints
    'no checkpoints': (EVALUATE + 'no_checkpoints', '{w}/no_checkpoints', 'checkpoints'),
    'no such step': (EVALUATE + 'run --checkpoint=99', '{w}/run', "'99'", 'best', 'latest', '1'),
    'unknown word': (EVALUATE + 'run --checkpoint=worst', '{w}/run', "'worst'", 'best', 'latest', '1'),
    'published checkpoints not kept': (
        EVALUATE + 'run --checkpoint=published',
        *('{w}/run', 'config.keep_published_checkpoints', 'True'),
    ),
    'checkpoint is noise': (EVALUATE + 'checkpoint_noise', '{w}/checkpoint_noise/checkpoints/1', 'damaged'),
    'checkpoint is empty': (EVALUATE + 'checkpoint_empty', '{w}/checkpoint_empty/checkpoints/1', 'damaged'),
    'checkpoint cut in the middle': (EVALUATE + 'checkpoint_cut', '{w}/checkpoint_cut/checkpoints/1', 'line 1'),
    'checkpoint without parameters': (EVALUATE + 'checkpoint_gone', '{w}/checkpoint_gone/checkpoints/1', 'params'),
    'scores cut in the middle': (
        EVALUATE + 'scores_cut',
        '{w}/scores_cut/checkpoints',
        'damaged',
        'metrics of an epoch',
    ),
    # Datasets
    'another layout': (
        EVALUATE + 'run --dataset={w}/data/two_hands',
        *('data/two_hands', 'layout', 'mediapipe_two_hands', '{w}/run', 'mediapipe_hand'),
    ),
    'gloss that the model does not know': (
        EVALUATE + 'run --dataset={w}/data/four_classes',
        *('data/four_classes', 'test', '{w}/run', "'sign_3'", '--unknown_glosses=leave_out'),
    ),
    'unknown way with glosses': (EVALUATE + 'run --unknown_glosses=guess', 'guess', 'refuse', 'leave_out'),
    'split that the dataset lacks': (EVALUATE + 'run --dataset={w}/data/only_train', 'only_train', "'test'", 'train'),
    'imported without a dataset': (EVALUATE + 'imported', '{w}/imported', 'dataset'),
}


@pytest.mark.usefixtures('workdirs')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)
