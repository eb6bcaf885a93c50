"""PyTorch checkpoints -> models and workdirs of this project."""

from collections.abc import Sequence
import dataclasses
import math
import os
import re
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files, models, params_file, progress, pth
from slr_jax import landmarks as landmarks_lib
from slr_jax import workdir as workdir_lib

# The paths of the classes that Luna-Jiménez et al. published begin so. They trained on landmarks as they are, SPOTER
# and its forks on normalized ones.
_PUBLISHED_CLASSES = 'src.models.'
# Every model here has this tensor; what is before it in a name are the keys and attributes around the model.
_SOME_TENSOR = 'transformer.encoder.layers.0.linear1.weight'
_LEARNED_VECTORS = ('pos', 'wEnc', 'wDec', 'class_query')
_LAYER_NORM_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class _Checkpoint:
    """A model that was read from a file; `class_path` is its class there, None for a state dict."""

    model: models.LandmarkTransformer
    params: dict[str, Any]
    class_path: str | None
    unused: list[str]

    @property
    def dim(self) -> int:
        return self.params['classifier']['kernel'].shape[0]


def load_pth(
    path: str, num_heads: int | None = None, prefix: str | None = None
) -> tuple[models.LandmarkTransformer, dict[str, Any]]:
    """Reads a checkpoint of PyTorch: a pickled module or a state dict, wrapped in anything; or a safetensors file.

    The names and shapes of the tensors say which model it is, whatever its class is called.

    Args:
        path: the file.
        num_heads: attention heads; a pickled module holds the number, a state dict does not.
        prefix: beginning of the names of the model's tensors, where a file holds several models.

    Returns:
        The model and its parameters, <float32>.

    Raises:
        InputError: the file is not a checkpoint of one of the five models, or `num_heads` is missing or another.
    """
    checkpoint = _read(path, num_heads, prefix)
    return checkpoint.model, checkpoint.params


def _read(path: str, num_heads: int | None, prefix: str | None) -> _Checkpoint:
    content = pth.read(path)
    prefix = _find_prefix(path, content, prefix)
    root = content.objects.get(prefix.removesuffix('.'))
    class_path = pth.class_path(root) if root and '_modules' in vars(root) else None
    _check_variant(path, content, prefix)
    attention = content.objects.get(f'{prefix}transformer.encoder.layers.0.self_attn')
    stored = vars(attention).get('num_heads') if attention else None
    if isinstance(stored, int):
        if num_heads and stored != num_heads:
            raise errors.InputError(f'{path} has {stored} heads, but num_heads is {num_heads}')
        num_heads = stored
    state = _State(path, content, prefix)
    try:
        model, params = _convert(path, state, class_path, num_heads)
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise errors.InputError(f'{path} holds no complete model: {errors.one_line(error)}') from error
    unused = sorted(name for name in state.unused() if not name.endswith('.pe'))
    strange = [name for name in unused if name in _LEARNED_VECTORS or name.startswith('transformer.')]
    if strange:
        kind = _model_name(model)
        raise errors.InputError(f'{path} has tensors that {kind}, which it seems to be, does not: {_some(strange)}')
    return _Checkpoint(model, params, class_path, unused)


def _find_prefix(path: str, content: pth.Content, wanted: str | None) -> str:
    found = [name.removesuffix(_SOME_TENSOR) for name in content.tensors if name.endswith(_SOME_TENSOR)]
    prefixes = [prefix for prefix in found if prefix == '' or prefix.endswith('.')]
    if wanted is not None:
        prefixes = [prefix for prefix in prefixes if prefix.removesuffix('.') == wanted.removesuffix('.')]
    # Lightning's checkpoints may hold the model once more, as it was before training.
    elif len(prefixes) > 1:
        prefixes = [prefix for prefix in prefixes if prefix.startswith('state_dict.')] or prefixes
    if len(prefixes) > 1:
        names = ', '.join(prefix.removesuffix('.') or "''" for prefix in prefixes)
        raise errors.InputError(f'{path} holds {len(prefixes)} models, {names}: choose one as prefix')
    if not prefixes:
        names = _some([name or 'a tensor' for name in content.tensors]) or 'no tensors'
        raise errors.InputError(
            f'{path} is {content.kind} with {content.what} and none of the five models: found {names}, expected '
            f'the names of a module or a state dict such as {(wanted or "").removesuffix(".")}'
            f'{"." if wanted else ""}{_SOME_TENSOR}'
        )
    return prefixes[0]


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')


