"""The file with answers in a real browser: it needs no server, and no text in it is believed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlencode

import pytest

pytest.importorskip("playwright.sync_api")
pytest.importorskip("axe_playwright_python", reason="it has the rules of accessibility")

from playwright.sync_api import Browser, Page, expect
from rich.console import Console

from ragcore.answering.ablation import Without
from ragcore.answering.marks import marks_in
from ragcore.types import AbstentionTest, Answer, Candidate, Evidence, Passage, Usage, Vote
from ragcore.views.answer import answer_view
from ragcore.views.page import write_page
from tests.helpers.browser import (
    ENGINES,
    broken_rules,
    focus_without_mark,
    launched,
    overflow,
    watched,
)

pytestmark = ENGINES

EVIL = (
    "</script><img src=x onerror=\"document.title='owned'\"><!--<script>document.title='owned'"
    "</script>"
)
ETHIOPIA = "Who is the prime minister of Ethiopia?"
METADATA = {"path": "ethiopia.md", "line": 7, "span": [100, 153]}


def answer_of(
    question: str, memory: str, text: str, evidence: tuple[Evidence, ...], **fields
) -> Answer:
    tokens = (*re.findall(r"\S+", text), "")
    count = len(evidence)
    posteriors = tuple(
        tuple((i + 1 + z) / (count * (i + 1) + count * (count - 1) / 2) for z in range(count))
        for i in range(len(tokens))
    )
    share = -0.25
    ids = tuple(range(len(tokens)))
    log_probs = (share,) * len(tokens)
    candidate = Candidate(ids, log_probs, (1.0,), posteriors, ((),), text)
    return Answer(
        question,
        text,
        sum(log_probs),
        evidence,
        memory,
        tokens,
        posteriors,
        ids,
        candidates=(candidate,),
        **fields,
    )


ABIY = Passage(
    "et:head", "Ethiopia", "Prime minister:\nABIY Ahmed Ali took office in 2018...", METADATA
)
HAILE = Passage("et:head", "Ethiopia", "Prime minister:\nHAILEMARIAM Desalegn, from 2012")
HOSTILE = Passage(EVIL, EVIL, f"\u202ereversed\u202c {EVIL}", {"uri": "javascript:alert(1)"})
LINKED = Passage("cd", "Chad", "N'Djamena", {"uri": "https://a.example/?a=1&b='2"})

NEW = answer_of(
    ETHIOPIA,
    "2026",
    "ABIY Ahmed Ali",
    (
        Evidence(ABIY, 2.0, 0.75, 0.875, ((16, 30),)),
        Evidence(HOSTILE, 1.0, 0.25, 0.125),
    ),
)
OLD = answer_of(ETHIOPIA, "2018", "HAILEMARIAM Desalegn", (Evidence(HAILE, 2.0, 1.0, 1.0),))
HOSTILE_QUESTION = answer_of(
    EVIL, EVIL, EVIL, (Evidence(HOSTILE, 2.0, 0.5, 0.5), Evidence(LINKED, 1.0, 0.5, 0.5))
)
ALONE = answer_of("Who\ud800 knows?", "2026", "", (), missing_passages=3)
UNSURE = replace(NEW, question="Sure?", confidence=0.25, withheld=True)
DRAWN = replace(
    NEW,
    question="Drawn?",
    rewritten_question=f"Who is it {EVIL}?",
    candidates=(
        replace(NEW.candidates[0], draws=(0, 2, 3)),
        replace(NEW.candidates[0], text=EVIL, draws=(1,)),
        *(replace(NEW.candidates[0], text=f"other {n}", draws=(4 + n,)) for n in range(5)),
    ),
)
VOTED = replace(
    NEW,
    question="Voted?",
    log_prob=None,
    confidence=None,
    tokens=(),
    token_posteriors=(),
    token_ids=(),
    candidates=(),
    evidence=tuple(replace(each, posterior=None) for each in NEW.evidence),
    tier="text",
    votes=(Vote("ABIY Ahmed Ali", 0.75, ("et:head",)), Vote(EVIL, 0.25, (EVIL,))),
    usage=Usage(1, 1234, None),
)
WINNER = replace(NEW, text="the parliament", evidence=NEW.evidence[1:], numbers=(2,))
ANSWERS = [
    NEW,
    OLD,
    HOSTILE_QUESTION,
    ALONE,
    UNSURE,
    replace(NEW, text="ABIY again"),
    DRAWN,
    VOTED,
]
WITHOUTS = [
    [Without(("et:head",), -7.5, WINNER, 4), Without((EVIL,), -0.5, NEW, 4)],
    [],
    [],
    [],
    [],
    [],
    [],
    [],
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("file") / "answers.html"
    write_page(ANSWERS, path, WITHOUTS)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, file: str) -> Iterator[Page]:
    yield from watched(browser, file)


def go(page: Page, file: str, view: str = "ask", **parameters: str) -> None:
    page.goto(f"{file}#/{view}?{urlencode(parameters)}")


def heading(page: Page) -> str:
    return page.locator("h1:visible").inner_text()


def test_the_file_opens_with_its_first_answer_and_shows_its_numbers(page, file):
    page.goto(file)
    assert heading(page) == ETHIOPIA
    assert page.locator("#answer").inner_text() == "ABIY Ahmed Ali"
    facts = page.locator("#answer-facts").inner_text()
    assert facts == "log p(y|x) = −1.000 (p = 0.37) · memory 2026 · 2 passages"
    first = page.locator("#passages > li").first
    assert first.locator(".value").all_inner_texts() == ["0.750", "0.875"]
    assert first.locator("mark").all_inner_texts() == ["ABIY Ahmed Ali"]
    assert "answer at line 8, characters 116–130" in first.locator(".source").inner_text()
    columns = page.locator("#heatmap thead button").all_inner_texts()
    assert columns == ["ABIY", "Ahmed", "Ali", "(end)"]
    cells = page.locator("#heatmap tbody tr").first.locator("td")
    shown = [cell.get_attribute("aria-label").rsplit(": ", 1)[1] for cell in cells.all()]
    assert shown == ["0.750"] + [f"{column[0]:.3f}" for column in NEW.token_posteriors]
    page.locator("#heatmap thead button").nth(1).click()
    assert "log p = −0.250" in page.locator("#distribution").inner_text()


def test_what_only_a_server_can_do_is_not_shown(page, file):
    page.goto(file)
    assert page.locator("form:visible, header nav:visible, .serving:visible").count() == 0
    # The answers' own list of links is there.
    assert page.locator("#contents a").count() == len(ANSWERS) + 1
    go(page, file, "versions")
    assert heading(page) == ETHIOPIA


def test_a_swap_is_shown_first_with_both_answers_and_a_link_to_their_comparison(browser, tmp_path):
    kept = replace(NEW, question="Kept?")
    unknown = replace(OLD, question=EVIL, text=EVIL, log_prob=None, confidence=None, abstains=True)
    answers = [
        NEW,
        kept,
        replace(unknown, memory="2026"),
        OLD,
        replace(kept, memory="2018"),
        unknown,
    ]
    write_page(answers, tmp_path / "swap.html", changed=[(0, 3), (2, 5)])
    for page in watched(browser, (tmp_path / "swap.html").as_uri()):
        page.goto("")
        swap = page.locator("#swap")
        assert swap.locator("h2").inner_text() == "The memory was swapped: 2026 → 2018"
        assert "2 of 3 questions have another answer now." in swap.inner_text()
        first, second = swap.locator("tbody tr").all()
        assert [cell.inner_text().splitlines() for cell in first.locator("td").all()] == [
            ["ABIY Ahmed Ali", "log p = −1.000", "Ethiopia, posterior 0.88"],
            ["HAILEMARIAM Desalegn", "log p = −0.750", "Ethiopia, posterior 1.00"],
        ]
        for cell in second.locator("td").all():
            assert cell.inner_text().splitlines() == [EVIL, "log p not known"]
        first.get_by_role("link").click()
        assert heading(page) == ETHIOPIA
        expect(page.locator("#compare-result")).to_contain_text("different answers")
        assert page.title() != "owned"
        assert broken_rules(page) == []


def unknown_line(answer: Answer) -> str:
    """Return what a terminal shows of p(unknown)."""
    console = Console(width=200, file=io.StringIO())
    console.print(answer_view(answer))
    lines = console.file.getvalue().splitlines()
    return next(line.strip() for line in lines if "p(unknown)" in line)


BROKEN_WORDS = """() => {
  const broken = [];
  const texts = document.createTreeWalker(document.getElementById("swap"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const word of texts.currentNode.data.matchAll(/[^\\s-]+/g)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].map((part) => part.top));
      if (lines.size > 1) broken.push(word[0]);
    }
  }
  return broken;
}"""
"""List the words of the swap that stand on more than one line."""


@pytest.mark.parametrize("width", [1280, 700, 400, 320])
def test_a_swap_is_a_table_of_whole_words_at_any_width(browser, tmp_path, width):
    question = "Who is the chancellor of Germany, and the prime minister of the United Kingdom?"
    answers = [replace(NEW, question=question), replace(OLD, question=question)]
    write_page(answers, tmp_path / "swap.html", changed=[(0, 1)])
    window = {"width": width, "height": 800}
    for page in watched(browser, (tmp_path / "swap.html").as_uri(), viewport=window):
        page.goto("")
        assert page.evaluate(BROKEN_WORDS) == []
        assert overflow(page) == 0
        table = page.locator("#swap-table")
        assert table.evaluate("part => part.scrollWidth - part.clientWidth") == 0
        # As a table, also for those who hear it, where the window is so narrow that it is a grid.
        rows = table.get_by_role("table").get_by_role("row")
        assert [
            [
                rows.nth(row).get_by_role(role).count()
                for role in ("columnheader", "rowheader", "cell")
            ]
            for row in range(rows.count())
        ] == [[3, 0, 0], [0, 1, 2]]
        assert broken_rules(page) == []


@pytest.mark.parametrize(("width", "cut"), [(1280, False), (400, True)])
def test_a_list_that_is_cut_says_that_it_scrolls(browser, tmp_path, width, cut):
    questions = [f"Who is the prime minister of country {number}?" for number in range(8)]
    answers = [replace(each, question=name) for name in questions for each in (NEW, OLD)]
    write_page(answers, tmp_path / "list.html")
    window = {"width": width, "height": 800}
    for page in watched(browser, (tmp_path / "list.html").as_uri(), viewport=window):
        page.goto("")
        hint = page.get_by_text("Scroll the list to see all answers.")
        expect(hint).to_be_visible(visible=cut)
        contents = page.locator("#contents-list")
        hidden = contents.evaluate("part => part.scrollHeight - part.clientHeight")
        assert (hidden > 0) == cut
        assert broken_rules(page) == []
        # A lower window cuts it, too, and a higher one shows it whole.
        page.set_viewport_size({"width": width, "height": 300})
        expect(hint).to_be_visible()
        page.set_viewport_size({"width": 1280, "height": 2000})
        expect(hint).to_be_hidden()


def test_the_probability_of_abstaining_is_that_of_the_terminal(browser, tmp_path):
    unknown = Candidate((4,), (-1.2, -0.1), (1.0,), ((1.0,),), ((),), "unknown")
    test = AbstentionTest("geometric", -2.0, 0.6)
    answers = [replace(NEW, abstention=unknown, abstention_test=test)]
    answers.append(replace(answers[0], question="None?", evidence=(), abstains=True))
    marginal = AbstentionTest("arithmetic", -1.3, 0.075)
    answers.append(replace(answers[1], question="Sure?", abstention_test=marginal))
    write_page(answers, tmp_path / "unknown.html")
    for page in watched(browser, (tmp_path / "unknown.html").as_uri()):
        page.goto("")
        facts = page.locator("#answer-facts")
        expect(facts).to_contain_text(unknown_line(answers[0]))
        expect(facts).to_contain_text("the answer's p is given that a passage answers")
        assert "by the geometric mean 0.14; abstains above 0.6" in facts.inner_text()
        go(page, "", question="None?", version="2026")
        expect(page.locator("#answer-notes")).to_contain_text("No passage was found: the pipeline")
        expect(facts).to_contain_text(unknown_line(answers[1]))
        assert facts.inner_text().count("there is no other answer") == 1
        go(page, "", question="Sure?", version="2026")
        expect(facts).to_contain_text(unknown_line(answers[2]))
        assert "abstains above 0.075" in facts.inner_text()
        assert "given that" not in facts.inner_text()


def test_a_single_answer_needs_no_list(browser, tmp_path):
    write_page([NEW], tmp_path / "one.html")
    for page in watched(browser, (tmp_path / "one.html").as_uri()):
        page.goto("")
        assert heading(page) == ETHIOPIA
        assert page.locator("#contents").is_hidden()
        # Nothing is recorded that could be left out.
        assert page.locator("#passages button").count() == 0


def test_a_file_without_answers_says_so(browser, tmp_path):
    write_page([], tmp_path / "none.html")
    for page in watched(browser, (tmp_path / "none.html").as_uri()):
        page.goto("")
        assert heading(page) == "This file has no answers"


def test_every_view_is_a_link_that_shows_the_same_again(page, file):
    page.goto(file)
    page.locator("#heatmap thead button").first.click()
    page.get_by_role("button", name="Leave out passage 1").click()
    body = page.locator("#without-body")
    expect(body).to_contain_text("goes from −1.000 to −7.500")
    expect(body).to_contain_text("The answer becomes the parliament")
    address = page.url
    parts = ("#without-body", "#distribution", "#passages", "#heatmap", "#answer")
    before = [page.locator(part).inner_text() for part in parts]
    page.goto("about:blank")
    page.goto(address)
    expect(body).to_contain_text("goes from −1.000 to −7.500")
    assert [page.locator(part).inner_text() for part in parts] == before
    # Both are not recorded together: the other one takes its place.
    page.get_by_role("button", name="Leave out passage 2").click()
    expect(body).to_contain_text("goes from −1.000 to −0.500")
    page.get_by_role("button", name="Put back").click()
    expect(page.locator("#without-part")).to_be_hidden()
    page.go_back()
    expect(body).to_contain_text("goes from −1.000 to −0.500")


def test_two_versions_answers_are_compared(page, file):
    page.goto(file)
    page.locator("#contents").get_by_role("link", name="compare").click()
    expect(page.locator("#compare-result .sides .answer")).to_have_text(
        ["ABIY Ahmed Ali", "HAILEMARIAM Desalegn"]
    )
    expect(page.locator("#compare-result li").filter(has_text="text differs")).to_have_count(1)
    page.locator("#compare-result .sides a").nth(1).click()
    expect(page.locator("#answer")).to_have_text("HAILEMARIAM Desalegn")
    expect(page.locator("#contents [aria-current]")).to_have_text(["HAILEMARIAM Desalegn"])


def test_each_answer_is_reached_by_its_link(page, file):
    page.goto(file)
    links = page.locator("#contents a").filter(has_not_text="compare")
    by_question = [NEW, OLD, ANSWERS[5], HOSTILE_QUESTION, ALONE, UNSURE, DRAWN, VOTED]
    assert links.count() == len(by_question)
    for link, answer in zip(links.all(), by_question, strict=True):
        link.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#answer-facts")).to_contain_text(f"memory {answer.memory}")
        expect(page.locator("#answer")).to_have_text(answer.text)
        # An address has no halves of characters.
        question = answer.question.replace("\ud800", "\ufffd")
        expect(page.locator("h1:visible")).to_have_text(question)
        # The focus stays, so that the next answer is one Tab away.
        assert link.evaluate("link => link === document.activeElement")


def test_text_is_text(page, file):
    for view in ("ask", "compare"):
        go(page, file, view, question=EVIL, version=EVIL, a=EVIL, b=EVIL, word="1", without=EVIL)
        assert heading(page) == EVIL
        assert page.locator("img, main script").count() == 0
        assert EVIL in page.locator("main").inner_text()
        assert page.title().startswith(EVIL)
    go(page, file, question=EVIL, version=EVIL)
    links = page.locator("#passages a")
    assert [link.get_attribute("href") for link in links.all()] == ["https://a.example/?a=1&b='2"]


def test_an_address_that_the_file_has_no_answer_for_says_so(page, file):
    go(page, file, question="Never asked?")
    assert "no answer to “Never asked?”" in page.locator("#ask-error").inner_text()
    go(page, file, question=ETHIOPIA, version="1999")
    assert "from version 1999" in page.locator("#ask-error").inner_text()
    go(page, file, "compare", question=ETHIOPIA, a="2026", b="1999")
    assert "from version 1999" in page.locator("#compare-error").inner_text()


def test_what_a_reader_should_know_is_said(page, file):
    go(page, file, question="Who\ufffd knows?", version="2026")
    assert page.locator("#answer-notes").inner_text() == "No passage was found."
    assert page.locator("#heatmap-part").is_hidden()
    go(page, file, question="Sure?", version="2026")
    notes = page.locator("#answer-notes").inner_text()
    assert notes == "Not sure enough to answer (confidence 0.25): the text above is a best guess."
    assert "confidence 0.25" in page.locator("#answer-facts").inner_text()


def test_draws_and_the_question_that_was_read_are_shown(page, file):
    go(page, file, question="Drawn?", version="2026")
    assert page.locator("#answer-notes li").all_inner_texts() == [
        f"Searched for and read as “Who is it {EVIL}?”.",
        f"Of 9 draws: 3 × “ABIY Ahmed Ali”, 1 × “{EVIL}”, 1 × “other 0”, 1 × “other 1”, "
        "1 × “other 2”, and 2 more.",
    ]


def test_votes_and_what_a_server_counted_are_shown_without_a_probability(page, file):
    go(page, file, question="Voted?", version="2026")
    assert page.locator("#answer-facts").inner_text() == (
        "log p not known · memory 2026 · 2 passages · "
        "1 request to the generator’s server, 1,234 tokens read"
    )
    assert page.locator("#answer-notes li").all_inner_texts() == [
        "Votes of passages, by prior: 0.75 for “ABIY Ahmed Ali”.",
        f"Votes of passages, by prior: 0.25 for “{EVIL}”.",
    ]
    assert page.locator("#heatmap-part").is_hidden()
    first = page.locator("#passages > li").first
    assert first.locator(".value").all_inner_texts() == ["0.750"]
    assert page.locator("#passages button:enabled").count() == 0


def test_no_script_but_the_page_s_own_runs(browser, file):
    for page in watched(browser, file, expected="action has been blocked|Refused to connect"):
        page.goto(file)
        refused = page.evaluate(
            """async () => {
              const refused = [];
              addEventListener("securitypolicyviolation", (event) =>
                refused.push(event.effectiveDirective));
              const script = document.createElement("script");
              try {
                script.textContent = "document.title = 'owned'";
              } catch {
                refused.push("text");
              }
              document.head.append(script);
              const style = document.createElement("style");
              style.textContent = "body { display: none }";
              document.head.append(style);
              await fetch("https://a.example/").catch(() => {});
              await new Promise((resolve) => setTimeout(resolve, 0));
              return refused;
            }"""
        )
        assert {"connect-src", "style-src-elem"} <= set(refused)
        assert "text" in refused
        assert page.locator("body").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_file_can_be_read_and_used_by_all(browser, file, scheme, width):
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    for page in watched(browser, file, **options, reduced_motion="reduce"):
        go(page, file, question=ETHIOPIA, version="2026", word="1", without="et:head")
        expect(page.locator("#without-body")).to_contain_text("Its posterior")
        for view in ("ask", "compare"):
            if view == "compare":
                page.locator("#contents").get_by_role("link", name="compare").click()
                expect(page.locator("#compare-result .sides")).to_be_visible()
            assert overflow(page) == 0
            assert broken_rules(page) == []
            assert focus_without_mark(page) == []


def test_the_data_in_the_file_are_the_answers(page, file):
    page.goto(file)
    data = json.loads(page.locator("script#recorded").text_content())
    assert data["answers"] == json.loads(json.dumps([answer.to_dict() for answer in ANSWERS]))


def test_an_answer_from_one_prompt_claims_no_posterior_and_names_citations(browser, tmp_path):
    text = "ABIY Ahmed Ali [1, 7]"
    evidence = tuple(replace(hit, posterior=None, spans=()) for hit in NEW.evidence)
    marks = marks_in(text, ["et:head", EVIL])
    one = replace(
        NEW,
        text=text,
        evidence=evidence,
        token_posteriors=(),
        candidates=(),
        marginalize="none",
        marks=marks,
    )
    winner = replace(one, text="the parliament", evidence=evidence[:1], marks=())
    path = tmp_path / "one.html"
    write_page([one], path, [[Without((EVIL,), -7.5, winner, 4)]])
    for page in watched(browser, path.as_uri()):
        go(page, path.as_uri(), question=ETHIOPIA, version="2026", without=EVIL)
        expect(page.locator("#answer")).to_have_text(text)
        expect(page.locator("#heatmap-part")).to_be_hidden()
        expect(page.locator("#answer-notes")).to_contain_text("No passage has the number [7].")
        expect(page.locator("#passages .badge").first).to_have_text("cited")
        expect(page.locator("#passages")).to_contain_text("prior")
        expect(page.locator("#passages")).not_to_contain_text("posterior")
        expect(page.locator("#without-body")).to_contain_text("the parliament")
        expect(page.locator("#without-body")).not_to_contain_text("posterior")
