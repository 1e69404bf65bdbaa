"""The digest under which a text's vectors are kept."""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

from ragcore.types import Passage

__all__ = ["key_of"]

_DIGEST: Final = 20


def key_of(passage: Passage) -> bytes:
    """Digest what an encoder reads of a passage: title and text, and neither id nor metadata.

    The title's length keeps the two apart.
    """
    title = passage.title.encode("utf-8", "surrogatepass")
    digest = blake2b(struct.pack("<Q", len(title)), digest_size=_DIGEST)
    digest.update(title)
    digest.update(passage.text.encode("utf-8", "surrogatepass"))
    return digest.digest()
