"""Tests of the generator as a whole: files, closing, threads, and the settings it refuses."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny_gguf as tiny
import torch

from ragcore.errors import GeneratorError
from ragcore.types import Passage

module = pytest.importorskip(
    "ragcore_llamacpp.generator",
    reason="llama-cpp-python is compiled when it is installed",
    exc_type=ImportError,
)
pytest.importorskip("gguf", reason="the tests write GGUF files")
LlamaCpp = module.LlamaCpp

CHAD = Passage("1", "Chad", "N'Djamena is the capital of Chad.")


def made(file: Path, **changed: object) -> LlamaCpp:
    template = "{title}: {text}\n{question}\n"
    return LlamaCpp(LlamaCpp.Config(model=str(file), threads=1, template=template, **changed))


def test_a_folder_with_one_gguf_file_is_that_file(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(plain.read_bytes())
    assert made(tmp_path).eos_token_id == 2
    (tmp_path / "other.gguf").write_bytes(b"")
    with pytest.raises(GeneratorError, match=r"2 GGUF files \(model.gguf, other.gguf, …\)"):
        made(tmp_path)


def test_a_file_that_cannot_be_read_says_why(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="there is no such file"):
        made(tmp_path / "none.gguf")
    with pytest.raises(GeneratorError, match=r"a folder without a \.gguf file"):
        made(tmp_path)
    other = tmp_path / "model.bin"
    other.write_bytes(plain.read_bytes())
    with pytest.raises(GeneratorError, match=r"it is no \.gguf file"):
        made(other)


@pytest.mark.parametrize("size", [0, 3, 20, 2000, 30_000])
def test_a_file_that_was_cut_is_an_error(plain: Path, tmp_path: Path, size: int) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(plain.read_bytes()[:size])
    with pytest.raises(GeneratorError, match=r"broken\.gguf.* complete GGUF file"):
        made(broken)


def test_a_file_of_another_kind_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "text.gguf"
    file.write_text("GGUF is what this begins with, and no more than that. " * 20)
    with pytest.raises(GeneratorError, match="complete GGUF file"):
        made(file)
    with pytest.raises(GeneratorError, match="nosucharch"):
        made(tiny.save_gguf(tmp_path / "arch.gguf", architecture="nosucharch"))


def test_a_closed_generator_says_so(plain: Path) -> None:
    generator = made(plain)
    read = generator.read(["Who?"], [CHAD])
    generator.close()
    generator.close()
    state = generator.start(read, torch.tensor([0]))
    with pytest.raises(GeneratorError, match="is closed"):
        generator.step(state, torch.tensor([5]))
    with pytest.raises(GeneratorError, match="is closed"):
        generator.score(read, torch.tensor([0]), torch.tensor([[5, 2]]))
    for call in (
        lambda: generator.read(["Who?"], [CHAD]),
        lambda: generator.encode_answers(["Chad"]),
        lambda: generator.decode_tokens([9]),
        lambda: generator.speed_report(),
    ):
        with pytest.raises(GeneratorError, match="is closed"):
            call()


def test_weights_that_are_in_use_are_freed_afterwards(plain: Path) -> None:
    generator = made(plain)
    with generator.model.in_use():
        generator.close()
        assert generator.model._free.alive
    assert not generator.model._free.alive


def test_a_generator_is_closed_while_threads_use_it(plain: Path) -> None:
    generator = made(plain)

    def used(number: int) -> str:
        try:
            for _ in range(50):
                generator.read([f"What is number {number}?"], [CHAD])
                generator.decode_tokens(generator.encode_answers(["Chad"])[0])
        except GeneratorError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as threads:
        results = [threads.submit(used, number) for number in range(4)]
        generator.close()
        assert all("is closed" in result.result() for result in results)
    assert not generator.model._free.alive


def test_weights_and_cache_are_freed_with_the_generator_or_when_it_is_closed(plain: Path) -> None:
    for close in (True, False):
        generator = made(plain)
        generator.encode_words(["Chad"])
        read = generator.read(["Who?"], [CHAD])
        weights, context = generator.model._free, generator._cache.sequences.release
        assert weights.alive
        assert context.alive
        if close:
            generator.close()
        else:
            # Not by the garbage collector, which may take its time.
            del generator, read
        assert not weights.alive
        assert not context.alive


def test_threads_get_what_one_alone_gets(plain: Path) -> None:
    generator = made(plain, cache_tokens=128)
    questions = [f"What is number {number}?" for number in range(12)]

    def answered(question: str) -> torch.Tensor:
        read = generator.read([question], [CHAD])
        state = generator.start(read, torch.tensor([0, 0]))
        steps = [generator.step(state, torch.tensor([number, 9])) for number in range(5, 9)]
        return torch.stack(steps)

    expected = [answered(question) for question in questions]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(answered, questions))
    for log_p, alone in zip(together, expected, strict=True):
        torch.testing.assert_close(log_p, alone, atol=2e-3, rtol=2e-3)


def test_a_cache_type_that_needs_flash_attention_is_explained(plain: Path) -> None:
    with pytest.raises(GeneratorError, match="flash_attention: true"):
        made(plain, cache_dtype="q8_0", flash_attention=False)


def test_nothing_of_the_librarys_log_is_printed(
    plain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made(plain).read(["Who?"], [CHAD])
    with pytest.raises(GeneratorError):
        made(tmp_path / "none.gguf")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert not re.search(r"llama|ggml|load", captured.err), captured.err


def test_what_does_not_fit_is_said_before_it_is_read(plain: Path) -> None:
    generator = made(plain, max_input_tokens=100)
    room = tiny.POSITIONS - 100
    faults = generator.length_faults(
        ["Who?", "Who?", "who " * 200], [[5] * room, [5] * (room + 1), [5]]
    )
    assert faults[0] is None
    assert f"the answer is {room + 1} tokens long" in str(faults[1])
    assert "the question is" in str(faults[2])


def test_it_says_what_it_computes_with(plain: Path) -> None:
    generator = made(plain)
    assert generator.dtype == "F32"
    weights, threads = generator.speed_report()
    assert "weights: F32; keys and values: float16" in weights
    assert threads == "llama.cpp: 1 threads"
