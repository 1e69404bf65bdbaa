"""The command line: find a command, run it, and turn errors into messages and exit codes.

Knows the commands by name alone: a command's module, and everything heavy that it imports, is
imported when the command runs, and plugins are discovered only then. A typer group would import
every command to list their help.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ragcore.errors import PluginError, RagcoreError
from ragcore.registry.installation import foreign_ragcore

if TYPE_CHECKING:
    import typer

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = {
    "ask": "answer questions, with the passages that each answer is based on",
    "train": "fine-tune question encoder and generator through the marginal",
    "eval": "measure answers to a file of questions, with intervals",
    "replay": "repeat an evaluation, and show what differs",
    "verify": "recompute a served answer's log p by the definition",
    "memory": "build, list, verify, activate and search the versions of a memory",
    "check": "list every error in a pipeline file",
    "fill": "print a pipeline file with every default",
    "schema": "print the JSON Schema of pipeline files, for editors",
    "plugins": "list installed plugins, what they provide, and what is wrong with them",
    "plugin": "test a component against its contract, or scaffold a plugin",
}
"""The core's commands, each with a line of help; `ragcore.registry.builtin` has their modules."""

_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, as `ragcore` and `python -m ragcore` do.

    Args:
        arguments: the arguments after the program's name; those of `sys.argv` where None.

    Returns:
        The exit code: 0; 2 for an error that the user can fix, its message on standard error;
        130 after an interrupt; 1 if the reader of the output has closed it.
    """
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except RagcoreError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except ImportError as error:
        foreign = foreign_ragcore()
        if foreign is None:
            raise
        print(f"{error}: {foreign}", file=sys.stderr)
        return PluginError.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Text left in the buffer would raise again when the interpreter closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    return code


def _run(arguments: list[str]) -> int:
    match arguments:
        case []:
            print(_usage(), file=sys.stderr)
            return 2
        case ["--help" | "-h", *_]:
            print(_usage())
            return 0
        case ["--version", *_]:
            from ragcore import __version__

            print(f"ragcore {__version__}")
            return 0
        case [name, *rest]:
            return _run_command(name, rest)
    raise AssertionError("a list is empty or has a first item")


def _run_command(name: str, arguments: list[str]) -> int:
    foreign = foreign_ragcore()
    if foreign is not None:
        print(f"warning: {foreign}", file=sys.stderr)
    app = _find(name)
    import typer

    command = typer.main.get_command(app)
    try:
        # Typer prints its own errors about arguments, and then raises SystemExit.
        command.main(args=arguments, prog_name=f"ragcore {name}")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _find(name: str) -> typer.Typer:
    """Load the app of a command, the core's or a plugin's."""
    from ragcore.errors import UnknownComponentError
    from ragcore.registry.discovery import registry

    if name.startswith("-"):
        raise UnknownComponentError(f"unknown option {name!r}: options follow a command's name")
    app = registry().load("command", name)
    import typer

    if not isinstance(app, typer.Typer):
        raise PluginError(f"command {name!r} is {type(app).__name__}, not a typer.Typer")
    return app


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {help_}" for name, help_ in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: ragcore COMMAND [ARGUMENTS]",
            "",
            "Retrieval-augmented generation with a memory that can be swapped like a component.",
            "",
            "Commands:",
            *lines,
            "",
            "Options:",
            f"  {'--help':<{max(width, 9)}}  print help; `ragcore COMMAND --help` for one command",
            f"  {'--version':<{max(width, 9)}}  print the version of ragcore",
            "",
            "Plugins may add commands: see `ragcore plugins`.",
        ]
    )
