"""The plugin `wikipedia`: names the corpus and its config."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_corpora() -> Components:
    """Name the corpus `wikipedia`."""
    return {
        "wikipedia": Target(
            "ragcore_wikipedia.corpus:Wikipedia", config="ragcore_wikipedia.config:WikipediaConfig"
        )
    }
