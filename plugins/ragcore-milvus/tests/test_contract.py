"""`milvus` keeps the contract of an index, by both methods, on a real server."""

from __future__ import annotations

from typing import Final

import pytest
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.index import Milvus

from ragcore.registry.components import ComponentSpec
from ragcore.testing import IndexSuite, examine

pytestmark = pytest.mark.engines

OF_THE_GRAPH: Final = (
    "test_a_filter_finds_all_it_can",
    "test_a_large_batch_equals_single_questions",
    "test_another_process_gives_the_same",
    "test_capabilities_are_known",
    "test_declared_recall_is_reached",
    "test_each_question_has_a_hit",
    "test_every_index_finds_k_rows",
    "test_filters_over_many_rows_equal_filtering_afterwards",
    "test_hits_are_well_formed",
    "test_k_beyond_n_is_padded_with_missing_hits",
    "test_loaded_answers_are_identical",
    "test_long_and_short_vectors_are_found",
    "test_many_rows_added_in_blocks_are_all_searched",
    "test_more_than_64_hits_can_be_found",
    "test_rows_may_be_large_numbers",
    "test_threads_do_not_mix_their_filters",
    "test_ties_are_ordered_by_row",
)
"""The laws that lead to `Searcher._approximate` with other shapes, filters and sizes.

Adding, copying, saving, dropping and refusing are the same code by both methods.
"""


def made(uri: str, **settings: object) -> ComponentSpec:
    return ComponentSpec("index", "milvus", Milvus, MilvusConfig(uri=uri, **settings))


class TestExact(IndexSuite):
    recall = 1.0
    # Milvus takes seconds to load a collection.
    sequences = 2

    @pytest.fixture
    def component(self, uri: str) -> ComponentSpec:
        return made(uri)


class Graph(IndexSuite):
    count = 200


@pytest.mark.contract
@pytest.mark.parametrize("law", OF_THE_GRAPH)
def test_a_graph_keeps(law: str, uri: str) -> None:
    (verdict,) = examine(Graph, made(uri, method="hnsw"), {law})
    assert verdict.outcome == "passed", verdict.reason
