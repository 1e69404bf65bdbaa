"""Test metrics of ranked passages: their numbers are trec_eval's, and none is silently shallow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import ir_measures
import pytest
import pytrec_eval
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragcore.errors import MetricError, QuestionError, UnknownComponentError
from ragcore.evaluation.choosing import make_metrics, search_depth
from ragcore.evaluation.figures import figures
from ragcore.evaluation.measuring_runs import evaluate_run, questions_of
from ragcore.evaluation.metrics.ranking import Measure
from ragcore.evaluation.prediction import Prediction, Ranking, make_predictions
from ragcore.evaluation.report import Report
from ragcore.evaluation.trec_runs import read_trec_run, write_run
from ragcore.questions.trec import read_qrels

MEASURES = {
    "nDCG@3": "ndcg_cut_3",
    "nDCG": "ndcg",
    "AP": "map",
    "AP@3": "map_cut_3",
    "P@2": "P_2",
    "R@3": "recall_3",
    "R@200": "recall_200",
    "RR": "recip_rank",
    "mrr": "recip_rank",
    "Rprec": "Rprec",
    "Bpref": "bpref",
    "hit@2": "success_2",
    "hit": "success_1000",
    "ndcg@3": "ndcg_cut_3",
    "NumRet": "num_ret",
}
"""Metrics by the names of trec_eval's."""

# Few ids and scores, so that passages tie and lie in both or in one of the files; the last two
# scores differ in double precision only, and trec_eval reads single precision.
names = st.sampled_from(["d1", "d10", "d2", "D3", "é", "x-4", "z"])
scores = st.sampled_from([0.0, 1.0, -2.5, 1e-30, 3.0, 3.0000000001])
queries = st.sampled_from(["q1", "q2", "10", "9"])
run_files = st.dictionaries(queries, st.dictionaries(names, scores, min_size=1), min_size=1)
qrel_files = st.dictionaries(
    queries, st.dictionaries(names, st.integers(0, 3), min_size=1), min_size=1
)


def write(folder: Path, run: dict, qrels: dict) -> tuple[Path, Path]:
    run_file, qrels_file = folder / "run.txt", folder / "qrels.txt"
    lines = [
        f"{query} Q0 {name} {rank} {score!r} tag\n"
        for query, hits in run.items()
        for rank, (name, score) in enumerate(hits.items())
    ]
    run_file.write_text("".join(lines), encoding="utf-8")
    lines = [
        f"{query} 0 {name} {grade}\n"
        for query, grades in qrels.items()
        for name, grade in grades.items()
    ]
    qrels_file.write_text("".join(lines), encoding="utf-8")
    return run_file, qrels_file


def measure(run_file: Path, qrels_file: Path, *metrics: str, depth: int | None = 1000) -> Report:
    asked = questions_of(read_qrels(qrels_file))
    return evaluate_run(read_trec_run(run_file), asked, make_metrics(metrics), depth=depth)


def is_measurable(run: dict, qrels: dict) -> bool:
    judged = any(grade for grades in qrels.values() for grade in grades.values())
    return judged and bool(run.keys() & qrels.keys())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@settings(max_examples=150)
@given(run=run_files, qrels=qrel_files)
def test_figures_are_those_of_trec_eval(run: dict, qrels: dict, folder: Path) -> None:
    if not is_measurable(run, qrels):
        return
    report = measure(*write(folder, run, qrels), *MEASURES)
    expected = pytrec_eval.RelevanceEvaluator(qrels, set(MEASURES.values())).evaluate(run)
    assert [prediction.id for prediction in report.predictions] == list(qrels)
    for figure in report.figures:
        assert figure.error is None
        numbers = [row[0] for row in figure.by_question if row is not None]
        # As trec_eval -c: a judged question that the run lacks counts as 0.
        theirs = [expected.get(query, {}).get(MEASURES[figure.metric], 0.0) for query in qrels]
        assert numbers == pytest.approx(theirs, abs=1e-9), figure.metric


