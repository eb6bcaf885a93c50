"""Errors that a user caused and can mend, and how every command tells them."""

from collections.abc import Callable
import logging as stdlib_logging
import re
import sys

from absl import app, flags, logging

_HALF_CAUSE = 120


class InputError(Exception):
    """One sentence that names the file, row or field, what was found and what was expected."""


def run(main: Callable[[], None], define_flags: Callable[[], None]) -> None:
    """Runs a command: defines and parses its flags, calls `main`, and tells errors of the input in one sentence.

    Flags are defined here, not where the module is imported, so that commands can import one another.
    Exits with status 1 after an error of the input or of the file system, 130 after an interrupt.
    """
    define_flags()
    try:
        app.run(lambda _: main(), flags_parser=_parse_flags)
    except InputError as error:
        _stop(str(error))
    except OSError as error:
        # Where a file takes the place of another, the second name is the one that was given.
        name = error.filename2 or error.filename
        where = f'{name}: ' if name else ''
        _stop(f'{where}{error.strerror or error}')
    except KeyboardInterrupt:
        sys.exit(130)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        rest = app.parse_flags_with_usage(argv) if _asks_for_help(argv) else flags.FLAGS(argv)
    # A config is a Python file: reading it, or a field that it lacks, can fail in any way.
    except Exception as error:
        sentence = one_line(error)
        missing = re.findall(r'flag --(\w+)=None', sentence)
        if missing:
            sentence = f'--{" and --".join(missing)} must be given'
        elif not isinstance(error, flags.Error):
            config = next((word for word in argv if re.match('--config[=.]', word)), 'the config')
            sentence = f'{config} cannot be used: {sentence}'
        raise InputError(sentence) from None
    if flags.FLAGS['verbosity'].using_default_value:
        # The libraries below tell every file that they write.
        logging.set_verbosity(logging.FATAL)
        # Where a disk is full, threads of orbax tell a second time what it raises.
        stdlib_logging.getLogger('asyncio').setLevel(stdlib_logging.CRITICAL)
        sys.unraisablehook = lambda _: None
    if len(rest) > 1:
        raise InputError(f'unexpected argument {rest[1]!r}; options are written --name=value')
    return rest


def one_line(error: Exception) -> str:
    """The beginning and the end of an error of a library, in one line."""
    text = ' '.join(str(error).replace('\\n', ' ').split()) or type(error).__name__
    return text if len(text) <= 2 * _HALF_CAUSE else f'{text[:_HALF_CAUSE]} … {text[-_HALF_CAUSE:]}'


def _asks_for_help(argv: list[str]) -> bool:
    return any(argument.lstrip('-').startswith('help') for argument in argv[1:])


def _stop(sentence: str) -> None:
    print(f'error: {" ".join(sentence.split())}', file=sys.stderr)
    sys.exit(1)
