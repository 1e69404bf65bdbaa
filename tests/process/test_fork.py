"""Test forked children: each runs in a subprocess that is killed after a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

ROOT = Path(__file__).parents[2]
PATIENCE = 120

FORK = """
import os, sys
def fork(child):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        child()
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""


def run(code: str, *arguments: str, threads: int = 2) -> list[str]:
    """The lines that a program with `fork` prints; it is killed, children too, if it hangs."""
    process = subprocess.Popen(
        [sys.executable, "-c", FORK + code, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        pytest.fail(f"hangs: killed after {PATIENCE} seconds")
    assert process.returncode == 0, errors
    return printed.splitlines()


def test_torch_computes_in_a_child_after_several_threads_have_in_the_parent():
    code = """
import torch
import ragcore.process.fork
torch.set_num_threads(2)
def compute():
    print(int(torch.ones(1 << 22).add(1).sum()), torch.get_num_threads())
compute()
fork(compute)
compute()
"""
    assert run(code) == ["8388608 2", "8388608 1", "8388608 2"]


def test_a_lock_that_another_thread_holds_is_free_in_a_child():
    code = """
import threading
from ragcore.process.fork import new_lock, new_rlock
locks = [new_lock(), new_rlock()]
held, done = threading.Event(), threading.Event()
def hold():
    with locks[0], locks[1]:
        held.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
fork(lambda: print([lock.acquire(timeout=5) for lock in locks]))
done.set()
thread.join()
"""
    assert run(code) == ["[True, True]"]


def test_actions_are_called_in_children_while_their_object_lives():
    code = """
from ragcore.process.fork import call_in_child
class Thing:
    def __init__(self, name):
        self.name = name
        call_in_child(self.tell)
    def tell(self):
        print(self.name)
call_in_child(lambda: print("function"))
lives, dies = Thing("lives"), Thing("dies")
del dies
fork(lambda: print("child"))
"""
    assert run(code) == ["function", "lives", "child"]


PIPELINE = """
import asyncio
from pathlib import Path
from ragcore.config import RagConfig
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

store = Store(Path(sys.argv[1]))
for version in ("old", "new"):
    store.build(version, [Passage(f"{version}:{i}", "", f"text {i}") for i in range(4)],
                dense_part(), corpus_config=None)
rag = Rag(store.open("old", retriever=dense_part()), TableGenerator(TableGenerator.Config()),
          RagConfig(k=2, max_new_tokens=3), store=store, retriever=dense_part())
"""


def test_a_pipeline_that_was_used_answers_in_a_child_in_threads_too(tmp_path):
    code = (
        PIPELINE
        + """
def ask():
    (answer,) = asyncio.run(rag.aanswer("who rules chad"))
    print(answer.memory, [answer] == rag.answer("who rules chad"))
ask()
fork(ask)
ask()
"""
    )
    assert run(code, str(tmp_path / "store")) == ["old True"] * 3


def test_a_pipeline_loaded_before_multiprocessing_forks_answers_in_every_process(tmp_path):
    code = (
        PIPELINE
        + """
import multiprocessing
def ask(question):
    return rag.answer(question)[0].memory
questions = ["who rules chad", "who rules mali", "where is the river"]
before = [ask(question) for question in questions]
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(ask, questions) == before)
"""
    )
    assert run(code, str(tmp_path / "store")) == ["True"]


def test_a_watch_follows_the_store_in_a_child(tmp_path):
    code = (
        PIPELINE
        + """
import threading
from ragcore import hookimpl
from ragcore.registry.discovery import registry
followed = threading.Event()
class Observer:
    @hookimpl
    def ragcore_memory_swapped(self):
        followed.set()
registry()._manager.register(Observer())
store.activate("old")
watch = rag.memory.watch(interval=0.01)
def child():
    store.activate("new")
    print(followed.wait(60), rag.memory.version)
    watch.stop()
fork(child)
watch.stop()
"""
    )
    assert run(code, str(tmp_path / "store")) == ["True new"]


def test_a_shadow_compares_in_a_child(tmp_path):
    code = (
        PIPELINE
        + """
from ragcore.evaluation.shadow import Shadow
shadow = Shadow(rag, "new", share=1.0)
def child():
    shadow.answer("who rules chad")
    shadow.join()
    print(shadow.report().compared)
    shadow.close()
fork(child)
shadow.close()
"""
    )
    assert run(code, str(tmp_path / "store")) == ["1"]
