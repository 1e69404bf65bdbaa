"""Settings of one request: checked as a pipeline file is, and without effect on any other."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest

from ragcore.answering.request import Request
from ragcore.config import RagConfig
from ragcore.errors import (
    ComponentError,
    ConfigError,
    DeadlineError,
    QuestionError,
    RequestCancelledError,
    UnknownVersionError,
)
from ragcore.process.cancellation import Cancellation, Stop, stops_with_all
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Answer, Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

QUESTIONS = ["who rules chad", "who rules mali", "where is the river"]


class Watched(Store):
    """A store that remembers every memory it has opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.opened = []

    def open(self, *arguments, **named):
        self.opened.append(super().open(*arguments, **named))
        return self.opened[-1]

    def still_open(self) -> list[str]:
        return [memory.version for memory in self.opened if not memory._closed]


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    store = Watched(tmp_path / "store")
    texts = ["chad is ruled", "mali is ruled", "the river is long", "who knows", "where it is"]
    for version in ("v1", "v2", "v3", "v4"):
        numbered = [
            Passage(f"{version}:{n}", "t", f"{text}", {"n": n}) for n, text in enumerate(texts)
        ]
        store.build(version, numbered, dense_part())
    return store


def make(store: Store, kind=TableGenerator, pinned: bool = False, **rag) -> Rag:
    return Rag(
        store.open("v1", retriever=dense_part()),
        kind(TableGenerator.Config(sharpness=1.5)),
        RagConfig(**{"k": 3, "max_new_tokens": 4, **rag}),
        store=store,
        retriever=dense_part(),
        pinned=pinned,
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"k": 2},
        {"k": 0},
        {"beams": 1},
        {"max_new_tokens": 2},
        {"marginalize": "sequence"},
        {"marginalize": "sequence", "decode": "fast", "beams": 2},
        {"where": {"n": {"gt": 1}}},
    ],
    ids=str,
)
def test_a_request_answers_as_a_pipeline_with_its_settings(store, settings):
    rag, configured = make(store), make(store, **settings)
    before = rag.answer(QUESTIONS)
    assert rag.answer(QUESTIONS, **settings) == configured.answer(QUESTIONS)
    assert list(rag.stream(QUESTIONS[0], **settings)) == list(configured.stream(QUESTIONS[0]))
    assert rag.answer(QUESTIONS) == before
    scoring = {
        name: value for name, value in settings.items() if name in ("k", "marginalize", "where")
    }
    assert rag.log_prob(QUESTIONS, ["a"] * 3, **scoring) == make(store, **scoring).log_prob(
        QUESTIONS, ["a"] * 3
    )


@pytest.mark.parametrize("marginalize", ["token", "sequence"])
def test_leaving_a_passage_out_uses_the_formula_of_the_answer(store, marginalize):
    other = {"token": "sequence", "sequence": "token"}[marginalize]
    rag = make(store, marginalize=other, beams=3)
    (answer,) = rag.answer(QUESTIONS[0], marginalize=marginalize)
    (same,) = make(store, marginalize=marginalize, beams=3).answer(QUESTIONS[0])
    left = answer.evidence[0].passage.id
    assert rag.without(answer, left) == make(store, marginalize=marginalize).without(same, left)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": -1}, "k: must be at least 0, found -1"),
        ({"k": True}, "k: expected an integer, found True"),
        ({"beams": "4"}, "beams: expected an integer, found '4'"),
        ({"beam": 4}, "unknown setting 'beam': did you mean 'beams'"),
        ({"decode": "joined"}, "decode: expected one of thorough, fast, joint, found 'joined'"),
        ({"max_new_tokens": 1}, r"min_new_tokens \(2\) must not exceed max_new_tokens \(1\)"),
        ({"timeout": 0}, "timeout: expected seconds, a number above 0, found 0"),
        ({"timeout": math.nan}, "timeout: expected seconds"),
        ({"version": 3}, "version: expected the name of a version, found 3"),
        ({"cancellation": True}, "cancellation: expected a ragcore.Cancellation, found bool"),
        ({"k": -1, "beams": 0}, "k: must be .*; beams: must be at least 1"),
    ],
    ids=str,
)
def test_a_faulty_setting_is_named(store, settings, message):
    rag = make(store, min_new_tokens=2)
    for call in (rag.answer, lambda question, **given: next(rag.events(question, **given))):
        with pytest.raises(ConfigError, match=message):
            call(QUESTIONS[0], **settings)


def test_each_call_refuses_settings_that_it_does_not_use(store):
    rag = make(store)
    with pytest.raises(ConfigError, match="unknown setting 'beams'"):
        rag.search(QUESTIONS[0], beams=3)
    with pytest.raises(ConfigError, match="unknown setting 'decode'"):
        rag.log_prob(QUESTIONS[:1], ["a"], decode="fast")
    with pytest.raises(QuestionError, match=r"where\.n\.ge: unknown operator"):
        rag.answer(QUESTIONS[0], where={"n": {"ge": 1}})


