"""The core's components pass the suites of their contracts."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragcore.corpora.dpr_tsv import DprTsv
from ragcore.corpora.jsonl import Jsonl
from ragcore.corpora.parquet import Parquet
from ragcore.corpora.tables import Csv, Tsv
from ragcore.corpora.text_folder import TextFolder
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.flat import Exact
from ragcore.retrievers.hybrid import Hybrid
from ragcore.retrievers.query_likelihood import QueryLikelihood
from ragcore.testing import CorpusSuite, IndexSuite, PassagesSuite, RetrieverSuite, ScorerSuite
from tests.helpers.sqlite_passages import sqlite_passages
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


class TestSqlitePassages(PassagesSuite):
    @pytest.fixture
    def component(self, tmp_path):
        return sqlite_passages(tmp_path / "passages.sqlite")


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


class TestJsonlShards(CorpusSuite):
    @pytest.fixture
    def component(self, tmp_path):
        folder = tmp_path / "shards"
        folder.mkdir()
        for number in range(4):
            lines = [{"text": f"{line['text']}. It is whole."} for line in LINES[number::4]]
            path = folder / f"{number}.jsonl"
            path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        config = Jsonl.Config(path=folder, split={"by": "sentences", "size": 1}, source=True)
        return ComponentSpec("corpus", "jsonl", Jsonl, config)


class TestCsv(CorpusSuite):
    wrong_line = 'p41,"open"quote,text'

    @pytest.fixture
    def component(self, tmp_path):
        path = tmp_path / "table.csv"
        rows = [",".join(line.values()) for line in LINES]
        path.write_text("\n".join(["id,title,text", *rows]), encoding="utf-8")
        return ComponentSpec("corpus", "csv", Csv, Csv.Config(path=path))


class TestTsv(CorpusSuite):
    wrong_line = "p41\ttext without title"

    @pytest.fixture
    def component(self, tmp_path):
        path = tmp_path / "table.tsv"
        rows = ["\t".join(line.values()) for line in LINES]
        path.write_text("\n".join(["id\ttitle\ttext", *rows]), encoding="utf-8")
        return ComponentSpec("corpus", "tsv", Tsv, Tsv.Config(path=path, ids="content"))


class TestParquet(CorpusSuite):
    @pytest.fixture
    def component(self, tmp_path):
        path = tmp_path / "table.parquet"
        pq.write_table(pa.Table.from_pylist(LINES), path)
        return ComponentSpec("corpus", "parquet", Parquet, Parquet.Config(path=path))


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
