"""The entry point of every command: flags, and errors of the input reported in one sentence."""

from collections.abc import Callable
import logging as stdlib_logging
import re
import signal
import sys

from absl import app, flags, logging

from slr_jax import errors


def run_command(main: Callable[[], None], define_flags: Callable[[], None]) -> None:
    """Defines and parses the flags of a command, calls `main`, and reports errors of the input in one sentence.

    Flags are defined here, not where the module is imported, so that commands can import one another. What comes with
    an extra is imported by `main`, so that a missing package or library is reported here.
    Exits with status 1 after an error of the input or of the file system, 130 after an interrupt (SIGINT), 143 after
    SIGTERM, or 75 where a training has saved what it had done.
    """
    received = []

    def terminate(*_: object) -> None:
        received.append(True)
        raise errors.Terminated('ended by SIGTERM')

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        try:
            define_flags()
            app.run(lambda _: main(), flags_parser=_parse_flags)
        except Exception:
            # An extension that is being imported makes an ImportError of it.
            if received:
                raise errors.Terminated('ended by SIGTERM') from None
            raise
    except errors.InputError as error:
        _exit(str(error))
    except (ImportError, OSError) as error:
        missing = errors.missing_dependency(error)
        if missing:
            _exit(missing)
        if isinstance(error, ImportError):
            raise
        # Where a file takes the place of another, the second name is the one that was given.
        name = error.filename2 or error.filename
        where = f'{name}: ' if name else ''
        _exit(f'{where}{error.strerror or error}')
    except KeyboardInterrupt:
        sys.exit(130)
    except errors.Terminated as error:
        print(error, file=sys.stderr)
        sys.exit(error.status)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        rest = app.parse_flags_with_usage(argv) if _asks_for_help(argv) else flags.FLAGS(argv)
    # A config is a Python file: reading it, or a field that it lacks, can fail in any way.
    except Exception as error:
        raise errors.InputError(_flag_error(argv, error)) from None
    if flags.FLAGS['verbosity'].using_default_value:
        _silence_libraries()
    if len(rest) > 1:
        raise errors.InputError(f'unexpected argument {rest[1]!r}; options are written --name=value')
    return rest


def _flag_error(argv: list[str], error: Exception) -> str:
    sentence = errors.one_line(error)
    missing = re.findall(r'flag --(\w+)=None', sentence)
    if missing:
        return f'--{" and --".join(missing)} must be given'
    if isinstance(error, flags.Error):
        return sentence
    config = next((word for word in argv if re.match('--config[=.]', word)), 'the config')
    return f'{config} cannot be used: {sentence}'


def _silence_libraries() -> None:
    """Only errors are reported; `--verbosity` shows what the libraries log."""
    # TFDS and Orbax log every file they write.
    logging.set_verbosity(logging.FATAL)
    # Where a disk is full, Orbax's threads log the exception again.
    stdlib_logging.getLogger('asyncio').setLevel(stdlib_logging.CRITICAL)
    sys.unraisablehook = lambda _: None


def _asks_for_help(argv: list[str]) -> bool:
    return any(argument.lstrip('-').startswith('help') for argument in argv[1:])


def _exit(sentence: str) -> None:
    print(f'error: {" ".join(sentence.split())}', file=sys.stderr)
    sys.exit(1)
