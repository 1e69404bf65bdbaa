"""Test an experiment's page: every number is there, no text is markup, and nothing is fetched."""

from __future__ import annotations

import itertools
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from ragcore.evaluation.confidence import reliability
from ragcore.evaluation.figures import Figure
from ragcore.experiments.method import ALPHA, METHOD
from ragcore.experiments.results import FactorLevel, Results
from ragcore.views.experiment_html import experiment_html
from ragcore.views.experiment_marks import LEGEND
from ragcore.views.plots import MOST_MARKS, Mark, Plot, can_draw, counted_marks, draw, thinned
from ragcore.views.svg import page_svg
from ragcore.views.tables import time_text
from tests.helpers.experiment_results import make_results
from tests.helpers.html_page import Page

EVIL = """$x^{2$ <script>alert("x")</script>' onmouseover='y"""
GRID = [{"system": name, "rag.k": k} for name in ("bm25", "dense") for k in (1, 5)]


def grid_results(**settings: object) -> Results:
    names = [f"{levels['system']}, k={levels['rag.k']}" for levels in GRID]
    return make_results(names, factors=GRID, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def html() -> str:
    return experiment_html(grid_results())


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def captions(html: str) -> list[str]:
    return re.findall("<figcaption>(.*?)</figcaption>", html)


def plots(html: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", html, re.DOTALL)


def test_every_number_of_the_results_is_on_the_page(html: str) -> None:
    results = grid_results()
    cells = Page(html).cells
    for row in results.systems:
        for figure in row.figures.values():
            assert f"{figure.value:.4f}" in html
            assert f"{figure.low:.4f} to {figure.high:.4f}" in html
        for compared in row.comparisons.values():
            assert f"{compared.difference:+.4f}" in cells
            assert f"{compared.low:+.4f} to {compared.high:+.4f}" in cells
            assert f"{compared.p:.3g}" in cells
            assert f"{compared.effect:+.3f}" in cells
        assert time_text(row.run.cost.seconds) in cells
        assert time_text(row.run.cost.cpu_seconds) in cells
        assert f"{row.abstaining.threshold:.4f}" in cells
        for each in reliability(row.run.report.predictions, 10):
            assert each.accuracy is None or f"{each.accuracy:.4f}" in cells
    for row in results.systems[1:]:
        compared = row.comparisons["exact_match"]
        counts = f"better on {compared.wins}, equal on {compared.ties}, worse on {compared.losses}"
        assert f"{counts} of 40 questions" in html
    assert "120 searches (80 shared), 600 pairs read (25 shared)" in html
    assert "7 questions of an interrupted run" in html


def test_significance_is_of_the_corrected_p_and_says_its_direction() -> None:
    results = make_results(["one", "other"], metrics={"ece": "lower", "entropy": "neither"})
    base, other = results.systems
    compared = {
        name: replace(each, difference=-0.1, p=0.001, p_holm=p)
        for (name, each), p in zip(other.comparisons.items(), (0.03, 0.002), strict=True)
    }
    page = experiment_html(replace(results, systems=(base, replace(other, comparisons=compared))))
    assert '<span class="right" title="better than the baseline, p = 0.03">▲</span>' in page
    # A metric of which neither direction is better differs, no more.
    assert ' title="different from the baseline, p = 0.002">◆</span>' in page
    assert ">▼<" not in page
    compared = {name: replace(each, p_holm=0.06) for name, each in compared.items()}
    page = experiment_html(replace(results, systems=(base, replace(other, comparisons=compared))))
    assert "the baseline, p =" not in page


def test_the_page_has_the_method_and_the_marks_of_the_other_outputs(html: str) -> None:
    text = Page(html).text
    for description in (*METHOD.values(), LEGEND):
        assert description in text
    # What is significant is so in the results' own words alone.
    assert text.count(f"{ALPHA:g} by") == 1
    assert "Holm" not in Page(experiment_html(make_results(["only"]))).text


def test_the_title_says_what_is_compared(html: str) -> None:
    assert "<title>capitals: 4 systems, 40 questions</title>" in html
    assert "<h1>capitals: 4 systems, 40 questions</h1>" in html


def labels_of(picture: str) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.fromstring(picture).iter("text")]


@pytest.mark.parametrize(
    ("seconds", "units"),
    [
        ((7.366e-5, 8.1e-5, 1.2e-4), {"µs"}),
        ((7.3e-4, 8.1e-4, 1.2e-3), {"ms"}),
        ((2.1e-5, 3.4e-5, 5.9e-5), {"µs"}),
        # As close as ticks of three digits would be equal.
        ((0.0736610, 0.0736640, 0.0736670), {"ms"}),
        ((7e-5, 0.02, 3.5), {"µs", "ms", "s"}),
        ((2e-6, 0.02, 400.0), {"µs", "ms", "s"}),
        ((0.5, 0.9, 4.0), {"s"}),
        ((0.3, 0.3, 0.3), {"ms"}),
    ],
)
def test_ticks_of_time_are_few_different_and_true(
    seconds: tuple[float, ...], units: set[str]
) -> None:
    logarithmic = max(seconds) > 10 * min(seconds)
    marks = tuple(Mark(each, 0.5) for each in seconds)
    picture = draw(Plot("p", "t", "time", "y", marks=marks, logarithmic=logarithmic, times=True))
    ticks = [label for label in labels_of(picture) if re.fullmatch(r"[\d.,]+ (µs|ms|s)", label)]
    assert 2 <= len(ticks) <= 6
    assert {tick.split()[1] for tick in ticks} <= units
    lengths = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
    times = [float(count) * lengths[unit] for count, unit in map(str.split, ticks)]
    assert times == sorted(set(times))
    # Labels do not touch: 0.62 of the size of the font is the width of a letter.
    places = re.findall(r'<text [^>]*?x="([\d.]+)"', picture)[: len(ticks)]
    widest = max(map(len, ticks)) * 0.62 * 10.5
    gaps = [float(y) - float(x) for x, y in itertools.pairwise(places)]
    assert min(gaps) > widest
    steps = {round((b - a) / (times[1] - times[0]), 3) for a, b in itertools.pairwise(times)}
    assert logarithmic or steps == {1.0}


def test_the_cost_plot_is_in_units_of_time() -> None:
    results = make_results(["a", "b"])
    rows = tuple(
        replace(row, run=replace(row.run, cost=replace(row.run.cost, seconds=seconds)))
        for row, seconds in zip(results.systems, (7.3e-5, 6.9e-5), strict=True)
    )
    labels = labels_of(plots(experiment_html(replace(results, systems=rows)))[0])
    assert sum(label.endswith(" µs") for label in labels) >= 2
    assert "0.0001" not in "".join(labels)


def priced(*points: tuple[float, float]) -> Results:
    results = make_results([f"s{number}" for number in range(len(points))], metrics={"f": "higher"})
    rows = []
    for row, (seconds, value) in zip(results.systems, points, strict=True):
        cost = replace(row.run.cost, seconds=seconds)
        figures = {"f": replace(row.figures["f"], value=value)}
        rows.append(replace(row, run=replace(row.run, cost=cost), figures=figures))
    return replace(results, systems=tuple(rows))


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        (((1, 0.5), (2, 0.4)), "<b>s0</b> is the fastest, and no other is better."),
        (((1, 0.5), (2, 0.5)), "<b>s0</b> is the fastest, and no other is better."),
        (
            ((4, 0.9), (1, 0.2), (2, 0.1), (3, 0.6)),
            "<b>s1</b> is the fastest. Better than every faster one, by rising time: "
            "<b>s3</b>; <b>s0</b>.",
        ),
    ],
)
def test_the_systems_that_are_worth_their_time_are_named(
    points: tuple[tuple[float, float], ...], sentence: str
) -> None:
    (caption,) = (each for each in captions(experiment_html(priced(*points))) if "time" in each)
    assert caption.endswith(sentence)


