import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import slr_jax
from slr_jax import (
    checkpoint,
    errors,
    evaluation,
    inference,
    input_pipeline,
    memory,
    models,
    run_log,
    train_lib,
    train_step,
)
from slr_jax import dataset as dataset_lib
from slr_jax import workdir as workdir_lib
from slr_jax.features import Features
from slr_jax.run_group import RunGroupSteps
from slr_jax.train_step import Steps
from tests.conftest import ROOT, make_tiny_config
from tests.workdirs import assert_equal_bits, assert_equal_runs, params_of


@pytest.fixture(scope='module')
def run(tiny_dir, tmp_path_factory):
    """A finished run: workdir, config and what was returned."""
    workdir = tmp_path_factory.mktemp('run') / 'w'
    config = make_tiny_config(tiny_dir, optimizer='adamw', num_epochs=3, keep_published_checkpoints=True)
    return workdir, config, train_lib.train_and_evaluate(config, str(workdir))


def test_what_a_run_writes(run, tiny_dataset):
    workdir, config, best = run
    names = {path.name for path in workdir.iterdir()}
    assert names == {
        'config.json',
        'dataset.json',
        'environment.json',
        'metrics.csv',
        'curves.png',
        'curves.svg',
        'tensorboard',
        'checkpoints',
    }
    table = pd.read_csv(workdir / 'metrics.csv')
    assert table['epoch'].tolist() == [1, 2, 3]
    assert table['step'].tolist() == [4, 8, 12]  # 15 clips, 4 a step
    assert table.notna().all().all()
    assert best['validation_accuracy'] == table['validation_accuracy'].max()
    assert json.loads((workdir / 'config.json').read_text()) == {'format': 1, **config.to_dict()}
    assert json.loads((workdir / 'dataset.json').read_text())['fingerprint'] == tiny_dataset.fingerprint()
    environment = json.loads((workdir / 'environment.json').read_text())
    assert (environment['slr_jax'], environment['jax']) == (slr_jax.__version__, jax.__version__)
    assert any('tfevents' in path.name for path in (workdir / 'tensorboard').iterdir())


def test_a_run_that_continues_in_another_environment_says_so(tiny_dir, run, tmp_path, capsys):
    """Only where a step is left."""
    workdir = shutil.copytree(run[0], tmp_path / 'w')
    began = json.loads((workdir / 'environment.json').read_text())
    (workdir / 'environment.json').write_text(json.dumps({**began, 'cores': 999}))
    for num_epochs, expected in ((3, []), (4, [f'cores is 999 there and {began["cores"]} here'])):
        config = make_tiny_config(tiny_dir, optimizer='adamw', num_epochs=num_epochs, keep_published_checkpoints=True)
        train_lib.train_and_evaluate(config, str(workdir))
        lines = [line for line in capsys.readouterr().out.splitlines() if 'another environment' in line]
        assert [line.split(': ')[-1] for line in lines] == expected


def test_validation_accuracy_is_that_of_the_checkpoint(run, tiny_dataset):
    workdir, config, best = run
    loaded = checkpoint.load_model(str(workdir))
    assert loaded.step == best['step']
    clips = tiny_dataset.splits['validation']
    features = Features.from_config(config, 'mediapipe_hand').compute(clips.landmarks)
    answers = [
        loaded.model.apply({'params': loaded.params}, clip[None], np.ones((1, len(clip)), bool))[0] for clip in features
    ]
    assert np.mean(np.argmax(answers, axis=1) == clips.labels) == pytest.approx(best['validation_accuracy'])
    logits = evaluation.Evaluator(str(workdir), 'validation').logits(loaded)
    np.testing.assert_allclose(logits, answers, atol=1e-5)


