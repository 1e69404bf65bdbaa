"""The forms in which data sets write their questions, each recognised by its keys.

Each form turns one record into questions and knows nothing of files; a ValueError says what is
wrong with the record. A text by which a data set marks a question without an answer ("No Answer
Present.") does not become an answer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ragcore.questions.labelled import LabelledQuestion
from ragcore.questions.patterns import check_pattern
from ragcore.questions.ragcore_format import ID_KEYS, ragcore_question

__all__ = ["FORMS", "Form", "Record"]

Record = dict[str, Any]

_NO_ANSWER: Final = "No Answer Present."
_UNKNOWN: Final = "<unk>"
"""What TriviaQA's rows at Hugging Face have for the answers of the test set."""
_DESCRIPTION: Final = re.compile(r'\(description (?:"([^"]*)"|([^()]*?))\)')


@dataclass(frozen=True, slots=True)
class Form:
    """How one data set writes its questions.

    Attributes:
        title: the data set and its file, in a few words.
        keys: those that each of its records has.
        is_row: tells whether a record is one question of the data set as Hugging Face publishes it,
            a question a row; None where such rows have the same keys, or those of another form.
        questions: yields a record's questions; several where a record is a whole article, as in
            SQuAD.
    """

    title: str
    keys: tuple[str, ...]
    questions: Callable[[Record], Iterator[LabelledQuestion]]
    is_row: Callable[[Record], bool] | None = None

    def fits(self, record: Record) -> bool:
        """Tell whether a record has this form's keys."""
        if all(key in record for key in self.keys):
            return True
        return self.is_row is not None and self.is_row(record)


def _jsonl(record: Record) -> Iterator[LabelledQuestion]:
    yield ragcore_question(record, plain=False)


def _nq_open(record: Record) -> Iterator[LabelledQuestion]:
    yield LabelledQuestion(
        _text(record, "question"), _texts(record, "answer"), id=_id(record, *ID_KEYS)
    )


def _dpr(record: Record) -> Iterator[LabelledQuestion]:
    positive = _list(record, "positive_ctxs")
    ids = tuple(
        str(passage["passage_id"]) for passage in positive if passage.get("passage_id") is not None
    )
    yield LabelledQuestion(_text(record, "question"), _texts(record, "answers"), ids)


def _triviaqa(record: Record) -> Iterator[LabelledQuestion]:
    # Hugging Face has the same names in small letters and underscores.
    row = _is_triviaqa_row(record)
    question, name, answer_key, value, aliases = (
        ("question", "question_id", "answer", "value", "aliases")
        if row
        else ("Question", "QuestionId", "Answer", "Value", "Aliases")
    )
    # The records of the test set have no answer.
    answer = record.get(answer_key, {})
    # The value first: training takes the first answer.
    answers = [answer[value], *answer.get(aliases, [])] if value in answer else []
    yield LabelledQuestion(
        _text(record, question),
        tuple(text for text in _unique(answers) if text != _UNKNOWN),
        id=_id(record, name),
    )


def _is_triviaqa_row(record: Record) -> bool:
    answer = record.get("answer")
    return "question" in record and isinstance(answer, dict) and "value" in answer


def _webquestions(record: Record) -> Iterator[LabelledQuestion]:
    descriptions = _DESCRIPTION.findall(_text(record, "targetValue"))
    answers = _unique(quoted or bare for quoted, bare in descriptions)
    yield LabelledQuestion(_text(record, "utterance"), answers, id=_id(record, "questionId", "url"))


def _msmarco(record: Record) -> Iterator[LabelledQuestion]:
    well_formed = record.get("wellFormedAnswers", [])
    # Where there is no well-formed answer, the files have the text "[]".
    written = well_formed if isinstance(well_formed, list) and well_formed else record["answers"]
    answers = _unique(answer for answer in written if answer != _NO_ANSWER)
    yield LabelledQuestion(_text(record, "query"), answers, id=_id(record, "query_id"))


def _fever(record: Record) -> Iterator[LabelledQuestion]:
    groups = record.get("evidence", [])
    # A sentence of evidence is [annotation id, evidence id, page, sentence number].
    pages = [
        sentence[2] for group in groups for sentence in group if len(sentence) > 2 and sentence[2]
    ]
    titles = [page.replace("_", " ") for page in pages] + list(record.get("gold_titles", []))
    yield LabelledQuestion(
        _text(record, "claim"),
        (_text(record, "label"),),
        tuple(map(str, record.get("passage_ids", []))),
        id=_id(record, "id"),
        titles=_unique(titles),
    )