def test_levels_are_written_as_yaml() -> None:
    index = {"use": "hnsw", "exact": True}
    factors = [{"memory.retriever.index": index, "rag.k": k} for k in (1, 5)]
    levels = [FactorLevel("memory.retriever.index", index, 2, {"exact_match": 0.5})]
    html = experiment_html(make_results(["a", "b"], factors=factors, levels=levels))
    assert '<th scope="row">{use: hnsw, exact: true}</th>' in html
    assert "True" not in html


def test_the_page_is_whole_and_fetches_nothing(html: str) -> None:
    page = Page(html)
    assert not page.open
    assert not page.names & {"script", "link", "img", "image", "iframe", "foreignobject"}
    assert "@import" not in html
    assert "//" not in html
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    references = [attributes["href"] for _, attributes in page.tags if "href" in attributes]
    references += [f"#{name}" for name in re.findall(r"url\(#([^)]*)\)", html)]
    assert html.count("url(") == html.count("url(#")
    assert references
    assert {reference[1:] for reference in references} <= targets
    assert len(targets) == sum("id" in attributes for _, attributes in page.tags)


def test_every_plot_has_a_text_and_a_caption_and_only_colours_of_the_page(html: str) -> None:
    pictures = plots(html)
    # Two metrics by cost, two by rag.k, three systems, four reliabilities and the risks.
    assert len(pictures) == 2 + 2 + 3 + 4 + 1
    assert len(captions(html)) == len(pictures)
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]
        assert not re.search(r"#[0-9a-f]{6}", picture)


