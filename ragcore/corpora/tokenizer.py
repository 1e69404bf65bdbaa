"""The `TextTokenizer` of encoders whose tokens come from a fast tokenizer of Hugging Face's.

Knows how an encoder composes a passage of its title and text; imports no library of tokenizers.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.contracts import ANY_LENGTH

if TYPE_CHECKING:
    from ragcore.types import Spans

__all__ = ["PassageTokenizer"]

_PROBE: Final = "Chad"
"""A word whose tokens tell whether a tokenizer writes it otherwise after a space."""

_LEAD: Final = re.compile(r"\s+\S*\Z|\S*\Z")
"""The end of a text that what follows may share a token with: white space, and a word after it."""


class PassageTokenizer:
    """A `TextTokenizer` that counts texts as an encoder of passages reads them.

    Text and title are tokenized apart. White space right in front of the text counts as text, since
    some tokenizers write a word otherwise after it; so does a prompt's word that touches the text.
    """

    def __init__(
        self,
        backend: Any,
        *,
        limit: float | None,
        around: int = 0,
        prompt: str = "",
        template: str | None = None,
    ) -> None:
        """Take a tokenizer, and how texts are composed.

        Args:
            backend: a `tokenizers.Tokenizer` that neither truncates nor pads; not changed.
            limit: the most tokens that the encoder reads; None for any number.
            around: how many of them are put around each passage, such as [CLS] and [SEP].
            prompt: stands before each passage.
            template: of a passage with a title, with the fields {title} and {text}; where None, a
                passage is read as a pair of title and text.
        """
        self._backend = backend
        self._limit = None if limit is None or limit >= ANY_LENGTH else int(limit)
        self._around = around
        self._prompt = prompt
        self._template = template
        self._leads = self._distinct_leads()

    @functools.cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits of the tokenizer's rules and of all settings."""
        settings = [self._limit, self._around, self._prompt, self._template]
        digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=6)
        digest.update(self._backend.to_str().encode())
        return f"tokenizer({digest.hexdigest()})"

    def spans(self, texts: Sequence[str]) -> list[Spans]:
        """Return the character offsets of tokens, int64 [t, 2]; see `TextTokenizer`.

        Where a text has more tokens behind a title or prompt than by itself, or fewer, these are
        the longer ones: the encoder reads some passages one way, and some the other. A token in
        front of the text that counts as text is empty.
        """
        spans, *others = (self._spans_behind(lead, texts) for lead in self._leads)
        for other in others:
            spans = [max(pair, key=len) for pair in zip(spans, other, strict=True)]
        return spans

    def room(self, title: str) -> int:
        """Return how many tokens of text are read with a title; see `TextTokenizer`."""
        if self._limit is None:
            return ANY_LENGTH
        (*before, after) = self._parts(title)
        parts = [part.removesuffix(lead) for part, lead in before]
        encodings = self._encode([*parts, after[0]])
        taken = self._around + sum(len(encoding) for encoding in encodings)
        return max(0, (self._limit - taken) // len(before))

    def _parts(self, title: str) -> list[tuple[str, str]]:
        """Return what stands before, between and after the texts in a passage's input.

        Each with its end that counts as text, which does not depend on the title.
        """
        if self._template is None:
            return [(title, ""), ("", "")]
        if not title:
            return [(self._prompt, _lead(self._prompt)), ("", "")]
        parts, fixed = [self._prompt], [self._prompt]
        for literal, field, _, _ in string.Formatter().parse(self._template):
            parts[-1] += literal
            fixed[-1] += literal
            if field == "title":
                parts[-1] += title
                fixed[-1] = ""
            elif field == "text":
                parts.append("")
                fixed.append("")
        return [(part, _lead(end)) for part, end in zip(parts, fixed, strict=True)]

    def _distinct_leads(self) -> list[str]:
        """Return the ends in front of a text, as far as they change the text's tokens."""
        before = [*self._parts("")[:-1], *self._parts(_PROBE)[:-1]]
        leads = sorted({lead for _, lead in before})
        tokens = self._encode([lead + _PROBE for lead in leads])
        return list(
            {
                tuple(encoding.ids): lead for encoding, lead in zip(tokens, leads, strict=True)
            }.values()
        )

    def _spans_behind(self, lead: str, texts: Sequence[str]) -> list[Spans]:
        return [
            _ascending(np.array(encoding.offsets, np.int64).reshape(-1, 2) - len(lead), len(text))
            for encoding, text in zip(
                self._encode([lead + text for text in texts]), texts, strict=True
            )
        ]

    def _encode(self, texts: list[str]) -> Any:
        return self._backend.encode_batch(texts, add_special_tokens=False)


def _lead(text: str) -> str:
    """Return the end of a text that the next word may share a token with."""
    match = _LEAD.search(text)
    return match.group() if match else ""


def _ascending(spans: Spans, length: int) -> Spans:
    """Return spans [t, 2] that lie in a text and ascend, also those of reordered characters."""
    ascending: Spans = np.maximum.accumulate(spans.clip(0, length), axis=0)
    return ascending
