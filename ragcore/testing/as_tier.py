"""Make a generator of the tier `steps` one of a lesser tier, which gives less of the same model.

Each wrapper computes by the model what a server would: texts by greedy decoding or by drawing,
log-probs of texts, or the most probable tokens of each step. So what is computed from these can be
compared with what all log-probs give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator as Generator_
from collections.abc import Sequence
from typing import ClassVar, Final

import torch
from pydantic import Field

from ragcore.answering.streaming import common_prefix, generated_prefix
from ragcore.answering.together import join, read_pairs
from ragcore.contracts import (
    Completion,
    Generator,
    Prompted,
    TextScore,
    TopToken,
    Writing,
    end_tokens,
)
from ragcore.contracts.component import Capabilities
from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.tiers import Meter, Tier
from ragcore.types import Passage

__all__ = ["AsScores", "AsTexts", "AsTops"]


class WrapperConfig(ComponentConfig):
    """Which generator writes, and how much of its distributions is shown."""

    generator: ComponentSpec[Generator] = Field(description="the generator, of tier steps")
    top: int = Field(default=5, ge=1, description="tokens of each step that are shown")


class AsTexts:
    """The tier `text`: the generator's texts alone."""

    Config: ClassVar[type[WrapperConfig]] = WrapperConfig

    capabilities: Capabilities = frozenset()
    tier: Tier = "text"

    def __init__(self, config: WrapperConfig) -> None:
        """Build the generator."""
        self.config = config
        self.generator: Generator = config.generator.build()
        # Its texts are written as the generator writes them.
        self.capabilities = (self.generator.capabilities & _OF_TEXTS) | {"stream"}

    def write(
        self, prompts: Sequence[Prompted], writing: Writing, meters: Sequence[Meter]
    ) -> list[list[Completion]]:
        """Write for each prompt; see `TextGenerator.write`."""
        written = []
        for number, (prompt, meter) in enumerate(zip(prompts, meters, strict=True)):
            completions = []
            own = writing.of_prompt(number)
            for draw in range(writing.count if writing.temperature else 1):
                tokens, _ = self._decode(prompt, (), own, draw)
                completions.append(self._completion(tokens, writing.stop))
                meter.add(prompt_tokens=self._read_tokens(prompt), completion_tokens=len(tokens))
            written.append(completions)
        return written

    def write_parts(
        self, prompt: Prompted, writing: Writing, meter: Meter
    ) -> Generator_[Completion, None, None]:
        """Write for one prompt, a token at a time; see `StreamingGenerator.write_parts`."""
        tokens, _ = self._decode(prompt, (), writing)
        meter.add(prompt_tokens=self._read_tokens(prompt), completion_tokens=len(tokens))
        whole = self._completion(tokens, writing.stop)
        for end in range(1, len(tokens)):
            text = generated_prefix(self.generator, tokens[:end])
            yield Completion(common_prefix([text, whole.text]).rstrip(), finished=False)
        yield whole

    def _read_tokens(self, prompt: Prompted) -> int:
        """Count the tokens of the question, as an answer writes it."""
        (question,) = self.generator.encode_answers([prompt.question])
        return len(question)

    def _completion(self, tokens: Sequence[int], stop: Sequence[str]) -> Completion:
        text = self.generator.decode_tokens(tokens)
        ends = [text.index(each) for each in stop if each in text]
        finished = bool(ends) or tokens[-1] in end_tokens(self.generator)
        return Completion(text[: min(ends, default=len(text))].strip(), finished)

    def _decode(
        self, prompt: Prompted, prefix: Sequence[int], writing: Writing, draw: int = 0
    ) -> tuple[list[int], list[torch.Tensor]]:
        """Continue a prefix up to its end or the longest.

        Returns:
            The new tokens, and log-probs [V] of each step.
        """
        generator = self.generator
        named = f"{prompt.question}|{_passage_of(prompt)}|{writing.seed}|{draw}"
        seed = int.from_bytes(hashlib.sha256(named.encode()).digest()[:7], "big")
        drawing = torch.Generator().manual_seed(seed)
        tokens: list[int] = []
        steps: list[torch.Tensor] = []
        with torch.inference_mode():
            read = read_pairs(generator, [prompt.question], [_passage_of(prompt)])
            state = generator.start(read, torch.zeros(1, dtype=torch.int64))
            log_p = generator.step(state, None)[0].clone()  # [V]
            for token in prefix:
                log_p = generator.step(state, torch.tensor([token]))[0].clone()
            while True:
                token = _next(log_p, writing, drawing)
                forced = generator.forced_bos_token_id
                if forced is not None and not prefix and not tokens:
                    token = forced
                tokens.append(token)
                steps.append(log_p)
                if token in end_tokens(generator) or len(tokens) >= writing.max_new_tokens:
                    return tokens, steps
                log_p = generator.step(state, torch.tensor([token]))[0].clone()


