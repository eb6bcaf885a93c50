"""What the experiments about masks refuse, before anything is trained."""

import pytest

FAITHFULNESS = 'experiments.mask_faithfulness --output_dir={out} --dataset={w}/data/'
STABILITY = 'experiments.mask_stability --output_dir={out} --dataset={w}/data/'

CASES = {
    'retrained for no ranking': (FAITHFULNESS + 'tiny --quick --retrain=lime', '--retrain', "'lime'", 'absolute'),
    'retrained for random': (FAITHFULNESS + 'tiny --quick --retrain=random', '--retrain', "'random'", 'permutation'),
    'one seed of faithfulness': (FAITHFULNESS + 'tiny --num_seeds=1', '--num_seeds=1', '2'),
    'two seeds of stability': (STABILITY + 'tiny --num_seeds=2', '--num_seeds=2', '3'),
}
for command in (FAITHFULNESS, STABILITY):
    name = command.split()[0]
    CASES |= {
        f'{name}, no dataset': (f'{name} --output_dir={{out}}', '--dataset'),
        f'{name}, no such dataset': (command + 'nowhere', 'data/nowhere', 'TFDS'),
        f'{name}, directory of another kind': (command + 'tiny/../../other_directory', 'other_directory', 'TFDS'),
        f'{name}, no validation clips': (command + 'only_train', 'only_train', "'validation'", 'train'),
        f'{name}, unknown ranking': (
            command + 'tiny --rankings=absolute,lime',
            *('--rankings', "'absolute,lime'", 'signed_mean', 'attention_rollout'),
        ),
        f'{name}, random ranking': (command + 'tiny --rankings=random', '--rankings', "'random'", 'absolute'),
        f'{name}, no ranking': (command + 'tiny --rankings=', '--rankings', 'absolute'),
    }


@pytest.mark.usefixtures('datasets')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


@pytest.mark.usefixtures('datasets')
@pytest.mark.parametrize('name', ['mask_faithfulness', 'mask_stability'])
def test_output_that_is_a_file(refuse, name):
    refuse(f'experiments.{name} --quick --dataset={{w}}/data/tiny --output_dir={{w}}/a_file', 'a_file')
