"""The entry point of every command: flags, and errors of the input reported in one sentence."""

import ast
from collections.abc import Callable
import contextlib
import difflib
import glob
import io
import logging as stdlib_logging
import os
import re
import shlex
import signal
import sys
import traceback
from typing import Any

from absl import app, flags, logging

from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files, stopping

_HELP = {'-h': 'help', '-?': 'help', '--?': 'help'} | {
    f'{dashes}{word}': word for dashes in ('-', '--') for word in ('help', 'helpshort', 'helpfull', 'helpxml')
}
# What absl says of a value -> what we say.
_WRONG_VALUES = {
    r"\('Non-boolean argument to boolean flag', (.*)\)": r'found \1, expected true or false',
    r'invalid literal for int\(\) with base 10: (.*)': r'found \1, expected a whole number',
    "module 'config_config' has no attribute 'get_config'": 'it has no function get_config',
    r'could not convert string to float: (.*)': r'found \1, expected a number',
}
# Status of a training that SIGTERM ended, and that has saved what it had done.
_SAVED = 75
# Flags of every command that name a folder to write.
_FOLDERS = ('output_dir', 'data_dir', 'work_dir')


def run_command(main: Callable[[], None], define_flags: Callable[[], None]) -> None:
    """Defines and parses the flags of a command, calls `main`, and reports errors of the input in one sentence.

    Flags are defined here, not where the module is imported, so that commands can import one another. What comes with
    an extra is imported by `main`, so that a missing package or library is reported here.
    Exits with status 1 after an error of the input or of the file system, 130 after SIGINT (Ctrl-C), 143 after SIGTERM,
    or 75 where a training that SIGTERM ended has saved what it had done.
    """
    try:
        with stopping.by_signals(), contextlib.redirect_stdout(_Printable(sys.stdout)):
            try:
                define_flags()
                app.run(lambda _: _run(main), flags_parser=_parse_flags)
            except Exception:
                # An extension that is being imported makes an ImportError of it.
                if stopping.received:
                    raise errors.Terminated from None
                raise
    except errors.InputError as error:
        _exit(str(error))
    except BrokenPipeError:
        # As `head` leaves it.
        stopping.end_process(128 + signal.SIGPIPE)
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
    except errors.Terminated as error:
        _end_by_signal(str(error))


