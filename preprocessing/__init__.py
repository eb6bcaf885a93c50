"""From landmark files to TFDS datasets. Imports no jax."""

# First of all: it decides where modules are taken from.
import slr_jax  # noqa: F401
