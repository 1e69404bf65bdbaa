"""A chat with a loaded pipeline: what each line asks, or commands.

Knows the pipeline, its last answer and the turns so far; knows nothing of where lines come from.
"""

from __future__ import annotations

import json
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from rich.cells import cell_len
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from ragcore.answering.choose import answerer_for
from ragcore.answering.conversation import Turn
from ragcore.answering.request import AnswerSettings, checked_settings
from ragcore.answering.searching import Where
from ragcore.cli.messages import message_of
from ragcore.contracts import tier_of
from ragcore.errors import ConfigError, QuestionError, RequestCancelledError, StreamError, nearest
from ragcore.process.cancellation import Cancellation
from ragcore.questions.texts import fault_of
from ragcore.rag import Rag
from ragcore.types import Answer, Correction, Token
from ragcore.views.answer import answer_view, reply_view, without_view
from ragcore.views.console import output_console
from ragcore.views.output import print_error
from ragcore.views.source import on_one_line
from ragcore.views.versions import versions_view

__all__ = ["COMMANDS", "Chat"]

_SETTINGS: Final = (
    "k",
    "marginalize",
    "decode",
    "beams",
    "max_new_tokens",
    "sample",
    "stop",
    "repetition_penalty",
    "cite",
)
"""What `:set` may change: the settings of a request that have no command or option of their own."""


_INDENT: Final = "  "
"""Before an answer, as in its view."""


