"""The errors that a command tells its user in one line instead of a traceback."""


class CommandError(Exception):
    """A failure while running. The message is the one line that the user reads."""

    exit_code = 1


class InputError(CommandError):
    """Wrong input: a flag or a file. The message says which, what was expected, what was found."""

    exit_code = 2
