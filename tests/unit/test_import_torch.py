import os
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from slr_jax import checkpoint, errors, models, pth, torch_models, workdir
from tests import torch_files

GOLDEN = {'originalSpoterPE': models.SpoterPE, 'ownModelwquery': models.ClassQuery}
CLASS_PATHS = {name: path for path, name in pth.MODEL_CLASSES.items()}


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


def tiny(name):
    model = models.create_model(name, num_classes=3, num_heads=2, num_layers=2, mlp_dim=8)
    keys = iter(jax.random.split(jax.random.key(0), 100))
    shapes = models.param_shapes(model, 42)
    return model, jax.tree.map(lambda x: np.asarray(jax.random.normal(next(keys), x.shape)), shapes)


@pytest.mark.parametrize('old_mask_name', [False, True])
@pytest.mark.parametrize('as_module', [True, False])
@pytest.mark.parametrize('name', models.MODELS)
def test_every_model_as_module_and_as_state_dict(name, as_module, old_mask_name, tmp_path):
    model, params = tiny(name)
    state = torch_files.state_dict(name, params, old_mask_name)
    content = torch_files.module(CLASS_PATHS[name], state, num_heads=2) if as_module else state
    torch_files.save(tmp_path / 'model.pth', content)
    read, read_params = torch_models.load_pth(str(tmp_path / 'model.pth'), num_heads=None if as_module else 2)
    assert read == model
    assert jax.tree.structure(read_params) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, read_params, params)


def refuse(path, words, **options):
    with pytest.raises(errors.InputError, match=words) as caught:
        torch_models.load_pth(str(path), **options)
    assert '\n' not in str(caught.value)
    assert str(path) in str(caught.value)


def test_state_dict_needs_heads(tmp_path):
    torch_files.save(tmp_path / 'model.pth', torch_files.state_dict('class_query', tiny('class_query')[1]))
    refuse(tmp_path / 'model.pth', 'num_heads')


def test_incomplete_models_are_refused(tmp_path):
    state = torch_files.state_dict('class_query', tiny('class_query')[1])
    del state['transformer.decoder.layers.1.norm2.bias']
    torch_files.save(tmp_path / 'missing.pth', state)
    refuse(tmp_path / 'missing.pth', r'layers\.1\.norm2\.bias', num_heads=2)
    state['transformer.decoder.layers.1.norm2.bias'] = np.zeros(41, np.float32)
    torch_files.save(tmp_path / 'shape.pth', state)
    refuse(tmp_path / 'shape.pth', 'model.pth|shape.pth', num_heads=2)
    torch_files.save(tmp_path / 'other.pth', {'resnet.conv1': np.zeros(3, np.float32)})
    refuse(tmp_path / 'other.pth', 'resnet', num_heads=2)
    torch_files.save(tmp_path / 'list.pth', [1, 2])
    refuse(tmp_path / 'list.pth', r'\blist\b.*state dict')


class Evil:
    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


EVIL = {
    'system': (lambda mark: Evil(os.system, f'touch {mark}'), 'posix.system'),
    'open': (lambda mark: Evil(open, mark, 'w'), 'open'),
    'eval': (lambda mark: Evil(eval, f'open({mark!r}, "w")'), 'eval'),
    'getattr': (lambda mark: Evil(getattr, os, 'system'), 'getattr'),
    'numpy': (lambda mark: np.arange(3), 'numpy'),
}


@pytest.mark.parametrize('kind', EVIL)
def test_hostile_pickle_is_refused_and_nothing_runs(kind, tmp_path):
    mark = str(tmp_path / 'ran')
    make, asked_for = EVIL[kind]
    evil = make(mark) if kind != 'getattr' else Evil(getattr, 'text', 'upper')
    torch_files.save_pickle(tmp_path / 'evil.pth', pickle.dumps({'a': evil}, protocol=2))
    refuse(tmp_path / 'evil.pth', rf'\b{asked_for}\b')
    torch_files.save_pickle(tmp_path / 'evil4.pth', pickle.dumps({'a': evil}, protocol=4))
    refuse(tmp_path / 'evil4.pth', rf'\b{asked_for}\b')
    assert not os.path.exists(mark)


def test_dotted_names_reach_nothing(tmp_path):
    data = b'\x80\x04\x8c\x0bcollections\x8c\x1dOrderedDict.fromkeys.__self__\x93.'
    torch_files.save_pickle(tmp_path / 'evil.pth', data)
    refuse(tmp_path / 'evil.pth', r'collections\.OrderedDict\.fromkeys')


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    path = tmp_path / 'model.pth'
    torch_files.save(path, {'a': np.zeros(8, np.float32)})
    with zipfile.ZipFile(path) as archive:
        data = archive.read('archive/data.pkl')
    torch_files.save_pickle(path, data, [np.zeros(4, np.float32)])
    refuse(path, r'storage 0 .*\b16\b')
    torch_files.save_pickle(path, data, [])
    refuse(path, 'archive/data/0')


def test_damaged_files_are_refused(tmp_path, shared):
    whole = (shared / 'golden' / 'ownModelwquery_h42_c13.pth').read_bytes()
    path = tmp_path / 'damaged.pth'
    for content in (b'', whole[:1000], whole[: len(whole) // 2], whole[:-30], b'PK\x03\x04' + bytes(500)):
        path.write_bytes(content)
        refuse(path, 'torch.save')
    rng = np.random.default_rng(0)
    for _ in range(5):
        path.write_bytes(rng.bytes(3000))
        refuse(path, 'torch.save')


def test_random_bytes_in_the_pickle_are_refused(tmp_path, shared):
    with zipfile.ZipFile(shared / 'golden' / 'ownModelwquery_h42_c13.pth') as archive:
        data = archive.read('ownModelwquery_h42_c13/data.pkl')
    rng = np.random.default_rng(0)
    path = tmp_path / 'damaged.pth'
    for _ in range(100):
        start = int(rng.integers(0, len(data) - 20))
        torch_files.save_pickle(path, data[:start] + rng.bytes(20) + data[start + 20 :])
        refuse(path, 'damaged.pth')
    torch_files.save_pickle(path, data[: len(data) // 2])
    refuse(path, 'damaged.pth')
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a/b.txt', 'text')
    refuse(path, r'data\.pkl')


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
