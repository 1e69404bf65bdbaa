"""Encoders whose tokenizer has one fault, and corpora that use one wrongly."""

from __future__ import annotations

import itertools

import numpy as np

from ragcore.testing.tokenizing import WordTokenizer
from ragcore.types import Passage
from tests.helpers.tokenized_parts import TextsByTokens, TokenizedWords


class TitleTakesNoRoom(TokenizedWords):
    caught_by = "test_a_text_that_fills_the_room_is_read_whole"

    class Tokenizer(WordTokenizer):
        def room(self, title):
            return self._limit

    def __init__(self, config):
        super().__init__(config)
        self.tokenizer = self.Tokenizer(config.limit)


class TokensAroundTakeNoRoom(TokenizedWords):
    caught_by = "test_a_text_that_fills_the_room_is_read_whole"

    def __init__(self, config):
        super().__init__(config)
        self.tokenizer = WordTokenizer(config.limit)
        self.limit -= 2


class NegativeRoom(TokenizedWords):
    caught_by = "test_a_text_that_fills_the_room_is_read_whole"

    class Tokenizer(WordTokenizer):
        def room(self, title):
            return super().room(title) or -1

    def __init__(self, config):
        super().__init__(config)
        self.limit = 1
        self.tokenizer = self.Tokenizer(1)


class OffsetsOfBytes(TokenizedWords):
    caught_by = "test_tokens_lie_in_their_text"

    class Tokenizer(WordTokenizer):
        def spans(self, texts):
            lengths = [np.cumsum([0, *(len(c.encode()) for c in text)]) for text in texts]
            return [n[s] for n, s in zip(lengths, super().spans(texts), strict=True)]

    def __init__(self, config):
        super().__init__(config)
        self.tokenizer = self.Tokenizer(config.limit)


class SpecialTokensHaveSpans(TokenizedWords):
    caught_by = "test_tokens_lie_in_their_text"

    class Tokenizer(WordTokenizer):
        def spans(self, texts):
            return [np.concatenate([s, np.zeros((1, 2), np.int64)]) for s in super().spans(texts)]

    def __init__(self, config):
        super().__init__(config)
        self.tokenizer = self.Tokenizer(config.limit)


class BatchIsOneText(TokenizedWords):
    caught_by = "test_tokens_lie_in_their_text"

    class Tokenizer(WordTokenizer):
        def spans(self, texts):
            longest = max((s[:3] for s in super().spans(texts)), key=len, default=None)
            return [longest[: len(s)] for s in super().spans(texts)]

    def __init__(self, config):
        super().__init__(config)
        self.tokenizer = self.Tokenizer(config.limit)


class SpansAsList(TokenizedWords):
    caught_by = "test_tokens_lie_in_their_text"

    class Tokenizer(WordTokenizer):
        def spans(self, texts):
            return [spans.tolist() for spans in super().spans(texts)]

    def __init__(self, config):
        super().__init__(config)
        self.tokenizer = self.Tokenizer(config.limit)


class NotForAnotherProcess(TokenizedWords):
    caught_by = "test_a_tokenizer_can_be_pickled"

    def __init__(self, config):
        super().__init__(config)
        self.tokenizer = WordTokenizer(config.limit)
        self.tokenizer.count = lambda text: len(text.split())


class FingerprintByTheTokenizer(TokenizedWords):
    caught_by = "test_a_tokenizers_fingerprint_is_stable"
    numbers = itertools.count()

    class Tokenizer(WordTokenizer):
        fingerprint = ""

    def __init__(self, config):
        super().__init__(config)
        self.tokenizer = self.Tokenizer(config.limit)
        self.tokenizer.fingerprint = f"words {next(self.numbers)}"


class TruncationIsTurnedOff(TokenizedWords):
    caught_by = "test_counting_tokens_changes_no_vector"

    def __init__(self, config):
        super().__init__(config)
        encoder = self

        class Tokenizer(WordTokenizer):
            def spans(self, texts):
                encoder.limit = 1 << 30
                return super().spans(texts)

        self.tokenizer = Tokenizer(config.limit)


class TokenizerIsMissing(TokenizedWords):
    def __init__(self, config):
        super().__init__(config)
        del self.tokenizer


class CorpusForgetsTheTitle(TextsByTokens):
    caught_by = "test_passages_fit_the_tokenizer"

    def __iter__(self):
        (spans,), text = self.tokenizer.spans([self.config.text]), self.config.text
        room = self.tokenizer.room("")
        for number, start in enumerate(range(0, len(spans), room)):
            piece = spans[start : start + room]
            yield Passage(str(number), self.config.title, text[piece[0, 0] : piece[-1, 1]])
