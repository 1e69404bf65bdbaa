"""Test citations: numbers, and where an answer is in a passage and in its document."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.cli import main
from ragcore.config import RagConfig
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Answer, CitedSpan, Evidence, Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

DOCUMENT = st.text(alphabet=st.sampled_from("aß\u0130e\u0301 \n😀漢"), min_size=1, max_size=60)


@settings(max_examples=300, deadline=None)
@given(document=DOCUMENT, cuts=st.lists(st.integers(0, 60), min_size=4, max_size=4))
def test_a_span_is_the_same_text_in_the_document(document: str, cuts: list[int]):
    begin, start, end, stop = sorted(min(cut, len(document)) for cut in cuts)
    first_line = 1 + document[:begin].count("\n")
    passage = Passage(
        "id", "", document[begin:stop], {"line": first_line, "span": [begin, stop], "path": "a.md"}
    )
    span = CitedSpan.of(passage, start - begin, end - begin)
    assert span.source is not None
    assert document[span.source[0] : span.source[1]] == span.text == document[start:end]
    if "\n" in passage.text:
        assert span.line == 1 + document[:start].count("\n")
    else:
        assert span.line is None


@pytest.mark.parametrize(
    ("text", "metadata", "source", "line"),
    [
        # Words joined by spaces: as long as the piece, and shorter.
        ("b c d", {"line": 2, "span": [4, 9]}, (6, 7), None),
        ("b c d", {"line": 2, "span": [4, 11]}, None, None),
        ("b\nc d", {"span": [4, 9]}, (6, 7), None),
        ("b\nc d", {"line": 2}, None, None),
        ("b\nc d", {"line": 2, "span": [9, 4]}, None, None),
        ("b\nc d", {"line": "2", "span": [4, 9]}, (6, 7), 3),
    ],
)
def test_what_is_not_known_is_left_out(text, metadata, source, line):
    span = CitedSpan.of(Passage("id", "", text, metadata), 2, 3)
    assert (span.text, span.source, span.line) == ("c", source, line)
    expected = {"start": 2, "end": 3, "text": "c"}
    expected |= {} if source is None else {"source": list(source)}
    expected |= {} if line is None else {"line": line}
    assert span.to_dict() == expected


def test_citations_are_numbered_by_falling_prior():
    evidence = tuple(
        Evidence(Passage(name, name.upper(), "text", {"section": name}), 1.0, prior, 0.25)
        for name, prior in (("a", 0.1), ("b", 0.4), ("c", 0.1), ("d", 0.4))
    )
    answer = Answer("?", "x", -1.0, evidence, "v", ("x",), ((0.25,) * 4,), (3,))
    assert [(each.number, each.passage_id) for each in answer.citations] == [
        (1, "b"),
        (2, "d"),
        (3, "a"),
        (4, "c"),
    ]
    row = json.loads(json.dumps(answer.to_dict()))
    assert [each["number"] for each in row["evidence"]] == [3, 1, 4, 2]
    assert row["citations"] == [each.to_dict() for each in answer.citations]
    assert row["citations"][0] == {
        "number": 1,
        "passage_id": "b",
        "title": "B",
        "source": {"title": "B", "heading": "b"},
        "prior": 0.4,
        "posterior": 0.25,
        "spans": [],
    }
    assert row["filter_notes"] == []
    assert "numbers" not in row


def test_a_grounded_answer_cites_each_occurrence_in_the_file(tmp_path: Path):
    document = "x" * 50 + "\nab" + "abcab"
    store = Store(tmp_path / "store")
    store.build(
        "v",
        [Passage("p", "chad", "abcab", {"path": "a.md", "span": [53, 58], "line": 2})],
        dense_part(),
    )
    for seed in range(30):
        rag = Rag(
            store.open("v", retriever=dense_part()),
            TableGenerator(TableGenerator.Config(seed=seed)),
            RagConfig(grounded=True, max_new_tokens=4),
        )
        (answer,) = rag.answer("who rules chad")
        (citation,) = answer.citations
        for span in citation.spans:
            assert document[slice(*span.source)] == span.text == answer.text
        if len(citation.spans) == 2:
            break
    else:
        pytest.fail("no answer occurs twice")


def test_a_stream_logs_what_is_wrong_with_its_filter_once(tmp_path: Path, caplog):
    store = Store(tmp_path / "store")
    store.build("v", [Passage("p", "chad", "ab", {"year": 3})], dense_part())
    rag = Rag(
        store.open("v", retriever=dense_part()), TableGenerator(TableGenerator.Config()), None
    )
    for _ in range(2):
        list(rag.stream("who rules", where={"yeer": 3}))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "memory 'v': no passage has the field 'yeer': did you mean 'year'?",
        "memory 'v': the filter allows no passage",
    ]
    (answer,) = rag.answer("who rules", where={"yeer": {"exists": False}})
    assert answer.filter_notes == ("no passage has the field 'yeer': did you mean 'year'?",)
    assert not answer.closed_book


PLUGIN = """
from ragcore import hookimpl

