"""An encoder by hashed words, and copies of it with one mistake each."""

from __future__ import annotations

import copy
import hashlib
import os
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch

from ragcore.registry.components import ComponentConfig, ConfigPath
from ragcore.testing import EncoderSuite
from ragcore.types import Passage
from tests.testing.faults.marking import fault

Bag = torch.nn.EmbeddingBag


class Correct:
    """Adds up a vector for each word; questions have weights of their own, which can be trained."""

    class Config(ComponentConfig):
        buckets: int = 512
        dim: int = 16
        lowercase: bool = True
        weights: ConfigPath | None = None

    capabilities: ClassVar[frozenset[str]] = frozenset({"trainable"})

    def __init__(self, config: Config) -> None:
        self._config = config
        self._passages = self._module()
        self._questions = copy.deepcopy(self._passages)
        if config.weights is not None:
            with np.load(config.weights) as saved:
                self._passages.load_state_dict({"weight": torch.from_numpy(saved["passages"])})
                self._questions.load_state_dict({"weight": torch.from_numpy(saved["questions"])})

    @property
    def dim(self) -> int:
        return self._config.dim

    @property
    def fingerprint(self) -> str:
        weights = self._passages.weight.detach().numpy()
        name = hashlib.sha256(weights.tobytes()).hexdigest()
        return f"hashed(lowercase={self._config.lowercase},shape={weights.shape},weights={name})"

    def encode_passages(self, passages: Sequence[Passage]) -> Any:
        with torch.no_grad():
            return self.encode_passages_with_grad(passages).numpy()

    def encode_passages_with_grad(self, passages: Sequence[Passage]) -> torch.Tensor:
        texts = [f"{passage.title} {passage.text}" for passage in passages]
        return self._encode(self._passages, texts)

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        return self._encode(self._questions, questions)

    def trained_module(self) -> torch.nn.Module:
        return self._questions

    def passage_module(self) -> torch.nn.Module:
        return self._passages

    def save_trained(self, folder: Path) -> dict[str, str]:
        questions, passages = (
            module.weight.detach().numpy() for module in (self._questions, self._passages)
        )
        np.savez(folder / "weights.npz", questions=questions, passages=passages)
        return {"weights": "weights.npz"}

    def _module(self) -> Bag:
        drawn = torch.Generator().manual_seed(7)
        weight = torch.randn(self._config.buckets, self._config.dim, generator=drawn)
        return Bag.from_pretrained(weight, freeze=False, mode="sum")

    def _encode(self, bag: Bag, texts: Sequence[str]) -> torch.Tensor:
        buckets = [self._buckets(text) for text in texts]
        starts = np.cumsum([0, *map(len, buckets)])[:-1]
        words = torch.tensor([bucket for text in buckets for bucket in text], dtype=torch.long)
        return bag(words, torch.from_numpy(starts))

    def _buckets(self, text: str) -> list[int]:
        text = text.lower() if self._config.lowercase else text
        return [self._hash(word) % self._config.buckets for word in text.split()]

    def _hash(self, word: str) -> int:
        return zlib.crc32(word.encode("utf-8", "surrogatepass"))


class Suite(EncoderSuite):
    variants = ({"buckets": 256}, {"dim": 8}, {"lowercase": False})


def made(component: type[Any], **settings: Any) -> Any:
    """Make an encoder with settings."""
    return component(component.Config(**settings))


def passage(text: str, id_: str = "1") -> Passage:
    """Make a passage without title."""
    return Passage(id_, "", text)


def trained(encoder: Any) -> Any:
    """Change the weights that training changes, and return the encoder."""
    with torch.no_grad():
        next(encoder.trained_module().parameters()).add_(1.0)
    return encoder


def with_trained_weights(encoder: Any) -> Any:
    """Save an encoder's trained weights, move the folder, and load them."""
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "saved"
        folder.mkdir()
        settings = encoder.save_trained(folder)
        folder = folder.rename(Path(parent) / "moved")
        return made(type(encoder), **{key: folder / path for key, path in settings.items()})


