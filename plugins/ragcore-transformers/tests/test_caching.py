"""A model's cache goes by the name that its forward pass has for it."""

from __future__ import annotations

from typing import Any

import pytest
from ragcore_transformers.caching import cache_name

from ragcore.errors import GeneratorError


class Since524:
    def forward(self, input_ids: Any, cache: Any = None) -> None: ...


class Before:
    def forward(self, input_ids: Any, past_key_values: Any = None) -> None: ...


class Mamba:
    def forward(self, input_ids: Any, cache_params: Any = None) -> None: ...


class Without:
    def forward(self, input_ids: Any) -> None: ...


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Since524, "cache"), (Before, "past_key_values"), (Mamba, "cache_params")],
)
def test_each_release_and_model_has_its_name(kind: type, expected: str) -> None:
    assert cache_name(kind()) == expected


def test_a_model_without_a_cache_is_named() -> None:
    with pytest.raises(GeneratorError, match="Without takes no cache"):
        cache_name(Without())
