"""The install lines of README.md, and the workflow that `ragcore plugin new` writes, as they stand.

Each runs in a fresh virtual environment, without a network: what is not in the repository is
borrowed from the environment that runs the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from ragcore.testing.scaffold import write_plugin
from tests.helpers.markdown import ROOT, blocks
from tests.install.environment import Environment

pytestmark = pytest.mark.install

SOURCES: Final = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Copy what git would clone, so that no build writes into the working tree."""
    folder = tmp_path / "ragcore"
    leave_out = shutil.ignore_patterns("__pycache__", "tests", ".*")
    for name in ("ragcore", "plugins"):
        shutil.copytree(ROOT / name, folder / name, ignore=leave_out)
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def run_offline(environment: Environment, script: str, cwd: Path, **variables: str) -> str:
    """Run lines of shell in an activated environment; pip fetches nothing."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    for module in ("pip", "pytest"):
        program = environment.folder / "bin" / module
        program.write_text(f'#!/bin/sh\nexec "{environment.python}" -m {module} "$@"\n')
        program.chmod(0o755)
    # pip reads this variable as the value of build isolation: 0 turns isolation off.
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "OMP_NUM_THREADS": "1"}
    path = f"{environment.folder / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env=inherited | offline | {"PATH": path, "COLUMNS": "200"} | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def installs() -> list[str]:
    """Return the lines of README.md that install from a clone."""
    lines = [
        line.removeprefix("$ ")
        for block in blocks(ROOT / "README.md")
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.startswith("$ pip install")
    ]
    assert lines, "README.md shows no line that installs ragcore"
    return lines


def test_the_install_lines_of_the_readme_work(clone: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv", with_editable=False)
    for line in installs():
        run_offline(environment, line, clone)
    where = environment.run(environment.python, "-c", "import ragcore; print(ragcore.__file__)")
    assert Path(where.strip()).is_relative_to(environment.site_packages)
    reports = json.loads(environment.ragcore("plugins", "--json", cwd=tmp_path))
    assert {report["package"] for report in reports} >= {
        "ragcore-engine",
        "ragcore-bm25",
        "ragcore-transformers",
        "ragcore-world",
    }
    assert all(report["status"] in ("ok", "slow") for report in reports), reports


def test_the_workflow_of_a_new_plugin_works(clone: Path, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], cwd=clone, check=True)
    plugin = tmp_path / "plugin"
    write_plugin("retriever", "my-own", plugin)
    workflow = yaml.safe_load((plugin / ".github/workflows/tests.yml").read_text("utf-8"))
    steps = [step["run"] for step in workflow["jobs"]["tests"]["steps"] if "run" in step]

    environment = Environment(tmp_path / "venv", with_editable=False)
    (tmp_path / "runner").mkdir()
    variables = {"RAGCORE_URL": clone.as_uri(), "RUNNER_TEMP": str(tmp_path / "runner")}
    printed = [run_offline(environment, step, plugin, **variables) for step in steps]
    assert " passed" in printed[-1]
