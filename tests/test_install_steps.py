"""`.ci/install.py`, by which the Makefile installs, says what takes long, and when it begins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.markdown import ROOT

SCRIPT = ROOT / ".ci" / "install.py"
PRINTED = """\
Looking in indexes: https://pypi.org/simple
Obtaining file:///home/a%20b/ragcore/plugins/ragcore-bm25
  Installing build dependencies: started
  Installing build dependencies: finished with status 'done'
Collecting torch==2.13.0 (from -c constraints.txt (line 3))
  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (30 kB)
Collecting pluggy>=1.5 (from ragcore-engine==0.1.0)
  Downloading pluggy-1.7.0-py3-none-any.whl (27 kB)
Requirement already satisfied: rich>=13.7 in ./.venv/lib (from ragcore-engine==0.1.0) (15.0.0)
Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (888.1 MB)
  Downloading hnswlib-0.8.0.tar.gz (1.2 MB)
Building wheels for collected packages: ragcore-bm25, hnswlib
  Building editable for ragcore-bm25 (pyproject.toml): started
  Building wheel for hnswlib (pyproject.toml): started
  Building wheel for hnswlib (pyproject.toml): finished with status 'done'
Installing collected packages: torch, pluggy, hnswlib
Successfully installed hnswlib-0.8.0 pluggy-1.7.0 torch-2.13.0
"""
"""As pip 23 and, where a line is not indented, pip 25 print it."""

SHOWN = """\
  preparing ragcore-bm25
  downloading torch 2.13.0, 888.1 MB
  downloading hnswlib 0.8.0.tar.gz, 1.2 MB
  compiling hnswlib
  installing 3 packages
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose pip is the program that a test writes to pip/__main__.py."""
    (tmp_path / "pip").mkdir()
    # Without it the real pip comes first.
    (tmp_path / "pip" / "__init__.py").touch()
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def test_long_steps_have_a_line_each(tmp_path: Path, environment: dict[str, str]) -> None:
    program = (
        "import sys\nassert sys.argv[1:] == ['install', '--of-no-pip', '.']\n"
        f"print({PRINTED!r})\nsys.exit('ERROR: no room')"
    )
    (tmp_path / "pip" / "__main__.py").write_text(program)
    # An option that the real pip refuses.
    command = [sys.executable, SCRIPT, "--of-no-pip", "."]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == SHOWN
    # Where pip fails so does the installation, with pip's words.
    assert (done.returncode, done.stderr) == (1, "ERROR: no room\n")


def test_a_step_is_shown_when_it_begins(tmp_path: Path, environment: dict[str, str]) -> None:
    program = "print('Installing collected packages: a, b', flush=True)\nassert input() == 'go on'"
    (tmp_path / "pip" / "__main__.py").write_text(program)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, SCRIPT], env=environment, text=True, **pipes) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "  installing 2 packages\n"
        run.communicate("go on\n")
    assert run.returncode == 0


@pytest.mark.parametrize("target", [".demo", ".test"])
def test_the_makefile_installs_with_it(tmp_path: Path, target: str) -> None:
    made = subprocess.run(
        ["make", "-n", f"{tmp_path}/{target}", f"VENV={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installs = [line for line in made.splitlines() if " -c constraints.txt " in line]
    assert installs
    assert all(line.startswith(f"{tmp_path}/bin/python .ci/install.py ") for line in installs)
