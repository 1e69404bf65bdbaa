"""Read a server's replies: texts, and log-probs that are checked.

A server may reply with anything: what is not in the API's form, or cannot be a log-prob, is an
error and no answer. Knows both forms of log-probs that servers have, OpenAI's older one (`tokens`,
`token_logprobs`, `top_logprobs`) and its newer one (`content`); sends nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from ragcore.contracts import Completion, Meter, TopToken
from ragcore.prompts.thinking import Thinking
from ragcore_openai.client import Json, Reply
from ragcore_openai.failures import ServerError

__all__ = [
    "TOLERANCE",
    "Faulty",
    "WrongLogProbs",
    "answer_of",
    "as_step",
    "begun",
    "choices_of",
    "completion_of",
    "count_usage",
    "log_prob_of",
    "merged_ends",
    "part_of",
    "readable",
    "steps_of",
    "tidy",
]

TOLERANCE: Final = 1e-2
"""How far above 0 a log-prob may be, and above 1 a sum of probabilities: servers round."""

_THINKING: Final = Thinking({})

_LOST: Final = "\ufffd"
"""What stands for a token that is a part of a character."""


class Faulty(ServerError):  # noqa: N818 (says what the reply is)
    """A reply is not in the API's form, or has numbers that cannot be right."""

    def __init__(self, url: str, fault: str) -> None:
        super().__init__(f"the reply of {url}: {fault}")


class WrongLogProbs(Faulty):
    """Log-probs that cannot be those of what they stand for."""

    def __init__(self, url: str, fault: str) -> None:
        super().__init__(url, f"{fault}; set tier: text to use the server's texts alone")


def readable(text: str) -> str:
    """Return a text without lone surrogates, which JSON can have and nothing can print."""
    return text.encode("utf-8", "replace").decode()


def tidy(text: str) -> str:
    """Return an answer's text single-spaced and without what the model thought."""
    return " ".join(_THINKING.without_text(text).split())


def answer_of(text: str) -> str:
    """Return the text of tokens without what the model thought, spaced as the tokens are."""
    return _THINKING.without_text(text).strip()


def count_usage(meter: Meter, reply: Reply) -> None:
    """Add a reply to what a question costs."""
    usage = reply.content.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    prompt = usage.get("prompt_tokens", reply.content.get("tokens_evaluated"))
    completion = usage.get("completion_tokens", reply.content.get("tokens_predicted"))
    fingerprint = reply.content.get("system_fingerprint")
    meter.add(
        requests=reply.requests,
        prompt_tokens=prompt if type(prompt) is int and prompt >= 0 else None,
        completion_tokens=completion if type(completion) is int and completion >= 0 else None,
        fingerprint=fingerprint if isinstance(fingerprint, str) else None,
    )


def choices_of(url: str, reply: Json) -> list[Json]:
    """Return a reply's texts as they are, at least one, in the order of their index."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Faulty(url, "it has no `choices`: expected a list of one or more")
    if not all(isinstance(choice, dict) for choice in choices):
        raise Faulty(url, "one of its `choices` is no JSON object")
    return sorted(choices, key=_index)


def completion_of(url: str, choice: Json) -> Completion:
    """Return one text without log-probs."""
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        raise Faulty(url, "the server's filter withheld the text (finish_reason content_filter)")
    refusal = message.get("refusal") if isinstance(message, dict) else None
    if not isinstance(text, str):
        shown = f": it refused, {refusal[:200]!r}" if isinstance(refusal, str) else ""
        raise Faulty(url, f"a choice has no text (finish_reason {reason!r}){shown}")
    return Completion(tidy(readable(text)), finished=reason != "length")


def part_of(url: str, choice: Any) -> tuple[str, str | None]:
    """Return what a part of a stream adds to the text, and why the text ends, if it does."""
    delta = choice.get("delta", choice.get("message", choice)) if isinstance(choice, dict) else None
    if not isinstance(delta, dict):
        raise Faulty(url, "a part of a stream has a choice that is no JSON object")
    added = delta.get("content", choice.get("text"))
    reason = choice.get("finish_reason")
    if added is not None and not isinstance(added, str):
        raise Faulty(url, f"a part of a stream has {type(added).__name__}: expected a text")
    return readable(added or ""), reason if isinstance(reason, str) else None


def begun(text: str) -> str:
    """Return what no further text changes of an answer's beginning, as `tidy` writes it."""
    return " ".join(_THINKING.settled(text).rstrip(_LOST).split())