def _check_variant(path: str, content: pth.Content, prefix: str) -> None:
    """Refuses pickled modules that compute something else with the same tensors."""
    for name, thing in content.objects.items():
        if not name.startswith(f'{prefix}transformer.'):
            continue
        attributes = vars(thing)
        activation = attributes.get('activation', content.objects.get(f'{name}.activation'))
        found = {
            'norm_first': attributes.get('norm_first', False),
            'activation': pth.class_path(activation).rpartition('.')[2].lower() if activation else 'relu',
            'eps': attributes.get('eps', _LAYER_NORM_EPSILON),
        }
        expected = {'norm_first': False, 'activation': 'relu', 'eps': _LAYER_NORM_EPSILON}
        for field, value in expected.items():
            if found[field] != value:
                raise errors.InputError(f'{path}: {name} has {field} {found[field]!r}, expected {value!r}')


class _State:
    """The tensors of a model by the names of a state dict, each read when it is asked for."""

    def __init__(self, path: str, content: pth.Content, prefix: str) -> None:
        self._path, self._prefix = path, prefix
        self._tensors = {
            name.removeprefix(prefix): tensor for name, tensor in content.tensors.items() if name.startswith(prefix)
        }
        self._used: set[str] = set()
        # What a file holds once, a hostile one could name many times.
        self._bytes_left = os.path.getsize(path)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def names(self) -> list[str]:
        return list(self._tensors)

    def unused(self) -> set[str]:
        return self._tensors.keys() - self._used

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self._tensors:
            raise errors.InputError(
                f'{self._path} lacks the tensor {self._prefix}{name}, which a model with its other tensors needs'
            )
        return self._tensors[name].shape

    def read(self, name: str, *shape: int) -> np.ndarray:
        """<float32> of a shape; of one number, a vector of so many numbers in any shape."""
        found = self.shape(name)
        if found != shape and (len(shape) > 1 or math.prod(found) != shape[0]):
            raise errors.InputError(f'{self._path}: {self._prefix}{name} has the shape {found}, expected {shape}')
        tensor = self._tensors[name]
        numbers = tensor.read() if isinstance(tensor, pth.Tensor) else tensor
        self._used.add(name)
        self._bytes_left -= numbers.nbytes
        if self._bytes_left < 0:
            raise errors.InputError(f'{self._path} names more numbers than it holds')
        if not jnp.issubdtype(numbers.dtype, jnp.floating):
            raise errors.InputError(f'{self._path}: {self._prefix}{name} is {numbers.dtype}, expected numbers in float')
        if not np.isfinite(numbers.astype(np.float32)).all():
            raise errors.InputError(f'{self._path}: {self._prefix}{name} has numbers that are not finite')
        return numbers.astype(np.float32).reshape(shape)


def _recognize(state: _State, class_path: str | None) -> str:
    """The model that the names of tensors belong to."""
    if 'class_query' not in state:
        return 'sequence_query' if 'wDec' in state else 'baseline'
    if 'wEnc' in state or 'pos' not in state:
        return 'class_query' if 'wEnc' in state else 'spoter_no_pe'
    # SPOTER's pos is added, and made from the first row of row_embed; in early checkpoints of class_query the mask was
    # named pos.
    if any('row_embed' in name for name in state.names()):
        return 'spoter_pe'
    return 'class_query' if class_path is None or class_path.startswith(_PUBLISHED_CLASSES) else 'spoter_pe'


