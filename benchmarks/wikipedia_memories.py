"""Update a memory from dump to dump, and compare it with one built from the newer dump.

Usage: python benchmarks/wikipedia_memories.py [--data ../shared/data/wikipedia/pairs] [--layout L]
           [--all-namespaces]

The data are those of wikipedia_pairs.py. For each pair a BM25 memory is built from the old dump and
updated to the new one, and another is built from the new one. Checked: the passages of the two are
the same but for the revision that a passage names, which is an earlier one with the same text where
the passage has not changed; questions find the same passages with the same scores; a second update
changes nothing; an update back with what the old dump has gives the old passages; the update's
counts are the classes of expected.json; and facts that changed are found, the old ones in the old
version and the new ones in the updated one. Prints a line a pair and each mismatch; the exit status
is the number of mismatches, 99 at most.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragcore_wikipedia.corpus import Wikipedia
from wikipedia_pairs import DATA, Known, pairs_in

from ragcore.registry.components import spec_from_dict
from ragcore.store.comparing import PROVENANCE, DocumentCounts
from ragcore.store.guards import Allowed
from ragcore.store.store import Store, UpdateInfo
from ragcore.types import Document, Passage

Spec = Any
QUESTIONS = 50
DEPTH = 20


def corpus_of(path: Path, settings: dict[str, Any]) -> Spec:
    """Return the corpus of a dump that is taken for the whole of its wiki."""
    return spec_from_dict("corpus", {"use": "wikipedia", "path": str(path), **settings})


def passages_of(store: Store, version: str) -> dict[str, Passage]:
    with store.passages(version) as passages:
        return {passage.id: passage for passage in passages}


def content_of(passage: Passage) -> tuple[object, ...]:
    """Return what an update must keep equal: all but which revision a passage names."""
    metadata = {key: item for key, item in passage.metadata.items() if key not in PROVENANCE}
    return passage.title, passage.text, tuple(sorted(metadata.items()))


def compare(left: dict[str, Passage], right: dict[str, Passage], what: str) -> Iterator[str]:
    if left.keys() != right.keys():
        yield (
            f"{what}: {len(left.keys() - right.keys())} passages too many, "
            f"{len(right.keys() - left.keys())} are missing"
        )
    for id_ in left.keys() & right.keys():
        if content_of(left[id_]) != content_of(right[id_]):
            yield f"{what}: passage {id_} is {left[id_]}, expected {right[id_]}"


def compare_revisions(
    old: dict[str, Passage], updated: dict[str, Passage], new: dict[str, Passage]
) -> Iterator[str]:
    """Check the documented rule: who stayed names its first revision, who came the newest one."""
    for id_, passage in updated.items():
        expected = new.get(id_)
        earlier = old.get(id_)
        if earlier is not None and content_of(earlier) == content_of(passage):
            expected = earlier
        if expected is not None and passage.metadata != expected.metadata:
            yield f"passage {id_} has {passage.metadata}, expected {expected.metadata}"


def compare_hits(
    store: Store, versions: tuple[str, str], passages: dict[str, Passage]
) -> Iterator[str]:
    """Ask both versions for the words of some passages: they find the same with the same scores."""
    step = max(1, len(passages) // QUESTIONS)
    questions = [" ".join(item.text.split()[:12]) for item in list(passages.values())[::step]]
    searches = []
    for version in versions:
        with store.open(version) as memory:
            hits = memory.hits(questions, DEPTH)
            searches.append(
                [
                    {
                        memory.passages[row].id: round(score, 4)
                        for row, score in zip(rows, scores, strict=True)
                        if row >= 0
                    }
                    for rows, scores in zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)
                ]
            )
    for question, updated, built in zip(questions, *searches, strict=True):
        if sorted(updated.values()) != sorted(built.values()):
            yield f"{question!r}: scores {updated}, expected {built}"
        # Of passages with the score of the last hit, any may be found.
        last = min(built.values(), default=0.0)
        above = [{id_ for id_, score in hits.items() if score > last} for hits in (updated, built)]
        if above[0] != above[1]:
            yield f"{question!r}: found {updated}, expected {built}"


def documents_of(path: Path, settings: dict[str, Any]) -> dict[str, Document]:
    corpus = Wikipedia(Wikipedia.Config(path=path, **settings))
    return {each.id: each for each in corpus.documents(Known()) if each.passages}


def texts_of(document: Document) -> list[tuple[str, str]]:
    return [(passage.id, passage.title) for passage in document.passages or ()]


def expected_counts(
    old: dict[str, Document], new: dict[str, Document], classes: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """Say what happens to each page that has passages in one of two dumps, by the classes."""
    for id_ in old.keys() | new.keys():
        inside = {name for name, ids in classes.items() if int(id_) in ids}
        if id_ not in old:
            # It is new, or was no article, or its wikitext gave no passage.
            yield id_, "added" if inside & {"added", "was_redirect", "edited"} else "?"
        elif id_ not in new:
            left_out = {"deleted", "became_redirect", "namespace_moved", "text_became_unavailable"}
            yield id_, "removed" if inside & {*left_out, "edited"} else "?"
        elif "unchanged" in inside:
            yield id_, "unchanged"
        elif "renamed" in inside:
            yield id_, "renamed"
        elif "edited" in inside:
            # An edit of what is no passage, such as a category, is none to a memory.
            same = sorted(texts_of(old[id_])) == sorted(texts_of(new[id_]))
            yield id_, "same_text" if same else "edited"
        else:
            yield id_, "same_text" if "null_edit" in inside else "?"


def check_counts(
    update: UpdateInfo,
    old: dict[str, Document],
    new: dict[str, Document],
    *,
    expected: dict[str, Any],
) -> Iterator[str]:
    lists = {
        name: set(ids)
        for name, ids in expected.items()
        if isinstance(ids, list) and all(isinstance(id_, int) for id_ in ids)
    }
    classes = dict(expected_counts(old, new, lists))
    for id_, name in classes.items():
        if name == "?":
            yield f"page {id_}: its class in expected.json does not say what happens to it"
    counts = Counter(classes.values())
    for name in DocumentCounts.__slots__:
        if getattr(update.documents, name) != counts[name]:
            yield f"{name}: {getattr(update.documents, name)} pages, expected {counts[name]}"


def check_facts(
    old: dict[str, Passage], updated: dict[str, Passage], facts: list[dict[str, Any]]
) -> Iterator[str]:
    """Look for the answers in a page's passages; the old one must be gone with its dump."""
    for fact in facts:
        for side, passages in (("old", old), ("new", updated)):
            answer = fact[f"{side}_answer"]
            texts = [
                passage.text
                for passage in passages.values()
                if passage.metadata["page"] == fact["page_id"]
            ]
            if answer is not None and not any(answer in text for text in texts):
                yield f"{side}: no passage of {fact['title']!r} has {answer!r}"
        # The old answer may stand in another passage still; the new one did not exist before.
        before = [p.text for p in old.values() if p.metadata["page"] == fact["page_id"]]
        if fact["new_answer"] is not None and any(fact["new_answer"] in text for text in before):
            yield f"old: a passage of {fact['title']!r} has {fact['new_answer']!r} already"
        after = [p.text for p in updated.values() if p.metadata["page"] == fact["page_id"]]
        outdated = fact["old_answer"]
        if outdated and not fact["old_in_new"] and any(outdated in text for text in after):
            yield f"new: a passage of {fact['title']!r} has {outdated!r} still"


