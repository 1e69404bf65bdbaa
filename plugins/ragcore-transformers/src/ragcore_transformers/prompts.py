"""Prompts of a causal model by a fast tokenizer of Hugging Face's; see `ragcore.prompts`.

Most prompts are tokenized once, as a whole. Only where a special token touches a field's value are
the template's special tokens told apart from those that the value spells out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragcore.prompts import prompts
from ragcore.prompts.chat import Chat
from ragcore.prompts.settings import PromptConfig
from ragcore.prompts.tokens import Piece, SpecialToken, disarmed_ids
from ragcore_transformers.plain_tokens import PlainTokenizer

__all__ = ["Prompts"]


class _FastTokenizer:
    """See `ragcore.prompts.tokens.PromptTokenizer`."""

    def __init__(self, tokenizer: Any) -> None:
        """Take a fast tokenizer; it is not changed."""
        self.marked = tokenizer
        self._plain = PlainTokenizer(tokenizer).around([], [])
        self.specials: dict[int, str] = {
            token_id: token.content
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }

    @property
    def opening(self) -> list[int]:
        """Return the tokens put before a text; those put after it would end the prompt."""
        encoded = self.marked("a", return_special_tokens_mask=True)
        ids: list[int] = []
        for token_id, special in zip(encoded.input_ids, encoded.special_tokens_mask, strict=True):
            if not special:
                break
            ids.append(token_id)
        return ids

    def prompt_ids(self, prompts: Sequence[Sequence[Piece]]) -> list[list[int]]:
        """Return the ids of prompts, with the special tokens of trusted pieces alone."""
        texts = ["".join(piece.text for piece in pieces) for pieces in prompts]
        if not texts:
            return []
        encoded = self.marked(
            texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return [
            disarmed_ids(self, pieces)
            if _touch_fields(pieces, self._spelled(text, ids, offsets))
            else ids
            for pieces, text, ids, offsets in zip(
                prompts, texts, encoded.input_ids, encoded.offset_mapping, strict=True
            )
        ]

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of plain texts: nothing is added, and nothing is a special token."""
        return self._plain.ids(texts) if texts else []

    def text_ends(self, text: str) -> list[int]:
        """Return the end of each token in a plain text."""
        return self._plain.ends(text)

    def special_tokens_in(self, text: str) -> list[SpecialToken]:
        """Return the special tokens that a trusted text spells out, in order."""
        encoded = self.marked(text, add_special_tokens=False, return_offsets_mapping=True)
        return self._spelled(text, encoded.input_ids, encoded.offset_mapping)

    def _spelled(
        self, text: str, ids: list[int], offsets: list[tuple[int, int]]
    ) -> list[SpecialToken]:
        """Return the special tokens that a text spells out.

        An unknown word is a special token too, but is not spelled as one.
        """
        return [
            SpecialToken(token_id, first, last)
            for token_id, (first, last) in zip(ids, offsets, strict=True)
            if token_id in self.specials and self.specials[token_id] in text[first:last]
        ]


def _touch_fields(pieces: Sequence[Piece], specials: Sequence[SpecialToken]) -> bool:
    """Return whether any of these special tokens of a prompt touches a field's value."""
    end = 0
    for piece in pieces:
        begin, end = end, end + len(piece.text)
        if not piece.trusted and any(
            special.start < end and special.end > begin for special in specials
        ):
            return True
    return False


class Prompts(prompts.Prompts):
    """Makes the prompts of one model; safe to use from several threads."""

    def __init__(
        self,
        model: str,
        tokenizer: Any,
        template: str,
        without_passage: str,
        chat: Chat | None,
        of_passages: str = PromptConfig.model_fields["template_of_passages"].default,
    ) -> None:
        """Prepare what is the same in every prompt; see `ragcore.prompts.prompts.Prompts`.

        Args:
            model: its name, for errors.
            tokenizer: a fast one of Hugging Face's; it is not changed.
            template: with {title}, {text} and {question}.
            without_passage: with {question}.
            chat: the texts around the filled template, if it is a chat.
            of_passages: with {text}, of several passages, and {question}.
        """
        self._fast = _FastTokenizer(tokenizer)
        super().__init__(model, self._fast, template, without_passage, chat, of_passages)

    def largest_id(self) -> int:
        """Return the largest id that prompts and answers can hold."""
        specials = self._fast.specials
        vocabulary = self._fast.marked.get_vocab().values()
        texts = (token_id for token_id in vocabulary if token_id not in specials)
        return int(max(max(texts), *self.bare_ids(), 0))
