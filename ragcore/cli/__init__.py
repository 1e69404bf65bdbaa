"""The command line: find a command, run it, and turn errors into messages and exit codes.

Knows the commands by name alone: a command's module, and everything heavy that it imports, is
imported when the command runs, and plugins are discovered only then. A typer group would import
every command to list their help.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ragcore.cli.logs import LOG_OPTIONS, LogOptions, logging_by, split_options
from ragcore.cli.messages import message_of
from ragcore.errors import ConfigError, PluginError, RagcoreError
from ragcore.process.cpus import configure_openmp
from ragcore.questions.texts import LONGEST_QUESTION, fault_of
from ragcore.registry.installation import foreign_ragcore
from ragcore.views.output import neutral_streams, print_error, print_text

if TYPE_CHECKING:
    from types import TracebackType

    import typer

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = {
    "ask": "answer questions, with the passages that each answer is based on",
    "chat": "ask at a prompt that keeps the model loaded; swap the memory meanwhile",
    "search": "find passages for questions: for people, as JSON or as a TREC run",
    "train": "fine-tune question encoder and generator through the marginal",
    "eval": "measure answers to a file of questions, with intervals",
    "experiment": "compare systems on the same questions: grids, statistics, cost",
    "calibrate": "fit temperature, confidence and the threshold to withhold answers",
    "tune": "choose settings on dev questions, and report them on test questions",
    "replay": "repeat an evaluation, and show what differs",
    "verify": "recompute a served answer's log p by the definition",
    "memory": "build, list, verify and activate the versions of a memory",
    "cache": "show the embedding cache, make it smaller, or empty it",
    "check": "list every error in a pipeline file",
    "fill": "print a pipeline file with every default",
    "schema": "print the JSON Schema of pipeline files, for editors",
    "plugins": "list installed plugins, what they provide, and what is wrong with them",
    "plugin": "test a component against its contract, or scaffold a plugin",
    "completion": "print a script that completes commands in bash, zsh or fish",
}
"""The core's commands, each with a line of help; `ragcore.registry.builtin` has their modules."""

_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 1
_WRONG_USAGE: Final = 2

_OWN_COMPLETION: Final = {"install_completion", "show_completion"}
"""Parameters that typer adds to an app."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, as `ragcore` and `python -m ragcore` do.

    All that is printed meanwhile is made neutral: see `ragcore.views.output`.

    Args:
        arguments: the arguments after the program's name; those of `sys.argv` where None.

    Returns:
        The exit code: 0; 2 for an error that the user can fix, its message on standard error;
        130 after an interrupt; 1 if the reader of the output has closed it.
    """
    if arguments is None:
        arguments = sys.argv[1:]
        sys.excepthook = _print_traceback
        _reserve_descriptors()
        _collect_rarely()
    # Before anything imports torch: OpenMP reads its settings once.
    configure_openmp()
    with neutral_streams():
        options = LogOptions()
        try:
            options, rest = split_options(list(arguments))
            with logging_by(options):
                code = _run(rest)
            sys.stdout.flush()
        except BrokenPipeError:
            code = _PIPE_CLOSED
        except Exception as error:
            message = message_of(error)
            if message is None:
                raise
            _print_failure(message, options)
            code = error.exit_code if isinstance(error, RagcoreError) else RagcoreError.exit_code
        except KeyboardInterrupt:
            code = _INTERRUPTED
    if code:
        _drop_unwritten()
    return code


def _print_failure(message: str, options: LogOptions) -> None:
    """Print the message of the error that ends a command, as the log is written."""
    if not options.as_json:
        print_error(message)
        return
    with logging_by(options):
        logging.getLogger("ragcore.cli").error("%s", message)


def _collect_rarely() -> None:
    """Look for unreachable cycles after 100,000 new objects, not after some hundred.

    Importing torch and transformers makes a million objects that stay, and to look through them
    again and again takes a tenth of the time until the first answer.
    """
    gc.set_threshold(100_000, 50, 1_000)


def _reserve_descriptors() -> None:
    """Open the null device in place of each standard stream that was closed.

    A file of a store would get its number otherwise, and what a library prints would go there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.open(os.devnull, os.O_RDWR)


def _drop_unwritten() -> None:
    """Let what standard output could not take go nowhere, if there is any.

    The interpreter writes what is in the buffer once more when it ends, and would fail again.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (OSError, ValueError, AttributeError):
            # Without a descriptor there is nothing that the interpreter would write.
            return


def _print_traceback(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Print a fault of the program itself; its message may hold texts of passages."""
    from traceback import format_exception

    print_error("".join(format_exception(kind, error, traceback)).rstrip("\n"))


def _run(arguments: list[str]) -> int:
    _check_arguments(arguments)
    match arguments:
        case []:
            print_error(_usage())
            return 2
        case ["--help" | "-h", *_]:
            print_text(_usage())
            return 0
        case ["--version", *_]:
            from ragcore import __version__

            print_text(f"ragcore {__version__}")
            return 0
        case [name, *rest]:
            return _run_command(name, rest)
    raise AssertionError("a list is empty or has a first item")


def _check_arguments(arguments: list[str]) -> None:
    """Refuse what no command can use: arguments in another encoding, or with NUL in them.

    Raises:
        ConfigError: names the argument by its number.
    """
    for number, argument in enumerate(arguments, 1):
        fault = None if len(argument) > LONGEST_QUESTION else fault_of(argument)
        if "\0" in argument:
            fault = "has the character NUL in it: remove it"
        if fault is not None:
            raise ConfigError(f"argument {number} of the command {fault}")


def _run_command(name: str, arguments: list[str]) -> int:
    foreign = foreign_ragcore()
    if foreign is not None:
        print_error(f"warning: {foreign}")
    _check_working_folder()
    app = _find(name)
    import typer

    command = typer.main.get_command(app)
    # A plugin's app may have these: they write a script for a program called "ragcore NAME".
    command.params = [param for param in command.params if param.name not in _OWN_COMPLETION]
    try:
        # Typer prints its own errors about arguments, and then raises SystemExit.
        command.main(args=arguments, prog_name=f"ragcore {name}")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code == _WRONG_USAGE:
            for option in sorted({*LOG_OPTIONS, "-vv"}.intersection(arguments)):
                print_error(f"{option} stands before the command: ragcore {option} {name} …")
        return code
    return 0


def _check_working_folder() -> None:
    """Refuse to run where relative paths have no meaning.

    Raises:
        ConfigError: the working folder was removed.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ConfigError(
            "the working folder no longer exists: change to another one, as with cd ~"
        ) from None


def _find(name: str) -> typer.Typer:
    """Load the app of a command, the core's or a plugin's."""
    from ragcore.errors import UnknownComponentError
    from ragcore.registry.discovery import registry

    if name.startswith("-"):
        raise UnknownComponentError(
            f"unknown option {name!r}: options follow a command's name, but for "
            f"{', '.join(LOG_OPTIONS)}"
        )
    app = registry().load("command", name)
    import typer

    if not isinstance(app, typer.Typer):
        raise PluginError(f"command {name!r} is {type(app).__name__}, not a typer.Typer")
    return app


def _usage() -> str:
    width = max(map(len, [*COMMANDS, "--log-json"]))
    options = [f"  {name:<{width}}  {help_}" for name, help_ in LOG_OPTIONS.items()]
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
            "Options, before the command:",
            f"  {'--help':<{max(width, 9)}}  print help; `ragcore COMMAND --help` for one command",
            f"  {'--version':<{max(width, 9)}}  print the version of ragcore",
            *options,
            "",
            "Plugins may add commands: see `ragcore plugins`.",
        ]
    )
