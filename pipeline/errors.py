"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something that the user can mend: bad input, a wrong path, an impossible setting.

    The message is one clear statement: what was expected, what was received, where, and what to
    do. The runners print it without a stack trace (the trace goes to the log file).
    """
