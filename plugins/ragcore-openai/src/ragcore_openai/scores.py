"""Log-probs of given texts, from servers that show those of a prompt's tokens.

The text is sent behind a prompt, with its end token and one letter more. Two forms: `echo` with
`logprobs`, of OpenAI's older route and of llama-cpp-python's server, and vLLM's `prompt_logprobs`.
How many tokens the text adds is the difference to the prompt alone, as the server counts; the
letter shows where they end, since some servers list what they write behind an echo and others, or
of some tokens, do not. Knows rows of tokens with log-probs; knows nothing of how long a prompt may
be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ragcore.contracts import Meter, TextScore, Writing
from ragcore_openai.client import Ask, Json
from ragcore_openai.prompt_texts import PromptTexts
from ragcore_openai.replies import (
    Faulty,
    WrongLogProbs,
    choices_of,
    count_usage,
    log_prob_of,
    merged_ends,
    readable,
)
from ragcore_openai.routes import Completions

__all__ = ["Form", "PromptToken", "TextScores"]

Form = Literal["echo", "prompt_logprobs"]
"""How a server shows the log-probs of a prompt."""

_ONE_TOKEN: Final = Writing(max_new_tokens=1)
"""The least that every server writes: 0 stands for no limit at some."""

_LETTER: Final = "x"
"""Stands behind an end token, of which no text is shown at some servers."""

_MARKS: Final = "\u2581\u0120"
"""How vocabularies write a space."""


@dataclass(frozen=True, slots=True)
class PromptToken:
    """A token of a prompt.

    Attributes:
        text: as the server writes it, empty for special tokens at some servers.
        log_prob: log p of it after those before; None for the first.
        top: the most probable tokens there, by their text.
    """

    text: str
    log_prob: float | None
    top: dict[str, float]


class TextScores:
    """Scores texts after prompts at one server; safe to use from several threads."""

    def __init__(
        self, route: Completions, texts: PromptTexts, form: Form, ends: Sequence[str]
    ) -> None:
        """Take what a text ends with.

        Args:
            route: makes the requests.
            texts: makes prompts.
            form: what the server understands.
            ends: the end tokens, of which any may end an answer; the first is that of `TextScore`.
        """
        self._route = route
        self._texts = texts
        self.form: Final = form
        self.ends: Final = tuple(ends)

    def scores(
        self, ask: Ask, prompt: str, answers: Sequence[str], meters: Sequence[Meter]
    ) -> list[TextScore]:
        """Score answers after one prompt, their end included.

        Raises:
            Faulty: the log-probs cannot be those of the answers.
            ServerError: the server refuses.
        """
        length = self.length(ask, prompt, meters[0])
        return [
            self._score(ask, prompt, length, answer, meter)
            for answer, meter in zip(answers, meters, strict=True)
        ]

    def length(self, ask: Ask, prompt: str, meter: Meter) -> int:
        """Return how many tokens a prompt is."""
        return self._length(self._send(ask, prompt, meter))

    def added(
        self, ask: Ask, prompt: str, length: int, text: str, last: str, meter: Meter
    ) -> list[PromptToken]:
        """Return the tokens that a text adds to a prompt, and their log-probs.

        Args:
            ask: sends requests.
            prompt: what the text stands behind.
            length: of the prompt, in tokens.
            text: at least one token.
            last: what the last token of the text ends with.
            meter: of the question.

        Raises:
            Faulty: the server does not show them.
        """
        reply = self._send(ask, prompt + text, meter)
        url = self._route.url
        count = self._length(reply) - length
        choice = choices_of(url, reply)[0]
        if self.form == "prompt_logprobs":
            rows, written = _rows_of_prompt(url, choice), 0
        else:
            rows, written = _echoed(url, choice), _usage(reply, "completion_tokens") or 0
        while written and not _ends(rows[: len(rows) - written], last):
            written -= 1
        rows = rows[: len(rows) - written]
        if count <= 0:
            raise Faulty(
                url,
                f"an answer changes the tokens of the prompt before it ({length} tokens alone, "
                f"{length + count} with {text[:80]!r}): end the template with white space or a "
                "special token, or set answer_prefix",
            )
        if count > len(rows) or not _ends(rows, last):
            raise Faulty(
                url,
                f"it shows {len(rows)} tokens of a prompt, which do not end with {text[:80]!r}",
            )
        return rows[-count:]

    def _send(self, ask: Ask, prompt: str, meter: Meter) -> Json:
        request = self._route.request(prompt, _ONE_TOKEN)
        if self.form == "echo":
            request |= {"echo": True, "logprobs": 1}
        else:
            request |= {"prompt_logprobs": 1}
        reply = ask(self._route.path, request)
        count_usage(meter, reply)
        return reply.content

    def _length(self, reply: Json) -> int:
        url = self._route.url
        if self.form == "prompt_logprobs":
            return len(_rows_of_prompt(url, choices_of(url, reply)[0]))
        # Checked also where only the number is wanted: a server may not know `echo`.
        _echoed(url, choices_of(url, reply)[0])
        length = _usage(reply, "prompt_tokens")
        if length is None:
            raise Faulty(url, "it does not count the prompt's tokens (`usage.prompt_tokens`)")
        return length

    def _score(self, ask: Ask, prompt: str, length: int, answer: str, meter: Meter) -> TextScore:
        text = self._texts.separator(prompt) + self._texts.harmless(answer)
        tokens: list[PromptToken] = []
        ends: list[float] = []
        for end in self.ends:
            added = self.added(ask, prompt, length, text + end + _LETTER, _LETTER, meter)[:-1]
            self._check(added, text, end)
            tokens = tokens or added
            ends.append(_known(self._route.url, added[-1]))
        log_probs = [_known(self._route.url, token) for token in tokens[:-1]]
        return TextScore(
            (*(token.text for token in tokens[:-1]), self.ends[0]),
            (*log_probs, merged_ends(ends)),
        )

    def _check(self, added: Sequence[PromptToken], text: str, end: str) -> None:
        """Refuse tokens that are not those of a text and its end."""
        spelled = added and _spells([token.text for token in added[:-1]], text)
        if not spelled or not _spells([added[-1].text], end):
            shown = "".join(token.text for token in added)
            raise WrongLogProbs(
                self._route.url,
                f"the log-probs are those of {shown[:80]!r}, and not of the text that was sent, "
                f"{(text + end)[:80]!r}: end the template with white space or a special token, or "
                f"set answer_prefix; if {end!r} is not one token of the model, set end_tokens",
            )


def _known(url: str, token: PromptToken) -> float:
    if token.log_prob is None:
        raise Faulty(url, f"it shows no log-prob of the token {token.text!r} of a prompt")
    return token.log_prob


def _spells(tokens: Sequence[str], text: str) -> bool:
    """Return whether tokens can be those of a text; special ones and parts of characters lack one.

    White space counts for nothing, since vocabularies write it in many ways.
    """
    lossy = any("\ufffd" in token or not token for token in tokens)
    shown, whole = _squeezed("".join(tokens)), _squeezed(text)
    if not lossy:
        return shown == whole
    rest = iter(whole)
    return all(character in rest for character in shown)


def _squeezed(text: str) -> str:
    return "".join(text.translate(dict.fromkeys(map(ord, _MARKS + "\ufffd"))).split())


def _usage(reply: Json, name: str) -> int | None:
    """Return a count of a reply's usage; None where it has none."""
    usage = reply.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and count >= 0 else None


