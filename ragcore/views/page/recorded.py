"""The page as one file that carries answers: it asks no server, and loads nothing.

Knows the places of the page's HTML where style, script and answers go; knows nothing of how they
are shown. Texts of questions, answers and passages are data in it, never HTML or script, and the
page's policy lets a browser run no script but its own.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ragcore.disk.replacing import write_file
from ragcore.errors import QuestionError
from ragcore.types import Answer
from ragcore.views.output import json_text
from ragcore.views.page.files import joined_script, page_files

if TYPE_CHECKING:
    from ragcore.answering.ablation import Without

__all__ = ["page_html", "write_page"]

_ICON: Final = '<link rel="icon" href="page/icon.svg" type="image/svg+xml">\n'
_STYLE: Final = '<link rel="stylesheet" href="page/page.css">\n'
_SCRIPT: Final = '<script type="module" src="page/page.js"></script>\n'
_VIEWPORT: Final = '<meta name="viewport" '


def write_page(
    answers: Sequence[Answer],
    path: Path,
    withouts: Sequence[Sequence[Without]] = (),
    *,
    changed: Sequence[tuple[int, int]] | None = None,
) -> None:
    """Write answers to one HTML file, which any browser shows without a server or a network.

    It shows what the page of `ragcore serve` shows of them: passages with prior and posterior, the
    passage that each word rests on, and two versions' answers to the same question compared. The
    file's folder is made where it is missing.

    Args:
        answers: of any pipelines and versions, in the order of the list that the file begins with.
        path: the HTML file, overwritten if it exists.
        withouts: for each answer, what `Rag.without` returned for passages that the reader of the
            file can leave out; nothing lets none be left out.
        changed: where the memory was swapped between the answers, the positions among them of each
            two answers to a question that differ, the earlier first. The file then begins with
            these, side by side. None where it was not swapped.

    Raises:
        StoreError: what is at the path is no regular file.
        QuestionError: `withouts` has another length than `answers`, or `changed` has a position
            that is none, or of answers to different questions.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, page_html(answers, withouts, changed=changed))


def page_html(
    answers: Sequence[Answer],
    withouts: Sequence[Sequence[Without]] = (),
    *,
    changed: Sequence[tuple[int, int]] | None = None,
) -> str:
    """Return the file as a string; see `write_page`."""
    sources = {name: content.decode("utf-8") for name, content in page_files().items()}
    style, script = sources["page.css"], joined_script(sources, "page.js")
    groups = withouts or [()] * len(answers)
    if len(groups) != len(answers):
        raise QuestionError(
            f"{len(answers)} answers with {len(groups)} lists of what remains without passages: "
            "give a list for each answer, or none at all"
        )
    recording: dict[str, Any] = {
        "answers": [answer.to_dict() for answer in answers],
        "withouts": [[_without_row(each) for each in group] for group in groups],
    }
    if changed is not None:
        _check_pairs(answers, changed)
        recording["changed"] = [list(pair) for pair in changed]
    # As an escape, no `<` of a text can end the element, or open a comment in it.
    data = json_text(recording).replace("<", r"\u003c")
    return _replaced(
        sources["index.html"],
        {
            _VIEWPORT: f"{_policy(style, script)}\n{_VIEWPORT}",
            _ICON: "",
            _STYLE: f"<style>{style}</style>\n",
            _SCRIPT: (
                f'<script type="application/json" id="recorded">{data}</script>\n'
                f'<script type="module">{script}</script>\n'
            ),
        },
    )


def _check_pairs(answers: Sequence[Answer], changed: Sequence[tuple[int, int]]) -> None:
    """Refuse pairs that are no positions of two answers to one question."""
    if not answers:
        raise QuestionError("changed: there are no answers, between which a memory was swapped")
    for pair in changed:
        if not all(0 <= place < len(answers) for place in pair):
            raise QuestionError(
                f"changed: expected positions among {len(answers)} answers, from 0, found {pair}"
            )
        one, other = (answers[place].question for place in pair)
        if one != other:
            raise QuestionError(
                f"changed: {pair} are answers to different questions, {one!r} and {other!r}"
            )


def _without_row(without: Without) -> dict[str, Any]:
    """Return what the page shows of an answer without some passages: of these, no texts again."""
    row = without.to_dict()
    if (winner := row["winner"]) is not None:
        evidence = [
            {
                "passage": {"id": each["passage"]["id"], "title": each["passage"]["title"]},
                "number": each["number"],
                "posterior": each["posterior"],
            }
            for each in winner["evidence"]
        ]
        row["winner"] = {
            "text": winner["text"],
            "log_prob": winner["log_prob"],
            "evidence": evidence,
        }
    return row


def _policy(style: str, script: str) -> str:
    """Return the policy that allows this style and this script, and nothing else (CSP level 3)."""
    directives = (
        "default-src 'none'",
        f"style-src '{_hash(style)}'",
        f"script-src '{_hash(script)}'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    content = "; ".join(directives)
    return f'<meta http-equiv="Content-Security-Policy" content="{content}">'


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode('utf-8')).digest()).decode('ascii')}"


def _replaced(html: str, replacements: dict[str, str]) -> str:
    """Replace each text, which the HTML has exactly once; what is put in is not looked at again."""
    parts = [html]
    for text, replacement in replacements.items():
        before, separator, after = parts.pop().partition(text)
        if not separator or text in after:
            raise ValueError(f"index.html: {text!r} must be in it once, after the texts before it")
        parts += [before, replacement, after]
    return "".join(parts)
