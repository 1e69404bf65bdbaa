import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest
from pebble import ProcessExpired
from ragcore_documents import pool as pool_module
from ragcore_documents import worker
from ragcore_documents.pool import Pool
from ragcore_documents.reading import Job, Outcome, Task

from ragcore.corpora.splitting import SplitConfig
from ragcore.errors import CorpusError

MEMORY = 512 << 20


def job() -> Job:
    return Job(SplitConfig(by="headings", size=150), None, 1 << 20, MEMORY)


def pool(workers: int = 1, seconds: float = 60) -> Pool[str]:
    # A function within another one, so that it travels to a process that cannot import this file.
    def read(task: Task, job: Job) -> Outcome:
        match task.id.rstrip("0123456789"):
            case "hangs":
                threading.Event().wait()
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crashes":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exits":
                os._exit(3)
            case "large":
                bytearray(2 * MEMORY)
        return Outcome("read", digest=task.id, reason=str(os.getpid()))

    return Pool(workers, job(), seconds, read)


def items(names: list[str], size: int = 100):
    return [(name, Task(name, f"/{name}", name, ""), size) for name in names]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hangs", "after 1 seconds: raise `seconds`"),
        ("killed", "was killed by SIGKILL, perhaps since memory ran out"),
        ("crashes", "was killed by SIGSEGV"),
        ("exits", "ended with status 3"),
        ("large", "takes more than 0.5 GiB of memory: raise memory_gib"),
    ],
)
def test_a_file_that_ends_its_process_fails_alone(name, reason):
    names = ["first", name, "third", "last"]
    results = list(pool(seconds=1).map(items(names)))
    assert [item for item, _ in results] == names
    states = {item: outcome.state for item, outcome in results}
    assert states == {"first": "read", name: "skipped", "third": "read", "last": "read"}
    assert reason in dict(results)[name].reason


def test_each_of_a_task_s_files_has_the_time_of_one():
    def read(task: Task, job: Job) -> Outcome:
        threading.Event().wait(0.7)
        return Outcome("read", digest=task.id)

    names = [f"slow{number}" for number in range(4)]
    stream = Pool(1, job(), 1, read).map(items(names))
    assert [outcome.digest for _, outcome in stream] == names


def test_no_file_is_begun_late_in_a_task():
    begun = []

    def read(task: Task) -> Outcome:
        begun.append(task.id)
        return Outcome("read")

    tasks = [task for _, task, _ in items(["first", "second"])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_read", read)
        assert len(worker.read_all(tasks, 0)) == 1
        assert len(worker.read_all(tasks, 60)) == 2
    assert begun == ["first", "first", "second"]


def test_results_come_in_the_order_of_the_items_whatever_happens_to_some():
    # Tasks have 16 files: the first and the last of all ends its process, two in a row do, the last
    # of a task and the first of the next do, and two tasks have none that does.
    ends = {0, 20, 21, 47, 48, 111}
    names = [f"{'killed' if number in ends else 'a'}{number}" for number in range(112)]
    results = list(pool(workers=2).map(items(names)))
    assert [item for item, _ in results] == names
    skipped = {number for number, (_, each) in enumerate(results) if each.state == "skipped"}
    assert skipped == ends
    assert {each.state for _, each in results} == {"read", "skipped"}


def test_a_file_that_is_blamed_for_another_s_end_is_read_alone():
    processes = pool_module._Processes(1, job(), 1, pool()._read)
    (good, bad) = (task for _, task, _ in items(["good", "killed"]))
    (outcome,) = processes.read_alone(good)
    assert (outcome.state, outcome.digest) == ("read", "good")
    assert "was killed by SIGKILL" in processes.read_alone(bad).reason
    # As where pebble has not seen yet that the first was read when the second ends the process.
    running = pool_module._Running(Future(), processes._started())
    running.future.set_exception(ProcessExpired("Abnormal termination", code=-9))
    try:
        (outcome,) = pool_module._outcomes(processes, [good], running)
    finally:
        running.pool.stop()
        running.pool.join()
    assert (outcome.state, outcome.digest) == ("read", "good")


def test_a_task_that_a_broken_pool_forgets_is_read_all_the_same():
    processes = pool_module._Processes(1, job(), 1, pool()._read)
    (task,) = (task for _, task, _ in items(["good"]))
    running = pool_module._Running(Future(), processes._started())
    running.pool.stop()
    (outcome,) = pool_module._outcomes(processes, [task], running)
    assert (outcome.state, outcome.digest) == ("read", "good")


def test_items_without_a_file_start_no_process_and_keep_their_places():
    before = set(threading.enumerate())
    stream = pool().map((str(number), None, 0) for number in range(2000))
    assert [item for item, _ in stream] == [str(number) for number in range(2000)]
    assert set(threading.enumerate()) == before
    mixed = [("1", None, 0), *items(["2"]), ("3", None, 0)]
    results = list(pool().map(mixed))
    assert [(item, outcome and outcome.digest) for item, outcome in results] == [
        ("1", None),
        ("2", "2"),
        ("3", None),
    ]


def test_no_more_is_drawn_than_a_few_batches_ahead():
    drawn = []

    def stream():
        for number in range(10_000):
            drawn.append(number)
            yield from items([f"file{number}"])

    results = pool(workers=2).map(stream())
    next(results)
    # Two workers, three batches of 16 files each, and the one that is being filled.
    assert len(drawn) <= 2 * 3 * 16 + 1
    results.close()


def test_processes_end_where_the_results_are_not_all_taken():
    results = pool(workers=2).map(items([f"file{number}" for number in range(400)], size=1 << 20))
    pids = {int(next(results)[1].reason) for _ in range(10)}
    results.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_daemonic_process_is_told_that_it_may_start_none():
    reasons = multiprocessing.Queue()

    def read() -> None:
        try:
            list(pool().map(items(["file"])))
        except CorpusError as error:
            reasons.put(str(error))

    process = multiprocessing.get_context("fork").Process(target=read, daemon=True)
    process.start()
    assert "this process is daemonic" in reasons.get(timeout=60)
    process.join()


def test_a_closed_output_is_told(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(CorpusError, match="one of the two is closed: redirect it"):
        list(pool().map(items(["file"])))


def test_processes_that_cannot_be_started_are_an_error_that_says_what_to_do(tmp_path):
    resource = pytest.importorskip("resource", reason="limits of files are those of POSIX")
    del resource
    (tmp_path / "a.md").write_text("text")
    # In a process of its own, which may open no further file once all is imported.
    script = (
        "import os, resource\n"
        "from loky.backend import get_context\n"
        "import pebble\n"
        "from ragcore_documents.corpus import Documents\n"
        "from ragcore.errors import CorpusError\n"
        "get_context('loky')\n"
        f"corpus = Documents(Documents.Config(path={str(tmp_path)!r}, workers=1))\n"
        "free = os.open(os.devnull, os.O_RDONLY)\n"
        "os.close(free)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, free + 2))\n"
        "try:\n"
        "    list(corpus)\n"
        "except CorpusError as error:\n"
        "    os.write(1, str(error).encode())\n"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout.startswith("the processes that read files cannot be started (")
    assert "raise the limits of processes" in result.stdout
