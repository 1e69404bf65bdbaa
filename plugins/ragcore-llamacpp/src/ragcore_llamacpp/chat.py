"""The chat template of a GGUF file, rendered in a sandbox.

Knows llama-cpp-python's environment for templates, which follows Hugging Face's; knows nothing of
prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache, partial
from typing import Any

from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from ragcore.prompts.chat import THINKING_OFF, Render, dated

__all__ = ["rendering"]


def rendering(
    template: str | None, bos: str, eos: str, variables: Mapping[str, Any]
) -> Render | None:
    """Return what renders a chat template, if there is one.

    Args:
        template: of the model.
        bos: the text of the token that begins texts.
        eos: the text of the token that ends them.
        variables: more of the template's variables.
    """
    return None if template is None else partial(_render, template, bos, eos, variables)


def _render(
    template: str,
    bos: str,
    eos: str,
    variables: Mapping[str, Any],
    messages: Sequence[Mapping[str, str]],
    today: date,
    reply_follows: bool,
) -> str:
    """Return a dialogue as the template writes it; see `ragcore.prompts.chat.Render`."""
    formatter = _formatter(dated(template, today), eos, bos, reply_follows)
    prompt: str = formatter(messages=list(messages), **{**THINKING_OFF, **variables}).prompt
    return prompt


@lru_cache(maxsize=4)
def _formatter(template: str, eos: str, bos: str, reply_follows: bool) -> Jinja2ChatFormatter:
    """Compile a template, which takes longer than to render it."""
    return Jinja2ChatFormatter(template, eos, bos, add_generation_prompt=reply_follows)
