"""What a document says of itself: title, author, dates, in the words of its format.

Knows properties of PDF, Office and EPUB; knows nothing of their texts.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from ragcore_documents.readers.archives import Archive
from ragcore_documents.readers.limits import UnreadableError
from ragcore_documents.readers.titles import sensible_title

__all__ = ["iso_date", "office_properties", "pdf_date", "property_title", "short"]

# Of metadata, which every passage of the document carries.
_LONGEST: Final = 500
_MAKERS: Final = re.compile(r"^Microsoft (?:Office )?(?:Word|PowerPoint|Excel) - ", re.IGNORECASE)
_FILE_NAME: Final = re.compile(
    r"\.(?:docx?|dotx?|pptx?|potx?|xlsx?|pdf|odt|odp|rtf|tex|dvi|ps|eps|indd|qxd|p65|html?|xhtml"
    r"|txt|md|epub|pages|key|fm|wpd|tmp)$",
    re.IGNORECASE,
)
_PLACEHOLDER: Final = re.compile(
    r"(?:untitled|unnamed|unknown|noname|document|dokument|word document|presentation"
    r"|powerpoint presentation|powerpoint-präsentation|présentation powerpoint"
    r"|presentación de powerpoint|slide|folie|layout|template|book|new|unbenannt|sans titre"
    r"|sin título|none|null|\(anonymous\)|\(?unspecified\)?)[ _-]*\d*",
    re.IGNORECASE,
)
_PDF_DATE: Final = re.compile(
    r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-]\d\d)'?(\d\d)?)?"
)
_CORE: Final = "/core-properties"
_PROPERTIES: Final = {
    "title": "title",
    "creator": "author",
    "subject": "subject",
    "keywords": "keywords",
    "language": "language",
    "created": "created",
    "modified": "modified",
}
_DATES: Final = frozenset({"created", "modified"})


def short(text: str | None) -> str:
    """Return a property's text on one line, cut where it is a page."""
    return " ".join((text or "").replace("\x00", " ").split())[:_LONGEST].rstrip()


def property_title(title: str | None) -> str:
    """Return a title from a file's properties as an author would have written it, or "".

    Programs write file names, their own names and placeholders where no author wrote a title.

    >>> property_title("Microsoft Word - Annual report")
    'Annual report'
    >>> property_title("report-final2.docx"), property_title("PowerPoint Presentation")
    ('', '')

    Args:
        title: from a file's properties.
    """
    text = _MAKERS.sub("", short(title))
    if not any(character.isalnum() for character in text):
        return ""
    if _FILE_NAME.search(text) or _PLACEHOLDER.fullmatch(text):
        return ""
    is_path = " " not in text and ("/" in text or "\\" in text)
    return "" if is_path else sensible_title(text)


def iso_date(text: str | None) -> str:
    """Return a date in ISO 8601 as it is, or "" if it is none.

    Args:
        text: such as "2024", "2024-03" or "2024-03-01T10:00:00Z".
    """
    date = short(text)
    if re.fullmatch(r"\d{4}(?:-(?:0[1-9]|1[0-2]))?", date):
        return date
    try:
        datetime.fromisoformat(date)
    except ValueError:
        return ""
    return date


def pdf_date(text: str | None) -> str:
    """Return a PDF's date (ISO 32000-1, 7.9.4) in ISO 8601, or "" if it is none.

    >>> pdf_date("D:20250208122313+01'00'")
    '2025-02-08T12:23:13+01:00'

    Args:
        text: such as "D:20250208122313Z".
    """
    match = _PDF_DATE.match(short(text))
    if match is None:
        return ""
    year, month, day, hour, minute, second, utc, hours, minutes = match.groups()
    date = f"{year}-{month or '01'}-{day or '01'}"
    if hour is not None:
        zone = "+00:00" if utc else f"{hours}:{minutes or '00'}" if hours else ""
        date += f"T{hour}:{minute or '00'}:{second or '00'}{zone}"
    return iso_date(date)


def office_properties(archive: Archive) -> dict[str, str]:
    """Return the core properties of an Office file (ECMA-376 part 2, 11): those with a sense.

    Args:
        archive: of a DOCX or PPTX file.
    """
    properties: dict[str, str] = {}
    for name in _core_members(archive):
        for element in archive.xml(name):
            key = _PROPERTIES.get(element.tag.rpartition("}")[2])
            if key is None:
                continue
            if key == "title":
                text = property_title(element.text)
            elif key in _DATES:
                text = iso_date(element.text)
            else:
                text = short(element.text)
            if text:
                properties.setdefault(key, text)
    return properties


def _core_members(archive: Archive) -> list[str]:
    try:
        relations = archive.xml("_rels/.rels")
    except UnreadableError:
        return []  # the library that reads the document says what is wrong with it
    targets = [
        relation.get("Target", "").lstrip("/")
        for relation in relations
        if relation.get("Type", "").endswith(_CORE)
    ]
    return [target for target in targets if target in archive]
