"""Wikitext becomes the text a reader sees."""

import pytest
from ragcore_wikipedia.pages import Site
from ragcore_wikipedia.wikitext import read_wikitext

LONG = "A long sentence of a poem, " * 4
SITE = Site(language="en", namespaces={0: "", 6: "Datei", 14: "Sorte"})


def shown(text: str, *, prose: bool = False, title: str = "Egret") -> str:
    """Return all lines of a page."""
    content = read_wikitext(text, title, SITE, prose=prose)
    return "\n".join(
        line for section in content.sections for block in section.blocks for line in block.lines
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("An '''egret''' is ''white''.", "An egret is white."),
        ("'''''Both''''' and l'''eau''", "Both and leau"),
        ("[[Heron]]s and [[White Egret|egrets]]", "Herons and egrets"),
        ("[[:Category:Birds]] and [[#Food|food]]", "Category:Birds and food"),
        ("See [http://x.example/a?b=c the site] now", "See the site now"),
        ("See [//x.example the site] now", "See the site now"),
        ("Write [mailto:a@x.example to us] now", "Write to us now"),
        ("Bare [http://x.example] link", "Bare link"),
        ("5&nbsp;km &amp; 3&thinsp;m &lt;b&gt;", "5 km & 3 m <b>"),
        ("one<br/>two<br>three", "one two three"),
        ("H<sub>2</sub>O and <span style='a'>red</span>", "H2O and red"),
        ("before<!-- hidden [[x]] -->after", "beforeafter"),
        ("white.<ref>Smith [[x]]</ref><ref name=a /> Small.", "white. Small."),
        ('white.<ref name="a">{{cite|x=<b>}}</ref> Small.', "white. Small."),
        (
            "use <nowiki>[[brackets]] and ''quotes''</nowiki> so",
            "use [[brackets]] and ''quotes'' so",
        ),
        ("<nowiki>a -&gt; [[b]]</nowiki>", "a -> [[b]]"),
        ("__NOTOC__ text __FORCETOC__", "text"),
        ("a -{zh-hans:国; zh-hant:國}- b", "a 国 b"),
        ("[[File:A.jpg|thumb|A [[white]] bird, {{convert|1|m}}]]Text", "Text"),
        ("[[Datei:A.jpg|mini|Ein Vogel]]Text", "Text"),
        ("[[Image:A.jpg]]Text[[Category:Birds|Egret]][[Sorte:Vögel]]", "Text"),
        ("[[Податотека:A.jpg|мини|Птица]][[Y:B|thumb|x]][[link=http://x|18x18px]]Text", "Text"),
        ("[[Файл:A.jpg|мини|Птица]]Text[[カテゴリ:鳥]]", "Text"),
        ("Text\n[[de:Reiher]]\n[[zh-min-nan:X]]", "Text"),
        ("In [[de:Reiher|German]] text", "In German text"),
        ("[[Mission: Impossible]] and [[wikt:egret|egret]]", "Mission: Impossible and egret"),
        ("Text\n<gallery>\nFile:A.jpg|one\n</gallery>\nmore", "Text\nmore"),
        ("----\nText", "Text"),
    ],
)
def test_inline_markup_is_removed(text: str, expected: str) -> None:
    assert shown(text) == expected
    assert read_wikitext(text, "", SITE, prose=False).fault == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("an area of {{convert|5|sqmi|km2}} here", "an area of 5 sq mi here"),
        ("{{convert|5|-|8|km|mi}} or {{cvt|3|to|4|ft}}", "5–8 km or 3 to 4 ft"),
        ("a {{lang|fr|coup d'état}} in {{lang-de|Reiher}}", "a coup d'état in Reiher"),
        ("{{nowrap|{{small|very}} small}}", "very small"),
        (
            "{{frac|1|2}}, {{frac|3|1|4}} and {{val|5.2|0.1|e=3|u=m}}",
            "1/2, 3 1/4 and 5.2 ± 0.1×10^3 m",
        ),
        ("{{nihongo|egret|鷺|sagi}} here", "egret (鷺, sagi) here"),
        ("born {{birth date|1901|2|3}}", "born February 3, 1901"),
        ("born {{birth date and age|df=yes|1901|2|3}}", "born 3 February 1901"),
        ("died {{death date and age|1950|1|2|1901|2|3}}", "died January 2, 1950 (aged 48)"),
        ("{{start date|1999}} to {{end date|2001|5}}", "1999 to May 2001"),
        ("{{film date|1996|5|3|Rome|1997}}", "May 3, 1996 (Rome); 1997"),
        ("{{flag|Norway}}, {{abbr|km|kilometre}}", "Norway, km"),
        ("{{URL|http://x.example|a site}}", "a site"),
        ("{{as of|2015|4|lc=y}} and {{circa|1900}}", "as of April 2015 and c. 1900"),
        ("{{ubl|one|two}}", "one two"),
        ("1{{ndash}}2{{nbsp}}km", "1 – 2 km"),
        ("{{formatnum:1234}} of {{PAGENAME}}", "1234 of Egret"),
        ("{{lang|1=de|2=Reiher}} {{lang|de|text=Vogel}}", "Reiher Vogel"),
        ("{{#if: x | yes | no }}{{#if: | yes | no }}", "yesno"),
        ("{{#ifeq: a | a | same | other }}", "same"),
        ("{{#switch: b | a = one | b | c = two | #default = three }}", "two"),
        ("{{#switch: z | a = one | #default = three }}", "three"),
        ("{{{1|default}}} text {{{name}}}", "default text"),
        ("{{USD|5}} million, {{USS|Heron|AM-10}}", "$5 million, USS Heron"),
        ("It {{citation needed|date=May}} flies {{sfn|Smith|1990}}.", "It flies."),
        ("An '''egret''' ({{IPA|ˈi}}; {{audio}}, ) flies", "An egret flies"),
        ("An egret ({{IPA|ˈi}}; a bird) flies", "An egret (a bird) flies"),
        ("{{NOR}} won, {{POV}} {{GER|x}}", "NOR won,"),
        ("{{fs player|no=4|nat=NOR|name=[[Ann Bee]]|pos=GK}}", "4, Ann Bee, GK, NOR"),
        ("{{nowrap|{{nowrap|a|}}}} b {{nowrap|{{mystery|c|}}d|}}", "a b d"),
        ("{{nowrap|[[a|b|c]] d}}", "b|c d"),
        (
            f"{{{{quote|{'A long sentence of a poem ' * 4}E = mc2.}}}}",
            f"{'A long sentence of a poem ' * 4}E = mc2.",
        ),
        ("A link in [[a|{{nowrap|b c}}]] {{nowrap|[[d|e=f]]}}", "A link in b c e=f"),
    ],
)
def test_templates_of_a_few_words_are_shown(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_unknown_templates_are_dropped_whole() -> None:
    text = "Before {{mystery|a=[[x|y]]|b={{other|{{third}}}}\n|c={|\n| d\n|}\n}}after"
    assert shown(text) == "Before after"


def test_headings_give_the_path() -> None:
    text = "a\n== B ==\nb\n==== ''C'' [[x|D]] ====\nc\n=== E ===\ne\n= F =\nf\n==  ==\ng"
    sections = read_wikitext(text, "", SITE, prose=False).sections
    assert [section.path for section in sections] == [
        (),
        ("B",),
        ("B", "C D"),
        ("B", "E"),
        ("F",),
        ("F",),
    ]


def test_lists_keep_their_items() -> None:
    text = "* one\n** two [[x|3]]\n# four\n; term : what it is\n:* five"
    assert shown(text).split("\n") == ["one", "two 3", "four", "term: what it is", "five"]
    assert shown(text, prose=True) == ""


@pytest.mark.parametrize("prose", [True, False])
def test_an_indented_line_is_a_paragraph(prose: bool) -> None:
    assert shown("He said:\n:A long quotation.\n::Another.", prose=prose).split("\n") == [
        "He said:",
        "A long quotation.",
        "Another.",
    ]


def test_formulas_and_code_are_text_but_not_prose() -> None:
    text = "if <math>a_1 < \\frac{b}{c}</math> then <pre>x = {{y}}</pre>"
    assert shown(text) == "if a_1 < \\frac{b}{c} then x = {{y}}"
    assert shown(text, prose=True) == "if then"


def test_a_heading_too_long_for_one_is_text() -> None:
    title = "word " * 100
    (section,) = read_wikitext(f"== {title}==\nText.", "", SITE, prose=False).sections
    assert section.path == (f"{('word ' * 50)[:-1]}…",)
    assert section.blocks[0].lines == (f"{title}Text.",)


class TestTables:
    def test_rows_name_their_columns(self) -> None:
        rows = "|-\n| [[Egret]] || 60&nbsp;cm\n|-\n| Heron\n| 90\n"
        text = f"{{| class=a\n|+ Birds\n! Name !! Size\n{rows}|}}"
        (section,) = read_wikitext(text, "", SITE, prose=False).sections
        (block,) = section.blocks
        assert block.kind == "table"
        assert block.heading == "Birds"
        assert block.lines == ("Name: Egret; Size: 60 cm", "Name: Heron; Size: 90")

    def test_cells_keep_their_column_under_spans(self) -> None:
        text = (
            "{|\n! rowspan=2 | Year !! colspan=2 | Birds\n|-\n! old !! young\n"
            '|-\n| rowspan="2" | 1900 || 1 || 2\n|-\n| 3 || 4\n|}'
        )
        assert shown(text).split("\n") == [
            "Year: 1900; Birds old: 1; Birds young: 2",
            "Year: 1900; Birds old: 3; Birds young: 4",
        ]

    def test_a_cell_that_spans_more_rows_than_there_are_is_shown(self) -> None:
        assert shown("{|\n| rowspan=3 | Egrets\n|-\n| rowspan=2 | Herons\n|}").split("\n") == [
            "Egrets",
            "Herons",
        ]

    def test_attributes_are_not_text(self) -> None:
        text = '{|\n! scope="col" style="a:b" | A !! B\n|- style=x\n| align=right|1||nowrap|2\n|}'
        assert shown(text) == "A: 1; B: 2"

    def test_a_bar_after_text_without_attributes_is_text(self) -> None:
        assert shown("{|\n! A !! B\n|-\n| [[a]] | b || c\n|}") == "A: a | b; B: c"

    def test_a_word_in_a_coloured_cell_ends_the_attributes(self) -> None:
        text = '{|\n! A !! B\n|-\n| {{yes}} || colspan="2" {{n/a|none}}\n|-\n| {{no}} || 1\n|}'
        assert shown(text).split("\n") == ["A: Yes; B: none", "A: No; B: 1"]

    def test_a_cell_joins_its_lines_and_items(self) -> None:
        text = "{|\n! A !! B\n|-\n|\n* one\n* two\n| three<br>four\n|}"
        assert shown(text) == "A: one, two; B: three, four"

    def test_a_table_in_a_table_follows_it(self) -> None:
        text = "{|\n! A !! B\n|-\n| 1\n|\n{|\n! C !! D\n|-\n| 3 || 4\n|}\n|-\n| 5 || 6\n|}\nAfter"
        assert shown(text).split("\n") == ["A: 1", "A: 5; B: 6", "C: 3; D: 4", "After"]

    def test_a_sound_that_is_left_out_shifts_no_cell(self) -> None:
        text = "{|\n! A !! B\n|-\n|style=x|{{mystery}}||style=y|b\n|}"
        assert shown(text) == "B: b"

    def test_an_indented_table_and_one_never_closed_are_read(self) -> None:
        assert shown(":{|\n! A !! B\n|-\n| 1 || 2\n|}") == "A: 1; B: 2"
        assert shown("{|\n! A !! B\n|-\n| 1 || 2\n== Next ==\nText") == "A: 1; B: 2\nText"

    def test_a_table_may_end_with_the_template_around_it(self) -> None:
        text = "{{stack|\n{|\n! A !! B\n|-\n| 1 || 2\n|}}}\nAfter {{lang|de|Vogel|}}."
        assert shown(text).split("\n") == ["A: 1; B: 2", "After Vogel."]

    def test_prose_has_no_tables(self) -> None:
        assert shown("Text\n{|\n| a\n{|\n| b\n|}\n|}\nmore", prose=True) == "Text\nmore"


class TestInfoboxes:
    def test_parameters_are_facts(self) -> None:
        text = (
            "{{Infobox bird\n| name = Egret\n| population_total = {{formatnum:4,858}}<ref>x</ref>\n"
            "| LargestNest = [[Big nest|big]]<br />old\n| image = Egret.jpg\n| wings = 2.svg\n"
            "| empty =\n| map_size = 200px\n| area_km2 = 5\n}}\nText."
        )
        assert shown(text).split("\n") == [
            "Population total: 4,858",
            "Largest Nest: big, old",
            "Area km2: 5",
            "Text.",
        ]
        assert shown(text, prose=True) == "Text."

    def test_a_label_and_its_value_are_one_fact(self) -> None:
        text = (
            "{{Infobox x\n|leader_title1=Mayor\n|leader_name1=[[Ann Bee]]\n"
            "|subdivision_type=Country\n|subdivision_name={{flag|Norway}}\n|label3=Motto\n|data3=Fly\n}}"
        )
        assert shown(text).split("\n") == ["Mayor: Ann Bee", "Country: Norway", "Motto: Fly"]

    @pytest.mark.parametrize(
        "name",
        [
            "Infobox bird",
            "infobox_bird",
            "Ficha de ave",
            "Инфобокс птица",
            "Карточка",
            "鳥の情報",
            "Taxobox",
        ],
    )
    def test_names_of_many_languages_are_known(self, name: str) -> None:
        assert "Wings: 2" in shown(f"Text.\n== A ==\n{{{{{name}\n|wings=2\n}}}}")

    def test_a_block_of_parameters_above_the_text_is_one(self) -> None:
        box = "{{Vogelkasten\n|a1=b\n|Flügel=2\n|Füße=2\n|Kopf=1\n|Schwanz=1\n}}\n"
        assert "Flügel: 2" in shown(f"{box}Text.")
        assert "Flügel" not in shown(f"Text.\n== A ==\n{box}")
        assert "Flügel" not in shown(f"Text {box}")
        assert "Flügel: 2" in shown(box.replace("Vogelkasten", "City/Vogelkasten"))
        assert "Flügel" not in shown(box.replace("Vogelkasten", "Cite book"))
        assert "Flügel" not in shown(box.replace("Vogelkasten", "Navbox"))

    def test_an_infobox_in_an_infobox_or_a_wrapper_is_kept(self) -> None:
        inner = "{{Infobox nest\n| eggs = 3\n}}"
        assert shown(f"{{{{Infobox bird\n| wings = 2\n| module = {inner}\n}}}}").split("\n") == [
            "Wings: 2",
            "Eggs: 3",
        ]
        assert shown(f"{{{{mystery|{inner}}}}}") == "Eggs: 3"

    @pytest.mark.parametrize(
        "parts", ["|1900|1,200|1910|1,350", "|1900=1,200<ref>a</ref>|estimate=5|1910= 1,350 "]
    )
    def test_populations_of_years_are_rows(self, parts: str) -> None:
        text = f"{{{{Historical populations|type=USA{parts}}}}}"
        assert shown(text).split("\n") == ["1900: 1,200", "1910: 1,350"]

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("architectural_style", "Gothic"),
            ("body_style", "4-door saloon"),
            ("fighting_style", "Karate"),
            ("style", "Baroque"),
            ("display", "6-inch OLED"),
            ("audio", "Two speakers"),
            ("hair_color", "Black"),
            ("school_colour", "Blue and gold"),
            ("relief", "Hilly"),
            ("zoom", "3x optical"),
            ("seal", "The great seal"),
            ("flag", "Blue with a cross"),
            ("map", "Sheet 17"),
            ("child1", "Ann Bee"),
            ("child13", "Bob Bee"),
        ],
    )
    def test_a_fact_is_kept_though_its_name_is_a_layouts(self, key: str, value: str) -> None:
        assert shown(f"{{{{Infobox x\n|{key}={value}\n}}}}").endswith(f": {value}")

    @pytest.mark.parametrize(
        "parameter",
        [
            "style=text-align:center",
            "display=inline,title",
            "audio=Egret.ogg",
            "color=#aabbcc",
            "color=lightblue",
            "background=solo_singer",
            "pushpin_relief=yes",
            "relief=1",
            "zoom=12",
            "seal=Seal of X.svg",
            "seal_size=120",
            "flag_alt=Flag with a cross",
            "alt_flag=A flag with a cross",
            "child=yes",
            "image_caption=A bird in flight",
            "map_caption=Where it is",
            "image_size=250",
            "lat_d=47",
            "lat_NS=N",
            "latd=12.5",
            "pushpin_map=Alabama",
            "population_ref=Smith 1990",
        ],
    )
    def test_how_a_box_looks_is_no_fact(self, parameter: str) -> None:
        assert shown(f"{{{{Infobox x\n|{parameter}\n|wings=2\n}}}}") == "Wings: 2"

    def test_a_value_that_two_parameters_name_is_shown_once(self) -> None:
        text = "{{Infobox x\n|leader_name=Ann Bee\n|leader_title=Mayor\n|leader_type=Chief\n}}"
        assert shown(text).split("\n") == ["Mayor: Ann Bee", "Leader type: Chief"]

    def test_lists_in_a_value_are_one_line(self) -> None:
        food = "{{plainlist|\n* [[fish]]\n* frogs\n}}"
        text = f"{{{{Infobox bird\n| food = {food}\n| calls = {{{{hlist|a|b}}}}\n}}}}"
        assert shown(text).split("\n") == ["Food: fish, frogs", "Calls: a, b"]
