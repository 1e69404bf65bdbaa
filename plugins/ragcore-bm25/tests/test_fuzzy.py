"""`fuzzy`: words that no passage has, and the terms that they may stand for."""

from __future__ import annotations

import doctest
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ragcore_bm25 import retriever as module
from ragcore_bm25 import spelling
from ragcore_bm25.config import Bm25Config, Variant
from ragcore_bm25.retriever import Bm25
from ragcore_bm25.variants import Formula

from ragcore.contracts import SavedRetriever
from ragcore.errors import StoreCorruptError
from ragcore.types import Passage

COUNTRIES = [
    "France: the president is Macron, the capital is Paris.",
    "Chad: the president is Déby, the capital is N'Djamena.",
    "Niger: the president is Issoufou, the capital is Niamey.",
    "Nigeria: the president is Buhari, the capital is Abuja; furnaces, population 190 million.",
    "Chile: elected in 1990; the president is Piñera.",
]
THAI = "\u0e01\u0e35\u0e48\u0e17\u0e35\u0e48"
"""A pair of letters with two marks each."""
WORDS = ["president", "population", "happiness", "agriculture", "studies", "boundaries"]


def built(texts: list[str], rows: list[int] | None = None, **settings: Any) -> Bm25:
    retriever = Bm25(Bm25Config(**settings))
    numbers = list(range(len(texts))) if rows is None else rows
    retriever.add(np.array(numbers), [Passage(str(at), "", text) for at, text in enumerate(texts)])
    return retriever


def scores_of(retriever: Bm25, question: str, k: int = 12) -> dict[int, float]:
    """Return the score of each hit by its row, best first."""
    hits = retriever.search([question], k)
    is_hit = hits.rows[0] >= 0
    return dict(zip(hits.rows[0][is_hit].tolist(), hits.scores[0][is_hit].tolist(), strict=True))


def distance(word: str, other: str) -> int:
    """Return Damerau's distance by the algorithm of Lowrance and Wagner (1975)."""
    far = len(word) + len(other)
    last_rows: dict[str, int] = {}
    table = {(-1, -1): far}
    for i in range(len(word) + 1):
        table[i, -1], table[i, 0] = far, i
    for j in range(len(other) + 1):
        table[-1, j], table[0, j] = far, j
    for i in range(1, len(word) + 1):
        last_column = 0
        for j in range(1, len(other) + 1):
            row, column = last_rows.get(other[j - 1], 0), last_column
            is_same = word[i - 1] == other[j - 1]
            if is_same:
                last_column = j
            table[i, j] = min(
                table[i - 1, j - 1] + (not is_same),
                table[i, j - 1] + 1,
                table[i - 1, j] + 1,
                table[row - 1, column - 1] + (i - row - 1) + 1 + (j - column - 1),
            )
        last_rows[word[i - 1]] = i
    return table[len(word), len(other)]


@st.composite
def misspelt(draw: st.DrawFn, word: str, edits: int, letters: str) -> str:
    """Draw a word that so many edits lead to."""
    for _ in range(edits):
        length = draw(st.integers(0, len(word) - 1))
        letter = draw(st.sampled_from(letters))
        left, right = word[:length], word[length:]
        word = draw(
            st.sampled_from(
                [
                    left + right[1:],
                    left + letter + right,
                    left + letter + right[1:],
                    left + right[1:2] + right[:1] + right[2:],
                ]
            )
        )
    return word


def check_nearest(words: list[str], question: str, fuzzy: int) -> None:
    """Check that exactly the nearest words are found, by comparing with each."""
    distances = {word: distance(question, word) for word in words}
    farthest = fuzzy if len(question) >= 8 else min(fuzzy, 1) if len(question) >= 4 else 0
    least = min(distances.values())
    nearest = sorted(word for word in words if distances[word] == least)[:8]
    expected = nearest if least <= farthest else []
    hits = scores_of(built(words, fuzzy=fuzzy, stemmer=None, stopwords=None), question)
    assert sorted(words[row] for row in hits) == expected


ONE = st.lists(st.text("abc", min_size=3, max_size=6), min_size=1, max_size=20, unique=True)
TWO = st.lists(st.text("ab", min_size=8, max_size=9), min_size=1, max_size=20, unique=True)


@settings(max_examples=60, deadline=None)
@given(st.data(), ONE)
def test_all_nearest_terms_are_found_at_one_edit(data: st.DataObject, words: list[str]) -> None:
    edits = data.draw(st.integers(0, 2))
    check_nearest(words, data.draw(misspelt(data.draw(st.sampled_from(words)), edits, "abz")), 1)


