"""An experiment's results as one HTML page that opens offline: tables first, then plots.

Knows results and HTML; knows nothing of how they were computed. Everything that comes from
outside, such as names of systems and questions, is escaped. Plots repeat numbers of the tables, or
have a table of their own, so that the page is whole without them.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Final

from ragcore.experiments.method import METHOD
from ragcore.registry.installation import DISTRIBUTION, install_hint
from ragcore.views.experiment_confidence import confidence_sections
from ragcore.views.experiment_plots import (
    cost_section,
    depth_section,
    factor_section,
    question_section,
)
from ragcore.views.experiment_tables import (
    abstaining_table,
    comparison_tables,
    factor_tables,
    figures_table,
    plain,
    systems_table,
)
from ragcore.views.html_page import html_page
from ragcore.views.plots import PLOT_STYLE, can_draw, shortened
from ragcore.views.tables import counted

if TYPE_CHECKING:
    from ragcore.experiments.results import Counters, Results

__all__ = ["experiment_html"]

# Better and worse are written as signs too: some readers cannot tell the colours apart.
_STYLE: Final = (
    """
:root { --right: #1a7f37; --wrong: #c62828; --card: #f6f8fa; --link: #0550ae; }
@media (prefers-color-scheme: dark) {
  :root { --right: #4ac26b; --wrong: #ff8a80; --card: #161b22; --link: #79b8ff; } }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; overflow-wrap: anywhere; font-weight: 600; }
a { color: var(--link); } nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem;
  list-style: none; padding: 0; }
table { border-collapse: collapse; } caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; padding: .3rem 1rem .3rem 0; vertical-align: top; }
tbody th { font-weight: 600; min-width: 8rem; max-width: 24rem; overflow-wrap: anywhere; }
tbody tr { border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 400; border-bottom: 1px solid var(--line);
  vertical-align: bottom; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.question { min-width: 14rem; overflow-wrap: anywhere; }
.right { color: var(--right); } .wrong { color: var(--wrong); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.note { background: var(--card); border-left: 4px solid var(--soft); padding: .5rem .8rem;
  overflow-wrap: anywhere; }
.figures { display: grid; gap: 1rem; margin: 1rem 0; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
figure:has(details[open]) { grid-column: 1 / -1; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .8rem;
  min-width: 0; }
figcaption { font-size: .9rem; margin: .4rem 0; overflow-wrap: anywhere; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1rem; padding: 0;
  margin: .3rem 0; font-size: .9rem; } .legend li { overflow-wrap: anywhere; }
details { margin: .5rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
"""
    + PLOT_STYLE
)


def experiment_html(results: Results) -> str:
    """Return the page as a string; the same results and packages give the same page.

    Without matplotlib it has the tables alone, and says how to get plots.
    """
    systems = counted(len(results.systems), "system")
    questions = counted(_questions(results), "question")
    title = f"{shortened(results.experiment.name, 200)}: {systems}, {questions}"
    return html_page(title, _STYLE, _body(title, results))


def _body(title: str, results: Results) -> Iterator[str]:
    sections = {
        "Results": [*figures_table(results)],
        "Differences from the baseline": [*_differences(results)],
        "Quality against cost": [*cost_section(results)],
        "Question by question": [*question_section(results)],
        "By the number of passages found": [*depth_section(results)],
        "Numeric settings": [*factor_section(results)],
        "Factors": [*factor_tables(results)] if results.factors else [],
        **confidence_sections(results),
        "Abstaining": [*_abstaining(results)],
        "The systems": [*systems_table(results)],
    }
    shown = {heading: lines for heading, lines in sections.items() if lines}
    yield f"<h1>{escape(title)}</h1>"
    yield from _summary(results)
    yield '<nav aria-label="sections">\n<ul>'
    for number, heading in enumerate(shown, 1):
        yield f'<li><a href="#section-{number}">{heading}</a></li>'
    yield "</ul>\n</nav>"
    for number, (heading, lines) in enumerate(shown.items(), 1):
        yield f'<section>\n<h2 id="section-{number}">{heading}</h2>'
        yield from lines
        yield "</section>"


def _summary(results: Results) -> Iterator[str]:
    """Say what was compared, on what, how, and what to doubt."""
    experiment = results.experiment
    questions = _questions(results)
    rows = {
        "systems": f"{len(results.systems)}",
        "baseline": plain(experiment.baseline),
        "questions": f"{questions:,} of {plain(experiment.questions.path)}",
        "metrics": ", ".join(map(plain, results.metrics)),
        "work": _work(results.counters),
    }
    if experiment.dev is not None:
        rows["dev questions"] = plain(experiment.dev.path)
    yield "<dl>"
    for term, description in rows.items():
        yield f"<dt>{term}</dt><dd>{description}</dd>"
    yield "</dl>"
    for warning in results.warnings:
        yield f'<p class="note"><b>Warning:</b> {plain(warning, 1000)}</p>'
    if not can_draw():
        hint = escape(install_hint(DISTRIBUTION, "experiments"))
        yield f'<p class="note">This page has no plots, as matplotlib is not installed: {hint}</p>'


def _questions(results: Results) -> int:
    return max(len(row.run.report.predictions) for row in results.systems)


def _work(counters: Counters) -> str:
    """Say how much was computed, and how much was taken from elsewhere."""
    words = [
        f"{done:,} {noun} ({shared:,} {where})"
        for done, noun, shared, where in (
            (counters.searches, "searches", counters.searches_shared, "shared"),
            (counters.pairs_read, "pairs read", counters.pairs_shared, "shared"),
            (counters.encodings, "encodings", counters.encodings_shared, "from the cache"),
        )
        if done or shared
    ]
    if counters.questions_resumed:
        words.append(f"{counted(counters.questions_resumed, 'question')} of an interrupted run")
    return ", ".join(words) or "none: all runs were there"


def _differences(results: Results) -> Iterator[str]:
    lines = [*comparison_tables(results)]
    if not lines:
        return
    yield (
        f"<p>Each system minus the baseline, {plain(results.experiment.baseline)}, on the "
        "questions that both have. A win is a question on which the system is better.</p>"
    )
    yield "<dl>"
    for term, description in METHOD.items():
        yield f"<dt>{escape(term)}</dt><dd>{escape(description)}</dd>"
    yield "</dl>"
    yield from lines


def _abstaining(results: Results) -> Iterator[str]:
    targets = {row.abstaining.target for row in results.systems if row.abstaining is not None}
    if not targets:
        return
    shares = ", ".join(f"{target:.1%}" for target in sorted(targets))
    yield (
        "<p>Answers whose confidence is below the threshold are withheld. It is the lowest that "
        f"keeps the share of wrong answers on the dev questions at {shares} or less; the test "
        "questions had no part in choosing it. Risk is the share of answers given that are wrong, "
        "coverage the share of questions that are answered.</p>"
    )
    yield from abstaining_table(results)
