"""Define every error that a user can cause, each a `RagcoreError`.

A message says what was found, where, what was expected, and what to do. The command line prints
the message alone and exits with `exit_code`; a traceback is for faults of ragcore itself.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ComponentError",
    "ConfigError",
    "CorpusError",
    "DeadlineError",
    "EmptyCorpusError",
    "GeneratorError",
    "MemoryMismatchError",
    "MemoryUnavailableError",
    "MetricError",
    "PluginError",
    "QuestionError",
    "RagcoreError",
    "RemoteError",
    "RequestCancelledError",
    "RequestStoppedError",
    "StoreCorruptError",
    "StoreError",
    "StreamError",
    "TrainingError",
    "UnknownComponentError",
    "UnknownVersionError",
    "UnsupportedOperation",
    "VersionExistsError",
    "nearest",
]


class RagcoreError(Exception):
    """The base of every error that ragcore raises on purpose."""

    exit_code = 2


class ConfigError(RagcoreError):
    """One or more faults in a pipeline file; the message lists each as `file:line:column: …`."""


class PluginError(RagcoreError):
    """A plugin, or a component that it names, cannot be used."""


class UnknownComponentError(PluginError):
    """No installed plugin provides a component of this kind and name."""


class ComponentError(RagcoreError):
    """A component broke its contract: wrong shapes, NaN scores, rows out of order."""


class RemoteError(ComponentError):
    """A server that a component asks cannot be reached, refuses, or replies with something else.

    Attributes:
        summary: what happened, for a log: the server's address and how it failed, without the
            words of its reply, which may quote a question or a passage; empty where not known.
    """

    def __init__(self, message: str, summary: str = "") -> None:
        super().__init__(message)
        self.summary = summary


class UnsupportedOperation(RagcoreError):  # noqa: N818 (the word is the contract's)
    """A component was asked for what it does not declare in `capabilities`.

    >>> raise UnsupportedOperation.of("index 'faiss' (HNSW32)", "remove")
    Traceback (most recent call last):
    ragcore.errors.UnsupportedOperation: index 'faiss' (HNSW32) does not support 'remove': it does \
not declare it in its capabilities; use a component that does, or build the memory again
    """

    @classmethod
    def of(cls, component: str, operation: str) -> UnsupportedOperation:
        """Make the error for `operation` on `component`, its kind and name as a user knows it."""
        return cls(
            f"{component} does not support {operation!r}: it does not declare it in its "
            "capabilities; use a component that does, or build the memory again"
        )


class CorpusError(RagcoreError):
    """A corpus cannot be read, or one of its passages cannot be used; names file and line."""


class EmptyCorpusError(CorpusError):
    """A corpus contains no passage."""


class StoreError(RagcoreError):
    """A store or a version of it cannot be used."""


class UnknownVersionError(StoreError):
    """The store has no version of this name; the message lists its versions.

    Attributes:
        version: the name that was asked for; None where the store was asked for none.
        versions: the names of those that there are.
    """

    def __init__(
        self, message: str, *, version: str | None = None, versions: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.version = version
        self.versions = tuple(versions)


class VersionExistsError(StoreError):
    """A version of this name is already in the store; versions never change."""


class StoreCorruptError(StoreError):
    """A file of a version is missing, or its sha256 differs from the manifest's."""


class MemoryMismatchError(StoreError):
    """A version was built with another encoder or analyser than the one in use; names both."""


class MemoryUnavailableError(StoreError):
    """A database that holds part of a memory does not answer, or refuses to be changed.

    The memory is whole, as far as is known: the same call may succeed later. Names the database
    without its password.
    """


class QuestionError(RagcoreError):
    """A question that cannot be asked: empty, or longer than the generator's input allows."""


class RequestStoppedError(RagcoreError):
    """A request ended before its answer was known, because its caller no longer waits for it."""


class DeadlineError(RequestStoppedError):
    """A request took longer than its `timeout`."""


class RequestCancelledError(RequestStoppedError):
    """A request was cancelled by its `Cancellation`."""


class GeneratorError(RagcoreError):
    """A generator cannot be loaded, or does not fit its tokenizer."""


class MetricError(RagcoreError):
    """A metric cannot compute what is asked of it, or breaks its contract."""


class StreamError(RagcoreError):
    """Standard input cannot be read, or standard output cannot be written."""


class TrainingError(RagcoreError):
    """Training cannot start, or cannot resume from the checkpoint in its folder."""


_LONGEST_RATIO = 2.4
"""A ratio of 0.6, 2 M / (T1 + T2), needs T1 <= (2 / 0.6 - 1) T2, since M <= T2."""


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the known name most similar to a mistyped word, for a hint; None if none is close."""
    import difflib

    # What is so much longer cannot be close, and may be as long as a client likes.
    if len(word) > _LONGEST_RATIO * max(map(len, known), default=0):
        return None
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return close[0] if close else None
