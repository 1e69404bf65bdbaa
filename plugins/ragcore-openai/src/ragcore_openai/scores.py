"""Log-probs of given texts, from servers that show those of a prompt's tokens.

The text is sent as the end of a prompt. Two forms: `echo` with `logprobs`, of OpenAI's older route
and of llama-cpp-python's server, and vLLM's `prompt_logprobs`. The prompt is sent alone, too: the
tokens that the text adds are the text's, if those before are the same. Knows rows of tokens with
log-probs; knows nothing of how long a prompt may be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ragcore.contracts import TextScore, Writing
from ragcore.tiers import Meter
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
        before = self.prompt_tokens(ask, prompt, meters[0])
        return [
            self._score(ask, prompt, before, answer, meter)
            for answer, meter in zip(answers, meters, strict=True)
        ]

    def prompt_tokens(self, ask: Ask, prompt: str, meter: Meter) -> list[PromptToken]:
        """Return the tokens of a prompt with their log-probs."""
        request = self._route.request(prompt, _ONE_TOKEN)
        if self.form == "echo":
            request |= {"echo": True, "logprobs": 1}
        else:
            request |= {"prompt_logprobs": 1}
        reply = ask(self._route.path, request)
        count_usage(meter, reply)
        url = self._route.url
        choice = choices_of(url, reply.content)[0]
        if self.form == "prompt_logprobs":
            return _rows_of_prompt(url, choice)
        return _echoed(url, choice, _written(reply.content, choice))

    def _score(
        self, ask: Ask, prompt: str, before: Sequence[PromptToken], answer: str, meter: Meter
    ) -> TextScore:
        text = self._texts.separator(prompt) + self._texts.harmless(answer)
        tokens: list[PromptToken] = []
        ends: list[float] = []
        for end in self.ends:
            whole = self.prompt_tokens(ask, prompt + text + end, meter)
            added = self._added(before, whole, text, end)
            tokens = tokens or added
            ends.append(_known(self._route.url, added[-1]))
        log_probs = [_known(self._route.url, token) for token in tokens[:-1]]
        return TextScore(
            (*(token.text for token in tokens[:-1]), self.ends[0]),
            (*log_probs, merged_ends(ends)),
        )

    def _added(
        self, before: Sequence[PromptToken], whole: Sequence[PromptToken], text: str, end: str
    ) -> list[PromptToken]:
        """Return the tokens that a text and its end add to a prompt, the end token last."""
        url = self._route.url
        texts = [token.text for token in whole]
        if texts[: len(before)] != [token.text for token in before] or len(whole) <= len(before):
            raise Faulty(
                url,
                f"an answer changes the tokens of the prompt before it ({len(before)} tokens, then "
                f"{len(whole)}): end the template with white space or a special token, or set "
                "answer_prefix",
            )
        added = list(whole[len(before) :])
        if not _spells([token.text for token in added[:-1]], text) or not _spells(
            [added[-1].text], end
        ):
            shown = "".join(token.text for token in added)
            raise WrongLogProbs(
                url,
                f"the log-probs are those of {shown[:80]!r}, and not of the text that was sent, "
                f"{(text + end)[:80]!r}; if {end!r} is not one token of the model, set end_tokens",
            )
        return added


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


def _written(reply: Json, choice: Json) -> int:
    """Return how many tokens were written after the prompt, which an echo shows, too."""
    usage = reply.get("usage")
    written = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if type(written) is int and written >= 0:
        return written
    return 1 if choice.get("finish_reason") == "length" else 0


def _echoed(url: str, choice: Json, written: int) -> list[PromptToken]:
    """Return the prompt's tokens of an `echo`, without those that were written after it."""
    log_probs = choice.get("logprobs")
    log_probs = log_probs if isinstance(log_probs, dict) else {}
    tokens, own, tops = (
        log_probs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs")
    )
    if not (isinstance(tokens, list) and isinstance(own, list) and len(tokens) == len(own)):
        raise Faulty(url, "the echo has no `tokens` with as many `token_logprobs`")
    if not isinstance(tops, list) or len(tops) != len(tokens):
        tops = [None] * len(tokens)
    if len(tokens) <= written:
        raise Faulty(url, f"the echo shows {len(tokens)} tokens: the prompt is not among them")
    return [
        _prompt_token(url, text, log_prob, top)
        for text, log_prob, top in list(zip(tokens, own, tops, strict=True))[
            : len(tokens) - written
        ]
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
