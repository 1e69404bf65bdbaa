"""Abstain by a scorer that tells which passages answer, before the generator reads any.

With `rag.abstain.scorer` the scorer gives p(unknown|x,z), the probability that passage z has no
answer to question x, in place of the generator, which may never have learnt to abstain. A question
abstains where

    p(unknown|x) = Σ_z p(z|x) p(unknown|x,z)

is above `rag.abstain.above`, or where no passage was found. With `rag.abstain.mean: geometric`
Π_z p(unknown|x,z)^p(z|x) is compared instead. Otherwise the generator reads by
p(z|x, z answers) ∝ p(z|x) (1 − p(unknown|x,z)), as in ragcore/decoding/abstention.py. From one
prompt (`rag.marginalize: none`) nothing is marginalised, and no prior conditioned. So it is the
same for generators of all tiers.

Knows scorers, priors and what answers; knows nothing of how an answer is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ragcore.answering.confidence import with_confidence
from ragcore.answering.evidence import Retrieved
from ragcore.answering.stopwatch import Stopwatch
from ragcore.arrays import FloatArray, softmax
from ragcore.config import RagConfig
from ragcore.contracts import (
    AnswerabilityScorer,
    AnyGenerator,
    name_of,
    supports,
    tier_of,
    weights_dtype,
)
from ragcore.errors import ComponentError, UnsupportedOperation
from ragcore.marginalization import geometric_log_prob, prior_of_answering, sequence_log_prob
from ragcore.questions.matching import answer_key
from ragcore.tiers import Meter
from ragcore.types import AbstentionTest, Answer, Candidate, Correction, Evidence, Token

if TYPE_CHECKING:
    from ragcore.answering.choose import QuestionAnswerer

__all__ = ["AnswerabilityAnswerer", "answerability_of", "log_unanswerable"]


def answerability_of(config: RagConfig) -> AnswerabilityScorer | None:
    """Return the scorer of `rag.abstain`; None where there is none.

    All pipelines with the same settings of it share one, as long as any refers to it.

    Raises:
        UnsupportedOperation: it cannot tell whether a passage answers.
    """
    if config.abstain is None or config.abstain.scorer is None:
        return None
    scorer = config.abstain.scorer.shared()
    if not supports(scorer, AnswerabilityScorer):
        raise UnsupportedOperation(
            f"rag.abstain.scorer: scorer {name_of(scorer)} has no capability `answerability`: its "
            "scores rank passages, and do not say whether one answers; choose a scorer that has "
            "it, such as {use: answerability, model: …}"
        )
    return scorer


def log_unanswerable(
    scorer: AnswerabilityScorer, retrieved: Sequence[Retrieved]
) -> list[FloatArray]:
    """Compute log p(unknown|x,z) for the passages of each question in one call of the scorer.

    Returns:
        For each question float64 [max(k, 1)]; 0, which is certainty, where it has no passage.

    Raises:
        ComponentError: the scorer returned what is no log-probability for each pair.
    """
    pairs = [(read.question, passage) for read in retrieved for passage in read.passages]
    scores = np.zeros(0, np.float64)
    if pairs:
        questions, passages = zip(*pairs, strict=True)
        scores = np.asarray(scorer.log_unanswerable(questions, passages), np.float64)  # [P]
    # The negation catches NaN too.
    if scores.shape != (len(pairs),) or not (np.isfinite(scores) & (scores <= 0)).all():
        raise ComponentError(
            f"scorer {name_of(scorer)}: `log_unanswerable` returned shape {scores.shape} from "
            f"{scores.min(initial=0.0)} to {scores.max(initial=0.0)} for {len(pairs)} pairs: "
            "expected a finite log-probability for each, not above 0; `ragcore plugin test NAME "
            "--kind scorer` says what to fix in the scorer"
        )
    ends = np.cumsum([len(read.passages) for read in retrieved])
    by_question = np.split(scores, ends[:-1]) if retrieved else []
    return [of_question if len(of_question) else np.zeros(1) for of_question in by_question]


@dataclass(frozen=True, slots=True)
class _Judged:
    """A question whose passages were scored.

    Attributes:
        retrieved: as it was found.
        conditioned: as it is read: with log p(z|x, z answers), or as found where it abstains.
        abstention: the abstaining answer, whose probability is p(unknown|x).
        test: what is compared to decide whether it is the question's answer.
        abstains: whether it is.
    """

    retrieved: Retrieved
    conditioned: Retrieved
    abstention: Candidate
    test: AbstentionTest
    abstains: bool


class AnswerabilityAnswerer:
    """Turns retrieved passages into answers, or abstains before they are read."""

    def __init__(
        self,
        answerer: QuestionAnswerer,
        scorer: AnswerabilityScorer,
        generator: AnyGenerator,
        config: RagConfig,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Answer by what answers from passages alone.

        Args:
            answerer: by the generator's tier; it never abstains, and its confidence is replaced.
            scorer: tells which passages answer.
            generator: the answerer's.
            config: the section `rag` of a pipeline, changed as a request says.
            check: called before each batch is scored; what it raises ends the request.
        """
        assert config.abstain is not None, "the scorer is that of rag.abstain"
        self._answerer = answerer
        self._scorer = scorer
        self._generator = generator
        self._config = config
        self._abstain = config.abstain
        self._check = check

    def answers(
        self, retrieved: Sequence[Retrieved], version: str, stopwatch: Stopwatch | None = None
    ) -> list[Answer]:
        """Answer each question; arguments as `Answerer.answers`.

        Raises:
            ComponentError: a number of the scorer is no log-probability.
        """
        stopwatch = stopwatch or Stopwatch(len(retrieved), version)
        answers: list[Answer] = []
        for begin in range(0, len(retrieved), self._config.batch_size):
            batch = retrieved[begin : begin + self._config.batch_size]
            judged, seconds = self._judge(batch, stopwatch)
            answering = [each.conditioned for each in judged if not each.abstains]
            answered = iter(
                self._answerer.answers(answering, version, stopwatch) if answering else ()
            )
            finished = [
                self._abstaining(each, version, stopwatch)
                if each.abstains
                else self._finished(each, next(answered), stopwatch)
                for each in judged
            ]
            # The time of the generator's reading has replaced the scorer's.
            answers += [_with_reading(each, seconds if answering else 0.0) for each in finished]
        return answers

    def events(
        self, retrieved: Retrieved, version: str, stopwatch: Stopwatch
    ) -> Iterator[Token | Correction | Answer]:
        """Yield the tokens of one answer as soon as they are decided, then the answer."""
        (judged,), seconds = self._judge([retrieved], stopwatch)
        if judged.abstains:
            answer = self._abstaining(judged, version, stopwatch)
            posterior = next(iter(answer.token_posteriors), ())
            yield Token(answer.text, answer.log_prob, posterior)
            yield answer
            return
        sent = ""
        for event in self._answerer.events(judged.conditioned, version, stopwatch):
            if isinstance(event, Token):
                sent += event.text
            if not isinstance(event, Answer):
                yield event
                continue
            answer = self._finished(judged, event, stopwatch)
            if answer.abstains and not sent:
                yield Token(answer.text, answer.log_prob, next(iter(answer.token_posteriors), ()))
            elif answer.text != event.text:
                yield Correction(answer.text)
            yield _with_reading(answer, seconds)

    def log_probs(
        self,
        retrieved: Sequence[Retrieved],
        answers: Sequence[str],
        stopwatch: Stopwatch | None = None,
        meters: Sequence[Meter] = (),
    ) -> list[float]:
        """Score one answer for each question; that of the abstaining one is log p(unknown|x)."""
        stopwatch = stopwatch or Stopwatch(len(retrieved), "")
        judged: list[_Judged] = []
        for begin in range(0, len(retrieved), self._config.batch_size):
            batch = retrieved[begin : begin + self._config.batch_size]
            judged += self._judge(batch, stopwatch)[0]
        unknown = self._abstain.answer.strip()
        written = [n for n, text in enumerate(answers) if text.strip() != unknown]
        scored = iter(
            self._answerer.log_probs(
                [judged[n].conditioned for n in written],
                [answers[n] for n in written],
                stopwatch,
                [meters[n] for n in written] if meters else (),
            )
            if written
            else ()
        )
        return [
            _log_prob(each.abstention) if text.strip() == unknown else next(scored)
            for each, text in zip(judged, answers, strict=True)
        ]

    def _judge(
        self, retrieved: Sequence[Retrieved], stopwatch: Stopwatch
    ) -> tuple[list[_Judged], float]:
        """Score the passages of a batch; return how many seconds that took, too."""
        self._check()
        started, began = time.time_ns(), time.perf_counter()
        scores = log_unanswerable(self._scorer, retrieved)
        judged = [self._judged(*each) for each in zip(retrieved, scores, strict=True)]
        seconds = time.perf_counter() - began
        stopwatch.add("read", started, seconds, len(retrieved))
        return judged, seconds

    def _judged(self, retrieved: Retrieved, log_unknown: FloatArray) -> _Judged:
        log_prior = retrieved.log_prior.astype(np.float64)  # [max(k, 1)]
        log_p = min(float(sequence_log_prob(log_prior, log_unknown[:, None])), 0.0)
        log_mean = log_p
        if self._abstain.mean == "geometric":
            log_mean = float(geometric_log_prob(log_prior, log_unknown))
        test = AbstentionTest(self._abstain.mean, log_mean, self._abstain.above)
        abstains = not retrieved.passages or test.is_above
        conditioned = retrieved
        if not abstains and not self._config.one_prompt:
            of_answering = prior_of_answering(log_prior, log_unknown).astype(np.float32)
            conditioned = replace(retrieved, log_prior=of_answering)
        has_passages = bool(retrieved.passages)
        # Of one prompt no passage has a posterior.
        posterior = softmax(log_prior + log_unknown, -1).tolist() if has_passages else []
        abstention = Candidate(
            token_ids=(),
            token_log_probs=(log_p,),
            priors=tuple(np.exp(log_prior).tolist()) if has_passages else (),
            posteriors=() if self._config.one_prompt else (tuple(posterior),),
            spans=((),) * len(retrieved.passages),
            text=self._abstain.answer,
            tokens=(self._abstain.answer,),
        )
        return _Judged(retrieved, conditioned, abstention, test, abstains)

    def _finished(self, judged: _Judged, answer: Answer, stopwatch: Stopwatch) -> Answer:
        """Return an answer that was read, with p(unknown|x) and its confidence by it.

        Where the generator wrote the abstaining answer, there is no other one. A grounded answer
        may say that word where a passage does; it is empty where no passage has a word.
        """
        if self._config.grounded:
            unanswered = not answer.text
        else:
            unanswered = answer_key(answer.unmarked) == answer_key(self._abstain.answer)
        if unanswered:
            abstaining = self._abstaining(judged, answer.memory, stopwatch)
            return replace(abstaining, votes=answer.votes, usage=answer.usage)
        answer = replace(answer, abstention=judged.abstention, abstention_test=judged.test)
        return with_confidence(answer, self._config.confidence)

    def _abstaining(self, judged: _Judged, version: str, stopwatch: Stopwatch) -> Answer:
        """Make the abstaining answer; a generator of texts alone has no log p of answers."""
        retrieved, candidate = judged.retrieved, judged.abstention
        tier = tier_of(self._generator)
        scored = tier != "text"
        posteriors = candidate.posteriors if scored else ()
        by_passage = posteriors[0] if posteriors else [None] * len(retrieved.passages)
        return Answer(
            question=retrieved.question,
            text=candidate.text,
            log_prob=candidate.log_prob if scored else None,
            evidence=tuple(
                Evidence(*fields)
                for fields in zip(
                    retrieved.passages,
                    retrieved.scores,
                    candidate.priors,
                    by_passage,
                    strict=True,
                )
            ),
            memory=version,
            tokens=candidate.tokens if scored else (),
            token_posteriors=posteriors,
            token_ids=(),
            candidates=(candidate,) if scored else (),
            abstention=candidate,
            abstention_test=judged.test,
            timings=stopwatch.timings(),
            marginalize=self._config.marginalize,
            abstains=True,
            missing_passages=retrieved.missing,
            dtype=weights_dtype(self._generator),
            filter_notes=retrieved.filter_notes,
            tier=tier,
            marks=() if self._config.cite else None,
        )


def _with_reading(answer: Answer, seconds: float) -> Answer:
    """Return an answer whose `timings.read` has so many seconds more."""
    timings = answer.timings
    if timings is None:
        return answer
    return replace(answer, timings=replace(timings, read=timings.read + seconds))


def _log_prob(candidate: Candidate) -> float:
    """Return log p of a candidate whose tokens were scored."""
    return sum(candidate.token_log_probs)
