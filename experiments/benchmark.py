"""How fast models train and answer, beside what the machine's matrix product can do.

    python -m experiments.benchmark --dataset=data/wlasl100_hands [--device=cpu] [--cpu_devices=2] [--quick]
        [--output_dir=benchmark]

On a machine that does nothing else. Writes benchmark.csv and benchmark.md. Every row is measured with the steps that
`slr_jax.train` runs, class_query of the published size, dropout and noise on, batches assembled beforehand. Lengths are
those of the dataset's training clips, in length buckets, or 60 frames. The share is the model's floating-point
operations of the real frames (see flops_of_clip) over the time, beside those of a large float32 matrix product, timed
before every pass. The time to the first step is that of `slr_jax.train` in a process of its own.
"""

from collections.abc import Callable, Iterator, Sequence
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from configs import default
from experiments import markdown, results
from slr_jax import cli, errors, input_pipeline, models, runtime
from slr_jax import dataset as dataset_lib
from slr_jax.run_group import RunGroupSteps
from slr_jax.train_step import Steps

_FRAMES = 60
_NUM_CLASSES = 100
_HEADS = {150: 10, 42: 7}
_PRODUCT_SIZE = 2048
_REPETITIONS = 7


def flops_of_clip(dim: int, frames: float, frames_squared: float, mlp_dim: int, num_layers: int) -> float:
    """Floating-point operations of matrix products for one clip of class_query, forward, as published.

    The model does some 4 % fewer, as its decoder projects no keys and values, see attention.MultiHeadAttention.

    Args:
        dim: features per frame.
        frames: of the clip; of many clips their mean, and `frames_squared` the mean of their squares.
        frames_squared: see frames.
        mlp_dim: of the model.
        num_layers: of the model.

    Returns:
        Two for each multiplication with its addition. Training takes three times as many.
    """
    encoder = frames * (4 * dim * dim + 2 * dim * mlp_dim) + 2 * frames_squared * dim
    decoder = frames * 2 * dim * dim + 2 * dim * dim + 2 * frames * dim + 2 * dim * mlp_dim
    return 2 * (num_layers * (encoder + decoder) + dim * _NUM_CLASSES)


def xla_flops_of_clip(dim: int, frames: int, mlp_dim: int) -> float:
    """As flops_of_clip, counted by XLA with everything that is not a matrix product, for one layer.

    For one layer only, as XLA counts the body of a loop once.
    """
    model = models.create_model(
        'class_query', num_classes=_NUM_CLASSES, num_heads=_HEADS[dim], num_layers=1, mlp_dim=mlp_dim
    )
    clip, padding_mask = jax.ShapeDtypeStruct((1, frames, dim), jnp.float32), jax.ShapeDtypeStruct((1, frames), bool)
    params = models.param_shapes(model, dim)
    compiled = jax.jit(model.apply).lower({'params': params}, clip, padding_mask).compile()
    return compiled.cost_analysis()['flops']  # type: ignore[index]


