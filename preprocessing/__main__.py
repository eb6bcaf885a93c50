"""Lists the commands of this package."""

import os

from slr_jax import cli

if __name__ == '__main__':
    cli.list_commands('preprocessing', os.path.dirname(__file__))
