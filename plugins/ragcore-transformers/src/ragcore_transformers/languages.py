"""The languages of multilingual encoder-decoder models: mBART, mBART-50, NLLB, M2M100 and PLBart.

Their tokenizers put a token for the language around each text, and their decoders are told the
answer's language in one of two ways. mBART-cc25 begins with the language's token instead of a start
token, and is trained on `X </s> ro_RO`, whose last token is the next text's start. The others begin
with their start token and are made to write the language's token first: `ro_RO X </s>`.

Knows tokens only; knows nothing of retrieval or beams.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, Final

from transformers import (
    M2M100ForConditionalGeneration,
    MBartForConditionalGeneration,
    PLBartForConditionalGeneration,
)

from ragcore.errors import GeneratorError
from ragcore_transformers.plain_tokens import PlainTokenizer, special_tokens

__all__ = ["Languages", "language_codes"]

_CODE: Final = re.compile(r"_*[a-z]{2,3}_[A-Z][A-Za-z]{1,3}_*|__[a-z]{2,10}__")
"""A language's token, such as ro_RO, fra_Latn, __fr__ or __en_XX__."""

_WRAPPING: Final = (MBartForConditionalGeneration, PLBartForConditionalGeneration)
"""Models that are fed the last token of a target first, in training."""

_PREFIXED: Final = (M2M100ForConditionalGeneration,)
"""Models whose texts are `__fr__ X </s>`, also with a tokenizer that does not say so."""

_NEAR: Final = 5
"""How many similar codes an error names."""


@dataclass(frozen=True, slots=True)
class Languages:
    """How a model's texts are marked with their languages.

    Attributes:
        inputs: tokenizes what the encoder reads.
        targets: tokenizes answers.
        start: the token that the decoder is fed first; None for the model's own.
        forced: the token that each answer begins with; None for the model's own.
    """

    inputs: PlainTokenizer
    targets: PlainTokenizer
    start: int | None = None
    forced: int | None = None

    @classmethod
    def of(
        cls,
        name: str,
        model: Any,
        tokenizer: Any,
        *,
        source: str | None,
        target: str | None,
        named: tuple[int | None, ...],
    ) -> Languages:
        """Set the languages of a model's tokenizer.

        Args:
            name: the model's, for errors.
            model: the checkpoint.
            tokenizer: its fast tokenizer; its `src_lang` and `tgt_lang` are set.
            source: the language of questions and passages; None for the tokenizer's own.
            target: the language of answers; None for the one that the checkpoint names, or else the
                tokenizer's, or else that of `source`.
            named: ids by which the checkpoint may name it: its start token, its forced first token.

        Raises:
            GeneratorError: the model knows no languages, or not this one.
        """
        codes = language_codes(tokenizer)
        if not codes or not hasattr(tokenizer, "_switch_to_target_mode"):
            if codes and source is not None and target is not None and isinstance(model, _PREFIXED):
                return cls._prefixed(
                    tokenizer,
                    codes[_known(name, "src_lang", source, codes)],
                    codes[_known(name, "tgt_lang", target, codes)],
                )
            _refuse_settings(name, source, target, codes)
            plain = PlainTokenizer(tokenizer)
            return cls(plain, plain)
        texts = {token_id: code for code, token_id in codes.items()}
        if source is not None:
            tokenizer.src_lang = _known(name, "src_lang", source, codes)
        own = [texts[token_id] for token_id in named if token_id in texts]
        if target is not None:
            tokenizer.tgt_lang = _known(name, "tgt_lang", target, codes)
        elif own:
            tokenizer.tgt_lang = own[0]
        elif tokenizer.tgt_lang is None:
            tokenizer.tgt_lang = tokenizer.src_lang
        code = codes[_known(name, "tgt_lang", tokenizer.tgt_lang, codes)]
        tokenizer._switch_to_input_mode()
        inputs = PlainTokenizer(tokenizer)
        # A tokenizer of its own for targets, since switching one would disturb other threads.
        tokenizer._switch_to_target_mode()
        targets = inputs.set_as(tokenizer)
        tokenizer._switch_to_input_mode()
        (empty,) = targets.ids([""])
        if empty[-1] == code and isinstance(model, _WRAPPING):
            return cls(inputs, targets, start=code)
        return cls(inputs, targets, forced=code)

    @classmethod
    def _prefixed(cls, tokenizer: Any, source: int, target: int) -> Languages:
        """Put these language tokens before each text, and the tokenizer's end token after it."""
        end = [tokenizer.eos_token_id]
        plain = PlainTokenizer(tokenizer)
        return cls(plain.around([source], end), plain.around([target], end), forced=target)

    def target(self, ids: list[int], start: int, ends: tuple[int, ...]) -> list[int]:
        """Return an answer's ids as the decoder writes them, one end token last.

        Args:
            ids: of the tokenizer for targets, with the tokens around the answer.
            start: the token that the decoder is fed first.
            ends: the end tokens, the first of which is written.
        """
        # The decoder is fed the start token in any case, so one of the tokenizer's is dropped.
        begin = 1 if ids and ids[0] == start else 0
        skipped = {*ends} if self.start is None else {*ends, self.start}
        if self.forced is not None:
            skipped.add(self.forced)
        content = [token for token in ids[begin:] if token not in skipped]
        lead = [] if self.forced is None else [self.forced]
        return [*lead, *content, ends[0]]

    def name_in(self, model: Any) -> None:
        """Name the answers' language in a model's configs, so that a saved one keeps it."""
        for name, token_id in (
            ("decoder_start_token_id", self.start),
            ("forced_bos_token_id", self.forced),
        ):
            if token_id is None:
                continue
            setattr(model.generation_config, name, token_id)
            if getattr(model.config, name, None) is not None:
                setattr(model.config, name, token_id)


def language_codes(tokenizer: Any) -> dict[str, int]:
    """Return the language tokens of a tokenizer and their ids; none for one language only."""
    codes = {
        token: token_id
        for token, token_id in special_tokens(tokenizer).items()
        if _CODE.fullmatch(token)
    }
    return dict(sorted(codes.items()))


def _refuse_settings(
    name: str, source: str | None, target: str | None, codes: dict[str, int]
) -> None:
    keys = [key for key, code in (("src_lang", source), ("tgt_lang", target)) if code is not None]
    if not keys:
        return
    reason = (
        "its tokenizer puts no language tokens around texts: save it with the tokenizer class of "
        "its architecture, such as NllbTokenizer (for M2M100, set both)"
        if codes
        else "its tokenizer has no language tokens: leave them out, or choose a multilingual model "
        "such as mBART-50 or NLLB"
    )
    raise GeneratorError(f"{' and '.join(keys)} of model {name!r} cannot be set: {reason}")


def _known(name: str, key: str, code: str, codes: dict[str, int]) -> str:
    """Return the language token for a code, which may lack the underscores around it.

    Raises:
        GeneratorError: there is none; the error names similar ones.
    """
    for token in (code, f"__{code}__"):
        if token in codes:
            return token
    plain = {token.strip("_").lower(): token for token in codes}
    wanted = code.strip("_").lower()
    near = difflib.get_close_matches(wanted, plain, n=_NEAR, cutoff=0.5)
    begins = [text for text in plain if text[:2] == wanted[:2] and text not in near]
    similar = [plain[text] for text in [*near, *begins][:_NEAR]]
    advice = (
        f"did you mean {', '.join(similar)}?"
        if similar
        else f"it has {len(codes)}, such as {', '.join(list(codes)[:_NEAR])}"
    )
    raise GeneratorError(f"{key}: model {name!r} has no language {code!r}; {advice}")
