"""The hooks: everything a plugin can give to ragcore, on one page.

A plugin is a module or object under the entry-point group `ragcore`, with functions marked
`@ragcore.hookimpl`. It names its classes by dotted strings ("package.module:Class"), so that
nothing heavy is imported before a component is built. Where the class's module imports something
heavy (torch, faiss), name the class's `Config` too, by a `Target`: a pipeline file is then checked
without importing the class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ragcore.types import Answer, Hits

__all__ = ["Components", "Target", "hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("ragcore")
hookimpl = pluggy.HookimplMarker("ragcore")


class Target(NamedTuple):
    """Where a component's class is, and where its `Config` is.

        Target("my_plugin.index:Annoy", config="my_plugin.configs:AnnoyConfig")

    Attributes:
        component: "package.module:Class"; imported when the component is first built or loaded.
        config: "package.module:ClassConfig", the very class that is `Class.Config`, in a module
            that imports nothing heavy.
    """

    component: str
    config: str


Components = dict[str, str | Target]
"""What a hook for components returns: {name: "package.module:Class"}, or a `Target` for a name."""


@hookspec
def ragcore_encoders() -> Components:  # type: ignore[empty-body]
    """Encoders, {name: "package.module:Class" or Target}; see `ragcore.contracts.Encoder`."""


@hookspec
def ragcore_indexes() -> Components:  # type: ignore[empty-body]
    """Vector indexes; see `ragcore.contracts.Index`."""


@hookspec
def ragcore_retrievers() -> Components:  # type: ignore[empty-body]
    """Retrievers; see `ragcore.contracts.Retriever`."""


@hookspec
def ragcore_scorers() -> Components:  # type: ignore[empty-body]
    """Scorers of question and passage; see `ragcore.contracts.Scorer`."""


@hookspec
def ragcore_generators() -> Components:  # type: ignore[empty-body]
    """Generators; see `ragcore.contracts.Generator`."""


@hookspec
def ragcore_corpora() -> Components:  # type: ignore[empty-body]
    """Corpora; see `ragcore.contracts.Corpus`."""


@hookspec
def ragcore_metrics() -> dict[str, str]:  # type: ignore[empty-body]
    """Evaluation metrics."""


@hookspec
def ragcore_models() -> dict[str, str]:  # type: ignore[empty-body]
    """Model folders that the plugin ships, {name: "package:folder/inside/it"}."""


@hookspec
def ragcore_cli() -> dict[str, str]:  # type: ignore[empty-body]
    """Commands, {name: "package.module:app"}, each a `typer.Typer`, run as `ragcore NAME …`."""


@hookspec
def ragcore_retrieved(questions: Sequence[str], hits: Hits, memory: str) -> None:
    """Called after a search: the questions [B], their hits [B, k], the memory's version."""


@hookspec
def ragcore_answered(answer: Answer) -> None:
    """Called with each answer, before it is returned."""


@hookspec
def ragcore_memory_swapped(old: str, new: str) -> None:
    """Called when a running pipeline has moved from version `old` to `new`."""
