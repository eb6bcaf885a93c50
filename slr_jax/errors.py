"""Errors of the input, which the user can mend."""

from collections.abc import Iterable, Sequence
import difflib
import re
import shlex
import unicodedata

_MAX_CAUSE, _MAX_SENTENCE = 240, 2000

_OWN_PACKAGES = ('slr_jax', 'preprocessing', 'configs', 'experiments', 'tests')
# Package -> the extra that brings it; the others come with slr_jax itself.
_EXTRAS = {
    'apache_beam': '[beam]',
    'av': '[preprocessing]',
    'cv2': '[preprocessing]',
    'mediapipe': '[preprocessing]',
    'pose_format': '[pose]',
    'statsmodels': '[experiments]',
}
# What OpenCV and MediaPipe need that their wheels do not bring.
_SYSTEM_PACKAGES = 'libgl1 libglib2.0-0 libegl1 libgles2'


class InputError(Exception):
    """One sentence that names the file, row or field, what was found and what was expected.

    What it quotes of a file may be anything: it is shortened, and signs that cannot be printed are escaped.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(_shorten(printable(re.sub(r'\s', ' ', sentence)), _MAX_SENTENCE))


# Characters that Python escapes, and that text of some languages has, or lines.
_SHOWN = '\n\t\u200c\u200d'


def printable(text: str) -> str:
    """The text with an escape, such as that of ESC, for each character that would control a terminal or is not seen."""
    if text.isprintable():
        return text
    return ''.join(
        sign if sign.isprintable() or sign in _SHOWN or unicodedata.category(sign) == 'Zs' else ascii(sign)[1:-1]
        for sign in text
    )


class Terminated(BaseException):
    """SIGINT or SIGTERM ended the process; the text says what a training has saved, and is empty elsewhere."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the nearest of the known names; empty where none is near."""
    similar = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean {similar[0]}?' if similar else ''


def first_of(texts: Sequence[str], most: int = 4) -> str:
    """The first of some texts, and how many more there are."""
    more = f' and {len(texts) - most} more' if len(texts) > most else ''
    return ', '.join(texts[:most]) + more


def quote(word: str) -> str:
    """A word of a printed command, so that a shell reads it as it is, in the one line of a sentence too."""
    if word.isprintable() and word == ' '.join(word.split()):
        return shlex.quote(word)
    escaped = ''.join(sign if sign.isalnum() or sign in '-_./=,:' else _octal(sign) for sign in word)
    return f"$'{escaped}'"


def _octal(sign: str) -> str:
    return ''.join(f'\\{byte:03o}' for byte in sign.encode('utf-8', 'surrogateescape'))


def one_line(error: BaseException) -> str:
    """The beginning and the end of an error of a library, in one line."""
    message: object = error
    # The text of a KeyError is the repr of its message; ml_collections puts a KeyError into an AttributeError.
    while isinstance(message, KeyError | AttributeError) and message.args:
        message = message.args[0]
    text = ' '.join(str(message).replace('\\n', ' ').split()) or type(error).__name__
    return _shorten(text, _MAX_CAUSE)


def _shorten(text: str, length: int) -> str:
    """Leaves out the middle of a longer text."""
    return text if len(text) <= length else f'{text[: length // 2 - 1]} … {text[2 - length // 2 :]}'


def missing_dependency(error: Exception) -> str | None:
    """What to install where a Python package or a library of the system is missing; None for any other error."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition('.')[0]
        if package in _OWN_PACKAGES:
            return None
        return f"{package} is not installed, get it with pip install 'slr_jax{_EXTRAS.get(package, '')}'"
    found = re.search(r'(lib[^\s:/]+\.so[.\d]*): cannot open shared object file', str(error))
    if found and isinstance(error, ImportError | OSError):
        return f'{found[1]} is missing, on Debian and Ubuntu get it with apt install {_SYSTEM_PACKAGES}'
    return None
