import pytest

from experiments import recipes
from slr_jax import config as config_lib
from slr_jax import errors
from tests.conftest import make_tiny_config

ROWS = [(table, row) for table, (_, rows) in recipes.TABLES.items() for row in rows]


@pytest.mark.parametrize(('table', 'row'), ROWS)
def test_every_row_is_a_legal_recipe(table, row):
    get_config, rows = recipes.TABLES[table]
    config = recipes.make_config(table, row)
    config.dataset = 'data'
    assert len(config_lib.expand(config)) == 1
    assert ',' not in row
    changed = {name for name, value in flat(config).items() if value != flat(get_config())[name]}
    assert changed - {'dataset'} <= set(rows[row])
    assert all(flat(config)[name] == value for name, value in rows[row].items())


@pytest.mark.parametrize('table', recipes.TABLES)
def test_the_first_row_changes_nothing(table):
    assert next(iter(recipes.TABLES[table][1].values())) == {}


def flat(config):
    groups = {f'{group}.{name}': config[group][name] for group in ('augment', 'sweep') for name in config[group]}
    return {name: value for name, value in config.items() if name not in ('augment', 'sweep')} | groups


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'augment.afine': 0.5}, r'config\.augment\.afine is not a field.*\baffine\b'),
        ({'augmnt.affine': 0.5}, r'config\.augmnt is not a field.*\baugment\b'),
        ({'num_epoch': 3}, r'config\.num_epoch is not a field.*\bnum_epochs\b'),
        ({'num_epochs.more': 3}, r'config\.num_epochs\.more cannot be 3\b'),
        ({'augment': 3}, r'config\.augment cannot be 3\b'),
        ({'augment.affine': 'often'}, r"config\.augment\.affine cannot be 'often'.*float"),
    ],
)
def test_rows_that_are_refused(monkeypatch, fields, message):
    monkeypatch.setitem(recipes.TABLES, 'bad', (lambda: make_tiny_config('d'), {'today': {}, 'bad': fields}))
    with pytest.raises(errors.InputError, match=message):
        recipes.make_config('bad', 'bad')
