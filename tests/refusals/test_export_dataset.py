"""Datasets that cannot be read, as export_dataset reports them, and where it does not write."""

import pytest

EXPORT = 'preprocessing.export_dataset --format=npz --output={out} --dataset={w}/'
TINY = 'preprocessing.export_dataset --dataset={w}/data/tiny'

CASES = {
    'no dataset given': ('preprocessing.export_dataset --format=npz --output={out}', '--dataset'),
    'unknown format': (EXPORT + 'data/tiny --format=xml', '--format=xml', 'npz', 'spoter_csv'),
    'output exists': (TINY + ' --format=npz --output={w}/a_file', '{w}/a_file', 'exists'),
    'output directory exists': (
        TINY + ' --format=spoter_csv --output={w}/other_directory',
        *('{w}/other_directory', 'exists'),
    ),
    'output below a file': (TINY + ' --format=npz --output={w}/a_file/out.npz', '{w}/a_file', 'File exists'),
    'archive named as a table': (TINY + ' --format=npz --output={out}.csv', '.csv', 'a .npz file'),
    'tables named as one': (TINY + ' --format=spoter_csv --output={out}.csv', '.csv', 'a folder is written'),
    'poses named as one': (TINY + ' --format=pose --output={out}.pose', '.pose', 'a folder is written'),
    # Datasets
    'no such dataset': (EXPORT + 'nowhere', '{w}/nowhere', 'directory', 'TFDS'),
    'dataset is a file': (EXPORT + 'a_file', '{w}/a_file', 'directory', 'TFDS'),
    'empty directory': (EXPORT + 'empty_directory', '{w}/empty_directory', 'dataset_info.json', 'TFDS'),
    'directory of another kind': (EXPORT + 'other_directory', '{w}/other_directory', 'dataset_info.json', 'TFDS'),
    'two versions': (EXPORT + 'data/versions', 'data/versions', '2', 'data/versions/1.0.0', 'data/versions/2.0.0'),
    'another format': (EXPORT + 'data/other_format', 'data/other_format', "'slr_jax landmarks 2'"),
    'empty records': (EXPORT + 'data/record_empty', 'data/record_empty', 'ArrayRecord', '64KB'),
    'records are noise': (EXPORT + 'data/record_noise', 'data/record_noise', 'ArrayRecord', '64KB'),
    'records cut in the middle': (EXPORT + 'data/record_cut', 'data/record_cut', 'TFDS', 'Corrupted', 'chunk'),
    'no records': (EXPORT + 'data/record_gone', 'data/record_gone', 'TFDS'),
    'info is noise': (EXPORT + 'data/info_noise', 'data/info_noise', 'TFDS', 'utf-8'),
    'info cut in the middle': (EXPORT + 'data/info_cut', 'data/info_cut', 'TFDS', 'JSON', 'line'),
    'info empty': (EXPORT + 'data/info_empty', 'data/info_empty', 'TFDS', 'JSON', 'line 1 column 1'),
    'features cut in the middle': (EXPORT + 'data/features_cut', 'data/features_cut', 'TFDS', 'line'),
    'metadata cut in the middle': (EXPORT + 'data/metadata_cut', 'data/metadata_cut', 'TFDS', 'line 1 column'),
    'metadata without layout': (EXPORT + 'data/metadata_empty', 'data/metadata_empty', 'TFDS', 'layout'),
    'points of another layout': (
        EXPORT + 'data/other_layout',
        *('data/other_layout', 'train', 'train_00000', '(23, 21, 3)', '(frames, 42, 3)'),
    ),
    'label beyond the names': (
        EXPORT + 'data/label_names_short',
        *('data/label_names_short', 'train', 'train_00000', 'label 2', '0 to 0'),
    ),
}


@pytest.mark.usefixtures('datasets')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)