def _ends(rows: Sequence[PromptToken], last: str) -> bool:
    return bool(rows) and _squeezed(rows[-1].text).endswith(last)


def _echoed(url: str, choice: Json) -> list[PromptToken]:
    """Return the tokens of an `echo`: the prompt's, and maybe those written after it."""
    log_probs = choice.get("logprobs")
    log_probs = log_probs if isinstance(log_probs, dict) else {}
    tokens, own, tops = (
        log_probs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs")
    )
    if not (isinstance(tokens, list) and isinstance(own, list) and len(tokens) == len(own)):
        raise Faulty(url, "the echo has no `tokens` with as many `token_logprobs`")
    if not isinstance(tops, list) or len(tops) != len(tokens):
        tops = [None] * len(tokens)
    return [
        _prompt_token(url, text, log_prob, top)
        for text, log_prob, top in zip(tokens, own, tops, strict=True)
    ]


def _rows_of_prompt(url: str, choice: Json) -> list[PromptToken]:
    """Return the prompt's tokens of vLLM's `prompt_logprobs`; each row has the prompt's own first.

    A row is {id: {"logprob", "rank", "decoded_token"}}, that of the first token null.
    """
    rows = choice.get("prompt_logprobs")
    if not isinstance(rows, list) or not rows:
        raise Faulty(url, "a choice has no list `prompt_logprobs`")
    tokens = []
    for row in rows:
        if row is None:
            tokens.append(PromptToken("", None, {}))
            continue
        if not isinstance(row, dict) or not row:
            raise Faulty(url, "a row of `prompt_logprobs` has no token")
        entries = [entry if isinstance(entry, dict) else {} for entry in row.values()]
        top = {str(entry.get("decoded_token")): entry.get("logprob") for entry in entries}
        own = entries[0]
        tokens.append(_prompt_token(url, own.get("decoded_token"), own.get("logprob"), top))
    return tokens


def _prompt_token(url: str, text: Any, log_prob: Any, top: Any) -> PromptToken:
    if not isinstance(text, str):
        raise Faulty(url, f"a token of the prompt is {text!r}: expected its text")
    known = {
        other: log_prob_of(url, p) for other, p in (top if isinstance(top, dict) else {}).items()
    }
    return PromptToken(
        readable(text), None if log_prob is None else log_prob_of(url, log_prob), known
    )


def agrees(row: PromptToken, text: str, log_prob: float, tolerance: float) -> bool:
    """Return whether a row knows this token with this log-prob among its most probable ones."""
    shown = row.top.get(text)
    return shown is not None and math.isclose(shown, log_prob, abs_tol=tolerance)
