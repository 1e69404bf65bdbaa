"""Answer by log-probs of each token: read the retrieved passages, condition, decode, score.

For generators of the tier `steps`; `choose.py` imports this module, and with it torch, when there
is one. Knows generators and priors; knows nothing of memories: `retrieve.py` retrieves before, and
`rag.py` handles requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from ragcore.answering.confidence import with_confidence
from ragcore.answering.drawing import sampling_of
from ragcore.answering.evidence import Retrieved, Spans, make_answer
from ragcore.answering.reading import read_passages
from ragcore.answering.stop_strings import StopStrings
from ragcore.answering.stopwatch import Stopwatch
from ragcore.answering.streaming import TextStream, common_prefix
from ragcore.answering.together import JoinedPassages, parts_of
from ragcore.config import RagConfig
from ragcore.contracts import Generator, Read, WordGenerator, name_of, supports
from ragcore.decoding.abstention import Conditioned, condition
from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.chances import chances
from ragcore.decoding.grounding import Grounding
from ragcore.decoding.hypotheses import Hypothesis
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.sampling import Sampling
from ragcore.decoding.scoring import score_hypotheses
from ragcore.decoding.sequence import RagSequence, fast, per_passage, thorough
from ragcore.decoding.token import RagToken
from ragcore.errors import UnsupportedOperation
from ragcore.tiers import Meter
from ragcore.types import AbstentionTest, Answer, Correction, Passage, Token

__all__ = ["Answerer"]


@dataclass(slots=True)
class _OpenQuestion:
    """One question of a batch on its way to an answer.

    Attributes:
        retrieved: the question and its passages.
        conditioned: its prior conditioned on the passages that answer, or its abstention.
        grounding: what restricts the answer to the passages' words, if `rag.grounded`.
        hypotheses: the result of decoding, best first; empty until it is decoded.
    """

    retrieved: Retrieved
    conditioned: Conditioned
    grounding: Grounding | None
    hypotheses: Sequence[Hypothesis] = ()


class Answerer:
    """Turns retrieved passages into answers; safe to use from several threads."""

    def __init__(
        self,
        generator: Generator,
        config: RagConfig,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Answer by these settings; one is made for each request that has its own.

        Args:
            generator: reads and decodes.
            config: the section `rag` of a pipeline, changed as a request says.
            check: called before each batch, before it is decoded, and before each token; what it
                raises ends the request.

        Raises:
            UnsupportedOperation: `rag.grounded`, and the generator has no capability `words`.
        """
        self.generator = generator
        self.config = config
        self._check = check
        self._stop = StopStrings(generator, config.stop)
        self._word_generator: WordGenerator | None = None
        if config.grounded:
            if not supports(generator, WordGenerator):
                raise UnsupportedOperation(
                    f"rag.grounded: generator {name_of(generator)} has no capability "
                    "`words`, so its answers cannot be restricted to a passage's words: leave "
                    "rag.grounded out, or choose another generator"
                )
            self._word_generator = generator

    @torch.inference_mode()
    def answers(
        self, retrieved: Sequence[Retrieved], version: str, stopwatch: Stopwatch | None = None
    ) -> list[Answer]:
        """Answer each question by the best hypothesis.

        Args:
            retrieved: B questions with their passages.
            version: the version of the memory that the passages are from.
            stopwatch: of the request, which has timed the search; a new one where None.
        """
        stopwatch = stopwatch or Stopwatch(len(retrieved), version)
        answers: list[Answer] = []
        for begin in range(0, len(retrieved), self.config.batch_size):
            self._check()
            batch = retrieved[begin : begin + self.config.batch_size]
            questions = self._decode(batch, stopwatch)
            answered = [self._answer(question, version) for question in questions]
            timings = stopwatch.timings()
            answers += [replace(answer, timings=timings) for answer in answered]
        return answers

    def events(
        self, retrieved: Retrieved, version: str, stopwatch: Stopwatch
    ) -> Iterator[Token | Correction | Answer]:
        """Yield the tokens of one answer as soon as they are decided, then the answer.

        A correction of the text comes between them where the tokens' texts are not the answer's.

        Args:
            retrieved: a question with its passages.
            version: the version of the memory that the passages are from.
            stopwatch: of the request.
        """
        self._check()
        with torch.inference_mode():
            with stopwatch.timed("read"):
                read, (question,) = self._read([retrieved])
            started, seconds = time.time_ns(), 0.0
            abstention = _abstained(question)
            question.hypotheses = [] if abstention is None else [abstention]
            search = self._search(read, [question]) if abstention is None else None
        steps = () if abstention is None else abstention.steps
        text = TextStream(self._prefix_decoder(question))
        sent, searching = 0, True
        answer: Answer | None = None
        while searching:
            # Entered again for each token: the caller's code runs between two tokens, and must not
            # run in inference mode.
            began = time.perf_counter()
            with torch.inference_mode():
                searching = search is not None and search.advance()
                steps = steps if search is None else search.decided()
                if not searching:
                    if search is not None:
                        question.hypotheses = search.best()
                    answer = self._answer(question, version)
            seconds += time.perf_counter() - began
            while sent < len(steps):
                sent += 1
                tokens = [step.token for step in steps[:sent]]
                if sent == len(steps) and answer is not None:
                    part = text.rest(answer.text, self._stop.text(tokens))
                else:
                    part = text.next(tokens)
                yield Token(part, steps[sent - 1].log_prob, steps[sent - 1].posterior)
        assert answer is not None, "the search has ended"
        if text.sent != answer.text:
            yield Correction(answer.text)
        stopwatch.add("decode", started, seconds)
        yield replace(answer, timings=stopwatch.timings())

    @torch.inference_mode()
    def log_probs(
        self,
        retrieved: Sequence[Retrieved],
        answers: Sequence[str],
        stopwatch: Stopwatch | None = None,
        meters: Sequence[Meter] = (),
    ) -> list[float]:
        """Score one answer for each question: log p(y|x), end of sequence included."""
        return self.log_probs_of_ids(retrieved, self.generator.encode_answers(answers), stopwatch)

    @torch.inference_mode()
    def log_probs_of_ids(
        self,
        retrieved: Sequence[Retrieved],
        targets: Sequence[list[int]],
        stopwatch: Stopwatch | None = None,
    ) -> list[float]:
        """Score the token ids of one answer for each question, the end token last."""
        stopwatch = stopwatch or Stopwatch(len(retrieved), "")
        log_probs: list[float] = []
        for begin in range(0, len(retrieved), self.config.batch_size):
            self._check()
            end = begin + self.config.batch_size
            log_probs.extend(self._log_probs(retrieved[begin:end], targets[begin:end], stopwatch))
        return log_probs

    def _read(self, retrieved: Sequence[Retrieved]) -> tuple[Read, list[_OpenQuestion]]:
        """Read all pairs of a batch in one pass of the encoder, and condition the priors."""
        read, priors = read_passages(self.generator, retrieved)
        groundings = self._groundings(retrieved)
        questions = zip(
            retrieved,
            self._condition(read, priors, retrieved, groundings),
            groundings,
            strict=True,
        )
        return read, [_OpenQuestion(*question) for question in questions]

    def _decode(self, retrieved: Sequence[Retrieved], stopwatch: Stopwatch) -> list[_OpenQuestion]:
        """Read and decode a batch; questions that abstain are not searched."""
        with stopwatch.timed("read", len(retrieved)):
            read, questions = self._read(retrieved)
        self._check()
        searched = []
        for question in questions:
            abstention = _abstained(question)
            if abstention is None:
                searched.append(question)
            else:
                question.hypotheses = [abstention]
        with stopwatch.timed("decode", len(retrieved)):
            decoded = self._hypotheses(read, searched)
        for question, hypotheses in zip(searched, decoded, strict=True):
            question.hypotheses = hypotheses
        return questions

    def _hypotheses(self, read: Read, questions: Sequence[_OpenQuestion]) -> list[list[Hypothesis]]:
        """Decode as the config says; the hypotheses of each question, best first."""
        if not questions:
            return []
        if self.config.marginal == "sequence" and self.config.decode != "joint":
            priors = [question.conditioned.prior for question in questions]
            groundings = [question.grounding for question in questions]
            if (sampling := sampling_of(self.config)) is not None:
                return per_passage(
                    self.generator,
                    read,
                    priors,
                    self._options(),
                    sampling,
                    [chances(sampling, question.retrieved.question) for question in questions],
                    groundings,
                    drop_below=self.config.drop_below,
                    check=self._check,
                )
            decode = thorough if self.config.decode == "thorough" else fast
            return decode(
                self.generator,
                read,
                priors,
                self._options(),
                groundings,
                drop_below=self.config.drop_below,
                check=self._check,
            )
        return self._search(read, questions).run()

    def _search(self, read: Read, questions: Sequence[_OpenQuestion]) -> BeamSearch | Sampling:
        """Begin to search, or to draw, over prefixes, by RAG-Token or by joint RAG-Sequence."""
        model = RagToken if self.config.marginal == "token" else RagSequence
        priors = [question.conditioned.prior for question in questions]
        groundings = [question.grounding for question in questions]
        prefixes = model(self.generator, read, priors, drop_below=self.config.drop_below)
        sampling = sampling_of(self.config)
        if sampling is None:
            return BeamSearch(prefixes, self._options(), groundings, self._check)
        draws = [
            dict(enumerate(chances(sampling, question.retrieved.question)))
            for question in questions
        ]
        return Sampling(prefixes, self._options(), sampling, draws, groundings, self._check)

    def _answer(self, question: _OpenQuestion, version: str) -> Answer:
        conditioned = question.conditioned
        answer = make_answer(
            self.generator,
            self.config.marginal,
            question.retrieved,
            conditioned.prior.log_prior.exp().tolist(),
            question.hypotheses,
            version,
            abstention=conditioned.abstention,
            abstains=conditioned.abstains,
            spans=_spans(question),
            text_of=self._stop.text,
            # There the end token alone may follow (rules.py).
            cut=lambda tokens: len(tokens) >= self.config.max_new_tokens,
        )
        abstain = self.config.abstain
        if abstain is not None and conditioned.abstention is not None:
            test = AbstentionTest(abstain.mean, conditioned.log_mean, abstain.above)
            answer = replace(answer, abstention_test=test)
        return with_confidence(answer, self.config.confidence)

    def _prefix_decoder(self, question: _OpenQuestion) -> Callable[[Sequence[int]], str]:
        """Return what decodes the first tokens of an answer to text that cannot change."""
        grounding = question.grounding
        if grounding is None or question.conditioned.abstains:
            return self._stop.settled
        texts = [part.text for part in _parts(question.retrieved)]
        return lambda tokens: common_prefix(
            [texts[passage][start:end] for passage, start, end in grounding.beginnings(tokens)]
        )

    def _groundings(self, retrieved: Sequence[Retrieved]) -> list[Grounding | None]:
        """Make the constraint on each question's answer, if `rag.grounded`; otherwise None."""
        generator = self._word_generator
        if generator is None:
            return [None] * len(retrieved)
        texts = [part.text for question in retrieved for part in _parts(question)]
        words = iter(generator.encode_words(texts))
        return [
            Grounding(
                [next(words) for _ in _parts(question)],
                generator.eos_token_id,
                forced_bos_token_id=generator.forced_bos_token_id,
            )
            for question in retrieved
        ]

    def _options(self) -> DecodingOptions:
        config, generator = self.config, self.generator
        return DecodingOptions(
            eos_token_id=generator.eos_token_id,
            beams=config.beams,
            max_new_tokens=config.max_new_tokens,
            min_new_tokens=config.min_new_tokens,
            length_penalty=config.length_penalty,
            repetition_penalty=config.repetition_penalty,
            no_repeat_ngram=config.no_repeat_ngram,
            forced_bos_token_id=generator.forced_bos_token_id,
            banned_openings=self._banned(),
            stops=self._stop.end if self._stop else None,
        )

    def _banned(self) -> frozenset[tuple[int, ...]]:
        """Return the opening that is reserved for the abstaining answer.

        Its tokens without text, such as a forced first one, open other answers too; so the opening
        extends to the first token that has text. A grounded answer may say the word where a
        passage does.
        """
        tokens = () if self.config.grounded else tuple(self._abstention())
        forced = 0 if self.generator.forced_bos_token_id is None else 1
        for end in range(forced + 1, len(tokens) + 1):
            if self.generator.decode_tokens(tokens[forced:end]):
                return frozenset({tokens[:end]})
        return frozenset()

    def _abstention(self) -> list[int]:
        """Encode the abstaining answer as token ids; empty where no answer abstains."""
        abstain = self.config.abstain
        return [] if abstain is None else self.generator.encode_answers([abstain.answer])[0]

    def _condition(
        self,
        read: Read,
        priors: Sequence[QuestionPrior],
        retrieved: Sequence[Retrieved],
        groundings: Sequence[Grounding | None] = (),
    ) -> list[Conditioned]:
        """Condition each prior on the passages that answer, or let the question abstain.

        A question for which nothing was retrieved abstains, and one whose grounded answer could be
        nothing but empty. With `rag.k` 0 nothing is asked for, and the generator answers alone.
        With `rag.abstain.scorer` the priors are conditioned already (answerability.py).
        """
        abstain = self.config.abstain
        if abstain is None or self.config.abstains_by_scorer:
            return [Conditioned(prior) for prior in priors]
        return condition(
            self.config.marginal,
            self.generator,
            read,
            priors,
            self._abstention(),
            abstain.above,
            [
                (self.config.k > 0 and not question.passages)
                or not (grounding is None or grounding.allows_text)
                for question, grounding in zip(
                    retrieved, groundings or [None] * len(retrieved), strict=True
                )
            ],
            geometric=abstain.mean == "geometric",
        )

    def _log_probs(
        self,
        retrieved: Sequence[Retrieved],
        targets: Sequence[list[int]],
        stopwatch: Stopwatch,
    ) -> list[float]:
        """Score one target for each question of a batch."""
        abstention = self._abstention()
        with stopwatch.timed("read", len(retrieved)):
            read, priors = read_passages(self.generator, retrieved)
            conditioned = self._condition(read, priors, retrieved)
        # The abstaining answer is scored under the unconditioned prior.
        used = [
            prior if target == abstention else of_answers.prior
            for prior, of_answers, target in zip(priors, conditioned, targets, strict=True)
        ]
        self._check()
        with stopwatch.timed("score", len(retrieved)):
            scored = score_hypotheses(
                self.config.marginal,
                self.generator,
                read,
                used,
                [[target] for target in targets],
            )
        return [hypothesis.log_prob for (hypothesis,) in scored]


def _parts(retrieved: Retrieved) -> list[Passage]:
    """Return the passages of a question, those that were joined for one prompt each by itself."""
    return [part for passage in retrieved.passages for part in parts_of(passage)]


def _spans(question: _OpenQuestion) -> Spans | None:
    """Return what maps an answer's tokens to where it occurs in each passage, if grounded."""
    grounding, passages = question.grounding, question.retrieved.passages
    if grounding is None:
        return None
    joined = [passage for passage in passages if isinstance(passage, JoinedPassages)]
    if not joined:
        return grounding.spans
    # All passages of the question are one.
    (passage,) = joined
    return lambda tokens: [passage.joined_spans(grounding.spans(tokens))]


def _abstained(question: _OpenQuestion) -> Hypothesis | None:
    """Return the abstaining answer where the question abstains."""
    conditioned = question.conditioned
    return conditioned.abstention if conditioned.abstains else None
