"""Read a text file of questions or judgments, gzipped or not."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from ragcore.errors import QuestionError

__all__ = ["read_text"]


def read_text(path: Path) -> str:
    """Read a file as UTF-8; one whose name ends in .gz is decompressed.

    Raises:
        QuestionError: it cannot be read, unpacked or decoded.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        # Windows editors write a byte order mark first, which is no part of the text.
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise QuestionError(f"{path}: no such file: check the path") from None
    except IsADirectoryError:
        raise QuestionError(f"{path}: a folder: give the path of a file of questions") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise QuestionError(f"{path}: cannot be unpacked ({error}): pack it again") from None
    except UnicodeDecodeError as error:
        raise QuestionError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    except OSError as error:
        raise QuestionError(f"{path}: cannot be read: {error.strerror}") from None
