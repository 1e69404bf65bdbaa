"""ragcore's side: a generator and the decoders over it, through the public API, and the floor.

Every run reads the pairs anew, from strings: tokenizing and the encoder's pass are in its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from ragcore_transformers.seq2seq import Seq2Seq

from ragcore.contracts import Read
from ragcore.decoding.beam import BeamSearch, Hypothesis
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.scoring import score_hypotheses
from ragcore.decoding.sequence import RagSequence, fast, thorough
from ragcore.decoding.token import RagToken
from speed.work import Work

__all__ = ["DECODERS", "Engine", "Found"]

DECODERS = {
    "token": "RAG-Token, beam",
    "thorough": "RAG-Sequence, thorough",
    "fast": "RAG-Sequence, fast",
    "joint": "RAG-Sequence, joint",
}

Found = list[list[Hypothesis]]


class Engine:
    """One generator with weights of `dtype`."""

    def __init__(self, folder: Path, dtype: str, device: torch.device) -> None:
        config = Seq2Seq.Config.model_validate(
            {"model": str(folder), "dtype": dtype, "device": str(device)}
        )
        self.generator = Seq2Seq(config)

    @torch.inference_mode()
    def decode(self, decoder: str, work: Work, beams: int, tokens: int) -> Found:
        """Read, then decode by one of `DECODERS`; answers of exactly `tokens` tokens.

        For each question its hypotheses, best first.
        """
        read, priors = self._read(work)
        generator = self.generator
        options = DecodingOptions(
            eos_token_id=generator.eos_token_id,
            beams=beams,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
        )
        if decoder == "thorough":
            found = thorough(generator, read, priors, options)
        elif decoder == "fast":
            found = fast(generator, read, priors, options)
        else:
            model = {"token": RagToken, "joint": RagSequence}[decoder]
            found = BeamSearch(model(generator, read, priors), options).run()
        wrong = [len(h.tokens) for one in found for h in one if len(h.tokens) != tokens]
        if wrong:
            raise RuntimeError(f"{decoder} gave an answer of {wrong[0]} tokens, not {tokens}")
        return found

    @torch.inference_mode()
    def floor(self, work: Work, beams: int, tokens: int) -> None:
        """Read, then as many decoder steps on as many rows, of tokens drawn beforehand.

        Nothing is marginalised, ranked or selected but the rows' one split into beams.
        """
        read, _ = self._read(work)
        generator, device = self.generator, self.generator.device
        rng = torch.Generator().manual_seed(0)
        drawn = torch.randint(
            4, generator.vocabulary_size, (tokens - 1, len(read) * beams), generator=rng
        ).to(device)
        pairs = torch.arange(len(read), device=device)
        state = generator.start(read, pairs)
        generator.step(state, None)
        state.select(pairs.repeat_interleave(beams))
        for fed in drawn:
            generator.step(state, fed)

    @torch.inference_mode()
    def log_probs(self, work: Work, answers: Sequence[Sequence[tuple[int, ...]]]) -> torch.Tensor:
        """RAG-Sequence's exact log p(y|x), float32 [B, n], of n answers to each question."""
        read, priors = self._read(work)
        scored = score_hypotheses("sequence", self.generator, read, priors, answers)
        return torch.tensor([[hypothesis.log_prob for hypothesis in one] for one in scored])

    def _read(self, work: Work) -> tuple[Read, list[QuestionPrior]]:
        return self.generator.read(*work.pairs()), work.priors(self.generator.device)
