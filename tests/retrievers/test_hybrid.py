"""The retriever `hybrid`: it fuses, filters, saves and loads its members together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import jsonschema
import numpy as np
import pytest
import yaml

from ragcore.config import RagConfig, config_schema, fill_config, load_config, parse_config
from ragcore.contracts import Retriever
from ragcore.errors import (
    ComponentError,
    ConfigError,
    MemoryMismatchError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.rag import Rag
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.registry.simple import SimpleRetriever
from ragcore.retrievers import fusion
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.hybrid import Hybrid
from ragcore.store.store import Store
from ragcore.testing import RetrieverSuite
from ragcore.types import MISSING_ROW, Hits, Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

PASSAGES = [Passage(str(n), f"t{n}", "word " * (n % 7) + f"w{n}") for n in range(30)]
ROWS = np.arange(30)
QUESTIONS = ["t3 w3", "w29", "word word w5"]
FUSED: list[dict[str, Any]] = [
    {"fuse": "rrf", "weights": [2.0, 1.0], "rank_constant": 10.0},
    {"fuse": "convex", "weights": [1.0, 3.0]},
    {"fuse": "mixture", "weights": [1.0, 3.0], "temperatures": [0.5, 20.0]},
]
EVERY_FUSION = pytest.mark.parametrize("settings", FUSED, ids=lambda settings: settings["fuse"])


class SharedWords(SimpleRetriever):
    """Scores a passage by the number of words that it shares with the question; none is no hit."""

    def scores(self, question: str) -> Sequence[float]:
        words = set(question.split())
        shared = [len(words & {passage.title, *passage.text.split()}) for passage in self.passages]
        return [count if count else -np.inf for count in shared]


def words_spec(
    component: type[SimpleRetriever] = SharedWords, use: str = "shared"
) -> ComponentSpec:
    return ComponentSpec("retriever", use, component, component.Config())


def hybrid_spec(*members: ComponentSpec, **settings: Any) -> ComponentSpec:
    specs = list(members or (words_spec(), dense_part()))
    return ComponentSpec("retriever", "hybrid", Hybrid, Hybrid.Config(retrievers=specs, **settings))


def filled(spec: ComponentSpec, rows: np.ndarray = ROWS) -> Any:
    retriever = spec.build()
    for batch in np.array_split(rows, 3):
        retriever.add(batch, [PASSAGES[row] for row in batch])
    return retriever


def assert_equal(hits: Hits, expected: Hits) -> None:
    np.testing.assert_array_equal(hits.rows, expected.rows)
    np.testing.assert_array_equal(hits.scores, expected.scores)


class TestContract(RetrieverSuite):
    variants = ({"retrievers": [dense_part(dim=512, seed=1), dense_part(dim=512, seed=2)]},)

    @pytest.fixture(params=["rrf", "convex", "mixture"])
    def component(self, request: pytest.FixtureRequest) -> ComponentSpec:
        return hybrid_spec(dense_part(dim=512), dense_part(dim=512, seed=1), fuse=request.param)


@EVERY_FUSION
def test_hits_are_the_fusion_of_the_members_hits(settings: dict[str, Any]) -> None:
    members = [filled(spec).search(QUESTIONS, 6) for spec in (words_spec(), dense_part())]
    weights = settings["weights"]
    expected = {
        "rrf": lambda: fusion.reciprocal_rank(members, 4, weights=weights, constant=10),
        "convex": lambda: fusion.convex(members, 4, weights=weights),
        "mixture": lambda: fusion.mixture(members, 4, weights=weights, temperatures=[0.5, 20]),
    }[settings["fuse"]]()
    hybrid = filled(hybrid_spec(depth=6, **settings))
    assert isinstance(hybrid, Retriever)
    assert_equal(hybrid.search(QUESTIONS, 4), expected)


@EVERY_FUSION
def test_a_smaller_k_is_a_prefix_below_the_depth_and_above_it(settings: dict[str, Any]) -> None:
    hybrid = filled(hybrid_spec(depth=5, **settings))
    whole = hybrid.search(QUESTIONS, 40)
    assert 5 < (whole.rows != MISSING_ROW).sum(axis=1).max() <= 10
    for k in (1, 4, 5, 6, 10, 30):
        hits = hybrid.search(QUESTIONS, k)
        assert_equal(hits, Hits(whole.rows[:, :k], whole.scores[:, :k]))


@EVERY_FUSION
def test_a_batch_equals_its_questions_one_by_one(settings: dict[str, Any]) -> None:
    hybrid = filled(hybrid_spec(**settings))
    together = hybrid.search(QUESTIONS, 7)
    singles = [hybrid.search([question], 7) for question in QUESTIONS]
    assert_equal(
        together,
        Hits(
            np.concatenate([hits.rows for hits in singles]),
            np.concatenate([hits.scores for hits in singles]),
        ),
    )


@pytest.mark.parametrize("fuse", ["rrf", "convex", "mixture"])
def test_a_member_of_weight_zero_is_not_searched(fuse: str) -> None:
    class Refusing(Dense):
        def search(self, *_: Any, **__: Any) -> Hits:
            raise AssertionError("it was searched")

    refusing = ComponentSpec("retriever", "dense", Refusing, dense_part().config)
    temperatures = {"temperatures": [2, 5]} if fuse == "mixture" else {}
    with_it = filled(hybrid_spec(words_spec(), refusing, fuse=fuse, weights=[3, 0], **temperatures))
    alone = {"temperatures": [2]} if temperatures else {}
    without = filled(hybrid_spec(words_spec(), fuse=fuse, **alone))
    hits, expected = (each.search(QUESTIONS, 7) for each in (with_it, without))
    np.testing.assert_array_equal(hits.rows, expected.rows)


@EVERY_FUSION
def test_the_order_of_members_does_not_matter(settings: dict[str, Any]) -> None:
    reversed_settings = {
        key: value[::-1] if isinstance(value, list) else value for key, value in settings.items()
    }
    hybrid = filled(hybrid_spec(words_spec(), dense_part(), **settings))
    reversed_hybrid = filled(hybrid_spec(dense_part(), words_spec(), **reversed_settings))
    assert_equal(reversed_hybrid.search(QUESTIONS, 30), hybrid.search(QUESTIONS, 30))


@pytest.mark.parametrize("fuse", ["rrf", "convex", "mixture"])
def test_a_single_member_keeps_its_ranking(fuse: str) -> None:
    alone = filled(words_spec()).search(QUESTIONS, 30)
    np.testing.assert_array_equal(
        filled(hybrid_spec(words_spec(), fuse=fuse)).search(QUESTIONS, 30).rows, alone.rows
    )


def test_a_hybrid_may_be_of_hybrids() -> None:
    inner = hybrid_spec(words_spec(), dense_part(seed=1))
    nested = filled(hybrid_spec(inner, dense_part(seed=2)))
    assert nested.search(["t3 w3"], 1).rows.tolist() == [[3]]


def test_a_removed_row_is_as_if_never_added() -> None:
    hybrid = filled(hybrid_spec(fuse="mixture"))
    removed = np.array([3, 17, 29])
    hybrid.remove(removed)
    remaining = np.setdiff1d(ROWS, removed)
    never = filled(hybrid_spec(fuse="mixture"), remaining)
    assert len(hybrid) == len(never) == 27
    assert_equal(hybrid.search(QUESTIONS, 30), never.search(QUESTIONS, 30))


def test_allowed_rows_are_fused_as_if_there_were_no_others() -> None:
    allowed = np.array([2, 5, 9, 12, 29])
    hybrid, only = filled(hybrid_spec(depth=4)), filled(hybrid_spec(depth=4), allowed)
    assert_equal(hybrid.search(QUESTIONS, 5, allowed=allowed), only.search(QUESTIONS, 5))


def test_capabilities_are_those_of_all_members() -> None:
    class Fixed(SharedWords):
        capabilities: ClassVar[frozenset[str]] = frozenset({"exact", "mmap"})

    able = {"add", "cache", "compact", "filter", "remove", "scratch"}
    assert filled(hybrid_spec()).capabilities == able
    fixed = filled(hybrid_spec(dense_part(), words_spec(Fixed, "fixed")))
    assert fixed.capabilities == {"cache", "compact", "filter", "mmap", "scratch"}
    with pytest.raises(UnsupportedOperation, match=r"'fixed', .*hybrid.* 'remove'"):
        fixed.remove(ROWS[:1])
    assert [len(member) for member in fixed._members] == [30, 30]


@pytest.mark.parametrize("depth", [2, 100])
@pytest.mark.parametrize("fuse", ["rrf", "convex", "mixture"])
def test_members_that_cannot_filter_answer_as_those_that_can(fuse: str, depth: int) -> None:
    class Unfiltering(dense_part().component):  # type: ignore[misc]
        capabilities: ClassVar[frozenset[str]] = frozenset({"add", "exact"})

        def search(self, questions: Sequence[str], k: int, **options: Any) -> Hits:
            assert not options, "asked to filter, which it does not declare"
            return super().search(questions, k)

    config = dense_part().config
    able, unable = (
        filled(hybrid_spec(spec, words_spec(), fuse=fuse, depth=depth))
        for spec in (dense_part(), ComponentSpec("retriever", "unfiltering", Unfiltering, config))
    )
    for allowed in (ROWS[::7], ROWS[-2:], ROWS[:0], ROWS):
        hits, expected = (hybrid.search(QUESTIONS, 3, allowed=allowed) for hybrid in (unable, able))
        assert np.array_equal(hits.rows, expected.rows)
        assert np.array_equal(hits.scores, expected.scores)


def test_capabilities_of_single_members_are_not_the_hybrids() -> None:
    class Trained(SharedWords):
        capabilities: ClassVar[frozenset[str]] = frozenset({"trainable", "exact", "add"})

        def trained_encoder(self) -> Any: ...

        def use_encoder(self, encoder: Any) -> None: ...

        def search_with_grad(self, questions: Any, k: int) -> Any: ...

    assert hybrid_spec(words_spec(Trained)).build().capabilities == {"add", "filter"}


def test_a_loaded_hybrid_can_add_only_if_all_members_can(tmp_path: Path) -> None:
    class Closed(SharedWords):
        capabilities: ClassVar[frozenset[str]] = frozenset({"exact"})

    spec = hybrid_spec(dense_part(), words_spec(Closed, "closed"))
    filled(spec).save(tmp_path)
    loaded = Hybrid.load(tmp_path, spec.config)
    with pytest.raises(UnsupportedOperation, match=r"'closed', .*hybrid.* 'add'"):
        loaded.add(np.array([30]), PASSAGES[:1])
    assert [len(member) for member in loaded._members] == [30, 30]


@EVERY_FUSION
def test_a_loaded_hybrid_finds_the_same(tmp_path: Path, settings: dict[str, Any]) -> None:
    spec = hybrid_spec(**settings)
    hybrid = filled(spec)
    hybrid.save(tmp_path)
    loaded = Hybrid.load(tmp_path, spec.config)
    assert (len(loaded), loaded.fingerprint) == (30, hybrid.fingerprint)
    assert_equal(loaded.search(QUESTIONS, 9), hybrid.search(QUESTIONS, 9))


def test_a_loaded_hybrid_can_grow(tmp_path: Path) -> None:
    spec = hybrid_spec(fuse="convex")
    filled(spec, ROWS[:20]).save(tmp_path)
    loaded = Hybrid.load(tmp_path, spec.config)
    loaded.add(ROWS[20:], PASSAGES[20:])
    assert_equal(loaded.search(QUESTIONS, 30), filled(spec).search(QUESTIONS, 30))


@pytest.mark.parametrize("mmap", [True, False])
def test_memory_mapping_is_passed_on(tmp_path: Path, mmap: bool) -> None:
    class Noting(SharedWords):
        @classmethod
        def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Self:
            values.append(mmap)
            return super().load(folder, config, mmap=mmap)

    values: list[bool] = []
    spec = hybrid_spec(words_spec(Noting), dense_part())
    filled(spec).save(tmp_path)
    Hybrid.load(tmp_path, spec.config, mmap=mmap)
    assert values == [mmap]


def test_fusion_settings_may_change_without_a_rebuild(tmp_path: Path) -> None:
    filled(hybrid_spec()).save(tmp_path)
    other = hybrid_spec(fuse="mixture", weights=[1, 5], temperatures=[1, 9], depth=3)
    loaded = Hybrid.load(tmp_path, other.config)
    assert loaded.fingerprint == hybrid_spec().build().fingerprint
    assert_equal(loaded.search(QUESTIONS, 3), filled(other).search(QUESTIONS, 3))


def test_the_fingerprint_is_of_all_members() -> None:
    first = hybrid_spec(dense_part(seed=1), words_spec()).build()
    other = hybrid_spec(dense_part(seed=2), words_spec()).build()
    assert first.fingerprint == "hybrid(words(seed=1,d=32); passages)"
    assert other.fingerprint != first.fingerprint


def test_files_of_other_members_are_refused(tmp_path: Path) -> None:
    filled(hybrid_spec(words_spec(), dense_part())).save(tmp_path)
    reversed_settings = hybrid_spec(dense_part(), words_spec())
    with pytest.raises(MemoryMismatchError, match=r"\['shared', 'dense'\].*\['dense', 'shared'\]"):
        Hybrid.load(tmp_path, reversed_settings.config)


def test_broken_files_are_named(tmp_path: Path) -> None:
    spec = hybrid_spec()
    with pytest.raises(StoreCorruptError, match=r"hybrid\.json"):
        Hybrid.load(tmp_path, spec.config)
    filled(spec).save(tmp_path)
    passages = tmp_path / "0" / "passages.jsonl"
    lines = passages.read_text(encoding="utf-8").splitlines(keepends=True)
    passages.write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(StoreCorruptError, match=r"\[29, 30\] rows"):
        Hybrid.load(tmp_path, spec.config)
    (tmp_path / "hybrid.json").write_text(json.dumps({"retrievers": None}), encoding="utf-8")
    with pytest.raises(StoreCorruptError, match=r"hybrid\.json"):
        Hybrid.load(tmp_path, spec.config)


def test_members_of_different_sizes_are_not_saved(tmp_path: Path) -> None:
    class Full(SharedWords):
        def add(self, rows: Any, passages: Sequence[Passage]) -> None:
            if len(self) + len(rows) > 25:
                raise OSError("no space left")
            super().add(rows, passages)

    hybrid = hybrid_spec(dense_part(), words_spec(Full, "full")).build()
    hybrid.add(ROWS[:20], PASSAGES[:20])
    with pytest.raises(OSError, match="no space"):
        hybrid.add(ROWS[20:], PASSAGES[20:])
    with pytest.raises(ComponentError, match=r"\[30, 20\] rows \(\['dense', 'full'\]\)"):
        hybrid.save(tmp_path)


def test_a_member_that_breaks_its_contract_is_named() -> None:
    class Twice(SharedWords):
        def search(self, questions: Sequence[str], k: int, **more: Any) -> Hits:
            hits = super().search(questions, k, **more)
            return Hits(np.full_like(hits.rows, 4), np.ones_like(hits.scores))

    class Short(SharedWords):
        def search(self, questions: Sequence[str], k: int, **more: Any) -> Hits:
            return super().search(questions, k - 1, **more)

    with pytest.raises(ComponentError, match="'twice' of a hybrid gave row 4 twice"):
        filled(hybrid_spec(words_spec(Twice, "twice"))).search(QUESTIONS, 2)
    with pytest.raises(ComponentError, match=r"'short' .* \(3, 29\): expected \(3, 30\)"):
        filled(hybrid_spec(words_spec(Short, "short"))).search(QUESTIONS, 2)


def test_no_passages_and_no_questions() -> None:
    empty = hybrid_spec().build()
    assert (empty.search(QUESTIONS, 2).rows == MISSING_ROW).all()
    hybrid = filled(hybrid_spec())
    assert hybrid.search([], 2).rows.shape == (0, 2)
    with pytest.raises(ComponentError, match="0 hits"):
        hybrid.search(QUESTIONS, 0)


def test_a_memory_is_built_in_one_pass_searched_and_read(tmp_path: Path) -> None:
    def corpus() -> Iterator[Passage]:
        passes.append(1)
        yield from PASSAGES

    passes: list[int] = []
    spec = hybrid_spec(fuse="mixture", temperatures=[0.5, 10.0])
    store = Store(tmp_path / "store")
    store.build("one", corpus(), spec, batch=7)
    assert passes == [1]
    memory = store.open(retriever=spec, verify=True)
    assert_equal(memory.hits(QUESTIONS, 4), filled(spec).search(QUESTIONS, 4))
    rag = Rag(memory, TableGenerator(TableGenerator.Config()), RagConfig(k=4, max_new_tokens=3))
    (answer,) = rag.answer(QUESTIONS[0])
    fused = np.exp(memory.hits(QUESTIONS[:1], 4).scores[0].astype(np.float64))
    assert [evidence.prior for evidence in answer.evidence] == pytest.approx(
        fused / fused.sum(), abs=1e-6
    )


PIPELINE = """\
ragcore: 1
memory:
  store: store
  retriever:
    use: hybrid
    retrievers:
    - {use: words, k1: 1.5}
    - use: hybrid
      retrievers: [{use: pair, encoder: {use: tiny, model: mini}, index: {use: flat}}]
    fuse: mixture
    weights: [1, 2.5]
