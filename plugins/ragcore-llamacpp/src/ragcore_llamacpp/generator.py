"""The generator `llamacpp`: decoder-only GGUF models, computed by llama.cpp in this process.

The prompt holds one passage and the question; the answer is the model's continuation. Prompts are
those of the generator `causal`. Knows nothing of retrieval, priors or beams.

    library.py      the model's file
    vocabulary.py   its tokenizer
    cache.py        log-probs of rows that share what they have read
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Final

import torch
from torch import Tensor

from ragcore.errors import GeneratorError
from ragcore.process.cpus import usable_cpus
from ragcore.prompts.chat import chat_of
from ragcore.prompts.ends import EndTokens
from ragcore.prompts.fitting import question_fault
from ragcore.prompts.prompts import Prompts
from ragcore.prompts.thinking import Thinking
from ragcore.prompts.tokens import Piece
from ragcore.prompts.words import WordEncoder
from ragcore.types import Passage, Word
from ragcore_llamacpp.branches import Branch, Prefix
from ragcore_llamacpp.cache import Cache
from ragcore_llamacpp.chat import rendering
from ragcore_llamacpp.configs import LlamaCppConfig
from ragcore_llamacpp.library import Model
from ragcore_llamacpp.vocabulary import Vocabulary

__all__ = ["LlamaCpp"]

_ANSWER_ROOM: Final = 128
"""Positions reserved for the answer."""


@dataclass(frozen=True, slots=True)
class _Read:
    """The prompts of P pairs, and the log-probs float32 [P, V] of the token after each."""

    prompts: list[Branch]
    log_probs: Tensor

    def __len__(self) -> int:
        return len(self.prompts)


class _State:
    """M decoder rows, of which each is a branch of its prompt."""

    def __init__(self, cache: Cache, read: _Read, pairs: Tensor) -> None:
        self._cache = cache
        self.device = pairs.device
        numbers = pairs.tolist()
        self.rows = [cache.fork(read.prompts[pair]) for pair in numbers]
        # Only before anything is fed: the log-probs that reading the prompts gave.
        self.first = read.log_probs[pairs.cpu()]

    def select(self, rows: Tensor) -> None:
        """Keep rows [M'] int64, in this order; one may appear more than once."""
        chosen: list[Branch] = []
        used: set[int] = set()
        for row in rows.tolist():
            branch = self.rows[row]
            # The last use would do as well as the first: a copy costs no memory.
            chosen.append(self._cache.fork(branch) if row in used else branch)
            used.add(row)
        self.rows = chosen
        self.first = self.first[rows.cpu()] if len(self.first) else self.first


class LlamaCpp:
    """See `ragcore.contracts.Generator`.

    It cannot be trained. Prompts are run once, by `read`; all rows share what was computed. Several
    threads may use it, of which one computes at a time. Log-probabilities come back on the device
    of the argument `pairs`; whatever llama.cpp computes on, they are made on the CPU.

    Raises:
        GeneratorError: the model cannot be loaded, or a setting does not fit it.
    """

    Config: ClassVar[type[LlamaCppConfig]] = LlamaCppConfig
    capabilities: frozenset[str] = frozenset({"cite", "together", "words"})
    forced_bos_token_id: int | None = None
    device: torch.device = torch.device("cpu")

    def __init__(self, config: LlamaCppConfig) -> None:
        self.config = config
        self.model = Model(config.model, config.gpu_layers)
        self.vocabulary = Vocabulary(self.model)
        self.vocabulary_size: int = self.vocabulary.size
        self._today = config.date or date.today()
        eos = self.vocabulary.eos
        render = rendering(
            self.model.chat_template,
            self.vocabulary.bos_text,
            "" if eos is None else self.vocabulary.text_of_token(eos),
            config.chat_template_kwargs,
        )
        chat = chat_of(config, render, self._today, source="the file")
        self._dated = chat is not None and chat.dated
        self._prompts = Prompts(
            config.model,
            self.vocabulary,
            config.template,
            config.template_without_passage,
            chat,
            config.template_of_passages,
        )
        self._thinking = Thinking(self.vocabulary.added)
        self._ends = EndTokens.of(
            self._end_token(), sorted(self.vocabulary.end_ids), self.vocabulary_size
        )
        self.eos_token_id: int = self._ends.first
        self.eos_token_ids: tuple[int, ...] = self._ends.ids
        self._words = WordEncoder(self.vocabulary.special, self.encode_answers)
        self._positions = min(self.model.positions, config.cache_tokens)
        self.max_input_tokens: int = self._input_limit()
        self.threads: int = config.threads or usable_cpus()
        self._cache = Cache(self.model, config, self.threads, self.vocabulary_size)

    @property
    def dtype(self) -> str:
        """Return the type of the weights as llama.cpp names it, such as "Q4_K - Medium"."""
        return self.model.dtype

    def speed_report(self) -> list[str]:
        """Say what it computes with, a line each."""
        return [
            f"weights: {self.dtype}; keys and values: {self.config.cache_dtype}, room for "
            f"{self._cache.cells} tokens now and {self.config.cache_tokens} at most",
            f"llama.cpp: {self.threads} threads",
        ]

    def close(self) -> None:
        """Free the cache and the weights; every later call is an error."""
        self._cache.close()

    def encode_answers(self, answers: Sequence[str]) -> list[list[int]]:
        """Return the target ids of each answer as it follows a prompt, the end token last."""
        continuations = self._prompts.continuations(answers, self.config.answer_prefix)
        ends = self._ends.ids
        return [[*(token for token in ids if token not in ends), ends[0]] for ids in continuations]

    def decode_tokens(self, token_ids: Sequence[int]) -> str:
        """Return the text of target ids, single-spaced, without special tokens and thinking."""
        text = self.vocabulary.text(self._answer(token_ids))
        return self._thinking.without_text(text)

    def decode_verbatim(self, token_ids: Sequence[int]) -> str:
        """Return the text of target ids without thinking, line breaks included."""
        return self._thinking.outside(self.vocabulary.verbatim(self._answer(token_ids)))

    def decode_prefix(self, token_ids: Sequence[int]) -> str:
        """Return the text of an answer's first tokens that no further token changes."""
        text = self.vocabulary.text(self._answer(token_ids), settled=True)
        return self._thinking.settled(text)

    def encode_words(self, texts: Sequence[str]) -> list[list[Word]]:
        """Return how each text's words are written in an answer."""
        return self._words(texts)

    def read(self, questions: Sequence[str], passages: Sequence[Passage | None]) -> _Read:
        """Read P pairs; prompts that are equal are run once. See the contract.

        Raises:
            QuestionError: a question does not fit the input even without its passage.
        """
        return self._run(self._prompts.of(questions, passages, self.max_input_tokens))

    def read_together(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        cite: bool = False,
    ) -> _Read:
        """Read P prompts of several passages each; see the contract.

        Raises:
            QuestionError: a question does not fit the input even without its passages.
        """
        return self._run(
            self._prompts.together(questions, passages, self.max_input_tokens, cite=cite)
        )

    def read_prompts(self, texts: Sequence[str]) -> _Read:
        """Read texts as prompts, without the template of a question; see the contract.

        Raises:
            QuestionError: a text does not fit the input.
        """
        return self._run(self._prompts.of_texts(texts, self.max_input_tokens))

    def _run(self, prompts: Sequence[Sequence[int]]) -> _Read:
        """Run prompts; those that are equal are run once."""
        branches = {ids: Branch(ids) for ids in dict.fromkeys(map(tuple, prompts))}
        log_probs = self._ends.merged(self._cache.extend(list(branches.values()), None))
        number = {ids: row for row, ids in enumerate(branches)}
        rows = torch.tensor([number[tuple(ids)] for ids in prompts], dtype=torch.int64)
        return _Read([branches[tuple(ids)] for ids in prompts], log_probs[rows])

    def score(self, read: _Read, pairs: Tensor, targets: Tensor) -> Tensor:
        """Return teacher-forced log-probabilities of targets, float32 [M, T], 0.0 where padded.

        Every distinct prefix is fed once, after the prompts. There is no gradient.
        """
        numbers = pairs.tolist()
        goals = [[token for token in row if token >= 0] for row in targets.tolist()]
        self._refuse_overlong(
            max(
                (len(read.prompts[n]) + len(goal) for n, goal in zip(numbers, goals, strict=True)),
                default=0,
            )
        )
        log_p = torch.zeros(targets.shape)  # [M, T]
        after: dict[Prefix, list[tuple[int, int, int]]] = {}
        for row, (number, goal) in enumerate(zip(numbers, goals, strict=True)):
            for position, token in enumerate(goal):
                if position == 0:
                    log_p[row, 0] = read.log_probs[number, token]
                else:
                    prefix = (read.prompts[number], tuple(goal[:position]))
                    after.setdefault(prefix, []).append((row, position, token))

        def consume(prefixes: list[Prefix], log_probs: Tensor) -> None:
            merged = self._ends.merged(log_probs)
            for prefix, of_prefix in zip(prefixes, merged, strict=True):
                for row, position, token in after.get(prefix, ()):
                    log_p[row, position] = of_prefix[token]

        self._cache.score(
            [
                (read.prompts[number], tuple(goal[:-1]))
                for number, goal in zip(numbers, goals, strict=True)
            ],
            consume,
        )
        return log_p.to(pairs.device)

    def length_faults(
        self, questions: Sequence[str], targets: Sequence[Sequence[int]]
    ) -> list[str | None]:
        """Say of each question and target why the model cannot hold them; None where it can."""
        room = self._positions - self.max_input_tokens
        faults: list[str | None] = []
        lengths = self._prompts.bare_lengths(questions)
        for length, target in zip(lengths, targets, strict=True):
            fault = question_fault(length, self.max_input_tokens)
            if fault is None and len(target) > room:
                fault = (
                    f"the answer is {len(target)} tokens long, its end included, and {room} of the "
                    f"{self._positions} positions are left after a prompt of the generator's "
                    f"max_input_tokens, {self.max_input_tokens}"
                )
            faults.append(fault)
        return faults

    def settings_of_today(self) -> dict[str, str]:
        """Return the settings that repeat today's prompts on another day: `date`, if it matters."""
        return {"date": self._today.isoformat()} if self._dated else {}

    def start(self, read: _Read, pairs: Tensor) -> _State:
        """Begin decoder rows for pairs [M], nothing decoded yet."""
        return _State(self._cache, read, pairs)

    def step(self, state: _State, tokens: Tensor | None) -> Tensor:
        """Feed one token to each row (None: nothing yet); return the next log p, float32 [M, V]."""
        if tokens is None:
            return state.first.to(state.device)
        state.first = state.first[:0]
        self._refuse_overlong(1 + max((len(row) for row in state.rows), default=0))
        log_probs = self._cache.extend(state.rows, tokens.tolist())
        return self._ends.merged(log_probs).to(state.device)

    def _answer(self, token_ids: Sequence[int]) -> list[int]:
        """Return an answer's tokens without its end and what the model thought."""
        ends = self._ends.ids
        return self._thinking.without_tokens([token for token in token_ids if token not in ends])

    def _end_token(self) -> int:
        """Return the end token: the configured one, a chat's end of reply, or the model's."""
        name = self.config.end_token
        if name is not None:
            (ids,) = self.vocabulary.prompt_ids([[Piece(name, trusted=True)]])
            if len(ids) != 1:
                raise GeneratorError(
                    f"end_token {name!r} is {len(ids)} tokens for model {self.config.model!r}: "
                    "name a single one"
                )
            return ids[0]
        end = self._prompts.turn_end()
        if end is None:
            end = self.vocabulary.eos
        if end is None:
            raise GeneratorError(
                f"model {self.config.model!r} names no end token: set end_token to one of its "
                "tokens"
            )
        return end

    def _input_limit(self) -> int:
        limit, positions = self.config.max_input_tokens, self._positions
        if limit is not None and limit >= positions:
            raise GeneratorError(
                f"max_input_tokens is {limit} but model {self.config.model!r} has positions for "
                f"{positions} here, the answer's included: lower it or leave it out, or raise "
                "cache_tokens if the model was trained with more"
            )
        return limit or positions - min(_ANSWER_ROOM, positions // 2)

    def _refuse_overlong(self, length: int) -> None:
        if length > self._positions:
            raise GeneratorError(
                f"prompt and answer of {length} tokens are longer than the {self._positions} "
                f"positions of model {self.config.model!r}: lower rag.max_new_tokens, or the "
                "generator's max_input_tokens"
            )