def test_none_is_as_if_it_were_left_out(store):
    rag = make(store)
    nothing = dict.fromkeys(("k", "beams", "where", "version", "timeout", "cancellation"))
    assert rag.answer(QUESTIONS, **nothing) == rag.answer(QUESTIONS)


def test_a_request_may_name_its_version_and_few_of_them_stay_open(store):
    rag = make(store)
    for version in ("v2", "v3", "v4", "v1"):
        (answer,) = rag.answer(QUESTIONS[0], version=version)
        assert answer.memory == version
        assert rag.search(QUESTIONS[0], version=version)[0].memory == version
        assert next(rag.events(QUESTIONS[0], version=version)).memory == version
    assert rag.memory.version == "v1"
    opened = [memory.version for memory in store.opened]
    assert opened == ["v1", "v2", "v3", "v4"], "each is opened once, the served one not again"
    assert store.still_open() == ["v1", "v3", "v4"]
    rag.memory.release()
    assert store.still_open() == ["v1"]
    with pytest.raises(UnknownVersionError):
        rag.answer(QUESTIONS[0], version="v9")


def test_a_version_that_is_read_stays_open_for_others_who_ask_for_it(store):
    rag = make(store)
    events = rag.events(QUESTIONS[0], version="v2")
    next(events)
    for version in ("v3", "v4"):
        rag.answer(QUESTIONS[0], version=version)
    (answer,) = rag.answer(QUESTIONS[0], version="v2")
    assert answer.memory == "v2"
    assert [memory.version for memory in store.opened].count("v2") == 1
    events.close()
    assert store.still_open() == ["v1", "v2", "v4"]


def test_a_version_is_read_to_the_end_though_it_is_released(store):
    rag = make(store)
    events = rag.events(QUESTIONS[0], version="v2")
    next(events)
    rag.memory.release()
    assert "v2" in store.still_open()
    *_, answer = events
    assert answer.memory == "v2"
    assert store.still_open() == ["v1"]


def test_a_named_version_outranks_the_pinned_one_and_closing_closes_all(store):
    rag = make(store)
    with rag.pinned("v2"):
        assert rag.answer(QUESTIONS[0])[0].memory == "v2"
        assert rag.answer(QUESTIONS[0], version="v1")[0].memory == "v1"
        assert rag.answer(QUESTIONS[0], version="v3")[0].memory == "v3"
    rag.close()
    assert store.still_open() == []


def test_a_version_is_opened_once_for_all_who_wait_for_it(store):
    rag = make(store)
    barrier, memories = threading.Barrier(4), []

    def ask() -> None:
        barrier.wait(20)
        memories.append(rag.answer(QUESTIONS[0], version="v2")[0].memory)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memories == ["v2"] * 4
    assert [memory.version for memory in store.opened].count("v2") == 1


class Counting(TableGenerator):
    """Counts its steps, and cancels a request in the second one."""

    steps = 0
    cancellation: Cancellation | None = None

    def step(self, state, tokens):
        self.steps += 1
        if self.steps == 2 and self.cancellation is not None:
            self.cancellation.cancel()
        return super().step(state, tokens)


MODES = [
    {"marginalize": "token"},
    {"marginalize": "sequence", "decode": "thorough"},
    {"marginalize": "sequence", "decode": "fast"},
    {"marginalize": "sequence", "decode": "joint"},
]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_a_cancelled_request_ends_before_the_next_step(store, mode):
    rag = make(store, Counting, min_new_tokens=3, **mode)
    rag.generator.cancellation = Cancellation()
    with pytest.raises(RequestCancelledError, match="cancelled before its answer was known"):
        rag.answer(QUESTIONS, cancellation=rag.generator.cancellation)
    assert rag.generator.steps == 2
    assert len(rag.answer(QUESTIONS)) == 3


def test_a_cancelled_request_is_not_read(store):
    rag, cancellation = make(store), Cancellation()
    cancellation.cancel()
    calls = [
        lambda: rag.answer(QUESTIONS, cancellation=cancellation),
        lambda: next(rag.stream(QUESTIONS[0], cancellation=cancellation)),
        lambda: rag.search(QUESTIONS, cancellation=cancellation),
        lambda: rag.log_prob(QUESTIONS, ["a"] * 3, cancellation=cancellation),
    ]
    for call in calls:
        with pytest.raises(RequestCancelledError):
            call()
    assert rag.generator.passes == 0


def test_batches_after_the_deadline_are_not_read(store):
    rag = make(store, batch_size=1)
    read = rag.generator.read
    cancellation = Cancellation()

    def read_and_cancel(*pairs):
        cancellation.cancel()
        return read(*pairs)

    rag.generator.read = read_and_cancel
    with pytest.raises(RequestCancelledError):
        rag.answer(QUESTIONS, cancellation=cancellation)
    assert rag.generator.passes == 1


