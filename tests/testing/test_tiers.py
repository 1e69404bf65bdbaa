"""The suites of generators of texts: the wrappers of a steps generator pass, wrong ones do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragcore.contracts import TextScore
from ragcore.registry.components import ComponentSpec
from ragcore.testing import (
    ScoringGeneratorSuite,
    TextGeneratorSuite,
    TopGeneratorSuite,
    examine,
)
from ragcore.testing.as_tier import AsScores, AsTexts, AsTops
from ragcore.testing.runner import suite_of
from ragcore.testing.suite import Suite
from tests.helpers.table_generator import EOS, TableGenerator


class Writer(TableGenerator):
    """Writes any text: one of 26 letters, or a space, for each of its characters."""

    def encode_answers(self, answers):
        return [
            [*(27 if c == " " else 1 + (ord(c) - 97) % 26 for c in answer), EOS]
            for answer in answers
        ]

    def decode_tokens(self, token_ids):
        return "".join(" " if t == 27 else chr(97 + t - 1) for t in token_ids if t != EOS)


def spec_of(wrapper) -> ComponentSpec:
    table = ComponentSpec("generator", "table", Writer, Writer.Config(vocabulary=28))
    return ComponentSpec("generator", "wrapped", wrapper, wrapper.Config(generator=table, top=6))


class TestTexts(TextGeneratorSuite):
    @pytest.fixture
    def component(self):
        return spec_of(AsTexts)


class TestScores(ScoringGeneratorSuite):
    @pytest.fixture
    def component(self):
        return spec_of(AsScores)


class TestTops(TopGeneratorSuite):
    @pytest.fixture
    def component(self):
        return spec_of(AsTops)


def test_the_suite_of_a_generator_is_that_of_its_tier():
    suites = [TextGeneratorSuite, ScoringGeneratorSuite, TopGeneratorSuite]
    wrappers = [AsTexts, AsScores, AsTops]
    assert [suite_of("generator", spec_of(wrapper)) for wrapper in wrappers] == suites


class OfBatches(AsTexts):
    """Numbers the prompts of all calls."""

    calls = 0

    def write(self, prompts, writing, meters):
        written = super().write(prompts, writing, meters)
        type(self).calls += 1
        return [[replace(each, text=f"{each.text}{self.calls}") for each in t] for t in written]


class Unordered(AsTexts):
    def write(self, prompts, writing, meters):
        return super().write(prompts, writing, meters)[::-1]


class Spaced(AsTexts):
    def _completion(self, tokens, stop):
        completion = super()._completion(tokens, stop)
        return replace(completion, text=f" {completion.text}")


class Unmetered(AsTexts):
    def write(self, prompts, writing, meters):
        return super().write(prompts, writing, [meters[0]] * len(prompts))


class OneDraw(AsTexts):
    def write(self, prompts, writing, meters):
        return super().write(prompts, replace(writing, count=1), meters)


class Unstopped(AsTexts):
    def write(self, prompts, writing, meters):
        return super().write(prompts, replace(writing, stop=()), meters)


class Unlimited(AsTexts):
    def write(self, prompts, writing, meters):
        return super().write(prompts, replace(writing, max_new_tokens=9), meters)


class Endless(AsScores):
    """Leaves the end out."""

    def score_texts(self, prompts, texts, meters):
        scores = super().score_texts(prompts, texts, meters)
        return [
            TextScore(s.tokens[:-1], s.log_probs[:-1]) if len(s.tokens) > 1 else s for s in scores
        ]


class Shifted(AsScores):
    """Has each token's log-prob at the next one."""

    def score_texts(self, prompts, texts, meters):
        scores = super().score_texts(prompts, texts, meters)
        return [TextScore(s.tokens, (s.log_probs[-1], *s.log_probs[:-1])) for s in scores]


class Logits(AsScores):
    def score_texts(self, prompts, texts, meters):
        scores = super().score_texts(prompts, texts, meters)
        return [TextScore(s.tokens, tuple(p + 5 for p in s.log_probs)) for s in scores]


class Blind(AsScores):
    """Reads no passage."""

    def score_texts(self, prompts, texts, meters):
        blind = [replace(prompt, question="", passages=()) for prompt in prompts]
        return super().score_texts(blind, texts, meters)


class Unended(AsTops):
    """Has no step for the end."""

    def go_on(self, prompts, prefixes, writing, meters):
        continuations = super().go_on(prompts, prefixes, writing, meters)
        return [
            replace(each, steps=each.steps[:-1] if len(each.steps) > 1 else each.steps)
            for each in continuations
        ]


class Restarting(AsTops):
    """Forgets the prefix."""

    def go_on(self, prompts, prefixes, writing, meters):
        return super().go_on(prompts, [()] * len(prompts), writing, meters)


class Unsorted(AsTops):
    def _tops(self, prefix, written, log_p):
        first, *others = super()._tops(prefix, written, log_p)
        return (first, *others[::-1])


RIGHT = {
    TextGeneratorSuite: AsTexts,
    ScoringGeneratorSuite: AsScores,
    TopGeneratorSuite: AsTops,
}


@pytest.mark.parametrize(
    ("wrong", "suite", "law"),
    [
        (OfBatches, TextGeneratorSuite, "test_a_text_does_not_depend_on_its_neighbours"),
        (Unordered, TextGeneratorSuite, "test_a_text_does_not_depend_on_its_neighbours"),
        (Spaced, TextGeneratorSuite, "test_texts_are_answers_alone"),
        (Unmetered, TextGeneratorSuite, "test_what_is_counted_is_added_to_the_prompts_own_meter"),
        (
            OneDraw,
            TextGeneratorSuite,
            "test_draws_are_as_many_as_asked_for_and_follow_their_seed",
        ),
        (Unstopped, TextGeneratorSuite, "test_a_text_ends_before_a_stop"),
        (Unlimited, TextGeneratorSuite, "test_a_shorter_limit_has_the_beginning_of_the_text"),
        (AsTexts, ScoringGeneratorSuite, "test_the_tier_is_declared"),
        (
            Endless,
            ScoringGeneratorSuite,
            "test_probabilities_of_different_texts_sum_to_at_most_1",
        ),
        (Shifted, ScoringGeneratorSuite, "test_a_token_depends_on_what_is_before_it_alone"),
        (Logits, ScoringGeneratorSuite, "test_scores_are_log_probs_of_the_same_tokens"),
        (Blind, ScoringGeneratorSuite, "test_a_passage_matters"),
        (Unended, TopGeneratorSuite, "test_steps_spell_the_text_and_its_end"),
        (Restarting, TopGeneratorSuite, "test_a_prefix_is_continued_where_it_ends"),
        (Unsorted, TopGeneratorSuite, "test_tops_are_part_of_a_distribution"),
    ],
)
def test_a_wrong_generator_breaks_the_law(wrong, suite: type[Suite], law: str):
    (verdict,) = examine(suite, spec_of(wrong), [law])
    assert verdict.outcome == "failed", verdict
    (verdict,) = examine(suite, spec_of(RIGHT[suite]), [law])
    assert verdict.outcome == "passed", verdict
