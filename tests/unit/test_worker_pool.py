"""Worker processes that die, hang, fail and lose their parent."""

import functools
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from preprocessing.extraction import worker_pool
from slr_jax import errors
from tests import ROOT  # not of conftest, whose imports would take most of the time of each process

LONG = 600.0
KILLED = 'the worker process was ended by SIGKILL'
CRASHED = 'the worker process was ended by SIGSEGV'


def start(directory):
    (pathlib.Path(directory) / f'started_{os.getpid()}').touch()
    return functools.partial(work, pathlib.Path(directory))


def work(directory, items):
    for item in items:
        do(item.split()[0], directory / item.replace(' ', '_'))
        yield f'{item} by {os.getpid()}'


def do(what, mark):
    again = mark.exists()
    mark.touch()
    if what in ('SIGKILL', 'SIGSEGV') or (what in ('SIGKILL-once', 'SIGSEGV-once') and not again):
        os.kill(os.getpid(), signal.Signals[what.removesuffix('-once')])
        time.sleep(LONG)
    if what == 'exit':
        os._exit(3)
    if what == 'meet':
        number = int(mark.name.split('_')[1])
        assert wait_until(lambda: len(list(mark.parent.glob('started_*'))) == number, 60)
    if what == 'sleep':
        time.sleep(LONG)
    if what == 'raise':
        raise ValueError(f'{mark.name} is\nnot to be')
    if what == 'stop':
        raise errors.InputError(f'{mark.name} stops all')


def start_that_dies():
    os._exit(3)


def start_that_raises():
    raise ValueError('no start')


def start_that_stops():
    raise errors.InputError('no such model')


def start_slowly(directory):
    time.sleep(2)
    return start(directory)


def run(tmp_path, tasks, num_workers=1, time_limit=LONG):
    """Item -> its result, without the process, or its failure; and the processes by item."""
    results = {}
    found = list(worker_pool.run_tasks(tasks, functools.partial(start, str(tmp_path)), num_workers, time_limit))
    assert len(found) == len({item for item, _ in found})
    for item, result in found:
        results[item] = result if isinstance(result, worker_pool.Failure) else result.split(' by ')
    answers = {
        item: result if isinstance(result, worker_pool.Failure) else result[0] for item, result in results.items()
    }
    processes = {item: result[1] for item, result in results.items() if not isinstance(result, worker_pool.Failure)}
    assert multiprocessing.active_children() == []
    return answers, processes


def same(items):
    return {item: item for item in items}


def wait_until(holds, seconds):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def runs(path):
    """Whether a process lives; those that ended may wait to be noticed."""
    try:
        return (path / 'stat').read_text().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except OSError:
        return False


@pytest.mark.parametrize('num_workers', [1, 3])
def test_all_results_come_each_task_in_its_order(tmp_path, num_workers):
    tasks = [[f'item {task} {number}' for number in range(task % 4 + 1)] for task in range(8)]
    tasks[0] = [f'meet {num_workers}', *tasks[0]]
    answers, processes = run(tmp_path, tasks, num_workers)
    items = [item for task in tasks for item in task]
    assert answers == same(items)
    if num_workers == 1:
        assert list(answers) == items
    for task in tasks:
        assert [item for item in answers if item in task] == task
        assert len({processes[item] for item in task}) == 1
    assert len(list(tmp_path.glob('started_*'))) == num_workers


def test_no_more_workers_than_tasks(tmp_path):
    answers, _ = run(tmp_path, [['item 1', 'item 2']], num_workers=3)
    assert answers == same(['item 1', 'item 2'])
    assert len(list(tmp_path.glob('started_*'))) == 1


