"""A chat: answers line by line, commands, Ctrl-C, and what a pipe or a terminal shows of them."""

from __future__ import annotations

import importlib
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import ClassVar, Final

import pytest

from ragcore.cli import main
from ragcore.cli.chatting import Chat
from ragcore.config import RagConfig
from ragcore.errors import ConfigError, StoreError
from ragcore.rag import Rag
from ragcore.registry.discovery import registry
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.tiers import PASSAGES, QUESTION, WRAPPERS, pipeline, tables
from tests.helpers.word_encoder import dense_part

STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")
OTHERS = [Passage("q0", "who rules", "cc"), Passage("q1", "a river", "ab")]
PIPELINE = """\
ragcore: 1
memory: {store: store, corpus: {use: jsonl, path: rows.jsonl}, retriever: {use: bm25}}
generator: {use: word-chooser}
rag: {k: 2}
"""
ROWS = [
    {"id": "1", "title": "Mali", "text": "Bamako is the capital of Mali"},
    {"id": "2", "title": "Peru\x1b[31m", "text": "Lima is the capital of Peru"},
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def with_generator(rag: Rag, generator: TableGenerator) -> Rag:
    """Return a pipeline over the same memory with another generator."""
    return Rag(rag.memory.open(rag.memory.version), generator, rag.config)


def chatted(rag: Rag, *lines: str, capsys, failed: int = 0, **options) -> str:
    """Chat line by line; return what was printed, and check how many lines failed."""
    assert Chat(rag, **options).run(lines) == failed
    return capsys.readouterr().out


def test_an_answer_is_that_of_ask_with_the_titles_that_it_rests_on(store, capsys):
    with pipeline(store, "steps", marginalize="token") as rag:
        shown = chatted(rag, QUESTION, "", capsys=capsys)
        (answer,) = rag.answer(QUESTION)
    first, second = shown.splitlines()
    assert first.startswith(
        f"  {answer.text or '(an empty answer)'}   log p = {answer.log_prob:.3f}"
    )
    assert second.startswith("  rests on [")
    assert "who rules (" in second


@pytest.mark.parametrize("tier", ["score", "top", "text"])
def test_a_generator_of_any_tier_answers(store, capsys, tier):
    with pipeline(store, tier) as rag:
        shown = chatted(rag, QUESTION, capsys=capsys)
        (answer,) = rag.answer(QUESTION)
    assert shown.startswith(f"  {answer.text or '(an empty answer)'}   log p")
    assert ("log p not known" in shown) == (tier == "text")


class Recorder(io.StringIO):
    """A stream that records what is written to it among other events."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self.events: list[str] = []
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        self.events.append(text)
        return super().write(text)


def recorded(rag: Rag, recorder: Recorder, monkeypatch) -> list[str]:
    """Ask while each step of decoding is recorded, too; return the events."""
    step = rag.generator.step

    def recording_step(state, tokens):
        recorder.events.append("STEP")
        return step(state, tokens)

    monkeypatch.setattr(rag.generator, "step", recording_step)
    monkeypatch.setattr(sys, "stdout", recorder)
    Chat(rag, at_terminal=True).run([QUESTION])
    return recorder.events


def test_text_is_printed_while_the_rest_is_decoded(store, monkeypatch):
    with pipeline(store, "steps", marginalize="token", beams=1, min_new_tokens=3) as rag:
        (answer,) = rag.answer(QUESTION)
        events = recorded(rag, Recorder(), monkeypatch)
    assert len(answer.text) >= 3
    last = len(events) - events[::-1].index("STEP")
    assert answer.text[0] in "".join(events[:last]).replace("STEP", "")
    assert f"  {answer.text}   log p" in "".join(events).replace("STEP", "")


@pytest.mark.parametrize(
    "settings",
    [
        {"marginalize": "sequence", "decode": "thorough"},
        {"marginalize": "token", "confidence": {"threshold": 1.0}},
    ],
)
def test_text_that_is_not_certain_to_be_the_answer_is_not_streamed(store, monkeypatch, settings):
    with pipeline(store, "steps", beams=1, min_new_tokens=3, **settings) as rag:
        (answer,) = rag.answer(QUESTION)
        events = recorded(rag, Recorder(), monkeypatch)
    first = next(index for index, event in enumerate(events) if answer.text in event)
    assert "STEP" in events
    assert "STEP" not in events[first:]


class Uncased(TableGenerator):
    """Writes lower case, so that the spelling is a passage's."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"uncased"})


@pytest.mark.parametrize("width", [100, 5])
def test_text_that_is_spelled_otherwise_at_the_end_is_taken_back(store, monkeypatch, width):
    words = ["".join(letters) for letters in product("ABC", repeat=4)]
    passages = [Passage("p", "who rules", " ".join(words))]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "stdout", stream := Recorder(terminal=True))
    with pipeline(store, "steps", passages=passages) as tabled:
        config = {"marginalize": "token", "beams": 1, "min_new_tokens": 4, "max_new_tokens": 5}
        memory = tabled.memory.open(tabled.memory.version)
        with Rag(memory, Uncased(tables().config), RagConfig(**config)) as rag:
            (answer,) = rag.answer(QUESTION)
            Chat(rag, at_terminal=True).run([QUESTION])
    assert answer.text in words
    streamed, _, rest = STYLE.sub("", stream.getvalue()).partition(answer.text.lower())
    assert streamed == "  "
    # The line is erased, or left where it is more than one.
    taken_back = "\r\x1b[2K" if width == 100 else "\n"
    assert rest.startswith(f"{taken_back}  {answer.text}   log p")


