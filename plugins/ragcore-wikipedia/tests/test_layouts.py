"""A page becomes passages with ids that stay, metadata and text without markup."""

import pickle
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_wikipedia.layouts import is_disambiguation, is_list, passages_of, read_page
from ragcore_wikipedia.pages import Page, Site

from ragcore.corpora.sentences import sentences

WIKI = Site(base="https://xx.example.org/wiki/Main_Page", language="en")


def page(text: str | None, title: str = "Heron Island", **fields: object) -> Page:
    values: dict[str, object] = {
        "id": 7,
        "namespace": 0,
        "redirect": None,
        "revision": 70,
        "timestamp": "2020-02-02T02:02:02Z",
        "model": "wikitext",
        **fields,
    }
    return Page(title=title, text=text, **values)  # type: ignore[arg-type]


def sentence(number: int, word: str = "bird") -> str:
    return f"The {word} with number {number} was seen near the old harbour in spring."


def paragraph(first: int, count: int, word: str = "bird") -> str:
    return " ".join(sentence(number, word) for number in range(first, first + count))


def ids(text: str, layout: str = "structured") -> list[str]:
    return [passage.id for passage in passages_of(page(text), WIKI, layout)]  # type: ignore[arg-type]


def changed(before: str, after: str) -> int:
    """Count the passages after an edit that were not there before."""
    return len(set(ids(after)) - set(ids(before)))


ARTICLE = "\n".join(
    [
        "{{Infobox island",
        "| area = 12 km2",
        "| population = 341",
        "| rulers = None",
        "}}",
        "'''Heron Island''' lies in the sea. " + paragraph(0, 4),
        "",
        paragraph(10, 9),
        "== History ==",
        paragraph(20, 3),
        "",
        paragraph(30, 12),
        "",
        "* first settlers: from the north",
        "* second settlers: from the south, with ships of many kinds and their cattle",
        "",
        paragraph(50, 5),
        "=== Modern ===",
        paragraph(60, 7),
        "{|",
        "! Year !! Birds",
        *(f"|-\n| {year} || {year * 3}" for year in range(1900, 1960)),
        "|}",
    ]
)


class TestMetadata:
    def test_a_passage_cites_page_revision_time_and_section(self) -> None:
        passages = passages_of(page(ARTICLE), WIKI)
        modern = [p for p in passages if p.metadata["section"] == "History > Modern"]
        assert modern
        for passage in passages:
            assert passage.title == "Heron Island"
            assert passage.metadata["page"] == 7
            assert passage.metadata["revision"] == 70
            assert passage.metadata["timestamp"] == "2020-02-02T02:02:02Z"
            assert passage.metadata["url"] == (
                "https://xx.example.org/w/index.php?title=Heron_Island&oldid=70"
            )
        assert passages[0].metadata["section"] == ""

    @pytest.mark.parametrize(
        ("base", "script"),
        [
            ("http://w.example/index.php/Main", "http://w.example/index.php"),
            ("http://w.example/a/index.php?title=Main", "http://w.example/a/index.php"),
            ("http://w.example/Main", "http://w.example/index.php"),
        ],
    )
    def test_the_link_follows_the_wikis_address(self, base: str, script: str) -> None:
        (passage,) = passages_of(page("Some words.", title="Ä & B?"), Site(base=base))
        assert passage.metadata["url"] == f"{script}?title=%C3%84_%26_B%3F&oldid=70"

    def test_a_wiki_without_address_has_no_link(self) -> None:
        (passage,) = passages_of(page("Some words."), Site())
        assert "url" not in passage.metadata

    def test_metadata_of_passages_are_separate(self) -> None:
        first, second = passages_of(page(paragraph(0, 3) + "\n\n" + paragraph(5, 3)), WIKI)
        assert first.metadata is not second.metadata


