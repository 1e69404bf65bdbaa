"""Laws of a generator's log-probabilities: score, step by step, and rows that are selected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from ragcore.testing.suite import SharedSuite
from ragcore.testing.trained import loaded, moved
from ragcore.types import Passage

__all__ = ["LogProbLaws"]

_BFLOAT16_GAP: Final = 0.5
"""Of a log-probability; a product in bfloat16 keeps some three digits."""


class LogProbLaws(SharedSuite):
    """See `GeneratorSuite`."""

    kind = "generator"
    answers: ClassVar[Sequence[str]] = ("Nairobi", "the red river", "42")
    questions: ClassVar[Sequence[str]] = (
        "What is the capital of Kenya?",
        "Who?",
        "Where does the red river meet the sea?",
    )
    close: ClassVar[float] = 1e-3

    def passages(self) -> list[Passage | None]:
        """One for each question; one question has none."""
        return [
            Passage("1", "Kenya, Capital", "Nairobi is the capital and the largest city of Kenya."),
            None,
            Passage("3", "", "42 rivers"),
        ]

    def read(self, made: Any) -> Any:
        """The pairs that most laws read."""
        with torch.no_grad():
            return made.read(list(self.questions), self.passages())

    def first_step(self, made: Any, pairs: Sequence[tuple[str, Passage | None]]) -> Tensor:
        """log p of the first token of each pair, [P, V]."""
        with torch.no_grad():
            read = made.read([one for one, _ in pairs], [one for _, one in pairs])
            state = made.start(read, torch.arange(len(pairs)))
            found: Tensor = made.step(state, None).clone()
        return found

    def targets(self, made: Any) -> Tensor:
        """Target ids of the answers, int64 [3, T], of different lengths, padded with -1."""
        ids = [torch.tensor(one) for one in made.encode_answers(self.answers)]
        return torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-1)

    def score(self, made: Any, read: Any, pairs: Sequence[int], targets: Tensor) -> Tensor:
        """Log-probabilities without gradient."""
        with torch.no_grad():
            found: Tensor = made.score(read, torch.tensor(pairs), targets)
        return found

    def steps(self, made: Any, state: Any, tokens: Tensor) -> Tensor:
        """log p [M, T, V] of the steps that feed tokens [M, T - 1], the first fed none."""
        with torch.no_grad():
            found = [made.step(state, None).clone()]
            found += [made.step(state, column).clone() for column in tokens.T]
        return torch.stack(found, dim=1)

    def drawn(self, made: Any, count: int, length: int) -> Tensor:
        """Tokens [count, length] that end nothing."""
        draws = torch.Generator().manual_seed(3)
        tokens = torch.randint(0, made.vocabulary_size, (count, length), generator=draws)
        return torch.where(tokens == made.eos_token_id, (tokens + 1) % made.vocabulary_size, tokens)

    def test_each_step_sums_to_one(self, component: Any) -> None:
        """`step` gives log-probabilities, float32 [M, V], whose probabilities sum to 1.

        To mend: `log_softmax` over the whole vocabulary, after all that changes logits.
        """
        made = self.made(component)
        with torch.no_grad():
            state = made.start(self.read(made), torch.tensor([0, 2, 1, 0]))
            for tokens in (None, *self.drawn(made, 4, 2).T):
                found = made.step(state, tokens)
                assert found.dtype == torch.float32, f"step gave {found.dtype}"
                assert found.shape == (4, made.vocabulary_size), f"step gave {tuple(found.shape)}"
                total = found.double().logsumexp(dim=1).abs().max()
                assert float(total) <= self.close, f"log of the sum of a row is {float(total):.3g}"

    def test_score_has_a_number_for_each_token(self, component: Any) -> None:
        """`score` gives float32 [M, T], none above 0.

        To mend: pick each target's log-probability out of its row; sum nothing.
        """
        made = self.made(component)
        targets = self.targets(made)
        found = self.score(made, self.read(made), [0, 1, 2], targets)
        assert found.dtype == torch.float32, f"score gave {found.dtype}"
        assert found.shape == targets.shape, f"{tuple(found.shape)}, not {tuple(targets.shape)}"
        assert bool((found <= self.close).all()), "a log-probability is above 0"
        empty = self.score(made, self.read(made), [], targets[:0])
        assert empty.shape == (0, targets.shape[1]), f"of no rows, {tuple(empty.shape)}"

    def test_padding_counts_nothing(self, component: Any) -> None:
        """Where a target is padded with -1, the score is 0.0; and padding changes no other.

        To mend: `torch.where(targets < 0, 0.0, log_probs)`.
        """
        made = self.made(component)
        read, targets = self.read(made), self.targets(made)
        found = self.score(made, read, [0, 1, 2], targets)
        assert bool((targets < 0).any()), "choose `answers` of different lengths"
        assert bool((found[targets < 0] == 0).all()), "padding has a score"
        longer = torch.nn.functional.pad(targets, (0, 3), value=-1)
        wider = self.score(made, read, [0, 1, 2], longer)
        self._same(wider[:, : targets.shape[1]], found, "with more padding")
        assert bool((wider[:, targets.shape[1] :] == 0).all()), "padding has a score"

    def test_steps_equal_score(self, component: Any) -> None:
        """Fed token by token, a target has the log-probabilities that `score` gives it.

        To mend: position i of `score` is p(y_i | y_<i), the first from the start token alone.
        """
        made = self.made(component)
        read, pairs = self.read(made), torch.tensor([2, 0, 1, 0])
        tokens = self.drawn(made, 4, 5)
        with torch.no_grad():
            rows = self.steps(made, made.start(read, pairs), tokens[:, :-1])
        stepped = rows.gather(2, tokens[:, :, None])[:, :, 0]
        self._same(stepped, self.score(made, read, pairs.tolist(), tokens), "step by step, scored")

    def test_a_batch_equals_single_rows(self, component: Any) -> None:
        """A row's score does not depend on its neighbours, their order, or what is read beside it.

        To mend: mask the padding of inputs and targets; use `pairs` to look up what was read.
        """
        made = self.made(component)
        read, targets = self.read(made), self.targets(made)
        pairs, rows = [2, 0, 1, 0, 2], [0, 1, 2, 0, 2]
        found = self.score(made, read, pairs, targets[rows])
        for at, (pair, row) in enumerate(zip(pairs, rows, strict=True)):
            with torch.no_grad():
                alone = made.read([self.questions[pair]], [self.passages()[pair]])
            end = int((targets[row] >= 0).sum())
            single = self.score(made, alone, [0], targets[row : row + 1, :end])
            self._same(found[at : at + 1, :end], single, f"pair {pair} alone")

    def test_rows_are_selected(self, component: Any) -> None:
        """After `state.select(rows)` the rows are those, in that order, some of them twice.

        To mend: index each cache and each count that the state holds, along its batch dimension.
        """
        made = self.made(component)
        read, pairs = self.read(made), torch.tensor([0, 1, 2, 1])
        before, after = self.drawn(made, 4, 2), self.drawn(made, 5, 2).flip(0)
        for chosen in ([3, 1, 0, 2], [2, 2, 0, 3, 2], [1], [3, 3]):
            rows = torch.tensor(chosen)
            fed = torch.cat([before[rows], after[: len(rows)]], dim=1)
            with torch.no_grad():
                state = made.start(read, pairs)
                self.steps(made, state, before[:, :-1])
                # The last token is fed after the selection, as a beam search does.
                state.select(rows)
                found = [made.step(state, column).clone() for column in fed[:, 1:].T]
                expected = self.steps(made, made.start(read, pairs[rows]), fed)[:, 2:]
            self._same(torch.stack(found, dim=1), expected, f"rows {chosen} of 4, and anew")

    def test_all_rows_can_be_pruned(self, component: Any) -> None:
        """A state without rows steps to nothing, [0, V].

        To mend: return early where there are no rows.
        """
        made = self.made(component)
        with torch.no_grad():
            state = made.start(self.read(made), torch.tensor([], dtype=torch.long))
            found = made.step(state, None)
        assert found.shape == (0, made.vocabulary_size), f"step gave {tuple(found.shape)}"

    def test_states_do_not_disturb_each_other(self, component: Any) -> None:
        """Two states of one `Read` go on side by side; a step's result outlives the next step.

        To mend: keep caches in the state; give each step its own buffer, or two in turns.
        """
        made = self.made(component)
        read, tokens = self.read(made), self.drawn(made, 2, 3)
        with torch.no_grad():
            alone = self.steps(made, made.start(read, torch.tensor([0, 2])), tokens)
            one = made.start(read, torch.tensor([0, 2]))
            other = made.start(read, torch.tensor([1, 1]))
            found, fed = [made.step(one, None)], [None, *tokens.flip(0).T]
            for at, column in enumerate(tokens.T):
                made.step(other, fed[at])
                latest = made.step(one, column)
                kept = found.pop()
                self._same(kept, alone[:, at], f"step {at} after the next")
                found.append(latest)

    def test_reading_twice_gives_the_same(self, component: Any) -> None:
        """Nothing is drawn at random, and no call leaves something to the next.

        To mend: `.eval()` switches dropout off; key what is kept by what was read.
        """
        made = self.made(component)
        targets = self.targets(made)
        first = self.score(made, self.read(made), [0, 1, 2], targets)
        with torch.no_grad():
            made.read(list(self.questions)[::-1], self.passages()[::-1])
        again = self.score(made, self.read(made), [0, 1, 2], targets)
        self._same(again, first, "read and scored again")

    def test_scores_have_a_gradient_where_it_is_trainable(self, component: Any) -> None:
        """With gradients enabled `score` carries one; its numbers stay (capability `trainable`).

        To mend: no `no_grad`, `inference_mode` or `detach` in `read` and `score`.
        """
        made = self.made(component)
        self.needs(made, "trainable")
        targets = self.targets(made)
        without = self.score(made, self.read(made), [0, 1, 2], targets)
        assert not without.requires_grad, "there is a gradient though gradients are disabled"
        with torch.enable_grad():
            read = made.read(list(self.questions), self.passages())
            found = made.score(read, torch.arange(3), targets)
        assert found.requires_grad, "there is no gradient"
        self._same(found.detach(), without, "with gradients and without")

    def test_it_scores_in_bfloat16_arithmetic(self, component: Any) -> None:
        """Under `torch.autocast` scores are about the same, with gradients and without.

        To mend: convert what is kept between calls to the weights' precision, or leave autocast
        where it is used. Capability `trainable`; training does so with `precision: bfloat16`.
        """
        made = self.made(component)
        self.needs(made, "trainable")
        targets = self.targets(made)
        expected = self.score(made, self.read(made), [0, 1, 2], targets)
        for gradients in (False, True):
            with (
                torch.set_grad_enabled(gradients),
                torch.autocast(made.device.type, torch.bfloat16),
            ):
                read = made.read(list(self.questions), self.passages())
                found = made.score(read, torch.arange(3), targets).detach().float()
            gap = float((found - expected).abs().max())
            assert gap < _BFLOAT16_GAP, f"scores differ by {gap:.3g}, gradients {gradients}"

    def test_all_scores_hold_the_targets(self, component: Any) -> None:
        """`score_all` is a distribution at each place, and `score` its value at the target.

        To mend: log-softmax over the whole vocabulary. Capability `trainable`.
        """
        made = self.made(component)
        self.needs(made, "trainable")
        targets = self.targets(made)
        with torch.enable_grad():
            read = made.read(list(self.questions), self.passages())
            found = made.score_all(read, torch.arange(3), targets)
            expected = made.score(read, torch.arange(3), targets)
        assert found.requires_grad, "there is no gradient"
        assert found.shape == (*targets.shape, made.vocabulary_size), f"shape {found.shape}"
        there = targets >= 0
        self._same(found.exp().sum(-1)[there], torch.ones_like(found[..., 0][there]), "sums")
        chosen = found.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]
        self._same(chosen[there], expected[there], "score_all and score")

    def test_what_was_trained_comes_back(self, component: Any, tmp_path: Path) -> None:
        """Moved weights change the scores, and a generator that loads them scores the same.

        To mend: let `save_trained` write all that loading takes. Capability `trainable`.
        """
        part = self.part(component)
        made = part.build()
        self.needs(made, "trainable")
        targets = self.targets(made)
        before = self.score(made, self.read(made), [0, 1, 2], targets)
        module = made.trained_module()
        assert module is made.trained_module(), "trained_module() gives another at each call"
        moved(module)
        after = self.score(made, self.read(made), [0, 1, 2], targets)
        assert float((after - before).abs().max()) > self.close, "moved weights change no score"
        again = loaded(part, made.save_trained(tmp_path), tmp_path)
        found = self.score(again, self.read(again), [0, 1, 2], targets)
        self._same(found, after, "saved and loaded")

    def _same(self, one: Tensor, other: Tensor, what: str) -> None:
        assert one.shape == other.shape, f"{what}: {tuple(one.shape)} and {tuple(other.shape)}"
        gap = float((one - other).detach().abs().max()) if one.numel() else 0.0
        assert gap <= self.close, f"{what}: log-probabilities differ by up to {gap:.3g}"
