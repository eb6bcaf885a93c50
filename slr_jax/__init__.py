"""Sign-language and gesture recognition from landmarks, in JAX and Flax."""

__version__ = '0.2.0'
