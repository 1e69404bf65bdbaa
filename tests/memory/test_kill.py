"""A process killed anywhere in a build leaves the old version or the new one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

DRIVER = """
import os, signal, sys
from pathlib import Path
from ragcore.memory.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part

STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")

folder = Path(sys.argv[1])
old = [Passage(f"old{n}", "", f"text{n}") for n in range(20)]
new = [Passage(f"new{n}", "", f"text{n}") for n in range(30)]
Store(folder).build("old", old, dense_part())


def build_until(step):
    # Every file opened, folder made and rename is announced to an audit hook before it happens.
    done = 0
    inside = str(folder)

    def count(event, arguments):
        nonlocal done
        if event in STEPS and inside in str(arguments[0]):
            done += 1
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    Store(folder).build("new", new, dense_part(), batch=10)


def check():
    store = Store(folder)
    names = [version.name for version in store.versions()]
    assert names in (["old"], ["new", "old"]), names
    assert store.current() in names
    for name in names:
        memory = store.open(name, retriever=dense_part(), verify=True)
        assert list(memory.passages) == (old if name == "old" else new)
    return names, store.current()


outcomes = []
for step in range(1, 1000):
    child = os.fork()
    if not child:
        build_until(step)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    outcomes.append(check())
    if not os.WIFSIGNALED(status):
        break
    if outcomes[-1][0] == ["new", "old"]:
        # It was killed between the rename and the activation, or after: begin again from the old.
        Store(folder).activate("old")
        (folder / "versions" / "new").rename(folder.parent / f"new-{step}")
assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, status
left = [path.name for path in (folder / "versions").iterdir()]
assert sorted(left) == ["new", "old"], left
print(len(outcomes), (["old"], "old") in outcomes, (["new", "old"], "old") in outcomes)
"""


def test_a_kill_at_any_step_leaves_the_old_version_or_the_new(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode != -signal.SIGKILL
    assert done.returncode == 0, done.stderr
    steps, before, between = done.stdout.split()
    assert int(steps) > 20
    assert (before, between) == ("True", "True")
