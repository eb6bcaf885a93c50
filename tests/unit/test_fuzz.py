"""Damaged files: what counts as a failure, and a few of every kind; `python -m experiments.fuzz` tries thousands."""

import contextlib
import csv
import json
import os

from absl import flags
import numpy as np
import pytest

from experiments import fuzz
from experiments.fuzz import KINDS
from experiments.fuzzing import mutations, trial
from slr_jax import errors
from tests import failing_readers

# Packages without which a kind cannot be read.
EXTRAS = {'video': 'av', 'task': 'cv2', 'mediapipe': 'mediapipe', 'pose': 'pose_format'}


def try_readers(readers, seconds, output_dir):
    kind = trial.Kind('readers', failing_readers.write_whole, [trial.Source(x.__name__, x) for x in readers])
    limits = trial.Limits(seconds, memory=100_000_000)
    row, failures = fuzz.try_kind(kind, 0, range(len(readers)), limits, str(output_dir))
    assert row['files'] == row['read'] + row['refused'] + row['failures'] == len(readers)
    for failure in failures:
        with open(os.path.join(failure['folder'], failure['file']), 'rb') as file:
            assert file.read() != failing_readers.WHOLE
    return row, {failure['file']: failure for failure in failures}


@pytest.mark.slow
def test_every_way_to_fail_is_found(tmp_path):
    row, failures = try_readers(failing_readers.READERS, 60, tmp_path)
    assert (row['read'], row['refused']) == (1, 1)
    assert {name: failure['failure'] for name, failure in failures.items()} == {
        'refuse_without_name': 'sentence',
        'raise_other': 'traceback',
        'die': 'died',
        'grow': 'memory',
        'keep_growing': 'memory',
    }
    assert 'ValueError: damaged' in failures['raise_other']['message']
    # Where the process was.
    assert 'in die' in failures['die']['message']


@pytest.mark.slow
def test_a_reader_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, '_PATIENCE', 3)
    _, failures = try_readers(failing_readers.HANGING, 1, tmp_path)
    assert {name: failure['failure'] for name, failure in failures.items()} == {'wait': 'hang', 'spin': 'hang'}
    assert all(f'in {name}' in failure['message'] for name, failure in failures.items())


@pytest.mark.parametrize(
    ('read', 'words'),
    [(failing_readers.run_pickle, 'expected a refusal'), (failing_readers.run_pickle_and_refuse, 'a pickle was run')],
)
def test_a_reader_that_runs_a_pickle_is_found(read, words, tmp_path):
    kind = trial.Kind('pickles', failing_readers.write_pickle, (trial.Source('hostile', read, is_refused=True),))
    assert words in trial.prepare(kind, str(tmp_path))


def test_a_damaged_pickle_that_is_run_is_a_failure(tmp_path):
    kind = trial.Kind('pickles', failing_readers.write_pickle, (trial.Source('hostile', failing_readers.run_pickle),))
    os.mkdir(tmp_path / trial.ORIGINALS)
    failing_readers.write_pickle(str(tmp_path / trial.ORIGINALS))
    copy = trial.Copy(str(tmp_path))
    outcomes = [trial.try_file(kind, copy, 0, index) for index in range(40)]
    assert 'executed' in {outcome.failure for outcome in outcomes}
    assert not os.path.exists(tmp_path / trial.ORIGINALS / trial.CANARY)


def test_a_module_that_a_damaged_file_names_is_found(tmp_path):
    kind = trial.Kind('names', failing_readers.write_name, (trial.Source('names.json', failing_readers.import_name),))
    assert trial.prepare(kind, str(tmp_path)) == ''
    copy = trial.Copy(str(tmp_path))
    failures = {trial.try_file(kind, copy, 0, index).failure for index in range(300)}
    assert failures == {'', 'executed'}


@pytest.mark.parametrize(
    ('sentence', 'problem'),
    [
        ('a/b is damaged', ''),
        ('c.npz is damaged', ''),
        ('tiny: clip b is damaged', ''),
        ('it is damaged', 'no file'),
        ('a/b is\ndamaged', 'printable'),
        ('a/b is \x1b[31m', 'printable'),
        ('', '0 characters'),
        ('/' * 3000, '3000 characters'),
    ],
)
def test_what_is_one_sentence(sentence, problem):
    found = trial.find_problem(sentence, 'folder/c.npz')
    assert problem in found
    assert bool(problem) == bool(found)


# torch and safetensors are tried in test_import_torch.
SLOW = ('torch', 'safetensors', 'mediapipe', 'workdir', 'tfds', 'export')


@pytest.mark.parametrize(
    'kind', [pytest.param(kind, marks=[pytest.mark.slow] * (name in SLOW), id=name) for name, kind in KINDS.items()]
)
def test_damaged_files_are_read_or_refused(kind, tmp_path):
    if kind.name in EXTRAS:
        pytest.importorskip(EXTRAS[kind.name])
    assert trial.prepare(kind, str(tmp_path)) == ''
    copy = trial.Copy(str(tmp_path))
    count = len(kind.sources) * (1 if kind.name == 'mediapipe' else 2)
    outcomes = [trial.try_file(kind, copy, 7, index) for index in range(count)]
    assert [outcome for outcome in outcomes if outcome.failure] == []
    assert any(outcome.message for outcome in outcomes)


@pytest.mark.parametrize('name', ['npz', 'spoter_csv', 'wlasl', 'torch'])
def test_the_same_seed_damages_the_same_way(name, tmp_path):
    kind = KINDS[name]
    os.mkdir(tmp_path / trial.ORIGINALS)
    kind.write(str(tmp_path / trial.ORIGINALS))
    contents = []
    for seed, index in ((3, 1), (3, 2), (3, 1)):
        copy = trial.Copy(str(tmp_path))
        damaged = copy.damage(trial.draw(kind, seed, index), kind.sources[0])
        with open(os.path.join(copy.path, damaged), 'rb') as file:
            contents.append(file.read())
    assert contents[0] == contents[2] != contents[1]


def test_json_stays_json():
    rng, data = np.random.default_rng(0), json.dumps({'a': [1, {'b': 'text'}], 'c': None}).encode()
    parsed = 0
    for _ in range(100):
        with contextlib.suppress(ValueError, RecursionError):
            parsed += json.loads(mutations.mutate(rng, data)) != json.loads(data)
    assert parsed > 40


@pytest.fixture
def parse():
    """Parses the options of the command."""
    before = set(flags.FLAGS)
    fuzz._define_flags()
    yield lambda *options: flags.FLAGS(['fuzz', *options])
    flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
    flags.FLAGS.unparse_flags()


def test_failures_end_with_status_1(parse, monkeypatch, tmp_path):
    kind = trial.Kind(
        'readers', failing_readers.write_whole, (trial.Source('raise_other', failing_readers.raise_other),), count=2
    )
    monkeypatch.setattr(fuzz, 'KINDS', {'readers': kind})
    monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
    parse('--kinds=readers', f'--output_dir={tmp_path}')
    with pytest.raises(SystemExit, match=f'2 of 2 damaged files failed, see {tmp_path}'):
        fuzz.main()
    with open(tmp_path / 'failures.csv', newline='', encoding='utf-8') as file:
        assert [row['failure'] for row in csv.DictReader(file)] == ['traceback'] * 2
    assert '| readers | 2 | 0 | 0 |' in (tmp_path / 'fuzz.md').read_text()


def test_an_unknown_kind_is_refused(parse):
    parse('--kinds=npz,tar')
    with pytest.raises(errors.InputError, match="--kinds has 'tar', expected some of torch"):
        fuzz.main()
