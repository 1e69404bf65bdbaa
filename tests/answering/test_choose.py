"""What answers for a generator is chosen by its tier; what it needs is said where it is missing."""

from __future__ import annotations

import sys
from typing import Any, get_args

import pytest

from ragcore.answering.answerer import Answerer
from ragcore.answering.choose import answerer_for
from ragcore.config import RagConfig
from ragcore.contracts import tier_of
from ragcore.errors import ComponentError, PluginError, UnsupportedOperation
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


def test_a_tier_that_nothing_answers_for_is_refused():
    with pytest.raises(UnsupportedOperation, match="its tier is 'text', not 'steps'"):
        answerer_for(generator(tier="text"), RagConfig())


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
