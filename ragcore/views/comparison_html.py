"""A comparison of two versions as one HTML page, changed answers first.

Knows a comparison and HTML; knows nothing of how the answers were obtained. Everything that comes
from questions, answers, passages and versions' names is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Final

from ragcore.views.comparison import share
from ragcore.views.html_page import html_page
from ragcore.views.tables import figure_text

if TYPE_CHECKING:
    from ragcore.evaluation.comparison import CitedPassage, ComparedQuestion, Comparison, Side

__all__ = ["comparison_html"]

# Right and wrong are written in words too: some readers cannot tell the colours apart.
_STYLE: Final = """
:root { --right: #1a7f37; --wrong: #c62828; --card: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --right: #4ac26b; --wrong: #ff8a80; --card: #161b22; } }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .3rem 1rem .3rem 0; vertical-align: top; }
thead th { color: var(--soft); font-weight: 400; border-bottom: 1px solid var(--line); }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
section.question { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .8rem 1rem; margin: 1rem 0; }
.answer { font-weight: 600; } .right { color: var(--right); } .wrong { color: var(--wrong); }
summary { cursor: pointer; } li { margin: .4rem 0; overflow-wrap: anywhere; }
"""

_VERDICTS: Final = {None: ("", ""), True: (" right", "right"), False: (" wrong", "wrong")}


def comparison_html(comparison: Comparison) -> str:
    """Return the page as a string."""
    title = f"{comparison.old} and {comparison.new} compared"
    return html_page(title, _STYLE, _body(title, comparison))


def _body(title: str, comparison: Comparison) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield from _summary(comparison)
    changed = comparison.changed
    unchanged = [question for question in comparison.pairs if not question.changed]
    if changed:
        yield f"<h2>{len(changed)} changed</h2>"
        for question in changed:
            yield from _question(comparison, question)
    if unchanged:
        yield f"<h2>{len(unchanged)} unchanged</h2>\n<details>\n<summary>Show them</summary>"
        for question in unchanged:
            yield from _question(comparison, question)
        yield "</details>"


def _summary(comparison: Comparison) -> Iterator[str]:
    changed = share(len(comparison.changed), len(comparison.pairs))
    yield f"<p>{changed} of the answers change.</p>"
    yield '<table>\n<thead><tr><th scope="col">version</th><th scope="col">exact match</th>'
    yield f'<th scope="col">hit@{comparison.k}</th></tr></thead>\n<tbody>'
    for version, tally in (
        (comparison.old, comparison.old_tally),
        (comparison.new, comparison.new_tally),
    ):
        yield (
            f'<tr><th scope="row">{escape(version)}</th>'
            f"<td>{share(tally.correct, tally.with_answers)}</td>"
            f"<td>{share(tally.recalled, tally.with_gold)}</td></tr>"
        )
    yield "</tbody>\n</table>"


def _question(comparison: Comparison, compared: ComparedQuestion) -> Iterator[str]:
    yield f'<section class="question">\n<h3>{escape(compared.question)}</h3>'
    yield '<div class="scroll">\n<table>'
    headings = ("version", "answer", "log p", "log p of the other", "passage of highest posterior")
    cells = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    yield f"<thead><tr>{cells}</tr></thead>\n<tbody>"
    sides = ((comparison.old, compared.old), (comparison.new, compared.new))
    for version, side in sides:
        yield f'<tr><th scope="row">{escape(version)}</th>{_cells(side)}</tr>'
    yield "</tbody>\n</table>\n</div>"
    for version, side in sides:
        only_here = [passage for passage in side.passages if passage.alone]
        if only_here:
            yield (
                f'<details>\n<summary class="soft">{len(only_here)} of {len(side.passages)} '
                f"passages only in {escape(version)}</summary>\n<ul>"
            )
            yield from map(_passage, only_here)
            yield "</ul>\n</details>"
    yield "</section>"


def _cells(side: Side) -> str:
    verdict, colour = _VERDICTS[side.correct]
    best = side.best
    source = "none: the generator alone"
    if best is not None:
        posterior = figure_text(best.posterior, 2)
        source = (
            f"{escape(best.title or best.id)} "
            f'<span class="soft">{escape(best.id)} · posterior {posterior}</span>'
        )
    return (
        f'<td><span class="answer {colour}">{escape(side.text) or "(an empty answer)"}</span>'
        f'<span class="soft">{verdict}</span></td>'
        f'<td class="number">{figure_text(side.log_prob, 3)}</td>'
        f'<td class="number">{figure_text(side.other_log_prob, 3)}</td><td>{source}</td>'
    )


def _passage(passage: CitedPassage) -> str:
    return (
        f"<li><strong>{escape(passage.title)}</strong> "
        f'<span class="soft">{escape(passage.id)} · prior {passage.prior:.2f} · '
        f"posterior {figure_text(passage.posterior, 2)}</span><br>{escape(passage.text)}</li>"
    )
