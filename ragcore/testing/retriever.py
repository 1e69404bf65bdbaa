"""The suite for retrievers: a passage is found by its own text, and fingerprints differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ragcore.embeddings.cache import EmbeddingCache
from ragcore.registry.components import ComponentSpec
from ragcore.testing.caching import CacheLaws
from ragcore.testing.changing import ChangeLaws
from ragcore.testing.data import passages
from ragcore.testing.hits import agree
from ragcore.testing.manners import MannerLaws
from ragcore.testing.merging import MergeLaws
from ragcore.testing.moving import MoveLaws
from ragcore.testing.passage_reader import Remembered, remembering
from ragcore.testing.passage_texts import TextLaws
from ragcore.testing.searching import SearchLaws
from ragcore.testing.sequences import SequenceLaws
from ragcore.testing.sizes import SizeLaws
from ragcore.testing.states import StateLaws
from ragcore.testing.storing import StoreLaws
from ragcore.testing.tokenizing import check_tokenizer
from ragcore.testing.variants import changed, fingerprints_differ, say_something
from ragcore.types import Passage

__all__ = ["RetrieverSuite"]


class RetrieverSuite(
    SearchLaws,
    ChangeLaws,
    StoreLaws,
    SizeLaws,
    StateLaws,
    MergeLaws,
    CacheLaws,
    MoveLaws,
    TextLaws,
    SequenceLaws,
    MannerLaws,
):
    """Test a component against `ragcore.contracts.Retriever`.

    Attributes:
        variants: settings that each make a retriever which cannot read the component's memories;
            their fingerprints must differ from the component's own and from each other.
    """

    kind = "retriever"
    variants: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def empty(self, component: Any) -> Any:
        """Return a retriever without passages; it reads its own if it reads any (`passages`)."""
        spec = self.spec(component)
        retriever = spec.build()
        if "passages" not in retriever.capabilities:
            return retriever
        retriever = remembering(spec.component)(spec.config)
        retriever.use_passages(Remembered())
        return retriever

    def load(self, component: Any, folder: Path, *, mmap: bool = True) -> Any:
        """Load a saved retriever as a store does, with its passages if it reads any."""
        spec = self.spec(component)
        cls = spec.component
        if "passages" in spec.build().capabilities:
            cls = remembering(cls)
        return cls.load(folder, spec.config, mmap=mmap)

    def items(self, count: int, seed: int) -> list[Passage]:
        """Return passages that their names distinguish."""
        return passages(count, seed)

    def tying(self, count: int) -> list[Passage]:
        """Return passages, each of them twice, under another id."""
        half = passages((count + 1) // 2, seed=1)
        again = [replace(passage, id=f"{passage.id}-again") for passage in half]
        return [*half, *again][:count]

    def questions(self) -> list[str]:
        """Return questions that each name one of the passages' places, in the passages' words."""
        return [
            f"Where is {passage.title}, the capital of {passage.metadata['land']}?"
            for passage in passages(6, seed=1)
        ]

    def many_questions(self, count: int) -> list[str]:
        """Return questions in three forms about the places of `count` passages, in turns."""
        places = passages(self.count, seed=1)
        forms = ("Where is {title}?", "What is the capital of {land}?", "{land}, {title}")
        return [
            forms[number // self.count % len(forms)].format(
                title=places[number % self.count].title,
                land=places[number % self.count].metadata["land"],
            )
            for number in range(count)
        ]

    def asking(self, items: Sequence[Passage]) -> list[str]:
        """Return the passages' titles and texts."""
        return [f"{passage.title} {passage.text}" for passage in items]

    def exchanged(self, items: Sequence[Passage]) -> list[Passage]:
        """Return passages in which each id has the content of the passage before it."""
        contents = [items[-1], *items[:-1]]
        return [replace(new, id=old.id) for old, new in zip(items, contents, strict=True)]

    def renamed(self, items: Sequence[Passage]) -> list[Passage]:
        """Return the same passages under other ids."""
        return [replace(passage, id=f"{passage.id}-renamed") for passage in items]

    def varied(self, component: Any) -> list[tuple[Mapping[str, Any], ComponentSpec[Any]]]:
        """Return the suite's `variants`, each with the component's spec changed to it."""
        spec = self.spec(component)
        return [(settings, changed(spec, settings)) for settings in self.variants]

    def test_a_cache_changes_no_hit(self, component: Any, tmp_path: Path) -> None:
        """Built through the embedding cache, cold or warm, it finds the same (capability `cache`).

        A warm cache knows all texts, also under other ids, so that none is encoded.

        Fix: take vectors from `VectorCache.vectors` in the order of the passages that you pass.
        """
        world = self.world()
        expected = self.filled(component, world)
        self.needs(expected, "cache")
        for what in ("cold", "warm"):
            subject = self.empty(component)
            with EmbeddingCache(tmp_path / "cache", inf) as cache:
                subject.use_cache(cache)
                subject.add(world.rows, self.renamed(world.items))
            agree(self.search(subject), self.search(expected), f"built through a {what} cache")
        encodings = cache.encodings
        assert encodings is not None, "it asks the cache for no vector"
        assert not encodings.encoded, f"{encodings.encoded} texts were encoded though all are known"

    def test_its_tokenizer_counts_texts(self, component: Any) -> None:
        """`tokenizer` is that of its encoder, before a passage is added (capability `tokenizer`).

        Fix: return the encoder's tokenizer, of several encoders the one with the least room.
        """
        retriever = self.empty(component)
        self.needs(retriever, "tokenizer")
        check_tokenizer(retriever.tokenizer)
        assert isinstance(retriever.tokenizer.room("Chad"), int), "its room is no number"

    def test_a_passage_is_found_by_its_own_text(self, component: Any) -> None:
        """A passage's own title and text find it first, in at least the share `recall` of cases.

        Fix: return the rows that `add` received; search titles and the whole text.
        """
        world = self.world()
        retriever = self.filled(component, world)
        hits = retriever.search([f"{passage.title} {passage.text}" for passage in world.items], 1)
        share = float(np.mean(hits.rows[:, 0] == world.rows))
        assert share >= self.recall, (
            f"{share:.0%} of passages come first for their own text: expected {self.recall:.0%}"
        )

    def test_fingerprint_is_stable(self, component: Any, tmp_path: Path) -> None:
        """Retrievers of equal settings have equal fingerprints, whether empty, filled or loaded.

        Fix: derive it from settings and versions, never from `id`, `hash`, time or the passages.
        """
        retriever = self.filled(component, self.world())
        say_something(retriever.fingerprint)
        assert self.empty(component).fingerprint == retriever.fingerprint, (
            "an empty retriever has another fingerprint"
        )
        loaded = self.load(component, self.saved(retriever, tmp_path / "saved"))
        assert loaded.fingerprint == retriever.fingerprint, (
            "a loaded retriever has another fingerprint"
        )

    def test_fingerprint_depends_on_settings(self, component: Any) -> None:
        """Each of `variants` has its own fingerprint.

        Fix: include every setting on which the saved files depend.
        """
        fingerprints_differ(self.spec(component), self.variants)

    def test_unusual_texts_are_accepted(self, component: Any) -> None:
        """Texts in other scripts, of symbols alone, or very long, raise no error.

        Fix: handle texts with no tokens, and cut texts that are too long.
        """
        world = self.world()
        texts = ["?", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ Ǆ 東京 \u0000", "word " * 3000]
        unusual = [Passage(f"unusual-{number}", "", text) for number, text in enumerate(texts)]
        retriever = self.empty(component)
        retriever.add(world.rows, [*unusual, *world.items[len(unusual) :]])
        retriever.search(texts, self.k)
