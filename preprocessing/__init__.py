"""From landmark files to TFDS datasets. Imports no jax."""
