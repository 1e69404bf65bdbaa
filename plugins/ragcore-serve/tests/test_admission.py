"""What is admitted is bounded, and who is refused learns when there is likely to be room."""

from __future__ import annotations

import pytest
from ragcore_serve.admission import Admission
from ragcore_serve.outcomes import Draining, QueueFull


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(admission: Admission, count: int) -> float:
    with pytest.raises(QueueFull) as caught:
        admission.admit(count)
    return caught.value.retry_after


def test_the_time_until_there_is_room_is_by_the_rate_at_which_work_ended():
    clock = Clock()
    admission = Admission(10, "questions", clock=clock)
    admission.admit(10)
    assert refused(admission, 1) == 1
    clock.now += 8
    # Nothing has ended yet: no sooner than it has taken so far.
    assert refused(admission, 1) == 8
    admission.leave(2)
    # 2 in 8 s; 8 are admitted, so 5 more need 3 to end.
    assert refused(admission, 5) == 12
    admission.leave(8)
    clock.now += 3600
    admission.admit(10)
    # 10 in 8 s; the hour in which nothing was asked does not count.
    assert refused(admission, 5) == 4
    clock.now += 10_000
    assert refused(admission, 10) == 60


def test_all_are_admitted_or_none_and_each_change_is_noted():
    counts = []
    admission = Admission(3, "questions", counts.append)
    admission.admit(2)
    refused(admission, 2)
    admission.admit()
    admission.leave(3)
    assert counts == [2, 3, 0]
    assert admission.count == 0


def test_a_drained_admission_admits_nothing_and_is_idle_once_all_have_left():
    admission = Admission(3, "questions")
    admission.admit(2)
    first, second = admission.drain(), admission.drain()
    with pytest.raises(Draining):
        admission.admit()
    admission.leave()
    assert not first.done()
    second.cancel()
    admission.leave()
    assert first.done()
    assert admission.drain().done()


def test_a_limit_admits_something():
    with pytest.raises(ValueError, match="at least 1"):
        Admission(0, "questions")
