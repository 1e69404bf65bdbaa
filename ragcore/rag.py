"""What users call to answer: a served memory, and a generator that reads the passages found in it.

Data goes one way: question → hits → passages (answering/searching.py) → prior (retrieve.py) → read
→ decode → answer (answerer.py). A request keeps the version of the memory that it begins with, so
that a swap never mixes two versions in one answer.
"""

from __future__ import annotations

import traceback
from collections.abc import AsyncGenerator, Iterator, Sequence
from collections.abc import Generator as Generator_
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ragcore.answering.ablation import Without, without
from ragcore.answering.answerer import Answerer
from ragcore.answering.retrieve import retrieve
from ragcore.answering.searching import Where, search
from ragcore.build import open_memory
from ragcore.config import PipelineConfig, RagConfig, load_config
from ragcore.contracts import Generator, Retriever
from ragcore.errors import ConfigError, QuestionError
from ragcore.live.served import ServedMemory
from ragcore.memory.memory import Memory
from ragcore.process.heap import release_free_memory
from ragcore.process.workers import Workers
from ragcore.questions.texts import batch_of, check_answers
from ragcore.registry.components import ComponentSpec
from ragcore.registry.discovery import registry
from ragcore.store.store import Store, Verify
from ragcore.types import Answer, SearchResult, Token

__all__ = ["Rag", "load"]


def load(pipeline: str | Path, *overrides: str) -> Rag:
    """Load the pipeline of a YAML file: open its memory and load its generator.

    Args:
        pipeline: path of the file.
        overrides: changes to it, as on the command line: "rag.k=10", "generator.use=t5".

    Raises:
        ConfigError: the file is faulty; names all faults.
        StoreError: the store has no such version, or it was built with another encoder.
    """
    return Rag.from_config(load_config(pipeline, overrides), name=str(pipeline))


