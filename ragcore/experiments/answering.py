"""Answer a block of questions with one generator for all systems that have it.

What the systems read is read once. Knows generators and blocks; knows nothing of searching.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ragcore.answering.choose import answerer_for
from ragcore.answering.evidence import Retrieved
from ragcore.answering.retrieve import with_prior
from ragcore.contracts import AnyGenerator, gives_steps
from ragcore.evaluation.prediction import Ranking, make_predictions
from ragcore.evaluation.running import settings_of_today
from ragcore.evaluation.searching import evidence_ranking
from ragcore.experiments.blocks import Journal
from ragcore.experiments.results import Counters
from ragcore.experiments.searching import Asked, BlockHits, Needs
from ragcore.experiments.sharing import batches, pairs_of, read_batch
from ragcore.questions.texts import check_questions
from ragcore.registry.discovery import registry
from ragcore.types import Answer

if TYPE_CHECKING:
    from ragcore.experiments.resources import Pipeline, Resources

__all__ = ["AnswerTask", "Answering"]


@dataclass(frozen=True, slots=True)
class Answering:
    """One system of a block.

    Attributes:
        folder: of its run.
        pipeline: how it answers.
        version: of its memory.
        needs: how many passages it reads and ranks.
        hits_file: of what was searched for; None where it needs no search.
    """

    folder: Path
    pipeline: Pipeline
    version: str
    needs: Needs
    hits_file: Path | None


@dataclass(frozen=True, slots=True)
class AnswerTask:
    """Answer a block of questions by all systems with the same generator.

    Attributes:
        asked: the questions.
        answering: the systems.
        systems: their names, for messages.
    """

    asked: Asked
    answering: tuple[Answering, ...]
    systems: tuple[str, ...]

    @property
    def work(self) -> int:
        """How many predictions it makes."""
        return len(self.answering) * self.asked.block.size

    def run(self, resources: Resources) -> Counters:
        """Read, decode, and write the predictions of each system.

        Raises:
            QuestionError: a question is longer than the generator's input.
            UnsupportedOperation: a setting that the generator cannot follow.
        """
        check_questions([question.question for question in self.asked.questions])
        generator = resources.generator(self.answering[0].pipeline)
        configs = [resources.config(each.pipeline).rag for each in self.answering]
        resources.keep_scorers(configs)
        for config in configs:
            # Fails before anything is read.
            answerer_for(generator, config)
        paths = {each.hits_file for each in self.answering if each.hits_file is not None}
        hits: dict[Path | None, BlockHits] = {path: BlockHits.read(path) for path in paths}
        retrieved = [self._retrieved(each, hits, resources) for each in self.answering]
        answers: list[list[Answer]] = [[] for _ in self.answering]
        most = max(max(config.k, 1) * config.batch_size for config in configs)
        read = 0
        for batch in batches(retrieved, most):
            reader: AnyGenerator = generator
            if gives_steps(generator):
                reader = read_batch(generator, batch)
                read += len(batch.pairs)
            else:
                # A generator of texts reads its prompts in each call.
                read += sum(
                    len(pairs_of(question))
                    for system in batch.systems
                    for question in retrieved[system][batch.begin : batch.end]
                )
            for system in batch.systems:
                questions = retrieved[system][batch.begin : batch.end]
                version = self.answering[system].version
                answerer = answerer_for(reader, configs[system])
                answers[system] += answerer.answers(questions, version)
        settings = settings_of_today(generator)
        for each, its_answers in zip(self.answering, answers, strict=True):
            for answer in its_answers:
                registry().hook.ragcore_answered(answer=answer)
            rankings = self._rankings(each, its_answers, hits)
            predictions = make_predictions(
                self.asked.questions, its_answers, rankings, names=self.asked.names
            )
            Journal(each.folder).write(self.asked.block, predictions, settings)
        pairs = sum(len(pairs_of(question)) for questions in retrieved for question in questions)
        return Counters(pairs_read=read, pairs_shared=pairs - read)

    def _retrieved(
        self, system: Answering, hits: dict[Path | None, BlockHits], resources: Resources
    ) -> list[Retrieved]:
        """Return each question with the passages that a system reads, and their prior."""
        config = resources.config(system.pipeline)
        retrieved = []
        for number, question in enumerate(self.asked.questions):
            passages, scores = [], list[float]()
            if config.rag.k:
                rows, row_scores = hits[system.hits_file].passages(number, config.rag.k)
                passages = resources.passages(system.pipeline).take(rows)
                scores = list(row_scores)
            temperature = config.memory.temperature
            retrieved.append(with_prior(question.question, passages, scores, temperature))
        return retrieved

    def _rankings(
        self, system: Answering, answers: list[Answer], hits: dict[Path | None, BlockHits]
    ) -> list[Ranking] | None:
        """Return what metrics of passages see: what was read, where that is as deep already."""
        depth = system.needs.ranked
        if depth is None:
            return None
        if depth <= system.needs.read:
            return [
                evidence_ranking(answer, question, depth)
                for answer, question in zip(answers, self.asked.questions, strict=True)
            ]
        return list(hits[system.hits_file].rankings[depth])
