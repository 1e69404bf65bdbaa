"""The end tokens that a model's configs name."""

from __future__ import annotations

from typing import Any

from ragcore.prompts.ends import EndTokens

__all__ = ["EndTokens", "named_ids"]


def named_ids(name: str, *sources: Any) -> list[int]:
    """Return all ids that these configs name, each a single id or a list, such as `eos_token_id`.

    In the order in which they are named first.
    """
    ids: list[int] = []
    for source in sources:
        named = getattr(source, name, None)
        if named is not None:
            ids += map(int, named if isinstance(named, list | tuple) else [named])
    return list(dict.fromkeys(ids))