def test_no_tasks_need_no_worker(tmp_path):
    assert run(tmp_path, [], num_workers=2) == ({}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('number', ['SIGKILL', 'SIGSEGV'])
@pytest.mark.parametrize('num_workers', [1, 2])
def test_an_item_whose_worker_dies_once_is_done_in_another(tmp_path, number, num_workers):
    task = ['item 1', f'{number}-once', 'item 2']
    answers, processes = run(tmp_path, [task, ['item 3']], num_workers)
    assert answers == same([*task, 'item 3'])
    assert [item for item in answers if item in task] == task
    assert processes['item 1'] != processes[f'{number}-once'] == processes['item 2']


def test_an_item_that_always_kills_its_worker_is_given_up(tmp_path):
    tasks = [['item 1', 'SIGKILL', 'item 2'], ['SIGSEGV', 'item 3'], ['exit', 'item 4'], ['item 5']]
    answers, _ = run(tmp_path, tasks, num_workers=2)
    failures = {
        'SIGKILL': worker_pool.Failure(KILLED),
        'SIGSEGV': worker_pool.Failure(CRASHED),
        'exit': worker_pool.Failure('the worker process ended with status 3'),
    }
    assert answers == same(item for task in tasks for item in task) | failures


@pytest.mark.parametrize('num_workers', [1, 2])
def test_an_item_that_takes_too_long_is_given_up_at_once(tmp_path, num_workers):
    begin = time.monotonic()
    answers, _ = run(tmp_path, [['item 1', 'sleep', 'item 2'], ['item 3']], num_workers, time_limit=1.5)
    failure = answers.pop('sleep')
    assert answers == same(['item 1', 'item 2', 'item 3'])
    assert failure.reason == 'it took longer than 1.5 s'
    assert 1.5 <= time.monotonic() - begin < 30


def test_starting_does_not_count_as_time_of_an_item(tmp_path):
    begin = functools.partial(start_slowly, str(tmp_path))
    found = [
        item for item, result in worker_pool.run_tasks([['item 1'], ['item 2']], begin, 1, 0.5) if 'item' in result
    ]
    assert found == ['item 1', 'item 2']
    assert len(list(tmp_path.glob('started_*'))) == 1


def test_an_error_fails_its_item_alone_and_the_worker_goes_on(tmp_path):
    task = ['item 1', 'raise 1', 'item 2', 'raise 2', 'item 3']
    answers, processes = run(tmp_path, [task, ['item 4']])
    failures = {f'raise {i}': worker_pool.Failure(f'raise_{i} is not to be') for i in (1, 2)}
    assert answers == same(['item 1', 'item 2', 'item 3', 'item 4']) | failures
    assert list(answers) == [*task, 'item 4']
    assert len(set(processes.values())) == len(list(tmp_path.glob('started_*'))) == 1


def test_an_input_error_of_an_item_stops_everything(tmp_path):
    found = []
    with pytest.raises(errors.InputError, match=r'^stop stops all$'):
        for item, _ in worker_pool.run_tasks(
            [['item 1', 'stop', 'item 2']], functools.partial(start, str(tmp_path)), 1, LONG
        ):
            found.append(item)
    assert found == ['item 1']
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ('begin', 'words'),
    [
        (start_that_stops, '^no such model$'),
        (start_that_raises, '^a worker process cannot work: no start$'),
        (start_that_dies, '^no worker process can start: the worker process ended with status 3$'),
    ],
)
def test_workers_that_cannot_start_stop_everything(begin, words):
    with pytest.raises(errors.InputError, match=words):
        list(worker_pool.run_tasks([['item 1'], ['item 2']], begin, 2, LONG))
    assert multiprocessing.active_children() == []


def test_results_that_are_not_taken_leave_no_processes(tmp_path):
    results = worker_pool.run_tasks(
        [['item 1'], ['item 2'], ['sleep']], functools.partial(start, str(tmp_path)), 2, LONG
    )
    next(results)
    assert len(multiprocessing.active_children()) == 2
    results.close()
    assert multiprocessing.active_children() == []


def test_an_error_of_the_caller_leaves_no_processes(tmp_path):
    def take():
        for _ in worker_pool.run_tasks([['item 1'], ['sleep']], functools.partial(start, str(tmp_path)), 2, LONG):
            raise KeyError('mine')

    with pytest.raises(KeyError, match='mine'):
        take()
    assert multiprocessing.active_children() == []


def test_workers_end_with_their_parent(tmp_path):
    script = (
        'import functools, sys\n'
        'from preprocessing.extraction import worker_pool\n'
        'from tests.unit import test_worker_pool\n'
        'if __name__ == "__main__":\n'
        '    start = functools.partial(test_worker_pool.start, sys.argv[1])\n'
        '    list(worker_pool.run_tasks([["sleep 1"], ["sleep 2"]], start, 2, 600))\n'
    )
    (tmp_path / 'parent.py').write_text(script)
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    with subprocess.Popen([sys.executable, str(tmp_path / 'parent.py'), str(tmp_path)], env=environment) as parent:
        assert wait_until(lambda: len(list(tmp_path.glob('sleep_*'))) == 2, 60)
        processes = [pathlib.Path('/proc', path.name.split('_')[1]) for path in tmp_path.glob('started_*')]
        assert len(processes) == 2
        assert all(map(runs, processes))
        parent.kill()
    assert wait_until(lambda: not any(map(runs, processes)), 2)
