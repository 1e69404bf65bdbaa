"""Rates that a plan computes with, each with its law and its source.

Three files next to this module have them: `measured.json`, which `benchmarks/scale.py --rates-out`
writes, `databases.json`, which `benchmarks/remote.py` and `remote_milvus.py` write likewise, and
`literature.json`. A user's own file, YAML or JSON of the same form, replaces rates by name. Knows
how a rate grows with its work; knows nothing of stages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragcore.errors import ConfigError, nearest
from ragcore.planning.layout import (
    PROBED_SHARE,
    IndexKind,
    index_bytes,
    list_count,
    training_size,
)

__all__ = ["FORMAT", "LAWS", "Law", "Rate", "RateFile", "Rates", "Work", "load_rates", "read_rates"]

FORMAT: Final = 1

Law = Literal[
    "constant",
    "passages",
    "text",
    "values",
    "training",
    "codebooks",
    "lists",
    "graph",
    "probes",
    "walk",
    "index",
]
Basis = Literal["measured", "literature", "assumed"]

_CODEBOOK_VECTORS: Final = 256 * 256
"""Vectors that FAISS draws to train 256 centroids (ProductQuantizer, max_points_per_centroid)."""

_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Work:
    """What a rate is applied to.

    Attributes:
        passages: n.
        dim: d, the length of a vector.
        text_bytes: of a passage with its title and id, on average.
        kind: of the index.
    """

    passages: int
    dim: int
    text_bytes: float
    kind: IndexKind


LAWS: Final[Mapping[Law, Callable[[Work], float]]] = {
    "constant": lambda work: 1.0,
    "passages": lambda work: work.passages,
    "text": lambda work: work.passages * work.text_bytes,
    "values": lambda work: work.passages * work.dim,
    "training": lambda work: (
        training_size(work.kind, work.passages) * list_count(work.passages) * work.dim
    ),
    "codebooks": lambda work: (
        min(training_size(work.kind, work.passages), _CODEBOOK_VECTORS) * work.dim
    ),
    "lists": lambda work: work.passages * list_count(work.passages) * work.dim,
    "graph": lambda work: work.passages * math.log2(max(2, work.passages)) * work.dim,
    "probes": lambda work: (work.passages / PROBED_SHARE + list_count(work.passages)) * work.dim,
    "walk": lambda work: math.log2(max(2, work.passages)) * work.dim,
    "index": lambda work: index_bytes(work.kind, work.passages, work.dim),
}
"""How much work there is, in the unit of each law; all grow with the number of passages."""


class Rate(BaseModel):
    """One rate: `fixed + slope · work`, in seconds or bytes.

    Attributes:
        name: stage, index or encoder, such as `build.bm25`.
        law: what the slope is multiplied by; see `LAWS`.
        fixed: what there is whatever the size.
        slope: of each unit of work.
        basis: how it is known.
        source: where it is from, for people.
        cores: that it was measured with, where more of them make it quicker; else null.
        sizes: numbers of passages that it was measured at.
        dim: d that it was measured at; null where there are no vectors.
        drift: what the largest size took, divided by what the rate says of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=80)]
    law: Law
    fixed: _Number = 0.0
    slope: _Number
    basis: Basis = "measured"
    source: Annotated[str, Field(min_length=1, max_length=400)]
    cores: Annotated[int, Field(ge=1)] | None = None
    sizes: tuple[int, ...] = ()
    dim: int | None = None
    drift: float | None = None

    def of(self, work: Work) -> float:
        """Return what the rate says of this work."""
        return self.fixed + self.slope * LAWS[self.law](work)

    def cited(self, work: Work) -> str:
        """Say where the rate is from, and how far this work is beyond what was measured."""
        text = f"{self.basis}: {self.source}"
        if self.sizes:
            text += f", {' and '.join(f'{size:,}' for size in sorted(self.sizes))} passages"
            if work.passages > 2 * max(self.sizes):
                text += f", extrapolated {work.passages / max(self.sizes):,.0f}-fold"
        if self.dim not in (None, work.dim) and self.law not in ("constant", "passages", "text"):
            text += f", from {self.dim} dimensions"
        return text


class RateFile(BaseModel):
    """A file of rates, as `benchmarks/scale.py --rates-out` writes it."""

    model_config = ConfigDict(extra="forbid")

    ragcore_rates: Literal[1]
    machine: str = ""
    text_bytes: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    rates: list[Rate]


class Rates:
    """Rates by name; of two of the same name the later one counts.

    Attributes:
        text_bytes: of a passage of the corpus that was measured, on average.
    """

    def __init__(self, files: Iterable[RateFile]) -> None:
        self.text_bytes = 600.0
        self._rates: dict[str, Rate] = {}
        for file in files:
            self._rates |= {rate.name: rate for rate in file.rates}
            self.text_bytes = file.text_bytes or self.text_bytes

    def __contains__(self, name: str) -> bool:
        return name in self._rates

    def __getitem__(self, name: str) -> Rate:
        """Return a rate.

        Raises:
            ConfigError: there is none of this name.
        """
        rate = self._rates.get(name)
        if rate is None:
            close = nearest(name, list(self._rates))
            hint = f" (the nearest is {close!r})" if close else ""
            raise ConfigError(
                f"no rate {name!r} is known{hint}: add it to a file of rates for --rates, or "
                "measure it with benchmarks/scale.py --rates-out"
            )
        return rate

    def get(self, name: str) -> Rate | None:
        """Return a rate, or None where there is none."""
        return self._rates.get(name)

    def all(self) -> list[Rate]:
        """Return all rates, by their names."""
        return [self._rates[name] for name in sorted(self._rates)]

    def encoders(self, *, gpu: bool) -> list[str]:
        """Return the encoders whose rate on processors, or on a GPU, is known."""
        names = [name for name in self._rates if name.startswith("encode.")]
        on_gpu = [name.removesuffix(".gpu") for name in names if name.endswith(".gpu")]
        chosen = on_gpu if gpu else [name for name in names if not name.endswith(".gpu")]
        return sorted(name.removeprefix("encode.") for name in chosen)


def load_rates(own: Path | None = None) -> Rates:
    """Return ragcore's rates, some replaced by those of a user's file.

    Args:
        own: YAML or JSON, of the form that `benchmarks/scale.py --rates-out` writes.

    Raises:
        ConfigError: the file cannot be read, or is not of this form.
    """
    folder = Path(__file__).parent
    paths = [folder / f"{name}.json" for name in ("literature", "measured", "databases")]
    return Rates(map(read_rates, [*paths, *([own] if own else [])]))


def read_rates(path: Path) -> RateFile:
    """Read a file of rates.

    Raises:
        ConfigError: it cannot be read, or is not of this form.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{path}: the rates cannot be read: {reason}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"{path}: neither YAML nor JSON: {' '.join(str(error).split())}"
        ) from None
    try:
        return RateFile.model_validate(content)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise ConfigError(
            f"{path}: not a file of rates: {'; '.join(faults[:5])}: expected the form that "
            "benchmarks/scale.py --rates-out writes"
        ) from None
