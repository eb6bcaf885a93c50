"""The model card of an export: what a model is, what it was trained on and how, how good it is, and its limits."""

from collections.abc import Mapping
import html
import re
from typing import Any

from slr_jax import dataset as dataset_lib
from slr_jax import errors, models
from slr_jax import metrics as metrics_lib
from slr_jax.inference import LoadedModel

# Fields of a config that say nothing of the model.
_LEFT_OUT = {'dataset', 'init_from', 'seeds', 'sweep', 'runs_at_once', 'keep_published_checkpoints'}
_INPUT_FIELDS = (
    *('normalize', 'coordinates', 'missing_value', 'trim', 'interpolate_gaps', 'max_frames', 'shorten', 'num_frames'),
    *('differences', 'presence', 'points'),
)
# Fields that only one model has.
_CONV_FIELDS = ('width', 'conv_blocks', 'kernel_size', 'pooling')
_CONV_TRAINING_FIELDS = ('drop_path_rate', 'late_dropout_rate', 'late_dropout_epoch')
_MODEL_FIELDS = ('model', 'num_heads', 'num_layers', 'mlp_dim', 'mask_gates', 'dtype', *_CONV_FIELDS)


def make(
    loaded: LoadedModel,
    evaluations: Mapping[str, Mapping[str, Any]],
    clips: Mapping[str, int],
    versions: Mapping[str, str],
) -> str:
    """The card, in Markdown.

    Args:
        loaded: the model.
        evaluations: see exporting.read_evaluations.
        clips: of the dataset, per split; empty where they are not known.
        versions: of the libraries that exported.
    """
    description, config = loaded.description, loaded.config
    sections = {
        'Use': _use(loaded),
        'Data': _data(description, clips),
        'Protocol': _protocol(loaded),
        'Accuracy': _accuracy(evaluations, has_top5=description.num_classes > 5),
        'Limits': _limits(description),
        'License': 'Not stated. Whoever publishes this model states one that fits the data it was trained on.',
        'Versions': ', '.join(f'{name} {version}' for name, version in versions.items()),
    }
    title = f'# {config.model} for {description.num_classes} glosses of {_text(description.name)}'
    return '\n\n'.join([title, *(f'## {name}\n\n{text}' for name, text in sections.items())]) + '\n'


def _text(value: Any) -> str:
    """Text of a file, in which nothing is Markdown or HTML."""
    shown = html.escape(errors.printable(' '.join(str(value).split())), quote=False)
    return re.sub(r'([\\`*\[\]|~])', r'\\\1', shown)


def _use(loaded: LoadedModel) -> str:
    layout, description = loaded.layout, loaded.description
    whose = {'signer': "the signer's right hand", 'swapped': "the signer's left hand"}[description.handedness]
    hands = f' The columns of the right hand hold {whose}.' if 'right_hand' in layout.groups else ''
    size = shape = ''
    if loaded.is_square:
        size = ', frame_size=(1280, 720)'
        shape = ' `frame_size` is the width and height of its pictures as they are shown, for which the model accounts.'
    return (
        f'A clip is `<float32>[frames, {layout.num_points}, 3]`: landmarks of layout {layout.name}, in the order of '
        '`model.json`, x to the right and y down in normalized image coordinates, z as MediaPipe gives it or NaN, NaN '
        f'where a point is missing.{hands}{shape} The answer is a probability for each gloss.\n\n'
        '```python\n'
        'import sys\n\n'
        "sys.path.insert(0, 'THIS_FOLDER')  # holds load.py, which needs jax, numpy and flatbuffers\n"
        'from load import load\n\n'
        f"load('THIS_FOLDER').predict(landmarks, k=5{size})\n"
        '```\n\n'
        '`params.safetensors` has the parameters; with slr_jax installed, `python -m slr_jax.import_torch '
        '--checkpoint=params.safetensors --workdir=W` makes a workdir of it, to test or to train further.'
    )


def _data(description: dataset_lib.Description, clips: Mapping[str, int]) -> str:
    lines = [f'- Dataset: {_text(description.name)}']
    lines += [f'- Clips: {", ".join(f"{count} {_text(split)}" for split, count in clips.items())}'] if clips else []
    facts = [
        _text(f'{name} {value}') for name, value in description.source.items() if isinstance(value, str | int | float)
    ]
    lines += [f'- Source: {", ".join(facts)}'] if facts else []
    return '\n'.join([*lines, f'- Glosses: {", ".join(map(_text, description.label_names))}'])


def _protocol(loaded: LoadedModel) -> str:
    config = loaded.config
    # The config of an imported checkpoint says nothing of how it was trained.
    is_imported = not config.dataset
    fields = [*_MODEL_FIELDS, *_INPUT_FIELDS] if is_imported else [name for name in config if name not in _LEFT_OUT]
    foreign = () if hasattr(loaded.model, 'width') else (*_CONV_FIELDS, *_CONV_TRAINING_FIELDS)
    rows = [
        f'| {name} | {_text(config[name])} |' for name in fields if config[name] is not None and name not in foreign
    ]
    selection = (
        'An imported checkpoint: how it was trained is not known here.'
        if is_imported
        else f'Checkpoint of step {loaded.step}, epoch {loaded.metrics["epoch"]}: {loaded.selected_by}.'
    )
    parameters = f'{models.count_parameters(loaded.params):,} parameters.'
    return '\n'.join([f'{selection} {parameters}', '', '| field of the config | value |', '|---|---|', *rows])


def _accuracy(evaluations: Mapping[str, Mapping[str, Any]], *, has_top5: bool) -> str:
    if not evaluations:
        return 'Not tested: `python -m slr_jax.evaluate` before the export puts its numbers here.'
    top5_column = ['top-5'] * has_top5
    columns = ['evaluation', 'split', 'clips', 'accuracy', '95 % interval', *top5_column, 'checkpoint selected as']
    rows = [f'| {" | ".join(columns)} |', f'|{"---|" * len(columns)}']
    for name, metrics in evaluations.items():
        low, high = metrics['accuracy_wilson95']
        top5 = [f'{metrics["top5"]:.1%}' if 'top5' in metrics else ''] * has_top5
        cells = [name, metrics['split'], metrics['clips'], f'{metrics["accuracy"]:.1%}', f'{low:.1%} to {high:.1%}']
        rows.append(f'| {" | ".join(map(_text, [*cells, *top5, metrics["selected_by"]]))} |')
    notes = [
        f'- {_text(name)}: {_text(note)}.'
        for name, metrics in evaluations.items()
        for note in metrics_lib.caveats(metrics)
    ]
    if all(metrics.get('signers_in_train') is None for metrics in evaluations.values()):
        notes.append('- Whether the signers of these clips are in train, too, is not known.')
    return '\n'.join([*rows, *(['', *notes] if notes else [])])


def _limits(description: dataset_lib.Description) -> str:
    return '\n'.join(
        [
            f'- Every clip is answered with one of the {description.num_classes} glosses; there is no answer for other '
            'signs or for no sign at all.',
            '- A clip holds one sign, from its beginning to its end. Continuous signing was not trained on.',
            '- The intervals are for clips like those of the dataset. Other signers, cameras, frame rates and landmark '
            'detectors can lower the accuracy.',
            '- Probabilities are not calibrated.',
        ]
    )
