"""Read TREC's topics and qrels: questions with ids, and grades of passages by question.

Knows lines and columns; knows nothing of memories or of what is computed from grades.
"""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ragcore.disk.paths import usable_path
from ragcore.errors import QuestionError
from ragcore.questions.labelled import GREATEST_GRADE, LabelledQuestion, texts_of
from ragcore.questions.texts import fault_of
from ragcore.questions.unpacking import read_text

__all__ = [
    "Qrels",
    "checked_lines",
    "judged_questions",
    "read_qrels",
    "read_topics",
    "refuse",
]

_LOG: Final = logging.getLogger("ragcore.questions")

_SHOWN: Final = 3
_MOST_FAULTS: Final = 20

_TOPIC: Final = re.compile(r"<top>(.*?)</top>|<topic\b([^>]*)>(.*?)</topic>", re.S | re.I)
_NUMBER: Final = re.compile(r"<num>\s*(?:Number:)?\s*([^\s<]+)", re.I)
_ATTRIBUTE: Final = re.compile(r"""\bnumber\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.I)
_TITLE: Final = re.compile(r"<(?:title|query)>\s*(?:Topic:)?([^<]*)", re.I)
_CDATA: Final = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.S)
_GRADE: Final = re.compile(r"[+-]?[0-9]{1,9}")
_HEADER: Final = ("query-id", "corpus-id", "score")


@dataclass(frozen=True, slots=True)
class Qrels:
    """Judgments of passages.

    Attributes:
        path: the file, for errors; empty where they are of none.
        grades: by question id, the grade of each judged passage by its id.
    """

    path: str
    grades: Mapping[str, Mapping[str, int]]


def read_topics(path: str | Path) -> list[LabelledQuestion]:
    """Read questions with ids: lines of `id<TAB>question`, or TREC's topics in tags.

    Of topics in tags (`<top>` with `<num>` and `<title>`, or `<topic number="1">` with `<query>` or
    `<title>`) the title or query is asked.

    Raises:
        QuestionError: the file cannot be read or has no question, a line has no tab, or an id is
            missing or occurs twice; names file and line.
    """
    path = usable_path(path, QuestionError)
    text = read_text(path)
    in_tags = text.lstrip().startswith("<")
    topics = _tagged_topics(text) if in_tags else _topic_lines(text)
    questions: list[LabelledQuestion] = []
    lines: dict[str, int] = {}
    faults = []
    for number, topic_id, question in topics:
        fault = fault_of(question) or fault_of(topic_id)
        if not topic_id or not question:
            expected = "<num> and <title>" if in_tags else "id<TAB>question"
            fault = f"has no {'question' if topic_id else 'id'}: expected {expected}"
        elif topic_id in lines:
            fault = f"has the id {topic_id!r} of line {lines[topic_id]}: expected ids of their own"
        if fault is not None:
            faults.append(f"{path}:{number}: the topic {fault}")
            continue
        lines[topic_id] = number
        questions.append(LabelledQuestion(question, id=topic_id, line=number))
    if not questions and not faults:
        faults = [f"{path}: no topic: expected lines of id<TAB>question, or <top> … </top>"]
    refuse(faults)
    return questions


def read_qrels(path: str | Path) -> Qrels:
    """Read grades: TREC's `question 0 passage grade`, or BEIR's `question passage grade` with tabs.

    Raises:
        QuestionError: the file cannot be read or is empty, a line has other columns, a grade is no
            whole number, or a passage has two grades for a question; names file and line.
    """
    path = usable_path(path, QuestionError)
    grades: dict[str, dict[str, int]] = {}
    faults = []
    for number, line in checked_lines(read_text(path)):
        tabs = line.split("\t")
        columns = tabs if len(tabs) == 3 else line.split()
        if tuple(columns) == _HEADER and not grades:
            continue
        if len(columns) != 4 and columns is not tabs:
            faults.append(
                f"{path}:{number}: {len(columns)} columns, expected 4 (question, 0, passage, "
                "grade), or 3 between tabs (question, passage, grade)"
            )
            continue
        question, passage, written = columns[0], columns[-2], columns[-1]
        grade = int(written) if _GRADE.fullmatch(written) else GREATEST_GRADE + 1
        if abs(grade) > GREATEST_GRADE:
            faults.append(
                f"{path}:{number}: the grade is {written!r:.40}, expected a whole number, at most "
                f"{GREATEST_GRADE}"
            )
            continue
        judged = grades.setdefault(question, {})
        if judged.setdefault(passage, grade) != grade:
            faults.append(
                f"{path}:{number}: passage {passage!r} has grade {grade} for question "
                f"{question!r}, and {judged[passage]} on an earlier line: keep one of them"
            )
    if not grades and not faults:
        faults = [f"{path}: no judgment: expected lines of question, 0, passage, grade"]
    refuse(faults)
    return Qrels(str(path), grades)


def judged_questions(questions: Sequence[LabelledQuestion], qrels: Qrels) -> list[LabelledQuestion]:
    """Join questions with their judgments by id, in place of other passages that answer.

    Questions without judgments, and judgments without a question, are warned of in the log.

    Raises:
        QuestionError: no question has judgments, or no judged passage is relevant.
    """
    source = qrels.path or "the judgments"
    by_id = {question.id for question in questions}
    unknown = [name for name in qrels.grades if name not in by_id]
    unjudged = [question.id for question in questions if question.id not in qrels.grades]
    if len(unjudged) == len(questions):
        raise QuestionError(
            f"{source}: no judgment of any of the {len(questions)} questions: it judges "
            f"{_examples(list(qrels.grades))}, the questions are {_examples(unjudged)}: check that "
            "both are of one data set"
        )
    labelled = {q.id for q in questions if texts_of(q.answers) or texts_of(q.passage_ids)}
    for ids, what in (
        (unknown, "questions of {} ({}) are not among those asked: their judgments are not used"),
        (
            [name for name in unjudged if name not in labelled],
            "questions asked have no judgment in {} ({}): ranking metrics leave them out",
        ),
        (
            [name for name in unjudged if name in labelled],
            "questions asked have no judgment in {} ({}): ranking metrics judge them by their own "
            "passage ids or answers",
        ),
    ):
        if ids:
            _LOG.warning("%d %s", len(ids), what.format(source, _examples(ids)))
    return [
        replace(question, relevance=dict(qrels.grades[question.id]), passage_ids=())
        if question.id in qrels.grades
        else question
        for question in questions
    ]


def checked_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty with their numbers, from 1.

    Not by `splitlines`, which also splits at characters that an id may have.
    """
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.rstrip("\r")
        if stripped.strip():
            yield number, stripped


def _topic_lines(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in checked_lines(text):
        topic_id, _, question = line.partition("\t")
        yield number, topic_id.strip(), question.strip()


def _tagged_topics(text: str) -> Iterator[tuple[int, str, str]]:
    # Line breaks stay, so that lines are counted as in the file.
    text = _CDATA.sub(lambda section: html.escape(section[1]), text)
    for match in _TOPIC.finditer(text):
        attribute = _ATTRIBUTE.search(match[2] or "")
        body = match[1] if match[1] is not None else match[3]
        number, title = attribute or _NUMBER.search(body), _TITLE.search(body)
        topic_id = next(filter(None, number.groups()), "") if number else ""
        question = " ".join(html.unescape(title[1]).split()) if title else ""
        yield text.count("\n", 0, match.start()) + 1, html.unescape(topic_id).strip(), question


def _examples(ids: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in ids[:_SHOWN])
    return f"{shown}, …" if len(ids) > _SHOWN else shown


def refuse(faults: Sequence[str]) -> None:
    """Raise the faults of a file as one QuestionError, the first twenty of them; none is fine."""
    if faults:
        rest = [f"and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
        raise QuestionError("\n".join([*faults[:_MOST_FAULTS], *rest]))
