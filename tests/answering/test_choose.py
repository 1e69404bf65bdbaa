"""What answers for a generator is chosen by its tier; what it needs is said where it is missing."""

from __future__ import annotations

import sys
from typing import Any, get_args

import pytest

from ragcore.answering.answerer import Answerer
from ragcore.answering.choose import answerer_for
from ragcore.answering.scored import ScoringAnswerer
from ragcore.answering.tops import TopAnswerer
from ragcore.answering.votes import VotingAnswerer
from ragcore.config import RagConfig
from ragcore.contracts import tier_of
from ragcore.errors import ComponentError, PluginError
from ragcore.types import Tier
from tests.helpers.table_generator import TableGenerator


def generator(**members: Any) -> TableGenerator:
    made = TableGenerator(TableGenerator.Config())
    vars(made).update(members)
    return made


def test_a_generator_that_declares_no_tier_gives_steps():
    assert tier_of(generator()) == "steps"
    assert isinstance(answerer_for(generator(), RagConfig()), Answerer)
    tiers = list(get_args(Tier))
    assert [tier_of(generator(tier=each)) for each in tiers] == tiers


@pytest.mark.parametrize("declared", ["stepz", "", None, ["steps"]])
def test_an_unknown_tier_is_refused(declared):
    with pytest.raises(ComponentError, match="expected one of steps, score, top, text"):
        answerer_for(generator(tier=declared), RagConfig())


@pytest.mark.parametrize(
    ("tier", "answerer"),
    [("score", ScoringAnswerer), ("top", TopAnswerer), ("text", VotingAnswerer)],
)
def test_each_tier_has_what_answers_by_what_it_gives(tier, answerer):
    assert isinstance(answerer_for(generator(tier=tier), RagConfig()), answerer)


def test_torch_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "ragcore.answering.answerer")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(PluginError, match=r"needs torch, .*pip install ./plugins/ragcore-transf"):
        answerer_for(generator(), RagConfig())


def test_another_missing_module_is_not_taken_for_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "ragcore.answering.answerer")
    monkeypatch.setitem(sys.modules, "ragcore.answering.streaming", None)
    with pytest.raises(ModuleNotFoundError, match="streaming"):
        answerer_for(generator(), RagConfig())
