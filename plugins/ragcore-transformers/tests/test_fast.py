"""The fast decoder against the checkpoints' own plain forward pass."""

from __future__ import annotations

import functools
import random
import warnings
from typing import Any

import pytest
import tiny_models as tiny
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_transformers import attention, fast, head, tree
from ragcore_transformers.ends import EndTokens
from ragcore_transformers.fast import fast_decoder

VOCABULARY = 40
LENGTHS = [3, 9, 5, 9, 1]
"""Tokens that each of five pairs has read."""

COMMON = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "decoder_start_token_id": 2,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 1,
    "num_decoder_layers": 3,
    "num_heads": 2,
    # Few and near, so that a tree of some tokens reaches the last bucket.
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "pad_token_id": 1,
    "decoder_start_token_id": 2,
}
MODELS: dict[str, tuple[type[Any], Any]] = {
    "bart": (hf.BartForConditionalGeneration, hf.BartConfig(**COMMON)),
    "bart-scaled-relu": (
        hf.BartForConditionalGeneration,
        hf.BartConfig(**COMMON, scale_embedding=True, activation_function="relu"),
    ),
    "mbart": (hf.MBartForConditionalGeneration, hf.MBartConfig(**COMMON)),
    "pegasus": (
        hf.PegasusForConditionalGeneration,
        hf.PegasusConfig(**COMMON, scale_embedding=True),
    ),
    "t5": (hf.T5ForConditionalGeneration, hf.T5Config(**T5)),
    "t5-gated-untied": (
        hf.T5ForConditionalGeneration,
        hf.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    ),
}

every_model = pytest.mark.parametrize("name", list(MODELS))


@functools.cache
def made(name: str) -> Any:
    kind, config = MODELS[name]
    torch.manual_seed(3)
    model = kind(config).eval()
    tiny.spread(model)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 1:
                value.add_(torch.randn_like(value), alpha=0.2)
    return model


def what_is_read() -> tuple[torch.Tensor, torch.Tensor]:
    """Return encoder states of five pairs and their mask; random where there is no token."""
    states = torch.randn(5, 9, 16, generator=torch.Generator().manual_seed(5))
    return states, torch.arange(9) < torch.tensor(LENGTHS)[:, None]


def plain(model: Any, pair: int, prefix: list[int]) -> torch.Tensor:
    """log p [V] of the next token, by the checkpoint's own forward pass over one row."""
    states, mask = what_is_read()
    logits = model(
        encoder_outputs=(states[pair : pair + 1],),
        attention_mask=mask[pair : pair + 1],
        decoder_input_ids=torch.tensor([[2, *prefix]]),
        use_cache=False,
    ).logits
    return logits[0, -1].log_softmax(-1)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@every_model
@settings(max_examples=12, deadline=None)
@given(
    pairs=st.lists(st.integers(0, 4), min_size=1, max_size=8),
    steps=st.integers(1, 9),
    seed=st.integers(0, 2**16),
)
@torch.no_grad()
def test_rows_in_any_order_decode_as_each_alone(
    name: str, pairs: list[int], steps: int, seed: int
) -> None:
    model, draw = made(name), random.Random(seed)
    decoder = fast_decoder(model)
    assert decoder is not None
    state = decoder.start(decoder.encoded(*what_is_read()), torch.tensor(pairs))
    rows: list[tuple[int, list[int]]] = [(pair, []) for pair in pairs]
    fed = [2] * len(rows)
    for _ in range(steps):
        log_probs = state.step(torch.tensor(fed))
        assert log_probs.shape == (len(rows), VOCABULARY)
        close(log_probs, torch.stack([plain(model, *row) for row in rows]))
        kept = [draw.randrange(len(rows)) for _ in range(draw.randint(1, 8))]
        if draw.random() < 0.3:
            kept = list(range(len(rows)))
        state.select(torch.tensor(kept))
        fed = [draw.randrange(VOCABULARY) for _ in kept]
        rows = [
            (rows[row][0], [*rows[row][1], token]) for row, token in zip(kept, fed, strict=True)
        ]


