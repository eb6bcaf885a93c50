import os
import pickle
import runpy
import subprocess
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors import numpy

from experiments.fuzzing import torch_files, trial
from experiments.fuzzing.kinds import KINDS
from slr_jax import checkpoint, errors, models, torch_models, workdir

GOLDEN = {'originalSpoterPE': models.SpoterPE, 'ownModelwquery': models.ClassQuery}
# Of the published models; the others have no checkpoints of PyTorch.
CLASS_PATHS = {
    'spoter_pe': 'src.models.spoter_model_original.SPOTER',
    'spoter_no_pe': 'src.models.spoter_model_original.SPOTERnoPE',
    'class_query': 'src.models.ExplainabTransformer.ExplainabTransformerwQuery',
    'sequence_query': 'src.models.ExplainabTransformer.ExplainabTransformerwSequence',
    'baseline': 'src.models.BaselineTransformerClassification.BaselineTransformerClassification',
}
SPOTER = 'spoter.spoter_model.SPOTER'


def logits(model, params, clip):
    clip = clip.reshape(1, len(clip), -1)
    return model.apply({'params': params}, clip, jnp.ones(clip.shape[:2], bool))[0]


@pytest.fixture(scope='module', params=GOLDEN)
def golden(request, shared):
    model, params = torch_models.load_pth(str(shared / 'golden' / f'{request.param}_h42_c13.pth'))
    assert type(model) is GOLDEN[request.param]
    assert (model.num_heads, model.num_classes) == (7, 13)
    return model, params, np.load(shared / 'golden' / f'{request.param}_h42_c13.npz')


@pytest.mark.slow
def test_logits_of_the_reference(golden):
    model, params, answers = golden
    for i in range(5):
        answer = jax.jit(logits, static_argnums=0)(model, params, answers[f'input_{i}'])
        np.testing.assert_allclose(answer, answers[f'logits_{i}'].ravel(), atol=1e-5)


@pytest.mark.slow
def test_sgd_of_the_reference(golden):
    model, params, answers = golden

    @jax.jit
    def step(params, clip, label):
        def loss_fn(params):
            return optax.softmax_cross_entropy_with_integer_labels(logits(model, params, clip), label)

        loss, grads = jax.value_and_grad(loss_fn)(params)
        return jax.tree.map(lambda p, g: p - 0.001 * g, params, grads), loss

    losses = []
    for i, label in enumerate(answers['sgd_labels']):
        params, loss = step(params, answers[f'input_{i % 5}'], label)
        losses.append(float(loss))
    np.testing.assert_allclose(losses[:5], answers['sgd_losses'][:5], atol=1e-5)
    np.testing.assert_allclose(losses, answers['sgd_losses'], atol=1e-3)
    answer = logits(model, params, answers['input_3'])
    np.testing.assert_allclose(answer, answers['logits_after_sgd_3'].ravel(), atol=1e-3)


def tiny(name, dim=42):
    model = models.create_model(name, num_classes=3, num_heads=2, num_layers=2, mlp_dim=8)
    rng = np.random.default_rng(0)
    shapes = models.param_shapes(model, dim)
    return model, jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), shapes)


@pytest.mark.parametrize('old_mask_name', [False, True])
@pytest.mark.parametrize('as_module', [True, False])
@pytest.mark.parametrize('name', CLASS_PATHS)
def test_every_model_as_module_and_as_state_dict(name, as_module, old_mask_name, tmp_path):
    model, params = tiny(name)
    state = torch_files.state_dict(name, params, old_mask_name)
    content = torch_files.module(CLASS_PATHS[name], state, num_heads=2) if as_module else state
    torch_files.save(tmp_path / 'model.pth', content)
    read, read_params = torch_models.load_pth(str(tmp_path / 'model.pth'), num_heads=None if as_module else 2)
    assert read == model
    assert jax.tree.structure(read_params) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, read_params, params)


def test_the_published_baseline_names_its_positions(tmp_path):
    model, params = tiny('baseline')
    content = torch_files.module(CLASS_PATHS['baseline'], torch_files.state_dict('baseline', params), num_heads=2)
    positions = 'src.models.BaselineTransformerClassification.PositionalEncodingSinCos'
    content._modules['pos_encoder'] = torch_files.module(positions, {'pe': np.zeros((5000, 1, 42))}, num_heads=2)
    torch_files.save(tmp_path / 'model.pth', content)
    check_equal(torch_models.load_pth(str(tmp_path / 'model.pth')), (model, params))


