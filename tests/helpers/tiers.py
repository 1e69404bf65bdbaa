"""Pipelines of all tiers over the same passages and the same tables of next-token distributions."""

from __future__ import annotations

from ragcore.config import RagConfig
from ragcore.rag import Rag
from ragcore.registry.components import ComponentSpec
from ragcore.store.store import Store
from ragcore.testing.as_tier import AsScores, AsTexts, AsTops
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

QUESTION = "who rules chad"
PASSAGES = [
    Passage(f"p{z}", title, text)
    for z, (title, text) in enumerate(
        [("who rules", "abcab"), ("rules chad", "cab"), ("chad", "bb"), ("a river", "bca")]
    )
]
WRAPPERS = {"score": AsScores, "top": AsTops, "text": AsTexts}


def tables(seed: int = 0, sharpness: float = 2.0) -> ComponentSpec:
    config = TableGenerator.Config(seed=seed, sharpness=sharpness)
    return ComponentSpec("generator", "table", TableGenerator, config)


def generator_of(tier: str, seed: int = 0, top: int = 4, sharpness: float = 2.0):
    """Build a generator of a tier; of 4 tokens a top of 4 is the whole vocabulary."""
    spec = tables(seed, sharpness)
    if tier == "steps":
        return spec.build()
    wrapper = WRAPPERS[tier]
    return wrapper(wrapper.Config(generator=spec, top=top))


def pipeline(
    store: Store, tier: str, seed: int = 0, *, top: int = 4, passages=PASSAGES, **rag
) -> Rag:
    """Make a pipeline of a tier over passages, of which each set is one version."""
    version = "-".join(passage.id for passage in passages) or "none"
    if version not in {info.name for info in store.versions()}:
        store.build(version, passages, dense_part())
    return Rag(
        store.open(version, retriever=dense_part(), temperature=20.0),
        generator_of(tier, seed, top),
        RagConfig(**{"max_new_tokens": 4, "k": len(passages), **rag}),
        store=store,
        retriever=dense_part(),
    )
