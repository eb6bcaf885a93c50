"""Published PyTorch checkpoints -> a workdir of this project, without PyTorch and without running what a file contains.

python -m slr_jax.import_torch --checkpoint=checkpoint_v_34.pth --workdir=W
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import io
import math
import os
import pickle
from typing import Any
import zipfile

from absl import flags
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import cli, errors, files, models
from slr_jax import dataset as dataset_lib
from slr_jax import landmarks as landmarks_lib
from slr_jax import runs as runs_lib

_MAX_PICKLE_BYTES = 64 * 2**20

_DTYPES = {
    'FloatStorage': np.dtype('<f4'),
    'DoubleStorage': np.dtype('<f8'),
    'HalfStorage': np.dtype('<f2'),
    'LongStorage': np.dtype('<i8'),
    'IntStorage': np.dtype('<i4'),
    'BoolStorage': np.dtype('?'),
}

# Everything that a checkpoint may name. Each name is answered by an inert class or by a function of this file; nothing
# is imported.
_MODEL_CLASSES = {
    'src.models.spoter_model_original.SPOTER': 'spoter_pe',
    'src.models.spoter_model_original.SPOTERnoPE': 'spoter_no_pe',
    'src.models.ExplainabTransformer.ExplainabTransformerwQuery': 'class_query',
    'src.models.ExplainabTransformer.ExplainabTransformerwSequence': 'sequence_query',
    'src.models.BaselineTransformerClassification.BaselineTransformerClassification': 'baseline',
}
_INERT_CLASSES = {
    *_MODEL_CLASSES,
    'src.models.spoter_model_original.SPOTERTransformerDecoderLayer',
    'src.models.BaselineTransformerClassification.PositionalEncoding',
    'torch.nn.functional.relu',
    'torch.nn.modules.activation.MultiheadAttention',
    'torch.nn.modules.container.ModuleList',
    'torch.nn.modules.dropout.Dropout',
    'torch.nn.modules.linear.Linear',
    'torch.nn.modules.linear.NonDynamicallyQuantizableLinear',
    'torch.nn.modules.normalization.LayerNorm',
    'torch.nn.modules.transformer.Transformer',
    'torch.nn.modules.transformer.TransformerDecoder',
    'torch.nn.modules.transformer.TransformerDecoderLayer',
    'torch.nn.modules.transformer.TransformerEncoder',
    'torch.nn.modules.transformer.TransformerEncoderLayer',
}


class _Module:
    """Stands for an object of a PyTorch class: only its attributes are kept."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f'the state of a module is a {type(state).__name__}, expected a dict')
        self.__dict__.update(state)


@dataclasses.dataclass
class _Storage:
    """The raw numbers of a tensor, still in the archive."""

    dtype: np.dtype
    key: str
    size: int


