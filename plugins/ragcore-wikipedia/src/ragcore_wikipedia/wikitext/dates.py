"""Write the dates that templates state as numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

__all__ = ["RENDERERS", "day"]

_YEAR = "January February March April May June July August September October November December"
_MONTHS = _YEAR.split()


def day(values: Sequence[str], *, day_first: bool = False) -> str:
    """Return year, month and day, as far as known, as a date in words."""
    year, month, number = [*(value.strip() for value in values), "", "", ""][:3]
    if month.isdecimal() and 1 <= int(month) <= 12:
        month = _MONTHS[int(month) - 1]
    if number.isdecimal() and len(number) < 4:
        number = str(int(number))
    if not month:
        return year
    if not number:
        return f"{month} {year}"
    return f"{number} {month} {year}" if day_first else f"{month} {number}, {year}"


Values = Sequence[str]
Named = Mapping[str, str]


def _is_number(value: str) -> bool:
    return value.isdecimal() and len(value) <= 4


def _date(values: Values, named: Named) -> str:
    if values and not _is_number(values[0]):
        return values[0]
    return day(values[:3], day_first=bool(named.get("df", "")) and named.get("df") != "no")


def _death_and_age(values: Values, named: Named) -> str:
    """Render a date of death that is followed by the date of birth."""
    if values and not _is_number(values[0]):
        return values[0]
    died = _date(values[:3], named)
    try:
        year, month, number, born_year, born_month, born_day = map(int, values[:6])
    except ValueError:
        return died
    age = year - born_year - ((month, number) < (born_month, born_day))
    return f"{died} (aged {age})"


def _year_and_age(values: Values, named: Named) -> str:
    year, month = [*values, "", ""][:2]
    return day([year, month])


def _film_dates(values: Values, named: Named) -> str:
    """Render up to some dates with their places: year, month, day, place, and so on."""
    shown = []
    for start in range(0, min(len(values), 40), 4):
        year, month, number, location = [*values[start : start + 4], "", "", ""][:4]
        if year:
            date = day([year, month, number])
            shown.append(f"{date} ({location})" if location else date)
    return "; ".join(shown)


def _span(values: Values, named: Named) -> str:
    return "–".join(value for value in values[:2] if value)


Renderer = Callable[[Values, Named], str]
RENDERERS: dict[str, Renderer] = {
    **dict.fromkeys(
        (
            "birth date",
            "birth date and age",
            "birth-date",
            "birth-date and age",
            "bda",
            "death date",
            "death-date",
            "start date",
            "start date and age",
            "start-date",
            "end date",
            "end-date",
            "dts",
            "date",
            "date table sorting",
            "birth date and age2",
            "launch date",
            "release date",
            "release date and age",
            "geburtsdatum",
            "date de naissance",
            "date de décès",
            "fecha",
            "dato",
            "vgrelease date",
            "opening date",
            "film release date",
            "foundation date",
            "birth date text",
            "sort date",
        ),
        _date,
    ),
    **dict.fromkeys(("death date and age", "death-date and age", "dda"), _death_and_age),
    **dict.fromkeys(
        ("birth year and age", "death year and age", "birth year", "death year", "start year"),
        _year_and_age,
    ),
    "film date": _film_dates,
    "age in years": lambda values, named: "",
    "year range": _span,
    "fy": _span,
}
"""By the template's name in lower case; each takes positional and named parameters."""
