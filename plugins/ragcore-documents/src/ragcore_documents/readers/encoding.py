"""Decode a file's bytes: UTF-8, or else what the file declares or its bytes show.

Encodings and their names are those of the WHATWG Encoding Standard, which browsers follow
(`iso-8859-1` reads as windows-1252). Knows encodings; knows nothing of formats.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from ragcore_documents.readers.limits import UnreadableError

__all__ = ["check_length", "declared_in_html", "decode"]

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Seven-bit encodings; their bytes are UTF-8 too, but read so they are not the text.
_SEVEN_BIT: Final = frozenset(("iso-2022-jp", "csiso2022jp"))
_HTML_CHARSET: Final = re.compile(
    rb"<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']([\w.:-]{1,40})"
    rb"|<meta[^>]{0,400}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})",
    re.IGNORECASE,
)
# Too little to tell by: up to three bytes of single letters among ASCII.
_FEW_LETTERS: Final = re.compile(rb"(?:[\x00-\x7f]+|^)(?:[\x80-\xff](?:[\x00-\x7f]+|$)){1,3}")
# Characters that no text has; bytes that are no text decode to them.
_CONTROL: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffd]")
_SAMPLE: Final = 1 << 18
# The detector answers these for short texts in which one of the far more common ones is as likely.
_RARE: Final = frozenset(f"ISO-8859-{part}" for part in (3, 4, 6, 10, 13, 14, 15, 16)) | {
    "UTF-8",
    "replacement",
    "x-user-defined",
}


def decode(data: bytes, declared: str = "") -> str:
    """Return the text of a file, with "\\n" for every end of line and without byte order mark.

    Args:
        data: of the file.
        declared: name of the encoding that the file states, if any; it is used where the bytes
            are not UTF-8.

    Raises:
        UnreadableError: if the bytes are no text, or in an encoding that cannot be told.
    """
    text = _decode(data, declared)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def declared_in_html(data: bytes) -> str:
    """Return the encoding that an HTML or XML file states in its first 1,024 bytes, or ""."""
    match = _HTML_CHARSET.search(data[:1_024])
    return (match[1] or match[2]).decode("ascii") if match else ""


def check_length(length: int, characters: int) -> None:
    """Raise UnreadableError if a text of this length has more characters than this."""
    if length > characters:
        raise UnreadableError(
            f"{length:,} characters of text, of at most {characters:,}; split it into smaller files"
        )


def _decode(data: bytes, declared: str) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                text = data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                raise UnreadableError(
                    f"byte {error.start + len(mark)} is not {encoding.upper()}, which the byte "
                    "order mark promises; save the file as UTF-8"
                ) from None
            _refuse_nul(text)
            return text
    if b"\x00" in data:
        return _decode_wide(data)
    label = declared.strip().lower()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _decode_legacy(data, label, error.start)
    if label in _SEVEN_BIT and "\x1b" in text:
        return _decode_legacy(data, label, data.index(b"\x1b"))
    return text


def _refuse_nul(text: str) -> None:
    if (position := text.find("\x00")) >= 0:
        raise UnreadableError(f"character {position} is NUL; this is no text file")


def _decode_wide(data: bytes) -> str:
    """Decode UTF-16 without a byte order mark: of ASCII characters every other byte is NUL."""
    sample = data[:_SAMPLE]
    half = len(sample) // 2
    for encoding, high in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[0::2])):
        if half and high.count(0) > 0.3 * half and len(data) % 2 == 0:
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                continue
            if not _CONTROL.search(text):
                return text
    raise UnreadableError(
        f"byte {data.index(0)} is NUL; this is no text file, or one without a byte order mark: "
        "save it as UTF-8"
    )


def _decode_legacy(data: bytes, label: str, position: int) -> str:
    # Registers the codecs `whatwg-…`; they decode what they cannot to U+FFFD.
    from turbohtml.detect import Detection, detect

    if re.fullmatch(r"[\w.:-]{1,40}", label):
        try:
            text = data.decode(f"whatwg-{label}")
        except LookupError:
            text = "\ufffd"
        if "\ufffd" not in text:
            return text
    start = data.rfind(b"\n", 0, position) + 1
    sample = data[max(start, position - 1_000) :][:_SAMPLE]
    codec = detect(sample, Detection(excluded=_RARE)).codec
    if _FEW_LETTERS.fullmatch(sample):
        codec = "whatwg-windows-1252"
    if codec is not None:
        text = data.decode(codec)
        if not _CONTROL.search(text):
            return text
    raise UnreadableError(
        f"byte {position} is not UTF-8, and the file is in no other encoding that can be told; "
        "save it as UTF-8"
    )
