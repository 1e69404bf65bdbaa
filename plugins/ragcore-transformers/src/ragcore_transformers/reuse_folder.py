"""The folder in which keys and values of passages are kept: its files' names, size and deletion.

One file for each model and passage, FOLDER/FINGERPRINT/DIGEST.safetensors, written under the name
DIGEST.RANDOM.safetensors. Imports neither torch nor transformers, so that passages are forgotten
without them; knows nothing of what is in a file.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from ragcore.errors import GeneratorError
from ragcore.types import Passage

__all__ = ["SUFFIX", "delete_passages", "digest_of", "files_in", "shrink", "size_of"]

SUFFIX: Final = ".safetensors"

_DIGEST: Final = 20


def digest_of(passage: Passage) -> str:
    """Return the digest of what a generator reads of a passage: title and text, in hexadecimal.

    The title's length keeps the two apart.
    """
    title = passage.title.encode("utf-8", "surrogatepass")
    digest = blake2b(struct.pack("<Q", len(title)), digest_size=_DIGEST)
    digest.update(title)
    digest.update(passage.text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files of all models; none where there is no folder."""
    yield from folder.glob(f"*/*{SUFFIX}")


def size_of(folder: Path) -> int:
    """Return how many bytes the files of all models have."""
    return sum(size for _, size, _ in _by_age(folder))


def shrink(folder: Path, max_bytes: int) -> int:
    """Delete the files that were used longest ago until at most so many bytes are left.

    Returns:
        How many bytes are left.

    Raises:
        OSError: a file cannot be deleted.
    """
    files = _by_age(folder)
    left = sum(size for _, size, _ in files)
    for _, size, path in files:
        if left <= max_bytes:
            break
        path.unlink(missing_ok=True)
        left -= size
    return left


def delete_passages(folder: Path, passages: Iterable[Passage]) -> int:
    """Delete what all models have computed of some passages; return how many files that were.

    A passage of another id with the same title and text has the same file, which goes with it.

    Raises:
        GeneratorError: a file cannot be deleted.
    """
    digests = {digest_of(passage) for passage in passages}
    count = 0
    for path in files_in(folder):
        # What stands behind a point is of a file that was not completed.
        if path.name.partition(".")[0] in digests:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise GeneratorError(
                    f"{path} has what was computed of a passage that is forgotten, and cannot be "
                    f"deleted ({error.strerror}): delete this file"
                ) from error
            count += 1
    return count


def _by_age(folder: Path) -> list[tuple[int, int, Path]]:
    """Return time of use, bytes and path of each file, the one used longest ago first."""
    files = []
    for path in files_in(folder):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            # Another process has deleted it since it was listed.
            continue
        files.append((status.st_mtime_ns, status.st_size, path))
    return sorted(files)
