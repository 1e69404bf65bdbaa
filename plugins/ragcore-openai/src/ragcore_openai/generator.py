"""The generator `openai`: any server with OpenAI's API, of the tier that its model gives.

Which tier that is, the server is asked when the generator is loaded (`probe.py`). A prompt that is
too long loses parts of its passages (`fitting.py`); several requests run side by side
(`client.py`). Knows nothing of retrieval, priors or votes.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import ClassVar, Final

from ragcore.contracts import Completion, Meter, Prompted, TextScore, Tier, TopToken, Writing
from ragcore.errors import UnsupportedOperation
from ragcore_openai.client import Ask, Client
from ragcore_openai.configs import OpenAIConfig
from ragcore_openai.fitting import Fitting
from ragcore_openai.probe import probed

__all__ = ["OpenAI"]


class OpenAI:
    """See `ragcore.contracts.TextGenerator`, and for its tiers ScoringGenerator and TopGenerator.

    Several threads may use it. It cannot be trained.

    Raises:
        ServerError: the server cannot be reached, or replies wrongly.
        GeneratorError: it does not give what the config asks for.
    """

    Config: ClassVar[type[OpenAIConfig]] = OpenAIConfig
    capabilities: ClassVar[frozenset[str]] = frozenset({"stream"})

    def __init__(self, config: OpenAIConfig) -> None:
        self.config = config
        self._client: Final = Client(config)
        self._server: Final = probed(config, self._client)
        self._fitting: Final = Fitting(
            config.model, self._server.texts, self._server.limit, self._server.count
        )

    @property
    def tier(self) -> Tier:
        """Return what the server gives."""
        return self._server.tier

    def speed_report(self) -> list[str]:
        """Say what the server gives, a line each."""
        return [
            f"model {self.config.model!r} at {self.config.base_url}: tier {self.tier}",
            *self._server.reasons,
        ]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def write(
        self, prompts: Sequence[Prompted], writing: Writing, meters: Sequence[Meter]
    ) -> list[list[Completion]]:
        """Write for P prompts; see the contract.

        Raises:
            QuestionError: a question does not fit the input even without its passages.
            ServerError: the server does not answer, or not as expected.
        """
        route = self._server.route

        def write(job: tuple[Prompted, Meter, Writing], ask: Ask) -> list[Completion]:
            prompted, meter, own = job
            return self._fitting.send(
                ask, prompted, lambda room: route.write(ask, prompted, room, own, meter)
            )

        jobs = [
            (prompted, meter, writing.of_prompt(number))
            for number, (prompted, meter) in enumerate(zip(prompts, meters, strict=True))
        ]
        return self._client.each(write, jobs)

    def write_parts(
        self, prompt: Prompted, writing: Writing, meter: Meter
    ) -> Generator[Completion, None, None]:
        """Yield the text of one prompt as the server writes it; see the contract.

        Raises:
            QuestionError: the question does not fit the input even without its passages.
            ServerError: the server does not answer, not as expected, or not to the end.
        """
        route, client = self._server.route, self._client

        def write(job: Prompted, ask: Ask) -> Generator[Completion, None, None]:
            return self._fitting.send(
                ask, job, lambda room: route.parts(client.stream, job, room, writing, meter)
            )

        (parts,) = client.each(write, [prompt])
        yield from parts

    def score_texts(
        self, prompts: Sequence[Prompted], texts: Sequence[str], meters: Sequence[Meter]
    ) -> list[TextScore]:
        """Score texts[i] after prompts[i], its end included; see the contract.

        All texts of a prompt are scored after the same cut of its passages.

        Raises:
            UnsupportedOperation: the tier is not `score`.
            QuestionError: a question does not fit the input even without its passages.
            ServerError: the server does not answer, or its log-probs cannot be right.
        """
        scores = self._server.scores
        if scores is None:
            raise self._unsupported("score", "scores no given texts")
        rows: dict[tuple[object, ...], list[int]] = {}
        for row, prompted in enumerate(prompts):
            rows.setdefault(_identity(prompted), []).append(row)
        scored: list[TextScore | None] = [None] * len(prompts)

        def score(numbers: list[int], ask: Ask) -> None:
            prompted = prompts[numbers[0]]

            def send(room: int | None) -> list[TextScore]:
                prompt = self._server.texts.text(
                    prompted.question, prompted.passages, prompted.cite, room
                )
                return scores.scores(
                    ask,
                    prompt,
                    [texts[number] for number in numbers],
                    [meters[number] for number in numbers],
                )

            of_prompt = self._fitting.send(ask, prompted, send)
            for number, text_score in zip(numbers, of_prompt, strict=True):
                scored[number] = text_score

        self._client.each(score, list(rows.values()))
        return [text_score for text_score in scored if text_score is not None]

    def go_on(
        self,
        prompts: Sequence[Prompted],
        prefixes: Sequence[Sequence[TopToken]],
        writing: Writing,
        meters: Sequence[Meter],
    ) -> list[Completion]:
        """Continue prompts[i] after the tokens prefixes[i]; see the contract.

        Raises:
            UnsupportedOperation: the tier is not `top`.
            QuestionError: a question does not fit the input even without its passages.
            ServerError: the server does not answer, or its log-probs cannot be right.
        """
        top = self._server.top
        if top is None or self.tier != "top":
            raise self._unsupported("top", "shows no log-probs of each step")

        def go_on(job: tuple[Prompted, Sequence[TopToken], Meter], ask: Ask) -> Completion:
            prompted, prefix, meter = job
            return self._fitting.send(
                ask, prompted, lambda room: top.go_on(ask, prompted, room, prefix, writing, meter)
            )

        return self._client.each(go_on, list(zip(prompts, prefixes, meters, strict=True)))

    def _unsupported(self, tier: Tier, fault: str) -> UnsupportedOperation:
        return UnsupportedOperation(
            f"model {self.config.model!r} at {self.config.base_url} {fault} (its tier is "
            f"{self.tier!r}, not {tier!r}): {'; '.join(self._server.reasons)}"
        )


def _identity(prompted: Prompted) -> tuple[object, ...]:
    """Return what is the same for prompts that are sent alike; a passage's metadata is not sent."""
    texts = tuple((passage.title, passage.text) for passage in prompted.passages)
    return prompted.question, prompted.cite, texts
