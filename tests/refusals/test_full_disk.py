"""Commands that run into a full disk: one sentence, and nothing half-written."""

import contextlib
import os
import resource

import jax
import pytest

from slr_jax import dataset
from slr_jax import workdir as workdir_lib
from tests import in_process
from tests.refusals import world as world_lib

EXPORT = 'preprocessing.export_dataset --output={out} --dataset={w}/data/tiny'
TRAIN = 'slr_jax.train --workdir={out} --config={root}/configs/synthetic.py --config.dataset={w}/data/tiny'

CASES = {
    'build_dataset': (
        'preprocessing.build_dataset --name=bad --data_dir={out} --source=npz --input={w}/npz/good.npz',
        '/out/bad/1.0.0',
    ),
    'export_dataset to npz': (EXPORT + ' --format=npz', '/out'),
    'export_dataset to CSV': (EXPORT + ' --format=spoter_csv', '/out'),
    'synthetic': (
        'preprocessing.synthetic --data_dir={out} --num_classes=2 --clips_per_class=10,1,1',
        '/out/synthetic/1.0.0',
    ),
    'evaluate': ('slr_jax.evaluate --output_dir={out} --workdir={w}/run', '/out'),
    'interpret': ('slr_jax.interpret --output_dir={out} --workdir={w}/run', '/out'),
}


@pytest.mark.usefixtures('archives', 'workdirs')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_nothing_is_left(refuse, case):
    with _full_disk():
        refuse(*case, 'File too large')


@pytest.mark.usefixtures('golden')
def test_import_leaves_nothing(refuse):
    with _full_disk():
        refuse('slr_jax.import_torch --workdir={out} --checkpoint={w}/golden/good.pth', '/out', 'File too large')


@pytest.mark.usefixtures('datasets')
def test_training_can_be_continued(world, tmp_path, capfd, monkeypatch):
    workdir = tmp_path / 'out'
    fields = world_lib.SMALL_MODEL | {'validation': 'none'}
    options = ' '.join([TRAIN, *(f'--config.{field}={value}' for field, value in fields.items())])
    with _full_disk(), _quick_compilation():
        status, stderr = in_process.run_here(in_process.argv(options, w=world, out=workdir), capfd, monkeypatch)
    in_process.check_refusal(status, stderr, [str(workdir), 'File too large'])
    left = in_process.snapshot(tmp_path)
    assert not [path for path in left if 'unfinished' in path or 'tmp' in os.path.basename(path)]
    config = world_lib.make_config(world / 'data' / 'tiny', validation='none')
    workdir_lib.create_or_check(str(workdir), config, dataset.load_dataset(config.dataset).summary())


@contextlib.contextmanager
def _full_disk():
    """No file may be larger than 20 KiB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 * 1024, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def _quick_compilation():
    """Compiles a third as long; on the full disk no compiled program can be kept for the next tests."""
    jax.config.update('jax_disable_most_optimizations', True)
    try:
        yield
    finally:
        jax.config.update('jax_disable_most_optimizations', False)
