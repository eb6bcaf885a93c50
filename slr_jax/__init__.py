"""Sign-language and gesture recognition from landmarks, in JAX and Flax."""
