"""Render the templates that stand for a few words of a sentence, and parser functions.

Knows templates of English Wikipedia, which most other wikis carry under the same names. All others are
dropped from prose: without the wiki's template pages nobody can tell what they show.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import dates
from .marks import BREAK, literal, restore

__all__ = ["Call", "parameters", "render_call"]

_NO_NAME = re.compile(r"[<>\[\]{}\n]")
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Call:
    """A template with its parameters, whose own templates and links are rendered.

    Attributes:
        name: lower case, words separated by blanks.
        positional: unnamed and numbered parameters, in order.
        named: the others.
        nested: whether it stands in another template, a table or a link.
    """

    name: str
    positional: tuple[str, ...]
    named: Mapping[str, str]
    nested: bool = False

    def at(self, position: int, default: str = "") -> str:
        """Return the positional parameter at `position`, from 0."""
        return self.positional[position] if position < len(self.positional) else default


def parameters(name: str, parts: list[str], *, nested: bool = False) -> Call:
    """Split parameters by kind."""
    positional: list[str] = []
    named: dict[str, str] = {}
    numbered: dict[int, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or not key or len(key) > _LONGEST_NAME or _NO_NAME.search(key):
            positional.append(part.strip())
        elif key.isdecimal():
            numbered[int(key)] = value.strip()
        else:
            named[key] = value.strip()
    for number, value in sorted(numbered.items()):
        if number <= len(positional):
            if number > 0:
                positional[number - 1] = value
        elif number <= len(positional) + 8:
            positional += [""] * (number - 1 - len(positional)) + [value]
    return Call(name, tuple(positional), named, nested)


Renderer = Callable[[Call], str]


def _first(call: Call) -> str:
    return call.at(0)


def _second(call: Call) -> str:
    return call.at(1) or call.named.get("text", "")


def _last(call: Call) -> str:
    return call.positional[-1] if call.positional else ""


def _joined(call: Call) -> str:
    return BREAK.join(value for value in call.positional if value)


def _sequence(call: Call) -> str:
    return "".join(call.positional)


def _convert(call: Call) -> str:
    values = call.positional
    if len(values) >= 4 and values[1] in {"-", "–", "to", "and", "x", "by", "or", "±", "+/-"}:
        dash = "–" if values[1] in {"-", "–"} else f" {values[1]} "
        return f"{values[0]}{dash}{values[2]} {_unit(values[3])}"
    if len(values) < 2:
        return call.at(0)
    return f"{values[0]} {_unit(values[1])}"


_UNITS = {
    "sqmi": "sq mi", "sqkm": "km2", "sqft": "sq ft", "F": "°F", "C": "°C", "degF": "°F", "degC": "°C",
    "cuft": "cu ft", "cumi": "cu mi", "cuin": "cu in", "lb": "lb", "ftin": "ft", "km/h": "km/h",
}  # fmt: skip


def _unit(unit: str) -> str:
    return _UNITS.get(unit, unit)


def _fraction(call: Call) -> str:
    match [value for value in call.positional if value]:
        case [denominator]:
            return f"1/{denominator}"
        case [numerator, denominator]:
            return f"{numerator}/{denominator}"
        case [whole, numerator, denominator, *_]:
            return f"{whole} {numerator}/{denominator}"
    return ""


def _value(call: Call) -> str:
    number = call.at(0)
    uncertainty = call.at(1)
    if uncertainty:
        number += f" ± {uncertainty}"
    if exponent := call.named.get("e"):
        number += f"×10^{exponent}"
    unit = call.named.get("u") or call.named.get("ul") or ""
    return f"{number} {unit}".strip()


def _nihongo(call: Call) -> str:
    inner = ", ".join(value for value in call.positional[1:3] if value)
    return f"{call.at(0)} ({inner})".strip() if inner else call.at(0)


def _chinese(call: Call) -> str:
    names = ("c", "s", "t", "p", "w")
    values = [call.named[name] for name in names if call.named.get(name)]
    return "; ".join(dict.fromkeys([*values, *filter(None, call.positional)]))


def _marriage(call: Call) -> str:
    start, end = call.at(1), call.at(2) or call.named.get("end", "")
    years = f"{start}–{end}" if start and end else start or end
    return f"{call.at(0)} ({years})" if years else call.at(0)


def _as_of(call: Call) -> str:
    date = dates.day(call.positional[:3])
    words = call.named.get("alt") or ("as of" if call.named.get("lc") else "As of")
    return call.named.get("alt") or f"{words} {date}"


def _ship(call: Call) -> str:
    name = f"{call.name.upper()} {call.at(0)}"
    return name.strip()


def _sort_name(call: Call) -> str:
    return f"{call.at(0)} {call.at(1)}".strip()


def _height(call: Call) -> str:
    return " ".join(
        f"{call.named[unit]} {unit}" for unit in ("m", "cm", "ft", "in") if call.named.get(unit)
    )


def _label(call: Call) -> str:
    return call.at(0) or call.name.capitalize()


def _prefixed(prefix: str) -> Renderer:
    def render(call: Call) -> str:
        return f"{prefix}{call.at(0)}"

    return render


def _constant(text: str) -> Renderer:
    def render(call: Call) -> str:
        return text

    return render


def _quote(call: Call) -> str:
    text = call.at(0) or call.named.get("text", "") or call.named.get("quote", "")
    author = call.at(1) or call.named.get("author", "") or call.named.get("sign", "")
    if not text:
        return ""
    return f"\n\n{text} — {author}\n\n" if author else f"\n\n{text}\n\n"


def _url(call: Call) -> str:
    return call.at(1) or call.at(0) or call.named.get("url", "")


def _coordinates(call: Call) -> str:
    signs = iter("°′″" * 2)
    written = ""
    if not call.nested and "inline" not in call.named.get("display", "inline"):
        return ""  # shown above the page only
    for value in call.positional:
        if value in {"N", "S", "E", "W"}:
            written += f"{value} "
            signs = iter("°′″")
        elif re.fullmatch(r"-?[0-9.]+", value):
            sign = next(signs, "")
            written += f"{value}{sign}" + (" " if len(call.positional) < 4 else "")
        else:
            break
    return written.strip()


def _ratio(call: Call) -> str:
    try:
        share = 100 * float(call.at(0)) / float(call.at(1))
    except (ValueError, ZeroDivisionError, OverflowError):
        return ""
    return f"{share:.1f}%" if abs(share) < 1e12 else ""


def _phonetic(call: Call) -> str:
    """Show a sound in a table of sounds; in a sentence it is left out, as in the paper's corpus."""
    return call.at(0) if call.nested else ""


