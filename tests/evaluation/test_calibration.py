"""Test the fitted temperature: never worse than 1, by the likelihood that the pipeline gives."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.config import RagConfig
from ragcore.errors import QuestionError
from ragcore.evaluation.calibration import calibrate, read_answered_questions
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

QUESTIONS = ["who rules chad", "who rules mali", "where is the river"]
ANSWERS = ["ab", "b", "cca"]
TEXTS = ["chad is ruled", "mali is ruled", "the river is long", "who knows", "where it is"]
CONFIGS = {
    "token": {"marginalize": "token"},
    "sequence": {"marginalize": "sequence"},
    "token, abstaining": {"marginalize": "token", "abstain": {"answer": "b", "above": 0.5}},
    "token, always": {"marginalize": "token", "abstain": {"answer": "c", "above": 0}},
    "sequence, abstaining": {"marginalize": "sequence", "abstain": {"answer": "a", "above": 0.3}},
    "sequence, geometric": {
        "marginalize": "sequence",
        "abstain": {"answer": "a", "above": 0.02, "mean": "geometric"},
    },
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    passages = [Passage(str(z), f"t{z}", text, {"n": z}) for z, text in enumerate(TEXTS)]
    store.build("v", passages, dense_part(), corpus_config=None)
    return store


class Counting(TableGenerator):
    """Counts how many rows it has scored."""

    scored = 0

    def score(self, read, pairs, targets):
        self.scored += len(pairs)
        return super().score(read, pairs, targets)


def make(store: Store, temperature: float = 1.0, seed: int = 0, **config) -> Rag:
    memory = store.open("v", retriever=dense_part(), temperature=temperature)
    generator = Counting(Counting.Config(seed=seed, sharpness=2.5))
    return Rag(memory, generator, RagConfig(**{"k": 3, "max_new_tokens": 4, **config}))


def mean_log_prob(rag: Rag) -> float:
    return sum(rag.log_prob(QUESTIONS, ANSWERS)) / len(QUESTIONS)


@each_config
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    temperature=st.floats(0.01, 100),
    answers=st.lists(st.text("abc", min_size=1, max_size=3), min_size=3, max_size=3),
)
def test_the_fitted_temperature_is_never_worse(config, seed, temperature, answers, store):
    calibration = calibrate(make(store, temperature, seed, **config), QUESTIONS, answers)
    assert calibration.fitted.log_prob >= calibration.one.log_prob
    assert calibration.fitted.log_prob >= calibration.current.log_prob - 1e-8
    assert calibration.one.temperature == 1
    assert calibration.current.temperature == temperature


@each_config
@pytest.mark.parametrize("temperature", [0.3, 1.0, 20.0])
def test_the_likelihood_is_the_pipelines_own(config, temperature, store):
    calibration = calibrate(make(store, temperature, **config), QUESTIONS, ANSWERS)
    for fit in (calibration.fitted, calibration.one, calibration.current):
        served = mean_log_prob(make(store, fit.temperature, **config))
        assert fit.log_prob == pytest.approx(served, abs=1e-5)
    priors = [
        answer.evidence[0].prior
        for answer in make(store, temperature, marginalize="token").answer(QUESTIONS)
    ]
    assert calibration.current.top_prior == pytest.approx(sum(priors) / 3, abs=1e-6)


@pytest.mark.parametrize("config", [CONFIGS["token"], CONFIGS["sequence"]], ids=str)
@pytest.mark.parametrize("seed", [2, 4, 5])
def test_no_temperature_of_a_finer_grid_is_better(config, seed, store):
    calibration = calibrate(make(store, seed=seed, **config), QUESTIONS, ANSWERS)
    finer = [
        calibrate(make(store, 10 ** (step / 23), seed, **config), QUESTIONS, ANSWERS).current
        for step in range(-69, 70, 3)
    ]
    best = calibration.fitted
    assert best.log_prob >= max(fit.log_prob for fit in finer) - 1e-6
    assert 0.001 < best.temperature < 1000
    for near in (best.temperature / 1.02, best.temperature * 1.02):
        neighbour = calibrate(make(store, near, seed, **config), QUESTIONS, ANSWERS).current
        assert best.log_prob > neighbour.log_prob


def test_pairs_are_read_and_answers_scored_once(store):
    rag = make(store, batch_size=2)
    calibrate(rag, QUESTIONS, [["a", "b"], ["c"], ["ab", "c", "ab"]])
    assert rag.generator.passes == 2
    assert rag.generator.scored == 3 * (2 + 1 + 2)


def test_any_of_several_answers_is_right(store):
    several = calibrate(make(store), QUESTIONS, [["a", "b", "a"], "b", "c"])
    by_first = [make(store).log_prob(QUESTIONS, [answer, "b", "c"]) for answer in ("a", "b")]
    first = math.log(sum(math.exp(log_probs[0]) for log_probs in by_first))
    _, second, third = by_first[0]
    assert several.one.log_prob == pytest.approx((first + second + third) / 3, abs=1e-5)
    assert (several.questions, several.answers, several.found) == (3, 4, 3)


def test_where_the_temperature_makes_no_difference_it_is_one(store):
    assert calibrate(make(store, 7, k=1), QUESTIONS, ANSWERS).fitted.temperature == 1
    nothing = make(store, 7, where={"n": 99})
    calibration = calibrate(nothing, QUESTIONS, ANSWERS)
    assert (calibration.fitted.temperature, calibration.found) == (1, 0)
    assert calibration.one.log_prob == pytest.approx(mean_log_prob(nothing), abs=1e-5)


def test_questions_may_have_different_numbers_of_passages(store):
    class Fewer(type(dense_part().build())):
        def search(self, questions, k, *, allowed=None):
            hits = super().search(questions, k, allowed=allowed)
            rows, scores = hits.rows.copy(), hits.scores.copy()
            rows[1, 1:], scores[1, 1:] = -1, -math.inf
            rows[2], scores[2] = -1, -math.inf
            return type(hits)(rows, scores)

    rag = make(store, 3)
    with rag.memory.reading() as memory:
        memory.retriever.__class__ = Fewer
    calibration = calibrate(rag, QUESTIONS, ANSWERS)
    assert calibration.current.log_prob == pytest.approx(mean_log_prob(rag), abs=1e-5)
    assert calibration.found == 2
    # Two questions have no passage but the first.
    assert calibration.top_best >= 2 / 3


def test_the_share_of_best_first_passages_is_counted(store):
    calibration = calibrate(make(store), QUESTIONS, ANSWERS)
    rag, best = make(store), 0
    for question, answer, served in zip(QUESTIONS, ANSWERS, rag.answer(QUESTIONS), strict=True):
        alone = []
        for one in served.evidence:
            pairs = rag.generator.read([question], [one.passage])
            alone.append(
                sum(
                    float(rag.generator.next_log_probs(pairs.keys[0], tuple(ids[:at]))[token])
                    for ids in rag.generator.encode_answers([answer])
                    for at, token in enumerate(ids)
                )
            )
        best += alone[0] == max(alone)
    assert calibration.top_best == pytest.approx(best / 3)


@pytest.mark.parametrize(
    ("questions", "answers", "message"),
    [
        ([], [], "0 questions with 0 answers"),
        (["a", "b"], ["c"], "2 questions with 1 answers"),
        (["a", "b"], ["c", []], r"question 2 of 2 \('b'\) has no answer"),
        (["a"], [["c", " "]], "has an empty answer"),
        ([" "], ["c"], "question 1 of 1 is empty"),
    ],
)
def test_questions_that_cannot_be_used_are_refused(questions, answers, message, store):
    with pytest.raises(QuestionError, match=message):
        calibrate(make(store), questions, answers)


def test_questions_are_read_from_a_file(tmp_path):
    path = tmp_path / "q.jsonl"
    lines = [{"question": "a", "answer": "b"}, {"question": "c", "answers": ["d", "e"], "id": 3}]
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    assert read_answered_questions(path) == (["a", "c"], [["b"], ["d", "e"]])


def test_all_wrong_lines_are_listed(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"question": "a", "answer": "b"}\n{"question": "a"}\nno\n[]\n{"question": " "}\n'
        '{"question": "a", "answers": []}\n{"question": "a", "answer": 3}\n',
        encoding="utf-8",
    )
    with pytest.raises(QuestionError) as raised:
        read_answered_questions(path)
    shown = str(raised.value).splitlines()
    assert [line.split(":")[1] for line in shown] == ["2", "3", "4", "5", "6", "7"]
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(QuestionError, match="no question"):
        read_answered_questions(path)
    with pytest.raises(QuestionError, match=r"none.jsonl: no such file"):
        read_answered_questions(tmp_path / "none.jsonl")
