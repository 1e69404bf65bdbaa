"""Loading of a model2vec model: vectors of tokens and a tokenizer, checked before they are used.

The library reads the formats: its own, and those of sentence-transformers' `StaticEmbedding`.
Knows models; knows nothing of passages and questions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from model2vec import StaticModel

from ragcore.errors import PluginError
from ragcore_static.hub import model_folder

if TYPE_CHECKING:
    import numpy.typing as npt
    from tokenizers import Tokenizer

__all__ = ["TokenVectors", "load"]

_LAYERS: Final = {"StaticEmbedding", "Normalize"}


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """A model in memory; V tokens share R vectors of d components.

    Attributes:
        tokenizer: neither cuts nor pads; not changed by any call.
        vectors: float32 [R, d].
        rows: int64 [V], the row of each token's vector; None if token i has row i.
        weights: float32 [V], a factor of each token's vector; None if all are 1.
        unknown: id of the token for unknown words, which has no part in the average, or None.
        normalize: whether the model scales the vector of a text to length 1.
        prompts: texts to put before others, by kind, such as `query` and `document`.
        digest: twelve hex digits that change with any vector, weight or rule of the tokenizer.
    """

    tokenizer: Tokenizer
    vectors: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64] | None
    weights: npt.NDArray[np.float32] | None
    unknown: int | None
    normalize: bool
    prompts: Mapping[str, str]
    digest: str


def load(name: str) -> TokenVectors:
    """Load a model.

    Args:
        name: a folder, or a name on the hub.

    Raises:
        PluginError: it cannot be found or read, or its files do not fit together.
    """
    folder = model_folder(name)
    try:
        model: Any = StaticModel.from_pretrained(folder, force_download=False)
        layers = list(_layers(folder))
        tokenizer = json.loads(_tokenizer_file(folder).read_text(encoding="utf-8"))
        loaded = _checked(model, layers, tokenizer)
    except MemoryError:
        raise
    # tokenizers and safetensors raise plain exceptions where a file is damaged.
    except Exception as fault:
        (first, *_) = str(fault).strip().splitlines() or [type(fault).__name__]
        raise PluginError(
            f"model {name!r} cannot be loaded: {first}; the folder must hold model.safetensors, "
            "tokenizer.json and config.json as model2vec writes them (other formats of weights "
            "are not loaded)"
        ) from fault
    return loaded


def _checked(model: Any, layers: list[str], tokenizer: dict[str, Any]) -> TokenVectors:
    unfit = sorted(set(layers) - _LAYERS)
    if unfit:
        raise ValueError(f"its layers {', '.join(unfit)} are not of a static model")
    stored = model.embedding
    if stored.ndim != 2 or 0 in stored.shape or stored.dtype.kind not in "fi":
        raise ValueError(
            f"its vectors are {stored.dtype} of shape {stored.shape}: expected numbers of shape "
            "(tokens, components)"
        )
    vectors = np.ascontiguousarray(stored, dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise ValueError("a component of its vectors is not finite")
    size = 1 + max(model.tokenizer.get_vocab().values())
    rows, weights = model.token_mapping, model.weights
    for what, values in (("mapping", rows), ("weights", weights)):
        if values is not None and (values.ndim != 1 or len(values) < size):
            raise ValueError(f"its {what} of shape {values.shape} is not of {size} tokens")
    if rows is None and len(vectors) < size:
        raise ValueError(f"it has {len(vectors)} vectors, and its tokenizer ids up to {size - 1}")
    if rows is not None:
        if rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(vectors):
            raise ValueError(f"its mapping names rows beyond its {len(vectors)} vectors")
        rows = rows.astype(np.int64)
    if weights is not None:
        weights = weights.astype(np.float32)
        if not np.isfinite(weights).all():
            raise ValueError("a weight of its tokens is not finite")
    # The model has a copy of its own of the tokenizer.
    model.tokenizer.no_truncation()
    model.tokenizer.no_padding()
    prompts = model.config.get("prompts") or {}
    return TokenVectors(
        tokenizer=model.tokenizer,
        vectors=vectors,
        rows=rows,
        weights=weights,
        unknown=model.unk_token_id,
        normalize=bool(model.normalize) or "Normalize" in layers,
        prompts={str(kind): str(prompt) for kind, prompt in prompts.items() if prompt},
        digest=_digest(vectors, rows, weights, tokenizer),
    )


def _layers(folder: Path) -> Iterator[str]:
    """Yield the names of the layers that sentence-transformers would make, if a file lists them."""
    path = folder / "modules.json"
    if path.is_file():
        for layer in json.loads(path.read_text(encoding="utf-8")):
            yield layer["type"].rpartition(".")[2]


def _tokenizer_file(folder: Path) -> Path:
    path = folder / "tokenizer.json"
    return path if path.is_file() else folder / "0_StaticEmbedding" / "tokenizer.json"


def _digest(
    vectors: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64] | None,
    weights: npt.NDArray[np.float32] | None,
    tokenizer: dict[str, Any],
) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for values in (vectors, rows, weights):
        digest.update(b"none" if values is None else f"{values.dtype} {values.shape}\n".encode())
        if values is not None:
            digest.update(values.data)
    # Cutting and padding are turned off, and so change no vector.
    rules = {key: tokenizer[key] for key in sorted(tokenizer.keys() - {"padding", "truncation"})}
    digest.update(json.dumps(rules, sort_keys=True).encode())
    return digest.hexdigest()