class Chat:
    """Answers questions line by line, and obeys commands, which begin with a colon."""

    def __init__(
        self, rag: Rag, *, history: bool = False, where: Where = None, at_terminal: bool = False
    ) -> None:
        """Begin without an answer.

        Args:
            rag: the pipeline; stays open.
            history: whether questions are asked with the turns before them; needs `rag.rewrite`.
            where: a filter for every question.
            at_terminal: whether a person reads along: text is printed as it is decided, and Ctrl-C
                ends what is being done, and not the chat.

        Raises:
            ConfigError: the pipeline has no generator.
        """
        self._rag = rag
        self._generator = rag.generator
        self._where = where
        self._at_terminal = at_terminal
        self._settings: dict[str, Any] = {}
        self._config = rag.config
        turns = rag.config.rewrite.turns if history and rag.config.rewrite else 0
        self._turns: deque[Turn] = deque(maxlen=turns)
        self._last: Answer | None = None
        self._console = output_console()

    def run(self, lines: Iterable[str]) -> int:
        """Answer or obey each line until there is none, or one says `:quit`.

        Errors that the user can fix are printed, and the chat goes on.

        Returns:
            How many lines failed.

        Raises:
            StreamError, BrokenPipeError: what is printed cannot be written.
            KeyboardInterrupt: Ctrl-C, where no person reads along.
        """
        failed = 0
        for line in lines:
            line = line.strip()
            if line == ":quit":
                break
            try:
                if line.startswith(":"):
                    self._obey(line)
                elif line:
                    self.ask(line)
            except (BrokenPipeError, StreamError):
                raise
            except (KeyboardInterrupt, RequestCancelledError):
                if not self._at_terminal:
                    raise KeyboardInterrupt from None
                self._say("stopped", "yellow")
            except Exception as error:
                message = message_of(error)
                if message is None:
                    raise
                failed += 1
                print_error(message)
        return failed

    def ask(self, question: str) -> None:
        """Print the answer to a question, and remember both.

        At a terminal the text is printed as it is decided, where the answer is that of `Rag.answer`
        and is certain to be passed on.
        """
        self._last = None
        with self._interruptible() as cancellation:
            settings = cast(
                AnswerSettings,
                {
                    **self._settings,
                    "where": self._where,
                    "history": list(self._turns),
                    "cancellation": cancellation,
                },
            )
            if self._streams():
                answer, printed = self._streamed(question, settings)
            else:
                (answer,) = self._rag.answer(question, **settings)
                printed = ""
        if printed and printed != on_one_line(answer.text):
            self._erase(printed)
            printed = ""
        self._console.print(reply_view(answer, text=not printed), soft_wrap=True)
        self._last = answer
        if self._turns.maxlen and fault_of(answer.text) is None:
            self._turns.append(Turn(question, answer.text))

    def _streams(self) -> bool:
        """Return whether tokens are printed before the whole answer is known.

        Thorough and fast decoding know their answer at the end alone, a stream's would be another.
        An answer that may be withheld is not printed before that is decided.
        """
        config = self._config
        withholds = config.confidence is not None and config.confidence.threshold > 0
        same = config.marginal == "token" or config.decode == "joint"
        return self._at_terminal and same and not withholds

    def _streamed(self, question: str, settings: AnswerSettings) -> tuple[Answer, str]:
        """Print the tokens of an answer as they are decided; return it, and what was printed."""
        text = printed = ""
        answer: Answer | None = None
        events = self._rag.events(question, **settings)
        try:
            for event in events:
                match event:
                    case Token():
                        text += event.text
                        # White space and length as in the answer's view, so that nothing changes.
                        part = _without_start(on_one_line(text), printed)
                        self._print_part(part if printed else part and _INDENT + part)
                        printed += part
                    case Correction():
                        # The whole text follows, with the answer.
                        text = event.text
                    case Answer():
                        answer = event
        except BaseException:
            if printed:
                self._console.print("")
            raise
        finally:
            events.close()
        assert answer is not None, "a stream ends with the answer"
        return answer, printed

    def _print_part(self, part: str) -> None:
        if part:
            self._console.print(Text(part, style="bold green"), end="", soft_wrap=True)

    def _erase(self, printed: str) -> None:
        """Take back what was printed of an answer; where it fills the line, go to the next one."""
        if cell_len(printed) + len(_INDENT) < self._console.width:
            self._console.control(
                Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
            )
        else:
            self._console.print("")

    @contextmanager
    def _interruptible(self) -> Iterator[Cancellation]:
        """Let Ctrl-C cancel a request before its next token, and pressed again, wherever it is.

        Only where log-probs are computed here: a server's reply is not waited for.
        """
        cancellation = Cancellation()
        in_steps = self._at_terminal and tier_of(self._generator) == "steps"
        # Signals are the main thread's.
        if not in_steps or threading.current_thread() is not threading.main_thread():
            yield cancellation
            return

        def interrupt(number: int, frame: object) -> None:
            if cancellation.cancelled:
                raise KeyboardInterrupt
            cancellation.cancel()

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield cancellation
        finally:
            signal.signal(signal.SIGINT, before)

    def _obey(self, line: str) -> None:
        """Do what a command says.

        Raises:
            ConfigError: there is no such command.
        """
        name, _, argument = line[1:].partition(" ")
        command = COMMANDS.get(name)
        if command is None:
            close = nearest(name, list(COMMANDS))
            hint = f"did you mean :{close}? " if close else ""
            raise ConfigError(f"no command :{name[:80]}: {hint}:help lists them")
        command.run(self, argument.strip())

    def swap(self, version: str) -> None:
        """Serve another version in this chat; the store's current one stays what it is."""
        if not version:
            raise ConfigError(":swap needs the name of a version, which :versions lists")
        before = self._rag.swap(version)
        self._say(f"memory {self._rag.memory.version}, before {before}")

    def versions(self, _: str) -> None:
        """List the versions of the store; * marks the one that is asked."""
        serving = self._rag.memory.version
        self._console.print(versions_view(self._rag.memory.versions(), marked=serving))

    def why(self, _: str) -> None:
        """Show the last answer with its evidence."""
        self._console.print(answer_view(self._answer()))

    def without(self, numbers: str) -> None:
        """Show what becomes of the last answer without the passages of these numbers."""
        answer = self._answer()
        by_number = {number: answer.evidence[z].passage.id for number, z in answer.by_number()}
        chosen = numbers.replace("[", " ").replace("]", " ").split()
        unknown = [n for n in chosen if not (n.isdecimal() and int(n) in by_number)]
        if not chosen or unknown:
            found = f", found {unknown[0][:80]!r}" if unknown else ""
            raise QuestionError(
                f":without needs numbers of the last answer's passages, which :why shows: it has "
                f"{len(by_number)}{found}"
            )
        ids = list(dict.fromkeys(by_number[int(number)] for number in chosen))
        self._console.print(without_view(answer, self._rag.without(answer, ids)), soft_wrap=True)

    def set(self, change: str) -> None:
        """Change a setting of the questions to come; show them where no change is named."""
        if change:
            name, equals, value = map(str.strip, change.partition("="))
            if not equals or name not in _SETTINGS:
                raise ConfigError(
                    f":set needs NAME=VALUE, as in :set k=3, found {change[:80]!r}; names: "
                    f"{', '.join(_SETTINGS)}"
                )
            settings = {**self._settings, name: _value_of(value)}
            config = checked_settings(self._rag.config, settings).config
            # What the generator cannot do is refused here, and not for each question to come.
            answerer_for(self._generator, config)
            self._config = config
            self._settings = {key: each for key, each in settings.items() if each is not None}
        settings = self._settings
        changed = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        self._say(", ".join(changed) or "all settings are the pipeline's")

    def new(self, _: str) -> None:
        """Forget the turns so far."""
        self._turns.clear()
        self._say("a new conversation begins")

    def help(self, _: str) -> None:
        """List the commands."""
        width = max(len(command.usage) for command in COMMANDS.values())
        for command in COMMANDS.values():
            self._say(f"{command.usage:<{width}}  {command.help}", "")

    def _answer(self) -> Answer:
        """Return the last answer.

        Raises:
            QuestionError: there is none.
        """
        if self._last is None:
            raise QuestionError("there is no answer yet: ask a question first")
        return self._last

    def _say(self, text: str, style: str = "dim") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Command:
    """What a line may say instead of a question.

    Attributes:
        usage: the command with its argument.
        help: what it does.
        run: does it, with the argument.
    """

    usage: str
    help: str
    run: Callable[[Chat, str], None]


COMMANDS: Final = {
    "why": _Command(":why", "show the last answer's passages, priors and posteriors", Chat.why),
    "without": _Command(
        ":without N …", "show the last answer without the passages of these numbers", Chat.without
    ),
    "versions": _Command(":versions", "list the memory's versions; * is asked", Chat.versions),
    "swap": _Command(":swap VERSION", "ask another version; the store stays as it is", Chat.swap),
    "set": _Command(":set NAME=VALUE", "change a setting, as k=3; null undoes it", Chat.set),
    "new": _Command(":new", "with --history: forget the turns so far", Chat.new),
    "help": _Command(":help", "list the commands", Chat.help),
    "quit": _Command(":quit", "end, as Ctrl-D does; Ctrl-C stops an answer", lambda chat, _: None),
}
"""What a line may say behind a colon; `run` ends the chat at `:quit` before it looks here."""


def _without_start(text: str, start: str) -> str:
    """Return what follows a start that was printed already; nothing where the text is cut."""
    return text[len(start) :] if text.startswith(start) else ""


def _value_of(text: str) -> Any:
    """Read the value of a setting: JSON, or else a word."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
