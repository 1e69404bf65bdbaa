"""Make metrics by name, and choose those that suit questions where the caller names none.

Knows names; knows nothing of how a metric is computed.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from ragcore.errors import MetricError, UnknownComponentError
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.metrics.ranking import Measure, RankingMetric
from ragcore.questions import LabelledQuestion
from ragcore.registry.conformance import check_class, check_instance
from ragcore.registry.discovery import registry
from ragcore.registry.installation import missing_package

__all__ = [
    "ANSWERABILITY_METRICS",
    "DEFAULT_METRICS",
    "GRADED_METRICS",
    "RETRIEVAL_METRICS",
    "default_metrics",
    "limited_search",
    "make_metrics",
    "ranking_metrics",
    "search_depth",
]

DEFAULT_METRICS: Final = ("exact_match", "f1", "hit@1", "hit@5", "mrr@10", "log_prob")
RETRIEVAL_METRICS: Final = ("hit@1", "hit@5", "hit@20", "mrr@10")
"""Where retrieval alone is measured, and passages are judged by their texts."""
GRADED_METRICS: Final = ("nDCG@10", "RR@10", "R@100", "AP")
"""Where retrieval alone is measured, and it is known which passages are relevant."""
ANSWERABILITY_METRICS: Final = (
    "has_ans_exact_match",
    "has_ans_f1",
    "no_ans_exact_match",
    "log_prob_auroc",
    "selective_exact_match@20",
    "selective_exact_match@40",
    "selective_exact_match@60",
    "selective_exact_match@80",
)
"""What is reported besides where questions are known to have no answer, as SQuAD 2.0's."""

_AT: Final = ("k", "coverage", "bins", "mass")
"""The settings that a metric's name may set, behind an at sign."""

_WHOLE: Final = re.compile(r"0{0,8}[1-9][0-9]{0,8}")
_FRACTION: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def make_metrics(names: Sequence[str] = DEFAULT_METRICS) -> dict[str, Metric]:
    """Make metrics by name, of plugins or of ir-measures.

    `NAME@10` is a registered metric of the first ten passages; at 10 percent if it has a coverage
    or a mass, and of 10 bins if it has bins. Other names are those of ir-measures, such as
    `AP(rel=2)@100`.

    Raises:
        UnknownComponentError: neither a plugin nor ir-measures has a metric of that name.
        PluginError: a metric lacks members of its contract.
        MetricError: a metric takes no such number or parameter, or needs a package that is not
            installed.
    """
    made = {name: _make(name) for name in dict.fromkeys(names)}
    # Intervals need it: it is missed here, before hours are spent on answers.
    if importlib.util.find_spec("scipy") is None:
        missing = ModuleNotFoundError(name="scipy")
        raise MetricError(f"intervals of metrics: {missing_package(missing, 'eval')}")
    return made


def _make(name: str) -> Metric:
    base_name, has_number, number = name.partition("@")
    try:
        component = registry().load("metric", base_name)
    except UnknownComponentError as unknown:
        return _measure(name, unknown)
    check_class("metric", base_name, component, Metric)
    settings: dict[str, Any] = {}
    if has_number:
        keys = [key for key in _AT if key in component.Config.model_fields]
        fractional = bool(keys) and component.Config.model_fields[keys[0]].annotation is float
        if not keys or not (_FRACTION if fractional else _WHOLE).fullmatch(number):
            raise MetricError(f"metric {name!r}: expected a name, or NAME@K as in hit@5")
        settings[keys[0]] = float(number) if fractional else int(number)
    try:
        metric: Metric = component(component.Config(**settings))
        if isinstance(metric, RankingMetric):
            # It imports ir-measures when it is first asked for this.
            metric.measure()
    except ValidationError as error:
        raise MetricError(f"metric {name!r}: {error.errors()[0]['msg']}") from None
    except ModuleNotFoundError as missing:
        raise MetricError(f"metric {name!r}: {missing_package(missing, 'eval')}") from None
    check_instance("metric", base_name, metric, Metric)
    return metric


