"""Where the law of another process fails, and where there is no such process and it is skipped."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import FilePath

from ragcore import ComponentSpec
from ragcore.retrievers.flat import Exact
from ragcore.testing import CorpusSuite, IndexSuite, examine
from ragcore.testing.forking import can_fork
from ragcore.testing.suite import Suite
from tests.testing.mutants_corpus import Counted

LAW = "test_another_process_gives_the_same"


class Listed(Counted):
    """A corpus whose settings name a file, which must exist."""

    class Config(Counted.Config):
        file: FilePath


class Computed(Counted):
    class Config(Counted.Config):
        compute: Callable[[int], int] = abs


class ReadsAsItIsBuilt(Counted):
    class Config(Counted.Config):
        file: str

    def __init__(self, config: Any) -> None:
        Path(config.file).read_text(encoding="utf-8")
        super().__init__(config)


class Ends(Counted):
    """Ends any process but the one that defined it, or its parent."""

    class Config(Counted.Config):
        own: int
        parent: bool = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if os.getpid() != config.own:
            if config.parent:
                os.kill(os.getppid(), signal.SIGKILL)
            os._exit(7)


class Signs(Counted):
    """Writes in which processes it was built."""

    class Config(Counted.Config):
        folder: str

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        (Path(config.folder) / str(os.getpid())).touch()


def verdict(component: Any, suite: type[Suite] = CorpusSuite) -> tuple[str, str]:
    (judged,) = examine(suite, component, {LAW})
    return judged.outcome, judged.reason


@pytest.mark.parametrize("component", [Listed, ReadsAsItIsBuilt])
def test_a_path_from_the_working_folder_fails(component: Any, tmp_path, monkeypatch):
    (tmp_path / "words.txt").write_text("words", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    absolute = component.Config(file=str(tmp_path / "words.txt"))
    assert verdict(ComponentSpec("corpus", "mine", component, absolute)) == ("passed", "")
    relative = component.Config(file="words.txt")
    outcome, reason = verdict(ComponentSpec("corpus", "mine", component, relative))
    assert outcome == "failed"
    assert reason.startswith("in another process, and working folder, it raised ")
    assert "words.txt" in reason


def test_settings_that_json_cannot_hold_skip_the_law():
    spec = ComponentSpec("corpus", "mine", Computed, Computed.Config())
    outcome, reason = verdict(spec)
    assert outcome == "skipped"
    assert reason.startswith("no second process: its settings cannot be passed on as JSON: ")


def test_what_cannot_be_imported_skips_the_law(tmp_path, monkeypatch):
    class Local(Exact):
        pass

    outcome, reason = verdict(Local, IndexSuite)
    assert outcome == "skipped"
    assert "define it at the top level of a module" in reason
    module = tmp_path / "mine_alone.py"
    module.write_text("from ragcore.retrievers.flat import Exact\nclass Mine(Exact): ...\n")
    with monkeypatch.context() as patched:
        patched.syspath_prepend(tmp_path)
        from mine_alone import Mine  # type: ignore[import-not-found]
    module.write_text("import no_such_module\n")
    outcome, reason = verdict(Mine, IndexSuite)
    assert outcome == "skipped"
    assert "ModuleNotFoundError: No module named 'no_such_module'" in reason
    module.write_text("open('words.txt')\n")
    assert verdict(Mine, IndexSuite)[0] == "failed"
    sys.modules.pop("mine_alone")


def test_a_process_that_ends_fails_the_law_and_no_other_component():
    spec = ComponentSpec("corpus", "ends", Ends, Ends.Config(own=os.getpid()))
    reason = "in another process, and working folder, it raised no error; its exit status is 7"
    assert verdict(spec) == ("failed", reason)
    assert verdict(Counted) == ("passed", "")


@pytest.mark.skipif(not can_fork(), reason="each component has a process of its own")
def test_where_the_second_process_itself_ends_the_next_component_gets_another():
    spec = ComponentSpec("corpus", "ends", Ends, Ends.Config(own=os.getpid(), parent=True))
    assert verdict(spec) == ("failed", "EOFError: the second process has ended")
    assert verdict(Counted) == ("passed", "")


def test_each_component_has_a_process_of_its_own(tmp_path):
    spec = ComponentSpec("corpus", "signs", Signs, Signs.Config(folder=str(tmp_path)))
    for others in (1, 2):
        assert verdict(spec) == ("passed", "")
        assert len({path.name for path in tmp_path.iterdir()} - {str(os.getpid())}) == others
