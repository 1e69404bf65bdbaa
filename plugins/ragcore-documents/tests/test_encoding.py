"""Encodings: what a file's bytes, mark and declaration make of its text."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragcore_documents.readers.encoding import declared_in_html, decode
from ragcore_documents.readers.html import read_html
from ragcore_documents.readers.limits import Limits, UnreadableError

_JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
_RUSSIAN = "Привет, мир! Это простой текст на русском языке, чтобы проверить кодировку."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Le café est fermé. Où êtes-vous allé cet été ?", "cp1252"),
        ("Größere Übungen für Schüler: die Straße führt über den Fluß.", "latin-1"),
        ("He said “no” – it’s €5.", "cp1252"),
        ("a naïve word in an English text that has nothing else but ASCII\n", "cp1252"),
        ("Zażółć gęślą jaźń. Książka leży na stole, a źdźbło trawy rośnie.", "cp1250"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy.", "iso8859-2"),
        (_RUSSIAN, "cp1251"),
        (_RUSSIAN, "koi8-r"),
        (_JAPANESE, "shift_jis"),
        (_JAPANESE, "euc_jp"),
        ("人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心。", "gb18030"),
        ("모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.", "euc_kr"),
        ("Καλημέρα κόσμε. Αυτό είναι ένα απλό κείμενο στα ελληνικά.", "cp1253"),
        ("Plain words in UTF-16 without a mark.\n", "utf-16-le"),
        ("Plain words in UTF-16 without a mark.\n", "utf-16-be"),
    ],
)
def test_encodings_without_a_declaration(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_byte_order_marks(mark: bytes, encoding: str) -> None:
    assert decode(mark + "aé漢".encode(encoding)) == "aé漢"


def test_ends_of_lines_become_one_character() -> None:
    assert decode(b"a\r\nb\rc\nd\r\n\r\n") == "a\nb\nc\nd\n\n"


@pytest.mark.parametrize(
    ("declaration", "encoding"),
    [
        ('<meta charset="shift_jis">', "shift_jis"),
        ("<META http-equiv=Content-Type content='text/html; charset=Shift_JIS'>", "shift_jis"),
        ('<?xml version="1.0" encoding="EUC-JP"?>', "euc_jp"),
        ('<meta charset="iso-2022-jp">', "iso2022_jp"),
    ],
)
def test_declared_encodings_of_pages(declaration: str, encoding: str) -> None:
    # Two characters are too few to tell an encoding by.
    page = f"{declaration}<p>ﾃｽ漢".replace("ﾃｽ", "文字").encode(encoding)
    assert read_html(page, Limits()).text == "文字漢"


def test_a_wrong_declaration_yields_to_the_bytes() -> None:
    page = '<meta charset="latin-1"><p>漢é'.encode()
    assert read_html(page, Limits()).text == "漢é"
    page = f'<meta charset="no-such-{"x" * 30}"><p>{_RUSSIAN}'.encode("cp1251")
    assert read_html(page, Limits()).text == _RUSSIAN
    assert decode(_JAPANESE.encode("shift_jis"), "euc-jp") == _JAPANESE
    # Codecs of Python that are no encodings of text.
    assert decode(b"uryyb \xe9", "rot13") == "uryyb é"
    assert declared_in_html(b"<p>charset=utf-7") == ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc\x00def", r"byte 3 is NUL; this is no text file"),
        (codecs.BOM_UTF8 + b"ab\xff", r"byte 5 is not UTF-8, which the byte order mark promises"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8", r"byte 2 is not UTF-16-LE"),
        (codecs.BOM_UTF16_LE + b"a\x00\x00\x00", r"character 1 is NUL"),
        (b"text \x81\x8d\x01\x02\xff\xfe", r"byte 5 is not UTF-8, .*save it as UTF-8"),
    ],
)
def test_what_is_no_text_is_unreadable(data: bytes, message: str) -> None:
    with pytest.raises(UnreadableError, match=message):
        decode(data)


@given(st.text(st.characters(exclude_characters="\x00\r", exclude_categories=["Cs"])))
def test_all_utf8_is_read(text: str) -> None:
    assert decode(codecs.BOM_UTF8 + text.encode()) == text
    if not text.startswith("\ufeff"):
        assert decode(text.encode()) == text


@given(
    st.binary(max_size=300), st.sampled_from(["", "shift_jis", "utf-16", "rot13", "\x00", "gbk"])
)
def test_no_replacement_character_appears(data: bytes, declared: str) -> None:
    try:
        text = decode(data, declared)
    except UnreadableError:
        return
    assert "\ufffd" not in text or "\ufffd".encode() in data or len(data) > len(text)
    assert "\r" not in text
    assert "\x00" not in text
