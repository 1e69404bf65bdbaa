"""The suites for generators of the tiers `score` and `top`: log-probs of texts and of few tokens.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from ragcore.answering.text_checks import check_continuations, check_scores
from ragcore.contracts import Completion, Prompted, TextScore, TopToken, Writing
from ragcore.errors import GeneratorError
from ragcore.testing.writing import TextGeneratorSuite
from ragcore.tiers import Meter, Tier

__all__ = ["ScoringGeneratorSuite", "TopGeneratorSuite"]


class _NumbersSuite(TextGeneratorSuite):
    """What both tiers share.

    Attributes:
        close: the largest difference between log-probs where only the way of computing differs.
    """

    close: ClassVar[float] = 1e-3


class ScoringGeneratorSuite(_NumbersSuite):
    """Test a component against `ragcore.contracts.ScoringGenerator`.

    Attributes:
        answers: different texts that can be scored.
    """

    tier: ClassVar[Tier] = "score"
    answers: ClassVar[Sequence[str]] = (
        "a young man",
        "a young woman",
        "the north",
        "man",
        "man of the north",
        "",
    )

    def scores(
        self, generator: Any, prompts: Sequence[Prompted], texts: Sequence[str]
    ) -> list[TextScore]:
        """Score texts[i] after prompts[i]."""
        meters = [Meter() for _ in prompts]
        scores: list[TextScore] = generator.score_texts(prompts, texts, meters)
        return scores

    def _grid(self, generator: Any) -> dict[tuple[int, str], TextScore]:
        """Score each answer after each prompt."""
        cells = [(row, text) for row in range(len(self.prompts)) for text in self.answers]
        scores = self.scores(
            generator, [self.prompts[row] for row, _ in cells], [text for _, text in cells]
        )
        try:
            check_scores(type(generator).__name__, [text for _, text in cells], scores)
        except GeneratorError as fault:
            raise AssertionError(str(fault)) from fault
        return dict(zip(cells, scores, strict=True))

    def test_scores_are_log_probs_of_the_same_tokens(self, component: Any) -> None:
        """Log-probs are at most 0, one for each token, and a text has the same tokens everywhere.

        Fix: score the tokens of the text and its end, and none of the prompt; end the prompt where
        a token ends.
        """
        self._grid(self.build(component))

    def test_probabilities_of_different_texts_sum_to_at_most_1(self, component: Any) -> None:
        """Texts that differ exclude each other: none begins another, and p(y|x,z) sum to 1 or less.

        Fix: add the end token and its log-prob: without it "man" is as possible as "man of".
        """
        grid = self._grid(self.build(component))
        sequences = {text: grid[0, text].tokens for text in self.answers}
        for text, tokens in sequences.items():
            for other, longer in sequences.items():
                assert text == other or longer[: len(tokens)] != tokens, (
                    f"the tokens of {text!r} begin those of {other!r}: its end is missing"
                )
        for row in range(len(self.prompts)):
            total = sum(math.exp(math.fsum(grid[row, text].log_probs)) for text in self.answers)
            assert total <= 1 + self.close, f"{len(self.answers)} texts have {total:.4f} together"

    def test_a_token_depends_on_what_is_before_it_alone(self, component: Any) -> None:
        """Texts that begin with the same tokens have the same log-probs there.

        Fix: the log-prob of a token is at the position before it; shift by one.
        """
        grid = self._grid(self.build(component))
        for row in range(len(self.prompts)):
            for one in self.answers:
                for other in self.answers:
                    pairs = zip(grid[row, one].tokens, grid[row, other].tokens, strict=False)
                    for position, (token, same) in enumerate(pairs):
                        if token != same:
                            break
                        first = grid[row, one].log_probs[position]
                        second = grid[row, other].log_probs[position]
                        assert abs(first - second) <= self.close, (
                            f"token {position} ({token!r}) of {one!r} has {first:.4f}, and of "
                            f"{other!r} {second:.4f}"
                        )

    def test_a_score_does_not_depend_on_its_neighbours(self, component: Any) -> None:
        """A text has the same log-probs in another order, and alone.

        Fix: send each text as a request of its own, or pad so that no token sees another text's.
        """
        generator = self.build(component)
        grid = self._grid(generator)
        for (row, text), score in list(grid.items())[::-1][:6]:
            (alone,) = self.scores(generator, [self.prompts[row]], [text])
            assert alone.tokens == score.tokens, f"{text!r} alone has other tokens"
            for first, second in zip(alone.log_probs, score.log_probs, strict=True):
                near = abs(first - second) <= self.close
                assert near, f"{text!r} alone has {first}, not {second}"

    def test_a_passage_matters(self, component: Any) -> None:
        """The same text has another log-prob where another passage is read.

        Fix: put the passage into the prompt.
        """
        grid = self._grid(self.build(component))
        sums = [math.fsum(grid[row, self.answers[0]].log_probs) for row in range(len(self.prompts))]
        assert max(sums) - min(sums) > self.close, f"log p is {sums[0]:.4f} whatever is read"

    def test_what_is_written_can_be_scored(self, component: Any) -> None:
        """What is written at temperature 0 begins with the most probable token by the scores.

        Fix: write with the model, the template and the temperature that score.
        """
        generator = self.build(component)
        written = self.written(generator, max_new_tokens=1)
        texts = [completions[0].text for completions in written]
        scores = self.scores(generator, self.prompts, texts)
        grid = self._grid(generator)
        for row, score in enumerate(scores):
            if not texts[row]:
                # An end, or white space, which an answer leaves out.
                continue
            first = max(grid[row, text].log_probs[0] for text in self.answers)
            assert score.log_probs[0] >= first - self.close, (
                f"{texts[row]!r} is written, and its first token has {score.log_probs[0]:.4f}; "
                f"another has {first:.4f}"
            )


class TopGeneratorSuite(_NumbersSuite):
    """Test a component against `ragcore.contracts.TopGenerator`."""

    tier: ClassVar[Tier] = "top"

    def continued(
        self,
        generator: Any,
        prompts: Sequence[Prompted],
        prefixes: Sequence[Sequence[TopToken]],
        longest: int | None = None,
    ) -> list[Completion]:
        """Continue prefixes, and check that their tops are part of distributions."""
        continuations: list[Completion] = generator.go_on(
            prompts, prefixes, Writing(longest or self.longest), [Meter() for _ in prompts]
        )
        try:
            check_continuations(type(generator).__name__, len(prompts), continuations)
        except GeneratorError as fault:
            raise AssertionError(str(fault)) from fault
        return continuations

    def _begun(self, generator: Any) -> list[Completion]:
        return self.continued(generator, self.prompts, [()] * len(self.prompts))

    def test_tops_are_part_of_a_distribution(self, component: Any) -> None:
        """Each step's tokens differ, fall in log-prob, and sum to at most 1.

        Fix: sort by log-prob; leave a token out that is listed twice.
        """
        for continuation in self._begun(self.build(component)):
            for step in continuation.steps:
                keys = [(token.id, None if token.id is not None else token.text) for token in step]
                assert len(set(keys)) == len(keys), f"a token is listed twice: {step}"
                log_probs = [token.log_prob for token in step]
                assert log_probs[1:] == sorted(log_probs[1:], reverse=True), f"not sorted: {step}"
                assert log_probs[0] >= max(log_probs) - self.close, (
                    f"the token that was written, {step[0].text!r}, is not the most probable one"
                )

    def test_steps_spell_the_text_and_its_end(self, component: Any) -> None:
        """The first tokens of the steps are the text; the last is an end if it is `finished`.

        Fix: list a step for each token, the end included, which has no text and `ends`.
        """
        for continuation in self._begun(self.build(component)):
            written = [step[0] for step in continuation.steps]
            assert len(written) <= self.longest, f"{len(written)} steps, at most {self.longest}"
            assert "".join(token.text for token in written).strip() == continuation.text, (
                f"{[token.text for token in written]} is not {continuation.text!r}"
            )
            assert not any(token.ends for token in written[:-1]), "an end amid the text"
            assert written[-1].ends == continuation.finished, (
                f"the last token {'ends' if written[-1].ends else 'does not end'} the answer, and "
                f"finished is {continuation.finished}"
            )
            ends = [token for step in continuation.steps for token in step if token.ends]
            assert not any(token.text for token in ends), "an end token has a text"

    def test_a_prefix_is_continued_where_it_ends(self, component: Any) -> None:
        """After the first tokens of a continuation come its other tokens, with the same log-probs.

        Fix: append the tokens' ids to the prompt's, or their texts where the server takes no ids.
        """
        self.needs_repeats()
        generator = self.build(component)
        for prompt, whole in zip(self.prompts, self._begun(generator), strict=True):
            written = [step[0] for step in whole.steps]
            for length in range(1, len(written)):
                left = len(written) - length
                (rest,) = self.continued(generator, [prompt], [written[:length]], left)
                for one, other in zip(rest.steps, whole.steps[length:], strict=True):
                    assert one[0].text == other[0].text, (
                        f"after {length} tokens comes {one[0].text!r}, not {other[0].text!r}"
                    )
                    assert abs(one[0].log_prob - other[0].log_prob) <= self.close

    def test_another_token_can_be_continued(self, component: Any) -> None:
        """A prefix may leave the most probable path: any token of a top can be continued.

        Fix: as above; nothing of an earlier continuation is to be reused.
        """
        generator = self.build(component)
        for prompt, whole in zip(self.prompts, self._begun(generator), strict=True):
            others = [token for token in whole.steps[0][1:] if not token.ends]
            for token in others[:2]:
                (rest,) = self.continued(generator, [prompt], [[token]])
                assert rest.steps

    def test_a_continuation_does_not_depend_on_its_neighbours(self, component: Any) -> None:
        """A prompt has the same steps in another order of prompts.

        Fix: collect what parallel requests return by the number of the prompt.
        """
        self.needs_repeats()
        generator = self.build(component)
        begun = self._begun(generator)
        backwards = self.continued(generator, self.prompts[::-1], [()] * len(self.prompts))
        for one, other in zip(begun, backwards[::-1], strict=True):
            assert one.text == other.text, f"{other.text!r} in another order, not {one.text!r}"
