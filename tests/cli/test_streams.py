"""Standard streams that are full, closed or in another encoding, and folders that are gone."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ragcore.cli import main
from ragcore.questions.texts import LONGEST_QUESTION
from tests.cli.test_verify import pipeline  # noqa: F401 (a fixture)

ROOT = Path(__file__).parents[2]


def ragcore(
    *arguments: object, cwd: Path | None = None, shell: str = "", **options
) -> subprocess.CompletedProcess[bytes]:
    """Run the program in a process of its own; `shell` redirects its streams."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-m", "ragcore"]
        + [a if isinstance(a, bytes) else str(a) for a in arguments],
        cwd=cwd,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=options.pop("stdout", subprocess.PIPE),
        **options,
    )


def is_message(done: subprocess.CompletedProcess[bytes], *parts: str, code: int = 2) -> None:
    message = done.stderr.decode()
    assert done.returncode == code, message
    assert "Traceback" not in message
    assert "Exception ignored" not in message
    assert len(message.splitlines()) == 1, message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("arguments", [["schema"], ["plugins"], ["plugins", "--json"], ["--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_a_message(
    arguments: list[str], unbuffered: str, tmp_path: Path
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))

    with (tmp_path / "out").open("wb") as out:
        environment = {"PYTHONUNBUFFERED": unbuffered}
        done = ragcore(*arguments, stdout=out, preexec_fn=limit, env=environment)
    is_message(done, "standard output cannot be written", "File too large")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_export_to_a_full_standard_output_is_a_message(
    unbuffered: str,
    pipeline: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    store = pipeline.parent / "store"
    with (tmp_path / "out").open("wb") as out:
        environment = {"PYTHONUNBUFFERED": unbuffered}
        done = ragcore(
            *("memory", "export", store, "-"), stdout=out, preexec_fn=limit, env=environment
        )
    is_message(done, "standard output cannot be written", "File too large")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals")
def test_an_export_to_a_terminal_is_refused(pipeline: Path) -> None:  # noqa: F811
    master, slave = os.openpty()
    done = ragcore("memory", "export", pipeline.parent / "store", "-", stdout=slave)
    os.close(slave)
    os.close(master)
    is_message(done, "standard output is a terminal")


@pytest.mark.parametrize("arguments", [["schema"], ["plugins"], ["--help"], ["schema", "--help"]])
def test_a_closed_standard_output_is_a_message(arguments: list[str]) -> None:
    is_message(ragcore(*arguments, shell=">&-"), "standard output is closed")


def test_a_closed_standard_error_changes_nothing() -> None:
    done = ragcore("plugins", "--json", shell="2>&-")
    assert done.returncode == 0
    assert json.loads(done.stdout)
    assert ragcore("check", "nowhere.yaml", shell="2>&-").returncode == 2


@pytest.mark.parametrize("arguments", ["schema", "plugins", "plugins --json", "--help"])
def test_a_reader_that_stops_ends_the_program_quietly(arguments: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = ragcore(*arguments.split(), stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("shell", "stdin", "message"),
    [
        ("<&-", b"", "standard input is closed"),
        ("<.", b"", "standard input cannot be read (Is a directory)"),
        ("", b"fine\ncaf\xe9?\n", "standard input, line 2: not utf-8 (byte 0xE9 at 4)"),
        ("", b"x" * 5_000_000, "standard input, line 1: more than 100,000 characters"),
        (
            "",
            "é".encode() * 100_001,
            "standard input, line 1: the question has 100,001 characters, expected at most 100,000",
        ),
    ],
    ids=["closed", "folder", "latin-1", "endless", "long"],
)
def test_questions_from_a_bad_standard_input(
    shell: str,
    stdin: bytes,
    message: str,
    pipeline: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pipeline.parent)
    if shell == "<&-":
        monkeypatch.setattr(sys, "stdin", None)
    elif shell == "<.":
        read_from(monkeypatch, _Folder())
    else:
        read_from(monkeypatch, io.BytesIO(stdin))
    assert main(["ask", "pipeline.yaml", "-"]) == 2
    out, err = capfd.readouterr()
    assert message in err
    assert ("fine" in out) == (b"fine" in stdin)


FAULTY = {
    "encoding": (b"caf\xe9", "not utf-8"),
    "characters": (b"x" * 100_001, "the question has 100,001 characters"),
    "bytes": (b"x" * 1_000_000, "more than 100,000 characters"),
}


@pytest.mark.parametrize("command", ["ask", "chat"])
@pytest.mark.parametrize(("line", "message"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_line_is_named_and_the_others_are_answered(
    command: str,
    line: bytes,
    message: str,
    pipeline: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pipeline.parent)
    lines = io.BytesIO(b"a lake\n\n" + line + b"\na river\n")
    read_from(monkeypatch, lines)
    arguments = ["-", "--json"] if command == "ask" else []
    assert main([command, "pipeline.yaml", *arguments]) == 2
    out, err = capfd.readouterr()
    assert message in err
    if command == "ask":
        assert err.startswith("standard input, line 3: ")
        assert [json.loads(row)["question"] for row in out.splitlines()] == ["a lake", "a river"]
    else:
        assert out.count("log p = ") == 2


def test_a_question_that_cannot_be_answered_as_asked_is_named(
    pipeline: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pipeline.parent)
    lines = io.BytesIO(b"a lake\na river\n")
    read_from(monkeypatch, lines)
    # Of the two questions, the second alone is answered from this passage.
    options = ["--json", "--without", "p4", "--html", "page.html"]
    assert main(["ask", "pipeline.yaml", "-", *options]) == 2
    out, err = capfd.readouterr()
    assert err.startswith("standard input, line 1: no passage 'p4' to leave out")
    (row,) = map(json.loads, out.splitlines())
    assert row["question"] == "a river"
    page = (pipeline.parent / "page.html").read_text()
    assert "a river" in page
    assert "a lake" not in page


def test_a_faulty_line_is_named_and_the_others_are_searched(
    pipeline: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pipeline.parent)
    lines = io.BytesIO(b"caf\xe9\na river\n")
    read_from(monkeypatch, lines)
    assert main(["search", "pipeline.yaml", "-", "--json", "-k", "1"]) == 2
    out, err = capfd.readouterr()
    assert err.startswith("standard input, line 1: not utf-8")
    (row,) = map(json.loads, out.splitlines())
    # Ids are the numbers of the questions, those that failed included.
    assert (row["question_id"], row["question"]) == ("2", "a river")


def test_a_question_in_the_command_line_that_fails_ends_it(
    pipeline: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pipeline.parent)
    assert main(["ask", "pipeline.yaml", "x" * 100_001]) == 2
    out, err = capfd.readouterr()
    assert not out
    assert "standard input" not in err


def read_from(monkeypatch: pytest.MonkeyPatch, file: io.BufferedIOBase) -> None:
    """Let standard input be a file of bytes."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file, encoding="utf-8"))


class _Folder(io.BufferedReader):
    def __init__(self) -> None:
        super().__init__(io.BytesIO())

    def readline(self, size: int | None = -1) -> bytes:
        raise IsADirectoryError(21, os.strerror(21))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_encoding_of_standard_output_will_do(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "中é.yaml"
    path.write_text("ragcore: 1\nmemory: {store: 中é, retriever: {use: dense}}\n", encoding="utf-8")
    environment = {"PYTHONIOENCODING": encoding}
    for command in (["check", path.name], ["memory", "list", path.name], ["schema"], ["plugins"]):
        done = ragcore(*command, cwd=tmp_path, env=environment)
        assert done.returncode in {0, 2}
        assert b"Traceback" not in done.stderr
        if command == ["schema"]:
            assert json.loads(done.stdout.decode(encoding))


def test_arguments_in_another_encoding_are_refused(pipeline: Path) -> None:  # noqa: F811
    for arguments in (["ask", pipeline, b"caf\xe9"], ["check", b"caf\xe9.yaml"], [b"\xff"]):
        is_message(
            ragcore(*arguments), f"argument {len(arguments)} of the command is not text", "0x"
        )


def test_a_nul_in_an_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "a\0b.yaml"]) == 2
    assert "argument 2 of the command has the character NUL" in capsys.readouterr().err


def test_a_long_question_is_refused_before_it_is_read(
    pipeline: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    question = "x " * LONGEST_QUESTION
    for command in (["ask"], ["verify"], ["memory", "search"]):
        assert main([*command, str(pipeline), question]) == 2
        assert "has 200,000 characters, expected at most 100,000" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "fill", "memory list", "memory show", "plugins"])
def test_a_working_folder_that_is_gone_is_a_message(command: str, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    code = (
        f"import os, sys; os.rmdir({str(folder)!r}); from ragcore.cli import main; "
        f"sys.exit(main({[*command.split(), 'x']!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    is_message(done, "the working folder no longer exists")


LONG = "n" * 300
ASKED = ("q.jsonl", "now", "now")


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", LONG, "x"],
        ["ask", f"{LONG}.yaml", "x"],
        ["check", f"{LONG}.yaml"],
        ["check", "/".join(["n" * 200] * 30)],
        ["eval", "pipeline.yaml", LONG],
        ["eval", "pipeline.yaml", "q.jsonl", "--output", LONG],
        ["eval", "pipeline.yaml", "q.jsonl", "--against", LONG],
        ["replay", LONG],
        ["memory", "list", LONG],
        ["memory", "build", "pipeline.yaml", "--version", LONG],
        ["memory", "build", "pipeline.yaml", f"memory.store={LONG}"],
        ["memory", "build", "pipeline.yaml", f"memory.corpus.path={LONG}"],
        ["memory", "build", "pipeline.yaml", 'memory.corpus.path="a\\0b"'],
        ["memory", "build", "pipeline.yaml", 'memory.store="a\\0b"'],
        ["check", "pipeline.yaml", 'memory.store="a\\0b"'],
        ["ask", "pipeline.yaml", "x", 'memory.store="a\\0b"'],
        ["ask", "pipeline.yaml", "x", f"memory.store={LONG}"],
        ["memory", "update", "store", LONG],
        ["memory", "update", LONG, LONG],
        ["memory", "diff", "store", "--", "--help", "--version"],
        ["memory", "diff", "store", "now", "now", "--changes", LONG],
        ["memory", "diff", "store", "now", "now", "--changes", "."],
        ["memory", "export", "store", LONG],
        ["memory", "import", "store", LONG],
        ["memory", "import", LONG, LONG],
        ["ask", "pipeline.yaml", "who ?", "--html", LONG],
        ["memory", "compare", "pipeline.yaml", LONG, "now", "now"],
        ["memory", "compare", "pipeline.yaml", "q.jsonl", "now", "now", "--html", LONG],
        ["memory", "calibrate", "pipeline.yaml", LONG],
        ["calibrate", "pipeline.yaml", LONG],
        ["plugin", "new", "retriever", "mine", "--folder", LONG],
        ["plugin", "new", "retriever", "n" * 400],
        ["train", LONG],
        ["check", "pipeline.yaml", 'memory.store="~nobody-of-this-name/x"'],
        ["check", "pipeline.yaml", 'memory.store="\\ud800"'],
    ],
    ids=lambda arguments: " ".join(arguments).replace(LONG, "LONG")[:60],
)
def test_unusable_paths_are_messages(
    arguments: list[str],
    pipeline: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pipeline.parent)
    row = {"question": "who rules chad", "answers": ["ab"]}
    Path("q.jsonl").write_text(json.dumps(row) + "\n")
    assert main(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "pipeline.yaml", "who ?", "--html", "taken"], "a folder"),
        (["ask", "pipeline.yaml", "who ?", "--html", "no/x"], "no folder no"),
        (["memory", "compare", "pipeline.yaml", *ASKED, "--html", "taken"], "a folder"),
        (["memory", "compare", "pipeline.yaml", *ASKED, "--html", "no/x"], "no folder no"),
        (["eval", "pipeline.yaml", "q.jsonl", "--output", "q.jsonl"], "is a file"),
        (["eval", "pipeline.yaml", "q.jsonl", "--output", "q.jsonl/deep/er"], "is a file"),
        (["eval", "pipeline.yaml", "q.jsonl", "--against", "taken"], "holds no run"),
        (["memory", "diff", "store", "now", "now", "--changes", "taken"], "a folder"),
    ],
)  # fmt: skip
def test_where_to_write_is_checked_before_anything_is_asked(
    arguments: list[str],
    message: str,
    pipeline: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pipeline.parent)
    Path("taken").mkdir()
    # A file of questions that cannot be read, and a missing pipeline: nothing got that far.
    Path("q.jsonl").write_text("damaged")
    Path("pipeline.yaml").unlink()
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["--help", "-x", "-", "a b", "..", "a/b", "é", "n" * 129])
def test_a_version_cannot_be_called_like_an_option(
    name: str,
    pipeline: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["memory", "build", str(pipeline), "--version", name]) == 2
    assert "cannot be a version's name" in capsys.readouterr().err
