"""Check what a generator of texts returned: scores that can be log-probs, tops that can be ranked.

A server may show logits, or the log-probs of another text. What can be seen of it is an error, and
not an answer. Knows the values of the contract; knows nothing of passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, fsum

from ragcore.contracts import Completion, TextScore, TopToken
from ragcore.errors import GeneratorError

__all__ = ["check_continuations", "check_scores"]

_TOLERANCE = 1e-2
"""How far above 0 a log-prob may be, and above 1 a sum: servers round."""


def check_scores(name: str, texts: Sequence[str], scores: Sequence[TextScore]) -> None:
    """Refuse scores that are no log-probs, or whose texts have other tokens at another prompt.

    Args:
        name: of the generator, for errors.
        texts: M texts.
        scores: of each text.

    Raises:
        GeneratorError: a number of scores or log-probs is wrong, or one is NaN or above 0.
    """
    if len(scores) != len(texts):
        raise GeneratorError(
            f"generator {name}: `score_texts` returned {len(scores)} scores for {len(texts)} texts"
        )
    tokens_of: dict[str, tuple[str, ...]] = {}
    for text, score in zip(texts, scores, strict=True):
        if not score.tokens or len(score.tokens) != len(score.log_probs):
            raise GeneratorError(
                f"generator {name}: `score_texts` returned {len(score.tokens)} tokens with "
                f"{len(score.log_probs)} log-probs for a text: expected one for each token, the "
                "end token last"
            )
        for log_prob in score.log_probs:
            _check_log_prob(name, "score_texts", log_prob)
        if tokens_of.setdefault(text, score.tokens) != score.tokens:
            raise GeneratorError(
                f"generator {name}: `score_texts` cut a text into {len(score.tokens)} tokens after "
                f"one prompt and {len(tokens_of[text])} others after another: log-probs of "
                "different tokens cannot be marginalised; the prompt must end where a token does"
            )


def check_continuations(name: str, prompts: int, continuations: Sequence[Completion]) -> None:
    """Refuse continuations whose tops are no part of a distribution.

    Args:
        name: of the generator, for errors.
        prompts: how many were continued.
        continuations: of each prompt.

    Raises:
        GeneratorError: a continuation has no step, a step no token or one twice, a log-prob is
            NaN or above 0, or the probabilities of a step sum to more than 1.
    """
    if len(continuations) != prompts:
        raise GeneratorError(
            f"generator {name}: `go_on` returned {len(continuations)} texts for {prompts} prompts"
        )
    for continuation in continuations:
        if not continuation.steps:
            raise GeneratorError(
                f"generator {name}: `go_on` returned no step: expected the most probable tokens of "
                "one or more"
            )
        for tops in continuation.steps:
            _check_tops(name, tops)


def _check_tops(name: str, tops: Sequence[TopToken]) -> None:
    if not tops:
        raise GeneratorError(
            f"generator {name}: `go_on` returned a step without tokens: expected its most probable "
            "ones"
        )
    for token in tops:
        _check_log_prob(name, "go_on", token.log_prob)
    ids = [token.id for token in tops if token.id is not None]
    if len(set(ids)) < len(ids):
        raise GeneratorError(
            f"generator {name}: `go_on` returned a step that has a token twice, by its id: "
            "expected each token once, with its log-prob over the whole vocabulary"
        )
    total = fsum(exp(token.log_prob) for token in tops)
    if total > 1 + _TOLERANCE:
        raise GeneratorError(
            f"generator {name}: `go_on` returned a step whose {len(tops)} tokens have "
            f"probabilities that sum to {total:.6g}: expected at most 1; each token belongs there "
            "once, with its log-prob over the whole vocabulary"
        )


def _check_log_prob(name: str, method: str, log_prob: float) -> None:
    # The negation catches NaN too.
    if not log_prob <= _TOLERANCE:
        raise GeneratorError(
            f"generator {name}: `{method}` returned {log_prob} for a log-probability: it must be a "
            "number, and not above 0"
        )
