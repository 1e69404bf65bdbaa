"""Define an answer, and what it rests on: its evidence, its candidates, the words that wrote it.

Knows no code that makes or reads them. Each is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, isfinite, isnan, log, log1p, nan
from typing import Any, Literal

from ragcore.passage import Citation, CitedSpan, Mark, Passage, Source, without_marks
from ragcore.tiers import Tier, Usage, Vote
from ragcore.timings import Timings

__all__ = ["AbstentionTest", "Answer", "Candidate", "Evidence", "Word"]


@dataclass(frozen=True, slots=True)
class Word:
    """How a generator writes one word of a passage's text, or part of a word, in an answer.

    An answer taken from the passage is one word that `opens` it, then words that do not, each
    starting where the previous one ends.

    Attributes:
        start: character offset in the text where it starts; for a word that does not open an
            answer, the end of the previous word, so that it covers the white space between them.
        end: character offset where it ends; an answer may end here.
        tokens: its ids in the generator's vocabulary; at least one, no end token.
        opens: whether an answer may begin with it. Many generators write the same word differently
            at the beginning of an answer and within it; it is then two words here.
    """

    start: int
    end: int
    tokens: tuple[int, ...]
    opens: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """One passage that an answer was read from.

    Attributes:
        passage: the passage.
        score: the retriever's raw score.
        prior: p(z|x), the softmax over the retrieved passages; with `rag.abstain`, conditioned on
            the passage's holding an answer (ragcore/decoding/abstention.py).
        posterior: p(z|x,y) for RAG-Sequence. For RAG-Token, which has no single z, the mean of
            p(z|x,y_<=i) over the answer's tokens (the paper's figure 2, averaged). With
            `rag.drop_below`, 0 for a passage that was dropped. None where the answer's
            `log_prob` is, and where all passages were read in one prompt.
        spans: with `rag.grounded`, where the answer occurs in the passage's text: character
            offsets [start, end) of each occurrence, in order.
    """

    passage: Passage
    score: float
    prior: float
    posterior: float | None
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def source(self) -> Source:
        """Where the passage comes from: link or file, section, revision and its date."""
        return Source.of(self.passage)

    @property
    def cited_spans(self) -> tuple[CitedSpan, ...]:
        """The `spans`, with their text and where they are in the document."""
        return tuple(CitedSpan.of(self.passage, start, end) for start, end in self.spans)

    def citation(self, number: int) -> Citation:
        """Return the passage's citation by a number."""
        passage = self.passage
        return Citation(
            number,
            passage.id,
            passage.title,
            self.source,
            self.prior,
            self.posterior,
            self.cited_spans,
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A complete answer that the search reached, with what it takes to leave passages out of it.

    Attributes:
        token_ids: T ids, end-of-sequence included, or those of the stop string that ended it; empty
            where the generator gives no ids.
        token_log_probs: [T], log p(y_i|x,y_<i), marginalised over the passages; empty where none
            is known, as of a text that a generator of texts drew.
        priors: [k], the prior that was marginalised over; sums to 1.
        posteriors: `[T][k]`, as `Answer.token_posteriors`; empty where all passages were read in
            one prompt.
        spans: for each passage, as `Evidence.spans`.
        text: the text of its tokens, before it is spelled as in a passage.
        dropped_mass: as `Answer.dropped_mass`.
        draws: with `rag.sample`, the numbers of the draws that came out as this one, from 0.
        tokens: as `Answer.tokens`, where there are no `token_ids` to decode; otherwise empty.
        slack: with tier `top`, `[T][k]`: by how much p(y_i|x,z,y_<i) may exceed what was summed.
            Empty otherwise.
        cut: as `Answer.cut`.
    """

    token_ids: tuple[int, ...]
    token_log_probs: tuple[float, ...]
    priors: tuple[float, ...]
    posteriors: tuple[tuple[float, ...], ...]
    spans: tuple[tuple[tuple[int, int], ...], ...]
    text: str = ""
    dropped_mass: float = 0.0
    draws: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()
    slack: tuple[tuple[float, ...], ...] = ()
    cut: bool = False

    @property
    def log_prob(self) -> float | None:
        """Log p(y|x), marginalised over the passages by `priors`, end-of-sequence included.

        None where it is not known.
        """
        return sum(self.token_log_probs) if self.token_log_probs else None


@dataclass(frozen=True, slots=True)
class AbstentionTest:
    """What is compared to decide whether a question abstains, by `rag.abstain`.

    Attributes:
        mean: `rag.abstain.mean`: which mean of p(unknown|x,z) over the passages is compared.
        log_mean: its natural logarithm; log p(unknown|x) where it is arithmetic.
        above: `rag.abstain.above`, which exp(`log_mean`) must exceed.
    """

    mean: Literal["arithmetic", "geometric"]
    log_mean: float
    above: float

    @property
    def is_above(self) -> bool:
        """Whether the question abstains by this comparison; it may also have no other answer."""
        return exp(self.log_mean) > self.above


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its probability and its evidence.

    Attributes:
        question: as it was asked.
        text: the answer. Where the generator's text has lost its case, or the answer is grounded,
            it is spelled as in the passage of highest posterior that contains it.
        log_prob: log p(y|x), marginalised over the passages (paper, section 2.1), end-of-sequence
            included, or the tokens of the stop string that ended it. It is the model's, also where
            `rag.sample` or `rag.repetition_penalty` chose by other numbers. With `rag.abstain` it
            is conditional on the passages' answering, unless the answer is the abstaining one; how
            probable that is says `abstention.log_prob`. With `rag.drop_below`, and with tier
            `top`, it is a lower bound; see `dropped_mass`. None where no probability is known: the
            generator gives text alone, or an answer of tier `top` was cut at `rag.max_new_tokens`
            and its end is in no passage's top.
        evidence: the k passages, best hit first. With `rag.abstain` a better hit may have a lower
            prior.
        memory: the version of the memory that was searched.
        tokens: the text of each of the T tokens, end-of-sequence included, unless the answer was
            cut where its end has no log p. Empty where the generator gives text alone.
        token_posteriors: `[T][k]`, p(z|x,y_<=i); rows sum to 1. For RAG-Sequence row i is the
            posterior after the prefix y_1..i. Empty where all passages were read in one prompt.
        token_ids: the ids of `tokens`, in the generator's vocabulary; empty where the generator
            gives none.
        candidates: the answers that the search reached, best first, beginning with this one; more
            than one with several beams, or by thorough decoding. With `rag.sample`, the different
            ones of the n that were drawn. `Rag.without` needs them.
        abstention: with `rag.abstain`, the abstaining answer under the unconditioned prior; its
            `log_prob` is log p(unknown|x). None without `rag.abstain`.
        abstention_test: what was compared to decide whether the question abstains; None where
            `abstention` is.
        timings: how long each stage took; None for an answer that was not computed here. Answers
            that differ in nothing else are equal.
        marginalize: the formula of `log_prob`, as `rag.marginalize` or the request says; `without`
            needs it.
        abstains: whether this answer is that one, because the passages do not answer.
        missing_passages: how many passages fewer than asked for were found although more are
            allowed: `rag.k`, or all allowed passages if these are fewer, less those found. 0 if
            the search found all that it could return.
        dtype: of the generator's weights, such as "float32", "bfloat16" or "int8", also where the
            pipeline says `auto`; None for a generator that does not say.
        dropped_mass: p(y|x) is at least exp(`log_prob`), and at most that plus this; where
            `log_prob` is None with tier `top`, p(y|x) is at most this. 0 unless
            `rag.drop_below` let passages be dropped (ragcore/decoding/dropping.py), or the
            generator gives the most probable tokens only (tier `top`).
        filter_notes: what the user of `where` should know, in sentences: that no passage has a
            field which it names, or that it allows no passage.
        numbers: the number that each piece of evidence is cited by, where they are not 1 to k by
            falling prior: an answer without some passages keeps the others' numbers.
        confidence: the probability that the answer is right, by `rag.confidence`; without its
            slope exp(`log_prob`), the probability that the model gives the answer. For the
            abstaining answer always the latter. NaN, the default, stands for exp(`log_prob`). None
            where `log_prob` is.
        withheld: whether the confidence is below `rag.confidence.threshold`, so that `text` is a
            best guess only and should not be passed on as an answer. Never where the answer is the
            abstaining one.
        tier: what the generator gave, which decides what is known of the answer; see `Tier`.
        votes: where the generator gives text alone: the different answers that it gave, with the
            share of each, by falling share, this one first. With `rag.sample` the share is that of
            the draws. Empty otherwise.
        usage: what a generator behind an API counted; None for one in this process, and for an
            answer without some passages.
        marks: with `rag.cite`, where the text names passages by `[n]`, in order; None without it.
        rewritten_question: with `rag.rewrite`, the stand-alone question that was made of `question`
            and the conversation before it, and that was searched for and read in its place. None
            where it was not changed.
    """

    question: str
    text: str
    log_prob: float | None
    evidence: tuple[Evidence, ...]
    memory: str
    tokens: tuple[str, ...]
    token_posteriors: tuple[tuple[float, ...], ...]
    token_ids: tuple[int, ...]
    candidates: tuple[Candidate, ...] = field(default=(), repr=False, compare=False)
    abstention: Candidate | None = field(default=None, repr=False, compare=False)
    abstention_test: AbstentionTest | None = field(default=None, repr=False, compare=False)
    timings: Timings | None = field(default=None, repr=False, compare=False)
    marginalize: Literal["token", "sequence", "none"] | None = field(
        default=None, repr=False, compare=False
    )
    abstains: bool = False
    missing_passages: int = 0
    dtype: str | None = None
    dropped_mass: float = 0.0
    filter_notes: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    confidence: float | None = nan
    withheld: bool = False
    tier: Tier = "steps"
    votes: tuple[Vote, ...] = ()
    usage: Usage | None = None
    marks: tuple[Mark, ...] | None = None
    rewritten_question: str | None = None
    cut: bool = False

    def __post_init__(self) -> None:
        if self.log_prob is None:
            object.__setattr__(self, "confidence", None)
        elif self.confidence is not None and isnan(self.confidence):
            # Sums of rounded logarithms may exceed 0.
            object.__setattr__(self, "confidence", min(exp(self.log_prob), 1.0))

    @property
    def closed_book(self) -> bool:
        """Whether no passage was retrieved, so that the generator answered alone."""
        return not self.evidence

    @property
    def token_log_probs(self) -> tuple[float, ...]:
        """[T], log p(y_i|x,y_<i) of each token, marginalised over the passages; sums to `log_prob`.

        Empty for an answer that was not computed here.
        """
        return self.candidates[0].token_log_probs if self.candidates else ()

    @property
    def unmarked(self) -> str:
        """The text without its `marks`, as it is compared with right answers."""
        return without_marks(self.text, self.marks or ())

    @property
    def cited(self) -> tuple[Evidence, ...]:
        """The evidence that the text names by `marks`, in the order in which it does."""
        by_id = {evidence.passage.id: evidence for evidence in self.evidence}
        ids = (passage_id for mark in self.marks or () for passage_id in mark.passage_ids)
        return tuple(by_id[passage_id] for passage_id in dict.fromkeys(ids))

    @property
    def unknown_marks(self) -> tuple[int, ...]:
        """The numbers in `marks` that no passage has, ascending."""
        return tuple(sorted({n for mark in self.marks or () for n in mark.unknown}))

    @property
    def token_count(self) -> int:
        """How many tokens it has; without `tokens`, how many the server wrote for it, or 0."""
        return len(self.tokens) or ((self.usage and self.usage.completion_tokens) or 0)

    @property
    def log_prob_gap(self) -> float:
        """How much higher than `log_prob` log p(y|x) may be, because of the dropped mass."""
        if not self.dropped_mass or self.log_prob is None:
            return 0.0
        # log(1 + dropped mass / p); the larger term is factored out.
        ratio = log(self.dropped_mass) - self.log_prob
        return max(ratio, 0.0) + log1p(exp(-abs(ratio)))

    @property
    def samples(self) -> tuple[Candidate, ...]:
        """With `rag.sample`, the candidate that each draw came out as, in the order of the draws.

        Empty where nothing was drawn. `Rag.samples` makes answers of them.
        """
        by_draw = {draw: candidate for candidate in self.candidates for draw in candidate.draws}
        return tuple(by_draw[draw] for draw in sorted(by_draw))

    def by_prior(self) -> list[int]:
        """Return the positions of the evidence by falling prior; equal ones by falling score."""
        return sorted(range(len(self.evidence)), key=lambda z: -self.evidence[z].prior)

    def evidence_numbers(self) -> tuple[int, ...]:
        """Return the number that each piece of the evidence is cited by, in its order."""
        if self.numbers:
            return self.numbers
        numbers = [0] * len(self.evidence)
        for number, index in enumerate(self.by_prior(), 1):
            numbers[index] = number
        return tuple(numbers)

    def by_number(self) -> list[tuple[int, int]]:
        """Return the numbers of the evidence, ascending, each with its position in the evidence."""
        return sorted((number, z) for z, number in enumerate(self.evidence_numbers()))

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The evidence as a list of sources, numbered as `ragcore ask` does."""
        return tuple(self.evidence[z].citation(number) for number, z in self.by_number())

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain JSON-ready values, without the candidates.

        Each evidence has its `source`, with what is known of it, and the `number` of its citation,
        too; `citations` lists them by number.
        With `rag.abstain`, `abstention` holds the text and the log_prob of the abstaining answer,
        and `mean`, `log_mean` (null for minus infinity) and `above`, which decide whether it is the
        answer.
        `timings`, `token_log_probs`, `votes`, `usage`, `marks` and `rewritten_question` are there
        where they are known, and with `rag.sample` the `samples`: the text and the log_prob of each
        draw.
        """
        from dataclasses import asdict, replace

        row = asdict(replace(self, candidates=(), abstention=None))
        test = row.pop("abstention_test")
        del row["candidates"], row["abstention"], row["numbers"], row["marginalize"]
        for name in ("votes", "usage", "rewritten_question"):
            if not row[name]:
                del row[name]
        if self.marks is None:
            del row["marks"]
        if self.timings is None:
            del row["timings"]
        if (unknown := self.abstention) is not None:
            row["abstention"] = {"text": unknown.text, "log_prob": unknown.log_prob}
            if test is not None:
                # JSON has no minus infinity.
                log_mean = test["log_mean"] if isfinite(test["log_mean"]) else None
                row["abstention"] |= test | {"log_mean": log_mean}
        if self.token_log_probs:
            row["token_log_probs"] = list(self.token_log_probs)
        if samples := self.samples:
            row["samples"] = [
                {"text": sample.text, "log_prob": sample.log_prob} for sample in samples
            ]
        row["closed_book"] = self.closed_book
        numbers = self.evidence_numbers()
        for fields, evidence, number in zip(row["evidence"], self.evidence, numbers, strict=True):
            fields["number"] = number
            fields["passage"]["metadata"] = dict(evidence.passage.metadata)
            fields["source"] = evidence.source.to_dict()
        row["citations"] = [citation.to_dict() for citation in self.citations]
        return row
