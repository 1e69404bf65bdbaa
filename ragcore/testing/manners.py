"""Laws for components of every kind: a component is one guest of the process among others.

A suite adds `MannerLaws` and defines `exercise`, and `revisit` where its component can be saved.
"""

from __future__ import annotations

import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from ragcore.testing.elsewhere import UnreachableError, exercise_elsewhere
from ragcore.testing.pickles import pickles_in
from ragcore.testing.suite import Suite
from ragcore.testing.surroundings import global_state, printed_by, seeded

__all__ = ["MannerLaws"]

_CLOSE: Final = 1e-4
_SEEDS: Final = (20_771, 51_434)


class MannerLaws(Suite):
    """Test what a component does to its process, and takes from it."""

    def exercise(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Build a new component, use it, and save it into an existing empty folder if it can be.

        Returns:
            The results by name, as arrays of numbers or strings, or what numpy makes such of.
        """
        raise NotImplementedError

    def revisit(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Load what `exercise` saved, and return results by the names of `exercise`."""
        return {}

    def test_global_state_is_left_alone(self, component: Any, tmp_path: Path) -> None:
        """Building, using and saving it change no state that belongs to the whole process.

        That is: the seeds of `random`, numpy and torch, torch's gradient mode and default type,
        numpy's error handling, the working folder, the root logger.

        Fix: draw from a generator of your own, `numpy.random.default_rng(seed)`; write
        `with torch.no_grad():` and `with numpy.errstate(…):`, which end; pass full paths.
        """
        with seeded(_SEEDS[0]):
            before = global_state()
            self.exercise(component, tmp_path)
            after = global_state()
        for name in before.keys() & after.keys():
            assert after[name] == before[name], f"it changed {name}"

    def test_global_seeds_do_not_matter(self, component: Any, tmp_path: Path) -> None:
        """Its results are the same, whatever the seeds of `random`, numpy and torch are.

        Fix: draw from a generator of your own, `numpy.random.default_rng(seed)`, with a seed from
        the `Config`.
        """
        results = []
        for seed in _SEEDS:
            with seeded(seed):
                results.append(self._exercise(component, tmp_path / str(seed)))
        _same(results[1], results[0], "with other global seeds")

    def test_nothing_is_printed(self, component: Any, tmp_path: Path) -> None:
        """Nothing is written to standard output, which belongs to the program's results.

        Fix: use `logging.getLogger(__name__)`; turn off a library's progress bars.
        """
        text = printed_by(lambda: self.exercise(component, tmp_path))
        assert not text, f"it printed {text[:200]!r}"

    def test_no_pickle_is_saved(self, component: Any, tmp_path: Path) -> None:
        """No saved file is a pickle, or holds one: who opens it would run code from it.

        Fix: save arrays with `numpy.save(…, allow_pickle=False)`, other state as JSON, and weights
        as safetensors.
        """
        self.exercise(component, tmp_path)
        if not any(path.is_file() for path in tmp_path.rglob("*")):
            raise unittest.SkipTest("it saves nothing")
        pickles = list(pickles_in(tmp_path))
        assert not pickles, pickles[0]

    def test_another_process_gives_the_same(self, component: Any, tmp_path: Path) -> None:
        """Built, or loaded, in a process with other hashes and folders, it gives the same results.

        Python's `hash()` of a text, and so the order of a set, differ from process to process.

        Fix: use `hashlib` or `zlib.crc32`, not `hash`; sort a set before you number or sum its
        items; save whatever was drawn or counted; keep nothing in the class or the module.
        """
        spec = self.spec(component)
        expected = self._exercise(component, tmp_path / "here")
        try:
            built, loaded = exercise_elsewhere(
                type(self), spec, tmp_path / "here", tmp_path / "elsewhere"
            )
        except UnreachableError as reason:
            raise unittest.SkipTest(f"no second process: {reason}") from None
        _same(built, expected, "built in another process")
        _same(loaded, expected, "loaded in another process")

    def _exercise(self, component: Any, folder: Path) -> dict[str, Any]:
        folder.mkdir()
        results = self.exercise(component, folder)
        return {name: np.asarray(value) for name, value in results.items()}


def _same(actual: Mapping[str, Any], expected: Mapping[str, Any], what: str) -> None:
    """Check that results are equal, numbers up to rounding."""
    for name in actual.keys() & expected.keys():
        new, old = actual[name], expected[name]
        assert new.shape == old.shape, f"{what}, {name} has shape {new.shape}, not {old.shape}"
        if np.issubdtype(old.dtype, np.floating):
            largest = np.abs(old[np.isfinite(old)]).max(initial=1.0)
            equal = np.isclose(new, old, rtol=0, atol=_CLOSE * largest, equal_nan=True)
        else:
            equal = new == old
        if not equal.all():
            first = tuple(np.argwhere(~equal)[0].tolist())
            raise AssertionError(
                f"{what}, {name}{list(first)} is {new[first]!r}: it was {old[first]!r}"
            )
