"""How Hugging Face's tokenizers write the words of texts; see `ragcore.prompts.words`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ragcore.prompts import words
from ragcore_transformers.plain_tokens import own_backend, special_tokens

__all__ = ["WordEncoder"]


class WordEncoder(words.WordEncoder):
    """The words of texts, for one generator; safe to use from several threads."""

    def __init__(
        self,
        tokenizer: Any,
        encode: Callable[[Sequence[str]], list[list[int]]],
        *,
        bare: bool = False,
    ) -> None:
        """Prepare what is the same for all texts.

        Args:
            tokenizer: a fast one of Hugging Face's; it is not changed.
            encode: the generator's `encode_answers`: ids of each answer, the end token last.
            bare: whether `encode` gives what the tokenizer alone does, apart from special tokens
                around it; the tokenizer alone is four times as fast.
        """
        alone: Callable[[str], list[int]] | None = None
        if bare:
            backend = own_backend(tokenizer.backend_tokenizer)

            def alone(answer: str) -> list[int]:
                ids: list[int] = backend.encode(answer, add_special_tokens=False).ids
                return ids

        # Not `all_special_tokens`, which lacks special tokens without a role.
        super().__init__(special_tokens(tokenizer), encode, alone)
