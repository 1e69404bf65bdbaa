"""Write an experiment's results as JSON, CSV and LaTeX, all three whole or none.

results.json    all of it but single questions, which are in the runs' folders
results.csv     a row a system and metric
results.tex     a table for a paper, with booktabs

Knows results; knows nothing of how they are computed. Names in them are anyone's: in LaTeX all are
escaped.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from pathlib import Path
from typing import Any, Final

from ragcore.disk.replacing import replacing
from ragcore.experiments.levels import level_text
from ragcore.experiments.method import ALPHA, TEST
from ragcore.experiments.results import Results, SystemResult

__all__ = ["CSV", "JSON", "LATEX", "latex_text", "results_csv", "results_latex", "write_results"]

JSON: Final = "results.json"
CSV: Final = "results.csv"
LATEX: Final = "results.tex"

_FIGURE: Final = ("value", "low", "high", "questions", "error")
_COMPARISON: Final = (
    *("difference", "difference_low", "difference_high", "p", "p_holm", "effect"),
    *("wins", "ties", "losses", "compared_questions"),
)
_COST: Final = ("seconds", "cpu_seconds", "peak_bytes")
_ABSTAINING: Final = ("threshold", "risk", "coverage")

_ESCAPES: Final = {
    **{character: f"\\{character}" for character in "{}$&#_%"},
    "\\": "\\textbackslash{}",
    "^": "\\textasciicircum{}",
    "~": "\\textasciitilde{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "`": "\\textasciigrave{}",
    # A command of its own in some languages.
    '"': "\\char34{}",
    # After the end of a row they would be its options.
    "[": "{[}",
    "*": "{*}",
}
_FORMULA: Final = re.compile("^(?=[\t\r\n])|(^|[;\t\r\n])(?= *[=+\\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a formula begins for a spreadsheet: at the beginning of a cell, also after white space that
it drops, and in full width; or after what another language's spreadsheet takes for a separator."""
_LIGATURE: Final = re.compile(r"([-,'])(?=\1)")
"""Two of these would become a dash or a quotation mark."""