class TestIds:
    def test_an_id_is_the_pages_and_a_digest(self) -> None:
        assert all(re.fullmatch(r"7-[0-9a-f]{12}(-\d+)?", id_) for id_ in ids(ARTICLE))
        assert len(set(ids(ARTICLE))) == len(ids(ARTICLE))

    def test_repeated_text_is_numbered(self) -> None:
        text = paragraph(0, 3)
        first, second, third = ids("\n\n".join([text, text, text]))
        assert second == f"{first}-2"
        assert third == f"{first}-3"

    def test_the_same_text_in_another_section_has_another_id(self) -> None:
        first, second = ids(f"{paragraph(0, 3)}\n== B ==\n{paragraph(0, 3)}")
        assert first.split("-")[1] != second.split("-")[1]

    def test_ids_do_not_depend_on_revision_or_title(self) -> None:
        renamed = passages_of(page(ARTICLE, title="Egret Island", revision=71), WIKI)
        assert [passage.id for passage in renamed] == ids(ARTICLE)

    @pytest.mark.parametrize("layout", ["structured", "psgs"])
    def test_the_same_page_gives_the_same_passages(self, layout: str) -> None:
        first = read_page(page(ARTICLE), WIKI, layout)  # type: ignore[arg-type]
        again = pickle.loads(pickle.dumps(first))
        assert again == read_page(page(ARTICLE), WIKI, layout)  # type: ignore[arg-type]


class TestStructured:
    def test_windows_have_six_sentences_and_start_every_three(self) -> None:
        texts = [p.text for p in passages_of(page(paragraph(0, 13)), WIKI)]
        assert texts == [paragraph(0, 6), paragraph(3, 6), paragraph(6, 6), paragraph(9, 4)]

    def test_six_sentences_are_one_passage(self) -> None:
        assert [p.text for p in passages_of(page(paragraph(0, 6)), WIKI)] == [paragraph(0, 6)]

    def test_windows_start_again_at_paragraphs_and_headings(self) -> None:
        text = f"{paragraph(0, 4)}\n\n{paragraph(4, 4)}\n==H==\n{paragraph(8, 4)}"
        texts = [p.text for p in passages_of(page(text), WIKI)]
        assert texts == [paragraph(0, 4), paragraph(4, 4), paragraph(8, 4)]

    def test_short_paragraphs_join_what_is_next_to_them(self) -> None:
        text = f"A short start.\n\n{paragraph(0, 4)}\n\nA short end.\n==H==\nAlone here."
        texts = [p.text for p in passages_of(page(text), WIKI)]
        assert texts == [f"A short start.\n{paragraph(0, 4)}\nA short end.", "Alone here."]

    def test_facts_lists_and_tables_are_text(self) -> None:
        text = "\n".join(passage.text for passage in passages_of(page(ARTICLE), WIKI))
        assert "Population: 341" in text
        assert "first settlers: from the north" in text
        assert "Year: 1931; Birds: 5793" in text

    def test_every_passage_of_a_table_names_its_columns_and_section(self) -> None:
        tables = [p.text for p in passages_of(page(ARTICLE), WIKI) if "Birds:" in p.text]
        assert len(tables) > 1
        for text in tables:
            heading, *rows = text.split("\n")
            assert heading == "Modern"
            assert all(re.fullmatch(r"Year: \d+; Birds: \d+", row) for row in rows)

    def test_passages_are_neither_empty_nor_endless(self) -> None:
        wall = "word " * 5000
        for passage in passages_of(page(f"{wall}\n\n* {wall}\n\n{{|\n| {wall}\n|}}"), WIKI):
            assert 0 < len(passage.text.split()) <= 6 * 120


