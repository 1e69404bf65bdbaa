"""Choose what answers for a generator, by its tier.

Knows tiers; knows nothing of how an answer is made. A module that needs torch is imported only for
a generator that needs it, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ragcore.contracts import Generator, tier_of
from ragcore.errors import PluginError, UnsupportedOperation
from ragcore.registry.installation import install_hint

if TYPE_CHECKING:
    from ragcore.answering.answerer import Answerer
    from ragcore.config import RagConfig

__all__ = ["answerer_for"]


def answerer_for(
    generator: Generator, config: RagConfig, check: Callable[[], None] = lambda: None
) -> Answerer:
    """Return what answers with a generator by these settings.

    Args:
        generator: reads and writes.
        config: the section `rag` of a pipeline, changed as a request says.
        check: called before each batch, before it is decoded, and before each token; what it
            raises ends the request.

    Raises:
        UnsupportedOperation: the generator cannot answer by these settings.
        ComponentError: it declares no known tier.
        PluginError: torch is not installed.
    """
    declared = tier_of(generator)
    if declared != "steps":
        raise UnsupportedOperation(
            f"generator {type(generator).__name__} gives no log-probs of each token (its tier is "
            f"{declared!r}, not 'steps'), which answering needs: choose another generator"
        )
    try:
        from ragcore.answering.answerer import Answerer
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        raise PluginError(
            f"answering with generator {type(generator).__name__} needs torch, which is not "
            f"installed: {install_hint('ragcore-transformers')}, which brings it"
        ) from None
    return Answerer(generator, config, check)
