"""A folder with a document of each type."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.document_files import docx, epub, pdf, pptx
from tests.helpers.document_folders import (
    page,
    write,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one document of each type."""
    folder = tmp_path / "folder"
    write(
        folder,
        "notes.md",
        "---\ntitle: The lake\nauthor: A. Writer\nline: 99\n---\n\n"
        "# Shore\n\n"
        "The shore is sandy.\n\n## North\n\nReeds grow there.\n",
    )
    write(folder, "page.html", page("A web page", "The mountain is high."))
    write(folder, "paper.pdf", pdf([["The river is long."], ["The delta is wide."]]))
    write(folder, "letter.docx", docx([("Heading1", "Dear reader"), ("", "The wood is dark.")]))
    write(folder, "talk.pptx", pptx([("Opening", "The desert is dry."), ("End", "Rain falls.")]))
    write(folder, "manual.rst", "Manual\n======\n\nThe valley is green.\n")
    write(folder, "book.epub", epub("A book", [("One", "The island is small.")]))
    write(folder, "sub/README.txt", "The coast is rocky.\n")
    return folder
