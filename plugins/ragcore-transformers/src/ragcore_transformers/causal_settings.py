"""What `causal`'s settings and a model say together: chat, end token, longest prompt."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ragcore.errors import GeneratorError
from ragcore.prompts.chat import Render
from ragcore_transformers.chat_templates import render
from ragcore_transformers.configs import CausalConfig
from ragcore_transformers.tokenizing import special_id

__all__ = ["end_token", "input_limit", "rendering"]

_DEFAULT_LIMIT: Final = 2048
"""Tokens of a prompt for models without a limit of their own."""

_ANSWER_ROOM: Final = 128
"""Positions reserved for the answer where the model has a limit."""


def rendering(config: CausalConfig, tokenizer: Any) -> Render | None:
    """Return what renders the tokenizer's chat template with the config's variables, if any."""
    if not tokenizer.chat_template:
        return None
    return partial(render, tokenizer, config.chat_template_kwargs)


def end_token(config: CausalConfig, model: Any, tokenizer: Any, turn_end: int | None) -> int:
    """Return the end token: the configured one, a chat's end of reply, or the model's.

    Args:
        config: the generator's.
        model: Hugging Face's.
        tokenizer: the model's.
        turn_end: the token that ends a chat's reply, if there is one.

    Raises:
        GeneratorError: there is none, or the configured one is not a single token.
    """
    if config.end_token is not None:
        ids: list[int] = tokenizer(config.end_token, add_special_tokens=False).input_ids
        if len(ids) != 1:
            raise GeneratorError(
                f"end_token {config.end_token!r} is {len(ids)} tokens for model "
                f"{config.model!r}: name a single one"
            )
        return ids[0]
    if turn_end is not None:
        return turn_end
    end = special_id("eos_token_id", model.generation_config, model.config, tokenizer)
    if end is None:
        raise GeneratorError(
            f"model {config.model!r} says no eos_token_id: add it to its config.json or "
            "generation_config.json, or set end_token"
        )
    return end


def input_limit(config: CausalConfig, positions: int | None) -> int:
    """Return the most tokens of a prompt.

    Args:
        config: the generator's.
        positions: of the model; None where it has no limit.

    Raises:
        GeneratorError: max_input_tokens leaves no position for an answer.
    """
    limit = config.max_input_tokens
    if positions is None:
        return limit or _DEFAULT_LIMIT
    if limit is not None and limit >= positions:
        raise GeneratorError(
            f"max_input_tokens is {limit} but model {config.model!r} has positions for "
            f"{positions}, the answer's included: lower it, or leave it out"
        )
    return limit or positions - min(_ANSWER_ROOM, positions // 2)
