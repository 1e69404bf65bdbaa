"""Check a path before it is used: what the system will not take should be a message of ours."""

from __future__ import annotations

import errno
from pathlib import Path

from ragcore.errors import RagcoreError

__all__ = ["usable_path"]

_NO_PATH = {errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ}


def usable_path(path: str | Path, error: type[RagcoreError]) -> Path:
    """Return a path that the system can look up, whether or not something is there.

    Args:
        path: from a user: it may have NUL in it, or be too long.
        error: what to raise.

    Raises:
        RagcoreError: of the class `error`: nothing can have this path.
    """
    try:
        Path(path).lstat()
    except UnicodeEncodeError:
        raise error(f"{str(path)[:200]!r}: not a path: it has a lone surrogate") from None
    except ValueError:
        raise error(f"{str(path)[:200]!r}: not a path: it has the character NUL in it") from None
    except OSError as fault:
        if fault.errno in _NO_PATH:
            shown = str(path)
            shown = shown if len(shown) <= 200 else f"{shown[:200]}…"
            raise error(f"{shown}: not a usable path: {fault.strerror}") from None
    return Path(path)
