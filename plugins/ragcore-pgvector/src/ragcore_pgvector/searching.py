"""Find the best rows of a table, by its graph or by comparing vectors, and sort them.

Knows the SQL of a search, and what its connections are set to. Knows nothing of how tables are
made, of leases or of filters: `conditions.py` says which rows may be found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from psycopg import Connection

from ragcore.types import MISSING_ROW, Hits
from ragcore_pgvector.conditions import Condition
from ragcore_pgvector.configs import PgvectorConfig
from ragcore_pgvector.tables import Tables
from ragcore_pgvector.wire import vector_array

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows, Vectors

__all__ = ["Searched", "Searcher", "settings_of"]

_FEW_ALLOWED: Final = 10_000
"""So few allowed rows are compared one by one, which is exact, in place of a walk in the graph."""


@dataclass(frozen=True, slots=True)
class Searched:
    """A table that is searched.

    Attributes:
        name: of the table.
        count: of its rows.
        finished: whether it has all rows, and the graph if there is to be one.
    """

    name: str
    count: int
    finished: bool


class Searcher:
    """Search the tables of one config; without state, so that threads can share it."""

    def __init__(self, tables: Tables, config: PgvectorConfig) -> None:
        self._tables = tables
        self._half = config.half
        self._has_graph = config.method != "exact"

    def best(
        self,
        table: Searched,
        queries: Vectors,
        k: int,
        condition: Condition | None,
        available: int,
    ) -> Hits:
        """Find the k best rows for each of queries [B, d], ties by row.

        All queries go in one statement. A query that the graph finds too few rows for is asked
        again of the whole table.

        Args:
            table: that has the rows.
            queries: float32 [B, d], B at least 1.
            k: hits per query.
            condition: which rows may be found; None for all.
            available: how many these are at most, 1 or more.

        Raises:
            MemoryUnavailableError: the database does not answer.
        """
        rows = np.full((len(queries), k), MISSING_ROW, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        depth = min(k, available)
        few = condition is not None and condition.is_list
        few = few and available <= max(_FEW_ALLOWED, table.count // 20)
        by_graph = self._has_graph and not few
        everyone = np.arange(len(queries))
        self._fill(rows, scores, everyone, table.name, queries, depth, condition, by_graph)
        if by_graph and table.finished:
            short = np.flatnonzero((rows[:, :depth] == MISSING_ROW).any(axis=1))
            if len(short):
                rows[short], scores[short] = MISSING_ROW, -np.inf
                self._fill(rows, scores, short, table.name, queries[short], depth, condition, False)
        return Hits(rows, scores)

    def _fill(
        self,
        rows: Rows,
        scores: npt.NDArray[np.float32],
        asked: npt.NDArray[np.int64],
        name: str,
        queries: Vectors,
        depth: int,
        allowed: Condition | None,
        by_graph: bool,
    ) -> None:
        """Search a table for queries [b, d]; write hits into lines `asked` of rows and scores.

        Args:
            rows: int64 [B, k], without hits in these lines.
            scores: float32 [B, k], likewise.
            asked: int64 [b].
            name: of the table.
            queries: float32 [b, d].
            depth: hits per query, at most k.
            allowed: which rows may be found; None for all.
            by_graph: whether the database may use the graph.
        """
        extension = self._tables.extension()
        schema = f'"{extension.schema}"'
        kind = f"{schema}.{'halfvec' if self._half else 'vector'}"
        table = self._tables.path(name)
        parameters: list[Any] = [vector_array(queries, extension.vector_type)]
        product = f"t.embedding operator({schema}.<#>) q.vector::{kind}"
        source, condition = f"{table} t", ""
        opening = f"with q as (select * from unnest(%b::{schema}.vector[]) "
        opening += "with ordinality q(vector, number))"
        if allowed is not None:
            parameters += allowed.parameters
            if by_graph or not allowed.is_list:
                condition = f"where {allowed.sql}"
            else:
                # Read once, however many queries there are.
                opening += (
                    f", t as materialized (select t.row, t.embedding from {table} t "
                    f"where {allowed.sql})"
                )
                source = "t"
        # A sum is no order that the graph has, so that it is not used where all are compared.
        order = product if by_graph else f"({product}) + 0.0, t.row"
        statement = (
            f"{opening} select q.number, h.row, h.score from q cross join lateral ("
            f"select t.row, -({product}) as score from {source} {condition} "
            f"order by {order} limit {depth}) h"
        ).encode()

        def ask(connection: Connection[Any]) -> list[tuple[int, int, float]]:
            return connection.execute(statement, parameters, binary=True).fetchall()

        records = self._tables.database.read(ask)
        if not records:
            return
        numbers = np.array([number for number, _, _ in records], np.int64) - 1  # [h]
        hit_rows = np.array([row for _, row, _ in records], np.int64)
        hit_scores = np.array([score for _, _, score in records], np.float32)
        ranking = np.lexsort((hit_rows, -hit_scores, numbers))
        numbers = numbers[ranking]
        position = np.arange(len(numbers)) - np.searchsorted(numbers, numbers)
        rows[asked[numbers], position] = hit_rows[ranking]
        scores[asked[numbers], position] = hit_scores[ranking]


def settings_of(config: PgvectorConfig) -> tuple[tuple[str, str], ...]:
    """Return what each connection is set to: the graph is searched on until there are k hits."""
    return (
        ("hnsw.ef_search", str(config.ef_search)),
        ("hnsw.iterative_scan", "strict_order"),
        ("hnsw.max_scan_tuples", "2147483647"),
        ("hnsw.scan_mem_multiplier", "16"),
    )
