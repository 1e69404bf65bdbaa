"""Measure ragcore on one GPU: generation, encoding, a step of training, peak memory.

Usage: bash benchmarks/gpu.sh [--dry]; or, where ragcore is installed, python benchmarks/gpu.py
           [--dry] [--minutes 6] [--device cuda] [--json FILE]

All models have random weights: the times are those of trained ones. Generation: 4 questions, k=5
passages of about 120 tokens, 4 beams, answers of exactly 20 tokens, reading included, by
BART-large, T5-base and a Llama of 1.2 billion parameters, which reads all of each prompt. Encoding:
passages of 60 to 140 words by the shapes of all-MiniLM-L6-v2 and BERT-large. Training: a step with
the paper's loss, BART-large reading 5 passages of each of 8 questions, question encoder included.

Each section prints its rows as they are measured. One that fails says why, and the next begins; one
that would begin after `--minutes` is left out, and said to be. Searches are not measured: ragcore's
indexes search on the CPU. `--dry` uses tiny models, to try the script on any machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import transformers
from encoding import MINILM, draw_passages
from encoding import save_model as save_encoder
from ragcore_transformers.causal import Causal
from ragcore_transformers.configs import SentenceConfig
from ragcore_transformers.sentence import SentenceTransformers
from sentence_transformers import SentenceTransformer
from speed.engines import DECODERS, Engine
from speed.timing import timed
from speed.work import SMALL, Shape, Work, draw_work, save_model, save_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

import ragcore
from ragcore.training import TrainingStep, train

BART = Shape(width=1024, layers=12, heads=16, inner=4096, vocabulary=50265)
T5 = Shape(width=768, layers=12, heads=12, inner=3072, vocabulary=32128)
LLAMA = Shape(width=2048, layers=16, heads=32, inner=8192, vocabulary=128256)
LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
TINY = {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 96}
DTYPES = ("float32", "bfloat16", "float16")

GIB = 1 << 30


class CausalEngine(Engine):
    """A decoder-only model of one dtype, with the runs of `Engine`."""

    def __init__(self, folder: Path, dtype: str, device: torch.device) -> None:
        config = {"model": str(folder), "dtype": dtype, "device": str(device)}
        # Each round would find the passages of the one before.
        config |= {"reuse": None}
        self.generator = Causal(Causal.Config.model_validate(config))


@dataclass(slots=True)
class Bench:
    """The options, a folder for models, the end of the time, and the rows measured so far."""

    options: argparse.Namespace
    folder: Path
    end: float
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        return torch.device(self.options.device)

    @property
    def dry(self) -> bool:
        return bool(self.options.dry)

    def row(self, section: str, **figures: Any) -> None:
        """Print a row, and keep it for --json."""
        self.rows.append({"section": section, **figures})
        shown = (
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in figures.items()
        )
        print(f"{section:11} {', '.join(shown)}", flush=True)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Report what a block raises; the next one gets its memory."""
        try:
            yield
        except Exception as error:
            message = " ".join(str(error).split())[:300]
            self.failed.append(name)
            print(f"FAILED {name}: {type(error).__name__}: {message}", flush=True)
        finally:
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()

    def late(self, name: str) -> bool:
        """Return whether the time is over, and say what is left out."""
        if time.monotonic() < self.end:
            return False
        self.failed.append(name)
        print(f"LEFT OUT {name}: the minutes are over", flush=True)
        return True

    def peak(self) -> float:
        """Return the most GiB that the device had in use, or on a CPU the process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / GIB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB

    def median(self, action: Callable[[], object]) -> float:
        """Return the median seconds of three calls, after one that is not counted."""
        action()
        return statistics.median(timed(action, self.device)[0] for _ in range(1 if self.dry else 3))


def save_t5(shape: Shape, folder: Path, device: torch.device) -> Path:
    config = T5Config(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        d_kv=shape.width // shape.heads,
        d_ff=shape.inner,
        num_layers=shape.layers,
        num_heads=shape.heads,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    with device:
        model = T5ForConditionalGeneration(config)
    model.save_pretrained(folder)
    save_tokenizer(shape, folder)
    return folder


def save_llama(shape: Shape, folder: Path, device: torch.device) -> Path:
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=max(1, shape.heads // 4),
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    # Weights are drawn where that is fast.
    with device:
        model = LlamaForCausalLM(config).bfloat16()
    model.save_pretrained(folder)
    save_tokenizer(shape, folder)
    return folder


def generation(bench: Bench) -> None:
    """Time each way of decoding by each model, in each dtype."""
    kinds: dict[str, tuple[Shape, Callable[[Shape, Path], Path], type[Engine], tuple[str, ...]]] = {
        "bart-large": (BART, save_model, Engine, DTYPES),
        "t5-base": (T5, lambda *to: save_t5(*to, bench.device), Engine, DTYPES),
        "llama-1b": (LLAMA, lambda *to: save_llama(*to, bench.device), CausalEngine, DTYPES[1:]),
    }
    for name, (shape, save, engine, dtypes) in kinds.items():
        if bench.late(f"generation by {name}"):
            continue
        shape = SMALL if bench.dry else shape
        with bench.attempt(name):
            folder = save(shape, bench.folder / name)
            work = draw_work(shape, 2 if bench.dry else 4, 5)
            for dtype in dtypes:
                load = partial(engine, folder, dtype, bench.device)
                with bench.attempt(f"{name} {dtype}"):
                    decode_all(bench, f"{name} {dtype}", load, work)


def decode_all(bench: Bench, name: str, load: Callable[[], Engine], work: Work) -> None:
    seconds, engine = timed(load, bench.device)
    bench.row("loading", model=name, seconds=seconds, peak_GiB=bench.peak())
    beams, tokens = (2, 4) if bench.dry else (4, 20)
    runs: dict[str, Callable[[], object]] = {
        "floor": lambda: engine.floor(work, beams, tokens),
        **{d: lambda d=d: engine.decode(d, work, beams, tokens) for d in DECODERS},
    }
    for decoder, run in runs.items():
        seconds = bench.median(run)
        bench.row(
            "generation",
            model=name,
            decoder=decoder,
            seconds=seconds,
            questions_a_second=len(work) / seconds,
            peak_GiB=bench.peak(),
        )


def encoding(bench: Bench) -> None:
    """Time the encoding of passages."""
    for name, shape in (("minilm", MINILM), ("bert-large", LARGE)):
        if bench.late(f"encoding by {name}"):
            continue
        with bench.attempt(f"encoding by {name}"):
            folder = bench.folder / name
            model = str(save_encoder(folder, TINY if bench.dry else shape))
            tokenizer = SentenceTransformer(model, device="cpu").tokenizer
            passages = draw_passages(tokenizer, 64 if bench.dry else 4096)
            for dtype in ("float32", "bfloat16"):
                settings = {"model": model, "device": bench.options.device, "dtype": dtype}
                encoder = SentenceTransformers(SentenceConfig(**settings, batch_size=256))
                seconds = bench.median(partial(encoder.encode_passages, passages))
                bench.row(
                    "encoding",
                    model=f"{name} {dtype}",
                    passages_a_second=len(passages) / seconds,
                    peak_GiB=bench.peak(),
                )


def training(bench: Bench) -> None:
    """Time steps of training the question encoder and BART through the marginal."""
    if bench.late("training"):
        return
    shape = SMALL if bench.dry else BART
    folder = bench.folder / "training"
    folder.mkdir()
    save_encoder(folder / "encoder", TINY if bench.dry else MINILM)
    save_model(shape, folder / "bart")
    work = draw_work(shape, 64, 1)
    files = {
        "passages": [
            {"id": str(row), "title": group[0].title, "text": group[0].text}
            for row, group in enumerate(work.passages)
        ],
        "questions": [
            {"question": question, "answer": group[0].title}
            for question, group in zip(work.questions, work.passages, strict=True)
        ],
    }
    for name, rows in files.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    device = bench.options.device
    encoder = f"{{use: sentence-transformers, model: encoder/model, device: {device}}}"
    (folder / "train.yaml").write_text(
        "ragcore: 1\n"
        "memory:\n"
        "  store: store\n"
        "  corpus: {use: jsonl, path: passages.jsonl}\n"
        f"  retriever: {{use: dense, encoder: {encoder}, index: {{use: exact}}}}\n"
        f"generator: {{use: bart, model: bart, device: {device}}}\n"
        "rag: {k: 5, beams: 1, max_new_tokens: 8}\n"
        "train: {questions: {path: questions.jsonl}, output: run, steps: 6, batch_size: 8}\n",
        encoding="utf-8",
    )
    ragcore.build_memory(folder / "train.yaml")
    for precision in ("float32", "bfloat16"):
        with bench.attempt(f"training in {precision}"):
            times: list[float] = []

            def note(event: object, times: list[float] = times) -> None:
                if isinstance(event, TrainingStep):
                    times.append(time.perf_counter())

            settings = [f"train.precision={precision}", f"train.output={precision}"]
            train(ragcore.load_config(folder / "train.yaml", settings), report=note)
            # The first step loads kernels.
            steps = [later - earlier for earlier, later in pairwise(times)][1:]
            bench.row(
                "training",
                precision=precision,
                seconds_a_step=statistics.median(steps),
                peak_GiB=bench.peak(),
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="tiny models, to try the script")
    parser.add_argument("--minutes", type=float, default=6, help="no section begins after them")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.device == "cpu" and not options.dry:
        parser.error("there is no GPU; --dry tries the script on a CPU")
    transformers.utils.logging.disable_progress_bar()
    where = options.device
    if where.startswith("cuda"):
        card = torch.cuda.get_device_properties(where)
        where = f"{card.name}, {card.total_memory / GIB:.0f} GiB, CUDA {torch.version.cuda}"
    print(
        f"{where}, torch {torch.__version__}, transformers {transformers.__version__}"
        f"{', dry: the figures say nothing' if options.dry else ''}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options, Path(scratch), time.monotonic() + options.minutes * 60)
        for section in (generation, encoding, training):
            with bench.attempt(section.__name__):
                section(bench)
    if options.json is not None:
        options.json.write_text(json.dumps(bench.rows, indent=2) + "\n", encoding="utf-8")
    print(f"{len(bench.rows)} rows; failed or left out: {', '.join(bench.failed) or 'none'}")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
