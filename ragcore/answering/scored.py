"""Answer by log-probs of whole texts: candidates from each passage, scored and marginalised.

For generators of the tier `score`. Each passage proposes answers. Thorough decoding (paper, section
2.5) scores each of them under every passage, so that log p(y|x) is exact and the best of the
candidates is found; so does joint decoding, which has no prefixes to rank here. Fast decoding takes
p(y|x,z) as 0 where z did not propose y, and scores only the winner under every passage. RAG-Token
scores each candidate by its formula, which needs all passages at each token.

Knows prompts and log-probs as NumPy arrays; imports no torch. Shapes: k passages, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ragcore.answering.batches import answered_in_batches
from ragcore.answering.confidence import with_confidence
from ragcore.answering.drawing import draw_texts, sampling_of
from ragcore.answering.evidence import Retrieved, answer_of
from ragcore.answering.marks import unmarked
from ragcore.answering.prompting import PromptedQuestion, prompted, write_texts, writing_of
from ragcore.answering.scored_candidate import scored_candidate
from ragcore.answering.stopwatch import Stopwatch
from ragcore.answering.streaming import tokens_of
from ragcore.answering.text_checks import check_scores
from ragcore.arrays import FloatArray
from ragcore.config import RagConfig
from ragcore.contracts import ScoringGenerator, TextScore, Writing, name_of
from ragcore.decoding.chances import SamplingOptions
from ragcore.errors import GeneratorError
from ragcore.marginalization import geometric_log_prob, prior_of_answering
from ragcore.process.cancellation import interruptible
from ragcore.questions.matching import answer_key
from ragcore.tiers import Meter
from ragcore.types import AbstentionTest, Answer, Candidate, Correction, Token

__all__ = ["ScoringAnswerer"]


@dataclass(slots=True)
class _OpenQuestion:
    """One question of a batch on its way to an answer.

    Attributes:
        prompted: the question with the prompt of each passage.
        log_prior: float64 [k], log p(z|x), conditioned on the passages that answer.
        abstention: the abstaining answer; None where no answer is the abstaining one.
        abstention_test: what is compared to decide whether it is the question's answer.
        abstains: whether it is.
        proposed: for each passage the different texts that were written for it.
        draws: with `rag.sample`, the numbers of the draws that came out as a text.
        uncut: the texts that ended before the longest.
        scores: of a text under a passage, as far as they are known.
    """

    prompted: PromptedQuestion
    log_prior: FloatArray
    abstention: Candidate | None = None
    abstention_test: AbstentionTest | None = None
    abstains: bool = False
    proposed: list[list[str]] = field(default_factory=list)
    draws: dict[str, tuple[int, ...]] = field(default_factory=dict)
    uncut: set[str] = field(default_factory=set)
    scores: dict[tuple[str, int], TextScore] = field(default_factory=dict)

    def texts(self) -> list[str]:
        """Return the different texts of all passages, in the order of the passages."""
        return list(dict.fromkeys(text for texts in self.proposed for text in texts))

    def drawn_abstentions(self) -> list[str]:
        """Return the different texts that were drawn, and are the abstaining answer."""
        answers = set(self.texts())
        return [text for text in self.draws if text not in answers]

    def table(self, text: str) -> FloatArray:
        """Return log p(y_i|x,z,y_<i) of a text that every passage has scored, [k, T]."""
        rows = [self.scores[text, z].log_probs for z in range(len(self.log_prior))]
        return np.array(rows, np.float64)

    def tokens(self, text: str) -> tuple[str, ...]:
        """Return the texts of a text's tokens, [T], which are the same for each passage."""
        return next(score.tokens for (known, _), score in self.scores.items() if known == text)


