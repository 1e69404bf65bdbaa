"""All passages in one prompt: every tier answers as from one passage, and says what it cannot."""

from __future__ import annotations

import io
import itertools
import math

import pytest
from rich.console import Console

from ragcore.answering.evidence import sample_answers
from ragcore.answering.together import join
from ragcore.config import RagConfig
from ragcore.contracts import Completion
from ragcore.errors import ConfigError, QuestionError, UnsupportedOperation
from ragcore.evaluation.calibration import calibrate
from ragcore.evaluation.prediction import make_predictions
from ragcore.evaluation.verification import verify_answer
from ragcore.questions import LabelledQuestion
from ragcore.rag import Rag
from ragcore.registry.components import ComponentConfig
from ragcore.store.store import Store
from ragcore.types import Answer, Token
from ragcore.views.answer import answer_view
from ragcore.views.page.recorded import page_html
from tests.helpers.table_generator import EOS, TableGenerator, all_targets
from tests.helpers.tiers import PASSAGES, QUESTION, pipeline
from tests.helpers.word_encoder import dense_part

NONE = {"marginalize": "none"}
ABSTAIN = {"abstain": {"answer": "a", "above": 0.9}}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("one-prompt") / "store")


def key_of(answer: Answer, left_out: str | None = None) -> str:
    """Return the key by which the table generator knows the prompt of an answer's passages."""
    passages = [e.passage for e in answer.evidence if e.passage.id != left_out]
    text = passages[0].text if len(passages) == 1 else join(passages).text
    return f"{QUESTION}|{text}"


def log_p(generator: TableGenerator, key: str, target: tuple[int, ...]) -> float:
    return math.fsum(
        float(generator.next_log_probs(key, target[:end])[token])
        for end, token in enumerate(target)
    )


def best_of(generator: TableGenerator, key: str) -> tuple[tuple[int, ...], float]:
    targets = all_targets(4, 4)
    return max(((each, log_p(generator, key, each)) for each in targets), key=lambda pair: pair[1])


def test_the_answer_is_the_best_after_the_one_prompt(store):
    for seed in range(6):
        rag = pipeline(store, "steps", seed, beams=200, **NONE)
        (answer,) = rag.answer(QUESTION)
        target, log_prob = best_of(rag.generator, key_of(answer))
        assert answer.token_ids == target
        assert answer.log_prob == pytest.approx(log_prob, abs=1e-5)
        assert rag.log_prob([QUESTION], [answer.text]) == pytest.approx([log_prob], abs=1e-5)


def test_the_prior_is_that_of_the_search_and_no_posterior_is_claimed(store):
    rag = pipeline(store, "steps", **NONE)
    (answer,) = rag.answer(QUESTION)
    (found,) = rag.search(QUESTION)
    assert [e.passage for e in answer.evidence] == list(found.passages)
    assert [e.prior for e in answer.evidence] == pytest.approx(list(found.prior))
    assert {e.posterior for e in answer.evidence} == {None}
    assert answer.token_posteriors == ()
    assert answer.marginalize == "none"
    assert answer.marks is None
    assert "marks" not in answer.to_dict()


def test_a_single_passage_gives_what_marginalising_over_it_does(store):
    for seed, tier in itertools.product(range(3), ("steps", "score", "top", "text")):
        beams = {} if tier in ("score", "text") else {"beams": 3}
        alone = PASSAGES[:1]
        (expected,) = pipeline(store, tier, seed, passages=alone, **beams).answer(QUESTION)
        (answer,) = pipeline(store, tier, seed, passages=alone, **beams, **NONE).answer(QUESTION)
        assert answer.text == expected.text
        assert answer.log_prob == pytest.approx(expected.log_prob)
        assert answer.evidence[0].posterior is None


@pytest.mark.parametrize("tier", ["score", "top", "text"])
def test_each_tier_answers_from_the_prompt_that_steps_reads(store, tier):
    for seed in range(6):
        (expected,) = pipeline(store, "steps", seed, beams=1, **NONE).answer(QUESTION)
        beams = {"beams": 1} if tier == "top" else {}
        (answer,) = pipeline(store, tier, seed, **beams, **NONE).answer(QUESTION)
        assert answer.text == expected.text
        assert [e.prior for e in answer.evidence] == [e.prior for e in expected.evidence]
        assert {e.posterior for e in answer.evidence} == {None}
        assert answer.usage.requests in (1, 2, 4)
        if tier == "text":
            assert answer.log_prob is None
            assert answer.votes == ()
        else:
            assert answer.log_prob == pytest.approx(expected.log_prob, abs=1e-5)


def test_drawn_texts_of_one_prompt_are_counted_without_passages(store):
    write = {"candidates": 6, "temperature": 2.0, "seed": 3}
    (answer,) = pipeline(store, "text", write=write, **NONE).answer(QUESTION)
    assert len(answer.votes) > 1
    assert sum(vote.share for vote in answer.votes) == pytest.approx(1)
    assert all(vote.passage_ids == () for vote in answer.votes)


