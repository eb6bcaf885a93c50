"""What a run writes while it trains: metrics.csv, curves, TensorBoard events and checkpoints."""

from collections.abc import Mapping
import os
import time
from typing import Any

import ml_collections
import pandas as pd
import tensorboardX

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import errors, figures, files

_CURVES_SECONDS = 30.0
_COLUMNS = (
    'epoch',
    'step',
    'train_loss',
    'train_accuracy',
    'validation_loss',
    'validation_accuracy',
    'learning_rate',
    'clips_per_second',
)

Row = dict[str, Any]


class RunFiles:
    """The files of one run.

    Args:
        name: of the run, for messages; '' for the only one.
        workdir: of the run.
        config: of the run.
        writes: False in all processes but the first, which read only.
        together: whether the run goes on only together with others, which may be a checkpoint behind.

    Attributes:
        rows: of metrics.csv, one an epoch done.
        stopped_by: why the run cannot go on; '' where it can.
    """

    def __init__(
        self, name: str, workdir: str, config: ml_collections.ConfigDict, *, writes: bool, together: bool
    ) -> None:
        self.name, self.workdir, self.config = name, workdir, config
        self.rows: list[Row] = []
        self.stopped_by = ''
        self._writes = writes
        self._checkpoints = checkpoint_lib.Checkpoints(
            workdir, read_only=not writes, published=config.keep_published_checkpoints, num_latest=2 if together else 1
        )
        self._metrics = self._checkpoints.metrics()
        self._writer: tensorboardX.SummaryWriter | None = None
        self._last_drawn = time.perf_counter()

    @property
    def prefix(self) -> str:
        """Names the run before a message about it."""
        return f'{self.name} | ' if self.name else ''

    @property
    def steps(self) -> set[int]:
        """The steps of the checkpoints."""
        return set(self._metrics)

    def go_on_from(self, step: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """Restores a checkpoint and forgets what came behind it; see Checkpoints.restore."""
        restored = self._checkpoints.restore(step, like)
        self.rows = _read_rows(os.path.join(self.workdir, 'metrics.csv'), self._metrics[step]['epoch'])
        if self._writes:
            self._checkpoints.delete_behind(step)
        return restored

    def record(self, row: Mapping[str, Any], items: Mapping[str, Any]) -> None:
        """Keeps an epoch: its metrics, and the named trees of a checkpoint."""
        row = dict.fromkeys(_COLUMNS) | dict(row)
        if self._writer is None and self._writes:
            first_step = self.rows[-1]['step'] if self.rows else 0
            self._writer = tensorboardX.SummaryWriter(
                os.path.join(self.workdir, 'tensorboard'), purge_step=first_step, write_to_disk=True
            )
        self.rows.append(row)
        if not self._writes:
            return
        files.write_csv(os.path.join(self.workdir, 'metrics.csv'), self.rows, _COLUMNS)
        if time.perf_counter() - self._last_drawn > _CURVES_SECONDS:
            self._draw_curves()
        for name, value in row.items():
            if value is not None and name not in ('epoch', 'step'):
                self._writer.add_scalar(name, value, row['step'])
        self._writer.flush()
        self._checkpoints.save(row['step'], items, row)

    def stop(self, reason: str) -> None:
        """Notes why the run cannot go on; InputError where it is the only one."""
        if not self.name:
            raise errors.InputError(reason)
        self.stopped_by = reason
        print(f'{self.prefix}stopped: {reason}', flush=True)

    def stops_early(self) -> bool:
        """Whether `config.early_stop_epochs` ends the run here."""
        patience = self.config.early_stop_epochs
        if not patience or not self.rows:
            return False
        best = max(self.rows, key=lambda row: (row['validation_accuracy'], -row['epoch']))
        return len(self.rows) - best['epoch'] >= patience

    def finish(self) -> Row:
        """Draws the curves; returns the metrics of the best epoch."""
        if self._writes:
            self._draw_curves()
        self.close()
        best = max(self.rows, key=checkpoint_lib.rank)
        print(f'{self.prefix}best epoch {best["epoch"]}: {describe(best)}', flush=True)
        return best

    def close(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _draw_curves(self) -> None:
        figures.save(figures.draw_curves(self.rows), os.path.join(self.workdir, 'curves'))
        self._last_drawn = time.perf_counter()


def _read_rows(path: str, num_rows: int) -> list[Row]:
    """The first rows of metrics.csv; those behind belong to an epoch that will be run again."""
    try:
        table = pd.read_csv(path).head(num_rows).astype(object)
    except ValueError as error:
        raise errors.InputError(f'{path} is damaged: {errors.one_line(error)}') from error
    if tuple(table.columns) != _COLUMNS or len(table) != num_rows:
        raise errors.InputError(f'{path} is damaged, expected {num_rows} rows of {", ".join(_COLUMNS)}')
    return table.where(table.notna(), None).to_dict('records')


def describe(row: Mapping[str, Any]) -> str:
    """Losses and accuracies of an epoch in words."""
    text = f'train loss {row["train_loss"]:.4f}, accuracy {row["train_accuracy"]:.3f}'
    if row.get('validation_accuracy') is not None:
        text += f' | validation loss {row["validation_loss"]:.4f}, accuracy {row["validation_accuracy"]:.3f}'
    return text