class TestEditsStayLocal:
    """An edit of one paragraph changes one or two passages."""

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_another_word_in_a_line_changes_at_most_two(self, data: st.DataObject) -> None:
        lines = ARTICLE.split("\n")
        prose = [n for n, line in enumerate(lines) if line.startswith("The bird")]
        number = data.draw(st.sampled_from(prose))
        words = lines[number].split(" ")
        at = data.draw(st.integers(0, len(words) - 2).filter(lambda n: words[n].isalpha()))
        words[at] = "zebra"
        lines[number] = " ".join(words)
        assert 1 <= changed(ARTICLE, "\n".join(lines)) <= 2

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("population = 341", "population = 350"),
            ("from the north", "from the east"),
            ("| 1931 || 5793", "| 1931 || 5800"),
        ],
    )
    def test_another_value_changes_at_most_two(self, old: str, new: str) -> None:
        assert old in ARTICLE
        assert 1 <= changed(ARTICLE, ARTICLE.replace(old, new)) <= 2

    def test_another_value_in_a_long_infobox_changes_one(self) -> None:
        rows = [f"| label{chr(97 + n % 26)}{n} = some value {n}" for n in range(120)]
        before = "{{Infobox bird\n" + "\n".join(rows) + "\n}}"
        assert len(ids(before)) > 6
        for number in range(0, 120, 7):
            after = before.replace(f" value {number}\n", f" quantity {number}\n")
            assert changed(before, after) == 1

    @pytest.mark.parametrize("form", ["* Bird {0} eats fish\n", "|-\n| Bird {0} || fish\n"])
    def test_another_row_or_item_moves_few_borders(self, form: str) -> None:
        """Without borders by content, one at the start would change all passages after it."""
        table = form.startswith("|")

        def text(*rows: object) -> str:
            content = "".join(form.format(row) for row in rows)
            return f"{{|\n! Name !! Food\n{content}|}}" if table else content

        before = text(*range(400))
        assert len(ids(before)) > 15
        counts = [
            changed(before, text(*range(at), "new", *range(at, 400))) for at in range(0, 400, 20)
        ]
        assert max(counts) <= 6
        assert sum(counts) / len(counts) < 3

    def test_another_paragraph_changes_no_other(self) -> None:
        added = ARTICLE.replace("== History ==\n", f"== History ==\n{paragraph(90, 5)}\n\n")
        assert changed(ARTICLE, added) == 1
        assert set(ids(ARTICLE)) <= set(ids(added))

    def test_another_paragraph_in_psgs_changes_nothing_beyond_its_section(self) -> None:
        added = ARTICLE.replace("=== Modern ===", f"\n{paragraph(90, 5)}\n=== Modern ===")

        def elsewhere(text: str) -> list[str]:
            passages = passages_of(page(text), WIKI, "psgs")
            return [p.id for p in passages if p.metadata["section"] != "History"]

        assert elsewhere(ARTICLE) == elsewhere(added)


class TestPsgs:
    def test_blocks_have_a_hundred_words_and_do_not_overlap(self) -> None:
        words = [f"word{number}" for number in range(250)]
        texts = [p.text for p in passages_of(page(" ".join(words)), WIKI, "psgs")]
        assert [len(text.split()) for text in texts] == [100, 100, 50]
        assert " ".join(texts).split() == words

    def test_paragraphs_of_a_section_flow_together(self) -> None:
        text = f"{'a ' * 60}\n\n{'b ' * 60}\n== C ==\n{'c ' * 10}"
        counts = [len(p.text.split()) for p in passages_of(page(text), WIKI, "psgs")]
        assert counts == [100, 20, 10]

    def test_lists_tables_and_infoboxes_are_left_out(self) -> None:
        text = " ".join(p.text for p in passages_of(page(ARTICLE), WIKI, "psgs"))
        for absent in ("341", "settlers", "Birds", "1931"):
            assert absent not in text
        assert text.startswith("Heron Island lies in the sea.")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [("東京都は日本の首都である。" * 40, 14), ("กรุงเทพมหานครเป็นเมืองหลวง" * 40, 10)],
    )
    def test_scripts_without_blanks_are_cut_too(self, text: str, expected: int) -> None:
        passages = passages_of(page(text), WIKI, "psgs")
        assert "".join(p.text for p in passages) == text
        assert 2 <= len(passages) <= expected


class TestLanguages:
    @pytest.mark.parametrize(
        ("language", "parts"),
        [
            ("ja", ["鳥は島の北の森に住む。", "島は小さいが美しい！", "それは本当の話か？"] * 3),
            ("zh", ["岛上有很多种类的鸟。", "它们都非常大。", "这是真的事情吗？"] * 3),
            ("hi", ["यह एक द्वीप है।", "वहाँ पक्षी हैं।", "वे बड़े हैं।"] * 3),
            ("ar", ["هذه جزيرة صغيرة.", "فيها طيور كثيرة؟", "نعم، كثيرة جدا."] * 3),
        ],
    )
    def test_sentences_end_as_the_language_ends_them(self, language: str, parts: list[str]) -> None:
        blank = "" if language in {"ja", "zh"} else " "
        text = blank.join(parts)
        site = Site(language=language)
        first, second = (passage.text for passage in passages_of(page(text), site))
        assert first == blank.join(parts[:6])
        assert second == blank.join(parts[3:9])

    def test_text_from_right_to_left_keeps_its_order_and_marks(self) -> None:
        text = "'''ירושלים''' (ב[[ערבית]]: {{lang|ar|القدس}}) היא עיר \u200fגדולה מאוד."
        (passage,) = passages_of(page(text), Site(language="he"))
        assert passage.text == "ירושלים (בערבית: القدس) היא עיר \u200fגדולה מאוד."


