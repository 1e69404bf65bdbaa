"""No command prints a character that a terminal would obey, whatever texts it is given."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import ragcore
from ragcore.build import build_memory
from ragcore.cli import COMMANDS, main
from tests.conftest import Installed

EVIL: Final = (
    "\x1b]0;owned\x07\x1b[8m\x1b[31m\x9b8m\x9d52;c;AAAA\x9c\x08\x7f\x85\r"
    "\u202eevil\u2066\u061c\u200f\u2028"
)
"""Retitles the window, conceals, recolours, writes to the clipboard, and reverses what is read."""

FILE_NAME: Final = "\x1b[8m\x9b31m\u202enom\x07"
"""What a file can be called, too."""

OBEYED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

PLUGIN = f"""
from ragcore import hookimpl
from ragcore.evaluation.metrics.base import Mean
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import ragcore_encoders
import typer

app = typer.Typer()

@app.command()
def shout(word: str):
    import logging, warnings
    print({EVIL!r} + word)
    typer.echo({EVIL!r})
    warnings.warn({EVIL!r})
    logging.getLogger("shout").warning({EVIL!r})
    from rich.console import Console
    Console(force_terminal=True).print({EVIL!r})

class Broken(Mean):
    def score(self, prediction):
        raise ValueError({EVIL!r})

class Evil(TableGenerator):
    def decode_tokens(self, token_ids):
        return super().decode_tokens(token_ids) + {EVIL!r}

    def encode_answers(self, answers):
        return super().encode_answers(["ab" for _ in answers])

@hookimpl
def ragcore_generators():
    return {{"table": "evil_plugin:Evil"}}

@hookimpl
def ragcore_metrics():
    return {{"broken": "evil_plugin:Broken"}}

@hookimpl
def ragcore_cli():
    return {{"shout": "evil_plugin:app"}}
"""

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: dense, encoder: {use: words}, index: {use: exact}}
generator: {use: table, sharpness: 1.5}
rag: {k: 3, max_new_tokens: 4}
"""


def passage(number: int, text: str) -> str:
    title = f"title {EVIL} {number}"
    row = {"id": f"p{EVIL}{number}", "title": title, "text": f"{text} {EVIL}", "note": EVIL}
    return json.dumps(row) + "\n"


