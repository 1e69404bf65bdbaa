from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from ragcore_world.demo import NOW, QUESTIONS, app, cell
from typer.testing import CliRunner

from ragcore.errors import ConfigError, GeneratorError, MemoryMismatchError
from ragcore.types import Answer, Evidence, Passage

COUNTRIES = "[et, cd, no, tz, gm, uk, ja, br, lu, be, ke, su]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the demo's pipeline, for twelve countries only."""
    folder = tmp_path_factory.mktemp("demo")
    text = (files("ragcore_world") / "world.yaml").read_text(encoding="utf-8")
    fewer = text.replace("edition: 2026-01", f"edition: 2026-01, countries: {COUNTRIES}")
    (folder / "world.yaml").write_text(fewer, encoding="utf-8")
    return folder


def run(folder: Path, *options: str) -> str:
    command = ["demo", "--folder", str(folder), "--html", str(folder / "demo.html"), *options]
    done = CliRunner().invoke(app, command)
    if done.exception:
        raise done.exception
    return done.output


def test_the_demo_answers_swaps_answers_again_and_writes_the_same_answers(folder: Path) -> None:
    shown = run(folder)
    assert all(question in shown for question in QUESTIONS)
    assert "N'Djamena" in shown
    assert re.search(r"prior +posterior", shown)
    _, _, swapped = shown.partition("The live memory is swapped: 2026-01 → 2018-12")
    assert "Merkel" in swapped
    assert "MERZ" in swapped
    _, _, rest = (folder / "demo.html").read_text(encoding="utf-8").partition('id="recorded">')
    data = json.loads(rest.partition("</script>")[0])
    answers = data["answers"]
    assert [answer["question"] for answer in answers] == [*QUESTIONS, *QUESTIONS]
    assert [answer["memory"] for answer in answers] == ["2026-01"] * 8 + ["2018-12"] * 8
    # The numbers of the page are those of the terminal.
    for answer in answers[:8]:
        log_prob = answer["log_prob"]
        assert f"log p = {log_prob:.3f} (p = {math.exp(log_prob):.2f})" in shown
    # The page shows the swap: the questions whose answers the terminal shows side by side.
    table = swapped.partition("┏")[2]
    for before, after in data["changed"]:
        assert answers[before]["question"] == answers[after]["question"]
        assert f"log p = {answers[after]['log_prob']:.3f}" in table
    assert f"{len(data['changed'])} of 8 questions have another answer now." in swapped
    assert data["changed"]
    assert [len(group) for group in data["withouts"]] == [len(each["evidence"]) for each in answers]

    again = run(folder)
    assert again.count("already built") == 2
    assert again.partition(QUESTIONS[0])[2] == shown.partition(QUESTIONS[0])[2]


def test_the_demo_reads_with_another_model(folder: Path, tmp_path: Path) -> None:
    """With the same reader by its folder, and so with the same answers."""
    own = Path(str(files("ragcore_world"))) / "reader"
    shown = run(folder, "--model", str(own))
    assert shown.count(f'"model": "{own}"') == 1
    assert "Go on: ragcore chat" in shown
    assert "Merkel" in shown
    with pytest.raises(ConfigError, match=r"no config\.json"):
        run(folder, "--model", str(tmp_path))
    with pytest.raises(ConfigError, match="say more of a --model"):
        run(folder, "--model-name", "a")


def test_a_folder_of_an_earlier_version_is_named(tmp_path: Path) -> None:
    """With the pipeline that was shipped when the reader was a BART, then with its memory alone."""
    path, hint = tmp_path / "world.yaml", f"delete the folder {tmp_path}"
    path.write_text(
        """ragcore: 1
memory:
  store: store
  corpus: {use: world-factbook, edition: 2026-01, countries: [et]}
  retriever: {use: bm25, title_weight: 4, k1: 0.9}
generator: {use: bart, model: world-reader, dtype: auto}
""",
        encoding="utf-8",
    )
    command = ["demo", "--folder", str(tmp_path), "--html", str(tmp_path / "demo.html")]
    runner = CliRunner(env={"COLUMNS": "2000"})
    old = runner.invoke(app, command)
    assert isinstance(old.exception, GeneratorError)
    assert "an earlier version wrote it" in old.output
    assert hint in old.output
    path.unlink()
    new = runner.invoke(app, command)
    assert isinstance(new.exception, MemoryMismatchError)
    assert hint in str(new.exception)
    assert "an earlier version wrote it" not in new.output


def test_an_answer_of_unknown_probability_is_shown_without_numbers() -> None:
    evidence = Evidence(Passage("p", "Chad, Capital", "N'Djamena"), 1.0, 1.0, None)
    answer = Answer("Which?", "N'Djamena", None, (evidence,), NOW, (), (), ())
    assert str(cell(answer)) == "N'Djamena\nlog p not known\nChad, Capital"
    alone = replace(answer, evidence=(), log_prob=-0.5)
    assert str(cell(alone)) == "N'Djamena\nlog p = -0.500"


def test_help_names_the_options() -> None:
    shown = CliRunner().invoke(app, ["demo", "--help"]).output
    assert "--folder" in shown
    assert "--html" in shown
    assert "--model" in shown
