"""Make the fixture: `python make.py`, with the ragcore whose stores are to be kept.

Builds stores from the YAML files in `fixture/`, trains and evaluates once, and writes what ragcore
shows of them into expected.json. README.md says how it was run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent


def build(name: str) -> None:
    """A version that is built, and others that are each updated from the one before."""
    pipeline = f"{name}.yaml"
    observing.run("memory", "build", pipeline, "--version", "2016")
    *_, newest = observing.VERSIONS[name]
    for version in observing.VERSIONS[name][1:]:
        changes = f"changes-{version}.jsonl"
        observing.run("memory", "update", pipeline, changes, "--version", version)
    # So that the history is longer than the list of versions.
    observing.run("memory", "activate", pipeline, "2016")
    observing.run("memory", "activate", pipeline, newest)


def hide_folder(here: str) -> None:
    """Put a folder that is nobody's in place of this machine's, in manifests and records.

    A manifest carries its own digest, which is made again; those of its files stay right.
    """
    for path in [*Path("stores").rglob("manifest.json"), *Path("trained").rglob("*.json")]:
        text = path.read_text(encoding="utf-8").replace(here, "/srv/compat")
        if path.name == "manifest.json":
            record = json.loads(text)
            del record["sha256"]
            plain = json.dumps(record, ensure_ascii=False, indent=2)
            record["sha256"] = hashlib.sha256(plain.encode()).hexdigest()
            text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
        path.write_text(text, encoding="utf-8")


def main() -> None:
    os.chdir(HERE / "fixture")
    for name in ("stores", "trained", "evaluated"):
        shutil.rmtree(name, ignore_errors=True)
    for name in observing.PIPELINES:
        build(name)
    observing.run("train", "train.yaml")
    hide_folder(str(Path.cwd()))
    observing.run("memory", "export", "simple.yaml", "simple-2016.tar", "2016")
    observing.run("eval", "exact.yaml", "questions.jsonl", "--output", "evaluated")
    for folder in ("logs", "checkpoints"):
        shutil.rmtree(Path("trained", folder), ignore_errors=True)
    expected = {
        "pipelines": {name: observing.pipeline_facts(name) for name in observing.PIPELINES},
        "collectable": {name: observing.collectable(name) for name in observing.PIPELINES},
        "differences": observing.differences("bm25"),
        "filled": {
            path.stem: observing.filled(path.name) for path in sorted(Path(".").glob("*.yaml"))
        },
        "everything": observing.answered("everything.yaml"),
        "trained": observing.answered("trained"),
    }
    work = HERE / "work"
    shutil.copytree(HERE / "fixture", work)
    os.chdir(work)
    expected["updates"] = {name: observing.updated_facts(name) for name in observing.PIPELINES}
    shutil.rmtree("stores")
    shutil.copytree(HERE / "fixture" / "stores", "stores")
    expected["rollbacks"] = {name: observing.rollback_facts(name) for name in observing.PIPELINES}
    os.chdir(HERE)
    shutil.rmtree(work)
    for lock in HERE.rglob(".lock"):
        lock.unlink()
    text = json.dumps(expected, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    # A line for each pipeline and each question is enough to read a difference.
    text = text.replace('},"', '},\n"').replace("},{", "},\n{")
    (HERE / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE / "plugin"))
    import observing

    main()
