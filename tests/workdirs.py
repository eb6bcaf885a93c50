"""Workdirs of models that are not trained, whose parameters are drawn, which takes no time; and what any hold."""

import jax
import numpy as np
import pandas as pd

from slr_jax import checkpoint, dataset, models
from slr_jax import features as features_lib
from slr_jax import workdir as workdir_lib
from tests.conftest import make_tiny_config


def write_workdir(path, description, seed=0, **fields):
    """Writes a workdir whose parameters are drawn from a seed; returns its path as text."""
    config = make_tiny_config(fields.pop('dataset', ''), **fields)
    model = models.model_from_config(config, description.num_classes)
    dim = features_lib.Features.from_config(config, description.layout).dim
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(leaf.dtype), models.param_shapes(model, dim)
    )
    path.mkdir(parents=True)
    checkpoint.Checkpoints(str(path), read_only=False).save(1, {'params': params}, {'epoch': 1})
    workdir_lib.write_description(str(path), config, {'description': description.to_json()})
    return str(path)


def write_runs(path, description, seeds, diverged=(), **fields):
    """Writes a workdir of several runs; returns its path as text."""
    for seed in seeds:
        write_workdir(path / f'seed_{seed}', description, seed, **fields)
    entries = [workdir_lib.RunEntry(f'seed_{seed}', {}, seed, 'loss is nan' * (seed in diverged)) for seed in seeds]
    workdir_lib.write_index(str(path), entries)
    return str(path)


def describe(layout, label_names=('book', 'drink', 'go'), **fields):
    """The description of data of a layout."""
    return dataset.Description('signs', layout, label_names, **fields)


def params_of(workdir, step='latest'):
    return checkpoint.load_model(str(workdir), step).params


def assert_equal_bits(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def assert_equal_runs(one, other):
    """Of two workdirs of one run: the latest parameters, and metrics but for times."""
    assert_equal_bits(params_of(one), params_of(other))
    tables = [pd.read_csv(folder / 'metrics.csv').drop(columns='clips_per_second') for folder in (one, other)]
    pd.testing.assert_frame_equal(*tables)
