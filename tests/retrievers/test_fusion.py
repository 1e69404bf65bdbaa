"""Fusion: three functions against tables computed without the code, and the laws that they share.

The tables are those of docs/explanation/fusion.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import ComponentError
from ragcore.marginalization import log_prior
from ragcore.retrievers.fusion import _log_sum_exp, _sum, convex, mixture, reciprocal_rank
from ragcore.types import MISSING_ROW, Hits
from tests.helpers.markdown import ROOT, tables

PAGE = ROOT / "docs" / "explanation" / "fusion.md"

Fuse = Callable[..., Hits]
FUSIONS: Sequence[Fuse] = (reciprocal_rank, convex, mixture)


def hits(*questions: dict[int, float], width: int | None = None) -> Hits:
    """Build the hits of questions, each {row: score}, best first; missing hits fill the width."""
    width = max(map(len, questions)) if width is None else width
    rows = np.full((len(questions), width), MISSING_ROW, np.int64)
    scores = np.full((len(questions), width), -np.inf, np.float32)
    for i, ranked in enumerate(questions):
        rows[i, : len(ranked)], scores[i, : len(ranked)] = list(ranked), list(ranked.values())
    rows.flags.writeable = scores.flags.writeable = False
    return Hits(rows, scores)


def as_dicts(fused: Hits) -> list[dict[int, float]]:
    return [
        {int(row): float(score) for row, score in zip(*line, strict=True) if row != MISSING_ROW}
        for line in zip(fused.rows, fused.scores, strict=True)
    ]


A, B, C, D = 7, 2, 9, 4
WORDS = hits({A: 8.0, B: 6.0, C: 2.0})
MEANING = hits({B: 0.9, D: 0.5, A: 0.1})
BOTH = [WORDS, MEANING]
WEIGHTS = [2.0, 1.0]


def assert_golden(fused: Hits, expected: dict[int, float]) -> None:
    (found,) = as_dicts(fused)
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, rel=1e-5)


def test_reciprocal_rank_gives_the_table() -> None:
    # 2/61 + 1/63, 2/62 + 1/61, 2/63, 1/62
    expected = {A: 0.0486599, B: 0.0486515, C: 0.0317460, D: 0.0161290}
    assert_golden(reciprocal_rank(BOTH, 4, weights=WEIGHTS), expected)


def test_the_rank_constant_can_be_changed() -> None:
    # 1/1 + 1/3, 1/2 + 1/1, 1/3, 1/2
    expected = {B: 1.5, A: 4 / 3, D: 0.5, C: 1 / 3}
    assert_golden(reciprocal_rank(BOTH, 4, constant=0), expected)


def test_convex_gives_the_table() -> None:
    # words scaled: 1, 2/3, 0; meaning scaled: 1, 1/2, 0; two thirds of the one, one of the other
    assert_golden(convex(BOTH, 4, weights=WEIGHTS), {B: 7 / 9, A: 2 / 3, D: 1 / 6, C: 0.0})


def test_mixture_gives_the_table() -> None:
    # softmax of 4, 3, 1 and of 4.5, 2.5, 0.5; two thirds of the one, one third of the other
    expected = {A: -0.74329, B: -0.77233, D: -3.24154, C: -3.75448}
    fused = mixture(BOTH, 4, weights=WEIGHTS, temperatures=[2.0, 0.2])
    (found,) = as_dicts(fused)
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=2e-5)


def test_the_explanation_shows_these_numbers() -> None:
    letters = {A: "a", B: "b", C: "c", D: "d"}
    computed = {
        "rrf": reciprocal_rank(BOTH, 4, weights=WEIGHTS),
        "convex": convex(BOTH, 4, weights=WEIGHTS),
        "mixture": mixture(BOTH, 4, weights=WEIGHTS, temperatures=[2.0, 0.2]),
    }
    shown = {cells[0]: cells[1:] for cells in tables(PAGE)["An example"] if cells[0] in computed}
    for name, fused in computed.items():
        (found,) = as_dicts(fused)
        order = [letters[row] for row in found]
        assert shown[name][0] == " ".join(order), name
        numbers = dict(zip("abcd", map(float, shown[name][1:]), strict=True))
        assert numbers == pytest.approx(
            {letters[row]: score for row, score in found.items()}, abs=6e-4
        ), name


def test_the_softmax_of_a_mixtures_scores_is_the_prior_over_the_k() -> None:
    fused = mixture(BOTH, 2, weights=WEIGHTS, temperatures=[2.0, 0.2])
    whole = {A: 0.475548, B: 0.461935}
    expected = [whole[int(row)] / sum(whole.values()) for row in fused.rows[0]]
    prior = log_prior(torch.from_numpy(fused.scores[0])).exp()
    assert prior.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_mixture_keeps_probabilities_too_small_for_a_float() -> None:
    fused = mixture([hits({0: 3000.0, 1: 0.0}), hits({2: 1.0})], 3)
    (found,) = as_dicts(fused)
    assert found == pytest.approx({0: math.log(0.5), 2: math.log(0.5), 1: math.log(0.5) - 3000})


def test_a_member_that_finds_nothing_leaves_a_mixture_to_the_others() -> None:
    alone = mixture([WORDS], 3)
    with_silence = mixture([WORDS, hits({}, width=3)], 3, weights=[0.25, 0.75])
    assert as_dicts(with_silence) == as_dicts(alone)


def test_convex_counts_equal_scores_as_the_best() -> None:
    fused = convex([hits({1: 5.0, 2: 5.0}), hits({2: -3.0})], 3)
    assert as_dicts(fused) == [{2: 1.0, 1: 0.5}]


def test_negative_scores_fuse_like_others() -> None:
    below = hits({A: -2.0, B: -4.0, C: -8.0})
    expected = convex(BOTH, 4, weights=WEIGHTS)
    assert as_dicts(convex([below, MEANING], 4, weights=WEIGHTS)) == as_dicts(expected)


@pytest.mark.parametrize("fuse", FUSIONS)
def test_ties_are_ordered_by_row(fuse: Fuse) -> None:
    fused = fuse([hits({8: 1.0, 3: 0.0}), hits({3: 1.0, 8: 0.0})], 2)
    assert fused.rows.tolist() == [[3, 8]]
    assert fused.scores[0, 0] == fused.scores[0, 1]


def test_scores_equal_in_float32_are_ties() -> None:
    assert mixture([hits({5: 1e-9, 3: 0.0})], 2).rows.tolist() == [[3, 5]]


@pytest.mark.parametrize("combine", [_sum, _log_sum_exp])
def test_the_order_of_a_sum_over_members_changes_no_bit(
    combine: Callable[[np.ndarray], np.ndarray],
) -> None:
    table = np.random.default_rng(0).standard_normal((4, 200))
    assert combine(table).tolist() == combine(table[::-1]).tolist()


@pytest.mark.parametrize("fuse", FUSIONS)
def test_each_question_is_fused_alone(fuse: Fuse) -> None:
    first = hits({1: 3.0, 2: 1.0}, {}, {4: 2.0}, width=2)
    second = hits({2: 0.5}, {}, {4: 1.0, 6: 0.5}, width=3)
    fused = as_dicts(fuse([first, second], 4))
    assert fused[1] == {}
    for i, found in enumerate(fused):
        single = [Hits(hit.rows[i : i + 1], hit.scores[i : i + 1]) for hit in (first, second)]
        assert as_dicts(fuse(single, 4)) == [found]


@pytest.mark.parametrize("fuse", FUSIONS)
def test_missing_hits_fill_up_to_k(fuse: Fuse) -> None:
    fused = fuse(BOTH, 7)
    assert fused.rows[0, 4:].tolist() == [MISSING_ROW] * 3
    assert np.isneginf(fused.scores[0, 4:]).all()
    assert fuse([hits({}, width=0)], 2).rows.tolist() == [[MISSING_ROW, MISSING_ROW]]


@pytest.mark.parametrize("fuse", FUSIONS)
@pytest.mark.parametrize(
    ("members", "k", "weights", "message"),
    [
        ([], 1, None, "no hits"),
        (BOTH, 0, None, "0 hits"),
        (BOTH, 1, [1.0], r"weights \[1.0\]"),
        (BOTH, 1, [1.0, 0.0], "above 0"),
        (BOTH, 1, [1.0, math.nan], "above 0"),
        (BOTH, 1, [1.0, math.inf], "finite"),
        ([WORDS, hits({1: 1.0}, {1: 1.0})], 1, None, r"\[1, 2\] questions"),
    ],
)
def test_invalid_fusions_are_refused(
    fuse: Fuse, members: list[Hits], k: int, weights: list[float] | None, message: str
) -> None:
    with pytest.raises(ComponentError, match=message):
        fuse(members, k, weights=weights)


def test_a_temperature_must_be_above_zero() -> None:
    with pytest.raises(ComponentError, match="temperatures"):
        mixture(BOTH, 1, temperatures=[1.0, -1.0])


@st.composite
def searches(draw: st.DrawFn) -> list[Hits]:
    """Draw the hits of two or three members for two questions; quarters are exact in float32."""
    quarters = st.integers(-40, 40).map(lambda n: n / 4)
    members = []
    for _ in range(draw(st.integers(2, 3))):
        drawn = [draw(st.dictionaries(st.integers(0, 9), quarters, max_size=6)) for _ in range(2)]
        ranked = [
            dict(sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))) for scores in drawn
        ]
        members.append(hits(*ranked, width=draw(st.integers(6, 8))))
    return members


@pytest.mark.parametrize("fuse", FUSIONS)
@given(members=searches())
def test_the_order_of_members_changes_no_bit(fuse: Fuse, members: list[Hits]) -> None:
    weights = [0.3, 1.1, 2.0][: len(members)]
    fused = fuse(members, 8, weights=weights)
    reversed_order = fuse(members[::-1], 8, weights=weights[::-1])
    np.testing.assert_array_equal(reversed_order.rows, fused.rows)
    np.testing.assert_array_equal(reversed_order.scores, fused.scores)


@pytest.mark.parametrize("fuse", FUSIONS)
@given(members=searches(), k=st.integers(1, 12))
def test_a_smaller_k_is_a_prefix(fuse: Fuse, members: list[Hits], k: int) -> None:
    whole, part = fuse(members, 12), fuse(members, k)
    np.testing.assert_array_equal(part.rows, whole.rows[:, :k])
    np.testing.assert_array_equal(part.scores, whole.scores[:, :k])


@pytest.mark.parametrize("fuse", FUSIONS)
@given(members=searches())
def test_a_single_member_keeps_its_ranking(fuse: Fuse, members: list[Hits]) -> None:
    alone = fuse(members[:1], members[0].rows.shape[1])
    np.testing.assert_array_equal(alone.rows, members[0].rows)


@pytest.mark.parametrize("fuse", FUSIONS)
@given(members=searches())
def test_exactly_the_members_rows_are_fused(fuse: Fuse, members: list[Hits]) -> None:
    for i, found in enumerate(as_dicts(fuse(members, 40))):
        union = {int(row) for member in members for row in member.rows[i]} - {MISSING_ROW}
        assert set(found) == union


@given(members=searches())
def test_a_mixture_is_the_sum_of_its_members_priors(members: list[Hits]) -> None:
    weights, temperatures = [0.3, 1.1, 2.0][: len(members)], [0.5, 3.0, 1.0][: len(members)]
    fused = as_dicts(mixture(members, 40, weights=weights, temperatures=temperatures))
    for i, found in enumerate(fused):
        expected: dict[int, float] = dict.fromkeys(found, 0.0)
        member_scores = [as_dicts(member)[i] for member in members]
        total = sum(weight for weight, scores in zip(weights, member_scores, strict=True) if scores)
        for weight, temperature, scores in zip(weights, temperatures, member_scores, strict=True):
            likely = {row: math.exp(score / temperature) for row, score in scores.items()}
            for row, value in likely.items():
                expected[row] += weight / total * value / sum(likely.values())
        assert {row: math.exp(score) for row, score in found.items()} == pytest.approx(
            expected, rel=1e-4
        )
        assert not found or sum(map(math.exp, found.values())) == pytest.approx(1, abs=1e-5)
