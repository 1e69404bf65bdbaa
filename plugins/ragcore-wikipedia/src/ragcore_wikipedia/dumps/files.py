"""Find the files of a dump, and say by their names what of a wiki they hold.

Wikimedia calls a whole dump `enwiki-20240920-pages-articles.xml.bz2`, and a part of one
`enwiki-20240920-pages-articles2.xml-p41243p151573.bz2`: the second part, with the pages of ids
41243 to 151573. Knows names only.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from ragcore.disk.paths import usable_path
from ragcore.errors import CorpusError

__all__ = ["DumpFile", "check_parts", "find_files", "index_of"]

_NAME: Final = re.compile(
    r"""(?P<wiki>[a-z0-9_]+)-(?P<date>[0-9]{8}|latest)
    -pages-(?P<kind>articles|meta-current|meta-history)(?P<multistream>-multistream)?
    (?P<number>[0-9]*)\.xml(?:-p(?P<first>[0-9]{1,18})p(?P<last>[0-9]{1,18}))?
    (?:\.(?:bz2|gz|zst|7z))?""",
    re.VERBOSE,
)
_USER: Final = 2
"""The namespace of users' pages; namespaces of discussions have odd numbers."""
_INDEX: Final = re.compile(r"-multistream-index[0-9]*\.txt")
_MULTISTREAM: Final = re.compile(r"-multistream([0-9]*)\.xml((?:-p[0-9]+p[0-9]+)?)\.bz2$")


@dataclass(frozen=True, slots=True)
class DumpFile:
    """A file, and what its name says.

    Attributes:
        path: where it is.
        whole: whether it is a whole wiki's dump.
        pages: first and last page id of a part; None where the name has no range.
        number: of a part, from 1; 0 where the name has none.
        date: of the dump, such as `2024-09-20`, or "".
        has_talk: whether a dump of this kind has the pages of users and of discussions.
    """

    path: Path
    whole: bool = False
    pages: tuple[int, int] | None = None
    number: int = 0
    date: str = ""
    has_talk: bool = True

    @classmethod
    def of(cls, path: Path) -> DumpFile:
        """Read a file's name."""
        match = _NAME.fullmatch(path.name)
        if match is None:
            return cls(path)
        day = _date(match["date"])
        number = int(match["number"] or 0)
        has_talk = match["kind"] != "articles"
        if match["first"] is None:
            return cls(path, not number, None, number, day, has_talk)
        pages = int(match["first"]), int(match["last"])
        return cls(path, False, pages, number, day, has_talk)

    def has(self, namespaces: Iterable[int]) -> bool:
        """Return whether a dump of this kind has the pages of these namespaces."""
        return self.has_talk or not any(number % 2 or number == _USER for number in namespaces)


def _date(digits: str) -> str:
    """Return the date that a name has, such as 20240920, in ISO 8601; "" for none."""
    try:
        return date.fromisoformat(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}").isoformat()
    except ValueError:
        return ""


def find_files(paths: Sequence[Path]) -> list[DumpFile]:
    """Return the files that paths and patterns name, parts in the order of their pages.

    Args:
        paths: files, or patterns with `*`, `?` or `[…]`. Indexes among the files that a pattern
            names are left out.

    Raises:
        CorpusError: there is no such file, or a pattern names none.
    """
    files: dict[Path, DumpFile] = {}
    for path in paths:
        usable_path(path, CorpusError)
        if path.is_file():
            names = [path]
        elif glob.has_magic(str(path)):
            matches = (Path(name) for name in glob.glob(str(path), recursive=True))
            names = [name for name in matches if name.is_file() and not _INDEX.search(name.name)]
            if not names:
                raise CorpusError(f"{path}: no file has a name like this: check the pattern")
        elif path.is_dir():
            raise CorpusError(f"{path}: a folder, expected a file: name its files, as in {path}/*")
        else:
            raise CorpusError(f"{path}: no such file: check the path")
        files.update((name, DumpFile.of(name)) for name in names)
    return sorted(files.values(), key=lambda file: (file.pages or (-1, -1), str(file.path)))


def check_parts(files: Sequence[DumpFile]) -> None:
    """Check that parts follow each other without a gap, and that no page is in two of them.

    Whether parts are missing at the end cannot be seen.

    Raises:
        CorpusError: a part is missing or there twice, or a whole dump is among other files.
    """
    whole = next((file for file in files if file.whole), None)
    if whole is not None and len(files) > 1:
        other = next(file for file in files if file is not whole)
        raise CorpusError(
            f"{whole.path}: a whole wiki, and {other.path} is read with it: every page of a whole "
            "wiki's dump is in one file; name that file alone"
        )
    parts = [file for file in files if file.pages is not None]
    previous: DumpFile | None = None
    for part in parts:
        assert part.pages is not None
        first, last = part.pages
        if last < first:
            raise CorpusError(f"{part.path}: pages {first} to {last}: check the file's name")
        if previous is None:
            # A single part is a piece that was chosen; of several the first should be there too.
            if part.number > 1 and len(parts) > 1:
                raise _missing(f"part {part.number - 1}", f"before {part.path}")
        else:
            assert previous.pages is not None
            end = previous.pages[1]
            if first <= end:
                raise CorpusError(
                    f"{part.path}: begins at page {first}, and {previous.path} ends at page {end}: "
                    "both have the pages between; name each part once"
                )
            if first > end + 1:
                raise _missing(f"pages {end + 1} to {first - 1}", f"after {previous.path}")
        previous = part


def _missing(what: str, where: str) -> CorpusError:
    return CorpusError(
        f"{what} of the dump: no file with them {where}: add the part, or set complete: false if "
        "the parts are all that you want"
    )


def index_of(path: Path) -> Path | None:
    """Return the index next to a multistream dump, or None where there is none."""
    name = _MULTISTREAM.sub(r"-multistream-index\1.txt\2", path.name)
    if name == path.name:
        return None
    candidates = (path.with_name(f"{name}.bz2"), path.with_name(name))
    return next((index for index in candidates if index.is_file()), None)
