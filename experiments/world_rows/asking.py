"""Ask a pipeline, and judge what it answers.

Loads the pipeline once for each memory, and answers in batches by the Python API. Reading one known
passage, without a search, goes through the same answerer, so that conditioning, abstention and
confidence are the pipeline's. Knows questions; knows nothing of rows and figures.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from math import exp, nan
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import ragcore
from ragcore.answering.choose import answerer_for
from ragcore.answering.retrieve import with_prior
from ragcore.config import load_config
from ragcore.contracts import AnyGenerator
from ragcore.errors import ConfigError
from ragcore.questions.matching import exact_match, holds_answer, normalize
from ragcore.types import Passage
from world_rows.figures import Asked, Judged
from world_rows.memories import EDITIONS, Memories, rows

__all__ = ["Asking", "against", "every", "holds_pattern", "without_right_ones"]

BATCH: Final = 16
_LONGEST: Final = 25
"""Words of an answer that a pattern may be found in: a whole passage is no answer."""


def every(items: Sequence[Any], limit: int) -> list[Any]:
    """Return at most `limit` of the items, at even distances."""
    if len(items) <= limit:
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


class Asking:
    """A pipeline with the memories of the table; a context manager that closes what it loaded."""

    def __init__(
        self,
        pipeline: Path,
        overrides: Sequence[str],
        data: Path,
        work: Path,
        limit: int,
        factbooks: Sequence[str] = tuple(EDITIONS),
    ) -> None:
        """Prepare; a memory is built, and the pipeline loaded, when the first question needs it.

        Args:
            pipeline: the file.
            overrides: changes to it.
            data: the folder of development data.
            work: where memories are built.
            limit: the most questions of a figure.
            factbooks: those memories of the Factbook that rows over several of them ask.
        """
        self.data = data
        self.limit = limit
        self.factbooks = tuple(factbooks)
        self._pipeline = pipeline
        self._config = load_config(pipeline, list(overrides))
        self._memories = Memories(pipeline, overrides, data, work)
        self._rags: dict[tuple[str, tuple[str, ...]], ragcore.Rag] = {}
        self._asked: dict[tuple[str, str, tuple[Asked, ...], tuple[str, ...]], list[Judged]] = {}
        self._passages: dict[str, dict[str, Passage]] = {}
        self._alone: AnyGenerator | None = None
        self._stack = ExitStack()
        self.answers = 0
        self.seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def ask(self, memory: str, version: str, asked: Sequence[Asked], *more: str) -> list[Judged]:
        """Answer questions from one version of a memory; what was asked before is not asked again.

        Args:
            memory: one of those in memories.py.
            version: of it.
            asked: the questions.
            more: further overrides, which load the pipeline again.
        """
        key = memory, version, tuple(asked), more
        if key in self._asked:
            return list(self._asked[key])
        rag = self._rag(memory, version, more)
        answers: list[ragcore.Answer] = []
        began = time.perf_counter()
        for start in range(0, len(asked), BATCH):
            batch = [each.question for each in asked[start : start + BATCH]]
            answers += rag.answer(batch)
        self._count(len(asked), began)
        results = [judged(each, answer) for each, answer in zip(asked, answers, strict=True)]
        self._asked[key] = results
        return list(results)

    def always(
        self, memory: str, version: str, asked: Sequence[Asked], answered: Sequence[Judged]
    ) -> list[Judged]:
        """Answer again what was abstained from, by the best answer that there is.

        The prior stays conditioned on the passages that answer; only the threshold is lifted.
        """
        again = _abstained(asked, answered)
        best = self.ask(memory, version, again, "rag.abstain.above=1.0") if again else []
        return _replaced(answered, best)

    def always_read(
        self, source: str, asked: Sequence[Asked], answered: Sequence[Judged]
    ) -> list[Judged]:
        """Do the same for answers of `read`."""
        return _replaced(answered, self.read(source, _abstained(asked, answered), above=1.0))

    def read(self, source: str, asked: Sequence[Asked], **changes: object) -> list[Judged]:
        """Answer each question from its `gold` passage alone, without a search.

        Args:
            source: "squad", "openqa", or an edition of the development passages.
            asked: the questions.
            changes: to `rag.abstain`, such as above=1.0.
        """
        config = self._config.rag.model_copy(update={"k": 1})
        if changes and config.abstain is not None:
            config = config.model_copy(
                update={"abstain": config.abstain.model_copy(update=changes)}
            )
        passages = self._source(source)
        answerer = answerer_for(self._generator(), config)
        # Texts of about the same length are read together.
        order = sorted(range(len(asked)), key=lambda i: len(passages[asked[i].gold].text))
        results: list[Judged | None] = [None] * len(asked)
        began = time.perf_counter()
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            retrieved = [
                with_prior(asked[i].question, [passages[asked[i].gold]], [0.0], 1.0) for i in batch
            ]
            for index, answer in zip(batch, answerer.answers(retrieved, source), strict=True):
                results[index] = judged(asked[index], answer)
        self._count(len(asked), began)
        return [result for result in results if result is not None]

    def _count(self, answers: int, began: float) -> None:
        self.answers += answers
        self.seconds += time.perf_counter() - began

    def _rag(self, memory: str, version: str, more: Sequence[str]) -> ragcore.Rag:
        self._memories.build(memory, version)
        key = memory, tuple(more)
        if key not in self._rags:
            changes = [*self._memories.overrides(memory), f'memory.version="{version}"', *more]
            self._rags[key] = self._stack.enter_context(ragcore.load(self._pipeline, *changes))
        rag = self._rags[key]
        if rag.memory.version != version:
            rag.swap(version)
        return rag

    def _generator(self) -> AnyGenerator:
        """Return the generator of a loaded pipeline, or load it alone: no memory is needed."""
        for rag in self._rags.values():
            return rag.generator
        if self._alone is None:
            if self._config.generator is None:
                raise ConfigError(
                    f"{self._pipeline} has no generator, which this row reads with: add a section "
                    "'generator', or choose other rows"
                )
            self._alone = self._config.generator.build()
        return self._alone

    def _source(self, source: str) -> dict[str, Passage]:
        if source not in self._passages:
            folder = {"squad": "squad", "openqa": "openqa"}.get(source, f"factbook/{source}")
            self._passages[source] = {
                row["id"]: Passage(row["id"], row["title"], row["text"])
                for row in rows(self.data / folder / "passages.jsonl.gz")
            }
        return self._passages[source]


def _abstained(asked: Sequence[Asked], answered: Sequence[Judged]) -> list[Asked]:
    return [each for each, answer in zip(asked, answered, strict=True) if answer.abstained]


def _replaced(answered: Sequence[Judged], best: Sequence[Judged]) -> list[Judged]:
    """Return the answers, with those that abstain replaced by the best ones, in order."""
    replacements = iter(best)
    return [next(replacements) if answer.abstained else answer for answer in answered]


def judged(asked: Asked, answer: ragcore.Answer) -> Judged:
    """Judge an answer."""
    text = answer.text.strip()
    abstained = answer.abstains or (
        answer.abstention is not None and normalize(text) == normalize(answer.abstention.text)
    )
    passages = [evidence.passage for evidence in answer.evidence]
    unknown = None if answer.abstention is None else answer.abstention.log_prob
    if not asked.answers:
        hit = None
    elif asked.regex:
        hit = any(holds_pattern(passage.text, asked.answers) for passage in passages)
    else:
        hit = any(holds_answer(passage.text, asked.answers) for passage in passages)
    return Judged(
        asked,
        text,
        right=not abstained and _is_right(text, asked),
        answered=bool(normalize(text)) and not abstained and not answer.withheld,
        abstained=abstained,
        confidence=nan if answer.confidence is None else answer.confidence,
        log_prob=nan if answer.log_prob is None else answer.log_prob,
        unknown=nan if unknown is None else min(exp(unknown), 1.0),
        hit=hit,
        titles=tuple(passage.title for passage in passages),
    )


def against(answers: Sequence[Judged], asked: Sequence[Asked]) -> list[Judged]:
    """Judge the same answers by other right ones, such as those of another edition."""
    return [
        replace(
            answer,
            asked=other,
            right=not answer.abstained and _is_right(answer.text, other),
            hit=None,
        )
        for answer, other in zip(answers, asked, strict=True)
    ]


def without_right_ones(answers: Sequence[Judged], then: Sequence[str]) -> list[Judged]:
    """Return the answers, without counting as answered what was right at the time asked for."""
    return [
        replace(
            answer,
            answered=answer.answered and not (pattern and holds_pattern(answer.text, [pattern])),
        )
        for answer, pattern in zip(answers, then, strict=True)
    ]


def _is_right(text: str, asked: Asked) -> bool:
    if asked.regex:
        return len(text.split()) <= _LONGEST and holds_pattern(text, asked.answers)
    return exact_match(text, asked.answers)


def holds_pattern(text: str, patterns: Sequence[str]) -> bool:
    """Tell whether a text has a match of a pattern, in any case."""
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)
