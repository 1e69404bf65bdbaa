"""Compute the rows of the table: which questions, from which memory, and what is counted.

A row yields figures, each with its target where there is one. `asking.limit` bounds the questions
of each figure. Knows questions and answers; knows nothing of how a pipeline works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isnan
from typing import Final

from ragcore_world.editions import edition_passages

from world_rows.asking import Asking, against, every, holds_pattern, without_right_ones
from world_rows.figures import (
    Asked,
    Figure,
    Judged,
    Target,
    auroc,
    calibration_error,
    share,
    statistic,
)
from world_rows.memories import EDITIONS
from world_rows.questions import (
    FactbookQuestions,
    changed_offices,
    natural_questions,
    nq_questions,
    squad_questions,
    year_questions,
)

__all__ = ["READER_ROWS", "ROWS", "check"]

NOW: Final = "2026-01"
"""The edition of the demo."""
WORDED: Final = (("world", NOW), ("shared", "2018-12"))
"""Where other wordings, confidence and years are asked."""

_MATCHED: Final = Target("≥", 92)
_MISMATCHED: Final = Target("≤", 2)
_LEADERS: Final = Target("≥", 88)
_FACTS: Final = Target("≥", 92)


def hot_swap(asking: Asking) -> Iterator[Figure]:
    """Ask for offices whose holder changed, with the memories of both dates, by RAG-Sequence."""
    for memory in asking.factbooks:
        for old, new in (("2016-11", "2018-12"), ("2016-11", "2026-02")):
            offices = every(changed_offices(asking.data, old, new), asking.limit)
            by_edition = {old: [a for a, _, _ in offices], new: [b for _, b, _ in offices]}
            held_out = [is_held_out for _, _, is_held_out in offices]
            matched: list[tuple[Judged, bool]] = []
            mismatched: list[tuple[Judged, bool]] = []
            for edition, other in ((old, new), (new, old)):
                answers = asking.ask(
                    memory,
                    _version(memory, edition),
                    by_edition[edition],
                    "rag.marginalize=sequence",
                )
                matched += zip(answers, held_out, strict=True)
                mismatched += zip(against(answers, by_edition[other]), held_out, strict=True)
            for kind, pairs, target in (
                ("matched", matched, _MATCHED),
                ("mismatched", mismatched, _MISMATCHED),
            ):
                for where in ("all", "held out"):
                    chosen = [answer for answer, unseen in pairs if unseen or where == "all"]
                    name = f"{memory}, {old} and {new}, {kind}, {where}"
                    yield share("hot-swap", name, chosen, target=target)


def leaders(asking: Asking) -> Iterator[Figure]:
    """Ask for the office holders of held-out countries."""
    yield from _by_edition(asking, "leaders", FactbookQuestions.leaders, _LEADERS)


def facts(asking: Asking) -> Iterator[Figure]:
    """Ask for facts of held-out countries; the older editions of `world` have those of 2026."""
    yield from _by_edition(asking, "facts", FactbookQuestions.facts, _FACTS)


def wordings(asking: Asking) -> Iterator[Figure]:
    """Ask for the same in other wordings."""
    kinds: tuple[tuple[str, Callable[[FactbookQuestions], list[Asked]], int], ...] = (
        ("conversational", FactbookQuestions.conversational, 85),
        ("reworded role", FactbookQuestions.reworded, 80),
        ("adjective", FactbookQuestions.adjective, 75),
        ("indirect fact", FactbookQuestions.indirect, 80),
    )
    yield from _worded(asking, "wordings", kinds)


def typos(asking: Asking) -> Iterator[Figure]:
    """Ask with typing errors."""
    kinds: tuple[tuple[str, Callable[[FactbookQuestions], list[Asked]], int], ...] = (
        ("typo in the country", FactbookQuestions.mistyped_country, 65),
        ("typo in the office", FactbookQuestions.mistyped_office, 65),
    )
    yield from _worded(asking, "typos", kinds)


def unanswerable(asking: Asking) -> Iterator[Figure]:
    """Ask SQuAD 2.0's questions without an answer, with the paragraph given and with a search."""
    for half in ("test", "other"):
        without, with_answer = _squad(asking, half)
        name = f"paragraph given, {half} half"
        read = asking.read("squad", without)
        answerable = asking.read("squad", with_answer)
        lifted = asking.always_read("squad", with_answer, answerable)
        yield from _abstention(name, read, answerable, lifted)
        name = f"retrieved, {half} half"
        read = asking.ask("squad", "dev", without)
        answerable = asking.ask("squad", "dev", with_answer)
        lifted = asking.always("squad", "dev", with_answer, answerable)
        yield from _abstention(name, read, answerable, lifted)


def elsewhere(asking: Asking) -> Iterator[Figure]:
    """Ask Natural Questions of the Factbook."""
    asked = [
        Asked(each.question, (), each.group)
        for each in every(nq_questions(asking.data), asking.limit)
    ]
    answers = asking.ask("world", NOW, asked)
    yield share("elsewhere", "NQ to the Factbook, answered", answers, _answered, Target("≤", 8))


