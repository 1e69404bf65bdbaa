"""Test each data set's own form on the fewest lines of its files that show it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import get_args

import pytest

from ragcore.config.training import Format
from ragcore.errors import QuestionError
from ragcore.questions import FORMATS, LabelledQuestion, read_questions, spread_over
from ragcore.questions.files import read_file


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


NQ = lines({"question": "who won", "answer": ["1988", "in 1988"]})
TRIVIAQA = json.dumps(
    {
        "Data": [
            {
                "Question": "Who?",
                "QuestionId": "tc_1",
                "Answer": {"Value": "Puck", "Aliases": ["Puck", "Robin"], "Type": "X"},
            },
            {"Question": "Unknown?", "QuestionId": "tc_2"},
        ],
        "Version": 1.0,
    }
)
WEBQUESTIONS = json.dumps(
    [
        {
            "url": "http://x/jamaica",
            "targetValue": '(list (description "Jamaican English") (description Patois))',
            "utterance": "what do they speak?",
        }
    ]
)
TREC = "1756\tfactoid\tWhen is it?\tSept?(ember)?|Feb\n\n12\tfactoid\tHow far?\t1\\d+ miles\n"
DPR_TSV = "who is it?\t['Ann', \"Ann Lee\"]\n"
DPR_QUOTED = """where is it\t"[""N'Djamena"", 'Chad']"\n"""
MSMARCO = json.dumps(
    {
        "query": {"0": "what is x", "1": "why"},
        "query_id": {"0": 7, "1": 8},
        "answers": {"0": ["short"], "1": ["No Answer Present."]},
        "wellFormedAnswers": {"0": ["It is short."], "1": "[]"},
        "passages": {"0": [], "1": []},
    }
)
MSMARCO_LINES = lines({"query": "what is x", "query_id": 7, "answers": ["short"]})
FEVER = lines(
    {
        "id": 75397,
        "verifiable": "VERIFIABLE",
        "label": "SUPPORTS",
        "claim": "He acted.",
        "evidence": [[[92206, 104971, "Nikolaj_Coster-Waldau", 7], [1, 2, "Fox_Studio", 0]]],
    },
    {
        "id": 2,
        "label": "NOT ENOUGH INFO",
        "claim": "Or not.",
        "evidence": [[[1, None, None, None]]],
    },
)
KILT = lines(
    {
        "id": "5",
        "input": "who?",
        "output": [
            {"answer": "Ann", "provenance": [{"wikipedia_id": "3", "title": "Ann Lee"}]},
            {"provenance": [{"title": "Lees"}]},
            {"answer": "A. Lee"},
        ],
    }
)
SQUAD = json.dumps(
    {
        "version": "v2.0",
        "data": [
            {
                "title": "1973_oil_crisis",
                "paragraphs": [
                    {
                        "context": "It began in 1973.",
                        "qas": [
                            {"id": "a", "question": "When?", "answers": [{"text": "1973"}] * 2},
                            {"id": "b", "question": "Why?", "answers": [], "is_impossible": True},
                        ],
                    }
                ],
            }
        ],
    }
)
DPR = json.dumps(
    [
        {
            "question": "who?",
            "answers": ["Ann"],
            "positive_ctxs": [{"title": "T", "text": "…", "passage_id": "17"}],
            "negative_ctxs": [],
        }
    ]
)
SQUAD_ROWS = lines(
    {
        "id": "a",
        "title": "Oil",
        "context": "It began in 1973.",
        "question": "When?",
        "answers": {"text": ["1973", "1973"], "answer_start": [12, 12]},
    },
    {
        "id": "b",
        "title": "Oil",
        "context": "It began in 1973.",
        "question": "Why?",
        "answers": {"text": [], "answer_start": []},
    },
)
SQUAD_LISTS = lines(
    {"context": "In 1973.", "question": "When?", "answers": [{"text": "1973", "answer_start": 3}]}
)
TRIVIAQA_ROWS = lines(
    {
        "question": "Who?",
        "question_id": "tc_1",
        "entity_pages": {"title": ["Puck"]},
        "answer": {
            "aliases": ["Puck", "Robin"],
            "normalized_aliases": ["puck", "robin"],
            "value": "Puck",
        },
    },
    {"question": "Unknown?", "question_id": "tc_2", "answer": {"aliases": [], "value": "<unk>"}},
)
FLASHRAG = lines(
    {"id": "test_0", "question": "who?", "golden_answers": ["Ann", "", "A"], "metadata": {}}
)
GROUND_TRUTH = lines({"question": "who?", "ground_truth": "Ann"})
POPQA = lines({"id": 42, "question": "who?", "obj": "Ann", "possible_answers": '["Ann", "A. Lee"]'})
UNANSWERABLE = lines(
    {"question": "q", "answers": [], "id": None},
    {"question": "r", "answers": {"2016": [], "2018": ["a"]}, "qid": 7},
)
JSONL = lines({"question": "q", "answers": {"2016": ["a"]}, "id": 4}, {"question": "r"})
PATTERNS = lines({"question": "q", "answers": ["a+"], "regex": True})

CASES = {
    "nq-open": ("q.jsonl", NQ, [LabelledQuestion("who won", ("1988", "in 1988"), id="1")]),
    "triviaqa": (
        "q.json",
        TRIVIAQA,
        [
            LabelledQuestion("Who?", ("Puck", "Robin"), id="tc_1"),
            LabelledQuestion("Unknown?", id="tc_2"),
        ],
    ),
    "webquestions": (
        "q.json",
        WEBQUESTIONS,
        [
            LabelledQuestion(
                "what do they speak?", ("Jamaican English", "Patois"), id="http://x/jamaica"
            )
        ],
    ),
    "curatedtrec": (
        "q.tsv",
        TREC,
        [
            LabelledQuestion("When is it?", ("Sept?(ember)?|Feb",), id="1756", regex=True),
            LabelledQuestion("How far?", ("1\\d+ miles",), id="12", regex=True),
        ],
    ),
    "dpr-tsv": ("q.csv", DPR_TSV, [LabelledQuestion("who is it?", ("Ann", "Ann Lee"), id="1")]),
    "msmarco": (
        "q.json",
        MSMARCO,
        [LabelledQuestion("what is x", ("It is short.",), id="7"), LabelledQuestion("why", id="8")],
    ),
    "msmarco-lines": (
        "q.jsonl",
        MSMARCO_LINES,
        [LabelledQuestion("what is x", ("short",), id="7")],
    ),
    "fever": (
        "q.jsonl",
        FEVER,
        [
            LabelledQuestion(
                "He acted.",
                ("SUPPORTS",),
                id="75397",
                titles=("Nikolaj Coster-Waldau", "Fox Studio"),
            ),
            LabelledQuestion("Or not.", ("NOT ENOUGH INFO",), id="2"),
        ],
    ),
    "kilt": (
        "q.jsonl",
        KILT,
        [LabelledQuestion("who?", ("Ann", "A. Lee"), id="5", titles=("Ann Lee", "Lees"))],
    ),
    "squad": (
        "q.json",
        SQUAD,
        [
            LabelledQuestion("When?", ("1973",), id="a", paragraphs=("It began in 1973.",)),
            LabelledQuestion("Why?", id="b", unanswerable=True),
        ],
    ),
    "dpr": ("q.json", DPR, [LabelledQuestion("who?", ("Ann",), ("17",), id="1")]),
    "jsonl": (
        "q.jsonl",
        JSONL,
        [LabelledQuestion("q", {"2016": ("a",)}, id="4"), LabelledQuestion("r", id="2")],
    ),
    "patterns": ("q.jsonl", PATTERNS, [LabelledQuestion("q", ("a+",), regex=True, id="1")]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_form_is_recognised_by_its_keys(tmp_path: Path, name: str, zipped: bool):
    file, text, expected = CASES[name]
    path = tmp_path / (f"{file}.gz" if zipped else file)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    assert read_questions(path) == expected


@pytest.mark.parametrize("name", sorted(set(CASES) & set(FORMATS)))
def test_a_form_can_be_named(tmp_path: Path, name: str):
    file, text, expected = CASES[name]
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    assert read_questions(path, format=name) == expected


def test_the_config_knows_the_same_forms():
    assert set(get_args(Format)) == set(FORMATS)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("q.tsv", "1\tx\tq\t(\n", r"q.tsv:1: '\(' is no regular expression"),
        ("q.tsv", "one\n", r"q.tsv:1: expected 4 columns .* found 1"),
        ("q.tsv", "q\tAnn\n", r"q.tsv:1: expected a list of answers"),
        ("q.tsv", "q\t'Ann'\n", r"q.tsv:1: expected a list of answers"),
        ("q.jsonl", '{"claim": "", "label": "x"}\n', r"q.jsonl:1: claim: expected a text"),
        ("q.jsonl", '{"input": "x", "output": 3}\n', r"output: expected a list of objects"),
        ("q.jsonl", '{"query": "x", "answers": 3}\n', r"does not have the form of MS MARCO"),
        ("q.jsonl", '{"question": "x", "answers": ["a"], "regex": 1}\n', r"regex: expected true"),
        (
            "q.jsonl",
            '{"question": "x", "answer": "a guess", "ground_truth": "Ann"}\n',
            r"different answers under 'answer' and 'ground_truth'",
        ),
        (
            "q.jsonl",
            '{"question": "x", "possible_answers": "[Ann"}\n',
            r"possible_answers: expected a list in JSON",
        ),
        ("q.jsonl", '{"question": "x", "golden_answers": [""]}\n', r"golden_answers: .* texts"),
        ("q.jsonl", '{"question": "x", "golden_answers": [true]}\n', r"golden_answers: .* texts"),
        ("q.jsonl.gz", "plain", r"q\.jsonl\.gz: cannot be unpacked \(Not a gzipped file"),
    ],
)
def test_an_error_names_the_record_and_what_is_wrong(tmp_path, file, text, message):
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    with pytest.raises(QuestionError, match=message):
        read_questions(path)


def test_a_question_has_no_answer_by_the_versions_that_say_so(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(UNANSWERABLE, encoding="utf-8")
    always, by_version = read_questions(path)
    assert always.unanswerable_by("2016")
    assert always.judged_by("2016")
    assert by_version.unanswerable_by("2016")
    assert not by_version.unanswerable_by("2018")
    assert by_version.judged_by("2018")
    assert not by_version.judged_by("2020"), "nothing is known of it"


def test_what_a_program_cannot_learn_from_is_refused(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(lines({"question": "q", "answers": []}), encoding="utf-8")
    with pytest.raises(QuestionError, match=r"q\.jsonl:1: expected either 'answer' or 'answers'"):
        read_questions(path, plain=True)


def test_an_unknown_form_is_refused(tmp_path):
    with pytest.raises(QuestionError, match="expected one of auto"):
        read_file(tmp_path / "q", format="squat")


def test_questions_are_spread_over_the_file():
    questions = [LabelledQuestion(str(n)) for n in range(10)]
    assert [question.question for question in spread_over(questions, 3)] == ["0", "3", "6"]
    for limit in (10, 99, None):
        assert spread_over(questions, limit) == questions


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(QuestionError) as missing:
        read_questions(tmp_path / "typo.jsonl")
    assert str(missing.value) == f"{tmp_path / 'typo.jsonl'}: no such file: check the path"
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(
        QuestionError, match=r"folder\.jsonl: a folder: give the path of a file of q"
    ):
        read_questions(tmp_path / "folder.jsonl")
    (tmp_path / "latin.jsonl").write_bytes('{"question": "où"}'.encode("latin-1"))
    with pytest.raises(
        QuestionError, match=r"latin\.jsonl: cannot be read as UTF-8 text \('utf-8'"
    ):
        read_questions(tmp_path / "latin.jsonl")
    whole = gzip.compress(b'{"question": "what"}' * 100)
    (tmp_path / "half.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        QuestionError, match=r"half\.jsonl\.gz: cannot be unpacked \(Compressed file"
    ):
        read_questions(tmp_path / "half.jsonl.gz")
    (tmp_path / "file.jsonl").touch()
    with pytest.raises(QuestionError, match=r"q\.jsonl: cannot be read: Not a directory"):
        read_questions(tmp_path / "file.jsonl" / "q.jsonl")
