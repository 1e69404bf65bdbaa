"""One answer as a picture: which passage each token rests on (the paper's figure 2), as HTML.

Knows an answer and HTML; knows nothing of how the answer was found. The picture is a table first,
so that the numbers can be read, copied and spoken by a screen reader; the colours repeat them.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Final

from ragcore.disk.replacing import write_file
from ragcore.types import Answer, Evidence
from ragcore.views.page import html_page
from ragcore.views.source import source_parts, span_text
from ragcore.views.tables import figure_text

__all__ = ["heatmap_html", "write_heatmap"]

# The ink keeps a contrast of at least 4.5 on every colour between --cool and --heat.
_STYLE: Final = """
:root { --heat: #4a98e0; --cool: #f3f6f9; }
@media (prefers-color-scheme: dark) {
  :root { --heat: #1f66c8; --cool: #161b22; } }
h1 { font-size: 1.3rem; margin: 0; }
.answer { font-size: 1.6rem; margin: .3rem 0; }
table { border-collapse: separate; border-spacing: 2px; margin: 1.5rem 0 .5rem; }
caption { text-align: left; padding-bottom: .5rem; }
th { font-weight: 600; padding: .3rem .6rem; text-align: left; }
thead th { vertical-align: bottom; text-align: center; font-family: ui-monospace, monospace; }
td { min-width: 3.6rem; padding: .5rem .4rem; text-align: center; border-radius: 3px;
  font-variant-numeric: tabular-nums;
  background: color-mix(in srgb, var(--heat) calc(var(--p) * 100%), var(--cool)); }
td.prior { outline: 1px solid var(--line); }
.legend { display: flex; align-items: center; gap: .6rem; }
.ramp { width: 12rem; height: .8rem; border-radius: 3px; border: 1px solid var(--line);
  background: linear-gradient(to right, var(--cool), var(--heat)); }
li { margin: .8rem 0; }
"""


def write_heatmap(answer: Answer, path: Path) -> None:
    """Write the page of one answer to a file, and make the file's folder where it is missing.

    Args:
        answer: of a RAG-Token pipeline; of RAG-Sequence the columns show the posterior after each
            prefix.
        path: the HTML file, overwritten if it exists.

    Raises:
        StoreError: what is at the path is no regular file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, heatmap_html(answer))


def heatmap_html(answer: Answer) -> str:
    """Return the page as a string; everything that comes from the answer is escaped."""
    return html_page(f"{answer.question} {answer.text}", _STYLE, _body(answer))


def _body(answer: Answer) -> Iterator[str]:
    yield f'<h1>{escape(answer.question)}</h1>\n<p class="answer">{escape(answer.text)}</p>'
    yield (
        f'<p class="soft">log p(y|x) = {figure_text(answer.log_prob, 4)} · '
        f"memory {escape(answer.memory)} · {len(answer.evidence)} passages</p>"
    )
    if answer.withheld:
        yield (
            f"<p>Not sure enough to answer (confidence {answer.confidence:.2f}): the text above is "
            "a best guess.</p>"
        )
    for note in answer.filter_notes:
        yield f"<p>{escape(note)}</p>"
    if answer.evidence:
        if answer.token_posteriors:
            yield from _table(answer)
            yield from _legend()
        else:
            yield from _votes(answer)
        yield from _passages(answer)
    else:
        alone = "" if answer.abstains or not answer.text else ": the generator answered alone"
        yield f"<p>No passage was found{alone}.</p>"


def _table(answer: Answer) -> Iterator[str]:
    yield '<div class="scroll">\n<table>'
    yield (
        "<caption>How much each token of the answer rests on each passage: the posterior "
        "p(z | x, y<sub>1…i</sub>) of the passage once the token is decoded. Columns sum to 1."
        "</caption>"
    )
    yield '<thead>\n<tr>\n<th scope="col">passage</th>\n<th scope="col">prior</th>'
    names = [_token_name(token) for token in answer.tokens]
    for name in names:
        yield f'<th scope="col">{escape(name)}</th>'
    yield "</tr>\n</thead>\n<tbody>"
    for number, index in answer.by_number():
        evidence = answer.evidence[index]
        title = evidence.passage.title
        yield f'<tr>\n<th scope="row">[{number}] {escape(title)}</th>'
        yield _cell(evidence.prior, f"{title}, before any token: prior", "prior")
        for name, posterior in zip(names, answer.token_posteriors, strict=True):
            yield _cell(posterior[index], f"{title}, after {name}: posterior", "posterior")
        yield "</tr>"
    yield "</tbody>\n</table>\n</div>"


def _votes(answer: Answer) -> Iterator[str]:
    """Show the different answers, where no token is known to rest on a passage."""
    yield (
        "<p>The generator gives texts alone: no probability is known, and each passage's answer is "
        "a vote, weighted by its prior.</p>\n<table>\n<thead>\n<tr>"
        '<th scope="col">answer</th><th scope="col">share</th></tr>\n</thead>\n<tbody>'
    )
    for vote in answer.votes:
        text = vote.text or "(an empty answer)"
        label = f"{text}: share of the passages' prior"
        yield f'<tr>\n<th scope="row">{escape(text)}</th>{_cell(vote.share, label, "share")}</tr>'
    yield "</tbody>\n</table>"


def _cell(probability: float, label: str, kind: str) -> str:
    title = f"{escape(label)} {probability:.4f}"
    return (
        f'<td class="{kind}" style="--p:{probability:.4f}" title="{title}">{probability:.2f}</td>'
    )


def _token_name(token: str) -> str:
    """Name a token for its heading; the one that ends the answer has no text."""
    return token.strip() or "(end)"


def _legend() -> Iterator[str]:
    yield (
        '<p class="legend soft"><span>0</span><span class="ramp" role="img" '
        'aria-label="colour scale from 0 to 1"></span><span>1</span></p>'
    )


def _passages(answer: Answer) -> Iterator[str]:
    yield "<h2>The passages</h2>\n<ul>"
    for number, index in answer.by_number():
        item = answer.evidence[index]
        posterior = figure_text(item.posterior, 4)
        yield (
            f"<li>[{number}] <strong>{escape(item.passage.title)}</strong> "
            f'<span class="soft">prior {item.prior:.4f} · posterior {posterior} · '
            f"{escape(item.passage.id)}</span><br>{escape(item.passage.text)}"
            f"{_source(item)}</li>"
        )
    yield "</ul>"


def _source(evidence: Evidence) -> str:
    """Say where a passage comes from; only an address of the web becomes a link."""
    source = evidence.source
    parts = [escape(part) for part in source_parts(source)]
    # The address is the last part, and none where it had to be cut.
    if source.link is not None and parts[-1] == escape(source.link):
        parts[-1] = f'<a href="{escape(source.link)}" rel="noreferrer">{parts[-1]}</a>'
    if evidence.spans:
        parts.append(escape(span_text(evidence.cited_spans, evidence.passage.text)))
    return f'<br><span class="soft">{" · ".join(parts)}</span>' if parts else ""
