"""Levels of factors as text: the values that a grid varies, as the user wrote them.

Knows values of YAML; knows nothing of where they are shown.
"""

from __future__ import annotations

from typing import Any

from ragcore.config.source import dump_line

__all__ = ["level_text"]


def level_text(level: Any) -> str:
    """Return a text as it is, and any other value as YAML in one line: `{use: exact}`, `true`."""
    return level if isinstance(level, str) else dump_line(level)