@pytest.fixture
def folder(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a hostile name: a pipeline, two versions, and files of questions."""
    installed.add("evil", PLUGIN)
    installed.add("broken", f"raise ValueError({EVIL!r})\n")
    folder = tmp_path / FILE_NAME
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "p.yaml").write_text(PIPELINE, encoding="utf-8")
    for version in ("old", "new"):
        lines = [passage(n, f"word{n} {version if n < 2 else ''}") for n in range(6)]
        (folder / "passages.jsonl").write_text("".join(lines[version == "new" :]))
        build_memory(folder / "p.yaml", version=version)
    row = {"question": f"what is word1 {EVIL}", "answers": ["chad", EVIL + "x"], "id": EVIL}
    (folder / "q.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "wrong.jsonl").write_text(json.dumps({"question": "", EVIL: EVIL}) + f"\n{EVIL}\n")
    (folder / "wrong.yaml").write_text('ragcore: 1\n"\\e[8m\\u202e": "\\e[8m"\n')
    (folder / "changes.jsonl").write_text(json.dumps({"id": EVIL, "delete": True}) + "\n")
    return folder


QUESTION = "who " + EVIL
EACH_COMMAND = [
    ["ask", "p.yaml", QUESTION],
    ["ask", "p.yaml", QUESTION, "--sources"],
    ["ask", "p.yaml", QUESTION, "--sources", "rag.grounded=true"],
    ["ask", "p.yaml", QUESTION, "--where", json.dumps({f"no{EVIL}te": EVIL})],
    ["ask", "p.yaml", QUESTION, "--without", f"p{EVIL}1", "rag.k=2"],
    ["ask", "p.yaml", QUESTION, "--without", EVIL],
    ["ask", "p.yaml", QUESTION, "--where", EVIL],
    ["ask", "p.yaml", QUESTION, "--where", json.dumps({"note": EVIL})],
    ["ask", "p.yaml", QUESTION, EVIL],
    ["ask", f"{FILE_NAME}.yaml", "x"],
    ["ask", "wrong.yaml", "x"],
    ["verify", "p.yaml", QUESTION],
    ["verify", "p.yaml", "x" * 200_000],
    ["eval", "p.yaml", "q.jsonl", "--metric", "broken", "--metric", "log_prob"],
    ["eval", "p.yaml", "q.jsonl", "--output", FILE_NAME],
    ["eval", "p.yaml", "q.jsonl", "--against", FILE_NAME],
    ["eval", "p.yaml", "wrong.jsonl"],
    ["eval", "p.yaml", f"no{FILE_NAME}"],
    ["eval", "p.yaml", "q.jsonl", "--format", EVIL],
    ["eval", "p.yaml", "q.jsonl", "--metric", EVIL],
    ["eval", "p.yaml", "q.jsonl", "--limit", EVIL],
    ["experiment", FILE_NAME],
    ["experiment", "--system", "p.yaml", "--questions", "q.jsonl", "--sweep", f"rag.k={EVIL}"],
    ["tune", "p.yaml", "--dev", "q.jsonl", "--test", f"no{FILE_NAME}", "--metric", "log_prob"],
    [
        *("tune", "p.yaml", "--dev", "q.jsonl", "--test", "q.jsonl", "--metric", EVIL),
        *("--sweep", f"rag.k={EVIL}", "--range", f"rag.{EVIL}=1:2"),
    ],
    [
        *("tune", "p.yaml", "--dev", "q.jsonl", "--test", "q.jsonl", "--metric", "log_prob"),
        *("--sweep", "rag.k=1,2"),
    ],
    ["replay", FILE_NAME],
    ["memory", "build", "p.yaml", "--version", EVIL],
    ["memory", "build", "p.yaml", "--version", "third"],
    ["memory", "update", "store", "changes.jsonl"],
    ["memory", "update", "store", "wrong.jsonl"],
    ["memory", "update", "store", FILE_NAME],
    ["memory", "list", "store"],
    ["memory", "list", FILE_NAME],
    ["memory", "show", "store"],
    ["memory", "show", "store", EVIL],
    ["memory", "verify", "store"],
    ["memory", "activate", "store", EVIL],
    ["memory", "activate", "store", "old"],
    ["memory", "rollback", "store"],
    ["memory", "gc", "store"],
    ["memory", "diff", "store", "old", "new"],
    ["memory", "diff", "store", "old", "new", "--changes", f"{FILE_NAME}/no"],
    ["memory", "export", "store", f"{FILE_NAME}.tar"],
    ["memory", "import", "store", FILE_NAME],
    ["search", "p.yaml", "word1 " + EVIL],
    ["search", "p.yaml", "word1", "--trec"],
    ["search", "p.yaml", "word1", "--trec", "--tag", EVIL],
    ["search", "p.yaml", "--questions", "q.jsonl"],
    ["search", "p.yaml", "--questions", "q.jsonl", "--trec"],
    ["search", "p.yaml", QUESTION, "--questions", FILE_NAME],
    ["memory", "search", "p.yaml", "word1 " + EVIL],
    ["memory", "forget", "store", EVIL],
    ["cache", "show", "p.yaml"],
    ["cache", "show", FILE_NAME],
    ["cache", "forget", "wrong.jsonl", "p.yaml"],
    ["memory", "compare", "p.yaml", "q.jsonl", "old", "new", "--html", f"{FILE_NAME}.html"],
    ["memory", "calibrate", "p.yaml", "q.jsonl"],
    ["calibrate", "p.yaml", "q.jsonl", "--risk", "0.1"],
    ["calibrate", "p.yaml", FILE_NAME, "--format", EVIL],
    ["ask", "p.yaml", QUESTION, "rag.confidence.threshold=1"],
    ["ask", "p.yaml", QUESTION, "--html", f"{FILE_NAME}.html"],
    ["chat", "p.yaml"],
    ["check", "p.yaml"],
    ["check", "wrong.yaml"],
    ["check", "p.yaml", f"rag.k={EVIL}"],
    ["fill", "p.yaml", "memory.version='\u202e'"],
    ["schema"],
    ["plugins"],
    ["plugin", "test", EVIL],
    ["plugin", "test", "jsonl", f"path={FILE_NAME}"],
    ["plugin", "new", "retriever", "nice", "--folder", f"new{FILE_NAME}"],
    ["plugin", "new", EVIL, EVIL],
    ["train", "p.yaml", EVIL],
    ["completion", "bash"],
    ["completion", EVIL],
    ["shout", EVIL],
    [EVIL],
    [f"--{EVIL}"],
]


def check(text: str) -> None:
    found = OBEYED.search(text)
    assert found is None, f"{found!r} in {text[max(0, found.start() - 60) :][:120]!r}"


def test_every_command_is_tried() -> None:
    assert {arguments[0] for arguments in EACH_COMMAND} > set(COMMANDS)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_commands_print_nothing_that_a_terminal_obeys(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        QUESTION,
        EVIL,
        ":why",
        f":{EVIL}",
        f":swap {EVIL}",
        f":without {EVIL}",
        f":set {EVIL}",
    ]
    typed = io.TextIOWrapper(io.BytesIO("\n".join(lines).encode()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", typed)
    shown = ""
    for arguments in EACH_COMMAND:
        assert main(arguments) in {0, 1, 2}, arguments
        out, err = capsys.readouterr()
        assert out or err, arguments
        check(out)
        check(err)
        shown += out + err
    # The texts themselves are shown, with pictures in the place of what was hostile.
    assert "evil" in shown
    assert "␛]0;owned␇␛[8m" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "p.yaml", QUESTION],
        ["ask", "p.yaml", QUESTION, "--sources"],
        ["verify", "p.yaml", QUESTION],
        ["eval", "p.yaml", "q.jsonl"],
        ["search", "p.yaml", "word1 " + EVIL],
        ["search", "p.yaml", "--questions", "q.jsonl"],
        ["memory", "show", "store"],
        ["memory", "diff", "store", "old", "new"],
        ["memory", "compare", "p.yaml", "q.jsonl", "old", "new"],
        ["plugins"],
    ],
    ids=" ".join,
)
def test_json_stays_json_and_means_the_same(
    arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 0
    out = capsys.readouterr().out
    check(out)
    documents = [out] if arguments == ["plugins"] else out.splitlines()
    text = str([json.loads(document) for document in documents])
    assert repr(EVIL)[1:-1] in text or arguments[:2] == ["memory", "show"]


def test_fill_prints_yaml_that_means_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "v.yaml").write_text(PIPELINE.replace("store: store", 'store: "s\\u202e\\x9b"'))
    assert main(["fill", "v.yaml"]) == 0
    out = capsys.readouterr().out
    check(out)
    assert ragcore.config.parse_config(out).memory.store.name == "s\u202e\x9b"


def test_a_fault_of_the_program_is_printed_without_control_characters(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['ragcore', 'check', 'p']; import ragcore.cli as cli\n"
        f"def broken(arguments): raise ZeroDivisionError({EVIL!r})\n"
        "cli._run = broken; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path)
    assert done.returncode == 1
    check(done.stderr.decode())
    assert "Traceback (most recent call last)" in done.stderr.decode()
    assert "ZeroDivisionError: ␛]0;owned" in done.stderr.decode()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals")
def test_a_terminal_gets_the_programs_own_colours_and_no_others(folder: Path) -> None:
    """`check` of a table with hostile metadata, in a pseudo-terminal."""
    code = (
        f"from ragcore.views.console import *\nfrom rich.text import Text\n"
        f"print_view(Text('bold ' + {EVIL!r}, style='bold'), '[red]text[/red] :smile:')"
    )
    master, slave = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "300"}
    environment.pop("NO_COLOR", None)
    subprocess.run([sys.executable, "-c", code], stdout=slave, env=environment, check=True)
    os.close(slave)
    out = os.read(master, 65536).decode().replace("\r\n", "\n")
    os.close(master)
    assert out.startswith("\x1b[1mbold ␛]0;owned")
    check(out.replace("\x1b[1m", "").replace("\x1b[0m", ""))
    assert "[red]text[/red] :smile:" in out


def test_nothing_prints_past_the_one_place() -> None:
    """Only `ragcore/views/output.py` and `console.py` write to the standard streams."""
    root = Path(__file__).parents[2]
    own = {root / "ragcore/views/output.py", root / "ragcore/views/console.py"}
    # The suites capture what a component prints, and read what a second process says.
    own |= {
        root / f"ragcore/testing/{name}.py" for name in ("surroundings", "elsewhere", "forking")
    }
    # The command line's entry point flushes and silences them; the pool asks whether they are open;
    # what Ray prints goes to standard error.
    pool = root / "plugins/ragcore-documents/src/ragcore_documents/pool.py"
    runner = root / "plugins/ragcore-ray/src/ragcore_ray/runner.py"
    others = {root / "ragcore/cli/__init__.py", pool, runner}
    violations = []
    for path in sorted({*root.glob("ragcore/**/*.py"), *root.glob("plugins/*/src/**/*.py")} - own):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="print")):
                    name = "print"
                case ast.Call(func=ast.Attribute(value=ast.Name(id="typer"), attr=name)) if (
                    name in {"echo", "secho", "style", "prompt", "confirm", "launch"}
                ):
                    pass
                case ast.Attribute(value=ast.Name(id="sys"), attr=name) if (
                    name.strip("_") in {"stdout", "stderr"} and path not in others
                ):
                    pass
                case ast.ImportFrom(module="rich.console", names=names) if "Console" in {
                    alias.name for alias in names
                }:
                    name = "rich.console.Console"
                case ast.ImportFrom(module="rich", names=_) | ast.ImportFrom(module="click"):
                    name = "rich or click itself"
                case _:
                    continue
            violations.append(f"{path.relative_to(root)}:{node.lineno}: {name}")
    assert violations == []
