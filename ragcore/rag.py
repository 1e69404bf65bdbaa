"""The whole: a memory that is served, and a generator that answers out of what is found in it.

Data goes one way: question → hits → passages (`retrieval.py`) → read → decode → answer
(`answering.py`). A request keeps the version of the memory that it begins with, so that a swap
never mixes two versions in one answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from collections.abc import Generator as Generator_
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ragcore.answering.ablation import Without, without
from ragcore.answering.answerer import Answerer
from ragcore.answering.retrieve import Where, retrieve
from ragcore.build import open_memory
from ragcore.config import PipelineConfig, RagConfig, load_config
from ragcore.contracts import Generator, Retriever
from ragcore.errors import ConfigError, QuestionError
from ragcore.live.served import ServedMemory
from ragcore.memory.memory import Memory
from ragcore.registry.components import ComponentSpec
from ragcore.registry.discovery import registry
from ragcore.store.store import Store
from ragcore.types import Answer, Token

__all__ = ["Rag", "load"]


def load(pipeline: str | Path, *overrides: str) -> Rag:
    """The pipeline of a YAML file, its memory opened and its generator loaded.

    Args:
        pipeline: path of the file.
        overrides: changes to it, as on the command line: "rag.k=10", "generator.use=t5".

    Raises:
        ConfigError: the file is faulty; all faults at once.
        StoreError: the store has no such version, or it was built by another encoder.
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
        verify: bool = True,
    ) -> None:
        """Put a memory and a generator together.

        Args:
            memory: an opened version.
            generator: reads one passage at a time.
            config: the section `rag` of a pipeline; defaults where None.
            store: where `swap` finds other versions.
            retriever: how `swap` opens them; the version's own record where None.
            verify: whether every file is compared with its sha256 then, or only its size.

        Raises:
            UnsupportedOperation: the config asks for grounded answers, and the generator cannot
                give them.
        """
        self.memory = ServedMemory(memory, store, retriever, verify=verify)
        self._answering = Answerer(generator, config or RagConfig())

    @classmethod
    def from_config(cls, config: PipelineConfig, *, name: str = "the pipeline") -> Rag:
        """The pipeline that a checked config describes; `name` is used in errors."""
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
        )

    @property
    def generator(self) -> Generator:
        """What reads passages and writes answers."""
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
        """Close the memory, once its last reader has left."""
        self.memory.close()

    def answer(self, questions: str | Sequence[str], *, where: Where = None) -> list[Answer]:
        """The most probable answer to each question, with what it rests on.

        Args:
            questions: B questions; one string counts as one question.
            where: reads only passages whose metadata meet it, as `rag.where` says it; if both
                are given, both must hold.

        Returns:
            B answers, in order.

        Raises:
            QuestionError: a question is empty, or longer than the generator's input, or `where`
                is no filter.
        """
        asked = [questions] if isinstance(questions, str) else list(questions)
        with self.memory.reading() as memory:
            found = retrieve(memory, asked, self.config, where)
            answers = self._answering.answers(found, memory.version)
        for answer in answers:
            registry().hook.ragcore_answered(answer=answer)
        return answers

    def stream(self, question: str, *, where: Where = None) -> Generator_[Token, None, None]:
        """The tokens of an answer, each as soon as the search can no longer change it.

        RAG-Sequence streams by joint decoding, whatever `rag.decode` says: the other two know
        their answer only at the end. Texts of tokens are the generator's own, without the
        passage's spelling, for which the whole answer is needed.
        """
        with self.memory.reading() as memory:
            (found,) = retrieve(memory, [question], self.config, where)
            yield from self._answering.tokens(found)

    def log_prob(
        self, questions: Sequence[str], answers: Sequence[str], *, where: Where = None
    ) -> list[float]:
        """log p(y|x) of given answers, by the formula of `rag.marginalize`.

        Args:
            questions: B questions.
            answers: B answers, one for each.
            where: as for `answer`.

        Returns:
            B natural logarithms, end of sequence included.
        """
        if len(questions) != len(answers):
            raise QuestionError(
                f"{len(questions)} questions with {len(answers)} answers: log_prob takes one "
                "answer for each question"
            )
        with self.memory.reading() as memory:
            found = retrieve(memory, questions, self.config, where)
            return self._answering.log_probs(found, answers)

    def without(self, answer: Answer, passage_ids: str | Sequence[str]) -> Without:
        """What becomes of an answer when passages that it was read from are left out.

        Nothing is read again: the marginal is taken anew over the other passages, whose prior is
        brought to 1 again. The answers that may win then are those that the search came to.

        Args:
            answer: of this pipeline.
            passage_ids: passages of its evidence; one string counts as one id.

        Raises:
            QuestionError: the answer was not read from such a passage, or none would be left.
        """
        ids = [passage_ids] if isinstance(passage_ids, str) else list(passage_ids)
        return without(answer, ids, self.generator, self.config)

    async def aanswer(self, questions: str | Sequence[str], *, where: Where = None) -> list[Answer]:
        """`answer`, without blocking the event loop."""
        return await asyncio.to_thread(self.answer, questions, where=where)

    async def astream(self, question: str, *, where: Where = None) -> AsyncIterator[Token]:
        """`stream`, without blocking the event loop."""
        tokens = self.stream(question, where=where)
        try:
            while (token := await asyncio.to_thread(next, tokens, None)) is not None:
                yield token
        finally:
            tokens.close()

    def swap(self, version: str) -> str:
        """Serve from another version of the memory from now on; requests under way are not hurt.

        The new version is opened, verified and asked once before the reference moves; if any of
        that fails the old one goes on serving.

        Returns:
            The name of the version served before.

        Raises:
            StoreError: no such version, a corrupt file, another encoder.
            ConfigError: there is no store.
        """
        return self.memory.swap(version)

    @contextmanager
    def pinned(self, version: str) -> Iterator[Self]:
        """Answer out of one version inside the block, whatever is swapped meanwhile.

            with rag.pinned("2016-11"):
                rag.answer("Who is the President of Peru?")

        It holds for the thread or task that enters the block, and for tasks and calls of `aanswer`
        that begin inside; what others are answered does not change. The version is opened unless
        it is the one that is served, shares the generator, and closes at the end.

        Raises:
            StoreError: no such version, a corrupt file, another encoder.
            ConfigError: there is no store.
        """
        with self.memory.pinned(version):
            yield self
