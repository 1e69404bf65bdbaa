"""What answers for a generator is chosen by its tier; what it needs is said where it is missing."""

from __future__ import annotations

import sys
from typing import Any, get_args

import pytest

from ragcore.answering.answerer import Answerer
from ragcore.answering.choose import answerer_for
from ragcore.answering.request import checked_settings
from ragcore.answering.scored import ScoringAnswerer
from ragcore.answering.tops import TopAnswerer
from ragcore.answering.votes import VotingAnswerer
from ragcore.config import AbstainConfig, RagConfig
from ragcore.contracts import tier_of
from ragcore.errors import ComponentError, ConfigError, PluginError, UnsupportedOperation
from ragcore.types import Tier
from tests.helpers.table_answerability import answerability
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


def test_a_generator_that_needs_passages_is_not_asked_without():
    alone = RagConfig(k=0)
    assert isinstance(answerer_for(generator(), alone), Answerer)
    assert isinstance(answerer_for(generator(needs_passages=True), RagConfig()), Answerer)
    for unknown, gets in [(None, "get no answer"), ("b", "get 'b'")]:
        with pytest.raises(UnsupportedOperation, match=f"rag.k is 0, .*{gets}; set rag.k to 1"):
            answerer_for(generator(needs_passages=True, unknown=unknown), alone)


def test_grounded_answers_need_passages_in_a_file_and_in_a_request():
    fault = "k is 0, and grounded answers are words of passages"
    with pytest.raises(ValueError, match=fault):
        RagConfig(k=0, grounded=True)
    with pytest.raises(ConfigError, match=f"settings of this request: {fault}"):
        checked_settings(RagConfig(grounded=True), {"k": 0})


@pytest.mark.parametrize("tier", ["steps", "score", "text"])
def test_the_abstaining_answer_is_that_of_the_generator(tier):
    of_b = generator(tier=tier, unknown="b")
    assert answerer_for(of_b, RagConfig())
    assert answerer_for(of_b, RagConfig(abstain=AbstainConfig(answer="b")))
    assert answerer_for(generator(tier=tier), RagConfig(abstain=AbstainConfig(answer="a")))
    with pytest.raises(
        UnsupportedOperation,
        match=r"rag.abstain.answer is 'a', and generator.unknown is 'b', .* set both to the same$",
    ):
        answerer_for(of_b, RagConfig(abstain=AbstainConfig(answer="a")))


def test_a_scorer_may_abstain_for_a_generator_that_answers_always():
    abstain = AbstainConfig(answer="a", scorer=answerability())
    assert answerer_for(generator(unknown=None), RagConfig(abstain=abstain))
    with pytest.raises(UnsupportedOperation, match=r"or generator\.unknown to null"):
        answerer_for(generator(unknown="b"), RagConfig(abstain=abstain))


@pytest.mark.parametrize("tier", ["steps", "text"])
def test_answers_that_are_written_alike_are_the_same(tier):
    class OfAnyCase(TableGenerator):
        def encode_answers(self, answers):
            return super().encode_answers([answer.lower() for answer in answers])

    made = OfAnyCase(TableGenerator.Config())
    vars(made).update(tier=tier, unknown="B")
    assert answerer_for(made, RagConfig(abstain=AbstainConfig(answer="b")))


@pytest.mark.parametrize("members", [{"needs_passages": "yes"}, {"unknown": 3}])
def test_what_a_generator_says_of_itself_is_checked(members):
    (name,) = members
    settings = RagConfig(k=0, abstain=AbstainConfig(answer="a"))
    with pytest.raises(ComponentError, match=f"{name} is .*: expected"):
        answerer_for(generator(**members), settings)
