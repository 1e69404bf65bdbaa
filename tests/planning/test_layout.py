"""Sizes by formula are those of files that FAISS and ragcore write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import RagcoreError
from ragcore.planning.layout import (
    DATABASE_KINDS,
    FILE_KINDS,
    INDEX_KINDS,
    MOST_DIMENSIONS,
    factory_of,
    index_bytes,
    list_count,
    training_size,
)
from ragcore.registry.components import spec_from_dict

VECTOR_KINDS = [kind for kind in FILE_KINDS if kind != "bm25"]


@pytest.mark.parametrize("kind", VECTOR_KINDS)
def test_an_index_has_as_many_bytes_as_the_formula_says(kind, tmp_path: Path):
    pytest.importorskip("ragcore_faiss", reason="ragcore-faiss is not installed")
    # Of few dimensions, since training a codebook for each eight takes a second.
    passages, dim = 3_000, 16
    settings = {"factory": factory_of(kind, passages, dim)}
    if size := training_size(kind, passages):
        settings["train_size"] = size
    index = spec_from_dict("index", {"use": "faiss", **settings}).build(dim=dim)
    vectors = np.random.default_rng(0).standard_normal((passages, dim), np.float32)
    index.add(np.arange(passages), vectors)
    index.save(tmp_path)
    written = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert index_bytes(kind, passages, dim) == pytest.approx(written, rel=0.03)


def test_the_papers_flat_index_has_64_9_gb():
    assert index_bytes("flat", 21_015_324, 768) == 21_015_324 * (4 * 768 + 16)


@pytest.mark.parametrize("kind", DATABASE_KINDS)
def test_the_settings_of_a_kind_are_those_of_a_component(kind):
    use = kind.partition("-")[0]
    pytest.importorskip(f"ragcore_{use}", reason=f"ragcore-{use} is not installed")
    address = {"dsn": "dbname=rag"} if use == "pgvector" else {"uri": "http://localhost:19530"}
    settings = yaml.safe_load(DATABASE_KINDS[kind])
    spec = spec_from_dict("index", {**settings, **address})
    assert spec.use == use
    # Before the first vector no database is asked.
    if kind in MOST_DIMENSIONS:
        spec.component(spec.config, dim=MOST_DIMENSIONS[kind])
        with pytest.raises(RagcoreError, match=f"has {MOST_DIMENSIONS[kind]} at most"):
            spec.component(spec.config, dim=MOST_DIMENSIONS[kind] + 1)


def test_a_collection_has_its_vectors_and_the_links_of_its_graph():
    vectors = index_bytes("milvus", 1_000, 768)
    assert vectors == 1_000 * (4 * 768 + 3 * 8)
    # Twice 32 links of 4 bytes on the lowest level, and a thirty-first of 32 above.
    assert index_bytes("milvus-hnsw", 1_000, 768) - vectors == 1_000 * 4 * (64 + 1)


def test_bm25_has_no_formula():
    with pytest.raises(ValueError, match="depends on the text"):
        index_bytes("bm25", 1, 1)


@given(passages=st.integers(1, 10**9))
def test_lists_are_within_faiss_guidelines(passages):
    lists = list_count(passages)
    assert lists.bit_count() == 1
    assert 4 / 2**0.5 * 0.999 <= lists / passages**0.5 <= 4 * 2**0.5 * 1.001


@given(kind=st.sampled_from(INDEX_KINDS), passages=st.integers(1, 10**9))
def test_no_more_is_trained_on_than_there_is(kind, passages):
    assert training_size(kind, passages) <= passages


@given(dim=st.integers(1, 4096), passages=st.integers(1, 10**8))
def test_product_codes_divide_the_dimensions(dim, passages):
    code_bytes = int(factory_of("ivf-pq", passages, dim).partition(",PQ")[2].removesuffix("np"))
    assert dim % code_bytes == 0
