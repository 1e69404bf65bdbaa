"""The core without torch: installed, measured, built, searched, updated, swapped and served."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.helpers.markdown import ROOT
from tests.install.lean import LeanEnvironment

pytestmark = pytest.mark.install

FIXTURE: Final = ROOT / "tests" / "compat" / "fixture"
MOST_WITH_BM25: Final = 300
MOST_WITH_FAISS: Final = 370
"""In 10^6 bytes, without pip and setuptools."""

PIPELINE: Final = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: %s
rag: {k: 2}
"""
DENSE: Final = (
    "{use: dense, encoder: {use: static, model: ./tiny}, index: {use: faiss, factory: Flat}}"
)

SWAP: Final = """\
import sys
import ragcore
with ragcore.load("pipeline.yaml", "memory.version=first") as rag:
    before = rag.search("president of Peru")[0]
    rag.swap("second")
    after = rag.search("president of Peru")[0]
    try:
        rag.answer("Who is the president of Peru?")
    except ragcore.RagcoreError as error:
        print(type(error).__name__, error)
print(before.memory, after.memory, abs(sum(after.prior) - 1) < 1e-9, "torch" in sys.modules)
"""

TINY_MODEL: Final = """\
import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer, models, pre_tokenizers, normalizers
words = ["[UNK]", *"president peru chad river mali capital the of is who".split()]
tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.normalizer = normalizers.Lowercase()
vectors = np.eye(len(words), 16, dtype=np.float32)
StaticModel(vectors=vectors, tokenizer=tokenizer).save_pretrained("tiny")
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> LeanEnvironment:
    environment = LeanEnvironment(tmp_path_factory.mktemp("lean") / "venv")
    environment.add("ragcore-engine", "ragcore-bm25")
    return environment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    for name in ("passages.jsonl", "changes-2018.jsonl", "questions.jsonl"):
        (folder / name).write_bytes((FIXTURE / name).read_bytes())
    (folder / "pipeline.yaml").write_text(PIPELINE % "{use: bm25}", encoding="utf-8")
    return folder


def test_a_search_by_words_needs_little_room_and_no_torch(
    environment: LeanEnvironment, folder: Path
) -> None:
    assert environment.megabytes() <= MOST_WITH_BM25
    code = "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('transformers'))"
    assert environment.run(environment.python, "-c", code) == "None None\n"

    built = environment.ragcore(
        "memory", "build", "pipeline.yaml", "--version", "first", cwd=folder
    )
    assert "built version first" in built
    environment.ragcore(
        *("memory", "update", "pipeline.yaml", "changes-2018.jsonl", "--version", "second"),
        cwd=folder,
    )
    found = environment.ragcore("search", "pipeline.yaml", "capital of Mali", "--json", cwd=folder)
    assert json.loads(found.splitlines()[0])["id"] == "mali-capital"
    said, versions = environment.run(environment.python, "-c", SWAP, cwd=folder).splitlines()
    assert said.startswith("ConfigError this pipeline has no generator")
    assert versions == "first second True False"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["ask", "pipeline.yaml", "Who?"], "this pipeline has no generator"),
        (["train", "pipeline.yaml"], "training needs torch: torch is not installed: pip install"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    environment: LeanEnvironment, folder: Path, command: list[str], message: str
) -> None:
    done = subprocess.run(
        [str(environment.python), "-m", "ragcore", *command],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_vectors_are_searched_without_torch(environment: LeanEnvironment, folder: Path) -> None:
    environment.add("ragcore-faiss")
    assert environment.megabytes() <= MOST_WITH_FAISS
    environment.add("ragcore-static")
    environment.run(environment.python, "-c", TINY_MODEL, cwd=folder)
    (folder / "dense.yaml").write_text(
        PIPELINE.replace("store: store", "store: dense") % DENSE, encoding="utf-8"
    )
    environment.ragcore("memory", "build", "dense.yaml", cwd=folder)
    found = environment.ragcore("search", "dense.yaml", "river Chad", "--json", cwd=folder)
    assert json.loads(found.splitlines()[0])["id"] == "chad-river"
    code = "import importlib.util as u; print(u.find_spec('torch'))"
    assert environment.run(environment.python, "-c", code) == "None\n"


def test_retrieval_is_evaluated_without_torch(environment: LeanEnvironment, folder: Path) -> None:
    environment.add("ragcore-engine[eval]")
    (folder / "asked.jsonl").write_text(
        '{"question": "capital of Mali", "passage_ids": ["mali-capital"]}\n', encoding="utf-8"
    )
    printed = environment.ragcore(
        *("eval", "pipeline.yaml", "asked.jsonl", "--metric", "mrr@2", "--json"), cwd=folder
    )
    (figure,) = json.loads(printed)["metrics"]
    assert figure["value"] == 1.0


@pytest.fixture(scope="module")
def address(environment: LeanEnvironment, folder: Path) -> Iterator[str]:
    """A running server of the pipeline."""
    environment.add("ragcore-serve")
    environment.ragcore("memory", "build", "pipeline.yaml", "--version", "served", cwd=folder)
    command = [str(environment.python), "-m", "ragcore", "serve", "pipeline.yaml", "--port", "0"]
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        printed = re.search(r"(http://127\.0\.0\.1:\d+)", line)
        assert printed, line + (folder / "log").read_text(encoding="utf-8")
        yield printed[1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def posted(url: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Post JSON; the status and the reply."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    # Whatever proxy is set, this machine is reached without it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _AnyStatus)
    with opener.open(request, timeout=60) as reply:
        return reply.status, json.loads(reply.read())


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """Returns a reply whatever its status is."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response


def test_passages_are_served_without_torch(address: str) -> None:
    status, reply = posted(f"{address}/v1/search", {"question": "capital of Mali"})
    assert status == 200, reply
    (result,) = reply["results"]
    assert result["passages"][0]["id"] == "mali-capital"
    status, reply = posted(f"{address}/v1/answer", {"question": "capital of Mali"})
    assert status == 422
    assert "this pipeline has no generator" in reply["error"]["message"]
