import math
import os
import shutil
import struct

import pytest
from tensorboardX.proto import event_pb2

from slr_jax import config as config_lib
from slr_jax import errors, figures, run_log
from slr_jax import workdir as workdir_lib
from tests.conftest import make_tiny_config

HEADER = 'epoch,step,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,clips_per_second'


def read_events(directory):
    (path,) = directory.iterdir()
    content, events = path.read_bytes(), []
    while content:
        (length,) = struct.unpack('Q', content[:8])
        events.append(event_pb2.Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return events


def test_events_are_written_at_once_and_again_after_a_full_disk(tmp_path):
    directory = tmp_path / 'tensorboard'
    events = run_log.EventFile(str(directory), first_step=4)
    events.write(8, {'train_loss': 0.5, 'train_accuracy': 0.25})
    version, start, *scalars = read_events(directory)
    assert (version.file_version, start.step) == ('brain.Event:2', 4)
    assert start.session_log.status == event_pb2.SessionLog.START
    values = [(event.step, event.summary.value[0].tag, event.summary.value[0].simple_value) for event in scalars]
    assert values == [(8, 'train_loss', 0.5), (8, 'train_accuracy', 0.25)]
    record = events._writer._py_recordio_writer
    whole = record._writer
    record._writer = open('/dev/full', 'wb', buffering=0)  # noqa: SIM115
    with pytest.raises(OSError, match='No space left on device') as found:
        events.write(12, {'train_loss': 0.5})
    assert found.value.filename == str(directory)
    record._writer = whole
    events.write(16, {'train_loss': 0.5})
    assert [event.step for event in read_events(directory)] == [0, 4, 8, 8, 16]
    events.close()


@pytest.fixture
def log(tmp_path):
    path = tmp_path / 'w'
    path.mkdir()
    workdir_lib.write_description(str(path), make_tiny_config(''), {})
    run = config_lib.Run('', {}, make_tiny_config(''))
    return run_log.RunLog(run, str(path), is_writer=True), path


METRICS = run_log.EpochMetrics(
    epoch=1, step=4, train_loss=1.0, train_accuracy=0.5, learning_rate=0.1, clips_per_second=1.0
)


@pytest.mark.parametrize('when', ['before an epoch', 'before the end'])
def test_a_workdir_that_was_moved_is_not_made_anew(log, tmp_path, when):
    log, path = log
    if when == 'before the end':
        log.record(METRICS, {'params': {'a': 1.0}})
    os.rename(path, tmp_path / 'moved')
    with pytest.raises(errors.InputError, match=rf'{path} is not there any more'):
        log.record(METRICS, {}) if when == 'before an epoch' else log.finish()
    assert os.listdir(tmp_path) == ['moved']


def test_what_orbax_made_anew_is_removed(log, tmp_path):
    log, path = log
    save = log._checkpoints.save

    def move_and_save(*given):
        os.rename(path, tmp_path / 'moved')
        (path / 'checkpoints').mkdir(parents=True)
        save(*given)

    log._checkpoints.save = move_and_save
    with pytest.raises(errors.InputError, match=rf'{path} is not there any more'):
        log.record(METRICS, {'params': {'a': 1.0}})
    assert os.listdir(tmp_path) == ['moved']


def test_a_folder_with_other_files_is_never_removed(log):
    log, path = log
    (path / 'config.json').unlink()
    shutil.rmtree(path / 'tensorboard', ignore_errors=True)
    with pytest.raises(errors.InputError, match='is not there any more'):
        log.record(METRICS, {})
    assert {'checkpoints', 'dataset.json', 'environment.json'} <= set(os.listdir(path))


def test_a_picture_does_not_make_its_folder_anew(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone'):
        figures.save(figures.Figure(), str(tmp_path / 'gone' / 'bars'))
    assert not os.listdir(tmp_path)


def test_columns_without_values_are_none(tmp_path):
    path = tmp_path / 'metrics.csv'
    path.write_text(f'{HEADER},notes\n1,6,1.5,0.5,,,0.001,9,begun\n2,12,1.0,0.75,,,0.001,9,\n')
    first, second = run_log.read_rows(str(path))
    assert (first['epoch'], first['train_loss'], first['validation_loss'], first['notes']) == (1, 1.5, None, 'begun')
    assert second['notes'] is None


@pytest.mark.parametrize(
    ('row', 'words'),
    [
        ('2,12,low,0.75,,,0.001,9', "row 3, column train_loss: found 'low', expected a number"),
        ('2,12,1.0,0.75,1.0,0..5,0.001,9', r"row 3, column validation_accuracy: found '0\.\.5', expected a number"),
        ('2,12,1.0', 'row 3, column train_accuracy: found nan, expected a number'),
        (',12,1.0,0.75,,,0.001,9', 'row 3, column epoch: found nan, expected a number'),
        ('2,12,1.0,0.75,,,0.001,9,9', 'Expected 8 fields in line 3, saw 9'),
        ('2,12,1.0,0.75,0.5,,0.001,9', 'row 3 has validation_loss and no validation_accuracy'),
    ],
)
def test_a_damaged_row_is_refused(row, words, tmp_path):
    path = tmp_path / 'metrics.csv'
    path.write_text(f'{HEADER}\n1,6,1.5,0.5,,,0.001,9\n{row}\n')
    with pytest.raises(errors.InputError, match=f'{path} is damaged: .*{words}'):
        run_log.read_rows(str(path), 2)
    assert len(run_log.read_rows(str(path), 1)) == 1


def test_a_validation_loss_that_is_no_number_stays_so(tmp_path):
    path = tmp_path / 'metrics.csv'
    path.write_text(f'{HEADER}\n1,6,1.5,0.5,nan,0.25,0.001,9\n')
    (row,) = run_log.read_rows(str(path))
    assert math.isnan(row['validation_loss'])
    assert run_log.describe(row).endswith('validation loss nan, accuracy 0.250')


def test_rows_that_are_all_longer_than_the_header_are_refused(tmp_path):
    path = tmp_path / 'metrics.csv'
    path.write_text(f'{HEADER}\n0,1,6,1.5,0.5,,,0.001,9\n')
    with pytest.raises(errors.InputError, match=f'{path} is damaged: a row has more fields than the header'):
        run_log.read_rows(str(path))
