"""The parameters of a model as a file of safetensors, from which a workdir can be made again.

Its metadata has the config of the run and the description of its data, as JSON. A tensor is named by where it is among
the parameters: `encoder.layers.mlp_in.kernel`.
"""

from collections.abc import Mapping
import json
from typing import Any

import jax
import ml_collections
import numpy as np
import safetensors
import safetensors.numpy

from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files, models
from slr_jax import features as features_lib
from slr_jax.inference import LoadedModel

FORMAT = 'slr_jax parameters 1'


def to_bytes(loaded: LoadedModel) -> bytes:
    """The content of a file of the parameters of a model, the same for the same model."""
    tensors = {
        '.'.join(key.key for key in path): np.ascontiguousarray(x)
        for path, x in jax.tree.leaves_with_path(loaded.params)
    }
    # Where the data was is of no use elsewhere.
    config = loaded.config.to_dict() | {'dataset': '', 'init_from': ''}
    contents = {'config': config, 'description': loaded.description.to_json()}
    metadata = {name: json.dumps(content, ensure_ascii=False) for name, content in contents.items()}
    return _order_metadata(safetensors.numpy.save(tensors, {'format': FORMAT, **metadata}))


def _order_metadata(content: bytes) -> bytes:
    """The same file with its metadata in alphabetic order: the library writes them in another order each time."""
    end = 8 + int.from_bytes(content[:8], 'little')
    header = json.loads(content[8:end])
    header['__metadata__'] = dict(sorted(header['__metadata__'].items()))
    written = json.dumps(header, ensure_ascii=False, separators=(',', ':')).encode()
    # The tensors begin at a multiple of 8 bytes.
    written += b' ' * (-len(written) % 8)
    return len(written).to_bytes(8, 'little') + written + content[end:]


def is_params_file(path: str) -> bool:
    """Whether a file is one of safetensors with parameters that `to_bytes` wrote."""
    try:
        with safetensors.safe_open(path, framework='np') as file:
            return (file.metadata() or {}).get('format') == FORMAT
    except (OSError, safetensors.SafetensorError):
        return False


def read(path: str) -> tuple[ml_collections.ConfigDict, dataset_lib.Description, dict[str, Any]]:
    """The config, the description and the parameters in a file.

    Raises:
        InputError: they do not fit each other, or the file is damaged or of another version of slr_jax.
    """
    try:
        with safetensors.safe_open(path, framework='np') as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        config = config_lib.from_json(files.parse_json(metadata['config']), is_old=False)
        description = dataset_lib.Description(**files.parse_json(metadata['description']))
        model = models.model_from_config(config, description.num_classes)
        dim = features_lib.Features.from_config(config, description.layout).dim
        params = _nest(tensors)
    except (
        errors.InputError,
        safetensors.SafetensorError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        raise errors.InputError(f'{path} is damaged or of another slr_jax: {errors.one_line(error)}') from error
    models.check_params(path, model, params, dim)
    return config, description, params


def _nest(tensors: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *parents, last = name.split('.')
        inner = nested
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = tensor
    return nested
