"""Wrong trainable components: `Letters` and `TrainedWords` with one fault each."""

from __future__ import annotations

import torch

from tests.helpers.trained_parts import LetterRead, Letters, TrainedWords


class EncoderIsDetached(Letters):
    def read(self, questions, passages):
        return LetterRead(super().read(questions, passages).states.detach())


class PassagesAreDetached(Letters):
    def read(self, questions, passages):
        whole = super().read(questions, passages).states
        asked = 4 * self.model.questions(questions)
        return LetterRead(asked + (whole - asked).detach())


class EmbeddingsAreDetached(Letters):
    def score_all(self, read, pairs, targets):
        letters = self.model.letters
        self.model.letters = torch.nn.Parameter(letters.detach().clone())
        try:
            return super().score_all(read, pairs, targets)
        finally:
            self.model.letters = letters


class OnlyTheLastTokenHasAGradient(Letters):
    def score(self, read, pairs, targets):
        log_probs = super().score(read, pairs, targets)
        return torch.cat([log_probs[:, :-1].detach(), log_probs[:, -1:]], dim=1)


class GradientsAreDoubled(Letters):
    def score_all(self, read, pairs, targets):
        log_probs = super().score_all(read, pairs, targets)
        return 2 * log_probs - log_probs.detach()


class ScoreAllIsDetached(Letters):
    def score(self, read, pairs, targets):
        every = super().score_all(read, pairs, targets)
        chosen = every.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]
        return chosen.masked_fill(targets < 0, 0.0)

    def score_all(self, read, pairs, targets):
        every = super().score_all(read, pairs, targets)
        return every.detach() + 0 * every


class WordsAreDetached(TrainedWords):
    def encode_questions(self, questions):
        words = self.questions.words
        self.questions.words = torch.nn.Parameter(words.detach().clone())
        try:
            return super().encode_questions(questions)
        finally:
            self.questions.words = words


class QuestionsAsArray(TrainedWords):
    def encode_questions(self, questions):
        return super().encode_questions(questions).detach().numpy()


class OnlyTheFirstQuestionHasAGradient(TrainedWords):
    def encode_questions(self, questions):
        vectors = super().encode_questions(questions)
        return torch.cat([vectors[:1], vectors[1:].detach()])


class PassagesHaveAnotherGradient(TrainedWords):
    def encode_passages_with_grad(self, passages):
        vectors = super().encode_passages_with_grad(passages)
        return vectors.detach() + vectors / 2 - (vectors / 2).detach()
