"""reStructuredText, also that of Sphinx: text, structure and lines."""

import logging
import sys
from pathlib import Path

import pytest
from docutils.parsers.rst import directives, roles
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.readers.rst import read_rst

from ragcore.corpora.structure import DocumentText


def blocks(rst: str) -> list[tuple[str, str]]:
    document = read_rst(rst.encode(), Limits())
    assert not document.is_source
    return [
        (f"{block.kind}{block.level or ''}", document.text[block.start : block.end])
        for block in document.blocks
    ]


def check(document: DocumentText) -> None:
    end = 0
    for block in document.blocks:
        assert end <= block.start < block.end <= len(document.text)
        assert document.is_source or block.line is not None
        end = block.end


_DOCUMENT = """.. -*- coding: utf-8 -*-

.. _top:

==============
Moving *house*
==============

:Author: Ann Writer
:Version: 1
:orphan:

Some ``code`` and :func:`~os.path.join`, `link <http://x>`_, [1]_, |sub| [Doe]_.
Second :ref:`Text <x>` line, 10\\ :sup:`6`; :class:`!Foo`, :pep:`8`.

.. |sub| replace:: replaced *text*

Section
-------

- a

  more
- b

  - c

3. x
4. y

term : kind
   Def.

.. code-block:: python
   :caption: cap

   x = 1

       y = 2

Literal::

   lit

.. note:: Watch out
   for this.

   Second.

.. [1] Foot note.

   More.

.. [Doe] A book.

Sub
~~~

>>> 1 + 1
2
"""


def test_a_document() -> None:
    document = read_rst(_DOCUMENT.encode(), Limits())
    assert document.title == "Moving house"
    assert document.metadata == {"author": "Ann Writer", "version": "1"}
    assert [
        (
            f"{block.kind}{block.level or ''}",
            block.line,
            document.text[block.start : block.end],
        )
        for block in document.blocks
    ] == [
        ("heading1", 6, "Moving house"),
        (
            "paragraph",
            13,
            "Some code and join, link, [1], replaced text [Doe]. "
            "Second Text line, 10^6; Foo, PEP 8.",
        ),
        ("heading2", 18, "Section"),
        ("list", 21, "- a\n  more\n- b\n  - c"),
        ("list", 28, "3. x\n4. y"),
        ("list", 31, "term, kind: Def."),
        ("code", 37, "x = 1\n\n    y = 2"),
        ("paragraph", 41, "Literal:"),
        ("code", 43, "lit"),
        ("paragraph", 45, "Note: Watch out for this."),
        ("paragraph", 48, "Second."),
        ("paragraph", 50, "[1] Foot note."),
        ("paragraph", 52, "More."),
        ("paragraph", 54, "[Doe] A book."),
        ("heading3", 56, "Sub"),
        ("code", 59, ">>> 1 + 1\n2"),
    ]


@pytest.mark.parametrize(
    ("rst", "expected"),
    [
        # Directives of Sphinx and of its extensions.
        (".. versionadded:: 1.2\n   The *thing*.", "Added in version 1.2\n\nThe thing."),
        (
            ".. py:function:: f(a)\n                 g(b)\n   :noindex:\n\n   Does.\n\n"
            "   :param a: it",
            "f(a)\n\ng(b)\n\nDoes.\n\nparam a: it",
        ),
        (".. tab-set::\n\n    .. tab-item:: One\n\n        Inside.", "One\n\nInside."),
        (".. unknown:: arg\n   :option: x\n\n   a\n\n   - b", "a\n\n- b"),
        (".. unknown:: Linux\n\n   a\n\n.. unknown:: in words", "Linux\n\na\n\nin words"),
        (".. unknown::\n   text at once", "text at once"),
        (".. seealso:: that", "See also: that"),
        (".. math::\n   :label: eq\n\n   E = mc^2", "E = mc^2"),
        (".. toctree::\n   :maxdepth: 2\n\n   a\n   b", ""),
        (".. automodule:: os\n   :members:", ""),
        (".. contents::\n\nA\n=\n\nb", "A\n\nb"),
        (".. only:: html and not latex\n\n   a", "a"),
        (".. tab-set:: x y\n\n   .. tab:: macos\n\n      a", "macos\n\na"),
        # Those of docutils.
        (".. figure:: a.png\n   :alt: A cat\n\n   Caption.", "A cat\n\nCaption."),
        (".. admonition:: Own\n\n   a", "Own\n\na"),
        (".. csv-table:: Cap\n   :header: a, b\n\n   1, 2", "Cap\n\na | b\n1 | 2"),
        (".. list-table::\n\n   * - a\n     - b\n   * - c\n     - d", "a | b\nc | d"),
        (".. warning::\n\n   - a", "Warning:\n\n- a"),
        (".. a comment\n   of two lines\n\nb", "b"),
        # Tables.
        ("+---+---+\n| a | b |\n+===+===+\n| c | d |\n|   +---+\n|   | e |\n+---+---+",
         "a | b\nc | d\nc | e"),
        ("== ==\na  b\n== ==\n1  2\n== ==", "a | b\n1 | 2"),
        # Lists.
        ("-a, --all  Show all.\n--file=F   File.", "-a, --all: Show all.\n--file=F: File."),
        ("| one\n| two\n|\n| three", "one\ntwo\nthree"),
        # Broken markup keeps its text.
        ("a *b and `c` and d_ and |e| :foo:`f`", "a *b and c and d_ and |e| f"),
        ("Title\n====\n\ntext", "Title\n\ntext"),
        ("+---+\n| a\n\nb", "+---+ | a\n\nb"),
        (".. image::\n   :nonsense: x\n\na", ".. image:: :nonsense: x\n\na"),
        ("", ""),
    ],
)  # fmt: skip
def test_markup(rst: str, expected: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert "\n\n".join(text for _, text in blocks(rst)) == expected
    assert capfd.readouterr() == ("", "")


def test_no_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    (tmp_path / "docutils.conf").write_text("[general]\nfile_insertion_enabled: yes\nbad line")
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "socket.connect") and opened is not None:
            opened.append(str(arguments[0]))

    rst = (
        f".. include:: {secret}\n.. literalinclude:: secret.txt\n"
        ".. csv-table::\n   :file: secret.txt\n\n.. csv-table::\n   :url: file:secret.txt\n\n"
        ".. raw:: html\n   :file: secret.txt\n\n.. raw:: html\n\n   <b>raw</b>\n\n"
        ".. image:: secret.txt\n   :scale: 50\n\n.. figure:: secret.txt\n   :figwidth: image\n\n"
        ".. code-block::\n   :file: secret.txt\n\nend\n"
    )
    read_rst(rst.encode(), Limits())
    sys.addaudithook(audit)
    document = read_rst(rst.encode(), Limits())
    paths, opened[:] = list(opened), []
    assert "SECRET" not in document.text
    assert "raw" not in document.text
    assert document.text.endswith("end")
    assert not [path for path in paths if "secret" in path or "docutils.conf" in path]


