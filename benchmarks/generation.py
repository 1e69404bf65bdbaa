"""Time decoding against one encoder pass: ragcore, its floor, and transformers' RAG models.

Usage: python benchmarks/generation.py [--transformers all] [--dtypes float32 int8 bfloat16]
           [--ctranslate2] [--grid | --throughput | --memory] [--small] [--device cuda]

All runs use the weights of one random model of BART-base's shape: 4 questions, k=5 passages of
about 120 tokens, 4 beams, answers of exactly 20 tokens. Every figure is the median over the rounds
of a ratio to the unit. The unit is one encoder pass of transformers over all (question, passage)
pairs, padded to the longest and timed in the same round. The column `least` divides a run's least
time by the unit's. speed/engines.py and speed/reference.py say what each side does, and how
transformers is set to do the same work; speed/work.py makes the random model.

With --ctranslate2 the same checkpoint runs in CTranslate2, too: see speed/ctranslate.py.

Every time includes reading the pairs, and none includes retrieval. The floor reads, then feeds the
same number of tokens to the same number of decoder rows, and does nothing else. Log-probabilities
are RAG-Sequence's exact ones, by `score`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
import transformers
from rich.console import Console
from rich.table import Table
from speed import ctranslate
from speed.engines import DECODERS, Decoded, Engine
from speed.memory import in_its_own_process, report_peaks
from speed.reference import SHIPPED_WIDTH, Reference
from speed.timing import Run, race, timed
from speed.work import BASE, SMALL, Work, draw_work, save_model

from ragcore.errors import RagcoreError

TARGETS = {
    "float32 token": 1.5,
    "float32 thorough": 2.6,
    "float32 fast": 1.6,
    "float32 joint": 1.4,
    "int8 thorough": 1.1,
    "int8 fast": 0.7,
    "int8 joint": 0.65,
    "bfloat16 joint": 0.7,
}
FLOOR_TARGET = 1.3
LABELS = {
    "floor": "the floor",
    **DECODERS,
    "beams": "beams of each passage",
    "scored": "the same, scored under all passages",
}
REFERENCES = {"longest": None, "shipped": SHIPPED_WIDTH}


@dataclass(frozen=True, slots=True)
class Bench:
    """The options, the folder that holds the model, and one for what else is written."""

    options: argparse.Namespace
    folder: Path
    scratch: Path

    @property
    def device(self) -> torch.device:
        return torch.device(self.options.device)

    def work(self, questions: int | None = None, k: int | None = None) -> Work:
        shape = SMALL if self.options.small else BASE
        options = self.options
        return draw_work(shape, questions or options.questions, k or options.k, seed=options.seed)

    def action(
        self, name: str, work: Work, beams: int, engine: Callable[[str], Engine]
    ) -> Callable[[], object]:
        """Return the run of a name such as "int8 joint" or "float32 floor"."""
        dtype, decoder = name.split()
        tokens, runner = self.options.tokens, engine(dtype)
        if decoder == "floor":
            return lambda: runner.floor(work, beams, tokens)
        return lambda: runner.decode(decoder, work, beams, tokens)

    def their_action(
        self, name: str, work: Work, beams: int, reference: Reference
    ) -> Callable[[], object]:
        """Return the run of transformers of a name such as "longest token"."""
        padding, decoder = name.split()
        inputs = reference.inputs(work, REFERENCES[padding])
        run = reference.token if decoder == "token" else reference.thorough
        return lambda: run(inputs, beams, self.options.tokens)


def main() -> int:
    options = parse()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model or Path(scratch)
        if options.model is None:
            save_model(SMALL if options.small else BASE, folder, seed=options.seed)
        bench = Bench(options, folder, Path(scratch))
        if options.alone:
            report_alone(bench, options.alone)
            return 0
        print(
            f"{options.device}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
            f"transformers {transformers.__version__}; {options.questions} questions, "
            f"k={options.k}, {options.beams} beams, {options.tokens} tokens"
            f"{', small model: the targets do not hold for it' if options.small else ''}",
            flush=True,
        )
        for selected, measure in ((options.grid, grid), (options.throughput, throughput)):
            if selected:
                measure(bench)
        if options.memory:
            memory(bench)
        if not (options.grid or options.throughput or options.memory):
            table(bench)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", action="store_true", help="k, beams and batches, float32")
    parser.add_argument("--throughput", action="store_true", help="questions a second by batch")
    parser.add_argument("--memory", action="store_true", help="peak resident memory")
    parser.add_argument(
        "--transformers",
        choices=["none", "token", "longest", "all"],
        default="token",
        help="its rows: none, RAG-Token padded to the longest, both models so, or as shipped too",
    )
    parser.add_argument(
        "--dtypes", nargs="+", default=["float32", "int8"], help="float32 int8 bfloat16"
    )
    parser.add_argument("--ctranslate2", action="store_true", help="its rows, on a CPU")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of ragcore's runs")
    parser.add_argument("--their-repeats", type=int, default=1, help="rounds of transformers'")
    parser.add_argument("--questions", type=int, default=4)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="+", help="of --grid and --throughput")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="a tiny model: to try the script")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    return parser.parse_args()


def usable(bench: Bench) -> dict[str, Engine]:
    """Make an engine for each type of weights, and print why one cannot be used here."""
    engines: dict[str, Engine] = {}
    for dtype in bench.options.dtypes:
        try:
            engines[dtype] = Engine(bench.folder, dtype, bench.device)
        except (RagcoreError, ValueError) as error:
            print(f"skipped {dtype}: {' '.join(str(error).split())}", flush=True)
    return engines


def table(bench: Bench) -> None:
    """Print the ratios, the targets, and whether the decoded answers are right."""
    options, work = bench.options, bench.work()
    reference, engines = Reference(bench.folder, bench.device), usable(bench)
    inputs = reference.inputs(work)
    runs = []
    for dtype in engines:
        for decoder in ("floor", *DECODERS):
            name = f"{dtype} {decoder}"
            action = bench.action(name, work, options.beams, engines.__getitem__)
            runs.append(Run(name, action, options.repeats))
    theirs = {
        "none": [],
        "token": ["longest token"],
        "longest": ["longest token", "longest thorough"],
        "all": [f"{padding} {model}" for padding in REFERENCES for model in ("token", "thorough")],
    }[options.transformers]
    for name in theirs:
        action = bench.their_action(name, work, options.beams, reference)
        runs.append(Run(name, action, options.their_repeats))
    warm_up(bench, reference, engines)
    if options.ctranslate2:
        runs += yardstick(bench, work, engines)
    units = race(lambda: reference.encode(inputs), runs, bench.device)
    by_name = {run.name: run for run in runs}
    show(by_name, units)
    if "float32 thorough" in by_name:
        quality(engines["float32"], work, by_name)


def yardstick(bench: Bench, work: Work, engines: dict[str, Engine]) -> list[Run]:
    """Return CTranslate2's runs; print why there are none, and how its log p differs."""
    fault = ctranslate.missing() or ("it is for a CPU" if bench.device.type != "cpu" else None)
    if fault is not None:
        print(f"skipped CTranslate2: {fault}", flush=True)
        return []
    options, runs = bench.options, []
    size = (options.beams, options.tokens)
    converted = ctranslate.convert(bench.folder, bench.scratch / "ctranslate2")
    for dtype in options.dtypes:
        try:
            model = ctranslate.CTranslate(bench.folder, converted, dtype)
        except ValueError as error:
            print(f"skipped CTranslate2, {dtype}: {error}", flush=True)
            continue
        inputs = model.inputs(work)
        hypotheses = model.beams(inputs, *size)
        if dtype in engines:
            targets = [ranked[0] for ranked in hypotheses]
            theirs = model.log_probs(inputs, targets)
            gap = engines[dtype].gap(work, [model.ids(target) for target in targets], theirs)
            print(f"CTranslate2, {dtype}: its log p of a token is off by at most {gap:.2g}")
        actions = {
            "beams": partial(model.beams, inputs, *size),
            "scored": partial(model.thorough, inputs, work.k, *size),
        }
        for name, action in actions.items():
            runs.append(Run(f"CTranslate2-{dtype} {name}", action, options.repeats))
    return runs


