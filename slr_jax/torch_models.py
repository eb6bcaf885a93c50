"""Published PyTorch checkpoints -> models and workdirs of this project."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files, models, progress, pth
from slr_jax import landmarks as landmarks_lib
from slr_jax import workdir as workdir_lib


def load_pth(path: str, num_heads: int | None = None) -> tuple[models.LandmarkTransformer, dict[str, Any]]:
    """Reads a published checkpoint, a whole pickled module or a plain state dict.

    Args:
        path: the .pth file.
        num_heads: attention heads; a pickled module holds the number, a state dict does not.

    Returns:
        The model and its parameters, <float32>.

    Raises:
        InputError: the file is not a checkpoint of one of the five models, or `num_heads` is missing or another.
    """
    content = pth.read_pth(path)
    try:
        name = None
        if isinstance(content, pth.Module):
            name = pth.MODEL_CLASSES.get(type(content).__name__)
            state = dict(pth.module_tensors(content))
            stored = pth.find_num_heads(content)
            if stored and num_heads and stored != num_heads:
                raise errors.InputError(f'{path} has {stored} heads, but num_heads is {num_heads}')
            num_heads = stored or num_heads
        elif isinstance(content, Mapping):
            content = content.get('state_dict', content)
            state = {key: x for key, x in content.items() if isinstance(key, str) and isinstance(x, np.ndarray)}
        else:
            raise errors.InputError(f'{path} holds a {type(content).__name__}, expected a module or a state dict')
        return _convert(path, name or _recognise(path, state), state, num_heads)
    except (KeyError, AttributeError, IndexError, ValueError, TypeError, RecursionError) as error:
        raise errors.InputError(f'{path} holds no complete model: {type(error).__name__} {error}') from error


def _recognise(path: str, state: Mapping[str, np.ndarray]) -> str:
    """The model that a state dict belongs to, from the names in it."""
    if 'row_embed' in state:
        return 'spoter_pe'
    if 'class_query' in state:
        return 'class_query' if {'wEnc', 'pos'} & state.keys() else 'spoter_no_pe'
    if 'wDec' in state:
        return 'sequence_query'
    if any(key.startswith('transformer.decoder.layers.0.') for key in state):
        return 'baseline'
    raise errors.InputError(f'{path} is not one of the five models: its names begin with {list(state)[:3]}')


def _convert(
    path: str, name: str, state: Mapping[str, np.ndarray], num_heads: int | None
) -> tuple[models.LandmarkTransformer, dict[str, Any]]:
    # The one linear layer outside of the transformer.
    (classifier,) = (key.removesuffix('.weight') for key in state if key.count('.') == 1 and key.endswith('.weight'))
    num_classes, dim = state[f'{classifier}.weight'].shape
    mlp_dim = state['transformer.encoder.layers.0.linear1.weight'].shape[0]
    num_layers = 1 + max(int(key.split('.')[3]) for key in state if key.startswith('transformer.encoder.layers.'))
    if not num_heads:
        raise errors.InputError(
            f'{path} is a plain state dict, which does not hold the number of heads: give num_heads'
        )
    model = models.create_model(
        name, num_classes=num_classes, num_heads=num_heads, num_layers=num_layers, mlp_dim=mlp_dim
    )
    models.check_num_heads(num_heads, dim)
    decoder_kind = 'class_query' if 'class_query' in state else 'decoder'
    params: dict[str, Any] = {
        'encoder': _convert_stack(state, 'transformer.encoder', num_layers, 'encoder'),
        'decoder': _convert_stack(state, 'transformer.decoder', num_layers, decoder_kind),
        'classifier': _linear(state, classifier),
    }
    if name == 'spoter_pe':
        params |= {'row_embed': state['row_embed'], 'position': state['pos'].reshape(dim)}
    if 'class_query' in state:
        params['class_query'] = state['class_query'].reshape(dim)
    if name in ('class_query', 'sequence_query'):
        params[models.ENCODER_MASK] = state['wEnc' if 'wEnc' in state else 'pos'].reshape(dim)
    if name == 'sequence_query':
        params[models.DECODER_MASK] = state['wDec'].reshape(dim)
    models.check_params(path, model, params, dim)
    return model, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)


def _convert_stack(state: Mapping[str, np.ndarray], prefix: str, num_layers: int, kind: str) -> dict[str, Any]:
    layers = [_convert_layer(state, f'{prefix}.layers.{i}', kind) for i in range(num_layers)]
    return {'layers': jax.tree.map(lambda *xs: np.stack(xs), *layers), 'norm': _norm(state, f'{prefix}.norm')}


def _convert_layer(state: Mapping[str, np.ndarray], prefix: str, kind: str) -> dict[str, Any]:
    norms = ['norm_self', 'norm_mlp'] if kind == 'encoder' else ['norm_self', 'norm_cross', 'norm_mlp']
    layer = {norm: _norm(state, f'{prefix}.norm{i}') for i, norm in enumerate(norms, start=1)}
    layer |= {'mlp_in': _linear(state, f'{prefix}.linear1'), 'mlp_out': _linear(state, f'{prefix}.linear2')}
    if kind != 'class_query':
        layer['self_attention'] = _attention(state, f'{prefix}.self_attn')
    if kind != 'encoder':
        layer['cross_attention'] = _attention(state, f'{prefix}.multihead_attn')
    return layer


def _attention(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, Any]:
    return {
        'in_proj_kernel': state[f'{prefix}.in_proj_weight'].T,
        'in_proj_bias': state[f'{prefix}.in_proj_bias'],
        'out_proj': _linear(state, f'{prefix}.out_proj'),
    }


def _linear(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {'kernel': state[f'{prefix}.weight'].T, 'bias': state[f'{prefix}.bias']}


def _norm(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {'scale': state[f'{prefix}.weight'], 'bias': state[f'{prefix}.bias']}


# Layouts by input width, which is two numbers per point.
_LAYOUT_OF_WIDTH = {2 * layout.num_points: name for name, layout in landmarks_lib.LAYOUTS.items()}


def import_checkpoints(
    paths: Sequence[str],
    workdir: str,
    *,
    layout: str | None = None,
    label_names: str | None = None,
    num_heads: int | None = None,
    handedness: str | None = None,
) -> None:
    """Turns checkpoints into a new workdir; several become one of several runs, named after the files.

    Args:
        paths: the .pth files.
        workdir: must not exist yet.
        layout: a key of landmarks.LAYOUTS, or None to find it from the input width.
        label_names: text file with one gloss per line, or None for class numbers.
        num_heads: needed for a plain state dict only.
        handedness: one of landmarks.HANDEDNESS, or None for `swapped` where the layout is mediapipe_hands_pose.

    Raises:
        InputError: see load_pth; or the layout or the label names do not fit the model.
    """
    names = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    duplicate = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if duplicate:
        raise errors.InputError(f'two checkpoints have the same file name, {duplicate}; each becomes a run of its name')
    with files.create_atomically(workdir) as temporary:
        os.mkdir(temporary)
        for path, name in zip(paths, names, strict=True):
            run_workdir = temporary if len(paths) == 1 else os.path.join(temporary, name)
            _import_checkpoint(path, run_workdir, layout, label_names, num_heads, handedness)
        if len(paths) > 1:
            workdir_lib.write_index(temporary, [workdir_lib.RunEntry(name, {}) for name in names])


def _import_checkpoint(
    path: str,
    workdir: str,
    layout: str | None,
    label_names: str | None,
    num_heads: int | None,
    handedness: str | None,
) -> None:
    model, params = load_pth(path, num_heads)
    dim = params['classifier']['kernel'].shape[0]
    layout = layout or _LAYOUT_OF_WIDTH.get(dim)
    if layout is None or 2 * landmarks_lib.LAYOUTS[layout].num_points != dim:
        raise errors.InputError(f'{path} takes {dim} numbers per frame, which does not fit layout {layout}')
    names = files.read_label_names(label_names) if label_names else [str(i) for i in range(model.num_classes)]
    if len(names) != model.num_classes:
        raise errors.InputError(f'{label_names} has {len(names)} names, but {path} has {model.num_classes} classes')
    description = dataset_lib.Description(
        name=os.path.basename(path),
        layout=layout,
        label_names=tuple(names),
        handedness=handedness or ('swapped' if layout == 'mediapipe_hands_pose' else 'signer'),
        source={'kind': 'published checkpoint', 'file': os.path.basename(path)},
    )
    config = _config_of_model(model)
    os.makedirs(workdir, exist_ok=True)
    checkpoint_lib.Checkpoints(workdir, read_only=False).save(0, {'params': params}, {'epoch': 0})
    workdir_lib.write_description(workdir, config, {'description': description.to_json()})
    progress.report(
        f'{path}: {config.model}, {models.count_parameters(params):,} parameters, {model.num_classes} classes, '
        f'{model.num_heads} heads, layout {layout}, handedness {description.handedness}'
    )


def _config_of_model(model: models.LandmarkTransformer) -> ml_collections.ConfigDict:
    """The default config, with the sizes of a model."""
    config = config_lib.default_config()
    config.model = next(name for name, kind in models.MODELS.items() if type(model) is kind)
    for field in ('num_heads', 'num_layers', 'mlp_dim', 'dropout_rate'):
        config[field] = getattr(model, field)
    return config
