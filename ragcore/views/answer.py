"""Show answers in a terminal: the answer, its probability, and the numbered evidence as a table.

Knows answers and `rich`; knows nothing of how answers are found. Texts from questions, answers and
passages are `Text`, never a string in which `rich` would look for markup.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ragcore.views.console import Fitted, Neutral
from ragcore.views.source import citation_line, on_one_line, source_line, span_text
from ragcore.views.tables import figure_text

if TYPE_CHECKING:
    from ragcore.answering.ablation import Without
    from ragcore.types import Answer, Candidate, Vote

__all__ = ["answer_view", "reply_view", "snippet", "sources_view", "without_view"]

_SUPPORT: Final = 0.1
"""A passage of at least this posterior is named as one that the answer rests on."""
_MOST_SUPPORTS: Final = 3
_MOST_DRAWN: Final = 5


def answer_view(answer: Answer) -> RenderableType:
    """Show an answer with its question, log-probability, memory and numbered evidence.

    The evidence is numbered by falling prior.

    Control characters in its texts are made visible in any console.
    """
    head = _head(answer)
    if answer.closed_book:
        return Neutral(head)
    head.append_text(_basis(answer))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("prior", justify="right")
    table.add_column("posterior", justify="right")
    table.add_column("passage", ratio=1, overflow="ellipsis", no_wrap=True)
    for number, z in answer.by_number():
        evidence = answer.evidence[z]
        passage = evidence.passage
        line = Text(on_one_line(passage.title) or on_one_line(passage.id), style="cyan")
        line.append("  " + snippet(passage.text, answer.text), style="default")
        numbers = (f"[{number}]", f"{evidence.prior:.3f}", figure_text(evidence.posterior, 3))
        table.add_row(*numbers, line)
        source = source_line(evidence.source)
        if source is not None:
            table.add_row("", "", "", source, style="dim")
        if evidence.spans:
            occurrences = span_text(evidence.cited_spans, passage.text)
            table.add_row(
                "", "", "", Text(occurrences, no_wrap=False, overflow="fold"), style="dim"
            )
    return Neutral(Group(head, Fitted(table)))


def reply_view(answer: Answer, *, text: bool = True) -> RenderableType:
    """Show an answer in a conversation: without its question, and without a table of its evidence.

    The passages that it rests on are named by number and title.

    Args:
        answer: any.
        text: whether its text is shown; else it goes on where the text was printed already.
    """
    reply = _reply(answer, text=text)
    if not answer.closed_book:
        reply.append_text(_basis(answer, titles=True))
    return Neutral(reply)


def sources_view(answer: Answer) -> RenderableType:
    """Show an answer with its numbered sources, a line each, and how much it rests on each."""
    lines = [_head(answer)]
    for number, z in answer.by_number():
        evidence = answer.evidence[z]
        lines.append(citation_line(evidence.citation(number), evidence.passage.text))
    return Neutral(Group(*lines))


def _head(answer: Answer) -> Text:
    """Show the question, the answer and its probability, and what its reader should know."""
    question = Text(f"{on_one_line(answer.question)}\n", style="bold")
    return Text().append_text(question).append_text(_reply(answer))


def _reply(answer: Answer, *, text: bool = True) -> Text:
    """Show the answer and its probability, and what its reader should know."""
    head = Text()
    if text:
        # A span of a passage may have line breaks, which would break the layout.
        shown = on_one_line(answer.text) or "(an empty answer)"
        head.append("  ")
        if answer.withheld:
            head.append("not sure enough to answer", style="bold yellow")
            head.append(f"\n  best guess: {shown}", style="dim")
        else:
            head.append(shown, style="bold green")
    probabilities = f"{_log_p(answer.log_prob)}{_confidence(answer)}"
    head.append(f"   {probabilities}, memory {answer.memory}", style="dim")
    if answer.rewritten_question is not None:
        head.append(f"\n  asked as: {on_one_line(answer.rewritten_question)}", style="dim")
    if len(answer.samples) > 1:
        head.append(f"\n  {_drawn(answer)}", style="dim")
    if answer.dropped_mass:
        head.append(f"\n  {_bound(answer)}", style="dim")
    for line in (*map(_vote, answer.votes), *_usage(answer)):
        head.append(f"\n  {line}", style="dim")
    if answer.cut:
        head.append("\n  cut at rag.max_new_tokens", style="yellow")
    if answer.missing_passages and not answer.closed_book:
        asked = len(answer.evidence) + answer.missing_passages
        head.append(
            f"\n  only {len(answer.evidence)} of {asked} passages were found, though more are "
            "allowed",
            style="yellow",
        )
    if answer.abstention is not None:
        head.append(f"\n  {_unknown(answer, answer.abstention)}", style="dim")
        if not answer.abstains:
            head.append("\n  the answer's p is given that a passage answers", style="dim")
    for note in answer.filter_notes:
        head.append(f"\n  {note}", style="yellow")
    if answer.closed_book:
        head.append(f"\n  {_no_passage(answer)}", style="yellow")
    return head


def _unknown(answer: Answer, unknown: Candidate) -> str:
    """Show p(unknown|x), what is compared with the bound above which it is the answer, and that."""
    test = answer.abstention_test
    p = math.exp(sum(unknown.token_log_probs))
    shown = f"p({unknown.text or 'abstaining'}) = {p:.2f}"
    if test is not None and test.mean == "geometric":
        shown += f", by the geometric mean {math.exp(test.log_mean):.2f}"
    if test is not None and answer.abstains and not test.is_above:
        shown += "; there is no other answer"
    elif test is not None:
        shown += f"; abstains above {test.above:g}"
    return shown


def _basis(answer: Answer, *, titles: bool = False) -> Text:
    """Show which passages an answer rests on, or names; with `titles`, those that it rests on."""
    basis = Text()
    if not answer.abstains and answer.token_posteriors:
        basis.append(f"\n  rests on {_supports(answer, titles=titles)}", style="dim")
    if answer.marks is not None and not answer.abstains:
        basis.append(f"\n  {_cites(answer)}", style="dim")
    if answer.unknown_marks:
        unknown = ", ".join(f"[{number}]" for number in answer.unknown_marks)
        basis.append(f"\n  no passage has the number {unknown}", style="yellow")
    return basis


def _drawn(answer: Answer) -> str:
    """List the different answers that were drawn, each with how often it was."""
    # The same text may have been drawn as different tokens, or ended by a stop string earlier.
    times: Counter[str] = Counter()
    for candidate in answer.candidates:
        times[candidate.text] += len(candidate.draws)
    shown = [
        f"{count} × {on_one_line(text) or '(an empty answer)'}"
        for text, count in times.most_common(_MOST_DRAWN)
    ]
    more = len(times) - len(shown)
    rest = f", and {more} more" if more else ""
    return f"of {len(answer.samples)} draws: {', '.join(shown)}{rest}"


def _bound(answer: Answer) -> str:
    """Say how much higher p(y|x) may be than what was summed."""
    if answer.log_prob is None:
        return f"its end is in no passage's top tokens: p is at most {answer.dropped_mass:.2g}"
    higher = f"log p is at most {answer.log_prob_gap:.2g} higher"
    if answer.tier == "top":
        return f"only the top tokens of each passage are known: {higher}"
    return f"passages of little weight were dropped: {higher}"


def _vote(vote: Vote) -> str:
    """Show one of the different answers, and the share of the passages that gave it."""
    passages = f"{len(vote.passage_ids)} passage{'s' * (len(vote.passage_ids) != 1)}"
    by = f", {passages}" if vote.passage_ids else ""
    return f"votes {vote.share:.2f}{by}: {on_one_line(vote.text) or '(an empty answer)'}"


def _usage(answer: Answer) -> list[str]:
    """Show what the server counted for the answer; no line for a generator in this process."""
    usage = answer.usage
    if usage is None:
        return []
    counts = [f"{usage.requests} request{'s' * (usage.requests != 1)}"]
    for name, tokens in (("read", usage.prompt_tokens), ("written", usage.completion_tokens)):
        if tokens is not None:
            counts.append(f"{tokens:,} tokens {name}")
    return [f"used {', '.join(counts)}"]


def _no_passage(answer: Answer) -> str:
    """Say that nothing was found, and what the answer is then."""
    # Some were allowed: hardly any other search leaves out all of them.
    by_words = ": a search by words finds those that share a word with the question"
    why = by_words if answer.missing_passages else ""
    # Without a passage a grounded answer is empty.
    alone = "" if answer.abstains or not answer.text else "; the generator answered alone"
    return f"no passage was found{why}{alone}"


def _supports(answer: Answer, *, titles: bool) -> str:
    """Name the passages of largest posterior by their numbers."""
    ranked = sorted(
        (
            (citation.posterior, citation.number, citation.title or citation.passage_id)
            for citation in answer.citations
            if citation.posterior is not None
        ),
        key=lambda support: -support[0],
    )
    supports = [support for support in ranked if support[0] >= _SUPPORT] or ranked[:1]
    return ", ".join(
        f"[{number}]{f' {on_one_line(title)}' if titles else ''} ({share:.2f})"
        for share, number, title in supports[:_MOST_SUPPORTS]
    )


def _cites(answer: Answer) -> str:
    """Name the passages that the text names, by their numbers."""
    number_of = {citation.passage_id: citation.number for citation in answer.citations}
    numbers = [f"[{number_of[evidence.passage.id]}]" for evidence in answer.cited]
    return f"cites {', '.join(numbers) or 'no passage'}"


def without_view(answer: Answer, left_out: Without) -> RenderableType:
    """Show what becomes of an answer when passages are left out."""
    number_of = {citation.passage_id: citation.number for citation in answer.citations}
    names = [
        f"[{number_of[passage_id]}] {on_one_line(passage_id)}"
        for passage_id in left_out.passage_ids
    ]
    lines = Text(f"without {', '.join(names)}\n  ", style="dim")
    lines.append(on_one_line(answer.text) or "(an empty answer)", style="bold")
    lines.append(f"   {_log_p(left_out.log_prob)}, instead of {_log_p(answer.log_prob)}\n  ")
    winner = left_out.winner
    among = f"of the {left_out.candidates} answers that the search reached"
    if winner is None:
        lines.append(f"none {among} could be given", style="yellow")
    elif winner.text == answer.text and winner.tokens == answer.tokens:
        lines.append(f"it would still win, {among}", style="green")
    else:
        lines.append(on_one_line(winner.text) or "(an empty answer)", style="bold yellow")
        lines.append(f" would win, {_log_p(winner.log_prob)}, {among}")
    return lines


def _confidence(answer: Answer) -> str:
    """Return the confidence where it is another number than p, or decided."""
    if answer.confidence is None or answer.log_prob is None:
        return ""
    fitted = not math.isclose(answer.confidence, min(math.exp(answer.log_prob), 1.0))
    return f", confidence {answer.confidence:.2f}" if fitted or answer.withheld else ""


def _log_p(log_prob: float | None) -> str:
    if log_prob is None:
        return "log p not known"
    return f"log p = {log_prob:.3f} (p {_equals(math.exp(log_prob))})"


def _equals(p: float) -> str:
    """Write a probability so that an improbable answer does not look like an impossible one."""
    if p >= 0.005:
        return f"= {p:.2f}"
    return f"= {p:.1g}" if p >= 1e-99 else "< 1e-99"


def snippet(text: str, answer: str, width: int = 80) -> str:
    """Cut about `width` characters out of a passage, around the answer where the text holds it."""
    text, answer = " ".join(text.split()), " ".join(answer.split())
    position = text.casefold().find(answer.casefold()) if answer else -1
    start = max(0, position - (width - len(answer)) // 2) if position > 0 else 0
    start = text.rfind(" ", 0, start) + 1 if start else 0
    cut = text[start : start + width]
    return ("…" if start else "") + cut + ("…" if start + width < len(text) else "")