class ScoringAnswerer:
    """Turns retrieved passages into answers by a generator of the tier `score`."""

    def __init__(
        self,
        generator: ScoringGenerator,
        config: RagConfig,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Answer by these settings, which the tier can follow (refusals.py).

        Args:
            generator: writes texts, and scores them.
            config: the section `rag` of a pipeline, changed as a request says.
            check: called before each batch, and before each call of the generator; what it raises
                ends the request.
        """
        self.generator = generator
        self.config = config
        self._check = check

    def answers(
        self, retrieved: Sequence[Retrieved], version: str, stopwatch: Stopwatch | None = None
    ) -> list[Answer]:
        """Answer each question by its best candidate; arguments as `Answerer.answers`.

        Raises:
            GeneratorError: a log-prob of the generator cannot be one.
        """
        stopwatch = stopwatch or Stopwatch(len(retrieved), version)
        return answered_in_batches(
            retrieved, self.config.batch_size, stopwatch, partial(self._answers, version=version)
        )

    def events(
        self, retrieved: Retrieved, version: str, stopwatch: Stopwatch
    ) -> Iterator[Token | Correction | Answer]:
        """Yield the tokens of an answer, all of which are known at its end, and the answer."""
        (answer,) = self.answers([retrieved], version, stopwatch)
        yield from tokens_of(answer)
        yield answer

    def log_probs(
        self,
        retrieved: Sequence[Retrieved],
        answers: Sequence[str],
        stopwatch: Stopwatch | None = None,
        meters: Sequence[Meter] = (),
    ) -> list[float]:
        """Score one answer for each question: log p(y|x), end of sequence included."""
        stopwatch = stopwatch or Stopwatch(len(retrieved), "")
        log_probs: list[float] = []
        for begin in range(0, len(retrieved), self.config.batch_size):
            batch = slice(begin, begin + self.config.batch_size)
            with stopwatch.timed("score", len(retrieved[batch])):
                questions = self._condition(prompted(retrieved[batch], meters=meters[batch]))
                texts = answers[batch]
                self._score([(each, [text]) for each, text in zip(questions, texts, strict=True)])
            for question, text in zip(questions, texts, strict=True):
                # The abstaining answer is scored under the unconditioned prior.
                abstention = question.abstention
                if abstention is None or text != abstention.text:
                    abstention = self._candidate(question, text)
                log_probs.append(_log_prob(abstention))
        return log_probs

    def _answers(self, retrieved: Sequence[Retrieved], version: str) -> list[Answer]:
        """Answer one batch: condition, write or draw, score, and choose."""
        sampling = sampling_of(self.config)
        writing = writing_of(self.config)
        seed = writing.seed if sampling is None else sampling.seed
        questions = self._condition(prompted(retrieved, seed))
        searched = [question for question in questions if not question.abstains]
        if sampling is None:
            self._write(searched, writing)
        else:
            self._draw(searched, sampling)
        searched = [question for question in searched if not question.abstains]
        fast = self.config.marginal == "sequence" and self.config.decode == "fast"
        ranked = self._fast(searched) if fast and sampling is None else self._thorough(searched)
        self._refuse_impossible(ranked)
        candidates = iter(ranked)
        return [self._answer(each, candidates, version) for each in questions]

    def _write(self, questions: Sequence[_OpenQuestion], writing: Writing) -> None:
        """Let each passage propose what the generator writes for it."""
        written = write_texts(
            self.generator, [each.prompted for each in questions], writing, self._check
        )
        for question, by_passage in zip(questions, written, strict=True):
            question.uncut = {
                each.text for of_passage in by_passage for each in of_passage if each.finished
            }
            self._propose(question, [[each.text for each in texts] for texts in by_passage])

    def _draw(self, questions: Sequence[_OpenQuestion], sampling: SamplingOptions) -> None:
        """Take what is drawn as proposed by the passages that were drawn for it (drawing.py)."""
        drawn = draw_texts(
            self.generator,
            [each.prompted for each in questions],
            self.config,
            sampling,
            self._check,
        )
        for question, texts in zip(questions, drawn, strict=True):
            question.draws = {each.text: each.draws for each in texts}
            question.uncut = {each.text for each in texts if not each.cut}
            passages = range(len(question.log_prior))
            self._propose(
                question, [[each.text for each in texts if z in each.passages] for z in passages]
            )

    def _refuse_impossible(self, ranked: Sequence[Sequence[Candidate]]) -> None:
        """Refuse scores by which nothing that was written is possible: they are of another text."""
        for candidates in ranked:
            if _log_prob(candidates[0]) == -math.inf:
                raise GeneratorError(
                    f"generator {name_of(self.generator)}: `score_texts` returned -inf for "
                    f"each of the {len(candidates)} texts that `write` returned: expected their "
                    "log-probs by the same model"
                )

    def _answer(
        self, question: _OpenQuestion, ranked: Iterator[list[Candidate]], version: str
    ) -> Answer:
        """Make the answer of a question; the next of `ranked` are its candidates, if searched."""
        abstention = question.abstention
        if question.abstains and abstention is not None:
            drawn = tuple(sorted(draw for draws in question.draws.values() for draw in draws))
            candidates = [replace(abstention, draws=drawn)]
        else:
            candidates = next(ranked)
        answer = answer_of(
            self.generator,
            question.prompted.retrieved,
            candidates,
            self.config.marginal,
            version,
            abstention=abstention,
            abstains=question.abstains,
            usage=question.prompted.usage,
        )
        answer = replace(answer, abstention_test=question.abstention_test)
        return with_confidence(answer, self.config.confidence)

    def _condition(self, questions: Sequence[PromptedQuestion]) -> list[_OpenQuestion]:
        """Condition priors on the passages that answer (ragcore/decoding/abstention.py)."""
        opened = [_OpenQuestion(question, _prior(question)) for question in questions]
        abstain = self.config.abstain
        if abstain is None or self.config.abstains_by_scorer:
            return opened
        self._score([(question, [abstain.answer]) for question in opened])
        for question in opened:
            question.abstention = self._candidate(question, abstain.answer)
            unanswerable = self.config.k > 0 and not question.prompted.retrieved.passages
            log_unknown = question.table(abstain.answer).sum(axis=-1)  # [k]
            log_mean = _log_prob(question.abstention)
            if abstain.mean == "geometric":
                log_mean = float(geometric_log_prob(question.log_prior, log_unknown))
            test = AbstentionTest(abstain.mean, log_mean, abstain.above)
            question.abstention_test = test
            if unanswerable or test.is_above:
                question.abstains = True
            else:
                question.log_prior = prior_of_answering(question.log_prior, log_unknown)  # [k]
        return opened

    def _propose(self, question: _OpenQuestion, texts: Sequence[Sequence[str]]) -> None:
        """Take what each passage proposes, but for the abstaining answer.

        Where no passage proposes another, the question abstains: there is no other answer. With
        `rag.abstain.scorer` it is then proposed, and answerability.py abstains.
        """
        abstain = self.config.abstain
        plain = unmarked if self.config.cite else str
        question.proposed = [
            [
                text
                for text in dict.fromkeys(of_passage)
                if abstain is None or answer_key(plain(text)) != answer_key(abstain.answer)
            ]
            for of_passage in texts
        ]
        if self.config.abstains_by_scorer and not question.texts():
            question.proposed = [list(dict.fromkeys(of_passage)) for of_passage in texts]
        question.abstains = not question.texts()

    def _thorough(self, questions: Sequence[_OpenQuestion]) -> list[list[Candidate]]:
        """Score each text under every passage; return each question's candidates, best first."""
        self._score([(each, [*each.texts(), *each.drawn_abstentions()]) for each in questions])
        return [
            [
                *sorted(
                    [self._candidate(question, text) for text in question.texts()],
                    key=lambda candidate: self._rank(_log_prob(candidate), len(candidate.tokens)),
                    reverse=True,
                ),
                # They were drawn, and are no answer of a question that does not abstain.
                *(
                    self._candidate(question, text, _prior(question.prompted))
                    for text in question.drawn_abstentions()
                ),
            ]
            for question in questions
        ]

    def _fast(self, questions: Sequence[_OpenQuestion]) -> list[list[Candidate]]:
        """Score each text under the passages that proposed it; return each question's winner."""
        self._score_cells(
            [
                (question, text, z)
                for question in questions
                for z, texts in enumerate(question.proposed)
                for text in texts
            ]
        )
        winners = [max(each.texts(), key=self._fast_rank(each)) for each in questions]
        self._score([(each, [text]) for each, text in zip(questions, winners, strict=True)])
        return [
            [self._candidate(question, text)]
            for question, text in zip(questions, winners, strict=True)
        ]

    def _fast_rank(self, question: _OpenQuestion) -> Callable[[str], float]:
        """Rank texts by Σ_z p(z|x) p(y|x,z) over the passages that proposed them."""

        def rank(text: str) -> float:
            joint = [
                question.log_prior[z] + math.fsum(question.scores[text, z].log_probs)
                for z, texts in enumerate(question.proposed)
                if text in texts
            ]
            return self._rank(float(np.logaddexp.reduce(joint)), len(question.tokens(text)))

        return rank

    def _rank(self, log_prob: float, length: int) -> float:
        return log_prob / float(length**self.config.length_penalty)

    def _candidate(
        self, question: _OpenQuestion, text: str, log_prior: FloatArray | None = None
    ) -> Candidate:
        """Marginalise a text that every passage has scored, by the conditioned prior where None."""
        candidate = scored_candidate(
            self.config.marginal,
            text,
            question.tokens(text),
            question.log_prior if log_prior is None else log_prior,
            question.table(text),
            passages=len(question.prompted.retrieved.passages),
        )
        cut = bool(question.proposed) and text not in question.uncut
        return replace(candidate, draws=question.draws.get(text, ()), cut=cut)

    def _score(self, wanted: Sequence[tuple[_OpenQuestion, Sequence[str]]]) -> None:
        """Score texts of questions under all of their passages."""
        self._score_cells(
            [
                (question, text, z)
                for question, texts in wanted
                for text in texts
                for z in range(len(question.log_prior))
            ]
        )

    def _score_cells(self, cells: Sequence[tuple[_OpenQuestion, str, int]]) -> None:
        """Score texts under passages in one call of the generator; what is known is not asked."""
        unknown = [cell for cell in cells if (cell[1], cell[2]) not in cell[0].scores]
        if not unknown:
            return
        self._check()
        texts = [text for _, text, _ in unknown]
        with interruptible(self._check):
            scores = self.generator.score_texts(
                [question.prompted.prompts[z] for question, _, z in unknown],
                texts,
                [question.prompted.meter for question, _, _ in unknown],
            )
        check_scores(name_of(self.generator), texts, scores)
        for (question, text, z), score in zip(unknown, scores, strict=True):
            # What a server rounded up would make an answer more probable than 1.
            log_probs = tuple(min(log_prob, 0.0) for log_prob in score.log_probs)
            question.scores[text, z] = TextScore(score.tokens, log_probs)


def _prior(question: PromptedQuestion) -> FloatArray:
    """Return log p(z|x), not conditioned on the passages that answer, float64 [k]."""
    return question.retrieved.log_prior.astype(np.float64)


def _log_prob(candidate: Candidate) -> float:
    """Return log p of a candidate whose tokens were scored."""
    return sum(candidate.token_log_probs)
