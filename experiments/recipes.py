"""Recipes: those that experiments.cross_validation compares, those of datasets, and that of experiments about masks."""

from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from configs import default, synthetic
from slr_jax import config as config_lib
from slr_jax import errors

# Row, named without commas -> its fields, by dotted names. The first row is the one the others are compared with.
Rows = Mapping[str, Mapping[str, Any]]

_TRIMMED = {'trim': 'ends', 'num_frames': 32, 'bucket_by_length': False}
_CONV = {
    **_TRIMMED,
    **{'model': 'conv_transformer', 'num_heads': 4, 'num_layers': 2, 'mlp_dim': 256, 'pooling': 'max_mean'},
    **{'differences': 2, 'noise_std': 0.0, 'learning_rate': 0.001},
}
_TIME_AND_SPACE = {'augment.crop': 0.7, 'augment.warp': 0.5, 'augment.affine': 0.75}
_DROPPED = {
    'augment.drop_frames': 0.3,
    'augment.drop_hand': 0.3,
    'augment.drop_finger': 0.2,
    'augment.move_hands': 0.5,
}
_REGULARIZED = {'ema': 0.99, 'drop_path_rate': 0.2, 'late_dropout_rate': 0.5, 'late_dropout_epoch': 10.0}


def _published_models(**fields: Any) -> ml_collections.ConfigDict:
    """What the published models train with in minutes: the recipes of release 0.2.0, for class_query."""
    config = default.get_config()
    config.update(
        {
            **{'model': 'class_query', 'normalize': 'centered', 'missing_value': 0.0, 'noise_std': 0.05},
            **{'batch_size': 32, 'optimizer': 'adamw', 'learning_rate': 0.0005, 'schedule': 'cosine'},
            **{'weight_decay': 0.05, 'grad_clip_norm': 1.0, 'label_smoothing': 0.1},
            **fields,
        }
    )
    return config


def small_class_query(**fields: Any) -> ml_collections.ConfigDict:
    """class_query with its mask, small, on 32 frames: what experiments about masks train many times."""
    small = {'num_layers': 2, 'mlp_dim': 256, 'num_heads': 2, 'dropout_rate': 0.2, 'learning_rate': 0.002}
    return _published_models(**{**_TRIMMED, **small, 'num_epochs': 60, 'warmup_epochs': 5.0, **fields})


# Fields of small_class_query where it is to be quick.
SMALL_AND_QUICK = {'num_epochs': 20, 'warmup_epochs': 2.0}


def _hands() -> ml_collections.ConfigDict:
    return _published_models(num_heads=7, dropout_rate=0.2, bucket_by_length=True, num_epochs=60, warmup_epochs=5.0)


def _ksl13() -> ml_collections.ConfigDict:
    return _published_models(num_heads=10, num_epochs=12, warmup_epochs=2.0)


# Config, and the fields that change where it is to be quick.
WithQuick = tuple[Callable[[], ml_collections.ConfigDict], Mapping[str, Any]]

# Name of a dataset -> its recipe.
OF_DATASETS: dict[str, WithQuick] = {
    'ksl13': (_ksl13, {'mlp_dim': 512, 'num_epochs': 3, 'warmup_epochs': 1.0}),
    'synthetic': (synthetic.get_config, {'num_epochs': 5, 'warmup_epochs': 1.0}),
    'wlasl100_hands': (_hands, {**_TRIMMED, 'mlp_dim': 512, 'num_epochs': 20, 'warmup_epochs': 2.0}),
}
# Of other datasets.
AS_PUBLISHED: WithQuick = (default.get_config, {'num_epochs': 20})

# Table -> config and rows, each of which changes some fields of it.
TABLES: dict[str, tuple[Callable[[], ml_collections.ConfigDict], Rows]] = {
    'hands': (
        _hands,
        {
            'class_query of release 0.2': {},
            'class_query trimmed to 32 frames': _TRIMMED,
            'class_query with time and space': {**_TRIMMED, **_TIME_AND_SPACE},
            'conv_transformer': _CONV,
            'conv_transformer with time and space': {**_CONV, **_TIME_AND_SPACE},
            'and mirror': {**_CONV, **_TIME_AND_SPACE, 'augment.mirror': 0.5},
            'and dropped parts': {**_CONV, **_TIME_AND_SPACE, **_DROPPED},
            'and average and drop-path': {**_CONV, **_TIME_AND_SPACE, **_REGULARIZED},
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
