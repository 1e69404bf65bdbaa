"""The suite for encoders."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ragcore.testing.data import passages
from ragcore.testing.suite import SharedSuite
from ragcore.testing.trained import loaded, moved
from ragcore.testing.variants import changed, fingerprints_differ, say_something
from ragcore.types import Passage

if TYPE_CHECKING:
    from pathlib import Path

    from ragcore.types import Vectors

__all__ = ["EncoderSuite"]


class EncoderSuite(SharedSuite):
    """The laws of `ragcore.contracts.Encoder`.

    Attributes:
        variants: settings, each of which changes the passages' vectors; their fingerprints must
            differ from the component's own and from each other.
        close: how far numbers may lie apart where only the shape of a batch differs, relative to
            the largest.
    """

    kind = "encoder"
    variants: ClassVar[Sequence[Mapping[str, Any]]] = ()
    close: ClassVar[float] = 1e-4

    def passages(self) -> list[Passage]:
        """Passages of different lengths, so that a batch holds padding."""
        ordinary = passages(7, seed=1)
        longer = Passage("long", "Long", " ".join(one.text for one in passages(4, seed=2)))
        return [*ordinary[:3], longer, Passage("short", "", "Chad"), *ordinary[3:]]

    def questions(self) -> list[str]:
        """Questions of different lengths."""
        towns = [one.title for one in passages(5, seed=1)]
        return [*(f"Where is {town}?" for town in towns), "Who?", f"Which of {', '.join(towns)}?"]

    def of_passages(self, made: Any, texts: Sequence[Passage] | None = None) -> Vectors:
        """Vectors of passages."""
        found: Vectors = made.encode_passages(self.passages() if texts is None else texts)
        return found

    def of_questions(self, made: Any, texts: Sequence[str] | None = None) -> Vectors:
        """Vectors of questions, without gradient."""
        import torch

        with torch.no_grad():
            found = made.encode_questions(self.questions() if texts is None else texts)
        vectors: Vectors = found.detach().cpu().numpy()
        return vectors

    def test_capabilities_are_ones_that_exist(self, component: Any) -> None:
        """`capabilities` is a frozenset of names that ragcore knows, or of quite other ones.

        To mend: write `capabilities = frozenset({"trainable"})`; look for a name misspelt.
        """
        self.declares_what_is_known(self.made(component))

    def test_passages_become_float32_of_d_numbers(self, component: Any) -> None:
        """`encode_passages` gives a numpy array, float32 [n, d], finite; d is `dim`.

        To mend: `.astype(np.float32)`, and mind division by a length of zero.
        """
        made = self.made(component)
        assert isinstance(made.dim, int), f"dim is {made.dim!r}"
        assert made.dim > 0, f"dim is {made.dim}"
        for count in (0, 1, len(self.passages())):
            found = self.of_passages(made, self.passages()[:count])
            assert isinstance(found, np.ndarray), f"passages became {type(found).__name__}"
            assert found.dtype == np.float32, f"passages became {found.dtype}"
            assert found.shape == (count, made.dim), f"{found.shape}, not ({count}, {made.dim})"
            assert np.isfinite(found).all(), "a vector of a passage is not finite"

    def test_questions_become_float32_of_d_numbers(self, component: Any) -> None:
        """`encode_questions` gives a torch tensor, float32 [B, d], finite; d is `dim`.

        To mend: `.float()`, and mind that an empty batch has shape [0, d].
        """
        import torch

        made = self.made(component)
        for count in (0, 1, len(self.questions())):
            with torch.no_grad():
                found = made.encode_questions(self.questions()[:count])
            assert isinstance(found, torch.Tensor), f"questions became {type(found).__name__}"
            assert found.dtype == torch.float32, f"questions became {found.dtype}"
            assert found.shape == (count, made.dim), f"{found.shape}, not ({count}, {made.dim})"
            assert bool(found.isfinite().all()), "a vector of a question is not finite"

    def test_a_batch_equals_single_texts(self, component: Any) -> None:
        """A text has the vector in a batch that it has alone, in the batch's order.

        To mend: mask the padding; where a batch is sorted by length, put it back in order.
        """
        made = self.made(component)
        together, asked = self.of_passages(made), self.of_questions(made)
        for at, passage in enumerate(self.passages()):
            self._same(together[at], self.of_passages(made, [passage])[0], f"passage {at} alone")
        for at, question in enumerate(self.questions()):
            self._same(asked[at], self.of_questions(made, [question])[0], f"question {at} alone")

    def test_the_order_of_a_batch_is_kept(self, component: Any) -> None:
        """Vectors come in the order of the texts.

        To mend: undo the sort that you make batches with.
        """
        made = self.made(component)
        together, asked = self.of_passages(made), self.of_questions(made)
        self._same(together[::-1], self.of_passages(made, self.passages()[::-1]), "reversed")
        self._same(asked[::-1], self.of_questions(made, self.questions()[::-1]), "reversed")

    def test_encoding_twice_gives_the_same(self, component: Any) -> None:
        """Nothing is drawn at random, and no call leaves something to the next.

        To mend: `.eval()` switches dropout off.
        """
        made = self.made(component)
        first, asked = self.of_passages(made), self.of_questions(made)
        kept = first.copy()
        assert np.array_equal(self.of_passages(made), kept), "passages encoded twice differ"
        assert np.array_equal(self.of_questions(made), asked), "questions encoded twice differ"
        self.of_passages(made, self.passages()[::-1])
        assert np.array_equal(first, kept), "vectors that were given out have changed"

    def test_another_of_the_same_settings_encodes_the_same(self, component: Any) -> None:
        """What is made anew gives the same vectors, so that a memory outlives the process.

        To mend: seed what is drawn from the config; never use `hash` of a string.
        """
        made, other = self.made(component), self.part(component).build()
        self._same(self.of_passages(made), self.of_passages(other), "of another encoder")
        assert made.fingerprint == other.fingerprint, "another has another fingerprint"

    def test_its_fingerprint_says_something(self, component: Any) -> None:
        """The fingerprint is a text, and stays the same.

        To mend: name model, revision, pooling, prefixes and d in it.
        """
        made = self.made(component)
        before = made.fingerprint
        say_something(before)
        self.of_passages(made)
        assert made.fingerprint == before, "encoding changed the fingerprint"

    def test_its_fingerprint_names_what_matters(self, component: Any) -> None:
        """Each of `variants` changes the vectors, and has a fingerprint of its own.

        To mend: put every setting into it on which a passage's vector depends.
        """
        part = self.part(component)
        fingerprints_differ(part, self.variants)
        own = self.of_passages(self.made(component))
        for settings in self.variants:
            other = self.of_passages(changed(part, settings).build())
            assert own.shape != other.shape or not np.array_equal(own, other), (
                f"{dict(settings)} changes no vector: it belongs not into `variants`"
            )

    def test_all_of_a_passage_counts(self, component: Any) -> None:
        """Passages that differ in title, or in the text's first or last word, differ in vectors.

        To mend: encode title and text. An encoder that means to leave titles out waives this law.
        """
        made = self.made(component)
        texts = [
            Passage("1", "Chad", "Lake Chad lies there"),
            Passage("2", "Kenya", "Lake Chad lies there"),
            Passage("3", "Chad", "River Chad lies there"),
            Passage("4", "Chad", "Lake Chad lies here"),
        ]
        found = self.of_passages(made, texts)
        for at, what in ((1, "title"), (2, "first word"), (3, "last word")):
            assert not np.allclose(found[0], found[at], rtol=0, atol=1e-6), f"the {what} is ignored"

    def test_the_question_matters(self, component: Any) -> None:
        """Different questions have different vectors.

        To mend: is it the question that is encoded, and the whole of it?
        """
        found = self.of_questions(self.made(component))
        assert len(np.unique(found.round(6), axis=0)) == len(found), "two questions are the same"

    def test_texts_are_left_alone(self, component: Any) -> None:
        """The lists that are handed in are not changed.

        To mend: sort a copy.
        """
        made = self.made(component)
        texts, asked = self.passages(), self.questions()
        before = copy.deepcopy((texts, asked))
        self.of_passages(made, texts)
        self.of_questions(made, asked)
        assert (texts, asked) == before, "encoding changed the list that it was given"

    def test_odd_texts_are_no_error(self, component: Any) -> None:
        """Texts of other scripts, of signs alone, or very long, have finite vectors.

        To mend: cut what is too long for the model, and mind texts without a known word.
        """
        made = self.made(component)
        texts = ["?", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ Ǆ 東京", "word " * 3000]
        found = self.of_passages(made, [Passage(text[:3], "", text) for text in texts])
        assert np.isfinite(found).all(), "an odd passage has a vector that is not finite"
        assert np.isfinite(self.of_questions(made, texts)).all(), "so has an odd question"

    def test_questions_have_a_gradient_where_it_is_trainable(self, component: Any) -> None:
        """With gradients enabled, questions' vectors carry one (capability `trainable`).

        To mend: no `no_grad`, `inference_mode`, `detach` or numpy on the questions' way.
        """
        import torch

        made = self.made(component)
        self.needs(made, "trainable")
        with torch.enable_grad():
            assert made.encode_questions(self.questions()).requires_grad, "there is no gradient"
        with torch.no_grad():
            assert not made.encode_questions(self.questions()).requires_grad, (
                "there is a gradient though gradients are disabled"
            )

    def test_training_leaves_passages_alone(self, component: Any, tmp_path: Path) -> None:
        """Trained questions come back from disk; passages' vectors, and the fingerprint, stay.

        To mend: where both sides share weights, copy them in `trained_module`; leave the questions'
        side out of the fingerprint. Capability `trainable`.
        """
        part = self.part(component)
        made = part.build()
        self.needs(made, "trainable")
        fingerprint, passages = made.fingerprint, self.of_passages(made)
        before = self.of_questions(made)
        module = made.trained_module()
        assert module is made.trained_module(), "trained_module() gives another at each call"
        self._same(self.of_questions(made), before, "questions, before a weight has moved")
        moved(module)
        asked = self.of_questions(made)
        assert not np.allclose(asked, before, atol=1e-5), "moved weights change no question"
        assert np.array_equal(self.of_passages(made), passages), "passages moved with questions"
        again = loaded(part, made.save_trained(tmp_path), tmp_path)
        self._same(self.of_questions(again), asked, "questions, saved and loaded")
        self._same(self.of_passages(again), passages, "passages, saved and loaded")
        assert again.fingerprint == made.fingerprint == fingerprint, "training counts as another"

    def test_passages_can_be_trained_too(self, component: Any, tmp_path: Path) -> None:
        """Passages' vectors carry a gradient to `passage_module`, and come back from disk.

        To mend: write both sides in `save_trained` once `passage_module` was asked for.
        """
        import torch

        part = self.part(component)
        made = part.build()
        self.needs(made, "trainable")
        made.trained_module()
        asked, before = self.of_questions(made), self.of_passages(made)
        with torch.enable_grad():
            found = made.encode_passages_with_grad(self.passages())
        assert found.requires_grad, "passages' vectors have no gradient"
        self._same(found.detach().cpu().numpy(), before, "passages with gradient and without")
        moved(made.passage_module())
        passages = self.of_passages(made)
        assert not np.allclose(passages, before, atol=1e-5), "moved weights change no passage"
        assert np.array_equal(self.of_questions(made), asked), "questions moved with passages"
        again = loaded(part, made.save_trained(tmp_path), tmp_path)
        self._same(self.of_passages(again), passages, "passages, saved and loaded")
        self._same(self.of_questions(again), asked, "questions, saved and loaded")

    def test_threads_encode_as_one(self, component: Any) -> None:
        """Questions that are encoded in several threads have the vectors that they have alone.

        To mend: keep nothing of a call in the object; lock a tokenizer that cannot be shared.
        """
        made = self.made(component)
        expected = self.of_questions(made)
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: self.of_questions(made), range(12)):
                self._same(found, expected, "encoded in a thread")

    def _same(self, one: Vectors, other: Vectors, what: str) -> None:
        assert one.shape == other.shape, f"{what}: {one.shape} and {other.shape}"
        within = self.close * max(1.0, float(np.abs(other).max(initial=0.0)))
        gap = float(np.abs(one - other).max(initial=0.0))
        assert gap <= within, f"{what}: vectors differ by up to {gap:.2g}"