def test_a_swap_changes_this_chat_and_not_the_store(store, capsys):
    with pipeline(store, "steps") as rag:
        before = rag.memory.version
        store.build("other", OTHERS, dense_part())
        store.activate(before)
        shown = chatted(rag, ":swap other", QUESTION, ":versions", capsys=capsys)
        assert rag.memory.version == "other"
    first, second, *_ = shown.splitlines()
    assert first == f"memory other, before {before}"
    assert second.endswith("memory other")
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("*")] == ["other"]
    assert store.current() == before


def test_why_and_without_show_the_last_answer(store, capsys):
    with pipeline(store, "steps") as rag:
        (answer,) = rag.answer(QUESTION)
        second = answer.citations[1].passage_id
        left_out = rag.without(answer, second)
        shown = chatted(rag, QUESTION, ":why", ":without 2", ":without [1] 2", capsys=capsys)
    assert QUESTION in shown
    assert "posterior" in shown
    for evidence in answer.evidence:
        assert f"{evidence.prior:.3f}" in shown
    assert f"without [2] {second}" in shown
    assert f"log p = {left_out.log_prob:.3f}" in shown
    assert f"without [1] {answer.citations[0].passage_id}, [2] {second}" in shown


def test_settings_hold_until_they_are_undone(store, capsys):
    with pipeline(store, "steps", marginalize="token") as rag:
        k = len(PASSAGES)
        lines = [":set k=1", QUESTION, ":why", ":set", ":set k=null", QUESTION, ":why"]
        shown = chatted(rag, *lines, capsys=capsys)
    set_to_one, undone = shown.split("all settings are the pipeline's")
    assert set_to_one.count("k=1") == 2
    assert "[1]" in set_to_one
    assert "[2]" not in set_to_one
    assert f"[{k}]" in undone


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (":whi", "no command :whi: did you mean :why?"),
        (":", "no command :"),
        (":why", "there is no answer yet"),
        (":swap", ":swap needs the name of a version"),
        (":swap nowhere", "nowhere"),
        (":set k", "needs NAME=VALUE"),
        (":set timeout=1", "needs NAME=VALUE"),
        (":set k=many", "k: expected"),
        (":set cite=true", "cite needs marginalize: none"),
        ("\udc80", "half a surrogate pair"),
    ],
)
def test_a_line_that_fails_says_why_and_the_chat_goes_on(store, capsys, line, reason):
    with pipeline(store, "steps") as rag:
        assert Chat(rag).run([line, QUESTION]) == 1
    out, err = capsys.readouterr()
    assert reason in err
    assert "log p" in out