"""


@pytest.mark.usefixtures("sample")
def test_a_pipeline_file_can_configure_it(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    spec = load_config(path).memory.retriever
    assert spec.config.retrievers[0].config.k1 == 1.5
    assert spec.config.retrievers[1].config.retrievers[0].use == "pair"
    assert spec_from_dict("retriever", spec.to_dict()) == spec
    filled_in = fill_config(path)
    assert yaml.safe_load(filled_in)["memory"]["retriever"]["depth"] == 100
    assert parse_config(filled_in, base=tmp_path) == load_config(path)
    schema = jsonschema.Draft202012Validator(config_schema())
    schema.validate(yaml.safe_load(filled_in))
    assert not schema.is_valid(yaml.safe_load(PIPELINE.replace("k1: 1.5", "k2: 1.5")))
    assert not schema.is_valid(yaml.safe_load(PIPELINE.replace("2.5]", "-1]")))


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("weights: [1, 2.5]", "weights: [1]"), ":11:14: weights must be one for each of the 2"),
        (("weights: [1, 2.5]", "temperatures: [1, 2, 3]"), ":11:19: temperatures must be one for"),
        (("mixture", "rrf\n    temperatures: [1, 2]"), "found temperatures with fuse: rrf"),
        (("2.5]", "-1]"), ":11:18: "),
        (("[1, 2.5]", "[0, 0]"), ":11:14: weights are all 0"),
        (("2.5]", ".inf]"), ":11:18: "),
        (("k1: 1.5", "k2: 1.5"), ":7:20: unknown key 'k2' in retriever 'words'"),
        (("[{use: pair", "[{use: pear"), ":9:26: unknown retriever 'pear': did you mean 'pair'"),
    ],
)
def test_a_fault_in_a_pipeline_file_is_reported_with_its_position(
    wrong: tuple[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(PIPELINE.replace(*wrong))
    assert message in str(raised.value)


def test_a_hybrid_needs_a_member() -> None:
    with pytest.raises(ValueError, match="retrievers"):
        Hybrid.Config(retrievers=[])
