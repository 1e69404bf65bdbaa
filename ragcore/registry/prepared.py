"""What `SimpleRetriever.prepare` returns: checked, and saved as arrays and JSON.

A value is the same when it was just computed and when it was loaded: arrays are copied, other
values become what JSON has of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ragcore.disk.loading import reading
from ragcore.errors import ComponentError, MemoryMismatchError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Prepared", "checked_values", "load_values", "save_values"]

Prepared = Mapping[str, Any]
"""Values by name: arrays, which cannot be written to, and values as JSON has them.

A name that is missing is a `RagcoreError` that lists the names that are there.
"""

_FILE: Final = "prepared.json"
_ARRAY: Final = "prepared-{}.npy"


class _Values(dict[str, Any]):
    """Values by name, one of which may be missing: the code that computed them may be another's."""

    def __init__(self, values: Mapping[str, Any], component: str, *, loaded: bool) -> None:
        super().__init__(values)
        self._component = component
        self._loaded = loaded

    def __missing__(self, name: object) -> Any:
        names = ", ".join(map(repr, self)) or "nothing"
        if self._loaded:
            raise MemoryMismatchError(
                f"{self._component} reads {name!r} of what was prepared, but the memory has "
                f"{names}: this version was prepared by other code: build it again"
            )
        raise ComponentError(
            f"{self._component} reads {name!r} of what was prepared, but prepare() returned "
            f"{names}: return {name!r}, too, or read what is there"
        )


def checked_values(values: object, component: str) -> Prepared:
    """Return values as they will be when they are loaded.

    Args:
        values: what `prepare` returned.
        component: its name, for errors.

    Raises:
        ComponentError: it is no mapping of names to arrays and JSON-ready values.
    """
    import numpy as np

    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise ComponentError(
            f"{component}: prepare() returned {_short(values)}: expected {{name: value}} with what "
            "scores() needs, such as arrays; {} where it needs nothing"
        )
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if not isinstance(value, np.ndarray):
            checked[name] = _plain(value, component, name)
            continue
        if value.dtype.hasobject:
            raise _unfit(component, name, "an array of Python objects")
        array: npt.NDArray[Any] = np.array(value)
        array.setflags(write=False)
        checked[name] = array
    return MappingProxyType(_Values(checked, component, loaded=False))


def save_values(folder: Path, values: Prepared, settings: str) -> None:
    """Write values into a folder: arrays in files of their own, the others in prepared.json.

    Args:
        folder: that the retriever is saved in.
        values: checked.
        settings: what the values depend on besides the passages; see `load_values`.

    Raises:
        OSError: there is no room on the disk, or no permission to write.
    """
    import numpy as np

    from ragcore.disk.arrays import save_array

    arrays = [name for name, value in values.items() if isinstance(value, np.ndarray)]
    for number, name in enumerate(arrays):
        save_array(folder / _ARRAY.format(number), values[name])
    others = {name: value for name, value in values.items() if name not in arrays}
    record = {"settings": settings, "arrays": arrays, "values": others}
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    (folder / _FILE).write_text(text, encoding="utf-8", errors="surrogatepass")


def load_values(folder: Path, settings: str, component: str) -> Prepared | None:
    """Return what `save_values` wrote; None where nothing was saved, or for other settings.

    Args:
        folder: that the retriever was saved in.
        settings: what the values depend on besides the passages.
        component: its name, for errors.

    Raises:
        StoreCorruptError: a file is broken, or an array is missing.
    """
    import numpy as np

    if not (folder / _FILE).exists():
        return None
    with reading(folder / _FILE) as path:
        record = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
        values, arrays = dict(record["values"]), list(record["arrays"])
        if record["settings"] != settings:
            return None
    for number, name in enumerate(arrays):
        with reading(folder / _ARRAY.format(number)) as path:
            array = np.load(path, allow_pickle=False)
            if not isinstance(array, np.ndarray):
                raise ValueError("it holds no array")
            array.setflags(write=False)
            values[name] = array
    return MappingProxyType(_Values(values, component, loaded=True))


def _plain(value: Any, component: str, name: str) -> Any:
    """Return a value as JSON has it: tuples as lists, numpy's numbers as Python's."""
    import numpy as np

    if isinstance(value, np.generic):
        value = value.item()
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise _unfit(component, name, f"the number {value}, which JSON does not have")
            return value
        case list() | tuple():
            return [_plain(item, component, name) for item in value]
        case dict():
            wrong = next((key for key in value if not isinstance(key, str)), None)
            if wrong is not None:
                raise _unfit(component, name, f"the key {wrong!r}, and JSON has keys of text only")
            return {str(key): _plain(item, component, name) for key, item in value.items()}
    raise _unfit(component, name, f"a {type(value).__name__}")


def _unfit(component: str, name: str, what: str) -> ComponentError:
    return ComponentError(
        f"{component}: prepare() returned {what} in {name!r}: expected an array of numbers or "
        "texts, or dicts, lists, texts and numbers, which are saved as JSON"
    )


def _short(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