def test_same_seed_same_bits_and_a_finished_run_stays_as_it_is(run, tiny_dir, tmp_path):
    workdir, config, best = run
    train_lib.train_and_evaluate(config, str(tmp_path / 'again'))
    assert_equal_bits(params_of(tmp_path / 'again'), params_of(workdir))
    assert train_lib.train_and_evaluate(config, str(workdir))['epoch'] == best['epoch']
    other = make_tiny_config(tiny_dir, optimizer='adamw', num_epochs=3, seed=1)
    train_lib.train_and_evaluate(other, str(tmp_path / 'other'))
    assert (params_of(tmp_path / 'other')['class_query'] != params_of(workdir)['class_query']).any()


def test_published_protocol(run, tmp_path):
    workdir, *_ = run
    metrics = evaluation.evaluate(str(workdir), checkpoint='published', output_dir=str(tmp_path))
    table = pd.read_csv(tmp_path / 'published_protocol.csv')
    assert metrics['accuracy'] == table['test_accuracy'].max()
    assert metrics['selected_on'] == 'test'
    assert 'on the test split itself' in metrics['selected_by']
    assert metrics['selected_on_validation']['selected_by'] == 'the best by validation accuracy'
    kept = checkpoint.Checkpoints(str(workdir)).metrics()
    assert set(table['step']) == checkpoint.published_steps(kept)


def test_kill_and_continue_gives_the_same_bits(tiny_dir, tmp_path):
    settings = {'dataset': tiny_dir, 'num_heads': 7, 'num_layers': 1, 'mlp_dim': 8, 'batch_size': 4, 'num_epochs': 14}
    settings |= {'optimizer': 'momentum', 'schedule': 'cosine', 'bucket_by_length': True}
    options = [f'--config.{field}={value}' for field, value in settings.items()]

    def start(workdir):
        command = [sys.executable, '-m', 'slr_jax.train', '--config=configs/default.py', f'--workdir={workdir}']
        pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
        return subprocess.Popen([*command, *options], cwd=ROOT, text=True, **pipes)

    unbroken = start(tmp_path / 'unbroken')
    unbroken.communicate()
    assert unbroken.returncode == 0
    rng = np.random.default_rng(0)
    workdir = tmp_path / 'broken'
    for epochs, number in ((1, signal.SIGKILL), (6, signal.SIGTERM)):
        process = start(workdir)
        for line in process.stdout:
            if ' | validation loss' in line and int(line.split()[1].split('/')[0]) >= epochs:
                break
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(number)
        _, printed = process.communicate()
        assert process.returncode == (75 if number == signal.SIGTERM else -signal.SIGKILL)
        assert number == signal.SIGKILL or re.match(r'ended by SIGTERM: step \d+, in epoch \d+, is saved', printed)
        assert len(pd.read_csv(workdir / 'metrics.csv')) < 14
    last = start(workdir)
    assert 'going on after step' in last.communicate()[0]
    assert_equal_bits(params_of(workdir, 'best'), params_of(tmp_path / 'unbroken', 'best'))
    assert_equal_runs(workdir, tmp_path / 'unbroken')
    assert not [path for path in (workdir / 'checkpoints').iterdir() if 'tmp' in path.name]
    assert {path.name for path in workdir.iterdir()} == {path.name for path in (tmp_path / 'unbroken').iterdir()}


def terminate_at(monkeypatch, count):
    """Sends SIGTERM to this process before the last of so many batches."""
    counted = itertools.count(1)
    make_batches = RunGroupSteps.batches

    def batches(self, *args):
        for batch in make_batches(self, *args):
            if next(counted) == count:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    monkeypatch.setattr(RunGroupSteps, 'batches', batches)


