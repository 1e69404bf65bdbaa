"""Hooks of MkDocs: pages of the repository outside docs/ are part of the site, links and all.

The home page is the repository's README, and docs/README.md is its table of contents. What a page
links to outside docs/, such as a plugin's README or a source file, comes along under its path in
the repository, and what that links to, too. So each link works on the site as it does in a clone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = ROOT / "docs"
RENAMED: Final = {ROOT / "README.md": "index.md", DOCS / "README.md": "contents.md"}

_FENCE: Final = re.compile(r"^(```|~~~).*?^\1\s*?$", re.MULTILINE | re.DOTALL)
_CSS_URL: Final = re.compile(r"(?:url\(|@import)\s*[\"']?([^\"')\s;]+)")
_LINK: Final = re.compile(r"(?<=\]\()([^)\s#:]+)((?:#[^)\s]*)?)(?=\))")


def on_files(files: Files, config: Any) -> Files:
    """Add every file outside docs/ that a page leads to."""
    files.remove(files.src_uris["README.md"])
    seen = {DOCS / file.src_uri for file in files}
    waiting = [path for path in seen if path.suffix == ".md"] + list(RENAMED)
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            files.append(_file(path, config))
        if path.suffix == ".md":
            waiting += [link for link in _targets(path) if link not in seen]
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at where their targets are on the site."""
    source = _source(page.file)

    def moved(match: re.Match[str]) -> str:
        target = (source.parent / match[1]).resolve()
        start = Path(page.file.src_uri).parent
        return os.path.relpath(_site_path(target), start).replace(os.sep, "/") + match[2]

    pieces, end = [], 0
    for fence in _FENCE.finditer(markdown):
        pieces += [_LINK.sub(moved, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*pieces, _LINK.sub(moved, markdown[end:])])


def on_post_build(config: Any) -> None:
    """Refuse a site that loads anything from elsewhere: it is to be read without a network."""
    site = Path(config.site_dir)
    foreign = []
    for path in site.rglob("*.html"):
        resources = _Resources()
        resources.feed(path.read_text(encoding="utf-8"))
        foreign += [f"{path.relative_to(site)}: {url}" for url in resources.urls if _away(url)]
    for path in site.rglob("*.css"):
        urls = _CSS_URL.findall(path.read_text(encoding="utf-8"))
        foreign += [f"{path.relative_to(site)}: {url}" for url in urls if _away(url)]
    if foreign:
        raise PluginError("the site loads what is not part of it:\n" + "\n".join(foreign))


class _Resources(HTMLParser):
    """The addresses that a page loads as it is shown; those of links to click are not."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag loads."""
        values = dict(attrs)
        loaded = ("src", "srcset", "data", "poster") if tag != "link" else ("href",)
        if tag == "link" and values.get("rel") in ("canonical", "next", "prev"):
            return
        self.urls += [value for name in loaded if (value := values.get(name))]


def _away(url: str) -> bool:
    return re.match(r"(https?:)?//", url) is not None


def _targets(page: Path) -> Iterator[Path]:
    """Yield the files that a page links to."""
    for match in _LINK.finditer(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / match[1]).resolve()
        if not target.is_file() or not target.is_relative_to(ROOT):
            raise PluginError(f"{page.relative_to(ROOT)}: {match[1]}: no such file")
        yield target


def _site_path(path: Path) -> str:
    """Where a file of the repository is among the sources of the site."""
    base = DOCS if path.is_relative_to(DOCS) else ROOT
    return RENAMED.get(path, path.relative_to(base).as_posix())


def _source(file: File) -> Path:
    """Return the file of the repository behind a file of the site."""
    for path, uri in RENAMED.items():
        if uri == file.src_uri:
            return path
    inside = DOCS / file.src_uri
    return inside if inside.is_file() else ROOT / file.src_uri


def _file(path: Path, config: Any) -> File:
    return File.generated(config, _site_path(path), abs_src_path=str(path))
