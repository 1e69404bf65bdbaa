"""A server's own tokenizer: how many tokens a text is, and prompts as ids at llama.cpp's server.

Three servers have a route for it: llama.cpp's (`/tokenize` of `content`), vLLM's (`/tokenize` of
`prompt`) and llama-cpp-python's (`/extras/tokenize/count`). Knows tokens; knows nothing of
prompts' templates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from ragcore.prompts.tokens import Piece, SpecialToken, disarmed_ids
from ragcore_openai.client import Client, Json
from ragcore_openai.failures import ServerError
from ragcore_openai.fitting import Count
from ragcore_openai.replies import Faulty

__all__ = ["END_TOKENS", "LlamaCppTokenizer", "counting", "end_tokens_of"]

END_TOKENS: Final = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<|return|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|end_of_turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "</s>",
    "<eos>",
    "<EOT>",
)
"""What models name the tokens that end an answer; llama.cpp ends one by any of these, too."""

_SPELLED: Final = re.compile(r"<[^<>\s]{1,60}>|\[/?[A-Z_]{1,40}\]")
"""What may be a special token in a template."""

_REMEMBERED: Final = 512


def counting(client: Client, model: str) -> tuple[Count | None, int | None]:
    """Return what counts a text's tokens at the server, and the most tokens it reads, if it says.

    It has no such route where both are None.
    """
    root = client.root
    sample = "A sample of three or more tokens."
    try:
        reply = client.post(f"{root}/tokenize", {"model": model, "prompt": sample}, patient=False)
        if type(reply.get("count")) is int:
            longest = reply.get("max_model_len")

            def by_vllm(ask: Any, text: str) -> int:
                return _number(
                    f"{root}/tokenize",
                    ask(f"{root}/tokenize", {"model": model, "prompt": text}).content,
                )

            return by_vllm, longest if type(longest) is int and longest > 0 else None
    except ServerError:
        # No server has to have it.
        pass
    url = f"{root}/extras/tokenize/count"
    try:
        _number(url, client.post(url, {"model": model, "input": sample}, patient=False))
    except ServerError:
        return None, None
    return lambda ask, text: _number(url, ask(url, {"model": model, "input": text}).content), None


def end_tokens_of(client: Client, count: Count | None) -> list[str]:
    """Return which of the usual end tokens are one token of the model; none without `count`."""
    if count is None:
        return []
    counted = client.each(lambda end, ask: count(ask, f"a{end}") - count(ask, "a"), END_TOKENS)
    return [end for end, tokens in zip(END_TOKENS, counted, strict=True) if tokens == 1]


class LlamaCppTokenizer:
    """See `ragcore.prompts.tokens.PromptTokenizer`; a request for each new text."""

    def __init__(self, client: Client) -> None:
        """Ask for nothing yet."""
        self._client = client
        self._url = f"{client.root}/tokenize"
        self._opening: list[int] | None = None
        # Of this object alone: a cache on the class would keep every client.
        self._rows = lru_cache(_REMEMBERED)(self._tokenized)

    @property
    def opening(self) -> Sequence[int]:
        """Return the tokens that the server puts before a text."""
        if self._opening is None:
            reply = self._client.post(self._url, {"content": "a", "add_special": True})
            ids = _ids(self._url, reply)
            self._opening = ids[: len(ids) - len(self.text_ids(["a"])[0])]
        return self._opening

    def prompt_ids(self, prompts: Sequence[Sequence[Piece]]) -> list[list[int]]:
        """Return the ids of prompts, with the special tokens of trusted pieces alone."""
        return [disarmed_ids(self, pieces) for pieces in prompts]

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of plain texts: nothing is added, and nothing is a special token."""
        return [[token for token, _ in self._rows(text, False)] if text else [] for text in texts]

    def text_ends(self, text: str) -> list[int]:
        """Return the end of each token in a plain text; inside a character it is before it."""
        sizes = [size for _, size in self._rows(text, False)]
        data = text.encode("utf-8", "replace")
        # SentencePiece's tokenizers put a space before a text.
        end = min(0, len(data) - sum(sizes))
        ends = []
        for size in sizes:
            end += size
            ends.append(len(data[: max(0, end)].decode("utf-8", "ignore")))
        return ends

    def special_tokens_in(self, text: str) -> list[SpecialToken]:
        """Return the special tokens that a trusted text spells out, in order."""
        specials = []
        for match in _SPELLED.finditer(text):
            token = self.special(match[0])
            if token is not None:
                specials.append(SpecialToken(token, *match.span()))
        return specials

    def special(self, text: str) -> int | None:
        """Return the id of the special token that a text spells, if it is one."""
        as_special = [token for token, _ in self._rows(text, True)]
        plain = [token for token, _ in self._rows(text, False)]
        return as_special[0] if len(as_special) == 1 and as_special != plain else None

    def _tokenized(self, text: str, special: bool) -> tuple[tuple[int, int], ...]:
        """Return the id of each token of a text, and how many bytes it is."""
        # A lone surrogate, which is no character, is read as a question mark.
        content = text.encode("utf-8", "replace").decode()
        request = {
            "content": content,
            "add_special": False,
            "parse_special": special,
            "with_pieces": True,
        }
        reply = self._client.post(self._url, request)
        rows = reply.get("tokens")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Faulty(self._url, "it has no list `tokens` with a piece of each")
        return tuple((_id(self._url, row.get("id")), _size(row.get("piece"))) for row in rows)


def _number(url: str, reply: Json) -> int:
    count = reply.get("count")
    if type(count) is not int or count < 0:
        raise Faulty(url, f"its `count` is {count!r}: expected how many tokens the text is")
    return count


def _ids(url: str, reply: Json) -> list[int]:
    tokens = reply.get("tokens")
    if not isinstance(tokens, list):
        raise Faulty(url, "it has no list `tokens`")
    return [_id(url, token) for token in tokens]


def _id(url: str, token: Any) -> int:
    if type(token) is not int:
        raise Faulty(url, f"a token is {token!r}: expected its id")
    return token


def _size(piece: Any) -> int:
    """Return how many bytes a token writes; one that is no text is a list of them."""
    return len(piece.encode()) if isinstance(piece, str) else len(piece or ())
