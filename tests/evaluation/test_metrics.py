"""Test each metric on cases worked by hand, and against the libraries that it uses.

Libraries that take seconds to import are imported in the tests that compare with them: each process
of a test run imports this file, and few run those tests.
"""

from __future__ import annotations

import math
import sys
import unicodedata

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import MetricError, UnknownComponentError
from ragcore.evaluation.choosing import (
    DEFAULT_METRICS,
    GRADED_METRICS,
    RETRIEVAL_METRICS,
    make_metrics,
)
from ragcore.evaluation.figures import difference, figures
from ragcore.evaluation.metrics.answerability import QBleu1
from ragcore.evaluation.metrics.base import Mean, NoSettings
from ragcore.evaluation.prediction import (
    Prediction,
    RankedPassage,
    Ranking,
    make_predictions,
)
from ragcore.questions import LabelledQuestion
from ragcore.questions.matching import exact_match, normalize
from ragcore.types import Answer


def prediction(
    answer: str = "",
    right: tuple[str, ...] = ("x",),
    *,
    regex: bool = False,
    relevant: tuple[str, ...] = (),
    answering: str = "",
    name: str = "q",
    correct: bool | None = None,
    log_prob: float = -1.0,
    unanswerable: bool = False,
) -> Prediction:
    """Make a prediction; `answering` has a sign a passage, + for one that answers."""
    passages = tuple(
        RankedPassage(f"p{rank}", "", -float(rank), 0.1, 0.1, sign == "+")
        for rank, sign in enumerate(answering)
    )
    if correct is None and right:
        correct = answer in right
    return Prediction(
        name,
        "",
        right,
        regex,
        relevant,
        answer,
        log_prob,
        correct,
        passages,
        unanswerable,
        ranking=ranking(passages, relevant),
    )


def ranking(passages: tuple[RankedPassage, ...], relevant: tuple[str, ...] = ()) -> Ranking:
    """Rank the passages of a prediction by their order, searched ten deep."""
    grades = dict.fromkeys(relevant, 1) or {each.id: 1 for each in passages if each.answers}
    scores = tuple(each.score for each in passages)
    return Ranking(tuple(each.id for each in passages), scores, 10, grades, by_text=not relevant)


def value(name: str, *predictions: Prediction) -> float | None:
    (figure,) = figures(make_metrics([name]), predictions)
    assert figure.error is None, figure.error
    return figure.value


# The official SQuAD program's own arithmetic, by hand: articles and punctuation go first.
@pytest.mark.parametrize(
    ("answer", "right", "expected"),
    [
        ("The cat", ("cat",), 1.0),
        ("a black cat", ("the cat sat",), 2 * (1 / 2) * (1 / 2) / (1 / 2 + 1 / 2)),
        ("cat cat dog", ("cat dog dog",), 2 / 3),
        ("one two", ("three", "two four five"), 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)),
        ("x", ("y",), 0.0),
        ("the", ("a",), 1.0),
        ("the", ("cat",), 0.0),
    ],
)
def test_f1_is_squads(answer, right, expected):
    assert value("f1", prediction(answer, right)) == pytest.approx(expected)


ascii_texts = st.text(st.characters(max_codepoint=127)).filter(normalize)
words = st.sampled_from(["The", "cat", "Cat's", "a", "b-c", "(an)", "Théa", "...", "7.5", "u.s."])
answers = st.lists(words, min_size=1, max_size=4).map(" ".join).filter(normalize) | ascii_texts


@given(st.lists(st.tuples(answers, st.lists(answers, min_size=1, max_size=3)), min_size=1))
def test_exact_match_and_f1_equal_squads_official_program(rows):
    from torchmetrics.functional.text.squad import squad

    answered = [
        prediction(answer, tuple(right), correct=exact_match(answer, right))
        for answer, right in rows
    ]
    expected = squad(
        [{"id": str(n), "prediction_text": answer} for n, (answer, _) in enumerate(rows)],
        [
            {"id": str(n), "answers": {"text": right, "answer_start": [0] * len(right)}}
            for n, (_, right) in enumerate(rows)
        ],
    )
    assert 100 * value("exact_match", *answered) == pytest.approx(float(expected["exact_match"]))
    assert 100 * value("f1", *answered) == pytest.approx(float(expected["f1"]), abs=1e-3)


def test_exact_match_is_a_share_of_those_that_can_be_judged():
    assert value("exact_match", prediction("x"), prediction("y"), prediction("y", ())) == 0.5


def test_a_label_is_compared_letter_for_letter():
    predictions = [
        prediction(text, ("NOT ENOUGH INFO",)) for text in ("not  enough info", "enough info", "")
    ]
    assert value("label_accuracy", *predictions) == pytest.approx(1 / 3)


