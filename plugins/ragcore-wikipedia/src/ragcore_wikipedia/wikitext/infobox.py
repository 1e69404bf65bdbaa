"""Read an infobox as facts: a label and a value each."""

from __future__ import annotations

import re

from ragcore_wikipedia.wikitext import names
from ragcore_wikipedia.wikitext.call import Call, parameters
from ragcore_wikipedia.wikitext.inline import one_line, without_inline_markup
from ragcore_wikipedia.wikitext.marks import BLOCK, BREAK

__all__ = ["facts", "is_infobox", "looks_like_infobox", "populations"]

# How a box looks, not what it says.
_LAYOUT_KEY = re.compile(
    r"(?:.*[ _-])?(?:image|images|img|bild|imagen|imagem|immagine|photo|foto|logo|flag|seal|"
    r"coat of arms|shield|map|karte|mapa|pushpin|skyline|caption|captions|alt|image size|"
    r"height px|upright|align|color|colour|farbe|bgcolor|background|style|css|footnotes?|ref|"
    r"refs|reference|signature|audio|relief|label position|display|embed|child|subbox|nocat|"
    r"collapsible|footnote|flaglink|seallink|coatlink|zoom|type coord|bodystyle|titlestyle|"
    r"lat[dms]?|long?[dms]?|lat(?:itude)? (?:d|m|s|deg|min|sec|ns|dir)|long?(?:itude)? (?:d|m|s|"
    r"deg|min|sec|ew|dir)|coord addon|coordinates region|mapsize|"
    r"familycolor)[ _]?\d{0,3}(?:[ _](?:size|caption|alt|width|upright|link|style|align|type|"
    r"map|image|label|mapsize|relief|color|colour|background|label position|map caption|map alt|"
    r"map width))*\d{0,3}",
    re.IGNORECASE,
)
_FILE_VALUE = re.compile(
    r"[^\n|]{1,240}\.(?:svg|png|jpe?g|gif|tiff?|webp|ogg|oga|ogv|webm|pdf|mid|mp3|wav)",
    re.IGNORECASE,
)
_NAMES_OF_VALUES = (
    ("type", "name"),
    ("title", "name"),
    ("title", "date"),
    ("name", "info"),
    ("label", "data"),
    ("label", "text"),
    ("label", "value"),
    ("header", "data"),
    ("titel", "wert"),
)
_LAYOUT_VALUE = re.compile(
    r"(?:\d{1,4}\s*x?\s*\d{0,4}\s*px|x\d+px|expanded|collapsed|autocollapse|#[0-9a-f]{3,8})",
    re.IGNORECASE,
)
_CAMEL = re.compile(
    r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\d)(?=[A-Z])|(?<=[^\W\d_]{3})(?=\d)"
)
# Names whose first word is one of these; `{{City/…}}` is no citation.
_NOT_BOXES = re.compile(
    r"pp-|s-|\#|(?:use|cite|cit|citation|about|for|other|redirect|distinguish|hatnote|main|see|coord|"
    r"navbox|navbar|navigation|authority|normdaten|persondata|personendaten|succession|taxonbar|"
    r"quote|sidebar|multiple|panorama|double image|triple image|stack|vertical|image|portal|sister|"
    r"commons|commonscat|article|short|good|featured|protect|dmca|refimprove|cleanup|unreferenced|"
    r"more|ambox|expand|update|copy|wiki|link|toc|track|location map|graph|chart|legend|weather|"
    r"wdtable|климат)(?![^\W_])",
    re.IGNORECASE,
)
_YEAR = re.compile(r"[0-9]{3,4}")
_LEAST_PARAMETERS = 5


def is_infobox(name: str) -> bool:
    """Tell whether a template with this name is an infobox."""
    return names.INFOBOX.search(name.strip().replace("_", " ")) is not None


def looks_like_infobox(name: str, parts: list[str]) -> bool:
    """Tell whether a template on a line of its own above the text is one, in any language."""
    if len(parts) < _LEAST_PARAMETERS or _NOT_BOXES.match(name.strip()):
        return False
    named = sum("=" in part for part in parts)
    return named >= _LEAST_PARAMETERS and named * 5 >= len(parts) * 4 and "\n" in "".join(parts)


def facts(name: str, parts: list[str], title: str) -> list[str]:
    """Return a line `Label: value` for each parameter that says something.

    Pairs such as `leader_title` and `leader_name` become one line. An infobox within a parameter
    keeps its own lines. A value that only repeats the page's title is left out.
    """
    call = parameters(name, parts)
    used: set[str] = set()
    lines: list[str] = []
    for key, value in call.named.items():
        if key in used or not value or _LAYOUT_KEY.fullmatch(key):
            continue
        label = _label(key)
        partner = _partner(key, call)
        if partner is not None and not _LAYOUT_KEY.fullmatch(partner):
            used.add(partner)
            label = _value(value).rstrip(":") or label
            value = call.named[partner]
        lines.extend(_lines(label, value, title))
    for value in call.positional:
        text = _value(value)
        if len(text.split()) > 1:
            lines.append(text)
    return lines


def populations(parts: list[str]) -> list[str]:
    """Return a line `year: inhabitants` for each pair of a table of populations.

    The years are parameters' names, or stand before their numbers.
    """
    lines = []
    year = ""
    for part in parts:
        key, equals, value = part.partition("=")
        if equals:
            if _YEAR.fullmatch(key.strip()):
                lines.append(f"{key.strip()}: {_value(value)}")
            continue
        text = _value(part)
        if year and text:
            lines.append(f"{year}: {text}")
            year = ""
        else:
            year = text if _YEAR.fullmatch(text) else ""
    return lines


def _lines(label: str, value: str, title: str) -> list[str]:
    inner = BLOCK.findall(value)
    text = _value(value)
    shown = [f"{label}: {text}"] if text and text != title else []
    # The mark of a box within this one stays; whoever reads the lines puts its own there.
    return shown + [f"\ue000{number}\ue001" for number in inner]


def _value(value: str) -> str:
    value = BLOCK.sub("", value).strip()
    if not value or _FILE_VALUE.fullmatch(value) or _LAYOUT_VALUE.fullmatch(value):
        return ""
    lines = without_inline_markup(value).split("\n")
    shown = [line.strip().lstrip("*#:;").strip() for line in lines]
    return one_line(BREAK.join(line for line in shown if line), breaks=", ")


def _label(key: str) -> str:
    words = " ".join(_CAMEL.sub(" ", key.replace("_", " ")).split())
    return words[:1].upper() + words[1:] if words else key


def _partner(key: str, call: Call) -> str | None:
    """Return the parameter whose name `key` states, such as `leader_name` for `leader_title`."""
    if key.endswith("_title") and call.named.get(key.removesuffix("_title")):
        return key.removesuffix("_title")
    for stated, held in _NAMES_OF_VALUES:
        at = key.rfind(stated)
        if at < 0:
            continue
        partner = key[:at] + held + key[at + len(stated) :]
        if partner != key and call.named.get(partner) and (at > 0 or key != stated):
            return partner
    return None