@pytest.mark.parametrize('seeds', [(), (3, 5)])
def test_sigterm_saves_an_epoch_that_is_not_done(tiny_dir, tmp_path, monkeypatch, seeds):
    config = make_tiny_config(tiny_dir, num_epochs=2, **({'seeds': seeds, 'runs_at_once': 2} if seeds else {}))
    train_lib.train_and_evaluate(config, str(tmp_path / 'unbroken'))
    # Four batches an epoch; a run that goes on assembles those of its epoch again.
    for count, steps_done in ((1, 0), (3, 2), (7, 6)):
        with monkeypatch.context() as patch, pytest.raises(errors.Terminated, match=f'step {steps_done},'):
            terminate_at(patch, count)
            train_lib.train_and_evaluate(config, str(tmp_path / 'w'))
    train_lib.train_and_evaluate(config, str(tmp_path / 'w'))
    for name in map('seed_{}'.format, seeds) if seeds else ('',):
        assert_equal_runs(tmp_path / 'w' / name, tmp_path / 'unbroken' / name)
        assert not (tmp_path / 'w' / name / 'unfinished_epoch').exists()


def test_eight_devices_and_one_give_the_same_losses(tiny_dir, tmp_path):
    settings = {'dropout_rate': 0.0, 'noise_std': 0.0, 'batch_size': 6, 'num_epochs': 3, 'learning_rate': 0.05}
    config = make_tiny_config(tiny_dir, **settings)
    train_lib.train_and_evaluate(config, str(tmp_path / 'one'))
    code = (
        'import jax, json, sys; from tests.conftest import make_tiny_config; from slr_jax import train_lib;'
        'assert jax.local_device_count() == 8;'
        f'train_lib.train_and_evaluate(make_tiny_config({tiny_dir!r}, **{settings!r}), {str(tmp_path / "eight")!r})'
    )
    flags = {'XLA_FLAGS': '--xla_force_host_platform_device_count=8', 'JAX_PLATFORMS': 'cpu'}
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, env=os.environ | flags, check=True, capture_output=True)
    one, eight = (pd.read_csv(tmp_path / name / 'metrics.csv') for name in ('one', 'eight'))
    for column in ('train_loss', 'validation_loss', 'train_accuracy', 'validation_accuracy'):
        np.testing.assert_allclose(eight[column], one[column], atol=1e-5)
    assert one['train_loss'].nunique() == 3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *map(params_of, tmp_path.iterdir()))


def test_devices_of_a_cpu(tiny_dir, tmp_path):
    """The losses are those of one device, the same command gives the same bits, and seeds may have a device each."""
    settings = {'dropout_rate': 0.0, 'noise_std': 0.0, 'batch_size': 6, 'num_epochs': 2, 'learning_rate': 0.05}
    train_lib.train_and_evaluate(make_tiny_config(tiny_dir, **settings), str(tmp_path / 'one'))
    settings['cpu_devices'] = 2
    with pytest.raises(
        errors.InputError, match=r'config.cpu_devices is 2, but jax already runs with 1 .* start another'
    ):
        train_lib.train_and_evaluate(make_tiny_config(tiny_dir, **settings), str(tmp_path / 'late'))
    assert not (tmp_path / 'late').exists()
    printed = {}
    for name, fields in {'two': {}, 'again': {}, 'seeds': {'seeds': (379, 380), 'runs_at_once': 2}}.items():
        code = (
            'from tests.conftest import make_tiny_config; from slr_jax import train_lib;'
            f'train_lib.train_and_evaluate(make_tiny_config({tiny_dir!r}, **{settings | fields!r}), '
            f'{str(tmp_path / name)!r})'
        )
        command = [sys.executable, '-c', code]
        environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
        printed[name] = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert '2 device(s)' in printed['two'].stdout
    assert '2 runs, 2 at once' in printed['seeds'].stdout
    one, two, seed = (pd.read_csv(tmp_path / name / 'metrics.csv') for name in ('one', 'two', 'seeds/seed_379'))
    for column in ('train_loss', 'validation_loss'):
        np.testing.assert_allclose(two[column], one[column], atol=1e-5)
        np.testing.assert_allclose(seed[column], one[column], atol=1e-5)
    assert_equal_runs(tmp_path / 'two', tmp_path / 'again')


