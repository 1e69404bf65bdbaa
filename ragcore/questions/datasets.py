"""Read questions and judgments of the catalogue ir_datasets, by name.

The package is optional; its data are downloaded by itself where they are not on this machine yet.
"""

from __future__ import annotations

import importlib
from operator import itemgetter
from typing import Any, Final

from ragcore.errors import QuestionError
from ragcore.questions.labelled import GREATEST_GRADE, LabelledQuestion
from ragcore.questions.texts import fault_of
from ragcore.questions.trec import Qrels, judged_questions, read_qrels

__all__ = ["DATASET_PREFIX", "read_dataset"]

DATASET_PREFIX: Final = "ir_datasets:"
"""What a name begins with that is none of a file."""


def read_dataset(name: str, qrels: str | None = None) -> list[LabelledQuestion]:
    """Read the questions of a data set, with its judgments.

    Args:
        name: as ir_datasets has it, such as "beir/scifact/test".
        qrels: a file of judgments in place of the data set's own.

    Raises:
        QuestionError: the package is not installed, there is no such data set, its data cannot be
            had, or it has no queries or judgments.
    """
    try:
        ir_datasets: Any = importlib.import_module("ir_datasets")
    except ImportError as error:
        missing = error.name or "ir_datasets"
        raise QuestionError(
            f"{DATASET_PREFIX}{name}: {missing} is not installed: pip install ir-datasets"
        ) from None
    try:
        dataset = ir_datasets.load(name)
    except KeyError:
        raise QuestionError(
            f"{DATASET_PREFIX}{name}: ir_datasets has no such data set: see ir-datasets.com for "
            "their names"
        ) from None
    judged = qrels is not None or dataset.has_qrels()
    if not dataset.has_queries() or not judged:
        lacking = "judgments" if dataset.has_queries() else "queries"
        raise QuestionError(
            f"{DATASET_PREFIX}{name}: the data set has no {lacking}: name a part of it that has "
            "them, such as one that ends in /test"
        )
    try:
        grades = _grades(dataset) if qrels is None else read_qrels(qrels)
        queries = [(str(query.query_id), query) for query in dataset.queries_iter()]
        # Only judged queries are asked, and checked.
        judged_queries = [query for name, query in queries if name in grades.grades]
        questions = [_question(query) for query in judged_queries or map(itemgetter(1), queries)]
    except QuestionError:
        raise
    # Of its many readers, downloads and archives, any may fail.
    except Exception as error:
        raise QuestionError(
            f"{DATASET_PREFIX}{name}: cannot be read ({type(error).__name__}: {error}): download "
            "its data first, or check the connection"
        ) from error
    return judged_questions(questions, grades)


def _question(query: Any) -> LabelledQuestion:
    text, query_id = str(query.default_text()), str(query.query_id)
    fault = fault_of(text) or (None if text.strip() else "is empty")
    if fault is not None:
        raise QuestionError(f"the query {query_id!r} {fault}")
    return LabelledQuestion(text, id=query_id)


def _grades(dataset: Any) -> Qrels:
    grades: dict[str, dict[str, int]] = {}
    for judgment in dataset.qrels_iter():
        grade = int(judgment.relevance)
        if abs(grade) > GREATEST_GRADE:
            raise QuestionError(
                f"the grade of passage {judgment.doc_id!r} for query {judgment.query_id!r} is "
                f"{grade}: expected one from -{GREATEST_GRADE} to {GREATEST_GRADE}"
            )
        grades.setdefault(judgment.query_id, {})[judgment.doc_id] = grade
    return Qrels("", grades)