def check_pair(
    folder: Path, expected: dict[str, Any], settings: dict[str, Any]
) -> tuple[UpdateInfo, list[str]]:
    dumps = {side: folder / f"{side}.xml.bz2" for side in ("old", "new")}
    corpora = {side: corpus_of(path, settings) for side, path in dumps.items()}
    bm25 = spec_from_dict("retriever", {"use": "bm25"})
    facts_file = folder / "facts_changed.json"
    facts = json.loads(facts_file.read_text(encoding="utf-8")) if facts_file.exists() else []
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(scratch)
        allow: set[Allowed] = {"deletions", "older"}
        for side, corpus in corpora.items():
            store.build(side, corpus.build(), bm25, corpus_config=corpus)
        update = store.update(
            "updated",
            corpora["new"].build(),
            parent="old",
            corpus_config=corpora["new"],
            allow=allow,
        )
        again = store.update(
            "again",
            corpora["new"].build(),
            parent=update.name,
            corpus_config=corpora["new"],
            allow=allow,
        )
        back = store.update(
            "back",
            corpora["old"].build(),
            parent=update.name,
            corpus_config=corpora["old"],
            allow=allow,
        )
        old, new = (passages_of(store, side) for side in ("old", "new"))
        updated = passages_of(store, update.name)
        documents = [documents_of(dumps[side], settings) for side in ("old", "new")]
        mismatches = [
            *compare(updated, new, "updated"),
            *compare_revisions(old, updated, new),
            *compare_hits(store, (update.name, "new"), new),
            *compare(passages_of(store, back.name), old, "back"),
            *check_counts(update, *documents, expected=expected),
            # The paper's layout has no infoboxes, in which most of these facts stand.
            *(check_facts(old, updated, facts) if settings["layout"] == "structured" else ()),
        ]
        if not again.nothing_changed:
            mismatches.append(f"a second update changes passages: {again}")
    return update, mismatches


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--layout", choices=("structured", "psgs"), default="structured")
    parser.add_argument("--all-namespaces", action="store_true")
    options = parser.parse_args()
    pairs = list(pairs_in(options.data))
    if not pairs:
        print(f"skipped: there are no pairs of dumps in {options.data}")
        return 0
    total = 0
    for folder, expected in pairs:
        # Nearly all pages of a closed wiki are in other namespaces.
        few = expected["articles_old"] < expected["pages_old"] / 20
        namespaces = tuple(range(16)) if few or options.all_namespaces else (0,)
        settings = {"layout": options.layout, "namespaces": namespaces, "complete": True}
        update, mismatches = check_pair(folder, expected, settings)
        print(
            f"{folder.relative_to(options.data)}: {update.passages:,} passages, {update.added} "
            f"added, {update.changed} changed, {update.removed} removed; {update.documents}; "
            f"{len(mismatches)} mismatches"
        )
        for mismatch in mismatches:
            print(f"  {mismatch}")
        total += len(mismatches)
    print(f"{len(pairs)} pairs, {total} mismatches")
    return min(total, 99)


if __name__ == "__main__":
    sys.exit(main())
