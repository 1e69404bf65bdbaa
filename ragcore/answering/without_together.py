"""Leave passages out of an answer whose passages were all read in one prompt.

Nothing of the search tells what an answer would be without one of them: the others are read again
in a prompt of their own, the answer is scored after it, and another one is decoded.

Knows answers and what answers; knows nothing of memories or searching.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragcore.answering.choose import answerer_for
from ragcore.answering.evidence import Retrieved
from ragcore.answering.refusals import refuse_unscored
from ragcore.answering.together import joined
from ragcore.arrays import FloatArray
from ragcore.config import RagConfig
from ragcore.contracts import AnyGenerator, gives_scores, steps_of
from ragcore.types import Answer

__all__ = ["answered_again"]

_PURPOSE = "leaving passages out of an answer from one prompt"


def answered_again(
    answer: Answer,
    remaining: Sequence[int],
    log_prior: FloatArray,
    generator: AnyGenerator,
    config: RagConfig,
) -> tuple[float, Answer]:
    """Return log p of an answer after the prompt of some of its passages, and the answer to it.

    Args:
        answer: from one prompt.
        remaining: the positions in its evidence of the passages that are read.
        log_prior: float32 [k'], the prior over these.
        generator: the one that answered.
        config: the section `rag` that it answered by.

    Raises:
        UnsupportedOperation: the generator gives no log p of given answers.
    """
    refuse_unscored(generator, _PURPOSE)
    evidence = [answer.evidence[z] for z in remaining]
    retrieved = Retrieved(
        answer.question,
        [hit.passage for hit in evidence],
        [hit.score for hit in evidence],
        log_prior,
    )
    # A request may have set another formula than the pipeline's.
    config = config.model_copy(update={"marginalize": "none", "cite": answer.marks is not None})
    (winner,) = answerer_for(generator, config).answers([retrieved], answer.memory)
    if answer.abstains and config.abstains_by_scorer and winner.abstention is not None:
        # The generator did not write it.
        return winner.abstention.log_prob or 0.0, winner
    return _log_prob(answer, retrieved, generator, config), winner


def _log_prob(
    answer: Answer, retrieved: Retrieved, generator: AnyGenerator, config: RagConfig
) -> float:
    """Score an answer as it was written, not as its text would be encoded."""
    if gives_scores(generator):
        text = answer.candidates[0].text
        (log_prob,) = answerer_for(generator, config).log_probs([retrieved], [text])
        return log_prob
    from ragcore.answering.answerer import Answerer

    answerer = Answerer(steps_of(generator, _PURPOSE), config)
    (log_prob,) = answerer.log_probs_of_ids(
        [joined(retrieved, cite=config.cite)], [list(answer.token_ids)]
    )
    return log_prob
