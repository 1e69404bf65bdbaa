"""Files whose bytes hnswlib never wrote neither crash it nor end in another error than ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ATTACK = """
import sys
from pathlib import Path
import numpy as np
from ragcore.testing.hostile import attack
from ragcore_hnswlib.config import HnswlibConfig
from ragcore_hnswlib.index import Hnswlib
config = HnswlibConfig(m=4, ef_construction=20, threads=1)
vectors = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
index = Hnswlib(config, dim=8)
index.add(np.arange(200) * 2, vectors)
index.remove(np.arange(100, 140, 2))
index.save(Path(sys.argv[1]))
def use(folder):
    loaded = Hnswlib.load(folder, config)
    loaded.search(vectors[:2], 5)
    loaded.search(vectors[:2], 180)
    loaded.search(vectors[:2], 5, allowed=np.arange(0, 60, 2))
    loaded.vectors(np.arange(0, 40, 2))
    loaded.add(np.array([1001]), vectors[:1])
    loaded.remove(np.array([4]))
    loaded.search(vectors[:2], 5)
outcomes = attack(Path(sys.argv[1]), use, count=80)
assert not outcomes.failures, outcomes.failures
assert outcomes.refused > 20, outcomes
"""


def test_no_bytes_crash_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ATTACK, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