class TestWhatHasNoPassages:
    @pytest.mark.parametrize(
        "empty",
        [
            page(None),
            page(""),
            page("   \n\n"),
            page("#REDIRECT [[Egret]]", redirect=""),
            page("return {}", model="Scribunto"),
            page('{"a": 1}', model="json"),
            page("{{Navbox}}\n[[Category:Islands]]\n== References ==\n<references/>"),
        ],
    )
    @pytest.mark.parametrize("layout", ["structured", "psgs"])
    def test_a_page_without_text_gives_none(self, empty: Page, layout: str) -> None:
        assert read_page(empty, WIKI, layout).passages == []  # type: ignore[arg-type]

    def test_references_and_links_are_left_out(self) -> None:
        text = f"{paragraph(0, 3)}\n== See also ==\n* [[Egret]]\n== Legacy ==\n{paragraph(4, 3)}"
        sections = [p.metadata["section"] for p in passages_of(page(text), WIKI)]
        assert sections == ["", "Legacy"]


@pytest.mark.parametrize("layout", ["structured", "psgs"])
def test_a_redirect_names_its_target(layout: str) -> None:
    redirect = page("#REDIRECT [[Egret]]\n{{R from misspelling}}", title="Egrett", redirect="Egret")
    (passage,) = read_page(redirect, WIKI, layout).passages  # type: ignore[arg-type]
    assert passage.text == "Egrett → Egret"
    assert passage.title == "Egrett"


SENTENCES = st.lists(
    st.sampled_from(
        [
            "A heron flies. ",
            "word ",
            "Dr. ",
            "“So it is.” ",
            "鳥は森に住む。",
            "島很小",
            "กรุงเทพ",
            "กำ",
        ]
    )
    | st.text(max_size=8),
    max_size=12,
)


