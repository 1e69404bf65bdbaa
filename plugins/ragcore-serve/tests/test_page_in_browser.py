"""The page in a real browser, over a real pipeline: what is shown, and what never happens.

A console message of the browser fails a test: it is a fault of the script, a file that is not
there, or something that the content policy refused. So does a request to another origin.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("axe_playwright_python", reason="it has the rules of accessibility")
pytest.importorskip("ragcore_bm25", reason="the pipeline finds passages by BM25")
pytest.importorskip("ragcore_transformers", reason="the pipeline reads them by a BART")
pytest.importorskip("ragcore_world", reason="the pipeline's reader is that of the World Factbook")

from page_server import (  # noqa: E402
    ABIY,
    ADMIN,
    ATTACK,
    HAILEMARIAM,
    LINK,
    QUESTION,
    USER,
    Running,
    build_pipeline,
)

from tests.helpers.browser import (  # noqa: E402
    ENGINES,
    broken_rules,
    focus_without_mark,
    launched,
    overflow,
    watched,
)

pytestmark = ENGINES


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_pipeline(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def server(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(pipeline, tmp_path_factory.mktemp("tokens"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser, server: Running) -> Iterator:
    yield from watched(browser, server.url)


def written(p: float) -> str:
    """Write a probability as the page and a terminal do, a tiny one by its power of ten."""
    if not 0 < p < 0.0005:
        return f"{p:.3f}"
    digits, _, power = f"{p:.1e}".partition("e-")
    return f"{digits}e−{int(power)}"


def ask(page, **parameters: str) -> None:
    """Open the address of a question, and wait for its answer."""
    page.goto("#/ask?" + urlencode({"question": QUESTION} | parameters))
    wait_for_answer(page)


def wait_for_answer(page) -> None:
    playwright.expect(page.locator("#answer-facts")).to_contain_text("log p(y|x)")


def numbers_of(item) -> list[str]:
    """Return the numbers next to the bars."""
    return item.locator(".value").all_inner_texts()


def test_an_answer_is_shown_with_its_tokens_as_they_come(page):
    page.goto("")
    # Each state of the answer while it grows.
    page.evaluate(
        """() => {
          window.states = [];
          const answer = document.getElementById("answer");
          new MutationObserver(() => window.states.push(answer.textContent))
            .observe(answer, { childList: true });
        }"""
    )
    page.get_by_role("textbox", name="Question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    wait_for_answer(page)
    assert page.locator("#answer").text_content() == "ABIY Ahmed Ali"
    states = [state for state in page.evaluate("window.states") if state]
    assert states == ["ABIY", "ABIY Ahmed", "ABIY Ahmed Ali"]
    assert page.locator("#answer").get_attribute("aria-live") == "polite"
    assert page.locator("#serving").text_content() == "2026"
    assert page.title() == f"{QUESTION} · ragcore"


def test_passages_have_their_numbers_and_the_answer_is_marked_in_them(page, server):
    ask(page)
    (answer,) = server.pipelines.default.rag.answer(QUESTION, decode="joint")
    items = page.locator("#passages > li")
    assert items.count() == 3
    for item, (number, index) in zip(items.all(), answer.by_number(), strict=True):
        evidence = answer.evidence[index]
        assert item.locator("h3").inner_text().startswith(f"[{number}] ")
        values = item.locator(".value").all_inner_texts()
        assert values == [written(evidence.prior), written(evidence.posterior)]
        marks = item.locator("mark").all_inner_texts()
        assert marks == ["ABIY Ahmed Ali"] * len(evidence.spans)
    assert page.locator("#passages mark").count() == 2


def test_a_source_is_linked_only_where_it_is_an_address_of_the_web(page):
    ask(page)
    links = page.locator("#passages a")
    assert links.count() == 1
    assert links.first.get_attribute("href") == LINK
    assert links.first.get_attribute("rel") == "noopener noreferrer"
    sources = " ".join(page.locator("#passages .source").all_inner_texts())
    assert "revision 1234" in sources
    assert "2025-11-30" in sources
    assert "reports/ethiopia.pdf page 3" in sources
    assert "javascript:document.title" in sources


def test_hostile_text_is_text(page):
    question = f"{QUESTION} {ATTACK}"
    ask(page, question=question, word="1", without=ATTACK)
    playwright.expect(page.locator("#without-body")).to_contain_text("goes from")
    page.goto("#/compare?" + urlencode({"question": question, "a": "2015", "b": "2026"}))
    playwright.expect(page.locator("#compare-result .sides")).to_be_visible()
    assert page.locator("main img, main script").count() == 0
    assert ATTACK in page.locator("#compare-result").inner_text()
    assert "owned" not in page.title().replace(ATTACK, "")


def test_a_permalink_shows_the_same_after_a_reload(page):
    ask(page)
    page.locator("#heatmap thead button").first.click()
    page.get_by_role("button", name="Leave out passage 1").click()
    playwright.expect(page.locator("#without-body")).to_contain_text("Its posterior")
    address = page.url
    assert re.search(r"word=1&without=et", address)
    parts = ("#without-body", "#distribution", "#passages", "#heatmap", "#answer")
    before = [page.locator(part).inner_text() for part in parts]
    page.reload()
    wait_for_answer(page)
    playwright.expect(page.locator("#without-body")).to_contain_text("Its posterior")
    assert [page.locator(part).inner_text() for part in parts] == before
    page.go_back()
    playwright.expect(page.locator("#without-part")).to_be_hidden()
    assert page.locator("#answer").inner_text() == "ABIY Ahmed Ali"


def test_the_heatmap_has_words_and_is_moved_through_by_keys(page, server):
    ask(page)
    (answer,) = server.pipelines.default.rag.answer(QUESTION, decode="joint")
    assert answer.tokens[:2] == ("ab", "##iy")
    headings = page.locator("#heatmap thead button").all_inner_texts()
    assert headings == ["ABIY", "Ahmed", "Ali", "(end)"]
    # A word's column is the posterior after its last token.
    first = answer.by_number()[0][1]
    cells = page.locator("#heatmap tbody tr").first.locator("td")
    labels = [cell.get_attribute("aria-label").rsplit(": ", 1)[1] for cell in cells.all()]
    expected = [answer.evidence[first].prior]
    expected += [answer.token_posteriors[last][first] for last in (1, 2, 3, 4)]
    assert labels == [written(p) for p in expected]

    page.locator("#heatmap [tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.locator("#heatmap .readout").inner_text().startswith("[1] ")
    assert "after “Ahmed”" in page.locator("#heatmap .readout").inner_text()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#distribution")).to_contain_text("After “Ahmed”")
    shown = page.locator("#distribution .value").all_inner_texts()
    assert shown[0] == written(max(answer.token_posteriors[2]))
    assert page.evaluate("document.activeElement.textContent") == "Ahmed"


def test_everything_is_done_by_keyboard(page):
    page.goto("")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    wait_for_answer(page)
    for _ in range(20):
        page.keyboard.press("Tab")
        if "Leave out" in page.evaluate("document.activeElement.textContent"):
            break
    page.keyboard.press("Space")
    playwright.expect(page.locator("#without-body")).to_contain_text("Its posterior")
    # The focus stays at the button, which now takes it back.
    assert page.evaluate("document.activeElement.textContent") == "Put back passage 1"


def test_leaving_a_passage_out_says_what_the_engine_says(page, server):
    ask(page, without="et:head")
    playwright.expect(page.locator("#without-body")).to_contain_text("Its posterior")
    rag = server.pipelines.default.rag
    (answer,) = rag.answer(QUESTION, decode="joint")
    without = rag.without(answer, "et:head")
    text = page.locator("#without-body").inner_text().replace("−", "-")
    assert f"goes from {answer.log_prob:.3f} to {without.log_prob:.3f}" in text
    assert without.winner is not None
    assert without.winner.text in text


def test_two_versions_are_compared_with_their_passages(page):
    page.goto("#/compare")
    page.locator("#compare-question").fill(QUESTION)
    page.locator("#compare-form select[name=a]").select_option("2015")
    page.locator("#compare-form select[name=b]").select_option("2026")
    page.get_by_role("button", name="Compare").click()
    sides = page.locator("#compare-result .sides > div")
    playwright.expect(sides).to_have_count(2)
    assert sides.nth(0).locator(".answer").inner_text() == "HAILEMARIAM Desalegn"
    assert sides.nth(1).locator(".answer").inner_text() == "ABIY Ahmed Ali"
    changed = page.locator("#compare-result li").filter(has_text="text differs")
    assert changed.count() == 1
    # What is left without the additions is the older text, and the newer without the removals.
    pieces = changed.locator(".diff").evaluate(
        """node => [...node.childNodes].map((child) => [child.nodeName.toLowerCase(),
             [...child.childNodes].filter((part) => part.className !== "unseen")
               .map((part) => part.textContent).join("") || child.textContent])"""
    )
    assert "".join(text for kind, text in pieces if kind != "ins") == HAILEMARIAM["text"]
    assert "".join(text for kind, text in pieces if kind != "del") == ABIY["text"]
    assert page.locator("#compare-result li").filter(has_text="read in 2026 only").count() == 1
    page.reload()
    playwright.expect(sides).to_have_count(2)


def test_a_version_is_activated_and_rolled_back_by_the_admin_token(browser, server):
    # The browser reports the refusal of the token, which is what this test begins with.
    for page in watched(browser, server.url, expected=r"403 \(Forbidden\)"):
        page.goto("#/versions")
        row = page.locator(".versions tbody tr").filter(has_text="2015")
        row.get_by_role("button", name="Activate").click()
        page.get_by_role("button", name="No").click()
        row.get_by_role("button", name="Activate").click()
        page.get_by_role("button", name="Yes").click()
        playwright.expect(page.locator("#versions-error")).to_contain_text("admin token")
        assert server.pipelines.default.rag.memory.version == "2026"
        page.locator("#admin-token").fill(ADMIN)
        page.get_by_role("button", name="Use the token").last.click()
        row.get_by_role("button", name="Activate").click()
        page.get_by_role("button", name="Yes").click()
        playwright.expect(row).to_contain_text("served")
        assert server.pipelines.default.rag.memory.version == "2015"
        assert page.locator("#serving").inner_text() == "2015"
        page.get_by_role("button", name="Roll back").click()
        page.get_by_role("button", name="Yes").click()
        playwright.expect(page.locator("#serving")).to_have_text("2026")
        assert server.pipelines.default.rag.memory.version == "2026"
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [
            0,
            0,
            "",
        ]


def test_a_server_with_tokens_asks_for_one(browser, pipeline, tmp_path):
    server = Running(pipeline, tmp_path, user=USER)
    try:
        for page in watched(browser, server.url, expected=r"401 \(Unauthorized\)"):
            page.goto("#/ask?" + urlencode({"question": QUESTION}))
            playwright.expect(page.locator("#ask-error")).to_contain_text("token")
            page.locator("#token").fill(USER)
            page.keyboard.press("Enter")
            wait_for_answer(page)
            assert page.locator("#token-form").is_hidden()
            assert page.locator("#answer").inner_text() == "ABIY Ahmed Ali"
            assert USER not in page.content()
    finally:
        server.close()


def test_errors_of_the_server_are_shown(browser, server):
    for page in watched(browser, server.url, expected="the server responded with a status of 4"):
        page.goto("#/ask?" + urlencode({"question": QUESTION, "version": "1999"}))
        playwright.expect(page.locator("#ask-error")).to_contain_text("UnknownVersionError")
        page.goto("#/ask?" + urlencode({"question": QUESTION, "where": "{country"}))
        playwright.expect(page.locator("#ask-error")).to_contain_text("no JSON")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(browser, server, scheme, width):
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    for page in watched(browser, server.url, **options):
        ask(page, word="1", without="et:head")
        playwright.expect(page.locator("#without-body")).to_contain_text("Its posterior")
        assert overflow(page) == 0
        page.goto("#/compare?" + urlencode({"question": QUESTION, "a": "2015", "b": "2026"}))
        playwright.expect(page.locator("#compare-result .sides")).to_be_visible()
        assert overflow(page) == 0
        page.goto("#/versions")
        playwright.expect(page.locator(".versions")).to_be_visible()
        assert overflow(page) == 0
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_can_be_read_and_used_by_all(browser, server, scheme):
    for page in watched(browser, server.url, color_scheme=scheme, reduced_motion="reduce"):
        ask(page, word="1", without="et:head")
        playwright.expect(page.locator("#without-body")).to_contain_text("Its posterior")
        page.locator("#settings summary").click()
        assert broken_rules(page) == []
        assert focus_without_mark(page) == []
        page.goto("#/compare?" + urlencode({"question": QUESTION, "a": "2015", "b": "2026"}))
        playwright.expect(page.locator("#compare-result .sides")).to_be_visible()
        assert broken_rules(page) == []
        assert focus_without_mark(page) == []
        page.goto("#/versions")
        playwright.expect(page.locator(".versions")).to_be_visible()
        assert broken_rules(page) == []
        assert focus_without_mark(page) == []
        page.get_by_role("button", name="Activate").click()
        assert broken_rules(page, ["color-contrast", "button-name"]) == []


@pytest.mark.parametrize(
    ("text", "pieces", "words"),
    [
        ("ABIY Ahmed Ali", ["ab", "##iy", "ahmed", "ali", ""], ["ABIY", "Ahmed", "Ali", "(end)"]),
        ("N'Djamena", ["n", "'", "dj", "##amena", ""], ["N'Djamena", "(end)"]),
        ("São Tomé", ["sao", "tom", "##e", ""], ["São", "Tomé", "(end)"]),
        ("New York", [" New", " Y", "ork", ""], ["New", "York", "(end)"]),
        # SentencePiece: the text of a token alone has no space.
        ("New York", ["New", "Yor", "k", ""], ["New", "York", "(end)"]),
        ("in New York", ["in", " New York", ""], ["in", "New York", "(end)"]),
        # A character in two tokens has a text only with the last.
        ("a 🦒", ["a", " ", "🦒", ""], ["a", "🦒", "(end)"]),
        ("", [""], ["(end)"]),
        ("New", ["", "New", "", ""], ["New", "(end)"]),
        ("other", ["words", ""], None),
    ],
)
def test_tokens_are_grouped_to_words(page, text, pieces, words):
    page.goto("")
    found = page.evaluate(
        """async ([text, pieces]) => (await import("./page/words.js")).wordsOf(text, pieces)""",
        [text, pieces],
    )
    if words is None:
        assert not found
        return
    assert [word["text"] for word in found] == words
    # Each token is in exactly one word, in order.
    covered = [i for word in found for i in range(word["first"], word["last"] + 1)]
    assert covered == list(range(len(pieces)))


def test_a_stream_is_read_the_same_however_it_is_cut(page):
    page.goto("")
    stream = (
        ': a comment\r\n\r\nevent: token\r\ndata: {"text": "é🦒"}\r\n\r\n'
        'event:answer\ndata: {"a":\ndata: 1}\n\nevent: empty\n\ndata: 2\r\revent: cut\ndata: 3'
    )
    events = page.evaluate(
        """async (stream) => {
          const { serverEvents } = await import("./page/requests.js");
          const bytes = new TextEncoder().encode(stream);
          const all = new Set();
          for (let cut = 0; cut <= bytes.length; cut += 1) {
            const body = new ReadableStream({ start(controller) {
              for (const part of [bytes.slice(0, cut), bytes.slice(cut)]) controller.enqueue(part);
              controller.close();
            } });
            const events = [];
            for await (const event of serverEvents(new Response(body))) events.push(event);
            all.add(JSON.stringify(events));
          }
          return [...all];
        }""",
        stream,
    )
    assert len(events) == 1
    assert json.loads(events[0]) == [
        {"name": "token", "data": {"text": "é🦒"}},
        {"name": "answer", "data": {"a": 1}},
        {"name": "message", "data": 2},
    ]


# What the page shows when it is stopped: nothing yet, or an answer's first words.
@pytest.mark.parametrize(
    "shown",
    [".hidden === false", ".hidden === false && answer.textContent"],
    ids=["waiting", "answering"],
)
def test_a_question_that_is_stopped_can_be_asked_again(browser, server, shown):
    # The browser reports a fetch that was aborted nowhere; the page says that it stopped.
    for page in watched(browser, server.url):
        page.goto("")
        page.get_by_role("textbox", name="Question").fill(QUESTION)
        # So slow that the words of an answer arrive one after the other.
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")
        slow = {"offline": False, "latency": 0, "downloadThroughput": 1_000, "uploadThroughput": -1}
        network.send("Network.emulateNetworkConditions", slow)
        page.evaluate(
            f"""() => {{
                 const stop = document.getElementById("stop");
                 const answer = document.getElementById("answer");
                 const observer = new MutationObserver(() => {{
                   if (!window.stoppedAt && stop{shown}) {{
                     window.stoppedAt = "after: " + answer.textContent;
                     stop.click();
                   }}
                 }});
                 observer.observe(stop, {{ attributes: true }});
                 observer.observe(answer, {{ childList: true }});
               }}"""
        )
        page.get_by_role("button", name="Ask", exact=True).click()
        playwright.expect(page.locator("#ask-status")).to_have_text("Stopped.")
        words = page.evaluate("window.stoppedAt").removeprefix("after: ")
        assert len(words) < len("ABIY Ahmed Ali")
        assert bool(words) == ("textContent" in shown)
        assert page.locator("#stop").is_hidden()
        network.send("Network.emulateNetworkConditions", slow | {"downloadThroughput": -1})
        page.get_by_role("button", name="Ask", exact=True).click()
        wait_for_answer(page)
        assert page.locator("#answer").inner_text() == "ABIY Ahmed Ali"
