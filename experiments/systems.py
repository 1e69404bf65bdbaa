"""Compare closed book, BM25, frozen and learned retrieval (paper, tables 1 and 6).

python systems.py [--settings factbook openqa] [--limit 1000] [--seeds 0 1 2] [--systems BM25 …]

What is in HEADLINE is trained once for each of `--seeds`, all else once. Figures of several seeds
are means over them: an interval is of drawn questions, and the seeds' own figures follow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from lab import MODELS, SYSTEMS, Model, Result, System, answered, options, table

from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.resampling import intervals

TESTS = {"factbook": ("test",), "openqa": ("nq", "triviaqa", "squad")}
METRIC = "exact_match"
HEADLINE = ("factbook", "sequence")
"""The setting and model with several seeds, and the only ones with which the reader is trained
too, because it takes long."""


def main() -> None:
    names = [system.name for system in SYSTEMS]
    settings = options(
        __doc__, settings=["factbook", "openqa"], limit=1000, seeds=[0, 1, 2], systems=names
    )
    for setting in settings.settings:
        tests = TESTS[setting]
        rows, results = [], {}
        for system in SYSTEMS:
            for model in MODELS:
                if system.name not in settings.systems or (
                    system.trained == "both" and (setting, model) != HEADLINE
                ):
                    continue
                closed = system.trained == "closed"
                seeds = settings.seeds if is_repeated(setting, system, model) else [0]
                for test in tests:
                    results[system.name, model, test] = [
                        answered(setting, system, model, test, settings.limit, seed=seed)
                        for seed in seeds
                    ]
                own = [results[system.name, model, test] for test in tests]
                rows.append(
                    [
                        system.name,
                        "both" if closed else f"RAG-{model.title()}",
                        *map(exact_match, own),
                        *("–" if closed else recall(of_seeds) for of_seeds in own),
                    ]
                )
                if closed:
                    # Without passages the two models are the same.
                    break
        columns = ["system", "model", *tests, *(f"{test}, hit@1 / 5" for test in tests)]
        print(f"\n{setting}: exact match, %, {settings.limit} questions at most\n", flush=True)
        print(table(columns, rows), flush=True)
        gains = [
            [f"RAG-{model.title()}", *(gain(results, model, test) for test in tests)]
            for model in MODELS
            if {("dense, frozen", model, tests[0]), ("dense, learned", model, tests[0])}
            <= {*results}
        ]
        print("\nlearned less frozen, of the same questions\n")
        print(table(["model", *tests], gains), flush=True)


def is_repeated(setting: str, system: System, model: Model) -> bool:
    return (setting, model) == HEADLINE and system.trained in ("learned", "both")


def exact_match(results: Sequence[Result]) -> str:
    """Format the mean over seeds with its 95 % interval, and each seed's figure if several."""
    own = np.mean([result.scores(METRIC) for result in results], axis=0)
    each = ", ".join(f"{100 * result[METRIC]:.1f}" for result in results)
    return _with_interval(own) + (f"; seeds {each}" if len(results) > 1 else "")


def gain(results: dict[tuple[str, Model, str], list[Result]], model: Model, test: str) -> str:
    """Format how many points learned retrieval is better than frozen, with the 95 % interval."""
    frozen, learned = (
        np.mean([each.scores(METRIC) for each in results[name, model, test]], axis=0)
        for name in ("dense, frozen", "dense, learned")
    )
    return _with_interval(frozen, learned)


def recall(results: Sequence[Result]) -> str:
    return " / ".join(
        f"{100 * np.mean([result[name] for result in results]):.0f}" for name in ("hit@1", "hit@5")
    )


def _with_interval(scores: np.ndarray, other: np.ndarray | None = None) -> str:
    """Format the share in per cent of scores [questions, numbers]; with others, other - scores."""
    metric = make_metrics([METRIC])[METRIC]
    low, high = intervals([(metric, scores, other)])[0]
    value = metric.value(scores.sum(axis=0))
    if other is not None:
        value = metric.value(other.sum(axis=0)) - value
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
