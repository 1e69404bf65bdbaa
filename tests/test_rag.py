"""Test the front door over a real store: retrieve, read, marginalise, decode, answer."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import math
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from ragcore.config import RagConfig
from ragcore.errors import (
    ComponentError,
    QuestionError,
    StoreError,
    UnsupportedOperation,
)
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Hits, Passage
from ragcore.views.answer import answer_view
from tests.helpers.table_generator import EOS, TableGenerator, TableRead, all_targets, by_definition
from tests.helpers.word_encoder import dense_part

LONGEST = 4
QUESTIONS = ["who rules chad", "who rules mali", "where is the river"]


def passages(version: str) -> list[Passage]:
    texts = ["chad is ruled", "mali is ruled", "the river is long", "who knows", "where it is"]
    return [Passage(f"{version}:{i}", f"t{i}", f"{text} {version}") for i, text in enumerate(texts)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for version in ("old", "new"):
        store.build(version, passages(version), dense_part(), corpus_config=None)
    return store


def make(store: Store, seed: int = 0, kind=TableGenerator, **rag) -> Rag:
    config = RagConfig(**{"k": 3, "max_new_tokens": LONGEST, **rag})
    generator = kind(TableGenerator.Config(seed=seed, sharpness=1.5))
    return Rag(
        store.open("old", retriever=dense_part()),
        generator,
        config,
        store=store,
        retriever=dense_part(),
    )


MODES = [
    {"marginalize": "token"},
    {"marginalize": "sequence", "decode": "thorough"},
    {"marginalize": "sequence", "decode": "fast"},
    {"marginalize": "sequence", "decode": "joint"},
]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_answers_are_the_argmax_of_enumeration(store, mode):
    rag = make(store, beams=200, **mode)
    for answer in rag.answer(QUESTIONS):
        keys = [f"{answer.question}|{e.passage.text}" for e in answer.evidence]
        prior = [e.prior for e in answer.evidence]
        assert sum(prior) == pytest.approx(1, abs=1e-6)
        which = 0 if mode["marginalize"] == "token" else 1
        truth = {
            target: by_definition(rag.generator, keys, prior, target)[which]
            for target in all_targets(4, LONGEST)
        }
        best = max(truth, key=truth.__getitem__)
        assert answer.token_ids == best
        assert answer.log_prob == pytest.approx(math.log(truth[best]), abs=1e-4)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_an_answer_carries_its_evidence(store, mode):
    (answer,) = make(store, **mode).answer(QUESTIONS[0])
    priors = [e.prior for e in answer.evidence]
    assert priors == sorted(priors, reverse=True)
    scores = torch.tensor([e.score for e in answer.evidence])
    assert priors == pytest.approx(torch.softmax(scores, 0).tolist(), abs=1e-6)
    assert len(answer.token_posteriors) == len(answer.tokens) == len(answer.token_ids)
    for row in answer.token_posteriors:
        assert sum(row) == pytest.approx(1, abs=1e-6)
    last, mean = answer.token_posteriors[-1], map(sum, zip(*answer.token_posteriors, strict=True))
    expected = (
        [total / len(answer.tokens) for total in mean]
        if mode["marginalize"] == "token"
        else list(last)
    )
    assert [e.posterior for e in answer.evidence] == pytest.approx(expected)
    assert answer.memory == "old"
    assert not answer.closed_book
    assert json.loads(json.dumps(answer.to_dict()))["evidence"][0]["passage"]["title"]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_log_prob_agrees_with_the_answer(store, mode):
    rag = make(store, beams=2, **mode)
    answers = rag.answer(QUESTIONS)
    log_probs = rag.log_prob(QUESTIONS, [a.text for a in answers])
    assert log_probs == pytest.approx([a.log_prob for a in answers], abs=1e-4)


def test_a_batch_is_its_questions_one_by_one_and_is_read_in_one_pass(store):
    rag = make(store)
    together = rag.answer(QUESTIONS)
    assert rag.generator.passes == 1
    assert together == [rag.answer([question])[0] for question in QUESTIONS]


@pytest.mark.parametrize("mode", [MODES[0], MODES[3]], ids=["token", "joint"])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_stream_is_the_answer_token_by_token(store, mode, beams):
    rag = make(store, beams=beams, **mode)
    (answer,) = rag.answer(QUESTIONS[0])
    tokens = list(rag.stream(QUESTIONS[0]))
    assert "".join(token.text for token in tokens) == answer.text
    assert sum(token.log_prob for token in tokens) == pytest.approx(answer.log_prob, abs=1e-4)
    assert [token.posterior for token in tokens] == list(answer.token_posteriors)


def test_a_stream_does_not_leak_its_grad_mode(store):
    stream = make(store).stream(QUESTIONS[0])
    next(stream)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@pytest.fixture
def dated(tmp_path: Path) -> Store:
    store = Store(tmp_path / "dated")
    numbered = [
        Passage(old.id, old.title, old.text, {"n": n}) for n, old in enumerate(passages("old"))
    ]
    store.build("old", numbered, dense_part(), corpus_config=None)
    return store


def numbers(answer) -> set[int]:
    return {each.passage.metadata["n"] for each in answer.evidence}


def test_only_passages_that_are_allowed_are_read(dated):
    rag, where = make(dated), {"n": {"in": [1, 3]}}
    answers = rag.answer(QUESTIONS, where=where)
    assert [numbers(answer) for answer in answers] == [{1, 3}] * 3
    assert numbers(rag.answer(QUESTIONS[0])[0]) != {1, 3}
    texts = [answer.text for answer in answers]
    log_probs = rag.log_prob(QUESTIONS, texts, where=where)
    assert log_probs == pytest.approx([answer.log_prob for answer in answers], abs=1e-4)
    assert log_probs != pytest.approx(rag.log_prob(QUESTIONS, texts), abs=1e-4)
    tokens = list(rag.stream(QUESTIONS[0], where=where))
    assert [token.posterior for token in tokens] == list(answers[0].token_posteriors)
    assert asyncio.run(rag.aanswer(QUESTIONS, where=where)) == answers

    async def streamed():
        return [token async for token in rag.astream(QUESTIONS[0], where=where)]

    assert asyncio.run(streamed()) == tokens


def test_a_request_narrows_what_the_pipeline_allows(dated):
    rag = make(dated, where={"n": {"lte": 2}})
    assert numbers(rag.answer(QUESTIONS[0])[0]) == {0, 1, 2}
    assert numbers(rag.answer(QUESTIONS[0], where={"n": {"gte": 1}})[0]) == {1, 2}
    (alone,) = rag.answer(QUESTIONS[0], where={"n": {"gt": 2}})
    assert alone.closed_book
    with pytest.raises(QuestionError, match=r"where\.n\.ge: unknown operator"):
        rag.answer(QUESTIONS[0], where={"n": {"ge": 1}})


class Gated(TableGenerator):
    """Stands still in every step, until it is opened."""

    def __init__(self, config: TableGenerator.Config) -> None:
        super().__init__(config)
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()

    def step(self, state, tokens):
        self.begun.release()
        assert self.open.wait(20)
        return super().step(state, tokens)


def test_a_cancelled_stream_raises_nothing_but_the_cancellation(store):
    rag = make(store, kind=Gated)

    async def main() -> None:
        async def consume() -> None:
            async for _ in rag.astream(QUESTIONS[0]):
                raise AssertionError("no token can be decided before the first step")

        consumer = asyncio.create_task(consume())
        assert await asyncio.to_thread(rag.generator.begun.acquire, timeout=20)
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        rag.generator.open.set()
        assert len(await rag.aanswer(QUESTIONS)) == len(QUESTIONS)

    asyncio.run(main())


def test_a_cancelled_question_that_waits_is_never_read(store):
    rag = make(store, kind=Gated)

    async def main() -> None:
        threads = rag._workers.threads
        running = [asyncio.create_task(rag.aanswer(QUESTIONS[0])) for _ in range(threads)]
        for _ in running:
            assert await asyncio.to_thread(rag.generator.begun.acquire, timeout=20)
        waiting = [asyncio.create_task(rag.aanswer(QUESTIONS[1])) for _ in range(20)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        rag.generator.open.set()
        await asyncio.gather(*running)
        await rag.aanswer(QUESTIONS[2])
        assert rag.generator.passes == threads + 1

    asyncio.run(main())


def test_a_closed_pipeline_refuses_async_questions_and_those_that_wait(store):
    rag = make(store, kind=Gated)

    async def main() -> None:
        threads = rag._workers.threads
        running = [asyncio.create_task(rag.aanswer(QUESTIONS[0])) for _ in range(threads)]
        for _ in running:
            assert await asyncio.to_thread(rag.generator.begun.acquire, timeout=20)
        waiting = asyncio.create_task(rag.aanswer(QUESTIONS[1]))
        await asyncio.sleep(0)
        rag.close()
        rag.generator.open.set()
        assert len(await asyncio.gather(*running)) == threads
        with pytest.raises(StoreError, match="closed before this question was begun"):
            await waiting
        with pytest.raises(StoreError, match="is closed: load it again"):
            await rag.aanswer(QUESTIONS[2])

    asyncio.run(main())


def test_a_stream_that_is_left_frees_what_its_search_held(store):
    class Read(TableRead):
        """Like any read, and can be referred to weakly."""

    class Remembering(TableGenerator):
        def read(self, questions, passages):
            made = Read(super().read(questions, passages).keys)
            self.latest = weakref.ref(made)
            return made

    rag = make(store, kind=Remembering)
    gc.disable()
    try:
        tokens = rag.stream(QUESTIONS[0])
        next(tokens)
        assert rag.generator.latest() is not None
        tokens.close()
        assert rag.generator.latest() is None
    finally:
        gc.enable()


def test_async_forms_give_the_same(store):
    rag = make(store)

    async def both():
        answers = await rag.aanswer(QUESTIONS)
        return answers, [token async for token in rag.astream(QUESTIONS[0])]

    answers, tokens = asyncio.run(both())
    assert answers == rag.answer(QUESTIONS)
    assert tokens == list(rag.stream(QUESTIONS[0]))


def test_the_abstention_is_the_answer_above_its_threshold_and_excluded_below(store):
    rag = make(store)
    p = math.exp(rag.log_prob(QUESTIONS[:1], ["a"])[0])
    assert 0.001 < p < 0.9
    (abstained,) = make(store, abstain={"answer": "a", "above": p * 0.9}).answer(QUESTIONS[0])
    assert abstained.text == "a"
    assert abstained.log_prob == pytest.approx(math.log(p), abs=1e-4)
    (other,) = make(store, abstain={"answer": "a", "above": p * 1.1}).answer(QUESTIONS[0])
    assert not other.text.startswith("a")
    again = make(store, abstain={"answer": "a", "above": p * 1.1})
    assert again.log_prob(QUESTIONS[:1], ["a"])[0] == pytest.approx(math.log(p), abs=1e-4)
    assert again.log_prob(QUESTIONS[:1], [other.text])[0] == pytest.approx(other.log_prob, abs=1e-4)
    streamed = make(store, abstain={"answer": "a", "above": p * 0.9}).stream(QUESTIONS[0])
    assert "".join(token.text for token in streamed) == "a"


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_passages_that_abstain_lose_their_prior(store, mode):
    (plain,) = make(store, **mode).answer(QUESTIONS[0])
    rag = make(store, beams=200, abstain={"answer": "a", "above": 1.0}, **mode)
    (answer,) = rag.answer(QUESTIONS[0])
    keys = [f"{QUESTIONS[0]}|{e.passage.text}" for e in plain.evidence]
    weights = [
        e.prior * (1 - by_definition(rag.generator, [key], [1.0], (1, EOS))[0])
        for e, key in zip(plain.evidence, keys, strict=True)
    ]
    prior = [weight / sum(weights) for weight in weights]
    assert [e.prior for e in answer.evidence] == pytest.approx(prior, abs=1e-5)
    which = 0 if mode["marginalize"] == "token" else 1
    truth = {
        target: by_definition(rag.generator, keys, prior, target)[which]
        for target in all_targets(4, LONGEST)
        if target[0] != 1
    }
    assert answer.token_ids == max(truth, key=truth.__getitem__)
    assert answer.log_prob == pytest.approx(math.log(max(truth.values())), abs=1e-4)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_an_answer_says_how_probable_the_abstention_was(store, mode):
    p = math.exp(make(store, **mode).log_prob(QUESTIONS[:1], ["a"])[0])
    for above, abstains in ((p * 1.1, False), (p * 0.9, True)):
        (answer,) = make(store, abstain={"answer": "a", "above": above}, **mode).answer(
            QUESTIONS[0]
        )
        assert answer.abstention.log_prob == pytest.approx(math.log(p), abs=1e-4)
        assert answer.abstains == abstains
        row = json.loads(json.dumps(answer.to_dict()))
        assert row["abstains"] == abstains
        log_p = answer.abstention.log_prob
        log_mean = pytest.approx(log_p, abs=1e-6)
        compared = {"mean": "arithmetic", "log_mean": log_mean, "above": above}
        assert row["abstention"] == {"text": "a", "log_prob": log_p, **compared}
    (plain,) = make(store, **mode).answer(QUESTIONS[0])
    assert plain.abstention is None
    assert not plain.abstains
    assert "abstention" not in plain.to_dict()


@pytest.fixture
def lettered(tmp_path: Path) -> Store:
    """Hold passages of the table generator's letters, which grounded answers can be taken from."""
    store = Store(tmp_path / "lettered")
    texts = [Passage(str(n), "chad", text, {"n": n}) for n, text in enumerate(["abc", "ca", "ba"])]
    store.build("old", texts, dense_part(), corpus_config=None)
    return store


