"""The errors and warnings that a user is meant to read."""

from typing import ClassVar


class LapilliError(Exception):
    """A failure for a reason that the user can understand and mend.

    The message is one line: the file, the row and the value at fault, the limit it broke, and the remedy.
    The command line prints it without a traceback and ends with `exit_code`.
    """

    exit_code: ClassVar[int] = 1


class UsageError(LapilliError):
    """A command or a recipe with a mistake; nothing has been started."""

    exit_code: ClassVar[int] = 2


class LapilliWarning(UserWarning):
    """What a user may want to change, though nothing is wrong; the command line prints its line on stderr."""