def repeat(call: Callable[[], Any], repetitions: int, before: Callable[[], Any] | None = None) -> list[float]:
    """Seconds of each of so many calls, after one that is not timed; `before` is called before each that is."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repetitions):
        if before:
            before()
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return seconds


def matrix_product_flops() -> float:
    """Floating-point operations per second of a large float32 matrix product, on all local devices together."""
    product = jax.pmap(lambda x: jnp.matmul(x, x, precision='highest'))
    x = jnp.ones((jax.local_device_count(), _PRODUCT_SIZE, _PRODUCT_SIZE))
    seconds = statistics.median(repeat(lambda: product(x), _REPETITIONS))
    return jax.local_device_count() * 2 * _PRODUCT_SIZE**3 / seconds


class Case:
    """One model with its data.

    Args:
        dim: features per frame.
        lengths: frames of each clip.
        batch_size: of each seed.
        num_seeds: in one program.

    Attributes:
        steps: compiled, of all seeds.
        batches: of one pass over the clips.
        padding: padded frames for each real frame.
    """

    def __init__(self, dim: int, lengths: np.ndarray, batch_size: int, num_seeds: int = 1) -> None:
        config = default.get_config()
        config.num_heads, config.batch_size = _HEADS[dim], batch_size
        self._num_seeds, self._dim, self._lengths, self._config = num_seeds, dim, lengths, config
        self.steps = RunGroupSteps(config, _NUM_CLASSES, Steps(len(lengths), len(lengths)), num_seeds)
        self.batches = self._make_batches()
        padding_masks = [piece['padding_mask'] for batch in self.batches for piece in batch]
        padded = sum(padding_mask.size for padding_mask in padding_masks)
        real = sum(padding_mask.sum() for padding_mask in padding_masks)
        self.padding = padded / real

    def _make_batches(self) -> list[input_pipeline.Batch]:
        rng, lengths = np.random.default_rng(0), self._lengths
        features = [rng.normal(size=(length, self._dim)).astype(np.float32) for length in lengths]
        labels = rng.integers(_NUM_CLASSES, size=len(lengths)).astype(np.int32)
        batch_size = self._config.batch_size
        buckets = input_pipeline.length_buckets(lengths, batch_size)
        orders = [input_pipeline.shuffle_buckets(buckets, batch_size, seed, 1) for seed in range(self._num_seeds)]
        epochs = [(features, labels, order) for order in orders]
        return list(self.steps.batches(epochs, *input_pipeline.bucket_lengths(lengths, buckets, batch_size)))

    def train_seconds(self, repetitions: int, before: Callable[[], Any] | None = None) -> list[float]:
        """Seconds of one pass over the clips, `repetitions` times; for `before` see repeat."""
        return self.pass_seconds(self.steps.train_step, self.batches, repetitions, before)

    def pass_seconds(
        self,
        train_step: Callable[..., Any],
        batches: Sequence[Any],
        repetitions: int,
        before: Callable[[], Any] | None = None,
    ) -> list[float]:
        """Seconds of calling a step with each of the batches, `repetitions` times; for `before` see repeat."""
        steps, seeds = self.steps, range(self._num_seeds)
        state = steps.stack_and_place([steps.initial_state(self._dim, seed, {}) for seed in seeds])
        keys = steps.stack([jax.random.key(seed) for seed in seeds])
        swept = steps.stack([{} for _ in seeds])

        def one_pass() -> Any:
            nonlocal state
            for batch in batches:
                state, sums = train_step(state, batch, keys, swept)
            return state, sums

        return repeat(one_pass, repetitions, before)

    def eval_seconds(self, repetitions: int, before: Callable[[], Any] | None = None) -> list[float]:
        """Seconds of answering to all clips, `repetitions` times; for `before` see repeat."""
        steps = self.steps
        params = steps.stack_and_place([steps.initial_state(self._dim, s, {}).params for s in range(self._num_seeds)])
        pieces = [piece for batch in self.batches for piece in batch]
        inputs = [{name: piece[name] for name in ('landmarks', 'padding_mask')} for piece in pieces]
        return repeat(lambda: [steps.eval_step(params, batch) for batch in inputs], repetitions, before)

    @property
    def flops_per_clip(self) -> float:
        """See flops_of_clip; the mean over the clips. Training takes three times as many."""
        lengths = self._lengths.astype(float)
        return flops_of_clip(
            self._dim, lengths.mean(), (lengths**2).mean(), self._config.mlp_dim, self._config.num_layers
        )

    def row(self, phase: str, repetitions: int) -> dict[str, Any]:
        """Measures 'train' or 'evaluate'; a row of the table."""
        measure, products = self.train_seconds if phase == 'train' else self.eval_seconds, []
        seconds = measure(repetitions, lambda: products.append(matrix_product_flops()))
        peak = statistics.median(products)
        clips = self._num_seeds * len(self._lengths)
        flops = self.flops_per_clip * (3 if phase == 'train' else 1)
        median = statistics.median(seconds)
        return {
            'phase': phase,
            'input dim': self._dim,
            'batch size': self._config.batch_size,
            'seeds': self._num_seeds,
            'ms per clip': round(1000 * median / clips, 2),
            'fastest': round(1000 * min(seconds) / clips, 2),
            'slowest': round(1000 * max(seconds) / clips, 2),
            'clips per second': round(clips / median, 1),
            'padded / real frames': round(self.padding, 3),
            'GFLOP per clip': round(flops / 1e9, 3),
            'matmul GFLOP/s': round(peak / 1e9),
            'fraction of matmul': round(flops * clips / median / peak, 3),
        }


def _cases(lengths: np.ndarray, *, quick: bool) -> Iterator[tuple[str, Case, tuple[str, ...]]]:
    """The lengths' name, the case and what is measured of it."""
    both = ('train', 'evaluate')

    def batch_sizes(sizes: tuple[int, ...]) -> list[int]:
        return [size for size in sizes if size >= jax.device_count()]

    for dim in (150,) if quick else (150, 42):
        for batch_size in batch_sizes((1, 32) if quick else (1, 8, 32, 128)):
            yield '60', Case(dim, np.full(max(batch_size, 32), _FRAMES), batch_size), both
        for batch_size in batch_sizes((32,) if quick else (1, 8, 32, 128)):
            # Clip by clip, some of them are enough.
            yield 'real', Case(dim, lengths[::4] if batch_size == 1 else lengths, batch_size), both
    for batch_size, num_seeds in ((1, 4),) if quick else ((1, 4), (1, 16), (8, 4), (8, 16)):
        yield '60', Case(150, np.full(8 * batch_size, _FRAMES), batch_size, num_seeds), ('train',)


