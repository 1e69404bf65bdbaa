"""The documentation is true: its blocks run in order, its pipelines load, its links work.

Each page runs in its own folder and Python namespace. `$ ragcore …` runs the real command line, and
its output is compared with what the page shows, where `…` matches anything and numbers with a point
may differ in the third decimal.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.resources import files
from pathlib import Path
from subprocess import Popen
from typing import Any, Final

import pytest
import yaml

from ragcore.cli import main
from ragcore.config import parse_config
from tests.helpers.markdown import ROOT, Block, anchors, blocks, links

PAGES: Final = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
PLUGIN_PAGES: Final = sorted(ROOT.glob("plugins/*/README.md"))
READER: Final = files("ragcore_world") / "reader" / "config.json"
CLOSE: Final = 0.002

_SHOWN: Final = re.compile(r"(…|-?\d+\.\d+)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def namespace() -> Iterator[dict[str, Any]]:
    """The names of a page's Python; a server that it started is stopped where the page failed."""
    names: dict[str, Any] = {"__name__": "docs"}
    yield names
    for value in names.values():
        if isinstance(value, Popen):
            value.kill()
            value.communicate()


@pytest.mark.parametrize("page", [*PAGES, *PLUGIN_PAGES], ids=name_of)
def test_the_blocks_of_a_page_are_true(page, namespace, tmp_path, monkeypatch):
    if "world-reader" in page.read_text(encoding="utf-8") and not READER.is_file():
        pytest.skip("this checkout has no trained reader")
    monkeypatch.chdir(tmp_path)
    # A page's modules import each other.
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    printed = ""
    for block in blocks(page):
        where = f"{name_of(page)}:{block.line}"
        assert set(block.notes) <= {"file", "output", "skip"}, f"{where}: {block.notes}"
        if "file" in block.notes:
            file = Path(block.notes["file"])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        if "skip" in block.notes:
            assert block.notes["skip"].startswith("because "), f"{where}: say why it is skipped"
            continue
        if "output" in block.notes:
            assert_shown(block.text, printed, where)
            continue
        match block.language:
            case "python":
                printed = run_python(block, namespace, where)
            case "yaml":
                check_yaml(block.text, where)
            case "toml":
                tomllib.loads(block.text)
            case "json":
                assert all(json.loads(line) for line in block.text.splitlines())
            case "console":
                run_console(block.text, where)
            case "bash":
                # A script that a console block runs, or one for a scheduler.
                assert run_quietly("bash", "-n", "-c", block.text) == "", where
            case "text" | "":
                pass
            case other:
                pytest.fail(f"{where}: no test checks blocks of language {other!r}")


@pytest.mark.parametrize("page", [*PAGES, *PLUGIN_PAGES], ids=name_of)
def test_links_have_targets(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{name_of(page)}: {link}: no such file"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)}: {link}: no such heading"


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in links(index)}
    assert linked == {page.resolve() for page in ROOT.glob("docs/*/*.md")}


def run_python(block: Block, namespace: dict[str, Any], where: str) -> str:
    """Run a block and return its output; lines in a traceback are those of the page."""
    code = compile("\n" * (block.line - 1) + block.text, where.partition(":")[0], "exec")
    with redirect_stdout(io.StringIO()) as out:
        exec(code, namespace)
    return out.getvalue()


def check_yaml(text: str, where: str) -> None:
    """Load a pipeline, or some sections of one; anything else only has to be YAML."""
    content = yaml.safe_load(text)
    if isinstance(content, dict) and set(content) <= {"ragcore", "memory", "generator", "rag"}:
        if "ragcore" not in content:
            memory = {"store": "store", "retriever": {"use": "bm25"}} | content.get("memory", {})
            text = yaml.safe_dump({"ragcore": 1} | content | {"memory": memory})
        parse_config(text, where)


def run_console(text: str, where: str) -> None:
    commands = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert commands.pop(0) == "", f"{where}: a console block begins with '$ '"
    for command in commands:
        line, _, shown = command.partition("\n")
        program, *arguments = shlex.split(line, comments=True)
        match program:
            case "ragcore":
                assert_shown(shown, run_ragcore(arguments), f"{where}: {line}")
            case "make":
                makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
                targets = [argument for argument in arguments if "=" not in argument]
                assert all(f"\n{target}:" in makefile for target in targets), f"{where}: {line}"
            case "sh":
                assert_shown(shown, run_quietly("sh", *arguments), f"{where}: {line}")
            case other:
                pytest.fail(f"{where}: no test runs {other!r}")


def run_quietly(*command: str) -> str:
    """Run a shell, with this environment's `ragcore` as a command, and return its output."""
    programs = Path("bin").absolute()
    programs.mkdir(exist_ok=True)
    (programs / "ragcore").write_text(f'#!/bin/sh\nexec {sys.executable} -m ragcore "$@"\n')
    (programs / "ragcore").chmod(0o755)
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_ragcore(arguments: list[str]) -> str:
    """Return standard output, or the error message if the command fails.

    Standard input is the file behind `<`, if the arguments end with one.
    """
    out, errors = io.StringIO(), io.StringIO()
    *_, redirection, name = ["", "", *arguments]
    with redirect_stdout(out), redirect_stderr(errors), pytest.MonkeyPatch.context() as patch:
        if redirection == "<":
            arguments = arguments[:-2]
            patch.setattr(sys, "stdin", io.StringIO(Path(name).read_text(encoding="utf-8")))
        code = main(arguments)
    assert code in (0, 2), errors.getvalue()
    return errors.getvalue() if code else out.getvalue()


def assert_shown(shown: str, printed: str, where: str) -> None:
    """Compare a page's output with the printed one; a page that shows none claims none."""
    shown, printed = (
        "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
        for text in (shown, printed)
    )
    if not shown:
        return
    pieces = _SHOWN.split(shown)
    numbers = [float(piece) for piece in pieces[1::2] if piece != "…"]
    pattern = "".join(
        re.escape(piece) if i % 2 == 0 else ".*?" if piece == "…" else r"(-?\d+\.\d+)"
        for i, piece in enumerate(pieces)
    )
    match = re.fullmatch(pattern, printed, re.DOTALL)
    assert match, f"{where}: shown\n{shown}\nbut printed\n{printed}"
    assert [float(number) for number in match.groups()] == pytest.approx(numbers, abs=CLOSE), (
        f"{where}: printed\n{printed}"
    )
