"""Run CTranslate2 on the same checkpoint: each passage's beams, and the scores of the others.

It knows no marginalisation over passages. Its nearest work is that of `fast`: for each (question,
passage) pair the hypotheses of a beam search. For `thorough` it then scores each hypothesis under
the question's other passages. Inputs are tokenized beforehand, so that no time of its includes
that. Knows nothing of clocks.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from speed.work import Work

__all__ = ["CTranslate", "convert", "missing"]

_COMPUTE_TYPES = {"float32": "float32", "int8": "int8_float32", "bfloat16": "bfloat16"}
"""CTranslate2's name of each type of weights, by ragcore's."""


def missing() -> str | None:
    """Return why CTranslate2 cannot be run here; None where it can."""
    if importlib.util.find_spec("ctranslate2") is None:
        return "CTranslate2 is not installed (pip install ctranslate2)"
    return None


def convert(folder: Path, target: Path) -> Path:
    """Convert the checkpoint in `folder` to CTranslate2's format, float32."""
    from ctranslate2.converters import TransformersConverter

    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(folder, Path(scratch) / "model"))
        path = copy / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        # The converter reads this of BART's config, which transformers no longer writes.
        config.setdefault("normalize_before", False)
        path.write_text(json.dumps(config), encoding="utf-8")
        TransformersConverter(str(copy)).convert(str(target), force=True)
    return target


class CTranslate:
    """One model with weights of `dtype`, on a CPU.

    Raises:
        ValueError: CTranslate2 has no such weights on this processor.
    """

    def __init__(self, folder: Path, converted: Path, dtype: str) -> None:
        import ctranslate2

        compute = _COMPUTE_TYPES[dtype]
        supported = ctranslate2.get_supported_compute_types("cpu")
        if compute not in supported:
            raise ValueError(
                f"CTranslate2 {ctranslate2.__version__} has no {compute} on this processor, only "
                f"{', '.join(sorted(supported))}"
            )
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._translator: Any = ctranslate2.Translator(
            str(converted),
            device="cpu",
            compute_type=compute,
            inter_threads=1,
            intra_threads=torch.get_num_threads(),
        )

    def inputs(self, work: Work) -> list[list[str]]:
        """Return each pair's tokens, question by question."""
        encoded = self._tokenizer(work.texts()).input_ids
        return [self._tokenizer.convert_ids_to_tokens(ids) for ids in encoded]

    def beams(self, inputs: list[list[str]], beams: int, tokens: int) -> list[list[list[str]]]:
        """Return the best hypotheses of each pair, `beams` of exactly `tokens` tokens.

        All pairs are one batch, as in ragcore. The last token may be any; in ragcore it is the end.
        """
        results = self._translator.translate_batch(
            inputs,
            beam_size=beams,
            num_hypotheses=beams,
            length_penalty=0,
            min_decoding_length=tokens,
            max_decoding_length=tokens,
            return_scores=True,
        )
        hypotheses: list[list[list[str]]] = [result.hypotheses for result in results]
        wrong_lengths = {len(h) for ranked in hypotheses for h in ranked} - {tokens}
        if wrong_lengths:
            raise RuntimeError(
                f"CTranslate2 gave an answer of {wrong_lengths.pop()} tokens, not {tokens}"
            )
        return hypotheses

    def thorough(self, inputs: list[list[str]], k: int, beams: int, tokens: int) -> int:
        """Decode as `beams`, then score each hypothesis under the passages that lack it.

        Returns:
            How many (passage, hypothesis) pairs were scored.
        """
        hypotheses = self.beams(inputs, beams, tokens)
        sources, targets = [], []
        for start in range(0, len(inputs), k):
            question = range(start, start + k)
            distinct = {tuple(h) for pair in question for h in hypotheses[pair]}
            for pair, candidate in product(question, sorted(distinct)):
                if list(candidate) not in hypotheses[pair]:
                    sources.append(inputs[pair])
                    targets.append(list(candidate))
        # CTranslate2 reads a source again for each target; batches keep its memory small.
        scored = self._translator.score_batch(sources, targets, max_batch_size=32)
        return len(scored)

    def log_probs(self, inputs: list[list[str]], targets: list[list[str]]) -> list[list[float]]:
        """Return the log-probabilities of each target's tokens, the end token's last."""
        scored = self._translator.score_batch(inputs, targets, max_batch_size=32)
        return [result.log_probs for result in scored]

    def ids(self, tokens: list[str]) -> list[int]:
        """Return the ids of tokens in the checkpoint's vocabulary."""
        ids: list[int] = self._tokenizer.convert_tokens_to_ids(tokens)
        return ids
