"""Calibrate the demo's pipeline on training countries, and measure it on held-out ones.

Usage: python benchmarks/calibration.py [--data ../shared/data] [--limit 200] [--risk 0.1]
           [rag.decode=joint …]

The pipeline is the one that `ragcore world demo` writes. Temperature, confidence and threshold are
fitted on questions about countries that the reader was trained on, and measured on questions
about countries that it was not: exact match, calibration error and Brier score of the confidence,
risk and coverage, and how many of the k passages have 99 % and 99.9 % of the prior's mass. Half of
the questions are about leaders, half about other facts; an exact McNemar test says whether
exact match differs. If the question sets are missing, the script says so and stops.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from scipy.stats import binomtest

import ragcore
from ragcore.evaluation.calibrating import calibrate_pipeline, passages_of_mass
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.confidence import at_threshold
from ragcore.evaluation.confidence_fits import brier_score, calibration_error
from ragcore.evaluation.prediction import Prediction
from ragcore.questions import LabelledQuestion

HERE = Path(__file__).resolve().parent
EDITION = "2026-02"
sys.path.insert(0, str(HERE.parent / "examples" / "world"))


def questions(data: Path, limit: int, *, held_out: bool) -> list[LabelledQuestion]:
    """Return questions about leaders and facts, half of each, spread evenly over the countries."""
    from data import is_held_out, read_rows  # the training's own rule

    asked = []
    for kind in ("leaders", "facts"):
        rows = read_rows(data / "factbook" / EDITION / f"{kind}.jsonl.gz")
        of_split = [row for row in rows if is_held_out(row["code"]) is held_out]
        step = max(1, -(-len(of_split) // (limit // 2)))
        asked += [
            LabelledQuestion(row["question"], tuple(row["answers"]), id=row["id"])
            for row in of_split[::step]
        ]
    return asked


def measured(
    pipeline: Path, asked: Sequence[LabelledQuestion], overrides: Sequence[str]
) -> tuple[list[Prediction], list[float]]:
    """Answer the questions; also count the passages that have 99 % and 99.9 % of the prior."""
    with ragcore.load(pipeline, *overrides) as rag:
        report = ragcore.evaluate(rag, asked, make_metrics(["exact_match"]))
        results = rag.search([question.question for question in asked])
    counts = [
        sum(passages_of_mass(result.prior, mass) for result in results) / len(results)
        for mass in (0.99, 0.999)
    ]
    return list(report.predictions), counts


def row(name: str, predictions: Sequence[Prediction], counts: Sequence[float]) -> str:
    right = [bool(each.correct) for each in predictions]
    answered = [each for each in predictions if not each.abstained]
    return (
        f"{name:8} {100 * sum(right) / len(right):6.1f} {calibration_error(answered):7.3f}"
        f" {brier_score(answered):7.3f} {counts[0]:8.2f} {counts[1]:8.2f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--limit", type=int, default=200, help="the most questions of each split")
    parser.add_argument("--risk", type=float, default=0.1)
    parser.add_argument("--json", type=Path, help="write what was fitted here")
    parser.add_argument("overrides", nargs="*", help="such as generator.dtype=int8")
    arguments = parser.parse_args()
    if not (arguments.data / "factbook").is_dir():
        print(f"skipped: no question sets in {arguments.data} (development data)")
        return 0
    train = questions(arguments.data, arguments.limit, held_out=False)
    test = questions(arguments.data, arguments.limit, held_out=True)
    with tempfile.TemporaryDirectory() as scratch:
        pipeline = Path(scratch) / "world.yaml"
        shipped = files("ragcore_world") / "world.yaml"
        pipeline.write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
        ragcore.build_memory(pipeline, version="measured")
        # A temperature that the file has already is fitted again.
        before = [*arguments.overrides, "memory.temperature=1.0"]
        with ragcore.load(pipeline, *before) as rag:
            fitted = calibrate_pipeline(rag, train, risk=arguments.risk)
        if arguments.json:
            arguments.json.write_text(json.dumps(fitted.to_dict(), indent=2), encoding="utf-8")
        print(f"fitted on {len(train)} questions about training countries: {fitted}")
        if fitted.config is None:
            return 1
        # No answer is withheld: the risk of the threshold is computed below.
        numbers = json.dumps({**fitted.settings["rag.confidence"], "threshold": 0.0})
        after = [
            *arguments.overrides,
            f"memory.temperature={fitted.temperature.fitted.temperature}",
            f"rag.confidence={numbers}",
        ]
        print(f"\n{len(test)} questions about held-out countries")
        print(f"{'':8} {'EM %':>6} {'ECE':>7} {'Brier':>7} {'99 %':>8} {'99.9 %':>8}")
        earlier, counts = measured(pipeline, test, before)
        print(row("before", earlier, counts), flush=True)
        later, counts = measured(pipeline, test, after)
        print(row("after", later, counts))
    pairs = list(zip(earlier, later, strict=True))
    won = sum(bool(new.correct) > bool(old.correct) for old, new in pairs)
    lost = sum(bool(new.correct) < bool(old.correct) for old, new in pairs)
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    print(f"right only after: {won}, right only before: {lost}, p = {p:.2f} (exact McNemar)")
    threshold = None if fitted.threshold is None else fitted.threshold.threshold
    risk, coverage = at_threshold(later, threshold)
    shown = "none" if risk is None else f"{risk:.3f}"
    print(f"threshold {threshold}: risk {shown}, coverage {coverage:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
