"""Laws of plans: more passages take no less, more machines take no longer, sums are sums."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from functools import cache
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ragcore.errors import ConfigError
from ragcore.planning.layout import INDEX_KINDS
from ragcore.planning.plan import Task, make_plan
from ragcore.planning.rates import LAWS, Rate, RateFile, Rates, Work, load_rates
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.retrievers.dense import Dense
from ragcore.store.store import Store
from ragcore.types import Passage
from ragcore.views.plan import plan_view, plans_view
from tests.helpers.word_encoder import WordEncoder

RATES = load_rates()
TASK = Task(passages=1_000_000, kind="flat", encoder="minilm", cores=2)

kinds = st.sampled_from(INDEX_KINDS)
sizes = st.integers(1, 10**9)


def figures(plan):
    return {
        (stage.name, name): figure.value
        for stage in plan.stages
        for name in ("seconds", "p99", "ram", "disk")
        if (figure := getattr(stage, name)) is not None
    }


@given(kind=kinds, fewer=sizes, more=sizes, dim=st.sampled_from([8, 384, 768]))
def test_more_passages_take_no_less_of_anything(kind, fewer, more, dim):
    fewer, more = sorted((fewer, more))
    # Another number of lists changes a search by more than passages do.
    task = replace(TASK, kind=kind, dim=dim)
    small, large = (make_plan(replace(task, passages=each), RATES) for each in (fewer, more))
    assert (small.seconds or 0) <= (large.seconds or 0) * (1 + 1e-9)
    assert small.disk <= large.disk * (1 + 1e-9)
    assert small.peak_disk <= large.peak_disk * (1 + 1e-9)
    after = figures(large)
    assert all(
        value <= after.get(name, 0) * (1 + 1e-9) for name, value in figures(small).items()
    ), (figures(small), after)


@given(
    kind=kinds,
    passages=st.integers(1, 10**13),
    dim=st.integers(1, 1_000_000),
    cores=st.integers(1, 100_000),
    text_bytes=st.floats(1, 1e9),
    price=st.floats(0, 1e9),
)
def test_all_numbers_that_may_be_asked_for_can_be_shown(
    kind, passages, dim, cores, text_bytes, price
):
    numbers = {"dim": dim, "cores": cores, "text_bytes": text_bytes, "price": price}
    plan = make_plan(replace(TASK, kind=kind, passages=passages, **numbers), RATES)
    assert all(math.isfinite(value) and value >= 0 for value in figures(plan).values())
    sums = (plan.seconds, plan.disk, plan.cost)
    assert all(math.isfinite(value) for value in sums if value is not None)
    console = Console(file=io.StringIO(), width=200)
    console.print(plan_view(plan))
    console.print(plans_view([plan]))


@given(kind=kinds, passages=st.integers(10_000, 10**9), workers=st.integers(2, 64))
def test_shards_need_no_more_memory_and_time_each(kind, passages, workers):
    alone = make_plan(replace(TASK, kind=kind, passages=passages), RATES)
    shared = make_plan(replace(TASK, kind=kind, passages=passages, workers=workers), RATES)
    for name in ("encode", "build"):
        before, after = alone.stage(name), shared.stage(name)
        if before is not None:
            if before.seconds is not None:
                assert after.seconds.value <= before.seconds.value
            assert after.disk.value <= before.disk.value
    assert shared.stage("merge") is not None
    assert alone.stage("merge") is None


def test_a_plan_sums_its_stages():
    plan = make_plan(replace(TASK, kind="ivf", price=3.0, workers=4), RATES)
    seconds = {
        name: plan.stage(name).seconds.value for name in ("encode", "train", "build", "merge")
    }
    assert plan.seconds == pytest.approx(sum(seconds.values()))
    paid = 4 * (seconds["encode"] + seconds["build"]) + seconds["train"] + seconds["merge"]
    assert plan.cost == pytest.approx(3.0 * paid / 3600)


def test_a_build_in_a_database_is_the_stores_work_the_tables_and_the_graphs():
    own = [
        Rate(name="build.pgvector", law="values", slope=1e-8, source="here"),
        Rate(name="add.pgvector-hnsw", law="graph", slope=1e-9, source="there"),
    ]
    rates = load_rates()
    rates = Rates([RateFile(ragcore_rates=1, rates=[*rates.all(), *own])])
    work = Work(1_000_000, 768, rates.text_bytes, "pgvector-hnsw")
    expected = [rates[name].of(work) for name in ("write.dense", *(rate.name for rate in own))]
    task = replace(TASK, price=2.0)
    table = make_plan(replace(task, kind="pgvector"), rates)
    assert table.stage("build").seconds.value == pytest.approx(sum(expected[:2]))
    graph = make_plan(replace(task, kind="pgvector-hnsw"), rates)
    assert graph.stage("build").seconds.value == pytest.approx(sum(expected))
    assert {"measured: here", "measured: there"} <= set(graph.stage("build").seconds.sources)
    assert graph.cost == pytest.approx(2 * graph.seconds / 3600)


def test_what_nobody_measured_has_no_time_and_no_cost():
    rates = Rates([RateFile(ragcore_rates=1, rates=files_rates())])
    for kind, engine in (("pgvector-hnsw", "PostgreSQL"), ("milvus", "Milvus")):
        plan = make_plan(replace(TASK, kind=kind, price=2.0), rates)
        assert plan.stage("build").seconds is None
        assert (plan.seconds, plan.cost) == (None, None)
        assert plan.notes == (
            f"the times of build, open, search and update are not measured in {engine}",
        )
        console = Console(file=io.StringIO(), width=200)
        console.print(plan_view(plan))
        assert "the time of the whole is not known" in console.file.getvalue()


def files_rates() -> list[Rate]:
    """Return all rates but those of databases."""
    return [rate for rate in RATES.all() if "pgvector" not in rate.name and "milv" not in rate.name]


def test_vectors_that_do_not_fit_into_milvus_are_shared_among_its_nodes():
    task = replace(TASK, passages=21_015_324, kind="milvus", ram=16e9)
    assert any("search needs 65.1 GB of memory" in note for note in make_plan(task, RATES).notes)
    assert any("among 5 nodes or more" in note for note in make_plan(task, RATES).notes)


def test_a_plan_says_that_a_database_cannot_have_such_vectors():
    task = replace(TASK, kind="pgvector-hnsw", dim=2_001)
    refused = "pgvector-hnsw has vectors of 2,000 dimensions at most, and these have 2,001"
    assert any(refused in note for note in make_plan(task, RATES).notes)
    fits = make_plan(replace(task, dim=2_000), RATES)
    assert not any("dimensions at most" in note for note in fits.notes)


def test_a_terminal_of_80_columns_shows_all_kinds_whole():
    task = replace(TASK, passages=21_015_324, price=20.0)
    console = Console(file=io.StringIO(), width=80)
    console.print(plans_view([make_plan(replace(task, kind=kind), RATES) for kind in INDEX_KINDS]))
    rows = console.file.getvalue().splitlines()[1 : 1 + len(INDEX_KINDS)]
    assert [row.split()[0] for row in rows] == list(INDEX_KINDS)


def test_each_figure_names_its_source():
    for kind in INDEX_KINDS:
        for stage in make_plan(replace(TASK, kind=kind, workers=2), RATES).stages:
            for figure in (stage.seconds, stage.p99, stage.ram, stage.disk):
                if figure is not None:
                    assert figure.sources
                    assert all(
                        source.startswith(("measured: ", "literature: ", "formula: "))
                        for source in figure.sources
                    )


def test_a_source_says_how_far_it_is_extrapolated():
    rate = Rate(name="x", law="values", slope=1, source="here", sizes=(1_000, 2_000), dim=8)
    assert "extrapolated" not in rate.cited(Work(4_000, 8, 1.0, "flat"))
    assert rate.cited(Work(20_000, 16, 1.0, "flat")) == (
        "measured: here, 1,000 and 2,000 passages, extrapolated 10-fold, from 8 dimensions"
    )


@given(law=st.sampled_from(sorted(LAWS)), fewer=sizes, more=sizes)
def test_a_law_grows_with_the_passages(law, fewer, more):
    fewer, more = sorted((fewer, more))
    works = (Work(each, 384, 600.0, "ivf") for each in (fewer, more))
    small, large = map(LAWS[law], works)
    assert small <= large * (1 + 1e-9)


def test_encoding_is_divided_by_gpus_cores_and_workers():
    gpus = [
        make_plan(replace(TASK, encoder="dpr", gpus=each), RATES).stage("encode").seconds.value
        for each in (1, 8)
    ]
    assert gpus[0] == pytest.approx(8 * gpus[1])
    cores = [
        make_plan(replace(TASK, cores=each), RATES).stage("encode").seconds.value for each in (2, 8)
    ]
    assert cores[0] == pytest.approx(4 * cores[1])
    workers = [make_plan(replace(TASK, workers=each), RATES).stage("encode") for each in (1, 8)]
    assert workers[0].seconds.value == pytest.approx(8 * workers[1].seconds.value)
    assert workers[0].disk.value == pytest.approx(8 * workers[1].disk.value)


def test_the_papers_encoding_takes_the_hours_that_dpr_reports():
    task = replace(TASK, passages=21_015_324, encoder="dpr", gpus=8)
    assert make_plan(task, RATES).stage("encode").seconds.value / 3600 == pytest.approx(8.8, 0.01)


def test_what_does_not_fit_is_noted():
    notes = make_plan(replace(TASK, passages=21_015_324, ram=16e9), RATES).notes
    assert len(notes) == 2
    assert notes[0].startswith("build")
    assert "GB of memory, and a machine has 16.0 GB" in notes[0]
    assert notes[1].startswith("search maps ")
    assert make_plan(replace(TASK, passages=1_000, ram=16e9), RATES).notes == ()


def test_vectors_need_an_encoder():
    with pytest.raises(ConfigError, match="minilm"):
        make_plan(replace(TASK, encoder=None), RATES)
    with pytest.raises(ConfigError, match="did you mean 'minilm'"):
        make_plan(replace(TASK, encoder="minilmm"), RATES)
    with pytest.raises(ConfigError, match=r"'encode\.minilm\.gpu'"):
        make_plan(replace(TASK, gpus=1), RATES)


def test_own_rates_replace_others_by_name(tmp_path):
    path = tmp_path / "rates.yaml"
    path.write_text(
        "ragcore_rates: 1\n"
        "rates:\n"
        "  - {name: encode.mine.gpu, law: passages, slope: 0.001, source: my card}\n"
        "  - {name: encode.minilm, law: passages, slope: 0.5, source: my machine, cores: 1}\n"
    )
    rates = load_rates(path)
    mine = make_plan(replace(TASK, encoder="mine", gpus=2), rates).stage("encode").seconds
    assert (mine.value, mine.sources) == (500.0, ("measured: my card",))
    encoded = make_plan(TASK, rates).stage("encode").seconds
    assert encoded.value == 250_000
    assert rates["build.bm25"] == RATES["build.bm25"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ragcore_rates: 2\nrates: []", "ragcore_rates"),
        ("[]", "not a file of rates"),
        ("ragcore_rates: 1\nrates: [{name: a, law: cubic, slope: 1, source: b}]", "law"),
        ("ragcore_rates: 1\nrates: [{name: a, law: text, slope: -1, source: b}]", "greater"),
        ("ragcore_rates: 1\nrates: [{name: a, law: text, slope: .nan, source: b}]", "slope"),
        ("a: [", "neither YAML nor JSON"),
        ("\x00", "neither YAML nor JSON"),
    ],
)
def test_a_faulty_file_of_rates_is_named(tmp_path, text, message):
    path = tmp_path / "rates.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        load_rates(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_of_rates_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_rates(tmp_path / "none.json")


def test_a_missing_rate_is_named():
    rates = Rates([RateFile(ragcore_rates=1, rates=[])])
    with pytest.raises(ConfigError, match=r"build\.bm25"):
        make_plan(replace(TASK, kind="bm25"), rates)


@cache
def factbook() -> tuple[Passage, ...]:
    """Return passages of the World Factbook, without metadata, which would take room too."""
    corpus = spec_from_dict("corpus", {"use": "world-factbook"}).build()
    return tuple(Passage(each.id, each.title, each.text) for each in islice(corpus, 4_000))


def text_size() -> int:
    return sum(len(f"{each.id}{each.title}{each.text}".encode()) for each in factbook())


def test_a_memory_that_is_built_has_as_many_bytes_as_planned(tmp_path):
    pytest.importorskip("ragcore_world", reason="ragcore-world is not installed")
    pytest.importorskip("ragcore_faiss", reason="ragcore-faiss is not installed")
    encoder = ComponentSpec("encoder", "words", WordEncoder, WordEncoder.Config(dim=64))
    index = spec_from_dict("index", {"use": "faiss", "factory": "Flat"})
    retriever = ComponentSpec(
        "retriever", "dense", Dense, Dense.Config(encoder=encoder, index=index)
    )
    built = Store(tmp_path).build("one", factbook(), retriever)
    size = text_size() / built.passages
    task = replace(TASK, kind="flat", passages=built.passages, dim=64, text_bytes=size)
    assert make_plan(task, RATES).disk == pytest.approx(built.bytes, rel=0.05)


def test_bm25_has_as_many_bytes_for_each_of_the_text_as_planned(tmp_path):
    """The rate is that of far more passages, whose words recur more often, of another text."""
    pytest.importorskip("ragcore_world", reason="ragcore-world is not installed")
    pytest.importorskip("ragcore_bm25", reason="ragcore-bm25 is not installed")
    Store(tmp_path).build("one", factbook(), spec_from_dict("retriever", {"use": "bm25"}))
    files = (tmp_path / "versions" / "one" / "retriever").rglob("*")
    written = sum(path.stat().st_size for path in files if path.is_file())
    assert RATES["disk.bm25"].slope == pytest.approx(written / text_size(), rel=0.25)
