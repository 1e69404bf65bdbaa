"""The walk-through of docs/tutorials/register-a-retriever.md, in a fresh environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.markdown import ROOT, files_of
from tests.install.environment import Environment

FILES: Final = files_of(ROOT / "docs" / "tutorials" / "register-a-retriever.md")


MODULES: Final = [f"lookalike/{name}.py" for name in ("__init__", "config", "retriever")]


def test_a_few_lines_of_python_and_two_of_toml_are_enough():
    lines = [line for name in MODULES for line in FILES[name].splitlines() if line.strip()]
    assert len(lines) <= 16
    *general, header, entry = FILES["pyproject.toml"].strip().splitlines()
    assert (header, entry) == ("[project.entry-points.ragcore]", 'lookalike = "lookalike"')
    assert set(tomllib.loads("\n".join(general))) == {"build-system", "project"}


def test_neither_the_hooks_nor_a_check_import_the_retriever(tmp_path: Path):
    for name in [*MODULES, "passages.jsonl", "pipeline.yaml"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    info = tmp_path / "lookalike-0.1.0.dist-info"
    info.mkdir()
    metadata = "Metadata-Version: 2.1\nName: lookalike\nVersion: 0.1.0\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    (info / "entry_points.txt").write_text("[ragcore]\nlookalike = lookalike\n", encoding="utf-8")
    code = (
        "import sys\n"
        "from ragcore.cli import main\n"
        "assert main(['--help']) == 0\n"
        "assert main(['check', 'pipeline.yaml']) == 0\n"
        "assert main(['check', 'pipeline.yaml', 'memory.retriever.lest=1']) == 2\n"
        "assert 'lookalike.config' in sys.modules\n"
        "heavy = {'lookalike.retriever', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert main(['memory', 'build', 'pipeline.yaml', '--version', 'first']) == 0\n"
        "assert main(['memory', 'search', 'pipeline.yaml', 'teh capitol of Etiopia']) == 0\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lookalike (lookalike 0.1.0)" in done.stdout
    assert "did you mean 'least'?" in done.stderr
    assert "The capital of Ethiopia" in done.stdout


@pytest.mark.install
def test_a_retriever_of_ones_own_is_installed_and_found(tmp_path: Path):
    package, use = tmp_path / "lookalike", tmp_path / "use"
    for folder, names in [
        (package, [*MODULES, "pyproject.toml"]),
        (use, ["passages.jsonl", "pipeline.yaml"]),
    ]:
        folder.mkdir()
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(FILES[name], encoding="utf-8")

    environment = Environment(tmp_path / "venv", with_editable=True)
    environment.install(package)

    assert "lookalike" in environment.ragcore("plugins", cwd=use)
    reports = json.loads(environment.ragcore("plugins", "--json", cwd=use))
    (lookalike,) = [report for report in reports if report["name"] == "lookalike"]
    assert lookalike["components"] == {
        "retriever": {"lookalike": "lookalike.retriever:Lookalike"}
    }, lookalike
    assert "lookalike (lookalike 0.1.0)" in environment.ragcore("check", "pipeline.yaml", cwd=use)

    built = environment.ragcore("memory", "build", "pipeline.yaml", "--version", "first", cwd=use)
    assert "built version first: 3 passages" in built
    printed = environment.ragcore(
        *("memory", "search", "pipeline.yaml", "teh capitol of Etiopia", "--k", "1", "--json"),
        cwd=use,
    )
    assert json.loads(printed)["title"] == "The capital of Ethiopia"
