"""A refusal of each command in a process of its own, as a user runs it; the other tables run within this process."""

import pytest

TRAIN = 'slr_jax.train --config={root}/configs/synthetic.py --config.num_layers=1 --config.mlp_dim=8 '

CASES = {
    'build_dataset': (
        'preprocessing.build_dataset --name=bad --data_dir={out} --source=spoter_csv --layout=mediapipe_hand '
        '--train={w}/csv/label_text.csv',
        *('csv/label_text.csv', 'row 3', 'labels', "'hello'"),
    ),
    'build_dataset where a dataset exists': (
        'preprocessing.build_dataset --name=bad --data_dir={w}/there --source=npz --input={w}/npz/good.npz',
        *('{w}/there/bad/1.0.0', 'exists'),
    ),
    'export_dataset of damaged records': (
        'preprocessing.export_dataset --format=npz --output={out} --dataset={w}/data/record_flipped',
        *('data/record_flipped', 'TFDS', 'Corrupted', 'chunk'),
    ),
    'synthetic': ('preprocessing.synthetic --data_dir={out} --num_classes=1', '--num_classes=1', '2'),
    'train with another config': (
        TRAIN + '--config.num_epochs=1 --config.optimizer=sgd --config.dataset={w}/data/tiny --workdir={w}/run '
        '--config.seed=5',
        *('{w}/run', 'config.seed', '379', '5'),
    ),
    'train without a config': (
        'slr_jax.train --config={w}/nowhere.py --workdir={out}',
        '{w}/nowhere.py',
        'no such file',
    ),
    'evaluate a damaged checkpoint': (
        'slr_jax.evaluate --output_dir={out} --workdir={w}/checkpoint_noise',
        *('{w}/checkpoint_noise/checkpoints/1', 'damaged'),
    ),
    'interpret a model without a mask': (
        'slr_jax.interpret --output_dir={out} --workdir={w}/no_mask',
        *('spoter_no_pe', 'mask', 'class_query', 'sequence_query'),
    ),
    'import a hostile pickle': (
        'slr_jax.import_torch --workdir={out} --checkpoint={w}/pth/hostile.pth',
        *('pth/hostile.pth', 'posix.mkdir'),
    ),
    'csv_parsing': (
        'experiments.csv_parsing --layout=mediapipe_hand --csv={w}/csv/nowhere.csv',
        *('csv/nowhere.csv', 'No such file'),
    ),
}


@pytest.mark.usefixtures('archives', 'csvs', 'torch_files', 'workdirs')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case, own_process=True)