@pytest.mark.parametrize("grounded", [False, True])
def test_a_question_without_a_passage_abstains(lettered, grounded):
    rag = make(lettered, abstain={"answer": "a", "above": 1.0}, grounded=grounded)
    nothing = {"n": {"gt": 90}}
    (answer,) = rag.answer(QUESTIONS[0], where=nothing)
    assert (answer.text, answer.abstains, answer.closed_book) == ("a", True, True)
    assert answer.log_prob == pytest.approx(answer.abstention.log_prob)
    assert answer.log_prob == pytest.approx(
        rag.log_prob(QUESTIONS[:1], ["a"], where=nothing)[0], abs=1e-4
    )
    assert "".join(token.text for token in rag.stream(QUESTIONS[0], where=nothing)) == "a"
    assert not rag.answer(QUESTIONS[0])[0].abstains


class Reading(TableGenerator):
    """Finds no word in a dash, as tokenizers find none in some characters."""

    def encode_words(self, texts):
        return [
            [] if text == "-" else super(Reading, self).encode_words([text])[0] for text in texts
        ]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_a_grounded_answer_without_any_word_is_the_abstaining_one(tmp_path, mode):
    store = Store(tmp_path / "wordless")
    for name, texts in {"new": ["-", "b"], "old": ["-", "-", "-"]}.items():
        store.build(
            name, [Passage(str(n), "chad", text) for n, text in enumerate(texts)], dense_part()
        )
    settings = {"kind": Reading, "grounded": True, **mode}
    rag = make(store, abstain={"answer": "a", "above": 1.0}, **settings)
    (answer,) = rag.answer(QUESTIONS[0])
    assert (answer.text, answer.abstains, len(answer.evidence)) == ("a", True, 3)
    assert answer.log_prob == pytest.approx(rag.log_prob(QUESTIONS[:1], ["a"])[0], abs=1e-4)
    assert "".join(token.text for token in rag.stream(QUESTIONS[0])) == "a"
    # A word of a single passage is an answer, and without abstain there is none to give.
    rag.swap("new")
    assert rag.answer(QUESTIONS[0])[0].text == "b"
    assert make(store, **settings).answer(QUESTIONS[0])[0].text == ""


