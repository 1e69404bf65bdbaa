"""Splitting follows a document's structure: headings, code, tables, sentences."""

from __future__ import annotations

import sys

import pytest
from pydantic import ValidationError

from ragcore.corpora.sentences import sentences
from ragcore.corpora.splitting import Piece, SplitConfig, plain_document, split_document
from ragcore.corpora.splitting.pieces import _without_contained
from ragcore.corpora.structure import Block, DocumentText, TextBuilder
from ragcore.errors import CorpusError
from tests.corpora.splitting.documents import byte_pairs, paragraph_list, word_pieces


def split(document: DocumentText | str, **settings: object) -> list[Piece]:
    if isinstance(document, str):
        document = plain_document(document)
    return list(split_document(document, SplitConfig(**settings)))  # type: ignore[arg-type]


def built(*blocks: tuple[str, str] | tuple[str, str, int]) -> DocumentText:
    builder = TextBuilder()
    for kind, text, *level in blocks:
        builder.add(kind, text, level=level[0] if level else 0)  # type: ignore[arg-type]
    return builder.build()


def sentence(count: int, word: str = "word") -> str:
    return " ".join([word.capitalize(), *[word] * (count - 1)]) + "."


class TestHeadings:
    def test_a_short_section_is_a_piece_that_begins_with_its_heading(self) -> None:
        document = built(
            ("paragraph", "Before all."),
            ("heading", "Rivers", 1),
            ("paragraph", "They flow."),
            ("list", "- Nile\n- Chari"),
            ("heading", "Sources", 2),
            ("paragraph", "They spring."),
            ("heading", "Lakes", 1),
            ("paragraph", "They lie."),
        )
        assert [(piece.headings, piece.text) for piece in split(document, by="headings")] == [
            ((), "Before all."),
            (("Rivers",), "Rivers\n\nThey flow.\n\n- Nile\n- Chari"),
            (("Rivers", "Sources"), "Sources\n\nThey spring."),
            (("Lakes",), "Lakes\n\nThey lie."),
        ]

    @pytest.mark.parametrize("by", ["words", "sentences", "headings"])
    def test_a_heading_above_a_deeper_one_alone_joins_its_section(self, by: str) -> None:
        document = built(
            ("heading", "Water", 1),
            ("heading", "Rivers", 2),
            ("paragraph", "They flow."),
            ("heading", "Empty", 2),
            ("heading", "Lakes", 2),
            ("paragraph", "They lie."),
        )
        pieces = split(document, by=by)
        assert [(piece.headings, " ".join(piece.text.split())) for piece in pieces] == [
            (("Water", "Rivers"), "Water Rivers They flow."),
            (("Water", "Empty"), "Empty"),
            (("Water", "Lakes"), "Lakes They lie."),
        ]

    def test_a_heading_stays_with_the_first_sentences_of_a_long_section(self) -> None:
        for seed in range(30):
            texts = paragraph_list(6, seed)
            document = built(("heading", "Rivers", 1), *(("paragraph", text) for text in texts))
            first = split(document, by="headings", size=40)[0]
            assert first.text.startswith(f"Rivers\n\n{texts[0].partition('.')[0]}.")

    @pytest.mark.parametrize("kind", ["code", "table"])
    @pytest.mark.parametrize("by", ["sentences", "headings"])
    def test_code_and_tables_stay_whole_where_they_fit(self, by: str, kind: str) -> None:
        for seed in range(20):
            rows = "\n".join(f"row {number} | with. Five" for number in range(10))
            texts = paragraph_list(8, seed)
            blocks = [("paragraph", text) for text in texts]
            document = built(*blocks[:4], (kind, rows), *blocks[4:])
            pieces = split(document, by=by, size=60 if by == "headings" else 2)
            assert sum(rows in piece.text for piece in pieces) == 1

    def test_longer_code_is_cut_between_lines_behind_empty_ones_if_it_can_be(self) -> None:
        function = "def {}():\n" + "\n".join(f"    call the function {n}" for n in range(9))
        code = "\n\n".join(function.format(name) for name in "abcdefgh")
        pieces = split(built(("code", code)), by="headings", size=100)
        assert len(pieces) > 3
        assert all(piece.text.startswith("def ") for piece in pieces)

    def test_paragraphs_are_cut_between_sentences(self) -> None:
        text = " ".join(sentence(12, word) for word in ("one", "two", "three", "four", "five"))
        pieces = split(text, by="headings", size=30)
        assert all(piece.text.endswith(".") for piece in pieces)
        assert " ".join(piece.text for piece in pieces) == text

    def test_sentences_end_by_the_languages_abbreviations(self) -> None:
        text = "Der Fluss ist ca. 949 km lang. Er mündet in den See."
        german = split(text, by="sentences", size=1, language="de")
        assert [piece.text for piece in german] == [
            "Der Fluss ist ca. 949 km lang.",
            "Er mündet in den See.",
        ]

    def test_overlap_repeats_whole_sentences_up_to_the_number_of_words(self) -> None:
        for seed in range(10):
            text = " ".join(paragraph_list(20, seed))
            pieces = split(text, by="headings", size=90, overlap=30)
            repeated = 0
            for first, before, piece in zip(pieces, pieces[1:], pieces[2:], strict=False):
                shared = text[piece.start : before.end]
                assert len(shared.split()) <= 30
                assert text[: piece.start].rstrip().endswith(".")
                repeated += bool(shared)
                # One sentence more would have been too much, or all that was new in the piece.
                earlier = sentences(text[first.end : piece.start].strip(), "en")
                if len(earlier) > 1:
                    assert len(shared.split()) + len(earlier[-1].split()) > 30
            assert repeated > len(pieces) / 2

    def test_what_stands_between_blocks_is_left_out_where_it_is_long(self) -> None:
        comment = f"<!-- {'not for readers ' * 9}-->"
        text = f"One.\n\n{comment}\n\nTwo.\n\n***\n\nThree."
        blocks = [
            Block("paragraph", text.index(word), text.index(word) + len(word))
            for word in ("One.", "Two.", "Three.")
        ]
        document = DocumentText(text, blocks, is_source=True)
        for by in ("words", "sentences", "headings"):
            pieces = [" ".join(piece.text.split()) for piece in split(document, by=by)]
            assert pieces == ["One.", "Two. *** Three."]


