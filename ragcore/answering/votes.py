"""Answer by texts alone: each passage's answer is a vote, weighted by the passage's prior.

For generators of the tier `text`. Answers are the same if they are once normalised, as by
`answer_key` (questions/matching.py). A passage for which several texts are written shares its prior
among them equally. The share of an answer is no probability of it, so that `log_prob` and
posteriors are None.

With `rag.sample` (drawing.py) the votes are the draws, one each: an answer's share of them
estimates p(y|x) of RAG-Sequence. Generators of the tier `top` draw here, too.

With `rag.abstain` an answer that matches the abstaining one is a vote for it. The question abstains
where its share is above `rag.abstain.above`, or where there is no other answer; otherwise passages
that abstain are ignored, as ragcore/decoding/abstention.py does by log p. A share has no geometric
mean, so `rag.abstain.mean: geometric` is refused (refusals.py). With `rag.abstain.scorer` these
votes decide nothing; they only come last.

Knows prompts and texts; knows nothing of log-probs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ragcore.answering.batches import answered_in_batches
from ragcore.answering.drawing import DrawnText, draw_texts, drawn_passages, sampling_of
from ragcore.answering.evidence import Retrieved, spelled
from ragcore.answering.marks import unmarked
from ragcore.answering.prompting import PromptedQuestion, prompted, write_texts, writing_of
from ragcore.answering.refusals import refuse_unscored
from ragcore.answering.stopwatch import Stopwatch
from ragcore.answering.streaming import tokens_of
from ragcore.answering.written_text import WrittenText
from ragcore.config import RagConfig
from ragcore.contracts import (
    Completion,
    StreamingGenerator,
    TextGenerator,
    supports,
    tier_of,
    weights_dtype,
)
from ragcore.questions.matching import answer_key
from ragcore.tiers import Meter
from ragcore.types import Answer, Candidate, Correction, Evidence, Token, Vote

__all__ = ["VotingAnswerer", "count_draws", "count_votes"]


class VotingAnswerer:
    """Turns retrieved passages into answers by the texts of a generator."""

    def __init__(
        self,
        generator: TextGenerator,
        config: RagConfig,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Answer by these settings, which the tier can follow (refusals.py).

        Args:
            generator: writes texts.
            config: the section `rag` of a pipeline, changed as a request says.
            check: called before each batch; what it raises ends the request.
        """
        self.generator = generator
        self.config = config
        self._check = check

    def answers(
        self, retrieved: Sequence[Retrieved], version: str, stopwatch: Stopwatch | None = None
    ) -> list[Answer]:
        """Answer each question by the most votes; arguments as `Answerer.answers`."""
        stopwatch = stopwatch or Stopwatch(len(retrieved), version)
        return answered_in_batches(
            retrieved, self.config.batch_size, stopwatch, partial(self._answers, version=version)
        )

    def events(
        self, retrieved: Retrieved, version: str, stopwatch: Stopwatch
    ) -> Iterator[Token | Correction | Answer]:
        """Yield the text of an answer as it is written, where one text decides it; then itself.

        Otherwise the whole answer is one token, since votes are counted at the end.
        """
        sampling, writing = sampling_of(self.config), writing_of(self.config)
        (question,) = prompted([retrieved], writing.seed if sampling is None else sampling.seed)
        several = writing.count > 1 or len(question.prompts) > 1
        if sampling is not None:
            several = sampling.n > 1
        if several or not supports(self.generator, StreamingGenerator):
            (answer,) = self.answers([retrieved], version, stopwatch)
            yield from tokens_of(answer)
            yield answer
            return
        place = 0
        if sampling is not None:
            ((place, seed),) = drawn_passages(question, sampling)
            writing = writing_of(self.config, sampling, [seed]).of_prompt(0)
        parts = self.generator.write_parts(question.prompts[place], writing, question.meter)
        written = WrittenText(parts, self._check)
        started = time.time_ns()
        yield from written.tokens()
        stopwatch.add("decode", started, written.seconds)
        whole = written.whole
        if sampling is None:
            answer = self._answer_of_texts(question, [[whole]], version)
        else:
            drawn = DrawnText(whole.text, (0,), (place,), not whole.finished)
            answer = self._answer_of_draws(question, [drawn], version)
        yield from written.rest(answer.text)
        yield replace(answer, timings=stopwatch.timings())

    def log_probs(
        self,
        retrieved: Sequence[Retrieved],
        answers: Sequence[str],
        stopwatch: Stopwatch | None = None,
        meters: Sequence[Meter] = (),
    ) -> list[float]:
        """Refuse to score answers.

        Raises:
            UnsupportedOperation: always.
        """
        refuse_unscored(self.generator, "Rag.log_prob")
        raise AssertionError("a generator of the tier `text` scores no texts")

    def _answers(self, retrieved: Sequence[Retrieved], version: str) -> list[Answer]:
        """Answer one batch: write or draw, and count."""
        sampling = sampling_of(self.config)
        if sampling is not None:
            questions = prompted(retrieved, sampling.seed)
            drawn = draw_texts(self.generator, questions, self.config, sampling, self._check)
            return [
                self._answer_of_draws(question, texts, version)
                for question, texts in zip(questions, drawn, strict=True)
            ]
        writing = writing_of(self.config)
        questions = prompted(retrieved, writing.seed)
        written = write_texts(self.generator, questions, writing, self._check)
        return [
            self._answer_of_texts(question, completions, version)
            for question, completions in zip(questions, written, strict=True)
        ]

    def _answer_of_texts(
        self,
        question: PromptedQuestion,
        completions: Sequence[Sequence[Completion]],
        version: str,
    ) -> Answer:
        """Make the answer of a question by what was written for each passage."""
        texts = [[each.text for each in of_passage] for of_passage in completions]
        votes = count_votes(question.prior(), texts, question.passage_ids(), self._plain)
        ranked, abstains = self._ranked(question, votes)
        uncut = {each.text for of_passage in completions for each in of_passage if each.finished}
        return self._answer(question, ranked, version, abstains=abstains, uncut=uncut)

    def _answer_of_draws(
        self, question: PromptedQuestion, drawn: Sequence[DrawnText], version: str
    ) -> Answer:
        """Make the answer of a question by what was drawn, with a candidate for each text."""
        votes = count_draws(question.prior(), drawn, question.passage_ids(), self._plain)
        ranked, abstains = self._ranked(question, votes)
        place = {answer_key(self._plain(vote.text)): n for n, vote in enumerate(ranked)}
        uncut = {each.text for each in drawn if not each.cut}
        answer = self._answer(question, ranked, version, abstains=abstains, uncut=uncut)
        passages = len(question.retrieved.passages)
        candidates = [
            Candidate(
                token_ids=(),
                token_log_probs=(),
                priors=tuple(question.prior()) if passages else (),
                posteriors=(),
                spans=((),) * passages,
                text=each.text,
                draws=each.draws,
                cut=each.cut,
            )
            # The most frequent text of the most frequent answer is this one.
            for each in sorted(
                drawn,
                key=lambda each: (place[answer_key(self._plain(each.text))], -len(each.draws)),
            )
        ]
        return replace(answer, candidates=tuple(candidates))

    def _ranked(self, question: PromptedQuestion, votes: Sequence[Vote]) -> tuple[list[Vote], bool]:
        """Return the votes, the answer's first, and whether the question abstains."""
        abstain, retrieved = self.config.abstain, question.retrieved
        if abstain is None:
            return list(votes), False
        unknown_key = answer_key(abstain.answer)
        unknown = [vote for vote in votes if answer_key(self._plain(vote.text)) == unknown_key]
        others = [vote for vote in votes if vote not in unknown]
        if self.config.abstains_by_scorer:
            # Whether the question abstains is not for these texts to say (answerability.py).
            return others + unknown, False
        unanswerable = self.config.k > 0 and not retrieved.passages
        share = sum(vote.share for vote in unknown)
        abstains = unanswerable or not others or share > abstain.above
        return (unknown + others if abstains else others + unknown), abstains

    def _answer(
        self,
        question: PromptedQuestion,
        votes: Sequence[Vote],
        version: str,
        *,
        abstains: bool,
        uncut: Collection[str],
    ) -> Answer:
        """Make the answer of the first vote.

        Args:
            question: with its passages.
            votes: the answer's first.
            version: of the memory.
            abstains: whether it is the abstaining answer.
            uncut: the texts that ended before the longest.
        """
        retrieved, abstain = question.retrieved, self.config.abstain
        text = votes[0].text
        evidence = tuple(
            Evidence(passage, score, p, None)
            for passage, score, p in zip(
                retrieved.passages, retrieved.scores, question.prior(), strict=False
            )
        )
        return Answer(
            question=retrieved.question,
            text=abstain.answer
            if abstains and abstain is not None
            else spelled(self.generator, text, evidence),
            log_prob=None,
            evidence=evidence,
            memory=version,
            tokens=(),
            token_posteriors=(),
            token_ids=(),
            abstains=abstains,
            missing_passages=retrieved.missing,
            dtype=weights_dtype(self.generator),
            filter_notes=retrieved.filter_notes,
            tier=tier_of(self.generator),
            votes=tuple(votes),
            usage=question.usage,
            cut=not abstains and text not in uncut,
        )

    def _plain(self, text: str) -> str:
        """Return what is compared of a text: with `rag.cite` it is without marks."""
        return unmarked(text) if self.config.cite else text