def test_closed_book_on_purpose_is_answered_by_the_generator(store):
    (answer,) = make(store, k=0, abstain={"answer": "a", "above": 1.0}).answer(QUESTIONS[0])
    assert answer.closed_book
    assert not answer.abstains


def test_a_grounded_answer_that_says_the_word_does_not_abstain(lettered):
    says_the_word = False
    for seed in range(20):
        rag = make(lettered, seed=seed, grounded=True, abstain={"answer": "a", "above": 1.0})
        for answer in rag.answer(QUESTIONS):
            says_the_word = says_the_word or answer.text == "a"
            assert not answer.abstains
    assert says_the_word


def test_a_forced_first_token_does_not_count_as_the_abstention(store):
    rag = make(store, abstain={"answer": "ba", "above": 1.0})
    rag.generator.forced_bos_token_id = 2
    (answer,) = rag.answer(QUESTIONS[0])
    assert answer.token_ids[0] == 2
    assert answer.token_ids[1] != 1


def test_a_first_token_without_text_does_not_count_as_the_abstention(store):
    """BART's tokenizer begins every answer with one, whether its checkpoint forces it or not."""

    class Opened(TableGenerator):
        def encode_answers(self, answers):
            return [[3, *ids] for ids in super().encode_answers(answers)]

        def decode_tokens(self, token_ids):
            return super().decode_tokens([token for token in token_ids if token != 3])

    seen = set()
    for seed in range(40):
        rag = make(store, seed=seed, kind=Opened, abstain={"answer": "ba", "above": 1.0})
        (answer,) = rag.answer(QUESTIONS[0])
        seen.add(answer.token_ids[0])
        assert answer.token_ids[:2] != (3, 2)
    assert 3 in seen