texts = st.lists(st.sampled_from(["the", "cat", "sat", "on", "a", "mat"]), max_size=6).map(" ".join)


@given(st.lists(st.tuples(texts, st.lists(texts.filter(bool), min_size=2, max_size=2)), min_size=1))
def test_bleu_1_is_sacrebleus_over_the_whole_corpus(rows):
    found = value("bleu_1", *(prediction(answer, tuple(right)) for answer, right in rows))
    bleu = sacrebleu.BLEU(max_ngram_order=1, lowercase=True, smooth_method="none")
    references = [[right[index] for _, right in rows] for index in range(2)]
    expected = bleu.corpus_score([answer for answer, _ in rows], references).score
    assert found == pytest.approx(expected, abs=1e-9)


def test_bleu_1_is_papinenis():
    """Clipped precision 2 / 7: "the the the the the the the" (Papineni et al., 2002)."""
    assert value("bleu_1", prediction("the " * 7, ("the cat is on the mat",))) == pytest.approx(
        200 / 7
    )
    assert value("bleu_1", prediction("the cat", ("the cat sat",))) == pytest.approx(
        100 * math.exp(-1 / 2)
    )


def test_rouge_l_is_the_longest_common_subsequence():
    """Lin (2004): "police killed the gunman" and "police kill the gunman" share three words."""
    right = ("police killed the gunman",)
    assert value("rouge_l", prediction("police kill the gunman", right)) == pytest.approx(3 / 4)
    assert value("rouge_l", prediction("the gunman kill police", right)) == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    "text",
    [
        "Столица Чада — Нджамена",
        "عاصمة تشاد هي إنجامينا",
        "乍得的首都是恩贾梅纳",
        "จาดมีเมืองหลวง",
        "चाड की राजधानी",
        "Déby Ångström",
    ],
)
def test_words_of_every_script_are_compared(text):
    half = text[: len(text) // 2]
    for name in ("rouge_l", "f1"):
        assert value(name, prediction(text, (text,))) == 1.0
        assert 0 < value(name, prediction(half, (text,))) < 1 or " " not in half
    assert 0 < value("rouge_l", prediction(f"{text} {text}", (text,))) < 1
    decomposed = unicodedata.normalize("NFD", text)
    for name in ("rouge_l", "f1", "label_accuracy"):
        assert value(name, prediction(decomposed, (text,), correct=True)) == 1.0
    for name in ("bleu_1", "q_bleu_1"):
        score, expected = (
            value(name, prediction(answer, (text,))) for answer in (decomposed, text)
        )
        assert score == expected


@given(st.text(st.characters(max_codepoint=127)), st.text(st.characters(max_codepoint=127)))
def test_rouge_l_is_rouge_scores_own_on_ascii(answer, right):
    from rouge_score.rouge_scorer import RougeScorer

    expected = RougeScorer(["rougeL"]).score(right, answer)["rougeL"].fmeasure
    assert value("rouge_l", prediction(answer, (right,))) == expected


def test_questions_with_and_without_an_answer_are_reported_apart():
    """SQuAD 2.0's HasAns and NoAns: an empty answer is right only where there is none."""
    predictions = [
        prediction("a cat", ("cat sat",), correct=False),
        prediction("x", ("x",)),
        prediction("", (), unanswerable=True, correct=True),
        prediction("unknown", (), unanswerable=True, correct=True),
        prediction("cat", (), unanswerable=True, correct=False),
    ]
    f1 = 2 / 3
    assert value("exact_match", *predictions) == pytest.approx(3 / 5)
    assert value("f1", *predictions) == pytest.approx((f1 + 1 + 2) / 5)
    assert value("has_ans_exact_match", *predictions) == pytest.approx(1 / 2)
    assert value("has_ans_f1", *predictions) == pytest.approx((f1 + 1) / 2)
    assert value("no_ans_exact_match", *predictions) == pytest.approx(2 / 3)
    assert value("no_ans_exact_match", *predictions[:2]) is None
    for name in ("bleu_1", "rouge_l", "label_accuracy"):
        (figure,) = figures(make_metrics([name]), predictions)
        assert figure.questions == 2


confidences = st.lists(
    st.tuples(st.booleans(), st.sampled_from([-5.0, -2.5, -1.0, -0.5, -0.1])),
    min_size=2,
    max_size=30,
)


@given(confidences)
def test_auroc_is_the_share_of_pairs_that_log_p_orders(rows):
    predictions = [prediction(correct=right, log_prob=log_prob) for right, log_prob in rows]
    right = [log_prob for is_right, log_prob in rows if is_right]
    wrong = [log_prob for is_right, log_prob in rows if not is_right]
    found = value("log_prob_auroc", *predictions, prediction(right=()))
    if not right or not wrong:
        assert found is None
    else:
        pairs = [(a > b) + (a == b) / 2 for a in right for b in wrong]
        assert found == pytest.approx(sum(pairs) / len(pairs))


def test_selective_exact_match_is_of_the_most_probable_answers():
    rows = [(True, -1.0), (False, -2.0), (True, -3.0), (False, -4.0), (False, -5.0)]
    predictions = [prediction(correct=right, log_prob=log_prob) for right, log_prob in rows]
    expected = {20: 1, 40: 1 / 2, 60: 2 / 3, 80: 1 / 2, 100: 2 / 5}
    for coverage, share in expected.items():
        name = f"selective_exact_match@{coverage}"
        assert value(name, *reversed(predictions), prediction(right=())) == pytest.approx(share)
    # Two of three that tie count: each for two thirds, however they are listed.
    tied = [prediction(correct=right, log_prob=-1.0) for right in (True, False, False)]
    assert value("selective_exact_match@60", *tied) == pytest.approx(1 / 3)
    (figure,) = figures(make_metrics(["selective_exact_match@20"]), predictions)
    assert (figure.low, figure.high, figure.questions) == (None, None, 5)


def test_distinct_trigrams_are_counted_over_all_answers():
    predictions = [prediction("a b c d"), prediction("a b c"), prediction("a b")]
    assert value("distinct_trigrams", *predictions) == pytest.approx(2 / 3)
    (figure,) = figures(make_metrics(["distinct_trigrams"]), predictions)
    assert (figure.low, figure.high, figure.questions) == (None, None, 2)


def test_a_question_without_what_it_asks_for_is_hardly_answerable():
    right = "Who was the king of France in 1700 ?"
    metric = QBleu1(QBleu1.Config())

    def score(text: str) -> float:
        (found,) = metric.statistics([prediction(text, (right,))])
        return found[0]

    assert score(right) == pytest.approx(100)
    without_country = score("Who was the king of in 1700 ?")
    without_words = score("Who king of France 1700 ?")
    assert without_country < without_words < 100
    weights = QBleu1(QBleu1.Config(entities=0, kind=0, content=0, delta=0))
    (bleu,) = weights.statistics([prediction("Who was king", (right,))])
    assert bleu[0] == pytest.approx(value("bleu_1", prediction("Who was king", (right,))))


def test_what_was_found_is_ranked():
    predictions = [
        prediction(answering="-+--", name="a"),
        prediction(answering="+---", name="b"),
        prediction(answering="----", name="c"),
        prediction(answering="", name="d"),
    ]
    assert value("hit@1", *predictions) == 1 / 4
    assert value("hit@2", *predictions) == 2 / 4
    assert value("hit", *predictions) == 2 / 4
    assert value("mrr", *predictions) == pytest.approx((1 / 2 + 1) / 4)
    assert value("mrr@1", *predictions) == 1 / 4
    assert value("ndcg@2", *predictions) == pytest.approx((1 / math.log2(3) + 1) / 4)


def test_questions_of_one_id_are_ranked_each_for_itself():
    """Ids may be numbers or occur twice."""
    for names in (("1", "1"), ("1", "01"), ("0", "1")):
        first, second = (
            prediction(answering=signs, name=name)
            for signs, name in zip(("+-", "--"), names, strict=True)
        )
        assert value("hit@1", first, second) == 0.5
        assert value("mrr", second, first) == 0.5
        assert value("ndcg", first, second) == 0.5


def test_relevant_passages_that_were_not_found_lower_ndcg():
    one = prediction(answering="-+", relevant=("p1", "p7"))
    ideal = 1 + 1 / math.log2(3)
    assert value("ndcg", one) == pytest.approx((1 / math.log2(3)) / ideal)


def test_equal_scores_keep_their_places():
    passages = tuple(
        RankedPassage(name, "", 1.0, 0.5, 0.5, name == "a") for name in ("z", "a", "b")
    )
    one = Prediction(
        *("q", "", ("x",), False, (), "", 0.0, False, passages), ranking=ranking(passages)
    )
    assert value("mrr", one) == pytest.approx(1 / 2)


def test_patterns_have_no_words_to_compare():
    for name in ("f1", "bleu_1", "rouge_l", "label_accuracy", "q_bleu_1"):
        (figure,) = figures(make_metrics([name]), [prediction("x", ("x+",), regex=True)])
        assert (figure.value, figure.questions, figure.error) == (None, 0, None)


class Broken(Mean):
    def score(self, prediction: Prediction) -> float:
        raise KeyError("no such thing")


class Infinite(Mean):
    def score(self, prediction: Prediction) -> float:
        return math.nan


class TooFew(Mean):
    def statistics(self, predictions):
        return super().statistics(predictions[1:])


@pytest.mark.parametrize("wrong", [Broken, Infinite, TooFew])
def test_a_metric_that_fails_has_its_error_and_the_others_their_figures(wrong):
    metrics = {"broken": wrong(NoSettings()), **make_metrics(["log_prob"])}
    first, second = figures(metrics, [prediction(), prediction()])
    assert first.error
    assert first.value is None
    assert second.value == -1.0


class Missing(Mean):
    def score(self, prediction: Prediction) -> float:
        raise ModuleNotFoundError("No module named 'ir_measures'", name="ir_measures")


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch):
    (figure,) = figures({"missing": Missing(NoSettings())}, [prediction()])
    assert figure.error == (
        "ir_measures is not installed: pip install '.[eval]' in a clone of ragcore"
    )
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(MetricError, match=r"'rouge_l': .*pip install '\.\[eval\]'"):
        make_metrics(["rouge_l"])


