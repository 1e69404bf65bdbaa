"""The command line as a whole: which command runs, what is imported, exit codes, messages."""

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

HEAVY = {
    *("torch", "numpy", "faiss", "pyarrow", "pydantic", "typer", "rich", "pluggy", "yaml"),
    "sentencex",
}

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
    if how == "exit":
        raise typer.Exit(3)
    print(how)

@hookimpl
def ragcore_cli():
    return {"run": "run_plugin:app"}
"""


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a statement imports in a new Python process."""
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


def test_the_splitter_of_documents_imports_a_segmenter_only_to_split() -> None:
    loaded = modules_after("import ragcore.corpora.splitting")
    assert "pydantic" in loaded
    assert not loaded & {"sentencex", "numpy", "torch"}


def test_checking_a_file_imports_neither_torch_nor_faiss(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("ragcore: 1\nmemory: {store: s}\n")
    loaded = modules_after(
        f"from ragcore.cli import main; assert main(['fill', {str(tmp_path / 'p.yaml')!r}]) == 2"
    )
    assert "pydantic" in loaded
    assert not loaded & {"torch", "faiss", "numpy", "pyarrow", "transformers"}


def test_every_command_of_the_core_has_help_and_a_module() -> None:
    assert set(COMMANDS) == set(ragcore_cli())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_prints_help(
    name: str, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    assert f"ragcore {name}" in capsys.readouterr().out


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out and what in out for name, what in COMMANDS.items())
    assert "Plugins may add commands: see `ragcore plugins`." in out


def test_no_command_is_an_error_that_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
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
            "unknown command 'aks': did you mean 'ask'? installed: ask, cache, calibrate, chat, "
            "check, completion, eval, experiment, fill, hello, memory, notapp, plugin, plugins, "
            "replay, schema, search, train, tune, verify\n",
        ),
        (
            "world",
            "command 'world' is not installed: pip install ./plugins/ragcore-world in a clone of "
            "ragcore\n",
        ),
        (
            "--loud",
            "unknown option '--loud': options follow a command's name, but for -v, "
            "--quiet, --log-json\n",
        ),
        ("notapp", "command 'notapp' is type, not a typer.Typer\n"),
    ],
)
def test_an_unknown_command_is_an_error(
    name: str, message: str, sample: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == 2
    assert capsys.readouterr().err == message


def test_a_plugin_s_command_runs(sample: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hello", "world"]) == 0
    assert capsys.readouterr().out == "hello world\n"


def test_an_error_is_a_message_and_code_2(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.add("run", APP)
    assert main(["run", "error"]) == 2
    assert capsys.readouterr() == ("", "this is wrong: do that\n")


@pytest.mark.parametrize(("how", "code"), [("interrupt", 130), ("exit", 3), ("fine", 0)])
def test_exit_codes(how: str, code: int, installed: Installed) -> None:
    installed.add("run", APP)
    assert main(["run", how]) == code


def test_a_fault_of_the_program_keeps_its_traceback(installed: Installed) -> None:
    installed.add("run", APP)
    with pytest.raises(ZeroDivisionError):
        main(["run", "fault"])


def test_missing_arguments_are_reported_by_typer(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check"]) == 2
    assert "Missing argument" in capsys.readouterr().err


def test_running_the_module_returns_the_command_s_exit_code(tmp_path: Path) -> None:
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


def test_a_closed_pipe_ends_without_a_message() -> None:
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


def test_plugins_lists_failures_and_names(
    sample: Installed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    sample.add("bad", "1 / 0\n")
    assert main(["plugins"]) == 0
    out = capsys.readouterr().out
    assert "ZeroDivisionError: division by zero" in out
    assert "retriever pair, words, mix" in out


def test_plugins_as_json(sample: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    sample.add("bad", "1 / 0\n")
    assert main(["plugins", "--json"]) == 0
    reports = {report["name"]: report for report in json.loads(capsys.readouterr().out)}
    assert {name: report["status"] for name, report in reports.items()} == {
        "core": "ok",
        "bad": "broken",
        "sample": "ok",
    }
    assert reports["sample"]["components"]["encoder"] == {"tiny": "sample_plugin:Tiny"}


@pytest.mark.parametrize(
    ("call", "changed"), [("main()", True), ("main(['--version'])", False)], ids=["program", "call"]
)
def test_only_the_program_makes_the_collector_run_rarely(call: str, changed: bool) -> None:
    code = (
        "import gc, sys\nfrom ragcore.cli import main\nbefore = gc.get_threshold()\n"
        f"sys.argv = ['ragcore', '--version']\n{call}\n"
        "print(gc.get_threshold() != before)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.splitlines()[-1] == str(changed)
