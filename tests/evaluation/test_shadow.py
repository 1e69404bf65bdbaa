"""Test shadow mode: the candidate never delays a request, and every answer is counted."""

from __future__ import annotations

import json
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.config import RagConfig
from ragcore.errors import ConfigError, UnknownVersionError
from ragcore.evaluation.shadow import Shadow, wilson_interval
from ragcore.questions.matching import same_answer
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

QUESTIONS = [f"who rules land{n}" for n in range(12)]
WAIT = 20
"""Seconds after which a thread that should have gone on is taken to hang."""


class Gated(TableGenerator):
    """Reads passages of the new version only while its gate is open; fails where `fails` is set."""

    def __init__(self, config) -> None:
        super().__init__(config)
        self.gate, self.reached = threading.Event(), threading.Event()
        self.gate.set()
        self.fails = False

    def read(self, questions, passages):
        if any(one is not None and one.id.startswith("new") for one in passages):
            self.reached.set()
            assert self.gate.wait(WAIT)
            if self.fails:
                raise RuntimeError("out of memory")
        return super().read(questions, passages)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    for version in ("old", "new"):
        passages = [
            Passage(f"{version}{n}", "", f"land{n} is ruled {version if n % 2 else ''}", {"n": n})
            for n in range(12)
        ]
        store.build(version, passages, dense_part(), corpus_config=None)
    return store


@pytest.fixture
def rag(store):
    config = RagConfig(k=1, max_new_tokens=4)
    generator = Gated(Gated.Config(seed=1, sharpness=2.0))
    memory = store.open("old", retriever=dense_part())
    with Rag(memory, generator, config, store=store, retriever=dense_part()) as made:
        yield made


def test_what_changes_is_counted_and_shown(rag, store):
    expected = rag.answer(QUESTIONS)
    with Shadow(rag, "new", share=1.0, examples=2) as shadow:
        assert shadow.answer(QUESTIONS) == expected
        shadow.join()
        report = shadow.report()
    rag.swap("new")
    others = rag.answer(QUESTIONS)
    changed = [
        (one, other)
        for one, other in zip(expected, others, strict=True)
        if not same_answer(one.text, other.text)
    ]
    assert 2 < len(changed) < 12
    assert (report.asked, report.sampled, report.compared) == (12, 12, 12)
    assert (report.changed, report.dropped, report.errors) == (len(changed), 0, 0)
    assert report.change_rate == len(changed) / 12
    assert report.interval == wilson_interval(len(changed), 12)
    for example, (one, other) in zip(report.examples, changed[-2:], strict=True):
        assert (example.question, example.live, example.memory) == (one.question, one.text, "old")
        assert example.candidate == other.text
        assert example.candidate_log_prob == pytest.approx(other.log_prob, abs=1e-5)
        assert example.live_log_prob == one.log_prob
    assert json.loads(json.dumps(report.to_dict()))["candidate"] == "new"


def test_a_request_does_not_wait_for_the_candidate(rag):
    rag.generator.gate.clear()
    with Shadow(rag, "new", share=1.0, waiting=2) as shadow:
        shadow.answer(QUESTIONS[0])
        assert rag.generator.reached.wait(WAIT)
        # The candidate hangs: one is with it, two wait, and the others are dropped.
        answers = shadow.answer(QUESTIONS[1:6])
        assert len(answers) == 5
        report = shadow.report()
        assert (report.asked, report.sampled, report.dropped, report.compared) == (6, 6, 3, 0)
        assert report.change_rate is None
        assert report.interval == (0.0, 1.0)
        rag.generator.gate.set()
    assert shadow.report().compared == 3


def test_errors_of_the_candidate_do_not_reach_requests(rag):
    with Shadow(rag, "new", share=1.0) as shadow:
        rag.generator.fails = True
        assert len(shadow.answer(QUESTIONS[:3])) == 3
        shadow.join()
        rag.generator.fails = False
        shadow.answer(QUESTIONS[3])
        shadow.join()
        report = shadow.report()
    assert (report.errors, report.compared) == (3, 1)
    assert report.last_error == "RuntimeError: out of memory"


