"""The config of the generator `llamacpp`.

Knows what YAML may say. Imports neither torch nor llama.cpp, so that a pipeline file is checked
without them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ragcore.prompts.settings import PromptConfig
from ragcore.registry.components import ModelName

__all__ = ["CacheDtype", "LlamaCppConfig"]

CacheDtype = Literal["float32", "float16", "q8_0", "q4_0"]


class LlamaCppConfig(PromptConfig):
    """Settings of `{use: llamacpp}`."""

    model: ModelName = Field(description="a .gguf file, or a folder that holds one")
    threads: int | None = Field(
        None, gt=0, description="threads that compute; null for the processors that may be used"
    )
    gpu_layers: int | None = Field(
        None,
        ge=0,
        description="layers on a GPU, where llama.cpp was built for one; null for all",
    )
    cache_tokens: int = Field(
        32768,
        gt=0,
        description="the most tokens in the cache of keys and values, over all prompts and beams; "
        "it grows to that as needed, and what does not fit is computed again",
    )
    cache_dtype: CacheDtype = Field(
        "float16",
        description="of the keys and values; those below float16 need flash_attention",
    )
    flash_attention: bool | None = Field(
        False,
        description="whether one kernel computes attention, which rounds to float16 and needs less "
        "memory; null lets llama.cpp choose",
    )
    batch_tokens: int = Field(
        512, ge=64, le=8192, description="tokens in one run of the model, while prompts are read"
    )
