import pytest

from slr_jax import config, errors


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'model': 'spotter'}, "config.model is 'spotter', expected one of"),
        ({'num_layers': -1}, 'config.num_layers is -1, expected from 1 to 1,000'),
        ({'dropout_rate': float('nan')}, 'config.dropout_rate is nan, expected a finite number'),
        ({'augment': {'mirror': 1.5}}, r'config.augment.mirror is 1.5, expected from 0 to 1'),
    ],
)
def test_a_saved_config_with_values_that_are_not_legal_is_refused(fields, words):
    with pytest.raises(errors.InputError, match=words):
        config.from_json(fields, is_old=False)


def test_a_saved_config_needs_no_dataset():
    assert config.from_json({'num_layers': 3, 'dataset': ''}, is_old=False).num_layers == 3


def test_a_field_of_an_older_version_is_left_out_where_it_had_no_effect():
    saved = {'augment': {'stretch': 0.0, 'stretch_most': 1.5}}
    assert 'stretch' not in config.from_json(saved, is_old=False).augment
    saved['augment']['stretch'] = 0.5
    with pytest.raises(errors.InputError, match=r'^config\.augment\.stretch is 0\.5, .*config\.augment\.warp'):
        config.from_json(saved, is_old=False)