class TestSentences:
    def test_windows_start_again_at_each_paragraph_that_is_not_short(self) -> None:
        long = " ".join([sentence(13, "one"), sentence(13, "two"), sentence(13, "three")])
        text = f"A line.\n\n{long}\n\n{long}\n\nA last line."
        first, second, third, fourth = split(text, by="sentences", size=2)
        assert first.text == f"A line.\n\n{sentence(13, 'one')}"
        assert second.text == f"{sentence(13, 'two')} {sentence(13, 'three')}"
        assert third.text == f"{sentence(13, 'one')} {sentence(13, 'two')}"
        assert fourth.text == f"{sentence(13, 'three')}\n\nA last line."

    def test_a_window_repeats_the_last_sentences_before_it(self) -> None:
        numbers = ["First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh"]
        text = " ".join(f"{number} {sentence(6)}" for number in numbers)
        pieces = split(text, by="sentences", size=3, overlap=1)
        starts = [[number for number in numbers if number in piece.text] for piece in pieces]
        assert starts == [numbers[0:3], numbers[2:5], numbers[4:7]]

    def test_the_last_two_windows_share_what_is_left(self) -> None:
        text = " ".join(f"Number{number} {sentence(6)}" for number in range(13))
        counts = [piece.text.count("Number") for piece in split(text, by="sentences")]
        assert counts == [6, 4, 3]


