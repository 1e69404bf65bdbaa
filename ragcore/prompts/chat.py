"""A chat's texts around the user's message, as the model's chat template writes them.

A template may print the current date by the function `strftime_now`: `dated` makes it a macro over
a fixed date, so that the same settings give the same prompt on every day. Thinking is off unless
the settings turn it on, and a block that a template opens for it is closed. Knows templates by a
function that renders them; knows nothing of tokenizers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

from ragcore.errors import GeneratorError
from ragcore.prompts.settings import PromptConfig
from ragcore.prompts.thinking import closed
from ragcore.prompts.time_limit import time_limit

__all__ = ["THINKING_OFF", "Chat", "Render", "chat_of", "dated"]

_LOG: Final = logging.getLogger(__name__)

_MESSAGE: Final = "ragcore\ufff9message"
_REPLY: Final = "ragcore\ufff9reply"
"""Placeholders for a chat's message and reply; no template strips, escapes or splits them."""

_ANOTHER_DAY: Final = date(1212, 12, 12)
"""Differs from every date of today in its day, month and year, or nearly so."""

_DIRECTIVES: Final = "aAbBcdDeFGhHIjmMnpSTuUVwWxXyYZ"

_SECONDS: Final = 10.0
"""A template of 10,000 characters takes 0.1 s; one of a hostile file may take for ever."""

THINKING_OFF: Final = {"enable_thinking": False, "thinking": False}
"""The variables by which templates turn thinking off; others ignore them."""

Render = Callable[[Sequence[Mapping[str, str]], date, bool], str]
"""Writes messages (each with "role" and "content") on a date, and whether a reply follows.

It raises where the template refuses the messages or fails, as any program of others may.
"""


@dataclass(frozen=True, slots=True)
class Chat:
    """The text that a chat template puts around the user's message, and after the reply.

    Attributes:
        before: up to the message.
        after: from the message to where the reply begins.
        end: what comes after the reply.
        dated: whether the template prints the date.
    """

    before: str
    after: str
    end: str
    dated: bool = False

    @classmethod
    def of(cls, model: str, render: Render, system: str | None, today: date) -> Chat:
        """Read the chat's texts off a template.

        Args:
            model: its name, for errors.
            render: writes messages as the template does.
            system: the system message; None for none.
            today: the date that the template prints, if it prints one.

        Raises:
            GeneratorError: the template refuses the messages, or does not repeat them.
        """
        opening = [] if system is None else [{"role": "system", "content": system}]
        messages = [*opening, {"role": "user", "content": _MESSAGE}]
        reply = {"role": "assistant", "content": _REPLY}
        try:
            with time_limit(_SECONDS):
                prompt = render(messages, today, True)
                another_day = render(messages, _ANOTHER_DAY, True)
                dialogue = render([*messages, reply], today, False)
        except Exception as fault:
            advice = "set chat: false" if system is None else "leave out system, or set chat: false"
            reason = str(fault) or type(fault).__name__
            raise GeneratorError(
                f"the chat template of model {model!r} fails ({reason}): {advice}"
            ) from fault
        if prompt.count(_MESSAGE) != 1 or dialogue.count(_REPLY) != 1:
            raise GeneratorError(
                f"the chat template of model {model!r} does not write the user's message and the "
                "assistant's reply once each: set chat: false"
            )
        before, _, after = prompt.partition(_MESSAGE)
        end = dialogue.partition(_REPLY)[2]
        return cls(before, closed(after), end, dated=prompt != another_day)


def chat_of(
    config: PromptConfig, render: Render | None, today: date, *, source: str = "the tokenizer"
) -> Chat | None:
    """Return the chat that prompts are turns of; None where prompts are plain text.

    Args:
        config: the generator's.
        render: writes messages as the model's chat template does; None where there is none.
        today: what a template that prints the date prints.
        source: where the template would be, for errors.

    Raises:
        GeneratorError: a setting needs a chat template, and there is none or it is not used.
    """
    use_chat = render is not None if config.chat is None else config.chat
    if use_chat and render is None:
        raise GeneratorError(
            f"chat is true but {source} of model {config.model!r} has no chat template: "
            "leave chat out, and write what the model expects in template"
        )
    if not use_chat and config.system is not None:
        raise GeneratorError(
            f"system is set but model {config.model!r} is not used with a chat template: write "
            "the message in template"
        )
    if not use_chat and config.chat_template_kwargs:
        raise GeneratorError(
            f"chat_template_kwargs is set but model {config.model!r} is not used with a chat "
            "template: leave it out"
        )
    if not use_chat or render is None:
        return None
    chat = Chat.of(config.model, render, config.system, today)
    if chat.dated and config.date is None:
        _LOG.warning(
            "the chat template of model %r prints the date, which is that of loading: set date "
            "to %s to get the same prompts on every day",
            config.model,
            today,
        )
    return chat


def dated(template: str, today: date) -> str:
    """Return a template that prints this date where it asks `strftime_now` for the current one."""
    if "strftime_now" not in template:
        # Compiling the macro takes longer than loading a small model.
        return template
    now = datetime.combine(today, time())
    replaced = "format"
    for directive in _DIRECTIVES:
        for code in (f"%{directive}", f"%-{directive}"):
            replaced += f"|replace({code!r}, {now.strftime(code)!r})"
    # A line of its own, so that the template begins a line.
    return f"{{% macro strftime_now(format) %}}{{{{ {replaced} }}}}{{% endmacro %}}\n{template}"