@dataclass(slots=True)
class _Tally:
    """The votes for one answer.

    Attributes:
        text: as the passage of highest prior wrote it.
        parts: its passages' priors, each divided by how many texts the passage wrote; one for each
            of its texts.
        passages: their positions, by falling prior.
    """

    text: str
    parts: list[float] = field(default_factory=list)
    passages: list[int] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Return the sum of the parts, rounded once: equal shares tie in any order of adding."""
        return math.fsum(self.parts)


def count_votes(
    prior: Sequence[float],
    texts: Sequence[Sequence[str]],
    passage_ids: Sequence[str],
    plain: Callable[[str], str] = str,
) -> list[Vote]:
    """Group texts by what they are once normalised; sum the priors of their passages.

    Args:
        prior: [max(k, 1)], p(z|x).
        texts: of each passage, at least one; of the question alone where there is no passage.
        passage_ids: [k].
        plain: returns what is compared of a text.

    Returns:
        The different answers by falling share; of equal ones first that of the better passage.
    """
    tallies: dict[str, _Tally] = {}
    for z in sorted(range(len(prior)), key=lambda z: -prior[z]):
        for text in texts[z]:
            tally = tallies.setdefault(answer_key(plain(text)), _Tally(text))
            tally.parts.append(prior[z] / len(texts[z]))
            if z not in tally.passages:
                tally.passages.append(z)
    return [
        Vote(tally.text, tally.share, tuple(passage_ids[z] for z in tally.passages if passage_ids))
        for tally in sorted(tallies.values(), key=lambda tally: -tally.share)
    ]


def count_draws(
    prior: Sequence[float],
    drawn: Sequence[DrawnText],
    passage_ids: Sequence[str],
    plain: Callable[[str], str] = str,
) -> list[Vote]:
    """Group texts that were drawn by what they are once normalised; share out the draws.

    Args:
        prior: [max(k, 1)], p(z|x).
        drawn: the different texts, at least one.
        passage_ids: [k].
        plain: returns what is compared of a text.

    Returns:
        The different answers by falling share, each as it was drawn most often; of equal ones first
        that which was drawn first.
    """
    answers: dict[str, list[DrawnText]] = {}
    for each in sorted(drawn, key=lambda each: each.draws[0]):
        answers.setdefault(answer_key(plain(each.text)), []).append(each)
    total = sum(len(each.draws) for each in drawn)
    votes = []
    for texts in answers.values():
        passages = {z for each in texts for z in each.passages}
        ranked = sorted(passages, key=lambda z: -prior[z])
        votes.append(
            Vote(
                max(texts, key=lambda each: len(each.draws)).text,
                sum(len(each.draws) for each in texts) / total,
                tuple(passage_ids[z] for z in ranked if passage_ids),
            )
        )
    return sorted(votes, key=lambda vote: -vote.share)
