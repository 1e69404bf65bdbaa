"""The words of a text against the tokenizers' own way of writing every span of it."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import tiny_models as tiny
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ragcore_transformers.seq2seq import Seq2Seq
from ragcore_transformers.tokenizing import plain_text
from ragcore_transformers.words import WordEncoder
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AddedToken, PreTrainedTokenizerFast

from ragcore.decoding.grounding import Grounding

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
END = 2


def unigram() -> PreTrainedTokenizerFast:
    """SentencePiece's way: a mark for each space, the first word's included."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        tiny.TEXT * 3,
        trainers.UnigramTrainer(
            vocab_size=150, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def word_level() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        tiny.TEXT, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


@dataclass
class Writer:
    """A tokenizer, and how a generator writes answers with it."""

    tokenizer: PreTrainedTokenizerFast
    encode: Callable[[Sequence[str]], list[list[int]]]
    bare: bool = True
    cased: bool = True
    lead: tuple[int, ...] = ()

    def kept(self, text: str) -> str:
        """Return what tokenizing leaves of a text, without spaces."""
        text = "".join(text.split())
        if self.cased:
            return text
        letters = unicodedata.normalize("NFD", text.lower())
        return "".join(one for one in letters if not unicodedata.combining(one))

    def words(self) -> WordEncoder:
        return WordEncoder(self.tokenizer, self.encode, bare=self.bare)

    def grounding(self, texts: Sequence[str]) -> Grounding:
        return Grounding(self.words()(texts), END)


def framed(tokenizer: PreTrainedTokenizerFast, before: str = "", lead: Sequence[int] = ()):
    def encode(answers: Sequence[str]) -> list[list[int]]:
        texts = [before + answer for answer in answers]
        found = tokenizer(texts, add_special_tokens=False).input_ids
        return [[*lead, *(one for one in ids if one != END), END] for ids in found]

    return encode


def writers() -> dict[str, Writer]:
    bytes_, pieces = tiny.byte_pairs(start=None), tiny.word_pieces()
    marks, whole = unigram(), word_level()
    return {
        "byte-level pairs, as T5 and Pegasus here": Writer(bytes_, framed(bytes_)),
        "byte-level pairs behind a start token, as BART": Writer(
            bytes_, framed(bytes_, lead=[0]), lead=(0,)
        ),
        "byte-level pairs behind a space, as GPT-2": Writer(
            bytes_, framed(bytes_, " "), bare=False
        ),
        "byte-level pairs, by the generator": Writer(bytes_, framed(bytes_), bare=False),
        "uncased word pieces": Writer(pieces, framed(pieces), cased=False),
        "Unigram behind marks for spaces": Writer(marks, framed(marks)),
        "whole words": Writer(whole, framed(whole)),
    }


WRITERS = writers()

LETTERS = [*"aChdN'é \n,.-(3☃", "e\u0301"]

TEXTS = st.lists(st.sampled_from(LETTERS), max_size=12).map("".join) | st.lists(
    st.sampled_from(
        ["Chad,", "Chad", "Nairobi;", "N'Djamena", "Who's", '"Kenya"', "12,000.5", "(the", "of)"]
    ),
    max_size=5,
).flatmap(lambda words: st.sampled_from([" ", "\n", "  "]).map(lambda gap: gap.join(words)))


def spans(text: str) -> list[str]:
    """List the spans between word edges that touch no apostrophe or hyphen."""

    def is_letter(at: int) -> bool:
        return 0 <= at < len(text) and unicodedata.category(text[at])[0] in "LNM"

    def is_edge(at: int) -> bool:
        if at in (0, len(text)):
            return True
        left, right = (unicodedata.category(one)[0] for one in text[at - 1 : at + 1])
        if any(
            text[mark] in "'-" and is_letter(mark - 1) and is_letter(mark + 1)
            for mark in (at - 1, at)
        ):
            return False
        return right != "M" and not (left in "LNM" and right in "LN")

    edges = [at for at in range(len(text) + 1) if is_edge(at)]
    found = (text[start:end] for start, end in itertools.combinations(edges, 2))
    return [one for one in found if one == one.strip()]


def written(grounding: Grounding, target: Sequence[int]) -> bool:
    return all(token in grounding.allowed(tuple(target[:at])) for at, token in enumerate(target))


def can_be_read_back(writer: Writer, target: Sequence[int]) -> bool:
    """Whether it holds a token, and none that its text loses."""
    own = target[len(writer.lead) : -1]
    return bool(own) and set(own).isdisjoint(writer.tokenizer.all_special_ids)


@pytest.mark.parametrize("name", WRITERS)
@given(TEXTS)
@settings(deadline=None, max_examples=50)
@example("Who's in Chad?! (N'Djamena), since 12,000.5 years")
@example("Chad\n\nis  a city")
def test_every_span_can_be_written_as_the_generator_writes_it(name, text):
    writer = WRITERS[name]
    grounding = writer.grounding([text])
    for answer in spans(text):
        (target,) = writer.encode([answer])
        if can_be_read_back(writer, target):
            assert written(grounding, target), answer
            places = grounding.spans(target)[0]
            found = [text[start:end] for start, end in places]
            assert writer.kept(answer) in map(writer.kept, found)


@pytest.mark.parametrize("name", WRITERS)
@given(st.lists(TEXTS, min_size=1, max_size=3), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_all_that_can_be_written_is_a_span(name, texts, choose):
    writer = WRITERS[name]
    grounding = writer.grounding(texts)
    answer: tuple[int, ...] = ()
    while END not in answer:
        answer += (choose.choice(sorted(grounding.allowed(answer))),)
    found = plain_text(writer.tokenizer, answer[len(writer.lead) : -1])
    places = grounding.spans(answer)
    assert any(places) or not found
    for text, own in zip(texts, places, strict=True):
        for start, end in own:
            assert writer.kept(found) == writer.kept(text[start:end])


NAMES = {
    "Juliana O'Connor": {"Juliana", "Juliana O'Connor", "O'Connor"},
    "O\u2019Brien\u2019s": {"O\u2019Brien", "O\u2019Brien\u2019s"},
    "Sana'a": {"Sana'a"},
    "rock'n'roll": {"rock'n'roll"},
    "l'Italie": {"l'Italie", "Italie"},
    "d'Ivoire": {"d'Ivoire", "Ivoire"},
    "Jean-Paul": {"Jean-Paul"},
    "Saint\u2011E\u0301tienne": {"Saint\u2011E\u0301tienne"},
    "Stratford-upon-Avon": {"Stratford-upon-Avon"},
    "COVID-19": {"COVID-19"},
    "\u05ea\u05dc\u05be\u05d0\u05d1\u05d9\u05d1": {"\u05ea\u05dc\u05be\u05d0\u05d1\u05d9\u05d1"},
}


@pytest.mark.parametrize("text", NAMES)
def test_an_answer_ends_inside_no_name(text):
    writer = WRITERS["byte-level pairs, as T5 and Pegasus here"]
    (words,) = writer.words()([text])
    grounding = Grounding([words], END)
    answers = {text[word.start : word.end] for word in words if word.opens}
    assert answers == NAMES[text] - {text} | ({text} if " " not in text else set())
    assert written(grounding, writer.encode([text])[0])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Chad's", "Chad"),
        ("French-born", "French"),
        ("1990-1995", "1990"),
        ("20-year", "20"),
        ("Smith-Jones-led", "Smith-Jones"),
        ("1980's", "1980"),
        ("boys'", "boys"),
    ],
)
def test_an_answer_may_end_where_a_mark_joins_no_name(text, answer):
    (words,) = WRITERS["byte-level pairs, as T5 and Pegasus here"].words()([text])
    assert answer in {text[word.start : word.end] for word in words}


