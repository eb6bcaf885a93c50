"""Commands that reproduce a table, and benchmarks."""

# First of all: it decides where modules are taken from.
import slr_jax  # noqa: F401
