"""A workdir -> an export: the model as one program of jax.export, and all that is needed to use it beside it."""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import glob
import hashlib
import inspect
import os
import shutil
from typing import Any

import jax
from jax import export as jax_export
import jax.numpy as jnp
import numpy as np

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import errors, exported, files, frame_sizes, model_card, models, params_file, progress
from slr_jax import workdir as workdir_lib
from slr_jax.inference import LoadedModel

# What the program can run on.
PLATFORMS = ('cpu', 'cuda', 'tpu')
PARAMS, CARD, LOADER = 'params.safetensors', 'MODEL_CARD.md', 'load.py'

LIFETIME = (
    'jax promises that its versions of the 6 months after the one that exported run the program, and those of the 3 '
    'weeks before it. Later versions may drop the calling convention: then export the workdir again.'
)
# What a card needs of metrics.json.
_METRICS = ('split', 'clips', 'accuracy', 'accuracy_wilson95', 'selected_by')
_PACKAGES = ('slr_jax', 'jax', 'jaxlib')


def export(workdir: str, output: str, checkpoint: str = 'best') -> None:
    """Writes an export; an earlier one at `output` is replaced.

    Args:
        workdir: of a run, or of an imported checkpoint.
        output: folder for the export.
        checkpoint: 'best' (by validation accuracy), 'latest', or a step.

    Raises:
        InputError: see checkpoint.load_model; or `output` is something else than an export.
    """
    _check_output(output)
    loaded = checkpoint_lib.load_model(workdir, checkpoint)
    evaluations = read_evaluations(workdir, loaded.step)
    program = export_program(loaded)
    data = bytes(program.serialize())
    params = params_file.to_bytes(loaded)
    again = (f'--workdir={workdir}', f'--output={output}', f'--checkpoint={loaded.step}')
    description = describe(loaded, program, evaluations) | {
        'export_again': f'python -m slr_jax.export {" ".join(map(errors.quote, again))}',
        'sha256': {exported.PROGRAM: hashlib.sha256(data).hexdigest(), PARAMS: hashlib.sha256(params).hexdigest()},
    }
    clips = files.read_json(os.path.join(workdir, 'dataset.json')).get('clips', {})
    card = model_card.make(loaded, evaluations, clips, description['versions'])
    contents = {exported.PROGRAM: data, PARAMS: params, CARD: card.encode()}
    with files.replace_files_in(output) as scratch:
        for name, content in contents.items():
            with open(os.path.join(scratch, name), 'wb') as file:
                file.write(content)
        shutil.copyfile(inspect.getfile(exported), os.path.join(scratch, LOADER))
        files.write_json(os.path.join(scratch, exported.DESCRIPTION), description)
    progress.report(
        f'{workdir}, checkpoint {loaded.step} ({loaded.selected_by}): {models.count_parameters(loaded.params):,} '
        f'parameters, {len(data) / 2**20:.1f} MiB, written to {output}'
    )


def _check_output(output: str) -> None:
    files.check_suffix(output, content='a folder of a StableHLO program, its parameters (safetensors) and a loader')
    if not os.path.isdir(output):
        if os.path.exists(output):
            raise errors.InputError(f'{output} is a file, expected a new folder or an earlier export')
        return
    path = os.path.join(output, exported.DESCRIPTION)
    is_export = os.path.isfile(path) and str(files.read_json(path).get('format')).startswith('slr_jax export')
    names = os.listdir(output)
    # One that was killed while it was moved into place has its folder of what is unfinished still.
    is_unfinished = any(map(files.is_temporary, names)) and all(map(_is_of_an_export, names))
    if names and not is_export and not is_unfinished:
        raise errors.InputError(f'{output} is a folder of another kind, expected a new folder or an earlier export')


def _is_of_an_export(name: str) -> bool:
    return files.is_temporary(name) or name in (exported.PROGRAM, exported.DESCRIPTION, PARAMS, CARD, LOADER)


