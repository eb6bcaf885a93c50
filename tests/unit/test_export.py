"""Exports: they answer as the model does, in a process without slr_jax too, and the loader says what it cannot read."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys

import jax
from jax import export as jax_export
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from slr_jax import checkpoint, dataset, errors, exported, exporting, files, landmarks, model_card, models, params_file
from slr_jax import workdir as workdir_lib
from slr_jax.inference import LoadedModel
from tests import numpy_models
from tests.conftest import make_tiny_config
from tests.in_process import run_here

GLOSSES = ('house', 'tree', 'to go')


def make_model(layout, **fields):
    """A model with parameters away from the zeros and ones of the initialization."""
    config = make_tiny_config('data', **fields)
    description = dataset.Description('tiny', layout, GLOSSES, source={'kind': 'synthetic', 'seed': 1})
    model = models.model_from_config(config, len(GLOSSES))
    loaded = LoadedModel(model, None, config, description, 3, {'epoch': 2}, 'its step')
    rng = np.random.default_rng(1)
    shapes = models.param_shapes(model, loaded.features.dim)
    params = jax.tree.map(lambda x: rng.normal(0.1, 0.3, x.shape).astype(x.dtype), shapes)
    return LoadedModel(model, params, config, description, 3, {'epoch': 2}, 'its step')


def make_clips(layout, *lengths):
    """Landmarks around a body that is in the picture, some points missing."""
    rng = np.random.default_rng(0)
    clips = [rng.uniform(0.2, 0.8, (length, landmarks.LAYOUTS[layout].num_points, 3)) for length in lengths]
    for clip in clips:
        clip[rng.random(clip.shape[:2]) < 0.1] = np.nan
    return [clip.astype(np.float32) for clip in clips]


def pad(clips, rows, length, fill):
    padded = np.full((rows, length, *clips[0].shape[1:]), fill, np.float32)
    for row, clip in enumerate(clips):
        padded[row, : len(clip)] = clip
    return padded, np.array([*map(len, clips), *[0] * (rows - len(clips))], np.int32)


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def numpy_answer(loaded, clip):
    (frames,) = loaded.features.compute([clip])
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), loaded.params)
    return softmax(numpy_models.logits(loaded.config.model, params, frames, loaded.config.num_heads))


CASES = {
    'spoter_pe': ('vision_api', {'num_heads': 9, 'normalize': 'spoter'}),
    'spoter_no_pe': ('mediapipe_hand', {'coordinates': 'xyz', 'max_frames': 8, 'shorten': 'cut'}),
    'sequence_query': ('mediapipe_two_hands', {'normalize': 'centered', 'max_frames': 8, 'num_layers': 2}),
    'class_query': (
        'mediapipe_two_hands',
        {
            **{'normalize': 'centered', 'trim': 'ends', 'interpolate_gaps': 2, 'num_frames': 12},
            **{'differences': 1, 'presence': True},
        },
    ),
    'baseline': ('mediapipe_hand', {'missing_value': 0.0, 'max_frames': 30}),
    'conv_transformer': ('mediapipe_hand', {'width': 14, 'kernel_size': 5, 'pooling': 'max_mean'}),
}


@pytest.mark.parametrize(('name', 'layout', 'fields'), [(name, *case) for name, case in CASES.items()], ids=CASES)
def test_a_padded_batch_equals_numpy_clip_by_clip(name, layout, fields):
    loaded = make_model(layout, model=name, **fields)
    clips = make_clips(layout, 1, 9, 20)
    program = jax_export.deserialize(exporting.export_program(loaded).serialize())
    assert set(program.platforms) == {'cpu', 'cuda', 'tpu'}
    answers = np.asarray(program.call(*pad(clips, 4, 24, fill=7.0)))
    assert np.isfinite(answers).all()  # the row without any frame as well
    for answer, clip in zip(answers, clips, strict=False):
        np.testing.assert_allclose(answer, numpy_answer(loaded, clip), atol=1e-5)


def test_bfloat16_is_near_float32():
    loaded = make_model('mediapipe_hand', dtype='bfloat16')
    (clip,) = make_clips('mediapipe_hand', 20)
    (answer,) = np.asarray(exporting.export_program(loaded).call(*pad([clip], 1, 20, np.nan)))
    assert answer.dtype == np.float32
    assert 0 < np.abs(answer - numpy_answer(loaded, clip)).max() < 0.03


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    """A workdir of a run that was tested."""
    path = str(tmp_path_factory.mktemp('run'))
    loaded = make_model('mediapipe_hand', max_frames=12)
    checkpoint.Checkpoints(path, read_only=False).save(3, {'params': loaded.params}, {'epoch': 2})
    clips = {'train': 15, 'test': 6}
    workdir_lib.write_description(path, loaded.config, {'description': loaded.description.to_json(), 'clips': clips})
    metrics = {'split': 'test', 'clips': 6, 'accuracy': 0.5, 'accuracy_wilson95': [0.188, 0.812], 'top5': 1.0}
    for name, step in (('test_best', 3), ('test_1', 1)):
        os.makedirs(os.path.join(path, 'evaluation', name))
        metrics |= {'checkpoint': step, 'selected_by': f'step {step}'}
        files.write_json(os.path.join(path, 'evaluation', name, 'metrics.json'), metrics)
    return path


@pytest.fixture(scope='module')
def folder(workdir, tmp_path_factory):
    """Its export."""
    path = str(tmp_path_factory.mktemp('exports') / 'tiny')
    exporting.export(workdir, path)
    return path


IN_A_FRESH_PROCESS = """
import json, sys
blocked = 'slr_jax flax optax orbax tensorflow_datasets ml_collections absl pandas safetensors matplotlib'
sys.modules.update(dict.fromkeys(blocked.split()))
import numpy as np
folder, clips = sys.argv[1:]
sys.path.insert(0, folder)
from load import load
clips = list(np.load(clips).values())
model = load(folder)
print(json.dumps([model.predict(clips, k=2), model.predict(clips[0]), model.predict([])]))
"""


SQUARE = {
    'centered': ('mediapipe_two_hands', {'normalize': 'centered', 'coordinates': 'xyz', 'missing_value': 0.0}),
    'spoter': ('vision_api', {'num_heads': 9, 'normalize': 'spoter'}),
}


@pytest.mark.parametrize(('layout', 'fields'), SQUARE.values(), ids=SQUARE)
def test_pictures_of_any_shape_are_answered_as_predict_does(layout, fields):
    trained = make_model(layout, **fields)
    sizes = {'640x480': 3, '720x1280': 2}
    loaded = dataclasses.replace(trained, description=dataclasses.replace(trained.description, frame_sizes=sizes))
    program = exporting.export_program(loaded)
    described = exporting.describe(loaded, program, {})
    assert described['frame_size'] == (640, 480)
    assert 'predict(landmarks, k=5, frame_size=(1280, 720))' in model_card.make(loaded, {}, {}, {})
    model = exported.ExportedModel(json.loads(json.dumps(described)), jax.jit(program.call))
    clips = make_clips(layout, 9, 20)
    answers = {}
    for frame_size in (None, (640, 480), (0, 0), (720, 1280), [(720, 1280), (0, 0)]):
        expected = loaded.probabilities(clips, frame_size=frame_size)
        np.testing.assert_allclose(model.probabilities(clips, frame_size), expected, atol=1e-5)
        answers[str(frame_size)] = expected
    np.testing.assert_array_equal(answers['None'], answers['(640, 480)'])
    np.testing.assert_array_equal(answers['None'], answers['(0, 0)'])
    assert np.abs(answers['None'] - answers['(720, 1280)']).max() > 1e-3
    # The same person in another picture is answered the same; one clip as several.
    scale = np.array([640 / 720, 480 / 1280, 640 / 720], np.float32)
    np.testing.assert_allclose(
        loaded.probabilities([clip * scale for clip in clips], frame_size=(720, 1280)), answers['None'], atol=1e-5
    )
    [(gloss, probability), *_] = model.predict(clips[0], frame_size=(720, 1280))
    assert loaded.predict(clips[0], frame_size=(720, 1280))[0] == (gloss, pytest.approx(probability, abs=1e-5))
    for wrong in ((640,), [(1, 2)] * 3, (-1, 2), 'wide', (0.5, 1)):
        with pytest.raises(exported.ExportError, match=r'frame_size is .*expected width and height in pixels'):
            model.predict(clips, frame_size=wrong)
        with pytest.raises(errors.InputError, match=r'frame_size is .*expected width and height in pixels'):
            loaded.predict(clips, frame_size=wrong)


def test_where_the_training_data_have_no_shape_it_does_not_count():
    loaded = make_model('mediapipe_hand', normalize='centered')
    clips = make_clips('mediapipe_hand', 9)
    model = exported.ExportedModel(
        exporting.describe(loaded, program := exporting.export_program(loaded), {}), program.call
    )
    assert model.description['frame_size'] is None
    for answers in (loaded.probabilities, model.probabilities):
        np.testing.assert_array_equal(answers(clips, frame_size=(720, 1280)), answers(clips))


def test_a_fresh_process_answers_as_predict_does(workdir, folder, tmp_path):
    clips = make_clips('mediapipe_hand', 26, 1, 7, 40)
    np.savez(tmp_path / 'clips.npz', *clips)
    done = subprocess.run(
        [sys.executable, '-c', IN_A_FRESH_PROCESS, folder, str(tmp_path / 'clips.npz')],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    several, one, none = json.loads(done.stdout)
    model = checkpoint.load_model(workdir)
    for found, expected in zip([*several, one], [*model.predict(clips, k=2), model.predict(clips[0])], strict=True):
        assert [gloss for gloss, _ in found] == [gloss for gloss, _ in expected]
        np.testing.assert_allclose([x for _, x in found], [x for _, x in expected], atol=1e-5)
    assert none == []


def test_what_is_beside_the_program(workdir, folder):
    assert {*os.listdir(folder)} == {'model.jax_export', 'model.json', 'load.py', 'params.safetensors', 'MODEL_CARD.md'}
    description = files.read_json(os.path.join(folder, 'model.json'))
    assert description['glosses'] == [*GLOSSES]
    assert description['layout']['points'] == [*landmarks.LAYOUTS['mediapipe_hand'].points]
    assert description['layout']['handedness'] == 'signer'
    assert description['versions']['jax'] == jax.__version__
    assert description['calling_convention']['version'] == jax_export.maximum_supported_calling_convention_version
    again = f'--workdir={workdir} --output={folder} --checkpoint=3'
    assert description['export_again'] == f'python -m slr_jax.export {again}'
    assert description['evaluation']['test_best']['accuracy'] == 0.5
    with open(os.path.join(folder, 'MODEL_CARD.md'), encoding='utf-8') as file:
        card = file.read()
    assert card.startswith('# class_query for 3 glosses of tiny\n')
    assert '| test_best | test | 6 | 50.0% | 18.8% to 81.2% | step 3 |' in card
    assert 'top-5' not in card
    assert 'Whether the signers of these clips are in train, too, is not known.' in card
    assert 'step 1' not in card
    for text in ('15 train, 6 test', 'kind synthetic', 'mediapipe_hand', '| max_frames | 12 |', '| num_epochs | 2 |'):
        assert text in card
    with open(os.path.join(folder, 'model.jax_export'), 'rb') as file:
        assert b'.py' not in file.read()
    tensors = safetensors.numpy.load_file(os.path.join(folder, 'params.safetensors'))
    params = checkpoint.load_model(workdir).params
    np.testing.assert_array_equal(
        tensors['encoder.layers.mlp_in.kernel'], params['encoder']['layers']['mlp_in']['kernel']
    )
    assert len(tensors) == len(jax.tree.leaves(params))


def test_accuracy_on_a_card():
    metrics = {'split': 'test', 'clips': 6, 'accuracy': 0.5, 'accuracy_wilson95': [0.188, 0.812], 'selected_by': 'it'}
    metrics |= {'top5': 1.0, 'signers_in_train': 0.5, 'glosses': 1}
    card = model_card._accuracy({'test_best': metrics}, has_top5=True)
    assert '| top-5 |' in card
    assert '| test_best | test | 6 | 50.0% | 18.8% to 81.2% | 100.0% | it |' in card
    assert '- test_best: the signers of 50% of the test clips are in train, too' in card
    assert '- test_best: the test clips are all of one class.' in card
    assert 'not known' not in card


@pytest.mark.parametrize('names', [[], ['MODEL_CARD.md', 'load.py']])
def test_an_export_that_was_killed_is_made_again(tmp_path, names):
    (tmp_path / '.unfinished-abc').mkdir()
    for name in names:
        (tmp_path / name).touch()
    exporting._check_output(str(tmp_path))
    (tmp_path / 'holiday.jpg').touch()
    with pytest.raises(errors.InputError, match=f'{tmp_path} is a folder of another kind'):
        exporting._check_output(str(tmp_path))


def test_a_folder_with_a_file_of_that_name_is_no_export(tmp_path):
    (tmp_path / 'load.py').touch()
    with pytest.raises(errors.InputError, match=f'{tmp_path} is a folder of another kind'):
        exporting._check_output(str(tmp_path))


def test_an_earlier_export_is_replaced_and_parameters_become_a_workdir_again(
    workdir, folder, tmp_path, capfd, monkeypatch
):
    copy, imported = tmp_path / 'copy', tmp_path / 'imported'
    shutil.copytree(folder, copy)
    (copy / 'MODEL_CARD.md').write_text('older')
    # The same program, without the time that it takes to make it.
    program = jax_export.deserialize(bytearray((copy / 'model.jax_export').read_bytes()))
    monkeypatch.setattr(exporting, 'export_program', lambda _: program)
    import_again = ['slr_jax.import_torch', f'--checkpoint={folder}/params.safetensors', f'--workdir={imported}']
    assert run_here(import_again, capfd, monkeypatch) == (0, '')
    assert run_here(['slr_jax.export', f'--workdir={imported}', f'--output={copy}'], capfd, monkeypatch) == (0, '')
    card = (copy / 'MODEL_CARD.md').read_text()
    assert 'imported checkpoint' in card
    assert 'Not tested' in card
    assert 'num_epochs' not in card
    assert 'kind synthetic' in card
    first, second = checkpoint.load_model(workdir), checkpoint.load_model(str(imported))
    assert second.description == first.description
    assert second.config.max_frames == 12
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
    status, stderr = run_here([*import_again[:2], f'--workdir={tmp_path}/w', '--num_heads=7'], capfd, monkeypatch)
    assert status == 1
    assert 'describes itself' in stderr


def change(path, function):
    with open(path, 'r+b') as file:
        content = function(file.read())
        file.seek(0)
        file.truncate()
        file.write(content)


def change_description(folder, **fields):
    path = folder / 'model.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def flip_a_byte(folder):
    change(folder / 'model.jax_export', lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])


def write_noise(folder):
    noise = np.random.default_rng(0).bytes(5000)
    (folder / 'model.jax_export').write_bytes(noise)
    change_description(folder, sha256={'model.jax_export': hashlib.sha256(noise).hexdigest()})


AGAIN = 'python -m slr_jax.export --workdir='
DAMAGES = {
    'no export': (lambda folder: os.remove(folder / 'model.json'), ['is not an export', 'model.json']),
    'cut': (lambda folder: change(folder / 'model.json', lambda x: x[:100]), ['model.json', 'damaged', 'JSON']),
    'nested': (
        lambda folder: (folder / 'model.json').write_text('[' * 100_000 + ']' * 100_000),
        ['model.json', 'damaged', 'JSON', 'recursion'],
    ),
    'a list': (lambda folder: (folder / 'model.json').write_text('[1]'), ['model.json', 'format', exported.FORMAT]),
    'newer': (
        lambda folder: change_description(folder, format='slr_jax export 2'),
        ['model.json', "'slr_jax export 2'", exported.FORMAT],
    ),
    'lacks a field': (lambda folder: change_description(folder, versions={}), ['model.json', 'damaged', "'jax'"]),
    'no program': (lambda folder: os.remove(folder / 'model.jax_export'), ['model.jax_export', 'missing']),
    'another byte': (flip_a_byte, ['model.jax_export', 'damaged', 'SHA-256']),
    'noise': (write_noise, ['model.jax_export', f'cannot be read by jax {jax.__version__}', AGAIN]),
    'older convention': (
        lambda folder: change_description(folder, calling_convention={'version': 8}),
        ['model.jax_export', 'calling convention 8', jax.__version__, 'reads 9 to', AGAIN],
    ),
}


@pytest.mark.parametrize(('damage', 'words'), DAMAGES.values(), ids=DAMAGES)
def test_the_loader_refuses(folder, tmp_path, damage, words):
    copy = tmp_path / 'copy'
    shutil.copytree(folder, copy)
    damage(copy)
    with pytest.raises(exported.ExportError) as refusal:
        exported.load(str(copy))
    sentence = str(refusal.value)
    assert str(copy) in sentence
    assert '\n' not in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (lambda tensors, _: tensors.pop('class_query'), r"\['class_query'\] is None, expected \(42,\)"),
        (lambda tensors, _: tensors.update(class_query=tensors['encoder_mask'][:5]), r'\(5,\), expected \(42,\)'),
        (lambda tensors, _: tensors.update({'class_query.more': tensors['encoder_mask']}), 'damaged'),
        (lambda _, metadata: metadata.pop('config'), 'config'),
        (lambda _, metadata: metadata.update(description='{}'), 'damaged .*name'),
        (lambda _, metadata: metadata.update(config='{"colour": 1}'), 'config.colour'),
    ],
)
def test_parameters_that_do_not_fit_are_refused(folder, tmp_path, spoil, words):
    path = os.path.join(folder, 'params.safetensors')
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework='np') as file:
        metadata = file.metadata()
    spoil(tensors, metadata)
    path = str(tmp_path / 'spoiled.safetensors')
    safetensors.numpy.save_file(tensors, path, metadata)
    with pytest.raises(errors.InputError, match=f'{path}.*{words}'):
        params_file.read(path)


def test_the_same_parameters_are_the_same_bytes(folder):
    path = os.path.join(folder, 'params.safetensors')
    with open(path, 'rb') as file:
        content = file.read()
    size = int.from_bytes(content[:8], 'little')
    assert size % 8 == 0
    assert list(json.loads(content[8 : 8 + size])['__metadata__']) == ['config', 'description', 'format']


def test_numbers_of_an_older_evaluation_are_refused(tmp_path):
    path = tmp_path / 'evaluation' / 'test_best' / 'metrics.json'
    path.parent.mkdir(parents=True)
    path.write_text('{"checkpoint": 3, "split": "test", "clips": 6, "accuracy": 0.5}')
    assert exporting.read_evaluations(str(tmp_path), 2) == {}
    with pytest.raises(errors.InputError, match=f'{path} has no accuracy_wilson95'):
        exporting.read_evaluations(str(tmp_path), 3)


@pytest.mark.parametrize(
    ('field', 'value'),
    [('accuracy', 'high'), ('accuracy_wilson95', [0.5]), ('accuracy_wilson95', None), ('top5', [1.0]), ('top5', None)],
)
def test_a_damaged_evaluation_is_refused(field, value, tmp_path):
    path = tmp_path / 'evaluation' / 'test_best' / 'metrics.json'
    path.parent.mkdir(parents=True)
    good = {'checkpoint': 3, 'split': 'test', 'clips': 6, 'accuracy': 0.5, 'accuracy_wilson95': [0.2, 0.8], 'top5': 1}
    good['selected_by'] = 'the latest'
    path.write_text(json.dumps(good))
    assert exporting.read_evaluations(str(tmp_path), 3) == {'test_best': good}
    path.write_text(json.dumps(good | {field: value}))
    with pytest.raises(errors.InputError, match=f'{path} is damaged: expected numbers as accuracy'):
        exporting.read_evaluations(str(tmp_path), 3)


def test_clips_of_another_shape_are_refused(folder):
    model = exported.load(folder)
    for clip in (np.zeros((5, 20, 3)), np.zeros((0, 21, 3)), np.zeros((5, 21))):
        with pytest.raises(exported.ExportError, match=r'clip 1 has shape \(.*\(frames, 21, 3\)'):
            model.predict([np.zeros((5, 21, 3)), clip])
    for given in (np.zeros((5, 21)), 'clip.npy', 3, {'a': np.zeros((5, 21, 3))}):
        with pytest.raises(exported.ExportError, match=r'the landmarks are of .*, expected a clip \(frames, 21, 3\)'):
            model.predict(given)
    np.testing.assert_array_equal(
        *(model.probabilities(given) for given in ([np.ones((5, 21, 3))], np.ones((5, 21, 3))))
    )
    for factor, problem in ((np.nan, 'NaN everywhere'), (np.inf, 'infinite'), (640, 'as pixels are')):
        with pytest.raises(exported.ExportError, match=f'clip 1 .*{problem}'):
            model.predict([np.zeros((5, 21, 3)), np.ones((5, 21, 3)) * factor])
    for clip in (np.full((5, 21, 3), '1'), np.full((5, 21, 3), 1j)):
        with pytest.raises(exported.ExportError, match='clip 0 is not an array of numbers'):
            model.predict(clip)
    with pytest.raises(exported.ExportError, match='clip 0 is not an array of numbers'):
        model.predict([[['a']]])


def test_text_of_a_file_is_no_markdown_in_the_card():
    shown = model_card._text('<img src=x>\n# [a](javascript:1) | `b` \x1b[31m')
    assert shown == r'&lt;img src=x&gt; # \[a\](javascript:1) \| \`b\` \\x1b\[31m'
    assert model_card._text('sign_0') == 'sign_0'
