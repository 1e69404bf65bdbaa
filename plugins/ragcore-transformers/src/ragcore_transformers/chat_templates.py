"""Render chat templates so that the same settings give the same prompt on every day.

Templates may print the current date by the function `strftime_now`. Here it is a macro over a fixed
date. Thinking is off unless the settings turn it on, and a block that a template opens for it is
closed, so that a reply is the answer. Knows templates; knows nothing of prompts or models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, Final

__all__ = ["Thinking", "closed", "render"]

_DIRECTIVES: Final = "aAbBcdDeFGhHIjmMnpSTuUVwWxXyYZ"
_OFF: Final = {"enable_thinking": False, "thinking": False}
"""The variables by which templates turn thinking off; others ignore them."""

_TAGS: Final = ("think", "thinking", "thought", "reasoning")
_OPENED: Final = re.compile(rf"<({'|'.join(_TAGS)})>\s*\Z")
_BLOCK: Final = re.compile(rf"<({'|'.join(_TAGS)})>.*?(?:</\1>|\Z)", re.DOTALL)
_REST: Final = re.compile(rf"\A.*</(?:{'|'.join(_TAGS)})>", re.DOTALL)


def render(
    tokenizer: Any,
    messages: Sequence[Mapping[str, str]],
    today: date,
    variables: Mapping[str, Any],
    *,
    reply_follows: bool = False,
) -> str:
    """Return a dialogue as the tokenizer's template writes it.

    Args:
        tokenizer: has the template; it is not changed.
        messages: each with "role" and "content".
        today: the date that the template prints, if it prints one.
        variables: more of the template's variables.
        reply_follows: whether the assistant's reply follows.
    """
    text: str = tokenizer.apply_chat_template(
        list(messages),
        chat_template=_clock(today) + tokenizer.get_chat_template(),
        tokenize=False,
        add_generation_prompt=reply_follows,
        **{**_OFF, **variables},
    )
    return text


def closed(text: str) -> str:
    """Close the block for thinking that a prompt's end opens, if it does."""
    opened = _OPENED.search(text)
    return text if opened is None else f"{text.rstrip()}\n\n</{opened[1]}>\n\n"


class Thinking:
    """Removes what a model thinks from its replies."""

    def __init__(self, tokenizer: Any) -> None:
        """Look up the tags that are one token; where these are special, the text lacks them."""
        vocabulary = tokenizer.get_vocab()
        self._open = {vocabulary[f"<{tag}>"] for tag in _TAGS if f"<{tag}>" in vocabulary}
        self._close = {vocabulary[f"</{tag}>"] for tag in _TAGS if f"</{tag}>" in vocabulary}

    def without_tokens(self, token_ids: Sequence[int]) -> list[int]:
        """Return the tokens outside of blocks; one that is not closed extends to the end."""
        remaining: list[int] = []
        inside = False
        for token in token_ids:
            if token in self._close:
                # Without an opening tag, all before it was thought.
                remaining = remaining if inside else []
                inside = False
            elif token in self._open:
                inside = True
            elif not inside:
                remaining.append(token)
        return remaining

    def without_text(self, text: str) -> str:
        """Return a text outside of blocks whose tags it spells out, single-spaced if it has any."""
        return " ".join(self.outside(text).split()) if "<" in text else text

    def outside(self, text: str) -> str:
        """Return a text outside of blocks whose tags it spells out, its white space unchanged."""
        return _REST.sub("", _BLOCK.sub("", text)) if "<" in text else text

    def settled(self, text: str) -> str:
        """Return the text of an answer's first tokens outside of blocks, without a tag's beginning.

        What stands before a closing tag that nothing opened has been returned by then; a prompt
        leaves no block open, so that a reply begins outside of one.
        """
        opened = text.find("<")
        while opened >= 0:
            rest = text[opened:]
            if any(f"<{tag}>".startswith(rest) or f"</{tag}>".startswith(rest) for tag in _TAGS):
                return self.without_text(text[:opened]).rstrip()
            opened = text.find("<", opened + 1)
        return self.without_text(text)


def _clock(today: date) -> str:
    """Return a macro for `strftime_now`; a line of its own, so that the template begins a line."""
    now = datetime.combine(today, time())
    replaced = "format"
    for directive in _DIRECTIVES:
        for code in (f"%{directive}", f"%-{directive}"):
            replaced += f"|replace({code!r}, {now.strftime(code)!r})"
    return f"{{% macro strftime_now(format) %}}{{{{ {replaced} }}}}{{% endmacro %}}\n"