def test_k_beyond_the_corpus_reads_all_there_is(store):
    (answer,) = make(store, k=50).answer(QUESTIONS[0])
    assert len(answer.evidence) == 5


def test_a_temperature_flattens_the_prior(store):
    memory = store.open("old", retriever=dense_part(), temperature=1000.0)
    rag = Rag(memory, TableGenerator(TableGenerator.Config()), RagConfig(k=4, max_new_tokens=4))
    (answer,) = rag.answer(QUESTIONS[0])
    assert [e.prior for e in answer.evidence] == pytest.approx([0.25] * 4, abs=1e-2)


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_question_is_refused_and_named(store, empty):
    with pytest.raises(QuestionError, match="question 2 of 2 is empty"):
        make(store).answer(["who", empty])


def test_no_questions_are_no_answers(store):
    assert make(store).answer([]) == []


def test_log_prob_needs_an_answer_for_each_question(store):
    with pytest.raises(QuestionError, match="2 questions with 1 answers"):
        make(store).log_prob(["a", "b"], ["c"])


class Constant:
    """A retriever that returns the first rows with equal scores, or no hits."""

    fingerprint = "constant"
    capabilities = frozenset()

    def __init__(self, score: float, *, found: bool = True) -> None:
        self.score, self.found = score, found

    def search(self, questions, k, *, allowed=None):
        rows = np.arange(k) if self.found else np.full(k, -1)
        scores = np.full((len(questions), k), self.score, np.float32)
        return Hits(np.tile(rows, (len(questions), 1)), scores)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_logits_are_refused(store, score):
    rag = make(store)
    with rag.memory.reading() as memory:
        memory.retriever = Constant(score)
    with pytest.raises(ComponentError, match="finite score"):
        rag.answer(QUESTIONS[0])