def test_an_answer_may_have_one_space_where_its_text_has_other_white_space():
    writer = WRITERS["byte-level pairs, as T5 and Pegasus here"]
    grounding = writer.grounding(["lies in\nthe  highlands"])
    for answer in ("in\nthe  highlands", "in the highlands"):
        assert grounding.spans(writer.encode([answer])[0]) == [((5, 22),)]


@pytest.mark.parametrize("name", WRITERS)
def test_special_tokens_that_a_text_spells_out_are_never_written(name):
    writer = WRITERS[name]
    special = writer.tokenizer.eos_token or writer.tokenizer.sep_token
    text = f"Chad {special} x{special}y, Kenya"
    (words,) = writer.words()([text])
    own = {token for word in words for token in word.tokens[len(writer.lead) * word.opens :]}
    assert own.isdisjoint(writer.tokenizer.all_special_ids)
    assert "Chad" in [text[word.start : word.end] for word in words]
    assert not any(special in text[word.start : word.end] for word in words)


@pytest.mark.parametrize("bare", [True, False])
def test_an_added_special_token_is_never_written(bare: bool):
    tokenizer = tiny.byte_pairs(start=None)
    tokenizer.add_tokens([AddedToken("<tool>", special=True)])
    text = "Chad <tool> Kenya"
    (words,) = Writer(tokenizer, framed(tokenizer), bare=bare).words()([text])
    assert {text[word.start : word.end].strip() for word in words} >= {"Chad", "Kenya"}
    assert tokenizer.convert_tokens_to_ids("<tool>") not in {
        token for word in words for token in word.tokens
    }


def test_what_is_asked_again_is_not_tokenized_again():
    writer = WRITERS["byte-level pairs, by the generator"]
    asked: list[str] = []

    def encode(answers: Sequence[str]) -> list[list[int]]:
        asked.extend(answers)
        return writer.encode(answers)

    words = WordEncoder(writer.tokenizer, encode)
    first = words(["Chad, Kenya", "Kenya"])
    asked.clear()
    assert words(["Kenya", "Chad, Kenya"]) == first[::-1]
    assert asked == []


def test_a_long_run_without_spaces_costs_no_more_than_its_length():
    writer = WRITERS["byte-level pairs, as T5 and Pegasus here"]
    few, many = (len(writer.words()(["-" * length])[0]) for length in (500, 1000))
    assert many < 2.1 * few


def test_a_generator_can_write_every_span_of_a_text_as_its_own_answers(folder):
    generator = Seq2Seq(Seq2Seq.Config(model=str(folder)))
    text = "N'Djamena (Chad), Nairobi"
    (words,) = generator.encode_words([text])
    grounding = Grounding([words], generator.eos_token_id)
    for target in generator.encode_answers(spans(text)):
        assert written(grounding, target)
        assert generator.decode_tokens(target) in [
            text[start:end] for start, end in grounding.spans(target)[0]
        ]
