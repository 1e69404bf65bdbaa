"""Settings are written into a pipeline file: nothing else changes, or nothing at all does."""

from __future__ import annotations

import pytest

from ragcore.config import load_config
from ragcore.config.rewriting import write_settings
from ragcore.errors import ConfigError

K1, K = "memory.retriever.k1", "rag.k"


@pytest.mark.parametrize(
    ("before", "settings", "after"),
    [
        ("  retriever: {use: bm25}  # é\n", {K1: 0.5}, "  retriever: {use: bm25, k1: 0.5}  # é\n"),
        (
            "  retriever:\n    # of words\n    use: bm25  # it\n    b: 0.5\n",
            {K1: 0.5},
            "  retriever:\n    # of words\n    use: bm25  # it\n    k1: 0.5\n    b: 0.5\n",
        ),
        (
            "  retriever: {k1: 2.0, use: bm25}\nrag:\n  k: 3 # few\n",
            {K1: 0.5, K: 7},
            "  retriever: {k1: 0.5, use: bm25}\nrag:\n  k: 7 # few\n",
        ),
        (
            '  retriever: {use: bm25, variant: "atire"}\n',
            {"memory.retriever.variant": "bm25+"},
            "  retriever: {use: bm25, variant: bm25+}\n",
        ),
        ("  retriever: {use: bm25}", {K: 7}, "  retriever: {use: bm25}\nrag: {k: 7}\n"),
        (
            "  retriever: {use: bm25}\r\nrag:\r\n  beams: 2\r\n",
            {K: 7},
            "  retriever: {use: bm25}\r\nrag:\r\n  k: 7\r\n  beams: 2\r\n",
        ),
        (
            "  retriever:\n    use: hybrid\n    retrievers:\n      - {use: bm25}\n"
            "      - {use: bm25, b: 0.5}\n",
            {"memory.retriever.retrievers.1.k1": 0.5},
            "  retriever:\n    use: hybrid\n    retrievers:\n      - {use: bm25}\n"
            "      - {use: bm25, k1: 0.5, b: 0.5}\n",
        ),
    ],
)
def test_settings_are_written_and_the_rest_of_the_file_stays(before, settings, after, tmp_path):
    path = tmp_path / "pipeline.yaml"
    frame = "# mine\nragcore: 1\nmemory:\n  store: s\n"
    path.write_bytes((frame + before).encode())
    path.chmod(0o640)
    expected = load_config(path, [f"{key}={value}" for key, value in settings.items()])
    write_settings(path, settings)
    assert path.read_bytes() == (frame + after).encode()
    assert load_config(path) == expected
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_another_file_of_the_same_folder_can_be_written(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text("ragcore: 1\nmemory: {store: s, retriever: {use: bm25}}\n", encoding="utf-8")
    before = path.read_bytes()
    write_settings(path, {K1: 0.5}, tmp_path / "tuned.yaml")
    assert load_config(tmp_path / "tuned.yaml") == load_config(path, [f"{K1}=0.5"])
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="paths in it start from its folder"):
        write_settings(path, {K1: 0.5}, tmp_path / "other" / "tuned.yaml")
    assert not list((tmp_path / "other").iterdir())
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("section", "settings", "message"),
    [
        (
            "rag: {k: &few 3, beams: 4}\ntrain: null\n"
            "memory: {store: s, retriever: {use: bm25, title_weight: *few}}\n",
            {K: 5},
            "without risk",
        ),
        (
            "memory: {store: s, retriever: {use: bm25}}\nrag: &rag\n",
            {K: 5},
            "without risk",
        ),
        ("memory: {store: s, retriever: {use: bm25}}\n", {"rag.kk": 5}, "unknown key"),
    ],
)
def test_a_file_that_cannot_be_changed_without_risk_stays(section, settings, message, tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(f"ragcore: 1\n{section}", encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=message):
        write_settings(path, settings)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["pipeline.yaml"]