def check_equal(read, expected):
    assert read[0] == expected[0]
    assert jax.tree.structure(read[1]) == jax.tree.structure(expected[1])
    jax.tree.map(np.testing.assert_array_equal, read[1], expected[1])


@pytest.mark.parametrize('path', [SPOTER, 'a.fork.of.it.Net', '__main__.SPOTER', 'cslr_transformer.model.CSLR'])
@pytest.mark.parametrize('save', [torch_files.save, torch_files.save_legacy])
def test_a_module_of_any_class(path, save, tmp_path):
    model, params = tiny('spoter_pe')
    module = torch_files.module(path, torch_files.state_dict('spoter_pe', params), num_heads=2)
    parallel = torch_files.wrap('torch.nn.parallel.data_parallel.DataParallel', 'module', module)
    for content in (module, parallel, {'epoch': 3, 'model': module, 'optimizer': {'state': {0: {'step': 3}}}}):
        save(tmp_path / 'model.pth', content)
        check_equal(torch_models.load_pth(str(tmp_path / 'model.pth')), (model, params))


def prefixed(prefix, state):
    return type(state)((prefix + key, x) for key, x in state.items())


WRAPPINGS = {
    'plain': lambda state: state,
    'state_dict': lambda state: {'epoch': 1, 'state_dict': state},
    'model_state_dict': lambda state: {'epoch': 1, 'model_state_dict': state, 'loss': np.zeros(1, np.float32)},
    'model': lambda state: {'model': state},
    'net': lambda state: {'checkpoint': {'net': state}},
    'DataParallel': lambda state: prefixed('module.', state),
    'compiled': lambda state: prefixed('_orig_mod.', state),
    'compiled and parallel': lambda state: {'model': prefixed('_orig_mod.module.', state)},
    'averaged': lambda state: prefixed('module.', state) | {'n_averaged': np.ones(1, np.float32)},
    'list': lambda state: [state, {'epoch': 1}],
    'Lightning': lambda state: {
        'pytorch-lightning_version': '2.5',
        'state_dict': prefixed('model.', state) | {'criterion.weight': np.ones(3, np.float32)},
        'hyper_parameters': {'model': state, 'lr': 0.1},
        'callbacks': {},
    },
}


@pytest.mark.parametrize('wrapping', WRAPPINGS)
@pytest.mark.parametrize('save', [torch_files.save, torch_files.save_legacy])
def test_wrappings_of_a_state_dict(wrapping, save, tmp_path):
    expected = tiny('class_query')
    save(tmp_path / 'model.pth', WRAPPINGS[wrapping](torch_files.state_dict('class_query', expected[1])))
    check_equal(torch_models.load_pth(str(tmp_path / 'model.pth'), num_heads=2), expected)


@pytest.mark.parametrize('prefix', ['', 'model.', '_orig_mod.module.'])
@pytest.mark.parametrize('name', CLASS_PATHS)
def test_safetensors(name, prefix, tmp_path):
    expected = tiny(name)
    state = prefixed(prefix, torch_files.state_dict(name, expected[1]))
    path = str(tmp_path / 'model.safetensors')
    numpy.save_file({key: np.ascontiguousarray(x) for key, x in state.items()}, path, metadata={'format': 'pt'})
    check_equal(torch_models.load_pth(path, num_heads=2), expected)
    halves = {key: x.astype(jnp.bfloat16) for key, x in state.items()}
    numpy.save_file({key: np.ascontiguousarray(x) for key, x in halves.items()}, path)
    read = torch_models.load_pth(path, num_heads=2)[1]
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y.astype(jnp.bfloat16)), read, expected[1])


def test_a_position_is_no_mask(tmp_path):
    """A fork of SPOTER without row_embed has the names of the early checkpoints of class_query."""
    expected = tiny('spoter_pe')
    expected[1]['row_embed'] = np.zeros_like(expected[1]['row_embed'])
    state = torch_files.state_dict('spoter_pe', expected[1])
    del state['row_embed']
    torch_files.save(tmp_path / 'module.pth', torch_files.module('fork.SPOTER', state, num_heads=2))
    check_equal(torch_models.load_pth(str(tmp_path / 'module.pth')), expected)
    state['row_embed_aux'] = np.zeros((64, 42), np.float32)
    torch_files.save(tmp_path / 'state_dict.pth', state)
    check_equal(torch_models.load_pth(str(tmp_path / 'state_dict.pth'), num_heads=2), expected)


