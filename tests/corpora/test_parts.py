"""Test that the parts of files are the whole, wherever a boundary falls."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.corpora.dpr_tsv import DprTsv
from ragcore.corpora.jsonl import Jsonl
from ragcore.corpora.lines import LONGEST_LINE, ByteRange, raw_lines
from ragcore.corpora.parquet import Parquet
from ragcore.errors import CorpusError
from ragcore.testing import CorpusSuite

ROW = '{{"text": "number {}"}}'


class TestJsonl(CorpusSuite):
    wrong_line = '{"id": 1}'

    @pytest.fixture
    def component(self, tmp_path: Path) -> Any:
        for name, count in (("a", 9), ("b", 0), ("c", 14)):
            lines = [ROW.format(f"{name}{n}" * (n % 4 + 1)) for n in range(count)]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(ROW.format("d").encode()))
        config = Jsonl.Config(path=tmp_path, source=True)
        return spec("jsonl", Jsonl, config)


class TestTsv(CorpusSuite):
    wrong_line = "1"

    @pytest.fixture
    def component(self, tmp_path: Path) -> Any:
        rows = [f'{n}\t"text ""{n}"""\ttitle' for n in range(23)]
        (tmp_path / "psgs.tsv").write_text("\n".join(["id\ttext\ttitle", *rows]) + "\n")
        return spec("dpr-tsv", DprTsv, DprTsv.Config(path=tmp_path / "psgs.tsv", words=1))


class TestParquet(CorpusSuite):
    @pytest.fixture
    def component(self, tmp_path: Path) -> Any:
        for name, count in (("a", 17), ("b", 0), ("c", 8)):
            table = pa.table({"text": [f"{name} {n}" for n in range(count)]})
            pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=3)
        return spec("parquet", Parquet, Parquet.Config(path=tmp_path, source=True))


def spec(use: str, component: type[Any], config: Any) -> Any:
    from ragcore.registry.components import ComponentSpec

    return ComponentSpec("corpus", use, component, config)


LINES = st.lists(st.binary(max_size=6).map(lambda text: text.replace(b"\n", b"\r")), max_size=12)


@settings(max_examples=150, deadline=None)
@given(LINES, st.booleans(), st.lists(st.integers(0, 80), max_size=5))
def test_each_line_is_in_one_range(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ends: bool, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "file"
    # A file of other formats is refused: it begins with a letter.
    content = b"x" + b"\n".join(lines) + b"\n" * ends
    path.write_bytes(content)
    whole = list(raw_lines(path))
    bounds = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    found = []
    for start, stop in pairwise(bounds):
        within = ByteRange(path, start, stop)
        numbered = list(raw_lines(path, within=within))
        found += [(number + within.lines_before, line) for number, line in numbered]
    assert found == whole


def test_blocks_and_ranges_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragcore.corpora.lines._BLOCK", 5)
    path = tmp_path / "file"
    path.write_bytes(b"ab\ncdefghijk\n\nlm\nn")
    whole = list(raw_lines(path))
    for cut in range(1, 19):
        ranges = ByteRange(path, 0, cut), ByteRange(path, cut, 19)
        found = [
            (number + each.lines_before, line)
            for each in ranges
            for number, line in raw_lines(path, within=each)
        ]
        assert found == whole


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_fault_has_the_line_of_the_file(tmp_path: Path, number: int) -> None:
    path = tmp_path / "c.jsonl"
    lines = [ROW.format(n) for n in range(40)]
    lines[number * 10 + 5] = "{"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(CorpusError, match=rf"c\.jsonl:{number * 10 + 6}: not JSON"):
        list(Jsonl(Jsonl.Config(path=path)).part(number, 4))


def test_a_line_that_is_too_long_has_its_number(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b"{}\n" * 3 + b"x" * 100 + b" " * LONGEST_LINE)
    with pytest.raises(CorpusError, match=r"c\.jsonl:4: the line is longer"):
        list(raw_lines(path, within=ByteRange(path, 4, 20)))


def test_a_part_reads_only_its_own_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.jsonl"
    rows = [json.dumps({"id": str(n), "text": "word " * 1000}) for n in range(400)]
    path.write_text("\n".join(rows) + "\n")
    monkeypatch.setattr(
        "ragcore.corpora.lines.ByteRange.lines_before", property(lambda _: pytest.fail("counted"))
    )
    before = _bytes_read()
    assert 35 < len(list(Jsonl(Jsonl.Config(path=path)).part(5, 10))) < 45
    # A tenth, and some blocks more.
    assert _bytes_read() - before < path.stat().st_size / 3


def _bytes_read() -> int:
    line = next(line for line in Path("/proc/self/io").read_text().splitlines() if "rchar" in line)
    return int(line.split()[1])


def grown(path: Path) -> None:
    path.write_text(path.read_text() + ROW.format("more") + "\n")


def edited(path: Path) -> None:
    path.write_text(path.read_text().replace("number 7", "number 8"))


def renamed(path: Path) -> None:
    path.rename(path.with_name("z.jsonl"))


@pytest.mark.parametrize("change", [grown, edited, renamed])
def test_another_content_has_another_fingerprint(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text("".join(ROW.format(n) + "\n" for n in range(9)))
    corpus = Jsonl(Jsonl.Config(path=tmp_path))
    before = corpus.fingerprint
    assert Jsonl(Jsonl.Config(path=path)).fingerprint == before
    change(path)
    assert corpus.fingerprint != before


def test_content_ids_depend_on_all_rows(tmp_path: Path) -> None:
    config = Jsonl.Config(path=tmp_path, ids="content")
    assert "parts" not in Jsonl(config).capabilities
