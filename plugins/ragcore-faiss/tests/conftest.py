from __future__ import annotations

import faiss
import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    faiss.omp_set_num_threads(1)
