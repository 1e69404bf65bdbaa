"""The command line's frame: which command runs, what is imported, exit codes and messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ragcore import __version__
from ragcore.cli import COMMANDS, main
from ragcore.registry.builtin import ragcore_cli
from tests.conftest import Installed

HEAVY = {"torch", "numpy", "faiss", "pyarrow", "pydantic", "typer", "rich", "pluggy", "yaml"}

APP = """
import typer
from ragcore import hookimpl, RagcoreError

app = typer.Typer()

@app.command()
def run(how: str):
    if how == "error":
        raise RagcoreError("this is wrong: do that")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "fault":
        raise ZeroDivisionError
    if how == "leave":
        raise typer.Exit(3)
    print(how)

@hookimpl
def ragcore_cli():
    return {"run": "run_plugin:app"}
"""


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh Python holds after a statement."""
    code = (
        "import sys\nbefore = set(sys.modules)\n"
        f"{statement}\nprint(*set(sys.modules) - before, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import ragcore",
        "import ragcore.cli",
        "from ragcore.cli import main; main(['--help'])",
        "from ragcore.cli import main; main(['--version'])",
    ],
)
def test_nothing_heavy_and_no_plugin_is_imported(statement: str) -> None:
    loaded = modules_after(statement)
    assert "ragcore" in loaded
    assert not loaded & HEAVY
    assert not [name for name in loaded if name.startswith("ragcore_")]


def test_checking_a_file_imports_neither_torch_nor_faiss(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("ragcore: 1\nmemory: {store: s}\n")
    loaded = modules_after(
        f"from ragcore.cli import main; assert main(['fill', {str(tmp_path / 'p.yaml')!r}]) == 2"
    )
    assert "pydantic" in loaded
    assert not loaded & {"torch", "faiss", "numpy", "pyarrow", "transformers"}


def test_every_command_of_the_core_has_a_line_of_help_and_a_place() -> None:
    assert set(COMMANDS) == set(ragcore_cli())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_asked_for_help(
    name: str, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    assert f"ragcore {name}" in capsys.readouterr().out


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out and what in out for name, what in COMMANDS.items())
    assert "plugins may add commands: ragcore plugins" in out


def test_no_command_is_a_mistake_that_gets_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("Usage: ragcore COMMAND")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ragcore {__version__}\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "aks",
            "unknown command 'aks': did you mean 'ask'? installed: ask, check, eval, fill, "
            "hello, memory, notapp, plugin, plugins, replay, schema, train, verify\n",
        ),
        (
            "world",
            "command 'world' is not installed: pip install ./plugins/ragcore-world in a clone of "
            "ragcore\n",
        ),
        ("--quiet", "unknown option '--quiet': options follow a command's name\n"),
        ("notapp", "command 'notapp' is type, not a typer.Typer\n"),
    ],
)
def test_a_command_that_is_not_there(
    name: str, message: str, house: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == 2
    assert capsys.readouterr().err == message


def test_a_plugin_s_command_runs(house: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hello", "world"]) == 0
    assert capsys.readouterr().out == "hello world\n"


def test_an_error_is_a_message_and_code_2(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.add("run", APP)
    assert main(["run", "error"]) == 2
    assert capsys.readouterr() == ("", "this is wrong: do that\n")


@pytest.mark.parametrize(("how", "code"), [("interrupt", 130), ("leave", 3), ("fine", 0)])
def test_exit_codes(how: str, code: int, installed: Installed) -> None:
    installed.add("run", APP)
    assert main(["run", how]) == code


def test_a_fault_of_the_program_keeps_its_traceback(installed: Installed) -> None:
    installed.add("run", APP)
    with pytest.raises(ZeroDivisionError):
        main(["run", "fault"])


def test_missing_arguments_are_typer_s_to_complain_about(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check"]) == 2
    assert "Missing argument" in capsys.readouterr().err


def test_the_module_runs_and_its_exit_code_is_the_command_s(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ragcore", "check", "nowhere.yaml"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("nowhere.yaml: no such file")


def test_a_reader_that_goes_away_is_met_with_silence() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ragcore", "plugins", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == 1


def test_plugins_lists_what_is_wrong(
    house: Installed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    house.add("bad", "1 / 0\n")
    assert main(["plugins"]) == 0
    out = capsys.readouterr().out
    assert "ZeroDivisionError: division by zero" in out
    assert "retriever pair, words, mix" in out


def test_plugins_as_json(house: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    house.add("bad", "1 / 0\n")
    assert main(["plugins", "--json"]) == 0
    said = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert {name: one["status"] for name, one in said.items()} == {
        "core": "ok",
        "bad": "broken",
        "house": "ok",
    }
    assert said["house"]["components"]["encoder"] == {"tiny": "house_plugin:Tiny"}
