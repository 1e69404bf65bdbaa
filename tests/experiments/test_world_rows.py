"""What the figures of the demo are computed from: intervals, ranks, typing errors, and passages."""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from math import isnan, nan
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Script = Callable[[str], ModuleType]

TRAINING = Path(__file__).parents[2] / "examples" / "world"
FUNCTION_WORDS = (
    "a an and any are as at be been being but by can could did do does for from had has have how i "
    "if in is it its may me my of on one or please should so that the their there they this to was "
    "we were what whats when where which who whom whos whose will with would you your"
)
"""Words that questions share for all that they ask."""


def answered(figures: ModuleType, **changes: Any) -> Any:
    """Return a right answer to a question that has one, with these changes."""
    asked = figures.Asked("Who?", ("Ann",), "chad")
    answer = figures.Judged(asked, "Ann", True, True, False, 0.9, -0.1, 0.1, True)
    unanswerable = changes.pop("unanswerable", False)
    group = changes.pop("group", "chad")
    asked = figures.Asked("Who?", () if unanswerable else ("Ann",), group)
    return replace(answer, asked=asked, **changes)


class TestAuroc:
    def test_equals_the_share_of_pairs_in_order(self, script: Script) -> None:
        figures = script("world_rows.figures")
        without = [0.9, 0.5, 0.5, 0.2]
        with_answer = [0.5, 0.1, 0.95]
        answers = [answered(figures, unanswerable=True, unknown=score) for score in without]
        answers += [answered(figures, unknown=score) for score in with_answer]
        pairs = [(one > other) + (one == other) / 2 for one, other in product(without, with_answer)]
        assert figures.auroc(answers) == pytest.approx(sum(pairs) / len(pairs))

    def test_needs_both_kinds_of_question_and_all_scores(self, script: Script) -> None:
        figures = script("world_rows.figures")
        lacking = answered(figures, unanswerable=True)
        assert isnan(figures.auroc([lacking, lacking]))
        assert isnan(figures.auroc([lacking, answered(figures, unknown=nan)]))


def test_calibration_error_is_the_mean_gap_of_the_bins(script: Script) -> None:
    figures = script("world_rows.figures")
    answers = [
        answered(figures, confidence=0.95),
        answered(figures, confidence=0.91, right=False),
        answered(figures, confidence=0.05),
        answered(figures, confidence=nan),
    ]
    gaps = abs(0.95 + 0.91 - 1) + abs(0.05 - 1)
    assert figures.calibration_error(answers) == pytest.approx(gaps / 3)


