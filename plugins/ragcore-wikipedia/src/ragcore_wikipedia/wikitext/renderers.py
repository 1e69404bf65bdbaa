"""Show templates that stand for a few words: one function a kind, and the names it has.

Knows names of English Wikipedia, which most other wikis use too, and some of other languages.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ragcore_wikipedia.wikitext import dates
from ragcore_wikipedia.wikitext.call import Call
from ragcore_wikipedia.wikitext.marks import BREAK, literal

__all__ = ["RENDERERS"]

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
    "sqmi": "sq mi",
    "sqkm": "km2",
    "sqft": "sq ft",
    "F": "°F",
    "C": "°C",
    "degF": "°F",
    "degC": "°C",
    "cuft": "cu ft",
    "cumi": "cu mi",
    "cuin": "cu in",
    "ftin": "ft",
}


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
    """Show a word that is the rest of its cell, after the cell's attributes."""
    text = call.at(0) or call.name.capitalize()
    return f"|{text}" if call.inside == "table" else text


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
    if call.inside == "page" and "inline" not in call.named.get("display", "inline"):
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


def _player(call: Call) -> str:
    """Show a member of a squad as an item of its list."""
    shown = (call.named.get(key, "") for key in ("no", "name", "pos", "nat", "other"))
    return f"\n* {', '.join(value for value in shown if value)}\n"


def _phonetic(call: Call) -> str:
    """Show a sound in a table of sounds; in a sentence it is left out, as in the paper's corpus."""
    return call.at(0) if call.inside != "page" else ""


RENDERERS: dict[str, Renderer] = {}


def _register(names: str, renderer: Renderer) -> None:
    for name in names.split("|"):
        RENDERERS[name.strip()] = renderer


_register(
    "lang|langx|rtl-lang|wikt-lang|audio|pronunciation",
    _second,
)
_register("transl|transliteration|longitem", _last)
_register(
    """nowrap|nobr|nobold|no wrap|small|smaller|big|larger|sc|smallcaps|small caps|em|strong|abbr|
    abbrlink|tooltip|ill|interlanguage link|interlanguage link multi|link-interwiki|ill2|lien|
    llengua|iw|нп|не переведено|math|mvar|sup|sub|ordinal|ord|nts|formatnum|number|num|
    center|nobreak|allow wrap|noitalic|hebrew|rtl|bidi|unicode|polytonic|wikt|linktext|
    nowraplinks|uc|lc|ucfirst|lcfirst|red|green|highlight|resize|font|font size|normal|sigfig|rnd|
    round|columns-list|block indent|poem|poem quote|verse translation|italic|bold|visible anchor|
    vanchor|anchor text|sic|not a typo|typo|as written|keypress|key|code|mono|kbd|var|samp|
    flag|flagcountry|flagu|flagteam|flag country|country|fb|fbu|noflag|flag+link|flagg|dts2|
    party name|angbr|angle bracket|railgauge|track gauge|format price|nastaliq|sclass|sclass2|
    jctname|stnlnk|station|lnl|avoid wrap""",
    _first,
)
_register("sortname|sort name", _sort_name)
_register(
    """sort|sort key|hs2|party shading|font colour|fontcolor|lang-rtl|native name|native phrase""",
    _second,
)
_register("colored text|font color|color|script", _last)
_register(
    """ubl|ubil|unbulleted list|unbulleted|hlist|hlist-comma|bulleted list|collapsible list|
    flowlist|flow list|plainlist|plain list|flatlist|flat list|cslist|csl|br separated entries|
    comma separated entries|indented plainlist|blist|ordered list|numbered list|tree list|
    nolist|ublist|vunblist|enum|cum""",
    _joined,
)
_register("ipa|ipalink|ipa link|ipa-|phonetic|audio-ipa", _phonetic)
_register(
    """convert|cvt|conv|unité|unità|unit|unitat|unidad|ud|unite|conversion|convertir""",
    _convert,
)
_register("fs player|football squad player|fb si player", _player)
_register("based on", lambda call: " by ".join(value for value in call.positional[:2] if value))
_register("fossil range|geological range", lambda call: "–".join(call.positional[:2]))
_register("bartable", lambda call: " ".join(call.positional[:2]).strip())
_register("frac|fraction|sfrac|vulgar fraction", _fraction)
_register("val|nombre|gaps", _value)
_register("nihongo|nihongo2|nihongo3|nihongo4|nihongo foot|korean|ko-hhrm|nihongo krt", _nihongo)
_register("zh|zh-cn|zh-tw|lang-zh|linktext", _chinese)
_register("marriage|married", _marriage)
_register("as of|asof", _as_of)
_register("uss|hms|ss|rms|hmas|hmcs|usat|usns|ms|mv|sms|uscgc", _ship)
_register("ship", lambda call: " ".join(value for value in call.positional[:2] if value))
_register("height", _height)
_register(
    """yes|no|won|nom|nominated|pending|partial|draw|dunno|n/a|na|tba|tbd|unknown|free|some|any|
    yes2|no2|rarely|active|inactive|included|dropped|available|good|bad|sho|maybe|depends|okay|
    eliminated|champion""",
    _label,
)
_register(
    """quote|quotation|cquote|blockquote|quote box|bq|bquote|rquote|quote frame|zitat|citation bloc|
    cita|citazione""",
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
_register("ndash|–|spaced ndash|snd|spnd|spaced en dash|dash|snds|en dash|sndash", _constant(" – "))
_register("mdash|—|mdashb|spaced mdash|em dash|snd-", _constant("—"))
_register("·|•|dot|bull|middot|bullet|int|\\", _constant(" · "))
_register(
    """nbsp|space|spaces|sp|thin space|hair space|thinsp|nnbsp|zwsp| |paragraph|pad|shy|wbr""",
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
    RENDERERS[_name] = lambda call, render=_renderer: render(call.positional, call.named)  # type: ignore[misc]
