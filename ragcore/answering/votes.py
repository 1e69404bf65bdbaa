"""Answer by texts alone: each passage's answer is a vote, weighted by the passage's prior.

For generators of the tier `text`. Answers are the same if they are once normalised, as by
`answer_key` (questions/matching.py). A passage for which several texts are written shares its prior
among them equally. The share of an answer is no probability of it, so that `log_prob` and
posteriors are None.

With `rag.abstain` an answer that matches the abstaining one is a vote for it. The question abstains
where its share is above `rag.abstain.above`, or where there is no other answer; otherwise passages
that abstain are ignored, as ragcore/decoding/abstention.py does by log p.

Knows prompts and texts; knows nothing of log-probs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ragcore.answering.evidence import Retrieved, spelled
from ragcore.answering.marks import unmarked
from ragcore.answering.prompting import PromptedQuestion, prompted, write_texts, writing_of
from ragcore.answering.refusals import refuse_unscored
from ragcore.answering.stopwatch import Stopwatch
from ragcore.answering.streaming import tokens_of
from ragcore.config import RagConfig
from ragcore.contracts import TextGenerator, tier_of, weights_dtype
from ragcore.questions.matching import answer_key
from ragcore.types import Answer, Correction, Evidence, Token, Vote

__all__ = ["VotingAnswerer", "count_votes"]


class VotingAnswerer:
    """Turns retrieved passages into answers by a generator of the tier `text`."""

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
        writing = writing_of(self.config)
        answers: list[Answer] = []
        for begin in range(0, len(retrieved), self.config.batch_size):
            self._check()
            questions = prompted(
                retrieved[begin : begin + self.config.batch_size],
                writing.seed,
            )
            with stopwatch.timed("decode", len(questions)):
                written = write_texts(self.generator, questions, writing)
            timings = stopwatch.timings()
            for question, completions in zip(questions, written, strict=True):
                texts = [[each.text for each in of_passage] for of_passage in completions]
                answers.append(replace(self._answer(question, texts, version), timings=timings))
        return answers

    def events(
        self, retrieved: Retrieved, version: str, stopwatch: Stopwatch
    ) -> Iterator[Token | Correction | Answer]:
        """Yield the whole answer as one token, since votes are counted at the end; then itself."""
        (answer,) = self.answers([retrieved], version, stopwatch)
        yield from tokens_of(answer)
        yield answer

    def log_probs(
        self,
        retrieved: Sequence[Retrieved],
        answers: Sequence[str],
        stopwatch: Stopwatch | None = None,
    ) -> list[float]:
        """Refuse to score answers.

        Raises:
            UnsupportedOperation: always.
        """
        refuse_unscored(self.generator, "Rag.log_prob")
        raise AssertionError("a generator of the tier `text` scores no texts")

    def _answer(
        self, question: PromptedQuestion, texts: Sequence[Sequence[str]], version: str
    ) -> Answer:
        """Make the answer of a question by the texts of each passage."""
        retrieved, abstain = question.retrieved, self.config.abstain
        prior: list[float] = np.exp(retrieved.log_prior.astype(np.float64)).tolist()  # [max(k, 1)]
        passage_ids = [passage.id for passage in retrieved.passages]
        plain = unmarked if self.config.cite else str
        votes = count_votes(prior, texts, passage_ids, plain)
        abstains = False
        if abstain is not None:
            unknown_key = answer_key(abstain.answer)
            unknown = [vote for vote in votes if answer_key(plain(vote.text)) == unknown_key]
            others = [vote for vote in votes if vote not in unknown]
            unanswerable = self.config.k > 0 and not retrieved.passages
            share = sum(vote.share for vote in unknown)
            abstains = unanswerable or not others or share > abstain.above
            votes = unknown + others if abstains else others + unknown
        text = abstain.answer if abstains and abstain is not None else votes[0].text
        evidence = tuple(
            Evidence(passage, score, p, None)
            for passage, score, p in zip(retrieved.passages, retrieved.scores, prior, strict=False)
        )
        return Answer(
            question=retrieved.question,
            text=text if abstains else spelled(self.generator, text, evidence),
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
        )


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