@pytest.mark.parametrize("more", [{}, ABSTAIN, {"grounded": True}], ids=str)
def test_a_stream_gives_the_answer_and_tokens_without_posteriors(store, more):
    for seed in range(4):
        rag = pipeline(store, "steps", seed, **more, **NONE)
        *events, answer = rag.events(QUESTION)
        (expected,) = rag.answer(QUESTION)
        assert answer == expected
        tokens = [event for event in events if isinstance(event, Token)]
        assert "".join(token.text for token in tokens) == answer.text
        assert {token.posterior for token in tokens} == {()}
        assert math.fsum(token.log_prob for token in tokens) == pytest.approx(answer.log_prob)


def test_a_grounded_answer_is_a_span_of_one_of_the_passages(store):
    for seed in range(12):
        (answer,) = pipeline(store, "steps", seed, grounded=True, **NONE).answer(QUESTION)
        spans = [e.passage.text[start:end] for e in answer.evidence for start, end in e.spans]
        # Every occurrence in every passage, and none across two of them.
        assert set(spans) == {answer.text}
        assert len(spans) == sum(
            e.passage.text.startswith(answer.text, start)
            for e in answer.evidence
            for start in range(len(e.passage.text))
        )


@pytest.mark.parametrize("tier", ["steps", "score"])
def test_a_question_abstains_by_the_one_prompt(store, tier):
    abstained = set()
    for seed in range(16):
        more = {"abstain": {"answer": "a", "above": 0.1}}
        rag = pipeline(store, tier, seed, **more, **NONE)
        (answer,) = rag.answer(QUESTION)
        unknown = log_p(rag_tables(rag), key_of(answer), (1, EOS))
        assert answer.abstention.log_prob == pytest.approx(unknown, abs=1e-5)
        assert answer.abstains or math.exp(unknown) <= 0.1
        assert verify_answer(rag, QUESTION).gap < 1e-5
        abstained.add(answer.abstains)
    assert abstained == {True, False}


def rag_tables(rag) -> TableGenerator:
    return getattr(rag.generator, "generator", rag.generator)


@pytest.mark.parametrize("tier", ["steps", "score"])
def test_verification_reads_the_one_prompt_again(store, tier):
    for seed in range(4):
        verification = verify_answer(pipeline(store, tier, seed, **NONE), QUESTION)
        assert verification.gap < 1e-5
        (reading,) = verification.readings
        assert reading.passage.id == "4 passages in one prompt"
        assert reading.log_prob == pytest.approx(verification.answer.log_prob, abs=1e-5)


@pytest.mark.parametrize("tier", ["steps", "score"])
def test_leaving_a_passage_out_reads_the_others_again(store, tier):
    changed = 0
    for seed in range(4):
        rag = pipeline(store, tier, seed, **NONE)
        (answer,) = rag.answer(QUESTION)
        for left_out, without in zip(answer.evidence, rag.without_each(answer), strict=True):
            others = [p for p in PASSAGES if p != left_out.passage]
            (fresh,) = pipeline(store, tier, seed, passages=others, **NONE).answer(QUESTION)
            assert without.winner.text == fresh.text
            assert without.winner.log_prob == pytest.approx(fresh.log_prob, abs=1e-5)
            assert [e.prior for e in without.winner.evidence] == pytest.approx(
                [e.prior for e in fresh.evidence], abs=1e-6
            )
            target = tuple(rag_tables(rag).encode_answers([answer.text])[0])
            key = key_of(answer, left_out.passage.id)
            assert without.log_prob == pytest.approx(log_p(rag_tables(rag), key, target), abs=1e-5)
            changed += fresh.text != answer.text
    assert changed


def test_all_passages_cannot_be_left_out(store):
    rag = pipeline(store, "steps", **NONE)
    (answer,) = rag.answer(QUESTION)
    with pytest.raises(QuestionError, match="nothing would be left"):
        rag.without(answer, [e.passage.id for e in answer.evidence])


@pytest.mark.parametrize("tier", ["top", "text"])
def test_nothing_is_left_out_where_answers_are_not_scored(store, tier):
    rag = pipeline(store, tier, **NONE)
    (answer,) = rag.answer(QUESTION)
    with pytest.raises(UnsupportedOperation, match=r"choose a generator|ask a generator"):
        rag.without(answer, answer.evidence[0].passage.id)


@pytest.mark.parametrize("tier", ["steps", "score", "text"])
def test_a_request_may_ask_for_one_prompt(store, tier):
    marginal, one = (pipeline(store, tier, 1, **each) for each in ({}, NONE))
    assert marginal.answer(QUESTION, marginalize="none") == one.answer(QUESTION)
    assert one.answer(QUESTION, marginalize="token") == marginal.answer(QUESTION)


