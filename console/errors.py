"""Errors that a command reports to its user in one line instead of a traceback."""


class CommandError(Exception):
    """A failure while running. The message is the one line that the user sees."""

    exit_code = 1


class InputError(CommandError):
    """Wrong input: a flag or a file. The message says which, what was expected, what was found."""

    exit_code = 2


def reason(error: Exception) -> str:
    """Returns an error's message in one line.

    Errors in a TensorFlow graph begin with where they happened: what happened follows the line
    with the node's name or, from a server, the line with the server's.
    """
    lines = str(error).strip().removeprefix("Graph execution error:").strip().splitlines()
    nodes = [number for number, line in enumerate(lines[:-1]) if line.startswith("Node: ")]
    lines = lines[nodes[0] + 1 :] if nodes else lines
    is_from_server = len(lines) > 1 and lines[0].startswith("From /job:")
    return lines[1] if is_from_server else lines[0]
