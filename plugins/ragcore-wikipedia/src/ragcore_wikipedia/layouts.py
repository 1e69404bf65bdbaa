"""Cut a page into passages, in the layout of the RAG paper or in one that keeps its structure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from ragcore.corpora.words import blocks_of_words
from ragcore.types import Passage
from ragcore_wikipedia.pages import Page, Site
from ragcore_wikipedia.wikitext import (
    Block,
    PageText,
    Section,
    in_category,
    names,
    read_wikitext,
    visible_source,
)
from ragcore_wikipedia.windows import passage_texts

__all__ = ["Layout", "PagePassages", "is_disambiguation", "is_list", "passages_of", "read_page"]

Layout = Literal["structured", "psgs"]

PSGS_WORDS = 100
"""Words of a passage of layout `psgs` (Karpukhin et al. 2020, 4.1; Lewis et al. 2020, 3)."""


@dataclass(frozen=True, slots=True)
class PagePassages:
    """What a page gives.

    Attributes:
        passages: in the page's order; none is empty.
        fault: the first fault in the page's markup, such as `{{ at character 7 is never closed`, or
            "". Passages hold the text nevertheless, as far as it can be told from markup.
    """

    passages: list[Passage]
    fault: str = ""


def passages_of(page: Page, site: Site, layout: Layout = "structured") -> list[Passage]:
    """Return a page's passages; see `read_page`, which also tells faults."""
    return read_page(page, site, layout).passages


def read_page(page: Page, site: Site, layout: Layout = "structured") -> PagePassages:
    """Cut a page into passages.

    `structured`: sections, lists, tables and infoboxes as text, paragraphs in windows of 6
    sentences with stride 3 (Tamber et al., ECIR 2023). `psgs`: prose only, disjoint blocks of 100
    words, which start again at each section.

    A redirect has one passage, `Title → Target`, or none where its target is not known. A
    page without text has none, and neither has a page in another content model.

    An id is the page's id and a digest of section path and text, so that an edit elsewhere in the
    page changes no id; `-2`, `-3` and so on follow where a page repeats itself.
    """
    if not page.text or page.model not in {"", "wikitext"}:
        return PagePassages([])
    prose = layout == "psgs"
    if page.redirect is None:
        content = read_wikitext(page.text, page.title, site, prose=prose)
    else:
        content = _redirect(page.title, page.redirect)
    url = _url(page, site)
    occurrences: Counter[str] = Counter()
    passages = []
    for section in content.sections:
        path = " > ".join(section.path)
        metadata: dict[str, Any] = {
            "page": page.id,
            "revision": page.revision,
            "timestamp": page.timestamp,
            "section": path,
        }
        if url:
            metadata["url"] = url
        texts = _psgs(section) if prose else passage_texts(section, site.language)
        for text in texts:
            if not text:
                continue
            digest = blake2b(f"{path}\n\n{text}".encode(), digest_size=6).hexdigest()
            occurrences[digest] += 1
            number = occurrences[digest]
            passage_id = f"{page.id}-{digest}" + (f"-{number}" if number > 1 else "")
            passages.append(Passage(passage_id, page.title, text, dict(metadata)))
    return PagePassages(passages, content.fault)


def _redirect(title: str, target: str) -> PageText:
    """Return what a redirect says; MediaWiki, too, writes an arrow, in every language."""
    if not target:
        return PageText([], "")
    return PageText([Section((), [Block("paragraph", (f"{title} → {target}",))])], "")


def _psgs(section: Section) -> Iterator[str]:
    text = " ".join(line for block in section.blocks for line in block.lines)
    return blocks_of_words(text, PSGS_WORDS)


def _url(page: Page, site: Site) -> str:
    """Return the address of this very revision, or "" where the wiki's is not known."""
    script = _script(site.base)
    if not script:
        return ""
    title = quote(page.title.replace(" ", "_"), safe="/:(),")
    return f"{script}?title={title}&oldid={page.revision}"


@cache
def _script(base: str) -> str:
    """Return the address of a wiki's index.php, by that of its main page."""
    parts = urlsplit(base)
    if not parts.scheme or not parts.netloc:
        return ""
    path = parts.path
    if "/wiki/" in path:
        script = f"{path.partition('/wiki/')[0]}/w/index.php"
    elif "index.php" in path:
        script = f"{path.partition('index.php')[0]}index.php"
    else:
        script = f"{path.rpartition('/')[0]}/index.php"
    return f"{parts.scheme}://{parts.netloc}{script}"


# White space around the name is a part of it here: two repetitions that match the same characters
# would take the square of the time where there are many.
_TEMPLATE_NAME = re.compile(r"\{\{([^{}|<]{1,100})(?:\||\}\})")
_DISAMBIGUATION_TITLE = re.compile(
    r"\((?:disambiguation|begriffsklärung|homonymie|desambiguación|desambiguação|disambigua|"
    r"doorverwijspagina|ujednoznacznienie|значения|значення|пояснение|olika betydelser|"
    r"flertydig|rozcestník|egyértelműsítő lap|anlam ayrımı|αποσαφήνιση|вишезначна одредница|"
    r"täsmennyssivu|desambiguació|argipena|dezambiguizare|توضيح|ابهام‌زدایی|פירושונים|"
    r"曖昧さ回避|消歧义|消歧義|동음이의|định hướng)\)$",
    re.IGNORECASE,
)


def is_disambiguation(page: Page, site: Site) -> bool:
    """Tell whether a page lists the meanings of its title, by title, switch or template."""
    if _DISAMBIGUATION_TITLE.search(page.title):
        return True
    text = page.text or ""
    # Few pages have comments and code with such a mark; only of these they are taken out.
    return _marks_disambiguation(text) and _marks_disambiguation(visible_source(text))


def _marks_disambiguation(text: str) -> bool:
    return "__DISAMBIG__" in text or any(
        "_".join(name.replace("_", " ").split()).lower() in names.DISAMBIGUATION
        for name in _TEMPLATE_NAME.findall(text)
    )


def is_list(page: Page, site: Site) -> bool:
    """Tell whether a page is a list, by its title or a category of lists."""
    if names.LIST_TITLE.match(page.title):
        return True
    text = page.text or ""
    return in_category(text, names.LIST_CATEGORY, site) and in_category(
        visible_source(text), names.LIST_CATEGORY, site
    )