def _convert(
    path: str, state: _State, class_path: str | None, num_heads: int | None
) -> tuple[models.LandmarkTransformer, dict[str, Any]]:
    name = _recognize(state, class_path)
    mlp_dim, dim = _matrix_shape(path, state, _SOME_TENSOR)
    classifier = _find_classifier(path, state, dim)
    num_classes, _ = state.shape(f'{classifier}.weight')
    num_layers = 1 + max(
        int(match[1]) for key in state.names() if (match := re.match(r'transformer\.encoder\.layers\.(\d{1,4})\.', key))
    )
    if not num_heads:
        raise errors.InputError(
            f'{path} holds a state dict, which does not say the number of heads: give num_heads (SPOTER has 9)'
        )
    models.check_num_heads(num_heads, dim)
    model = models.create_model(
        name, num_classes=num_classes, num_heads=num_heads, num_layers=num_layers, mlp_dim=mlp_dim
    )
    sizes = (num_layers, dim, mlp_dim)
    decoder_kind = 'class_query' if 'class_query' in state else 'decoder'
    params: dict[str, Any] = {
        'encoder': _convert_stack(state, 'transformer.encoder', 'encoder', *sizes),
        'decoder': _convert_stack(state, 'transformer.decoder', decoder_kind, *sizes),
        'classifier': _linear(state, classifier, num_classes, dim),
    }
    if name == 'spoter_pe':
        params |= {'row_embed': _read_rows(state, dim), 'position': state.read('pos', dim)}
    if 'class_query' in state:
        params['class_query'] = state.read('class_query', dim)
    if name in ('class_query', 'sequence_query'):
        params[models.ENCODER_MASK] = state.read('wEnc' if 'wEnc' in state else 'pos', dim)
    if name == 'sequence_query':
        params[models.DECODER_MASK] = state.read('wDec', dim)
    models.check_params(path, model, params, dim)
    return model, jax.tree.map(jnp.asarray, params)


def _matrix_shape(path: str, state: _State, name: str) -> tuple[int, int]:
    shape = state.shape(name)
    if len(shape) != 2 or 0 in shape:
        raise errors.InputError(f'{path}: {name} has the shape {shape}, expected two axes')
    return shape[0], shape[1]


def _find_classifier(path: str, state: _State, dim: int) -> str:
    """The name of the one linear layer outside of the transformer."""
    names = [name.removesuffix('.bias') for name in state.names() if not name.startswith('transformer.')]
    found = [name for name in names if f'{name}.bias' in state and len(state.shape(f'{name}.bias')) == 1]
    found = [name for name in found if f'{name}.weight' in state and len(state.shape(f'{name}.weight')) == 2]
    if len(found) != 1 or state.shape(f'{found[0]}.weight')[1] != dim:
        raise errors.InputError(
            f'{path} has the linear layers {_some(found) or "none"} outside of its transformer, expected one that '
            f'takes {dim} numbers'
        )
    return found[0]


def _read_rows(state: _State, dim: int) -> np.ndarray:
    """SPOTER's table of positions, which is never read: forks have it in other sizes and under other names."""
    shape = (models.UNUSED_POSITION_ROWS, dim)
    if 'row_embed' in state and state.shape('row_embed') == shape:
        return state.read('row_embed', *shape)
    return np.zeros(shape, np.float32)


def _convert_stack(state: _State, prefix: str, kind: str, num_layers: int, dim: int, mlp_dim: int) -> dict[str, Any]:
    layers = [_convert_layer(state, f'{prefix}.layers.{i}', kind, dim, mlp_dim) for i in range(num_layers)]
    return {'layers': jax.tree.map(lambda *xs: np.stack(xs), *layers), 'norm': _norm(state, f'{prefix}.norm', dim)}


def _convert_layer(state: _State, prefix: str, kind: str, dim: int, mlp_dim: int) -> dict[str, Any]:
    norms = ['norm_self', 'norm_mlp'] if kind == 'encoder' else ['norm_self', 'norm_cross', 'norm_mlp']
    layer = {norm: _norm(state, f'{prefix}.norm{i}', dim) for i, norm in enumerate(norms, start=1)}
    layer['mlp_in'] = _linear(state, f'{prefix}.linear1', mlp_dim, dim)
    layer['mlp_out'] = _linear(state, f'{prefix}.linear2', dim, mlp_dim)
    if kind != 'class_query':
        layer['self_attention'] = _attention(state, f'{prefix}.self_attn', dim)
    if kind != 'encoder':
        layer['cross_attention'] = _attention(state, f'{prefix}.multihead_attn', dim)
    return layer


def _attention(state: _State, prefix: str, dim: int) -> dict[str, Any]:
    return {
        'in_proj_kernel': state.read(f'{prefix}.in_proj_weight', 3 * dim, dim).T,
        'in_proj_bias': state.read(f'{prefix}.in_proj_bias', 3 * dim),
        'out_proj': _linear(state, f'{prefix}.out_proj', dim, dim),
    }


