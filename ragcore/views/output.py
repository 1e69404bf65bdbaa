"""Write to standard output and standard error; the one place through which all output passes.

Knows streams and characters; knows nothing of answers, and imports nothing heavy. Questions,
passages, titles, file names and messages of plugins may hold characters that command a terminal:
escape sequences that recolour it, retitle its window or write to the clipboard, and marks that
reverse the order of what is read. What people read shows such a character as a picture (␛) or as
U+FFFD; JSON has it as an escape, \\u009b, which stands for the same text.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, TextIO, cast

from ragcore.errors import StreamError

__all__ = [
    "CheckedStream",
    "NeutralStream",
    "binary_output",
    "json_text",
    "neutral",
    "neutral_streams",
    "print_error",
    "print_json",
    "print_text",
    "terminal_stream",
]

# Line separators, marks of direction and lone surrogates, besides the control characters.
_NO_PICTURE: Final = (
    "\x80-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb"
)
_UNSAFE: Final = re.compile(f"[\x00-\x08\x0b-\x1f\x7f{_NO_PICTURE}]")
_UNSAFE_IN_JSON: Final = re.compile(f"[\x7f{_NO_PICTURE}]")
_CLOSED: Final = "standard output is closed: redirect it to a file or to a program"
_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")
"""An escape sequence that sets colours and weight."""


def neutral(text: str) -> str:
    """Replace each character that a terminal would obey by one that it shows; keep `\\n` and `\\t`.

    The result is as long as the text, so that positions in it stay what they are.

    >>> neutral("\\x1b[31mred\\x9b\\u202e")
    '␛[31mred��'
    """
    return _UNSAFE.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code == 0x7F:
        return "\u2421"
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"


class CheckedStream(io.TextIOBase):
    """Standard output or error, whose faults are a `RagcoreError` and whose encoding never is one.

    A character that the encoding lacks is written as an escape (`\\u4e2d`).
    """

    def __init__(self, stream: TextIO | None, *, stderr: bool = False) -> None:
        """Write to a stream.

        Args:
            stream: None is one that was closed before the program began.
            stderr: whether it is standard error. What that cannot take is dropped: there is
                nowhere else to complain, and a full log should not end a build.
        """
        self.stream = stream
        self._stderr = stderr

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream; UTF-8 where it has none."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._is_open() and self.stream is not None and self.stream.isatty()

    def fileno(self) -> int:
        """Return the stream's descriptor."""
        if self.stream is None:
            raise io.UnsupportedOperation("fileno")
        return self.stream.fileno()

    def write(self, text: str) -> int:
        """Write a text as it is.

        Raises:
            StreamError: standard output is closed, or its device is full.
            BrokenPipeError: the program that reads standard output has ended.
        """
        if self._is_open():
            encoding = self.encoding
            encoded = text.encode(encoding, "backslashreplace").decode(encoding)
            self._try(lambda stream: _write_all(stream, encoded))
        elif not self._stderr:
            raise StreamError(_CLOSED)
        return len(text)

    def flush(self) -> None:
        """Write out what is buffered; raises as `write` does, but a closed stream has nothing."""
        if self._is_open():
            self._try(lambda stream: stream.flush())

    def close(self) -> None:
        """Do nothing: the stream is the interpreter's.

        Python calls this when the object is dropped, and would hide that writing failed.
        """

    def _is_open(self) -> bool:
        return self.stream is not None and not self.stream.closed

    def _try(self, action: Callable[[TextIO], object]) -> None:
        assert self.stream is not None
        try:
            action(self.stream)
        except OSError as error:
            if self._stderr:
                return
            raise _not_written(error) from None


def _not_written(error: OSError) -> Exception:
    """Return what to raise where standard output did not take all."""
    if isinstance(error, BrokenPipeError):
        return error
    reason = error.strerror or error
    return StreamError(f"standard output cannot be written ({reason}): it is not complete")


def _write_all(stream: TextIO, text: str) -> None:
    """Write all of a text; with PYTHONUNBUFFERED, Python drops what a full device did not take."""
    raw = getattr(stream, "buffer", None)
    if not isinstance(raw, io.RawIOBase):
        stream.write(text)
        return
    _write_bytes(raw, text.replace("\n", os.linesep).encode(stream.encoding))


def _write_bytes(stream: BinaryIO | io.RawIOBase, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


class _Bytes(io.RawIOBase):
    """The bytes of standard output."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            _write_bytes(self._stream, bytes(data))
        except OSError as error:
            raise _not_written(error) from None
        return len(data)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise _not_written(error) from None

    def close(self) -> None:
        """Do nothing, as in `CheckedStream`."""


class NeutralStream(CheckedStream):
    """A stream for programs that know nothing of this module: all that it writes is neutral.

    It says that it is no terminal, so that nobody writes colours to it. Those of a library that
    writes them nevertheless are left out.
    """

    def isatty(self) -> bool:
        """Return False."""
        return False

    def write(self, text: str) -> int:
        """Write a text without styles, and with its control characters made visible."""
        super().write(neutral(_STYLE.sub("", text)))
        return len(text)


@contextmanager
def neutral_streams() -> Iterator[None]:
    """Make everything neutral that is written to standard output and error inside the block."""
    before = sys.stdout, sys.stderr
    sys.stdout = NeutralStream(sys.stdout)
    sys.stderr = NeutralStream(sys.stderr, stderr=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def terminal_stream(*, stderr: bool = False) -> CheckedStream:
    """Return the stream under a neutral one, for a console that styles text it made neutral."""
    stream = sys.stderr if stderr else sys.stdout
    under = stream.stream if isinstance(stream, CheckedStream) else stream
    return CheckedStream(under, stderr=stderr)


@contextmanager
def binary_output() -> Iterator[BinaryIO]:
    """Give standard output to write bytes to, such as an archive; flushed at the end.

    Raises:
        StreamError: it is a terminal, or closed; writing raises it where the device is full.
    """
    stream = terminal_stream()
    if stream.stream is None or stream.stream.closed:
        raise StreamError(_CLOSED)
    if stream.isatty():
        raise StreamError("standard output is a terminal: redirect it to a file or a pipe")
    output = _Bytes(stream.stream.buffer)
    yield cast(BinaryIO, output)
    output.flush()


def print_text(text: object, *, flush: bool = False) -> None:
    """Print a line, or several, for people; with `flush` a program that reads a pipe has it now."""
    stream = terminal_stream()
    stream.write(f"{neutral(str(text))}\n")
    if flush:
        stream.flush()


def print_error(message: object) -> None:
    """Print a message on standard error."""
    stream = terminal_stream(stderr=True)
    stream.write(f"{neutral(str(message))}\n")
    stream.flush()


def print_json(value: object, *, indent: int | None = None) -> None:
    """Print a value as JSON, in one line unless it is indented, and write it out at once."""
    stream = terminal_stream()
    ascii_only = not stream.encoding.lower().replace("-", "").startswith("utf")
    stream.write(json_text(value, indent=indent, ascii_only=ascii_only) + "\n")
    stream.flush()


def json_text(value: object, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """Return a value as JSON that any program can read and any terminal can show.

    Numbers that JSON does not have (NaN, infinity) become null. Control characters, line
    separators, marks of direction and lone surrogates are escapes.

    >>> json_text({"title": "\\x9b31m"})
    '{"title": "\\\\u009b31m"}'
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError:
        finite = _finite(value)
        text = json.dumps(finite, indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    # None of these stands outside of a string.
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_finite(inner) for inner in value]
        case _:
            return value
