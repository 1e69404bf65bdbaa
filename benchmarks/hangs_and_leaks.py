"""What hangs, spins or stays: forks, shared processors, cancelled calls, closed pipelines.

Usage: python benchmarks/hangs_and_leaks.py [--sections fork spin cancel closed left opening]

Makes a small random BART and a BM25 memory, and measures each section in a process of its own:

- fork: seconds to an answer in a child forked after the parent has answered with two threads.
- spin: milliseconds of a question with two threads while other processes use every processor, as
  `ragcore ask` runs, and with threads that spin.
- cancel: what a cancelled `astream` raises, and how many cancelled `aanswer` calls run on.
- closed: MiB that stay for each pipeline that is loaded, used and closed, before any collection.
- left: MiB that stay after streams that were left at their first token.
- opening: the longest time that another thread waits while a BM25 memory of 500,000 terms opens,
  and the same without opening anything.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import signal
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

QUESTION: Final = "who rules the country"
PATIENCE: Final = 30
"""Seconds after which a child has hung."""
TERMS: Final = 500_000
"""Of the large vocabulary."""


def make(folder: Path) -> Path:
    """Write a model, a corpus and a pipeline, and build its memory; the pipeline's file."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

    import ragcore

    drawn = random.Random(0)
    words = ["".join(drawn.choices(string.ascii_lowercase, k=6)) for _ in range(20_000)]
    words += QUESTION.split()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(
        models.WordLevel(
            {word: at for at, word in enumerate(dict.fromkeys([*special, *words]))}, "<unk>"
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    torch.manual_seed(0)
    model = BartForConditionalGeneration(
        BartConfig(
            vocab_size=len(fast),
            d_model=384,
            encoder_layers=4,
            decoder_layers=4,
            encoder_attention_heads=6,
            decoder_attention_heads=6,
            encoder_ffn_dim=1024,
            decoder_ffn_dim=1024,
            max_position_embeddings=512,
            forced_eos_token_id=None,
            decoder_start_token_id=2,
        )
    )
    model.save_pretrained(folder / "bart")
    fast.save_pretrained(folder / "bart")
    lines = [
        f'{{"id": "{at}", "text": "{" ".join([*drawn.choices(words, k=90), "rules"])}"}}\n'
        for at in range(50)
    ]
    (folder / "passages.jsonl").write_text("".join(lines), encoding="utf-8")
    path = folder / "pipeline.yaml"
    path.write_text(
        "ragcore: 1\n"
        "memory:\n"
        "  store: store\n"
        "  corpus: {use: jsonl, path: passages.jsonl}\n"
        "  retriever: {use: bm25}\n"
        "generator: {use: bart, model: bart}\n"
        "rag: {k: 5, beams: 4, max_new_tokens: 24, min_new_tokens: 12}\n",
        encoding="utf-8",
    )
    ragcore.build_memory(str(path))
    return path


def resident() -> float:
    """MiB of this process's own in memory."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise LookupError("this system does not say what is resident")


def fork(pipeline: Path) -> None:
    """An answer in a child of a process that has answered."""
    import torch

    import ragcore

    torch.set_num_threads(2)
    rag = ragcore.load(pipeline)
    rag.answer(QUESTION)
    sys.stdout.flush()
    began, pid = time.perf_counter(), os.fork()
    if pid == 0:
        signal.alarm(PATIENCE)
        rag.answer(QUESTION)
        os._exit(0)
    killed = os.waitpid(pid, 0)[1] != 0
    took = f"none in {PATIENCE} s (hangs)" if killed else f"{time.perf_counter() - began:.1f} s"
    print(f"fork: the child's answer: {took}")


def spin(pipeline: Path) -> None:
    """A question on processors that others use, by the command line's settings and spinning."""
    code = (
        "import sys, time; from ragcore.cli import main; main(['--version'])\n"
        "import ragcore, torch; torch.set_num_threads(2); rag = ragcore.load(sys.argv[1])\n"
        f"rag.answer({QUESTION!r}); began = time.perf_counter(); rag.answer({QUESTION!r})\n"
        "print('took', time.perf_counter() - began)"
    )
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        for name, own in (("as commands run", {}), ("spinning", {"OMP_WAIT_POLICY": "ACTIVE"})):
            unset = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"}
            environment = {key: value for key, value in os.environ.items() if key not in unset}
            printed = subprocess.run(
                [sys.executable, "-c", code, str(pipeline)],
                env={**environment, **own},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            print(f"spin: {name}: {1000 * float(printed.split()[-1]):.0f} ms a question")
    finally:
        for process in busy:
            process.kill()
            process.wait()


def cancel(pipeline: Path) -> None:
    """Cancelled calls of an event loop."""
    import ragcore

    rag = ragcore.load(pipeline)
    begun: list[int] = []
    answer = rag.answer

    def counted(*args: object, **kwargs: object) -> object:
        begun.append(1)
        return answer(*args, **kwargs)  # type: ignore[arg-type]

    rag.answer = counted  # type: ignore[method-assign, assignment]

    async def main() -> tuple[str, int, float]:
        async def consume() -> None:
            async for _ in rag.astream(QUESTION):
                pass

        consumer = asyncio.create_task(consume())
        await asyncio.sleep(0.05)
        consumer.cancel()
        raised = (await asyncio.gather(consumer, return_exceptions=True))[0]
        calls = [asyncio.create_task(rag.aanswer([QUESTION] * 4)) for _ in range(20)]
        await asyncio.sleep(0.05)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        cancelled, began = len(begun), time.perf_counter()
        await rag.aanswer(QUESTION)
        return repr(raised), cancelled, time.perf_counter() - began

    raised, cancelled, took = asyncio.run(main())
    print(f"cancel: a cancelled astream raises {raised}")
    print(f"cancel: of 20 cancelled aanswer calls {cancelled} had begun, {len(begun) - 1} ran")
    print(f"cancel: the next answer took {took:.1f} s")


def closed(pipeline: Path) -> None:
    """Pipelines that are closed and dropped, without a garbage collection."""
    import ragcore

    def cycle() -> None:
        with ragcore.load(pipeline) as rag:
            rag.answer(QUESTION)

    cycle()
    gc.collect()
    gc.disable()
    import torch

    before = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
    for _ in range(3):
        cycle()
    alive = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    storages = {tensor.data_ptr(): tensor.nbytes for tensor in alive if tensor.device.type == "cpu"}
    print(
        f"closed: {(len(alive) - before) / 3:.0f} tensors more for each closed pipeline; "
        f"{sum(storages.values()) / 2**20:.0f} MiB of tensors in all after three"
    )


def left(pipeline: Path) -> None:
    """Streams that are left at their first token, in threads."""
    import ragcore

    rag = ragcore.load(pipeline)
    list(rag.stream(QUESTION))

    async def leave(count: int) -> None:
        async def one() -> None:
            stream = rag.astream(QUESTION)
            await anext(stream)
            await stream.aclose()

        await asyncio.gather(*(one() for _ in range(count)))

    gc.collect()
    before = resident()
    waiting = [rag.stream(QUESTION) for _ in range(5)]
    for stream in waiting:
        next(stream)
    together = resident()
    for stream in waiting:
        stream.close()
    after = resident()
    print(
        f"left: five streams at once: {together - before:+.0f} MiB while they wait, "
        f"{after - before:+.0f} MiB after they are left"
    )
    asyncio.run(leave(12))
    print(f"left: twelve in an event loop: {resident() - before:+.0f} MiB afterwards")


def opening(pipeline: Path) -> None:
    """What another thread notices of a large vocabulary that is opened."""
    import numpy as np

    from ragcore.registry.components import spec_from_dict
    from ragcore.types import Passage

    part = spec_from_dict("retriever", {"use": "bm25"})
    drawn = random.Random(1)
    words = ["".join(drawn.choices(string.ascii_lowercase, k=8)) for _ in range(TERMS)]
    passages = [
        Passage(str(at), "", " ".join(words[50 * at : 50 * at + 50])) for at in range(TERMS // 50)
    ]
    retriever = part.build()
    retriever.add(np.arange(len(passages)), passages)
    folder = pipeline.parent / "large"
    folder.mkdir()
    retriever.save(folder)
    loads = [_longest_wait(lambda: part.component.load(folder, part.config)) for _ in range(5)]
    idle = [_longest_wait(lambda: time.sleep(0.7)) for _ in range(5)]
    print(
        f"opening: the longest wait of another thread is {1000 * min(loads):.0f} ms, "
        f"{1000 * min(idle):.0f} ms with nothing opened (the least of five runs)"
    )


def _longest_wait(work: Callable[[], object]) -> float:
    done, waits = threading.Event(), [0.0]

    def tick() -> None:
        last = time.perf_counter()
        while not done.is_set():
            time.sleep(0.0002)
            now = time.perf_counter()
            waits.append(now - last)
            last = now

    ticker = threading.Thread(target=tick)
    ticker.start()
    work()
    done.set()
    ticker.join()
    return max(waits)


SECTIONS: Final = {
    "fork": fork,
    "spin": spin,
    "cancel": cancel,
    "closed": closed,
    "left": left,
    "opening": opening,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--pipeline", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pipeline is not None:
        SECTIONS[options.sections[0]](options.pipeline)
        return
    with tempfile.TemporaryDirectory() as folder:
        pipeline = make(Path(folder))
        for section in options.sections:
            command = [sys.executable, __file__, "--sections", section]
            subprocess.run([*command, "--pipeline", str(pipeline)], check=True)


if __name__ == "__main__":
    main()
