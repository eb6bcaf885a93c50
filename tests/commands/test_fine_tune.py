"""Runs that begin with another, keep parameters as they are, or are made longer."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

from preprocessing.formats import tfds_writer
from slr_jax import checkpoint, config, errors, features, fine_tune, models, run_log, train_lib, train_step
from slr_jax import workdir as workdir_lib
from tests.conftest import make_tiny_config
from tests.refusals import world
from tests.workdirs import params_of

GLOSSES = ('sign_2', 'new', 'sign_0')


def by_name(params):
    return dict(zip(models.parameter_names(params), map(np.asarray, jax.tree.leaves(params)), strict=True))


def assert_equal_bits(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_equal(np.asarray(a).tobytes(), np.asarray(b).tobytes()), one, other)


def train(dataset, workdir, **fields):
    train_lib.train_and_evaluate(make_tiny_config(dataset, **fields), str(workdir))
    return workdir


@pytest.fixture(scope='module')
def source(tiny_dir, tiny_dataset, tmp_path_factory):
    """The workdir of a model of sign_0, sign_1 and sign_2, with random parameters."""
    workdir = tmp_path_factory.mktemp('source') / 'w'
    world.make_model(workdir, make_tiny_config(tiny_dir), tiny_dataset.description)
    return workdir


@pytest.fixture(scope='module')
def new_dataset(tiny_dataset):
    """The same clips with other glosses, two of which `source` knows."""
    description = dataclasses.replace(tiny_dataset.description, name='others', label_names=GLOSSES)
    return dataclasses.replace(tiny_dataset, description=description)


@pytest.fixture(scope='module')
def new_dir(new_dataset, tmp_path_factory):
    return tfds_writer.write_dataset(new_dataset, str(tmp_path_factory.mktemp('others')))


def load_source(source, dataset, **fields):
    description = dataclasses.replace(dataset.description, **fields.pop('description', {}))
    return fine_tune.load_source(make_tiny_config('d', init_from=str(source), **fields), description)


def fresh_params(num_classes=3, **fields):
    """Parameters as a seed might draw them."""
    shapes = models.param_shapes(models.model_from_config(make_tiny_config('d', **fields), num_classes), 42)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), shapes)


# --- What is taken


def test_what_a_run_takes(source, new_dataset):
    fresh = fresh_params()
    taken, fresh, known = map(by_name, (load_source(source, new_dataset).take(fresh), fresh, params_of(source)))
    for name, value in taken.items():
        if not name.startswith('classifier.'):
            np.testing.assert_array_equal(value, known[name])
            continue
        for column, other in enumerate((known[name][..., 2], fresh[name][..., 1], known[name][..., 0])):
            np.testing.assert_array_equal(value[..., column], other)


def test_classes_without_glosses_are_taken_by_number_where_there_are_as_many(tmp_path, tiny_dataset, new_dataset):
    numbered = dataclasses.replace(tiny_dataset.description, label_names=('0', '1', '2'))
    world.make_model(tmp_path / 'w', make_tiny_config(''), numbered)
    assert load_source(tmp_path / 'w', new_dataset).classes == [0, 1, 2]
    assert load_source(tmp_path / 'w', new_dataset, description={'label_names': ('a', 'b')}).classes == [None, None]


def test_another_model_shares_some_parameters(source, new_dataset):
    fields = {'model': 'spoter_pe', 'mlp_dim': 16}
    fresh, known = by_name(fresh_params(4, **fields)), by_name(params_of(source))
    other = load_source(source, new_dataset, **fields, description={'label_names': (*GLOSSES, 'sign_1')})
    summary = other.summary(fresh_params(4, **fields))
    expected = {name for name, x in fresh.items() if name in known and known[name].shape == x.shape}
    expected |= {'classifier.kernel', 'classifier.bias'}
    assert set(summary['taken']) == expected
    assert set(summary['new']) == {*fresh} - expected
    assert 'position' in summary['new']
    assert set(summary['unused']) == {*known} - expected
    assert (summary['classes_taken'], summary['classes_new']) == (['sign_2', 'sign_0', 'sign_1'], ['new'])
    first, taken, new, unused = fine_tune.describe(summary).splitlines()
    assert f'{source}, checkpoint 0 (' in first
    assert 'class_query, classifier' in taken
    assert 'of the classes 3 are taken and 1 new' in taken
    assert {'position', 'encoder.layers.mlp_in.kernel'} <= set(new.replace(',', '').split())
    assert 'encoder_mask' in unused


@pytest.mark.parametrize(
    ('fields', 'facts'),
    [
        ({'normalize': 'centered'}, r"config\.normalize is 'none' there and 'centered' here"),
        ({'coordinates': 'xyz'}, r"config\.coordinates is 'xy' there and 'xyz' here"),
        ({'missing_value': 0.25}, r'config\.missing_value is -2\.5 there and 0\.25 here'),
        ({'num_heads': 6}, r'config\.num_heads is 7 there and 6 here'),
        ({'differences': 2}, r'config\.differences is 0 there and 2 here'),
        ({'presence': True}, r'config\.presence is False there and True here'),
        ({'points': ('wrist',)}, r"config\.points is None there and \('wrist',\) here"),
        ({'shadow_points': True}, r'config\.shadow_points is False there and True here'),
        (
            {'description': {'layout': 'mediapipe_two_hands'}},
            r"layout is 'mediapipe_hand' there and 'mediapipe_two_hands'",
        ),
    ],
    ids=str,
)
def test_another_input_is_refused(source, tiny_dataset, fields, facts):
    with pytest.raises(errors.InputError, match=facts):
        load_source(source, tiny_dataset, **fields)


def test_every_field_of_features_is_compared():
    fields = {field.name for field in dataclasses.fields(features.Features)}
    compared = set(fine_tune._meaning(features.Features('mediapipe_hand')))
    assert compared == fields - {'layout', 'shadow_seed'} | {'shadow_points'}
    assert set(fine_tune._OF_FRAMES) < compared


@pytest.mark.parametrize(
    ('fields', 'facts'),
    [
        ({'trim': 'ends'}, "config.trim is 'none' there and 'ends' here"),
        ({'num_frames': 8}, 'config.num_frames is None there and 8 here'),
        ({'interpolate_gaps': 2}, 'config.interpolate_gaps is 0 there and 2 here'),
    ],
    ids=str,
)
def test_other_frames_are_said(source, tiny_dataset, capsys, fields, facts):
    load_source(source, tiny_dataset, **fields)
    assert f'was trained on other frames of clips: {facts}' in capsys.readouterr().out


def test_the_published_value_of_missing_points_may_be_written_out(source, tiny_dataset):
    assert load_source(source, tiny_dataset, missing_value=-2.5, max_frames=9).classes == [0, 1, 2]


def test_one_of_several_runs_must_be_named(tmp_path, tiny_dataset):
    workdir_lib.write_index(str(tmp_path), [workdir_lib.RunEntry(name, {}) for name in 'ab'])
    with pytest.raises(errors.InputError, match=r'config\.init_from.*\b2 runs\b.*/a\b'):
        load_source(tmp_path, tiny_dataset)


# --- Runs that begin so, are interrupted, and are made longer


@pytest.mark.slow
def test_a_begun_run_needs_the_other_no_more_and_can_be_longer(source, new_dir, tmp_path):
    other, workdir = tmp_path / 'source', tmp_path / 'w'
    shutil.copytree(source, other)
    unbroken = train(new_dir, tmp_path / 'unbroken', init_from=str(other), num_epochs=2)
    train(new_dir, workdir, init_from=str(other), num_epochs=1)
    init = json.loads((workdir / 'init.json').read_text())
    assert (init['init_from'], init['step'], init['new'], init['unused']) == (str(other), 0, [], [])
    shutil.rmtree(other)
    # As if it was killed before the first new step.
    longer = make_tiny_config(new_dir, init_from=str(other), num_epochs=2)
    workdir_lib.create_or_check(str(workdir), longer, json.loads((workdir / 'dataset.json').read_text()))
    train(new_dir, workdir, init_from=str(other), num_epochs=2)
    assert json.loads((workdir / 'config.json').read_text())['num_epochs'] == 2
    assert_equal_bits(params_of(workdir), params_of(unbroken))
    assert (by_name(params_of(workdir))['class_query'] != by_name(params_of(source))['class_query']).any()
    tables = [pd.read_csv(path / 'metrics.csv').drop(columns='clips_per_second') for path in (workdir, unbroken)]
    pd.testing.assert_frame_equal(*tables)


def test_a_run_interrupted_in_its_first_epoch_needs_the_same_parameters(source, new_dataset, new_dir, tmp_path):
    other, workdir = tmp_path / 'source', tmp_path / 'w'
    shutil.copytree(source, other)
    begun = make_tiny_config(new_dir, init_from=str(other))
    init = fine_tune.load_source(begun, new_dataset.description).summary(fresh_params())
    workdir_lib.create_or_check(str(workdir), begun, new_dataset.summary(), init)
    shutil.rmtree(other)
    with pytest.raises(errors.InputError, match=r'config\.init_from.*/source\b.*config\.json'):
        train_lib.train_and_evaluate(begun, str(workdir))
    shutil.copytree(source, other)
    checkpoints = checkpoint.Checkpoints(str(other), read_only=False)
    checkpoints.save(4, {'params': fresh_params()}, {'epoch': 1})
    with pytest.raises(errors.InputError, match=r'/w\b.*config\.init_from.*\bstep is 0 there and 4 here.*fingerprint'):
        train_lib.train_and_evaluate(begun, str(workdir))


def make_runs(workdir, dataset, **fields):
    """Creates the workdirs of a config, or makes its runs longer; returns the configs that are written there."""
    one = make_tiny_config('d', **fields)
    runs = config.expand(one)
    workdir_lib.create_or_check_all(str(workdir), one, runs, dataset.summary())
    paths = dict.fromkeys(['', *(run.name for run in runs)])
    return [json.loads((workdir / name / 'config.json').read_text()) for name in paths]


def test_all_of_several_runs_are_made_longer_or_none(tiny_dataset, tmp_path):
    make_runs(tmp_path, tiny_dataset, seeds=(1, 2), num_epochs=1)
    path = tmp_path / 'seed_2' / 'config.json'
    good = path.read_text()
    path.write_text(good.replace('"batch_size": 4', '"batch_size": 3'))
    with pytest.raises(errors.InputError, match=r'/seed_2\b.*config\.batch_size'):
        make_runs(tmp_path, tiny_dataset, seeds=(1, 2), num_epochs=2)
    assert '"num_epochs": 1' in (tmp_path / 'seed_1' / 'config.json').read_text()
    path.write_text(good)
    configs = make_runs(tmp_path, tiny_dataset, seeds=(1, 2), num_epochs=2)
    assert [found['num_epochs'] for found in configs] == [2, 2, 2]
    with pytest.raises(errors.InputError, match=r'config\.num_epochs is 2 there and 1 here'):
        make_runs(tmp_path, tiny_dataset, seeds=(1, 2), num_epochs=1)
    with pytest.raises(errors.InputError, match=r'config\.num_steps is None there and 99 here'):
        make_runs(tmp_path, tiny_dataset, seeds=(1, 2), num_epochs=2, num_steps=99)


def test_a_cosine_schedule_cannot_be_made_longer_but_its_patience_can(tiny_dataset, tmp_path):
    fields = {'schedule': 'cosine', 'seeds': (1, 2)}
    make_runs(tmp_path, tiny_dataset, **fields, early_stop_epochs=2)
    with pytest.raises(errors.InputError, match=r'2 there and 4 here; the cosine .*config\.init_from=.*/seed_1\b'):
        make_runs(tmp_path, tiny_dataset, **fields, early_stop_epochs=2, num_epochs=4)
    for patience in (3, None):
        configs = make_runs(tmp_path, tiny_dataset, **fields, early_stop_epochs=patience)
        assert {found['early_stop_epochs'] for found in configs} == {patience}
    with pytest.raises(errors.InputError, match=r'config\.early_stop_epochs is None there and 3 here'):
        make_runs(tmp_path, tiny_dataset, **fields, early_stop_epochs=3)


@pytest.mark.long
def test_a_run_that_stopped_early_goes_on_with_more_patience_only(tiny_dir, tmp_path, capsys):
    def epochs(**fields):
        workdir = train(tiny_dir, tmp_path / 'w', learning_rate=1e-12, **fields)
        return len(run_log.read_rows(str(workdir / 'metrics.csv'), len(pd.read_csv(workdir / 'metrics.csv'))))

    assert epochs(early_stop_epochs=1, num_epochs=3) == 2
    assert 'early stopping: no better validation accuracy in 1 epochs' in capsys.readouterr().out
    assert epochs(early_stop_epochs=1, num_epochs=6) == 2
    assert epochs(early_stop_epochs=2, num_epochs=6) == 3
    assert epochs(early_stop_epochs=None, num_epochs=6) == 6


# --- Frozen parameters

FREEZE = ('encoder,mask', '*.bias')


def is_frozen(name):
    return name.startswith('encoder.') or name == 'encoder_mask' or name.endswith('.bias')


def test_frozen_parameters_stay_bit_for_bit(source, new_dataset, new_dir, tmp_path):
    """Of runs that train together; the new class of the classifier is drawn by the seed of each."""
    fields = {'freeze': FREEZE, 'seeds': (379, 5), 'runs_at_once': 2, 'sweep': {'weight_decay': (0.5,)}}
    fields |= {'optimizer': 'momentum', 'learning_rate': 0.05, 'grad_clip_norm': 1.0, 'num_epochs': 1}
    workdir = train(new_dir, tmp_path / 'w', init_from=str(source), **fields)
    before = by_name(load_source(source, new_dataset).take(fresh_params()))
    one, other = (by_name(params_of(workdir / run.name)) for run in workdir_lib.read_index(str(workdir)))
    assert {is_frozen(name) for name in before} == {True, False}
    for name, value in before.items():
        for found in (one[name], other[name]):
            taken = [x[..., [0, 2]] if name.startswith('classifier.') else x for x in (found, value)]
            assert (taken[0].tobytes() == taken[1].tobytes()) == is_frozen(name), name
    assert (one['classifier.bias'][1] != other['classifier.bias'][1]).all()


@pytest.mark.long
def test_a_run_with_frozen_parameters_is_resumed(tiny_dir, tmp_path):
    fields = {'optimizer': 'adamw', 'weight_decay': 0.5, 'warmup_epochs': 0.5, 'freeze': FREEZE}
    for num_epochs in (1, 2):
        train(tiny_dir, tmp_path / 'w', num_epochs=num_epochs, **fields)
    train(tiny_dir, tmp_path / 'unbroken', num_epochs=2, **fields)
    assert_equal_bits(params_of(tmp_path / 'w'), params_of(tmp_path / 'unbroken'))


def test_optimizer_and_clipping_leave_out_what_is_frozen():
    fields = {'learning_rate': 0.5, 'weight_decay': 0.1, 'grad_clip_norm': 1.0, 'freeze': ('a',)}
    tiny = make_tiny_config('d', optimizer='momentum', **fields)
    optimizer = train_step.make_optimizer(tiny, train_step.all_hyperparameters(tiny, {}), train_step.Steps(1, 1))
    params = {'a': {'kernel': np.ones(2)}, 'b': {'kernel': np.array([2.0, 0.0])}}
    grads = {'a': {'kernel': np.full(2, 1e6)}, 'b': {'kernel': np.array([3.0, 4.0])}}
    state = optimizer.init(params)
    assert sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim) == 2
    updates, _ = optimizer.update(grads, state, params)
    np.testing.assert_allclose(updates['b']['kernel'], [-0.5 * (0.6 + 0.2), -0.5 * 0.8], rtol=1e-6)
