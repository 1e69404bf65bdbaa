"""`rag.drop_below` through the pipeline: answers, JSON, the terminal, ablation, verification."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from ragcore.config import RagConfig
from ragcore.evaluation.verification import verify_answer
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from ragcore.views.answer import answer_view
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

QUESTION = "who rules chad"
PASSAGES = [
    Passage(f"p{z}", title, text)
    for z, (title, text) in enumerate(
        [
            ("who rules", "abcab"),
            ("rules chad", "cab"),
            ("chad", "bb"),
            ("who rules chad", "ca"),
            ("a river", "bca"),
        ]
    )
]
MODES = [
    {"marginalize": "token"},
    {"marginalize": "sequence", "decode": "thorough"},
    {"marginalize": "sequence", "decode": "fast"},
    {"marginalize": "sequence", "decode": "joint"},
]
ABSTAIN = {"abstain": {"answer": "a", "above": 0.9}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def make(store: Store, seed: int = 0, left_out: str = "", **rag) -> Rag:
    """Make a pipeline over four passages, or over the three that are not left out."""
    version = f"all-{left_out}"
    if version not in {info.name for info in store.versions()}:
        store.build(version, [p for p in PASSAGES if p.id != left_out], dense_part())
    return Rag(
        store.open(version, retriever=dense_part(), temperature=2.0),
        TableGenerator(TableGenerator.Config(seed=seed, sharpness=2.0)),
        RagConfig(**{"max_new_tokens": 4, "k": 3 if left_out else 4, **rag}),
    )


@pytest.mark.parametrize("more", [{}, ABSTAIN], ids=["plain", "abstain"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(mode.values()))
def test_scoring_ablation_and_verification_agree_with_the_bound(store, mode, more):
    dropped = 0
    for seed in range(12):
        rag = make(store, seed, drop_below=0.3, **mode, **more)
        (answer,) = rag.answer(QUESTION)
        # Scoring drops nothing.
        (truth,) = rag.log_prob([QUESTION], [answer.text])
        assert answer.log_prob - 1e-4 <= truth <= answer.log_prob + answer.log_prob_gap + 1e-4
        assert math.exp(truth) <= math.exp(answer.log_prob) + answer.dropped_mass + 1e-5
        assert verify_answer(rag, QUESTION).gap < 1e-4
        dropped += truth > answer.log_prob + 1e-3
        for hit in answer.evidence:
            ablated = rag.without(answer, hit.passage.id)
            other = make(store, seed, left_out=hit.passage.id, **mode, **more)
            (truth,) = map(math.exp, other.log_prob([QUESTION], [answer.text]))
            low = math.exp(ablated.log_prob)
            assert low - 1e-5 <= truth <= low + ablated.dropped_mass + 1e-5
            assert ablated.to_dict()["dropped_mass"] == ablated.dropped_mass
    assert dropped


def test_the_bound_is_in_json_and_shown_in_a_terminal(store):
    rag = make(store, drop_below=0.3, marginalize="sequence", decode="joint")
    (answer,) = rag.answer(QUESTION)
    assert json.loads(json.dumps(answer.to_dict()))["dropped_mass"] == answer.dropped_mass > 0
    assert "passages of little weight were dropped" in _shown(answer)
    (exact,) = make(store, marginalize="sequence", decode="joint").answer(QUESTION)
    assert exact.to_dict()["dropped_mass"] == exact.log_prob_gap == 0
    assert "dropped" not in _shown(exact)


def _shown(answer) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(answer_view(answer))
    return console.file.getvalue()