def warm_up(bench: Bench, reference: Reference, engines: dict[str, Engine]) -> None:
    """Run each path once, on little work: the first call of anything is slow."""
    little = bench.work(1, 2)
    reference.encode(reference.inputs(little))
    for engine in engines.values():
        for decoder in DECODERS:
            engine.decode(decoder, little, 2, 3)
    if bench.options.transformers != "none":
        reference.token(reference.inputs(little), 2, 3)


def show(runs: dict[str, Run], units: list[float]) -> None:
    print(f"the unit, one encoder pass: {statistics.median(units):.3f} s")
    columns = ("", "decoder", "ratio", "least", "over floor", "rounds", "s", "to reach")
    table = Table(*columns)
    for name, run in runs.items():
        kind, decoder = name.split()
        floor = runs.get(f"{kind} floor")
        over = "" if floor in (None, run) else f"{over_floor(run, floor):.2f}"
        table.add_row(
            library(kind),
            LABELS[decoder],
            f"{run.ratio:.2f}",
            f"{min(run.seconds) / min(units):.2f}",
            over,
            str(len(run.ratios)),
            f"{statistics.median(run.seconds):.3f}",
            reached(run.ratio, TARGETS.get(name)),
        )
    Console(width=130).print(table)
    for name in ("float32 token", "float32 fast", "float32 joint"):
        if name in runs:
            over = over_floor(runs[name], runs["float32 floor"])
            print(f"{name} over its floor: {over:.2f}, {reached(over, FLOOR_TARGET)}")


