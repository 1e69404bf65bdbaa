"""Train the reader on a CPU: bfloat16 arithmetic, float32 weights, batches of similar length.

    python train.py --data DATA --encoder all-MiniLM-L6-v2 --out runs/reader --minutes 60

The learning rate falls to zero over the given minutes, at any speed of the machine. A run that was
stopped can be continued with --resume. A checkpoint is written every few hundred steps.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from data import Example, Mix, load_mix
from model import reader_from_encoder
from torch import Tensor, nn
from transformers import AutoTokenizer, BartForConditionalGeneration

LONGEST_INPUT = 320
LONGEST_ANSWER = 20
IGNORED = -100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", required=True, help="MiniLM's folder or hub name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", type=Path, help="a checkpoint to continue from")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--warmup", type=int, default=150, help="steps")
    parser.add_argument("--tokens", type=int, default=4096, help="input tokens a batch")
    parser.add_argument("--unknown", type=float, default=0.2, help="share of wrong passages")
    parser.add_argument("--hard", action="store_true", help="wrong passages that BM25 finds")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # Probabilities near zero leave denormal gradients, on which a CPU is tens of times slower.
    torch.set_flush_denormal(True)
    torch.manual_seed(arguments.seed)

    tokenizer = AutoTokenizer.from_pretrained(arguments.encoder)
    model = (
        BartForConditionalGeneration.from_pretrained(arguments.resume)
        if arguments.resume
        else reader_from_encoder(arguments.encoder)
    )
    # For this size the fused kernel's backward pass is slower on a CPU than eager attention.
    model.set_attn_implementation("eager")
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=arguments.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    mix = load_mix(
        arguments.data, tokenizer.tokenize, unknown=arguments.unknown, hard=arguments.hard
    )
    print({name: len(items) for name, (_, items) in mix.sources.items()}, flush=True)
    batches = token_batches(mix, tokenizer, arguments.tokens, random.Random(arguments.seed))

    began, step, losses, seen = time.monotonic(), 0, 0.0, 0
    while (done := (time.monotonic() - began) / (60 * arguments.minutes)) < 1:
        inputs, labels = next(batches)
        step += 1
        rate = arguments.lr * min(step / arguments.warmup, 1 - done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = answer_loss(model, inputs, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses, seen = losses + loss.item(), seen + inputs.numel()
        if step % 25 == 0:
            spent = time.monotonic() - began
            print(
                f"{step} loss {losses / 25:.3f} {spent / step:.2f} s/step "
                f"{seen / spent:.0f} tokens/s",
                flush=True,
            )
            losses = 0.0
        if step % 200 == 0:
            save(model, tokenizer, arguments.out)
    save(model, tokenizer, arguments.out)


def answer_loss(model: BartForConditionalGeneration, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the answers' mean cross-entropy; only their positions go through the last layer."""
    start = torch.full_like(labels[:, :1], model.config.decoder_start_token_id)
    shifted = torch.cat([start, labels[:, :-1].clamp(min=0)], dim=1)
    hidden = model.model(
        input_ids=inputs,
        attention_mask=(inputs != model.config.pad_token_id).long(),
        decoder_input_ids=shifted,
        use_cache=False,
    ).last_hidden_state
    is_target = labels != IGNORED
    logits = nn.functional.linear(hidden[is_target], model.model.shared.weight)
    return nn.functional.cross_entropy(logits.float(), labels[is_target])


def token_batches(
    mix: Mix, tokenizer: AutoTokenizer, budget: int, rng: random.Random
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of about `budget` input tokens, sorted by length in pools of 1,500 examples."""
    examples = mix.examples(rng)
    while True:
        pool: list[tuple[list[int], list[int]]] = []
        while len(pool) < 1500:
            example = next(examples)
            ids = tokenizer(as_input(example)).input_ids
            answer = tokenizer(example.answer, add_special_tokens=False).input_ids
            if len(ids) <= LONGEST_INPUT and len(answer) < LONGEST_ANSWER:
                pool.append((ids, [*answer, tokenizer.sep_token_id]))
        pool.sort(key=lambda pair: -len(pair[0]))
        batches = []
        while pool:
            width = rounded(len(pool[0][0]), 16)
            size = min(64, max(8, budget // width))
            batches.append(pool[:size])
            pool = pool[size:]
        rng.shuffle(batches)
        for batch in batches:
            yield (
                padded([ids for ids, _ in batch], 0, 16),
                padded([answer for _, answer in batch], IGNORED, 4),
            )


def as_input(example: Example) -> str:
    """Write an example in the paper's order: title / text // question."""
    return f"{example.title} / {example.text} // {example.question}"


def rounded(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def padded(rows: list[list[int]], filler: int, multiple: int) -> Tensor:
    """Pad rows to one tensor, with few different widths, since each new width needs a set-up."""
    width = rounded(max(map(len, rows)), multiple)
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows])


def save(model: BartForConditionalGeneration, tokenizer: AutoTokenizer, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
