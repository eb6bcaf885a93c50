"""Stochastic gates on the input, open from 0 to 1, of which training closes those that are not worth their price.

Yamada et al., Feature Selection using Stochastic Gates, ICML 2020 (arXiv 1810.04247). A gate is clip(location +
std · noise + 1/2, 0, 1): in training with noise from N(0, 1), which lets a closed gate open again, and at test without.
"""

import jax
import jax.numpy as jnp

Array = jax.Array

# Where gates begin: just fully open at test, and at 0.8 on average in training with a std of 0.5.
INITIAL_LOCATION = 0.5
# What gates are of: 'none', each point, or each of its coordinates.
KINDS = ('none', 'point', 'coordinate')


def opening(locations: Array, noise: Array | float = 0.0, std: float = 0.5) -> Array:
    """How far gates are open, in [0, 1]; without noise as at test.

    Args:
        locations: <float32>[gates], learned.
        noise: <float32>[…, gates], from N(0, 1).
        std: of the noise, config.gate_std.

    Returns:
        <float32>[…, gates].
    """
    return jnp.clip(locations + std * noise + 0.5, 0, 1)


def draw(locations: Array, std: float, keys: Array) -> Array:
    """How far gates are open in training, <float32>[clips, gates]: drawn for each clip, the same in all its frames.

    Args:
        locations: <float32>[gates].
        std: of the noise.
        keys: [clips], of each clip.
    """
    noise = jax.vmap(lambda key: jax.random.normal(key, locations.shape, locations.dtype))(keys)
    return opening(locations, noise, std)


def share_open(locations: Array, std: float) -> Array:
    """<float32>[], the mean probability that a gate is open in training: Φ((location + 1/2) / std)."""
    return jax.scipy.stats.norm.cdf((locations + 0.5) / std).mean()