class TestShare:
    def test_is_less_sure_where_answers_of_a_country_go_together(self, script: Script) -> None:
        figures = script("world_rows.figures")
        widths = []
        for is_alike in (False, True):
            answers = [
                answered(
                    figures, group=str(n // 10), right=n // 10 % 2 == 0 if is_alike else n % 2 == 0
                )
                for n in range(80)
            ]
            figure = figures.share("row", "name", answers)
            assert figure.value == 50
            widths.append(figure.high - figure.low)
        # Eight countries that are right or wrong as a whole say as little as eight questions.
        assert widths[0] < 10 < 40 < widths[1]

    def test_is_not_sure_of_a_share_that_all_or_none_have(self, script: Script) -> None:
        figures = script("world_rows.figures")
        figure = figures.share("row", "name", [answered(figures)] * 10)
        assert (figure.value, figure.high) == (100, 100)
        assert figure.low < 80

    def test_says_whether_a_target_is_reached(self, script: Script) -> None:
        figures = script("world_rows.figures")
        half = [answered(figures), answered(figures, right=False)]
        for target, reached in (
            (figures.Target("≥", 50), True),
            (figures.Target("≥", 51), False),
            (figures.Target("≤", 50), True),
            (figures.Target("≤", 49), False),
        ):
            figure = figures.share("row", "name", half, target=target)
            assert figure.to_dict()["reached"] is reached


class TestTypos:
    def test_change_one_word_of_the_phrase_and_nothing_else(self, script: Script) -> None:
        mistyped = script("world_rows.phrasing").mistyped
        question = "Who is the President of Costa Rica?"
        seen = set()
        for seed in map(str, range(200)):
            wrong = mistyped(question, "Costa Rica", seed)
            assert wrong != question
            assert wrong == mistyped(question, "Costa Rica", seed)
            assert wrong.startswith("Who is the President of C")
            assert wrong.endswith(" Rica?")
            assert abs(len(wrong) - len(question)) <= 1
            seen.add(wrong)
        assert len(seen) > 10

    def test_leave_short_words_and_other_texts_alone(self, script: Script) -> None:
        mistyped = script("world_rows.phrasing").mistyped
        assert mistyped("Who is the King of Fiji?", "Fiji", "1") is None
        assert mistyped("Who is the King of Tonga?", "Samoa", "1") is None


def test_every_group_has_a_dozen_wordings_that_name_the_country(script: Script) -> None:
    wordings = script("world_rows.wordings")
    groups = {
        "conversational": wordings.CONVERSATIONAL,
        "reworded": [text for texts in wordings.REWORDED.values() for text in texts],
        "adjective": wordings.ADJECTIVE,
        "indirect": [text for texts in wordings.INDIRECT.values() for text in texts],
    }
    for name, texts in groups.items():
        assert len(set(texts)) == len(texts) >= 12, name
        for text in texts:
            filled = text.format(of="Chad", country="Chad", adjective="Chad", office="king")
            assert "Chad" in filled, text


def test_a_holder_is_asked_for_in_different_wordings(script: Script, tmp_path: Path) -> None:
    questions = script("world_rows.questions")
    code = next(code for code in map(str, range(1000)) if questions.is_held_out(code))
    country = {"code": code, "country": "Chad", "passage_ids": []}
    leaders = [
        {**country, "id": role, "role": role, "office": office, "answers": [office],
         "question": f"Who is the {office} of Chad?"}
        for role, office in (("chief of state", "King"), ("head of government", "Premier"),
                             ("representative", "Governor"))
    ]  # fmt: skip
    demonym = {**country, "id": "fact", "kind": "demonym", "answers": ["Chadian"]}
    folder = tmp_path / "factbook" / "2000"
    folder.mkdir(parents=True)
    for name, listed in (("leaders", leaders), ("facts", [demonym])):
        lines = "\n".join(map(json.dumps, listed))
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    source = questions.FactbookQuestions(tmp_path, "2000")
    for asked, kinds in ((source.conversational(), 3), (source.adjective(), 3),
                         (source.reworded(), 4)):  # fmt: skip
        assert len({each.question for each in asked}) == len(asked)
        assert len(asked) == kinds * questions.WORDINGS_EACH


def test_no_wording_has_the_words_of_one_of_the_training_s(script: Script) -> None:
    wordings = script("world_rows.wordings")
    asked = [*wordings.CONVERSATIONAL, *wordings.ADJECTIVE]
    for texts in (*wordings.REWORDED.values(), *wordings.INDIRECT.values()):
        asked += texts
    trained = {content(text) for text in training_texts()}
    for known in (
        "In {c}, which city is capital?",
        "Whose portrait hangs in the embassies of {of}?",
        "Which summit must a climber conquer to be on top of {of}?",
    ):
        assert content(known) in trained, known
    assert [text for text in asked if content(text) in trained] == []


def training_texts() -> list[str]:
    """Return every text in the files of wordings that the demo's models are trained on."""
    files = [TRAINING / "questions.py", *sorted(TRAINING.glob("*wordings.py"))]
    assert len(files) >= 7
    return [
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def content(wording: str) -> frozenset[str]:
    """Return the words that a wording asks by, in any order.

    What is filled in counts as words of its own: the office tells a question for its holder from
    others, while country and adjective are in every wording. Singular and plural are alike.
    """
    text = re.sub(r"{(o|office)}", " office ", wording.lower().replace("'s", ""))
    words = re.findall(r"[a-z]+", re.sub(r"{\w+}", " ", text))
    ignored = FUNCTION_WORDS.split()
    return frozenset(word.removesuffix("s") for word in words if word not in ignored)


def test_the_factbook_holds_the_answers_of_the_natural_questions(script: Script) -> None:
    rows = script("world_rows.rows")
    questions = script("world_rows.questions")
    rows.check(questions.natural_questions())
    asked, country = questions.natural_questions()[0]
    with pytest.raises(ValueError, match=r"natural\.yaml: no passage of 'us'"):
        rows.check([(replace(asked, answers=("nobody of this name",)), country)])


def test_passages_are_cut_by_the_fields_that_many_countries_have(script: Script) -> None:
    memories = script("world_rows.memories")
    source = []
    for number in range(25):
        text = "Geography. Area: total: 5 sq km. Coastline: 9 km; Note here: none. FAX: 1."
        source.append(
            {"id": f"fb:{number}:0", "title": f"Land {number}", "section": "Geography",
             "text": text if number else f"{text} Odd one: {'word ' * 150}"}
        )  # fmt: skip
    passages = list(memories.cut_by_field(source))
    first = [p for p in passages if p["title"].startswith("Land 1:")]
    assert [(p["title"], p["text"]) for p in first] == [
        ("Land 1: Area", "total: 5 sq km."),
        ("Land 1: Coastline", "9 km;"),
        ("Land 1: Note here", "none. FAX: 1."),
    ]
    assert len({p["id"] for p in passages}) == len(passages)
    assert max(len(p["text"].split()) for p in passages) <= memories.CUT_WORDS