def test_a_file_leaves_no_trace_in_the_next() -> None:
    functions = directives.directive, roles.role
    read_rst(b".. default-role:: math\n\n.. role:: own(emphasis)\n\n`a` :own:`b`", Limits())
    assert (directives.directive, roles.role) == functions
    assert "own" not in roles._roles
    assert blocks("`a`") == [("paragraph", "a")]


@pytest.mark.parametrize(
    ("rst", "reason"),
    [
        ("\n\n".join("  " * depth + "- x" for depth in range(400)), "nested too deeply"),
        (".. foo::\n" + "".join("   " * depth + ".. foo::\n" for depth in range(1, 150)), "nested"),
        ("*a " * 4_000, "a line of 12,000 characters"),
        ("*a b\n" * 60_000, "a paragraph of more than 200,000 characters"),
    ],
)
def test_what_docutils_cannot_parse_is_plain_text(
    rst: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        document = read_rst(rst.encode(), Limits())
    assert document.text == rst
    assert document.is_source
    assert reason in caplog.text


def test_substitutions_cannot_grow_without_bound() -> None:
    rst = "".join(
        f".. |{name}| replace:: {f'|{inner}| ' * 9}\n"
        for name, inner in zip("abcdef", "bcdefg", strict=True)
    )  # fmt: skip
    rst += ".. |g| replace:: xxxxxxxxxx\n\n|a|\n"
    document = read_rst(rst.encode(), Limits())
    assert document.text == rst
    many = ".. |a| replace:: " + "x" * 5_000 + "\n\n" + "|a|\n" * 1_000
    with pytest.raises(UnreadableError, match="characters of text"):
        read_rst(many.encode(), Limits(characters=1_000_000))


def test_a_coding_cookie_is_followed() -> None:
    text = ".. -*- coding: shift_jis -*-\n\n文字"
    assert read_rst(text.encode("shift_jis"), Limits()).text == "文字"


_MARKUP = st.sampled_from(
    ["*", "**", "`", "``", "_", "|", "|a|", ":r:`x`", "::", "\n", "\n\n", "  ", "- ", "1. ", ".. ",
     ".. a:: b\n", ".. note::\n", ".. image:: ", ".. _a:", ".. [1] ", "[1]_", ".. |a| replace:: ",
     "===\n", "---\n", "+--+\n", "| a|\n", "== ==\n", ">>> ", ":f: ", "-a  ", "| ", "a", "é", "__ ",
     ".. role:: r\n", ".. default-role:: r\n", ".. list-table::\n", ".. csv-table:: ",
     ".. unicode:: 0x41", ".. code::\n", ".. parsed-literal::\n", ".. class:: x\n",
     ".. title:: x\n", ".. meta::\n   :a: b\n"]
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(st.lists(_MARKUP | st.text(max_size=4), max_size=40).map("".join))
def test_any_text_is_read(rst: str) -> None:
    try:
        document = read_rst(rst.encode(errors="ignore"), Limits())
    except UnreadableError:
        document = None
    assert document is not None or "\x00" in rst
    if document is not None:
        check(document)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_unreadable(data: bytes) -> None:
    try:
        document = read_rst(data, Limits())
    except UnreadableError:
        return
    check(document)
