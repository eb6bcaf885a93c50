"""Errors of the input, which the user can mend."""

_MAX_CAUSE = 240


class InputError(Exception):
    """One sentence that names the file, row or field, what was found and what was expected."""


def one_line(error: Exception) -> str:
    """The beginning and the end of an error of a library, in one line."""
    message: object = error
    # The text of a KeyError is the repr of its message; ml_collections puts a KeyError into an AttributeError.
    while isinstance(message, KeyError | AttributeError) and message.args:
        message = message.args[0]
    text = ' '.join(str(message).replace('\\n', ' ').split()) or type(error).__name__
    half = _MAX_CAUSE // 2
    return text if len(text) <= _MAX_CAUSE else f'{text[:half]} … {text[-half:]}'
