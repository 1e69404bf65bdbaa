"""The plugin `openai`: names the components and their configs."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_encoders() -> Components:
    """Name the encoder `openai-embeddings`."""
    return {
        "openai-embeddings": Target(
            "ragcore_openai.embeddings:OpenAIEmbeddings",
            config="ragcore_openai.configs:EmbeddingsConfig",
        )
    }