@settings(max_examples=15, deadline=None)
@given(st.data(), TWO)
def test_all_nearest_terms_are_found_at_two_edits(data: st.DataObject, words: list[str]) -> None:
    word = data.draw(misspelt(data.draw(st.sampled_from(words)), 2, "yz"))
    check_nearest(words, word, 2)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(WORDS))
def test_an_edit_of_any_letter_is_found_though_the_stem_differs(
    data: st.DataObject, word: str
) -> None:
    question = data.draw(misspelt(word, 1, "abcdefghijklmnopqrstuvwxyz"))
    assert WORDS.index(word) in scores_of(built(WORDS, fuzzy=1), question)


def test_a_misspelt_question_finds_the_country() -> None:
    assert scores_of(built(COUNTRIES), "presdent of Frnace") == {}
    assert next(iter(scores_of(built(COUNTRIES, fuzzy=1), "presdent of Frnace"))) == 0
    # The first letter may be wrong; "furnaces" is as near as "France", and counts as much.
    assert set(scores_of(built(COUNTRIES, fuzzy=1), "frnace")) == {0, 3}
    assert set(scores_of(built(COUNTRIES, fuzzy=1), "Vhad")) == {1}


def test_two_edits_count_only_where_one_leads_to_nothing_and_the_word_is_long() -> None:
    retriever = built(["presidents", "residents of it", "Niger"], fuzzy=2)
    assert set(scores_of(retriever, "presidnet")) == {0}
    assert set(scores_of(retriever, "prasidnet")) == {0}
    assert set(scores_of(retriever, "Naigerr")) == set()
    assert set(scores_of(built(["presidents"], fuzzy=1), "prasidnet")) == set()


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("elected in 1990", "1909"),
        ("the model A380b", "A38b0"),
        ("Ira Iran", "Irn"),
        ("a rich wish", "wich"),
        (
            "\u0e01\u0e35\u0e48\u0e17\u0e35\u0e48 \u0e19\u0e39\u0e48",
            "\u0e01\u0e35\u0e48\u0e17\u0e39\u0e48",
        ),
        ("abcdefghijklmnopqrstuvwxyzabcdefgh", "abcdefghijklmnopqrstuvwxyzabcdefg"),
    ],
    ids=["year", "code", "short", "stop word", "no spaces", "long"],
)
def test_words_that_cannot_be_judged_stay_as_they_are(text: str, question: str) -> None:
    exact, fuzzy = built([text], stemmer=None), built([text], stemmer=None, fuzzy=1)
    assert scores_of(fuzzy, question) == scores_of(exact, question)
    assert fuzzy.search([question], 1).rows.shape == (1, 1)


def test_other_scripts_are_corrected_with_the_letters_of_the_memory() -> None:
    retriever = built(["столица Москва", "река Волга"], stemmer="russian", fuzzy=1)
    assert set(scores_of(retriever, "Масква")) == {0}
    assert set(scores_of(retriever, "сталица")) == {0}
    assert set(scores_of(retriever, "Волгаж")) == {1}


def test_letters_that_the_memory_lacks_are_not_tried() -> None:
    # "ж" may be replaced by a letter of the memory, and by no other.
    assert set(scores_of(built(["Москва"], stemmer=None, fuzzy=1), "Можква")) == {0}
    expander = built(["Москва оно x", "\u0926\u093f\u0928 \u0967"], fuzzy=1)._ready().expander
    assert expander is not None
    letters_of = expander._spelling._alphabet
    assert sorted(letters_of("ж", 9)) == sorted("москван")
    assert letters_of("ж", 2) == ["о", "а"]
    # Vowel signs are tried, digits are not.
    assert sorted(letters_of("\u0926", 9)) == ["\u0926", "\u0928", "\u093f"]


@pytest.mark.parametrize("variant", get_args(Variant))
def test_questions_without_a_misspelt_word_score_as_ever(variant: str) -> None:
    exact, fuzzy = built(COUNTRIES, variant=variant), built(COUNTRIES, variant=variant, fuzzy=2)
    for question in ("president of France", "capital capital", "zebra 1991", "the", ""):
        assert scores_of(fuzzy, question) == scores_of(exact, question)


