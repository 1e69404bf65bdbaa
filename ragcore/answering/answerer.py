"""A generator and how it is to answer: found passages are read, marginalised, decoded, scored.

Knows no memories: what was found is given (retrieval.py), and who asks is another's (rag.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ragcore.answering.evidence import Found, make_answer, make_token
from ragcore.config import RagConfig
from ragcore.contracts import Generator, Read
from ragcore.decoding.abstention import Weighed, weigh
from ragcore.decoding.beam import BeamSearch, Hypothesis
from ragcore.decoding.grounding import Grounding
from ragcore.decoding.question_prior import Context
from ragcore.decoding.rules import DecodingOptions
from ragcore.decoding.scoring import score_hypotheses
from ragcore.decoding.sequence import RagSequence, fast, thorough
from ragcore.decoding.token import RagToken
from ragcore.errors import UnsupportedOperation
from ragcore.types import Answer, Passage, Token

__all__ = ["Answering"]


class Answering:
    """Answers out of what was found; safe to use from several threads."""

    def __init__(self, generator: Generator, config: RagConfig) -> None:
        """Raises UnsupportedOperation where grounded answers are beyond the generator."""
        self.generator = generator
        self.config = config
        if config.grounded and "words" not in generator.capabilities:
            raise UnsupportedOperation(
                f"rag.grounded: generator {type(generator).__name__} cannot be kept to a "
                "passage's words, which its capability `words` would say: leave rag.grounded "
                "out, or choose another generator"
            )

    @torch.inference_mode()
    def answers(self, found: Sequence[Found], version: str) -> list[Answer]:
        """The best hypothesis for each question, as an answer out of a memory's `version`."""
        size = self.config.batch_size
        return [
            answer
            for begin in range(0, len(found), size)
            for answer in self._batch(found[begin : begin + size], version)
        ]

    def tokens(self, found: Found) -> Iterator[Token]:
        """The tokens of one answer, each as soon as the search can no longer change it."""
        with torch.inference_mode():
            read, contexts = self._read([found])
            (weighed,) = self._weigh(read, contexts)
            abstained = weighed.abstention if weighed.abstains else None
            if abstained is None:
                search = self._search(read, [weighed.context], self._grounds([found]))
        if abstained is not None:
            for length in range(len(abstained.steps)):
                yield make_token(self.generator, abstained.steps[: length + 1])
            return
        sent, going = 0, True
        while going:
            # Entered anew for each token: the mode must not leak into the caller, whose code
            # runs between two of them.
            with torch.inference_mode():
                going = search.advance()
                steps = search.decided()
            while sent < len(steps):
                sent += 1
                yield make_token(self.generator, steps[:sent])

    @torch.inference_mode()
    def log_probs(self, found: Sequence[Found], answers: Sequence[str]) -> list[float]:
        """log p(y|x) of one given answer for each question."""
        targets = self.generator.encode_answers(answers)
        scores: list[float] = []
        for begin in range(0, len(found), self.config.batch_size):
            end = begin + self.config.batch_size
            read, contexts = self._read(found[begin:end])
            scores.extend(self._log_prob(read, contexts, targets[begin:end]))
        return scores

    def _read(self, found: Sequence[Found]) -> tuple[Read, list[Context]]:
        """Read all pairs of these questions in one pass of the encoder."""
        questions: list[str] = []
        passages: list[Passage | None] = []
        contexts: list[Context] = []
        device = self.generator.device
        for one in found:
            own: list[Passage | None] = list(one.passages) or [None]
            places = torch.arange(len(passages), len(passages) + len(own), device=device)
            contexts.append(Context(places, one.log_prior.to(device)))
            passages.extend(own)
            questions.extend([one.question] * len(own))
        return self.generator.read(questions, passages), contexts

    def _batch(self, found: Sequence[Found], version: str) -> list[Answer]:
        """The best hypothesis for each of a batch of questions, as an answer."""
        read, contexts = self._read(found)
        weighed = self._weigh(read, contexts)
        grounds = self._grounds(found)
        answering = [place for place, one in enumerate(weighed) if not one.abstains]
        searched = iter(
            self._searched(
                read,
                [weighed[place].context for place in answering],
                [grounds[place] for place in answering],
            )
        )
        return [
            make_answer(
                self.generator,
                self.config.marginalize,
                one,
                own,
                [own.abstention] if own.abstains and own.abstention else next(searched),
                version,
                ground.spans if ground else None,
            )
            for one, own, ground in zip(found, weighed, grounds, strict=True)
        ]

    def _searched(
        self, read: Read, contexts: Sequence[Context], grounds: Sequence[Grounding | None]
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each question, best first, as the config says to decode."""
        if not contexts:
            return []
        if self.config.marginalize == "sequence" and self.config.decode != "joint":
            decode = thorough if self.config.decode == "thorough" else fast
            return decode(self.generator, read, contexts, self._options(), grounds)
        return self._search(read, contexts, grounds).run()

    def _search(
        self, read: Read, contexts: Sequence[Context], grounds: Sequence[Grounding | None]
    ) -> BeamSearch:
        kind = RagToken if self.config.marginalize == "token" else RagSequence
        return BeamSearch(kind(self.generator, read, contexts), self._options(), grounds)

    def _grounds(self, found: Sequence[Found]) -> list[Grounding | None]:
        """What keeps each question's answer to the words of its passages, if anything does."""
        if not self.config.grounded:
            return [None] * len(found)
        generator = self.generator
        texts = [passage.text for one in found for passage in one.passages]
        words = iter(generator.encode_words(texts))
        return [
            Grounding(
                [next(words) for _ in one.passages],
                generator.eos_token_id,
                forced_bos_token_id=generator.forced_bos_token_id,
            )
            for one in found
        ]

    def _options(self) -> DecodingOptions:
        config, generator = self.config, self.generator
        return DecodingOptions(
            eos_token_id=generator.eos_token_id,
            beams=config.beams,
            max_new_tokens=config.max_new_tokens,
            min_new_tokens=config.min_new_tokens,
            length_penalty=config.length_penalty,
            no_repeat_ngram=config.no_repeat_ngram,
            forced_bos_token_id=generator.forced_bos_token_id,
            banned_openings=self._banned(),
        )

    def _banned(self) -> frozenset[tuple[int, ...]]:
        """How an answer must not begin, since that is for the abstaining one.

        Tokens without text, such as a forced first one, begin all answers. Where a grounded answer
        says the word, a passage does.
        """
        tokens = () if self.config.grounded else tuple(self._abstention())
        forced = 0 if self.generator.forced_bos_token_id is None else 1
        for end in range(forced + 1, len(tokens) + 1):
            if self.generator.decode_tokens(tokens[forced:end]):
                return frozenset({tokens[:end]})
        return frozenset()

    def _abstention(self) -> list[int]:
        """The abstaining answer's token ids; none where no answer abstains."""
        abstain = self.config.abstain
        return [] if abstain is None else self.generator.encode_answers([abstain.answer])[0]

    def _weigh(self, read: Read, contexts: Sequence[Context]) -> list[Weighed]:
        """Each question's context among the passages that answer, or its abstention."""
        abstain = self.config.abstain
        if abstain is None:
            return [Weighed(context) for context in contexts]
        return weigh(
            self.config.marginalize,
            self.generator,
            read,
            contexts,
            self._abstention(),
            abstain.above,
        )

    def _log_prob(
        self, read: Read, contexts: Sequence[Context], targets: Sequence[list[int]]
    ) -> list[float]:
        """log p(y|x) of one target for each question."""
        abstention = self._abstention()
        weighed = self._weigh(read, contexts)
        used = [
            # What abstains is weighed among all passages; what answers among those that do.
            context if target == abstention else own.context
            for context, own, target in zip(contexts, weighed, targets, strict=True)
        ]
        scored = score_hypotheses(
            self.config.marginalize, self.generator, read, used, [[t] for t in targets]
        )
        return [one.log_prob for (one,) in scored]
