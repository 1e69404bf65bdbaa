from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from ragcore_bm25.analyser import Analyser
from ragcore_bm25.config import Bm25Config
from ragcore_bm25.retriever import Bm25

from ragcore.contracts import Retriever
from ragcore.errors import ComponentError, MemoryMismatchError, StoreCorruptError
from ragcore.types import Passage

TEXTS = [
    ("Chad, Capital", "N'Djamena is the capital of Chad, on the river Chari."),
    ("Chad, President", "Mahamat Idriss Déby Itno is the president of Chad."),
    ("Ethiopia, Prime minister", "Abiy Ahmed Ali is prime minister since April 2018."),
    ("Kenya, Capital", "Nairobi, Nairobi, Nairobi: the capital and the largest city."),
    ("Nauru, Area", "21 square kilometres, a twelfth of it coast."),
]


# The words of its 0.1.0, so that its memories stay readable.
FIRST_RELEASE = (
    "bm25(lucene,k1=1.2,b=0.75,title=1,words-1,stemmer=english,stopwords=english-8cd53c8f)"
)


def passages(texts: list[tuple[str, str]]) -> list[Passage]:
    return [Passage(str(at), title, text) for at, (title, text) in enumerate(texts)]


def made(texts: list[tuple[str, str]] = TEXTS, rows: list[int] | None = None, **settings) -> Bm25:
    retriever = Bm25(Bm25Config(**settings))
    numbers = list(range(len(texts))) if rows is None else rows
    retriever.add(np.array(numbers, np.int64), passages(texts))
    return retriever


def same(one: Bm25, other: Bm25) -> None:
    questions = ["capital of Chad", "minister Nairobi", "nothing"]
    hits, expected = one.search(questions, 4), other.search(questions, 4)
    assert np.array_equal(hits.rows, expected.rows)
    assert np.array_equal(hits.scores, expected.scores)


def by_hand(question: str, config: Bm25Config) -> dict[int, float]:
    """BM25 from its formula: {position: score} of the passages that share a term."""
    analyser = Analyser(config.stemmer, config.stopwords)
    documents = [
        analyser.terms(title) * config.title_weight + analyser.terms(text) for title, text in TEXTS
    ]
    count, mean = len(documents), sum(map(len, documents)) / len(documents)
    k1, b, delta = config.k1, config.b, config.delta
    scores = {}
    for at, document in enumerate(documents):
        total = 0.0
        for term in analyser.terms(question):
            frequency = sum(term in other for other in documents)
            if not frequency:
                continue
            tf = document.count(term)
            norm = 1 - b + b * len(document) / mean
            match config.variant:
                case "lucene":
                    idf = math.log(1 + (count - frequency + 0.5) / (frequency + 0.5))
                    part = idf * tf / (tf + k1 * norm)
                case "robertson":
                    idf = math.log(max(1, (count - frequency + 0.5) / (frequency + 0.5)))
                    part = idf * tf / (tf + k1 * norm)
                case "atire":
                    idf = math.log(count / frequency)
                    part = idf * tf * (k1 + 1) / (tf + k1 * norm)
                case "bm25l":
                    idf = math.log((count + 1) / (frequency + 0.5))
                    # What a passage without the term gets uses the mean length.
                    raw = tf / norm + delta
                    part = idf * (k1 + 1) * raw / (k1 + raw)
                case "bm25+":
                    idf = math.log((count + 1) / frequency)
                    part = idf * (tf * (k1 + 1) / (tf + k1 * norm) + delta)
            total += part
        if set(analyser.terms(question)) & set(document):
            scores[at] = total
    return scores


@pytest.mark.parametrize("variant", ["lucene", "robertson", "atire", "bm25l", "bm25+"])
@pytest.mark.parametrize("question", ["What is the capital of Chad?", "nairobi nairobi minister"])
def test_scores_are_those_of_the_formula(variant: str, question: str) -> None:
    retriever = made(variant=variant, k1=0.9, b=0.4, title_weight=2)
    hits = retriever.search([question], 5)
    found = hits.rows[0] >= 0
    expected = by_hand(question, retriever._config)
    assert dict(zip(hits.rows[0][found].tolist(), hits.scores[0][found], strict=True)) == (
        pytest.approx(expected, rel=1e-5)
    )