@pytest.mark.parametrize("variant", get_args(Variant))
def test_the_best_term_counts_with_the_weight_of_the_commonest(variant: str) -> None:
    # "bana" is one edit from banal (2 of 9 passages), bank (1) and band (1, twice in it).
    texts = ["banal x", "banal y y", "bank", "band band x", *["other"] * 5]
    exact = built(texts, variant=variant, stemmer=None)
    holders = np.array([2, 1, 1, 2, 1, 5])  # banal, bank, band, x, y, other
    config = exact._config
    formula = Formula(config.variant, config.k1, config.b, config.delta, config.epsilon)
    weights = np.abs(formula.weights(holders, len(texts)))
    expected: dict[int, float] = {}
    for number, word in enumerate(["banal", "bank", "band"]):
        factor = (1 - 1 / 4) * weights[:3].min() / weights[number]
        for row, score in scores_of(exact, word).items():
            expected[row] = score * factor
    fuzzy = built(texts, variant=variant, stemmer=None, fuzzy=1)
    assert set(expected) == {0, 1, 2, 3}
    assert scores_of(fuzzy, "bana") == pytest.approx(expected, rel=1e-5)
    expected_of_other = {row: 0.8 * score for row, score in scores_of(exact, "other").items()}
    assert scores_of(fuzzy, "othez") == pytest.approx(expected_of_other, rel=1e-5)
    # Next to a known word, both count.
    for row, score in scores_of(exact, "x").items():
        expected[row] = expected.get(row, 0) + score
    if not formula.floor:
        assert scores_of(fuzzy, "x bana") == pytest.approx(expected, rel=1e-5)


def test_a_passage_with_several_of_the_terms_counts_the_best_alone() -> None:
    texts = ["bank band band", "bank bank band", "other band band", "other bank bank", "zebra"]
    scores = scores_of(built(texts, stemmer=None, fuzzy=1), "banx")
    assert [scores[row] for row in range(4)] == pytest.approx([scores[0]] * 4, rel=1e-6)


def test_negative_weights_keep_their_order() -> None:
    # Most words are in most passages, so that okapi's weights are negative.
    texts = ["band x y z", "bank x y z", "bank x y z", "bank bank x y z"]
    exact = built(texts, variant="okapi", stemmer=None)
    assert scores_of(exact, "band")[0] > 0 > scores_of(exact, "bank")[1]
    fuzzy = scores_of(built(texts, variant="okapi", stemmer=None, fuzzy=1), "banq")
    assert next(iter(fuzzy)) == 0
    assert fuzzy[1] == pytest.approx(0.75 * scores_of(exact, "bank")[1], rel=1e-5)
    assert set(fuzzy) == {0, 1, 2, 3}


def test_at_most_eight_terms_are_taken_and_they_are_the_commonest() -> None:
    words = [f"ban{letter}" for letter in "abcdefghijkl"]
    texts = [*words, *words[4:]]
    hits = scores_of(built(texts, stemmer=None, fuzzy=1), "banz", k=30)
    assert {texts[row] for row in hits} == set(words[4:])


def test_only_the_first_unknown_words_of_a_question_are_searched() -> None:
    retriever = built(["Niger", "Nigeria"], fuzzy=1)
    unknown = " ".join(f"zzzz{letter}" for letter in "abcdefghijklmnop")
    assert scores_of(retriever, f"{unknown[:-6]} Nigar") != {}
    assert scores_of(retriever, f"{unknown} Nigar") == {}
    assert set(scores_of(retriever, f"{unknown} Niger")) == {0}


@pytest.mark.parametrize("mmap", [True, False])
def test_a_memory_is_fuzzy_only_as_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mmap: bool
) -> None:
    built(COUNTRIES, rows=[2, 4, 6, 8, 10]).save(tmp_path)
    monkeypatch.setattr(module, "build_postings", None)
    exact = Bm25.load(tmp_path, Bm25Config(), mmap=mmap)
    fuzzy = Bm25.load(tmp_path, Bm25Config(fuzzy=1), mmap=mmap)
    assert exact.fingerprint == fuzzy.fingerprint
    assert scores_of(exact, "Frnace") == {}
    assert set(scores_of(fuzzy, "Frnace")) == {2, 8}


def test_after_adding_and_removing_it_answers_as_one_that_was_built_so(tmp_path: Path) -> None:
    questions = ["presdent of Frnace", "Nigre", "Chadd capitol", "furnac"]
    changed = built(COUNTRIES, fuzzy=1)
    changed.search(questions, 5)
    changed.remove(np.array([0, 2]))
    changed.add(np.array([7, 9]), [Passage("f", "", "Frances"), Passage("n", "", "Nigel")])
    texts = [COUNTRIES[1], COUNTRIES[3], COUNTRIES[4], "Frances", "Nigel"]
    scratch = built(texts, rows=[1, 3, 4, 7, 9], fuzzy=1)
    changed.save(tmp_path)
    for retriever in (changed, Bm25.load(tmp_path, Bm25Config(fuzzy=1))):
        hits, expected = retriever.search(questions, 5), scratch.search(questions, 5)
        assert np.array_equal(hits.rows, expected.rows)
        assert np.array_equal(hits.scores, expected.scores)
    # Niger was removed, so that it is now a misspelt Nigel.
    assert set(scores_of(changed, "Niger")) == {9}


