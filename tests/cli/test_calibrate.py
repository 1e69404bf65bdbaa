"""`ragcore calibrate`, and answers that are withheld by what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragcore.answering.confidence import confidence_at
from ragcore.cli import main
from ragcore.config import load_config
from tests.cli.test_memory import GENERATORS, PIPELINE, built, pipeline  # noqa: F401
from tests.conftest import Installed


@pytest.fixture
def questions(
    built: Path,  # noqa: F811
    installed: Installed,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Path:
    """Write questions of which two thirds are answered rightly, mostly those of high p."""
    installed.add("table", GENERATORS)
    short = PIPELINE.replace("{k: 2}", "{k: 2, min_new_tokens: 1, max_new_tokens: 3}  # short")
    built.write_text(f"{short}generator: {{use: table}}  # mine\n", encoding="utf-8")
    texts = built.parent / "texts.txt"
    texts.write_text("\n".join(f"word{number}" for number in range(30)), encoding="utf-8")
    with texts.open(encoding="utf-8") as file:
        monkeypatch.setattr("sys.stdin", file)
        assert main(["ask", str(built), "-", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    lines = []
    for rank, answer in enumerate(sorted(answers, key=lambda answer: -answer["log_prob"])):
        wrong = rank in (3, 9) or rank >= 22
        right = f"{answer['text']}a" if wrong else answer["text"]
        lines.append(json.dumps({"question": answer["question"], "answer": right}))
    path = built.parent / "questions.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code = main([*map(str, arguments)])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def test_what_is_fitted_is_shown_and_written_and_withholds(
    built: Path,  # noqa: F811
    questions: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = built.read_text(encoding="utf-8")
    row = json.loads(run(capsys, "calibrate", built, questions, "--risk", "0.2", "--json"))
    assert row["written"] is False
    assert row["reason"] is None
    assert row["threshold"]["target"] == 0.2
    assert row["before"]["exact_match"] == pytest.approx(2 / 3)
    assert built.read_text(encoding="utf-8") == before
    out = run(capsys, "calibrate", built, questions, "--risk", "0.2", "--write")
    assert f"written into {built}:" in out
    words = " ".join(out.split())
    assert "exact match 0.6667" in words
    assert "passages with 99.9 %" in words
    assert "calibration error" in words
    assert "are withheld: risk" in words
    config = load_config(built)
    assert config.memory.temperature == row["temperature"]["fitted"]["temperature"]
    fitted = {"slope": row["confidence"]["slope"], "intercept": row["confidence"]["intercept"]}
    assert config.rag.confidence is not None
    assert config.rag.confidence.model_dump(exclude_none=True) == {
        **fitted,
        "threshold": row["threshold"]["threshold"],
    }
    after = built.read_text(encoding="utf-8")
    assert "max_new_tokens: 3}  # short" in after
    assert after.endswith("generator: {use: table}  # mine\n")
    texts = [json.loads(line)["question"] for line in questions.read_text().splitlines()]
    answers = [json.loads(run(capsys, "ask", built, text, "--json")) for text in texts]
    withheld = [answer for answer in answers if answer["withheld"]]
    assert len(withheld) == round(30 * (1 - row["threshold"]["coverage"]))
    assert all(answer["text"] for answer in withheld)
    shown = run(capsys, "ask", built, withheld[0]["question"])
    assert "not sure enough to answer" in shown
    assert f"best guess: {withheld[0]['text']}" in shown
    assert f"confidence {withheld[0]['confidence']:.2f}" in shown


def test_where_the_pipeline_abstains_the_second_slope_is_written_too(
    built: Path,  # noqa: F811
    questions: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = built.read_text(encoding="utf-8")
    abstaining = text.replace("{k: 2,", "{k: 2, abstain: {answer: c, above: 1},")
    built.write_text(abstaining, encoding="utf-8")
    row = json.loads(run(capsys, "calibrate", built, questions, "--json"))
    out = run(capsys, "calibrate", built, questions, "--write")
    fitted = {name: row["confidence"][name] for name in ("slope", "answering", "intercept")}
    assert fitted["answering"] >= 0
    numbers = "".join(f"    {name}: {value!r}\n" for name, value in fitted.items())
    assert f"rag:\n  confidence:\n{numbers}    threshold: 0.0\n" in out
    config = load_config(built).rag.confidence
    assert config is not None
    assert config.model_dump() == {**fitted, "threshold": 0}
    answer = json.loads(run(capsys, "ask", built, "word1", "--json"))
    assert answer["confidence"] == pytest.approx(
        confidence_at(answer["log_prob"], config, answer["abstention"]["log_prob"])
    )
    plain = [f"rag.{name}=null" for name in ("abstain", "confidence")]
    row = json.loads(run(capsys, "calibrate", built, questions, *plain, "--json"))
    assert row["confidence"]["answering"] is None
    assert "answering" not in run(capsys, "calibrate", built, questions, *plain)
    assert main(["calibrate", str(built), str(questions), "rag.abstain=null"]) == 2
    assert "confidence.answering needs abstain" in capsys.readouterr().err


def test_what_cannot_be_fitted_is_said(
    built: Path,  # noqa: F811
    questions: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = run(capsys, "calibrate", built, questions, "--limit", "5", "--risk", "0.1")
    assert "no confidence fitted: 5 answers whose correctness is known" in out
    assert "memory:\n  temperature:" in out
    assert "rag:" not in out
    out = run(capsys, "calibrate", built, questions, "--risk", "0", "memory.temperature=1000")
    assert "no threshold keeps to a risk of 0" in out or "are withheld: risk 0.0000" in out


def test_wrong_arguments_are_messages(
    built: Path,  # noqa: F811
    questions: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["calibrate", str(built), str(questions), "rag.k=3", "--write"]) == 2
    assert "fitted to another pipeline" in capsys.readouterr().err
    assert main(["calibrate", str(built), str(questions), "--risk", "2"]) == 2
    assert main(["calibrate", str(built), str(questions), "rag.confidence.slope=1"]) == 2
    assert "intercept is missing" in capsys.readouterr().err
