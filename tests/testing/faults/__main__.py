"""Print how many wrong components the suites catch, and those that survive."""

from __future__ import annotations

import sys

from tests.testing.faults.marking import faults_of
from tests.testing.faults.score import KINDS, score, survivors


def main(names: list[str]) -> None:
    """Run the kinds of these names, or all."""
    uncaught: dict[str, list[str]] = {}
    for name in names or KINDS:
        uncaught[name] = survivors(name)
        faults = {fault.__name__: fault for fault in faults_of(KINDS[name])}
        print(f"{name}: {len(faults) - len(uncaught[name])} of {len(faults)} caught", flush=True)
        for survivor in uncaught[name]:
            print(f"  {survivor}: {faults[survivor].__doc__}\n    {faults[survivor].shown_by}")
    print(score(uncaught))


if __name__ == "__main__":
    main(sys.argv[1:])
