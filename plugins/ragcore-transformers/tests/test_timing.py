"""Times of calls, and torch's threads meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from ragcore_transformers import timing
from ragcore_transformers.timing import shortest_times

needs_setters = pytest.mark.skipif(
    timing._setters() is None, reason="this build of torch does not show its libraries' functions"
)


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def in_new_thread() -> int:
    """Return with how many threads torch computes in a thread that never used it."""
    numbers: list[int] = []
    thread = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return numbers[0]


def test_the_pinned_torch_shows_the_setters() -> None:
    # Fails when torch changes what timing.py relies on: trials are then less exact.
    if torch.backends.openmp.is_available() and torch.backends.mkl.is_available():
        assert timing._setters() is not None


@needs_setters
def test_calls_run_in_one_thread_and_other_threads_in_all() -> None:
    weight, numbers = torch.ones(512, 512), set()

    def multiply() -> None:
        numbers.add((torch.get_num_threads(), in_new_thread()))
        own, process = time.thread_time(), time.process_time()
        for _ in range(10):
            weight @ weight
        spent.append((time.thread_time() - own, time.process_time() - process))

    spent: list[tuple[float, float]] = []
    shortest_times(multiply)
    assert numbers == {(1, 3)}
    # MKL's own number of threads, too: no other thread helped.
    assert min(process / own for own, process in spent) < 1.2
    assert torch.get_num_threads() == in_new_thread() == 3


@needs_setters
def test_a_call_that_fails_leaves_the_number_of_threads() -> None:
    with pytest.raises(ZeroDivisionError):
        shortest_times(lambda: 1 // 0)
    assert torch.get_num_threads() == 3


def test_the_first_call_and_slow_rounds_do_not_count() -> None:
    calls = []

    def settles() -> None:
        calls.append(1)
        spin(0.02 if len(calls) in (1, 3) else 0.002)

    shortest, long = shortest_times(settles, lambda: spin(0.004))
    assert 0.002 <= shortest < 0.004 <= long < 0.02


def test_rounds_go_on_while_times_become_shorter() -> None:
    calls = []

    def warms_up() -> None:
        calls.append(1)
        spin(max(0.01 - 0.001 * len(calls), 0.001))

    (shortest,) = shortest_times(warms_up)
    assert 0.001 <= shortest < 0.002
    assert len(calls) <= 1 + timing._MOST


def test_long_calls_run_few_times() -> None:
    calls = []

    def long() -> None:
        calls.append(1)
        spin(max(0.2 - 0.01 * len(calls), 0.1))

    shortest_times(long)
    assert len(calls) == 1 + timing._FEWEST