class AsScores(AsTexts):
    """The tier `score`: texts, and the log-probs of texts."""

    tier: Tier = "score"

    def score_texts(
        self, prompts: Sequence[Prompted], texts: Sequence[str], meters: Sequence[Meter]
    ) -> list[TextScore]:
        """Score each text after its prompt; see `ScoringGenerator.score_texts`."""
        generator = self.generator
        scores = []
        for prompt, text, meter in zip(prompts, texts, meters, strict=True):
            (target,) = generator.encode_answers([text])
            with torch.inference_mode():
                read = read_pairs(generator, [prompt.question], [_passage_of(prompt)])
                pair = torch.zeros(1, dtype=torch.int64)
                log_p = generator.score(read, pair, torch.tensor([target]))[0]  # [T]
            tokens = tuple(generator.decode_tokens([token]) for token in target)
            scores.append(TextScore(tokens, tuple(log_p.tolist())))
            read_tokens = self._read_tokens(prompt) + len(target)
            meter.add(prompt_tokens=read_tokens, completion_tokens=0)
        return scores


class AsTops(AsTexts):
    """The tier `top`: the most probable tokens of each step, `top` of them."""

    tier: Tier = "top"

    def go_on(
        self,
        prompts: Sequence[Prompted],
        prefixes: Sequence[Sequence[TopToken]],
        writing: Writing,
        meters: Sequence[Meter],
    ) -> list[Completion]:
        """Continue each prefix greedily; see `TopGenerator.go_on`."""
        continuations = []
        for prompt, prefix, meter in zip(prompts, prefixes, meters, strict=True):
            ids = [token.id for token in prefix if token.id is not None]
            tokens, steps = self._decode(prompt, ids, writing)
            shown = [
                self._tops([*ids, *tokens[:length]], token, log_p)
                for length, (token, log_p) in enumerate(zip(tokens, steps, strict=True))
            ]
            text = self.generator.decode_tokens([*ids, *tokens])
            ended = tokens[-1] in end_tokens(self.generator)
            continuations.append(Completion(text, ended, tuple(shown)))
            meter.add(prompt_tokens=self._read_tokens(prompt), completion_tokens=len(tokens))
        return continuations

    def _tops(
        self, prefix: Sequence[int], written: int, log_p: torch.Tensor
    ) -> tuple[TopToken, ...]:
        """Return the most probable tokens after a prefix, the one that was written first."""
        ends = end_tokens(self.generator)
        best = log_p.topk(min(self.config.top, len(log_p))).indices.tolist()
        ids = [written, *(token for token in best if token != written)]
        return tuple(
            TopToken(
                "" if token in ends else self._text_after(prefix, token),
                float(log_p[token]),
                token,
                token in ends,
            )
            for token in ids
        )

    def _text_after(self, prefix: Sequence[int], token: int) -> str:
        """Return what a token adds to the text of a prefix, with the space between words."""
        before = self.generator.decode_tokens(prefix)
        after = self.generator.decode_tokens([*prefix, token])
        if after.startswith(before):
            return after[len(before) :]
        return self.generator.decode_tokens([token])


def _passage_of(prompt: Prompted) -> Passage | None:
    """Return the passages of a prompt as one, which is read as that of one prompt is."""
    if len(prompt.passages) < 2 and not prompt.cite:
        return next(iter(prompt.passages), None)
    return join(prompt.passages, cite=prompt.cite)


_LEAST: Final = 1e-9
_OF_TEXTS: Final = frozenset({"uncased"})


def _next(log_p: torch.Tensor, writing: Writing, drawing: torch.Generator) -> int:
    """Choose the next token: the most probable one, or one drawn from the top of probability."""
    if not writing.temperature:
        return int(log_p.argmax())
    p = torch.softmax(log_p / writing.temperature, dim=0)  # [V]
    ordered, tokens = p.sort(descending=True)
    # The token that reaches top_p is the last that may be drawn.
    outside = ordered.cumsum(0) - ordered >= writing.top_p - _LEAST
    ordered = ordered.masked_fill(outside, 0.0)
    return int(tokens[int(torch.multinomial(ordered, 1, generator=drawing))])