MEASURED_HERE = [
    "AP", "AP@3", "AP(rel=2)", "Bpref", "Bpref(rel=2)", "Compat(p=0.8)", "IPrec@0.1",
    "infAP", "Judged@2", "nDCG", "nDCG@2", "NumRel",
    "NumRet", "NumRet(rel=1)", "nDCG(gains={1:5,2:9})", "P@2", "P(rel=2,judged_only=True)@2", "R@2",
    "Rprec", "RR", "RR@2", "nDCG(judged_only=True)@2", "SetAP", "SetF", "SetP", "SetR", "Success@2",
]  # fmt: skip


# Scores of each passage above 0 and none equal: this is about the measures, not about ties.
@settings(max_examples=60, deadline=None)
@given(
    run=st.dictionaries(queries, st.permutations(["a", "b", "c", "d", "e", "f"]), min_size=1),
    most=st.integers(1, 6),
    qrels=st.dictionaries(
        queries,
        st.dictionaries(st.sampled_from([*"abcdefgh"]), st.integers(0, 3), min_size=3),
        min_size=2,
    ),
)
# Next to measures of judged passages alone, ir-measures has NumRet count no others.
@example(run={"q1": [*"abcdef"]}, most=4, qrels={"q1": {"a": 0, "b": 0}, "q2": {"c": 1}})
# Compat orders relevant passages of one grade by their scores, those not found by a score of 0.
@example(run={"q1": ["b", "a"]}, most=2, qrels={"q1": {"a": 1, "b": 1, "g": 1}})
def test_measures_by_rank_are_those_of_the_passages_themselves(
    run: dict, most: int, qrels: dict, folder: Path
) -> None:
    run = {
        query: {name: 6.0 - rank for rank, name in enumerate(ranked[:most])}
        for query, ranked in run.items()
    }
    relevant = any(grade for grades in qrels.values() for grade in grades.values())
    if not relevant or not run.keys() & qrels.keys():
        return
    report = measure(*write(folder, run, qrels), *measured_here())
    for figure in report.figures:
        assert figure.error is None, figure
        numbers = [row[0] for row in figure.by_question if row is not None]
        own = ir_measures.parse_measure(figure.metric)
        theirs = {each.query_id: each.value for each in ir_measures.iter_calc([own], qrels, run)}
        expected = [theirs.get(query, own.DEFAULT) for query in qrels]
        assert numbers == pytest.approx(expected, abs=1e-9), figure.metric


def measured_here() -> list[str]:
    """Return the measures above, and fail for a kind that they lack and this machine computes."""
    kinds = {ir_measures.parse_measure(name).NAME for name in MEASURED_HERE}
    providers = [each for each in ir_measures.DefaultPipeline.providers if each.is_available()]
    computed = {kind.NAME for each in providers for kind in each.SUPPORTED_MEASURES}
    # NumQ counts questions; Accuracy divides by zero where nothing but relevant passages is found,
    # and ERR is a script in Perl, which takes numbers of questions alone.
    assert computed - {"NumQ", "Accuracy", "ERR"} <= kinds
    return MEASURED_HERE


@settings(max_examples=60)
@given(run=run_files, qrels=qrel_files)
def test_grades_of_two_and_more_may_be_asked_for(run: dict, qrels: dict, folder: Path) -> None:
    if not is_measurable(run, qrels):
        return
    report = measure(*write(folder, run, qrels), "AP(rel=2)@5", "P(rel=2)@2")
    strict = pytrec_eval.RelevanceEvaluator(qrels, {"map_cut_5", "P_2"}, relevance_level=2)
    expected = strict.evaluate(run)
    for figure, name in zip(report.figures, ("map_cut_5", "P_2"), strict=True):
        numbers = [row[0] for row in figure.by_question if row is not None]
        theirs = [expected.get(query, {}).get(name, 0.0) for query in qrels]
        assert numbers == pytest.approx(theirs, abs=1e-9)


