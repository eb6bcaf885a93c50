"""The defaults: the published protocol (Luna-Jiménez et al., ICMI 2023, doi 10.1145/3577190.3614143).

Every field, its meaning and its legal values: slr_jax/config.py.
"""

import ml_collections

from slr_jax import config as config_lib


def get_config() -> ml_collections.ConfigDict:
    """The default config; other files import it and override a few fields."""
    return config_lib.default_config()