def same(left: Any, right: Any) -> bool:
    """Return whether two arrays or tensors have the same shape and numbers."""
    return left.shape == right.shape and bool((left == right).all())


def alike_in_processes(component: type[Any]) -> bool:
    """Return whether a passage has the same vector in a process with another hash seed."""
    code = (
        f"from tests.testing.faults.encoder import {component.__name__} as C, made, passage\n"
        "print(made(C).encode_passages([passage('Accra')]).tolist())"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    output = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return output.strip() == str(made(component).encode_passages([passage("Accra")]).tolist())


@fault("made(C).encode_questions(['a']).requires_grad")
class NoGradient(Correct):
    """Encodes questions without gradient."""

    @torch.no_grad()
    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        return super().encode_questions(questions)


@fault("not torch.no_grad()(made(C).encode_questions)(['a']).requires_grad")
class AlwaysGradient(Correct):
    """Encodes questions with gradient, even where the caller has gradients disabled."""

    @torch.enable_grad()
    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        return super().encode_questions(questions)


@fault(
    "same((e := made(C)).encode_passages([passage('a')]),"
    " trained(e).encode_passages([passage('a')]))"
)
class OneModule(Correct):
    """Trains the module of the passages too, since both sides share it."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._passages = self._questions


@fault("same((e := made(C)).encode_questions(['a', 'b c'])[0], e.encode_questions(['a'])[0])")
class CountsPadding(Correct):
    """Divides by the longest text's length, as a mean over padded texts does."""

    def _encode(self, bag: Bag, texts: Sequence[str]) -> torch.Tensor:
        longest = max((len(text.split()) for text in texts), default=1)
        return super()._encode(bag, texts) / max(longest, 1)


@fault(
    "same((e := made(C)).encode_passages([passage('a b'), passage('c')])[1],"
    " e.encode_passages([passage('c')])[0])"
)
class StaysSorted(Correct):
    """Sorts passages by length to save padding, and does not undo it."""

    def encode_passages(self, passages: Sequence[Passage]) -> Any:
        return super().encode_passages(sorted(passages, key=lambda passage: len(passage.text)))


@fault(
    "(e := made(C)).encode_passages([passage('a', '1')]).any() and"
    " same(e.encode_passages([passage('b', '1')]), made(C).encode_passages([passage('b')]))"
)
class CachedById(Correct):
    """Caches vectors by the passage's id, though its text may have changed."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._cache: dict[str, Any] = {}

    def encode_passages(self, passages: Sequence[Passage]) -> Any:
        new = [passage for passage in passages if passage.id not in self._cache]
        vectors = super().encode_passages(new)
        self._cache.update(zip((passage.id for passage in new), vectors, strict=True))
        cached = [self._cache[passage.id] for passage in passages]
        return np.array(cached, np.float32).reshape(-1, self.dim)


@fault("alike_in_processes(C)")
class PythonHash(Correct):
    """Hashes words by Python's `hash`, which is another one in each process."""

    def _hash(self, word: str) -> int:
        return hash(word)


@fault("made(C).encode_passages([passage('a')]).dtype == np.float32")
class Doubles(Correct):
    """Returns float64."""

    def encode_passages(self, passages: Sequence[Passage]) -> Any:
        return super().encode_passages(passages).astype(np.float64)


@fault("made(C, lowercase=False).fingerprint != made(C).fingerprint")
class FingerprintForgetsCase(Correct):
    """Leaves the setting `lowercase` out of the fingerprint."""

    @property
    def fingerprint(self) -> str:
        return super().fingerprint.partition(",")[2]


@fault("(e := made(C)).fingerprint == trained(e).fingerprint")
class FingerprintOfQuestions(Correct):
    """Has the question weights in the fingerprint, so that training forces a new memory."""

    @property
    def fingerprint(self) -> str:
        weights = self._questions.weight.detach().numpy().tobytes()
        return super().fingerprint + hashlib.sha256(weights).hexdigest()


@fault("made(C).encode_questions(['Łódź']).any()")
class Latin1Words(Correct):
    """Encodes words in Latin-1, which has no letter of most languages."""

    def _hash(self, word: str) -> int:
        return zlib.crc32(word.encode("latin-1"))


@fault("made(C).encode_questions(['1986?']).isfinite().all()")
class MeanOfNothing(Correct):
    """Divides by the number of words with a letter, which may be 0."""

    def _encode(self, bag: Bag, texts: Sequence[str]) -> torch.Tensor:
        counts = [sum(map(str.isalpha, text.split())) for text in texts]
        lengths = torch.tensor(counts).reshape(-1, 1)
        return super()._encode(bag, texts) / lengths


@fault(
    "(v := (e := made(C)).encode_passages([passage('a')])).any() and"
    " not same(e.encode_passages([passage('b')]), v)"
)
class ReusesItsArray(Correct):
    """Writes the vectors of each call with as many passages into the same array."""

    def encode_passages(self, passages: Sequence[Passage]) -> Any:
        vectors = super().encode_passages(passages)
        arrays = self.__dict__.setdefault("_arrays", {})
        array = arrays.setdefault(len(passages), vectors)
        array[:] = vectors
        return array


@fault("same((e := made(C)).encode_questions([*'abcdefgh']), e.encode_questions([*'abcdefgh']))")
class DropsOut(Correct):
    """Drops out weights, since it never leaves the mode of training."""

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        return torch.nn.functional.dropout(super().encode_questions(questions), 0.1)


@fault("same(made(C).encode_passages([passage('a')]), made(C).encode_passages([passage('a')]))")
class Unseeded(Correct):
    """Draws its weights from the global generator, and so anew in each process."""

    def _module(self) -> Bag:
        return Bag(self._config.buckets, self._config.dim, mode="sum")


@fault(
    "same((e := trained(made(C))).encode_questions(['a']),"
    " with_trained_weights(e).encode_questions(['a']))"
)
class SavesTheStart(Correct):
    """Saves the weights that it had before training."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._start = copy.deepcopy(self._questions)

    def save_trained(self, folder: Path) -> dict[str, str]:
        trained, self._questions = self._questions, self._start
        try:
            return super().save_trained(folder)
        finally:
            self._questions = trained


@fault("with_trained_weights(made(C)).dim == 16")
class ReturnsAbsolutePath(Correct):
    """Returns the absolute path of its weights, which a move of the folder breaks."""

    def save_trained(self, folder: Path) -> dict[str, str]:
        super().save_trained(folder)
        return {"weights": str((folder / "weights.npz").absolute())}


@fault("made(C).encode_questions(['a']).shape == (1, 16)")
class SqueezesOne(Correct):
    """Returns [d] in place of [1, d] for a single question."""

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        return super().encode_questions(questions).squeeze(0)


@fault("made(C).encode_passages([passage('a')] * 9)[8].any()")
class LosesTheLastBatch(Correct):
    """Encodes full batches of 8 only, and leaves zeros for the rest."""

    def encode_passages(self, passages: Sequence[Passage]) -> Any:
        vectors = np.zeros((len(passages), self.dim), np.float32)
        for start in range(0, max(len(passages) - 7, 1), 8):
            batch = passages[start : start + 8]
            vectors[start : start + 8] = super().encode_passages(batch)
        return vectors


@fault("(e := made(C)).trained_module() is e.trained_module()")
class NewModules(Correct):
    """Returns a copy of the module at each call, so that training changes nothing."""

    def trained_module(self) -> torch.nn.Module:
        return copy.deepcopy(self._questions)


@fault(
    "made(C).encode_questions(['a']).shape[1] == 16 and"
    " made(C, dim=8).encode_questions(['a']).shape[1] == 8"
)
class CachesInTheClass(Correct):
    """Caches questions' vectors in the class, for instances of whatever settings."""

    _vectors: ClassVar[dict[str, torch.Tensor]] = {}

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        if not questions:
            return super().encode_questions(questions)
        for question in questions:
            if question not in self._vectors:
                self._vectors[question] = super().encode_questions([question])[0]
        return torch.stack([self._vectors[question] for question in questions])