@given(run=run_files, qrels=qrel_files)
def test_what_is_written_is_measured_the_same(run: dict, qrels: dict, folder: Path) -> None:
    """Ties are broken when a run is written, so that the file has the order of the search."""
    if not is_measurable(run, qrels):
        return
    # In the order of the names, which is not the one in which trec_eval breaks ties.
    rankings = {
        query: Ranking(
            *zip(*sorted(hits.items(), key=lambda hit: (-hit[1], hit[0])), strict=True), 1000
        )
        for query, hits in run.items()
    }
    path = folder / "written.txt"
    write_run(path, rankings, "tag")
    again = read_trec_run(path)
    assert again.tied == 0
    for query, ranking in rankings.items():
        assert [name for name, _ in again.hits[query]] == list(ranking.ids)
        written = [score for _, score in again.hits[query]]
        assert written == pytest.approx(ranking.scores, rel=1e-5, abs=1e-40)
    _, qrels_file = write(folder, run, qrels)
    asked = questions_of(read_qrels(qrels_file))
    searched = [
        replace(rankings.get(each.id or "", Ranking((), (), 1000)), grades=each.relevance)
        for each in asked
    ]
    own = figures(make_metrics([*MEASURES]), make_predictions(asked, None, searched))
    assert [*measure(path, qrels_file, *MEASURES).figures] == own


def test_a_measure_deeper_than_the_run_is_refused(folder: Path) -> None:
    files = write(folder, {"q": {"a": 2.0, "b": 1.0}}, {"q": {"b": 1}})
    with pytest.raises(MetricError, match=r"R@3 is of the first 3 .* at most 2 .*--depth"):
        measure(*files, "hit@2", "R@3", depth=None)
    assert measure(*files, "R@3", depth=3).figures[0].value == 1.0
    assert measure(*files, "R@1", depth=1).figures[0].value == 0.0
    shallow = Prediction(
        *("q", "", (), False, ("b",), None, None, None, ()),
        ranking=Ranking(("a", "b"), (2.0, 1.0), 2, {"b": 1}),
    )
    deep, fine = figures(make_metrics(["nDCG@3", "R@2"]), [shallow])
    assert "only 2 were searched for" in (deep.error or "")
    assert fine.value == 1.0, "one that fails does not stop the others"


def test_the_deepest_measure_says_how_deep_is_searched() -> None:
    assert search_depth(make_metrics(["nDCG@10", "R@100", "f1"])) == 100
    assert search_depth(make_metrics(["hit@5", "AP"])) == 1000
    # Unjudged passages are left out before the first ten are taken.
    assert search_depth(make_metrics(["nDCG(judged_only=True)@10"])) == 1000
    assert search_depth(make_metrics(["f1"])) is None
    assert search_depth(make_metrics(["AP"]), 50) == 50


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nDGC@10", UnknownComponentError, "nor has ir-measures such a measure"),
        ("nDCG@", MetricError, "NAME@K"),
        ("nDCG@0", MetricError, "expected 1 or more"),
        ("AP(relevance=2)", MetricError, "unsupported params"),
        ("R", MetricError, "'R': needs a number of passages, as R@100$"),
        ("AP[0]", MetricError, "expected NAME"),
        ("alpha_nDCG@10", MetricError, "cannot compute it here: .*pyndeval"),
    ],
)
def test_a_name_that_is_no_measure_is_named(name: str, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make_metrics([name])


def test_counts_are_sums_and_others_means(folder: Path) -> None:
    run = {query: {"a": 2.0, "b": 1.0} for query in ("q1", "q2")}
    report = measure(*write(folder, run, {"q1": {"a": 1}, "q2": {"b": 1}}), "NumRet", "RR@10")
    assert [figure.value for figure in report.figures] == [4.0, 0.75]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 a 1 2.0", r"run.txt:2: 5 columns, expected 6"),
        ("q Q0 a 1 nan t", r"run.txt:2: the score is 'nan'"),
        ("q Q0 a 1 -inf t", r"run.txt:2: the score is '-inf'"),
        ("q Q0 a 1 high t", r"run.txt:2: the score is 'high'"),
        ("q Q0 b 1 1.0 t", r"run.txt:2: passage 'b' occurs a second time for question 'q'"),
    ],
)
def test_faulty_lines_of_a_run_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "run.txt"
    path.write_text(f"q Q0 b 1 3.0 t\n{line}\n", encoding="utf-8")
    with pytest.raises(QuestionError, match=message):
        read_trec_run(path)


