"""Test that FAISS searches in a forked child after several threads have searched in the parent."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PATIENCE = 120

SEARCH = """
import os
import faiss
import numpy as np
from ragcore_faiss.index import Faiss, FaissConfig

faiss.omp_set_num_threads(2)
vectors = np.random.default_rng(0).standard_normal((3000, 32)).astype(np.float32)
index = Faiss(FaissConfig(factory={factory!r}), dim=32)
index.add(np.arange(3000), vectors)
before = index.search(vectors[:200], 5)
pid = os.fork()
if pid == 0:
    after = index.search(vectors[:200], 5)
    same = (after.rows == before.rows).all()
    os._exit(0 if same and faiss.omp_get_max_threads() == 1 else 3)
assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF16,Flat"])
def test_a_forked_child_searches(factory):
    process = subprocess.Popen(
        [sys.executable, "-c", SEARCH.format(factory=factory)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        pytest.fail(f"hangs: killed after {PATIENCE} seconds")
    assert process.returncode == 0, errors