def _measure(name: str, unknown: UnknownComponentError) -> Metric:
    """Make a metric of a measure of ir-measures."""
    try:
        return Measure(name)
    except LookupError:
        raise UnknownComponentError(
            f"{unknown}; nor has ir-measures such a measure (it has nDCG@10, AP, P@5, R@100, …)"
        ) from None
    except ModuleNotFoundError as missing:
        raise MetricError(f"metric {name!r}: {missing_package(missing, 'eval')}") from None


def default_metrics(
    asked: Sequence[LabelledQuestion], *, retrieval: bool = False
) -> tuple[str, ...]:
    """Return the names of the metrics that suit questions where the caller names none.

    Args:
        asked: the questions; where some are known to have no answer, those with and those without
            one are also reported apart, and how well log p tells right from wrong.
        retrieval: whether retrieval alone is measured, without answers.
    """
    if retrieval:
        graded = any(question.relevance or question.passage_ids for question in asked)
        return GRADED_METRICS if graded else RETRIEVAL_METRICS
    unanswerable = any(
        question.unanswerable
        or (isinstance(question.answers, Mapping) and not all(question.answers.values()))
        for question in asked
    )
    return DEFAULT_METRICS + (ANSWERABILITY_METRICS if unanswerable else ())


def ranking_metrics(metrics: Mapping[str, Metric]) -> dict[str, RankingMetric]:
    """Return the metrics of ranked passages among others, by name."""
    return {name: each for name, each in metrics.items() if isinstance(each, RankingMetric)}


def search_depth(metrics: Mapping[str, Metric], depth: int | None = None) -> int | None:
    """Return how deep must be searched for metrics; None where none of them reads a ranking.

    Args:
        metrics: by name.
        depth: how deep the caller wants to search; None for what the metrics need.

    Raises:
        MetricError: a metric is of more passages than `depth`.
    """
    ranking = ranking_metrics(metrics)
    if depth is not None:
        for name, metric in ranking.items():
            if metric.cutoff is not None and metric.cutoff > depth:
                raise MetricError(
                    f"{name} is of the first {metric.cutoff} passages, and the depth is {depth}: "
                    f"search {metric.cutoff} deep, or leave the metric out"
                )
    needed = max((metric.depth for metric in ranking.values()), default=None)
    return needed if depth is None else depth


def limited_search(
    metrics: Mapping[str, Metric], depth: int | None, deepest: int | None, *, chosen: bool
) -> tuple[Mapping[str, Metric], int | None, list[str]]:
    """Fit metrics and the depth to a retriever that ranks no more than so many passages.

    Args:
        metrics: by name.
        depth: how deep they want to search; None where none of them reads a ranking.
        deepest: of how many passages the retriever's ranking is at most; None for no limit.
        chosen: whether the caller named the metrics; of those that are measured by default, the
            ones that are too deep are left out.

    Returns:
        The metrics, how deep to search, and warnings.

    Raises:
        MetricError: a metric that was named is of more passages than the retriever ranks.
    """
    if depth is None or deepest is None or depth <= deepest:
        return metrics, depth, []
    advice = (
        f"the retriever ranks no more than {deepest} passages, whatever is asked for: raise its "
        "'depth' (memory.retriever.depth)"
    )
    ranking = ranking_metrics(metrics)
    deeper = [
        name
        for name, metric in ranking.items()
        if metric.cutoff is not None and metric.cutoff > deepest
    ]
    if deeper and chosen:
        name = deeper[0]
        raise MetricError(
            f"{name} is of the first {ranking[name].cutoff} passages, and {advice}, or measure "
            "less deep"
        )
    warnings = [f"{', '.join(deeper)}: left out, since {advice}"] if deeper else []
    left = {name: metric for name, metric in metrics.items() if name not in deeper}
    unlimited = [name for name, metric in ranking_metrics(left).items() if metric.cutoff is None]
    if unlimited:
        warnings.append(
            f"{', '.join(unlimited)}: of the first {deepest} passages and not of {depth}, so that "
            f"relevant ones further down count as not found; {advice}"
        )
    elif not deeper:
        warnings.append(f"{deepest} passages were searched for and not {depth}; {advice}")
    return left, deepest, warnings