def test_an_empty_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(QuestionError, match="no hit"):
        read_trec_run(tmp_path / "run.txt")


def test_what_makes_figures_doubtful_is_counted(folder: Path) -> None:
    run = {"q1": {"a": 1.0, "b": 1.0}, "other": {"a": 1.0}}
    qrels = {"q1": {"b": 1}, "q2": {"a": 1}, "q3": {"a": 0}}
    warnings = measure(*write(folder, run, qrels), "RR").warnings
    assert [warning.split(" ", 3)[:3] for warning in warnings] == [
        ["1", "of", "3"],
        ["1", "questions", "of"],
        ["2", "of", "3"],
        ["1", "questions", "of"],
    ]
    for warning, part in zip(
        warnings, ("no relevant passage", "'other'", "'q2', 'q3'", "equal scores"), strict=True
    ):
        assert part in warning


def test_files_that_do_not_belong_together_are_refused(folder: Path) -> None:
    files = write(folder, {"q1": {"a": 1.0}}, {"q2": {"a": 1}})
    with pytest.raises(QuestionError, match=r"no question of the 1 asked: it has 'q1'"):
        measure(*files, "RR")
    files = write(folder, {"q1": {"a": 1.0}}, {"q1": {"a": 0, "b": 0}})
    with pytest.raises(QuestionError, match="has a relevant passage"):
        measure(*files, "RR")


def test_what_cannot_stand_in_a_run_file_is_refused(tmp_path: Path) -> None:
    ranking = Ranking(("a b",), (1.0,), 1)
    for rankings, tag, name in (
        ({"q": ranking}, "tag", "passage id 'a b'"),
        ({"q 1": ranking}, "tag", "question id 'q 1'"),
        ({"q": ranking}, "a tag", "tag 'a tag'"),
    ):
        with pytest.raises(QuestionError, match=f"{name} has white space"):
            write_run(tmp_path / "run.txt", rankings, tag)
    assert not list(tmp_path.iterdir())


class HitsInPercent(Measure):
    """A metric whose value takes one figure's sums alone, as a plugin's may."""

    def value(self, sums: Sequence[float]) -> float:
        return 100 * sums[0] / sums[1] if sums[1] else 0.0


def test_intervals_of_metrics_with_a_value_of_their_own(folder: Path) -> None:
    """Sums of all draws are passed together only to a metric that takes arrays."""
    run = {f"q{number}": {"a": 2.0, "b": 1.0} for number in range(9)}
    qrels = {name: {"ab"[index % 3 > 0]: 1} for index, name in enumerate(run)}
    files = write(folder, run, qrels)
    metrics = {"in percent": HitsInPercent("Success@1"), **make_metrics(["Success@1", "NumRet"])}
    own, theirs, counted = evaluate_run(
        read_trec_run(files[0]), questions_of(read_qrels(files[1])), metrics, depth=2
    ).figures
    assert own.low is not None
    assert theirs.low is not None
    assert theirs.high is not None
    assert theirs.low < theirs.high
    assert (own.low, own.high) == pytest.approx((100 * theirs.low, 100 * theirs.high))
    assert (counted.low, counted.high) == (18.0, 18.0)


def test_a_run_whose_name_says_so_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "run.txt.gz"
    write_run(path, {"q": Ranking(("a", "b"), (2.0, 1.0), 2)}, "tag")
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert read_trec_run(path).hits == {"q": [("a", 2.0), ("b", 1.0)]}
