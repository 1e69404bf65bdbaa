"""Questions that continue a conversation: made stand-alone by the generator, if that is wanted."""

from __future__ import annotations

import string
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from pydantic import ValidationError

from ragcore.answering.conversation import Turn
from ragcore.answering.request import Request
from ragcore.answering.rewriting import rewritten
from ragcore.config import RagConfig, RewriteConfig
from ragcore.contracts import Completion
from ragcore.errors import QuestionError, RequestCancelledError
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.testing.as_tier import AsTexts
from ragcore.types import Passage, SearchResult
from tests.helpers.table_generator import EOS, TableGenerator
from tests.helpers.tiers import tables
from tests.helpers.word_encoder import dense_part

HISTORY = [Turn("who rules chad", "idriss"), Turn("since when", "1990")]
LATER = "and in mali"
REWRITTEN = {LATER: "who rules mali\nnobody", "what now": "   ", "the same": "the same"}
ALPHABET = f"?{string.ascii_lowercase} \n"


class Rewriter(TableGenerator):
    """Writes planned questions for prompts without a passage, and else as its table says."""

    longest = 10_000

    def __init__(self, config) -> None:
        super().__init__(config)
        self.prompts: list[str] = []

    def read(self, questions, passages):
        for question, passage in zip(questions, passages, strict=True):
            if passage is None:
                if len(question) > self.longest:
                    raise QuestionError("the question is longer than the input")
                self.prompts.append(question)
        return super().read(questions, passages)

    def next_log_probs(self, key, prefix):
        prompt, _, passage = key.rpartition("|")
        if passage != "None":
            return super().next_log_probs(key, prefix)
        planned = next(
            text for asked, text in REWRITTEN.items() if f"question: {asked}\n" in prompt
        )
        ids = [*(ALPHABET.index(letter) for letter in planned), EOS]
        logits = torch.zeros(self.vocabulary_size)
        logits[ids[len(prefix)]] = 20.0
        return torch.log_softmax(logits, dim=0)

    def decode_verbatim(self, token_ids):
        return "".join(ALPHABET[token] for token in token_ids if token != EOS)

    def decode_tokens(self, token_ids):
        return " ".join(self.decode_verbatim(token_ids).split())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    texts = ["who rules chad", "who rules mali", "the river is long", "and in what"]
    passages = [Passage(f"{n}", "t", text) for n, text in enumerate(texts)]
    store.build("v1", passages, dense_part())
    return store


def make(store: Store, **rag) -> Rag:
    return Rag(
        store.open("v1", retriever=dense_part()),
        Rewriter(TableGenerator.Config(vocabulary=len(ALPHABET))),
        RagConfig(**{"k": 2, "max_new_tokens": 4, **rag}),
        store=store,
        retriever=dense_part(),
    )


def test_a_rewritten_question_is_searched_for_and_read_in_place_of_the_asked_one(store):
    rag = make(store, rewrite={})
    (answer,) = rag.answer(LATER, history=HISTORY)
    (alone,) = rag.answer("who rules mali")
    assert answer.question == LATER
    assert answer.rewritten_question == "who rules mali"
    assert answer.evidence == alone.evidence
    assert answer.log_prob == alone.log_prob
    assert answer.to_dict()["rewritten_question"] == "who rules mali"
    assert answer.timings.rewrite > 0
    assert alone.rewritten_question is None
    assert "rewritten_question" not in alone.to_dict()
    (prompt,) = rag.generator.prompts
    turns = "Question: who rules chad\nAnswer: idriss\nQuestion: since when\nAnswer: 1990"
    assert f"\n\n{turns}\n\nLast question: {LATER}\n" in prompt
    without = rag.without(answer, answer.evidence[0].passage.id)
    assert without.winner.rewritten_question == "who rules mali"


def test_a_stream_names_the_question_that_it_searches_for(store):
    rag = make(store, rewrite={})
    found, *_, answer = rag.events(LATER, history=HISTORY)
    assert isinstance(found, SearchResult)
    assert found.question == "who rules mali"
    (expected,) = rag.answer(LATER, history=HISTORY)
    assert answer == expected


def test_without_rewriting_a_history_has_no_effect(store):
    rag = make(store)
    assert rag.answer(LATER, history=HISTORY) == rag.answer(LATER)
    assert rag.generator.prompts == []


def test_a_question_without_history_is_not_rewritten(store):
    rag = make(store, rewrite={})
    assert rag.answer(LATER, history=[]) == make(store).answer(LATER)
    assert rag.generator.prompts == []


def test_each_request_has_a_history_of_its_own(store):
    rag = make(store, rewrite={})
    first = Request(LATER, {"history": [{"question": "who rules chad", "answer": "a"}]})
    answers = rag.answer_each([first, LATER, Request("the same", {"history": HISTORY})])
    asked = [answer.rewritten_question for answer in answers]
    assert asked == ["who rules mali", None, None]
    assert [answer.question for answer in answers] == [LATER, LATER, "the same"]


def test_where_nothing_is_written_the_question_stays(store):
    rag = make(store, rewrite={})
    (answer,) = rag.answer("what now", history=HISTORY)
    assert answer.rewritten_question is None
    assert answer.question == "what now"