class _Unpickler(pickle.Unpickler):
    """Unpickles a checkpoint; any name that a checkpoint does not need is refused."""

    def __init__(self, data: bytes, read_storage: Callable[[_Storage], np.ndarray]) -> None:
        super().__init__(io.BytesIO(data))
        self._read_storage = read_storage
        self._storage_types = {type(name, (), {}): dtype for name, dtype in _DTYPES.items()}
        self._known = self._known_names()

    def find_class(self, module: str, name: str) -> Any:
        path = f'{module}.{name}'
        if path not in self._known:
            raise pickle.UnpicklingError(f'it asks for {path}, which no checkpoint needs')
        return self._known[path]

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ('storage', type() as kind, str() as key, _, int() as size) if kind in self._storage_types:
                return _Storage(self._storage_types[kind], key, size)
        raise pickle.UnpicklingError('a tensor is stored outside of the storages of this archive')

    def _known_names(self) -> dict[str, Any]:
        # Made anew for every file, so that no file can leave anything behind in them.
        known: dict[str, Any] = {path: type(path, (_Module,), {}) for path in _INERT_CLASSES}
        known |= {f'torch.{kind.__name__}': kind for kind in self._storage_types}
        known['torch._utils._rebuild_tensor_v2'] = self._rebuild_tensor
        known['torch._utils._rebuild_parameter'] = lambda tensor, requires_grad, hooks: tensor
        known['collections.OrderedDict'] = type('OrderedDict', (dict,), {})
        # Protocol 2, which PyTorch writes, names the builtins of Python 2.
        known['__builtin__.set'] = known['builtins.set'] = type('set', (set,), {})
        return known

    def _rebuild_tensor(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> np.ndarray:
        if not isinstance(storage, _Storage) or len(shape) != len(stride) or min((offset, *shape, *stride)) < 0:
            raise pickle.UnpicklingError('a tensor has no valid storage, shape or stride')
        flat = self._read_storage(storage)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if 0 not in shape and (last >= flat.size or math.prod(shape) > flat.size):
            raise pickle.UnpicklingError(f'a tensor of shape {shape} reaches past its storage of {flat.size} numbers')
        strides = [step * flat.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(flat[offset:], shape, strides, writeable=False).copy()


def read_pth(path: str) -> Any:
    """Reads a file of `torch.save` (zip format); tensors come as NumPy arrays, modules as inert objects.

    Raises:
        InputError: the file is missing, damaged, of another kind, or asks for a name that a checkpoint does not need.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data_names = [name for name in archive.namelist() if name.count('/') == 1 and name.endswith('/data.pkl')]
            if len(data_names) != 1:
                raise errors.InputError(f'{path} is a zip file without data.pkl, expected a file of torch.save')
            return _unpickle(archive, data_names[0])
    except zipfile.BadZipFile as error:
        raise errors.InputError(f'{path} is damaged or not a checkpoint in the zip format of torch.save') from error
    except (errors.InputError, OSError):
        raise
    # Damaged or hostile bytes make the unpickler fail in any way there is; none of them is a bug of this program.
    except Exception as error:
        raise errors.InputError(f'{path} is refused: {str(error)[:200] or type(error).__name__}') from error


def _unpickle(archive: zipfile.ZipFile, data_name: str) -> Any:
    folder = data_name.removesuffix('data.pkl')
    names = set(archive.namelist())
    if f'{folder}byteorder' in names and archive.read(f'{folder}byteorder') != b'little':
        raise pickle.UnpicklingError('its numbers are not little-endian')

    def read_storage(storage: _Storage) -> np.ndarray:
        info = archive.getinfo(f'{folder}data/{storage.key}')
        if info.file_size != storage.size * storage.dtype.itemsize:
            raise pickle.UnpicklingError(
                f'storage {storage.key} holds {info.file_size} bytes, expected {storage.size} × {storage.dtype}'
            )
        if info.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError(f'storage {storage.key} is compressed, which torch.save never does')
        return np.frombuffer(archive.read(info), storage.dtype)

    if archive.getinfo(data_name).file_size > _MAX_PICKLE_BYTES:
        raise pickle.UnpicklingError('its data.pkl is larger than that of any checkpoint')
    return _Unpickler(archive.read(data_name), read_storage).load()


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
    content = read_pth(path)
    try:
        name = None
        if isinstance(content, _Module):
            name = _MODEL_CLASSES.get(type(content).__name__)
            state = dict(_module_tensors(content))
            stored = _find_num_heads(content)
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


def _module_tensors(module: _Module, prefix: str = '') -> list[tuple[str, np.ndarray]]:
    tensors = []
    for kind in ('_parameters', '_buffers'):
        tensors += [(prefix + key, x) for key, x in getattr(module, kind, {}).items() if x is not None]
    for key, child in getattr(module, '_modules', {}).items():
        if child is not None:
            tensors += _module_tensors(child, f'{prefix}{key}.')
    return tensors


def _find_num_heads(module: _Module) -> int | None:
    attention = module._modules['transformer']._modules['encoder']._modules['layers']._modules['0']
    return getattr(attention._modules['self_attn'], 'num_heads', None)


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
    raise errors.InputError(f'{path} holds none of the five models: its names begin with {list(state)[:3]}')


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
    params = {
        'encoder': _convert_stack(state, 'transformer.encoder', num_layers, 'encoder'),
        'decoder': _convert_stack(state, 'transformer.decoder', num_layers, decoder_kind),
        'classifier': _linear(state, classifier),
    }
    if name == 'spoter_pe':
        params |= {'row_embed': state['row_embed'], 'position': state['pos'].reshape(dim)}
    if 'class_query' in state:
        params['class_query'] = state['class_query'].reshape(dim)
    if name in ('class_query', 'sequence_query'):
        params['encoder_mask'] = state['wEnc' if 'wEnc' in state else 'pos'].reshape(dim)
    if name == 'sequence_query':
        params['decoder_mask'] = state['wDec'].reshape(dim)
    checkpoint_lib.check_params(path, model, params, dim)
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


# Layouts by points, for checkpoints, whose width is two numbers a point.
_LAYOUT_OF_WIDTH = {2 * layout.num_points: name for name, layout in landmarks_lib.LAYOUTS.items()}


def import_checkpoint(
    path: str,
    workdir: str,
    *,
    layout: str | None = None,
    label_names: str | None = None,
    num_heads: int | None = None,
    handedness: str | None = None,
) -> None:
    """Turns a checkpoint into a new workdir.

    Args:
        path: the .pth file.
        workdir: must not exist yet.
        layout: a key of landmarks.LAYOUTS, or None to find it from the input width.
        label_names: text file with one gloss a line, or None for class numbers.
        num_heads: needed for a plain state dict only.
        handedness: one of landmarks.HANDEDNESS, or None for `swapped` where the layout is mediapipe_hands_pose.

    Raises:
        InputError: see load_pth; or the layout or the label names do not fit the model.
    """
    model, params = load_pth(path, num_heads)
    dim = params['classifier']['kernel'].shape[0]
    layout = layout or _LAYOUT_OF_WIDTH.get(dim)
    if layout is None or 2 * landmarks_lib.LAYOUTS[layout].num_points != dim:
        raise errors.InputError(f'{path} takes {dim} numbers a frame, which is not layout {layout}')
    names = files.read_label_names(label_names) if label_names else [str(i) for i in range(model.num_classes)]
    if len(names) != model.num_classes:
        raise errors.InputError(f'{label_names} has {len(names)} names, but {path} has {model.num_classes} classes')
    config = ml_collections.ConfigDict(
        {
            'model': next(name for name, kind in models.MODELS.items() if type(model) is kind),
            'num_heads': model.num_heads,
            'num_layers': model.num_layers,
            'mlp_dim': model.mlp_dim,
            'dropout_rate': model.dropout_rate,
            'dtype': 'float32',
            'normalize': 'none',
            'coordinates': 'xy',
            'missing_value': landmarks_lib.LAYOUTS[layout].missing_value,
        }
    )
    description = dataset_lib.Description(
        name=os.path.basename(path),
        layout=layout,
        label_names=tuple(names),
        handedness=handedness or ('swapped' if layout == 'mediapipe_hands_pose' else 'signer'),
        source={'kind': 'published checkpoint', 'file': os.path.basename(path)},
    )
    checkpoint_lib.save_imported(workdir, config, description, params)
    print(
        f'{path}: {config.model}, {models.count_parameters(params):,} parameters, {model.num_classes} classes, '
        f'{model.num_heads} heads, layout {layout}, handedness {description.handedness}'
    )


def import_checkpoints(paths: Sequence[str], workdir: str, **options: Any) -> None:
    """Turns checkpoints into a new workdir of several runs, named after the files; see import_checkpoint."""
    names = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    if len(set(names)) < len(names):
        raise errors.InputError(f'--checkpoint has two files of one name, expected others: {", ".join(names)}')
    with files.create_atomically(workdir) as aside:
        os.mkdir(aside)
        for path, name in zip(paths, names, strict=True):
            import_checkpoint(path, os.path.join(aside, name), **options)
        runs_lib.write_index(aside, [runs_lib.Run(name, {}) for name in names])


def _define_flags() -> None:
    flags.DEFINE_list('checkpoint', None, 'The .pth file; of several, with commas, each becomes a run.', required=True)
    flags.DEFINE_string('workdir', None, 'Where to write the workdir; must not exist yet.', required=True)
    flags.DEFINE_enum(
        'layout', None, sorted(landmarks_lib.LAYOUTS), 'Landmark layout; found from the input width where not given.'
    )
    flags.DEFINE_string('label_names', None, 'Text file with one gloss a line; class numbers if not given.')
    flags.DEFINE_integer('num_heads', None, 'Attention heads; needed for a plain state dict only.')
    flags.DEFINE_enum(
        'handedness',
        None,
        list(landmarks_lib.HANDEDNESS),
        "Whose hand the right hand's columns hold: the signer's right hand (signer) or left hand (swapped). By default "
        'swapped for mediapipe_hands_pose, as the published weights were trained, else signer.',
    )


def main() -> None:
    """Imports as the flags say."""
    paths = flags.FLAGS.checkpoint
    if not paths:
        raise errors.InputError('--checkpoint is empty, expected a .pth file')
    several = len(paths) > 1
    (import_checkpoints if several else import_checkpoint)(
        paths if several else paths[0],
        flags.FLAGS.workdir,
        layout=flags.FLAGS.layout,
        label_names=flags.FLAGS.label_names,
        num_heads=flags.FLAGS.num_heads,
        handedness=flags.FLAGS.handedness,
    )


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