@hookimpl
def ragcore_generators():
    return {"table": "tests.helpers.table_generator:TableGenerator"}

@hookimpl
def ragcore_encoders():
    from tests.helpers.word_encoder import ragcore_encoders
    return ragcore_encoders()
"""

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: dense, encoder: {use: words}, index: {use: exact}}
generator: {use: table}
rag: {k: 2, max_new_tokens: 3}
"""


@pytest.fixture
def pipeline(installed, tmp_path, monkeypatch, capsys) -> str:
    installed.add("letters", PLUGIN)
    monkeypatch.chdir(tmp_path)
    rows = [
        {"id": "1", "title": "Chad", "text": "ab", "path": "chad.md", "line": 4},
        {"id": "2", "title": "Mali", "text": "ba", "section": "Lakes"},
    ]
    Path("passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("p.yaml").write_text(PIPELINE)
    assert main(["memory", "build", "p.yaml"]) == 0
    capsys.readouterr()
    return "p.yaml"


def test_sources_are_printed_alone(pipeline, capsys):
    assert main(["ask", pipeline, "chad", "--sources"]) == 0
    out = capsys.readouterr().out
    question, text, *sources = out.splitlines()
    assert question == "chad"
    assert re.fullmatch(r"  .+   log p = -\d\.\d{3} \(p = \d\.\d\d\), memory \S+", text)
    posteriors = [float(line[4:8]) for line in sources[:2]]
    assert sum(posteriors) == pytest.approx(1, abs=0.011)
    without = [line[:4] + line[9:] for line in sources]
    assert without == ["[1] Chad · chad.md:4", "[2] Mali · Lakes", ""]
    assert main(["ask", pipeline, "chad", "--sources", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["number"], row["passage_id"]) for row in rows] == [(1, "1"), (2, "2")]
    assert rows[0]["source"] == {"title": "Chad", "path": "chad.md", "line": 4}


def test_sources_of_nothing_say_why(pipeline, capsys):
    where = ["--where", '{"path": {"prefix": "x"}}']
    assert main(["ask", pipeline, "chad", "--sources", *where]) == 0
    out, errors = capsys.readouterr()
    assert out.splitlines()[2:] == [
        "  cut at rag.max_new_tokens",
        "  no value of 'path' begins with 'x': there are 'chad.md'",
        "  the filter allows none of the 2 passages",
        "  no passage was found; the generator answered alone",
        "",
    ]
    assert errors == ""
    assert main(["ask", pipeline, "chad", "--json", *where]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["filter_notes"][-1] == "the filter allows none of the 2 passages"
    assert row["citations"] == []


def test_sources_without_a_passage_are_refused(pipeline, capsys):
    assert main(["ask", pipeline, "chad", "--sources", "--without", "1"]) == 2
    assert "--sources with --without: " in capsys.readouterr().err