def test_it_meets_the_contract() -> None:
    assert isinstance(made(), Retriever)


def test_accents_and_case_do_not_matter() -> None:
    assert made().search(["deby"], 1).rows.tolist() == [[1]]


def test_a_passage_that_shares_no_word_is_no_hit() -> None:
    hits = made().search(["Nauru", "zebra", "who is the", ""], 9)
    assert hits.rows[0].tolist() == [4] + [-1] * 8
    assert (hits.rows[1:] == -1).all()
    assert np.isneginf(hits.scores[1:]).all()


def test_ties_are_ordered_by_row() -> None:
    texts = [("T", "the same words"), ("T", "others")] * 4
    rows = [70, 1, 5, 2, 900, 3, 6, 4]
    hits = made(texts, rows).search(["same"], 3)
    assert hits.rows.tolist() == [[5, 6, 70]]


def test_a_smaller_k_is_a_prefix() -> None:
    retriever = made()
    large = retriever.search(["capital of Chad and Kenya, president"], 5)
    for k in (1, 2, 3, 4):
        small = retriever.search(["capital of Chad and Kenya, president"], k)
        assert np.array_equal(small.rows, large.rows[:, :k])
        assert np.array_equal(small.scores, large.scores[:, :k])


def test_allowed_restricts_without_changing_scores() -> None:
    retriever = made(rows=[10, 20, 30, 40, 50])
    everything = retriever.search(["capital"], 5)
    some = retriever.search(["capital"], 5, allowed=np.array([10, 30]))
    assert some.rows[0, 0] == 10
    assert (some.rows[0, 1:] == -1).all()
    assert some.scores[0, 0] == everything.scores[0][everything.rows[0] == 10]


def test_adding_later_equals_adding_at_once(tmp_path: Path) -> None:
    whole = made().search(["capital of Chad", "minister"], 5)
    first, rest = passages(TEXTS)[:2], passages(TEXTS)[2:]
    retriever = Bm25(Bm25Config())
    retriever.add(np.array([0, 1]), first)
    retriever.search(["Chad"], 1)
    retriever.save(tmp_path)
    reloaded = Bm25.load(tmp_path, Bm25Config())
    for later in (retriever, reloaded):
        later.add(np.array([2, 3, 4]), rest)
        assert len(later) == 5
        hits = later.search(["capital of Chad", "minister"], 5)
        assert np.array_equal(hits.rows, whole.rows)
        assert np.array_equal(hits.scores, whole.scores)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("variant", ["lucene", "bm25+"])
def test_loading_gives_what_was_saved(tmp_path: Path, mmap: bool, variant: str) -> None:
    retriever = made(variant=variant, rows=[3, 9, 27, 81, 243])
    retriever.save(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix not in (".npy", ".json")]
    loaded = Bm25.load(tmp_path, Bm25Config(variant=variant), mmap=mmap)
    questions = ["capital of Chad", "Déby", "nothing of it"]
    before, after = retriever.search(questions, 4), loaded.search(questions, 4)
    assert len(loaded) == len(retriever) == 5
    assert loaded.fingerprint == retriever.fingerprint
    assert np.array_equal(before.rows, after.rows)
    assert np.array_equal(before.scores, after.scores)


def test_other_words_than_it_was_built_with_are_refused(tmp_path: Path) -> None:
    made().save(tmp_path)
    with pytest.raises(MemoryMismatchError, match=r"stemmer=english.*stemmer=german"):
        Bm25.load(tmp_path, Bm25Config(stemmer="german"))


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    made().save(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for content in (b"{", b"", None):
            path.unlink() if content is None else path.write_bytes(content)
            with pytest.raises(StoreCorruptError, match=rf"{path.name} cannot be read"):
                Bm25.load(tmp_path, Bm25Config())
        path.write_bytes(whole)


def test_an_empty_one_finds_nothing_and_can_be_saved(tmp_path: Path) -> None:
    retriever = Bm25(Bm25Config())
    assert retriever.search(["Chad"], 2).rows.tolist() == [[-1, -1]]
    retriever.save(tmp_path)
    assert len(Bm25.load(tmp_path, Bm25Config())) == 0


def test_passages_of_stop_words_alone_are_held_and_never_found() -> None:
    retriever = made([("", "the of and"), ("", "is it")])
    assert len(retriever) == 2
    assert retriever.search(["the"], 1).rows.tolist() == [[-1]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 9], "row 0 is already there"),
        ([7, 7], "twice"),
        ([-1, 8], "negative"),
        ([7], "one row"),
    ],
)
def test_rows_that_cannot_be_are_refused(rows: list[int], message: str) -> None:
    retriever = made()
    with pytest.raises(ComponentError, match=message):
        retriever.add(np.array(rows), passages(TEXTS[:2]))
    assert len(retriever) == 5


