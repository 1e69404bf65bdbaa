"""The tier `text`: answers are grouped, weighted by the prior, and have no probability."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from ragcore.answering.ablation import without
from ragcore.answering.votes import count_votes
from ragcore.errors import GeneratorError, UnsupportedOperation
from ragcore.evaluation.calibration import calibrate
from ragcore.evaluation.verification import verify_answer
from ragcore.store.store import Store
from ragcore.testing.as_tier import AsTexts
from ragcore.tiers import Vote
from ragcore.types import Correction, Token
from ragcore.views.answer import answer_view
from ragcore.views.page.recorded import page_html
from tests.helpers.tiers import PASSAGES, QUESTION, pipeline


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("votes") / "store")


def test_answers_that_are_the_same_once_normalised_are_one_vote():
    prior, ids = [0.3, 0.4, 0.2, 0.1], ["a", "b", "c", "d"]
    votes = count_votes(prior, [["Lima"], ["the lima!"], ["Cusco"], ["Lima."]], ids)
    assert votes == [
        # As the passage of highest prior wrote it.
        Vote("the lima!", pytest.approx(0.8), ("b", "a", "d")),
        Vote("Cusco", pytest.approx(0.2), ("c",)),
    ]


def test_several_texts_of_a_passage_share_its_prior():
    votes = count_votes([0.6, 0.4], [["Lima", "Cusco", "Lima", "Lima"], ["Cusco"]], ["a", "b"])
    assert votes == [
        Vote("Cusco", pytest.approx(0.55), ("a", "b")),
        Vote("Lima", pytest.approx(0.45), ("a",)),
    ]


def test_options_and_signs_that_normalise_to_nothing_are_different_answers():
    prior, texts = [0.3, 0.25, 0.2, 0.15, 0.1], [["A"], [""], ["+"], ["-"], ["a"]]
    votes = count_votes(prior, texts, list("vwxyz"))
    assert [(vote.text, vote.share) for vote in votes] == [
        ("A", pytest.approx(0.4)),
        ("", 0.25),
        ("+", 0.2),
        ("-", 0.15),
    ]


def test_equal_shares_tie_in_any_order_of_adding():
    """0.03 + 0.02 + 0.01 is more than 0.06 in floating point, if it is added in this order."""
    prior = [0.06, 0.03, 0.02, 0.01]
    votes = count_votes(prior, [["Lima"], ["Cusco"], ["Cusco"], ["Cusco"]], list("abcd"))
    assert [vote.text for vote in votes] == ["Lima", "Cusco"]
    reversed_votes = count_votes(prior[::-1], [["Cusco"]] * 3 + [["Lima"]], list("dcba"))
    assert [vote.text for vote in reversed_votes] == ["Lima", "Cusco"]


def test_one_beam_is_what_it_has_anyway(store):
    (expected,) = pipeline(store, "text").answer(QUESTION)
    (answer,) = pipeline(store, "text", beams=1, decode="joint").answer(QUESTION)
    assert answer == expected


def test_without_passages_the_questions_own_answer_is_the_only_vote():
    assert count_votes([1.0], [["Lima"]], []) == [Vote("Lima", 1.0, ())]


def test_the_winner_is_what_the_passages_of_most_prior_write(store):
    for seed in range(8):
        (answer,) = pipeline(store, "text", seed).answer(QUESTION)
        texts: dict[str, float] = {}
        for hit in answer.evidence:
            # Each passage alone, read at temperature 0.
            (alone,) = pipeline(store, "text", seed, passages=[hit.passage]).answer(QUESTION)
            texts[alone.text] = texts.get(alone.text, 0) + hit.prior
        assert answer.text == max(texts, key=texts.get)
        assert {vote.text: pytest.approx(vote.share) for vote in answer.votes} == texts
        assert sum(vote.share for vote in answer.votes) == pytest.approx(1)


def test_no_number_is_made_up(store):
    rag = pipeline(store, "text")
    (answer,) = rag.answer(QUESTION)
    assert answer.tier == "text"
    assert answer.log_prob is answer.confidence is answer.marginalize is None
    assert answer.tokens == answer.token_ids == answer.token_posteriors == answer.candidates == ()
    assert all(hit.posterior is None and hit.prior > 0 for hit in answer.evidence)
    assert answer.usage.requests == len(PASSAGES)
    row = json.loads(json.dumps(answer.to_dict(), allow_nan=False))
    assert row["log_prob"] is row["confidence"] is None
    assert row["votes"][0]["text"] == answer.text
    assert row["usage"]["requests"] == len(PASSAGES)
    assert all(citation["posterior"] is None for citation in row["citations"])


def test_a_stream_is_the_whole_answer_as_one_token(store):
    rag = pipeline(store, "text")
    hits, token, answer = rag.events(QUESTION)
    assert token == Token(answer.text, None, ())
    assert [answer] == rag.answer(QUESTION)
    assert [hit.passage for hit in answer.evidence] == list(hits.passages)


@pytest.mark.parametrize(
    "settings",
    [
        {"marginalize": "none"},
        {"k": 0},
        {"marginalize": "none", "sample": {"temperature": 1.5}},
        {"marginalize": "sequence", "sample": {"temperature": 1.5, "seed": 4}},
        {"marginalize": "none", "cite": True},
    ],
    ids=str,
)
def test_where_one_text_decides_an_answer_it_is_streamed(store, settings):
    parts = 0
    for seed in range(6):
        rag = pipeline(store, "text", seed, **settings)
        _, *tokens, answer = rag.events(QUESTION)
        assert [answer] == rag.answer(QUESTION)
        assert "".join(token.text for token in tokens) == answer.text
        assert all((token.log_prob, token.posterior) == (None, ()) for token in tokens)
        parts = max(parts, len(tokens))
    assert parts > 1


def test_a_streamed_answer_that_abstains_is_corrected(store):
    rag = pipeline(store, "text", marginalize="none")
    (plain,) = rag.answer(QUESTION)
    abstaining = pipeline(
        store, "text", marginalize="none", abstain={"answer": plain.text.upper(), "above": 0.5}
    )
    *_, correction, answer = abstaining.events(QUESTION)
    assert answer.abstains
    assert correction == Correction(plain.text.upper())


def test_several_texts_are_voted_on_before_anything_is_sent(store):
    write = {"candidates": 3, "temperature": 1.5}
    rag = pipeline(store, "text", marginalize="none", write=write)
    _, token, answer = rag.events(QUESTION)
    assert token == Token(answer.text, None, ())


def test_draws_are_repeated_by_their_seed(store):
    write = {"candidates": 5, "temperature": 1.5}
    (answer,) = pipeline(store, "text", write=write).answer(QUESTION)
    (again,) = pipeline(store, "text", write=write).answer(QUESTION)
    (other,) = pipeline(store, "text", write={**write, "seed": 9}).answer(QUESTION)
    assert again.votes == answer.votes != other.votes
    assert answer.usage.seed == 0
    assert answer.usage.requests == 5 * len(PASSAGES)


def test_it_abstains_by_the_share_of_the_votes(store):
    (plain,) = pipeline(store, "text", 1).answer(QUESTION)
    assert len(plain.votes) > 1
    first = plain.votes[0]
    low = {"answer": first.text.upper(), "above": first.share - 0.01}
    (answer,) = pipeline(store, "text", 1, abstain=low).answer(QUESTION)
    assert answer.abstains
    assert answer.text == first.text.upper()
    assert answer.votes == plain.votes
    high = {**low, "above": 1.0}
    (answer,) = pipeline(store, "text", 1, abstain=high).answer(QUESTION)
    assert not answer.abstains
    assert answer.text == plain.votes[1].text
    assert answer.votes == (*plain.votes[1:], first)


def test_a_filter_that_allows_nothing_abstains_and_closed_book_answers(store):
    rag = pipeline(store, "text", abstain={"answer": "zz"}, where={"none": 1})
    (answer,) = rag.answer(QUESTION)
    assert answer.abstains
    assert answer.text == "zz"
    (alone,) = pipeline(store, "text", k=0, abstain={"answer": "zz"}).answer(QUESTION)
    assert not alone.abstains
    assert alone.votes == (Vote(alone.text, 1.0, ()),)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"grounded": True}, "rag.grounded"),
        ({"drop_below": 0.1}, "rag.drop_below"),
        ({"beams": 2}, "rag.beams"),
        ({"length_penalty": 0.5}, "rag.length_penalty"),
        ({"confidence": {"threshold": 0.5}}, "rag.confidence"),
        ({"abstain": {"mean": "geometric"}}, r"rag\.abstain\.mean: geometric .* to arithmetic"),
    ],
)
def test_what_the_tier_cannot_follow_is_refused(store, setting, reason):
    with pytest.raises(UnsupportedOperation, match=reason):
        pipeline(store, "text", **setting)


@pytest.mark.parametrize("more", [{"k": 0}, {"marginalize": "none"}], ids=["no-passage", "prompt"])
def test_the_geometric_mean_is_no_other_where_there_is_one_prompt(store, more):
    answers = [
        pipeline(store, "text", abstain={"answer": "zz", "mean": mean}, **more).answer(QUESTION)
        for mean in ("arithmetic", "geometric")
    ]
    assert answers[0] == answers[1]


def test_whatever_needs_log_p_of_an_answer_is_refused_with_the_reason(store):
    rag = pipeline(store, "text")
    (answer,) = rag.answer(QUESTION)
    for call in (
        lambda: rag.log_prob([QUESTION], ["a"]),
        lambda: verify_answer(rag, QUESTION),
        lambda: calibrate(rag, [QUESTION], ["a"]),
        lambda: rag.without(answer, "p0"),
        lambda: without(answer, ["p0"], rag.generator, rag.config),
    ):
        with pytest.raises(UnsupportedOperation, match="of tier steps or score"):
            call()


def test_a_generator_that_writes_nothing_for_a_prompt_is_an_error(store):
    rag = pipeline(store, "text")

    class Silent(AsTexts):
        def write(self, prompts, writing, meters):
            return self.cut(super().write(prompts, writing, meters))

    silent = Silent(rag.generator.config)
    rag._generator = silent
    silent.cut = lambda written: [[], *written[1:]]
    with pytest.raises(GeneratorError, match="no text for a prompt"):
        rag.answer(QUESTION)
    silent.cut = lambda written: written[1:]
    with pytest.raises(GeneratorError, match="3 of 4 prompts"):
        rag.answer(QUESTION)


def test_views_show_votes_and_what_was_used_and_no_probability(store):
    (answer,) = pipeline(store, "text").answer(QUESTION)
    console = Console(width=120, file=io.StringIO())
    console.print(answer_view(answer))
    shown = console.file.getvalue()
    assert "log p not known" in shown
    assert f"votes {answer.votes[0].share:.2f}" in shown
    assert "used 4 requests" in shown
    page = page_html([answer])
    assert '"votes":' in page
    assert '"log_prob":null' in page.replace(": ", ":")