def test_the_same_results_give_the_same_page(html: str) -> None:
    assert experiment_html(grid_results()) == html


def test_no_text_is_markup_in_the_page_and_in_the_plots() -> None:
    names = [f"{EVIL} {number}" for number in range(3)]
    factors = [{"rag.k": k, EVIL: number} for number, k in enumerate((1, 5, 10))]
    results = make_results(
        names,
        metrics={EVIL: "higher"},
        factors=[{**each, EVIL: 1} for each in factors],
        question=EVIL + "\x1b\u202e\ufffe\ud800{}",
        answer=EVIL,
        levels=[FactorLevel(EVIL, EVIL, 3, {EVIL: 0.5}, 0.25)],
        warnings=[EVIL],
    )
    html = experiment_html(results)
    page = Page(html)
    assert not page.open
    assert "script" not in page.names
    assert "onmouseover" not in page.attributes
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ufffe\ud800]", html)
    assert plots(html)
    labels = "".join(ElementTree.fromstring(plots(html)[0]).itertext())
    # Not read as a formula: the dollar sign is shown.
    assert "$x^{2$ <script>alert" in labels
    assert f"Warning: {EVIL}" in page.text


def test_without_matplotlib_the_tables_stay(html: str, without_matplotlib: None) -> None:
    assert not can_draw()
    bare = experiment_html(grid_results())
    assert plots(bare) == []
    assert (
        "no plots, as matplotlib is not installed: pip install &#x27;.[experiments]&#x27;" in bare
    )
    assert Page(bare).cells == Page(html).cells
    assert captions(bare) == captions(html)
    assert "matplotlib" not in html


def test_at_most_eight_systems_are_drawn_the_baseline_and_the_best() -> None:
    results = make_results([f"s{number}" for number in range(50)], questions=60)
    html = experiment_html(results)
    values = {row.run.system.name: row.figures["exact_match"].value for row in results.systems}
    others = sorted((name for name in values if name != "s0"), key=lambda n: -values[n])
    shown = re.findall(r"<b>\d+\. (s\d+)</b>", "".join(captions(html)))
    scatter, diagrams = shown[:8], shown[8:]
    assert min(values[name] for name in scatter) >= values[others[8]]
    assert "s0" in diagrams
    assert len(diagrams) == 8
    assert "Shown are 8 of 49 systems: the best in exact_match." in html
    assert "Shown are 8 of 50 systems: the baseline and the best others in exact_match." in html
    # Points have the numbers of the table.
    labels = {"".join(text.itertext()) for text in ElementTree.fromstring(plots(html)[0])}
    assert "s49" not in "".join(labels)
    assert len(html) < 2_000_000


