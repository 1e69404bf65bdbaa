"""The suite for encoders: vectors, batches, fingerprints, gradients, threads.

The laws of many, long and odd texts are in `encoding.py`, those of tokenizers in `tokenizing.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ragcore.arrays import to_numpy, without_gradient
from ragcore.testing.gradients import check_gradients
from ragcore.testing.manners import MannerLaws
from ragcore.testing.tokenizing import TokenizerLaws
from ragcore.testing.trained import loaded, moved, resumed, saved
from ragcore.testing.variants import changed, fingerprints_differ, say_something
from ragcore.types import Passage

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EncoderSuite"]


class EncoderSuite(TokenizerLaws, MannerLaws):
    """Test a component against `ragcore.contracts.Encoder`.

    Attributes:
        variants: settings that each change the passages' vectors; their fingerprints must differ
            from the component's own and from each other.
        close: the largest difference between vectors where only the shape of a batch differs,
            relative to the largest component.
        many: texts in the largest batch that is encoded.
        longest_text: words of a text that the encoder reads to its last word.
    """

    variants: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def exercise(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Build an encoder, encode both sides, and save it if it is trainable."""
        encoder = self.spec(component).build()
        results: dict[str, Any] = {
            "passages": self.of_passages(encoder),
            # Not under `no_grad`, which would restore a gradient mode that the encoder changes.
            "questions": to_numpy(encoder.encode_questions(self.questions())),
            "fingerprint": encoder.fingerprint,
        }
        if "trainable" in encoder.capabilities:
            vectors = encoder.encode_passages_with_grad(self.passages())
            results["with_gradient"] = vectors.detach().cpu()
            saved(encoder, folder)
            results |= self.revisit(component, folder)
        return results

    def revisit(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Load what `exercise` saved, if anything, and encode questions."""
        encoder = resumed(self.spec(component), folder)
        return {} if encoder is None else {"saved": self.of_questions(encoder)}

    def test_capabilities_are_known(self, component: Any) -> None:
        """`capabilities` is a frozenset of names, none of them a known one misspelt.

        Fix: write `capabilities = frozenset({"trainable"})`; check the spelling.
        """
        self.declares_what_is_known(self.build(component))

    def test_passage_vectors_are_float32_n_by_d(self, component: Any) -> None:
        """`encode_passages` returns a numpy array, float32 [n, d], finite; d is `dim`.

        Fix: `.astype(np.float32)`, and avoid dividing by a length of zero.
        """
        encoder = self.build(component)
        assert isinstance(encoder.dim, int), f"dim is {encoder.dim!r}"
        assert encoder.dim > 0, f"dim is {encoder.dim}"
        for count in (0, 1, len(self.passages())):
            vectors = self.of_passages(encoder, self.passages()[:count])
            assert isinstance(vectors, np.ndarray), (
                f"encode_passages returned {type(vectors).__name__}, not an array"
            )
            assert vectors.dtype == np.float32, (
                f"passage vectors are {vectors.dtype}: expected float32"
            )
            assert vectors.shape == (count, encoder.dim), (
                f"{vectors.shape}, not ({count}, {encoder.dim})"
            )
            assert np.isfinite(vectors).all(), "a passage vector is not finite"

    def test_question_vectors_are_float32_b_by_d(self, component: Any) -> None:
        """`encode_questions` returns an array or a tensor, float32 [B, d], finite; d is `dim`.

        A trainable encoder returns a torch tensor, others may return a NumPy array.

        Fix: `.float()`, or `.astype(np.float32)`; an empty batch has shape [0, d].
        """
        encoder = self.build(component)
        kinds = ["Tensor"] if "trainable" in encoder.capabilities else ["Tensor", "ndarray"]
        for count in (0, 1, len(self.questions())):
            with without_gradient():
                vectors = encoder.encode_questions(self.questions()[:count])
            kind = type(vectors).__name__
            assert kind in kinds, f"encode_questions returned {kind}: expected {' or '.join(kinds)}"
            assert str(vectors.dtype).removeprefix("torch.") == "float32", (
                f"question vectors are {vectors.dtype}: expected float32"
            )
            assert vectors.shape == (count, encoder.dim), (
                f"{tuple(vectors.shape)}, not ({count}, {encoder.dim})"
            )
            assert np.isfinite(to_numpy(vectors)).all(), "a question vector is not finite"

    def test_a_batch_equals_single_texts(self, component: Any) -> None:
        """A text has the same vector in a batch as alone, in the batch's order.

        Fix: mask the padding; where a batch is sorted by length, restore the order.
        """
        encoder = self.build(component)
        passage_vectors, question_vectors = self.of_passages(encoder), self.of_questions(encoder)
        for number, passage in enumerate(self.passages()):
            self._same(
                passage_vectors[number],
                self.of_passages(encoder, [passage])[0],
                f"passage {number} alone",
            )
        for number, question in enumerate(self.questions()):
            self._same(
                question_vectors[number],
                self.of_questions(encoder, [question])[0],
                f"question {number} alone",
            )

    def test_vectors_come_in_the_order_of_texts(self, component: Any) -> None:
        """Vectors come in the order of the texts.

        Fix: undo the sort by which batches are made.
        """
        encoder = self.build(component)
        passage_vectors, question_vectors = self.of_passages(encoder), self.of_questions(encoder)
        self._same(
            passage_vectors[::-1], self.of_passages(encoder, self.passages()[::-1]), "reversed"
        )
        self._same(
            question_vectors[::-1], self.of_questions(encoder, self.questions()[::-1]), "reversed"
        )

    def test_encoding_is_repeatable(self, component: Any) -> None:
        """Nothing is drawn at random, and no call affects the next.

        Fix: `.eval()` switches dropout off.
        """
        encoder = self.build(component)
        passage_vectors, question_vectors = self.of_passages(encoder), self.of_questions(encoder)
        copied = passage_vectors.copy()
        assert np.array_equal(self.of_passages(encoder), copied), "passages encoded twice differ"
        assert np.array_equal(self.of_questions(encoder), question_vectors), (
            "questions encoded twice differ"
        )
        self.of_passages(encoder, self.passages()[::-1])
        assert np.array_equal(passage_vectors, copied), "vectors returned earlier have changed"

    def test_equal_settings_encode_equally(self, component: Any) -> None:
        """A second encoder of the same settings encodes equally, so a memory outlives a process.

        Fix: seed random weights from the config; never use `hash` of a string.
        """
        encoder, other = self.build(component), self.spec(component).build()
        self._same(self.of_passages(encoder), self.of_passages(other), "of a second encoder")
        assert encoder.fingerprint == other.fingerprint, "a second encoder has another fingerprint"

    def test_fingerprint_is_a_stable_text(self, component: Any) -> None:
        """The fingerprint is a text that is not empty and does not change.

        Fix: name model, revision, pooling, prefixes and d in it.
        """
        encoder = self.build(component)
        before = encoder.fingerprint
        say_something(before)
        self.of_passages(encoder)
        assert encoder.fingerprint == before, "encoding changed the fingerprint"

    def test_fingerprint_depends_on_settings(self, component: Any) -> None:
        """Each of `variants` changes the vectors and the fingerprint.

        Fix: include every setting on which a passage's vector depends.
        """
        spec = self.spec(component)
        fingerprints_differ(spec, self.variants)
        original = self.of_passages(self.build(component))
        for settings in self.variants:
            other = self.of_passages(changed(spec, settings).build())
            assert original.shape != other.shape or not np.array_equal(original, other), (
                f"{dict(settings)} changes no vector: remove it from `variants`"
            )

    def test_title_and_whole_text_are_encoded(self, component: Any) -> None:
        """Passages that differ in title, first word or last word have different vectors.

        Fix: encode title and text. An encoder that leaves titles out on purpose waives this law.
        """
        encoder = self.build(component)
        texts = [
            Passage("1", "Chad", "Lake Chad lies there"),
            Passage("2", "Kenya", "Lake Chad lies there"),
            Passage("3", "Chad", "River Chad lies there"),
            Passage("4", "Chad", "Lake Chad lies here"),
        ]
        vectors = self.of_passages(encoder, texts)
        for number, what in ((1, "title"), (2, "first word"), (3, "last word")):
            assert not np.allclose(vectors[0], vectors[number], rtol=0, atol=1e-6), (
                f"the {what} is ignored"
            )

    def test_the_question_matters(self, component: Any) -> None:
        """Different questions have different vectors.

        Fix: check that the question is encoded, and all of it.
        """
        vectors = self.of_questions(self.build(component))
        assert len(np.unique(vectors.round(6), axis=0)) == len(vectors), (
            "two questions have the same vector"
        )

    def test_encode_does_not_change_its_arguments(self, component: Any) -> None:
        """Encoding does not change the lists that it receives.

        Fix: sort a copy.
        """
        encoder = self.build(component)
        texts, questions = self.passages(), self.questions()
        before = copy.deepcopy((texts, questions))
        self.of_passages(encoder, texts)
        self.of_questions(encoder, questions)
        assert (texts, questions) == before, "encoding changed a list that it received"

    def test_unusual_texts_are_accepted(self, component: Any) -> None:
        """Texts in other scripts, of symbols alone, or very long, have finite vectors.

        Fix: cut texts that are too long for the model, and handle texts without a known word.
        """
        encoder = self.build(component)
        texts = ["?", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ Ǆ 東京", "word " * 3000]
        vectors = self.of_passages(encoder, [Passage(text[:3], "", text) for text in texts])
        assert np.isfinite(vectors).all(), "an unusual passage has a vector that is not finite"
        assert np.isfinite(self.of_questions(encoder, texts)).all(), (
            "an unusual question has a vector that is not finite"
        )

    def test_question_vectors_have_a_gradient(self, component: Any) -> None:
        """With gradients enabled, question vectors carry one (capability `trainable`).

        Fix: use no `no_grad`, `inference_mode`, `detach` or numpy between question and vector.
        """
        encoder = self.build(component)
        self.needs(encoder, "trainable")
        import torch

        with torch.enable_grad():
            assert encoder.encode_questions(self.questions()).requires_grad, "there is no gradient"
        with torch.no_grad():
            assert not encoder.encode_questions(self.questions()).requires_grad, (
                "there is a gradient though gradients are disabled"
            )

    def test_gradients_equal_finite_differences(self, component: Any) -> None:
        """Every weight's gradient is the change of the vectors with the weight, on both sides.

        Fix: detach nothing between the weights and the vectors. Capability `trainable`.
        """
        encoder = self.spec(component).build()
        self.needs(encoder, "trainable")
        import torch

        draws = torch.Generator().manual_seed(3)
        aims = torch.randn(len(self.passages()), encoder.dim, generator=draws)

        def of_questions() -> torch.Tensor:
            vectors: torch.Tensor = encoder.encode_questions(self.questions())
            return (vectors * aims[: len(vectors)].to(vectors.device)).sum()

        def of_passages() -> torch.Tensor:
            vectors: torch.Tensor = encoder.encode_passages_with_grad(self.passages())
            return (vectors * aims.to(vectors.device)).sum()

        check_gradients(encoder.trained_module(), of_questions)
        check_gradients(encoder.passage_module(), of_passages)

    def test_training_questions_keeps_passage_vectors(self, component: Any, tmp_path: Path) -> None:
        """Training moves question vectors alone, and they can be saved and loaded.

        Passage vectors and the fingerprint stay the same. Capability `trainable`.

        Fix: where both sides share weights, copy them in `trained_module`; leave the question side
        out of the fingerprint.
        """
        spec = self.spec(component)
        encoder = spec.build()
        self.needs(encoder, "trainable")
        fingerprint, passage_vectors = encoder.fingerprint, self.of_passages(encoder)
        before = self.of_questions(encoder)
        module = encoder.trained_module()
        assert module is encoder.trained_module(), (
            "trained_module() returns another module at each call"
        )
        self._same(self.of_questions(encoder), before, "questions, before a weight has changed")
        moved(module)
        trained = self.of_questions(encoder)
        assert not np.allclose(trained, before, atol=1e-5), (
            "changed weights change no question vector"
        )
        assert np.array_equal(self.of_passages(encoder), passage_vectors), (
            "passage vectors changed with the questions'"
        )
        reloaded = loaded(spec, encoder.save_trained(tmp_path), tmp_path)
        self._same(self.of_questions(reloaded), trained, "questions, saved and loaded")
        self._same(self.of_passages(reloaded), passage_vectors, "passages, saved and loaded")
        assert reloaded.fingerprint == encoder.fingerprint == fingerprint, (
            "training changed the fingerprint"
        )

    def test_passages_can_be_trained(self, component: Any, tmp_path: Path) -> None:
        """Passage vectors carry a gradient to `passage_module`, and can be saved and loaded.

        Fix: save both sides in `save_trained` once `passage_module` was called. Capability
        `trainable`.
        """
        spec = self.spec(component)
        encoder = spec.build()
        self.needs(encoder, "trainable")
        import torch

        encoder.trained_module()
        question_vectors, before = self.of_questions(encoder), self.of_passages(encoder)
        with torch.enable_grad():
            vectors = encoder.encode_passages_with_grad(self.passages())
        assert vectors.requires_grad, "passage vectors have no gradient"
        self._same(vectors.detach().cpu().numpy(), before, "passages with gradient and without")
        moved(encoder.passage_module())
        trained = self.of_passages(encoder)
        assert not np.allclose(trained, before, atol=1e-5), (
            "changed weights change no passage vector"
        )
        assert np.array_equal(self.of_questions(encoder), question_vectors), (
            "question vectors changed with the passages'"
        )
        reloaded = loaded(spec, encoder.save_trained(tmp_path), tmp_path)
        self._same(self.of_passages(reloaded), trained, "passages, saved and loaded")
        self._same(self.of_questions(reloaded), question_vectors, "questions, saved and loaded")

    def test_threads_encode_alike(self, component: Any) -> None:
        """Questions encoded in several threads have the same vectors as in one.

        Fix: store nothing of a call in the object; lock a tokenizer that cannot be shared.
        """
        encoder = self.build(component)
        expected = self.of_questions(encoder)
        with ThreadPoolExecutor(4) as pool:
            for vectors in pool.map(lambda _: self.of_questions(encoder), range(12)):
                self._same(vectors, expected, "encoded in a thread")
