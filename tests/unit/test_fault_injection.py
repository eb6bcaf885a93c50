"""The faults themselves, on small commands that write well or badly, so that what they report is known."""

import dataclasses
import signal
import subprocess
import sys

import numpy as np
import pytest

from experiments import fault_injection
from experiments.faults import folders, outputs, processes
from experiments.faults.commands import Command, World
from preprocessing.formats import tfds_writer
from slr_jax import errors
from tests.conftest import ROOT

WELL = """
import os, sys, time
from slr_jax import files
with files.only_writer(sys.argv[1]), files.replace_files_in(sys.argv[1]) as scratch:
    for name in 'abc':
        with open(os.path.join(scratch, name), 'w') as file:
            file.write(name * 9000)
        time.sleep(0.05)
"""
HALF_WRITTEN = """
import os, sys, time
os.makedirs(sys.argv[1], exist_ok=True)
with open(os.path.join(sys.argv[1], 'a'), 'w') as file:
    for _ in range(10):
        file.write('a' * 9000)
        file.flush()
        time.sleep(0.05)
"""
WITH_A_STRAY = WELL + "open(os.path.join(sys.argv[1], 'b.unfinished'), 'w')"
WITH_A_CHILD = WELL.replace('import os', 'import subprocess, os').replace(
    'for name', "child = subprocess.Popen(['sleep', '60'])\n    for name"
)
CHILD_ENDS = '\nchild.kill()\n'


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '')
    return World(str(tmp_path / 'data'), seed=1, num_epochs=2)


def add(world, script):
    command = Command('small', lambda output: [[sys.executable, '-c', script, output]])
    world.commands = {'small': command}
    return command


def run(case, world, num_kills=1):
    return case(world, np.random.default_rng(1), num_kills)


def test_kills_that_hit_are_counted_and_nothing_is_wrong(world):
    add(world, WELL)
    outcome = run(processes.kill('small', 1.0), world, num_kills=3)
    assert outcome.failures == []
    assert outcome.hit == 3 == sum(outcome.where[where] for where in ('while writing', 'between writes'))
    assert outcome.tried == sum(outcome.where.values())


HEEDS = """
import signal
def end(number, _):
    sys.stderr.write('ended by SIG')
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
"""


@pytest.mark.parametrize(
    ('number', 'first', 'is_clean'),
    [(signal.SIGTERM, HEEDS, True), (signal.SIGINT, HEEDS, True), (signal.SIGTERM, '', False)],
)
def test_signals_have_to_leave_nothing(world, first, is_clean, number):
    add(world, f'import sys\n{first}{WELL}')
    outcome = run(processes.kill('small', 1.0, number), world)
    assert (outcome.where['cleaned up'] > 0) == is_clean
    assert (outcome.failures == []) == is_clean


@pytest.mark.slow
def test_a_half_written_file_is_found(world):
    add(world, HALF_WRITTEN)
    outcome = run(processes.kill('small', 1.0), world, num_kills=2)
    assert any('kill' in failure and 'a differs' in failure for failure in outcome.failures)
    assert list((ROOT / world.path('failed')).iterdir())


@pytest.mark.slow
def test_a_process_that_lives_on_is_found(world, monkeypatch):
    monkeypatch.setattr(processes, '_CHILD_SECONDS', 0.2)
    add(world, WITH_A_CHILD + CHILD_ENDS)
    outcome = run(processes.kill('small', 1.0), world)
    assert any('still run' in failure for failure in outcome.failures)


def test_runs_that_differ_undisturbed_are_no_measure(world):
    add(world, 'import time\n' + WELL.replace('name * 9000', 'str(time.time())'))
    with pytest.raises(errors.InputError, match=r'undisturbed runs of small differ: a differs'):
        run(processes.kill('small', 1.0), world)


def test_a_stray_file_is_found(world, tmp_path):
    command = add(world, WITH_A_STRAY)
    expected = tmp_path / 'expected'
    expected.mkdir()
    for name in 'abc':
        (expected / name).write_text(name * 9000)
    assert command.run(str(tmp_path / 'output')).status == 0
    assert command.compare(str(tmp_path / 'output'), str(expected)) == ['b.unfinished is surplus']


