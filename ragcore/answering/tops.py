"""Answer by each step's most probable tokens: a beam search over the union of the passages' tops.

For generators of the tier `top`: RAG-Token, and RAG-Sequence by joint decoding. What a top leaves
out is bounded (top_prefixes.py): `log_prob` is a lower bound of log p(y|x), and `dropped_mass` says
how much higher p(y|x) may be. An answer that is cut at the longest, and whose end is in no
passage's top, has no lower bound above 0: its `log_prob` is None.

Knows beams and tokens; imports no torch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ragcore.answering.batches import answered_in_batches
from ragcore.answering.confidence import with_confidence
from ragcore.answering.evidence import Retrieved, answer_of
from ragcore.answering.prompting import PromptedQuestion, prompted
from ragcore.answering.refusals import refuse_unscored
from ragcore.answering.stopwatch import Stopwatch
from ragcore.answering.streaming import TextStream, joined_tokens
from ragcore.answering.top_prefixes import END, TopPrefixes
from ragcore.config import RagConfig
from ragcore.contracts import TopGenerator, Writing, whole_text
from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.hypotheses import Hypothesis
from ragcore.decoding.rules import DecodingOptions
from ragcore.tiers import Meter
from ragcore.types import Answer, Candidate, Correction, Token

__all__ = ["TopAnswerer"]


class TopAnswerer:
    """Turns retrieved passages into answers by a generator of the tier `top`."""

    def __init__(
        self,
        generator: TopGenerator,
        config: RagConfig,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Answer by these settings, which the tier can follow (refusals.py).

        Args:
            generator: continues tokens, and shows each step's most probable ones.
            config: the section `rag` of a pipeline, changed as a request says.
            check: called before each batch, each step, and each call of the generator; what it
                raises ends the request.
        """
        self.generator = generator
        self.config = config
        self._check = check

    def answers(
        self, retrieved: Sequence[Retrieved], version: str, stopwatch: Stopwatch | None = None
    ) -> list[Answer]:
        """Answer each question by the best hypothesis; arguments as `Answerer.answers`.

        Raises:
            GeneratorError: a generator's top is no part of a distribution.
        """
        stopwatch = stopwatch or Stopwatch(len(retrieved), version)
        return answered_in_batches(
            retrieved, self.config.batch_size, stopwatch, partial(self._answers, version=version)
        )

    def events(
        self, retrieved: Retrieved, version: str, stopwatch: Stopwatch
    ) -> Iterator[Token | Correction | Answer]:
        """Yield the tokens of one answer as soon as they are decided, then the answer."""
        (question,) = prompted([retrieved])
        started, seconds = time.time_ns(), 0.0
        prefixes, search = self._search([question])

        def prefix(tokens: Sequence[int]) -> str:
            return joined_tokens([token.text for token in prefixes.written(0, tokens)])

        text, sent = TextStream(prefix), 0
        answer: Answer | None = None
        while answer is None:
            # The caller's code runs between two tokens, and its time is not counted.
            began = time.perf_counter()
            if not search.advance():
                answer = self._answer(prefixes, 0, question, search.best(), version)
            # An end without log p is no token of the answer.
            steps = [step for step in search.decided() if step.log_prob > -math.inf]
            seconds += time.perf_counter() - began
            while sent < len(steps):
                sent += 1
                tokens = [step.token for step in steps[:sent]]
                if sent == len(steps) and answer is not None:
                    part = text.rest(answer.text, prefix(tokens))
                else:
                    part = text.next(tokens)
                yield Token(part, steps[sent - 1].log_prob, steps[sent - 1].posterior)
        if text.sent != answer.text:
            yield Correction(answer.text)
        stopwatch.add("decode", started, seconds)
        yield replace(answer, timings=stopwatch.timings())

    def log_probs(
        self,
        retrieved: Sequence[Retrieved],
        answers: Sequence[str],
        stopwatch: Stopwatch | None = None,
        meters: Sequence[Meter] = (),
    ) -> list[float]:
        """Refuse to score answers: what is in no top has no log-prob.

        Raises:
            UnsupportedOperation: always.
        """
        refuse_unscored(self.generator, "Rag.log_prob")
        raise AssertionError("a generator of the tier `top` scores no texts")

    def _answers(self, retrieved: Sequence[Retrieved], version: str) -> list[Answer]:
        """Answer one batch by one search."""
        questions = prompted(retrieved)
        prefixes, search = self._search(questions)
        return [
            self._answer(prefixes, number, question, hypotheses, version)
            for number, (question, hypotheses) in enumerate(
                zip(questions, search.run(), strict=True)
            )
        ]

    def _search(self, questions: Sequence[PromptedQuestion]) -> tuple[TopPrefixes, BeamSearch]:
        """Begin one search over the prefixes of all questions."""
        config = self.config
        writing = Writing(max_new_tokens=config.max_new_tokens)
        prefixes = TopPrefixes(self.generator, questions, config.marginal, writing, self._check)
        options = DecodingOptions(
            eos_token_id=END,
            beams=config.beams,
            max_new_tokens=config.max_new_tokens,
            min_new_tokens=config.min_new_tokens,
            length_penalty=config.length_penalty,
            no_repeat_ngram=config.no_repeat_ngram,
        )
        return prefixes, BeamSearch(prefixes, options, check=self._check)

    def _answer(
        self,
        prefixes: TopPrefixes,
        number: int,
        question: PromptedQuestion,
        hypotheses: Sequence[Hypothesis],
        version: str,
    ) -> Answer:
        """Make the answer of a question of the search."""
        scored = [each for each in hypotheses if each.log_prob > -math.inf]
        answer = answer_of(
            self.generator,
            question.retrieved,
            [
                replace(
                    _candidate(prefixes, number, question.retrieved, hypothesis),
                    cut=len(hypothesis.steps) >= self.config.max_new_tokens,
                )
                for hypothesis in scored or hypotheses[:1]
            ],
            self.config.marginal,
            version,
            usage=question.usage,
        )
        if not scored:
            # p(y|x) may be 0: only the upper bound is known.
            evidence = tuple(replace(hit, posterior=None) for hit in answer.evidence)
            answer = replace(answer, log_prob=None, evidence=evidence, candidates=())
        return with_confidence(answer, self.config.confidence)


def _candidate(
    prefixes: TopPrefixes, number: int, retrieved: Retrieved, hypothesis: Hypothesis
) -> Candidate:
    """Make a candidate of a hypothesis, without an end that has no log p."""
    steps = [step for step in hypothesis.steps if step.log_prob > -math.inf]
    numbers = [step.token for step in steps]
    tokens = prefixes.written(number, numbers)
    ids = [token.id for token in tokens]
    known = [token_id for token_id in ids if token_id is not None]
    texts = tuple(token.text for token in tokens)
    passages = len(retrieved.passages)
    return Candidate(
        token_ids=tuple(known) if len(known) == len(ids) else (),
        token_log_probs=tuple(step.log_prob for step in steps),
        priors=tuple(np.exp(retrieved.log_prior).tolist()) if passages else (),
        posteriors=tuple(step.posterior if passages else () for step in steps),
        spans=((),) * passages,
        text=joined_tokens(texts),
        dropped_mass=hypothesis.dropped_mass,
        tokens=tuple(whole_text([text]) for text in texts),
        slack=prefixes.slack(number, numbers),
    )
