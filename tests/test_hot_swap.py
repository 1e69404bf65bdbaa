"""Test the hot-swap experiment: it asks about what changed, and its table separates the dates."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "hot-swap"
DATES = ("2016-11", "2018-12")
COUNTRIES = ["Chad", "Ethiopia", "Peru"]


@pytest.fixture
def hot_swap(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the example's `run.py` as it runs from its folder."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("hot_swap_run", FOLDER / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def row(office: str, *answers: str, **more: object) -> dict[str, object]:
    fields = {"id": office, "question": f"Who is the King of {office}?", "answers": list(answers)}
    fields |= {"question_generic": f"Who reigns over {office}?", "role": "chief of state"}
    return {**fields, "dependency": False, **more}


def test_changed_offices_are_told_apart_from_changed_spellings(hot_swap):
    old = [
        row("a", "Barnabas Sibusiso Dlamini", "Dlamini"),
        row("b", "Azail Assoumani", "Assoumani"),
        row("c", "Michiel Eman", "Mike Eman", "Eman"),
        row("d", "Elizabeth II"),
        row("e", "Somebody"),
        row("f", "A Governor", dependency=True, role="representative"),
        row("g", "Akihito"),
    ]
    new = [
        row("a", "Ambrose Mandvulo Dlamini", "Dlamini"),
        row("b", "Azali Assoumani", "Azali"),
        row("c", "Mike Eman", "Eman"),
        row("d", "Charles III", question="Who is the Queen of d?"),
        row("f", "Another", dependency=True, role="representative"),
        row("g", "Naruhito"),
    ]
    import offices

    changed = {each.question: each.changed for each in offices.derived(old, new, DATES)}
    assert changed == {
        "Who is the King of a?": True,
        "Who is the King of b?": False,
        "Who is the King of c?": False,
        "Who reigns over d?": True,
        "Who is the King of g?": True,
    }


def test_the_editions_differ_in_who_holds_which_office(hot_swap):
    questions = {each.question: each for each in hot_swap.of_editions(DATES, COUNTRIES)}
    ethiopia = questions["Who is the Prime Minister of Ethiopia?"]
    assert (ethiopia.changed, ethiopia.answers["2018-12"]) == (True, ("Abiy Ahmed",))
    assert not questions["Who is the President of Chad?"].changed
    assert len(questions) == 4
    assert len(hot_swap.of_editions(DATES)) > 350


@pytest.mark.skipif(
    not (files("ragcore_world") / "reader" / "config.json").is_file(),
    reason="this checkout has no trained reader",
)
def test_each_memory_gives_the_answers_of_its_date(hot_swap, tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    arguments = ["--countries", *COUNTRIES, "--retrievers", "bm25", "--models", "token"]
    arguments += ["--folder", str(tmp_path), "--json", str(log)]
    assert hot_swap.main(arguments) == 0
    output = capsys.readouterr().out
    rows = re.findall(r"^  (201\S+) +([\d.]+) % .* of 3 +([\d.]+) % .* of 3$", output, re.MULTILINE)
    # Only matched dates are right: the diagonal of the table.
    assert rows == [("2016-11", "100.0", "0.0"), ("2018-12", "0.0", "100.0")]
    answers = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    by_memory = {each["memory"]: each["text"] for each in answers if "Ethiopia" in each["question"]}
    assert by_memory["2018-12"] == "Abiy Ahmed"
    assert by_memory["2016-11"] != "Abiy Ahmed"
