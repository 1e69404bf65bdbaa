"""Test that a training opens its own memory as the pipeline's section `memory` says."""

from __future__ import annotations

from pathlib import Path

import pytest

import ragcore
from ragcore.config import load_config
from ragcore.errors import StoreCorruptError, TrainingError
from ragcore.training.refresh import Refresher
from tests.store.test_store import flip
from tests.training.street_corpus import write_pipeline


@pytest.mark.parametrize("verify", [True, False])
def test_a_refreshed_memory_is_verified_unless_the_pipeline_says_not(
    tmp_path: Path, verify: bool
) -> None:
    pipeline = write_pipeline(tmp_path, "steps: 1", k=4)
    text = pipeline.read_text(encoding="utf-8")
    pipeline.write_text(
        text.replace("  store: store\n", f"  store: store\n  verify: {str(verify).lower()}\n"),
        encoding="utf-8",
    )
    source = ragcore.build_memory(pipeline, version="source")
    config = load_config(pipeline)
    assert config.memory.verify is verify
    encoder = config.memory.retriever.config.encoder.build()
    refresher = Refresher(config, tmp_path / "run", source.name, encoder)
    refresher.begin("refreshed")
    assert refresher.ready(wait=True) == "refreshed"
    version = tmp_path / "run" / "memories" / "versions" / "refreshed"
    flip(version / "retriever" / "index" / "vectors.npy", 200)
    if verify:
        with pytest.raises(StoreCorruptError, match=r"vectors\.npy has sha256"):
            refresher.open("refreshed")
    else:
        with refresher.open("refreshed") as memory:
            assert (memory.version, len(memory)) == ("refreshed", 64)


@pytest.mark.parametrize("verify", ["full", False])
def test_a_refresh_refuses_damaged_passages_whatever_the_pipeline_says(
    tmp_path: Path, verify: object
) -> None:
    pipeline = write_pipeline(tmp_path, "steps: 1", k=4)
    text = pipeline.read_text(encoding="utf-8")
    pipeline.write_text(
        text.replace("  store: store\n", f"  store: store\n  verify: {str(verify).lower()}\n"),
        encoding="utf-8",
    )
    source = ragcore.build_memory(pipeline, version="source")
    config = load_config(pipeline)
    passages = tmp_path / "store" / "versions" / "source" / "passages.arrow"
    flip(passages, passages.read_bytes().index(b"street"))
    encoder = config.memory.retriever.config.encoder.build()
    refresher = Refresher(config, tmp_path / "run", source.name, encoder)
    refresher.begin("refreshed")
    with pytest.raises(TrainingError, match=r"passages\.arrow has sha256"):
        refresher.ready(wait=True)