def test_merged_memories_answer_as_one_build(tmp_path: Path) -> None:
    parts = []
    for number, texts in enumerate((COUNTRIES[:3], COUNTRIES[3:])):
        folder = tmp_path / str(number)
        folder.mkdir()
        built(texts).save(folder)
        parts.append(SavedRetriever(folder, 3 * number, len(texts)))
    (tmp_path / "whole").mkdir()
    Bm25(Bm25Config(fuzzy=1)).merge(parts, tmp_path / "whole")
    merged = Bm25.load(tmp_path / "whole", Bm25Config(fuzzy=1))
    whole = built(COUNTRIES, fuzzy=1)
    for question in ("presdent of Frnace", "Nigre", "Chadd capitol"):
        assert scores_of(merged, question) == scores_of(whole, question) != {}


def test_a_filter_changes_neither_terms_nor_scores() -> None:
    retriever = built(COUNTRIES, fuzzy=1)
    everything = scores_of(retriever, "Frnace")
    some = retriever.search(["Frnace"], 2, allowed=np.array([1, 3]))
    assert some.rows.tolist() == [[3, -1]]
    assert some.scores[0, 0] == everything[3]
    # "Niger" is a word of the memory, so it is not corrected where it is filtered out.
    assert retriever.search(["Niger"], 1, allowed=np.array([3])).rows.tolist() == [[-1]]


def test_words_of_titles_that_do_not_count_are_unknown() -> None:
    retriever = Bm25(Bm25Config(fuzzy=1, title_weight=0))
    retriever.add(np.arange(2), [Passage("0", "Niger", "a river"), Passage("1", "", "Nigel")])
    assert set(scores_of(retriever, "Niger")) == {1}


def test_terms_that_were_added_after_a_search_began_are_not_looked_up() -> None:
    retriever = built(COUNTRIES, fuzzy=1)
    expander = retriever._ready().expander
    assert expander is not None
    retriever.add(np.array([70]), [Passage("z", "", "Zimbabwe")])
    assert expander.postings("Zimbabwa Frnace") is not None
    assert expander.postings("Zimbabwa") is None
    assert set(scores_of(retriever, "Zimbabwa")) == {70}


def test_threads_search_while_others_add_terms() -> None:
    retriever = built(["столица Москва", *COUNTRIES], stemmer=None, fuzzy=1)
    built_before = retriever._ready()
    assert built_before.expander is not None
    expander = built_before.expander
    terms_by_thread: list[int] = []
    begin = threading.Barrier(3)

    def search() -> None:
        begin.wait()
        for number in range(40):
            postings = expander.postings(f"Масква Frnace {'x' * number}zzzz")
            terms_by_thread.append(0 if postings is None else postings.terms)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    begin.wait()
    for number in range(400):
        retriever.add(np.array([100 + number]), [Passage("p", "", f"слово{number} word{number}")])
    for thread in threads:
        thread.join()
    assert terms_by_thread == [2] * 80


def test_few_words_are_remembered_and_no_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spelling, "_REMEMBERED", 3)
    retriever = built(COUNTRIES, fuzzy=1)
    expander = retriever._ready().expander
    assert expander is not None
    for number in range(20):
        letter = chr(ord("a") + number)
        scores_of(retriever, f"{'z' * 5000}{letter} zz{letter}zz Frnace")
        remembered = expander._spelling._remembered
        assert len(remembered) <= 3
        assert max(len(word) for word, _ in remembered) < 33


def test_examples_in_the_code_are_true() -> None:
    assert doctest.testmod(spelling) == doctest.TestResults(failed=0, attempted=2)


def test_damaged_positions_are_named() -> None:
    retriever = built(["bank", "band", "zebra"], stemmer=None, fuzzy=1)
    ready = retriever._ready()
    assert ready.expander is not None
    index = ready.expander._index
    ready.expander._index = replace(index, positions=index.positions + np.int32(7))
    with pytest.raises(StoreCorruptError, match="passage that does not exist"):
        retriever.search(["banx"], 1)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"fuzzy": 3}, "less than or equal to 2"),
        ({"fuzzy": -1}, "greater than or equal to 0"),
        ({"fuzzy": 1, "backend": "rank-bm25", "variant": "okapi"}, "cannot be fuzzy"),
        ({"fuzzy": 2, "stemmer": "german"}, "at most 1 with stemmer 'german'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings_: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Bm25Config(**settings_)
