"""Steps per second on a GPU or TPU, by how batches reach it; a CPU can be tried.

    python -m experiments.accelerator [--device=cuda] [--quick] [--output_dir=accelerator]

On a machine that does nothing else. Writes accelerator.csv and accelerator.md: class_query of the published size, 150
features per frame, 60 frames, dropout and noise on; batch sizes 1 and 32, one seed and 8 in one program. Batches come
from the host, as in `slr_jax.train`, or are on the device beforehand; a call of the compiled program makes one step, or
several. Steps of all seeds are counted. The share is the model's floating-point operations over the time, beside those
of a large float32 matrix product (see benchmark.py); memory is the most that the device has had so far.
"""

from collections.abc import Callable, Sequence
import statistics
from typing import Any

from absl import flags
import jax
import numpy as np

from experiments import benchmark, markdown, results
from slr_jax import cli, devices

_DIM, _FRAMES = 150, 60


def several_steps(step: Callable[..., Any]) -> Callable[..., Any]:
    """step(state, batch, keys, swept) -> the same of batches with a leading axis of steps; also their sums."""

    def steps(state: Any, batches: Any, keys: Any, swept: Any) -> Any:
        return jax.lax.scan(lambda before, batch: step(before, batch, keys, swept), state, batches)

    return steps


def stack_steps(batches: Sequence[Any], count: int) -> list[Any]:
    """Stacks so many batches [devices, …] at a time, as [devices, steps, …]; as many as are left over are not used."""
    whole = len(batches) // count * count
    parts = [batches[start : start + count] for start in range(0, whole, count)]
    return [jax.tree.map(lambda *x: np.stack(x, axis=1), *part) for part in parts]


def measure(
    batch_size: int, num_seeds: int, *, repetitions: int, num_calls: int, steps_per_call: int
) -> list[dict[str, Any]]:
    """The rows of a batch size and a number of seeds, one for each way.

    Args:
        batch_size: of each seed.
        num_seeds: in one program.
        repetitions: how often a pass is timed; the median counts.
        num_calls: of a pass with several steps per call.
        steps_per_call: where there are several.
    """
    num_steps = num_calls * steps_per_call
    num_clips = num_seeds * num_steps * batch_size
    case = benchmark.Case(_DIM, np.full(num_steps * batch_size, _FRAMES), batch_size, num_seeds)
    peak = benchmark.matrix_product_flops()
    rows = []
    for source, steps in (('the host', 1), ('the device', 1), ('the device', steps_per_call)):
        train_step, batches = case.steps.train_step, case.batches
        if steps > 1:
            train_step = devices.map_train_step(
                several_steps(case.steps.unmapped_step), shard_runs=case.steps.shard_runs
            )
            batches = stack_steps(batches, steps)
        if source == 'the device':
            batches = jax.block_until_ready(jax.device_put(batches, devices.state_sharding(shard_runs=True)))
        seconds = statistics.median(case.pass_seconds(train_step, batches, repetitions))
        memory = (jax.local_devices()[0].memory_stats() or {}).get('peak_bytes_in_use')
        rows.append(
            {
                'batch size': batch_size,
                'seeds': num_seeds,
                'batches from': source,
                'steps per call': steps,
                'steps per second': round(num_seeds * num_steps / seconds, 2),
                'clips per second': round(num_clips / seconds, 1),
                'fraction of matmul': round(3 * case.flops_per_clip * num_clips / seconds / peak, 3),
                'memory, MB': '' if memory is None else round(memory / 1e6),
            }
        )
        print(', '.join(f'{column} {value}' for column, value in rows[-1].items()), flush=True)
    return rows


def _define_flags() -> None:
    flags.DEFINE_enum('device', None, ['cpu', 'cuda', 'tpu'], 'By default the best that there is.')
    flags.DEFINE_bool('quick', False, 'Few steps, as for a CPU.')
    flags.DEFINE_string('output_dir', 'accelerator', 'Where accelerator.csv and accelerator.md are written.')


def main() -> None:
    """Measures as the flags say."""
    values = flags.FLAGS
    machine = benchmark.set_up(values.device)
    print(machine, flush=True)
    size = {'repetitions': 7, 'num_calls': 8, 'steps_per_call': 16}
    if values.quick:
        size = {'repetitions': 1, 'num_calls': 1, 'steps_per_call': 4}
    rows = [row for batch_size in (1, 32) for num_seeds in (1, 8) for row in measure(batch_size, num_seeds, **size)]
    page = f'{machine}\n\n{markdown.record_table(rows)}'
    results.write(values.output_dir, 'accelerator', page, {'accelerator': rows})


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
