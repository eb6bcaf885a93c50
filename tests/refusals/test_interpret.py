"""Tables of weights and workdirs that interpretation refuses."""

import pytest

INTERPRET = 'slr_jax.interpret --output_dir={out} '
MASK = INTERPRET + '--mask_csv={w}/mask/'
WORKDIR = INTERPRET + '--workdir={w}/'

CASES = {
    'no output_dir': ('slr_jax.interpret --mask_csv={w}/mask/good.csv', '--output_dir'),
    'both mask and workdir': (MASK + 'good.csv --workdir={w}/run', '--workdir', '--mask_csv'),
    'neither mask nor workdir': (INTERPRET, '--workdir', '--mask_csv'),
    'handedness of a workdir': (WORKDIR + 'run --handedness=swapped', '--handedness', '--mask_csv'),
    'unknown handedness': (MASK + 'good.csv --handedness=left', '--handedness=left', 'signer', 'swapped'),
    'output is a file': (MASK + 'good.csv --output_dir={w}/a_file', '{w}/a_file', 'directory'),
    # Tables of weights
    'no such table': (MASK + 'nowhere.csv', 'mask/nowhere.csv', 'No such file'),
    'table is a directory': (INTERPRET + '--mask_csv={w}/mask', '{w}/mask', 'Is a directory'),
    'empty table': (MASK + 'empty.csv', 'mask/empty.csv', '0', 'rows', 'header'),
    'table is noise': (MASK + 'noise.csv', 'mask/noise.csv', 'table', ';'),
    'table cut in the middle': (MASK + 'cut.csv', 'mask/cut.csv', 'row 2', '21'),
    'unknown point': (MASK + 'columns.csv', 'mask/columns.csv', '21', "'nose'", 'layout'),
    'weight is text': (MASK + 'number.csv', 'mask/number.csv', 'row 2', "'heavy'"),
    'weight is NaN': (MASK + 'nan.csv', 'mask/nan.csv', 'row 2', '21', 'finite'),
    'a weight too few': (MASK + 'short.csv', 'mask/short.csv', 'row 2', '21'),
    'two rows of weights': (MASK + 'rows.csv', 'mask/rows.csv', '3', 'header'),
    'huge name': (MASK + 'long_field.csv', 'mask/long_field.csv', 'table', ';'),
    # Workdirs
    'directory of another kind': (WORKDIR + 'other_directory', '{w}/other_directory', 'config.json'),
    'config lacks fields': (WORKDIR + 'config_fields', 'config_fields/config.json', "'model'"),
    'no such step': (WORKDIR + 'run --checkpoint=99', '{w}/run', "'99'", 'best', 'latest', '1'),
    'model without a mask': (WORKDIR + 'no_mask', 'spoter_no_pe', 'mask', 'class_query', 'sequence_query'),
    # Rankings
    'unknown ranking': (WORKDIR + 'run --ranking=lime', "'lime'", 'signed_mean', 'permutation', 'random'),
    'ranking of a table': (MASK + 'good.csv --ranking=random', '--ranking', '--workdir', '--mask_csv'),
    'split of a table': (MASK + 'good.csv --split=test', '--split', '--workdir', '--mask_csv'),
    'ranking by a mask that is not there': (WORKDIR + 'no_mask --ranking=scaled', 'spoter_no_pe', 'mask'),
    'ranking without a dataset': (WORKDIR + 'imported --ranking=permutation', '{w}/imported', 'dataset'),
    'no validation clips': (
        WORKDIR + 'run --ranking=permutation --dataset={w}/data/only_train',
        *('only_train', "'validation'", 'train'),
    ),
    'dataset of another layout': (
        WORKDIR + 'run --ranking=permutation --dataset={w}/data/two_hands',
        *('data/two_hands', 'layout', 'mediapipe_two_hands', 'mediapipe_hand', '{w}/run'),
    ),
}


@pytest.mark.usefixtures('masks', 'workdirs')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


@pytest.mark.usefixtures('masks')
def test_good_table_is_taken(accept):
    accept(MASK + 'good.csv')