@pytest.mark.parametrize(
    ('max_pairs', 'class_weights'),
    [
        (2**23, None),
        (2 * 26**2, (0.5, 2, 1)),
        pytest.param(2 * 26**2, None, marks=pytest.mark.long),
        pytest.param(2**23, (0.5, 2, 1), marks=pytest.mark.long),
    ],
)
def test_a_step_learns_from_the_mean_over_real_clips(tiny_dir, monkeypatch, max_pairs, class_weights):
    """One SGD step on a part batch, whole or in parts that fit in memory, against gradients of single clips."""
    monkeypatch.setattr(memory, '_MAX_PAIRS', max_pairs)
    config = make_tiny_config(tiny_dir, dropout_rate=0.0, noise_std=0.0, learning_rate=0.1, label_smoothing=0.1)
    dataset = dataset_lib.load_dataset(tiny_dir)
    clips = dataset.splits['train'].take([0, 1, 2])
    features = Features.from_config(config, 'mediapipe_hand').compute(clips.landmarks)
    model = models.model_from_config(config, 3)
    steps = RunGroupSteps(config, 3, Steps(4, 4), 1)
    state = steps.initial_state(42, 0, {})
    before = jax.tree.map(np.asarray, state.params)

    def loss_fn(params, clip, label):
        logits = model.apply({'params': params}, clip[None], jnp.ones((1, len(clip)), bool))[0]
        targets = jnp.full(3, 0.1 / 3).at[label].add(0.9)
        weight = 1 if class_weights is None else class_weights[label]
        return -weight * (targets * jax.nn.log_softmax(logits)).sum()

    results = [jax.value_and_grad(loss_fn)(before, *pair) for pair in zip(features, clips.labels, strict=True)]
    expected = jax.tree.map(lambda p, *g: p - 0.1 * sum(g) / 3, before, *(grads for _, grads in results))
    (batch,) = input_pipeline.batches(features, clips.labels, np.arange(3), 5, jax.local_device_count())
    arguments = {} if class_weights is None else {'class_weights': jnp.array(class_weights, jnp.float32)}
    state, sums = steps.train_step(state, batch, jax.random.key(0), arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.params, expected)
    assert float(sums['clips']) == 3
    assert float(sums['loss']) == pytest.approx(sum(float(loss) for loss, _ in results), abs=1e-4)


def test_a_clip_that_cannot_fit_in_memory_is_named(tiny_dir, tiny_dataset, tmp_path, monkeypatch):
    config = make_tiny_config(tiny_dir, num_epochs=1)
    train_lib.train_and_evaluate(config, str(tmp_path / 'run'))
    monkeypatch.setattr(memory, '_available_bytes', lambda: 1000)
    for split, act in {
        'train': lambda: train_lib.train_and_evaluate(config, str(tmp_path / 'other')),
        'test': lambda: evaluation.evaluate(str(tmp_path / 'run')),
    }.items():
        clips = tiny_dataset.splits[split]
        number = int(np.argmax([len(clip) for clip in clips.landmarks]))
        frames = len(clips.landmarks[number])
        with pytest.raises(errors.InputError, match=rf'{clips.video_ids[number]} has {frames} frames.*max_frames'):
            act()
    assert not (tmp_path / 'other').exists()


def test_answers_do_not_depend_on_how_much_is_computed_at_once(tiny_dir, tmp_path, monkeypatch):
    config = make_tiny_config(tiny_dir, num_epochs=1)
    train_lib.train_and_evaluate(config, str(tmp_path / 'run'))
    clips = dataset_lib.load_dataset(tiny_dir).splits['test'].landmarks
    expected = checkpoint.load_model(str(tmp_path / 'run')).logits(clips)
    inference.mapped_eval_step.cache_clear()
    monkeypatch.setattr(memory, '_MAX_PAIRS', 1)
    np.testing.assert_allclose(checkpoint.load_model(str(tmp_path / 'run')).logits(clips), expected, atol=1e-5)
    inference.mapped_eval_step.cache_clear()


