"""Read the front matter of a text: YAML between lines of `---`, or TOML between `+++`.

Front matter is untrusted: aliases may stand for billions of values, and a value may be anything.
"""

from __future__ import annotations

import logging
import math
import re
import tomllib
from datetime import date, datetime, time
from typing import Any, Final, NamedTuple

import yaml

__all__ = ["FrontMatter", "front_matter"]

_logger = logging.getLogger(__name__)

_LONGEST: Final = 1 << 16
_MOST_VALUES: Final = 1_000
_DEEPEST: Final = 20
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class FrontMatter(NamedTuple):
    """What stands before a text.

    Attributes:
        metadata: of the document, ready for JSON.
        end: position behind the front matter; 0 where there is none.
        is_bad: whether it cannot be parsed, so that it counts as text.
    """

    metadata: dict[str, Any]
    end: int
    is_bad: bool = False


def front_matter(text: str) -> FrontMatter:
    """Read the front matter at the start of a text.

    Front matter that cannot be parsed, or that is out of proportion, is logged as a warning.

    Args:
        text: of a document.
    """
    parts = _parts(text)
    if parts is None:
        return FrontMatter({}, 0)
    source, end, fence = parts
    try:
        values = tomllib.loads(source) if fence == "+++" else _yaml(source)
        if values is None:
            return FrontMatter({}, end)
        if not isinstance(values, dict):
            # A rule at the start of a Markdown text.
            return FrontMatter({}, 0)
        return FrontMatter(_Converter().mapping(values, 0), end)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        _logger.warning("front matter%s; it is read as text", _fault(error))
        return FrontMatter({}, end, is_bad=True)


def _parts(text: str) -> tuple[str, int, str] | None:
    """Return front matter, the position behind it, and the line that surrounds it."""
    fence = text[:3]
    first = text.find("\n", 0, 80)
    if fence not in ("---", "+++") or first < 0 or text[3:first].strip():
        return None
    last = re.compile(r"^(?:---|\.\.\.)[ \t]*$" if fence == "---" else r"^\+\+\+[ \t]*$", re.M)
    match = last.search(text, first + 1, first + 1 + _LONGEST)
    if match is None:
        return None
    line_end = text.find("\n", match.start())
    end = len(text) if line_end < 0 else line_end + 1
    if text[match.end() : end].strip():
        return None
    return text[first + 1 : match.start()], end, fence


def _fault(error: Exception) -> str:
    """Say where front matter is not valid, by the line of the file, and why."""
    line, reason = None, str(error)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 2
        reason = error.problem or error.context or ""
    elif isinstance(error, tomllib.TOMLDecodeError) and (
        match := re.search(r" \(at line (\d+), column \d+\)$", reason)
    ):
        line, reason = int(match[1]) + 1, reason[: match.start()]
    reason = " ".join(reason.split())[:120] or type(error).__name__
    return f": {reason}" if line is None else f", line {line}: {reason}"


class _Loader(yaml.SafeLoader):
    """Loads YAML without merge keys, by which a few lines become billions of values."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise ValueError(f"line {key.start_mark.line + 2}: merge keys (<<) are not read")


def _yaml(source: str) -> Any:
    loader = _Loader(source)
    try:
        return loader.get_single_data()
    except (TypeError, AttributeError, IndexError, KeyError, OverflowError) as error:
        # Of values such as `!!int ""` and `!!set 1`.
        raise ValueError(f"{type(error).__name__}: {error}") from None
    finally:
        loader.dispose()


class _Converter:
    """Makes values ready for JSON, and counts them."""

    def __init__(self) -> None:
        self._values = 0

    def mapping(self, values: dict[Any, Any], depth: int) -> dict[str, Any]:
        return {self._key(key): self._value(value, depth + 1) for key, value in values.items()}

    def _key(self, key: Any) -> str:
        if key is None or isinstance(key, bool):
            return {None: "null", True: "true", False: "false"}[key]
        return _clean(key.isoformat() if isinstance(key, date) else str(key))

    def _value(self, value: Any, depth: int) -> Any:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES:,} values")
        if depth > _DEEPEST:
            raise ValueError(f"values nested more than {_DEEPEST} deep")
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, str):
            return _clean(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, datetime | date | time):
            return value.isoformat()
        if isinstance(value, dict):
            return self.mapping(value, depth)
        if isinstance(value, list | tuple):
            return [self._value(item, depth + 1) for item in value]
        if isinstance(value, set):
            return sorted(self._key(item) for item in value)
        raise ValueError(f"a value of type {type(value).__name__}")


def _clean(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text)
