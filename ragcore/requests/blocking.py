"""The requests of a pipeline: answer, stream, search, score, and leave passages out.

Data goes one way: question → hits → passages (answering/searching.py) → prior (retrieve.py) → read
→ decode → answer (answerer.py). A question with a history may be made a stand-alone one before
(rewriting.py). A request keeps the version of the memory that it begins with, so that a swap never
mixes two versions in one answer; its settings are its own (request.py). Knows nothing of how the
memory is exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Generator as Generator_
from dataclasses import replace
from typing import Unpack

from ragcore.answering.ablation import Without, without
from ragcore.answering.answer_log import log_answer
from ragcore.answering.answerability import answerability_of
from ragcore.answering.choose import answerer_for
from ragcore.answering.each import answer_each
from ragcore.answering.evidence import sample_answers
from ragcore.answering.request import (
    AnswerSettings,
    CheckedSettings,
    Request,
    ScoreSettings,
    SearchSettings,
    checked_settings,
)
from ragcore.answering.retrieve import results_to_read, retrieved
from ragcore.answering.rewriting import rewritten
from ragcore.answering.searching import search
from ragcore.answering.stopping import released_if_stopped
from ragcore.answering.stopwatch import Stopwatch
from ragcore.config import RagConfig
from ragcore.contracts import AnyGenerator
from ragcore.errors import ConfigError, QuestionError, RagcoreError
from ragcore.live.served import ServedMemory
from ragcore.process.cancellation import interruptible
from ragcore.questions.texts import batch_of, check_answers, check_questions
from ragcore.registry.discovery import registry
from ragcore.tiers import Meter
from ragcore.types import Answer, Event, SearchResult, Token

__all__ = ["Requests"]


class Requests:
    """What a memory and a generator can be asked; safe to use from several threads.

    Attributes:
        memory: the memory that is served.
    """

    def __init__(
        self, memory: ServedMemory, generator: AnyGenerator | None, config: RagConfig
    ) -> None:
        """Answer from a memory; see `Rag`."""
        self.memory = memory
        self._generator = generator
        self._config = config
        # Requests share the scorer of `rag.abstain`, which lives as long as it is referred to.
        self._scorer = None if generator is None else answerability_of(config)
        if generator is not None:
            # What the generator cannot do is found before a question is asked.
            answerer_for(generator, config)

    @property
    def can_answer(self) -> bool:
        """Whether there is a generator; without one, the pipeline can search, and nothing else."""
        return self._generator is not None

    @property
    def generator(self) -> AnyGenerator:
        """The component that reads passages and writes answers.

        Raises:
            ConfigError: the pipeline has none.
        """
        if self._generator is None:
            raise ConfigError(
                "this pipeline has no generator, so it can search but not answer: add a section "
                "'generator', such as generator: {use: bart, model: facebook/bart-large}"
            )
        return self._generator

    @property
    def config(self) -> RagConfig:
        """The section `rag` of the pipeline."""
        return self._config

    def answer(
        self, questions: str | Sequence[str], **settings: Unpack[AnswerSettings]
    ) -> list[Answer]:
        """Find the most probable answer to each question, with the passages as evidence.

        Calls the hook `ragcore_answered` for each.

        Args:
            questions: B questions; one string counts as one question.
            settings: of this call alone, as k=3; see `AnswerSettings`.

        Returns:
            B answers, in order.

        Raises:
            QuestionError: a question is no text, is empty, or is longer than the generator's
                input, or `where` is no filter.
            ConfigError: a setting is unknown, or none that a pipeline file may have; or the
                pipeline has no generator.
            UnsupportedOperation: the generator's tier cannot follow a setting of this call.
            StoreError: there is no such `version`, or it cannot be opened.
            DeadlineError, RequestCancelledError: the call was ended by its settings.
        """
        batch = batch_of(questions)
        return self._answer(batch, checked_settings(self.config, settings))

    def answer_each(self, requests: Sequence[str | Request]) -> list[Answer | RagcoreError]:
        """Answer questions that have nothing to do with each other, each by settings of its own.

        Questions of equal settings are answered together, `rag.batch_size` at a time. What is wrong
        with one is its own result, and the others are answered: where a batch fails, its questions
        are asked again one by one. A request that is cancelled, or whose time is over, does not end
        the others of its batch, which is decoded to its end.

        Args:
            requests: questions, those with settings as `Request`.

        Returns:
            For each request its answer, or the error that `answer` would have raised; in order. An
            error that is none of ragcore's is a ComponentError with it as its cause.
        """
        return answer_each(requests, self.config, self._answer)

    def _answer(
        self,
        questions: Sequence[str],
        settings: CheckedSettings,
        check: Callable[[], None] | None = None,
    ) -> list[Answer]:
        """Answer by checked settings; `check` in place of the settings' own ends the request."""
        check = check or settings.stop
        with released_if_stopped(), self.memory.reading(settings.version) as memory:
            answerer = answerer_for(self.generator, settings.config, check)
            stopwatch = Stopwatch(len(questions), memory.version)
            check()
            meters = [Meter() for _ in questions]
            alone = self._standing_alone(questions, settings, stopwatch, check, meters)
            with stopwatch.timed("search"), interruptible(check):
                results = results_to_read(memory, alone, settings.config, settings.where)
            read = [retrieved(result, memory.temperature) for result in results]
            answers = [
                _as_asked(answer, question, meter)
                for answer, question, meter in zip(
                    answerer.answers(read, memory.version, stopwatch),
                    questions,
                    meters,
                    strict=True,
                )
            ]
        for answer in answers:
            self._finish(answer)
        return answers

    def events(
        self, question: str, **settings: Unpack[AnswerSettings]
    ) -> Generator_[Event, None, None]:
        """Yield what is known of an answer as soon as it is: passages, tokens, the whole answer.

        First comes a `SearchResult` with the passages that are read, their prior and the version of
        the memory; then a `Token` for each token of the answer, as soon as the search can no longer
        change it; at last the `Answer`, with the hook `ragcore_answered`. The texts of the tokens
        together are the answer's text, except where an uncased generator's answer is spelled in
        another way than what was sent already: then a `Correction` with the whole text comes before
        the answer.

        The answer is that of `answer`, but RAG-Sequence always streams by joint decoding, whatever
        `rag.decode` is: thorough and fast decoding know their answer only at the end.

        A stream that is left before its end is released when it is closed or dropped. Until then
        its version of the memory stays open.

        Args:
            question: one question.
            settings: as for `answer`; the timeout is looked at when the next event is asked for.

        Raises:
            QuestionError, ConfigError, StoreError, DeadlineError, RequestCancelledError: as
                `answer`, when the first event is asked for, or a later one.
        """
        checked = checked_settings(self.config, settings)
        with released_if_stopped(), self.memory.reading(checked.version) as memory:
            answerer = answerer_for(self.generator, checked.config, checked.stop)
            stopwatch = Stopwatch(1, memory.version)
            checked.stop()
            meter = Meter()
            alone = self._standing_alone([question], checked, stopwatch, checked.stop, [meter])
            with stopwatch.timed("search"), interruptible(checked.stop):
                (result,) = results_to_read(memory, alone, checked.config, checked.where)
            yield result
            read = retrieved(result, memory.temperature)
            for event in answerer.events(read, memory.version, stopwatch):
                if isinstance(event, Answer):
                    event = _as_asked(event, question, meter)
                    self._finish(event)
                yield event

    def stream(
        self, question: str, **settings: Unpack[AnswerSettings]
    ) -> Generator_[Token, None, None]:
        """Yield the tokens of an answer, each as soon as the search can no longer change it.

        These are the tokens of `events`, without the rest. The concatenation of the texts is the
        text of the answer, with one exception: an uncased generator's text is its own where the
        passage's spelling, for which the whole answer is needed, differs from what was sent
        already. Arguments and errors as `events`.
        """
        events = self.events(question, **settings)
        try:
            for event in events:
                if isinstance(event, Token):
                    yield event
        finally:
            events.close()

    def search(
        self,
        questions: str | Sequence[str],
        k: int | None = None,
        **settings: Unpack[SearchSettings],
    ) -> list[SearchResult]:
        """Find the passages that an answer to each question would be read from; read none.

        The version that is served as the call begins is searched to its end.

        Args:
            questions: B questions; one string counts as one question.
            k: how many passages to find; `rag.k` where None.
            settings: of this call alone; see `SearchSettings`. Of the search itself they end what
                waits for a server, such as an encoder's.

        Returns:
            B results, in order; their `prior` is that of an answer from as many passages.

        Raises:
            QuestionError: a question is no text, is empty or too long, k is no number from 1 on or
                not given where `rag.k` is 0, or `where` is no filter.
            ConfigError: as `answer`.
            StoreError: the pipeline is closed, or there is no such `version`.
            DeadlineError, RequestCancelledError: as `answer`, before the search begins.
        """
        checked = checked_settings(self.config, settings, SearchSettings)
        with self.memory.reading(checked.version) as memory:
            checked.stop()
            batch = batch_of(questions)
            timed = Stopwatch(len(batch), memory.version).timed("search")
            with timed, interruptible(checked.stop):
                return search(memory, batch, checked.config, checked.where, k=k)

    def log_prob(
        self,
        questions: Sequence[str],
        answers: Sequence[str],
        *,
        meters: Sequence[Meter] = (),
        **settings: Unpack[ScoreSettings],
    ) -> list[float]:
        """Compute log p(y|x) of answers by the formula of `rag.marginalize`.

        Args:
            questions: B questions.
            answers: B answers, one for each.
            meters: B of them, to which is added what a generator behind an API counts for each
                question; none where that does not matter.
            settings: of this call alone; see `ScoreSettings`.

        Returns:
            B natural logarithms; the end-of-sequence token is included.

        Raises:
            QuestionError: there is not one answer for each question, an answer is no usable text,
                a question is empty or longer than the generator's input, or `where` is no filter.
            UnsupportedOperation: the generator scores no texts: its tier is `top` or `text`.
            ConfigError, StoreError, DeadlineError, RequestCancelledError: as `answer`.
        """
        questions, answers = batch_of(questions), batch_of(answers, "answer")
        if len(questions) != len(answers):
            raise QuestionError(
                f"{len(questions)} questions with {len(answers)} answers: log_prob takes one "
                "answer for each question"
            )
        if meters and len(meters) != len(questions):
            raise QuestionError(
                f"{len(questions)} questions with {len(meters)} meters: log_prob takes one meter "
                "for each question, or none"
            )
        check_answers(answers)
        checked = checked_settings(self.config, settings, ScoreSettings)
        with released_if_stopped(), self.memory.reading(checked.version) as memory:
            answerer = answerer_for(self.generator, checked.config, checked.stop)
            stopwatch = Stopwatch(len(questions), memory.version)
            checked.stop()
            with stopwatch.timed("search"), interruptible(checked.stop):
                results = results_to_read(memory, questions, checked.config, checked.where)
            read = [retrieved(result, memory.temperature) for result in results]
            return answerer.log_probs(read, answers, stopwatch, meters)

    def without(self, answer: Answer, passage_ids: str | Sequence[str]) -> Without:
        """Recompute an answer with passages left out of its evidence.

        Nothing is read again: the marginal is computed over the remaining passages, whose prior is
        normalised again. Only answers that the search has already seen can win.

        Args:
            answer: of this pipeline.
            passage_ids: passages of its evidence; one string counts as one id.

        Raises:
            QuestionError: a passage is not in the evidence, or none would remain.
            UnsupportedOperation: the answer has no log p, as of a generator that gives texts alone.
        """
        ids = [passage_ids] if isinstance(passage_ids, str) else list(passage_ids)
        return without(answer, ids, self.generator, self.config)

    def samples(self, answer: Answer) -> list[Answer]:
        """Return each draw of an answer by `rag.sample` as an answer of its own, in order.

        Where an answer was drawn several times, so many are the same. Those that are not the answer
        itself have their own text, log p and posterior; no confidence was fitted to them, and none
        is withheld.

        Args:
            answer: of this pipeline; one that was searched for is returned alone.
        """
        return sample_answers(answer, self.generator)

    def _standing_alone(
        self,
        questions: Sequence[str],
        settings: CheckedSettings,
        stopwatch: Stopwatch,
        check: Callable[[], None],
        meters: Sequence[Meter],
    ) -> list[str]:
        """Return what is searched for: the questions, rewritten where a history precedes them."""
        config = settings.config
        if not settings.history or config.rewrite is None:
            return list(questions)
        check_questions(questions)
        alone: list[str] = []
        with stopwatch.timed("rewrite"):
            for begin in range(0, len(questions), config.batch_size):
                batch = slice(begin, begin + config.batch_size)
                alone += rewritten(
                    self.generator,
                    config.rewrite,
                    questions[batch],
                    settings.history,
                    check,
                    meters[batch],
                )
        return alone

    def without_each(self, answer: Answer) -> list[Without]:
        """Recompute an answer without each of its passages alone, as `without` does.

        Returns:
            one for each piece of evidence, in its order; none for an answer with fewer than two
            passages, of which nothing would remain, and for one without log p.
        """
        if len(answer.evidence) < 2 or answer.log_prob is None:
            return []
        return [self.without(answer, evidence.passage.id) for evidence in answer.evidence]

    def _finish(self, answer: Answer) -> None:
        """Pass an answer on to plugins and to the log, which has no text of the question."""
        registry().hook.ragcore_answered(answer=answer)
        log_answer(answer)


def _as_asked(answer: Answer, question: str, meter: Meter) -> Answer:
    """Return an answer with the question as it was asked, and the one that it was made of.

    Args:
        answer: to a question that may be rewritten.
        question: as it was asked.
        meter: counted what rewriting it cost.
    """
    rewriting = meter.usage()
    if rewriting.requests:
        usage = rewriting if answer.usage is None else answer.usage + rewriting
        answer = replace(answer, usage=usage)
    if answer.question == question:
        return answer
    return replace(answer, question=question, rewritten_question=answer.question)
