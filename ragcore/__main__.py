"""Run `ragcore` as `python -m ragcore`."""

from __future__ import annotations

import sys

from ragcore.cli import main

if __name__ == "__main__":
    sys.exit(main())