def test_the_questions_that_differ_most_come_first() -> None:
    results = make_results(["one", "other"], questions=100, whole=False)
    html = experiment_html(results)
    table = html.split("The 20 questions that differ most")[1].split("</table>")[0]
    cells = re.findall(r'<td class="number">([\d.]+)</td>', table)
    differences = [abs(float(b) - float(a)) for a, b in zip(cells[::2], cells[1::2], strict=True)]
    base, other = (row.figures["exact_match"].by_question for row in results.systems)
    expected = sorted((abs(y[0] - x[0]) for x, y in zip(base, other, strict=True)), reverse=True)
    assert differences == pytest.approx(expected[:20], abs=2e-4)


def test_what_was_not_measured_is_left_out() -> None:
    results = make_results(["only"], answer=None, costs=False, abstaining=False)
    html = experiment_html(results)
    assert plots(html) == []
    for heading in ("Quality against cost", "Reliability", "Abstaining", "Numeric settings"):
        assert heading not in html
    (row,) = results.systems
    error = "boom <b>"
    failed = Figure("nDCG@10", None, None, None, 0, error, (None,) * 40)
    row = replace(row, figures={**row.figures, "nDCG@10": failed})
    html = experiment_html(replace(results, systems=(row,)))
    assert '<td class="number">failed</td>' in html
    assert "boom &lt;b&gt;" in html


def test_a_measure_of_several_depths_is_drawn_against_them() -> None:
    names = ("hit@1", "hit@5", "nDCG@10", "selective_exact_match@20", "selective_exact_match@40")
    results = make_results(metrics=dict.fromkeys(names, "higher"))
    html = experiment_html(results)
    assert [caption for caption in captions(html) if "against k" in caption] == ["hit@k against k"]
    numbers = html.partition("hit@k by k")[2].partition("</table>")[0]
    for row in results.systems:
        for name in names[:2]:
            assert f"{row.figures[name].value:.4f}" in numbers


def test_a_metric_that_is_no_mean_has_no_scatter() -> None:
    results = make_results(["one", "other"], metrics={"bleu": "higher"})
    rows = []
    for row in results.systems:
        figure = row.figures["bleu"]
        no_mean = replace(figure, by_question=((1.0, 2.0, 3.0),) * 40)
        rows.append(replace(row, figures={"bleu": no_mean}))
    assert "Question by question" not in experiment_html(replace(results, systems=tuple(rows)))


def test_equal_points_are_counted_and_many_points_are_few_marks() -> None:
    assert counted_marks([(0, 1), (0, 1), (1, 1)]) == (Mark(0, 1, count=2), Mark(1, 1, count=1))
    many = [(x / 70, y / 70) for x in range(70) for y in range(70)]
    marks = counted_marks(many)
    assert len(marks) <= MOST_MARKS * 2
    assert sum(mark.count for mark in marks) == len(many)
    for sign in (-1, 0, 1):
        drawn = sum(m.count for m in marks if (m.y > m.x) - (m.y < m.x) == sign)
        assert drawn == sum((y > x) - (y < x) == sign for x, y in many)
    assert len(draw(Plot("p", "t", "x", "y", marks=marks, diagonal=True, counted=True))) < 200_000


def test_a_thinned_line_has_its_ends() -> None:
    marks = [Mark(x, x) for x in range(1000)]
    few = thinned(marks, 10)
    assert len(few) == 10
    assert (few[0], few[-1]) == (marks[0], marks[-1])
    assert thinned(marks[:5], 10) == tuple(marks[:5])


def test_text_that_looks_like_a_colour_or_a_reference_stays() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><defs><path id="a" d="M 0 0"/>'
        '</defs><use href="#a" style="fill: #010201"/><text id="b">url(#a) #010201</text></svg>'
    )
    page = page_svg(svg, "p", '"t"', {"#010201": "var(--ink)"})
    assert '<use href="#p-a" style="fill: var(--ink)" />' in page
    assert "<text>url(#a) #010201</text>" in page
    assert "&quot;t&quot;" in page
