"""llama.cpp's shared library, one loaded model of it, and its log.

The library writes its log to the standard error of the process; here it goes to Python's logging,
and its last error explains why a file cannot be loaded. Knows files and the library; knows nothing
of prompts or decoding.
"""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import llama_cpp

from ragcore.errors import GeneratorError
from ragcore.process.fork import new_lock, new_rlock

__all__ = ["Model", "gguf_file"]

_LOG: Final = logging.getLogger("ragcore_llamacpp.llama_cpp")

_LEVELS: Final = {2: logging.DEBUG, 3: logging.INFO, 4: logging.ERROR}
"""Those of llama.cpp's information, warnings and errors: it warns of what is normal here, such as
a cache for more tokens than one text may have."""
_ERROR: Final = 4
_CONTINUED: Final = 5

_LOADING: Final = new_lock()


class _Log:
    """Passes the library's log on, and remembers the last error."""

    def __init__(self) -> None:
        self.error = ""
        self._level = 0
        # The library keeps the address of the callback, which must live as long as it does.
        self._callback = llama_cpp.llama_log_callback(self._write)
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _write(self, level: int, text: bytes, _: Any) -> None:
        if level != _CONTINUED:
            self._level = level
        line = text.decode("utf-8", "replace").strip()
        if not line:
            return
        if self._level == _ERROR and not self.error:
            self.error = line
        _LOG.log(_LEVELS.get(self._level, logging.DEBUG), "%s", line)


_MESSAGES: Final = _Log()


class Model:
    """The weights and the vocabulary of one GGUF file, until `close`.

    Attributes:
        name: as the user wrote it, for errors.
        weights: llama.cpp's pointer to the model.
        vocabulary: its pointer to the vocabulary.
    """

    def __init__(self, name: str, gpu_layers: int | None) -> None:
        """Load a model; its file is mapped into memory.

        Args:
            name: a `.gguf` file, or a folder that holds one.
            gpu_layers: how many layers a GPU computes; None for all, where there is one.

        Raises:
            GeneratorError: the file is missing or damaged, or holds what cannot be decoded here.
        """
        self.name = name
        file = gguf_file(name)
        llama_cpp.llama_backend_init()
        settings = llama_cpp.llama_model_default_params()
        settings.n_gpu_layers = -1 if gpu_layers is None else gpu_layers
        with _LOADING:
            _MESSAGES.error = ""
            weights = llama_cpp.llama_model_load_from_file(str(file).encode(), settings)
            reason = _MESSAGES.error
        if not weights:
            raise GeneratorError(
                f"model {name!r} cannot be loaded: {reason or 'llama.cpp says no reason'}; it must "
                "be a complete GGUF file of an architecture that this llama.cpp reads"
            )
        self.weights: Any = weights
        self._lock = new_rlock()
        self._users = 0
        self._closed = False
        self._free = weakref.finalize(self, llama_cpp.llama_model_free, weights)
        self.vocabulary: Any = llama_cpp.llama_model_get_vocab(weights)
        fault = self._fault()
        if fault is not None:
            self.close()
            raise GeneratorError(
                f"model {name!r} cannot be decoded here, since {fault}: use it with the generator "
                "causal or seq2seq, or choose a decoder-only model with attention"
            )

    @property
    def positions(self) -> int:
        """Return how many positions the model was trained with."""
        with self.in_use():
            return int(llama_cpp.llama_model_n_ctx_train(self.weights))

    @property
    def dtype(self) -> str:
        """Return the type of the weights as the file names it, such as "Q4_1"."""
        buffer = ctypes.create_string_buffer(256)
        with self.in_use():
            llama_cpp.llama_model_desc(self.weights, buffer, len(buffer))
        # "llama 134.52M Q4_1", and for a guessed type "(guessed)" after it.
        words = buffer.value.decode("utf-8", "replace").removesuffix(" (guessed)").split()
        return words[-1] if words else "unknown"

    @property
    def chat_template(self) -> str | None:
        """Return the chat template that the file holds, if any."""
        with self.in_use():
            template = llama_cpp.llama_model_chat_template(self.weights, None)
        return template.decode("utf-8", "replace") if template else None

    def close(self) -> None:
        """Free the weights when nobody uses the model; contexts must have been freed before."""
        with self._lock:
            self._closed = True
            self._free_unused()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the weights and the vocabulary in memory until the block ends.

        Raises:
            GeneratorError: the model is closed.
        """
        with self._lock:
            self.refuse_closed()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._free_unused()

    def refuse_closed(self) -> None:
        """Raise GeneratorError if the model is closed."""
        if self._closed:
            raise GeneratorError(
                f"the generator of model {self.name!r} is closed: load the pipeline again"
            )

    def _free_unused(self) -> None:
        if self._closed and not self._users:
            self._free()

    def _fault(self) -> str | None:
        """Return why rows of this model cannot be decoded, or None where they can."""
        if llama_cpp.llama_model_has_encoder(self.weights):
            return "it has an encoder"
        if not llama_cpp.llama_model_has_decoder(self.weights):
            return "it has no decoder"
        if llama_cpp.llama_model_is_diffusion(self.weights):
            return "it writes by diffusion"
        if llama_cpp.llama_model_is_recurrent(self.weights) or llama_cpp.llama_model_is_hybrid(
            self.weights
        ):
            return "it has a recurrent state, which rows cannot share"
        return None


def gguf_file(name: str) -> Path:
    """Return the GGUF file that a model's name stands for.

    Raises:
        GeneratorError: there is none, or the folder has several.
    """
    path = Path(name)
    if path.is_dir():
        # The first of several parts names the others.
        files = sorted(
            file
            for file in path.glob("*.gguf")
            if "-of-" not in file.stem or file.stem.rpartition("-of-")[0].endswith("-00001")
        )
        if len(files) == 1:
            return files[0]
        reason = (
            f"it is a folder of {len(files)} GGUF files ({files[0].name}, {files[1].name}, …)"
            if files
            else "it is a folder without a .gguf file"
        )
    elif not path.is_file():
        reason = "there is no such file"
    elif path.suffix != ".gguf":
        reason = "it is no .gguf file"
    else:
        return path
    raise GeneratorError(
        f"model {name!r} cannot be loaded: {reason}; llamacpp reads one .gguf file, or a folder "
        "that holds one"
    )
