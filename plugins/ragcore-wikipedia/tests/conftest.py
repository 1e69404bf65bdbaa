"""Write small dumps for the tests."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import py7zr
import pytest
from backports import zstd

NAMESPACES = {-2: "Media", 0: "", 1: "Talk", 4: "Project", 10: "Template", 14: "Category"}


def pack_zstd(data: bytes) -> bytes:
    """Pack as the command `zstd` does, with a check sum."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


class Dumps:
    """Write MediaWiki's XML into a folder.

    Attributes:
        folder: where files are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def revision(
        self,
        id_: int,
        text: str | None = "Text.",
        *,
        timestamp: str = "2024-09-01T00:00:00Z",
        model: str | None = "wikitext",
        attributes: str = 'bytes="5" sha1="x" xml:space="preserve"',
        after: str = "",
    ) -> str:
        content = "" if text is None else escape(text)
        element = f"<text {attributes}>{content}</text>" if content else f"<text {attributes} />"
        return (
            f"    <revision>\n      <id>{id_}</id>\n      <parentid>1</parentid>\n"
            f"      <timestamp>{timestamp}</timestamp>\n"
            "      <contributor><username>Ann</username><id>7</id></contributor>\n"
            "      <comment>more &amp; better</comment>\n"
            + (f"      <model>{model}</model>\n" if model else "")
            + f"      {element}\n      <sha1>wrong</sha1>\n{after}    </revision>\n"
        )

    def page(
        self,
        id_: int,
        title: str,
        *revisions: str,
        ns: int | None = 0,
        redirect: str | None = None,
        element: str = "<page>",
        **revision: Any,
    ) -> str:
        """A page; without revisions one is made of the other arguments."""
        revisions = revisions or (self.revision(id_ * 10, **revision),)
        return (
            f"  {element}\n    <title>{escape(title)}</title>\n"
            + (f"    <ns>{ns}</ns>\n" if ns is not None else "")
            + f"    <id>{id_}</id>\n"
            + (f"    <redirect title={quoteattr(redirect)} />\n" if redirect else "")
            + "".join(revisions)
            + "  </page>\n"
        )

    def head(self, version: str = "0.11", database: str = "testwiki", siteinfo: bool = True) -> str:
        names = "".join(
            f'      <namespace key="{key}" case="first-letter">{name}</namespace>\n'
            for key, name in NAMESPACES.items()
        )
        uri = f"http://www.mediawiki.org/xml/export-{version}/"
        head = f'<mediawiki xmlns="{uri}" version="{version}" xml:lang="en">\n'
        if not siteinfo:
            return head
        return (
            f"{head}  <siteinfo>\n    <sitename>Test</sitename>\n    <dbname>{database}</dbname>\n"
            f"    <base>https://{database}.example/wiki/Main</base>\n"
            "    <case>case-sensitive</case>\n"
            f"    <namespaces>\n{names}    </namespaces>\n  </siteinfo>\n"
        )

    def xml(self, *pages: str, **head: Any) -> str:
        return self.head(**head) + "".join(pages) + "</mediawiki>\n"

    def write(self, name: str, *pages: str, **head: Any) -> Path:
        """Write a dump, packed as the end of its name says."""
        return self.pack(name, self.xml(*pages, **head).encode())

    def pack(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        if name.endswith(".7z"):
            with py7zr.SevenZipFile(path, "w") as archive:
                archive.writestr(data, "dump.xml")
            return path
        pack = {".bz2": bz2.compress, ".gz": gzip.compress, ".zst": pack_zstd}
        path.write_bytes(pack.get(path.suffix, bytes)(data))
        return path

    def multistream(self, name: str, *streams: list[str], index: bool = True, **head: Any) -> Path:
        """Write a multistream dump of some streams of pages, and its index."""
        path = self.folder / name
        data, entries = bz2.compress(self.head(**head).encode()), []
        for pages in streams:
            for page in pages:
                id_ = page.split("<id>")[1].split("</id>")[0]
                title = page.split("<title>")[1].split("</title>")[0]
                entries.append(f"{len(data)}:{id_}:{title}\n")
            data += bz2.compress("".join(pages).encode())
        path.write_bytes(data + bz2.compress(b"</mediawiki>\n"))
        if index:
            target = name.replace("-multistream", "-multistream-index").replace(".xml", ".txt")
            (self.folder / target).write_bytes(bz2.compress("".join(entries).encode()))
        return path


@pytest.fixture
def dumps(tmp_path: Path) -> Dumps:
    return Dumps(tmp_path)
