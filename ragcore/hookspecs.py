"""Declare the hooks: everything that a plugin can provide, on one page.

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

    from pydantic import BaseModel

    from ragcore.types import Answer, Hits, Passage

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
    """Name encoders, {name: "package.module:Class" or Target}; see `ragcore.contracts.Encoder`."""


@hookspec
def ragcore_indexes() -> Components:  # type: ignore[empty-body]
    """Name vector indexes; see `ragcore.contracts.Index`."""


@hookspec
def ragcore_retrievers() -> Components:  # type: ignore[empty-body]
    """Name retrievers; see `ragcore.contracts.Retriever`."""


@hookspec
def ragcore_scorers() -> Components:  # type: ignore[empty-body]
    """Name scorers of a question with a passage; see `ragcore.contracts.Scorer`."""


@hookspec
def ragcore_generators() -> Components:  # type: ignore[empty-body]
    """Name generators; see `ragcore.contracts.Generator`."""


@hookspec
def ragcore_corpora() -> Components:  # type: ignore[empty-body]
    """Name corpora; see `ragcore.contracts.Corpus`."""


@hookspec
def ragcore_runners() -> Components:  # type: ignore[empty-body]
    """Name places where parts of a job run, for `--on NAME`; see `ragcore.contracts.Runner`."""


@hookspec
def ragcore_passages() -> Components:  # type: ignore[empty-body]
    """Name stores that keep passages outside of versions; see `ragcore.contracts.PassageStore`."""


@hookspec
def ragcore_metrics() -> dict[str, str]:  # type: ignore[empty-body]
    """Name evaluation metrics; see `ragcore.evaluation.metrics.base.Metric`."""


@hookspec
def ragcore_models() -> dict[str, str]:  # type: ignore[empty-body]
    """Name model folders that the plugin ships, {name: "package:folder/inside/it"}."""


@hookspec
def ragcore_cli() -> dict[str, str]:  # type: ignore[empty-body]
    """Name commands, {name: "package.module:app"}, each a `typer.Typer`: `ragcore NAME …`."""


@hookspec
def ragcore_routes() -> dict[str, str]:  # type: ignore[empty-body]
    """Name routers, {name: "package.module:router"}, each a `fastapi.APIRouter`.

    `ragcore serve` serves each under `/plugins/NAME`, to those who may ask it anything else.
    """


@hookspec
def ragcore_retrieved(questions: Sequence[str], hits: Hits, memory: str) -> None:
    """Observe a search: the questions [B], their hits [B, k], the version of the memory."""


@hookspec
def ragcore_answered(answer: Answer) -> None:
    """Observe each answer before it is returned."""


@hookspec
def ragcore_memory_swapped(old: str, new: str) -> None:
    """Observe a swap: a running pipeline now reads version `new` instead of `old`."""


@hookspec
def ragcore_forget(  # type: ignore[empty-body]
    config: BaseModel, passages: Sequence[Passage]
) -> dict[str, int]:
    """Delete from the disk what a generator has computed of passages that are forgotten everywhere.

    `ragcore memory forget --everywhere PIPELINE` calls it, with the `Config` of the pipeline's
    generator, which is not loaded. Return how many files were deleted in each folder; {} for the
    config of another plugin's generator, or where there is no folder.
    """


@hookspec
def ragcore_timed(stage: str, started: int, seconds: float, questions: int, memory: str) -> None:
    """Observe how long a stage took, in the thread that did it, as soon as it is done.

    Spans and metrics are made from it: a span begins at `started` and lasts `seconds`, and its
    parent is the caller's, since context variables are those of the request.

    Args:
        stage: "rewrite", of questions that continue a conversation; "search"; "read", one encoder
            pass over a batch; "decode", of a batch, or of a stream, in which the time of its caller
            is not counted; "score", for `Rag.log_prob`; or "open", a version of the memory.
        started: nanoseconds since 1970, in UTC, as OpenTelemetry takes them.
        seconds: of wall-clock time.
        questions: how many the stage was done for; 0 for "open".
        memory: the version of the memory.
    """
