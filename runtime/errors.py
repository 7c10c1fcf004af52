"""The errors that a command tells its user in one line instead of a traceback."""


class CommandError(Exception):
    """A failure while running. The message is the one line that the user reads."""

    exit_code = 1


class InputError(CommandError):
    """Wrong input: a flag or a file. The message says which, what was expected, what was found."""

    exit_code = 2


def reason(error: Exception) -> str:
    """Returns what an error says, in one line.

    Those of a TensorFlow graph say first where they happened, and after the node's name what.
    """
    lines = str(error).strip().splitlines()
    nodes = [number for number, line in enumerate(lines[:-1]) if line.startswith("Node: ")]
    return lines[nodes[0] + 1] if nodes else lines[0]
