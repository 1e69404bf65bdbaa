"""Let transformers parse a GGUF file once, though it opens the file for config, weights, tokenizer.

A parse takes seconds, most of them for the vocabulary's texts; so does the table of the tensors'
names, which transformers makes again for every module of the model. Both come from the package
`gguf`, which transformers imports by name each time: it takes a path and no reader, so that there
is no other way to pass it what was parsed. Therefore the package's reader and table are replaced by
remembering ones while a file is loaded; another thread that reads a GGUF file meanwhile gets the
same results from them. Knows that package; knows nothing of models.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["parsed_once"]

_LOADING: Final = threading.Lock()


@contextmanager
def parsed_once() -> Iterator[None]:
    """Remember what is read from GGUF files, until the block ends; one thread loads at a time."""
    import gguf

    # The stubs do not say that these are replaced.
    package: Any = gguf
    with _LOADING:
        reader, table = package.GGUFReader, package.get_tensor_name_map
        package.GGUFReader = functools.cache(reader)
        package.get_tensor_name_map = functools.cache(table)
        try:
            yield
        finally:
            package.GGUFReader, package.get_tensor_name_map = reader, table