def test_the_normalization_of_spoter_is_recorded(tmp_path, capsys):
    def imported(name, **options):
        torch_models.import_checkpoints([str(tmp_path / name)], str(tmp_path / f'{name}_w'), **options)
        assert 'normalize' in capsys.readouterr().out
        config, description = workdir.load_config(str(tmp_path / f'{name}_w'))
        return config.normalize, description.layout

    for name, dim in (('vision', 108), ('hand', 42)):
        state = torch_files.state_dict('spoter_pe', tiny('spoter_pe', dim)[1])
        torch_files.save(tmp_path / f'spoter_{name}', torch_files.module(SPOTER, state, num_heads=2))
        torch_files.save(tmp_path / f'published_{name}', torch_files.module(CLASS_PATHS['spoter_pe'], state, 2))
        torch_files.save(tmp_path / f'state_dict_{name}', state)
    assert imported('spoter_vision') == ('spoter', 'vision_api')
    assert imported('spoter_hand') == ('spoter', 'mediapipe_hand')
    assert imported('published_vision') == ('none', 'vision_api')
    assert imported('state_dict_vision', num_heads=2) == ('spoter', 'vision_api')
    assert imported('state_dict_hand', num_heads=2) == ('none', 'mediapipe_hand')
    os.rename(tmp_path / 'state_dict_vision', tmp_path / 'again')
    assert imported('again', num_heads=2, normalize='centered') == ('centered', 'vision_api')


def refuse(path, words, **options):
    with pytest.raises(errors.InputError, match=words) as caught:
        torch_models.load_pth(str(path), **options)
    assert '\n' not in str(caught.value)
    assert str(path) in str(caught.value)


def test_several_models_need_a_prefix(tmp_path):
    first, second = tiny('class_query'), tiny('spoter_no_pe')
    state = {
        'net': torch_files.state_dict('class_query', first[1]),
        'ema': torch_files.state_dict('spoter_no_pe', second[1]),
    }
    torch_files.save(tmp_path / 'model.pth', state)
    refuse(tmp_path / 'model.pth', r'\b2 models, net, ema: .*prefix', num_heads=2)
    check_equal(torch_models.load_pth(str(tmp_path / 'model.pth'), 2, 'net'), first)
    check_equal(torch_models.load_pth(str(tmp_path / 'model.pth'), 2, 'ema.'), second)
    refuse(tmp_path / 'model.pth', r'other\.transformer', num_heads=2, prefix='other')


def test_state_dict_needs_heads(tmp_path):
    torch_files.save(tmp_path / 'model.pth', torch_files.state_dict('class_query', tiny('class_query')[1]))
    refuse(tmp_path / 'model.pth', 'num_heads')


def test_incomplete_models_are_refused(tmp_path):
    state = torch_files.state_dict('class_query', tiny('class_query')[1])
    del state['transformer.decoder.layers.1.norm2.bias']
    torch_files.save(tmp_path / 'missing.pth', {'net': state})
    refuse(tmp_path / 'missing.pth', r'net\.transformer\.decoder\.layers\.1\.norm2\.bias', num_heads=2)
    state['transformer.decoder.layers.1.norm2.bias'] = np.zeros(41, np.float32)
    torch_files.save(tmp_path / 'shape.pth', state)
    refuse(tmp_path / 'shape.pth', r'norm2\.bias .*\(41,\).*\(42,\)', num_heads=2)
    state['transformer.decoder.layers.1.norm2.bias'] = np.full(42, np.nan, np.float32)
    torch_files.save(tmp_path / 'nan.pth', state)
    refuse(tmp_path / 'nan.pth', r'norm2\.bias .*not finite', num_heads=2)
    torch_files.save(tmp_path / 'other.pth', {'resnet.conv1': np.zeros(3, np.float32)})
    refuse(tmp_path / 'other.pth', r'resnet\.conv1.*transformer\.encoder', num_heads=2)
    torch_files.save(tmp_path / 'list.pth', [1, 2])
    refuse(tmp_path / 'list.pth', r'\blist\b.*no tensors.*state dict')


