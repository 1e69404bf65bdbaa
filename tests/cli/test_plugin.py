"""`ragcore plugin`: test an installed component, and write packages that pass as they are."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ragcore.cli import main
from ragcore.errors import PluginError
from ragcore.testing import IndexSuite
from ragcore.testing.scaffold import KINDS, write_plugin
from ragcore.types import MISSING_ROW, Passage


def verdicts(capsys) -> dict[str, dict[str, str]]:
    return {verdict["law"]: verdict for verdict in json.loads(capsys.readouterr().out)}


def test_a_correct_component_passes_every_law(capsys):
    assert main(["plugin", "test", "exact", "--json"]) == 0
    found = verdicts(capsys)
    assert list(found) == list(IndexSuite.laws())
    assert {verdict["outcome"] for verdict in found.values()} == {"passed", "skipped"}
    skipped = {verdict["reason"] for verdict in found.values() if verdict["outcome"] == "skipped"}
    declared = {f"it declares {name!r}" for name in ("add", "filter", "remove")}
    lacking = {f"it does not declare {name!r}" for name in ("remote", "where", "width")}
    assert skipped == declared | lacking


def test_settings_reach_the_component(capsys, tmp_path):
    file = tmp_path / "lines.jsonl"
    file.write_text('{"id": "1", "text": "one"}\n{"id": "1", "text": "two"}\n', encoding="utf-8")
    assert main(["plugin", "test", "jsonl", f"path={file}", "--json"]) == 1
    failed = [verdict for verdict in verdicts(capsys).values() if verdict["outcome"] == "failed"]
    assert [verdict["law"] for verdict in failed] == ["test_ids_are_unique"]
    assert failed[0]["reason"] == "ids ['1'] occur more than once"
    assert "Fix:" in failed[0]["fix"]


def test_the_printed_table_says_how_to_fix_what_failed(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    file = tmp_path / "lines.jsonl"
    file.write_text('{"id": "1", "text": "one"}\n{"id": "1", "text": "two"}\n', encoding="utf-8")
    assert main(["plugin", "test", "jsonl", f"path={file}"]) == 1
    message = capsys.readouterr().out
    assert "Fix: number the pieces of a text that is split" in message
    assert "it has 2 passages: the law needs 8" in message
    assert "passed, 1 failed, " in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no plugin provides a component 'nowhere': installed: "),
        (["exact", "--kind", "retriever"], "unknown retriever 'exact'"),
        (["exact", "--kind", "metric"], "there are no laws for kind 'metric'"),
        (["rouge_l"], "'rouge_l' is a metric: there are no laws for kind 'metric': expected retr"),
        (["eval"], "'eval' is a command: there are no laws for kind 'command'"),
        (["exact", "speed"], "'speed' is not a setting: write KEY=VALUE"),
        (["exact", "speed=1"], "setting 'speed=1': unknown key 'speed' in index 'exact': allowed"),
        (
            ["bm25", "k1=abc"],
            "setting 'k1=abc': k1: expected a number, found the string 'abc'\n",
        ),
        (["bm25", "k1=1", "k1=-1"], "setting 'k1=-1': k1: must be "),
        (["bm25", "=1"], "setting '=1': not a setting: write KEY.KEY=VALUE"),
        (["hybrid"], "settings: missing key 'retrievers' in retriever 'hybrid'"),
        (["dense", "index=exact"], "setting 'index=exact': index: expected an index as a mapping"),
        (["dense", "index.use=exct"], "setting 'index.use=exct': unknown index 'exct': did you m"),
        (["jsonl", "path=${env:NOT_THERE}"], "the environment variable NOT_THERE is not set"),
        (["jsonl", "path=x", "--recall", "0.5"], "--recall applies to indexes and retrievers"),
    ],
)
def test_a_faulty_request_is_an_error(capsys, arguments, message):
    assert main(["plugin", "test", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.install
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_passes_its_own_tests(kind, tmp_path, capsys):
    registered = kind.removeprefix("text-")
    folder = tmp_path / "new"
    assert main(["plugin", "new", kind, "my-own", "--folder", str(folder)]) == 0
    assert "pip install -e" in capsys.readouterr().out
    # What `pip install -e` leaves behind: the entry point, and the sources on the path.
    info = tmp_path / "site" / "ragcore_my_own-0.1.0.dist-info"
    info.mkdir(parents=True)
    metadata = "Metadata-Version: 2.1\nName: ragcore-my-own\nVersion: 0.1.0\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    points = "[ragcore]\nmy-own = ragcore_my_own.plugin\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    assert 'my-own = "ragcore_my_own.plugin"' in (folder / "pyproject.toml").read_text("utf-8")

    def run(*command: str) -> str:
        paths = [str(folder / "src"), str(info.parent), str(Path(__file__).parents[2])]
        done = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert " passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider")
    # Neither the hooks nor a check of a pipeline file import the component.
    code = (
        "import sys\n"
        "from ragcore.registry.discovery import registry\n"
        "registry()\n"
        f"if {registered!r} not in ('metric', 'command'):\n"
        "    from ragcore.registry.configs import config_class\n"
        f"    assert config_class({registered!r}, 'my-own').__name__ == 'MyOwnConfig'\n"
        "assert 'ragcore_my_own.plugin' in sys.modules\n"
        "heavy = {'numpy', 'torch', 'ragcore_my_own.component'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from ragcore.cli import main\n"
        "sys.exit(main(['plugins', '--json']))\n"
    )
    (own,) = [plugin for plugin in json.loads(run("-c", code)) if "my" in plugin["name"]]
    assert own["status"] == "ok"
    place = f"ragcore_my_own.component:{'app' if kind == 'command' else 'MyOwn'}"
    assert own["components"] == {registered: {"my-own": place}}


@pytest.mark.parametrize("kind", KINDS)
def test_the_readme_of_a_new_plugin_says_what_its_test_does(kind, tmp_path):
    write_plugin(kind, "my-own", tmp_path / "new")
    text = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    noun = "passage store" if kind == "passages" else kind.removeprefix("text-")
    suite = f"`tests/` runs the laws of ragcore's suite for a{'n' * (noun[0] in 'ei')} {noun}.\n"
    assert "The test in\n`tests/` " in text
    assert (suite in text) == (kind not in ("metric", "command"))


def test_a_new_retriever_finds_only_passages_that_share_a_word(tmp_path, monkeypatch):
    write_plugin("retriever", "scored-words", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    scored = importlib.import_module("ragcore_scored_words.component").ScoredWords
    retriever = scored(scored.Config())
    texts = ["the sun", "rain and sun", "snow"]
    passages = [Passage(str(row), "", text) for row, text in enumerate(texts)]
    retriever.add(np.arange(3), passages)
    rows = retriever.search(["sun", "hail"], 3).rows.tolist()
    assert rows == [[0, 1, MISSING_ROW], [MISSING_ROW] * 3]


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (
            "model",
            "mine",
            "expected one of retriever, index, encoder, scorer, generator, text-generator, corpus",
        ),
        ("retriever", "My Memory", "is not a valid name for a retriever"),
        ("retriever", "none", "is not a valid name for a retriever"),
    ],
)
def test_a_plugin_that_cannot_be_written_is_refused(kind, name, message, tmp_path):
    with pytest.raises(PluginError, match=message):
        write_plugin(kind, name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("kind", "name", "owner"),
    [
        ("retriever", "dense", r"plugin 'core' \(ragcore-engine .*\) has the retriever 'dense'"),
        ("command", "ask", r"plugin 'core' \(ragcore-engine .*\) has the command 'ask'"),
        ("metric", "f1", r"plugin 'core' \(ragcore-engine .*\) has the metric 'f1'"),
        ("encoder", "core", r"plugin 'core' \(.*\) has this name for its entry point"),
        ("scorer", "mine", r"plugin 'mine' \(acme-rag 2.0\) has this name for its entry point"),
        ("retriever", "theirs", r"plugin 'mine' \(acme-rag 2.0\) has the retriever 'theirs'"),
        ("scorer", "likelihood", "an old name of the scorer 'query-likelihood'"),
        ("retriever", "bm25", "ragcore's own package ragcore-bm25 has the retriever 'bm25'"),
        ("corpus", "bm25", "ragcore has a package ragcore-bm25 of its own"),
        ("index", "engine", "the distribution ragcore-engine .* is installed, and pip would repl"),
        ("index", "loose", "the module ragcore_loose is installed"),
    ],
)
def test_a_name_that_is_taken_is_refused_with_its_owner(installed, tmp_path, kind, name, owner):
    source = "def ragcore_retrievers():\n    return {'theirs': 'mine_plugin:Theirs'}\n"
    installed.add("mine", source, package="acme-rag", version="2.0")
    (installed.folder / "ragcore_loose.py").write_text("", encoding="utf-8")
    folder = tmp_path / "new"
    with pytest.raises(PluginError, match=f"the name {name!r} is taken: .*{owner}.*--force"):
        write_plugin(kind, name, folder)
    assert not folder.exists()
    assert main(["plugin", "new", kind, name, "--folder", str(folder), "--force"]) == 0
    assert (folder / "pyproject.toml").exists()


def test_a_name_of_another_kind_is_free(installed, tmp_path):
    assert write_plugin("index", "rouge-l", tmp_path / "one")
    assert write_plugin("encoder", "exact", tmp_path / "two")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "kept.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(PluginError, match="not empty"):
        write_plugin("retriever", "mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
