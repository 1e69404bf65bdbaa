"""The walk-through of docs/tutorials/register-a-retriever.md, in a fresh environment."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.markdown import ROOT, files_of
from tests.install.environment import Environment

FILES: Final = files_of(ROOT / "docs" / "tutorials" / "register-a-retriever.md")


def test_ten_lines_of_python_and_two_of_toml_are_enough():
    assert len([line for line in FILES["lookalike.py"].splitlines() if line.strip()]) <= 10
    *general, header, entry = FILES["pyproject.toml"].strip().splitlines()
    assert (header, entry) == ("[project.entry-points.ragcore]", 'lookalike = "lookalike"')
    assert set(tomllib.loads("\n".join(general))) == {"build-system", "project"}


@pytest.mark.install
def test_a_retriever_of_ones_own_is_installed_and_found(tmp_path: Path):
    package, use = tmp_path / "lookalike", tmp_path / "use"
    for folder, names in [
        (package, ["lookalike.py", "pyproject.toml"]),
        (use, ["passages.jsonl", "pipeline.yaml"]),
    ]:
        folder.mkdir()
        for name in names:
            (folder / name).write_text(FILES[name], encoding="utf-8")

    environment = Environment(tmp_path / "venv", with_editable=True)
    environment.install(package)

    assert "lookalike" in environment.ragcore("plugins", cwd=use)
    reports = json.loads(environment.ragcore("plugins", "--json", cwd=use))
    (lookalike,) = [report for report in reports if report["name"] == "lookalike"]
    assert lookalike["components"] == {"retriever": {"lookalike": "lookalike:Lookalike"}}, lookalike
    assert "lookalike (lookalike 0.1.0)" in environment.ragcore("check", "pipeline.yaml", cwd=use)

    built = environment.ragcore("memory", "build", "pipeline.yaml", "--version", "first", cwd=use)
    assert "built version first: 3 passages" in built
    printed = environment.ragcore(
        *("memory", "search", "pipeline.yaml", "teh capitol of Etiopia", "--k", "1", "--json"),
        cwd=use,
    )
    assert json.loads(printed)["title"] == "The capital of Ethiopia"