def test_without_a_passage_the_generator_answers_alone(store):
    closed = pipeline(store, "steps", **{**NONE, "k": 0})
    (answer,) = closed.answer(QUESTION)
    (expected,) = pipeline(store, "steps", k=0).answer(QUESTION)
    assert (answer.text, answer.log_prob) == (expected.text, expected.log_prob)
    assert answer.closed_book
    assert answer.citations == ()


def test_citing_is_for_one_prompt_and_a_generator_that_can_ask_for_it(store):
    with pytest.raises(ConfigError, match="cite needs marginalize: none, and it is token"):
        pipeline(store, "steps").answer(QUESTION, cite=True)
    with pytest.raises(UnsupportedOperation, match="needs the capability `cite`"):
        pipeline(store, "steps", cite=True, **NONE)
    assert RagConfig(marginalize="none", cite=True).one_prompt


def test_drawn_answers_are_as_probable_as_after_the_one_prompt(store):
    sample = {"n": 6, "temperature": 1.5, "seed": 2}
    rag = pipeline(store, "steps", 1, sample=sample, **NONE)
    (answer,) = rag.answer(QUESTION)
    drawn = sample_answers(answer, rag.generator)
    assert len(drawn) == 6
    assert len({each.text for each in drawn}) > 1
    for each in drawn:
        expected = log_p(rag.generator, key_of(answer), each.token_ids)
        assert each.log_prob == pytest.approx(expected, abs=1e-5)
        assert {e.posterior for e in each.evidence} == {None}


def test_no_temperature_is_fitted_where_no_answer_depends_on_it(store):
    rag = pipeline(store, "steps", **NONE)
    calibration = calibrate(rag, [QUESTION], ["ab"])
    assert calibration.fitted == calibration.current
    assert calibration.fitted.temperature == 20.0
    assert calibration.one.log_prob == calibration.current.log_prob
    assert calibration.current.log_prob == pytest.approx(*rag.log_prob([QUESTION], ["ab"]))


class Citing:
    """Writes a text with marks where it is asked to cite, and one without where it is not."""

    class Config(ComponentConfig):
        pass

    capabilities = frozenset()
    tier = "text"
    text = "bb [2], not cab [1, 9]"

    def write(self, prompts, writing, meters):
        return [
            [Completion(self.text if prompt.cite else without_marks_of(self.text))]
            for prompt in prompts
        ]


def without_marks_of(text: str) -> str:
    return text.replace(" [2]", "").replace(" [1, 9]", "")


def citing(store: Store, **rag) -> Rag:
    version = "-".join(passage.id for passage in PASSAGES)
    if version not in {info.name for info in store.versions()}:
        store.build(version, PASSAGES, dense_part())
    memory = store.open(version, retriever=dense_part(), temperature=20.0)
    return Rag(memory, Citing(), RagConfig(**{"k": 4, "cite": True, **NONE, **rag}))


def test_an_answer_that_cites_names_its_evidence(store):
    rag = citing(store)
    (answer,) = rag.answer(QUESTION)
    found = [e.passage.id for e in answer.evidence]
    assert answer.text == Citing.text
    assert [e.passage.id for e in answer.cited] == [found[1], found[0]]
    assert answer.unknown_marks == (9,)
    assert answer.unmarked == "bb, not cab"
    by_number = {citation.number: citation.passage_id for citation in answer.citations}
    assert by_number[2] == found[1]
    *_, streamed = rag.events(QUESTION)
    assert streamed == answer
    (plain,) = rag.answer(QUESTION, cite=False)
    assert (plain.text, plain.marks) == ("bb, not cab", None)
    (marginal,) = rag.answer(QUESTION, cite=False, marginalize="token")
    assert marginal.votes[0].share == pytest.approx(1)


def test_marks_are_no_part_of_what_is_compared_with_right_answers(store):
    (answer,) = citing(store).answer(QUESTION)
    (prediction,) = make_predictions([LabelledQuestion(QUESTION, ("BB, not cab",))], [answer])
    assert prediction.answer == "bb, not cab"
    assert prediction.correct


def test_an_abstaining_text_is_known_with_its_marks(store):
    abstain = {"abstain": {"answer": "bb, not cab"}}
    (answer,) = citing(store, **abstain).answer(QUESTION)
    assert answer.abstains


def test_views_name_citations_and_claim_no_support(store):
    (answer,) = citing(store).answer(QUESTION)
    shown = render(answer)
    assert "cites [2], [1]" in shown
    assert "no passage has the number [9]" in shown
    (scored,) = pipeline(store, "steps", **NONE).answer(QUESTION)
    assert "log p = " in render(scored)
    assert "rests on" not in render(scored)
    assert "cites" not in render(scored)
    for each in (answer, scored):
        assert '"posterior": null' in page_html([each])


def render(answer: Answer) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(answer_view(answer))
    return console.file.getvalue()
