"""The core's components pass the suites of their contracts."""

from __future__ import annotations

import gzip
import json

import pytest

from ragcore.corpora.readers import DprTsv, Jsonl, TextFolder
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.flat import Exact
from ragcore.retrievers.hybrid import Hybrid
from ragcore.retrievers.query_likelihood import QueryLikelihood
from ragcore.testing import CorpusSuite, IndexSuite, RetrieverSuite, ScorerSuite
from tests.helpers.table_generator import EOS
from tests.helpers.word_encoder import dense_part
from tests.testing.mutants_generator import Table
from tests.testing.mutants_retriever import Shared

LINES = [
    {"id": f"p{number}", "title": "Numbers", "text": f"{number} is a number"}
    for number in range(40)
]


class TestExact(IndexSuite):
    recall = 1.0

    @pytest.fixture
    def component(self):
        return Exact


class TestExactOfOneNumber(IndexSuite):
    dim = 1
    waived = {  # noqa: RUF012
        "test_many_rows_added_in_blocks_are_all_searched": "of single numbers, the largest is best"
    }

    @pytest.fixture
    def component(self):
        return Exact


class TestDense(RetrieverSuite):
    @pytest.fixture
    def component(self):
        return dense_part(dim=512)


class TestHybrid(RetrieverSuite):
    @pytest.fixture(params=["rrf", "convex", "mixture"])
    def component(self, request):
        members = [
            ComponentSpec("retriever", "shared", Shared, Shared.Config()),
            dense_part(dim=512),
        ]
        config = Hybrid.Config(retrievers=members, fuse=request.param)
        return ComponentSpec("retriever", "hybrid", Hybrid, config)


class Writer(Table):
    """Writes any question: a letter for each of its characters."""

    def encode_answers(self, answers):
        return [[*(1 + ord(letter) % 26 for letter in answer), EOS] for answer in answers]


class TestLikelihood(ScorerSuite):
    @pytest.fixture
    def component(self):
        table = Table.Config(vocabulary=27)
        generator = ComponentSpec("generator", "table", Writer, table)
        config = QueryLikelihood.Config(generator=generator, batch_size=4)
        return ComponentSpec("scorer", "query-likelihood", QueryLikelihood, config)


class TestJsonl(CorpusSuite):
    wrong_line = '{"id": "p1", "text": ""}'

    @pytest.fixture
    def component(self, tmp_path):
        path = tmp_path / "lines.jsonl"
        path.write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
        return ComponentSpec("corpus", "jsonl", Jsonl, Jsonl.Config(path=path))


class TestJsonlSplit(CorpusSuite):
    @pytest.fixture
    def component(self, tmp_path):
        path = tmp_path / "lines.jsonl.gz"
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, LINES)).encode()))
        return ComponentSpec("corpus", "jsonl", Jsonl, Jsonl.Config(path=path, words=2))


class TestDprTsv(CorpusSuite):
    wrong_line = "p41\ttext without title"

    @pytest.fixture
    def component(self, tmp_path):
        path = tmp_path / "psgs.tsv"
        rows = [f"{line['id']}\t{line['text']}\t{line['title']}" for line in LINES]
        path.write_text("\n".join(["id\ttext\ttitle", *rows]), encoding="utf-8")
        return ComponentSpec("corpus", "dpr-tsv", DprTsv, DprTsv.Config(path=path))


class TestTextFolder(CorpusSuite):
    @pytest.fixture
    def component(self, tmp_path):
        for number in range(10):
            path = tmp_path / f"{number}.md"
            path.write_text(f"# Number {number}\n\n{number} is a number.\n", encoding="utf-8")
        return ComponentSpec(
            "corpus", "text", TextFolder, TextFolder.Config(path=tmp_path, words=4)
        )