def export_program(loaded: LoadedModel) -> jax_export.Exported:
    """The program of a model, its features and parameters inside.

    It takes <float32>[batch, time, points, 3] landmarks, NaN where missing, in square coordinates if the model is fed
    these (see frame_sizes), and <int32>[batch] frames of each clip before its padding. It gives <float32>[batch,
    classes] probabilities, for any batch and time.

    Raises:
        InputError: the model was trained with `config.shadow_points`.
    """
    if loaded.config.shadow_points:
        raise errors.InputError('the model is fed tracks of other clips (config.shadow_points), it cannot be exported')
    features, model = dataclasses.replace(loaded.features, square=loaded.is_square), loaded.model
    params = jax.tree.map(np.asarray, loaded.params)

    def answer(landmarks: jax.Array, num_frames: jax.Array) -> jax.Array:
        fed, padding_mask = jax.vmap(features.compute_padded)(landmarks, num_frames)
        logits: Any = model.apply({'params': params}, fed, padding_mask)
        return jax.nn.softmax(logits)

    batch, time = jax_export.symbolic_shape('batch, time')
    with _without_locations():
        return jax_export.export(jax.jit(answer), platforms=PLATFORMS)(
            jax.ShapeDtypeStruct((batch, time, loaded.layout.num_points, 3), jnp.float32),
            jax.ShapeDtypeStruct((batch,), jnp.int32),
        )


@contextlib.contextmanager
def _without_locations() -> Iterator[None]:
    """Leaves out of programs where they come from: paths of this machine."""
    name = 'jax_traceback_in_locations_limit'
    before = jax.config.values[name]
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def describe(
    loaded: LoadedModel, program: jax_export.Exported, evaluations: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What model.json says of the model and its program."""
    config, layout = loaded.config, loaded.layout
    environment = workdir_lib.environment()
    return {
        'format': exported.FORMAT,
        'model': config.model,
        'dataset': loaded.description.name,
        'glosses': list(loaded.description.label_names),
        'layout': {
            'name': layout.name,
            'points': list(layout.points),
            'groups': {name: list(points) for name, points in layout.groups.items()},
            'handedness': loaded.description.handedness,
            'axes': config.coordinates,
            'coordinates': 'normalized image coordinates: x to the right, y down, z as MediaPipe gives it',
            'missing': 'NaN',
        },
        'frame_size': frame_sizes.usual(loaded.description.frame_sizes or {}) if loaded.is_square else None,
        'inputs': {
            'landmarks': f'<float32>[batch, time, {layout.num_points}, 3], padded with anything'
            + (', x and z multiplied by width / height of the picture' if loaded.is_square else ''),
            'num_frames': '<int32>[batch], frames of each clip before its padding',
        },
        'outputs': f'<float32>[batch, {loaded.description.num_classes}], probabilities of the glosses',
        'platforms': list(program.platforms),
        'calling_convention': {'version': program.calling_convention_version, 'lifetime': LIFETIME},
        'versions': {name: environment[name] for name in _PACKAGES},
        'checkpoint': {'step': loaded.step, 'epoch': loaded.metrics['epoch'], 'selected_by': loaded.selected_by},
        'evaluation': evaluations,
    }


def read_evaluations(workdir: str, step: int) -> dict[str, dict[str, Any]]:
    """What `evaluate` wrote about a checkpoint: name of the folder -> the content of its metrics.json.

    Raises:
        InputError: a file is damaged, or of an older version.
    """
    found = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(workdir), 'evaluation', '*', 'metrics.json'))):
        metrics = files.read_json(path)
        missing = [name for name in _METRICS if name not in metrics]
        if metrics.get('checkpoint') == step and missing:
            raise errors.InputError(f'{path} has no {missing[0]}, expected what slr_jax.evaluate writes: test again')
        if metrics.get('checkpoint') == step:
            interval = metrics['accuracy_wilson95']
            optional = [metrics.get('top5', 0.0), metrics.get('signers_in_train') or 0.0]
            numbers = [metrics['accuracy'], *optional, *(interval if isinstance(interval, list) else ())]
            if len(numbers) != 5 or not all(isinstance(number, int | float) for number in numbers):
                raise errors.InputError(
                    f'{path} is damaged: expected numbers as accuracy, accuracy_wilson95, top5 and signers_in_train'
                )
            found[os.path.basename(os.path.dirname(path))] = metrics
    return found
