"""Keys and values of passages on disk, for one model: written once, checked whenever read.

Knows safetensors; knows no model. A file that is damaged or of another layout is replaced,
since what was in it can be computed again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ragcore.process.fork import new_lock
from ragcore_transformers.reuse_folder import SUFFIX, shrink, size_of
from ragcore_transformers.states import PassageStates

__all__ = ["StateFiles"]

_LOG: Final = logging.getLogger(__name__)

_AFTER_SHRINKING: Final = 0.9
"""This share of the most bytes is left, so that not every new file needs a look at all of them."""


_UNSEEN: Final = 0.05
"""So much of the most bytes is written before the other processes' files are counted again."""


class StateFiles:
    """The files of one model in a folder that others may share; safe to use from several threads.

    Several processes may use the folder, too: a file is renamed in when it is complete.
    """

    def __init__(self, folder: Path, fingerprint: str, max_bytes: int) -> None:
        """Take a folder, which is created when there is something to write.

        Args:
            folder: of all models.
            fingerprint: of this model, its prompts and the dtype that is stored.
            max_bytes: how large the folder may become, but for a twentieth with each further
                process that writes.
        """
        self._folder = folder
        self._own = folder / fingerprint
        self._max_bytes = max_bytes
        self._bytes = size_of(folder)
        self._unseen = 0
        self._writes = True
        self._lock = new_lock()

    def find(self, digest: str) -> PassageStates | None:
        """Return what is stored of a passage, or None."""
        path = self._path(digest)
        try:
            states = _load(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError, KeyError) as fault:
            _LOG.warning("%s cannot be used, and is written again: %s", path, fault)
            return None
        try:
            os.utime(path)
        except OSError:
            # A folder that is only read, or a file that was deleted meanwhile: its age is lost.
            _LOG.debug("the time of use of %s cannot be set", path)
        return states

    def add(self, digest: str, states: PassageStates) -> None:
        """Write what was computed of a passage, and delete what was used longest ago if need be.

        Where the disk cannot be written, that is logged once, and nothing is written from then on.
        """
        with self._lock:
            if not self._writes:
                return
        try:
            size = _save(self._path(digest), states)
            with self._lock:
                self._bytes += size
                self._unseen += size
                if self._bytes > self._max_bytes or self._unseen > _UNSEEN * self._max_bytes:
                    self._look_at_all()
        # The library's own error where the disk is full.
        except (OSError, SafetensorError) as fault:
            with self._lock:
                self._writes = False
            _LOG.warning("keys and values of passages are no longer written to disk: %s", fault)

    def _look_at_all(self) -> None:
        """Count the folder again, since other processes write too; shrink it if it is too large."""
        self._bytes, self._unseen = size_of(self._folder), 0
        if self._bytes > self._max_bytes:
            self._bytes = shrink(self._folder, int(_AFTER_SHRINKING * self._max_bytes))

    def _path(self, digest: str) -> Path:
        return self._own / f"{digest}{SUFFIX}"


def _save(path: Path, states: PassageStates) -> int:
    """Write states to a file that appears when it is complete; return its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"token_ids": torch.tensor(states.token_ids)}
    for name, layers in (("keys", states.keys), ("values", states.values)):
        tensors |= {f"{name}.{layer}": tensor.cpu() for layer, tensor in enumerate(layers)}
    # Of the same digest: what a killed process leaves is counted, deleted and forgotten likewise.
    descriptor, staging = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=SUFFIX)
    os.close(descriptor)
    try:
        save_file(tensors, staging, metadata={"sha256": _sha256(tensors)})
        size = os.stat(staging).st_size
        os.replace(staging, path)
    except BaseException:
        Path(staging).unlink(missing_ok=True)
        raise
    return size


def _load(path: Path) -> PassageStates:
    """Read states from a file.

    Raises:
        FileNotFoundError: there is none.
        SafetensorError, ValueError, KeyError: it is damaged.
    """
    with safe_open(path, framework="pt") as file:
        # Copies: a mapped file would count as no memory, and be read again and again.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        recorded = (file.metadata() or {}).get("sha256")
    if _sha256(tensors) != recorded:
        raise ValueError("its sha256 is not the recorded one")
    layers = (len(tensors) - 1) // 2
    return PassageStates(
        tuple(tensors["token_ids"].tolist()),
        tuple(tensors[f"keys.{layer}"] for layer in range(layers)),
        tuple(tensors[f"values.{layer}"] for layer in range(layers)),
    )


def _sha256(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        raw: Any = tensor.contiguous().view(-1).view(torch.uint8).numpy()
        digest.update(raw)
    return digest.hexdigest()
