"""HTML and XHTML: blocks of the main content, in the words of the page."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_documents.readers.html import html_blocks, read_html
from ragcore_documents.readers.limits import Limits, UnreadableError

from ragcore.corpora.structure import DocumentText, TextBuilder


def blocks(html: str) -> list[tuple[str, str]]:
    document = read_html(html.encode(), Limits())
    return [
        (f"{block.kind}{block.level or ''}", document.text[block.start : block.end])
        for block in document.blocks
    ]


def check(document: DocumentText) -> None:
    end = 0
    for block in document.blocks:
        assert end <= block.start < block.end <= len(document.text)
        end = block.end


def test_a_page_becomes_its_main_content() -> None:
    html = """<!doctype html><html lang="en-GB"><head><title> Moving
      house </title><meta name=author content="A. Writer"><style>p {color: red}</style></head>
    <body><header><h1>Site</h1></header><nav><a href="/">Home</a></nav>
    <main><h1>Moving<a class="headerlink" href="#moving">¶</a></h1>
    <p>One <b>bold</b> w<i>or</i>d &amp;
       <a href="https://example.org">a link</a>.<br>Next&nbsp;line
    <h2>Then <code>f()</code></h2><script>no()</script><!-- no -->
    <p hidden>no</p><div style="display: NONE">no</div><span aria-hidden="true">no</span>
    text without an element</main><aside>Elsewhere</aside><footer>Imprint</footer>"""
    document = read_html(html.encode(), Limits())
    assert document.title == "Moving house"
    assert document.metadata == {"author": "A. Writer", "language": "en-GB"}
    assert not document.is_source
    assert blocks(html) == [
        ("heading1", "Moving"),
        ("paragraph", "One bold word & a link.\nNext line"),
        ("heading2", "Then f()"),
        ("paragraph", "text without an element"),
    ]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<ul><li>a<ul><li>b<li>c</ul><li>d <p>e</ul>", [("list", "- a\n  - b\n  - c\n- d\n  e")]),
        ("<ol start=3><li>a<li value=7>b<li>c</ol>", [("list", "3. a\n7. b\n8. c")]),
        (
            "<ul><li>a<pre>x =\n  1</pre>b<li>c</ul>",
            [("list", "- a"), ("code", "x =\n  1"), ("list", "b\n- c")],
        ),
        ("<ul><li><input type=checkbox checked> a<li><p>b</ul>", [("list", "- [x] a\n- b")]),
        ("<dl><dt>a<dd>one<dt>b<dt>c:<dd>two</dl>", [("list", "a: one\nb, c: two")]),
        (
            "<dl><dt>f(x)<dd><p>Does.<p>More.</dl>",
            [("paragraph", "f(x)"), ("paragraph", "Does."), ("paragraph", "More.")],
        ),
        (
            "<table><caption>C</caption><thead><tr><th>a<th colspan=2>b<tbody><tr><td rowspan=2>1"
            "<td>2<td><ul><li>x<li>y</ul><tr><td>3<td>4</table>",
            [("paragraph", "C"), ("table", "a | b\n1 | 2 | x; y\n1 | 3 | 4")],
        ),
        ("<table><tr><td>a<td><tr><td><td>b</table>", [("table", "a\n | b")]),
        # A table that lays out a page.
        (
            "<table><tr><td><h2>a</h2>b<td><table><tr><td>c<td>d</table></table>",
            [("heading2", "a"), ("paragraph", "b"), ("table", "c | d")],
        ),
        # Code next to its line numbers.
        (
            '<table class="highlighttable"><tr><td class="linenos"><pre>1\n2</pre>'
            '<td class="code"><pre>a\nb</pre></table>',
            [("code", "a\nb")],
        ),
        ("<pre>\n  a\n\n   b\n</pre>", [("code", "  a\n\n   b")]),
        ("<pre><div>a</div><div>b</div>c<br>d</pre>", [("code", "a\nb\nc\nd")]),
        ("<p>a<p>b<blockquote>c<p>d</blockquote>e<hr>f", [("paragraph", x) for x in "abcdef"]),
        (
            '<figure><img src=x alt="A cat"><figcaption>Fig. 1</figcaption></figure>',
            [("paragraph", "A cat"), ("paragraph", "Fig. 1")],
        ),
        ("<p>see <img alt='photo.JPG'> H<sub>2</sub>O", [("paragraph", "see H2O")]),
        (
            "<p>10<sup>6</sup> m<sup>2</sup> 1<sup>st</sup> word<sup>1</sup>",
            [("paragraph", "10^6 m^2 1st word1")],
        ),
        ("<p>say <q>yes</q> 漢<ruby>字<rp>(</rp><rt>ji</rt></ruby>", [
         ("paragraph", 'say "yes" 漢字(ji)')]),
        ("<p>hy&shy;phen &lt;b&gt; &#x41;&eacute;", [("paragraph", "hyphen <b> Aé")]),
        ('<p><math alttext="x^2"><mi>x</mi><mn>2</mn></math> y', [("paragraph", "x^2 y")]),
        ('<div role=heading aria-level=3>a</div>b', [("heading3", "a"), ("paragraph", "b")]),
        # Headings that are never closed.
        ("<h1>a<p>b<h2>c<ul><li>d</ul>", [("heading1", "a"), ("paragraph", "b"), ("heading2", "c"),
         ("list", "- d")]),
        ("<details><summary>a</summary>b</details><dialog>c</dialog>", [("paragraph", "a"),
         ("paragraph", "b")]),
        ("a<td>b</td><li>c</li></div></p>d", [("paragraph", "ab"), ("paragraph", "c"),
         ("paragraph", "d")]),
        ("", []),
    ],
)  # fmt: skip
def test_elements(html: str, expected: list[tuple[str, str]]) -> None:
    assert blocks(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<div role=main>main text</div><div>b</div>", "main text"),
        ("<article>long text</article><div>b</div>", "long text"),
        # An article that is only a part of the page.
        ("<article>a</article><p>long text", "a\n\nlong text"),
        # A nearly empty main element.
        ("<main>a</main><p>a very long text outside", "a\n\na very long text outside"),
        (
            '<div class="toc x"><a href="x">t</a></div>a<div id="sidebar"><ul><li>b</ul></div>'
            '<table class="nav"><tr><td><a href="x"><img alt="Next"></a><th>The Manual</table>'
            '<p class="breadcrumb"><a href="x">A</a> / The page that this is</p>',
            "a",
        ),
        # What is marked is a small part of the page.
        (
            "<p>" + "Body. " * 80 + "<main>Short main.</main>",
            "Body. " * 79 + "Body.\n\nShort main.",
        ),
        ("<h1>T</h1><p>long text<article>long text</article>", "T\n\nlong text\n\nlong text"),
        # The heading of the page is before what is marked.
        ("<header>menu<h1>T</h1></header>x<main><h2>a</h2>text</main>", "T\n\na\n\ntext"),
        ("<header><h1>Site</h1></header><main><h1>a</h1>text</main>", "a\n\ntext"),
        (
            "<p>Was <del>ten</del><ins>nine</ins> and <s>two</s> <strike>one</strike>",
            "Was nine and",
        ),
        ('<header>menu<h1>a</h1><p class="author">b</header><p>c', "a\n\nb\n\nc"),
        ("<header>menu</header><p>c<footer>f</footer>", "c"),
        ("<main><header><h1>a</h1></header>b<footer>c</footer></main>", "a\n\nb\n\nc"),
        # A page that is nothing but links.
        ('<nav><a href="x">a</a></nav>', "a"),
        ("<frameset><frame src=x><noframes><p>a<p>b</noframes></frameset>", "a\n\nb"),
        ("<ul><li>a<nav>no</nav></ul>", "- a"),
    ],
)
def test_what_is_left_out(html: str, expected: str) -> None:
    assert read_html(html.encode(), Limits()).text == expected


def test_chapters_on_one_page_are_no_navigation() -> None:
    chapters = "".join(
        f'<section id="{title.lower()}"><h2>{title}</h2><p>Text of it.</p></section>'
        for title in ("Sidebar", "Navigation", "Pagination")
    )
    toctree = '<div class="toctree-wrapper"><p class="caption">More</p><ul><li>{}</ul></div>'
    html = (
        f"<div role=main><h1>Book</h1>{toctree.format('<a href=x>A long title of it</a>')}"
        f'<div class="toctree-wrapper compound"><span id="c"></span>{chapters}</div>'
        '<aside class="sidebar"><p class="sidebar-title">Key facts<p>The fact is 42.</aside></div>'
    )
    assert [text for _, text in blocks(html)] == [
        *("Book", "Sidebar", "Text of it.", "Navigation", "Text of it.", "Pagination"),
        *("Text of it.", "Key facts", "The fact is 42."),
    ]


def test_navigation_that_is_never_closed_keeps_the_text() -> None:
    html = '<div class="navbar"><a href="x">Home</a>' + "<p>A page of words." * 40
    assert read_html(html.encode(), Limits()).text.count("A page of words.") == 40


@pytest.mark.parametrize(("outside", "share"), [(30, "30 %"), (10, None)])
def test_the_share_that_is_left_out_is_noted(outside: int, share: str | None, caplog) -> None:
    html = f"<main>{'m' * (100 - outside)}</main><p>{'b' * outside}</p>"
    assert "b" not in read_html(html.encode(), Limits()).text
    expected = [f"HTML: left out: {share} of the text, outside the main content"] if share else []
    assert caplog.messages == expected


@pytest.mark.parametrize(
    ("html", "title"),
    [
        ("<title>A &amp;\n B</title><h1>C</h1>", "A & B"),
        ('<title>Untitled</title><meta property="og:title" content="B"><h1>C</h1>', "B"),
        ("<title>index.html</title><h1>C</h1><h2>D</h2>", "C"),
        ("<h1>C</h1><h1>D</h1>", ""),
        ("<h1>Introduction</h1>", ""),
        ("<h2>A</h2><h1>B</h1>", ""),
        ("<svg><title>icon</title></svg><h1>C</h1>", "C"),
        ("<p>a", ""),
    ],
)
def test_titles(html: str, title: str) -> None:
    assert read_html(html.encode(), Limits()).title == title


def test_xhtml_is_read_as_it_is_meant() -> None:
    html = (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head>'
        '<title/><script src="x"/></head><body><a id="x"/><p>a <![CDATA[<b> & c]]></p><p/><p>d</p>'
        "<br/>e</body></html>"
    )
    assert read_html(html.encode(), Limits()).text == "a <b> & c\n\nd\n\ne"


def test_entities_of_a_document_type_are_not_followed() -> None:
    html = '<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/hostname">]><p>a &x; b'
    assert "&x;" in read_html(html.encode(), Limits()).text


def test_blocks_are_added_to_a_text_with_their_page() -> None:
    builder = TextBuilder()
    builder.add("paragraph", "before")
    head = html_blocks("<title>T</title><p>a", builder, Limits(), page=3)
    assert head.title == "T"
    assert [(block.start, block.page) for block in builder] == [(0, None), (8, 3)]


@pytest.mark.parametrize(
    "html",
    [
        "<div>x", "<p>x", "<b><p>x", "<table><tr><td>x", "<table>x", "<ul><li>x", "<dl><dd>x",
        "<blockquote>x", "<h1>x", "<h1><div>x", "<sup>x", "<a>x", "<q>x", "<pre>x", "<main>x",
        "<nav>x", "<div hidden>x", "x<br>", "<svg><desc>x", "<select><option>x", "<ruby><rt>x",
        "<math alttext=x>x", "<", "&", "<!--", "<a ", "<table><tr><td rowspan=99 colspan=99>x<tr>",
    ],
)  # fmt: skip
def test_repeated_markup_costs_linear_time(html: str) -> None:
    def seconds(count: int) -> float:
        start = time.thread_time()
        check(read_html((html * count).encode(), Limits()))
        return time.thread_time() - start

    seconds(1_000)
    # 16 times as much takes 256 times as long where the time is quadratic.
    assert seconds(32_000) < 64 * max(seconds(2_000), 0.002)


def test_what_is_nested_deeply_keeps_its_text() -> None:
    document = read_html(b"<div><ul><li>" * 100_000 + b"deep", Limits())
    assert "deep" in document.text


def test_structure_is_followed_up_to_a_depth() -> None:
    html = "<div>" * 10 + "<ul><li>a<li>b</ul>"
    assert read_html(html.encode(), Limits(depth=20)).text == "- a\n- b"
    assert read_html(html.encode(), Limits(depth=10)).text == "a\n\nb"


def test_formatting_that_is_never_closed_is_refused() -> None:
    html = "".join(f"<font size={number}><p>x" for number in range(20_000))
    with pytest.raises(UnreadableError, match=r"tags such as <font> are never closed; close them"):
        read_html(html.encode(), Limits())
    closed = "".join(f"<p><font size={number}>x</font>" for number in range(20_000))
    assert len(read_html(closed.encode(), Limits()).blocks) == 20_000


def test_too_much_text_is_refused() -> None:
    limits = Limits(characters=1_000)
    assert len(read_html(b"<p>" + b"x" * 1_000, limits).text) == 1_000
    with pytest.raises(UnreadableError, match=r"1,001 characters of text, of at most 1,000"):
        read_html(b"<p>" + b"x" * 1_001, limits)
    with pytest.raises(UnreadableError, match="split the page"):
        read_html(b"<p>x" * 10_000, limits)
    # Cells that reach down make more text than the file has.
    wide = b"<table><tr>" + b"<td rowspan=65534>yyyyyyyyyyyy" * 100 + b"<tr><td>x" * 10_000
    with pytest.raises(UnreadableError, match="split the page"):
        read_html(wide, Limits(characters=1_000_000))
    with pytest.raises(UnreadableError, match="tags, of at most 2,000,000"):
        read_html(b"<" * 2_000_001, Limits())


_TAGS = """
<p> </p> <ul> <ol> <li> </ul> <table> <tr> <td rowspan=3> <td colspan=2> </table> <h1> </h2>
<pre> </pre> <dl> <dt> <dd> </dl> <br> <a> </a> <sup> </sup> <main> </main> <nav> </nav>
<article> <header> <div hidden> </div> <q> <math alttext=x> </math> <title> </title> <svg>
<template> <frameset> <b> </b> <noframes> <select> <font size=1> <caption> <blockquote>
<![CDATA[ ]]> <!-- --> <?xml?> &amp; &#0; &#xd800; < >
"""
_MARKUP = st.sampled_from([*_TAGS.split(), "<td rowspan=3>", "<math alttext=x>", "\x00"])


@settings(deadline=None)
@given(st.lists(_MARKUP | st.text(max_size=5), max_size=60).map(" ".join))
def test_any_page_is_read(html: str) -> None:
    try:
        document = read_html(html.encode(errors="replace"), Limits())
    except UnreadableError:
        document = None
    assert document is not None or "\x00" in html
    if document is not None:
        check(document)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_unreadable(data: bytes) -> None:
    try:
        document = read_html(data, Limits())
    except UnreadableError:
        return
    check(document)
