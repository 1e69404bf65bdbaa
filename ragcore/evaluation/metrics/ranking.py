"""Metrics of ranked passages, by ir-measures: hit@k, MRR and nDCG, and all measures of its own.

A measure reads a prediction's `ranking`: the passages that were found, best first, and the grades
of judged ones. Where passages were judged by their texts, only found ones can be relevant, and
measures that divide by the number of relevant passages are then of these.

`statistics_of` computes any number of measures at once, which is many times cheaper than one by
one. Passages go by their ranks: a ranking's order counts, not how equal scores are broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

from pydantic import Field

from ragcore.errors import MetricError
from ragcore.evaluation.metrics.base import Labels, Mean, NoSettings
from ragcore.evaluation.prediction import Prediction, Ranking
from ragcore.registry.components import ComponentConfig

__all__ = [
    "DEPTH",
    "HitAtK",
    "Measure",
    "MeanReciprocalRank",
    "Ndcg",
    "RankingMetric",
    "RecallAtK",
    "parse_measure",
    "statistics_of",
]

DEPTH: Final = 1000
"""How deep is searched for a measure without a cutoff, as in TREC's runs."""

_ALL: Final = 1 << 30
"""The cutoff of a measure of all passages that has none without a cutoff."""

_SHALLOW: Final = 100
"""Measures of at most so many passages are computed of these alone."""

_IN_PYTHON: Final = frozenset(("RR", "Judged"))

_UNRETRIEVED: Final = "-"
"""Id of a relevant passage that no run retrieves, for questions without another relevant one."""

_COUNTS_RELEVANT: Final = frozenset(
    ("AP", "R", "Rprec", "nDCG", "Bpref", "infAP", "IPrec", "SetR", "SetAP", "SetF", "NumRel")
)
"""Measures that need to know all relevant passages, also those that were not found."""


_DESCRIBES: Final = frozenset(("Judged", "NumQ", "NumRel"))
"""Measures that describe questions and judgments: no value of them is better than another."""


class RankingMetric(Mean):
    """The mean of a measure of ir-measures over all questions that can be judged."""

    labels: ClassVar[Labels | None] = "passages"
    notice: ClassVar[str | None] = None
    """What a user of this name should know; it is reported as a warning."""

    def measure(self) -> Any:
        """Return the measure, of ir-measures."""
        raise NotImplementedError

    @property
    def cutoff(self) -> int | None:
        """How many of the first passages count; None for all that were found."""
        return _cutoff(self.measure())

    @property
    def depth(self) -> int:
        """How deep must be searched to compute it."""
        return self.cutoff or DEPTH

    @property
    def counts_relevant(self) -> bool:
        """Whether it depends on relevant passages that were not found."""
        return self.measure().NAME in _COUNTS_RELEVANT

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """Return the measure of each question that can be judged, and 1 to count it."""
        return statistics_of({"": self}, predictions)[""]


class _Config(ComponentConfig):
    """How many passages count."""

    k: int | None = Field(None, gt=0, description="only the first k passages; null for all")


class HitAtK(RankingMetric):
    """Share of questions with an answering passage in the first k: the paper's retrieval recall."""

    Config: ClassVar[type[ComponentConfig]] = _Config
    config: _Config

    def measure(self) -> Any:
        """Return Success."""
        from ir_measures import Success

        return Success @ (self.config.k or _ALL)

    @property
    def cutoff(self) -> int | None:
        """How many of the first passages count; None for all that were found."""
        return self.config.k


class RecallAtK(HitAtK):
    """The earlier name of hit@k."""

    notice: ClassVar[str | None] = (
        "recall@k is called hit@k now, and this name of it goes with the next release: it is the "
        "share of questions with an answering passage. R@k is the share of the relevant passages"
    )


class MeanReciprocalRank(RankingMetric):
    """Mean of 1 / rank of the first passage that answers; 0 where none of the first k does."""

    Config: ClassVar[type[ComponentConfig]] = _Config
    config: _Config

    def measure(self) -> Any:
        """Return RR."""
        from ir_measures import RR

        return RR if self.config.k is None else RR @ self.config.k


