"""`ragcore completion`: what a shell offers when it runs the script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ragcore.cli import COMMANDS, main
from ragcore.cli.completion import candidates
from tests.conftest import Installed

ROOT = Path(__file__).parents[2]
BASH = shutil.which("bash")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with a program `ragcore` that runs this checkout."""
    program = tmp_path / "bin" / "ragcore"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m ragcore "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def offered(path: str, *line: str) -> list[str]:
    """Press the key in bash, after these words."""
    words = " ".join(f"'{word}'" for word in line)
    script = (
        "source <(ragcore completion bash) || exit 9\n"
        "complete -p ragcore | grep -q _ragcore_complete || exit 8\n"
        f"COMP_WORDS=(ragcore {words}); COMP_CWORD={len(line)}\n"
        '_ragcore_complete; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    assert BASH is not None
    done = subprocess.run(
        [BASH, "--norc", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_bash_completes_commands_subcommands_and_options(path: str) -> None:
    assert set(COMMANDS) <= set(offered(path, ""))
    assert offered(path, "mem") == ["memory"]
    assert offered(path, "memory", "ro") == ["rollback"]
    assert offered(path, "memory", "gc", "store", "--d") == ["--deleted", "--dry-run"]
    assert offered(path, "ask", "p.yaml") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_valid_in_its_shell(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", script], check=True)


def test_the_program_of_a_plugin_is_completed_too(sample: Installed) -> None:
    assert candidates(["hel"]) == ["hello"]
    assert "--help" in candidates(["hello", "--"])
    assert candidates(["notapp", "-"]) == []
    assert candidates(["unknown", ""]) == []


@pytest.mark.parametrize("name", [*COMMANDS, "hello"])
def test_no_help_offers_a_completion_that_does_not_work(
    name: str, sample: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert "--install-completion" not in out
    assert "--show-completion" not in out


def test_hidden_words_are_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(shell in out for shell in ("bash", "zsh", "fish"))
    assert "words" not in out
