"""The whole: retrieve, read, marginalise, decode, answer.

Data goes one way: question → hits → passages → read → decode → answer. A request pins the version
of the memory that it begins with, so that a swap never mixes two versions in one answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from collections.abc import Generator as Generator_
from pathlib import Path
from types import TracebackType

import torch

from ragcore.answers import Found, make_answer, make_token
from ragcore.config import PipelineConfig, RagConfig, load_config
from ragcore.contracts import Generator, Read
from ragcore.decoding.abstention import weigh
from ragcore.decoding.beam import BeamSearch, Hypothesis
from ragcore.decoding.context import Context
from ragcore.decoding.grounding import Grounding
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.scoring import score_hypotheses
from ragcore.decoding.sequence import RagSequence, fast, thorough
from ragcore.decoding.token import RagToken
from ragcore.errors import ConfigError, QuestionError, UnsupportedOperation
from ragcore.memory.live import LiveMemory
from ragcore.memory.store import Store
from ragcore.memory.version import Memory
from ragcore.parts import Part
from ragcore.plugins import registry
from ragcore.retrieval import Where, retrieve
from ragcore.types import Answer, Passage, Token

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
        retriever: Part | None = None,
    ) -> None:
        """Put a memory and a generator together.

        Args:
            memory: an opened version.
            generator: reads one passage at a time.
            config: the section `rag` of a pipeline; defaults where None.
            store: where `swap` finds other versions.
            retriever: how `swap` opens them; the version's own record where None.

        Raises:
            UnsupportedOperation: the config asks for grounded answers, and the generator cannot
                give them.
        """
        self.memory = LiveMemory(memory)
        self.generator = generator
        self.config = config or RagConfig()
        self._store = store
        self._retriever = retriever
        if self.config.grounded and "words" not in generator.capabilities:
            raise UnsupportedOperation(
                f"rag.grounded: generator {type(generator).__name__} cannot be kept to a "
                "passage's words, which its capability `words` would say: leave rag.grounded "
                "out, or choose another generator"
            )

    @classmethod
    def from_config(cls, config: PipelineConfig, *, name: str = "the pipeline") -> Rag:
        """The pipeline that a checked config describes; `name` is used in errors."""
        if config.generator is None:
            raise ConfigError(
                f"{name}: no generator: answering needs a section 'generator', such as "
                "generator: {use: bart, model: facebook/bart-large}"
            )
        section = config.memory
        store = Store(section.store)
        memory = store.open(
            section.version, retriever=section.retriever, temperature=section.temperature
        )
        try:
            generator = config.generator.build()
        except BaseException:
            memory.close()
            raise
        return cls(memory, generator, config.rag, store=store, retriever=section.retriever)

    def __enter__(self) -> Rag:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        with self.memory.reading() as memory, torch.inference_mode():
            found = retrieve(memory, asked, self.config, where)
            size = self.config.batch_size
            answers = [
                answer
                for begin in range(0, len(found), size)
                for answer in self._answer(found[begin : begin + size], memory.version)
            ]
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
            with torch.inference_mode():
                found = retrieve(memory, [question], self.config, where)
                read, contexts = self._read(found)
                ((context, abstained),) = self._weigh(read, contexts)
                if abstained is None:
                    search = self._search(read, [context], self._grounds(found))
            if abstained is not None:
                for length in range(len(abstained.steps)):
                    yield make_token(self.generator, abstained.steps[: length + 1])
                return
            sent, going = 0, True
            while going:
                # Entered anew for each token: the mode must not leak into the caller, whose code
                # runs between two of them.
                with torch.inference_mode():
                    going = search.advance()
                    steps = search.decided()
                while sent < len(steps):
                    sent += 1
                    yield make_token(self.generator, steps[:sent])

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
        with self.memory.reading() as memory, torch.inference_mode():
            found = retrieve(memory, questions, self.config, where)
            targets = self.generator.encode_answers(answers)
            scores: list[float] = []
            for begin in range(0, len(found), self.config.batch_size):
                end = begin + self.config.batch_size
                read, contexts = self._read(found[begin:end])
                scores.extend(self._log_prob(read, contexts, targets[begin:end]))
            return scores

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
            StoreError: no such version, a corrupt file, another encoder, or no store at all.
        """
        if self._store is None:
            raise ConfigError(
                "this Rag was made from an opened memory, without a store: give `store=` to swap"
            )
        with self.memory.reading() as current:
            temperature = current.temperature
        memory = self._store.open(
            version, retriever=self._retriever, temperature=temperature, verify=True
        )
        try:
            memory.search(["warm up"], 1)
        except BaseException:
            memory.close()
            raise
        old = self.memory.swap(memory)
        registry().hook.ragcore_memory_swapped(old=old, new=version)
        return old

    def _read(self, found: Sequence[Found]) -> tuple[Read, list[Context]]:
        """Read all pairs of these questions in one pass of the encoder."""
        questions: list[str] = []
        passages: list[Passage | None] = []
        contexts: list[Context] = []
        device = self.generator.device
        for one in found:
            own: list[Passage | None] = list(one.passages) or [None]
            places = torch.arange(len(passages), len(passages) + len(own), device=device)
            contexts.append(Context(places, one.log_prior.to(device)))
            passages.extend(own)
            questions.extend([one.question] * len(own))
        return self.generator.read(questions, passages), contexts

    def _answer(self, found: Sequence[Found], version: str) -> list[Answer]:
        """The best hypothesis for each of a batch of questions, as an answer."""
        read, contexts = self._read(found)
        weighed = self._weigh(read, contexts)
        grounds = self._grounds(found)
        answering = [place for place, (_, abstained) in enumerate(weighed) if abstained is None]
        searched = iter(
            self._best(
                read,
                [weighed[place][0] for place in answering],
                [grounds[place] for place in answering],
            )
        )
        return [
            make_answer(
                self.generator,
                self.config.marginalize,
                one,
                context,
                abstained or next(searched),
                version,
                ground,
            )
            for one, (context, abstained), ground in zip(found, weighed, grounds, strict=True)
        ]

    def _best(
        self, read: Read, contexts: Sequence[Context], grounds: Sequence[Grounding | None]
    ) -> list[Hypothesis]:
        """The best hypothesis of each question, as the config says to decode."""
        if not contexts:
            return []
        if self.config.marginalize == "sequence" and self.config.decode != "joint":
            decode = thorough if self.config.decode == "thorough" else fast
            found = decode(self.generator, read, contexts, self._options(), grounds)
        else:
            found = self._search(read, contexts, grounds).run()
        return [hypotheses[0] for hypotheses in found]

    def _search(
        self, read: Read, contexts: Sequence[Context], grounds: Sequence[Grounding | None]
    ) -> BeamSearch:
        kind = RagToken if self.config.marginalize == "token" else RagSequence
        return BeamSearch(kind(self.generator, read, contexts), self._options(), grounds)

    def _grounds(self, found: Sequence[Found]) -> list[Grounding | None]:
        """What keeps each question's answer to the words of its passages, if anything does."""
        if not self.config.grounded:
            return [None] * len(found)
        generator = self.generator
        texts = [passage.text for one in found for passage in one.passages]
        words = iter(generator.encode_words(texts))
        return [
            Grounding(
                [next(words) for _ in one.passages],
                generator.eos_token_id,
                forced_bos_token_id=generator.forced_bos_token_id,
            )
            for one in found
        ]

    def _options(self) -> DecodingOptions:
        config, generator = self.config, self.generator
        return DecodingOptions(
            eos_token_id=generator.eos_token_id,
            beams=config.beams,
            max_new_tokens=config.max_new_tokens,
            min_new_tokens=config.min_new_tokens,
            length_penalty=config.length_penalty,
            no_repeat_ngram=config.no_repeat_ngram,
            forced_bos_token_id=generator.forced_bos_token_id,
            banned_openings=self._banned(),
        )

    def _banned(self) -> frozenset[tuple[int, ...]]:
        """How an answer must not begin, since that is for the abstaining one.

        Tokens without text, such as a forced first one, begin all answers. Where a grounded answer
        says the word, a passage does.
        """
        tokens = () if self.config.grounded else tuple(self._abstention())
        forced = 0 if self.generator.forced_bos_token_id is None else 1
        for end in range(forced + 1, len(tokens) + 1):
            if self.generator.decode_tokens(tokens[forced:end]):
                return frozenset({tokens[:end]})
        return frozenset()

    def _abstention(self) -> list[int]:
        """The abstaining answer's token ids; none where no answer abstains."""
        abstain = self.config.abstain
        return [] if abstain is None else self.generator.encode_answers([abstain.answer])[0]

    def _weigh(
        self, read: Read, contexts: Sequence[Context]
    ) -> list[tuple[Context, Hypothesis | None]]:
        """Each question's context among the passages that answer, or its abstention."""
        abstain = self.config.abstain
        if abstain is None:
            return [(context, None) for context in contexts]
        return weigh(
            self.config.marginalize,
            self.generator,
            read,
            contexts,
            self._abstention(),
            abstain.above,
        )

    def _log_prob(
        self, read: Read, contexts: Sequence[Context], targets: Sequence[list[int]]
    ) -> list[float]:
        """log p(y|x) of one target for each question."""
        abstention = self._abstention()
        weighed = self._weigh(read, contexts)
        used = [
            # What abstains is weighed among all passages; what answers among those that do.
            context if target == abstention else conditioned
            for context, (conditioned, _), target in zip(contexts, weighed, targets, strict=True)
        ]
        scored = score_hypotheses(
            self.config.marginalize, self.generator, read, used, [[t] for t in targets]
        )
        return [one.log_prob for (one,) in scored]
