"""Prompts as text: the template filled in, with passages cut to a number of characters.

A server looks for special tokens in a whole text, wherever they come from. Passages, questions and
answers are untrusted: what looks like a special token there gets a space after its first
character, so that it cannot end a turn or begin another. Knows no tokenizer and no server.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ragcore.prompts.fitting import even_shares
from ragcore.prompts.numbering import asking_to_cite, numbered
from ragcore.prompts.tokens import any_of
from ragcore.types import Passage
from ragcore_openai.configs import OpenAIConfig

__all__ = ["PromptTexts", "characters_of", "shortened"]

_SPECIAL: Final = re.compile(
    r"<[|\uff5c][^<>\s]{1,60}[|\uff5c]>"  # <|im_end|>, and DeepSeek's with full-width bars
    r"|</?(?:s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_image|EOT|EOD)>"
    r"|</?(?:tool_call|tool_response|think|thinking|thought|reasoning)>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|CLS|SEP|MASK|PAD|UNK)\]"
    r"|<</?SYS>>|\[gMASK\]"
)
"""What tokenizers name their special tokens; a server does not list them."""


class PromptTexts:
    """Makes the prompts of one generator; safe to use from several threads."""

    def __init__(self, config: OpenAIConfig, end_tokens: Sequence[str] = ()) -> None:
        """Take the templates.

        Args:
            config: of the generator.
            end_tokens: further special tokens that no field may spell.
        """
        self._config = config
        self._ends = any_of(end_tokens)

    def text(self, question: str, passages: Sequence[Passage], cite: bool, room: int | None) -> str:
        """Return the prompt of a question with its passages.

        Args:
            question: is never cut.
            passages: none, one, or several, which are numbered.
            cite: whether the answer is to name its passages by their numbers.
            room: the most characters of all passages together; None for all.
        """
        config = self._config
        if not passages:
            return self._filled(config.template_without_passage, question=question)
        cut = passages if room is None else shortened(passages, room)
        if len(cut) == 1 and not cite:
            (passage,) = cut
            return self._filled(
                config.template, title=passage.title, text=passage.text, question=question
            )
        template = config.template_of_passages
        return self._filled(
            asking_to_cite(template) if cite else template, text=numbered(cut), question=question
        )

    def separator(self, prompt: str) -> str:
        """Return what stands between a prompt and an answer that is scored."""
        if self._config.answer_prefix is not None:
            return self._config.answer_prefix
        if not prompt or prompt[-1].isspace():
            return ""
        ends_special = any(
            match.end() == len(prompt)
            for pattern in (_SPECIAL, self._ends)
            for match in pattern.finditer(prompt)
        )
        return "" if ends_special else " "

    def harmless(self, text: str) -> str:
        """Return an untrusted text that spells no special token, and can be written as UTF-8."""
        # A lone surrogate, which is no character, is sent as a question mark.
        text = text.encode("utf-8", "replace").decode()
        for pattern in (_SPECIAL, self._ends):
            text = pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
        return text

    def _filled(self, template: str, **values: str) -> str:
        parts = []
        for literal, name, _, _ in string.Formatter().parse(template):
            parts.append(literal)
            if name is not None:
                parts.append(self.harmless(values[name]))
        return "".join(parts)


def characters_of(passages: Sequence[Passage]) -> int:
    """Return how many characters passages have, titles included."""
    return sum(len(passage.title) + len(passage.text) for passage in passages)


def shortened(passages: Sequence[Passage], room: int) -> list[Passage]:
    """Cut passages evenly to so many characters: the longest texts first, then titles.

    Args:
        passages: any number.
        room: the most characters of all together; at least 0.
    """
    titles = sum(len(passage.title) for passage in passages)
    texts = even_shares([len(passage.text) for passage in passages], max(room - titles, 0))
    shares = even_shares([len(passage.title) for passage in passages], room)
    return [
        replace(passage, title=passage.title[:title], text=passage.text[:text])
        for passage, title, text in zip(passages, shares, texts, strict=True)
    ]
