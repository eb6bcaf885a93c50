"""Runs that begin with another, keep parameters as they are, or are made longer."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

from preprocessing.formats import tfds_writer
from slr_jax import checkpoint, errors, fine_tune, models, train_lib, train_step
from slr_jax import workdir as workdir_lib
from tests.conftest import make_tiny_config

GLOSSES = ('sign_2', 'new', 'sign_0')
# A step that changes nothing.
STILL = {'learning_rate': 1e-30, 'num_epochs': 1}


def params_of(workdir, step='latest'):
    return checkpoint.load_model(str(workdir), step).params


def by_name(params):
    return dict(zip(models.parameter_names(params), map(np.asarray, jax.tree.leaves(params)), strict=True))


def assert_equal_bits(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_equal(np.asarray(a).tobytes(), np.asarray(b).tobytes()), one, other)


def train(dataset, workdir, **fields):
    train_lib.train_and_evaluate(make_tiny_config(dataset, **fields), str(workdir))
    return workdir


@pytest.fixture(scope='module')
def source(tiny_dir, tmp_path_factory):
    """A run of two epochs on sign_0, sign_1 and sign_2."""
    return train(tiny_dir, tmp_path_factory.mktemp('source') / 'w', optimizer='momentum', learning_rate=0.05)


@pytest.fixture(scope='module')
def new_dir(tiny_dataset, tmp_path_factory):
    """The same clips with other glosses, two of which the run of `source` knows."""
    description = dataclasses.replace(tiny_dataset.description, name='others', label_names=GLOSSES)
    path = str(tmp_path_factory.mktemp('others'))
    return tfds_writer.write_dataset(dataclasses.replace(tiny_dataset, description=description), path)


@pytest.fixture(scope='module')
def begun(source, new_dir, tiny_dir, tmp_path_factory):
    """Workdirs of a run that begins with `source` and of one that does not; neither changes its parameters."""
    root = tmp_path_factory.mktemp('begun')
    return train(new_dir, root / 'w', init_from=str(source), **STILL), train(tiny_dir, root / 'fresh', **STILL)


def test_what_a_run_takes(begun, source):
    found, fresh, known = (by_name(params_of(workdir)) for workdir in (*begun, source))
    known = by_name(params_of(source, 'best'))
    for name, value in found.items():
        if not name.startswith('classifier.'):
            np.testing.assert_array_equal(value, known[name])
            continue
        for column, other in enumerate((known[name][..., 2], fresh[name][..., 1], known[name][..., 0])):
            np.testing.assert_array_equal(value[..., column], other)
        assert (known[name][..., 1] != fresh[name][..., 1]).any()


def test_what_was_taken_is_listed(begun, source):
    init = json.loads((begun[0] / 'init.json').read_text())
    assert init['init_from'] == str(source)
    assert init['step'] == checkpoint.load_model(str(source)).step
    assert sorted(init['taken']) == sorted(by_name(params_of(source)))
    assert (init['new'], init['unused']) == ([], [])
    assert (init['classes_taken'], init['classes_new']) == (['sign_2', 'sign_0'], ['new'])
    assert not (begun[1] / 'init.json').exists()


def test_another_model_shares_some_parameters(source, new_dir, tmp_path, capsys):
    train(new_dir, tmp_path / 'w', init_from=str(source), model='spoter_pe', mlp_dim=16, validation='none', **STILL)
    init = json.loads((tmp_path / 'w' / 'init.json').read_text())
    shapes = {name: value.shape for name, value in by_name(params_of(tmp_path / 'w')).items()}
    known = {name: value.shape for name, value in by_name(params_of(source)).items()}
    assert set(init['taken']) == {name for name, shape in shapes.items() if known.get(name) == shape}
    assert set(init['new']) == {*shapes} - {*init['taken']}
    assert 'position' in init['new']
    assert set(init['unused']) == {*known} - {*init['taken']}
    lines = capsys.readouterr().out
    assert f'begins with {source}, checkpoint' in lines
    assert 'of the classes 2 are taken and 1 new' in lines
    assert 'position' in lines.split('\nnew: ')[1].splitlines()[0]
    assert 'encoder_mask' in lines.split('\nnot taken: ')[1].splitlines()[0]


def test_a_resumed_run_needs_the_other_no_more(begun, source, new_dir, tmp_path):
    other, workdir = tmp_path / 'source', tmp_path / 'w'
    shutil.copytree(source, other)
    fields = {'init_from': str(other), **STILL}
    train(new_dir, workdir, **fields)
    assert_equal_bits(params_of(workdir), params_of(begun[0]))
    shutil.rmtree(other)
    before = (workdir / 'metrics.csv').read_text()
    train(new_dir, workdir, **fields)
    assert (workdir / 'metrics.csv').read_text() == before
    # Interrupted in the first epoch, it needs the same parameters once more.
    shutil.rmtree(workdir / 'checkpoints')
    with pytest.raises(errors.InputError, match=r'config\.init_from.*/source\b.*config\.json'):
        train(new_dir, workdir, **fields)
    shutil.copytree(begun[1], other)
    with pytest.raises(errors.InputError, match=r'/w\b.*config\.init_from.*\bstep\b.*fingerprint'):
        train(new_dir, workdir, **fields)
    shutil.rmtree(other)
    shutil.copytree(source, other)
    train(new_dir, workdir, **fields)
    assert_equal_bits(params_of(workdir), params_of(begun[0]))


def load_source(source, dataset, **fields):
    description = dataclasses.replace(dataset.description, **fields.pop('description', {}))
    return fine_tune.load_source(make_tiny_config('d', init_from=str(source), **fields), description)


@pytest.mark.parametrize(
    ('fields', 'facts'),
    [
        ({'normalize': 'centered'}, r"config\.normalize is 'none' there and 'centered' here"),
        ({'coordinates': 'xyz'}, r"config\.coordinates is 'xy' there and 'xyz' here"),
        ({'missing_value': 0.25}, r'config\.missing_value is -0\.5 there and 0\.25 here'),
        ({'num_heads': 6}, r'config\.num_heads is 7 there and 6 here'),
        ({'description': {'handedness': 'swapped'}}, r"handedness is 'signer' there and 'swapped' here"),
    ],
    ids=str,
)
def test_another_input_is_refused(source, tiny_dataset, fields, facts):
    with pytest.raises(errors.InputError, match=facts):
        load_source(source, tiny_dataset, **fields)


def test_the_published_value_of_missing_points_may_be_written_out(source, tiny_dataset):
    assert load_source(source, tiny_dataset, missing_value=-0.5, max_frames=9).classes == [0, 1, 2]


def test_one_of_several_runs_must_be_named(tmp_path, tiny_dataset):
    workdir_lib.write_index(str(tmp_path), [workdir_lib.RunEntry(name, {}) for name in 'ab'])
    with pytest.raises(errors.InputError, match=r'config\.init_from.*\b2 runs\b.*/a\b'):
        load_source(tmp_path, tiny_dataset)


# --- Frozen parameters

FREEZE = ('encoder', 'mask', '*.bias')


def is_frozen(name):
    return name.startswith('encoder.') or name == 'encoder_mask' or name.endswith('.bias')


@pytest.mark.parametrize('optimizer', ['momentum', pytest.param('adamw', marks=pytest.mark.slow)])
def test_frozen_parameters_stay_bit_for_bit(source, new_dir, begun, tmp_path, optimizer):
    fields = {'optimizer': optimizer, 'learning_rate': 0.05, 'weight_decay': 0.5, 'freeze': FREEZE}
    train(new_dir, tmp_path / 'w', init_from=str(source), num_epochs=1, grad_clip_norm=1.0, **fields)
    before, after = by_name(params_of(begun[0])), by_name(params_of(tmp_path / 'w'))
    assert {is_frozen(name) for name in before} == {True, False}
    for name, value in before.items():
        assert (value.tobytes() == after[name].tobytes()) == is_frozen(name), name


def test_frozen_parameters_of_runs_that_train_together(source, new_dir, begun, tmp_path):
    fields = {'freeze': FREEZE, 'seeds': (379, 5), 'runs_at_once': 2, 'sweep': {'weight_decay': (0.5,)}}
    workdir = train(new_dir, tmp_path / 'w', init_from=str(source), num_epochs=1, learning_rate=0.05, **fields)
    before = by_name(params_of(begun[0]))
    one, other = (by_name(params_of(workdir / entry.name)) for entry in workdir_lib.read_index(str(workdir)))
    for name, value in before.items():
        # The new class of the classifier is drawn by the seed, of the others nothing.
        same_for_all = value if not name.startswith('classifier.') else value[..., [0, 2]]
        if is_frozen(name):
            assert one[name].tobytes() == value.tobytes(), name
            chosen = other[name] if not name.startswith('classifier.') else other[name][..., [0, 2]]
            assert chosen.tobytes() == same_for_all.tobytes(), name
        else:
            assert (one[name] != value).any(), name
    assert (one['classifier.bias'][1] != other['classifier.bias'][1]).all()
    assert (workdir / entry_name(workdir, 0) / 'init.json').exists()


def entry_name(workdir, number):
    return workdir_lib.read_index(str(workdir))[number].name


def test_optimizer_and_clipping_leave_out_what_is_frozen():
    config = make_tiny_config('d', optimizer='momentum', learning_rate=0.5, weight_decay=0.1, grad_clip_norm=1.0)
    config.freeze = ('a',)
    optimizer = train_step.make_optimizer(config, train_step.all_hyperparameters(config, {}), train_step.Steps(1, 1))
    params = {'a': {'kernel': np.ones(2)}, 'b': {'kernel': np.array([2.0, 0.0])}}
    grads = {'a': {'kernel': np.full(2, 1e6)}, 'b': {'kernel': np.array([3.0, 4.0])}}
    state = optimizer.init(params)
    assert sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim) == 2
    updates, _ = optimizer.update(grads, state, params)
    np.testing.assert_allclose(updates['b']['kernel'], [-0.5 * (0.6 + 0.2), -0.5 * 0.8], rtol=1e-6)


# --- Longer runs


@pytest.mark.parametrize('freeze', [None, ('decoder',)])
def test_a_longer_run_equals_one_that_was_so_from_the_beginning(tiny_dir, tmp_path, freeze):
    fields = {'optimizer': 'adamw', 'warmup_epochs': 0.5, 'freeze': freeze}
    workdir = train(tiny_dir, tmp_path / 'w', num_epochs=1, **fields)
    # As if it was killed before the first new step.
    config, summary = (
        make_tiny_config(tiny_dir, num_epochs=2, **fields),
        json.loads((workdir / 'dataset.json').read_text()),
    )
    workdir_lib.create_or_check(str(workdir), config, summary)
    train(tiny_dir, workdir, num_epochs=2, **fields)
    assert json.loads((workdir / 'config.json').read_text())['num_epochs'] == 2
    unbroken = train(tiny_dir, tmp_path / 'unbroken', num_epochs=2, **fields)
    assert_equal_bits(params_of(workdir), params_of(unbroken))
    tables = [pd.read_csv(path / 'metrics.csv').drop(columns='clips_per_second') for path in (workdir, unbroken)]
    pd.testing.assert_frame_equal(*tables)
    with pytest.raises(errors.InputError, match=r'/w\b.*config\.num_epochs is 2 there and 1 here'):
        train(tiny_dir, workdir, num_epochs=1, **fields)


def test_all_of_several_runs_are_made_longer_or_none(tiny_dir, tmp_path):
    fields = {'seeds': (1, 2), 'optimizer': 'momentum'}
    workdir = train(tiny_dir, tmp_path / 'w', num_epochs=1, **fields)
    path = workdir / 'seed_2' / 'config.json'
    good = path.read_text()
    path.write_text(good.replace('"batch_size": 4', '"batch_size": 3'))
    with pytest.raises(errors.InputError, match=r'/seed_2\b.*config\.batch_size'):
        train(tiny_dir, workdir, num_epochs=2, **fields)
    assert {json.loads((workdir / name / 'config.json').read_text())['num_epochs'] for name in ('', 'seed_1')} == {1}
    path.write_text(good)
    train(tiny_dir, workdir, num_epochs=2, **fields)
    for name in ('', 'seed_1', 'seed_2'):
        assert json.loads((workdir / name / 'config.json').read_text())['num_epochs'] == 2
    assert {len(pd.read_csv(workdir / name / 'metrics.csv')) for name in ('seed_1', 'seed_2')} == {2}


def test_a_run_that_stopped_early_goes_on_with_more_patience_only(tiny_dir, tmp_path, capsys):
    fields = {**STILL, 'schedule': 'cosine', 'num_epochs': 9}

    def epochs(**other):
        workdir = train(tiny_dir, tmp_path / 'w', **fields | other)
        return len(pd.read_csv(workdir / 'metrics.csv'))

    assert epochs(early_stop_epochs=1) == 2
    assert 'early stopping: no better validation accuracy in 1 epochs' in capsys.readouterr().out
    assert epochs(early_stop_epochs=2) == 3
    assert epochs(early_stop_epochs=2) == 3
    assert epochs(early_stop_epochs=None) == 9
    with pytest.raises(errors.InputError, match=r'config\.early_stop_epochs is None there and 2 here'):
        epochs(early_stop_epochs=2)


def test_more_epochs_do_not_wake_a_run_that_stopped_early(tiny_dir, tmp_path):
    for num_epochs in (3, 9):
        train(tiny_dir, tmp_path / 'w', **STILL | {'num_epochs': num_epochs, 'early_stop_epochs': 1})
        assert len(pd.read_csv(tmp_path / 'w' / 'metrics.csv')) == 2