def log_prob_of(url: str, value: Any) -> float:
    """Return a log-prob, at most 0.

    Raises:
        Faulty: it is no number, NaN, or above 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Faulty(url, f"a log-prob is {value!r}: expected a number")
    # The negation catches NaN, too.
    if not value <= TOLERANCE:
        raise WrongLogProbs(url, f"a log-prob is {value}: expected a number that is not above 0")
    return min(float(value), 0.0)


def as_step(url: str, written: TopToken, tops: Iterable[TopToken]) -> tuple[TopToken, ...]:
    """Return one step: the token that was written, then the others by falling log-prob.

    Raises:
        Faulty: the probabilities sum to more than 1.
    """
    others = [token for token in tops if _key(token) != _key(written)]
    step = (written, *sorted(others, key=lambda token: -token.log_prob))
    total = math.fsum(math.exp(token.log_prob) for token in step)
    if total > 1 + TOLERANCE:
        raise WrongLogProbs(
            url,
            f"the {len(step)} tokens of a step have probabilities that sum to {total:.6g}: "
            "expected at most 1",
        )
    return step


def steps_of(url: str, choice: Json, ends: Collection[str]) -> list[tuple[TopToken, ...]]:
    """Return the most probable tokens of each step of a choice.

    Args:
        url: of the request, for errors.
        choice: with log-probs in either form.
        ends: the texts of tokens that end an answer.
    """
    log_probs = choice.get("logprobs")
    if not isinstance(log_probs, dict):
        raise Faulty(url, "a choice has no log-probs (`logprobs`), which were asked for")
    content = log_probs.get("content")
    if isinstance(content, list):
        steps = [_new_step(url, row, ends) for row in content]
    else:
        steps = _old_steps(url, log_probs, ends)
    return [_known_tokens(url, step) for step in steps]


def merged_ends(log_probs: Sequence[float]) -> float:
    """Return log Σ exp: an answer ends by any of its end tokens."""
    largest = max(log_probs)
    if largest == -math.inf:
        return largest
    return min(0.0, largest + math.log(math.fsum(math.exp(p - largest) for p in log_probs)))


def _new_step(url: str, row: Any, ends: Collection[str]) -> tuple[TopToken, ...]:
    tops = row.get("top_logprobs") if isinstance(row, dict) else None
    if not isinstance(tops, list):
        raise Faulty(url, "a step of `logprobs.content` has no list `top_logprobs`")
    return as_step(
        url, _new_token(url, row, ends), [_new_token(url, token, ends) for token in tops]
    )


def _new_token(url: str, token: Any, ends: Collection[str]) -> TopToken:
    text = token.get("token") if isinstance(token, dict) else None
    if not isinstance(text, str):
        raise Faulty(url, "a token of `logprobs.content` has no text `token`")
    return _token(text, log_prob_of(url, token.get("logprob")), ends)


def _old_steps(url: str, log_probs: Json, ends: Collection[str]) -> list[tuple[TopToken, ...]]:
    tokens, written, tops = (
        log_probs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs")
    )
    if not (isinstance(tokens, list) and isinstance(written, list) and isinstance(tops, list)):
        raise Faulty(url, "`logprobs` lacks `tokens`, `token_logprobs` or `top_logprobs`")
    if not len(tokens) == len(written) == len(tops):
        raise Faulty(
            url,
            f"`logprobs` has {len(tokens)} tokens, {len(written)} log-probs and {len(tops)} steps: "
            "expected as many of each",
        )
    steps = []
    for text, log_prob, others in zip(tokens, written, tops, strict=True):
        if not isinstance(text, str) or not isinstance(others, dict):
            raise Faulty(url, "`logprobs` has a token that is no text, or a step without tokens")
        steps.append(
            as_step(
                url,
                _token(text, log_prob_of(url, log_prob), ends),
                [_token(other, log_prob_of(url, p), ends) for other, p in others.items()],
            )
        )
    return steps


def _token(text: str, log_prob: float, ends: Collection[str]) -> TopToken:
    return TopToken("" if text in ends else readable(text), log_prob, ends=text in ends)


def _known_tokens(url: str, step: tuple[TopToken, ...]) -> tuple[TopToken, ...]:
    """Return a step up to the first token that has no text of its own.

    Those after it are less probable, so that a bound by the last of them stays one.
    """
    known: list[TopToken] = []
    for token in step:
        if not token.ends and (not token.text or _LOST in token.text):
            break
        known.append(token)
    if not known:
        raise Faulty(
            url,
            "it wrote a token that is a special one or a part of a character, and shows no text of "
            "it that could be continued: name tokens that end an answer in end_tokens, or set "
            "tier: text",
        )
    return tuple(known)


def _key(token: TopToken) -> tuple[int | None, str, bool]:
    return (token.id, token.text if token.id is None else "", token.ends)


def _index(choice: Json) -> int:
    index = choice.get("index")
    return index if type(index) is int else 0
