import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import accelerator, benchmark
from tests import in_process


@pytest.mark.parametrize(('dim', 'frames', 'mlp_dim'), [(150, 60, 2048), (42, 90, 512)])
def test_operations_are_those_that_xla_counts(dim, frames, mlp_dim):
    formula = benchmark.flops_of_clip(dim, frames, frames**2, mlp_dim, 1)
    # XLA counts softmax, LayerNorm, wider heads and the like as well, but no keys and values of the decoder.
    assert 0.96 < benchmark.xla_flops_of_clip(dim, frames, mlp_dim) / formula < 1.1


def test_operations_of_the_mean_clip_are_the_mean():
    lengths = np.array([10.0, 30.0, 80.0])
    each = [benchmark.flops_of_clip(42, length, length**2, 64, 6) for length in lengths]
    together = benchmark.flops_of_clip(42, lengths.mean(), (lengths**2).mean(), 64, 6)
    assert together == pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    ('options', 'facts'),
    [
        ('--dataset={out}/nowhere', ['/nowhere', 'directory']),
        ('--device=cpu', ['--dataset']),
        ('--dataset={out} --device=abacus', ['--device=abacus', 'cuda']),
    ],
)
def test_benchmark_refuses(tmp_path, capfd, monkeypatch, options, facts):
    argv = in_process.argv(f'experiments.benchmark {options} --output_dir={{out}}/b', out=tmp_path)
    in_process.check_refusal(*in_process.run_here(argv, capfd, monkeypatch), facts)
    assert not list(tmp_path.iterdir())


def test_several_steps_in_a_call_are_those_of_single_calls():
    def step(state, batch, key, rate):
        state = state * rate + batch['x'].sum() + key
        return state, {'sum': state}

    batches = [{'x': np.full((1, 2), i, np.float32)} for i in range(5)]
    (stacked, other) = accelerator.stack_steps(batches, 2)
    assert stacked['x'].shape == (1, 2, 2)
    assert (other['x'][0, :, 0] == [2, 3]).all()
    batch = jax.tree.map(lambda x: x[0], stacked)
    state, sums = accelerator.several_steps(step)(jnp.float32(3), batch, jnp.float32(1), 2.0)
    # 3 · 2 + 0 + 1 = 7; 7 · 2 + 2 + 1 = 17
    assert (state, sums['sum'].tolist()) == (17, [7, 17])
