"""Mapping over devices: the only file that knows pmap.

Batches have a leading axis of the local devices; states and parameters have none, or one where runs are sharded.
"""

from collections.abc import Callable, Iterator
import contextlib
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np

AXIS = 'devices'

Step = Callable[..., Any]


def map_train_step(step: Step, *, shard_runs: bool) -> Step:
    """Maps step(state, batch, keys, hyperparameters) over the local devices; the state that is passed is donated.

    Args:
        step: of one device; sums over devices are its own.
        shard_runs: state, keys and hyperparameters have a leading axis of devices; else all devices have the same.
    """
    axis = 0 if shard_runs else None
    return jax.pmap(step, axis_name=AXIS, in_axes=(axis, 0, axis, axis), out_axes=(axis, axis), donate_argnums=0)


def map_eval_step(step: Step, *, shard_runs: bool = False) -> Step:
    """Maps step(params, batch) over the local devices; of several processes, each gets the answers of all devices."""
    if jax.process_count() == 1:
        return jax.pmap(step, axis_name=AXIS, in_axes=(0 if shard_runs else None, 0))

    def gathered(params: Any, batch: Any) -> jax.Array:
        return jax.lax.all_gather(step(params, batch), AXIS)

    return jax.pmap(gathered, axis_name=AXIS, in_axes=(None, 0), out_axes=None)


def state_sharding(*, shard_runs: bool) -> jax.sharding.Sharding:
    """Where the mapped steps keep states."""
    axes = jax.sharding.PartitionSpec(AXIS) if shard_runs else jax.sharding.PartitionSpec()
    return jax.sharding.NamedSharding(jax.sharding.Mesh(jax.devices(), (AXIS,)), axes)


def local_devices() -> range:
    """The numbers of this process's devices among all devices."""
    first = jax.process_index() * jax.local_device_count()
    return range(first, first + jax.local_device_count())


def is_first_process() -> bool:
    """Whether this is the process that writes files."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def in_every_process(holds: bool) -> bool:
    """Whether something holds in every process."""
    return bool(np.all(multihost_utils.process_allgather(np.array(holds))))


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """Lets the first process run the block before the others do."""
    if not is_first_process():
        barrier('first process')
    yield
    if is_first_process():
        barrier('first process')
