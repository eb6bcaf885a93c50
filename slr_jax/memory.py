"""How much is computed at once, so that long clips fit in memory."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from slr_jax import errors, file_limits

# Pairs of frames that attention looks at in one piece of a batch: 32 clips of 512 frames, or one of 2,896.
_MAX_PAIRS = 2**23


def rows_at_once(num_rows: int, num_frames: int) -> int:
    """How many rows of a batch of <float32>[num_rows, num_frames, dim] are computed at once; at least one."""
    return min(num_rows, max(1, _MAX_PAIRS // num_frames**2))


def map_rows(function: Callable[[Any], Any], batch: Any) -> Any:
    """Applies a function of batches to a batch, to so many rows at once as fit in memory; for jit.

    Args:
        function: of a tree like `batch` with any number of rows; returns [rows, …].
        batch: a mapping of arrays [rows, …], with the padding mask <bool>[rows, time].

    Returns:
        [rows, …].
    """
    size = rows_at_once(*batch['padding_mask'].shape)
    if size == len(batch['padding_mask']):
        return function(batch)

    def apply_to_one(row: Any) -> Any:
        return function(jax.tree.map(lambda x: x[None], row))[0]

    return jax.lax.map(apply_to_one, batch, batch_size=size)


def check_fits(
    config: ml_collections.ConfigDict, names: Sequence[str] | None, features: Sequence[np.ndarray], *, training: bool
) -> None:
    """Checks that the longest clip, computed alone, fits in memory.

    Args:
        config: of the run.
        names: of the clips; None for their numbers from 0.
        features: <float32>[frames, dim] of each clip.
        training: whether gradients are computed, too.

    Raises:
        InputError: it does not; the clip is named.
    """
    lengths = [len(clip) for clip in features]
    longest = max(lengths, default=0)
    # Attention keeps, per head, a matrix per layer for the gradient and a few while it computes.
    matrices = config.num_layers * 1.5 + 6 if training else 4
    needed, available = 4 * config.num_heads * matrices * longest**2, _available_bytes()
    if needed > available:
        number = lengths.index(longest)
        name = number if names is None else names[number]
        raise errors.InputError(
            f'clip {name} has {longest:,} frames, which need about {needed / 2**30:,.0f} GiB of memory, expected at '
            f'most {available / 2**30:,.0f} GiB; config.max_frames shortens long clips'
        )


def _available_bytes() -> int:
    """Memory of the first device, on a CPU of this machine, as far as this process may use it."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and 'bytes_limit' in statistics:
        return statistics['bytes_limit']
    return file_limits.memory_bytes()
