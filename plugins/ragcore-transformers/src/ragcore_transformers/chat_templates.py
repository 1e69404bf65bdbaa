"""Render chat templates so that the same settings give the same prompt on every day.

Templates may print the current date by the function `strftime_now`. Here it is a macro over a fixed
date. Thinking is off unless the settings turn it on. Knows Hugging Face's templates; knows nothing
of prompts or models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from ragcore.prompts.chat import THINKING_OFF, dated

__all__ = ["render"]


def render(
    tokenizer: Any,
    variables: Mapping[str, Any],
    messages: Sequence[Mapping[str, str]],
    today: date,
    reply_follows: bool,
) -> str:
    """Return a dialogue as the tokenizer's template writes it.

    Args:
        tokenizer: has the template; it is not changed.
        variables: more of the template's variables.
        messages: each with "role" and "content".
        today: the date that the template prints, if it prints one.
        reply_follows: whether the assistant's reply follows.

    Raises:
        Exception: the template refuses the messages, or fails.
    """
    text: str = tokenizer.apply_chat_template(
        list(messages),
        chat_template=dated(tokenizer.get_chat_template(), today),
        tokenize=False,
        add_generation_prompt=reply_follows,
        **{**THINKING_OFF, **variables},
    )
    return text
