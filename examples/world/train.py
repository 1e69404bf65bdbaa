"""Train the extractive reader on a CPU: bfloat16 arithmetic, float32 weights, one or two threads.

    python train.py --data DATA --encoder all-MiniLM-L6-v2 --out runs/reader --minutes 75

The word embeddings stay as they are: so rare names are read as MiniLM reads them. The learning rate
falls to zero over the given minutes, at any speed of the machine. A checkpoint is written every few
minutes; a run that was stopped goes on with --resume. With --frozen the embeddings and the lowest
layers are kept bit for bit: a step is faster, and the new weights differ from the old in fewer
bytes.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from mix import Mix, load_mix
from spans import IGNORED, Encoded, encode, log_spans, span_loss
from torch import Tensor, nn
from transformers import AutoTokenizer, BertForQuestionAnswering

POOL = 1500  # examples that are sorted by length at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", required=True, help="MiniLM's folder or hub name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", type=Path, help="a checkpoint to continue from")
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--lr", type=float, default=1.5e-4)
    parser.add_argument("--warmup", type=int, default=200, help="steps")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens a batch")
    parser.add_argument("--frozen", type=int, default=0, help="lowest layers that stay as they are")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # Probabilities near zero leave denormal gradients, on which a CPU is tens of times slower.
    torch.set_flush_denormal(True)
    torch.manual_seed(arguments.seed)

    tokenizer = AutoTokenizer.from_pretrained(arguments.encoder)
    model = BertForQuestionAnswering.from_pretrained(
        arguments.resume or arguments.encoder, attn_implementation="eager", dtype=torch.float32
    )
    set_dropout(model, arguments.dropout)
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    if arguments.frozen:
        model.bert.embeddings.requires_grad_(False)
        model.bert.encoder.layer[: arguments.frozen].requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    exact = [weight.detach().clone() for weight in weights]
    # Not as bfloat16 rounds them: they are stored as they came.
    frozen = {
        name: weight.detach().clone()
        for name, weight in model.named_parameters()
        if not weight.requires_grad
    }
    model.to(torch.bfloat16).train()
    optimizer = torch.optim.AdamW(
        exact, lr=arguments.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    began = time.monotonic()
    mix = load_mix(arguments.data)
    sizes = {name: len(source.items) for name, source in mix.sources.items()}
    print(f"{time.monotonic() - began:.0f} s", sizes, flush=True)
    batches = token_batches(mix, tokenizer, arguments.tokens, random.Random(arguments.seed))

    began, step, losses, seen, examples, written = time.monotonic(), 0, 0.0, 0, 0, 0.0
    while (done := (time.monotonic() - began) / (60 * arguments.minutes)) < 1:
        ids, types, bounds, targets = next(batches)
        step += 1
        rate = arguments.lr * min(step / arguments.warmup, 1 - done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits = model(input_ids=ids, token_type_ids=types, attention_mask=(ids != 0).long())
        spans, none = log_spans(
            logits.start_logits.float(), logits.end_logits.float(), bounds[:, 0], bounds[:, 1]
        )
        loss = span_loss(spans, none, targets)
        loss.backward()
        for weight, copy in zip(weights, exact, strict=True):
            copy.grad = weight.grad.float()
            weight.grad = None
        nn.utils.clip_grad_norm_(exact, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(weights, exact)
        losses, seen, examples = losses + loss.item(), seen + ids.numel(), examples + len(ids)
        if step % 50 == 0:
            spent = time.monotonic() - began
            print(
                f"{step} loss {losses / 50:.3f} {spent / 60:.1f} min, {examples:,} examples, "
                f"{seen / spent:.0f} tokens/s",
                flush=True,
            )
            losses = 0.0
        if time.monotonic() - began > written + 420:
            written = time.monotonic() - began
            save(model, exact, frozen, tokenizer, arguments.out)
    save(model, exact, frozen, tokenizer, arguments.out)


def token_batches(
    mix: Mix, tokenizer: AutoTokenizer, budget: int, rng: random.Random
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield batches of about `budget` tokens, sorted by length: ids, types, bounds, targets.

    Ids and types are [B, S]; the bounds [B, 2] of the texts; the right spans [B, N, 2].
    """
    examples = mix.examples(rng)
    while True:
        pool: list[Encoded] = []
        while len(pool) < POOL:
            encoded = encode(next(examples), tokenizer)
            if encoded is not None:
                pool.append(encoded)
        pool.sort(key=lambda encoded: -len(encoded.ids))
        batches = []
        while pool:
            width = -(-len(pool[0].ids) // 16) * 16
            size = min(64, max(8, budget // width))
            batches.append(pool[:size])
            pool = pool[size:]
        rng.shuffle(batches)
        for batch in batches:
            width = -(-max(len(encoded.ids) for encoded in batch) // 16) * 16
            most = max(len(encoded.spans) for encoded in batch)
            targets = [
                encoded.spans + [(IGNORED, IGNORED)] * (most - len(encoded.spans))
                for encoded in batch
            ]
            yield (
                torch.tensor([e.ids + [0] * (width - len(e.ids)) for e in batch]),
                torch.tensor([e.types + [0] * (width - len(e.types)) for e in batch]),
                torch.tensor([(e.first, e.last) for e in batch]),
                torch.tensor(targets),
            )


def set_dropout(model: BertForQuestionAnswering, p: float) -> None:
    """Set the probability of every dropout; 0 is faster, and learns more from few steps."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = p


def save(
    model: BertForQuestionAnswering,
    exact: list[Tensor],
    frozen: dict[str, Tensor],
    tokenizer: AutoTokenizer,
    folder: Path,
) -> None:
    """Write the float32 weights with the tokenizer."""
    state = {name: tensor.float() for name, tensor in model.state_dict().items()}
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    state |= dict(zip(names, exact, strict=True)) | frozen
    model.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