@pytest.mark.parametrize('extra', ['transformer.decoder.layers.0.self_attn.in_proj_bias', 'wDec', 'project.weight'])
def test_models_with_further_layers_are_refused(extra, tmp_path):
    state = torch_files.state_dict('class_query', tiny('class_query')[1])
    state[extra] = np.zeros((4, 42), np.float32)
    state['project.bias'] = np.zeros(4, np.float32)
    torch_files.save(tmp_path / 'model.pth', state)
    refuse(tmp_path / 'model.pth', extra.removesuffix('.weight'), num_heads=2)


@pytest.mark.parametrize('attributes', [{'norm_first': True}, {'eps': 1e-6}])
def test_modules_that_compute_something_else_are_refused(attributes, tmp_path):
    state = torch_files.state_dict('class_query', tiny('class_query')[1])
    torch_files.save(tmp_path / 'model.pth', torch_files.module('a.B', state, num_heads=2, **attributes))
    [[field, value]] = attributes.items()
    refuse(tmp_path / 'model.pth', rf'encoder\.layers\.0 has {field} {value}')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'empty'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0', 'Git LFS'),
        (b'\n<!DOCTYPE html>', 'web page'),
        (b'\x89HDF\r\n\x1a\n' + bytes(100), 'HDF5'),
        (pickle.dumps({'epoch': 3}, protocol=2), r'torch\.save'),
        (bytes(100), 'neither a PyTorch file nor'),
    ],
)
def test_files_of_other_kinds_are_named(content, words, tmp_path):
    (tmp_path / 'model.pth').write_bytes(content)
    refuse(tmp_path / 'model.pth', words)


@pytest.mark.parametrize('name', ['torch', 'safetensors'])
def test_damaged_files_import_or_are_refused(name, tmp_path):
    """`python -m experiments.fuzz` tries 1,000 of each."""
    kind = KINDS[name]
    assert trial.prepare(kind, str(tmp_path)) == ''
    copy = trial.Copy(str(tmp_path))
    outcomes = [trial.try_file(kind, copy, 1, index) for index in range(50)]
    assert [outcome for outcome in outcomes if outcome.failure] == []
    assert max(outcome.seconds for outcome in outcomes) < 30
    assert max(outcome.megabytes for outcome in outcomes) < 2000


class Evil:
    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


EVIL = {
    'system': (lambda mark: Evil(os.system, f'touch {mark}'), r'posix\.system'),
    'open': (lambda mark: Evil(open, mark, 'w'), r'io\.open'),
    'eval': (lambda mark: Evil(eval, f'open({mark!r}, "w")'), r'eval'),
    'exec': (lambda mark: Evil(exec, f'open({mark!r}, "w")'), r'exec'),
    'subprocess': (lambda mark: Evil(subprocess.Popen, ['touch', mark]), r'(subprocess|commands)\.Popen'),
    'import': (lambda mark: Evil(runpy.run_path, mark), r'runpy\.run_path'),
    'getattr': (lambda mark: Evil(getattr, 'text', 'upper'), 'getattr'),
    'numpy': (lambda mark: np.arange(3), 'numpy'),
}


@pytest.mark.parametrize('protocol', [0, 2, 4])
@pytest.mark.parametrize('kind', EVIL)
def test_nothing_that_a_pickle_names_runs(kind, protocol, tmp_path):
    """What it names is an inert object, alone or beside a model."""
    mark = str(tmp_path / 'ran')
    make, name = EVIL[kind]
    (tmp_path / 'ran').with_suffix('.py').touch()
    evil = make(mark)
    torch_files.save_pickle(tmp_path / 'evil.pth', pickle.dumps(evil, protocol=protocol))
    refuse(tmp_path / 'evil.pth', rf'{name}\b')
    torch_files.save_pickle(tmp_path / 'evil.pth', pickle.dumps({'state_dict': evil}, protocol=protocol))
    refuse(tmp_path / 'evil.pth', r'a dict of state_dict')
    legacy = [0x1950A86A20F9469CFC6C, 1001, {'little_endian': True}, evil, []]
    (tmp_path / 'evil.pth').write_bytes(b''.join(pickle.dumps(part, protocol=2) for part in legacy))
    refuse(tmp_path / 'evil.pth', name)
    expected = tiny('class_query')
    state = torch_files.state_dict('class_query', expected[1])
    torch_files.save(tmp_path / 'beside.pth', {'evil': evil if kind != 'numpy' else 0, 'state_dict': state})
    check_equal(torch_models.load_pth(str(tmp_path / 'beside.pth'), num_heads=2), expected)
    assert not os.path.exists(mark)


