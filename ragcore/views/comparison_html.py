"""A comparison of two versions as one HTML page, changed answers first.

The page stands alone: no script, no font, no image, nothing fetched. Everything that comes from
questions, answers and passages is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Final

from ragcore.views.comparison import share

if TYPE_CHECKING:
    from ragcore.evaluation.comparison import Cited, Comparison, Pair, Side

__all__ = ["comparison_html"]

# What is right or wrong is said in words too: colour alone tells nothing to some readers.
_STYLE: Final = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1b1f24; --soft: #59636e;
  --line: #d1d9e0; --right: #1a7f37; --wrong: #c62828; --card: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0d1117; --ink: #e6edf3; --soft: #9aa6b2; --line: #30363d;
    --right: #4ac26b; --wrong: #ff8a80; --card: #161b22; } }
body { background: var(--ground); color: var(--ink); margin: 2rem auto; padding: 0 1rem;
  max-width: 72rem; font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .3rem 1rem .3rem 0; vertical-align: top; }
thead th { color: var(--soft); font-weight: 400; border-bottom: 1px solid var(--line); }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
section.pair { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .8rem 1rem; margin: 1rem 0; }
.scroll { overflow-x: auto; }
.answer { font-weight: 600; } .right { color: var(--right); } .wrong { color: var(--wrong); }
.soft { color: var(--soft); font-size: .9rem; }
summary { cursor: pointer; } li { margin: .4rem 0; overflow-wrap: anywhere; }
""".strip()

_VERDICTS: Final = {None: ("", ""), True: (" right", "right"), False: (" wrong", "wrong")}


def comparison_html(found: Comparison) -> str:
    """The page as a string."""
    return "\n".join(_page(found)) + "\n"


def _page(found: Comparison) -> Iterator[str]:
    title = f"{escape(found.old)} and {escape(found.new)} compared"
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<main>"
    yield f"<h1>{title}</h1>"
    yield from _summary(found)
    changed = found.changed
    same = [pair for pair in found.pairs if not pair.changed]
    if changed:
        yield f"<h2>{len(changed)} changed</h2>"
        for pair in changed:
            yield from _pair(found, pair)
    if same:
        yield f"<h2>{len(same)} unchanged</h2>\n<details>\n<summary>Show them</summary>"
        for pair in same:
            yield from _pair(found, pair)
        yield "</details>"
    yield "</main>\n</body>\n</html>"


def _summary(found: Comparison) -> Iterator[str]:
    yield f"<p>{share(len(found.changed), len(found.pairs))} of the answers change.</p>"
    yield '<table>\n<thead><tr><th scope="col">version</th><th scope="col">exact match</th>'
    yield f'<th scope="col">recall@{found.k}</th></tr></thead>\n<tbody>'
    for version, tally in ((found.old, found.old_tally), (found.new, found.new_tally)):
        yield (
            f'<tr><th scope="row">{escape(version)}</th>'
            f"<td>{share(tally.correct, tally.with_answers)}</td>"
            f"<td>{share(tally.recalled, tally.with_gold)}</td></tr>"
        )
    yield "</tbody>\n</table>"


def _pair(found: Comparison, pair: Pair) -> Iterator[str]:
    yield f'<section class="pair">\n<h3>{escape(pair.question)}</h3>\n<div class="scroll">\n<table>'
    heads = ("version", "answer", "log p", "log p of the other", "passage of highest posterior")
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    yield f"<thead><tr>{cells}</tr></thead>\n<tbody>"
    sides = ((found.old, pair.old), (found.new, pair.new))
    for version, side in sides:
        yield f'<tr><th scope="row">{escape(version)}</th>{_cells(side)}</tr>'
    yield "</tbody>\n</table>\n</div>"
    for version, side in sides:
        alone = [one for one in side.passages if one.alone]
        if alone:
            yield (
                f'<details>\n<summary class="soft">{len(alone)} of {len(side.passages)} passages '
                f"only in {escape(version)}</summary>\n<ul>"
            )
            yield from map(_passage, alone)
            yield "</ul>\n</details>"
    yield "</section>"


def _cells(side: Side) -> str:
    verdict, colour = _VERDICTS[side.correct]
    best = side.best
    where = "none: the generator alone"
    if best is not None:
        where = (
            f"{escape(best.title or best.id)} "
            f'<span class="soft">{escape(best.id)} · posterior {best.posterior:.2f}</span>'
        )
    return (
        f'<td><span class="answer {colour}">{escape(side.text) or "(an empty answer)"}</span>'
        f'<span class="soft">{verdict}</span></td>'
        f'<td class="number">{side.log_prob:.3f}</td>'
        f'<td class="number">{side.other_log_prob:.3f}</td><td>{where}</td>'
    )


def _passage(one: Cited) -> str:
    return (
        f'<li><strong>{escape(one.title)}</strong> <span class="soft">{escape(one.id)} · prior '
        f"{one.prior:.2f} · posterior {one.posterior:.2f}</span><br>{escape(one.text)}</li>"
    )