def test_a_setting_that_the_generator_cannot_follow_is_not_set(store, capsys):
    class FromPassages(TableGenerator):
        needs_passages = True

    with pipeline(store, "steps") as rag:
        reader = with_generator(rag, FromPassages(tables().config))
        assert Chat(reader).run([":set k=0", QUESTION, ":set"]) == 1
    out, err = capsys.readouterr()
    assert "rag.k is 0, and it answers from passages alone" in err
    assert "rests on [" in out
    assert "all settings are the pipeline's" in out


@pytest.mark.parametrize("numbers", ["", "9", "0", "one", "²"])
def test_without_says_which_numbers_there_are(store, capsys, numbers):
    with pipeline(store, "steps") as rag:
        assert Chat(rag).run([QUESTION, f":without {numbers}"]) == 1
    assert f"it has {len(PASSAGES)}" in capsys.readouterr().err


def test_quit_ends_and_help_names_every_command(store, capsys):
    with pipeline(store, "steps") as rag:
        shown = chatted(rag, ":help", ":quit", QUESTION, capsys=capsys)
    for name in ("why", "without", "versions", "swap", "set", "new", "help", "quit"):
        assert f":{name}" in shown
    assert "log p" not in shown


def test_turns_are_read_only_where_that_is_asked_for(store, monkeypatch, capsys):
    with pipeline(store, "text", rewrite={"turns": 2}) as rag:
        histories: list[list[str]] = []
        answer = rag.answer

        def recording_answer(question, **settings):
            histories.append([turn.question for turn in settings["history"]])
            return answer(question, **settings)

        monkeypatch.setattr(rag, "answer", recording_answer)
        monkeypatch.setattr(Chat, "_streams", lambda chat: False)
        chatted(rag, "a", "b", "c", "d", ":new", "e", capsys=capsys, history=True)
        assert histories == [[], ["a"], ["a", "b"], ["b", "c"], []]
        histories.clear()
        chatted(rag, "a", "b", capsys=capsys)
        assert histories == [[], []]


class Interrupting(TableGenerator):
    """Presses Ctrl-C, as the terminal does, at a step of its decoding."""

    def __init__(self, config) -> None:
        super().__init__(config)
        self.steps = self.completed = 0
        self.presses_at: set[int] = set()

    def step(self, state, tokens):
        self.steps += 1
        if self.steps in self.presses_at:
            os.kill(os.getpid(), signal.SIGINT)
        log_probs = super().step(state, tokens)
        self.completed += 1
        return log_probs


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, also where these tests were started in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def interrupting(store) -> Rag:
    with pipeline(store, "steps", marginalize="token", beams=1, min_new_tokens=3) as rag:
        made = with_generator(rag, Interrupting(tables().config))
    with made:
        yield made


def test_an_interrupt_ends_the_answer_and_not_the_chat(interrupting, capsys):
    interrupting.generator.presses_at = {2}
    handler = signal.getsignal(signal.SIGINT)
    with interrupting.memory.reading() as memory:
        pass
    lines = [QUESTION, ":why", QUESTION]
    stopped, answered = chatted(
        interrupting, *lines, capsys=capsys, failed=1, at_terminal=True
    ).split("stopped\n")
    assert signal.getsignal(signal.SIGINT) is handler
    assert "log p" not in stopped
    assert "log p" in answered
    # The token that was being computed was computed, and nobody reads the memory any more.
    assert interrupting.generator.completed == interrupting.generator.steps
    interrupting.close()
    with pytest.raises(StoreError, match="closed"):
        memory.search([QUESTION], 1)


def test_a_second_interrupt_does_not_wait_for_the_token(interrupting, capsys):
    interrupting.generator.presses_at = {1, 2}

    def step_twice(state, tokens):
        Interrupting.step(interrupting.generator, state, tokens)
        return Interrupting.step(interrupting.generator, state, tokens)

    interrupting.generator.step = step_twice
    chatted(interrupting, QUESTION, capsys=capsys, at_terminal=True)
    assert (interrupting.generator.completed, interrupting.generator.steps) == (1, 2)


def test_an_interrupt_ends_a_chat_that_reads_a_pipe(interrupting):
    interrupting.generator.presses_at = {2}
    with pytest.raises(KeyboardInterrupt):
        Chat(interrupting).run([QUESTION])
    assert interrupting.generator.steps == 2