def _kilt(record: Record) -> Iterator[LabelledQuestion]:
    outputs = _list(record, "output")
    sources = [source for output in outputs for source in output.get("provenance", [])]
    yield LabelledQuestion(
        _text(record, "input"),
        _unique(output["answer"] for output in outputs if output.get("answer")),
        id=_id(record, "id"),
        titles=_unique(source["title"] for source in sources if source.get("title")),
    )


def _squad(record: Record) -> Iterator[LabelledQuestion]:
    if _is_squad_row(record):
        yield _squad_question(record, record.get("context"))
        return
    for paragraph in _list(record, "paragraphs"):
        for row in paragraph["qas"]:
            yield _squad_question(row, paragraph.get("context"))


def _is_squad_row(record: Record) -> bool:
    answers = record.get("answers")
    if "question" not in record:
        return False
    if isinstance(answers, dict):
        # Else the answers are by version.
        return "text" in answers and ("answer_start" in answers or "context" in record)
    return isinstance(answers, list) and any(
        isinstance(answer, dict) and "text" in answer for answer in answers
    )


def _squad_question(row: Record, paragraph: object) -> LabelledQuestion:
    """Read a question; one whose list of answers is empty has none, as SQuAD 2.0's scorer counts.

    Args:
        row: the question and its answers: a list of objects, or an object of lists.
        paragraph: that the question is about.
    """
    # The test set has no answers.
    listed = row.get("answers")
    texts = listed["text"] if isinstance(listed, dict) else [each["text"] for each in listed or []]
    answers = _unique(texts)
    about = isinstance(paragraph, str) and paragraph.strip()
    return LabelledQuestion(
        _text(row, "question"),
        answers,
        id=_id(row, "id"),
        # Where no answer is in it, the paragraph does not answer either.
        paragraphs=(str(paragraph),) if about and answers else (),
        unanswerable=listed is not None and not answers,
    )


def _tsv(record: Record) -> Iterator[LabelledQuestion]:
    """Read the columns of a table's row: CuratedTREC has four, DPR's question files two."""
    columns = record["columns"]
    match columns:
        case [number, _, question, pattern]:
            check_pattern(pattern)
            yield LabelledQuestion(question, (pattern,), id=number, regex=True)
        case [question, listed]:
            try:
                answers = ast.literal_eval(_unquoted(listed))
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                answers = None
            if not isinstance(answers, list):
                raise ValueError(
                    "expected a list of answers in the second column, as ['one', 'two']"
                )
            yield LabelledQuestion(_unquoted(question), _unique(answers))
        case _:
            raise ValueError(
                f"expected 4 columns (number, kind, question, pattern) or 2 (question, answers), "
                f"found {len(columns)}"
            )


def _unquoted(column: str) -> str:
    """Undo the quotes of CSV, which DPR's files have where an answer has a quote."""
    quoted = len(column) > 1 and column[0] == column[-1] == '"'
    if not quoted or '"' in column[1:-1].replace('""', ""):
        return column
    return column[1:-1].replace('""', '"')


FORMS: Final = {
    "dpr": Form("DPR's JSON with positive passages", ("question", "positive_ctxs"), _dpr),
    "fever": Form("FEVER, whose label is the answer", ("claim", "label"), _fever),
    "kilt": Form("a KILT task", ("input", "output"), _kilt),
    "msmarco": Form("MS MARCO", ("query", "answers"), _msmarco),
    "squad": Form("SQuAD 1.1 or 2.0", ("paragraphs",), _squad, _is_squad_row),
    "triviaqa": Form("TriviaQA", ("Question", "QuestionId"), _triviaqa, _is_triviaqa_row),
    "webquestions": Form("WebQuestions", ("utterance", "targetValue"), _webquestions),
    "tsv": Form("CuratedTREC's or DPR's tables", ("columns",), _tsv),
    "nq-open": Form("NQ-open or DPR's topics", ("question", "answer"), _nq_open),
    "jsonl": Form("ragcore's question files", ("question",), _jsonl),
}
"""The forms by name; a file of format `auto` is read by the first whose keys a record has."""


def _text(record: Record, key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key}: expected a text that is not empty")
    return value


def _list(record: Record, key: str) -> list[Record]:
    value = record.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"{key}: expected a list of objects")
    return value


def _texts(record: Record, key: str) -> tuple[str, ...]:
    value = record.get(key)
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key}: expected a list of texts")
    return _unique(value)


def _unique(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the values as stripped texts in order, without repetitions and empty ones."""
    texts = (str(value).strip() for value in values)
    return tuple(dict.fromkeys(text for text in texts if text))


def _id(record: Record, *keys: str) -> str:
    return next((str(record[key]) for key in keys if record.get(key) is not None), "")
