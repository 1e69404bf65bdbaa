"""A generator without torch, of any tier but `steps`: it chooses one of three words.

A word's probability is 1 + how often the passage has it, divided by the sum over the words; an
answer is one word and the end.
"""

from __future__ import annotations

import math
import random
from typing import ClassVar, Literal

from ragcore.contracts import Completion, TextScore, TopToken
from ragcore.hookspecs import hookimpl
from ragcore.registry.components import ComponentConfig

WORDS = ("bamako", "lima", "oslo")


class WordChooser:
    class Config(ComponentConfig):
        tier: Literal["score", "top", "text"] = "text"
        top: int = 3

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self.tier = config.tier
        self._top = config.top

    def log_probs(self, prompt) -> dict[str, float]:
        text = " ".join(passage.text for passage in prompt.passages).lower()
        counts = {word: 1 + text.count(word) for word in WORDS}
        return {word: math.log(count / sum(counts.values())) for word, count in counts.items()}

    def write(self, prompts, writing, meters):
        return [
            [self._write(prompt, writing, draw) for draw in range(writing.count)]
            for prompt in prompts
        ]

    def _write(self, prompt, writing, draw):
        log_probs = self.log_probs(prompt)
        if not writing.temperature:
            return Completion(max(log_probs, key=log_probs.get))
        weights = [math.exp(log_p / writing.temperature) for log_p in log_probs.values()]
        drawn = random.Random(f"{prompt}{writing.seed}{draw}")
        return Completion(drawn.choices(list(log_probs), weights)[0])

    def score_texts(self, prompts, texts, meters):
        return [
            TextScore((text, ""), (self.log_probs(prompt).get(text, -30.0), 0.0))
            for prompt, text in zip(prompts, texts, strict=True)
        ]

    def go_on(self, prompts, prefixes, writing, meters):
        return [self._go_on(*each) for each in zip(prompts, prefixes, strict=True)]

    def _go_on(self, prompt, prefix):
        end = (TopToken("", 0.0, ends=True),)
        if prefix:
            return Completion("", steps=(end,))
        ranked = sorted(self.log_probs(prompt).items(), key=lambda each: -each[1])
        tops = tuple(TopToken(word, log_p) for word, log_p in ranked[: self._top])
        return Completion(tops[0].text, steps=(tops, end))


@hookimpl
def ragcore_generators() -> dict[str, str]:
    return {"word-chooser": "tests.helpers.word_chooser:WordChooser"}