def test_a_second_command(world):
    add(world, WELL)
    outcome = run(processes.run_twice('small'), world)
    # The small command shows a traceback where it is refused.
    (failure,) = outcome.failures
    assert 'one sentence' in failure
    assert 'writes to' in failure
    assert outcome.where == {'second refused': 1}


@pytest.mark.slow
def test_a_full_disk(world):
    add(world, WELL)
    case = fault_injection.Case('full', 'small', folders.fill_disk('small'))
    row = fault_injection.run_case(case, world, seed=1, num_kills=1)
    if row['outcome'] == 'left out':
        assert 'mounted' in row['left_out']
        pytest.skip(row['left_out'])
    assert row['hit'] == 3
    assert all('No space left on device' in failure for failure in row['failures'])
    assert not any('then with space' in failure for failure in row['failures'])


def test_names_of_cases(world):
    cases = fault_injection.make_cases(world)
    names = [case.name for case in cases]
    assert len(set(names)) == len(names)
    assert {case.fault for case in fault_injection.choose(cases, ['full/train', 'twice'])} == {'full', 'twice'}
    assert fault_injection.choose(cases, []) == cases
    with pytest.raises(errors.InputError, match=r'--only\b.*fulll.*full/train'):
        fault_injection.choose(cases, ['fulll'])


def test_tables_name_what_failed_and_how_to_see_it_again(tmp_path):
    row = {'fault': 'kill', 'command': 'train', 'tried': 3, 'hit': 2, 'where': 'while writing 2', 'outcome': 'failed'}
    row |= {'minutes': 1.0, 'failures': ['kill 2: a differs'], 'left_out': '', 'seed': 5, 'kills': 2}
    fault_injection.write_tables([row], str(tmp_path))
    text = (tmp_path / 'faults.md').read_text()
    assert '| kill | train | 3 | 2 | while writing 2 | failed | 1.0 |' in text
    assert '- kill/train, `--only=kill/train --seed=5 --kills=2`: kill 2: a differs' in text
    assert len((tmp_path / 'faults.csv').read_text().splitlines()) == 2


def test_datasets_are_compared_by_their_clips(tiny_dataset, tmp_path):
    clips = tiny_dataset.splits['test']
    other = dataclasses.replace(clips, landmarks=[clip + np.float32(0.001) for clip in clips.landmarks])
    moved = dataclasses.replace(tiny_dataset, splits={**tiny_dataset.splits, 'test': other})
    for name, dataset in (('one', tiny_dataset), ('same', tiny_dataset), ('moved', moved)):
        tfds_writer.write_dataset(dataset, str(tmp_path / name))
    one, same, moved = (str(tmp_path / name) for name in ('one', 'same', 'moved'))
    assert outputs.compare_files(one, same) == []
    assert outputs.compare_files(moved, one) == [f'{moved}/tiny/1.0.0 has other clips']
    (tmp_path / 'same' / 'tiny' / '1.0.0' / 'tiny-test.array_record-00000-of-00001').write_bytes(b'')
    (problem,) = outputs.compare_files(same, one, partial=True)
    assert f'{same}/tiny/1.0.0 cannot be read' in problem


def test_a_command_that_cannot_be_run_is_a_failure(world):
    add(world, 'raise SystemExit(3)')
    case = fault_injection.Case('kill', 'small', processes.kill('small', 1.0))
    row = fault_injection.run_case(case, world, seed=1, num_kills=1)
    assert row['outcome'] == 'failed'
    assert 'small cannot be run undisturbed' in row['failures'][0]


def test_temporary_names():
    assert outputs.is_temporary('checkpoints/4.orbax-checkpoint-tmp/params')
    assert outputs.is_temporary('metrics.csv.unfinished')
    assert not outputs.is_temporary('checkpoints/4/params')


@pytest.mark.long
def test_a_command_of_the_project(tmp_path):
    flags = [f'--output_dir={tmp_path}', '--only=twice/build_dataset']
    done = subprocess.run(
        [sys.executable, '-m', 'experiments.fault_injection', *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert f'written to {tmp_path}' in done.stdout
    (row,) = (tmp_path / 'faults.csv').read_text().splitlines()[1:]
    assert row.split(',')[:2] == ['twice', 'build_dataset']
    assert 'as expected' in row
