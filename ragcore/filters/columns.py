"""Columns of metadata: one field of all passages, on which a condition is evaluated at once.

Knows conditions and values; knows nothing of where passages are stored. A passage's metadata is on
disk as JSON, and reading a million of them takes seconds, so a column holds the field's distinct
values, and for each row the number of its value. A condition is evaluated once per distinct value.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.filters.expressions import FieldCondition, typed

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Numbers = npt.NDArray[np.int32]

__all__ = ["Column", "ColumnBuilder", "mask_of_strings"]

ABSENT: Final = 0
"""Number of the value of rows whose passage lacks the field."""


@dataclass(frozen=True, slots=True)
class Column:
    """One field: its v distinct values and l distinct lists, and which of them each row has.

    Attributes:
        values: the values, also those in lists; the first stands for an absent field.
        numbers: int32 [n], for each row the number of its value, or -1 - the number of its list.
        items: int32 [m], the numbers of the values of all lists, one list after the other; a
            value that a list has twice is there once.
        ends: int64 [l], where each list ends in `items`.
    """

    values: list[object]
    numbers: Numbers
    items: Numbers
    ends: npt.NDArray[np.int64]

    @classmethod
    def absent(cls, rows: int) -> Column:
        """Return the column of a field that no passage has; it takes no memory."""
        numbers = np.broadcast_to(np.int32(ABSENT), rows)
        return cls([None], numbers, np.zeros(0, np.int32), np.zeros(0, np.int64))

    def mask(self, condition: FieldCondition) -> Mask:
        """Return for each row whether its value meets the condition, bool [n]."""
        test = condition.test()
        holds = np.fromiter(map(test, self.values), np.bool_, len(self.values))  # [v]
        holds[ABSENT] = condition.holds_where_absent()
        if len(self.ends):
            if condition.operator in ("any", "all"):
                lists = self._lists_with(condition)
            else:
                # Any other condition is met by all lists or by none.
                lists = np.full(len(self.ends), test([]))
            # In reverse, so that the negative numbers of lists count from the end.
            holds = np.concatenate([holds, lists[::-1]])  # [v + l]
        mask: Mask = holds[self.numbers]  # [n]
        return mask

    def kinds(self, *, in_lists: bool) -> set[str]:
        """Return the types of its values: as `typed` names them, "list" and "mapping".

        Args:
            in_lists: whether the items of a list count, instead of the list.
        """
        present = self._present()
        kinds = set[str]()
        if len(self.ends) and (self.numbers < ABSENT).any():
            if in_lists:
                present = np.union1d(present, self.items)
            else:
                kinds.add("list")
        for number in present.tolist():
            kind = typed(self.values[number])
            kinds.add("mapping" if kind is None else kind[0])
        return kinds

    def texts(self, most: int) -> list[str]:
        """Return its first values that are text and no item of a list, `most` of them at most."""
        values = (self.values[number] for number in self._present().tolist())
        return list(islice((value for value in values if isinstance(value, str)), most))

    def count(self) -> int:
        """Return how many passages have the field."""
        return int(np.count_nonzero(self.numbers))

    def _present(self) -> Numbers:
        """Return the numbers of the values that rows have, ascending, int32."""
        numbers: Numbers = np.unique(self.numbers[self.numbers > ABSENT])
        return numbers

    def _lists_with(self, condition: FieldCondition) -> Mask:
        """Return for each list whether it has any, or all, of the condition's values, bool [l]."""
        sought = {value: number for number, value in enumerate(condition.wanted())}
        # The position among the sought values, as 1 and 1.0 are one; -1 for the others.
        position = np.fromiter(
            (sought.get(typed(value) or ("", None), -1) for value in self.values),
            np.int64,
            len(self.values),
        )[self.items]  # [m]
        lists = np.repeat(np.arange(len(self.ends)), np.diff(self.ends, prepend=0))  # [m]
        matches = position >= 0
        pairs = np.unique(lists[matches] * len(sought) + position[matches])
        counts = np.bincount(pairs // len(sought), minlength=len(self.ends))  # [l]
        return counts >= (1 if condition.operator == "any" else len(sought))


class ColumnBuilder:
    """A column that is being filled."""

    def __init__(self, rows: int) -> None:
        self._numbers = np.zeros(rows, np.int32)
        self._number_of: dict[tuple[type, object], int] = {}
        # The first value stands for an absent field; no key has its number.
        self._values: list[object] = [None]
        # Lists by the bytes of their items' numbers, as many programs tag passages alike.
        self._list_number_of: dict[bytes, int] = {}

    def put(self, row: int, value: Any) -> None:
        """Set the value of a row, as JSON has it."""
        if isinstance(value, list):
            # What is nested in a list equals nothing.
            items = {self._number(item) for item in value if not isinstance(item, list | dict)}
            key = array("i", sorted(items)).tobytes()
            number = self._list_number_of.setdefault(key, len(self._list_number_of))
            self._numbers[row] = -1 - number
        else:
            # All mappings meet the same conditions, so they count as one value.
            self._numbers[row] = self._number(() if isinstance(value, dict) else value)

    def build(self) -> Column:
        """Return the column."""
        keys = list(self._list_number_of)
        items = np.frombuffer(b"".join(keys), np.int32)
        ends = np.cumsum([len(key) // items.itemsize for key in keys], dtype=np.int64)
        return Column(self._values, self._numbers, items, ends)

    def _number(self, value: Any) -> int:
        key = (type(value), value)
        number = self._number_of.get(key)
        if number is None:
            number = self._number_of[key] = len(self._values)
            self._values.append(value)
        return number


def mask_of_strings(strings: Any, condition: FieldCondition) -> Mask:
    """Return for each string whether it meets a condition, bool [n].

    For fields with as many values as rows, ids and titles: Arrow compares them where they are.

    Args:
        strings: a `pyarrow.ChunkedArray` of n strings, none missing.
        condition: on that field.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    operator, value = condition.operator, condition.value
    match operator:
        case "in" | "any":
            sought = pa.array(list(filter(_is_storable, condition.value)), pa.string())  # type: ignore[arg-type]
            mask = pc.is_in(strings, value_set=sought)
        case "eq" | "ne" | "lt" | "lte" | "gt" | "gte" if _is_storable(value):
            names = {"eq": "equal", "ne": "not_equal", "lt": "less", "lte": "less_equal"}
            names |= {"gt": "greater", "gte": "greater_equal"}
            # UTF-8 has the order of code points.
            mask = getattr(pc, names[operator])(strings, pa.scalar(value, pa.string()))
        case "prefix" if _is_storable(value):
            mask = pc.starts_with(strings, pattern=value)
        case _:
            test = condition.test()
            values = (value for chunk in strings.iterchunks() for value in chunk.to_pylist())
            return np.fromiter(map(test, values), np.bool_, len(strings))
    result: Mask = mask.to_numpy()
    return result


def _is_storable(value: object) -> bool:
    """Return whether a value is a string that can be stored: without a lone surrogate."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)