class Ndcg(RankingMetric):
    """Normalised discounted cumulative gain of the first k passages."""

    Config: ClassVar[type[ComponentConfig]] = _Config
    config: _Config

    def measure(self) -> Any:
        """Return nDCG."""
        from ir_measures import nDCG

        return nDCG if self.config.k is None else nDCG @ self.config.k


class Measure(RankingMetric):
    """A measure by its name in ir-measures, such as AP(rel=2)@100."""

    takes_arrays: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        """Parse the measure's name; see `parse_measure` for what it raises."""
        super().__init__(NoSettings())
        self._measure = parse_measure(name)
        self._sums = type(self._measure.aggregator()).__name__ == "SumAgg"
        # ir-measures does not say it. With a grade, NumRet counts relevant passages.
        counts_any = self._measure.NAME == "NumRet" and "rel" not in self._measure.params
        if counts_any or self._measure.NAME in _DESCRIBES:
            self.better = "neither"

    def measure(self) -> Any:
        """Return the measure."""
        return self._measure

    def value(self, sums: Any) -> Any:
        """Compute the mean; of a measure that counts (NumRel, NumRet, NumQ), the sum."""
        return sums[0] if self._sums else super().value(sums)


def parse_measure(name: str) -> Any:
    """Return the measure of a name of ir-measures.

    Raises:
        LookupError: ir-measures knows no such name.
        MetricError: its parameters are wrong, or it needs a package that is not installed.
    """
    import ir_measures

    try:
        measure: Any = ir_measures.parse_measure(name)
        measure.validate_params()
    except NameError:
        raise LookupError(name) from None
    # It raises these for what is no such name, and for what parameters it does not take.
    except (ValueError, AssertionError, KeyError, TypeError, AttributeError) as error:
        if "invalid param cutoff=<object" in str(error):
            raise MetricError(
                f"metric {name!r}: needs a number of passages, as {name}@100"
            ) from None
        raise MetricError(
            f"metric {name!r}: no measure of ir-measures ({error}): expected NAME, NAME@K or "
            "NAME(parameter=value)@K, such as nDCG@10 or AP(rel=2)@100"
        ) from None
    cutoff = measure.params.get("cutoff")
    if cutoff is not None and (type(cutoff) is not int or cutoff < 1):
        raise MetricError(f"metric {name!r}: the cutoff is {cutoff!r}, expected 1 or more")
    providers = [each for each in ir_measures.DefaultPipeline.providers if each.supports(measure)]
    if not any(provider.is_available() for provider in providers):
        hints = [provider.install_instructions() or provider.NAME for provider in providers]
        needed = " or ".join(hints) or "no package computes it with these parameters"
        raise MetricError(f"metric {name!r}: ir-measures cannot compute it here: {needed}")
    return measure


def statistics_of(
    metrics: Mapping[str, RankingMetric], predictions: Sequence[Prediction]
) -> dict[str, list[Sequence[float] | None]]:
    """Compute several metrics together, by name; see `Metric.statistics`.

    Raises:
        MetricError: a prediction has no ranking, or one that is less deep than a metric.
    """
    judged = [index for index, prediction in enumerate(predictions) if prediction.judged]
    rankings = [_ranking(predictions[index], metrics) for index in judged]
    grades, lengths = _by_rank(rankings)
    named = {name: _remembered(metric.measure()) for name, metric in metrics.items()}
    groups: dict[tuple[int | None, str], dict[str, Any]] = {}
    for measure in named.values():
        key = _passages_of(measure), _qrels_of(measure)
        groups.setdefault(key, {})[repr(measure)] = measure
    values: dict[str, list[float]] = {}
    for (most, _), group in groups.items():
        values |= _calculated(group, grades, lengths, most)
    table: dict[str, list[Sequence[float] | None]] = {}
    for name in metrics:
        column: list[Sequence[float] | None] = [None] * len(predictions)
        for index, value in zip(judged, values[repr(named[name])], strict=True):
            column[index] = (value, 1.0)
        table[name] = column
    return table


