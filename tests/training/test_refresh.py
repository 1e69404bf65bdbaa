"""Test that a training opens its own memory as the pipeline's section `memory` says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ragcore
from ragcore.config import load_config
from ragcore.errors import StoreCorruptError, TrainingError
from ragcore.training.refresh import Refresher, rebuild
from tests.store.test_store import flip
from tests.training.street_corpus import write_pipeline


def verifying(folder: Path, verify: object) -> Path:
    """Write a pipeline whose section `memory` sets `verify`."""
    pipeline = write_pipeline(folder, "steps: 1", k=4)
    text = pipeline.read_text(encoding="utf-8")
    pipeline.write_text(
        text.replace("  store: store\n", f"  store: store\n  verify: {str(verify).lower()}\n"),
        encoding="utf-8",
    )
    return pipeline


def test_a_refreshed_memory_is_verified_unless_the_pipeline_says_not(tmp_path: Path) -> None:
    pipeline = verifying(tmp_path, True)
    source = ragcore.build_memory(pipeline, version="source")
    refreshers = {}
    for verify in (True, False):
        config = load_config(verifying(tmp_path, verify))
        assert config.memory.verify is verify
        encoder = config.memory.retriever.config.encoder.build()
        run = tmp_path / f"run-{verify}"
        refreshers[verify] = Refresher(config, run, source.name, encoder)
        refreshers[verify].begin("refreshed")
        if verify:
            assert refreshers[verify].ready(wait=True) == "refreshed"
            version = run / "memories" / "versions" / "refreshed"
            flip(version / "retriever" / "index" / "vectors.npy", 200)
        else:
            # The second run gets the first one's memory: a build imports model libraries.
            refreshers[verify].stop()
            shutil.rmtree(run / "memories", ignore_errors=True)
            shutil.copytree(tmp_path / "run-True" / "memories", run / "memories")
    with pytest.raises(StoreCorruptError, match=r"vectors\.npy has sha256"):
        refreshers[True].open("refreshed")
    with refreshers[False].open("refreshed") as memory:
        assert (memory.version, len(memory)) == ("refreshed", 64)


def damaged(folder: Path, verify: object) -> Path:
    """Build a memory, damage its passages, and return its pipeline; the version is `source`."""
    pipeline = verifying(folder, verify)
    ragcore.build_memory(pipeline, version="source")
    passages = folder / "store" / "versions" / "source" / "passages.arrow"
    flip(passages, passages.read_bytes().index(b"street"))
    return pipeline


def test_a_refresh_refuses_damaged_passages(tmp_path: Path) -> None:
    config = load_config(damaged(tmp_path, False))
    encoder = config.memory.retriever.config.encoder.build()
    refresher = Refresher(config, tmp_path / "run", "source", encoder)
    refresher.begin("refreshed")
    with pytest.raises(TrainingError, match=r"passages\.arrow has sha256"):
        refresher.ready(wait=True)


@pytest.mark.parametrize("verify", ["full", True, False])
def test_damaged_passages_are_refused_whatever_the_pipeline_says(
    tmp_path: Path, verify: object
) -> None:
    """By what the refresh's process runs, here without the process and its imports."""
    pipeline = damaged(tmp_path, verify)
    (tmp_path / "store").rename(tmp_path / "other")
    with pytest.raises(StoreCorruptError, match=r"passages\.arrow has sha256"):
        rebuild(pipeline, "refreshed", tmp_path / "other", "source")