def measure_steps(lengths: np.ndarray, *, quick: bool) -> Iterator[dict[str, Any]]:
    """The rows of the table; each is printed as soon as it is measured."""
    for name, case, measured in _cases(lengths, quick=quick):
        for phase in measured:
            # Few passes where one takes long.
            repetitions = 3 if name == 'real' else _REPETITIONS
            row = {'lengths': name, **case.row(phase, repetitions)}
            print(', '.join(f'{column} {value}' for column, value in row.items()), flush=True)
            yield row
        # A process may hold some 80 compiled programs of a CPU: each takes hundreds of memory mappings.
        jax.clear_caches()


def measure_start(path: str, cpu_devices: int) -> list[dict[str, Any]]:
    """Seconds from the start of `slr_jax.train` to its first step, and the peak of its memory over an epoch.

    Args:
        path: of the dataset; batch size 32, in length buckets.
        cpu_devices: see config.

    Returns:
        A row without and a row with compiled programs in the cache.
    """
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, name in enumerate(('without compiled programs', 'with compiled programs')):
            command = [sys.executable, '-m', 'slr_jax.train', f'--config={os.path.abspath(default.__file__)}']
            fields = {
                'cpu_devices': cpu_devices,
                'dataset': path,
                'batch_size': 32,
                'bucket_by_length': True,
                'num_epochs': 1,
                'num_heads': 1,
            }
            command += [f'--config.{field}={value}' for field, value in fields.items()]
            environment = os.environ | {'JAX_COMPILATION_CACHE_DIR': os.path.join(scratch, 'cache')}
            start = time.perf_counter()
            with subprocess.Popen(
                [*command, f'--workdir={scratch}/{number}'], env=environment, stdout=subprocess.PIPE, text=True
            ) as process:
                for line in process.stdout or ():
                    if line.startswith('first step done'):
                        seconds = time.perf_counter() - start
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise errors.InputError(f'slr_jax.train on {path} ended with status {process.returncode}')
            row = {'start': name, 'seconds to the first step': round(seconds, 1)}
            rows.append(row | {'peak memory, MB': round(usage.ru_maxrss / 1024)})
            print(', '.join(f'{column}: {value}' for column, value in rows[-1].items()), flush=True)
    return rows


def set_up(device: str | None, cpu_devices: int = 1) -> str:
    """Sets up jax for a device, None: the best that there is; describes the machine in words.

    Args:
        device: a platform of jax.
        cpu_devices: that a CPU is divided into.

    Raises:
        InputError: there is no such device.
    """
    if device:
        jax.config.update('jax_platforms', device)
        os.environ['JAX_PLATFORMS'] = device
    runtime.tune_malloc()
    runtime.use_compilation_cache()
    try:
        runtime.divide_cpu(cpu_devices)
        return _describe_machine()
    except RuntimeError as error:
        raise errors.InputError(f'--device={device} cannot be used: {errors.one_line(error)}') from error


def _describe_machine() -> str:
    devices = f'{jax.local_device_count()} × {jax.local_devices()[0].device_kind}'
    cores = f'{runtime.cores()} cores of {runtime.cpu_model()}'
    return f'{devices}, {cores}, jax {jax.__version__}, Python {platform.python_version()}'


def _define_flags() -> None:
    flags.DEFINE_string('dataset', None, 'TFDS directory whose training clips give the lengths.', required=True)
    flags.DEFINE_enum('device', None, ['cpu', 'cuda', 'tpu'], 'By default the best that there is.')
    flags.DEFINE_integer('cpu_devices', 1, 'Devices that a CPU is divided into, see config.cpu_devices.', lower_bound=1)
    flags.DEFINE_bool('quick', False, 'A few rows only.')
    flags.DEFINE_string('output_dir', 'benchmark', 'Where benchmark.csv, start.csv and benchmark.md are written.')


def main() -> None:
    """Measures as the flags say."""
    values = flags.FLAGS
    machine = set_up(values.device, values.cpu_devices)
    clips = dataset_lib.load_dataset(values.dataset).split('train').landmarks
    lengths = np.array([len(clip) for clip in clips])
    print(machine, flush=True)
    by_formula = flops_of_clip(150, _FRAMES, _FRAMES**2, 2048, 1)
    ratio = xla_flops_of_clip(150, _FRAMES, 2048) / by_formula
    counted = f"XLA counts {ratio:.3f} times the formula's operations, for one layer forward."
    print(counted, flush=True)
    starts = measure_start(values.dataset, values.cpu_devices)
    rows = []
    for row in measure_steps(lengths, quick=values.quick):
        rows.append(row)
        page = f'{machine}. {counted}\n\n{markdown.record_table(starts)}\n{markdown.record_table(rows)}'
        results.write(values.output_dir, 'benchmark', page, {'benchmark': rows, 'start': starts}, report=False)
    print(f'written to {values.output_dir}')


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