_RENDERERS: dict[str, Renderer] = {}


def _register(names: str, renderer: Renderer) -> None:
    for name in names.split("|"):
        _RENDERERS[name.strip()] = renderer


_register(
    "lang|langx|transl|transliteration|script|rtl-lang|wikt-lang|audio|pronunciation", _second
)
_register("transl|transliteration", _last)
_register(
    "nowrap|nobr|nobold|no wrap|small|smaller|big|larger|sc|smallcaps|small caps|em|strong|abbr|abbrlink|"
    "tooltip|ill|interlanguage link|interlanguage link multi|link-interwiki|ill2|lien|llengua|iw|нп|не переведено|"
    "math|mvar|sup|sub|ordinal|ord|nts|ntsh|formatnum|number|num|raise|longitem|center|nobreak|allow wrap|"
    "noitalic|script/hebrew|hebrew|rtl|bidi|unicode|polytonic|wikt|linktext|title case|nowraplinks|"
    "s|uc|lc|ucfirst|font color|color|colored link|red|green|highlight|resize|font|font size|normal|"
    "height|lcfirst|sigfig|rnd|round|plain list|plainlist|flatlist|flat list|bulletedlist|endplainlist|columns-list|"
    "div col content|multicol content|block indent|poem|poem quote|verse translation|nobold|italic|bold|"
    "visible anchor|vanchor|anchor text|sic|not a typo|typo|as written|keypress|key|code|mono|kbd|var|samp|"
    "flag|flagcountry|flagu|flagteam|flag country|country|flaglist|fb|fbu|cr|ru|bk|nft|noflag|flag+link|flagg|"
    "portugal|nowrap begin|okr|dts2|name|party name|film|song|book|ship class|sclass|sclass2|"
    "dialect|lang-script|jctname|rws|stnlnk|station|lnl|season|avoid wrap|native name checker",
    _first,
)
_register("sortname|sort name", _sort_name)
_register(
    "sort|sort key|hs2|party shading|font colour|fontcolor|lang-rtl|native name|native phrase",
    _second,
)
_register("colored text|font color|color|script", _last)
_register(
    "ubl|ubil|unbulleted list|unbulleted|hlist|hlist-comma|bulleted list|collapsible list|flowlist|flow list|"
    "plainlist|flatlist|cslist|csl|br separated entries|comma separated entries|indented plainlist|blist|"
    "ordered list|numbered list|tree list|nolist|ublist|vunblist|enum|cum",
    _joined,
)
_register("ipa|ipalink|ipa link|ipa-|phonetic|audio-ipa", _phonetic)
_register("convert|cvt|conv|unité|unità|unit|unitat|unidad|ud|unite|conversion|convertir", _convert)
_register("frac|fraction|sfrac|vulgar fraction", _fraction)
_register("val|nombre|gaps", _value)
_register("nihongo|nihongo2|nihongo3|nihongo foot|korean|ko-hhrm|nihongo krt", _nihongo)
_register("zh|zh-cn|zh-tw|lang-zh|linktext", _chinese)
_register("marriage|married", _marriage)
_register("as of|asof", _as_of)
_register("uss|hms|ss|rms|hmas|hmcs|usat|usns|ms|mv|sms|uscgc", _ship)
_register("ship", lambda call: " ".join(value for value in call.positional[:2] if value))
_register("height", _height)
_register(
    "yes|no|won|nom|nominated|pending|partial|draw|dunno|n/a|na|tba|tbd|unknown|free|some|any|yes2|no2|"
    "rarely|active|inactive|included|dropped|available|good|bad|sho|maybe|depends|okay|eliminated|champion",
    _label,
)
_register(
    "quote|quotation|cquote|blockquote|quote box|bq|rquote|quote frame|zitat|citation bloc|cita|citazione",
    _quote,
)
_register("url|official url|web|official website|site web", _url)
_register("coord", _coordinates)
_register("percentage|pct|percent", _ratio)
_register("circa|c.|ca.|ca|circ|c", lambda call: f"c. {call.at(0)}" if call.at(0) else "c.")
_register("floruit|fl.", _prefixed("fl. "))
_register("reign|r.", lambda call: f"r. {'–'.join(v for v in call.positional[:2] if v)}")
_register("born in|b.", _prefixed("b. "))
_register("died in|d.", _prefixed("d. "))
_register("usd|us$|usdollar", _prefixed("$"))
_register("a$|aud", _prefixed("A$"))
_register("c$|ca$|cad", _prefixed("C$"))
_register("gbp|£|pound sterling", _prefixed("£"))
_register("euro|eur|€", _prefixed("€"))
_register("inr|indian rupee|₹", _prefixed("₹"))
_register("jpy|¥|yen", _prefixed("¥"))
_register("krw|₩", _prefixed("₩"))
_register("currency", lambda call: f"{call.at(1)} {call.at(0)}".strip())
_register("chem|chem2|ce|physics particle|nuclide|su", _sequence)
_register("issn|isbn|doi|arxiv|oclc|pmid|bibcode", _constant(""))
_register("ndash|–|spaced ndash|snd|spnd|spaced en dash|dash|en dash|sndash", _constant(" – "))
_register("mdash|—|spaced mdash|em dash|snd-", _constant("—"))
_register("·|•|dot|bull|middot|bullet|int|\\", _constant(" · "))
_register(
    "nbsp|space|spaces|sp|thin space|hair space|thinsp|nnbsp|zwsp| |paragraph|pad|shy|wbr",
    _constant(" "),
)
_register("!", _constant("|"))
_register("=", _constant(literal("=")))
_register("!!", _constant("||"))
_register("(", _constant(literal("{")))
_register(")", _constant(literal("}")))
_register("((", _constant(literal("{{")))
_register("))", _constant(literal("}}")))
_register("!-", _constant("|-"))
_register("'", _constant("'"))
_register("'s", _constant("'s"))
_register("okina|'okina|ʻ|hamza|ayin", _constant("ʻ"))
_register("pi", _constant("π"))
_register("e", _constant("e"))
_register("sharp|music", _constant("♯"))
_register("flat", _constant("♭"))
_register("degree|deg|°", _constant("°"))
_register("minus|−", _constant("−"))
_register("times|×", _constant("×"))
_register("ampersand|&", _constant("&"))
_register("dagger|†", _constant("†"))
_register("sqrt|radic", _prefixed("√"))
_register("overline|overbar|underline|u", _first)
_register("br|crlf|break|clear break|-br-", _constant(BREAK))
for _name, _renderer in dates.RENDERERS.items():
    _RENDERERS[_name] = lambda call, render=_renderer: render(call.positional, call.named)  # type: ignore[misc]

