"""Say where a dump is broken.

A fault ends the reading of a file: what stands before it is read, what follows is not. Errors that
concern the file as a whole (it is no dump, it is of another wiki) are plain `CorpusError`s.
"""

from __future__ import annotations

from ragcore.errors import CorpusError

__all__ = ["BrokenDumpError"]


class BrokenDumpError(CorpusError):
    """A dump is cut short, damaged, or not well-formed; the pages before the fault were read."""
