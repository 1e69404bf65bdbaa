"""Tests of the cache: how rows share it, lose it, and are computed again."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.errors import GeneratorError
from ragcore.types import Passage

module = pytest.importorskip(
    "ragcore_llamacpp.generator",
    reason="llama-cpp-python is compiled when it is installed",
    exc_type=ImportError,
)
pytest.importorskip("gguf", reason="the tests write GGUF files")
LlamaCpp = module.LlamaCpp
sequences = sys.modules["ragcore_llamacpp.sequences"]

QUESTIONS = ["What is the capital?", "Where is it?", "Who is the prime minister?"]
PASSAGES = [
    Passage("1", "Chad", "N'Djamena is the capital of Chad."),
    Passage("2", "Kenya", "Nairobi is the largest city."),
    None,
]


def made(file: Path, **changed: object) -> LlamaCpp:
    defaults: dict[str, Any] = {
        "threads": 1,
        "cache_dtype": "float32",
        "template": "{title}: {text}\n{question}\n",
        "template_without_passage": "{question}\n",
    }
    return LlamaCpp(LlamaCpp.Config(model=str(file), **{**defaults, **changed}))


@pytest.fixture(scope="module")
def large(plain: Path) -> LlamaCpp:
    return made(plain)


@pytest.fixture(scope="module")
def small(plain: Path) -> LlamaCpp:
    """Its cache holds the longest prompt and a few tokens more."""
    return made(plain, cache_tokens=64)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 5), min_size=1, max_size=6),
            st.lists(st.integers(4, 300), min_size=6, max_size=6),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_search_is_the_same_in_a_cache_that_is_too_small(
    large: LlamaCpp, small: LlamaCpp, steps: list[tuple[list[int], list[int]]]
) -> None:
    results = []
    for generator in (large, small):
        read = generator.read(QUESTIONS, PASSAGES)
        state = generator.start(read, torch.tensor([0, 1, 2, 0, 1, 2]))
        rows = 6
        log_probs = [generator.step(state, None)]
        for chosen, tokens in steps:
            selected = [row % rows for row in chosen]
            state.select(torch.tensor(selected))
            rows = len(selected)
            log_probs.append(generator.step(state, torch.tensor(tokens[:rows])))
        results.append(torch.cat(log_probs))
    torch.testing.assert_close(results[1], results[0], atol=1e-4, rtol=1e-4)


def test_scores_are_the_same_in_a_cache_that_is_too_small(large: LlamaCpp, small: LlamaCpp) -> None:
    targets = torch.tensor([[9, 30, 41, 2], [9, 30, 42, 2], [9, 2, -1, -1], [50, 60, 70, 2]])
    pairs = torch.tensor([0, 0, 1, 2])
    in_large, in_small = (
        generator.score(generator.read(QUESTIONS, PASSAGES), pairs, targets)
        for generator in (large, small)
    )
    torch.testing.assert_close(in_small, in_large, atol=1e-4, rtol=1e-4)
    assert in_large[2, 2:].tolist() == [0.0, 0.0]


def test_more_rows_than_llama_cpp_has_sequences_are_decoded(large: LlamaCpp) -> None:
    read = large.read(QUESTIONS, PASSAGES)
    state = large.start(read, torch.arange(3).repeat(100))
    tokens = torch.arange(300) + 4
    many = large.step(state, tokens)
    again = large.step(state, tokens)
    state = large.start(read, torch.tensor([0, 2]))
    few = large.step(state, tokens[[90, 299]])
    torch.testing.assert_close(many[[90, 299]], few, atol=1e-4, rtol=1e-4)
    few = large.step(state, tokens[[90, 299]])
    torch.testing.assert_close(again[[90, 299]], few, atol=1e-4, rtol=1e-4)


def test_a_prompt_is_computed_once_for_all_its_rows(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[int] = []
    run = sequences.decode

    def counted(context: Any, tokens: Any, part: slice, size: int) -> Any:
        fed.append(part.stop - part.start)
        return run(context, tokens, part, size)

    monkeypatch.setattr(sequences, "decode", counted)
    generator = made(plain)
    read = generator.read([*QUESTIONS, QUESTIONS[0]], [*PASSAGES, PASSAGES[0]])
    assert sum(fed) == sum(len(prompt.tokens) for prompt in read.prompts[:3])
    assert torch.equal(read.log_probs[3], read.log_probs[0])
    assert not torch.allclose(read.log_probs[1], read.log_probs[0])
    fed.clear()
    state = generator.start(read, torch.tensor([0, 0, 0, 1, 2, 3]))
    generator.step(state, torch.arange(6) + 4)
    assert fed == [6]
    state.select(torch.tensor([5, 5, 0]))
    generator.step(state, torch.arange(3) + 4)
    assert fed == [6, 3]
    fed.clear()
    # Three beginnings: [9], [9, 30] and [50].
    targets = torch.tensor([[9, 30, 41], [9, 30, 42], [50, 2, -1]])
    generator.score(read, torch.tensor([0, 0, 0]), targets)
    assert fed == [3]


def test_cells_of_rows_that_no_longer_exist_are_free(plain: Path) -> None:
    generator = made(plain)
    for _ in range(60):
        read = generator.read(QUESTIONS, PASSAGES)
        state = generator.start(read, torch.arange(3))
        for _ in range(10):
            generator.step(state, torch.tensor([5, 6, 7]))
    del read, state
    gc.collect()
    assert generator._cache.cells == sequences._FIRST_CELLS
    generator.read(["Who?"], [None])
    assert generator._cache.sequences.used < 40


def test_rows_that_were_used_last_lose_their_cells_last(plain: Path) -> None:
    generator = made(plain, cache_tokens=64)
    first = generator.read(["Who is it?"], [None])
    room = 64 // len(first.prompts[0])
    others = [generator.read([f"Who is {n}?"], [None]) for n in range(room - 1)]
    generator.score(first, torch.tensor([0]), torch.tensor([[9, 2]]))
    newest = generator.read(["What is the capital of Chad?"], [None])
    assert first.prompts[0].sequence is not None
    assert newest.prompts[0].sequence is not None
    assert others[0].prompts[0].sequence is None


def test_the_cache_grows_to_its_limit_before_anything_is_computed_again(plain: Path) -> None:
    generator = made(plain, cache_tokens=5000)
    reads = [
        generator.read([f"Who is number {number}?"], [Passage("1", "Chad", "the capital " * 30)])
        for number in range(30)
    ]
    assert generator._cache.cells == 4096
    others = [
        generator.read([f"Where is number {number}?"], [Passage("1", "Chad", "the city " * 40)])
        for number in range(60)
    ]
    assert generator._cache.cells == 5000
    first = [
        generator.step(generator.start(read, torch.tensor([0])), torch.tensor([9]))
        for read in (reads[0], others[-1])
    ]
    alone = made(plain)
    for log_probs, (word, number, text) in zip(
        first, [("Who", 0, "the capital " * 30), ("Where", 59, "the city " * 40)], strict=True
    ):
        read = alone.read([f"{word} is number {number}?"], [Passage("1", "Chad", text)])
        expected = alone.step(alone.start(read, torch.tensor([0])), torch.tensor([9]))
        torch.testing.assert_close(log_probs, expected, atol=1e-4, rtol=1e-4)


def test_an_answer_longer_than_the_cache_is_an_error(plain: Path) -> None:
    generator = made(plain, cache_tokens=64)
    read = generator.read(["Who?"], [None])
    state = generator.start(read, torch.tensor([0]))
    for _ in range(64 - len(read.prompts[0])):
        generator.step(state, torch.tensor([9]))
    with pytest.raises(GeneratorError, match="longer than the 64 positions"):
        generator.step(state, torch.tensor([9]))
    with pytest.raises(GeneratorError, match="max_input_tokens is 64"):
        made(plain, cache_tokens=64, max_input_tokens=64)


@pytest.mark.parametrize("runs", [0, 1, 2])
def test_an_interrupt_while_llama_cpp_computes_makes_no_later_number_wrong(
    plain: Path, monkeypatch: pytest.MonkeyPatch, runs: int
) -> None:
    """As in a notebook, where the generator and what it has read survive Ctrl-C."""
    generator = made(plain, batch_tokens=64)
    read = generator.read(QUESTIONS, PASSAGES)
    pairs, tokens = torch.tensor([0, 1, 2]), torch.tensor([9, 30, 41])
    state = generator.start(read, pairs)
    generator.step(state, tokens)
    # The prompts have to be read again, in several runs of 64 tokens.
    generator._cache.sequences.forget_all()
    count = 0
    decode = sequences.llama_cpp.llama_decode

    def interrupted(context: Any, batch: Any) -> int:
        nonlocal count
        code = decode(context, batch)
        count += 1
        if count == runs + 1:
            raise KeyboardInterrupt
        return code

    with monkeypatch.context() as patch:
        patch.setattr(sequences.llama_cpp, "llama_decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generator.step(state, tokens)
    actual = generator.step(state, tokens)
    other = made(plain)
    expected = other.start(other.read(QUESTIONS, PASSAGES), pairs)
    other.step(expected, tokens)
    torch.testing.assert_close(actual, other.step(expected, tokens), atol=1e-4, rtol=1e-4)


def test_the_context_is_freed_before_the_weights_that_it_reads(plain: Path) -> None:
    generator = made(plain)
    generator.read(["Who?"], [None])
    freed: list[str] = []
    context, weights = generator._cache.sequences.release, generator.model._free
    generator._cache.sequences.release = lambda: (freed.append("context"), context())
    generator.model._free = lambda: (freed.append("weights"), weights())
    generator.close()
    assert freed == ["context", "weights"]