_LANGUAGE = re.compile(r"lang-[a-z]{2,3}(?:-[a-z]+)?|[a-z]{2}-lang|script/[a-z]+")
_PLAIN_ARGUMENT = frozenset(
    {"lc", "uc", "lcfirst", "ucfirst", "formatnum", "padleft", "padright", "plural"}
)


def render_call(name: str, parts: list[str], title: str, *, nested: bool = False) -> str | None:
    """Return what a template shows within a line, or None if it is not known.

    Args:
        name: the call's first part, as written.
        parts: the parts after it.
        title: of the page.
        nested: whether the call stands in another template, a table or a link.
    """
    key = _key(name)
    if key.startswith("#"):
        return _function(name.strip(), parts)
    renderer = _RENDERERS.get(key)
    if renderer is not None:
        return renderer(parameters(key, parts, nested=nested))
    if ":" in key:
        function, _, argument = key.partition(":")
        argument = name.partition(":")[2].strip()
        if function in _PLAIN_ARGUMENT:
            return {"lc": str.lower, "uc": str.upper}.get(function, str)(argument)
        if function in {"subst", "safesubst", "template", "msg"} and argument:
            return render_call(argument, parts, title) if ":" not in argument else None
        return None
    if (
        key in {"pagename", "fullpagename", "basepagename", "subjectpagename", "title"}
        and not parts
    ):
        return literal(title)
    if _LANGUAGE.fullmatch(key):
        return _first(parameters(key, parts))
    return None


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).lower()


def _function(name: str, parts: list[str]) -> str:
    """Evaluate the parser functions that need no other page."""
    function, _, condition = name.partition(":")
    function, condition = function.strip().lower(), restore(condition).strip()
    values = [part.strip() for part in parts]
    branch = values + ["", "", ""]
    match function:
        case "#if":
            return branch[0] if condition else branch[1]
        case "#ifeq":
            return branch[1] if condition == branch[0] else branch[2]
        case "#iferror" | "#ifexpr" | "#ifexist":
            return branch[1] if function == "#iferror" else branch[0]
        case "#switch":
            return _switch(condition, values)
        case "#dateformat" | "#formatdate":
            return condition
    return ""


def _switch(condition: str, cases: list[str]) -> str:
    default = ""
    matched = False
    for number, case in enumerate(cases):
        value, equals, result = case.partition("=")
        value = value.strip()
        if not equals:
            if number == len(cases) - 1:
                return case
            matched = matched or value == condition
        elif matched or value == condition:
            return result.strip()
        elif value == "#default":
            default = result.strip()
    return default