@pytest.fixture
def letters(tmp_path: Path) -> Store:
    """Build a store for grounded answers of the table generator: words are made of its letters."""
    store = Store(tmp_path / "letters")
    texts = ["abcab", "cab", "bb", "ca"]
    built = [Passage(str(n), "t", text) for n, text in enumerate(texts)]
    store.build("old", built, dense_part(), corpus_config=None)
    return store


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_a_grounded_answer_is_the_best_span_and_carries_its_positions(letters, mode):
    for seed in range(4):
        rag = make(letters, seed=seed, beams=200, grounded=True, **mode)
        (answer,) = rag.answer(QUESTIONS[0])
        texts = [e.passage.text for e in answer.evidence]
        keys = [f"{answer.question}|{text}" for text in texts]
        prior = [e.prior for e in answer.evidence]
        which = 0 if mode["marginalize"] == "token" else 1
        truth = {
            target: by_definition(rag.generator, keys, prior, target)[which]
            for target in all_targets(4, LONGEST)
            if len(target) > 1 and any(rag.generator.decode_tokens(target) in t for t in texts)
        }
        best = max(truth, key=truth.__getitem__)
        assert answer.token_ids == best
        assert answer.log_prob == pytest.approx(math.log(truth[best]), abs=1e-4)
        for evidence in answer.evidence:
            text = evidence.passage.text
            assert evidence.spans == tuple(
                (start, start + len(answer.text))
                for start in range(len(text))
                if text.startswith(answer.text, start)
            )
        if mode != MODES[1] and mode != MODES[2]:
            assert "".join(token.text for token in rag.stream(QUESTIONS[0])) == answer.text


