"""A lexical retriever in thirty lines: shared words count by their rarity, prepared once."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ragcore import ComponentConfig, SimpleRetriever, hookimpl


class Rarity(SimpleRetriever):
    """Score a passage by the weights of the question's words that it has."""

    class Config(ComponentConfig):
        lower: bool = True

    @property
    def fingerprint(self) -> str:
        return f"rarity(lower={self.config.lower})"

    def prepare(self) -> Mapping[str, Any]:
        texts = [set(self.words(f"{passage.title} {passage.text}")) for passage in self.passages]
        spread = Counter(word for text in texts for word in sorted(text))
        columns = {word: column for column, word in enumerate(spread)}
        occurs = np.zeros((len(texts), len(columns)), np.float32)  # [n, vocabulary]
        for row, text in zip(occurs, texts, strict=True):
            row[[columns[word] for word in text]] = 1 / math.sqrt(1 + len(text))
        weights = [math.log(1 + len(texts) / count) for count in spread.values()]
        return {"columns": columns, "weights": occurs * np.array(weights, np.float32)}

    def scores(self, question: str) -> Any:
        columns = self.prepared["columns"]
        known = [columns[word] for word in set(self.words(question)) if word in columns]
        return self.prepared["weights"][:, sorted(known)].astype(np.float64).sum(axis=1)

    def words(self, text: str) -> list[str]:
        return re.findall(r"\w+", text.lower() if self.config.lower else text)


@hookimpl
def ragcore_retrievers() -> dict[str, str]:
    return {"rarity": "tests.helpers.rarity:Rarity"}