class TestSentences:
    @given(SENTENCES, st.integers(1, 900), st.sampled_from(["en", "zh", "ja", "th", "de", "xx"]))
    @settings(max_examples=150, deadline=None)
    def test_joined_they_are_the_paragraph(
        self, parts: list[str], times: int, language: str
    ) -> None:
        text = "".join(parts) * times
        assert "".join(sentences(text, language)) == text

    @given(st.lists(st.sampled_from(["a", "of", "administration", "end.", "Dr.", "1.5"])))
    @settings(max_examples=60, deadline=None)
    def test_no_word_is_cut(self, words: list[str]) -> None:
        text = " ".join(["start", *words * (9000 // (1 + len(" ".join(words))))])
        assert all(part.endswith(" ") for part in sentences(text, "en")[:-1])

    def test_a_sentence_across_the_limit_stays_whole(self) -> None:
        text = paragraph(0, 200)
        assert len(text) > 10_000
        assert [part.strip() for part in sentences(text, "en")] == [sentence(n) for n in range(200)]

    def test_a_long_sentence_is_cut_between_its_words(self) -> None:
        first, second = sentences("word " * 121 + "end.", "en")
        assert (first, second) == ("word " * 120, "word end.")

    def test_chinese_gets_no_blanks(self) -> None:
        text = "岛上有很多种类的鸟" * 900
        assert len(text) > 5000
        passages = [p.text for p in passages_of(page(text), Site(language="zh"))]
        assert all(passage in text for passage in passages)


class TestKinds:
    @pytest.mark.parametrize(
        ("title", "text"),
        [
            ("Heron", "'''Heron''' may be:\n* a bird\n{{disambiguation}}"),
            ("Heron", "* a\n{{Disambig|surname}}"),
            ("Reiher", "* a\n{{Begriffsklärung}}"),
            ("Héron", "* a\n{{ Homonymie }}"),
            ("Garza", "* a\n{{desambiguación}}"),
            ("サギ", "* a\n{{aimai}}"),
            ("Цапля", "* a\n{{неоднозначность}}"),
            ("Heron", "* a\n__DISAMBIG__"),
            ("Heron (disambiguation)", "* a"),
        ],
    )
    def test_a_page_of_meanings_is_known(self, title: str, text: str) -> None:
        assert is_disambiguation(page(text, title=title), WIKI)

    @pytest.mark.parametrize(
        "text", ["A heron.", "{{about|the bird|x|Heron (disambiguation)}}", ""]
    )
    def test_an_article_is_no_page_of_meanings(self, text: str) -> None:
        assert not is_disambiguation(page(text), WIKI)
        assert not is_list(page(text), WIKI)

    @pytest.mark.parametrize(
        "title",
        ["List of herons", "Lists of birds", "Liste der Vögel", "Liste des oiseaux", "鳥の一覧"],
    )
    def test_a_list_is_known_by_its_title(self, title: str) -> None:
        assert is_list(page("* a", title=title), WIKI)

    def test_a_list_is_known_by_its_category(self) -> None:
        assert is_list(page("* a\n[[Category:Lists of birds]]", title="Herons"), WIKI)

    @pytest.mark.parametrize(
        "hidden",
        [
            "<!-- {{disambig}} [[Category:Lists of birds]] -->",
            "<nowiki>{{disambig}} [[Category:Lists of birds]]</nowiki>",
            "<pre>__DISAMBIG__ [[Category:Lists of birds]]</pre>",
            "<!-- __DISAMBIG__",
        ],
    )
    def test_what_is_hidden_or_quoted_makes_no_kind(self, hidden: str) -> None:
        article = page(f"A heron is a bird. {hidden}")
        assert not is_disambiguation(article, WIKI)
        assert not is_list(article, WIKI)

    def test_a_mark_next_to_a_comment_counts(self) -> None:
        text = "* a <!-- {{disambig}} -->\n{{disambig}}<!-- x -->\n[[Category:Lists of birds]]"
        assert is_disambiguation(page(text), WIKI)
        assert is_list(page(text), WIKI)

    @pytest.mark.parametrize(
        "link",
        [
            "[[Wikipedia:List of birds]]",
            "[[Portal:Lists]]",
            "[[:Category:Lists of birds]]",
            "[[ :Lists of birds]]",
            "[[Sorte:Lists of birds]]",
        ],
    )
    def test_a_link_to_lists_makes_no_list(self, link: str) -> None:
        assert not is_list(page(f"A heron is a bird. See {link}."), WIKI)

    @pytest.mark.parametrize("prefix", ["Sorte", " sorte ", "Category", "category", "カテゴリ"])
    def test_a_category_is_known_by_the_names_of_the_wiki(self, prefix: str) -> None:
        wiki = Site(namespaces={0: "", 14: "Sorte"})
        assert is_list(page(f"* a\n[[{prefix}: Lists of birds|b]]"), wiki)

    def test_outlines_and_indexes_are_known_by_their_category_only(self) -> None:
        for title in ("Index of refraction", "Outline of a Theory of Practice"):
            assert not is_list(page("A text.\n[[Category:Optics]]", title=title), WIKI)
        text = "* a\n[[Category:Wikipedia outlines]]"
        assert is_list(page(text, title="Outline of optics"), WIKI)

    @pytest.mark.parametrize("title", ["Listowel", "Liszt", "Lista", "Listening"])
    def test_a_title_that_only_starts_alike_is_no_list(self, title: str) -> None:
        assert not is_list(page("A text.", title=title), WIKI)


def test_a_name_of_a_template_is_found_on_a_line_of_its_own() -> None:
    assert is_disambiguation(page("{{\n Disambiguation \n}}"), WIKI)
    assert is_disambiguation(page("{{disambiguation\n|geo}}"), WIKI)
    assert not is_disambiguation(page("{{disambiguation"), WIKI)
