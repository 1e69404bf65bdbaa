"""The retriever `rerank` and the scorer `query-likelihood`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from ragcore.cli import main
from ragcore.config import RagConfig, load_config
from ragcore.contracts import Retriever, Scorer
from ragcore.errors import (
    ComponentError,
    ConfigError,
    MemoryMismatchError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.rag import Rag
from ragcore.registry.components import ComponentConfig, ComponentSpec, spec_from_dict
from ragcore.retrievers.hybrid import Hybrid
from ragcore.retrievers.members import deepest_search
from ragcore.retrievers.query_likelihood import QueryLikelihood
from ragcore.retrievers.rerank import Rerank, files_below, reranked_by
from ragcore.store.store import Store
from ragcore.testing import RetrieverSuite
from ragcore.types import MISSING_ROW, Hits, Passage
from tests.conftest import Installed
from tests.helpers.table_generator import EOS, TableGenerator
from tests.helpers.word_encoder import dense_part

PASSAGES = [Passage(str(n), f"t{n}", "word " * (n % 7) + f"w{n}") for n in range(30)]
ROWS = np.arange(30)
QUESTIONS = ["t3 w3", "w29", "word word w5"]


class Source:
    """The passages by row, as a memory provides them."""

    def take(self, rows: Sequence[int]) -> list[Passage]:
        return [PASSAGES[row] for row in rows]


class Overlap:
    """Scores a passage by the words that it shares with the question; a short one is better."""

    Config = ComponentConfig
    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    def score(
        self, questions: Sequence[str], passages: Sequence[Passage]
    ) -> npt.NDArray[np.float32]:
        pairs = zip(questions, passages, strict=True)
        return np.array([self._score(question, passage) for question, passage in pairs], np.float32)

    def _score(self, question: str, passage: Passage) -> float:
        words = f"{passage.title} {passage.text}".split()
        return len(set(question.split()).intersection(words)) - len(words) / 1000


class TestContract(RetrieverSuite):
    @pytest.fixture
    def component(self) -> ComponentSpec:
        scorer = ComponentSpec("scorer", "overlap", Overlap, ComponentConfig())
        return rerank_spec(dense_part(dim=512), scorer, depth=5_000)


class TestContractInHybrid(RetrieverSuite):
    wide = 400

    @pytest.fixture
    def component(self) -> ComponentSpec:
        scorer = ComponentSpec("scorer", "overlap", Overlap, ComponentConfig())
        members = [rerank_spec(dense_part(dim=512), scorer), dense_part(dim=512, seed=1)]
        config = Hybrid.Config(retrievers=members, depth=5_000)
        return ComponentSpec("retriever", "hybrid", Hybrid, config)


class Length:
    """Scores a passage by its length, and by how many words of the question it has."""

    class Config(ComponentConfig):
        sign: int = 1

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self.config = config

    def score(
        self, questions: Sequence[str], passages: Sequence[Passage]
    ) -> npt.NDArray[np.float32]:
        return np.array(
            [
                self.config.sign * len(passage.text)
                + 100 * len(set(question.split()) & {passage.title, *passage.text.split()})
                for question, passage in zip(questions, passages, strict=True)
            ],
            np.float32,
        )


def length_spec(component: type[Length] = Length, **settings: Any) -> ComponentSpec:
    return ComponentSpec("scorer", "length", component, component.Config(**settings))


def rerank_spec(
    retriever: ComponentSpec | None = None, scorer: ComponentSpec | None = None, **settings: Any
) -> ComponentSpec:
    config = Rerank.Config(
        retriever=retriever or dense_part(), scorer=scorer or length_spec(), **settings
    )
    return ComponentSpec("retriever", "rerank", Rerank, config)


def filled(spec: ComponentSpec, rows: npt.NDArray[np.int64] = ROWS) -> Any:
    retriever = spec.build()
    retriever.add(rows, [PASSAGES[row] for row in rows])
    if "passages" in retriever.capabilities:
        retriever.use_passages(Source())
    return retriever


def assert_equal(hits: Hits, expected: Hits) -> None:
    np.testing.assert_array_equal(hits.rows, expected.rows)
    np.testing.assert_array_equal(hits.scores, expected.scores)


def test_candidates_are_ranked_by_the_scorer() -> None:
    candidates = filled(dense_part()).search(QUESTIONS, 6).rows
    scorer = Length(Length.Config())
    assert isinstance(scorer, Scorer)
    reranked = filled(rerank_spec(depth=6))
    assert isinstance(reranked, Retriever)
    hits = reranked.search(QUESTIONS, 4)
    for question, candidate_rows, rows, scores in zip(
        QUESTIONS, candidates, hits.rows, hits.scores, strict=True
    ):
        expected = {
            int(row): scorer.score([question], [PASSAGES[row]])[0] for row in candidate_rows
        }
        best = sorted(expected, key=lambda row: (-expected[row], row))[:4]
        assert rows.tolist() == best
        assert scores.tolist() == [expected[row] for row in best]


def test_ties_are_ordered_by_row() -> None:
    class Same(Length):
        def score(
            self, questions: Sequence[str], passages: Sequence[Passage]
        ) -> npt.NDArray[np.float32]:
            return np.zeros(len(questions), np.float32)

    hits = filled(rerank_spec(scorer=length_spec(Same))).search(QUESTIONS, 30)
    assert hits.rows.tolist() == [list(range(30))] * 3


def test_a_smaller_k_is_a_prefix_and_the_depth_bounds_the_hits() -> None:
    reranked = filled(rerank_spec(depth=8))
    whole = reranked.search(QUESTIONS, 40)
    assert ((whole.rows != MISSING_ROW).sum(axis=1) == 8).all()
    for k in (1, 7, 8, 9, 30):
        hits = reranked.search(QUESTIONS, k)
        assert_equal(hits, Hits(whole.rows[:, :k], whole.scores[:, :k]))


def test_each_question_is_scored_independently() -> None:
    reranked = filled(rerank_spec())
    together = reranked.search(QUESTIONS, 5)
    for i, question in enumerate(QUESTIONS):
        alone = Hits(together.rows[i : i + 1], together.scores[i : i + 1])
        assert_equal(reranked.search([question], 5), alone)


def test_missing_hits_are_not_scored() -> None:
    class Noting(Length):
        def score(
            self, questions: Sequence[str], passages: Sequence[Passage]
        ) -> npt.NDArray[np.float32]:
            seen.append([passage.id for passage in passages])
            return super().score(questions, passages)

    seen: list[list[str]] = []
    reranked = filled(rerank_spec(scorer=length_spec(Noting)))
    hits = reranked.search(QUESTIONS, 5, allowed=np.array([4, 9]))
    assert [sorted(ids) for ids in seen] == [["4", "4", "4", "9", "9", "9"]]
    assert [set(rows) for rows in hits.rows.tolist()] == [{4, 9, MISSING_ROW}] * 3
    seen.clear()
    assert (reranked.search(QUESTIONS, 5, allowed=ROWS[:0]).rows == MISSING_ROW).all()
    assert seen == []


def test_a_removed_row_is_as_if_never_added() -> None:
    reranked = filled(rerank_spec())
    removed = np.array([3, 17])
    reranked.remove(removed)
    assert len(reranked) == 28
    never = filled(rerank_spec(), np.setdiff1d(ROWS, removed))
    assert_equal(reranked.search(QUESTIONS, 30), never.search(QUESTIONS, 30))


def test_no_passages_and_no_questions() -> None:
    empty = rerank_spec().build()
    empty.use_passages(Source())
    assert (empty.search(QUESTIONS, 2).rows == MISSING_ROW).all()
    reranked = filled(rerank_spec())
    assert reranked.search([], 2).rows.shape == (0, 2)
    with pytest.raises(ComponentError, match="0 hits"):
        reranked.search(QUESTIONS, 0)


def test_searching_without_passages_is_an_error() -> None:
    reranked = rerank_spec().build()
    reranked.add(ROWS, PASSAGES)
    with pytest.raises(ComponentError, match="no passages to read"):
        reranked.search(QUESTIONS, 1)


def test_capabilities_are_those_of_the_inner_retriever() -> None:
    class Fixed(dense_part().component):  # type: ignore[misc]
        capabilities: ClassVar[frozenset[str]] = frozenset({"exact", "mmap", "trainable"})

    able = {"add", "cache", "compact", "filter", "merge", "mmap", "passages", "remove", "scratch"}
    assert filled(rerank_spec()).capabilities == able
    fixed = filled(rerank_spec(ComponentSpec("retriever", "fixed", Fixed, dense_part().config)))
    assert fixed.capabilities == {"filter", "mmap", "passages"}
    with pytest.raises(UnsupportedOperation, match=r"'fixed', .*rerank.* 'remove'"):
        fixed.remove(ROWS[:1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros(3), r"an array of shape \(3,\) for \d\d pairs: expected"),
        (np.zeros((3, 1)), r"an array of shape \(3, 1\) for \d\d pairs: expected"),
        (np.array([1, 2, np.nan]), r"nan for pair 3 of \d\d: expected"),
        (np.array([1, -np.inf, np.nan]), r"-inf for pair 2 of \d\d: expected"),
    ],
)
def test_a_scorer_that_breaks_its_contract_is_named(
    wrong: npt.NDArray[np.float64], message: str
) -> None:
    class Wrong(Length):
        def score(
            self, questions: Sequence[str], passages: Sequence[Passage]
        ) -> npt.NDArray[np.float32]:
            if np.isfinite(wrong).all():
                return wrong.astype(np.float32)
            return np.resize(wrong, len(passages)).astype(np.float32)

    with pytest.raises(ComponentError, match=f"scorer 'length' gave {message}"):
        filled(rerank_spec(scorer=length_spec(Wrong))).search(QUESTIONS, 1)


def test_a_loaded_rerank_may_have_another_scorer(tmp_path: Path) -> None:
    filled(rerank_spec()).save(tmp_path)
    spec = rerank_spec(scorer=length_spec(sign=-1), depth=4)
    loaded = Rerank.load(tmp_path, spec.config)
    loaded.use_passages(Source())
    assert loaded.fingerprint == dense_part().build().fingerprint
    assert_equal(loaded.search(QUESTIONS, 4), filled(spec).search(QUESTIONS, 4))


def test_files_of_another_retriever_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreCorruptError, match="dense"):
        Rerank.load(tmp_path, rerank_spec().config)
    filled(rerank_spec()).save(tmp_path)
    config = Hybrid.Config(retrievers=[dense_part()])
    other = rerank_spec(ComponentSpec("retriever", "hybrid", Hybrid, config))
    with pytest.raises(StoreCorruptError, match=r"hybrid\.json"):
        Rerank.load(tmp_path, other.config)


def test_a_memory_opens_with_and_without_reranking(tmp_path: Path) -> None:
    spec, inner = rerank_spec(), rerank_spec().config.retriever
    (tmp_path / "plain").mkdir()
    filled(inner).save(tmp_path / "plain")
    (tmp_path / "reranked").mkdir()
    filled(spec).save(tmp_path / "reranked")
    names = [sorted(p.name for p in (tmp_path / each).iterdir()) for each in ("plain", "reranked")]
    assert names[0] == names[1]
    reranked = Rerank.load(tmp_path / "plain", spec.config)
    reranked.use_passages(Source())
    expected = filled(spec)
    expected.use_passages(Source())
    for retriever, other in (
        (reranked, expected),
        (inner.load(tmp_path / "reranked"), filled(inner)),
    ):
        hits, wanted = retriever.search(QUESTIONS, 3), other.search(QUESTIONS, 3)
        assert hits.rows.tolist() == wanted.rows.tolist()
        assert hits.scores.tolist() == wanted.scores.tolist()


@pytest.mark.parametrize("depth", [1, 2])
def test_files_that_an_earlier_release_put_into_subfolders_are_read(
    tmp_path: Path, depth: int
) -> None:
    below = earlier(tmp_path / "0", depth)
    assert (files_below(tmp_path / "0"), reranked_by(tmp_path / "0")) == (below, "dense")
    # The same reranker, or none, or two of them.
    for spec in (rerank_spec(), rerank_spec(rerank_spec())):
        loaded = Rerank.load(tmp_path / "0", spec.config)
        loaded.use_passages(Source())
        assert len(loaded) == len(PASSAGES)
    earlier(tmp_path / "1", 0)
    (tmp_path / "hybrid.json").write_text('{"retrievers": ["rerank", "dense"]}')
    for member in (rerank_spec(), dense_part()):
        config = Hybrid.Config(retrievers=[member, dense_part()])
        assert len(Hybrid.load(tmp_path, config)) == len(PASSAGES)
    with pytest.raises(MemoryMismatchError, match=r"'dense', 'dense'.*in use are \['hybrid'"):
        Hybrid.load(tmp_path, Hybrid.Config(retrievers=[hybrid_of_dense(), dense_part()]))


def earlier(folder: Path, depth: int) -> Path:
    """Write a reranked dense memory as earlier releases did; return the folder of its files."""
    for level in range(depth):
        folder.mkdir()
        name = "dense" if level == depth - 1 else "rerank"
        (folder / "rerank.json").write_text(json.dumps({"retriever": name}))
        folder = folder / "retriever"
    folder.mkdir()
    filled(dense_part()).save(folder)
    return folder


def hybrid_of_dense() -> ComponentSpec:
    return ComponentSpec("retriever", "hybrid", Hybrid, Hybrid.Config(retrievers=[dense_part()]))


def test_the_scorer_is_built_on_first_use_and_shared(tmp_path: Path) -> None:
    class Costly(Length):
        def __init__(self, config: Length.Config) -> None:
            super().__init__(config)
            instances.append(self)

    instances: list[Costly] = []
    spec = rerank_spec(scorer=length_spec(Costly))
    filled(spec).save(tmp_path)
    first, second = (Rerank.load(tmp_path, spec.config) for _ in range(2))
    assert instances == []
    for loaded in (first, second):
        loaded.use_passages(Source())
        loaded.search(QUESTIONS, 1)
    assert len(instances) == 1


def nested_spec() -> ComponentSpec:
    """Rerank a hybrid of which one member reads passages."""
    config = Hybrid.Config(retrievers=[dense_part(seed=1), rerank_spec(dense_part(seed=2))])
    return rerank_spec(ComponentSpec("retriever", "hybrid", Hybrid, config))


def test_passages_reach_nested_members_that_read_them() -> None:
    nested = nested_spec()
    assert "passages" in nested.config.retriever.build().capabilities
    assert filled(nested).search(["t3 w3"], 1).rows.tolist() == [[3]]


def test_how_deep_a_ranking_is_at_most_depends_on_all_members() -> None:
    def hybrid(*members: ComponentSpec, **settings: Any) -> ComponentSpec:
        config = Hybrid.Config(retrievers=list(members), **settings)
        return ComponentSpec("retriever", "hybrid", Hybrid, config)

    shallow = rerank_spec(depth=3)
    for spec, limit in (
        (dense_part(), None),
        (shallow, 3),
        (hybrid(dense_part(), depth=7), 7),
        (hybrid(dense_part(), shallow, depth=7), 7),
        (hybrid(shallow, depth=7), 3),
        (hybrid(dense_part(), shallow, depth=7, weights=[0.0, 1.0]), 3),
        (rerank_spec(hybrid(dense_part(), depth=7), depth=20), 7),
        (rerank_spec(hybrid(dense_part(), depth=7), depth=5), 5),
    ):
        retriever = filled(spec)
        assert deepest_search(retriever) == limit
        hits = retriever.search(["t3 w3"], 25)
        assert (hits.rows != MISSING_ROW).sum() == (limit or 25)

    class Unlimited(Rerank):
        deepest_search = 0  # type: ignore[assignment]

    with pytest.raises(ComponentError, match="deepest_search = 0: expected a number of hits"):
        deepest_search(Unlimited(shallow.config))


@pytest.mark.parametrize("spec", [rerank_spec(), nested_spec()], ids=["rerank", "nested"])
def test_a_memory_passes_its_passages(tmp_path: Path, spec: ComponentSpec) -> None:
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, spec)
    memory = store.open(retriever=spec)
    assert_equal(memory.hits(QUESTIONS, 4), filled(spec).search(QUESTIONS, 4))
    rag = Rag(memory, TableGenerator(TableGenerator.Config()), RagConfig(k=4, max_new_tokens=3))
    (answer,) = rag.answer("t3 w3")
    assert answer.evidence[0].passage == PASSAGES[3]


def likelihood(**settings: Any) -> QueryLikelihood:
    generator = ComponentSpec("generator", "table", TableGenerator, TableGenerator.Config())
    return QueryLikelihood(QueryLikelihood.Config(generator=generator, **settings))


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_likelihood_is_the_questions_log_prob_under_the_generator(batch_size: int) -> None:
    scorer = likelihood(instruction="ask", batch_size=batch_size)
    assert isinstance(scorer, Scorer)
    questions, passages = ["ab", "c", "cab", "ab", ""], PASSAGES[:5]
    table = TableGenerator(TableGenerator.Config())
    expected = []
    for question, passage in zip(questions, passages, strict=True):
        tokens = [*(ord(letter) - ord("a") + 1 for letter in question), EOS]
        expected.append(
            sum(
                table.next_log_probs(f"ask|{passage.text}", tuple(tokens[:i]))[token].item()
                for i, token in enumerate(tokens)
            )
        )
    scores = scorer.score(questions, passages)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_no_pairs_have_no_likelihood() -> None:
    assert likelihood().score([], []).shape == (0,)


def test_a_question_is_reranked_by_its_likelihood() -> None:
    generator = ComponentSpec("generator", "table", TableGenerator, TableGenerator.Config())
    config = QueryLikelihood.Config(generator=generator)
    spec = rerank_spec(
        scorer=ComponentSpec("scorer", "query-likelihood", QueryLikelihood, config), depth=6
    )
    hits = filled(spec).search(["abc"], 6)
    passages = [PASSAGES[row] for row in hits.rows[0]]
    expected = QueryLikelihood(config).score(["abc"] * 6, passages)
    np.testing.assert_allclose(hits.scores[0], expected, rtol=1e-5)
    assert (np.diff(expected) <= 0).all()


SCORING = """
import numpy as np
from ragcore import ComponentConfig, hookimpl
from tests.helpers.word_encoder import ragcore_encoders


