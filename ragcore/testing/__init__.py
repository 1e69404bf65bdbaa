"""The contracts as test suites ("laws"), for authors of plugins.

Subclass the suite of your component's kind, and define how the component is built:

    class TestMine(RetrieverSuite):
        @pytest.fixture
        def component(self):
            return Mine

`ragcore plugin test NAME` runs the same laws on an installed component, without a test file. The
suites need hypothesis, and pytest only where pytest runs them: `pip install '.[testing]'` in a
clone of ragcore.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ragcore.testing.corpus import CorpusSuite
    from ragcore.testing.encoder import EncoderSuite
    from ragcore.testing.generator import GeneratorSuite
    from ragcore.testing.index import IndexSuite
    from ragcore.testing.passages import PassagesSuite
    from ragcore.testing.retriever import RetrieverSuite
    from ragcore.testing.runner import Verdict, examine
    from ragcore.testing.scorer import ScorerSuite
    from ragcore.testing.suite import Suite, SuiteError
    from ragcore.testing.text_scores import ScoringGeneratorSuite, TopGeneratorSuite
    from ragcore.testing.writing import TextGeneratorSuite

__all__ = [
    "CorpusSuite",
    "EncoderSuite",
    "GeneratorSuite",
    "IndexSuite",
    "PassagesSuite",
    "RetrieverSuite",
    "ScorerSuite",
    "ScoringGeneratorSuite",
    "Suite",
    "SuiteError",
    "TextGeneratorSuite",
    "TopGeneratorSuite",
    "Verdict",
    "examine",
]

# Imported on first use: pytest imports this package at its start, in every project.
_HOMES: Final = {
    "CorpusSuite": "corpus",
    "EncoderSuite": "encoder",
    "GeneratorSuite": "generator",
    "IndexSuite": "index",
    "PassagesSuite": "passages",
    "RetrieverSuite": "retriever",
    "ScorerSuite": "scorer",
    "ScoringGeneratorSuite": "text_scores",
    "Suite": "suite",
    "SuiteError": "suite",
    "TextGeneratorSuite": "writing",
    "TopGeneratorSuite": "text_scores",
    "Verdict": "runner",
    "examine": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
