"""Words of questions for the Factbook's fields: what people ask for under another name.

Knows fields and words; knows nothing of countries. A question says "How long do people live in
Chad?", and the field is called "Life expectancy at birth". The words are metadata: a memory can
search them, and nobody reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["KEYWORDS", "keywords_of"]

KEYWORDS: Final[Mapping[str, str]] = {
    "Administrative divisions": "provinces; states; regions; districts; how many",
    "Age structure": "young and old people; children; elderly",
    "Agricultural products": "crops; farming; what farmers grow",
    "Area": "size; how big; how large; square kilometres",
    "Area - comparative": "compared with a US state; as big as; similar in size",
    "Birth rate": "births; babies born",
    "Capital": "capital city; seat of government; time zone; UTC",
    "Climate": "weather; hot; cold; rain; temperature",
    "Coastline": "coast; seaside; shore; beaches",
    "Country name": "official name; full name; formerly called; former name",
    "Elevation": "highest; tallest mountain; peak; lowest point",
    "Ethnic groups": "peoples; races; ethnicity",
    "Exchange rates": "currency; money; pay; coins; notes",
    "Executive branch": "leader; ruler; president; prime minister; monarch; king; queen; "
    "head of state; who leads; rules; governs; runs; is in charge; in power; boss",
    "Exports - commodities": "sells abroad; export goods",
    "Flag": "banner; colours",
    "Government type": "form of government; republic; monarchy; democracy; how governed",
    "Imports - commodities": "buys abroad; import goods",
    "Independence": "independent; became a country; colony of",
    "Industries": "factories; what is made",
    "Inflation rate (consumer prices)": "price rises; cost of living",
    "Internet country code": "domain; TLD; websites end in",
    "Internet users": "online; use the web",
    "Judicial branch": "courts; judges; supreme court",
    "Land boundaries": "neighbours; neighbors; neighbouring countries; borders; next to",
    "Languages": "speak; spoken; tongue",
    "Legislative branch": "parliament; congress; assembly; senate; seats",
    "Life expectancy at birth": "how long; how old people live; age; lifespan",
    "Literacy": "read and write; literate",
    "Location": "where; situated; part of the world; continent",
    "Major urban areas - population": "largest city; biggest city; towns",
    "Median age": "average age; how old people are",
    "Military and security forces": "army; navy; air force; soldiers",
    "Military expenditures": "defence spending; army budget",
    "National anthem(s)": "song; hymn; anthem called",
    "National holiday": "national day; celebrate",
    "Nationality": "demonym; adjective; people called",
    "Natural hazards": "disasters; earthquakes; storms; floods; volcanoes",
    "Natural resources": "minerals; oil; metals",
    "Population": "inhabitants; residents; people living; how many people live",
    "Railways": "trains; rail network",
    "Real GDP per capita": "rich; poor; income; wealth per person",
    "Religions": "believe; faith; church; religious",
    "Suffrage": "vote; voting age; how old to vote",
    "Terrain": "landscape; mountains; plains; desert",
    "Total fertility rate": "children per woman; babies",
    "Unemployment rate": "jobless; out of work",
    "Urbanization": "share of people in cities",
}
"""Words by the field's name, the most asked fields only; divided by semicolons."""


def keywords_of(field: str) -> Sequence[str]:
    """Return the words of questions for a field; empty where it has none.

    >>> keywords_of("Railways")
    ['trains', 'rail network']
    """
    words = KEYWORDS.get(field)
    return words.split("; ") if words else []
