"""`ragcore completion`: complete commands, subcommands and options in a shell.

    source <(ragcore completion bash)

The script that a shell runs asks `ragcore completion words` at each press of the key, so that it
stays right when plugins are installed or removed. Files are the shell's own matter.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from ragcore.cli.logs import LOG_OPTIONS
from ragcore.views.output import print_text

__all__ = ["app", "candidates"]

app = typer.Typer(
    help="Print a script that completes commands: source <(ragcore completion bash)",
    add_completion=False,
)


class Shell(StrEnum):
    """The shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_SCRIPTS: Final = {
    Shell.BASH: r"""_ragcore_complete() {
  local IFS=$'\n'
  COMPREPLY=($(ragcore completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _ragcore_complete ragcore""",
    Shell.ZSH: r"""#compdef ragcore
_ragcore_complete() {
  local -a candidates
  candidates=("${(@f)$(ragcore completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  candidates=("${(@)candidates:#}")
  if (( $#candidates )); then compadd -- "${candidates[@]}"; else _files; fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _ragcore_complete ragcore""",
    Shell.FISH: r"""function _ragcore_complete
  set -l words (commandline -opc) (commandline -ct)
  ragcore completion words -- $words[2..-1] 2>/dev/null
end
complete -c ragcore -a '(_ragcore_complete)'""",
}

_OPTIONS: Final = ("--help", "--version", *LOG_OPTIONS)
"""Options of `ragcore` itself."""


def _add(shell: Shell) -> None:
    def script() -> None:
        print_text(_SCRIPTS[shell])

    app.command(shell.value, help=f"Print the script for {shell}.")(script)


for _shell in Shell:
    _add(_shell)


@app.command(hidden=True)
def words(
    line: Annotated[
        list[str], typer.Argument(help="The words after `ragcore`, the last unfinished.")
    ],
) -> None:
    """Print what the last word may become, one a line."""
    for candidate in candidates(line):
        print_text(candidate)


def candidates(line: list[str]) -> list[str]:
    """List what the last of the words may become; empty where the shell should offer files.

    Args:
        line: the words after `ragcore`, at least one; the last may be empty.
    """
    from ragcore.cli import COMMANDS
    from ragcore.errors import RagcoreError
    from ragcore.registry.discovery import registry

    *before, unfinished = line
    while before and before[0] in LOG_OPTIONS:
        before.pop(0)
    if not before:
        return _matching([*COMMANDS, *registry().names("command"), *_OPTIONS], unfinished)
    try:
        loaded = registry().load("command", before[0])
    except RagcoreError:
        return []
    if not isinstance(loaded, typer.Typer):
        return []
    command: Any = typer.main.get_command(loaded)
    for word in before[1:]:
        command = getattr(command, "commands", {}).get(word, command)
    if unfinished.startswith("-"):
        options = [option for param in command.params for option in param.opts]
        options = [option for option in options if option.startswith("-")]
        return _matching([*options, "--help"], unfinished)
    commands = getattr(command, "commands", {})
    shown = [name for name, each in commands.items() if not each.hidden]
    return _matching(shown, unfinished)


def _matching(names: list[str], unfinished: str) -> list[str]:
    names = sorted(name for name in set(names) if name.startswith(unfinished))
    # Options come only after their first dash.
    return [name for name in names if unfinished or not name.startswith("-")]