def test_turns_that_do_not_fit_are_left_out_oldest_first(store):
    rag = make(store, rewrite={"turns": 2})
    rag.answer(LATER, history=[Turn("first", "first"), *HISTORY])
    (both,) = rag.generator.prompts
    assert "first" not in both, "only the last two turns are read"
    rag.generator.prompts.clear()
    rag.generator.longest = len(both) - 1
    (answer,) = rag.answer(LATER, history=HISTORY)
    (one,) = rag.generator.prompts
    assert "since when" in one
    assert "who rules chad" not in one
    assert answer.rewritten_question == "who rules mali"
    rag.generator.longest = 10
    (answer,) = rag.answer(LATER, history=HISTORY)
    assert answer.rewritten_question is None


def test_a_question_of_a_batch_is_rewritten_as_it_is_alone(store):
    """A long question leaves no room for the turns; that takes none from the others."""
    rag = make(store, rewrite={})
    long = f"{'x' * 400} question: {LATER}"
    rag.answer(LATER, history=HISTORY)
    rag.generator.longest = len(rag.generator.prompts[0])
    answers = rag.answer([LATER, long], history=HISTORY)
    assert [answer.rewritten_question for answer in answers] == ["who rules mali", None]


def test_of_a_thousand_turns_those_that_fit_are_tried_in_few_attempts():
    class Short:
        """Reads prompts of 3,000 characters."""

        tier = "text"
        capabilities: frozenset[str] = frozenset()
        lengths: ClassVar[list[int]] = []

        def write(self, prompts, writing, meters):
            (prompt,) = prompts
            self.lengths.append(len(prompt.question))
            if self.lengths[-1] > 3000:
                raise QuestionError("the question is longer than the input")
            assert "Question: turn 999\n" in prompt.question
            return [[Completion("what?")]]

    turns = [Turn(f"turn {number}", "{question} " * 5) for number in range(1000)]
    assert rewritten(Short(), RewriteConfig(turns=1000), ["and now"], turns) == ["what?"]
    assert 2000 < Short.lengths[-1] <= 3000
    assert sum(Short.lengths) < 9 * Short.lengths[0]


def test_what_rewriting_costs_is_part_of_the_answers_usage(store):
    rag = make(store, rewrite={})
    rag._generator = AsTexts(AsTexts.Config(generator=tables()))
    (alone,) = rag.answer(LATER)
    (answer,) = rag.answer(LATER, history=HISTORY)
    (*_, streamed) = rag.events(LATER, history=HISTORY)
    assert streamed == answer
    assert answer.usage.requests == alone.usage.requests + 1
    assert answer.usage.prompt_tokens > alone.usage.prompt_tokens
    assert answer.usage.seed == alone.usage.seed


def test_a_request_that_is_cancelled_before_it_is_rewritten_asks_no_generator(store):
    class Never:
        tier = "text"
        capabilities: frozenset[str] = frozenset()

        def write(self, prompts, writing, meters):
            raise AssertionError("asked after it was cancelled")

    def check():
        raise RequestCancelledError("the request was cancelled")

    with pytest.raises(RequestCancelledError):
        rewritten(Never(), RewriteConfig(), [LATER], HISTORY, check)


def test_a_question_that_is_no_text_is_an_error_before_it_is_rewritten(store):
    rag = make(store, rewrite={})
    with pytest.raises(QuestionError, match="question 1 of 1 is empty"):
        rag.answer(" ", history=HISTORY)
    assert rag.generator.prompts == []


def test_a_generator_of_texts_rewrites_by_its_own_prompt():
    class Texts:
        """Completes a prompt with its last question in capitals."""

        tier = "text"
        capabilities: frozenset[str] = frozenset()

        def write(self, prompts, writing, meters):
            assert len(prompts) == len(meters)
            assert writing.max_new_tokens == 64
            asked = [prompt.question.rpartition("Last question: ")[2] for prompt in prompts]
            return [[Completion(f"\n{each.splitlines()[0].upper()}\nmore")] for each in asked]

    questions = rewritten(Texts(), RewriteConfig(), ["{a}", "b"], HISTORY)
    assert questions == ["{A}", "B"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Rewritten question: Of Mali?", "Of Mali?"),
        ("rewritten Question:\n\nOf Mali?\nmore", "Of Mali?"),
        ("Rewritten question:", LATER),
        ("Of Mali? Rewritten question: no", "Of Mali? Rewritten question: no"),
    ],
)
def test_a_label_that_is_repeated_is_no_part_of_the_question(written, expected):
    class Texts:
        tier = "text"
        capabilities: frozenset[str] = frozenset()

        def write(self, prompts, writing, meters):
            return [[Completion(written)] for _ in prompts]

    assert rewritten(Texts(), RewriteConfig(), [LATER], HISTORY) == [expected]
    own = RewriteConfig(template="{history} {question}:")
    assert rewritten(Texts(), own, [LATER], HISTORY) == [written.split("\n")[0]]


@pytest.mark.parametrize(
    "template",
    ["{question}", "{history}", "{history} {question} {title}", "{history} {question!r}"],
)
def test_a_template_has_the_history_and_the_question(template):
    with pytest.raises(ValidationError, match=r"must hold {history} and {question} once each"):
        RewriteConfig(template=template)