class Rag:
    """A pipeline that answers questions; safe to use from several threads."""

    def __init__(
        self,
        memory: Memory,
        generator: Generator,
        config: RagConfig | None = None,
        *,
        store: Store | None = None,
        retriever: ComponentSpec[Retriever] | None = None,
        verify: Verify = "sampled",
        pinned: bool = False,
    ) -> None:
        """Put a memory and a generator together.

        Args:
            memory: an opened version.
            generator: reads one passage at a time.
            config: the section `rag` of a pipeline; defaults where None.
            store: where `swap` finds other versions.
            retriever: how `swap` opens them; each version's own record where None.
            verify: what `swap` compares with its sha256; see `Store.open`.
            pinned: whether the version was chosen by name, so that `memory.watch` does not replace
                it; `swap` still does.

        Raises:
            UnsupportedOperation: the config asks for grounded answers, and the generator cannot
                give them.
        """
        self.memory = ServedMemory(memory, store, retriever, verify=verify, pinned=pinned)
        self._answering = Answerer(generator, config or RagConfig())
        self._workers = Workers("ragcore-answers")

    @classmethod
    def from_config(cls, config: PipelineConfig, *, name: str = "the pipeline") -> Rag:
        """Load the pipeline that a checked config describes; `name` is used in errors."""
        if config.generator is None:
            raise ConfigError(
                f"{name}: no generator: answering needs a section 'generator', such as "
                "generator: {use: bart, model: facebook/bart-large}"
            )
        section = config.memory
        memory = open_memory(section)
        try:
            generator = config.generator.build()
        except BaseException:
            memory.close()
            raise
        return cls(
            memory,
            generator,
            config.rag,
            store=Store(section.store),
            retriever=section.retriever,
            verify=section.verify,
            pinned=section.version is not None,
        )

    @property
    def generator(self) -> Generator:
        """The component that reads passages and writes answers."""
        return self._answering.generator

    @property
    def config(self) -> RagConfig:
        """The section `rag` of the pipeline."""
        return self._answering.config

    def __enter__(self) -> Rag:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the memory when its last reader has left.

        Calls of `aanswer` and `astream` that have not begun are dropped, with StoreError.
        """
        self._workers.close()
        self.memory.close()

    def answer(self, questions: str | Sequence[str], *, where: Where = None) -> list[Answer]:
        """Find the most probable answer to each question, with the passages as evidence.

        Args:
            questions: B questions; one string counts as one question.
            where: a filter in the form of `rag.where`: only passages whose metadata match are
                read; with both, they must match both.

        Returns:
            B answers, in order.

        Raises:
            QuestionError: a question is no text, is empty, or is longer than the generator's
                input, or `where` is no filter.
        """
        batch = batch_of(questions)
        with self.memory.reading() as memory:
            retrieved = retrieve(memory, batch, self.config, where)
            answers = self._answering.answers(retrieved, memory.version)
        for answer in answers:
            registry().hook.ragcore_answered(answer=answer)
        return answers

    def stream(self, question: str, *, where: Where = None) -> Generator_[Token, None, None]:
        """Yield the tokens of an answer, each as soon as the search can no longer change it.

        RAG-Sequence always streams by joint decoding, whatever `rag.decode` is: thorough and fast
        decoding know their answer only at the end. The concatenation of the texts is the text of
        the answer. One exception: an uncased generator's text is its own where the passage's
        spelling, for which the whole answer is needed, differs from what was sent already.

        A stream that is left before its end is released when it is closed or dropped.
        """
        try:
            with self.memory.reading() as memory:
                (retrieved,) = retrieve(memory, [question], self.config, where)
                yield from self._answering.tokens(retrieved)
        except GeneratorExit as left:
            # The traceback holds the frame of the search, and that all the pairs' states.
            traceback.clear_frames(left.__traceback__)
            release_free_memory()
            raise

    def search(
        self, questions: str | Sequence[str], k: int | None = None, *, where: Where = None
    ) -> list[SearchResult]:
        """Find the passages that an answer to each question would be read from; read none.

        The version that is served as the call begins is searched to its end.

        Args:
            questions: B questions; one string counts as one question.
            k: how many passages to find; `rag.k` where None.
            where: a filter in the form of `rag.where`: only passages whose metadata match are
                found; with both, they must match both.

        Returns:
            B results, in order; their `prior` is that of an answer from as many passages.

        Raises:
            QuestionError: a question is no text, is empty or too long, k is no number from 1 on or
                not given where `rag.k` is 0, or `where` is no filter.
            StoreError: the pipeline is closed.
        """
        with self.memory.reading() as memory:
            return search(memory, questions, self.config, where, k=k)

    def log_prob(
        self, questions: Sequence[str], answers: Sequence[str], *, where: Where = None
    ) -> list[float]:
        """Compute log p(y|x) of answers by the formula of `rag.marginalize`.

        Args:
            questions: B questions.
            answers: B answers, one for each.
            where: as for `answer`.

        Returns:
            B natural logarithms; the end-of-sequence token is included.

        Raises:
            QuestionError: there is not one answer for each question, an answer is no usable text,
                a question is empty or longer than the generator's input, or `where` is no filter.
        """
        questions, answers = batch_of(questions), batch_of(answers, "answer")
        if len(questions) != len(answers):
            raise QuestionError(
                f"{len(questions)} questions with {len(answers)} answers: log_prob takes one "
                "answer for each question"
            )
        check_answers(answers)
        with self.memory.reading() as memory:
            retrieved = retrieve(memory, questions, self.config, where)
            return self._answering.log_probs(retrieved, answers)

    def without(self, answer: Answer, passage_ids: str | Sequence[str]) -> Without:
        """Recompute an answer with passages left out of its evidence.

        Nothing is read again: the marginal is computed over the remaining passages, whose prior is
        normalised again. Only answers that the search has already seen can win.

        Args:
            answer: of this pipeline.
            passage_ids: passages of its evidence; one string counts as one id.

        Raises:
            QuestionError: a passage is not in the evidence, or none would remain.
        """
        ids = [passage_ids] if isinstance(passage_ids, str) else list(passage_ids)
        return without(answer, ids, self.generator, self.config)

    async def aanswer(self, questions: str | Sequence[str], *, where: Where = None) -> list[Answer]:
        """Answer as `answer` does, in a thread of the pipeline's own.

        A call that is cancelled before it has begun is never made; one that has begun runs to its
        end in its thread.

        Raises:
            StoreError: the pipeline is closed, or was closed before the call began.
        """
        return await self._workers.run(self.answer, questions, where=where)

    async def asearch(
        self, questions: str | Sequence[str], k: int | None = None, *, where: Where = None
    ) -> list[SearchResult]:
        """Search as `search` does, in a thread of the pipeline's own.

        Raises:
            StoreError: the pipeline is closed, or was closed before the call began.
        """
        return await self._workers.run(self.search, questions, k, where=where)

    def astream(self, question: str, *, where: Where = None) -> AsyncGenerator[Token, None]:
        """Stream as `stream` does, each token in a thread of the pipeline's own.

        Cancelled amid a token, the stream is released as soon as that token is decoded.

        Raises:
            StoreError: the pipeline is closed, or was closed before the stream's end.
        """
        return self._workers.iterate(self.stream(question, where=where))

    def swap(self, version: str) -> str:
        """Serve another version of the memory from now on; running requests keep the old one.

        The new version is opened, verified and warmed up by one search before the reference moves;
        if any of that fails, the old one goes on serving.

        Returns:
            The name of the version served before.

        Raises:
            StoreError: no such version, a damaged file, another encoder.
            ConfigError: there is no store.
        """
        return self.memory.swap(version)

    @contextmanager
    def pinned(self, version: str) -> Iterator[Self]:
        """Answer from one version inside the block, even if others are swapped in meanwhile.

            with rag.pinned("2016-11"):
                rag.answer("Who is the President of Peru?")

        This applies to the thread or task that enters the block, and to tasks and calls of
        `aanswer` that begin inside; others are answered from the served version. The pinned
        version is opened unless it is the one that is served, shares the generator, and closes
        after the block.

        Raises:
            StoreError: no such version, a damaged file, another encoder.
            ConfigError: there is no store.
        """
        with self.memory.pinned(version):
            yield self
