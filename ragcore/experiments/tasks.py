"""Cut the work of several systems into tasks: a block of questions for all that share its work.

Knows plans and blocks; knows nothing of how a task is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ragcore import __version__
from ragcore.evaluation.prediction import unique_ids
from ragcore.experiments.answering import Answering, AnswerTask
from ragcore.experiments.blocks import Block, Journal, blocks_of
from ragcore.experiments.folders import SEARCHES, digest_of, stamps
from ragcore.experiments.planning import Measured, Plan
from ragcore.experiments.reporting import part_folder
from ragcore.experiments.resources import generator_key, memory_key
from ragcore.experiments.searching import Asked, SearchTask

__all__ = ["answer_tasks", "resumed_questions", "search_tasks"]


def search_tasks(plans: Sequence[Plan], measured: Measured, output: Path) -> list[SearchTask]:
    """Return the searches that are left, those of one memory one after another."""
    groups: dict[tuple[str, str], list[Plan]] = {}
    for plan in plans:
        if plan.needs.depths or plan.retrieval:
            groups.setdefault(_search_key(plan), []).append(plan)
    tasks = []
    for key in sorted(groups):
        for part, asked in _blocks(measured):
            task = _search_task(groups[key], plans, measured, part, asked, output)
            if task is not None:
                tasks.append(task)
    return tasks


def _search_task(
    group: Sequence[Plan],
    plans: Sequence[Plan],
    measured: Measured,
    part: str,
    asked: Asked,
    output: Path,
) -> SearchTask | None:
    """Return the search of a block in one memory; None where all that needs it is done."""
    left = [plan for plan in group if not _journal(plan, part).has(asked.block)]
    alone = [plan for plan in left if plan.retrieval]
    answering = [plan for plan in left if not plan.retrieval]
    file: Path | None = None
    if answering:
        file = _hits_file(answering[0], plans, measured, part, asked.block, output)
        file = None if file.is_file() else file
    if not alone and file is None:
        return None
    return SearchTask(
        asked,
        group[0].located.pipeline,
        group[0].record.exact,
        tuple((part_folder(plan.folder, part), plan.needs) for plan in alone),
        tuple(plan.needs for plan in answering),
        file,
        tuple(plan.system.name for plan in left),
    )


def answer_tasks(plans: Sequence[Plan], measured: Measured, output: Path) -> list[AnswerTask]:
    """Return the blocks that are left to answer, those of one generator one after another."""
    groups: dict[str, list[Plan]] = {}
    for plan in plans:
        if not plan.retrieval:
            groups.setdefault(generator_key(plan.located.config), []).append(plan)
    tasks = []
    for group in groups.values():
        for part, asked in _blocks(measured):
            left = [plan for plan in group if not _journal(plan, part).has(asked.block)]
            answering = [
                Answering(
                    part_folder(plan.folder, part),
                    plan.located.pipeline,
                    plan.located.version,
                    plan.needs,
                    _hits_file(plan, plans, measured, part, asked.block, output)
                    if plan.needs.depths
                    else None,
                )
                for plan in left
            ]
            if answering:
                names = tuple(plan.system.name for plan in left)
                tasks.append(AnswerTask(asked, tuple(answering), names))
    return tasks


def resumed_questions(plans: Sequence[Plan], measured: Measured) -> int:
    """Count the predictions that an interrupted experiment has made."""
    return sum(
        asked.block.size
        for part, asked in _blocks(measured)
        for plan in plans
        if _journal(plan, part).has(asked.block)
    )


def _blocks(measured: Measured) -> Iterator[tuple[str, Asked]]:
    """Yield the blocks of all questions, with their part."""
    for part, questions in measured.asked.items():
        names = unique_ids(questions)
        for block in blocks_of(len(questions)):
            its = slice(*block)
            yield part, Asked(block, tuple(questions[its]), tuple(names[its]))


def _journal(plan: Plan, part: str) -> Journal:
    return Journal(part_folder(plan.folder, part))


def _search_key(plan: Plan) -> tuple[str, str]:
    """Return what systems have in common whose searches are shared: the memory and the filter."""
    config = plan.located.config
    return memory_key(config), json.dumps(config.rag.where, sort_keys=True)


def _hits_file(
    plan: Plan,
    plans: Sequence[Plan],
    measured: Measured,
    part: str,
    block: Block,
    output: Path,
) -> Path:
    """Return the file of the hits of a block, for all systems that answer from it."""
    key = _search_key(plan)
    needs = {
        (each.needs.read, each.needs.ranked)
        for each in plans
        if not each.retrieval and _search_key(each) == key
    }
    searched = [
        *(key, plan.located.manifest, sorted(needs, key=str), measured.digests[part]),
        # An interrupted experiment leaves files, and may continue with another encoder or release.
        *(stamps(plan.located.config.memory.retriever), __version__),
    ]
    name = f"{part}-{block.begin:07d}-{block.end:07d}.json"
    return output / SEARCHES / digest_of(searched)[:16] / name
