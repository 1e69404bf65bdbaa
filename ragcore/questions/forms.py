"""The forms in which data sets keep their questions, each told by its keys.

Each form turns one record into questions and knows nothing of files; a ValueError says what is
wrong with the record. What is no answer by the data set's own account ("No Answer Present.") is
none here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ragcore.questions.labelled import LabelledQuestion
from ragcore.questions.ragcore_format import ragcore_question

__all__ = ["FORMS", "Form", "Record"]

Record = dict[str, Any]

_NO_ANSWER: Final = "No Answer Present."
_DESCRIPTION: Final = re.compile(r'\(description (?:"([^"]*)"|([^()]*?))\)')


@dataclass(frozen=True, slots=True)
class Form:
    """How one data set writes its questions.

    Attributes:
        about: the data set and its file, in a few words.
        keys: those that every record of it has.
        asked: a record's questions. Several where a record is a whole article, as SQuAD's.
    """

    about: str
    keys: tuple[str, ...]
    asked: Callable[[Record], Iterator[LabelledQuestion]]

    def fits(self, record: Record) -> bool:
        """Whether a record has this form's keys."""
        return all(key in record for key in self.keys)


def _jsonl(record: Record) -> Iterator[LabelledQuestion]:
    yield ragcore_question(record, plain=False)


def _nq_open(record: Record) -> Iterator[LabelledQuestion]:
    yield LabelledQuestion(
        _text(record, "question"), _texts(record, "answer"), id=_id(record, "id")
    )


def _dpr(record: Record) -> Iterator[LabelledQuestion]:
    positive = _list(record, "positive_ctxs")
    ids = tuple(str(one["passage_id"]) for one in positive if one.get("passage_id") is not None)
    yield LabelledQuestion(_text(record, "question"), _texts(record, "answers"), ids)


def _triviaqa(record: Record) -> Iterator[LabelledQuestion]:
    # The test set has none.
    answer = record.get("Answer", {})
    # The value first: it is what one trains on.
    said = [answer["Value"], *answer.get("Aliases", [])] if "Value" in answer else []
    yield LabelledQuestion(_text(record, "Question"), _unique(said), id=_id(record, "QuestionId"))


def _webquestions(record: Record) -> Iterator[LabelledQuestion]:
    found = _DESCRIPTION.findall(_text(record, "targetValue"))
    answers = _unique([quoted or bare for quoted, bare in found])
    yield LabelledQuestion(_text(record, "utterance"), answers, id=_id(record, "questionId", "url"))


def _msmarco(record: Record) -> Iterator[LabelledQuestion]:
    well_formed = record.get("wellFormedAnswers", [])
    # Where there is none its files have the text "[]".
    answers = well_formed if isinstance(well_formed, list) and well_formed else record["answers"]
    kept = [one for one in answers if one != _NO_ANSWER]
    yield LabelledQuestion(_text(record, "query"), _unique(kept), id=_id(record, "query_id"))


def _fever(record: Record) -> Iterator[LabelledQuestion]:
    evidence = record.get("evidence", [])
    pages = [part[2] for group in evidence for part in group if len(part) > 2 and part[2]]
    titles = [page.replace("_", " ") for page in pages] + list(record.get("gold_titles", []))
    yield LabelledQuestion(
        _text(record, "claim"),
        (_text(record, "label"),),
        tuple(map(str, record.get("passage_ids", []))),
        id=_id(record, "id"),
        titles=_unique(titles),
    )


def _kilt(record: Record) -> Iterator[LabelledQuestion]:
    output = _list(record, "output")
    provenance = [each for one in output for each in one.get("provenance", [])]
    yield LabelledQuestion(
        _text(record, "input"),
        _unique([one["answer"] for one in output if one.get("answer")]),
        id=_id(record, "id"),
        titles=_unique([each["title"] for each in provenance if each.get("title")]),
    )


def _squad(record: Record) -> Iterator[LabelledQuestion]:
    title = str(record.get("title", "")).replace("_", " ")
    for paragraph in _list(record, "paragraphs"):
        for row in paragraph["qas"]:
            answers = _unique([one["text"] for one in row.get("answers", [])])
            titles = (title,) if title else ()
            yield LabelledQuestion(
                _text(row, "question"), answers, id=_id(row, "id"), titles=titles
            )


def _tabbed(record: Record) -> Iterator[LabelledQuestion]:
    """Columns of a table: CuratedTREC has four, DPR's questions two."""
    columns = record["columns"]
    match columns:
        case [number, _, question, pattern]:
            _compiled(pattern)
            yield LabelledQuestion(question, (pattern,), id=number, regex=True)
        case [question, answers]:
            try:
                found = ast.literal_eval(answers)
            except (ValueError, SyntaxError):
                raise ValueError(
                    "expected a list of answers in the second column, as ['one', 'two']"
                ) from None
            yield LabelledQuestion(question, _unique(list(found)))
        case _:
            raise ValueError(
                f"expected 4 columns (number, kind, question, pattern) or 2 (question, answers), "
                f"found {len(columns)}"
            )


def _compiled(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from None


FORMS: Final = {
    "dpr": Form("DPR's JSON with positive passages", ("question", "positive_ctxs"), _dpr),
    "fever": Form("FEVER: the label is the answer", ("claim", "label"), _fever),
    "kilt": Form("KILT, every task of it", ("input", "output"), _kilt),
    "msmarco": Form("MS MARCO", ("query", "answers"), _msmarco),
    "squad": Form("SQuAD 1.1 and 2.0", ("paragraphs",), _squad),
    "triviaqa": Form("TriviaQA", ("Question", "QuestionId"), _triviaqa),
    "webquestions": Form("WebQuestions", ("utterance", "targetValue"), _webquestions),
    "tsv": Form("CuratedTREC's patterns, and DPR's questions", ("columns",), _tabbed),
    "nq-open": Form("NQ-open, and DPR's topics", ("question", "answer"), _nq_open),
    "jsonl": Form("ragcore's own", ("question",), _jsonl),
}
"""By name; the first whose keys a record has is how a file is read that is of no named format."""


def _text(record: Record, key: str) -> str:
    said = record.get(key)
    if not isinstance(said, str) or not said.strip():
        raise ValueError(f"{key}: expected a text that is not empty")
    return said


def _list(record: Record, key: str) -> list[Record]:
    said = record.get(key)
    if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        raise ValueError(f"{key}: expected a list of objects")
    return said


def _texts(record: Record, key: str) -> tuple[str, ...]:
    said = record.get(key)
    if isinstance(said, str):
        said = [said]
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        raise ValueError(f"{key}: expected a list of texts")
    return _unique(said)


def _unique(said: list[Any]) -> tuple[str, ...]:
    """Texts in their order, none twice, none empty."""
    return tuple(dict.fromkeys(str(one).strip() for one in said if str(one).strip()))


def _id(record: Record, *keys: str) -> str:
    return next((str(record[key]) for key in keys if record.get(key) is not None), "")
