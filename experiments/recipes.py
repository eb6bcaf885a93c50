"""Tables of recipes, which experiments.cross_validation compares: each row changes some fields of the same config."""

from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from configs import wlasl100_hands
from slr_jax import config as config_lib
from slr_jax import errors

# Row, named without commas -> its fields, by dotted names. The first row, with which the others are compared, is the
# recipe of today.
Rows = Mapping[str, Mapping[str, Any]]

# Name -> config and rows.
TABLES: dict[str, tuple[Callable[[], ml_collections.ConfigDict], Rows]] = {
    'hands': (
        wlasl100_hands.get_config,
        {
            'as configs/wlasl100_hands.py': {},
            'affine': {'augment.affine': 0.75},
            'time': {'augment.crop': 0.7, 'augment.stretch': 0.5, 'augment.warp': 0.5},
            'mirror': {'augment.mirror': 0.5},
            'without buckets': {'bucket_by_length': False},
        },
    ),
}


def make_config(table: str, row: str) -> ml_collections.ConfigDict:
    """The config of a row.

    Raises:
        InputError: one of its fields is not a field of a config, or its value of another type.
    """
    get_config, rows = TABLES[table]
    config = get_config()
    for name, value in rows[row].items():
        group, _, field = name.rpartition('.')
        try:
            config.update({group: {field: value}} if group else {field: value})
        except (TypeError, ValueError, AttributeError) as error:
            raise errors.InputError(f'config.{name} cannot be {value!r}: {errors.one_line(error)}') from error
    return config_lib.resolve(config)
