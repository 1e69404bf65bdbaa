"""`ragcore chat`: ask at a prompt, with the pipeline loaded once.

Knows the command's options and where lines come from; knows nothing of what is done with a line,
which chatting.py does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, redirect_stdout, suppress
from typing import Annotated

import typer

from ragcore.cli.arguments import OverridesArgument, PipelineArgument
from ragcore.cli.asking import Questions, check_one_question, filter_notes_unlogged
from ragcore.cli.logs import is_quiet
from ragcore.views.output import neutral, print_error, print_text, terminal_stream

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def chat(
    pipeline: PipelineArgument,
    overrides: OverridesArgument = None,
    history: Annotated[
        bool,
        typer.Option(
            "--history",
            help="Let rag.rewrite read the turns so far, so that a question may continue them.",
        ),
    ] = False,
    where: Annotated[
        str | None,
        typer.Option(help="""Read only matching passages; JSON: '{"country": "Chad"}'."""),
    ] = None,
) -> None:
    """Ask at a prompt that keeps the model loaded; `:help` there lists commands."""
    from ragcore.cli.chatting import Chat
    from ragcore.errors import ConfigError
    from ragcore.filters.expressions import where_from_json
    from ragcore.rag import load
    from ragcore.views.console import TerminalConsole

    check_one_question(overrides or ())
    allowed = None if where is None else where_from_json(where)
    at_terminal = _is_terminal()
    loading = (
        TerminalConsole(stderr=True).status("Loading the pipeline …")
        if at_terminal and not is_quiet()
        else nullcontext()
    )
    with loading:
        rag = load(pipeline, *(overrides or ()))
    with filter_notes_unlogged(), rag:
        if history and rag.config.rewrite is None:
            raise ConfigError(
                "--history has no effect without rag.rewrite, by which the question is made one "
                "that stands alone: add rag.rewrite.turns=4 behind the pipeline, or leave "
                "--history out"
            )
        conversation = Chat(rag, history=history, where=allowed, at_terminal=at_terminal)

        def prompt() -> str:
            return neutral(f"{rag.memory.version}> ")

        if at_terminal:
            print_text("ask a question; :help lists commands, Ctrl-D ends")
        lines = Questions("-")
        failed = conversation.run(_typed(prompt) if at_terminal else _echoed(prompt, lines))
    if (failed or lines.failed) and not at_terminal:
        raise typer.Exit(ConfigError.exit_code)


def _is_terminal() -> bool:
    """Return whether a person types the lines, and sees what is printed."""
    typed = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    return typed and terminal_stream().isatty()


def _typed(prompt: Callable[[], str]) -> Iterator[str]:
    """Yield the lines that are typed; with readline, where Python has it, they can be edited.

    Ctrl-C drops the line that is being typed, and Ctrl-D ends.
    """
    with suppress(ModuleNotFoundError):
        # Its import is what makes `input` edit lines, and remember those of this chat.
        import readline  # noqa: F401
    stream = terminal_stream().stream
    while True:
        try:
            # `input` edits lines only where standard output is the interpreter's own stream.
            with redirect_stdout(stream):
                line = input(prompt())
        except EOFError:
            print_text("")
            return
        except KeyboardInterrupt:
            print_text("")
        except UnicodeDecodeError as error:
            print_error(f"what you typed is not {error.encoding}: type it again")
        else:
            yield line


def _echoed(prompt: Callable[[], str], lines: Iterable[str]) -> Iterator[str]:
    """Yield lines, and print each after the prompt: as if it were typed."""
    for line in lines:
        print_text(f"{prompt()}{line}")
        yield line
