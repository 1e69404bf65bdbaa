"""`ragcore memory`: build, update, search and calibrate."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest

from ragcore.build import build_memory
from ragcore.cli import main
from ragcore.config import load_config
from ragcore.errors import ConfigError
from ragcore.store.store import Store
from tests.conftest import Installed
from tests.helpers.pages import page, write_pages

PIPELINE = """\
ragcore: 1
memory:
  store: stores/s
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: dense, encoder: {use: words}, index: {use: exact}}
rag: {k: 2}
"""


@pytest.fixture
def pipeline(installed: Installed, tmp_path: Path) -> Path:
    installed.add("words", "from tests.helpers.word_encoder import ragcore_encoders\n")
    lines = [
        {"id": f"p{n}", "title": f"Title {n}", "text": f"word{n} [b]", "n": n} for n in range(9)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "passages.jsonl").write_text(text, encoding="utf-8")
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    return path


@pytest.fixture
def built(pipeline: Path) -> Path:
    build_memory(pipeline, version="one")
    return pipeline


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must succeed, and return its output."""
    code = main(["memory", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert code == 0, err
    return " ".join(out.split())


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail with a user's error, and return the message."""
    assert main(["memory", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_build_list_verify_and_search(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "built version one: 9 passages" in run(capsys, "build", pipeline, "--version", "one")
    assert "* one 9 dense" in run(capsys, "list", pipeline)
    assert "version one is intact: 9 passages" in run(capsys, "verify", pipeline)
    out = run(capsys, "search", pipeline, "title 3 word3")
    assert out.index("Title 3 p3 word3 [b]") < out.index("2 passages from memory one")


def test_the_store_is_named_by_its_folder_or_its_pipeline(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = built.parent / "stores" / "s"
    assert run(capsys, "list", store) == run(capsys, "list", built)
    assert run(capsys, "verify", store, "one") == run(capsys, "verify", built)


def test_a_list_as_json(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_memory(built, version="two")
    listed = json.loads(run(capsys, "list", built, "--json"))
    assert [(v["name"], v["passages"], v["current"]) for v in listed] == [
        ("one", 9, False),
        ("two", 9, True),
    ]


def test_hits_as_json(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", "search", str(built), "word4", "--json", "--k", "3"]) == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(hits) == 3
    assert hits[0]["id"] == "p4"
    assert hits[0]["metadata"] == {"n": 4}
    assert {hit["memory"] for hit in hits} == {"one"}
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


EVENTS = """
import sys
from ragcore import hookimpl


@hookimpl
def ragcore_retrieved(questions, hits, memory):
    print(list(questions), hits.rows.shape, memory, file=sys.stderr)
"""


def test_a_search_calls_the_hook_of_a_retrieval(
    built: Path, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.add("events", EVENTS)
    assert main(["memory", "search", str(built), "word4", "--k", "3"]) == 0
    assert capsys.readouterr().err == "['word4'] (1, 3) one\n"


def test_a_filter_on_the_command_line_and_in_the_file(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def numbers(*more: str) -> list[int]:
        assert main(["memory", "search", str(built), "word4", "--json", "--k", "9", *more]) == 0
        hits = map(json.loads, capsys.readouterr().out.splitlines())
        return sorted(hit["metadata"]["n"] for hit in hits)

    assert numbers("--where", '{"n": {"lt": 3}}') == [0, 1, 2]
    assert numbers("rag.where={n: {gte: 2}}", "--where", '{"n": {"lt": 4}}') == [2, 3]
    assert numbers("rag.where={n: {gte: 7}}") == [7, 8]
    assert "where.n.ge: unknown operator" in fails(
        capsys, "search", built, "word4", "--where", '{"n": {"ge": 3}}'
    )


def test_overrides_change_the_file(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = built.parent / "other"
    run(capsys, "build", built, f"memory.store={other}", "memory.version=two")
    assert "* two" in run(capsys, "list", other)
    assert "5 passages" in run(capsys, "search", built, "word4", "rag.k=5")


def test_a_version_is_named_for_today_where_nothing_names_it(pipeline: Path) -> None:
    before = date.today()
    built = build_memory(pipeline)
    assert before.isoformat() <= built.name <= date.today().isoformat()


def test_activating_goes_back_to_another_version(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_memory(built, version="two")
    run(capsys, "activate", built, "one")
    assert "from memory one" in run(capsys, "search", built, "word4")


def test_the_manifest_records_the_corpus(built: Path) -> None:
    manifest = built.parent / "stores" / "s" / "versions" / "one" / "manifest.json"
    corpus = json.loads(manifest.read_bytes())["corpus"]
    assert corpus == {
        "use": "jsonl",
        "path": "passages.jsonl",
        "preset": None,
        "id": None,
        "title": None,
        "text": None,
        "metadata": None,
        "words": None,
        "split": None,
        "ids": None,
        "on_error": "stop",
        "source": False,
    }


def test_a_loaded_config_can_be_built(pipeline: Path) -> None:
    config = load_config(pipeline)
    assert build_memory(config, version="one").passages == 9
    with pytest.raises(ConfigError, match="overrides"):
        build_memory(config, "rag.k=3")


def test_a_pipeline_without_a_corpus_cannot_be_built(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no corpus" in fails(capsys, "build", pipeline, "memory.corpus=null")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "{}", "--version", "one"], "already has a version 'one'"),
        (["build", "{}", "--version", "a b"], "cannot be a version's name"),
        (["list", "{}/none"], "no such store"),
        (["verify", "{}", "two"], "no version 'two'; versions: one"),
        (["activate", "{}", "two"], "no version 'two'"),
        (["search", "{}", " "], "question 1 of 1 is empty"),
        (["search", "{}", "x", "memory.retriever.encoder.seed=5"], "words(seed=5,d=32)"),
    ],
)
def test_errors_are_one_message(
    built: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    err = fails(capsys, *(argument.replace("{}", str(built)) for argument in arguments))
    assert message in err
    assert "Traceback" not in err


def test_a_damaged_file_is_reported(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = built.parent / "stores" / "s" / "versions" / "one" / "passages.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert f"{path} has sha256" in fails(capsys, "verify", built)


GENERATORS = """
from ragcore import hookimpl


@hookimpl
def ragcore_generators():
    return {"table": "tests.helpers.table_generator:TableGenerator"}
"""
LINES = '{"question": "word4", "answer": "ab"}\n{"question": "word5", "answers": ["b", "c"]}\n'


@pytest.fixture
def questions(built: Path, installed: Installed) -> Path:
    installed.add("table", GENERATORS)
    built.write_text(PIPELINE + "generator: {use: table}  # mine\n", encoding="utf-8")
    path = built.parent / "questions.jsonl"
    path.write_text(LINES, encoding="utf-8")
    return path


def test_calibrating_prints_the_line_to_paste(
    built: Path, questions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = built.read_bytes()
    out = run(capsys, "calibrate", built, questions, "memory.temperature=3")
    assert "2 questions with 3 answers, passages found for 2" in out
    assert "in the file 3 " in out
    row = json.loads(run(capsys, "calibrate", built, questions, "--json"))
    assert out.endswith(f"memory: temperature: {row['fitted']['temperature']}")
    assert row["fitted"]["log_prob"] >= row["one"]["log_prob"]
    assert row["written"] is False
    assert built.read_bytes() == before


def test_calibrating_by_the_former_name_says_the_new_one(
    built: Path, questions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["memory", "calibrate", str(built), str(questions), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "use `ragcore calibrate`" in err
    assert json.loads(out)["questions"] == 2


def test_calibrating_writes_into_the_file_with_write(
    built: Path, questions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = built.read_text(encoding="utf-8")
    out = run(capsys, "calibrate", built, questions, "--write")
    temperature = load_config(built).memory.temperature
    assert out.endswith(f"written into {built}: temperature: {temperature}")
    after = built.read_text(encoding="utf-8")
    assert after.replace(f"  temperature: {temperature}\n", "") == before
    assert temperature != 1
    row = json.loads(run(capsys, "calibrate", built, questions, "--json"))
    assert row["current"] == row["fitted"]
    assert "fitted to another pipeline" in fails(
        capsys, "calibrate", built, questions, "rag.k=3", "--write"
    )


def changes(pipeline: Path, *lines: object) -> Path:
    path = pipeline.with_name("changes.jsonl")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_version_is_updated_by_a_file(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changes(
        built,
        {"id": "p3", "text": "other words"},
        {"id": "p4", "delete": True},
        {"id": "x", "text": "x"},
    )
    out = run(capsys, "update", built, path, "--version", "two")
    assert "made version two: 9 passages" in out
    assert "it is the current one" in out
    assert "p3" in run(capsys, "search", built, "other words", "--k", "1")
    # By the store's folder, and from a version that is not the current one.
    store = built.parent / "stores" / "s"
    out = run(capsys, "update", store, path, "--version", "three", "--parent", "one")
    assert "made version three: 9 passages" in out
    assert "* three 9 dense" in run(capsys, "list", store)


def test_a_version_is_updated_from_the_corpus(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = built.with_name("passages.jsonl")
    lines = corpus.read_text(encoding="utf-8").splitlines()
    corpus.write_text("\n".join([*lines[2:], '{"id": "x", "text": "entirely"}']), encoding="utf-8")
    assert f"made version {date.today()}: 8 passages" in run(capsys, "update", built)
    assert " x " in run(capsys, "search", built, "entirely", "--k", "1") + " "
    assert "p0" not in run(capsys, "search", built, "word0", "--k", "8")


def test_a_faulty_update_is_an_error(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changes(built, {"id": "none", "delete": True})
    assert "changes.jsonl:1: no passage has the id 'none'" in fails(capsys, "update", built, path)
    store = built.parent / "stores" / "s"
    assert "no changes to update by" in fails(capsys, "update", store)
    assert "no such store" in fails(capsys, "update", built.parent / "nowhere", path)
    assert "other.jsonl: no such file" in fails(
        capsys, "update", built, "memory.corpus.path=other.jsonl"
    )
    assert "overrides ['rag.k=3'] of a store" in fails(capsys, "update", store, path, "rag.k=3")
    assert "two files of changes" in fails(capsys, "update", built, path, "more.jsonl")
    assert "no such file" in fails(capsys, "update", built, "day=1.jsonl")
    assert "already has a version 'one'" in fails(
        capsys, "update", built, changes(built), "--version", "one"
    )


def test_an_update_tells_what_it_changed(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changes(built, {"id": "p3", "text": "other"}, {"id": "p4", "delete": True})
    out = run(capsys, "update", built, path, "--version", "two")
    assert ", 0 added, 1 changed, 1 removed since one, " in out
    row = json.loads(run(capsys, "update", built, path, "--parent", "one", "--json"))
    assert (row["parent"], row["added"], row["changed"], row["removed"]) == ("one", 0, 1, 1)
    assert (row["nothing_changed"], row["current"]) == (False, True)


def test_an_update_without_a_change_makes_no_version(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run(capsys, "list", built)
    out = run(capsys, "update", built, "--version", "two")
    assert out == "nothing changed: version one has these passages already"
    row = json.loads(run(capsys, "update", built, "--json"))
    assert (row["nothing_changed"], row["name"]) == (True, "one")
    assert run(capsys, "list", built) == before


def test_no_activate_leaves_the_current_version(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "build", built, "--version", "two", "--no-activate")
    assert out.endswith("it is not the current one")
    path = changes(built, {"id": "new", "text": "new"})
    run(capsys, "update", built, path, "--version", "three", "--no-activate")
    assert Store(built.parent / "stores/s").current() == "one"
    row = json.loads(run(capsys, "build", built, "--version", "four", "--json"))
    assert (row["name"], row["current"], row["passages"]) == ("four", True, 9)


def test_an_update_by_a_newer_corpus_names_it_in_an_override(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = built.parent / "newer.jsonl"
    newer.write_text((built.parent / "passages.jsonl").read_text().replace("word3", "word33"))
    out = run(capsys, "update", built, "memory.corpus.path=newer.jsonl", "--version", "two")
    assert out.startswith("made version two: 9 passages, 0 added, 1 changed, 0 removed since one")
    assert "documents" not in out
    shown = json.loads(run(capsys, "show", built, "two", "--json"))
    assert shown["corpus"]["path"] == "newer.jsonl"
    assert "nothing changed" in run(capsys, "update", built, "memory.corpus.path=newer.jsonl")


@pytest.fixture
def wiki(installed: Installed, tmp_path: Path) -> Path:
    installed.add("words", "from tests.helpers.word_encoder import ragcore_encoders\n")
    installed.add("pages", "from tests.helpers.pages import ragcore_corpora\n")
    pages = [page(1, "Chad", "A country.", "Its capital."), page(2, "Peru", "A country there.")]
    write_pages(tmp_path / "old.jsonl", pages)
    path = tmp_path / "pipeline.yaml"
    corpus = "{use: jsonl, path: passages.jsonl}"
    path.write_text(PIPELINE.replace(corpus, "{use: pages, path: old.jsonl}"), encoding="utf-8")
    build_memory(path, version="one")
    return path


def test_an_update_and_a_diff_say_how_many_passages_moved(
    wiki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "memory.corpus.lines=true"
    out = run(capsys, "update", wiki, lines, "--version", "two")
    assert out.startswith(
        "made version two: 3 passages, 0 added, 0 changed, 0 removed, 3 moved since one, "
    )
    row = json.loads(run(capsys, "update", wiki, lines, "--version", "three", "--json"))
    assert (row["nothing_changed"], row["moved"]) == (True, 0)
    assert run(capsys, "diff", wiki, "one", "two").startswith(
        "0 added, 0 removed, 0 changed, 3 moved documents: "
    )
    assert main(["memory", "diff", str(wiki), "one", "two", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    places = [(each["change"], each["new"]["metadata"]["line"]) for each in rows]
    assert places == [("moved", 1), ("moved", 2), ("moved", 1)]


def test_an_update_by_documents_says_what_happened_to_them(
    wiki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [
        page(1, "Chad", "A country.", "Its large capital.", revision=2),
        page(2, "Peru", "A country there.", revision=2),
        page(3, "Togo", "A small country."),
    ]
    write_pages(wiki.parent / "new.jsonl", pages, date="2026-02-01")
    override = "memory.corpus.path=new.jsonl"
    out = run(capsys, "update", wiki, override, "--version", "two")
    assert out.startswith("made version two: 4 passages, 1 added, 1 changed, 0 removed since one, ")
    assert (
        "documents: 1 added, 1 edited, 0 renamed, 0 removed, 1 unchanged (1 of them revised "
        "without a change of text) 2 of 4 passages were not encoded again; " in out
    )
    assert "documents 3" in run(capsys, "show", wiki, "two")
    assert "of testwiki of 2026-02-01" in run(capsys, "show", wiki, "two")
    assert "documents: 1 added, 1 edited" in run(capsys, "diff", wiki, "one", "two")
    row = json.loads(run(capsys, "update", wiki, override, "--json"))
    assert (row["nothing_changed"], row["documents"]["unchanged"]) == (True, 3)
    assert "which is older" in fails(capsys, "update", wiki)
    out = run(capsys, "update", wiki, "--allow-older", "--version", "back")
    assert "1 edited, 0 renamed, 1 removed, 1 unchanged" in out
    write_pages(wiki.parent / "new.jsonl", pages, date="2026-03-01", wiki="other")
    assert "--allow-other" in fails(capsys, "update", wiki, override)
    run(capsys, "update", wiki, override, "--allow-other")


def test_shards_are_built_and_merged(
    pipeline: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "shards"
    for number in range(2):
        run(capsys, "build", pipeline, "--shard", f"{number}/2", "--out", out)
    assert f"shard 1/2 in {out} was built already: 4 passages" in run(
        capsys, "build", pipeline, "--shard", "1/2", "--out", out
    )
    row = json.loads(run(capsys, "build", pipeline, "--shard", "0/2", "--out", out, "--json"))
    assert (row["number"], row["of"], row["passages"], row["was_there"]) == (0, 2, 5, True)
    text = run(capsys, "merge", pipeline, out, "memory.verify=full", "--version", "merged")
    assert "merged version merged: 9 passages" in text
    assert "it is the current one" in text
    assert Store(tmp_path / "stores" / "s").current() == "merged"


def test_an_index_is_trained_for_all_shards(
    pipeline: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pipeline.write_text(PIPELINE.replace("{use: exact}", "{use: faiss, factory: SQ8}"))
    plugin = tmp_path / "site-packages" / "words_plugin.py"
    plugin.write_text(
        plugin.read_text()
        + "from ragcore.hookspecs import hookimpl\n@hookimpl\ndef ragcore_indexes():\n"
        '    return {"faiss": "ragcore_faiss.index:Faiss"}\n'
    )
    training = tmp_path / "training"
    text = run(capsys, "train-index", pipeline, "--out", training, "--sample", 7)
    assert text == f"trained on 7 of 9 passages: {training}"
    for number in range(2):
        shard = ["--shard", f"{number}/2", "--out", tmp_path / "shards"]
        run(capsys, "build", pipeline, *shard, "--training", training)
    merge = ["merge", pipeline, tmp_path / "shards"]
    assert "9 passages" in run(capsys, *merge, "--version", "merged", "--verify", "sampled")
    assert "expected one of full, sampled, sizes" in fails(capsys, *merge, "--verify", "all")
    run(capsys, "build", pipeline, "--version", "whole", "--training", training)
    run(capsys, "build", pipeline, "--version", "own")
    index = {
        name: (tmp_path / "stores/s/versions" / name / "retriever/index/index.faiss").read_bytes()
        for name in ("merged", "whole", "own")
    }
    assert index["merged"] == index["whole"] != index["own"]
    assert "trained with" in fails(
        capsys, "build", pipeline, "memory.retriever.encoder.seed=3", "--training", training
    )


def test_a_merge_verifies_what_it_is_told_to(
    pipeline: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for number in range(2):
        run(capsys, "build", pipeline, "--shard", f"{number}/2", "--out", tmp_path / "shards")
    path = tmp_path / "shards/versions/shard-1-of-2/retriever/index/vectors.npy"
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1
    path.write_bytes(raw)
    merge = ["merge", pipeline, tmp_path / "shards", "--no-activate"]
    for verify in ("full", "sampled"):
        assert "sha256" in fails(capsys, *merge, "--verify", verify)
    run(capsys, *merge, "--verify", "sizes")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "0/2"], "--shard and --out belong together"),
        (["--out", "x"], "--shard and --out belong together"),
        (["--shard", "2", "--out", "x"], "counted from 0, such as 0/64 to 63/64"),
        (["--shard", "2/2", "--out", "x"], "shard 2/2: .*counted from 0: 0/2 to 1/2"),
        (["--shard", "0/2", "--out", "x", "--version", "v"], "options of `ragcore memory merge`"),
    ],
)
def test_options_of_shards_are_checked(
    pipeline: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    error = " ".join(fails(capsys, "build", pipeline, *options).split())
    assert re.search(message, error), error
    assert not Path("x").exists()