HOSTILE = {
    'attributes of a function': b'ctorch._utils\n_rebuild_tensor_v2\n}b.',
    'attributes of a class': b'ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.',
    'a dotted name': b'\x8c\x0bcollections\x8c\x1dOrderedDict.fromkeys.__self__\x93.',
    'deeply nested key': b'})' + b'\x85' * 500_000 + b'K\x01s.',
    'deeply nested list': b']' * 500_000 + b'a' * 499_999 + b'.',
    'a memo of 2**31': b'Nr\xff\xff\xff\x7f.',
    'text of 2**40 bytes': b'\x8d' + (2**40).to_bytes(8, 'little') + b'a.',
    'array of 2**33 bytes': b'\x96' + (2**33).to_bytes(8, 'little') + b'a.',
    'frame of 2**40 bytes': b'\x95' + (2**40).to_bytes(8, 'little') + b'a.',
    'list within itself': b']q\x00h\x00a.',
    'no storage': b'ctorch._utils\n_rebuild_tensor_v2\n(NK\x00)).',
    'many names': b''.join(b'ca\nb%d\n' % i for i in range(6000)) + b'.',
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_hostile_pickles_are_refused(kind, tmp_path):
    torch_files.save_pickle(tmp_path / 'evil.pth', b'\x80\x04' + HOSTILE[kind])
    before = trial.peak_bytes()
    refuse(tmp_path / 'evil.pth', 'evil')
    assert trial.peak_bytes() - before < 2**30


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    path = tmp_path / 'model.pth'
    state = torch_files.state_dict('class_query', tiny('class_query')[1])
    torch_files.save(path, state)
    with zipfile.ZipFile(path) as archive:
        data = archive.read('archive/data.pkl')
        storages = [np.frombuffer(archive.read(f'archive/data/{i}'), np.float32) for i in range(len(state))]
    torch_files.save_pickle(path, data, [storages[0][:-1], *storages[1:]])
    refuse(path, r'storage 0 .*\b164 bytes.*\b168')
    torch_files.save_pickle(path, data, storages[:-1])
    refuse(path, r'archive/data/')
    torch_files.save_pickle(path, data, [])
    refuse(path, 'declares more numbers')


def test_damaged_files_are_refused(tmp_path, shared):
    whole = (shared / 'golden' / 'ownModelwquery_h42_c13.pth').read_bytes()
    path = tmp_path / 'damaged.pth'
    for content in (whole[:1000], whole[: len(whole) // 2], whole[:-30], b'PK\x03\x04' + bytes(500)):
        path.write_bytes(content)
        refuse(path, 'damaged .*torch.save')
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a/b.txt', 'text')
    refuse(path, r'zip file of a/b\.txt, without data\.pkl')


def test_several_checkpoints_become_runs(shared, tmp_path, capsys):
    paths = [str(shared / 'golden' / f'{name}_h42_c13.pth') for name in list(GOLDEN)[:2]]
    torch_models.import_checkpoints(paths, str(tmp_path / 'w'), layout='mediapipe_hand')
    assert 'unfinished' not in capsys.readouterr().out
    found = workdir.read_index(str(tmp_path / 'w'))
    assert [run.name for run in found] == [f'{name}_h42_c13' for name in list(GOLDEN)[:2]]
    for run, path in zip(found, paths, strict=True):
        params = checkpoint.load_model(workdir.run_path(str(tmp_path / 'w'), run.name)).params
        jax.tree.map(np.testing.assert_array_equal, params, torch_models.load_pth(path)[1])
    with pytest.raises(errors.InputError, match='originalSpoterPE_h42_c13'):
        torch_models.import_checkpoints([paths[0], paths[0]], str(tmp_path / 'v'))
    assert not (tmp_path / 'v').exists()
