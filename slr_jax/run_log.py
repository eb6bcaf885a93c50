"""What a run writes while it trains: metrics.csv, curves, TensorBoard events and checkpoints."""

from collections.abc import Mapping
import contextlib
import dataclasses
import math
import os
import shutil
import time
from typing import Any

import pandas as pd
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import config as config_lib
from slr_jax import errors, figures, file_limits, files, progress
from slr_jax import workdir as workdir_lib

_CURVES_SECONDS = 30.0
# The folder of the checkpoint of an epoch that SIGTERM ended.
_UNFINISHED_EPOCH = 'unfinished_epoch'

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """A row of metrics.csv, and the metrics of a checkpoint. A new column has a default: older files lack it.

    Attributes:
        epoch: from 1.
        step: the last of the epoch.
        train_loss: mean over the clips of the epoch, as they were trained on, with their class weights.
        train_accuracy: likewise, without class weights, in [0, 1].
        validation_loss: without class weights; None without validation.
        validation_accuracy: in [0, 1], None without validation.
        learning_rate: of the last step.
        clips_per_second: of the training steps.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    learning_rate: float
    clips_per_second: float


COLUMNS = tuple(field.name for field in dataclasses.fields(EpochMetrics))
_REQUIRED = [field.name for field in dataclasses.fields(EpochMetrics) if field.default is dataclasses.MISSING]


class EventFile:
    """TensorBoard events of a run.

    Not a SummaryWriter: its thread ends where the disk is full for a moment, and training would then wait for it for
    ever.

    Args:
        directory: of the events.
        first_step: earlier events of later steps are hidden.
    """

    def __init__(self, directory: str, first_step: int) -> None:
        self._directory = directory
        os.makedirs(directory, exist_ok=True)
        with files.naming(directory):
            self._writer = event_file_writer.EventsWriter(os.path.join(directory, 'events'))
            log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.write_event(event_pb2.Event(wall_time=time.time(), step=first_step, session_log=log))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the values of a step; OSError, which names the directory, where the disk is full or the like."""
        with files.naming(self._directory):
            for name, value in values.items():
                scalar = summary.scalar(name, value)
                self._writer.write_event(event_pb2.Event(wall_time=time.time(), step=step, summary=scalar))
            self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        # What could not be written was reported.
        with contextlib.suppress(OSError):
            self._writer.close()


