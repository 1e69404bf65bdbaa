"""Laws of a generator's log-probabilities: scoring, stepping and selecting rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from ragcore.contracts import end_tokens
from ragcore.marginalization import pad_targets, sequence_log_prob
from ragcore.testing.gradients import check_gradients
from ragcore.testing.suite import SharedSuite
from ragcore.testing.trained import loaded, moved
from ragcore.types import Passage

__all__ = ["LogProbLaws"]

_BFLOAT16_GAP: Final = 0.5
"""The largest difference of a log-probability; bfloat16 keeps some three digits."""


class LogProbLaws(SharedSuite):
    """Test a generator's log-probabilities; see `GeneratorSuite`."""

    kind = "generator"
    answers: ClassVar[Sequence[str]] = ("Nairobi", "the red river", "42")
    questions: ClassVar[Sequence[str]] = (
        "What is the capital of Kenya?",
        "Who?",
        "Where does the red river meet the sea?",
    )
    close: ClassVar[float] = 1e-3

    def passages(self) -> list[Passage | None]:
        """Return a passage for each question; one question has none."""
        return [
            Passage("1", "Kenya, Capital", "Nairobi is the capital and the largest city of Kenya."),
            None,
            Passage("3", "", "42 rivers"),
        ]

    def read(self, generator: Any) -> Any:
        """Read the pairs that most laws use."""
        with torch.no_grad():
            return generator.read(list(self.questions), self.passages())

    def first_step(self, generator: Any, pairs: Sequence[tuple[str, Passage | None]]) -> Tensor:
        """Return log p of the first token of each pair, [P, V]."""
        with torch.no_grad():
            read = generator.read(*map(list, zip(*pairs, strict=True)))
            state = generator.start(read, torch.arange(len(pairs)))
            first: Tensor = generator.step(state, None).clone()  # [P, V]
        return first

    def targets(self, generator: Any) -> Tensor:
        """Return target ids of the answers, int64 [3, T], of different lengths, padded with -1."""
        return pad_targets(generator.encode_answers(self.answers))

    def score(self, generator: Any, read: Any, pairs: Sequence[int], targets: Tensor) -> Tensor:
        """Score targets without gradient, [M, T]."""
        with torch.no_grad():
            rows = torch.tensor(pairs, dtype=torch.long)  # [M], also where M is 0
            log_probs: Tensor = generator.score(read, rows, targets)  # [M, T]
        return log_probs

    def steps(self, generator: Any, state: Any, tokens: Tensor) -> Tensor:
        """Return log p [M, T, V] of steps that feed tokens [M, T - 1], the first step fed none."""
        with torch.no_grad():
            columns = [generator.step(state, None).clone()]
            columns += [generator.step(state, column).clone() for column in tokens.T]
        return torch.stack(columns, dim=1)  # [M, T, V]

    def drawn(self, generator: Any, count: int, length: int) -> Tensor:
        """Draw tokens [count, length] without end tokens."""
        draws = torch.Generator().manual_seed(3)
        tokens = torch.randint(0, generator.vocabulary_size, (count, length), generator=draws)
        ends = set(end_tokens(generator))
        others = torch.tensor([v for v in range(generator.vocabulary_size) if v not in ends])
        return torch.where(
            torch.isin(tokens, torch.tensor(sorted(ends))), others[tokens % len(others)], tokens
        )

    def test_each_step_sums_to_one(self, component: Any) -> None:
        """`step` returns log-probabilities, float32 [M, V], whose probabilities sum to 1.

        Fix: apply `log_softmax` to the whole vocabulary, after everything that changes logits.
        """
        generator = self.build(component)
        with torch.no_grad():
            state = generator.start(self.read(generator), torch.tensor([0, 2, 1, 0]))
            for tokens in (None, *self.drawn(generator, 4, 2).T):
                log_probs = generator.step(state, tokens)
                assert log_probs.dtype == torch.float32, f"step returned {log_probs.dtype}"
                assert log_probs.shape == (4, generator.vocabulary_size), (
                    f"step returned {tuple(log_probs.shape)}"
                )
                total = log_probs.double().logsumexp(dim=1).abs().max()
                assert float(total) <= self.close, (
                    f"the log of a row's sum is {float(total):.3g}, not 0"
                )

    def test_other_end_tokens_count_as_the_first(self, component: Any) -> None:
        """Only the first of several end tokens has a probability, that of all together.

        Fix: put the log of the sum over `eos_token_ids` at `eos_token_id`, and -inf at the others.
        """
        generator = self.build(component)
        others = list(end_tokens(generator)[1:])
        with torch.no_grad():
            state = generator.start(self.read(generator), torch.tensor([0, 2, 1, 0]))
            for tokens in (None, *self.drawn(generator, 4, 2).T):
                log_probs = generator.step(state, tokens)
                assert bool(torch.isneginf(log_probs[:, others]).all()), (
                    f"end tokens {others} have a probability apart from {generator.eos_token_id}"
                )

    def test_score_has_a_number_for_each_token(self, component: Any) -> None:
        """`score` returns float32 [M, T], none above 0.

        Fix: select each target's log-probability from its row; sum nothing.
        """
        generator = self.build(component)
        targets = self.targets(generator)
        log_probs = self.score(generator, self.read(generator), [0, 1, 2], targets)
        assert log_probs.dtype == torch.float32, f"score returned {log_probs.dtype}"
        assert log_probs.shape == targets.shape, (
            f"{tuple(log_probs.shape)}, not {tuple(targets.shape)}"
        )
        assert bool((log_probs <= self.close).all()), "a log-probability is above 0"
        empty = self.score(generator, self.read(generator), [], targets[:0])
        assert empty.shape == (0, targets.shape[1]), f"for no rows, shape {tuple(empty.shape)}"

    def test_padding_scores_zero(self, component: Any) -> None:
        """Where a target is padded with -1 the score is 0.0, and padding changes no other score.

        Fix: `torch.where(targets < 0, 0.0, log_probs)`.
        """
        generator = self.build(component)
        read, targets = self.read(generator), self.targets(generator)
        log_probs = self.score(generator, read, [0, 1, 2], targets)
        assert bool((targets < 0).any()), "the suite's `answers` must differ in length"
        assert bool((log_probs[targets < 0] == 0).all()), "padding has a score"
        longer = torch.nn.functional.pad(targets, (0, 3), value=-1)
        wider = self.score(generator, read, [0, 1, 2], longer)
        self._same(wider[:, : targets.shape[1]], log_probs, "with more padding")
        assert bool((wider[:, targets.shape[1] :] == 0).all()), "padding has a score"

    def test_steps_equal_score(self, component: Any) -> None:
        """Fed token by token, a target has the log-probabilities that `score` returns.

        Fix: position i of `score` is p(y_i | y_<i), the first from the start token alone.
        """
        generator = self.build(component)
        read, pairs = self.read(generator), torch.tensor([2, 0, 1, 0])
        tokens = self.drawn(generator, 4, 5)
        with torch.no_grad():
            rows = self.steps(generator, generator.start(read, pairs), tokens[:, :-1])
        stepped = rows.gather(2, tokens[:, :, None])[:, :, 0]
        self._same(
            stepped, self.score(generator, read, pairs.tolist(), tokens), "step by step, scored"
        )

    def test_a_batch_equals_single_rows(self, component: Any) -> None:
        """A row's score does not depend on the other rows, their order, or the other pairs read.

        Fix: mask the padding of inputs and targets; use `pairs` to look up what was read.
        """
        generator = self.build(component)
        read, targets = self.read(generator), self.targets(generator)
        pairs, rows = [2, 0, 1, 0, 2], [0, 1, 2, 0, 2]
        log_probs = self.score(generator, read, pairs, targets[rows])
        for number, (pair, row) in enumerate(zip(pairs, rows, strict=True)):
            with torch.no_grad():
                alone = generator.read([self.questions[pair]], [self.passages()[pair]])
            end = int((targets[row] >= 0).sum())
            single = self.score(generator, alone, [0], targets[row : row + 1, :end])
            self._same(log_probs[number : number + 1, :end], single, f"pair {pair} alone")

    def test_select_reorders_rows(self, component: Any) -> None:
        """`state.select(rows)` leaves those rows, in that order, some of them twice.

        Fix: index each cache and each count in the state along its batch dimension.
        """
        generator = self.build(component)
        read, pairs = self.read(generator), torch.tensor([0, 1, 2, 1])
        before, after = self.drawn(generator, 4, 2), self.drawn(generator, 5, 2).flip(0)
        for chosen in ([3, 1, 0, 2], [2, 2, 0, 3, 2], [1], [3, 3]):
            rows = torch.tensor(chosen)
            fed = torch.cat([before[rows], after[: len(rows)]], dim=1)
            with torch.no_grad():
                state = generator.start(read, pairs)
                self.steps(generator, state, before[:, :-1])
                # Beam search, too, feeds the last token after the selection.
                state.select(rows)
                log_probs = [generator.step(state, column).clone() for column in fed[:, 1:].T]
                expected = self.steps(generator, generator.start(read, pairs[rows]), fed)[:, 2:]
            self._same(
                torch.stack(log_probs, dim=1),
                expected,
                f"rows {chosen} of 4, and a new state of those rows",
            )

    def test_all_rows_can_be_pruned(self, component: Any) -> None:
        """A state without rows steps to an empty result, [0, V].

        Fix: return early where there are no rows.
        """
        generator = self.build(component)
        with torch.no_grad():
            state = generator.start(self.read(generator), torch.tensor([], dtype=torch.long))
            log_probs = generator.step(state, None)
        assert log_probs.shape == (0, generator.vocabulary_size), (
            f"step returned {tuple(log_probs.shape)}"
        )

    def test_states_are_independent(self, component: Any) -> None:
        """Two states of one `Read` can run in turns, and a step's result outlives the next step.

        Fix: keep caches in the state; give each step its own buffer, or alternate between two.
        """
        generator = self.build(component)
        read, tokens = self.read(generator), self.drawn(generator, 2, 3)
        with torch.no_grad():
            alone = self.steps(generator, generator.start(read, torch.tensor([0, 2])), tokens)
            state = generator.start(read, torch.tensor([0, 2]))
            # One of the same rows, and one of more rows.
            others = [generator.start(read, torch.tensor(rows)) for rows in ([0, 2], [1, 1, 0])]
            previous, fed = generator.step(state, None), [None, *self.drawn(generator, 3, 3).T]
            for step, column in enumerate(tokens.T):
                for other, count in zip(others, (2, 3), strict=True):
                    row = fed[step]
                    generator.step(other, None if row is None else row.flip(0)[:count])
                latest = generator.step(state, column)
                self._same(previous, alone[:, step], f"step {step} after the next")
                previous = latest

    def test_reading_is_repeatable(self, component: Any) -> None:
        """Nothing is drawn at random, and no call affects the next.

        Fix: `.eval()` switches dropout off; key caches by what was read.
        """
        generator = self.build(component)
        targets = self.targets(generator)
        first = self.score(generator, self.read(generator), [0, 1, 2], targets)
        with torch.no_grad():
            generator.read(list(self.questions)[::-1], self.passages()[::-1])
        repeated = self.score(generator, self.read(generator), [0, 1, 2], targets)
        self._same(repeated, first, "read and scored again")

    def test_scores_have_a_gradient(self, component: Any) -> None:
        """With gradients enabled `score` carries one and its numbers stay (capability `trainable`).

        Fix: use no `no_grad`, `inference_mode` or `detach` in `read` and `score`.
        """
        generator = self.build(component)
        self.needs(generator, "trainable")
        targets = self.targets(generator)
        without = self.score(generator, self.read(generator), [0, 1, 2], targets)
        assert not without.requires_grad, "there is a gradient though gradients are disabled"
        with torch.enable_grad():
            read = generator.read(list(self.questions), self.passages())
            log_probs = generator.score(read, torch.arange(3), targets)
        assert log_probs.requires_grad, "there is no gradient"
        self._same(log_probs.detach(), without, "with gradients and without")

    def test_gradients_equal_finite_differences(self, component: Any) -> None:
        """Every weight's gradient of the training loss is the change of the loss with the weight.

        Fix: detach nothing between the weights and the log-probabilities, in `read` neither; a
        detached encoder is trained wrongly without an error. Capability `trainable`.
        """
        generator = self.spec(component).build()
        self.needs(generator, "trainable")
        log_prior = torch.log_softmax(torch.tensor([[0.5, -0.2, 0.1]]), dim=1)  # [1, 3]
        targets = self.targets(generator)[:1].expand(3, -1)
        exists = targets >= 0
        weights = torch.randn(generator.vocabulary_size, generator=torch.Generator().manual_seed(3))
        weights = weights.abs().scatter(0, torch.tensor(end_tokens(generator)[1:]).long(), 0.0)

        def loss() -> Tensor:
            read = generator.read([self.questions[0]] * 3, self.passages())
            log_p = generator.score(read, torch.arange(3), targets)
            every = generator.score_all(read, torch.arange(3), targets)
            every = every.masked_fill(every.isneginf(), 0.0)  # [3, T, V]
            # -log Σ_z p(z|x) Π_i p(y_i|x,z,y_<i), and every token's log p as in label smoothing.
            smooth = (every * weights / weights.sum()).sum(dim=2)[exists].sum()
            negative: Tensor = -sequence_log_prob(log_prior, log_p[None]).sum() - 0.1 * smooth
            return negative

        check_gradients(generator.trained_module(), loss)

    def test_bfloat16_scores_are_close(self, component: Any) -> None:
        """Under `torch.autocast` scores stay close, with gradients and without.

        Fix: convert what is cached between calls to the weights' precision, or leave autocast where
        it is used. Capability `trainable`; training does so with `precision: bfloat16`.
        """
        generator = self.build(component)
        self.needs(generator, "trainable")
        targets = self.targets(generator)
        expected = self.score(generator, self.read(generator), [0, 1, 2], targets)
        for gradients in (False, True):
            with (
                torch.set_grad_enabled(gradients),
                torch.autocast(generator.device.type, torch.bfloat16),
            ):
                read = generator.read(list(self.questions), self.passages())
                log_probs = generator.score(read, torch.arange(3), targets).detach().float()
            gap = float((log_probs - expected).abs().max())
            assert gap < _BFLOAT16_GAP, f"scores differ by {gap:.3g}, gradients {gradients}"

    def test_score_all_contains_score(self, component: Any) -> None:
        """`score_all` is a distribution at each position, and `score` its value at the target.

        Fix: apply `log_softmax` to the whole vocabulary. Capability `trainable`.
        """
        generator = self.build(component)
        self.needs(generator, "trainable")
        targets = self.targets(generator)
        with torch.enable_grad():
            read = generator.read(list(self.questions), self.passages())
            log_probs = generator.score_all(read, torch.arange(3), targets)
            expected = generator.score(read, torch.arange(3), targets)
        assert log_probs.requires_grad, "there is no gradient"
        assert log_probs.shape == (*targets.shape, generator.vocabulary_size), (
            f"shape {log_probs.shape}"
        )
        exists = targets >= 0
        self._same(
            log_probs.exp().sum(-1)[exists], torch.ones_like(log_probs[..., 0][exists]), "sums"
        )
        chosen = log_probs.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]
        self._same(chosen[exists], expected[exists], "score_all and score")

    def test_trained_weights_are_saved_and_loaded(self, component: Any, tmp_path: Path) -> None:
        """Trained weights change the scores, and a generator that loads them scores the same.

        Fix: write everything that loading needs in `save_trained`. Capability `trainable`.
        """
        spec = self.spec(component)
        generator = spec.build()
        self.needs(generator, "trainable")
        targets = self.targets(generator)
        before = self.score(generator, self.read(generator), [0, 1, 2], targets)
        module = generator.trained_module()
        assert module is generator.trained_module(), (
            "trained_module() returns another module at each call"
        )
        moved(module)
        after = self.score(generator, self.read(generator), [0, 1, 2], targets)
        assert float((after - before).abs().max()) > self.close, "changed weights change no score"
        reloaded = loaded(spec, generator.save_trained(tmp_path), tmp_path)
        log_probs = self.score(reloaded, self.read(reloaded), [0, 1, 2], targets)
        self._same(log_probs, after, "saved and loaded")

    def _same(self, actual: Tensor, expected: Tensor, what: str) -> None:
        shapes = f"{tuple(actual.shape)} and {tuple(expected.shape)}"
        assert actual.shape == expected.shape, f"{what}: {shapes}"
        # Equal values have no gap, also where both are -inf, as of a second end token.
        gaps = (actual - expected).detach().abs().masked_fill(actual == expected, 0.0)
        gap = float(gaps.max()) if actual.numel() else 0.0
        assert gap <= self.close, f"{what}: log-probabilities differ by up to {gap:.3g}"
