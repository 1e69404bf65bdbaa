"""Time encoding of passages against sentence-transformers' own `encode` on the same model.

Usage: python benchmarks/encoding.py [--model FOLDER] [--passages 256] [--rounds 5] [--threads 1]
           [--json FILE]

The model has the shape of all-MiniLM-L6-v2, 6 layers of width 384, with random weights and a
tokenizer made here, unless a model is named: with random weights the times are the same, but
cosines say little. A passage has 60 to 140 words of the model's vocabulary. In each round all
runs encode the same passages in turn; a ratio is how many times as fast as `encode` in float32 a
run was in the same round. Times are the processor's, of all threads together, so that another
program changes them less.

ragcore's runs are the encoder `sentence-transformers` with each dtype. Then, where they are
installed, sentence-transformers with the backend openvino, and ONNX Runtime on an export of the
same model, in float32 and with its own dynamic int8.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from ragcore_transformers.configs import SentenceConfig
from ragcore_transformers.sentence import SentenceTransformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from ragcore.types import Passage

DTYPES: Final = ("float32", "bfloat16", "int8")
TARGETS: Final = {"float32": 1.7, "bfloat16": 2.8, "int8": 4.0}
SPECIAL: Final = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

Encode = Callable[[list[str]], np.ndarray]


MINILM: Final[dict[str, Any]] = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "intermediate_size": 1536,
}


def save_model(folder: Path, shape: dict[str, Any] = MINILM) -> Path:
    """Save a BERT of a shape, with random weights and invented words."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = {"".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(30_000)}
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *sorted(words)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    bare = folder / "bare"
    names = ("pad", "unk", "cls", "sep", "mask")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": token for name, token in zip(names, SPECIAL, strict=True)},
    ).save_pretrained(bare)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(bare)
    parts = [Transformer(str(bare), max_seq_length=256), Pooling(shape["hidden_size"]), Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save_pretrained(str(folder / "model"))
    return folder / "model"


def draw_passages(tokenizer: Any, count: int) -> list[Passage]:
    rng = np.random.default_rng(1)
    words = sorted(word for word in tokenizer.get_vocab() if word.isalpha() and len(word) > 2)
    return [
        Passage(str(row), "", " ".join(rng.choice(words, rng.integers(60, 141))))
        for row in range(count)
    ]


def ragcore_runs(model: str) -> dict[str, Encode]:
    runs: dict[str, Encode] = {}
    for dtype in DTYPES:
        encoder = SentenceTransformers(SentenceConfig(model=model, device="cpu", dtype=dtype))

        def encode(texts: list[str], encoder: SentenceTransformers = encoder) -> np.ndarray:
            return encoder.encode_passages([Passage(text, "", text) for text in texts])

        runs[dtype] = encode
    return runs


def library_run(model: str, **settings: Any) -> Encode:
    library = SentenceTransformer(model, device="cpu", **settings)

    def encode(texts: list[str]) -> np.ndarray:
        vectors: np.ndarray = library.encode(texts, show_progress_bar=False)
        return vectors

    return encode


def onnx_runs(model: str, folder: Path, threads: int) -> dict[str, Encode]:
    """Export the model to ONNX, and return runs of it and of its dynamic int8 form."""
    import onnxruntime
    from onnxruntime.quantization import quantize_dynamic

    library = SentenceTransformer(model, device="cpu")
    core = library[0].auto_model.eval()

    class Mean(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = core

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            states = self.core(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask[:, :, None].to(states.dtype)
            mean = (states * weights).sum(1) / weights.sum(1)
            return torch.nn.functional.normalize(mean, dim=1)

    exact, coarse = folder / "model.onnx", folder / "int8.onnx"
    ids = torch.ones(2, 8, dtype=torch.long)
    torch.onnx.export(
        Mean().eval(),
        (ids, ids),
        str(exact),
        input_names=["ids", "mask"],
        output_names=["vectors"],
        dynamic_axes={"ids": {0: "texts", 1: "tokens"}, "mask": {0: "texts", 1: "tokens"}},
        dynamo=False,
        opset_version=17,
    )
    quantize_dynamic(str(exact), str(coarse))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def run(path: Path) -> Encode:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

        def encode(texts: list[str]) -> np.ndarray:
            # As sentence-transformers does: by length, 32 at once.
            order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
            vectors = np.empty((len(texts), 384), np.float32)
            for begin in range(0, len(order), 32):
                rows = order[begin : begin + 32]
                features = library.preprocess([texts[row] for row in rows])
                inputs = {
                    "ids": features["input_ids"].numpy(),
                    "mask": features["attention_mask"].numpy(),
                }
                (vectors[rows],) = session.run(None, inputs)
            return vectors

        return encode

    return {"ONNX Runtime": run(exact), "ONNX Runtime int8": run(coarse)}


def further_runs(model: str, folder: Path, threads: int) -> dict[str, Encode]:
    """Return the runs of what is installed, and print what is not."""
    runs: dict[str, Encode] = {}
    needed = {
        "ONNX Runtime": ("onnxruntime", "onnx"),
        "openvino": ("openvino", "optimum.intel"),
    }
    for name, modules in needed.items():
        missing = [module for module in modules if not _is_installed(module)]
        if missing:
            print(f"without {name}: {', '.join(missing)} not installed")
        elif name == "openvino":
            settings = {"ov_config": {"INFERENCE_NUM_THREADS": threads}}
            runs[name] = library_run(model, backend="openvino", model_kwargs=settings)
        else:
            runs |= onnx_runs(model, folder, threads)
    return runs


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def report(times: dict[str, list[float]], cosines: dict[str, float]) -> dict[str, Any]:
    """Print a row for each run, and return the figures."""
    (unit, *runs) = times
    figures: dict[str, Any] = {}
    print(f"\n{'':26}{'median':>8}{'best':>8}   times as fast as {unit}, by round")
    for name in (unit, *runs):
        ratios = [base / own for base, own in zip(times[unit], times[name], strict=True)]
        target = f"  (to reach: {TARGETS[name]})" if name in TARGETS else ""
        figures[name] = {
            "seconds": times[name],
            "ratio": statistics.median(ratios),
            "ratio_of_minima": min(times[unit]) / min(times[name]),
            "least_cosine": cosines[name],
        }
        label = f"ragcore {name}" if name in DTYPES else name
        print(
            f"{label:26}{statistics.median(ratios):8.2f}"
            f"{figures[name]['ratio_of_minima']:8.2f}   "
            f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}"
            f"  cosine ≥ {cosines[name]:.4f}{target}"
        )
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a folder of sentence-transformers")
    parser.add_argument("--passages", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or str(save_model(folder))
        unit = "sentence-transformers"
        runs = {unit: library_run(model)} | ragcore_runs(model)
        runs |= further_runs(model, folder, options.threads)
        tokenizer = SentenceTransformer(model, device="cpu").tokenizer
        texts = [passage.text for passage in draw_passages(tokenizer, options.passages)]
        print(
            f"{len(texts)} passages, {options.threads} thread(s), torch {torch.__version__}, "
            f"{torch.backends.cpu.get_cpu_capability()}",
            flush=True,
        )
        times: dict[str, list[float]] = {run: [] for run in runs}
        cosines: dict[str, float] = {}
        for turn in range(options.rounds + 1):
            exact = np.empty(0)
            for run, encode in runs.items():
                # The first round warms up.
                few = texts[:16] if turn == 0 else texts
                began = time.process_time()
                vectors = encode(few)
                took = time.process_time() - began
                if run == unit:
                    exact = vectors
                if turn:
                    times[run].append(took)
                    cosines[run] = float((vectors * exact).sum(axis=1).min())
            print(f"  round {turn} done", file=sys.stderr, flush=True)
        figures = report(times, cosines)
        first = times[unit]
        print(f"{unit}: {len(texts) / min(first):.1f} passages a second of processor time")
        if options.json is not None:
            options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
