"""Search a block of questions once for all systems of a memory, and write what each needs.

Systems of retrieval alone get their predictions; for those that answer, a file has the rows and
scores to read from, and the rankings. Knows memories and blocks; knows nothing of generators.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from ragcore.disk.replacing import replacing
from ragcore.errors import ConfigError
from ragcore.evaluation.prediction import Ranking, make_predictions
from ragcore.evaluation.searching import BATCH, rankings_of
from ragcore.experiments.blocks import Block, Journal
from ragcore.experiments.results import Counters
from ragcore.filters.expressions import read_where
from ragcore.questions import LabelledQuestion
from ragcore.registry.discovery import registry
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    from ragcore.experiments.resources import Pipeline, Resources
    from ragcore.memory.memory import Memory

__all__ = ["Asked", "BlockHits", "Needs", "SearchTask", "depths_to_search"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions of a block, with their ids in the run.

    Attributes:
        block: their numbers.
        questions: as many.
        names: as `unique_ids` of all questions.
    """

    block: Block
    questions: tuple[LabelledQuestion, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Needs:
    """Which searches a system needs, as `evaluate` makes them.

    Attributes:
        read: passages that the generator reads; 0 where none does.
        ranked: how deep metrics of passages see; None where there are none.
    """

    read: int
    ranked: int | None

    @property
    def depths(self) -> list[int]:
        """The depths of the searches; a ranking that is as deep as what is read needs none."""
        ranked = self.ranked if self.ranked is not None and self.ranked > self.read else 0
        return [depth for depth in (self.read, ranked) if depth]


def depths_to_search(depths: Sequence[int], *, exact: bool) -> tuple[int, ...]:
    """Return which depths must be searched so that each of `depths` is known.

    Of a retriever that is exact a shallower search is the beginning of a deeper one. An approximate
    one may find others, so that each depth is searched.
    """
    different = sorted({depth for depth in depths if depth})
    return tuple(different[-1:] if exact else different)


@dataclass(frozen=True, slots=True)
class SearchTask:
    """Search a block of questions in one memory.

    Attributes:
        asked: the questions.
        pipeline: whose memory is searched, under its `rag.where`.
        exact: whether the retriever finds the beginning of a deeper search by a shallower one.
        alone: folder and needs of each system of retrieval alone.
        answering: needs of each system that answers.
        file: where the hits for those are written; None where there are none, or it is there.
        systems: for messages.
    """

    asked: Asked
    pipeline: Pipeline
    exact: bool
    alone: tuple[tuple[Path, Needs], ...]
    answering: tuple[Needs, ...]
    file: Path | None
    systems: tuple[str, ...]

    @property
    def work(self) -> int:
        """How many predictions it makes."""
        return len(self.alone) * self.asked.block.size

    def run(self, resources: Resources) -> Counters:
        """Search, and write what was found.

        Raises:
            ComponentError: the retriever breaks its contract.
        """
        memory = resources.memory(self.pipeline)
        needs = [*(each for _, each in self.alone), *(self.answering if self.file else ())]
        needed = [depth for each in needs for depth in each.depths]
        depths = depths_to_search(needed, exact=self.exact)
        hits = self._hits(memory, resources, depths)
        questions = self.asked.questions
        rankings = {
            depth: rankings_of(memory, questions, _of_depth(hits, depth), depth)
            for depth in {each.ranked for each in needs if each.ranked in each.depths}
            if depth is not None
        }
        for folder, each in self.alone:
            predictions = make_predictions(
                questions,
                None,
                None if each.ranked is None else rankings[each.ranked],
                version=memory.version,
                names=self.asked.names,
            )
            Journal(folder).write(self.asked.block, predictions)
        if self.file is not None:
            reads = depths_to_search([each.read for each in self.answering], exact=self.exact)
            BlockHits.write(self.file, {read: _of_depth(hits, read) for read in reads}, rankings)
        done = len(questions) * len(depths)
        return Counters(searches=done, searches_shared=len(questions) * len(needed) - done)

    def _hits(self, memory: Memory, resources: Resources, depths: Sequence[int]) -> dict[int, Hits]:
        """Search to each depth, in the batches of an evaluation."""
        condition = resources.config(self.pipeline).rag.where
        where = None if condition is None else read_where(condition)
        texts = [question.question for question in self.asked.questions]
        hits = {}
        for depth in depths:
            parts = []
            for begin in range(0, len(texts), BATCH):
                batch = texts[begin : begin + BATCH]
                parts.append(memory.hits(batch, depth, where=where))
                if self.file is not None:
                    registry().hook.ragcore_retrieved(
                        questions=batch, hits=parts[-1], memory=memory.version
                    )
            rows = np.concatenate([part.rows for part in parts])
            hits[depth] = Hits(rows, np.concatenate([part.scores for part in parts]))
        return hits


def _of_depth(hits: Mapping[int, Hits], depth: int) -> Hits:
    """Return the hits of a depth: its own search's, or else the beginning of the deeper one's."""
    source = hits[depth] if depth in hits else hits[max(hits)]
    return Hits(source.rows[:, :depth], source.scores[:, :depth])


@dataclass(frozen=True, slots=True)
class BlockHits:
    """What a search found for the questions of a block, for the systems that answer them.

    Attributes:
        rows: by depth, for each question the rows of the passages, best first.
        scores: by depth, as many for each question.
        rankings: by depth, one for each question.
    """

    rows: Mapping[int, Sequence[Sequence[int]]]
    scores: Mapping[int, Sequence[Sequence[float]]]
    rankings: Mapping[int, Sequence[Ranking]]

    def passages(self, question: int, depth: int) -> tuple[Sequence[int], Sequence[float]]:
        """Return the first rows of a question with their scores, of a depth that was needed."""
        source = depth if depth in self.rows else max(self.rows)
        return self.rows[source][question][:depth], self.scores[source][question][:depth]

    @staticmethod
    def write(
        path: Path, hits: Mapping[int, Hits], rankings: Mapping[int, Sequence[Ranking]]
    ) -> None:
        """Write hits and rankings by depth, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows: dict[str, list[list[int]]] = {}
        scores: dict[str, list[list[float]]] = {}
        for depth, of_depth in hits.items():
            exists = of_depth.rows != MISSING_ROW  # [B, depth]
            rows[str(depth)] = [
                row[there].tolist() for row, there in zip(of_depth.rows, exists, strict=True)
            ]
            scores[str(depth)] = [
                row[there].tolist() for row, there in zip(of_depth.scores, exists, strict=True)
            ]
        ranked = {str(depth): list(map(_plain, each)) for depth, each in rankings.items()}
        text = json.dumps({"rows": rows, "scores": scores, "rankings": ranked})
        with replacing(path) as file:
            file.write(text.encode("utf-8"))

    @classmethod
    def read(cls, path: Path) -> BlockHits:
        """Read the file of a block.

        Raises:
            ConfigError: it is missing or damaged.
        """
        try:
            hits: BlockHits = TypeAdapter(cls).validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: the hits cannot be read ({error}): remove the file, and run the "
                "experiment again"
            ) from None
        return hits


def _plain(ranking: Ranking) -> dict[str, Any]:
    row = {name: getattr(ranking, name) for name in ranking.__slots__}
    return {**row, "grades": dict(ranking.grades)}
