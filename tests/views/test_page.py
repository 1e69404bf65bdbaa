"""Test the page: the file with answers, how modules are joined, and what they never do."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ragcore.answering.ablation import Without
from ragcore.errors import QuestionError
from ragcore.types import Answer, Candidate, Evidence, Passage
from ragcore.views.page import page_files, page_html, write_page
from ragcore.views.page.files import joined_script
from tests.helpers.html_page import Page

FILES = {name: content.decode("utf-8") for name, content in page_files().items()}
INDEX = FILES["index.html"]
MODULES = {name: text for name, text in FILES.items() if name.endswith(".js")}
EVIL = """</script><img src=x onerror="alert(1)"><!--<script>' \u202e\ud800\u2028"""

POSTERIORS = ((0.25, 0.75), (0.0625, 0.9375), (0.1234, 0.8766))


def answer_of(*, question: str = "Who?", title: str = "Chad, Capital") -> Answer:
    passages = (
        Passage("cd:0", title, "name: N'Djamena"),
        Passage("et:0", "Ethiopia, Capital", "name: Addis Ababa"),
    )
    return Answer(
        question=question,
        text="N'Djamena",
        log_prob=-0.4321,
        evidence=(
            Evidence(passages[0], 3.0, 0.6789, 0.1453),
            Evidence(passages[1], 2.0, 0.3211, 0.8547),
        ),
        memory="2026-01",
        tokens=("n'", "##djamena", ""),
        token_posteriors=POSTERIORS,
        token_ids=(7, 8, 2),
    )


def elements(html: str, pattern: str) -> list[str]:
    return re.findall(rf"<{pattern}>(.*?)</", html, re.DOTALL)


def recorded(html: str) -> dict:
    (data,) = elements(html, 'script type="application/json" id="recorded"')
    return json.loads(data)


def test_the_file_has_the_answers_as_json_has_them():
    answers = [answer_of(), replace(answer_of(), memory="2018-12", log_prob=-0.5)]
    rows = json.loads(json.dumps([answer.to_dict() for answer in answers]))
    assert recorded(page_html(answers)) == {"answers": rows, "withouts": [[], []]}


def test_the_answers_that_a_swap_changed_are_recorded_as_positions():
    answers = [answer_of(), replace(answer_of(), memory="2018-12", text="Fort-Lamy")]
    assert recorded(page_html(answers, changed=[(0, 1)]))["changed"] == [[0, 1]]
    assert recorded(page_html(answers, changed=[]))["changed"] == []
    assert "changed" not in recorded(page_html(answers))


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ((0, 3), "positions among 3 answers"),
        ((-1, 0), "positions among 3 answers"),
        ((0, 2), "different questions, 'Who.' and 'Where.'"),
    ],
)
def test_what_is_no_pair_of_answers_to_a_question_is_refused(pair, reason):
    answers = [answer_of(), answer_of(), answer_of(question="Where?")]
    with pytest.raises(QuestionError, match=reason):
        page_html(answers, changed=[pair])
    with pytest.raises(QuestionError, match="there are no answers"):
        page_html([], changed=[])


def test_log_probs_of_tokens_are_recorded_where_they_are_known():
    candidate = Candidate((7, 8, 2), (-0.25, -0.125, -0.5), (1.0,), ((1.0,),) * 3, ((),))
    known = replace(answer_of(), log_prob=-0.875, candidates=(candidate,))
    assert sum(known.token_log_probs) == known.log_prob
    first, second = recorded(page_html([known, answer_of()]))["answers"]
    assert first["token_log_probs"] == [-0.25, -0.125, -0.5]
    assert "token_log_probs" not in second


def test_an_answer_without_passages_is_recorded_without_their_texts():
    answer = answer_of()
    winner = replace(answer, evidence=answer.evidence[1:], numbers=(2,), text="Addis Ababa")
    group = [Without(("cd:0",), -2.0, winner, 3), Without(("et:0",), float("-inf"), None, 3)]
    (rows,) = recorded(page_html([answer], [group]))["withouts"]
    evidence = {
        "passage": {"id": "et:0", "title": "Ethiopia, Capital"},
        "number": 2,
        "posterior": 0.8547,
    }
    assert rows == [
        {
            "passage_ids": ["cd:0"],
            "log_prob": -2.0,
            "winner": {"text": "Addis Ababa", "log_prob": -0.4321, "evidence": [evidence]},
            "candidates": 3,
            "dropped_mass": 0.0,
        },
        {
            "passage_ids": ["et:0"],
            "log_prob": None,
            "winner": None,
            "candidates": 3,
            "dropped_mass": 0.0,
        },
    ]
    with pytest.raises(QuestionError, match="2 answers with 1 lists"):
        page_html([answer, answer], [group])


