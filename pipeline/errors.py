"""The one exception that users read, and other people's exceptions in one line."""

_LONGEST = 300  # characters of somebody else's message


class UserError(Exception):
    """Something that the user can fix: bad input, a wrong path, an impossible setting.

    The message is one clear statement: what was expected, what was received, where, and what to
    do. The runners print it without a stack trace (the trace goes to the log file).
    """


def one_line(error: BaseException) -> str:
    """An exception's message, at most 300 characters, without line breaks; never empty."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
