"""How an experiment's figures are made, in words, and what is called significant.

For readers of a table, whichever form it has; knows nothing of how it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ragcore.evaluation.resampling import EXCHANGES, RESAMPLES

__all__ = ["ALPHA", "METHOD", "TEST"]

ALPHA: Final = 0.05
"""A difference with a corrected p below this is called significant."""

TEST: Final = "paired randomisation test, two-sided"

METHOD: Final[Mapping[str, str]] = {
    "interval": f"95 %, percentiles of {RESAMPLES:,} bootstrap samples of the questions",
    "test": (
        f"{TEST}: the two systems' results of a question are exchanged at random, {EXCHANGES:,} "
        "times, or in every way where there are fewer"
    ),
    "correction": "Holm's, over the systems that are compared with the baseline in a metric",
    "effect": "Cohen's d of paired samples: mean difference by its standard deviation",
    "significant": f"p of the test, corrected, is below {ALPHA:g}",
}
