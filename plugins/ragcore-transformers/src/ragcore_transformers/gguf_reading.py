"""Let transformers parse a GGUF file once, though it opens the file for config, weights, tokenizer.

A parse takes seconds, most of them for the vocabulary's texts; so does the table of the tensors'
names, which transformers makes again for every module of the model. Both come from the package
`gguf`, which transformers imports by name each time: it takes a path and no reader, so that there
is no other way to pass it what was parsed. Therefore the package's reader and table are replaced by
remembering ones while a file is loaded; another thread that reads a GGUF file meanwhile gets the
same results from them. transformers' progress bar of the tensors, which its switch for bars does
not know, is hidden like the others (`without_bars`). Knows that package; knows nothing of models.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from transformers.utils import logging

from ragcore_transformers.loading import without_bars

__all__ = ["parsed_once"]

_LOADING: Final = threading.Lock()


@contextmanager
def parsed_once() -> Iterator[None]:
    """Remember what is read from GGUF files, until the block ends; one thread loads at a time."""
    import gguf
    from transformers import modeling_gguf_pytorch_utils

    # The stubs do not say that these are replaced.
    package: Any = gguf
    module: Any = modeling_gguf_pytorch_utils
    with _LOADING, without_bars():
        reader, table = package.GGUFReader, package.get_tensor_name_map
        package.GGUFReader = functools.cache(reader)
        package.get_tensor_name_map = functools.cache(table)
        bar = module.tqdm
        if not logging.is_progress_bar_enabled():
            module.tqdm = functools.partial(bar, disable=True)
        try:
            yield
        finally:
            module.tqdm = bar
            package.GGUFReader, package.get_tensor_name_map = reader, table