@hookimpl
def ragcore_scorers():
    return {"last": "scoring_plugin:Last"}


class Last:
    class Config(ComponentConfig):
        pass

    capabilities = frozenset()

    def __init__(self, config):
        pass

    def score(self, questions, passages):
        return np.array([float(passage.id) for passage in passages], np.float32)
"""

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever:
    use: rerank
    depth: 3
    retriever: {use: dense, encoder: {use: words}, index: {use: exact}}
    scorer: {use: last}
"""


def test_a_pipeline_file_can_configure_it_and_the_command_line_search_it(
    tmp_path: Path, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.add("scoring", SCORING)
    lines = [json.dumps({"id": passage.id, "text": passage.text}) for passage in PASSAGES]
    (tmp_path / "passages.jsonl").write_text("\n".join(lines), encoding="utf-8")
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    spec = load_config(path).memory.retriever
    assert spec_from_dict("retriever", spec.to_dict()) == spec
    assert main(["memory", "build", str(path), "--version", "one"]) == 0
    capsys.readouterr()
    assert main(["memory", "search", str(path), "w7", "--k", "3", "--json"]) == 0
    ids = [int(json.loads(line)["id"]) for line in capsys.readouterr().out.splitlines()]
    assert len(ids) == 3
    assert 7 in ids
    assert ids == sorted(ids, reverse=True)
    path.write_text(PIPELINE.replace("last", "lost"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r":9:19: unknown scorer 'lost': did you mean 'last'\?"):
        load_config(path)
