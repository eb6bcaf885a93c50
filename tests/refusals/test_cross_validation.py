"""What the comparison of recipes refuses, before anything is trained."""

import pytest

from configs import synthetic
from experiments import recipes

COMPARE = 'experiments.cross_validation --output_dir={out} --dataset={w}/data/'

CASES = {
    'no dataset': ('experiments.cross_validation --output_dir={out}', '--dataset'),
    'no such dataset': (COMPARE + 'nowhere', 'data/nowhere', 'TFDS'),
    'directory of another kind': (COMPARE + 'tiny/../../other_directory', 'other_directory', 'TFDS'),
    'unknown table': (COMPARE + 'tiny --recipes=feet', '--recipes=feet', 'hands'),
    'unknown row': (COMPARE + 'tiny --only=conv_transformr', "'conv_transformr'", "'hands'", 'conv_transformer?'),
    'one fold': (COMPARE + 'tiny --num_folds=1', '--num_folds=1', '2'),
    'no repeats': (COMPARE + 'tiny --repeats=0', '--repeats=0', 'positive integer'),
    'folds by class': (COMPARE + 'tiny --folds_by=class', '--folds_by=class', 'signer', 'clip'),
    'negative seed': (COMPARE + 'tiny --seed=-1', '--seed=-1', 'non-negative integer'),
    'more folds than clips': (COMPARE + 'tiny --num_folds=16', 'config.num_folds', '16', 'tiny', '15 clips'),
}


@pytest.mark.usefixtures('datasets')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


ROWS = {
    'unknown field': ({'augment.afine': 0.5}, 'config.augment.afine', 'affine'),
    'unknown group': ({'augmentation.affine': 0.5}, 'config.augmentation'),
    'a value of another type': ({'augment.affine': 'often'}, 'config.augment.affine', "'often'", 'float'),
    'a value that is not legal': ({'augment.affine': 1.5}, 'config.augment.affine', '1.5', 'from 0 to 1'),
    'heads that do not divide the width': ({'num_heads': 5}, 'num_heads', '5', '42'),
    'early stopping': ({'early_stop_epochs': 4}, 'config.early_stop_epochs', '4', 'None'),
    'several seeds': ({'seeds': (0, 1)}, 'config.seeds', '10 runs', '5 folds'),
    'a sweep': ({'sweep.dropout_rate': (0.1, 0.2, 0.3)}, 'config.sweep', '15 runs', '5 folds'),
    'another validation': ({'validation': 'holdout'}, 'config.validation', "'holdout'", 'config.num_folds'),
}


@pytest.mark.usefixtures('datasets')
@pytest.mark.parametrize('case', ROWS.values(), ids=ROWS)
def test_rows_that_are_refused(refuse, monkeypatch, case):
    fields, *facts = case
    monkeypatch.setitem(recipes.TABLES, 'hands', (synthetic.get_config, {'today': {}, 'bad': fields}))
    refuse(COMPARE + 'tiny', "'bad'", *facts)


@pytest.mark.usefixtures('datasets')
def test_output_that_is_a_file(refuse):
    refuse('experiments.cross_validation --quick --dataset={w}/data/tiny --output_dir={w}/a_file', 'a_file')
