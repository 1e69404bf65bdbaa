"""The folder of a run that is damaged is a ConfigError, which names file and line."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragcore.cli import main
from ragcore.errors import ConfigError, RagcoreError
from ragcore.evaluation.repeating import compare_with_run, replay
from ragcore.evaluation.report import Report
from ragcore.evaluation.running import evaluate
from ragcore.evaluation.runs import PREDICTIONS, RUN, read_run
from ragcore.questions import read_questions
from ragcore.rag import load
from tests.cli.test_compare import pipeline  # noqa: F401 (a fixture)


@pytest.fixture
def run(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> Path:  # noqa: F811
    folder = pipeline.parent / "run"
    questions = str(pipeline.parent / "q.jsonl")
    assert main(["eval", str(pipeline), questions, "--output", str(folder)]) == 0
    capsys.readouterr()
    return folder


@pytest.fixture
def report(pipeline: Path) -> Report:  # noqa: F811
    with load(pipeline) as rag:
        return evaluate(rag, read_questions(pipeline.parent / "q.jsonl"))


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """List the paths of all values inside a JSON value."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(inner for key, item in items for inner in places(item, (*path, key)))]


def damaged(value: object, path: tuple, other: object, remove: bool) -> object:
    value = copy.deepcopy(value)
    if not path:
        return other
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = other
    return value


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_may_be_another_or_missing(run: Path, report: Report, data) -> None:
    originals = {name: (run / name).read_bytes() for name in (RUN, PREDICTIONS)}
    name = data.draw(st.sampled_from([RUN, PREDICTIONS]))
    lines = originals[name].decode().split("\n") if name == PREDICTIONS else [originals[name]]
    lines = [line for line in lines if line]
    number = data.draw(st.integers(0, len(lines) - 1))
    if data.draw(st.booleans()):
        parsed = json.loads(lines[number])
        path = data.draw(st.sampled_from(places(parsed)))
        lines[number] = json.dumps(
            damaged(parsed, path, data.draw(values), data.draw(st.booleans()))
        ).encode()
    else:
        text = lines[number].encode() if isinstance(lines[number], str) else lines[number]
        cut = data.draw(st.integers(0, len(text) - 1))
        lines[number] = text[:cut] + data.draw(st.binary(max_size=3)) + text[cut + 1 :]
    whole = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    try:
        (run / name).write_bytes(whole)
        for read in (lambda: compare_with_run(run, report), lambda: replay(run)):
            # Any other error fails the test.
            with contextlib.suppress(RagcoreError):
                read()
    finally:
        for kept, original in originals.items():
            (run / kept).write_bytes(original)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (RUN, "", "run.json: the run is damaged: not JSON"),
        (RUN, "[]", "has format 'list', this version reads 1"),
        (RUN, '{"format": 3}', "has format 3"),
        (RUN, '{"format": 1}', "run.json: the run is damaged: pipeline: Field required"),
        (RUN, "[" * 100_000, "not JSON"),
        (PREDICTIONS, "{}\n", "predictions.jsonl:1: the run is damaged: question: Field required"),
        (PREDICTIONS, "\n7\n", "predictions.jsonl:2: the run is damaged: the value"),
        (PREDICTIONS, "x", "predictions.jsonl:1: the run is damaged: not JSON"),
    ],
)
def test_damage_is_named_with_its_line(run: Path, name: str, text: str, message: str) -> None:
    (run / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_run(run)
    assert message in str(caught.value)


def test_a_run_of_fewer_predictions_is_damaged(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (run / PREDICTIONS).read_text("utf-8").splitlines()
    (run / PREDICTIONS).write_text("\n".join(lines[:-1]), encoding="utf-8")
    assert main(["replay", str(run)]) == 2
    assert "3 predictions, expected 4" in capsys.readouterr().err


def test_a_file_that_is_no_text_is_damaged(run: Path) -> None:
    (run / PREDICTIONS).write_bytes(b"\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 1"):
        read_run(run)
