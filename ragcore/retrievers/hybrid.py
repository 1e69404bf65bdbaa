"""The retriever `hybrid`: several retrievers over the same passages, their hits fused into one.

Owns its members, each in a folder of its own, and how deep they are asked; the fusing is done by
`fusion.py`. It knows nothing of what the members are.

Every member is asked for `depth` hits, whatever k is: a passage's fused score depends on what the
members found, so that a depth that went with k would rank differently for another k. With a fixed
one the fused ranking is one and the same, and k only says where it ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ragcore.contracts import PassageSource, Retriever
from ragcore.errors import ComponentError, MemoryMismatchError, StoreCorruptError
from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.retrievers import fusion
from ragcore.retrievers.members import ANY_HAS, PASSED_ON, ask, give_passages, give_scratch, require
from ragcore.types import MISSING_ROW, Hits, Passage

if TYPE_CHECKING:
    from ragcore.types import Rows


__all__ = ["Hybrid"]

ABOUT: Final = "hybrid.json"
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Hybrid:
    """See `ragcore.contracts.Retriever`; safe to search from several threads if its members are.

    Scores are what `fuse` makes of the members': a log-probability of `mixture`, small numbers
    above 0 of the others. With `allowed`, ranks and lowest scores are those among allowed rows.
    """

    class Config(ComponentConfig):
        """What YAML may say of `{use: hybrid}`."""

        retrievers: list[ComponentSpec[Retriever]] = Field(
            min_length=1, description="the members, each over all passages"
        )
        fuse: Literal["rrf", "convex", "mixture"] = Field(
            "rrf", description="by ranks, by scores scaled to 0 to 1, or as a mixture of priors"
        )
        weights: list[AboveZero] | None = Field(
            None, description="how much each member counts; null is the same for all"
        )
        temperatures: list[AboveZero] | None = Field(
            None, description="of mixture: what each member's scores are divided by; null is 1"
        )
        rank_constant: float = Field(
            fusion.RANK_CONSTANT, ge=0, allow_inf_nan=False, description="of rrf: added to ranks"
        )
        depth: int = Field(100, ge=1, description="hits that each member is asked for")

        @model_validator(mode="after")
        def _fit(self) -> Self:
            for name, values in (("weights", self.weights), ("temperatures", self.temperatures)):
                if values is not None and len(values) != len(self.retrievers):
                    raise ValueError(
                        f"{name} must be one for each of the {len(self.retrievers)} retrievers, "
                        f"found {len(values)}"
                    )
            if self.temperatures is not None and self.fuse != "mixture":
                raise ValueError(
                    f"temperatures are of fuse: mixture, found fuse: {self.fuse}, which knows none"
                )
            return self

    def __init__(self, config: Config) -> None:
        self._config = config
        self._members: list[Retriever] = [part.build() for part in config.retrievers]
        self._loaded = False

    @property
    def capabilities(self) -> frozenset[str]:
        """What all members can, but `exact`: a score depends on what else was found.

        And `passages` and `scratch`, if any member has them; `filter` whatever these can.
        """
        each = [member.capabilities for member in self._members]
        return PASSED_ON.intersection(*each) | (ANY_HAS & frozenset().union(*each)) | {"filter"}

    @property
    def fingerprint(self) -> str:
        """The members', in order; how they are fused may differ from opening to opening."""
        return f"hybrid({'; '.join(member.fingerprint for member in self._members)})"

    def __len__(self) -> int:
        return len(self._members[0])

    def use_passages(self, passages: PassageSource) -> None:
        """Hand passages to the members that read them."""
        for member in self._members:
            give_passages(member, passages)

    def use_scratch(self, folder: Path) -> int:
        """Let each member that can work in a folder of its own: see `ScratchUser`."""
        kept = [give_scratch(member, folder / str(at)) for at, member in enumerate(self._members)]
        return min((count for count in kept if count is not None), default=0)

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add passages under rows [n] to every member.

        Raises:
            UnsupportedOperation: it was loaded, and a member has no capability `add`.
        """
        if self._loaded:
            self._require("add")
        for member in self._members:
            member.add(rows, passages)

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """The k best of what the members find, [B, k], ties by row.

        Raises:
            ComponentError: k is less than 1, or a member breaks its contract.
        """
        if k < 1:
            raise ComponentError(f"retriever 'hybrid' was asked for {k} hits: ask for 1 or more")
        depth = min(self._config.depth, len(self))
        if not depth or not len(questions):
            shape = (len(questions), k)
            return Hits(np.full(shape, MISSING_ROW, np.int64), np.full(shape, -np.inf, np.float32))
        found = [
            ask(name, member, "hybrid", questions, depth, allowed)
            for name, member in zip(self._uses(), self._members, strict=True)
        ]
        config = self._config
        match config.fuse:
            case "rrf":
                return fusion.reciprocal_rank(
                    found, k, weights=config.weights, constant=config.rank_constant
                )
            case "convex":
                return fusion.convex(found, k, weights=config.weights)
            case "mixture":
                return fusion.mixture(
                    found, k, weights=config.weights, temperatures=config.temperatures
                )

    def remove(self, rows: Rows) -> None:
        """Forget rows in every member.

        Raises:
            UnsupportedOperation: a member has no capability `remove`; none has forgotten any then.
        """
        self._require("remove")
        for member in self._members:
            member.remove(rows)

    def save(self, folder: Path) -> None:
        """Write hybrid.json, and what each member writes into a folder 0, 1, ….

        Raises:
            ComponentError: the members hold different numbers of rows, as an `add` that failed
                half-way leaves them.
        """
        sizes = [len(member) for member in self._members]
        if len(set(sizes)) > 1:
            raise ComponentError(
                f"retriever 'hybrid' has members of {sizes} rows ({self._uses()}): expected the "
                "same in all; build it anew"
            )
        about = {"retrievers": self._uses()}
        (folder / ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
        for at, member in enumerate(self._members):
            (folder / str(at)).mkdir()
            member.save(folder / str(at))

    @classmethod
    def load(cls, folder: Path, config: Config, *, mmap: bool = True) -> Hybrid:
        """What `save` wrote; how the members are fused and searched may differ from then.

        Raises:
            MemoryMismatchError: other retrievers wrote it, or the same in another order.
            StoreCorruptError: hybrid.json is missing or broken, or the members do not hold the
                same number of rows.
        """
        try:
            about = json.loads((folder / ABOUT).read_bytes())
            built_by = list(about["retrievers"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreCorruptError(
                f"{folder / ABOUT} cannot be read ({type(error).__name__}: {error}): rebuild this "
                "version of the memory"
            ) from error
        loaded = cls(config)
        if built_by != loaded._uses():
            raise MemoryMismatchError(
                f"{folder} was built with the retrievers {built_by}, but those in use are "
                f"{loaded._uses()}: rebuild the memory, or set memory.retriever.retrievers as they "
                "were, in their order"
            )
        loaded._members = [
            part.component.load(folder / str(at), part.config, mmap=mmap)
            for at, part in enumerate(config.retrievers)
        ]
        loaded._loaded = True
        sizes = [len(member) for member in loaded._members]
        if len(set(sizes)) > 1:
            raise StoreCorruptError(
                f"{folder} holds retrievers of {sizes} rows: expected the same in all; rebuild "
                "this version of the memory"
            )
        return loaded

    def _uses(self) -> list[str]:
        return [part.use for part in self._config.retrievers]

    def _require(self, capability: str) -> None:
        for name, member in zip(self._uses(), self._members, strict=True):
            require(name, member, capability, "hybrid")
