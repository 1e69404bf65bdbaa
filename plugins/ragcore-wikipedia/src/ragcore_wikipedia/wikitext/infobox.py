"""Read an infobox as facts: a label and a value each."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ragcore_wikipedia.wikitext import names
from ragcore_wikipedia.wikitext.call import parameters
from ragcore_wikipedia.wikitext.inline import one_line, without_inline_markup
from ragcore_wikipedia.wikitext.marks import BLOCK, BREAK

__all__ = ["facts", "is_infobox", "looks_like_infobox", "populations"]

_SIZES = (
    r"size|caption|alt|width|upright|align|label position|mapsize|map caption|map alt|map width"
)
# How a box looks, not what it says, whatever the value.
_LAYOUT_KEY = re.compile(
    r"(?:.*[ _-])?(?:image|images|img|bild|imagen|imagem|immagine|photo|foto|pushpin|skyline|"
    r"captions?|alt|height px|upright|align|bgcolor|css|footnotes?|refs?|reference|"
    r"label position|embed|subbox|nocat|collapsible|flaglink|seallink|coatlink|type coord|"
    r"coord addon|coordinates region|mapsize|familycolor|"
    r"(?:alt|caption|size|width)[ _](?:image|logo|flag|seal|coat|shield|symbol|map|signature)|"
    r"(?:logo|flag|seal|coat of arms|shield|map|karte|mapa|signature|relief|audio)[ _]?\d{0,3}"
    rf"[ _](?:{_SIZES}|link|type|relief))[ _]?\d{{0,3}}"
    rf"(?:[ _](?:{_SIZES}|link|style|type|map|image|label|relief|colou?r|background))*\d{{0,3}}",
    re.IGNORECASE,
)
# How a box looks if the value is a file, a size, a colour, a switch or a number; else a fact, such
# as `architectural_style`, `hair_color`, `display` of a device or `child1` of a person.
_LOOSE_LAYOUT_KEY = re.compile(
    r"(?:.*[ _-])?(?:logo|flag|seal|coat of arms|shield|map|karte|mapa|colou?r|farbe|background|"
    r"(?:body|title)?style|signature|audio|relief|display|child|zoom|"
    r"lat[dms]?|long?[dms]?|lat(?:itude)? (?:d|m|s|deg|min|sec|ns|dir)|long?(?:itude)? (?:d|m|s|"
    r"deg|min|sec|ew|dir))[ _]?\d{0,3}"
    r"(?:[ _](?:size|style|align|type|map|image|label|relief|colou?r|background))*\d{0,3}",
    re.IGNORECASE,
)
_SWITCH_VALUE = re.compile(
    r"yes|no|y|n|true|false|on|off|none|left|right|top|bottom|center|[nsew]|"
    r"[-+]?\d{1,4}(?:\.\d{1,10})?|(?:inline|title)(?:\s*+,\s*+(?:inline|title))*|"
    # CSS, the name of a colour in CSS, and a word of templates, such as `solo_singer`.
    r"[a-z-]{3,30}:[^\n]{1,240}|(?:light|dark|medium|pale)[a-z]{3,20}|[a-z]{1,20}(?:_[a-z]{1,20})+",
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
    r"\d{1,4}\s*+(?:x\s*+)?(?:\d{1,4}\s*+)?px|x\d+px|expanded|collapsed|autocollapse|#[0-9a-f]{3,8}",
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
    shown = {
        key: value for key, value in call.named.items() if value and not _is_layout(key, value)
    }
    partners = _partners(shown)
    values = frozenset(partners.values())
    lines: list[str] = []
    for key, value in shown.items():
        if key in values:
            continue
        label = _label(key)
        if partner := partners.get(key):
            label = _value(value).rstrip(":") or label
            value = shown[partner]
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
    # The mark of a box within this one stays; the caller puts its own there.
    return shown + [f"\ue000{number}\ue001" for number in inner]


def _is_layout(key: str, value: str) -> bool:
    """Tell whether a parameter says how the box looks, by its name and by its value."""
    key = key.replace("_", " ")
    if _LAYOUT_KEY.fullmatch(key):
        return True
    return _LOOSE_LAYOUT_KEY.fullmatch(key) is not None and (
        _shows_nothing(value) or _SWITCH_VALUE.fullmatch(value) is not None
    )


def _shows_nothing(value: str) -> bool:
    """Tell whether a value is a file, a size or a colour."""
    return bool(_FILE_VALUE.fullmatch(value) or _LAYOUT_VALUE.fullmatch(value))


def _value(value: str) -> str:
    value = BLOCK.sub("", value).strip()
    if not value or _shows_nothing(value):
        return ""
    lines = without_inline_markup(value).split("\n")
    shown = [line.strip().lstrip("*#:;").strip() for line in lines]
    return one_line(BREAK.join(line for line in shown if line), breaks=", ")


def _label(key: str) -> str:
    words = " ".join(_CAMEL.sub(" ", key.replace("_", " ")).split())
    return words[:1].upper() + words[1:] if words else key


def _partners(named: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that name others, such as `leader_title`, with those they name.

    No parameter is named by two others: shown twice at each of some levels of boxes within boxes, a
    value would take more room than there is.
    """
    partners: dict[str, str] = {}
    values: set[str] = set()
    for key in named:
        if key in values:
            continue
        partner = _partner(key, named)
        if partner is not None and partner not in values and partner not in partners:
            partners[key] = partner
            values.add(partner)
    return partners


def _partner(key: str, named: Mapping[str, str]) -> str | None:
    """Return the parameter whose name `key` states, such as `leader_name` for `leader_title`."""
    if key.endswith("_title") and key.removesuffix("_title") in named:
        return key.removesuffix("_title")
    for word, value_word in _NAMES_OF_VALUES:
        at = key.rfind(word)
        if at < 0:
            continue
        partner = key[:at] + value_word + key[at + len(word) :]
        if partner != key and partner in named and (at > 0 or key != word):
            return partner
    return None
