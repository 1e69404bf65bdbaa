"""The plugin `documents`: names the corpus and its config."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_corpora() -> Components:
    """Name the corpus `documents`."""
    return {
        "documents": Target(
            "ragcore_documents.corpus:Documents", config="ragcore_documents.config:DocumentsConfig"
        )
    }