def test_an_interrupt_of_a_server_is_not_delayed(store, capsys):
    with pipeline(store, "steps", marginalize="sequence") as rag:
        spec = tables()
        wrapper = WRAPPERS["text"]

        class Pressing(wrapper):
            def write(self, *arguments):
                os.kill(os.getpid(), signal.SIGINT)
                pytest.fail("the interrupt came late")

        made = with_generator(rag, Pressing(wrapper.Config(generator=spec, top=4)))
    with made:
        assert "stopped" in chatted(made, QUESTION, capsys=capsys, at_terminal=True)


def test_a_pipeline_without_a_generator_cannot_chat(store):
    with pipeline(store, "steps") as rag, pytest.raises(ConfigError, match="no generator"):
        Chat(with_generator(rag, None))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    info = folder / "site" / "ragcore_words-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ragcore-words\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ragcore]\nwords = tests.helpers.word_chooser\n")
    (folder / "p.yaml").write_text(PIPELINE)
    rows = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch) -> Path:
    shutil.copytree(made, tmp_path / "made")
    monkeypatch.chdir(tmp_path / "made")
    monkeypatch.syspath_prepend(tmp_path / "made" / "site")
    importlib.invalidate_caches()
    registry.cache_clear()
    assert main(["memory", "build", "p.yaml", "--version", "v1"]) == 0
    yield tmp_path / "made"
    registry.cache_clear()


def piped(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_lines_from_a_pipe_are_shown_as_if_they_were_typed(folder, monkeypatch, capsys):
    piped(monkeypatch, b"capital of Peru\n\n:why\n")
    assert main(["chat", "p.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-len(lines) :].index("v1> capital of Peru") < lines.index("v1> :why")
    assert any("\u241b[31m" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_a_failed_line_of_a_pipe_is_in_the_exit_code(folder, monkeypatch, capsys):
    piped(monkeypatch, b":what\ncapital of Peru\n")
    assert main(["chat", "p.yaml"]) == 2
    assert "lima" in capsys.readouterr().out
    piped(monkeypatch, b"capital\n\xff\n")
    assert main(["chat", "p.yaml"]) == 2
    assert "line 2: not utf-8" in capsys.readouterr().err


def test_options_are_checked_before_the_first_line(folder, monkeypatch, capsys):
    piped(monkeypatch, b"capital of Peru\n")
    assert main(["chat", "p.yaml", "--history"]) == 2
    assert "--history has no effect without rag.rewrite" in capsys.readouterr().err
    assert main(["chat", "p.yaml", "--where", "{"]) == 2
    assert main(["chat", "p.yaml", "--where", '{"id": 7}', "rag.rewrite.turns=1", "--history"]) == 0


class Terminal:
    """A chat in a terminal of its own."""

    def __init__(self) -> None:
        self.screen, terminal = pty.openpty()
        self.shown = b""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TERM": "dumb",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ragcore", "chat", "p.yaml"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(terminal)

    def until(self, text: str, *, pressing: str = "") -> str:
        """Return what is shown up to a text; a key is pressed again while nothing is shown."""
        for _ in range(60):
            self.type(pressing)
            while (end := self.shown.find(text.encode())) < 0:
                ready, _, _ = select.select([self.screen], [], [], 1)
                if not ready:
                    break
                self.shown += os.read(self.screen, 4096)
            else:
                end += len(text.encode())
                before, self.shown = self.shown[:end], self.shown[end:]
                return before.decode()
        raise AssertionError(f"no {text!r} in {self.shown!r}")

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())


def _take_terminal() -> None:
    """Make standard input the terminal whose keys send signals to this process."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_terminal_prompts_survives_ctrl_c_and_ends_by_ctrl_d(folder):
    terminal = Terminal()
    assert ":help lists commands" in terminal.until("v1> ")
    terminal.type("half a quest")
    terminal.until("half a quest")
    # Readline overlooks a signal that comes while it is not waiting for a key.
    terminal.until("v1> ", pressing="\x03")
    terminal.type("capital of Peru\n")
    terminal.until("lima")
    terminal.until("v1> ")
    terminal.type("\x04")
    assert terminal.process.wait(60) == 0
    os.close(terminal.screen)