def test_no_text_ends_the_element_that_it_is_in():
    answer = replace(answer_of(question=EVIL, title=EVIL), text=EVIL, memory=EVIL)
    evidence = replace(answer.evidence[0], passage=Passage(EVIL, EVIL, EVIL, {"url": EVIL}))
    html = page_html([replace(answer, evidence=(evidence, answer.evidence[1]))])
    page = Page(html)
    assert not page.open
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert "img" not in page.names
    assert "onerror" not in page.attributes
    assert recorded(html)["answers"][0]["evidence"][0]["passage"]["text"] == EVIL
    html.encode("utf-8")


def test_the_policy_allows_this_style_and_this_script_alone():
    html = page_html([answer_of()])
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', html)
    directives = dict(each.split(" ", 1) for each in policy.split("; "))
    assert directives["default-src"] == "'none'"
    for name, pattern in (("style-src", "style"), ("script-src", 'script type="module"')):
        (content,) = elements(html, pattern)
        digest = base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
        assert directives[name] == f"'sha256-{digest}'"
    # It is in force before anything that it is about.
    assert html.index("Content-Security-Policy") < html.index("<style>") < html.index("<script")


def test_the_file_loads_nothing():
    page = Page(page_html([answer_of()]))
    assert not page.names & {"link", "img", "iframe", "object", "embed"}
    assert not page.attributes & {"src", "srcset", "srcdoc"}


def test_write_makes_the_folder(tmp_path: Path):
    target = tmp_path / "deep" / "answers.html"
    write_page([answer_of()], target)
    assert target.read_text(encoding="utf-8") == page_html([answer_of()])


def test_modules_are_joined_each_once_after_those_that_it_imports():
    modules = {
        "page.js": 'import { a } from "./a.js";\nimport {\n  b,\n} from "./b.js";\n\na(b);\n',
        "a.js": 'import { b } from "./b.js";\n\nexport function a() { return b; }\n',
        "b.js": "export const b = 1;\nconst export_ = 2;\n",
        "unused.js": "alone();\n",
    }
    joined = joined_script(modules, "page.js")
    parts = ["const b = 1;", "const export_ = 2;", "function a() { return b; }", "a(b);"]
    assert joined.split() == " ".join(parts).split()


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"page.js": 'import { a as b } from "./a.js";\n', "a.js": ""}, "import { a as b }"),
        ({"page.js": 'import a from "./a.js";\n', "a.js": ""}, "page.js: 'import a from"),
        ({"page.js": 'import "./a.js";\n', "a.js": ""}, "cannot be joined"),
        ({"page.js": "export { a };\n"}, "page.js: 'export { a };'"),
        ({"page.js": "export default 1;\n"}, "cannot be joined"),
        (
            {
                "page.js": 'import { a } from "./a.js";\n',
                "a.js": 'import { b } from "./page.js";\n',
            },
            "page.js → a.js → page.js",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused(modules, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        joined_script(modules, "page.js")


def test_each_module_is_part_of_the_script_and_no_two_share_a_name():
    script = joined_script(FILES, "page.js")
    for name, text in MODULES.items():
        assert text.splitlines()[0] in script, name
        # The join needs no module to be longer than a reader wants.
        assert len(text.splitlines()) < 400
    declared = re.findall(
        r"^(?:async )?(?:const|let|class|function\*?) (\w+)", script, re.MULTILINE
    )
    assert len(declared) > 50
    assert sorted(declared) == sorted(set(declared))


def test_what_a_module_imports_is_exported_and_used():
    for name, text in MODULES.items():
        imports = re.findall(r'^import \{([\w\s,]+)\} from "\./(\w+\.js)";', text, re.MULTILINE)
        for names, other in imports:
            for each in re.findall(r"\w+", names):
                exported = rf"^export (?:async )?(?:const|class|function\*?) {each}\b"
                assert re.search(exported, MODULES[other], re.MULTILINE), (name, other, each)
                assert len(re.findall(rf"\b{each}\b", text)) > 1, (name, each)


@pytest.mark.parametrize("name", MODULES)
def test_the_script_makes_no_html_of_strings_and_stores_nothing(name):
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    assert not re.search(sinks, MODULES[name])
    assert "DOMParser" not in MODULES[name]
    assert "createContextualFragment" not in MODULES[name]
    # Tokens are in memory only.
    assert not re.search(r"localStorage|sessionStorage|indexedDB|cookie|caches\.", MODULES[name])


def test_nothing_is_inline_and_nothing_is_elsewhere():
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", INDEX)
    assert re.findall(r"<script[^>]*>", INDEX) == ['<script type="module" src="page/page.js">']
    for text in FILES.values():
        assert not re.search(r"https?://[a-z]|@import|url\(", text.replace(SVG, ""))
    assert not re.search(r"</(?:script|style)|<!--", FILES["page.css"] + "".join(MODULES.values()))


SVG = "http://www.w3.org/2000/svg"


def test_every_id_that_the_script_asks_for_is_in_the_page():
    ids = set(re.findall(r'\bid="([^"]+)"', INDEX))
    asked = {each for text in MODULES.values() for each in re.findall(r'find\("([^"]+)"\)', text)}
    assert asked
    assert asked <= ids
