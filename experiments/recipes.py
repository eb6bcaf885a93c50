"""Recipes: those that experiments.cross_validation compares, and those of the datasets of experiments.paper_table."""

from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from configs import default, ksl13, synthetic, wlasl100_hands
from slr_jax import config as config_lib
from slr_jax import errors

# Row, named without commas -> its fields, by dotted names. The first row, with which the others are compared, is the
# recipe of today.
Rows = Mapping[str, Mapping[str, Any]]

# Config, and the fields that change where it is to be quick.
WithQuick = tuple[Callable[[], ml_collections.ConfigDict], Mapping[str, Any]]

# Name of a dataset -> its recipe.
OF_DATASETS: dict[str, WithQuick] = {
    'ksl13': (ksl13.get_config, {'num_epochs': 4, 'warmup_epochs': 1.0}),
    'synthetic': (synthetic.get_config, {'num_epochs': 5, 'warmup_epochs': 1.0}),
    'wlasl100_hands': (wlasl100_hands.get_config, {'num_epochs': 20, 'warmup_epochs': 2.0}),
}
# Of other datasets.
AS_PUBLISHED: WithQuick = (default.get_config, {'num_epochs': 20})

# Table -> config and rows, each of which changes some fields of it.
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
