"""The text that an encoder reads of a passage: its prompt, then title and text by a template.

Knows passages and templates; knows nothing of encoders, and imports nothing heavy.
"""

from __future__ import annotations

import string
from typing import Final

from ragcore.types import Passage

__all__ = ["PASSAGE_TEMPLATE", "checked_template", "text_of"]

PASSAGE_TEMPLATE: Final = "{title}. {text}"
"""The template of encoders whose config names no other."""


def checked_template(template: str) -> str:
    """Return a template of a passage's `{title}` and `{text}`; for pydantic's validators.

    Raises:
        ValueError: it lacks the text, or has other fields.
    """
    fields = [
        (name, spec, conversion)
        for _, name, spec, conversion in string.Formatter().parse(template)
        if name is not None
    ]
    names = [name for name, _, _ in fields]
    plain = all(not spec and not conversion for _, spec, conversion in fields)
    if not plain or "text" not in names or not set(names) <= {"text", "title"}:
        raise ValueError(
            f"{template!r} must have the field {{text}}, may have {{title}}, and can have no "
            "other; write a brace of the text itself as {{ or }}"
        )
    return template


def text_of(passage: Passage, template: str, prompt: str = "") -> str:
    """Return what is encoded of a passage; one without a title is its text alone."""
    if not passage.title:
        return prompt + passage.text
    return prompt + template.format(title=passage.title, text=passage.text)
