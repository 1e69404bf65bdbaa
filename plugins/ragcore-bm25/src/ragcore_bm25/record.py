"""What a saved retriever records of itself, and the counts in each layout of its files.

Knows the layouts of all releases and the fingerprints that they recorded; knows no passage and
searches nothing.

    layout 1  tokens; titles were weighed when a passage was added
    layout 2  counts; titles were weighed when a passage was added
    layout 3  counts, of titles apart
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.disk.loading import reading
from ragcore.errors import MemoryMismatchError
from ragcore.postings import read
from ragcore_bm25.analyser import Analyser
from ragcore_bm25.config import Bm25Config
from ragcore_bm25.counts import Counts
from ragcore_bm25.variants import Formula

if TYPE_CHECKING:
    import numpy.typing as npt

    Tokens = npt.NDArray[np.int32]
    Ends = npt.NDArray[np.int64]

__all__ = ["LAYOUT", "Record", "load_counts"]

LAYOUT: Final = 3
"""The layout that is written."""

_FILE: Final = "bm25.json"
_WEIGHED: Final = re.compile(r"bm25\(.+,title=(\d+),(words-.+)\)")
"""The fingerprint of a memory whose titles were weighed when it was built."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is recorded in bm25.json.

    Attributes:
        format: the layout of the files.
        fingerprint: of the retriever that built the memory.
        passages: how many there are.
        weights: what the scores were computed with; None where the fingerprint says it.
        titles: whether titles are counted apart.
    """

    format: int
    fingerprint: str
    passages: int
    weights: str | None
    titles: bool

    def write(self, folder: Path) -> None:
        """Write the record of the layout that is written."""
        text = json.dumps(asdict(self), ensure_ascii=False)
        (folder / _FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read the record of any layout.

        Raises:
            StoreCorruptError: it is missing or broken.
        """
        with reading(folder / _FILE) as path:
            record = json.loads(path.read_text(encoding="utf-8"))
            layout = int(record["format"])
            return cls(
                layout,
                str(record["fingerprint"]),
                int(record["passages"]),
                str(record["weights"]) if layout == LAYOUT else None,
                layout == LAYOUT and record["titles"] is True,
            )

    def analyser(self, config: Bm25Config) -> Analyser:
        """Return the analyser of the config, in the version that built the memory."""
        for version in (1, 2):
            if f"words-{version}," in self.fingerprint:
                return Analyser(config.stemmer, config.stopwords, version)
        return Analyser(config.stemmer, config.stopwords)

    def title_weight(self, folder: Path, config: Bm25Config, analyser: Analyser) -> int | None:
        """Check that words were made as the config makes them, and return what titles weigh.

        Args:
            folder: of the memory, for errors.
            config: that the memory is opened with.
            analyser: see `Record.analyser`.

        Returns:
            How often the stored counts have each word of a title; None where they are apart.

        Raises:
            MemoryMismatchError: it was built with another analyser, by an earlier release with
                another weight of titles, or by a later release.
        """
        expected = f"bm25({analyser.fingerprint})"
        weighed = None if self.titles else _WEIGHED.fullmatch(self.fingerprint)
        is_known = 1 <= self.format <= LAYOUT
        if weighed and is_known and weighed[2] == analyser.fingerprint:
            weight = int(weighed[1])
            if weight != config.title_weight:
                raise MemoryMismatchError(
                    f"{folder} was built by an earlier release, which counted titles "
                    f"{weight} times for good, but the configuration says "
                    f"title_weight: {config.title_weight}: build the memory again, or set "
                    f"title_weight to {weight}"
                )
            return weight
        if not is_known or self.fingerprint != expected or not self.titles:
            raise MemoryMismatchError(
                f"{folder} was built with {self.fingerprint} (format {self.format}), but "
                f"the configuration says {expected} (format {LAYOUT}): build the memory "
                "again, or set memory.retriever as it was"
            )
        return None

    def has_scores_of(self, formula: Formula, title_weight: int, weights: str) -> bool:
        """Return whether the stored scores were computed with this very formula.

        Args:
            formula: of the config.
            title_weight: of the config.
            weights: how this release records both.
        """
        if self.format == 2:
            # The fingerprint has six digits of each constant.
            constants = (formula.k1, formula.b, formula.delta, formula.epsilon)
            is_whole = all(float(f"{constant:g}") == constant for constant in constants)
            return is_whole and self.fingerprint.startswith(f"bm25({formula},title={title_weight},")
        return self.weights == weights


def load_counts(folder: Path, record: Record, terms: int, *, mmap: bool) -> Counts:
    """Load the counts of a saved retriever; the tokens of the first layout are counted.

    Args:
        folder: that it was saved into.
        record: of it.
        terms: how many terms it has.
        mmap: map the arrays into memory instead of reading them.

    Raises:
        StoreCorruptError: a file is missing, broken, or does not fit the others.
    """
    if record.format == 1:
        tokens, ends = read(folder / "tokens.npy", mmap), read(folder / "ends.npy", mmap)
        with reading(folder / "ends.npy"):
            lengths = _lengths(tokens, ends, record.passages, terms)
        return Counts.of(tokens, lengths, terms)
    counts = Counts.load(folder, mmap=mmap, with_titles=record.titles)
    with reading(folder / "terms.json"):
        if (counts.terms, len(counts)) != (terms, record.passages):
            raise ValueError(
                f"there are {terms} terms and {record.passages} rows, but counts "
                f"of {counts.terms} terms and {len(counts)} passages"
            )
    return counts


def _lengths(tokens: Tokens, ends: Ends, passages: int, terms: int) -> Tokens:
    """Return how many tokens each passage has, int32 [passages], from where each ends.

    Raises:
        ValueError: there are tokens of no passage, passages without tokens, or unknown terms.
    """
    dtypes = [str(each.dtype) for each in (tokens, ends)]
    if dtypes != ["int32", "int64"] or (tokens.ndim, ends.ndim) != (1, 1):
        raise ValueError(f"there are {tokens.dtype} tokens that end at {ends.dtype}")
    lengths = np.diff(ends, prepend=0)
    if len(ends) != passages or lengths.min(initial=0) < 0 or lengths.sum() != len(tokens):
        raise ValueError(f"its {len(ends)} passages do not have the {len(tokens)} tokens")
    if tokens.min(initial=0) < 0 or tokens.max(initial=-1) >= terms:
        raise ValueError("a token is of a term that does not exist")
    return lengths.astype(np.int32)