def library(kind: str) -> str:
    """Return a row's library and what sets it apart, as "ragcore, int8"."""
    if kind in REFERENCES:
        return f"transformers, {kind}"
    return kind.replace("-", ", ") if "-" in kind else f"ragcore, {kind}"


def over_floor(run: Run, floor: Run) -> float:
    """Return the median, over the rounds, of a run's seconds divided by the floor's."""
    return statistics.median(a / b for a, b in zip(run.seconds, floor.seconds, strict=True))


def reached(ratio: float, target: float | None) -> str:
    if target is None:
        return ""
    return f"<= {target}: {'reached' if ratio <= target else 'not reached'}"


def quality(engine: Engine, work: Work, runs: dict[str, Run]) -> None:
    """Print whether answers equal the reference's, and RAG-Sequence's mean log p by decoder."""
    decoded: dict[str, Decoded] = {name: runs[f"float32 {name}"].result for name in DECODERS}
    answers = {
        name: [ranked[0].tokens for ranked in hypotheses] for name, hypotheses in decoded.items()
    }
    for name in ("longest token", "shipped token"):
        if name in runs:
            same = sum(a == b for a, b in zip(answers["token"], runs[name].result, strict=True))
            print(f"RAG-Token's answers equal to transformers' ({name}): {same} of {len(work)}")
    kinds = ["thorough", "fast", "joint"]
    scored = engine.log_probs(work, list(zip(*(answers[kind] for kind in kinds), strict=True)))
    means = dict(zip(kinds, scored.double().mean(dim=0).tolist(), strict=True))
    print("mean log p:", ", ".join(f"{kind} {mean:.4f}" for kind, mean in means.items()))
    is_reached = means["joint"] >= means["thorough"] - 1e-4
    print(f"joint at least thorough: {'reached' if is_reached else 'not reached'}")
    candidates = [[h.tokens for h in ranked] for ranked in decoded["thorough"]]
    count = sum(map(len, candidates))
    tokens = sum(len(ranked) * len(ranked[0]) for ranked in candidates)
    nodes = sum(len({c[: i + 1] for c in ranked for i in range(len(c))}) for ranked in candidates)
    print(
        f"thorough's candidates: {count / len(work):.1f} a question, their prefix trie "
        f"{nodes / tokens:.0%} of their tokens"
    )