def test_a_deadline_counts_from_the_request_on(store):
    now = [10.0]
    stop = Stop(2.0, clock=lambda: now[0])
    now[0] = 12.0
    stop()
    now[0] = 12.1
    with pytest.raises(DeadlineError, match="longer than its timeout, 2 s"):
        stop()
    with pytest.raises(DeadlineError):
        make(store).answer(QUESTIONS, timeout=1e-9)
    assert make(store).answer(QUESTIONS, timeout=600) == make(store).answer(QUESTIONS)


def test_a_child_is_cancelled_with_its_parent_and_not_the_other_way_round():
    parent = Cancellation()
    one, other = Cancellation(parent), Cancellation(parent)
    one.cancel()
    assert (one.cancelled, other.cancelled, parent.cancelled) == (True, False, False)
    parent.cancel()
    assert other.cancelled


def test_a_batch_ends_when_nobody_waits_for_it():
    left, right = Cancellation(), Cancellation()
    check = stops_with_all([Stop(None, left), Stop(None, right)])
    check()
    left.cancel()
    check()
    right.cancel()
    with pytest.raises(RequestCancelledError):
        check()
    stops_with_all([])()


class Picky(TableGenerator):
    """Fails at every batch with a question that has a letter z in it."""

    def read(self, questions, passages):
        if any("zebra" in question for question in questions):
            self.passes += 1
            raise ZeroDivisionError("no zebra")
        return super().read(questions, passages)


def test_each_question_has_its_own_result(store):
    rag = make(store, Picky)
    cancelled = Cancellation()
    cancelled.cancel()
    requests = [
        QUESTIONS[0],
        "",
        Request(QUESTIONS[1], {"k": 1}),
        "where is the zebra",
        Request(QUESTIONS[2], {"k": -1}),
        Request(QUESTIONS[2], {"version": "v2"}),
        Request(QUESTIONS[2], {"version": "v9"}),
        Request(QUESTIONS[2], {"cancellation": cancelled}),
        Request(QUESTIONS[2], {"where": {"n": 1}}),
        Request(QUESTIONS[2], {"where": {"n": True}}),
        3,
        QUESTIONS[1],
    ]
    results = rag.answer_each(requests)
    assert results[0] == rag.answer(QUESTIONS[0])[0]
    assert results[2] == rag.answer(QUESTIONS[1], k=1)[0]
    assert results[5] == rag.answer(QUESTIONS[2], version="v2")[0]
    assert results[8] == rag.answer(QUESTIONS[2], where={"n": 1})[0]
    assert results[9] == rag.answer(QUESTIONS[2], where={"n": True})[0]
    assert results[8] != results[9]
    assert results[11] == rag.answer(QUESTIONS[1])[0]
    kinds = {1: QuestionError, 3: ComponentError, 4: ConfigError, 6: UnknownVersionError}
    kinds |= {7: RequestCancelledError, 10: QuestionError}
    for position, kind in kinds.items():
        assert type(results[position]) is kind, results[position]
    assert "no zebra" in str(results[3])
    assert isinstance(results[3].__cause__, ZeroDivisionError)


def test_equal_settings_are_answered_in_one_batch_and_a_failed_one_question_by_question(store):
    rag = make(store, Picky)
    rag.answer_each([*QUESTIONS, Request(QUESTIONS[0], {"k": 2}), Request(QUESTIONS[1], {"k": 2})])
    assert rag.generator.passes == 2
    rag.answer_each([*QUESTIONS, "a zebra"])
    assert rag.generator.passes == 2 + 1 + 4
    assert rag.answer_each([]) == []


def test_one_cancelled_request_does_not_end_the_batch(store):
    rag = make(store, Counting, min_new_tokens=3)
    rag.generator.cancellation = Cancellation()
    stopped, answered = rag.answer_each(
        [Request(QUESTIONS[0], {"cancellation": rag.generator.cancellation}), QUESTIONS[1]]
    )
    assert isinstance(stopped, RequestCancelledError)
    assert answered == make(store, min_new_tokens=3).answer(QUESTIONS[1])[0]


def test_times_are_those_of_the_stages_and_do_not_make_answers_unequal(store):
    rag = make(store)
    first, second = rag.answer(QUESTIONS[:2])
    assert first.timings == second.timings, "one batch, one time"
    times = first.timings
    assert min(times.search, times.read, times.decode) > 0
    assert times.total >= times.search + times.read + times.decode
    (again,) = rag.answer(QUESTIONS[0])
    assert again == first
    assert again.timings != first.timings
    assert first.to_dict()["timings"] == {
        "search": times.search,
        "read": times.read,
        "decode": times.decode,
        "total": times.total,
        "rewrite": 0.0,
    }
    *_, streamed = rag.events(QUESTIONS[0])
    assert streamed.timings.decode > 0
    left_out = rag.without(first, first.evidence[0].passage.id).winner
    assert isinstance(left_out, Answer)
    assert "timings" not in left_out.to_dict()
