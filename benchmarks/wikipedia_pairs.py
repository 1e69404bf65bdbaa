"""Compare pairs of dumps of the same wiki page by page, and check the result.

Usage: python benchmarks/wikipedia_pairs.py [--data ../shared/data/wikipedia/pairs]

Each folder of the data has `old.xml.bz2`, `new.xml.bz2` and `expected.json`, with the pages of each
class (edited, renamed, deleted, …), or subfolders with such files; some have `facts_changed.json`,
with a question, its old and its new answer. Three things are checked: that the pages read have
the classes expected; that the corpus parses a page of the new dump if and only if it has changed;
and that the passages of the old dump have the old answers, and those of the new one the new ones.
Prints a line a pair and each mismatch; the exit status is the number of mismatches, 99 at most.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragcore_wikipedia.corpus import Wikipedia
from ragcore_wikipedia.dumps.reader import read_pages
from ragcore_wikipedia.pages import Page

from ragcore.types import Document

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "wikipedia" / "pairs"


class Known(dict[str, str]):
    """The keys of the documents of the old dump."""

    def key(self, document_id: str) -> str | None:
        return self.get(document_id)


def classes_of(old: dict[int, Page], new: dict[int, Page]) -> dict[str, Any]:
    """Return page ids by class, as expected.json has them."""
    both = sorted(old.keys() & new.keys())
    pairs = {id_: (old[id_], new[id_]) for id_ in both}

    def where(test: Any) -> list[int]:
        return [id_ for id_, (before, after) in pairs.items() if test(before, after)]

    def same_text(before: Page, after: Page) -> bool:
        return (before.text or "") == (after.text or "")

    edited = where(lambda a, b: a.revision != b.revision and not same_text(a, b))
    old_titles = {page.title: page.id for page in old.values()}
    titles = {page.title: page.id for page in new.values()}
    return {
        "unchanged": where(
            lambda a, b: (
                (a.revision, a.title, a.namespace) == (b.revision, b.title, b.namespace)
                and same_text(a, b)
            )
        ),
        "edited": edited,
        "null_edit": where(lambda a, b: a.revision != b.revision and same_text(a, b)),
        "added": sorted(new.keys() - old.keys()),
        "deleted": sorted(old.keys() - new.keys()),
        "renamed": where(lambda a, b: a.title != b.title),
        "became_redirect": where(lambda a, b: not a.redirect and b.redirect),
        "was_redirect": where(lambda a, b: a.redirect and not b.redirect),
        "redirect_retargeted": where(
            lambda a, b: a.redirect and b.redirect and a.redirect != b.redirect
        ),
        "namespace_moved": where(lambda a, b: a.namespace != b.namespace),
        "text_became_unavailable": where(lambda a, b: a.text is not None and b.text is None),
        "text_changed_same_revision": where(
            lambda a, b: a.revision == b.revision and not same_text(a, b)
        ),
        "templates_or_modules_edited": [id_ for id_ in edited if old[id_].namespace in (10, 828)],
        "title_now_other_page_id": [
            {"title": title, "old_id": id_, "new_id": titles[title]}
            for title, id_ in sorted(old_titles.items())
            if titles.get(title, id_) != id_
        ],
        "pages_old": len(old),
        "pages_new": len(new),
        "articles_old": articles_in(old),
        "articles_new": articles_in(new),
        "newest_revision_old": max(page.timestamp for page in old.values()),
        "newest_revision_new": max(page.timestamp for page in new.values()),
    }


def articles_in(pages: dict[int, Page]) -> int:
    return sum(
        page.namespace == 0 and not page.redirect and bool((page.text or "").strip())
        for page in pages.values()
    )


def row_of(page: Page) -> dict[str, Any]:
    """Return a page as the rows `changes` have it."""
    return {
        "title": page.title,
        "ns": page.namespace,
        "rev": page.revision,
        "redirect": page.redirect,
        "text_sha1_12": hashlib.sha1((page.text or "").encode()).hexdigest()[:12],
    }


def check_classes(folder: Path, expected: dict[str, Any]) -> Iterator[str]:
    """Compare the classes, and each changed page."""
    old, new = (
        {page.id: page for page in read_pages(folder / f"{side}.xml.bz2")}
        for side in ("old", "new")
    )
    for name, actual in classes_of(old, new).items():
        if actual != expected[name]:
            yield f"{name}: found {actual}, expected {expected[name]}"
    for row in expected["changes"]:
        for side, pages in (("old", old), ("new", new)):
            found_row = row_of(pages[row["id"]]) if row["id"] in pages else None
            if found_row != row.get(side):
                yield f"page {row['id']}, {side}: found {found_row}, expected {row.get(side)}"


def documents_of(path: Path, known: Known, **settings: Any) -> dict[str, Document]:
    corpus = Wikipedia(Wikipedia.Config(path=path, complete=True, **settings))
    documents = {document.id: document for document in corpus.documents(known)}
    assert corpus.complete
    return documents


def check_update(folder: Path, expected: dict[str, Any]) -> Iterator[str]:
    """Compare which pages the corpus parses of the new dump, and which lose their passages."""
    old = documents_of(folder / "old.xml.bz2", Known())
    known = Known({id_: document.key for id_, document in old.items()})
    new = documents_of(folder / "new.xml.bz2", known)
    unchanged = {str(id_) for id_ in expected["unchanged"]}
    for id_, document in new.items():
        if (document.passages is None) != (id_ in unchanged and id_ in old):
            state = "is not" if document.passages is None else "is"
            yield f"page {id_} {state} parsed, and unchanged is {id_ in unchanged}"
    for id_ in map(str, expected["null_edit"]):
        before, after = old.get(id_), new.get(id_)
        if before and after and texts_of(before) != texts_of(after):
            yield f"page {id_}: a null edit changed its passages"
    left_out = ("became_redirect", "text_became_unavailable", "namespace_moved")
    for id_ in (str(id_) for name in left_out for id_ in expected[name]):
        if id_ in old and (id_ not in new or new[id_].passages != ()):
            yield f"page {id_} is no article any more, and keeps its passages"
    deleted = {str(id_) for id_ in expected["deleted"]}
    if old.keys() - new.keys() != deleted & old.keys():
        yield f"deleted: {sorted(old.keys() - new.keys())}, expected {sorted(deleted & old.keys())}"


def texts_of(document: Document) -> list[tuple[str, str]]:
    return [(passage.id, passage.text) for passage in document.passages or ()]


def check_facts(folder: Path, facts: list[dict[str, Any]]) -> Iterator[str]:
    """Look for the answers in the passages of each page."""
    for side in ("old", "new"):
        documents = documents_of(folder / f"{side}.xml.bz2", Known(), workers=1)
        for fact in facts:
            answer = fact[f"{side}_answer"]
            if fact["old_answer"] is None or fact["new_answer"] is None or fact.get("old_in_new"):
                continue
            document = documents.get(str(fact["page_id"]))
            passages = (document and document.passages) or ()
            if not any(answer in passage.text for passage in passages):
                yield f"{side}: no passage of {fact['title']!r} has {answer!r}"


def pairs_in(data: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(data.glob("*/expected.json")):
        expected = json.loads(path.read_text(encoding="utf-8"))
        if "by_language" in expected:
            for language, part in expected["by_language"].items():
                yield path.parent / language, part
        else:
            yield path.parent, expected


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    data = parser.parse_args().data
    pairs = list(pairs_in(data))
    if not pairs:
        print(f"skipped: there are no pairs of dumps in {data}")
        return 0
    total = 0
    for folder, expected in pairs:
        facts_file = folder / "facts_changed.json"
        facts = json.loads(facts_file.read_text(encoding="utf-8")) if facts_file.exists() else []
        mismatches = [
            *check_classes(folder, expected),
            *check_update(folder, expected),
            *check_facts(folder, facts),
        ]
        counted = ", ".join(
            f"{count} {name}" for name, count in expected["counts"].items() if count
        )
        print(f"{folder.relative_to(data)}: {counted}; {len(mismatches)} mismatches")
        for mismatch in mismatches:
            print(f"  {mismatch}")
        total += len(mismatches)
    print(f"{len(pairs)} pairs, {total} mismatches")
    return min(total, 99)


if __name__ == "__main__":
    sys.exit(main())