@every_model
@torch.no_grad()
def test_caches_that_are_packed_and_pairs_that_leave(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(name)
    monkeypatch.setattr(fast, "Forest", functools.partial(tree.Forest, capacity=8))
    decoder = fast_decoder(model)
    assert decoder is not None
    state = decoder.start(decoder.encoded(*what_is_read()), torch.arange(5).repeat(3))
    rows: list[tuple[int, list[int]]] = [(row % 5, []) for row in range(15)]
    draw = random.Random(4)
    fed = [2] * 15
    for step in range(29):
        log_probs = state.step(torch.tensor(fed))
        if step % 6 == 4 or step == 28:
            close(log_probs, torch.stack([plain(model, *row) for row in rows]))
        # Each pair goes on from one of its rows; one pair leaves after the other.
        left = [4, 2, 1, 3, 0][: 5 - step // 6]
        kept = [
            row
            for row in range(len(rows))
            if rows[row][0] in left
            for _ in range(3)
            if row == max(r for r in range(len(rows)) if rows[r][0] == rows[row][0])
        ]
        draw.shuffle(kept)
        state.select(torch.tensor(kept))
        fed = [draw.randrange(VOCABULARY) for _ in kept]
        rows = [
            (rows[row][0], [*rows[row][1], token]) for row, token in zip(kept, fed, strict=True)
        ]
    # Without packing, 29 steps of three rows would need more.
    assert state._forest.capacity == 64
    assert len(state._encoded) == 1


@every_model
@settings(max_examples=20, deadline=None)
@given(
    asked=st.lists(
        st.tuples(st.integers(0, 4), st.lists(st.integers(0, 3), min_size=1, max_size=6)),
        min_size=1,
        max_size=12,
    ),
    nodes=st.sampled_from([1, 7, 1024]),
)
@torch.no_grad()
def test_scoring_prefixes_once_is_plain_scoring(
    name: str, asked: list[tuple[int, list[int]]], nodes: int
) -> None:
    model = made(name)
    decoder = fast_decoder(model)
    assert decoder is not None
    targets = torch.full((len(asked), 7), -1)
    expected = torch.zeros(len(asked), 7)
    for row, (pair, target) in enumerate(asked):
        targets[row, : len(target)] = torch.tensor(target)
        for place, token in enumerate(target):
            expected[row, place] = plain(model, pair, target[:place])[token]
    pairs = torch.tensor([pair for pair, _ in asked])
    with pytest.MonkeyPatch.context() as patch:
        # In one pass, in several, and pair by pair.
        patch.setattr(fast, "_NODES", nodes)
        patch.setattr(head, "_NODES", nodes)
        found = decoder.score(decoder.encoded(*what_is_read()), pairs, targets, 2, EndTokens(0))
    close(found, expected)


@pytest.mark.parametrize("name", ["bart", "t5"])
@torch.no_grad()
def test_many_rows_of_a_pair(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than batched products are used for."""
    model = made(name)
    decoder = fast_decoder(model)
    assert decoder is not None
    rows = attention._FEW_QUERIES + 3
    pairs = torch.tensor([1] * rows + [0, 3])
    state = decoder.start(decoder.encoded(*what_is_read()), pairs)
    fed = torch.randint(VOCABULARY, (len(pairs),), generator=torch.Generator().manual_seed(1))
    state.step(torch.full_like(pairs, 2))
    expected = [
        plain(model, pair, [token])
        for pair, token in zip(pairs.tolist(), fed.tolist(), strict=True)
    ]
    close(state.step(fed), torch.stack(expected))


@torch.no_grad()
def test_a_large_vocabulary_is_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_BLOCK", 7)
    model = made("bart")
    decoder = fast_decoder(model)
    assert decoder is not None
    state = decoder.start(decoder.encoded(*what_is_read()), torch.tensor([4, 0]))
    close(state.step(torch.tensor([2, 2])), torch.stack([plain(model, 4, []), plain(model, 0, [])]))


@torch.no_grad()
def test_results_are_good_for_one_more_step() -> None:
    decoder = fast_decoder(made("bart"))
    assert decoder is not None
    state = decoder.start(decoder.encoded(*what_is_read()), torch.tensor([4, 0]))
    first = state.step(torch.tensor([2, 2]))
    kept = first.clone()
    second = state.step(torch.tensor([5, 6]))
    assert torch.equal(first, kept)
    assert first.data_ptr() != second.data_ptr()
    assert state.step(torch.tensor([5, 6])).data_ptr() == first.data_ptr()


def test_rows_outlive_the_callers_inference_mode() -> None:
    model = made("bart")
    decoder = fast_decoder(model)
    assert decoder is not None
    with torch.inference_mode():
        read = decoder.encoded(*what_is_read())
        state = decoder.start(read, torch.tensor([4, 0]))
        state.step(torch.tensor([2, 2]))
        state.select(torch.tensor([1, 1]))
    with torch.no_grad():
        close(state.step(torch.tensor([5, 6]))[1], plain(model, 0, [6]))


@torch.no_grad()
def test_weights_that_change_are_those_that_decode() -> None:
    kind, config = MODELS["bart"]
    model = kind(config).eval()
    decoder = fast_decoder(model)
    assert decoder is not None
    tiny.spread(model, seed=11)
    state = decoder.start(decoder.encoded(*what_is_read()), torch.tensor([2]))
    close(state.step(torch.tensor([2]))[0], plain(model, 2, []))


def test_an_architecture_that_is_not_known_is_said_to_be_slower() -> None:
    config = hf.MarianConfig(**COMMON, decoder_vocab_size=VOCABULARY)
    with pytest.warns(UserWarning, match="MarianMTModel is decoded by its own forward pass"):
        assert fast_decoder(hf.MarianMTModel(config)) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fast_decoder(made("t5")) is not None
