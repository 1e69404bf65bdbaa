"""Answers that are drawn, or end at stop strings, from whole pipelines."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ragcore.answering.prompting import writing_of
from ragcore.answering.refusals import refuse_impossible
from ragcore.answering.request import Request
from ragcore.answering.stop_strings import StopStrings
from ragcore.config import RagConfig
from ragcore.errors import ConfigError, UnsupportedOperation
from ragcore.evaluation.verification import verify_answer
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Answer, Correction, Passage, Token
from tests.helpers.table_generator import EOS, TableGenerator
from tests.helpers.word_encoder import dense_part

QUESTIONS = ["who rules chad", "who rules mali", "where is the river"]
FORMULAS = [
    {"marginalize": "token"},
    {"marginalize": "sequence", "decode": "joint"},
    {"marginalize": "sequence", "decode": "thorough"},
]
SAMPLE = {"n": 6, "seed": 5}


class Spaced(TableGenerator):
    """Writes a, a space, a line break, and c; its texts are single-spaced."""

    letters = "?a \nc"

    def decode_verbatim(self, token_ids):
        return "".join(self.letters[token] for token in token_ids if token != EOS)

    def decode_tokens(self, token_ids):
        return " ".join(self.decode_verbatim(token_ids).split())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    texts = ["chad is ruled", "mali is ruled", "the river is long", "who knows", "where it is"]
    passages = [Passage(f"{n}", "t", text) for n, text in enumerate(texts)]
    store.build("v1", passages, dense_part())
    return store


def make(store: Store, kind=TableGenerator, **rag) -> Rag:
    return Rag(
        store.open("v1", retriever=dense_part()),
        kind(TableGenerator.Config(vocabulary=5, sharpness=1.0)),
        RagConfig(**{"k": 3, "max_new_tokens": 6, **rag}),
        store=store,
        retriever=dense_part(),
    )


def texts_drawn(answer: Answer) -> list[str]:
    return [candidate.text for candidate in answer.samples]


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
def test_a_drawn_answer_is_the_same_alone_in_a_batch_and_streamed(store, formula):
    rag = make(store, sample=SAMPLE, batch_size=2, **formula)
    together = rag.answer(QUESTIONS)
    for question, answer in zip(QUESTIONS, together, strict=True):
        (alone,) = rag.answer(question)
        assert texts_drawn(alone) == texts_drawn(answer)
        assert alone.text == answer.text
        assert alone.log_prob == pytest.approx(answer.log_prob, abs=1e-5)
    # Streams of RAG-Sequence draw jointly.
    streaming = make(store, sample=SAMPLE, **{**formula, "decode": "joint"})
    (expected,) = streaming.answer(QUESTIONS[0])
    *events, streamed = streaming.events(QUESTIONS[0])
    assert texts_drawn(streamed) == texts_drawn(expected)
    assert "".join(each.text for each in events if isinstance(each, Token)) == streamed.text


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
def test_the_most_probable_of_the_drawn_answers_is_the_answer(store, formula):
    rag = make(store, sample=SAMPLE, **formula)
    (answer,) = rag.answer(QUESTIONS[0])
    assert len(answer.samples) == 6
    assert answer.candidates[0].token_ids == answer.token_ids
    assert answer.log_prob == max(candidate.log_prob for candidate in answer.candidates)
    (as_searched,) = make(store, **formula).answer(QUESTIONS[0])
    assert as_searched.samples == ()
    assert "samples" not in as_searched.to_dict()
    row = answer.to_dict()
    assert [sample["text"] for sample in row["samples"]] == texts_drawn(answer)
    encoded = rag.log_prob([QUESTIONS[0]] * 6, texts_drawn(answer))
    assert [sample["log_prob"] for sample in row["samples"]] == pytest.approx(encoded, abs=1e-4)


def test_each_draw_is_an_answer_of_its_own(store):
    rag = make(store, sample=SAMPLE, marginalize="sequence", decode="joint")
    (answer,) = rag.answer(QUESTIONS[0])
    drawn = rag.samples(answer)
    assert [each.text for each in drawn] == texts_drawn(answer)
    assert len({each.text for each in drawn}) > 1
    for each in drawn:
        assert each.confidence == pytest.approx(math.exp(each.log_prob))
        assert len(each.tokens) == len(each.token_ids)
        posterior = [evidence.posterior for evidence in each.evidence]
        assert posterior == pytest.approx(each.token_posteriors[-1])
    assert next(each for each in drawn if each.text == answer.text) == answer
    (searched,) = rag.answer(QUESTIONS[0], sample={"temperature": 0})
    assert rag.samples(searched) == [searched]


def test_a_passage_is_left_out_of_a_drawn_answer(store):
    rag = make(store, sample=SAMPLE)
    (answer,) = rag.answer(QUESTIONS[0])
    left_out = rag.without(answer, answer.evidence[0].passage.id)
    assert left_out.candidates == len(answer.candidates)
    assert left_out.winner.samples


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
def test_a_request_draws_by_its_own_settings(store, formula):
    rag, sampling = make(store, **formula), make(store, sample=SAMPLE, **formula)
    assert rag.answer(QUESTIONS, sample=SAMPLE) == sampling.answer(QUESTIONS)
    # What a request leaves out is the pipeline's.
    seeded = make(store, sample=SAMPLE | {"seed": 9}, **formula)
    assert sampling.answer(QUESTIONS, sample={"seed": 9}) == seeded.answer(QUESTIONS)
    assert sampling.answer(QUESTIONS, sample={"temperature": 0}) == rag.answer(QUESTIONS)
    results = rag.answer_each(
        [
            Request(QUESTIONS[0], {"sample": SAMPLE}),
            QUESTIONS[0],
            Request(QUESTIONS[0], {"sample": SAMPLE | {"seed": 9}}),
        ]
    )
    assert [len(each.samples) for each in results] == [6, 0, 6]
    assert results[0].samples != results[2].samples


def test_an_abstaining_question_draws_nothing(store):
    rag = make(store, sample=SAMPLE, abstain={"answer": "a", "above": 0.0})
    (answer,) = rag.answer(QUESTIONS[0])
    assert answer.abstains
    assert answer.samples == ()
    answering = make(store, sample=SAMPLE, abstain={"answer": "a", "above": 1.0})
    (drawn,) = answering.answer(QUESTIONS[0])
    assert not any(text.startswith("a") for text in texts_drawn(drawn))


def test_grounded_answers_are_drawn_from_the_passages(tmp_path):
    letters = Store(tmp_path / "letters")
    texts = ["abcd", "dacb", "bbca"]
    passages = [Passage(text, "t", text) for text in texts]
    letters.build("v1", passages, dense_part())
    rag = make(letters, sample=SAMPLE | {"n": 20}, grounded=True, max_new_tokens=4)
    (answer,) = rag.answer(QUESTIONS[0])
    assert len(answer.candidates) > 5
    for candidate in answer.candidates:
        assert any(candidate.text in text for text in texts)
        assert any(candidate.spans)


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
@pytest.mark.parametrize("sample", [None, {"n": 5}], ids=["searched", "drawn"])
def test_an_answer_ends_before_a_stop_string_and_its_log_prob_is_verified(store, formula, sample):
    rag = make(store, stop=["c"], sample=sample, max_new_tokens=8, **formula)
    answers = rag.answer([f"question {n}" for n in range(6)])
    stopped = [each for each in answers if each.token_ids[-1] != EOS]
    assert stopped
    for answer in answers:
        assert "c" not in answer.text
        for candidate in answer.candidates:
            assert "c" not in candidate.text
        verification = verify_answer(rag, answer.question)
        assert verification.gap < 1e-4
        (requested,) = make(store, sample=sample, max_new_tokens=8, **formula).answer(
            answer.question, stop="c"
        )
        assert requested.text == answer.text
        assert requested.token_ids == answer.token_ids


@pytest.mark.parametrize("stop", [["\n"], ["a "], ["\n", "cc"]], ids=str)
def test_a_stream_sends_nothing_of_a_stop_string(store, stop):
    for seed in range(12):
        rag = make(store, Spaced, stop=stop, sample={"seed": seed}, max_new_tokens=8)
        *events, answer = rag.events("a question")
        parts = "".join(event.text for event in events if isinstance(event, Token))
        assert parts == answer.text
        assert not any(isinstance(event, Correction) for event in events)
        verbatim = rag.generator.decode_verbatim(answer.token_ids)
        first = min((verbatim.find(each) for each in stop if each in verbatim), default=None)
        assert answer.text == " ".join(verbatim[:first].split())


def test_text_that_may_begin_a_stop_string_is_not_settled():
    generator = Spaced(TableGenerator.Config(vocabulary=5))
    strings = StopStrings(generator, ["a\nc", "cc"])
    assert strings.settled([1]) == ""
    assert strings.settled([4, 1]) == "c"
    assert strings.settled([4, 1, 2]) == "ca"
    assert strings.settled([4, 1, 3]) == "c"
    assert strings.end([4, 1, 3, 4])
    assert strings.settled([4, 1, 3, 4]) == strings.text([4, 1, 3, 4]) == "c"
    assert not StopStrings(generator, [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample": {"temperature": -1}}, "sample.temperature: must be at least 0, found -1"),
        ({"sample": {"top_p": "1"}}, "sample.top_p: expected a number, found '1'"),
        ({"sample": {"n": 0, "top_k": True}}, "sample.top_k: expected an integer, found True"),
        ({"sample": {"temprature": 1}}, "sample.temprature: .*, found 1"),
        ({"sample": 0.7}, "sample: expected a mapping of temperature, top_p, .*, found 0.7"),
        ({"stop": [""]}, "stop.0: must have at least 1 character, found ''"),
        ({"stop": [3]}, "stop.0: expected a string, found 3"),
        ({"repetition_penalty": 0.5}, "repetition_penalty: must be at least 1, found 0.5"),
        ({"history": "before"}, "history: expected a list of turns, .* found 'before'"),
        ({"history": [{"question": "a"}]}, "history.0: expected a mapping of question and answer"),
        (
            {"history": [{"question": "a", "answer": None}]},
            r"history.0.answer is None, expected text \(str\)",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_request_is_named_by_its_key(store, settings, message):
    with pytest.raises(ConfigError, match=message):
        make(store).answer(QUESTIONS, **settings)


@pytest.mark.parametrize(
    ("tier", "settings", "message"),
    [
        ("score", {"sample": {}}, "rag.sample draws whole texts.* set rag.marginalize to sequence"),
        ("text", {"sample": {}}, "rag.sample draws whole texts.* set rag.marginalize to sequence"),
        ("top", {"sample": {}}, "rag.sample draws whole texts.* set rag.marginalize to sequence"),
        ("text", {"sample": {"top_k": 3}}, "rag.sample.top_k: 3 is no parameter"),
        ("score", {"repetition_penalty": 1.1}, "rag.repetition_penalty ranks by tokens"),
        ("top", {"stop": ["a"]}, "rag.stop ends an answer by the text of its token ids"),
    ],
)
def test_a_generator_of_texts_refuses_what_it_cannot_draw_by(tier, settings, message):
    class Served:
        """A generator of a lesser tier; nothing is asked of it."""

    Served.tier = tier
    with pytest.raises(UnsupportedOperation, match=message):
        refuse_impossible(Served(), RagConfig(decode="joint", **settings))


def test_texts_that_a_server_writes_end_at_the_stop_strings():
    assert writing_of(RagConfig(stop=["a", "b"])).stop == ("a", "b")


def test_a_grounded_pipeline_refuses_stop_strings(store):
    with pytest.raises(ConfigError, match="stop and grounded exclude each other"):
        make(store, grounded=True).answer(QUESTIONS, stop="c")