@pytest.mark.parametrize('num_runs', [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_step_is_compiled_once(tiny_dir, caplog, num_runs):
    config, dataset = make_tiny_config(tiny_dir), dataset_lib.load_dataset(tiny_dir)
    steps = RunGroupSteps(config, dataset.description.num_classes, Steps(4, 8), num_runs)
    state = steps.stack_and_place([steps.initial_state(42, seed, {}) for seed in range(num_runs)])
    keys, swept = steps.stack([jax.random.key(seed) for seed in range(num_runs)]), steps.stack([{}] * num_runs)
    clips = dataset.splits['train']
    features = Features.from_config(config, 'mediapipe_hand').compute(clips.landmarks)
    (batch,) = steps.batches([(features, clips.labels, np.arange(4))] * num_runs)
    with jax.log_compiles():
        for _ in range(3):
            state, _ = steps.train_step(state, batch, keys, swept)
    assert len([record for record in caplog.records if record.getMessage().startswith('Compiling')]) == 1


def test_learning_rates():
    config = make_tiny_config('d', learning_rate=1.0, schedule='cosine', warmup_epochs=0.4)
    schedule = train_step.learning_rate_schedule(config, train_step.all_hyperparameters(config, {}), Steps(10, 24))
    rates = [float(schedule(step)) for step in range(25)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert rates[14] == pytest.approx(0.5)
    assert rates[24] == pytest.approx(0, abs=1e-6)
    config = make_tiny_config('d')
    constant = train_step.learning_rate_schedule(config, train_step.all_hyperparameters(config, {}), Steps(10, 100))
    assert float(constant(0)) == float(constant(99)) == pytest.approx(0.001)


@pytest.mark.parametrize('optimizer', ['sgd', 'momentum', 'adamw'])
def test_optimizers(optimizer):
    config = make_tiny_config('d', optimizer=optimizer, learning_rate=0.5, weight_decay=0.1, grad_clip_norm=1.0)
    hyperparameters = train_step.all_hyperparameters(config, {})
    transformation = train_step.make_optimizer(config, hyperparameters, Steps(1, 1))
    params = {'kernel': jnp.array([2.0, 0.0]), 'bias': jnp.array([2.0])}
    grads = {'kernel': jnp.array([3.0, 0.0]), 'bias': jnp.array([4.0])}  # of norm 5, clipped to 0.6, 0 and 0.8
    updates, _ = transformation.update(grads, transformation.init(params), params)
    if optimizer == 'adamw':  # the first step is the sign of the gradient
        expected = [-0.5 * (1 + 0.1 * 2), 0], [-0.5]
    else:
        expected = [-0.5 * (0.6 + 0.1 * 2), 0], [-0.5 * 0.8]
    np.testing.assert_allclose(updates['kernel'], expected[0], atol=1e-5)
    np.testing.assert_allclose(updates['bias'], expected[1], atol=1e-5)


@pytest.mark.long
def test_steps_and_early_stop(tiny_dir, tmp_path):
    train_lib.train_and_evaluate(make_tiny_config(tiny_dir, num_steps=6), str(tmp_path / 'steps'))
    assert pd.read_csv(tmp_path / 'steps' / 'metrics.csv')['step'].tolist() == [4, 6]
    config = make_tiny_config(tiny_dir, learning_rate=1e-12, num_epochs=9, early_stop_epochs=2)
    train_lib.train_and_evaluate(config, str(tmp_path / 'early'))
    assert len(pd.read_csv(tmp_path / 'early' / 'metrics.csv')) == 3


def test_without_validation_the_latest_is_the_best(tiny_dir, tmp_path):
    train_lib.train_and_evaluate(make_tiny_config(tiny_dir, validation='none'), str(tmp_path / 'w'))
    loaded = checkpoint.load_model(str(tmp_path / 'w'), 'best')
    assert loaded.step == 8
    assert 'no validation' in loaded.selected_by
    assert pd.read_csv(tmp_path / 'w' / 'metrics.csv')['validation_loss'].isna().all()


def test_another_run_is_refused(run, tiny_dataset):
    workdir, config, _ = run
    other = config.copy_and_resolve_references()
    other.batch_size, other.normalize = 2, 'centered'
    with pytest.raises(errors.InputError, match=r"batch_size.*\b4\b.*\b2\b.*config\.normalize.*'none'"):
        workdir_lib.create_or_check(str(workdir), other, tiny_dataset.summary())
    fewer = dataset_lib.Dataset(tiny_dataset.description, {'train': tiny_dataset.splits['train']})
    with pytest.raises(errors.InputError, match=r'dataset\.'):
        workdir_lib.create_or_check(str(workdir), config, fewer.summary())
    config.dataset = '/elsewhere/the/same/data'
    workdir_lib.create_or_check(str(workdir), config, tiny_dataset.summary())


def test_a_run_that_diverges_stops(tiny_dir, tmp_path):
    config = make_tiny_config(tiny_dir, learning_rate=1e38)
    with pytest.raises(errors.InputError, match=r'\bloss\b.* [23]\b.*\b(nan|inf)\b'):
        train_lib.train_and_evaluate(config, str(tmp_path / 'w'))


def age(workdir, target):
    """Copies a workdir as slr_jax 0.1.0 would have written it, which had fewer fields and other names."""
    shutil.copytree(workdir, target)
    config = json.loads((target / 'config.json').read_text())
    del config['format'], config['label_smoothing']
    config |= {'validation': 'from_file', 'missing_value': -2.0, 'num_seeds': 1}
    (target / 'config.json').write_text(json.dumps(config))
    dataset = json.loads((target / 'dataset.json').read_text())
    description = dataset['description']
    description |= {'hand_names': 'anatomical', 'known_points': description['informative_points']}
    del description['handedness'], description['informative_points']
    (target / 'dataset.json').write_text(json.dumps(dataset))


def test_an_older_workdir_loads_and_lacks_nothing(run, tmp_path):
    workdir, *_ = run
    age(workdir, tmp_path / 'old')
    old, new = (checkpoint.load_model(str(path)) for path in (tmp_path / 'old', workdir))
    assert old.config.label_smoothing == 0.0
    assert old.config.validation == 'split'
    assert (old.features.missing_value, old.description) == (-2.5, new.description)
    clip = np.random.default_rng(0).uniform(0, 1, (9, 21, 3)).astype(np.float32)
    clip[3] = np.nan
    assert old.predict(clip) == new.predict(clip)


def test_a_metrics_csv_without_a_newer_column_is_read(tmp_path):
    (tmp_path / 'metrics.csv').write_text('epoch,step,train_loss,train_accuracy,learning_rate,clips_per_second,old\n')
    with open(tmp_path / 'metrics.csv', 'a', encoding='utf-8') as file:
        file.write('1,4,1.5,0.25,0.001,9.0,7\n')
    (row,) = run_log.read_rows(str(tmp_path / 'metrics.csv'), 1)
    assert row['validation_loss'] is None
    assert (row['train_loss'], row['old']) == (1.5, 7)


def test_predict_gives_glosses_with_probabilities(run, tiny_dataset):
    workdir, *_ = run
    loaded = checkpoint.load_model(str(workdir))
    clips = tiny_dataset.splits['test'].landmarks
    answers = loaded.predict(clips)
    logits = evaluation.Evaluator(str(workdir)).logits(loaded)
    for answer, row in zip(answers, logits, strict=True):
        expected = np.exp(row) / np.exp(row).sum()
        assert [gloss for gloss, _ in answer] == [f'sign_{label}' for label in np.argsort(-row)]
        np.testing.assert_allclose([p for _, p in answer], np.sort(expected)[::-1], rtol=1e-4)
    alone = loaded.predict(clips[0], k=2)
    assert [gloss for gloss, _ in alone] == [gloss for gloss, _ in answers[0][:2]]
    with pytest.raises(errors.InputError, match=r'\(9, 20, 3\).*21'):
        loaded.predict(np.zeros((9, 20, 3), np.float32))
