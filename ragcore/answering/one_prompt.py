"""Answer with all passages in one prompt: p(y|x,z_1..k), with nothing to marginalise.

The baseline that most programs call RAG (`rag.marginalize: none`), for a generator of any tier.
The passages become one, whose prior is 1, and whatever answers from one passage answers from it:
log p(y|x,z_1..k) is then the answer's `log_prob`. Which passage an answer rests on is not known, so
that posteriors are None; the prior is that of the search. With `rag.cite` the text may say it.

Knows answerers by their protocol, and their answers; knows nothing of tiers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ragcore.answering.evidence import Retrieved
from ragcore.answering.marks import marks_in
from ragcore.answering.together import JoinedPassages, join, joined
from ragcore.types import Answer, Candidate, Correction, Evidence, Token

if TYPE_CHECKING:
    from ragcore.answering.choose import QuestionAnswerer
    from ragcore.answering.stopwatch import Stopwatch
    from ragcore.tiers import Meter

__all__ = ["OnePromptAnswerer"]


class OnePromptAnswerer:
    """Turns retrieved passages into answers, all of a question's passages in one prompt."""

    def __init__(self, answerer: QuestionAnswerer, *, cite: bool) -> None:
        """Answer by what answers from one passage.

        Args:
            answerer: by the generator's tier.
            cite: whether answers are asked to name their passages.
        """
        self._answerer = answerer
        self._cite = cite

    def answers(
        self, retrieved: Sequence[Retrieved], version: str, stopwatch: Stopwatch | None = None
    ) -> list[Answer]:
        """Answer each question from all of its passages; arguments as `Answerer.answers`."""
        answers = self._answerer.answers(self._joined(retrieved), version, stopwatch)
        return [
            self._separated(answer, question)
            for answer, question in zip(answers, retrieved, strict=True)
        ]

    def events(
        self, retrieved: Retrieved, version: str, stopwatch: Stopwatch
    ) -> Iterator[Token | Correction | Answer]:
        """Yield the tokens of one answer as soon as they are decided, then the answer."""
        (question,) = self._joined([retrieved])
        for event in self._answerer.events(question, version, stopwatch):
            if isinstance(event, Token):
                yield replace(event, posterior=())
            elif isinstance(event, Answer):
                yield self._separated(event, retrieved)
            else:
                yield event

    def log_probs(
        self,
        retrieved: Sequence[Retrieved],
        answers: Sequence[str],
        stopwatch: Stopwatch | None = None,
        meters: Sequence[Meter] = (),
    ) -> list[float]:
        """Score one answer for each question: log p(y|x,z_1..k), end of sequence included."""
        return self._answerer.log_probs(self._joined(retrieved), answers, stopwatch, meters)

    def _joined(self, retrieved: Sequence[Retrieved]) -> list[Retrieved]:
        return [joined(question, cite=self._cite) for question in retrieved]

    def _separated(self, answer: Answer, retrieved: Retrieved) -> Answer:
        """Return an answer from joined passages as one from each of the passages."""
        passages = retrieved.passages
        texts = join(passages) if passages else None
        prior: list[float] = np.exp(retrieved.log_prior.astype(np.float64)).tolist()  # [max(k, 1)]
        spans = _spans(texts, [each.spans for each in answer.evidence])
        marks = marks_in(answer.text, [each.id for each in passages]) if self._cite else None
        return replace(
            answer,
            evidence=tuple(
                Evidence(passage, score, p, None, of_passage)
                for passage, score, p, of_passage in zip(
                    passages, retrieved.scores, prior, spans, strict=False
                )
            ),
            token_posteriors=(),
            candidates=tuple(_alike(each, texts, prior) for each in answer.candidates),
            abstention=answer.abstention and _alike(answer.abstention, texts, prior),
            marginalize="none",
            # A text that was written once for all passages is no vote of any.
            votes=tuple(replace(vote, passage_ids=()) for vote in answer.votes)
            if len(answer.votes) > 1
            else (),
            marks=marks,
        )


def _alike(candidate: Candidate, texts: JoinedPassages | None, prior: Sequence[float]) -> Candidate:
    """Return a candidate from joined passages as one from each of the passages."""
    return replace(
        candidate,
        priors=tuple(prior) if texts else (),
        posteriors=(),
        spans=tuple(_spans(texts, candidate.spans)),
        slack=(),
    )


def _spans(
    texts: JoinedPassages | None, spans: Sequence[tuple[tuple[int, int], ...]]
) -> list[tuple[tuple[int, int], ...]]:
    """Return the spans [1] in the joined text as those in the text of each passage, [k]."""
    if texts is None:
        return []
    (of_text,) = spans
    return texts.spans_by_part(of_text)