def _ranking(prediction: Prediction, metrics: Mapping[str, RankingMetric]) -> Ranking:
    """Return a prediction's ranking, once it is as deep as each metric."""
    if prediction.ranking is None:
        raise MetricError(
            f"question {prediction.id!r} has no ranking: metrics of passages need one, as evaluate "
            "makes it"
        )
    depth = prediction.ranking.depth
    for name, metric in metrics.items():
        if metric.cutoff is not None and metric.cutoff > depth:
            raise MetricError(
                f"{name or metric.measure()} is of the first {metric.cutoff} passages, and only "
                f"{depth} were searched for: search deeper, or measure less deep"
            )
    return prediction.ranking


def _by_rank(rankings: Iterable[Ranking]) -> tuple[list[dict[str, int]], list[int]]:
    """Return each question's grades by the passages' ranks, and how many were found.

    A passage that was not found has its id behind a mark.
    """
    grades, lengths = [], []
    for ranking in rankings:
        judged = ranking.grades
        # Few of many passages are judged, so that these alone are looked for.
        both = judged.keys() & set(ranking.ids)
        by_rank = {str(ranking.ids.index(name)): judged[name] for name in both}
        if len(both) < len(judged):
            missing = judged.keys() - both
            by_rank |= {f"{_UNRETRIEVED}{name}": judged[name] for name in missing}
        grades.append(by_rank or {_UNRETRIEVED: 1})
        lengths.append(len(ranking.ids))
    return grades, lengths


def _calculated(
    measures: Mapping[str, Any],
    grades: Sequence[dict[str, int]],
    lengths: Sequence[int],
    most: int | None,
) -> dict[str, list[float]]:
    """Compute measures of all questions in one call of ir-measures, of the first `most` passages.

    The result has a list for each measure by its name, one number a question.
    """
    if not grades:
        return {name: [] for name in measures}
    import ir_measures

    # Rankings of one length are the same by rank. Scored by rank, so that none are equal, and above
    # 0, which is what Compat takes the score of a passage for that was not found.
    run_of = {
        length: {str(rank): float(length - rank) for rank in range(length)}
        for length in {min(length, most or length) for length in lengths}
    }
    qrels = {str(number): by_rank for number, by_rank in enumerate(grades)}
    run = {
        # Without a passage a question is left out, and gets the value of an empty ranking.
        str(number): run_of[min(length, most or length)]
        for number, length in enumerate(lengths)
        if length
    }
    values = {name: [float(each.DEFAULT)] * len(grades) for name, each in measures.items()}
    for result in ir_measures.iter_calc(list(measures.values()), qrels, run):
        values[repr(result.measure)][int(result.query_id)] = float(result.value)
    return values


def _passages_of(measure: Any) -> int | None:
    """Return of how many of the first passages a measure can be computed; None for all."""
    cutoff = _cutoff(measure)
    if cutoff is None or cutoff > _SHALLOW:
        return None
    # These sort all passages of a run in Python; the others share one run.
    return cutoff if measure.NAME in _IN_PYTHON else _SHALLOW


def _qrels_of(measure: Any) -> str:
    """Name the passages and gains that a measure is computed from.

    ir-measures adds NumRet, NumQ and nDCG to whatever it computes already: next to a measure of
    judged passages alone, NumRet counted no others.
    """
    parameters = measure.params
    return f"{bool(parameters.get('judged_only'))} {parameters.get('gains')!r}"


def _remembered(measure: Any) -> Any:
    """Return a measure that remembers its name, which ir-measures asks for with each number."""
    kind, name = type(measure), repr(measure)
    methods = {"__repr__": lambda _: name, "__hash__": lambda _: hash(name)}
    remembering: Any = type(kind.__name__, (kind,), methods)
    return remembering(**measure.params)


def _cutoff(measure: Any) -> int | None:
    """Return how many of the first passages a measure reads; None for all of them."""
    # Unjudged passages are left out before the first k are taken.
    if measure.params.get("judged_only"):
        return None
    cutoff: int | None = measure.params.get("cutoff")
    return cutoff
