"""Patterns mean to the package regex what they mean to Python's own engine."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.questions.engine import compiled
from ragcore.questions.patterns import check_pattern, expansions, matches_in

FLAGS = re.IGNORECASE | re.MULTILINE
# With vowel signs and accents that do not compose, other scripts' digits, and odd spaces.
TEXT = (
    "color Colour a{e} aa {2} [b] a] :x] 1985–18 ٣ ² हिन्दी में q̃q ß SS ſ K İ éa\x1cb\x85c\u2028d\n"
    "foo_bar  foo\n\nend #~&- a-z ab aab"
)
PATTERNS = [
    r"(?:colour){e<=1}",
    r"a{e}",
    r"a{i<=1,d<=1:[a-z]}",
    r"a{,2}b",
    r"a{}|\{2\}",
    r"[[:alpha:]]+",
    r"[[a]b]",
    r"[#--]+",
    r"[a&&b]",
    r"[]x]",
    r"\w+",
    r"\W+",
    r"[^\W\d]+",
    r"[\W5]+",
    r"[^\Wa-f]+",
    r"[^\s\S]|\S+",
    r"\bh?\w",
    r"\B.",
    r"\s+",
    r"\d+",
    r"(?a)\w+",
    r"(?a:\w+)-?",
    r"(?s)a.*?d",
    "(?x) a # one [ and {\n  b",
    r"(?-i:S+)",
    r"(?P<first>.)(?P=first)",
    r"(a)?(?(1)b|o)",
    r"((.)(.))\3",
    r"(?<=fo)o",
    r"(?<!o)\b",
    r"(?>a+)b",
    r"a*+b",
    r"(?:ab|ac|a)",
    r"^\w+$",
    r"\Acolor|ab\Z",
    r"(?=)",
    r"x*",
    r"[a-c]??b",
    r"\N{LATIN SMALL LETTER SHARP S}",
]


def spans(engine, text: str) -> list[tuple[int, int]]:
    return [match.span() for match in engine.finditer(text) if match[0]]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_as_in_python(pattern: str):
    with warnings.catch_warnings():
        # Python warns of what may become a set of sets one day.
        warnings.simplefilter("ignore", FutureWarning)
        own, other = re.compile(pattern, FLAGS), compiled(pattern, FLAGS)
    assert spans(other, TEXT) == spans(own, TEXT)


PARTS = st.sampled_from(
    [*"abB1_-. é", r"\w", r"\W", r"\b", r"\B", r"\s", r"\d", "[^b]", r"[\W1]", r"[^\wa]", "^", "$"]
)
TAILS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{e}", "{1,2}?", "{,1}"])
SEQUENCES = st.lists(st.tuples(PARTS, TAILS), min_size=1, max_size=5).map(
    lambda parts: "".join(
        part + ("" if part in (r"\b", r"\B", "^", "$") else tail) for part, tail in parts
    )
)
GROUPED = st.tuples(
    SEQUENCES, SEQUENCES, st.sampled_from(["(?:{}|{})", "({})?{}", "(?!{}){}"])
).map(lambda parts: parts[2].format(*parts[:2]))


@given(SEQUENCES | GROUPED, st.text("abB1_- é\u0303न्\n{e}", max_size=30))
def test_patterns_match_as_in_python(pattern: str, text: str):
    own = re.compile(pattern, FLAGS)
    assert spans(compiled(pattern, FLAGS), text) == spans(own, text)


@pytest.mark.parametrize(
    "pattern", [r"\p{L}", r"(?<=a+)b", r"(?r)a", r"(?1)(a)", r"\Ka", r"(?V1)a", r"(?<n>a)", "a**"]
)
def test_what_python_does_not_read_is_no_pattern(pattern: str):
    with pytest.raises(re.error):
        re.compile(pattern, FLAGS)
    with pytest.raises(ValueError, match="is no regular expression"):
        check_pattern(pattern)


def test_braces_of_an_answer_are_braces():
    assert matches_in("color, colour or colour{e<=1}", ["colour{e<=1}"]) == ["colour{e<=1}"]
    assert expansions("colour{e<=1}") == ["colour{e<=1}"]
    assert matches_in("हिन्दी", [r"\w+"]) == re.findall(r"\w+", "हिन्दी")