class TestTokens:
    def test_the_size_is_what_fits_beside_the_title(self) -> None:
        tokenizer = word_pieces(40)
        document = plain_document(" ".join(paragraph_list(5)))
        for title, most in (("", 40), ("a title of nine words in all but one", 31)):
            pieces = list(split_document(document, SplitConfig(by="tokens"), tokenizer, title))
            lengths = [len(tokens) for tokens in tokenizer.spans([piece.text for piece in pieces])]
            assert most / 2 < max(lengths) <= most

    def test_an_encoder_that_reads_any_length_gets_pieces_of_256_tokens(self) -> None:
        tokenizer = word_pieces(sys.maxsize)
        document = plain_document(" ".join(paragraph_list(30)))
        pieces = list(split_document(document, SplitConfig(by="tokens"), tokenizer, "A title"))
        lengths = [len(tokens) for tokens in tokenizer.spans([piece.text for piece in pieces])]
        assert 200 < max(lengths) <= 256

    def test_a_size_that_fits_beside_no_title_is_refused(self) -> None:
        with pytest.raises(CorpusError, match=r"split\.size is 41 tokens.* reads 40"):
            split_document(plain_document("A."), SplitConfig(by="tokens", size=41), word_pieces(40))

    def test_a_size_that_fits_is_lowered_for_a_long_title(self) -> None:
        tokenizer = word_pieces(40)
        document = plain_document(" ".join(paragraph_list(5)))
        title = "one two three four five six seven eight nine ten"
        for piece in split_document(document, SplitConfig(by="tokens", size=40), tokenizer, title):
            assert len(tokenizer.spans([piece.text])[0]) <= 30

    def test_a_title_that_leaves_no_room_is_refused(self) -> None:
        with pytest.raises(CorpusError, match="leaves the encoder room for 3 tokens"):
            split_document(
                plain_document("A."), SplitConfig(by="tokens"), word_pieces(5), "two words"
            )

    def test_an_overlap_that_the_room_cannot_hold_is_refused(self) -> None:
        split = SplitConfig(by="tokens", overlap=40)
        with pytest.raises(CorpusError, match=r"overlap is 40 tokens.* has 40"):
            split_document(plain_document("A."), split, word_pieces(40))

    def test_without_a_tokenizer_the_error_says_what_else_there_is(self) -> None:
        with pytest.raises(CorpusError, match="by words or by headings"):
            split_document(plain_document("A."), SplitConfig(by="tokens"))

    def test_a_word_of_too_many_tokens_is_cut(self) -> None:
        tokenizer = byte_pairs(40)
        pieces = list(
            split_document(plain_document("x7" * 5000), SplitConfig(by="tokens"), tokenizer)
        )
        assert "".join(piece.text for piece in pieces) == "x7" * 5000
        assert len(pieces) < 800


class TestConfig:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"by": "lines"}, "by"),
            ({"by": "words", "size": 0}, "size"),
            ({"by": "words", "size": 10, "overlap": 10}, "overlap is 10 words"),
            ({"by": "words", "overlap": 100}, "a piece has 100"),
            ({"by": "sentences", "overlap": 6}, "6 sentences"),
            ({"by": "headings", "overlap": 150}, "150 words"),
            ({"by": "tokens", "size": 5, "overlap": 7}, "7 tokens"),
            ({"by": "words", "overlap": -1}, "overlap"),
            ({"by": "sentences", "language": "english"}, "language"),
            ({"by": "words", "words": 3}, "words"),
        ],
    )
    def test_settings_that_cannot_be_meant_are_refused(
        self, settings: dict[str, object], message: str
    ) -> None:
        with pytest.raises(ValidationError, match=message):
            SplitConfig(**settings)  # type: ignore[arg-type]


def test_a_piece_that_the_next_begins_with_is_left_out() -> None:
    pieces = [Piece("a b", 0, 3), Piece("c", 4, 5), Piece("c d", 4, 7), Piece("e", 8, 9)]
    assert [piece.text for piece in _without_contained(iter(pieces))] == ["a b", "c d", "e"]
    assert list(_without_contained(iter([]))) == []