@pytest.mark.parametrize("mmap", [True, False])
def test_a_memory_of_the_first_release_opens(tmp_path: Path, mmap: bool) -> None:
    retriever = made(rows=[3, 9, 27, 81, 243])
    terms: dict[str, int] = {}
    tokens = [
        [terms.setdefault(term, len(terms)) for term in Analyser().terms(f"{title} {text}")]
        for title, text in TEXTS
    ]
    np.save(tmp_path / "tokens.npy", np.concatenate(tokens).astype(np.int32))
    np.save(tmp_path / "ends.npy", np.cumsum([len(passage) for passage in tokens]))
    np.save(tmp_path / "rows.npy", np.array([3, 9, 27, 81, 243]))
    (tmp_path / "terms.json").write_text(json.dumps(list(terms)))
    about = {"format": 1, "fingerprint": FIRST_RELEASE, "passages": 5}
    (tmp_path / "bm25.json").write_text(json.dumps(about))
    loaded = Bm25.load(tmp_path, Bm25Config(), mmap=mmap)
    assert loaded.fingerprint == FIRST_RELEASE
    same(loaded, retriever)
    loaded.remove(np.array([9]))
    retriever.remove(np.array([9]))
    same(loaded, retriever)
    (tmp_path / "later").mkdir()
    loaded.save(tmp_path / "later")
    same(Bm25.load(tmp_path / "later", Bm25Config(), mmap=mmap), retriever)


@pytest.mark.parametrize("constant", ["k1", "b", "delta", "epsilon"])
@pytest.mark.parametrize("value", [-1, math.inf, math.nan])
def test_constants_that_give_no_scores_are_refused(constant: str, value: float) -> None:
    with pytest.raises(ValidationError, match=constant):
        Bm25Config.model_validate({constant: value})


def test_a_memory_of_a_later_release_is_refused(tmp_path: Path) -> None:
    made().save(tmp_path)
    about = json.loads((tmp_path / "bm25.json").read_text())
    (tmp_path / "bm25.json").write_text(json.dumps({**about, "format": 9}))
    with pytest.raises(MemoryMismatchError, match="format 9"):
        Bm25.load(tmp_path, Bm25Config())


def test_no_hits_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(ComponentError, match="ask for 1 or more"):
        made().search(["Chad"], 0)


def test_threads_that_search_at_once_find_the_same() -> None:
    retriever = made(TEXTS * 20)
    expected = made(TEXTS * 20).search(["capital of Chad"], 10).rows
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(
            target=lambda: found.extend(
                retriever.search(["capitals of Chad"], 10).rows for _ in range(20)
            )
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert all(np.array_equal(rows, expected) for rows in found)


def test_chinese_is_found_and_memories_of_the_second_analyser_answer_as_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    passages = [Passage("a", "", "北京是中国的首都"), Passage("b", "", "河流很长")]
    retriever = Bm25(Bm25Config())
    retriever.add(np.arange(2), passages)
    assert retriever.search(["中国的首都"], 1).rows.tolist() == [[0]]
    old = Bm25(Bm25Config())
    old._analyser = Analyser(version=2)
    old.add(np.arange(2), passages)
    old.save(tmp_path)
    assert "2 of 2 passages yield one term or none" in caplog.text
    loaded = Bm25.load(tmp_path, Bm25Config())
    assert loaded.fingerprint == old.fingerprint != retriever.fingerprint
    assert loaded.search(["中国的首都"], 1).rows.tolist() == [[-1]]
    assert loaded.search(["河流很长"], 1).rows.tolist() == [[1]]
