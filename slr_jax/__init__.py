"""Sign-language and gesture recognition from landmarks, in JAX and Flax."""

import os
import signal
import sys
import warnings

__version__ = '0.2.0'

# `python -m` puts the current folder, which may hold a stranger's files, first among those that modules are taken from.
# Our commands take none from there, unless slr_jax itself is there, nor do processes that they start.
_COMMANDS = ('slr_jax', 'preprocessing', 'experiments')
IS_COMMAND = sys.argv[:1] == ['-m'] and any(
    word.removeprefix('-m').split('.')[0] in _COMMANDS for word in sys.orig_argv
)
if IS_COMMAND and not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):
    del sys.path[0]
    os.environ['PYTHONSAFEPATH'] = '1'
if IS_COMMAND:
    # Until cli.py takes over.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    # A warning of a library, which -W error makes an exception, is no fault of what is read.
    if 'error' in sys.warnoptions:
        warnings.simplefilter('default')