def test_the_seed_decides_which_answers_are_compared(rag):
    def sampled(seed: int) -> list[int]:
        counts = []
        with Shadow(rag, "new", share=0.4, seed=seed) as shadow:
            for question in QUESTIONS:
                shadow.answer(question)
                counts.append(shadow.report().sampled)
            shadow.join()
            assert shadow.report().compared == counts[-1]
        return counts

    assert sampled(1) == sampled(1) != sampled(2)
    assert 0 < sampled(1)[-1] < 12


def test_a_share_of_nothing_asks_nothing(rag):
    with Shadow(rag, "new", share=0.0) as shadow:
        shadow.answer(QUESTIONS)
    assert (shadow.report().asked, shadow.report().sampled) == (12, 0)


def test_the_candidate_is_asked_with_the_requests_filter(rag):
    with Shadow(rag, "new", share=1.0) as shadow:
        served = [shadow.answer(QUESTIONS[0], where={"n": n})[0] for n in range(12)]
        assert [one.evidence[0].passage.id for one in served] == [f"old{n}" for n in range(12)]
        shadow.join()
        examples = shadow.report().examples
    rag.swap("new")
    others = [rag.answer(QUESTIONS[0], where={"n": n})[0] for n in range(12)]
    pairs = zip(served, others, strict=True)
    changed = [other for one, other in pairs if not same_answer(one.text, other.text)]
    assert len(changed) > 2
    assert [one.candidate for one in examples] == [one.text for one in changed]


def test_closing_asks_what_waits_or_drops_it(rag):
    for drop, compared in ((False, 4), (True, 1)):
        rag.generator.gate.clear()
        rag.generator.reached.clear()
        shadow = Shadow(rag, "new", share=1.0)
        shadow.answer(QUESTIONS[:4])
        assert rag.generator.reached.wait(WAIT)
        closing = threading.Thread(target=shadow.close, kwargs={"drop": drop})
        closing.start()
        if drop:
            end = time.monotonic() + WAIT
            # What waited is dropped while the candidate still works on the first.
            while shadow.report().dropped < 3:
                assert time.monotonic() < end
        rag.generator.gate.set()
        closing.join(WAIT)
        assert not closing.is_alive()
        report = shadow.report()
        assert (report.compared, report.dropped) == (compared, 4 - compared)
        shadow.close()


def test_a_closed_shadow_lets_the_live_pipeline_answer(rag):
    with Shadow(rag, "new", share=1.0) as shadow:
        candidate = shadow._candidate
    with pytest.raises(Exception, match="closed"):
        candidate.answer(QUESTIONS[0])
    assert len(shadow.answer(QUESTIONS)) == 12
    assert shadow.report().dropped == 12
    assert len(rag.answer(QUESTIONS)) == 12


def test_no_count_is_lost_with_many_threads(rag):
    with Shadow(rag, "new", share=0.5, waiting=4) as shadow:
        threads = [threading.Thread(target=shadow.answer, args=(QUESTIONS,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
    report = shadow.report()
    assert report.asked == 48
    assert report.sampled == report.compared + report.dropped + report.errors


def test_what_cannot_be_shadowed_is_refused(rag, store):
    with pytest.raises(UnknownVersionError, match="'newer'"):
        Shadow(rag, "newer")
    for wrong in ({"share": 1.5}, {"waiting": 0}, {"examples": -1}):
        with pytest.raises(ConfigError, match="expected a share from 0 to 1"):
            Shadow(rag, "new", **wrong)


@given(whole=st.integers(1, 10**6), data=st.data())
def test_the_interval_is_where_the_share_is_just_as_far_as_chance_takes_it(whole, data):
    part = data.draw(st.integers(0, whole))
    low, high = wilson_interval(part, whole)
    assert 0 <= low <= part / whole <= high <= 1
    for end in (low, high):
        off, chance = (part / whole - end) ** 2, 1.959964**2 * end * (1 - end) / whole
        assert off == pytest.approx(chance, rel=1e-4, abs=1e-12)