def write_results(results: Results, folder: Path) -> None:
    """Write results.json, results.csv and results.tex into a folder; replaces files there.

    Whose these are is checked before anything is computed (output.py).

    Args:
        results: the table.
        folder: made where it is missing.

    Raises:
        StoreError: what is at one of the paths is no regular file; then all stay as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = json.dumps(results.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A lone surrogate, as of a name that is no UTF-8, is written as JSON's escape.
    texts = [
        text.encode("utf-8", "backslashreplace")
        for text in (table, results_csv(results), results_latex(results))
    ]
    # The one that says whose the others are is opened last, and so is in its place first.
    with (
        replacing(folder / LATEX) as latex_file,
        replacing(folder / CSV) as csv_file,
        replacing(folder / JSON) as json_file,
    ):
        for file, text in zip((json_file, csv_file, latex_file), texts, strict=True):
            file.write(text)


def results_csv(results: Results) -> str:
    """Return a row for each system and metric; numbers as Python writes them, empty for none.

    Columns of factors begin with `factor:`; cost and threshold are of the system, and repeated for
    each metric.

    Spreadsheets take a cell that begins with =, +, - or @ for a formula, also where it is quoted.
    A text that begins so, with a tab or with a line break has an apostrophe in front, as OWASP
    advises ("CSV Injection"); numbers have none. So has such a character within a text after a
    semicolon, a tab or a line break, which begins a cell where these are the separators.
    """
    factors = list(dict.fromkeys(key for row in results.systems for key in row.run.system.factors))
    file = io.StringIO(newline="")
    # All texts are quoted: else a carriage return in one would end the row for some readers.
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(
        [
            *("system", "baseline", "metric"),
            *_FIGURE,
            *_COMPARISON,
            *_COST,
            *_ABSTAINING,
            *(f"factor:{factor}" for factor in factors),
            "folder",
        ]
    )
    for row in results.systems:
        levels = row.run.system.factors
        for metric in results.metrics:
            cells = [
                row.run.system.name,
                "yes" if row is results.baseline else "no",
                metric,
                *_attributes(row.figures[metric], _FIGURE),
                *_comparison(row, metric),
                *_attributes(row.run.cost, _COST),
                *_attributes(row.abstaining, _ABSTAINING),
                *(_level(levels[factor]) if factor in levels else None for factor in factors),
                str(row.run.folder),
            ]
            writer.writerow([_csv_cell(cell) for cell in cells])
    return file.getvalue()


def results_latex(results: Results) -> str:
    """Return a table environment: a row a system, a column a metric, the best of each in bold.

    It needs the package booktabs. A dagger marks a figure that differs significantly from the
    baseline's.
    """
    best = {metric: _best(results, metric) for metric in results.metrics}
    lines = [
        "% Needs \\usepackage{booktabs}.",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_caption(results)}}}",
        f"\\begin{{tabular}}{{l{'r' * len(results.metrics)}}}",
        "\\toprule",
        _latex_row("System", *map(latex_text, results.metrics)),
        "\\midrule",
    ]
    for row in results.systems:
        cells = (_latex_cell(row, metric, best[metric]) for metric in results.metrics)
        lines.append(_latex_row(latex_text(row.run.system.name), *cells))
    lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """Escape a text for LaTeX, so that no character in it is a command; on one line.

    Control characters, marks of direction and lone surrogates become question marks.
    """
    shown = "".join(
        "?" if unicodedata.category(character)[0] == "C" else character
        for character in " ".join(text.split())
    )
    escaped = "".join(_ESCAPES.get(character, character) for character in shown)
    return _LIGATURE.sub(r"\1{}", escaped)


def _level(level: Any) -> Any:
    """Return a number as it is, any other value as YAML writes it."""
    number = isinstance(level, int | float) and not isinstance(level, bool)
    return level if number else level_text(level)


def _csv_cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula."""
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value


def _attributes(value: object | None, names: tuple[str, ...]) -> list[Any]:
    """Return attributes of a value; as many Nones where there is no value."""
    return [None if value is None else getattr(value, name) for name in names]


def _comparison(row: SystemResult, metric: str) -> list[Any]:
    names = ("difference", "low", "high", "p", "p_holm", "effect", "wins", "ties", "losses")
    return _attributes(row.comparisons.get(metric), (*names, "questions"))


def _caption(results: Results) -> str:
    questions = max(len(row.run.report.predictions) for row in results.systems)
    caption = (
        f"{latex_text(results.experiment.name)}: {questions:,} questions. The best figure of each "
        "metric is bold."
    )
    if len(results.systems) == 1:
        return caption
    baseline = latex_text(results.experiment.baseline)
    return (
        f"{caption} $^{{\\dagger}}$ differs from {baseline} ({TEST}; Holm's correction over the "
        f"systems of a metric; $p < {ALPHA:g}$)."
    )


def _best(results: Results, metric: str) -> str | None:
    """Return the best figure as it is shown, so that all that look equal are bold."""
    values = [row.figures[metric].value for row in results.systems]
    known = [value for value in values if value is not None]
    if not known or results.better[metric] == "neither":
        return None
    return _number(max(known) if results.better[metric] == "higher" else min(known))


def _latex_cell(row: SystemResult, metric: str, best: str | None) -> str:
    value = row.figures[metric].value
    if value is None:
        return "--"
    number = _number(value)
    cell = f"\\textbf{{{number}}}" if number == best else number
    comparison = row.comparisons.get(metric)
    return f"{cell}$^{{\\dagger}}$" if comparison is not None and comparison.significant else cell


def _latex_row(*cells: str) -> str:
    return " & ".join(cells) + " \\\\"


def _number(value: float) -> str:
    # No sign where it rounds to zero; a hyphen would be too short for a minus.
    number = f"{value:.4f}"
    return f"$-${number[1:]}" if float(number) < 0 else number.lstrip("-")
