"""The command line: finds the command, runs it, and turns errors into messages and exit codes.

Knows the commands by name alone: a command's module, and with it everything heavy, is imported
when it is run, and plugins are looked for only then. That is why this is not a group of typer's,
which imports each command to say what it does.
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
    "ask": "answer questions, with the passages that each answer rests on",
    "train": "fine-tune question encoder and generator through the marginal",
    "eval": "how good answers are over a file of questions, with intervals",
    "replay": "repeat an evaluation, and tell what is different",
    "verify": "recompute a served answer's log p by the definition",
    "memory": "build, list, verify, activate and search the versions of a memory",
    "check": "find every fault in a pipeline file",
    "fill": "write a pipeline file out with every default",
    "schema": "the JSON Schema of pipeline files, for editors",
    "plugins": "what is installed, what it gives, and what is wrong with it",
    "plugin": "hold a component to its contract, or begin a plugin of your own",
}
"""The core's commands, and what each does; `ragcore.registry.builtin` says where each lives."""

_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, as `ragcore` and `python -m ragcore` do.

    Args:
        arguments: those after the program's name; `sys.argv`'s where None.

    Returns:
        The exit code: 0; 2 for an error that the user can mend, its message on standard error;
        130 after an interrupt; 1 if the reader of our output went away.
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
        # What is still in the buffer would raise once more when the interpreter closes it.
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
        # Typer prints its own complaints about arguments, and then leaves by SystemExit.
        command.main(args=arguments, prog_name=f"ragcore {name}")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


def _find(name: str) -> typer.Typer:
    """The app of a command, the core's or a plugin's."""
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
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: ragcore COMMAND [ARGUMENTS]",
            "",
            "Retrieval-augmented generation with a memory that can be swapped like a part.",
            "",
            "Commands:",
            *lines,
            "",
            "Options:",
            f"  {'--help':<{max(width, 9)}}  this page; `ragcore COMMAND --help` for a command's",
            f"  {'--version':<{max(width, 9)}}  the version of ragcore",
            "",
            "plugins may add commands: ragcore plugins",
        ]
    )
