"""Settings are written into a pipeline file: nothing else changes, or nothing at all does."""

from __future__ import annotations

import pytest

from ragcore.config import ConfidenceConfig, load_config
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
        (
            "rag: {length_penalty: &warm 2.5}\n"
            "memory:\n  store: s\n  retriever: {use: bm25}\n  temperature: *warm\n",
            {"memory.temperature": 0.25},
            r"without risk.*: memory\.temperature=0\.25",
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


FITTED = ConfidenceConfig(slope=1.5, intercept=-1e-05, threshold=0.25)
WRITTEN = "{slope: 1.5, intercept: -1.0e-05, threshold: 0.25}"
CALIBRATED = {"memory.temperature": 0.25, "rag.confidence": FITTED.model_dump(exclude_none=True)}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("  temperature: 2  # warm\n  store: s\n", "  temperature: 0.25  # warm\n  store: s\n"),
        ("  # where\n  store: s\n", "  # where\n  temperature: 0.25\n  store: s\n"),
        ("    store: s\r\n", "    temperature: 0.25\r\n    store: s\r\n"),
    ],
)
def test_a_temperature_is_written_as_a_line_of_its_section(written, expected, tmp_path):
    path = tmp_path / "pipeline.yaml"
    indent = " " * (len(written) - len(written.lstrip(" ")))
    frame = f"# mine\nragcore: 1\nmemory:\n%s{indent}retriever: {{use: bm25}}  # é\n"
    path.write_bytes((frame % written).encode())
    write_settings(path, {"memory.temperature": 0.25})
    assert path.read_bytes() == (frame % expected).encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "memory: {store: s, retriever: {use: bm25}}\nrag: {k: 2}  # two\n",
            "memory: {store: s, temperature: 0.25, retriever: {use: bm25}}\n"
            f"rag: {{k: 2, confidence: {WRITTEN}}}  # two\n",
        ),
        (
            "memory: {\n  store: s, retriever: {use: bm25}}\n",
            "memory: {\n  store: s, temperature: 0.25, retriever: {use: bm25}}\n"
            f"rag: {{confidence: {WRITTEN}}}\n",
        ),
        (
            "memory:\r\n  store: s\r\n  retriever: {use: bm25}\r\nrag:\r\n  # mine\r\n  k: 2",
            "memory:\r\n  temperature: 0.25\r\n  store: s\r\n  retriever: {use: bm25}\r\n"
            f"rag:\r\n  # mine\r\n  confidence: {WRITTEN}\r\n  k: 2",
        ),
        (
            "rag: {k: 2, confidence: null}\nmemory: {temperature: 4, store: s, "
            "retriever: {use: bm25}}",
            f"rag: {{k: 2, confidence: {WRITTEN}}}\nmemory: {{temperature: 0.25, store: s, "
            "retriever: {use: bm25}}",
        ),
        (
            "rag:\n  confidence:\n    # old\n    slope: 3\n    intercept: 2 # two\n"
            "memory: {store: s, retriever: {use: bm25}}",
            "rag:\n  confidence:\n    # old\n    threshold: 0.25\n    slope: 1.5\n"
            "    intercept: -1.0e-05 # two\n"
            "memory: {store: s, temperature: 0.25, retriever: {use: bm25}}",
        ),
        (
            "memory: {store: s, retriever: {use: bm25}}",
            "memory: {store: s, temperature: 0.25, retriever: {use: bm25}}\n"
            f"rag: {{confidence: {WRITTEN}}}\n",
        ),
    ],
)
def test_a_section_is_written_into_any_style(before, after, tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(f"\ufeffragcore: 1\n{before}".encode())
    write_settings(path, CALIBRATED)
    assert path.read_bytes().decode() == f"\ufeffragcore: 1\n{after}"
    config = load_config(path)
    assert (config.memory.temperature, config.rag.confidence) == (0.25, FITTED)


@pytest.mark.parametrize("section", ["rag: {}\n", "rag:\n  k: &k 2\n  confidence: \n"])
def test_a_file_without_room_for_a_section_stays_as_it_is(section, tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(f"ragcore: 1\nmemory: {{store: s, retriever: {{use: bm25}}}}\n{section}")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"confidence cannot be written .*slope: 1"):
        write_settings(path, CALIBRATED)
    assert path.read_bytes() == before