def grid(bench: Bench) -> None:
    """Print each decoder's ratio for several k, beams and batches, to that batch's encoder pass."""
    reference = Reference(bench.folder, bench.device)
    engine = Engine(bench.folder, "float32", bench.device)
    warm_up(bench, reference, {"float32": engine})
    table = Table("k", "beams", "questions", "unit s", "floor", *DECODERS)
    for k in (5, 10):
        for beams in (1, 4):
            for questions in bench.options.batches or (1, 4, 16):
                work = bench.work(questions, k)
                inputs = reference.inputs(work)
                runs = [
                    Run(name, bench.action(name, work, beams, lambda _: engine), repeats)
                    for name in [f"float32 {decoder}" for decoder in ("floor", *DECODERS)]
                    for repeats in [min(3, bench.options.repeats)]
                ]
                print(f"k={k}, {beams} beams, {questions} questions", flush=True)
                units = race(lambda inputs=inputs: reference.encode(inputs), runs, bench.device)
                ratios = [f"{run.ratio:.2f}" for run in runs]
                unit = f"{statistics.median(units):.3f}"
                table.add_row(str(k), str(beams), str(questions), unit, *ratios)
    Console(width=130).print(table)


def throughput(bench: Bench) -> None:
    """Print questions a second, with all questions of a batch asked together."""
    engines = usable(bench)
    table = Table("questions", *(f"{dtype}, {d}" for dtype in engines for d in DECODERS))
    for questions in bench.options.batches or (1, 2, 4, 8, 16, 32, 64):
        work = bench.work(questions)
        rates = []
        for dtype in engines:
            for decoder in DECODERS:
                action = bench.action(
                    f"{dtype} {decoder}", work, bench.options.beams, engines.__getitem__
                )
                # Long runs need no repeats; short ones are repeated, the first not counted.
                repeats = 1 if questions > 4 else 3
                seconds = [timed(action, bench.device)[0] for _ in range(repeats)]
                rates.append(f"{questions / statistics.median(seconds[-2:]):.2f}")
        print(f"{questions} questions: {', '.join(rates)} a second", flush=True)
        table.add_row(str(questions), *rates)
    Console(width=130).print(table)


def memory(bench: Bench) -> None:
    """Print the peaks of ragcore and of transformers, padded to the longest and as shipped."""
    table = Table("", "loaded MiB", "peak MiB", "the run's own")
    names = [f"{padding} {model}" for padding in REFERENCES for model in ("token", "thorough")]
    names += [f"{dtype} {decoder}" for dtype in usable(bench) for decoder in DECODERS]
    options = bench.options
    arguments = ["--model", str(bench.folder), "--device", "cpu", *(["--small"] * options.small)]
    for option in ("questions", "k", "beams", "tokens", "seed"):
        arguments += [f"--{option}", str(getattr(options, option))]
    for name in names:
        peaks = in_its_own_process([*arguments, "--alone", name])
        above = peaks["run"] - peaks["loaded"]
        print(f"{name}: {above:,.0f} MiB", flush=True)
        table.add_row(name, *(f"{mib:,.0f}" for mib in (peaks["loaded"], peaks["run"], above)))
    Console(width=130).print(table)


def report_alone(bench: Bench, name: str) -> None:
    work, beams = bench.work(), bench.options.beams
    if name.split()[0] in REFERENCES:
        reference = Reference(bench.folder, bench.device)
        report_peaks(bench.their_action(name, work, beams, reference))
    else:
        engine = cache(lambda dtype: Engine(bench.folder, dtype, bench.device))
        report_peaks(bench.action(name, work, beams, engine))


if __name__ == "__main__":
    sys.exit(main())