class _Printable:
    """Standard output on which no text of a file controls the terminal; where there is none, nothing is shown."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream or io.StringIO()
        if hasattr(self._stream, 'reconfigure'):
            self._stream.reconfigure(errors='backslashreplace')

    def write(self, text: str) -> int:
        return self._stream.write(errors.printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _run(main: Callable[[], None]) -> None:
    main()
    # Here, where a pipe that is closed, or a full disk, can be said.
    sys.stdout.flush()


def define_split_flag(default: str | None, meaning: str) -> None:
    """Defines --split, of which `val` and `dev` are validation."""
    serializer: flags.ArgumentSerializer[str] = flags.ArgumentSerializer()
    flags.DEFINE(_SplitParser(dataset_lib.SPLITS), 'split', default, meaning, serializer=serializer)


class _SplitParser(flags.EnumParser):
    def parse(self, argument: str) -> str:
        return super().parse(dataset_lib.split_name(argument))


def _parse_flags(argv: list[str]) -> list[str]:
    helps = [f'--{word}' for argument in argv[1:] if (word := _HELP.get(argument.removesuffix('=true')))]
    if helps:
        _show_help(helps[0])
    if 'validation' in flags.FLAGS:
        argv = [re.sub(r'^--?(val|dev)(?==|$)', '--validation', argument) for argument in argv]
    _import_next_to_config(argv)
    try:
        rest = flags.FLAGS(argv)
        if 'config' in flags.FLAGS:
            # A config file that could not be read says so at the first look only.
            getattr(flags.FLAGS['config'].value, 'fields', None)
    # A config is a Python file: reading it, or a field that it lacks, can fail in any way.
    except Exception as error:
        raise errors.InputError(_flag_error(argv, error)) from None
    for flag in (flags.FLAGS[name] for name in flags.FLAGS if not name.startswith('config.')):
        may_be_empty = flag.default is not None or 'empty: ' in flag.help
        if flag.value == '' and not flag.using_default_value and not may_be_empty:
            raise errors.InputError(f'--{flag.name}= is empty, expected a value')
    for name in _FOLDERS:
        if name in flags.FLAGS and flags.FLAGS[name].value:
            files.check_suffix(str(flags.FLAGS[name].value))
    if flags.FLAGS['verbosity'].using_default_value:
        _silence_libraries()
    if len(rest) > 1:
        raise errors.InputError(f'unexpected argument {rest[1]!r}; options are written --name=value')
    return rest


def _show_help(word: str) -> None:
    if word == '--helpxml':
        flags.FLAGS.write_help_in_xml_format(sys.stdout)
    else:
        app.usage(shorthelp=word != '--helpfull', writeto_stdout=True)
    # absl would end with 1.
    sys.exit(0)


def _flag_error(argv: list[str], error: Exception) -> str:
    sentence = errors.one_line(error)
    for pattern, expected in _WRONG_VALUES.items():
        sentence = re.sub(pattern, expected, sentence)
    listed = re.search(r'=(.*): value should be one of <(.*)>', sentence)
    if listed:
        return sentence + errors.did_you_mean(listed[1], listed[2].split('|'))
    missing = re.findall(r'flag --(\w+)=None', sentence)
    if missing == ['config'] and (path := _config_path(argv)):
        return f'--config={path} cannot be used: get_config() returns nothing, expected a config'
    if missing:
        return f'--{" and --".join(missing)} must be given'
    if isinstance(error, flags.UnrecognizedFlagError) and not error.flagname.startswith('config.'):
        return f'there is no flag --{error.flagname}{_similar_flag(error.flagname)}'
    if 'config' in flags.FLAGS:
        return _config_error(argv, error, sentence)
    return sentence


def _similar_flag(name: str) -> str:
    values = flags.FLAGS
    own = [flag for flag in values if not str(values.find_module_defining_flag(flag)).startswith('absl.')]
    name = name.removeprefix('no') if name.removeprefix('no') in own else name
    if 'config' in own and name not in own:
        field = config_lib.nearest_field(name)
        if field and not errors.did_you_mean(name, {*own, 'help'} - {'config'}):
            return f'; did you mean --config.{field}?'
    return errors.did_you_mean(f'--{name}', [f'--{flag}' for flag in [*own, 'help']])


def _config_error(argv: list[str], error: Exception, sentence: str) -> str:
    """What is wrong with the config file, or with a field of it that the command line sets."""
    path = _config_path(argv)
    if path is not None and not os.path.isfile(path):
        return _no_config(path)
    cause: BaseException = error
    while cause.__cause__ or (cause.__context__ and not cause.__suppress_context__):
        cause = cause.__cause__ or cause.__context__ or cause
    if path is not None and (line := _line_in(path, cause)):
        return f'--config={path} cannot be used: line {line}: {type(cause).__name__}: {errors.one_line(cause)}'
    if path is not None and re.match(r'get_config\(\) (takes|missing) ', str(cause)):
        return f'--config={path} cannot be used: {cause}'
    for word in argv:
        field = re.match(r'--?(?:no)?config\.([^=]*)', word)
        if field and field[1] not in config_lib.field_paths():
            return config_lib.describe_unknown(field[1])
    if isinstance(error, flags.Error):
        return sentence
    config = next((word for word in argv if re.match('--config[=.]', word)), 'the config')
    return f'{config} cannot be used: {sentence}'


def _config_path(argv: list[str]) -> str | None:
    for number, word in enumerate(argv):
        name, equals, value = word.partition('=')
        if name in ('-config', '--config'):
            return value if equals else ''.join(argv[number + 1 : number + 2])
    return None


def _import_next_to_config(argv: list[str]) -> None:
    """Lets a config file of the current folder, or below it, import what else is there."""
    folder = os.path.join(os.path.realpath(os.curdir), '')
    if os.path.realpath(_config_path(argv) or os.pardir).startswith(folder) and folder[:-1] not in sys.path:
        sys.path.append(folder[:-1])


def _no_config(path: str) -> str:
    folder = os.path.dirname(path) or '.'
    known = sorted({*glob.glob(os.path.join(glob.escape(folder), '*.py')), *glob.glob('configs/*.py')})
    known = [os.path.normpath(name) for name in known if os.path.basename(name) != '__init__.py']
    if os.path.isdir(path):
        return f'--config={path} is a folder, expected a config file such as configs/own_videos.py'
    stems = {os.path.splitext(os.path.basename(name))[0]: name for name in known}
    close = difflib.get_close_matches(os.path.splitext(os.path.basename(path))[0], stems, n=1)
    hint = f'did you mean --config={errors.quote(stems[close[0]])}?' if close else 'configs/ has those of the project'
    return f'--config={path}: there is no such file; {hint}'


def _line_in(path: str, error: BaseException) -> int | None:
    """The last line of a file that an exception came from; None where it came from elsewhere."""
    if isinstance(error, SyntaxError) and error.filename and os.path.abspath(error.filename) == os.path.abspath(path):
        return error.lineno
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if os.path.abspath(frame.filename) == os.path.abspath(path)
    ]
    return lines[-1] if lines else None


def list_commands(package: str, folder: str) -> None:
    """Prints the commands of a package, each with what it does.

    Args:
        package: its name.
        folder: of its files.

    Raises:
        InputError: an argument is given; the message has the command that may be meant.
    """
    commands = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), '[a-z]*.py'))):
        with open(path, encoding='utf-8') as file:
            tree = ast.parse(file.read())
        if any(ast.unparse(node).startswith('if __name__ ==') for node in tree.body):
            name = os.path.splitext(os.path.basename(path))[0]
            commands[f'python -m {package}.{name}'] = (ast.get_docstring(tree) or '').partition('\n')[0]
    width = max(map(len, commands))
    words = [word for word in sys.argv[1:] if word not in _HELP]
    if words:
        hint = errors.did_you_mean(words[0], [command.rpartition('.')[2] for command in commands])
        _exit(f'python -m {package} lists its commands and takes no argument, found {words[0]!r}{hint}')
    with contextlib.suppress(BrokenPipeError):
        for command, meaning in commands.items():
            print(f'{command:{width}}  {meaning}')
        print('\n--help after one of them shows its flags.', flush=True)
        return
    stopping.end_process(128 + signal.SIGPIPE)


def _silence_libraries() -> None:
    """Only errors are reported; `--verbosity` shows what the libraries log."""
    # TFDS and Orbax log every file they write.
    logging.set_verbosity(logging.FATAL)
    # Where a disk is full, Orbax's threads log the exception again.
    stdlib_logging.getLogger('asyncio').setLevel(stdlib_logging.CRITICAL)
    sys.unraisablehook = lambda _: None


def _end_by_signal(saved: str) -> None:
    advice = f': {saved} is saved; the same command continues there' if saved else '; the same command starts again'
    command = shlex.join(['python', *sys.orig_argv[1:]])
    print(errors.printable(f'ended by {stopping.name()}{advice}: {command}'), file=sys.stderr)
    of_sigterm = _SAVED if saved else 128 + signal.SIGTERM
    stopping.end_process(of_sigterm if stopping.name() == 'SIGTERM' else 128 + signal.SIGINT)


def _exit(sentence: str) -> None:
    print(errors.printable(f'error: {" ".join(sentence.split())}'), file=sys.stderr)
    stopping.end_process(1)