def years(asking: Asking) -> Iterator[Figure]:
    """Ask about years that the memory covers, and others."""
    listed = every(year_questions(), asking.limit)
    answers = asking.ask("world", NOW, [asked for asked, _ in listed])
    answers = without_right_ones(answers, [then for _, then in listed])
    yield from _years(f"world {NOW}, by hand", answers)
    questions = FactbookQuestions(asking.data, "2018-12")
    made = [*every(questions.before_their_time(), asking.limit)]
    made += every(questions.in_their_time(), asking.limit)
    yield from _years("shared 2018-12, made", asking.ask("shared", "2018-12", made))


def open_domain(asking: Asking) -> Iterator[Figure]:
    """Ask SQuAD's and Natural Questions' questions, with a search."""
    both: list[Judged] = []
    for half, target in (("test", Target("≥", 45)), ("other", None)):
        _, asked = _squad(asking, half)
        answers = asking.ask("squad", "dev", asked)
        both += answers
        yield share("open-domain", f"SQuAD among 2,067, {half} half", answers, target=target)
    yield share("open-domain", "SQuAD among 2,067, both", both, target=Target("≥", 45))
    asked = every(nq_questions(asking.data), asking.limit)
    answers = asking.ask("openqa", "2018-12", asked)
    yield share("open-domain", "NQ among 13,751", answers, target=Target("≥", 33))


def confidence(asking: Asking) -> Iterator[Figure]:
    """Compare confidence with being right, on leaders and facts of held-out countries."""
    both: list[Judged] = []
    for memory, version in _worded_memories(asking):
        questions = FactbookQuestions(asking.data, _edition(version))
        for asked in (questions.leaders(), questions.facts()):
            both += asking.ask(memory, version, every(asked, asking.limit))
    answered = [answer for answer in both if not answer.abstained]
    yield statistic("confidence", "ECE, Factbook", answered, calibration_error, Target("≤", 0.08))
    low = [answer for answer in answered if answer.confidence < 0.1]
    yield share("confidence", "right, of answers with p < 0.1", low)
    high = [answer for answer in answered if answer.confidence >= 0.5]
    yield share("confidence", "right, of answers with p ≥ 0.5", high)


def natural(asking: Asking) -> Iterator[Figure]:
    """Ask questions as people do; each is useful, rightly unknown, wrong or empty."""
    listed = natural_questions()
    check(listed)
    answers = asking.ask("world", NOW, [asked for asked, _ in listed])
    row = "natural"
    yield share(row, "useful or rightly unknown", answers, _useful, Target("≥", 70))
    known = [answer for answer in answers if answer.asked.answers]
    yield share(row, "useful, of those with an answer", known, _right_and_answered)
    others = [answer for answer in answers if not answer.asked.answers]
    yield share(row, "unknown, of those without", others, lambda a: not a.answered)
    yield share(
        row,
        "wrong with p ≥ 0.5",
        answers,
        lambda a: a.answered and not a.right and a.confidence >= 0.5,
        Target("≤", 2),
    )
    yield share(row, "empty", answers, lambda a: not a.text, Target("≤", 0))


def reader(asking: Asking) -> Iterator[Figure]:
    """Read the passage that answers, without a search: what the reader alone can do."""
    for name, make in (
        ("leaders", FactbookQuestions.leaders),
        ("facts", FactbookQuestions.facts),
        ("conversational", FactbookQuestions.conversational),
        ("reworded role", FactbookQuestions.reworded),
        ("indirect fact", FactbookQuestions.indirect),
    ):
        for edition in EDITIONS["shared"]:
            asked = every(make(FactbookQuestions(asking.data, edition)), asking.limit)
            yield share("reader", f"{name}, {edition}", asking.read(edition, asked))
    nq = every(nq_questions(asking.data), asking.limit)
    yield share("reader", "NQ, gold passage", asking.read("openqa", nq))
    for half in ("test", "other"):
        without, with_answer = _squad(asking, half)
        answerable = asking.read("squad", with_answer)
        lifted = asking.always_read("squad", with_answer, answerable)
        yield from _abstention(
            f"SQuAD, {half} half", asking.read("squad", without), answerable, lifted, row="reader"
        )


Row = Callable[[Asking], Iterator[Figure]]

ROWS: Final[Mapping[str, Row]] = {
    "natural": natural,
    "hot-swap": hot_swap,
    "leaders": leaders,
    "facts": facts,
    "wordings": wordings,
    "typos": typos,
    "unanswerable": unanswerable,
    "elsewhere": elsewhere,
    "years": years,
    "open-domain": open_domain,
    "confidence": confidence,
}
READER_ROWS: Final[Mapping[str, Row]] = {"reader": reader}
"""Rows without a search, which are fast."""


