"""Time encoding on processors, by encoders of the shape of known models with random weights.

A model's time depends on its shape, not on its weights; `benchmarks/encoding.py` makes them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from scaling.measuring import Clock, peak_memory

__all__ = ["SHAPES", "encode"]

SHAPES: Final[dict[str, dict[str, int]]] = {
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "bert-base": {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072},
}


def encode(name: str, count: int) -> dict[str, Any]:
    """Encode passages of 60 to 140 words in float32; return the time and the peaks of memory."""
    with peak_memory() as peak, tempfile.TemporaryDirectory() as folder:
        from encoding import draw_passages, save_model
        from ragcore_transformers.configs import SentenceConfig
        from ragcore_transformers.sentence import SentenceTransformers

        model = save_model(Path(folder), {"num_attention_heads": 12, **SHAPES[name]})
        config = SentenceConfig.model_validate({"model": str(model), "device": "cpu"})
        encoder = SentenceTransformers(config)
        passages = draw_passages(encoder.model.tokenizer, count)
        encoder.encode_passages(passages[:16])
        clock = Clock()
        encoder.encode_passages(sorted(passages, key=lambda passage: len(passage.text)))
        times = clock.row()
    return {**times, **peak.row()}
