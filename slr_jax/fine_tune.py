"""The run that a new run begins with (`config.init_from`): what is taken of it, and what is refused."""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
from typing import Any

import jax
import ml_collections
import numpy as np

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, models, progress
from slr_jax import features as features_lib
from slr_jax import landmarks as landmarks_lib

# Fields of Features that choose frames, and leave what a number of a frame means: these may differ, all others not.
_OF_FRAMES = ('trim', 'interpolate_gaps', 'max_frames', 'shorten', 'num_frames')
_CLASSIFIER = 'classifier.'


@dataclasses.dataclass(frozen=True)
class Source:
    """The parameters that runs begin with.

    Attributes:
        workdir: `config.init_from`.
        step: of the checkpoint.
        selected_by: how the checkpoint was chosen, in words.
        params: <float32> of each parameter name.
        classes: for each class of the new runs, the class of the source with the same gloss; None for new ones.
        label_names: the gloss of each class of the new runs.
    """

    workdir: str
    step: int
    selected_by: str
    params: Mapping[str, np.ndarray]
    classes: Sequence[int | None]
    label_names: Sequence[str]

    def take(self, params: Any) -> Any:
        """The parameters of a new run: those of the source where names and shapes agree, the others as given.

        The classifier is taken class by class.

        Args:
            params: of the new run, as its seed initialized them.
        """
        names, leaves = models.parameter_names(params), jax.tree.leaves(jax.device_get(params))
        taken = [self._value(name, leaf) for name, leaf in zip(names, leaves, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(params), taken)

    def _value(self, name: str, fresh: np.ndarray) -> np.ndarray:
        if not self._is_taken(name, fresh.shape):
            return fresh
        if not name.startswith(_CLASSIFIER):
            return self.params[name]
        value = np.array(fresh)
        for label, known in enumerate(self.classes):
            if known is not None:
                value[..., label] = self.params[name][..., known]
        return value

    def _is_taken(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether a parameter of the new runs is taken, of the classifier at least one class."""
        if name not in self.params:
            return False
        found = self.params[name].shape
        if name.startswith(_CLASSIFIER):
            return found[:-1] == shape[:-1] and any(known is not None for known in self.classes)
        return found == shape

    def summary(self, shapes: Any) -> dict[str, Any]:
        """The content of init.json: the source with its fingerprint, and the names of what is taken and what is new.

        Args:
            shapes: of the parameters of the new runs.
        """
        leaves = dict(zip(models.parameter_names(shapes), jax.tree.leaves(shapes), strict=True))
        taken = [name for name, leaf in leaves.items() if self._is_taken(name, leaf.shape)]
        pairs = list(zip(self.label_names, self.classes, strict=True))
        return {
            'init_from': self.workdir,
            'step': self.step,
            'selected_by': self.selected_by,
            'fingerprint': self.fingerprint(),
            'taken': taken,
            'new': [name for name in leaves if name not in taken],
            'unused': [name for name in self.params if name not in taken],
            'classes_taken': [name for name, known in pairs if known is not None],
            'classes_new': [name for name, known in pairs if known is None],
        }

    def fingerprint(self) -> str:
        """SHA-256 over the parameters: equal for equal ones, wherever they lie."""
        digest = hashlib.sha256()
        for name, value in self.params.items():
            digest.update(f'{name} {value.dtype} {value.shape}'.encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()


def load_source(config: ml_collections.ConfigDict, description: dataset_lib.Description) -> Source:
    """Loads the checkpoint that `config.init_from` means: the best of that run.

    Args:
        config: of the new runs.
        description: of the data of the new runs.

    Raises:
        InputError: it is not the workdir of one run, or its model takes another input or has another number of heads.
    """
    try:
        loaded = checkpoint_lib.load_model(config.init_from)
    except errors.InputError as error:
        raise errors.InputError(f'config.init_from: {error}') from error
    _check_same_input(config, description, loaded)
    if loaded.features.uses_shape and bool(loaded.description.frame_sizes) != bool(description.frame_sizes):
        here, there = ('known', 'unknown') if description.frame_sizes else ('unknown', 'known')
        progress.report(
            f'warning: the shape of the pictures of this dataset is {here}, that of those of {config.init_from} is '
            f'{there}, so that the same person is another to the model'
        )
    params = jax.device_get(loaded.params)
    return Source(
        workdir=config.init_from,
        step=loaded.step,
        selected_by=loaded.selected_by,
        params=dict(zip(models.parameter_names(params), jax.tree.leaves(params), strict=True)),
        classes=dataset_lib.match_glosses(description.label_names, loaded.description.label_names),
        label_names=description.label_names,
    )


def _check_same_input(
    config: ml_collections.ConfigDict, description: dataset_lib.Description, loaded: checkpoint_lib.LoadedModel
) -> None:
    pairs: dict[str, Any] = dataset_lib.input_differences(loaded.description, description)
    pairs['config.num_heads'] = (loaded.config.num_heads, config.num_heads)
    of_frames: dict[str, Any] = {}
    # Points and published values of layouts that differ cannot be compared.
    if description.layout == loaded.description.layout:
        there = _meaning(loaded.features)
        for field, here in _meaning(features_lib.Features.from_config(config, description.layout)).items():
            (of_frames if field in _OF_FRAMES else pairs)[f'config.{field}'] = (there[field], here)
    if different := _differences(pairs):
        raise errors.InputError(
            f'config.init_from: {config.init_from} does not fit this config and dataset: {different}'
        )
    if different := _differences(of_frames):
        progress.report(f'warning: {config.init_from} was trained on other frames of clips: {different}')


def _meaning(features: features_lib.Features) -> dict[str, Any]:
    """Every field of features, by its name in a config and with values that can be compared."""
    fields = {field.name: getattr(features, field.name) for field in dataclasses.fields(features)}
    del fields['layout']
    fields['shadow_points'] = fields.pop('shadow_seed') is not None
    if features.points is not None:
        names = landmarks_lib.LAYOUTS[features.layout].points
        fields['points'] = tuple(names[point] for point in features.points)
    return fields | {'missing_value': features.fed_for_missing}


def _differences(pairs: Mapping[str, tuple[Any, Any]]) -> str:
    return '; '.join(
        f'{field} is {there!r} there and {here!r} here' for field, (there, here) in pairs.items() if there != here
    )


def describe(summary: Mapping[str, Any]) -> str:
    """The content of init.json in words."""
    taken, new, unused = (summary[kind] for kind in ('taken', 'new', 'unused'))
    num_taken, num_new = len(summary['classes_taken']), len(summary['classes_new'])
    text = (
        f'begins with {summary["init_from"]}, checkpoint {summary["step"]} ({summary["selected_by"]})\n'
        f'taken: {_shorten(taken, new)}; of the classes {num_taken} are taken and {num_new} new\n'
        f'new: {_shorten(new, taken) or "no other parameter"}'
    )
    return f'{text}\nnot taken: {_shorten(unused, taken)}' if unused else text


def _shorten(names: Sequence[str], others: Sequence[str]) -> str:
    """Names parameters by the first part of their names, where that names none of the others."""
    other_tops = {name.split('.')[0] for name in others}
    tops = (name.split('.')[0] for name in names)
    return ', '.join(dict.fromkeys(name if top in other_tops else top for name, top in zip(names, tops, strict=True)))