class RunLog:
    """The files of one run.

    Args:
        run: which run.
        workdir: of all runs.
        is_writer: False in all processes but the first, which only read.
        diverged: why the run cannot go on; '' where it can.

    Attributes:
        rows: of metrics.csv, one per epoch done.
        diverged: see above.
    """

    def __init__(self, run: config_lib.Run, workdir: str, *, is_writer: bool, diverged: str = '') -> None:
        self.diverged = diverged
        self.rows: list[Row] = []
        self._run, self._root = run, workdir
        self._path = workdir_lib.run_path(workdir, run.name)
        self._is_writer = is_writer
        self._checkpoints = checkpoint_lib.Checkpoints(
            self._path, read_only=not is_writer, published=run.config.keep_published_checkpoints
        )
        self._events: EventFile | None = None
        self._last_drawn = time.perf_counter()

    @property
    def prefix(self) -> str:
        """Names the run before a message about it."""
        return '' if self._run.is_only else f'{self._run.name} | '

    @property
    def steps(self) -> set[int]:
        """The steps of the checkpoints."""
        return set(self._checkpoints.steps())

    def check_init(self, init_json: Mapping[str, Any]) -> None:
        """See workdir.check_init."""
        workdir_lib.check_init(self._path, init_json)

    def restore(self, step: int, target: Mapping[str, Any]) -> dict[str, Any]:
        """Reads a checkpoint; InputError where it or its metrics are damaged. See Checkpoints.restore."""
        self._checkpoints.read_metrics(step)
        return self._checkpoints.restore(step, target)

    def forget_after(self, step: int | None) -> None:
        """Goes back to the epoch of a checkpoint, None: to the beginning; deletes the checkpoints after it."""
        if step is not None:
            epoch = self._checkpoints.read_metrics(step)['epoch']
            self.rows = read_rows(os.path.join(self._path, 'metrics.csv'), epoch)
        if self._is_writer:
            self._checkpoints.delete_after(-1 if step is None else step)

    def save_unfinished_epoch(self, step: int, items: Mapping[str, Any], sums: Mapping[str, float]) -> None:
        """Keeps an epoch until `step` of it: the named trees of a checkpoint, and sums over its clips so far."""
        if not self._is_writer:
            return
        self._check_is_there()
        self._delete_unfinished_epoch()
        checkpoints = checkpoint_lib.Checkpoints(self._path, read_only=False, folder=_UNFINISHED_EPOCH)
        checkpoints.save(step, items, {**sums, 'epoch': len(self.rows) + 1})

    def read_unfinished_epoch(
        self, step: int | None, target: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float]] | None:
        """The trees and sums of the epoch that SIGTERM ended after checkpoint `step`, None: the first epoch.

        Returns:
            None where it ended none, or what was saved of it is damaged, which is reported.
        """
        if not os.path.isdir(os.path.join(self._path, _UNFINISHED_EPOCH)):
            return None
        try:
            epoch = 1 if step is None else self._checkpoints.read_metrics(step)['epoch'] + 1
            checkpoints = checkpoint_lib.Checkpoints(self._path, folder=_UNFINISHED_EPOCH)
            for unfinished_step, metrics in checkpoints.metrics().items():
                if metrics['epoch'] == epoch:
                    sums = {name: value for name, value in metrics.items() if name != 'epoch'}
                    return checkpoints.restore(unfinished_step, target), sums
        except errors.InputError as error:
            progress.report(f'{self.prefix}left out: {error}')
        return None

    def _delete_unfinished_epoch(self) -> None:
        shutil.rmtree(os.path.join(self._path, _UNFINISHED_EPOCH), ignore_errors=True)

    def record(self, metrics: EpochMetrics, items: Mapping[str, Any]) -> None:
        """Keeps an epoch: its metrics, and the named trees of a checkpoint."""
        row = dataclasses.asdict(metrics)
        if not self._is_writer:
            self.rows.append(row)
            return
        self._check_is_there()
        if self._events is None:
            first_step = self.rows[-1]['step'] if self.rows else 0
            events = os.path.join(self._path, 'tensorboard')
            files.check_below(events, self._path)
            self._events = EventFile(events, first_step)
        self.rows.append(row)
        files.write_csv(os.path.join(self._path, 'metrics.csv'), self.rows, dict.fromkeys((*COLUMNS, *self.rows[0])))
        if time.perf_counter() - self._last_drawn > _CURVES_SECONDS:
            self._draw_curves()
        values = {name: x for name, x in row.items() if x is not None and name not in ('epoch', 'step')}
        self._events.write(row['step'], values)
        try:
            self._checkpoints.save(row['step'], items, row)
        finally:
            self._check_is_there()
        self._delete_unfinished_epoch()

    def _check_is_there(self) -> None:
        """Raises InputError where the workdir was moved away while the run wrote to it."""
        if workdir_lib.exists(self._path):
            return
        # Orbax makes the folders of a checkpoint anew.
        if os.path.isdir(self._path) and os.listdir(self._path) == ['checkpoints']:
            shutil.rmtree(self._path)
            with contextlib.suppress(OSError):
                os.rmdir(self._root)
        raise errors.InputError(
            f'{self._path} is not there any more: it was moved or removed while the run wrote to it'
        )

    def mark_diverged(self, reason: str) -> None:
        """Notes why the run cannot go on; InputError where it is the only one."""
        if self._run.is_only:
            raise errors.InputError(reason)
        self.diverged = reason
        if self._is_writer:
            workdir_lib.mark_diverged(self._root, self._run.name, reason)
        progress.report(f'{self.prefix}diverged: {reason}')

    def stops_early(self) -> bool:
        """Whether `config.early_stop_epochs` ends the run here."""
        patience = self._run.config.early_stop_epochs
        if not patience or not self.rows:
            return False
        best = max(self.rows, key=lambda row: (row['validation_accuracy'], -row['epoch']))
        return len(self.rows) - best['epoch'] >= patience

    def finish(self) -> Row:
        """Draws the curves; returns the metrics of the best epoch."""
        if self._is_writer:
            self._check_is_there()
            self._draw_curves()
        self.close()
        if self.stops_early():
            patience = self._run.config.early_stop_epochs
            progress.report(f'{self.prefix}early stopping: no better validation accuracy in {patience} epochs')
        best = max(self.rows, key=checkpoint_lib.selection_key)
        progress.report(f'{self.prefix}best epoch {best["epoch"]}: {describe(best)}')
        return best

    def close(self) -> None:
        """Closes the event file."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _draw_curves(self) -> None:
        figures.save(figures.draw_curves(self.rows), os.path.join(self._path, 'curves'))
        self._last_drawn = time.perf_counter()


def read_rows(path: str, num_rows: int | None = None) -> list[Row]:
    """The first rows of metrics.csv, or all; later ones belong to an epoch that will be trained again.

    Columns that the file lacks, as one that is newer than it, are None.
    """
    file_limits.check_regular(path)
    try:
        table = pd.read_csv(path, nrows=num_rows).astype(object)
    except ValueError as error:
        raise errors.InputError(f'{path} is damaged: {errors.one_line(error)}') from error
    # Of rows that are longer than the header, pandas makes an index.
    if not isinstance(table.index, pd.RangeIndex):
        raise errors.InputError(f'{path} is damaged: a row has more fields than the header')
    lacking = [column for column in _REQUIRED if column not in table]
    if lacking or num_rows not in (None, len(table)):
        found = f'no column {lacking[0]!r}' if lacking else f'{len(table)} rows'
        rows = 'rows' if num_rows is None else f'{num_rows} rows'
        raise errors.InputError(f'{path} is damaged: it has {found}, expected {rows} of {", ".join(_REQUIRED)}')
    for column in table.columns.intersection(COLUMNS):
        is_wrong = pd.to_numeric(table[column], errors='coerce').isna() & (
            table[column].notna() | (column in _REQUIRED)
        )
        if is_wrong.any():
            wrong = int(is_wrong.to_numpy().argmax())
            found = f'row {wrong + 2}, column {column}: found {table[column][wrong]!r}'
            raise errors.InputError(f'{path} is damaged: {found}, expected a number')
    parsed = [dict.fromkeys(COLUMNS) | row for row in table.where(table.notna(), None).to_dict('records')]
    for number, row in enumerate(parsed, start=2):
        if row['validation_accuracy'] is not None and row['validation_loss'] is None:
            # Not a number, as a model may answer before it diverges.
            row['validation_loss'] = math.nan
        elif row['validation_accuracy'] is None and row['validation_loss'] is not None:
            raise errors.InputError(f'{path} is damaged: row {number} has validation_loss and no validation_accuracy')
    return parsed


def describe(row: Mapping[str, Any]) -> str:
    """Losses and accuracies of an epoch in words."""
    text = f'train loss {row["train_loss"]:.4f}, accuracy {row["train_accuracy"]:.3f}'
    if row.get('validation_accuracy') is not None:
        text += f' | validation loss {row["validation_loss"]:.4f}, accuracy {row["validation_accuracy"]:.3f}'
    return text
