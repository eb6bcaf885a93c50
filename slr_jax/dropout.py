"""Dropout whose pattern is a hash of positions, instead of `nn.Dropout`.

Drawing a pattern from a key costs up to a fifth of a training step; the hash costs a few integer operations per value,
and is computed again in the backward pass instead of being stored. A value's pattern depends on its position and on the
place of its clip alone, so it is the same under `vmap` over seeds, next to more padded frames, in another row and on
another device; cheap keys (`unsafe_rbg`) do not promise that.
"""

import functools

import jax
import jax.numpy as jnp

Array = jax.Array


def places_of(places: Array | None, num_rows: int) -> Array:
    """<uint32>[rows], the places of clips that draw; None for those of a batch in its order."""
    return jnp.arange(num_rows, dtype=jnp.uint32) if places is None else places


def row_keys(key: Array, places: Array) -> Array:
    """A key for each row, of its place; that of place 0 is `key` itself."""
    return jnp.where(places == 0, key, jax.vmap(jax.random.fold_in, (None, 0))(key, places))


def draw_bits(key: Array, places: Array, *shape: int) -> Array:
    """Random bits for dropout.

    Args:
        key: of the step and the module.
        places: <uint32>[rows], of the clips, see `places_of`.
        *shape: of what has a pattern of its own.

    Returns:
        <uint32>[*shape, rows, 2], in each row a hash of its place, and a word that all rows share.
    """
    bits = jax.random.bits(key, (*shape, 1, 2), jnp.uint32)
    hashed = _mix(bits[..., 0] ^ places, bits[..., 1])
    return jnp.stack([hashed, jnp.broadcast_to(bits[..., 1], hashed.shape)], axis=-1)


def dropout(x: Array, rate: float | Array, bits: Array | None) -> Array:
    """Zeroes a fraction of the values and divides the others by 1 - rate.

    Args:
        x: <float>[rows, …].
        rate: fraction of the values that are dropped, in [0, 1); may be a traced <float32>[].
        bits: <uint32>[rows, 2] of `draw_bits`; None for no dropout.

    Returns:
        <float>[rows, …].
    """
    if bits is None or (isinstance(rate, (int, float)) and not rate):
        return x
    return _drop(x, jnp.float32(rate), bits)


@jax.custom_vjp
def _drop(x: Array, rate: Array, bits: Array) -> Array:
    # With jnp.where, jax would keep an array of zeros for all layers.
    return x * factors(x.shape, rate, bits).astype(x.dtype)


def _drop_forward(x: Array, rate: Array, bits: Array) -> tuple[Array, tuple[Array, Array]]:
    return _drop(x, rate, bits), (rate, bits)


def _drop_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, None, None]:
    return _drop(gradient, *saved), None, None


_drop.defvjp(_drop_forward, _drop_backward)


def factors(shape: tuple[int, ...], rate: float | Array, bits: Array, *, merge_rows: bool = False) -> Array:
    """What dropout multiplies values with: 0 or 1 / (1 - rate).

    Args:
        shape: of the values.
        rate: see dropout.
        bits: <uint32>[rows, 2] of `draw_bits`.
        merge_rows: whether to make one axis of all but the last.

    Returns:
        <float32>[*shape], or <float32>[rows, last].
    """
    drop_rate = jnp.float32(rate)
    keep = _hash(shape, bits, merge_rows) >= (drop_rate * 2.0**32).astype(jnp.uint32)
    return keep * (1 / (1 - drop_rate))


# Under jit, so that it is traced once for all layers and passes.
@functools.partial(jax.jit, static_argnums=(0, 2))
def _hash(shape: tuple[int, ...], bits: Array, merge_rows: bool) -> Array:
    """<uint32>[*shape], or <uint32>[rows, last]: a hash of each position and of the bits of its row.

    Axis after axis, so that a position keeps its hash where another axis, as that of padded frames, is longer.
    """
    x, word = bits[:, 0], bits[0, 1]
    *middle_positions, last_positions = (jnp.arange(size, dtype=jnp.uint32) for size in shape[1:])
    for positions in middle_positions:
        x = _mix(x[..., None] ^ positions, word)
    x = x.reshape(-1) if merge_rows else x
    return _mix(x[..., None] ^ last_positions, word)


def _mix(x: Array, word: Array) -> Array:
    """The integer hash lowbias32 (Wellons, 2018), with a word added between its two multiplications."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15) ^ word) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
