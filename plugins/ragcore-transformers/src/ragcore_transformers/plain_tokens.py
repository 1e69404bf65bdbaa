"""Tokenize untrusted text: what spells a special token, such as </s> or <pad>, stays plain text.

Hugging Face's option `split_special_tokens` is not enough. A Unigram model (T5, mBART, Pegasus) has
its special tokens among its pieces, and finds them in any text. So this tokenizer is a copy in
which special tokens have secret names. The ids, and the tokens put around a text, are the same.

Knows nothing of models; safe to use from several threads.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from ragcore.prompts.tokens import any_of

__all__ = ["PlainTokenizer", "own_backend", "special_tokens"]


class PlainTokenizer:
    """A copy of a fast tokenizer that recognises special tokens by their secret names only."""

    def __init__(self, tokenizer: Any) -> None:
        """Copy a tokenizer as it is set now, such as for texts of a certain language.

        Args:
            tokenizer: a fast one of Hugging Face's; it is not changed.
        """
        self._around: tuple[list[int], list[int]] | None = None
        # Not guessable, or a passage could spell the names.
        salt = secrets.token_hex(16)
        self._names = {token: f"[{salt} {token}]" for token in special_tokens(tokenizer)}
        self._spelled = any_of(self._names)
        description = json.loads(tokenizer.backend_tokenizer.to_str())
        _rename(description, self._names)
        self._backend: Any = Tokenizer.from_str(json.dumps(description))
        self._backend.no_padding()
        self._backend.no_truncation()

    def around(self, before: list[int], after: list[int]) -> PlainTokenizer:
        """Return this tokenizer, but with these ids before and after each text."""
        other = copy.copy(self)
        other._around = (before, after)
        return other

    def set_as(self, tokenizer: Any) -> PlainTokenizer:
        """Return this tokenizer, but with what belongs around texts as `tokenizer` is set now.

        The vocabulary is shared, which a second copy of the tokenizer would not do.
        """
        other = copy.copy(self)
        other._backend = own_backend(self._backend)
        other._backend.post_processor = tokenizer.backend_tokenizer.post_processor
        return other

    def marked(self, template: str) -> str:
        """Return trusted text in which the special tokens that it spells are recognised."""
        return self._spelled.sub(lambda match: self._names[match.group()], template)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts, with the tokens that belong around each."""
        own = self._around is None
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=own)
        before, after = self._around or ([], [])
        return [[*before, *encoding.ids, *after] for encoding in encodings]

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Any]:
        """Return the encodings of pairs of texts, with the tokens that belong around each pair.

        Each is an `Encoding` of the library tokenizers: ids, types and offsets of tokens, and to
        which of the two texts each belongs.
        """
        return list(self._backend.encode_batch(list(pairs)))

    def ends(self, text: str) -> list[int]:
        """Return the end of each token in a text, without tokens around it."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        return [end for _, end in encoding.offsets]


def own_backend(backend: Any) -> Any:
    """Return a tokenizer with settings of its own that neither truncates nor pads.

    The vocabulary is the same in memory: that of a multilingual model takes hundreds of megabytes.

    Args:
        backend: of a fast tokenizer; it is not changed.
    """
    own: Any = Tokenizer(backend.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        value = getattr(backend, part)
        if value is not None:
            setattr(own, part, value)
    added = backend.get_added_tokens_decoder()
    own.add_tokens([added[token_id] for token_id in sorted(added)])
    return own


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Return the special tokens of a fast tokenizer, those of languages too, and their ids."""
    added = {
        token.content: token_id
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if token.special
    }
    named = {
        str(token): tokenizer.convert_tokens_to_ids(str(token))
        for token in tokenizer.all_special_tokens
        if token
    }
    return {**named, **added}


def _rename(description: dict[str, Any], names: dict[str, str]) -> None:
    """Rename tokens in the JSON form of a tokenizer."""
    for token in description.get("added_tokens") or []:
        token["content"] = names.get(token["content"], token["content"])
    model = description["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(token, token): number for token, number in vocabulary.items()}
    else:
        # Unigram's pieces with their scores, in the order of their ids.
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    unknown = model.get("unk_token")
    model["unk_token"] = names.get(unknown, unknown)
    if model.get("merges"):
        # A text must not be merged into a special token, either.
        model["merges"] = [
            merge for merge in model["merges"] if names.keys().isdisjoint(_tokens_of(merge))
        ]


def _tokens_of(merge: str | list[str]) -> tuple[str, str, str]:
    """Return the two tokens of a byte-pair merge, and what they become."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second, first + second
