"""Build a memory from a dump of a wiki, ask, update it to a newer dump, and ask again.

Usage: python run.py OLD.xml.bz2 NEW.xml.bz2 [--store FOLDER] [--question QUESTION]...

The steps are those of the command line: memory build, ask, memory update --no-activate, memory
compare, memory activate, ask. Without --store the memory is deleted at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import ragcore
from ragcore.errors import RagcoreError
from ragcore.store.store import Store

PIPELINE = Path(__file__).parent / "wikipedia.yaml"
QUESTIONS = ["What is the runtime of Actrius?"]


def ask(store: Path, version: str, questions: list[str]) -> list[str]:
    """Print and return the answers of a version, each with the revision that it rests on."""
    texts = []
    settings = (f"memory.store={store}", f"memory.version={version}")
    with ragcore.load(PIPELINE, *settings) as rag:
        for question in questions:
            answer = rag.answer([question])[0]
            best = max(answer.evidence, key=lambda each: each.posterior, default=None)
            source = "" if best is None else f"\n  {best.passage.metadata.get('url', '')}"
            print(f"{version}: {question} {answer.text}{source}")
            texts.append(answer.text)
    return texts


def run(old: Path, new: Path, folder: Path, questions: list[str]) -> None:
    store = folder / "wikipedia"
    built = ragcore.build_memory(
        PIPELINE, f"memory.store={store}", f"memory.corpus.path={old.resolve()}", version="old"
    )
    print(f"built {built.name}: {built.passages:,} passages")
    before = ask(store, "old", questions)
    updated = ragcore.update_memory(
        PIPELINE,
        overrides=[f"memory.store={store}", f"memory.corpus.path={new.resolve()}"],
        version="new",
        activate=False,
    )
    print(
        f"updated to {updated.name}: {updated.added:,} passages added, "
        f"{updated.changed:,} changed, {updated.removed:,} removed; "
        f"{updated.encodings_saved:,} not encoded again"
    )
    if updated.nothing_changed:
        return
    after = ask(store, "new", questions)
    different = sum(one != other for one, other in zip(before, after, strict=True))
    print(f"{different} of {len(questions)} answers change")
    Store(store).activate("new")
    print(f"version {Store(store).current()} is the current one")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--store", type=Path, help="folder in which the memory is kept")
    parser.add_argument("--question", action="append", help="to be asked; may be repeated")
    options = parser.parse_args()
    questions = options.question or QUESTIONS
    try:
        if options.store:
            run(options.old, options.new, options.store, questions)
        else:
            with tempfile.TemporaryDirectory() as folder:
                run(options.old, options.new, Path(folder), questions)
    except RagcoreError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
