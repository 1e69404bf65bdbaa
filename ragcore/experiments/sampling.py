"""Let optuna propose settings: the tree-structured Parzen estimator, seeded.

    Bergstra et al. (2011), Algorithms for Hyper-Parameter Optimization, NeurIPS.

Settings are proposed in batches, whose trials share searches and memories. Knows optuna; knows
nothing of how a proposal is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from ragcore.errors import ConfigError
from ragcore.experiments.spaces import Candidate, Space
from ragcore.registry.installation import DISTRIBUTION, install_hint

__all__ = ["check_installed", "sample"]

_STARTUP: Final = 10
"""The first proposals are drawn at random, so that they can be measured together."""
_BATCH: Final = 4

Measure = Callable[[Sequence[Candidate]], Sequence[float | None]]


def check_installed() -> None:
    """Check that optuna can be imported.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import optuna  # noqa: F401 (whether it is there)
    except ImportError as error:
        raise ConfigError(
            f"ranges need the package optuna ({error}): {install_hint(DISTRIBUTION, 'tune')}, or "
            "list values (--sweep)"
        ) from None


def sample(
    space: Space,
    measure: Measure,
    *,
    trials: int,
    seed: int,
    better: Literal["higher", "lower"],
) -> None:
    """Propose settings and have them measured, until there were so many proposals.

    The same space, figures and seed give the same proposals.

    Args:
        space: what may be proposed.
        measure: returns a figure for each candidate; None where there is none.
        trials: how many proposals; some may be equal.
        seed: of the draws.
        better: which figures are better.

    Raises:
        ConfigError: numbers of the ranges cannot be combined.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Trials of a batch do not know each other's figures: each counts as a bad one until it has its
    # own, so that a batch is spread.
    sampler = optuna.samplers.TPESampler(n_startup_trials=_STARTUP, constant_liar=True, seed=seed)
    direction: Literal["maximize", "minimize"] = "maximize" if better == "higher" else "minimize"
    study = optuna.create_study(sampler=sampler, direction=direction)
    proposed = 0
    while proposed < trials:
        count = min(_STARTUP if not proposed else _BATCH, trials - proposed)
        asked = [study.ask() for _ in range(count)]
        candidates = [space.candidate(_settings(space, trial)) for trial in asked]
        for trial, value in zip(asked, measure(candidates), strict=True):
            if value is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, value)
        proposed += count


def _settings(space: Space, trial: Any) -> dict[str, Any]:
    """Let a trial choose a value for each key."""
    settings: dict[str, Any] = {}
    for key, values in space.sweeps.items():
        # By number, as a value may be a list.
        settings[key] = values[trial.suggest_categorical(key, range(len(values)))]
    for each in space.ranges:
        if isinstance(each.low, int) and isinstance(each.high, int):
            number: float = trial.suggest_int(each.key, each.low, each.high)
        else:
            number = trial.suggest_float(each.key, each.low, each.high)
        settings[each.key] = each.rounded(number)
    return settings
