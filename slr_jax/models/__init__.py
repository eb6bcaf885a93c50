"""The models as Flax Linen modules: the five published ones, and one of convolutions and attention."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from slr_jax import errors
from slr_jax.models.conv import POOLINGS, ConvTransformer
from slr_jax.models.fast import plain as plain_layers
from slr_jax.models.gates import KINDS as GATE_KINDS
from slr_jax.models.published import (
    DECODER_MASK,
    ENCODER_MASK,
    GATES,
    UNUSED_POSITION_ROWS,
    Baseline,
    ClassQuery,
    LandmarkTransformer,
    MaskedTransformer,
    SequenceQuery,
    SpoterNoPE,
    SpoterPE,
    check_num_heads,
)

MODELS = {
    'spoter_pe': SpoterPE,
    'spoter_no_pe': SpoterNoPE,
    'class_query': ClassQuery,
    'sequence_query': SequenceQuery,
    'baseline': Baseline,
    'conv_transformer': ConvTransformer,
}


def has_mask(name: str) -> bool:
    """Whether the model of that name, a key of MODELS, has a learned mask."""
    return issubclass(MODELS[name], MaskedTransformer)


def create_model(name: str, *, num_classes: int, num_heads: int, **sizes: Any) -> LandmarkTransformer:
    """Makes one of the models.

    Args:
        name: a key of MODELS.
        num_classes: number of logits.
        num_heads: attention heads; must divide the input width, of conv_transformer its `width`.
        **sizes: further fields of the model.

    Raises:
        InputError: there is no model of that name.
    """
    if name not in MODELS:
        raise errors.InputError(f'model is {name!r}, expected one of {", ".join(MODELS)}')
    return MODELS[name](num_classes=num_classes, num_heads=num_heads, **sizes)


def model_from_config(config: ml_collections.ConfigDict, num_classes: int) -> LandmarkTransformer:
    """The model of `config.model`; every field that it has in common with the config is read from there."""
    fields = {field.name for field in dataclasses.fields(MODELS[config.model])} & set(config)
    sizes = {name: config[name] for name in sorted(fields)} | {'dtype': jnp.dtype(config.dtype)}
    return create_model(config.model, num_classes=num_classes, **sizes)


def param_shapes(model: LandmarkTransformer, dim: int) -> Any:
    """The tree of shapes and dtypes of a model's parameters for an input of width `dim`."""
    landmarks = jax.ShapeDtypeStruct((1, 1, dim), jnp.float32)
    padding_mask = jax.ShapeDtypeStruct((1, 1), bool)
    return jax.eval_shape(model.init, jax.random.key(0), landmarks, padding_mask)['params']


def check_params(path: str, model: LandmarkTransformer, params: Any, dim: int) -> None:
    """Raises InputError, naming the file and the parameter, unless `params` are those of the model."""
    expected = dict(jax.tree.leaves_with_path(param_shapes(model, dim)))
    found = dict(jax.tree.leaves_with_path(params))
    for name in [*expected, *found]:
        want, got = (tree[name].shape if name in tree else None for tree in (expected, found))
        if want != got:
            raise errors.InputError(f'{path}: parameter {jax.tree_util.keystr(name)} is {got}, expected {want}')


def parameter_names(params: Any) -> list[str]:
    """Names of a tree of parameters, or of their shapes, in the order of its leaves: 'encoder.norm.scale'."""
    return ['.'.join(key.key for key in path) for path, _ in jax.tree.leaves_with_path(params)]


def count_parameters(params: Any) -> int:
    """Number of values in a tree of parameters, or of their shapes."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(params))
