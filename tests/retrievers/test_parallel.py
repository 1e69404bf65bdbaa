"""Test that segments are searched in threads where that pays, with the results of one thread."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Iterator

import pytest

from ragcore.retrievers import parallel
from ragcore.retrievers.parallel import map_segments


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[parallel._Threads]:
    """Yield threads for four processors, which take over any work."""
    monkeypatch.setattr(parallel, "usable_cpus", lambda: 4)
    made = parallel._Threads()
    monkeypatch.setattr(parallel, "_THREADS", made)
    monkeypatch.setattr(parallel, "_WORTH", 0.0)
    yield made
    if made._executor is not None:
        made._executor.shutdown()


@pytest.mark.parametrize("count", range(12))
def test_results_come_in_the_order_of_the_segments(threads: parallel._Threads, count: int) -> None:
    assert map_segments(lambda each: each * each, range(count), threads=True) == [
        n * n for n in range(count)
    ]


def test_segments_are_searched_at_the_same_time(threads: parallel._Threads) -> None:
    # Three threads and the caller: none goes on before all are there.
    meeting = threading.Barrier(4, timeout=30)
    names = map_segments(
        lambda each: (meeting.wait() if each else 0, threading.get_ident())[1],
        range(5),
        threads=True,
    )
    assert len(set(names)) == 4
    assert names[0] == names[1] == threading.get_ident()


def test_without_threads_the_caller_searches_all(threads: parallel._Threads) -> None:
    names = map_segments(lambda _: threading.get_ident(), range(9), threads=False)
    assert set(names) == {threading.get_ident()}


def test_quick_searches_stay_in_one_thread(
    threads: parallel._Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "_WORTH", 60.0)
    assert set(map_segments(lambda _: threading.get_ident(), range(9), threads=True)) == {
        threading.get_ident()
    }


def test_busy_threads_leave_the_work_to_the_caller(threads: parallel._Threads) -> None:
    free = threading.Event()
    busy = [threads.executor().submit(free.wait, 30) for _ in range(3)]
    try:
        names = map_segments(lambda _: threading.get_ident(), range(9), threads=True)
    finally:
        free.set()
    assert set(names) == {threading.get_ident()}
    assert all(future.result() for future in busy)


@pytest.mark.parametrize("failing", [0, 1, 8])
def test_an_error_in_any_segment_is_raised(threads: parallel._Threads, failing: int) -> None:
    def search(segment: int) -> int:
        if segment == failing:
            raise ValueError(f"segment {segment}")
        return segment

    with pytest.raises(ValueError, match=f"segment {failing}"):
        map_segments(search, range(9), threads=True)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_has_threads_of_its_own(threads: parallel._Threads) -> None:
    assert map_segments(abs, range(9), threads=True) == [*range(9)]
    child = multiprocessing.get_context("fork").Process(target=_check_in_child)
    child.start()
    child.join(30)
    assert child.exitcode == 0


def _check_in_child() -> None:
    meeting = threading.Barrier(4, timeout=20)
    map_segments(lambda each: meeting.wait() if each else 0, range(5), threads=True)