def _by_edition(
    asking: Asking,
    row: str,
    make: Callable[[FactbookQuestions], list[Asked]],
    target: Target,
) -> Iterator[Figure]:
    for memory in asking.factbooks:
        pooled: list[Judged] = []
        # Only the leaders of the older editions in ragcore-world are of their time.
        editions = EDITIONS[memory] if memory != "world" or row == "leaders" else (NOW,)
        for version in editions:
            questions = FactbookQuestions(asking.data, _edition(version))
            answers = asking.ask(memory, version, every(make(questions), asking.limit))
            pooled += answers
            if len(editions) > 1:
                yield share(row, f"{memory}, {version}", answers)
        name = f"{memory}, {'all editions' if len(editions) > 1 else NOW}"
        yield share(row, name, pooled, target=target)


def _worded(
    asking: Asking,
    row: str,
    kinds: Sequence[tuple[str, Callable[[FactbookQuestions], list[Asked]], int]],
) -> Iterator[Figure]:
    for memory, version in _worded_memories(asking):
        questions = FactbookQuestions(asking.data, _edition(version))
        for name, make, target in kinds:
            answers = asking.ask(memory, version, every(make(questions), asking.limit))
            yield share(row, f"{name}, {memory} {version}", answers, target=Target("≥", target))


def _worded_memories(asking: Asking) -> list[tuple[str, str]]:
    return [(memory, version) for memory, version in WORDED if memory in asking.factbooks]


def _abstention(
    name: str,
    without: Sequence[Judged],
    answerable: Sequence[Judged],
    lifted: Sequence[Judged],
    row: str = "unanswerable",
) -> Iterator[Figure]:
    """Yield what abstaining does, and what it costs.

    Args:
        name: how the passages were found, and of which articles.
        without: answers to questions without an answer.
        answerable: answers to questions with one, at the pipeline's threshold.
        lifted: answers to the same questions where nothing is abstained from.
        row: the row's name.
    """
    both = [*without, *answerable]
    yield share(row, f"{name}: answered all the same", without, _answered, Target("≤", 50))
    yield statistic(row, f"{name}: AUROC of p(unknown)", both, auroc, Target("≥", 0.75))
    yield statistic(row, f"{name}: AUROC of 1 - confidence", both, lambda a: auroc(a, _doubt))
    yield share(row, f"{name}: exact match, threshold lifted", lifted)
    yield share(row, f"{name}: exact match", answerable, _right_and_answered)
    lost = {
        id(before)
        for before, after in zip(lifted, answerable, strict=True)
        if before.right and not _right_and_answered(after)
    }
    name = f"{name}: points lost by abstaining"
    yield share(row, name, lifted, lambda answer: id(answer) in lost, Target("≤", 5))


def _years(name: str, answers: Sequence[Judged]) -> Iterator[Figure]:
    covered = [answer for answer in answers if answer.asked.answers]
    others = [answer for answer in answers if not answer.asked.answers]
    yield share("years", f"{name}: not covered, answered", others, _answered, Target("≤", 10))
    yield share(
        "years",
        f"{name}: not covered, p ≥ 0.5",
        others,
        lambda answer: answer.answered and answer.confidence >= 0.5,
    )
    yield share("years", f"{name}: covered, right", covered, _right_and_answered)


def _squad(asking: Asking, half: str) -> tuple[list[Asked], list[Asked]]:
    """Return the questions without and with an answer on one half of the articles."""
    return (
        every(
            [q for q in squad_questions(asking.data, answerable=False) if q.kind == half],
            asking.limit,
        ),
        every(
            [q for q in squad_questions(asking.data, answerable=True) if q.kind == half],
            asking.limit,
        ),
    )


def check(listed: Sequence[tuple[Asked, str]]) -> None:
    """Check that the Factbook has the answers that natural questions are judged by.

    Raises:
        ValueError: a country's passages hold none of them.
    """
    for asked, country in listed:
        if asked.answers and not any(
            holds_pattern(passage.text, asked.answers)
            for passage in edition_passages(NOW, codes=[country])
        ):
            raise ValueError(
                f"natural.yaml: no passage of {country!r} in edition {NOW} holds an answer to "
                f"{asked.question!r}: expected one that matches {list(asked.answers)}"
            )


def _version(memory: str, edition: str) -> str:
    """Return the version of a memory for an edition of the questions."""
    return NOW if memory == "world" and edition == "2026-02" else edition


def _edition(version: str) -> str:
    """Return the questions' edition for a version."""
    return "2026-02" if version == NOW else version


def _answered(answer: Judged) -> bool:
    return answer.answered


def _right_and_answered(answer: Judged) -> bool:
    return answer.right and answer.answered


def _useful(answer: Judged) -> bool:
    return _right_and_answered(answer) if answer.asked.answers else not answer.answered


def _doubt(answer: Judged) -> float:
    """Return 1 less the confidence that there is an answer and that this is it."""
    if answer.abstained:
        return answer.unknown if not isnan(answer.unknown) else 1.0
    return 1 - answer.confidence
