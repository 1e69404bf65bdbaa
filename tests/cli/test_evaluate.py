"""`ragcore eval` and `ragcore replay`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragcore.build import build_memory
from ragcore.cli import main
from ragcore.evaluation.report import QuestionSource
from tests.cli.test_compare import pipeline  # noqa: F401 (a fixture)

BROKEN = """
from ragcore import hookimpl
from ragcore.evaluation.metrics.base import Mean


class Broken(Mean):
    def score(self, prediction):
        raise ValueError("it broke")


@hookimpl
def ragcore_metrics():
    return {"broken": "broken_plugin:Broken"}
"""


def evaluate(capsys, pipeline: Path, *more: str, code: int = 0) -> dict:  # noqa: F811
    questions = str(pipeline.parent / "q.jsonl")
    actual = main(["eval", str(pipeline), questions, "--json", *more])
    out, err = capsys.readouterr()
    assert actual == code, err
    return json.loads(out)


def test_each_metric_has_its_interval_and_each_question_its_scores(capsys, pipeline):  # noqa: F811
    row = evaluate(capsys, pipeline)
    names = [one["metric"] for one in row["metrics"]]
    assert names == ["exact_match", "f1", "hit@1", "hit@5", "mrr@10", "log_prob"]
    for one in row["metrics"]:
        assert one["low"] <= one["value"] <= one["high"]
        assert one["questions"] == 4
    hit = next(one for one in row["metrics"] if one["metric"] == "hit@1")
    firsts = [one["passages"][0]["answers"] for one in row["predictions"]]
    assert hit["value"] == sum(firsts) / 4 == 0.75
    assert len(row["predictions"]) == 4
    first = row["predictions"][0]
    assert first["scores"]["hit@1"] == [1.0, 1.0]
    assert [one["answers"] for one in first["passages"]] == [True, False]


def test_metrics_are_printed(capsys, pipeline):  # noqa: F811
    questions = str(pipeline.parent / "q.jsonl")
    code = main(["eval", str(pipeline), questions, "--metric", "hit@1", "--limit", "2"])
    assert code == 0
    out = capsys.readouterr().out
    assert "2 questions, memory new" in out
    assert "hit@1   0.5000  0.0000 to 1.0000  2" in out


def test_a_metric_that_fails_is_in_the_report(capsys, pipeline, installed):  # noqa: F811
    installed.add("broken", BROKEN)
    row = evaluate(capsys, pipeline, "--metric", "broken", "--metric", "log_prob", code=1)
    assert row["metrics"][0]["error"] == "ValueError: it broke"
    assert row["metrics"][1]["error"] is None


def test_a_run_is_replayed(capsys, pipeline, tmp_path):  # noqa: F811
    run = tmp_path / "runs" / "one"
    evaluate(capsys, pipeline, "--output", str(run), "rag.k=1")
    build_memory(pipeline, version="newest")
    assert main(["replay", str(run)]) == 0
    assert "4 of 4 answers are the same" in capsys.readouterr().out
    rows = (run / "predictions.jsonl").read_text("utf-8")
    changed = json.loads(rows.splitlines()[0])
    changed["answer"] += "zz"
    (run / "predictions.jsonl").write_text(
        "\n".join([json.dumps(changed), *rows.splitlines()[1:]]), encoding="utf-8"
    )
    assert main(["replay", str(run), "--json"]) == 1
    row = json.loads(capsys.readouterr().out)
    assert row["questions"] == 4
    assert [one["question"] for one in row["changed"]] == [changed["question"]]


def test_a_run_is_not_written_over_what_is_no_file(capsys, pipeline, tmp_path):  # noqa: F811
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    evaluate(capsys, pipeline, "--output", str(run))
    before = (run / "predictions.jsonl").read_bytes()
    elsewhere.write_text("mine")
    (run / "run.json").unlink()
    (run / "run.json").symlink_to(elsewhere)
    arguments = [str(pipeline), str(pipeline.parent / "q.jsonl"), "--output", str(run)]
    assert main(["eval", *arguments, "rag.k=1"]) == 2
    assert "run.json is a symbolic link, which is not replaced" in capsys.readouterr().err
    assert elsewhere.read_text() == "mine"
    assert (run / "predictions.jsonl").read_bytes() == before
    assert len(list(run.iterdir())) == 2


def test_a_run_of_other_questions_is_not_replayed(capsys, pipeline, tmp_path):  # noqa: F811
    run = tmp_path / "run"
    evaluate(capsys, pipeline, "--output", str(run))
    with (pipeline.parent / "q.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert main(["replay", str(run)]) == 2
    assert "not the questions of the run" in capsys.readouterr().err
    assert main(["replay", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_two_runs_are_compared_by_a_paired_test(capsys, pipeline, tmp_path):  # noqa: F811
    run = tmp_path / "run"
    evaluate(capsys, pipeline, "--output", str(run))
    row = evaluate(capsys, pipeline, "--against", str(run))
    assert [one["metric"] for one in row["against"]] == [one["metric"] for one in row["metrics"]]
    assert all(one["p"] == 1.0 for one in row["against"])
    questions = str(pipeline.parent / "q.jsonl")
    code = main(["eval", str(pipeline), questions, "rag.k=1", "--against", str(run)])
    assert code == 0
    assert "compared with" in capsys.readouterr().out
    assert main(["eval", str(pipeline), questions, "--limit", "2", "--against", str(run)]) == 2
    assert "same questions" in capsys.readouterr().err


def test_metrics_are_compared_by_either_name_and_others_warned_of(
    capsys,
    pipeline,  # noqa: F811
    tmp_path,
    caplog,
):
    run = tmp_path / "run"
    for before, now in (("recall@1", "hit@1"), ("hit@1", "recall@1")):
        evaluate(capsys, pipeline, "--output", str(run), "--metric", before)
        caplog.clear()
        row = evaluate(
            capsys, pipeline, "--against", str(run), *("--metric", now, "--metric", "nDCG@2")
        )
        assert [one["metric"] for one in row["against"]] == [now]
        messages = [record.getMessage() for record in caplog.records]
        (warning,) = [message for message in messages if "not compared" in message]
        assert warning.startswith("nDCG@2: not compared")
        assert warning.endswith(f"no such metric: it has {before}")


@pytest.mark.parametrize("flags", [[], ["--retrieval"]])
def test_runs_of_other_depths_are_warned_of(capsys, pipeline, tmp_path, caplog, flags):  # noqa: F811
    run, metrics = tmp_path / "run", [*flags, "--metric", "RR", "--metric", "hit@1"]
    evaluate(capsys, pipeline, "--output", str(run), "--depth", "2", *metrics)
    for depth, warned in ((2, False), (1, True)):
        caplog.clear()
        against = ("--against", str(run), "--depth", str(depth))
        evaluate(capsys, pipeline, *against, *metrics)
        messages = [record.getMessage() for record in caplog.records]
        warnings = [message for message in messages if "searched 2 deep and this one 1" in message]
        assert [message[:3] for message in warnings] == ["RR:"] * warned


def test_questions_with_judgments_are_read_once(tmp_path, caplog):
    questions, qrels = tmp_path / "q.jsonl", tmp_path / "qrels.txt"
    rows = [{"id": name, "question": name} for name in ("q1", "q2")]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    qrels.write_text("q1 0 p 1\n", encoding="utf-8")
    source = QuestionSource(questions, qrels=qrels, limit=1)
    assert len(source.read()) == 1
    digest = source.sha256()
    assert len(caplog.records) == 1, "q2 has no judgments"
    assert QuestionSource(questions, qrels=qrels).sha256() == digest
    qrels.write_text("q1 0 p 2\n", encoding="utf-8")
    assert source.sha256() == digest, "of what was read"
    assert QuestionSource(questions, qrels=qrels).sha256() != digest


def test_questions_without_answers_are_an_error(capsys, pipeline):  # noqa: F811
    (pipeline.parent / "q.jsonl").write_text('{"question": "who rules chad"}\n', encoding="utf-8")
    questions = str(pipeline.parent / "q.jsonl")
    assert main(["eval", str(pipeline), questions]) == 2
    assert "no question has an answer" in capsys.readouterr().err
    row = evaluate(capsys, pipeline, "--metric", "log_prob")
    assert row["metrics"][0]["questions"] == 1


def test_unanswerable_questions_are_reported_apart(capsys, pipeline):  # noqa: F811
    with (pipeline.parent / "q.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"question": "who rules nowhere", "answers": []}\n')
    row = evaluate(capsys, pipeline)
    questions = {figure["metric"]: figure["questions"] for figure in row["metrics"]}
    assert (questions["exact_match"], questions["hit@1"]) == (5, 4)
    assert (questions["has_ans_f1"], questions["no_ans_exact_match"]) == (4, 1)
    assert questions["selective_exact_match@20"] == 5
    assert row["predictions"][-1]["unanswerable"] is True
    row = evaluate(capsys, pipeline, "--metric", "f1")
    assert [figure["metric"] for figure in row["metrics"]] == ["f1"]


def test_ids_that_the_memory_does_not_have_are_warned_of(capsys, caplog, pipeline):  # noqa: F811
    (pipeline.parent / "q.jsonl").write_text(
        '{"question": "who rules chad", "passage_ids": ["D9"]}\n', encoding="utf-8"
    )
    row = evaluate(capsys, pipeline)
    assert row["warnings"] == [record.getMessage() for record in caplog.records]
    assert "'D9'" in row["warnings"][0]


@pytest.mark.parametrize("options", [["--metric", "nope"], ["--format", "nope"]])
def test_unknown_names_are_errors(capsys, pipeline, options):  # noqa: F811
    questions = str(pipeline.parent / "q.jsonl")
    assert main(["eval", str(pipeline), questions, *options]) == 2
    assert "nope" in capsys.readouterr().err


def without_generator(pipeline: Path) -> Path:  # noqa: F811
    lines = pipeline.read_text("utf-8").splitlines()
    path = pipeline.with_name("memory.yaml")
    kept = [line for line in lines if not line.startswith("generator")]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return path


def test_retrieval_is_measured_without_a_generator(capsys, pipeline):  # noqa: F811
    searching = without_generator(pipeline)
    row = evaluate(capsys, searching)
    names = [one["metric"] for one in row["metrics"]]
    assert names == ["hit@1", "hit@5", "hit@20", "mrr@10"]
    assert (row["depth"], row["memory"]) == (20, "new")
    assert [one["answer"] for one in row["predictions"]] == [None] * 4
    assert row["predictions"][0]["scores"]["hit@1"] == [1.0, 1.0]
    assert len(row["predictions"][0]["ranking"]["ids"]) == 4, "rag.k is 2, and 4 passages match"
    assert evaluate(capsys, pipeline, "--retrieval") == row
    questions = str(pipeline.parent / "q.jsonl")
    for metric in ("f1", "log_prob"):
        assert main(["eval", str(searching), questions, "--metric", metric]) == 2
        assert f"{metric}: of answers" in capsys.readouterr().err
    assert main(["ask", str(searching), "who rules chad"]) == 2
    assert "no generator" in capsys.readouterr().err


def test_a_run_of_retrieval_is_replayed(capsys, pipeline, tmp_path):  # noqa: F811
    run = tmp_path / "run"
    evaluate(capsys, pipeline, "--retrieval", "--output", str(run))
    assert json.loads((run / "run.json").read_text("utf-8"))["format"] == 2
    assert main(["replay", str(run)]) == 0
    assert "4 of 4 answers are the same" in capsys.readouterr().out
    rows = (run / "predictions.jsonl").read_text("utf-8").splitlines()
    changed = json.loads(rows[0])
    changed["ranking"]["ids"].reverse()
    (run / "predictions.jsonl").write_text("\n".join([json.dumps(changed), *rows[1:]]), "utf-8")
    assert main(["replay", str(run), "--json"]) == 1
    row = json.loads(capsys.readouterr().out)
    assert [one["question"] for one in row["changed"]] == [changed["question"]]
    del changed["ranking"]
    (run / "predictions.jsonl").write_text("\n".join([json.dumps(changed), *rows[1:]]), "utf-8")
    assert main(["replay", str(run)]) == 2
    assert "prediction 1 has no ranking" in capsys.readouterr().err


def test_a_run_file_gives_the_figures_of_its_search(capsys, caplog, pipeline):  # noqa: F811
    folder = pipeline.parent
    (folder / "topics.tsv").write_text("a\twho rules chad\nb\twho rules mali\n", "utf-8")
    (folder / "qrels").write_text("a 0 chad 2\na 0 peru 1\nb 0 peru 1\nz 0 chad 1\n", "utf-8")
    options = [str(folder / "topics.tsv"), "--qrels", str(folder / "qrels"), "--json"]
    metrics = ["--metric", "nDCG@3", "--metric", "AP", "--metric", "P@2", "--metric", "hit@1"]
    run = str(folder / "run.txt")
    searched = ["eval", str(pipeline), *options, "--retrieval", *metrics, "--run-out", run]
    assert main(searched) == 0
    row = json.loads(capsys.readouterr().out)
    assert "('z') are not among those asked" in caplog.text
    assert [len(one["ranking"]["ids"]) for one in row["predictions"]] == [4, 4]
    for more in ([str(pipeline), *options], ["--qrels", str(folder / "some"), "--json"]):
        (folder / "some").write_text("a 0 chad 2\na 0 peru 1\nb 0 peru 1\n", "utf-8")
        assert main(["eval", *more, "--run", run, *metrics]) == 0
        again = json.loads(capsys.readouterr().out)
        assert again["metrics"] == row["metrics"]
    deep = ["eval", "--run", run, "--qrels", str(folder / "some"), "--metric", "P@5"]
    assert main(deep) == 2
    assert "P@5 is of the first 5 passages" in capsys.readouterr().err
    assert main([*deep, "--depth", "5"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "expected a pipeline and a file of questions"),
        (["--run", "run.txt"], "a run file with judgments"),
        (["--run", "run.txt", "--qrels", "qrels", "--output", "out"], "--output keeps"),
        (
            ["--run", "r", "--qrels", "q", "--limit", "2", "--retrieval"],
            "--limit, --retrieval with",
        ),
        (["--run", "r", "--qrels", "q", "--format", "topics"], "--format with --run"),
    ],
)
def test_what_is_missing_is_named(capsys, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["eval", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_depth_below_a_metric_is_refused_before_anything_is_asked(capsys, pipeline):  # noqa: F811
    questions = str(pipeline.parent / "q.jsonl")
    options = ["--depth", "5", "--metric", "hit@10"]
    assert main(["eval", str(pipeline), questions, *options]) == 2
    assert "hit@10 is of the first 10 passages, and the depth is 5" in capsys.readouterr().err


def test_the_earlier_name_of_hit_is_warned_of(capsys, pipeline):  # noqa: F811
    row = evaluate(capsys, pipeline, "--metric", "recall@1", "--metric", "hit@1")
    old, new = row["metrics"]
    assert {**old, "metric": "hit@1"} == new
    (warning,) = row["warnings"]
    assert warning.startswith("recall@1: recall@k is called hit@k now")


def test_questions_without_ids_have_the_same_ones_in_every_run(capsys, pipeline, tmp_path):  # noqa: F811
    questions = tmp_path / "unnamed.jsonl"
    texts = ["who rules chad", "who rules mali", "who rules peru"]
    rows = [{"question": text, "passage_ids": [text.split()[-1]]} for text in texts]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    run = tmp_path / "run.txt"
    options = ["--questions", str(questions), "--trec", "-k", "4"]
    assert main(["search", str(pipeline), *options]) == 0
    run.write_text(capsys.readouterr().out, encoding="utf-8")
    for limit in ([], ["--limit", "2"]):
        wanted = ["eval", str(pipeline), str(questions), "--metric", "RR", *limit, "--json"]
        assert main([*wanted, "--retrieval"]) == 0
        searched = json.loads(capsys.readouterr().out)
        assert main([*wanted, "--run", str(run)]) == 0
        read = json.loads(capsys.readouterr().out)
        assert read["metrics"] == searched["metrics"]
        ids = [prediction["id"] for prediction in read["predictions"]]
        assert ids == (["1", "2"] if limit else ["1", "2", "3"])


def test_a_run_file_that_cannot_be_written_loses_no_figures(capsys, pipeline, tmp_path):  # noqa: F811
    questions, run = tmp_path / "spaced.jsonl", tmp_path / "run.txt"
    questions.write_text('{"question": "who rules chad", "id": "a b", "passage_ids": ["chad"]}\n')
    options = [str(pipeline), str(questions), "--retrieval", "--run-out", str(run)]
    folder = tmp_path / "kept"
    assert main(["eval", *options, "--metric", "RR", "--output", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert "RR " in out
    assert "'a b' has white space" in err
    assert (folder / "run.json").is_file()
    assert not run.exists()
    assert main(["eval", *options[:2], "--metric", "log_prob", "--run-out", str(run)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--run-out writes rankings" in err