def test_grounding_needs_a_generator_that_can_be_grounded(store):
    class Free(TableGenerator):
        capabilities = frozenset()

    with pytest.raises(UnsupportedOperation, match="Free has no capability `words`"):
        Rag(
            store.open("old", retriever=dense_part()),
            Free(TableGenerator.Config()),
            RagConfig(grounded=True),
        )


def test_with_nothing_found_the_generator_answers_alone(store):
    memory = store.open("old", retriever=dense_part())
    memory.retriever = Constant(-math.inf, found=False)
    for mode in MODES:
        rag = Rag(
            memory,
            TableGenerator(TableGenerator.Config()),
            RagConfig(max_new_tokens=LONGEST, beams=200, **mode),
        )
        (answer,) = rag.answer(QUESTIONS[0])
        assert answer.evidence == ()
        assert answer.closed_book
        assert answer.to_dict()["closed_book"] is True
        alone = {
            target: by_definition(rag.generator, [f"{QUESTIONS[0]}|None"], [1.0], target)[0]
            for target in all_targets(4, LONGEST)
        }
        assert answer.token_ids == max(alone, key=alone.__getitem__)
        assert answer.token_ids[-1] == EOS


class FindsAtMost(Constant):
    """A retriever that finds fewer passages than asked for, as an approximate one may."""

    def __init__(self, count: int) -> None:
        super().__init__(1.0)
        self.count = count

    def search(self, questions, k, *, allowed=None):
        found = Hits.empty(len(questions), k)
        first = super().search(questions, min(k, self.count))
        found.rows[:, : self.count] = first.rows
        found.scores[:, : self.count] = first.scores
        return found


def test_missing_passages_are_counted_shown_and_logged(dated, caplog):
    rag = make(dated, k=4)
    (complete,) = rag.answer(QUESTIONS[0])
    assert complete.missing_passages == 0
    # Fewer than k are allowed, and all of them are found: none is missing.
    (narrow,) = rag.answer(QUESTIONS[0], where={"n": {"lt": 2}})
    assert (len(narrow.evidence), narrow.missing_passages) == (2, 0)
    assert not caplog.records
    with rag.memory.reading() as memory:
        memory.retriever = FindsAtMost(1)
    short = rag.answer(QUESTIONS)
    assert [answer.missing_passages for answer in short] == [3, 3, 3]
    assert short[0].to_dict()["missing_passages"] == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "3 of 3 questions got fewer than 4 passages, at worst 1" in caplog.text
    assert "if the retriever is approximate, search it more widely" in caplog.text
    assert "rules" not in caplog.text, "questions are private"
    # Of two allowed passages one is found; the warning is not repeated.
    (one,) = rag.answer(QUESTIONS[0], where={"n": {"lt": 2}})
    assert one.missing_passages == 1
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    assert "only 1 of 2 passages were found" in text_of(answer_view(one))
    assert "passages were found" not in text_of(answer_view(complete))


def test_an_exact_retriever_that_finds_fewer_is_not_a_warning(dated, caplog):
    """No more passages match; there is nothing that a user could do about it."""
    rag = make(dated, k=4)
    with rag.memory.reading() as memory:
        memory.retriever = FindsAtMost(1)
        memory.retriever.capabilities = frozenset({"exact"})
    with caplog.at_level("INFO", logger="ragcore.retrieval"):
        (short,) = rag.answer(QUESTIONS[0])
    assert short.missing_passages == 3
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "got fewer than 4 passages, at worst 1: no more of them match" in caplog.text


def text_of(view) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(view)
    return console.file.getvalue()