def _linear(state: _State, prefix: str, num_outputs: int, num_inputs: int) -> dict[str, np.ndarray]:
    kernel = state.read(f'{prefix}.weight', num_outputs, num_inputs).T
    return {'kernel': kernel, 'bias': state.read(f'{prefix}.bias', num_outputs)}


def _norm(state: _State, prefix: str, dim: int) -> dict[str, np.ndarray]:
    return {'scale': state.read(f'{prefix}.weight', dim), 'bias': state.read(f'{prefix}.bias', dim)}


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
    normalize: str | None = None,
    prefix: str | None = None,
) -> None:
    """Turns checkpoints into a new workdir; several become one of several runs, named after the files.

    Args:
        paths: files of PyTorch or of safetensors, those of slr_jax.export too, which say all else themselves.
        workdir: must not exist yet.
        layout: a key of landmarks.LAYOUTS, or None to find it from the input width.
        label_names: text file with one gloss per line, or None for class numbers.
        num_heads: needed for a plain state dict only.
        handedness: one of landmarks.HANDEDNESS, or None for `swapped` where the layout is mediapipe_hands_pose.
        normalize: one of normalize.METHODS, or None for SPOTER's where the checkpoint is of SPOTER or a fork.
        prefix: see load_pth.

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
            if params_file.is_params_file(path):
                if any((layout, label_names, num_heads, handedness, normalize, prefix)):
                    raise errors.InputError(
                        f'{path} is of slr_jax.export and describes itself, expected no more options'
                    )
                _save(path, run_workdir, *params_file.read(path))
            else:
                checkpoint = _read(path, num_heads, prefix)
                _write(path, checkpoint, run_workdir, layout, label_names, handedness, normalize)
        if len(paths) > 1:
            workdir_lib.write_index(temporary, [workdir_lib.RunEntry(name, {}) for name in names])


def _write(
    path: str,
    checkpoint: _Checkpoint,
    workdir: str,
    layout: str | None,
    label_names: str | None,
    handedness: str | None,
    normalize: str | None,
) -> None:
    model, params, dim = checkpoint.model, checkpoint.params, checkpoint.dim
    layout = layout or _LAYOUT_OF_WIDTH.get(dim)
    if layout is None or 2 * landmarks_lib.LAYOUTS[layout].num_points != dim:
        widths = ', '.join(f'{width} ({name})' for width, name in sorted(_LAYOUT_OF_WIDTH.items()))
        raise errors.InputError(
            f'{path} takes {dim} numbers per frame, which does not fit layout {layout}, expected {widths}'
        )
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
    config.normalize = normalize or _normalization(checkpoint, layout)
    _save(path, workdir, config, description, params)
    if checkpoint.unused:
        progress.report(f'{path}: tensors that the model does not need: {_some(checkpoint.unused)}')


def _save(
    path: str,
    workdir: str,
    config: ml_collections.ConfigDict,
    description: dataset_lib.Description,
    params: dict[str, Any],
) -> None:
    os.makedirs(workdir, exist_ok=True)
    checkpoint_lib.Checkpoints(workdir, read_only=False).save(0, {'params': params}, {'epoch': 0})
    workdir_lib.write_description(workdir, config, {'description': description.to_json()})
    progress.report(
        f'{path}: {config.model}, {models.count_parameters(params):,} parameters, {description.num_classes} classes, '
        f'{config.num_heads} heads, layout {description.layout}, handedness {description.handedness}, normalize '
        f'{config.normalize}'
    )


def _normalization(checkpoint: _Checkpoint, layout: str) -> str:
    """SPOTER and its forks train on normalized landmarks; a state dict does not name its class."""
    class_path = checkpoint.class_path
    is_spoter = layout == 'vision_api' if class_path is None else not class_path.startswith(_PUBLISHED_CLASSES)
    return 'spoter' if is_spoter and isinstance(checkpoint.model, models.SpoterPE) else 'none'


def _model_name(model: models.LandmarkTransformer) -> str:
    return next(name for name, kind in models.MODELS.items() if type(model) is kind)


def _config_of_model(model: models.LandmarkTransformer) -> ml_collections.ConfigDict:
    """The default config, with the sizes of a model."""
    config = config_lib.default_config()
    config.model = _model_name(model)
    for field in ('num_heads', 'num_layers', 'mlp_dim', 'dropout_rate'):
        config[field] = getattr(model, field)
    return config
