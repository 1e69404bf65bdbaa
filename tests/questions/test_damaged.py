"""A damaged file of questions is a QuestionError, whatever is wrong with it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.errors import QuestionError
from ragcore.questions import FORMATS, read_questions
from tests.questions import test_files

SAMPLES = [
    *(text for name, text in vars(test_files).items() if name.isupper() and isinstance(text, str)),
    '{"question": "who", "answers": {"2016": ["a"]}, "passage_ids": ["1"], "id": 3}\n',
    '{"question": "who", "answers": ["Sept(ember)?"], "regex": true}\n',
]

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = sorted(
    {
        *("question", "answer", "answers", "passage_ids", "id", "regex", "positive_ctxs", "claim"),
        *("label", "evidence", "gold_titles", "input", "output", "query", "wellFormedAnswers"),
        *("paragraphs", "qas", "title", "Question", "QuestionId", "Answer", "utterance", "data"),
        *("targetValue", "Data", "query_id", "provenance", "text", "Value", "Aliases", "passages"),
    }
)  # fmt: skip


def reads_or_refuses(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    for name in FORMATS:
        for plain in (False, True):
            message, questions = str(path), []
            try:
                questions = read_questions(path, format=name, plain=plain)
            except QuestionError as error:
                message = str(error)
            assert str(path) in message
            # What is read can be asked and written.
            for question in questions:
                assert question.question.encode()
                json.dumps([list(question.titles), question.id], ensure_ascii=False).encode()


@pytest.mark.parametrize("sample", range(len(SAMPLES)))
@settings(max_examples=40)
@given(data=st.data())
def test_samples_with_flipped_cut_and_inserted_bytes(
    sample: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = SAMPLES[sample].encode()
    position = data.draw(st.integers(0, len(text) - 1))
    inserted = data.draw(st.binary(max_size=3) | st.sampled_from([b"[", b"{", b'"', b"\\ud800"]))
    removed = data.draw(st.integers(0, 3) | st.just(len(text)))
    damaged = text[:position] + inserted + text[position + removed :]
    folder = tmp_path_factory.mktemp("damaged")
    for name in ("q.jsonl", "q.tsv"):
        reads_or_refuses(folder / name, damaged)
    packed = gzip.compress(text)
    cut = min(position, len(packed) - 1)
    reads_or_refuses(folder / "q.jsonl.gz", packed[:cut] + inserted + packed[cut + removed :])


@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from(KEYS), junk, max_size=6))
def test_records_with_any_values(tmp_path_factory: pytest.TempPathFactory, record: dict) -> None:
    path = tmp_path_factory.mktemp("any") / "q.jsonl"
    reads_or_refuses(path, json.dumps(record).encode("utf-8"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"question": "a"}\n{"question": "\\ud800"}\n', ":2: the question is not text"),
        ('{"question": "a", "answers": ["\\udce9"]}\n', ":1: the answer is not text"),
        ('{"question": "a", "id": "\\ud800"}\n', ":1: the id is not text"),
        (json.dumps({"question": "x" * 100_001}), ":1: the question has 100,001 characters"),
        ('{"question": "a", "answers": ["("], "regex": true}', ":1: '(' is no regular"),
        ('{"question": "a", "answers": ["a{99999999999}"], "regex": true}', "no regular"),
        ("[" * 100_000, ":1: not JSON"),
        ('{"question": ' + "[" * 100_000, ":1: not JSON"),
        ("who\t" + "[" * 5_000, "expected a list of answers"),
        ("who\t{[]: 1}", "expected a list of answers"),
        ("1\ta\twho\t(" + "(" * 9_000, "no regular expression"),
        ('{"question": "a"}\n\n{"question": 7}\n', ":3: question: expected a text"),
        ('{"question": "a"}\n{"question": "b"', ":2: not JSON"),
        ("\x00", "not JSON"),
        ("null", "not JSON|expected an object"),
        ('{"data": 7}', ""),
        ('{"query": {"0": {}}}', ""),
    ],
)  # fmt: skip
def test_damage_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / ("q.tsv" if "\t" in text else "q.jsonl")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(QuestionError) as caught:
        read_questions(path)
    assert any(part in str(caught.value) for part in message.split("|")), str(caught.value)[:500]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"question": "who"}\n')
    assert read_questions(path)[0].question == "who"


@pytest.mark.parametrize("path", ["a\0b", "n" * 300, "/".join(["n" * 200] * 30), "", ".", "\ud800"])
def test_a_path_that_nothing_can_have_is_a_question_error(path: str) -> None:
    with pytest.raises(QuestionError):
        read_questions(path)