@pytest.mark.parametrize("package", ["ir_measures", "scipy"])
@pytest.mark.parametrize("names", [DEFAULT_METRICS, RETRIEVAL_METRICS, GRADED_METRICS, ["hit@1"]])
def test_a_package_that_measuring_needs_is_missed_before_any_question_is_asked(
    names, package, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"{package} is not installed: pip install '\.\[eval\]'"
    with pytest.raises(MetricError, match=message):
        make_metrics(names)


def test_an_interval_holds_the_figure_and_narrows_with_questions():
    few = [prediction("x" if index % 3 else "y", name=str(index)) for index in range(30)]
    many = few * 30
    (one,) = figures(make_metrics(["exact_match"]), few)
    (other,) = figures(make_metrics(["exact_match"]), many)
    assert one.low < one.value < one.high
    assert other.high - other.low < (one.high - one.low) / 3
    # Of a share p of n the normal interval is about p ± 1.96 √(p (1 - p) / n).
    half = 1.96 * math.sqrt(2 / 9 / 900)
    assert other.high - other.value == pytest.approx(half, rel=0.15)


def test_an_interval_of_one_question_is_the_question():
    (figure,) = figures(make_metrics(["exact_match"]), [prediction("x")])
    assert (figure.low, figure.high) == (1.0, 1.0)


def runs(one: str, other: str, name: str = "exact_match"):
    metric = make_metrics([name])[name]
    both = [
        figures({name: metric}, [prediction("x" if sign == "+" else "y") for sign in signs])[0]
        for signs in (one, other)
    ]
    return difference(name, metric, *both)


def test_runs_that_are_the_same_do_not_differ():
    found = runs("+-+-", "+-+-")
    assert (found.low, found.high, found.p) == (0.0, 0.0, 1.0)


def test_the_test_is_paired():
    """Ten questions gained and none lost: p is that of ten coins that fall alike, twice."""
    found = runs("-" * 10 + "+" * 30, "+" * 40)
    assert (found.one, found.other) == (0.75, 1.0)
    assert found.p == pytest.approx(2 / 2**10, abs=2e-3)
    assert 0 < found.low < 0.25 < found.high
    crossed = runs("-" * 10 + "+" * 10 + "+" * 20, "+" * 10 + "-" * 10 + "+" * 20)
    assert crossed.p == 1.0


def test_runs_of_other_questions_cannot_be_compared():
    with pytest.raises(MetricError, match="same questions"):
        runs("++", "+")


def test_a_metric_is_named_with_its_depth():
    assert make_metrics(["hit@7"])["hit@7"].config.k == 7
    assert make_metrics(["selective_exact_match@7"]).popitem()[1].config.coverage == 7
    for wrong in ("f1@3", "hit@", "hit@0", "hit@x"):
        with pytest.raises(MetricError, match="NAME@K"):
            make_metrics([wrong])
    with pytest.raises(MetricError, match=r"selective_exact_match@101.*100"):
        make_metrics(["selective_exact_match@101"])
    with pytest.raises(UnknownComponentError, match="exact_match"):
        make_metrics(["exact_mach"])


def test_every_question_of_a_run_has_an_id_of_its_own():
    questions = [LabelledQuestion("q", id=name) for name in ("1", "", "1", "2", "")]
    answers = [Answer("q", "x", -1.0, (), "v", ("x",), ((),), (5,)) for _ in questions]
    ids = [prediction.id for prediction in make_predictions(questions, answers)]
    assert len(set(ids)) == 5
    assert (ids[0], ids[2], ids[4]) == ("1", "3", "5")
