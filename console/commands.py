"""What the commands share: flag parsing, one-line errors, exit codes."""

import difflib
import functools
import os
import pathlib
import re
import shlex
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from absl import app
from absl import flags as absl_flags

from console import files, interruption, processor, streams
from console.errors import CommandError, InputError

PROJECT = pathlib.Path(__file__).resolve().parents[1]


def run(
    main: Callable[..., None],
    sections: Mapping[str, Sequence[str]] | None = None,
    most_arguments: int = 0,
) -> None:
    """Parses the command line, runs `main` with the positional arguments, and exits.

    There may be `most_arguments` of these, before, between or after the flags.

    `--help` prints the docstring of the program, and its flags in these sections.

    Exit codes: 0 success, 1 failure while running, 2 invalid input, 130 Ctrl-C, 143 SIGTERM, 129
    SIGHUP. An error that the user can do something about is reported in one line on standard error.
    """
    streams.make_forgiving()

    def checked_main(arguments: list[str]) -> None:
        interruption.raise_keyboard_interrupt()
        try:
            for argument in sys.argv[1:]:
                files.check_is_utf8(argument)
            processor.use_onednn()
            main(*arguments[1:])
        except CommandError as error:
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            fail("stopped by Ctrl-C", 130)

    if not {"--help", "-help", "-h", "--helpshort", "--helpfull"}.isdisjoint(sys.argv[1:]):
        print(help_text(sections or {}))
        sys.exit(0)
    parse = functools.partial(parse_flags, most_arguments=most_arguments)
    app.run(checked_main, flags_parser=parse)


def help_text(sections: Mapping[str, Sequence[str]]) -> str:
    """Returns what a command does, examples of it, and its flags by section."""
    lines = [sys.modules["__main__"].__doc__ or ""]
    for title, names in sections.items():
        lines.append(f"{title}:")
        for name in names:
            flag = absl_flags.FLAGS[name]
            values = "|".join(getattr(flag.parser, "enum_values", ["..."]))
            name = f"[no]{name}" if flag.boolean else f"{name}={values}"
            default = "" if flag.default is None else f" (default: {flag.default})"
            lines.append(f"  --{name}{default}")
            # absl puts the values of an enum in front, in angle brackets.
            about = flag.help.removeprefix(f"<{values}>: ")
            lines += textwrap.wrap(about, 90, initial_indent=" " * 6, subsequent_indent=" " * 6)
        lines.append("")
    # Only a network that is trained has presets.
    file = "presets/accurate.flags" if "model" in absl_flags.FLAGS else "FILE"
    lines.append(f"--flagfile={file} reads flags from a file; --verbosity=1 says more.")
    return "\n".join(lines)


def check_json_flag(path: str | None) -> None:
    """Checks that the result can be written as JSON; see `check_output_flag`."""
    check_output_flag("json", path)


def check_output_flag(name: str, path: str | None) -> None:
    """Checks, before the work rather than after it, that a flag's file can be written.

    Raises:
        InputError: `path` is in a folder that can't be written to, or is a folder itself.
    """
    if not path:
        return
    try:
        tempfile.TemporaryFile(dir=pathlib.Path(path).parent).close()
        can_be_written = not pathlib.Path(path).is_dir()
    except OSError:
        can_be_written = False
    if not can_be_written:
        raise InputError(f"--{name}: expected a writable file, found {path}")


def line(*arguments: str) -> str:
    """Returns the shell command that runs this Python with these arguments, in this folder.

    The first argument may be a command of the suite, such as `evaluate.py`.
    """
    first, *rest = arguments
    script = PROJECT / first
    return shlex.join([_python(), _from_here(script) if script.exists() else first, *rest])


def _python() -> str:
    executable = pathlib.Path(sys.executable)
    found = shutil.which(executable.name)
    is_found = found is not None and pathlib.Path(found) == executable
    return executable.name if is_found else _from_here(executable)


def _from_here(path: pathlib.Path) -> str:
    here = pathlib.Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def tensorboard(logdir: str | pathlib.Path) -> str:
    """Returns the shell command that shows the curves in a folder."""
    return line("-m", "tensorboard.main", f"--logdir={logdir}")


def fail(message: str, exit_code: int) -> NoReturn:
    """Prints one line that begins with the command's name, and exits."""
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    sys.exit(exit_code)


def parse_flags(arguments: list[str], most_arguments: int = 0) -> list[str]:
    """Parses a command line; exits with a one-line message if it is invalid.

    Returns the command and its arguments that are no flags, of which `most_arguments` may be there.
    """
    absl_flags.FLAGS.set_gnu_getopt(most_arguments > 0)
    try:
        rest = absl_flags.FLAGS(arguments)
    except absl_flags.UnrecognizedFlagError as error:
        meant = " or ".join(f"--{name}" for name in _meant(error.flagname))
        hint = f"; did you mean {meant}?" if meant else ""
        fail(f"unknown flag --{error.flagname}{hint} (--help lists the flags)", 2)
    except UnicodeDecodeError:
        fail("--flagfile: expected a file in UTF-8, found other bytes (--help lists the flags)", 2)
    except absl_flags.Error as error:
        fail(f"{_in_plain_words(error)} (--help lists the flags)", 2)
    if len(rest) - 1 > most_arguments:
        expected = f"flags and at most {most_arguments} names" if most_arguments else "flags only"
        found = rest[1 + most_arguments]
        hint = ""
        if found.startswith("\ufeff"):
            hint = " (a file that begins with a byte order mark: save it without)"
        elif "run" in absl_flags.FLAGS:
            hint = f"; did you mean --run={found}?"
        fail(f"expected {expected}, found {found!r}{hint} (--help lists the flags)", 2)
    return rest


def _in_plain_words(error: absl_flags.Error) -> str:
    """Returns absl's message in one line, or a better one."""
    message = " ".join(str(error).split())
    boolean = re.match(r"flag --(\w+)=(.*): \('Non-boolean argument", message)
    if boolean:
        name, found = boolean.groups()
        return f"--{name}: expected --{name} or --no{name}, found --{name}={found}"
    if isinstance(error, absl_flags.CantOpenFlagFileError):
        presets = ", ".join(sorted(path.name for path in (PROJECT / "presets").glob("*.flags")))
        return f"--flagfile: {message}; presets/ has {presets}"
    return message


def _meant(unknown: str) -> list[str]:
    """Returns the flags that are spelled nearly so or, for initials such as `lr`, their flag."""
    defined = absl_flags.FLAGS
    # Those of absl itself, such as run_with_pdb, are not listed by --help either.
    ours = [
        n for n in defined if not (defined.find_module_defining_flag(n) or "").startswith("absl")
    ]
    abbreviated = [n for n in ours if "".join(word[:1] for word in n.split("_")) == unknown]
    negated = [f"no{name}" for name in ours if defined[name].boolean]
    return difflib.get_close_matches(unknown, [*ours, *negated, "flagfile"], n=2) or abbreviated
