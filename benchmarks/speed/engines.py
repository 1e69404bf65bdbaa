"""Run ragcore's side: a generator, the decoders over it, and the floor.

Every run reads the pairs again, from strings: its time includes tokenizing and the encoder's pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from ragcore_transformers.seq2seq import Seq2Seq

from ragcore.contracts import Read
from ragcore.decoding.beam import BeamSearch
from ragcore.decoding.hypotheses import Hypothesis
from ragcore.decoding.question_prior import QuestionPrior
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.scoring import score_hypotheses
from ragcore.decoding.sequence import RagSequence, fast, thorough
from ragcore.decoding.token import RagToken
from speed.work import Work

__all__ = ["DECODERS", "Engine", "Decoded"]

DECODERS = {
    "token": "RAG-Token, beam",
    "thorough": "RAG-Sequence, thorough",
    "fast": "RAG-Sequence, fast",
    "joint": "RAG-Sequence, joint",
}

Decoded = list[list[Hypothesis]]


class Engine:
    """One generator with weights of `dtype`."""

    def __init__(self, folder: Path, dtype: str, device: torch.device) -> None:
        config = Seq2Seq.Config.model_validate(
            {"model": str(folder), "dtype": dtype, "device": str(device)}
        )
        self.generator = Seq2Seq(config)

    @torch.inference_mode()
    def decode(self, decoder: str, work: Work, beams: int, tokens: int) -> Decoded:
        """Read, then decode with one of `DECODERS` to answers of exactly `tokens` tokens.

        Returns:
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
            decoded = thorough(generator, read, priors, options)
        elif decoder == "fast":
            decoded = fast(generator, read, priors, options)
        else:
            model = {"token": RagToken, "joint": RagSequence}[decoder]
            decoded = BeamSearch(model(generator, read, priors), options).run()
        wrong_lengths = [
            len(h.tokens) for hypotheses in decoded for h in hypotheses if len(h.tokens) != tokens
        ]
        if wrong_lengths:
            raise RuntimeError(
                f"{decoder} gave an answer of {wrong_lengths[0]} tokens, not {tokens}"
            )
        return decoded

    @torch.inference_mode()
    def floor(self, work: Work, beams: int, tokens: int) -> None:
        """Read, then do the same number of decoder steps on as many rows, with random tokens.

        Nothing is marginalised or ranked, and rows are selected once, to split them into beams.
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
        """Return RAG-Sequence's exact log p(y|x), float32 [B, n], for n answers a question."""
        read, priors = self._read(work)
        scored = score_hypotheses("sequence", self.generator, read, priors, answers)
        return torch.tensor(
            [[hypothesis.log_prob for hypothesis in hypotheses] for hypotheses in scored]
        )

    @torch.inference_mode()
    def gap(
        self, work: Work, targets: Sequence[list[int]], theirs: Sequence[Sequence[float]]
    ) -> float:
        """Return how far another library's log p of each pair's target is off, at most.

        Args:
            work: P pairs.
            targets: ids of a target for each pair, all as long, the end token not included.
            theirs: the log p of its tokens and of the end token after them.
        """
        read, _ = self._read(work)
        ended = torch.tensor([[*target, self.generator.eos_token_id] for target in targets])
        ours = self.generator.score(read, torch.arange(len(ended)), ended)  # [P, T]
        return float((ours.cpu() - torch.tensor(theirs)).abs().max())

    def _read(self, work: Work) -> tuple[Read, list[QuestionPrior]]:
        return self.generator.read(*work.pairs()), work.priors(self.generator.device)
